//! The third pass: the rows of every part, with their histories and final ids, become files.

use super::arrange::{Seen, users};
use super::columns::{Column, From, Records, Span, append, empty, row_columns};
use super::histories::{EventSource, UserLists, UserRows};
use super::number::Numbering;
use super::plan::Plan;
use super::spill::{Part, f32_at, u32_at};
use super::split::file_stem;
use crate::config::Negatives;
use crate::dataset::file;
use crate::dataset::manifest::ShardInfo;
use crate::dataset::{Dataset, earlier};
use arrow_array::{ArrayRef, UInt32Array};
use kitestring_core::fitted::Fitted;
use kitestring_core::{Error, Result};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

/// Rows of all splits together after which shards are closed.
const SHARD_ROWS: usize = 1 << 20;

/// Elements of lists after which shards are closed, so that their offsets never overflow.
const SHARD_ELEMENTS: usize = 1 << 28;

/// The rows of one split that have the same number of copies.
struct Target {
    split: usize,
    copies: u32,
    columns: Vec<Column>,
    rows: u64,
    picked: Vec<u32>,
}

/// Writes shards.
pub(crate) struct ShardWriter<'a> {
    plan: &'a Plan,
    numbering: &'a Numbering,
    fitted: &'a [Fitted],
    splits: &'a [String],
    source: EventSource<'a>,
    /// The first and the last time, where rows have times and are events.
    time: Option<(i64, i64)>,
    directory: &'a Path,
    columns: Vec<(String, From)>,
    targets: Vec<Target>,
    /// The target of plain rows and of rows with negatives, by split.
    target_of: Vec<(usize, Option<usize>)>,
    lists: UserLists,
    /// Where each user's lists are: shard and entry, by the user's number.
    user_at: (Vec<u32>, Vec<u32>),
    user_shards: usize,
    shards: Vec<Vec<ShardInfo>>,
    files: BTreeMap<String, u64>,
    /// The items that may be drawn as negatives, by number, and how many they are.
    drawable: (Vec<bool>, usize),
    spans: Vec<Vec<Span>>,
    /// Rows to be scored by user, item and time: how often each is there, where the data set of past events may have it.
    scored: HashMap<(u32, u32, i64), u64>,
}

/// What was written.
pub(crate) struct Written {
    pub(crate) shards: Vec<Vec<ShardInfo>>,
    pub(crate) user_shards: usize,
    pub(crate) files: BTreeMap<String, u64>,
    /// Rows to be scored that are rows of the data set of past events, too.
    pub(crate) overlapping: u64,
}

