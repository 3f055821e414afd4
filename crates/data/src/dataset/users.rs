//! What each user did: the lists that histories are cut from, and the items of each split.

use super::column::{Lists, Stored};
use super::file;
use super::manifest::Manifest;
use crate::prepare::{USERS, user_file};
use arrow_buffer::{OffsetBuffer, ScalarBuffer};
use kitestring_core::{Error, Result};
use std::path::Path;

/// The lists of all users.
pub(super) struct Users {
    /// Where each user's entry is, by the user's number. The entry of a number without rows is the largest one.
    shard: ScalarBuffer<u32>,
    entry: ScalarBuffer<u32>,
    pub(super) shards: Vec<UserShard>,
}

/// The lists of a shard of users.
pub(super) struct UserShard {
    entries: usize,
    /// The distinct items of each split, ascending.
    items: Vec<(OffsetBuffer<i32>, ScalarBuffer<u32>)>,
    /// What histories are cut from.
    pub(super) events: Vec<Lists>,
}

impl Users {
    pub(super) fn open(directory: &Path, manifest: &Manifest) -> Result<Option<Self>> {
        if manifest.user.is_none() {
            return Ok(None);
        }
        let lists = manifest.histories.values().map(|list| list + 1).max().unwrap_or(0);
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
                events: (0..lists).map(|list| stored.lists(&format!("events.{list}"))).collect::<Result<_>>()?,
            });
        }
        let (table, path) = (open(USERS)?, directory.join(USERS));
        let stored = Stored { table: &table, path: &path };
        Ok(Some(Self { shard: stored.plain("shard")?, entry: stored.plain("entry")?, shards }))
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

    /// The last events of a user, of at most this many, oldest first.
    pub(super) fn events(&self, list: usize, user: u64, longest: usize, mut visit: impl FnMut(u64)) -> Result<()> {
        let Some((shard, entry)) = self.find(user) else { return Ok(()) };
        let lists = shard.events.get(list).ok_or_else(|| Error::internal("there is no such list of events"))?;
        let range = lists.range(entry);
        (range.end.saturating_sub(longest).max(range.start)..range.end).for_each(|at| visit(lists.values.get(at)));
        Ok(())
    }
}
