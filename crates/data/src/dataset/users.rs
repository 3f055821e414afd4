//! What each user did: the lists that histories are cut from, and the items of each split.

use super::column::{Lists, Stored};
use super::file;
use super::manifest::Manifest;
use crate::prepare::{USERS, user_file};
use arrow_buffer::{OffsetBuffer, ScalarBuffer};
use kitestring_core::{Error, Result};
use std::ops::Range;
use std::path::Path;

/// The lists of all users.
pub(super) struct Users {
    /// Where each user's entry is, by the user's number. The entry of a number without rows is the largest one.
    shard: ScalarBuffer<u32>,
    entry: ScalarBuffer<u32>,
    pub(super) shards: Vec<UserShard>,
    first_time: i64,
}

/// The lists of a shard of users.
pub(super) struct UserShard {
    entries: usize,
    /// The distinct items of each split, ascending.
    items: Vec<(OffsetBuffer<i32>, ScalarBuffer<u32>)>,
    /// What histories are cut from.
    pub(super) events: Vec<Lists>,
    /// The time of each event, from the first one of the data set on; none where it has no times, or a list no order.
    times: Vec<Option<Lists>>,
}

/// What a user did, oldest first.
pub(crate) struct UserEvents<'a> {
    events: &'a Lists,
    times: Option<&'a Lists>,
    range: Range<usize>,
    first_time: i64,
}

impl UserEvents<'_> {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.range.len()
    }

    /// What is listed of an event.
    pub(crate) fn value(&self, at: usize) -> u64 {
        self.events.values.get(self.range.start + at)
    }

    /// How many of them are of times strictly before one; all where events have no times.
    pub(crate) fn before(&self, time: i64) -> usize {
        let Some(times) = self.times else { return self.len() };
        // Times are counted from the first of the data set.
        if time <= self.first_time {
            return 0;
        }
        let time = time.abs_diff(self.first_time);
        let (mut low, mut high) = (self.range.start, self.range.end);
        while low < high {
            let middle = low.midpoint(high);
            if times.values.get(middle) < time { low = middle + 1 } else { high = middle }
        }
        low - self.range.start
    }
}

impl Users {
    pub(super) fn open(directory: &Path, manifest: &Manifest) -> Result<Option<Self>> {
        if manifest.user.is_none() {
            return Ok(None);
        }
        let lists = manifest.histories.values().map(|list| list + 1).max().unwrap_or(0);
        // Rows that were encoded to be scored are no events, and their lists have no times.
        let times = |stored: &Stored<'_>, list: usize| {
            let name = format!("times.{list}");
            stored.table.column_by_name(&name).map(|_| stored.lists(&name)).transpose()
        };
        let open = |name: &str| file::read(&directory.join(name), manifest.files.get(name).copied());
        let mut shards = Vec::with_capacity(manifest.user_shards);
        for shard in 0..manifest.user_shards {
            let name = user_file(shard);
            let (table, path) = (open(&name)?, directory.join(&name));
            let stored = Stored { table: &table, path: &path };
            let splits = manifest.splits.iter().filter(|_| manifest.item.is_some());
            shards.push(UserShard {
                entries: table.num_rows(),
                items: splits
                    .map(|split| stored.plain_lists(&format!("items.{}", split.name)))
                    .collect::<Result<_>>()?,
                times: (0..lists).map(|list| times(&stored, list)).collect::<Result<_>>()?,
                events: (0..lists).map(|list| stored.lists(&format!("events.{list}"))).collect::<Result<_>>()?,
            });
            let shard = shards.last().map(|shard: &UserShard| shard.events.iter().zip(&shard.times));
            let mut both = shard.into_iter().flatten();
            if both.any(|(events, times)| times.as_ref().is_some_and(|times| times.offsets != events.offsets)) {
                return Err(Error::format("the times are not those of the events")
                    .in_file(path.display().to_string())
                    .mend("prepare the data set again"));
            }
        }
        let (table, path) = (open(USERS)?, directory.join(USERS));
        let stored = Stored { table: &table, path: &path };
        let first_time = manifest.time.map_or(0, |(first, _)| first);
        Ok(Some(Self { shard: stored.plain("shard")?, entry: stored.plain("entry")?, shards, first_time }))
    }

    /// The number of a user's shard, and the entry there; none where the user has no row.
    #[inline]
    pub(super) fn place(&self, user: u64) -> Option<(usize, usize)> {
        let user = usize::try_from(user).ok()?;
        let (shard, entry) = (*self.shard.get(user)? as usize, *self.entry.get(user)? as usize);
        (entry < self.shards.get(shard)?.entries).then_some((shard, entry))
    }

    #[inline]
    fn find(&self, user: u64) -> Option<(&UserShard, usize)> {
        self.place(user).map(|(shard, entry)| (&self.shards[shard], entry))
    }

    /// The distinct items a user has in a split, ascending.
    #[inline]
    pub(super) fn items(&self, user: u64, split: usize) -> &[u32] {
        self.find(user).map_or(&[], |(shard, entry)| {
            shard
                .items
                .get(split)
                .map_or(&[], |(offsets, values)| &values[offsets[entry] as usize..offsets[entry + 1] as usize])
        })
    }

    /// Whether a user has an item in one of some splits, given by their places.
    #[inline]
    pub(super) fn had(&self, user: u64, item: u32, splits: &[usize]) -> bool {
        self.find(user).is_some_and(|(shard, entry)| {
            splits.iter().filter_map(|split| shard.items.get(*split)).any(|(offsets, values)| {
                values[offsets[entry] as usize..offsets[entry + 1] as usize].binary_search(&item).is_ok()
            })
        })
    }

    /// The events of a user in a list; none where the user has no rows.
    pub(super) fn events(&self, list: usize, user: u64) -> Result<Option<UserEvents<'_>>> {
        let Some((shard, entry)) = self.find(user) else { return Ok(None) };
        let lists = shard.events.get(list).zip(shard.times.get(list));
        let (events, times) = lists.ok_or_else(|| Error::internal("there is no such list of events"))?;
        let (times, range, first_time) = (times.as_ref(), events.range(entry), self.first_time);
        Ok(Some(UserEvents { events, times, range, first_time }))
    }
}