impl<'a> ShardWriter<'a> {
    pub(crate) fn new(
        (plan, numbering, seen): (&'a Plan, &'a Numbering, &'a Seen),
        fitted: &'a [Fitted],
        splits: &'a [String],
        negatives: Option<&Negatives>,
        source: EventSource<'a>,
        directory: &'a Path,
    ) -> Self {
        let is_scoring = matches!(source, EventSource::Past(_));
        let time = seen.time.filter(|_| !is_scoring).map(|(first, last, _)| (first, last));
        let columns = row_columns(plan);
        let mut targets = Vec::new();
        let mut add = |split: usize, copies: u32| {
            let columns = columns.iter().map(|(_, from)| empty(plan, from)).collect();
            targets.push(Target { split, copies, columns, rows: 0, picked: Vec::new() });
            targets.len() - 1
        };
        let mut target_of = Vec::new();
        for (index, split) in splits.iter().enumerate() {
            let drawn = negatives.filter(|negatives| negatives.splits.contains(split) && negatives.per_positive > 0);
            let with = drawn.map(|negatives| add(index, 1 + negatives.per_positive));
            target_of.push((add(index, 1), with));
        }
        let drawable = plan.item.map_or_else(Vec::new, |(_, vocabulary)| {
            let train = |value: &u32| *value != 0 && seen.item_train.get(*value as usize).is_some_and(|rows| *rows > 0);
            numbering.values[vocabulary].iter().map(train).collect()
        });
        let count = drawable.iter().filter(|drawable| **drawable).count();
        let users = plan.user.map_or(0, |(_, vocabulary)| numbering.entries(vocabulary));
        Self {
            lists: UserLists::new(plan, splits, time),
            scored: HashMap::new(),
            shards: vec![Vec::new(); splits.len()],
            drawable: (drawable, count),
            user_at: (vec![0; users], vec![u32::MAX; users]),
            user_shards: 0,
            files: BTreeMap::new(),
            spans: vec![Vec::new(); plan.event_lists.len()],
            plan,
            numbering,
            fitted,
            splits,
            source,
            time,
            directory,
            columns,
            targets,
            target_of,
        }
    }

    /// Adds the rows of a part, which are by user and time.
    pub(crate) fn add(&mut self, part: &Part) -> Result<()> {
        let plan = self.plan;
        let rows = part.records.len() / plan.stride;
        for spans in &mut self.spans {
            spans.clear();
            spans.resize(rows, Span::default());
        }
        for range in users(plan, &part.records) {
            self.add_user(&part.records, range)?;
        }
        let records = Records { records: &part.records, lists: &part.lists, spans: &self.spans };
        for target in &mut self.targets {
            for ((_, from), column) in self.columns.iter().zip(&mut target.columns) {
                append(plan, self.numbering, self.fitted, from, &records, (&target.picked, plan.stride), column)?;
            }
            target.rows += target.picked.len() as u64;
            target.picked.clear();
        }
        let rows: u64 = self.targets.iter().map(|target| target.rows).sum();
        let elements: usize = self.targets.iter().flat_map(|target| &target.columns).map(Column::elements).sum();
        if rows as usize >= SHARD_ROWS || elements >= SHARD_ELEMENTS { self.close() } else { Ok(()) }
    }

    fn add_user(&mut self, records: &[u8], rows: std::ops::Range<usize>) -> Result<()> {
        let plan = self.plan;
        let record = |row: usize| &records[row * plan.stride..(row + 1) * plan.stride];
        let first_label = plan.labels.first().map(|slot| plan.slots[*slot].at);
        let mut drawn_for = vec![false; self.splits.len()];
        for row in rows.clone() {
            let of_row = record(row);
            let (plain, with) = self.target_of[of_row[plan.given_at + 1] as usize];
            let positive = first_label.is_none_or(|label| f32_at(of_row, label) > 0.0);
            let target = with.filter(|_| positive).unwrap_or(plain);
            if target != plain {
                drawn_for[of_row[plan.given_at + 1] as usize] = true;
            }
            self.targets[target].picked.push(row as u32);
        }
        let Some((slot, vocabulary)) = plan.user else { return Ok(()) };
        let user = self.numbering.entry(vocabulary, u32_at(record(rows.start), plan.slots[slot].at));
        let distinct = self.distinct_items(records, rows.clone());
        for split in (0..drawn_for.len()).filter(|split| drawn_for[*split]) {
            self.check_drawable(user, split, &distinct)?;
        }
        let of = UserRows { user, distinct: &distinct, records, rows };
        match self.source {
            EventSource::Rows(ties) => self.lists.add(plan, self.numbering, ties, &of, &mut self.spans),
            EventSource::Past(past) => {
                self.lists.add_scored(plan, past, &of, &mut self.spans)?;
                past.into_iter().for_each(|past| self.note_scored(past, &of));
            }
        }
        self.user_at.0[user as usize] = self.user_shards as u32;
        self.user_at.1[user as usize] = self.lists.len() as u32 - 1;
        Ok(())
    }

    /// Checks that there is an item to draw for a split's rows of a user, whose distinct items by split are these.
    fn check_drawable(&self, user: u32, split: usize, distinct: &[(u8, u32)]) -> Result<()> {
        let names: Vec<&str> = self.splits.iter().map(String::as_str).collect();
        let left_out: Vec<usize> = earlier(&names, split).chain([split]).collect();
        let mut had: Vec<u32> =
            distinct.iter().filter(|(of, _)| left_out.contains(&usize::from(*of))).map(|(_, item)| *item).collect();
        had.sort_unstable();
        had.dedup();
        let had = had.iter().filter(|item| self.drawable.0[**item as usize]).count();
        if had < self.drawable.1 {
            return Ok(());
        }
        Err(Error::data(format!(
            "no negative can be drawn for user number {user} in split `{}`: the user has all {} items of the training rows",
            names[split], self.drawable.1
        ))
        .in_field("data.negatives")
        .mend("leave such users out, or draw no negatives"))
    }

    /// Notes the rows of a user that a data set of past events knows.
    fn note_scored(&mut self, past: &Dataset, of: &UserRows<'_>) {
        let plan = self.plan;
        let (Some((slot, vocabulary)), true) = (plan.item, plan.schema.time.is_some()) else { return };
        let is_known = |vocabulary: Option<usize>, entry: u32| {
            vocabulary.is_some_and(|vocabulary| entry < past.manifest().vocabularies[vocabulary].entries)
        };
        if !is_known(past.manifest().user, of.user) {
            return;
        }
        for row in of.rows.clone() {
            let record = &of.records[row * plan.stride..];
            let item = self.numbering.entry(vocabulary, u32_at(record, plan.slots[slot].at));
            if is_known(past.manifest().item, item) {
                *self.scored.entry((of.user, item, plan.time_of(record).0)).or_default() += 1;
            }
        }
    }

    /// The distinct items of rows by split, in order.
    fn distinct_items(&self, records: &[u8], rows: std::ops::Range<usize>) -> Vec<(u8, u32)> {
        let plan = self.plan;
        let Some((slot, vocabulary)) = plan.item else { return Vec::new() };
        let of_row = |row: usize| {
            let at = row * plan.stride;
            let item = u32_at(records, at + plan.slots[slot].at);
            (records[at + plan.given_at + 1], self.numbering.entry(vocabulary, item))
        };
        let mut items: Vec<(u8, u32)> = rows.map(of_row).collect();
        items.sort_unstable();
        items.dedup();
        items
    }

    /// Writes the shards collected and begins others.
    fn close(&mut self) -> Result<()> {
        for target in &mut self.targets {
            if target.rows == 0 {
                continue;
            }
            let shards = &mut self.shards[target.split];
            let name = format!("{}-{:05}.arrow", file_stem(self.splits, target.split), shards.len());
            let fresh = self.columns.iter().map(|(_, from)| empty(self.plan, from)).collect();
            let columns = std::mem::replace(&mut target.columns, fresh);
            let named = |((name, _), column): (&(String, From), Column)| Ok((name.clone(), column.finish()?));
            let columns: Vec<_> = self.columns.iter().zip(columns).map(named).collect::<Result<_>>()?;
            let bytes = file::write(&self.directory.join(&name), columns)?;
            self.files.insert(name.clone(), bytes);
            let rows = std::mem::take(&mut target.rows);
            shards.push(ShardInfo { file: name, rows, copies: target.copies, users: self.user_shards });
        }
        if self.plan.user.is_some() && self.lists.len() > 0 {
            let lists = std::mem::replace(&mut self.lists, UserLists::new(self.plan, self.splits, self.time));
            let name = user_file(self.user_shards);
            let bytes = file::write(&self.directory.join(&name), lists.finish(self.splits)?)?;
            self.files.insert(name, bytes);
            self.user_shards += 1;
        }
        Ok(())
    }

    /// Writes what is left, and where each user's lists are.
    pub(crate) fn finish(mut self) -> Result<Written> {
        self.close()?;
        if self.plan.user.is_some() {
            let (shard, entry) = self.user_at;
            let columns: Vec<(String, ArrayRef)> = vec![
                ("shard".into(), Arc::new(UInt32Array::from(shard))),
                ("entry".into(), Arc::new(UInt32Array::from(entry))),
            ];
            let bytes = file::write(&self.directory.join(USERS), columns)?;
            self.files.insert(USERS.into(), bytes);
        }
        let overlapping = match self.source {
            EventSource::Past(Some(past)) => past.overlap(self.scored),
            _ => 0,
        };
        Ok(Written { shards: self.shards, user_shards: self.user_shards, files: self.files, overlapping })
    }
}

/// The file that says where each user's lists are.
pub(crate) const USERS: &str = "users.arrow";

/// The file of the lists of a shard of users.
pub(crate) fn user_file(shard: usize) -> String {
    format!("users-{shard:05}.arrow")
}
