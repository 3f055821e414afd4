//! The second pass: the rows of each user in the order of time, their splits, and what training rows teach.

use super::fit::Fit;
use super::notes::Survey;
use super::plan::{Ids, Kind, Plan};
use super::rows::RowEncoder;
use super::sides::SideCheck;
use super::spill::{Parts, f32_at, f64_at, list_at, u32_at, u64_at};
use super::split::Splits;
use crate::dataset::manifest::LabelInfo;
use kitestring_core::schema::Of;
use kitestring_core::{Result, Seed};

/// What is known once every row has its split.
pub(crate) struct Seen {
    /// Training rows of each entry of each vocabulary, by provisional number.
    pub(crate) counts: Vec<Vec<u32>>,
    /// Rows of each user in any split, by provisional number.
    pub(crate) user_rows: Vec<u32>,
    /// Training rows of each item, by provisional number.
    pub(crate) item_train: Vec<u32>,
    /// Rows of each item in any split.
    pub(crate) item_rows: Vec<u32>,
    pub(crate) fits: Vec<Fit>,
    /// Rows of each split.
    pub(crate) rows: Vec<u64>,
    /// Labels of each split and task.
    pub(crate) labels: Vec<Vec<LabelInfo>>,
    /// What is counted to be held against the schema.
    pub(crate) survey: Survey,
    /// Whether a user's rows are alike in what is the user's.
    pub(crate) sides: SideCheck,
    /// The first and the last time, and the source of the row that has it.
    pub(crate) time: Option<(i64, i64, u64)>,
}

impl Seen {
    fn new(plan: &Plan, encoder: &RowEncoder, splits: &Splits, seed: Seed) -> Self {
        let values = |key: Option<(usize, usize)>| key.map_or(0, |(_, vocabulary)| encoder.interners[vocabulary].len());
        let (users, items) = (values(plan.user), values(plan.item));
        let label =
            |task: &kitestring_core::schema::Task| LabelInfo { task: task.name.clone(), ..LabelInfo::default() };
        let labels: Vec<LabelInfo> = plan.schema.tasks.iter().map(label).collect();
        Self {
            counts: encoder.interners.iter().map(|interner| vec![0; interner.len()]).collect(),
            user_rows: vec![0; users],
            item_train: vec![0; items],
            item_rows: vec![0; items],
            fits: plan.numbers().map(|(feature, _)| Fit::new(feature, seed)).collect(),
            rows: vec![0; splits.names.len()],
            labels: vec![labels; splits.names.len()],
            time: None,
            survey: Survey::new(plan, splits.names.len()),
            sides: SideCheck::new(plan, Of::User),
        }
    }

    fn add(&mut self, plan: &Plan, slots: &Counted, records: &[u8], lists: &[u8], train: u8) {
        self.survey.add(plan, records, train);
        if plan.user.is_some() {
            for range in users(plan, records) {
                let rows = &records[range.start * plan.stride..range.end * plan.stride];
                for pair in rows.chunks_exact(plan.stride).zip(rows.chunks_exact(plan.stride).skip(1)) {
                    self.sides.add((pair.0, lists), (pair.1, lists));
                }
            }
        }
        let split_of = |record: &[u8]| record[plan.given_at + 1];
        let each = || records.chunks_exact(plan.stride);
        for record in each() {
            self.rows[split_of(record) as usize] += 1;
        }
        for (at, vocabulary) in &slots.ids {
            let counts = &mut self.counts[*vocabulary];
            for record in each().filter(|record| split_of(record) == train) {
                counts[u32_at(record, *at) as usize] += 1;
            }
        }
        for (at, vocabulary) in &slots.lists {
            let counts = &mut self.counts[*vocabulary];
            for record in each().filter(|record| split_of(record) == train) {
                let (from, count) = list_at(record, *at);
                for element in 0..count {
                    counts[u32_at(lists, from + 4 * element) as usize] += 1;
                }
            }
        }
        if let Some((slot, _)) = plan.user {
            for record in each() {
                let rows = &mut self.user_rows[u32_at(record, plan.slots[slot].at) as usize];
                *rows = rows.saturating_add(1);
            }
        }
        if let Some((slot, _)) = plan.item {
            for record in each() {
                let item = u32_at(record, plan.slots[slot].at) as usize;
                self.item_rows[item] = self.item_rows[item].saturating_add(1);
                self.item_train[item] = self.item_train[item].saturating_add(u32::from(split_of(record) == train));
            }
        }
        for ((_, slot), fit) in plan.numbers().zip(&mut self.fits) {
            for record in each() {
                let value = f64_at(record, plan.slots[slot].at);
                fit.add(value, split_of(record) == train, plan.key(record));
            }
        }
        for (task, slot) in plan.labels.iter().enumerate() {
            for record in each() {
                let value = f32_at(record, plan.slots[*slot].at);
                let info = &mut self.labels[split_of(record) as usize][task];
                info.given += u64::from(!value.is_nan());
                info.positive += u64::from(value > 0.0);
                // The sum, until the means are taken.
                info.mean += if value.is_nan() { 0.0 } else { f64::from(value) };
            }
        }
        if plan.schema.time.is_some() {
            for record in each() {
                let (time, source) = (plan.time_of(record).0, u64_at(record, plan.source_at));
                let (first, last, of_last) = self.time.unwrap_or((time, time, source));
                let of_last = if time > last { source } else { of_last };
                self.time = Some((first.min(time), last.max(time), of_last));
            }
        }
    }
}

/// The places in a record of what is counted, with the vocabulary it is counted for.
struct Counted {
    ids: Vec<(usize, usize)>,
    lists: Vec<(usize, usize)>,
}

impl Counted {
    fn new(plan: &Plan) -> Self {
        let mut counted = Self { ids: Vec::new(), lists: Vec::new() };
        for slot in &plan.slots {
            match slot.kind {
                Kind::Id(Ids::Vocabulary(vocabulary)) => counted.ids.push((slot.at, vocabulary)),
                Kind::List { ids: Ids::Vocabulary(vocabulary), .. } => counted.lists.push((slot.at, vocabulary)),
                Kind::Level(level) => counted.ids.push((slot.at, plan.levels[level].1)),
                _ => {}
            }
        }
        counted
    }
}

/// Sorts the rows of every part by user and time, gives each its split, and counts.
pub(crate) fn arrange(
    plan: &Plan,
    encoder: &RowEncoder,
    splits: &Splits,
    parts: &mut Parts,
    seed: Seed,
    progress: &mut dyn FnMut(u64),
) -> Result<Seen> {
    let mut seen = Seen::new(plan, encoder, splits, seed);
    let counted = Counted::new(plan);
    let mut sorter = Sorter::default();
    let mut done = 0;
    for index in 0..parts.len() {
        let mut part = parts.take(index)?;
        part.records = sorter.sort(plan, part.records);
        sorter.split(plan, encoder, splits, &mut part.records);
        seen.add(plan, &counted, &part.records, &part.lists, 0);
        done += (part.records.len() / plan.stride) as u64;
        parts.put(index, part)?;
        progress(done);
    }
    for label in seen.labels.iter_mut().flatten() {
        label.mean /= label.given.max(1) as f64;
    }
    Ok(seen)
}

/// Scratch memory of the second pass.
#[derive(Default)]
struct Sorter {
    starts: Vec<u32>,
    order: Vec<u32>,
    keyed: Vec<((i64, u32), u32)>,
    times: Vec<i64>,
    given: Vec<u8>,
    keys: Vec<u64>,
    splits: Vec<u8>,
}

impl Sorter {
    /// The records by user and time. Records come in file order, so a stable sort breaks ties as it should.
    fn sort(&mut self, plan: &Plan, records: Vec<u8>) -> Vec<u8> {
        let Some((user, _)) = plan.user else { return records };
        let (user_at, stride) = (plan.slots[user].at, plan.stride);
        let rows = records.len() / stride;
        // A counting sort by user: the users of a part are every so many, so their numbers divide densely.
        let user_of = |row: usize| super::spill::local_user(u32_at(&records, row * stride + user_at));
        let users = (0..rows).map(user_of).max().map_or(0, |largest| largest + 1);
        self.starts.clear();
        self.starts.resize(users + 1, 0);
        (0..rows).for_each(|row| self.starts[user_of(row) + 1] += 1);
        (0..users).for_each(|user| self.starts[user + 1] += self.starts[user]);
        self.order.clear();
        self.order.resize(rows, 0);
        for row in 0..rows {
            let next = &mut self.starts[user_of(row)];
            self.order[*next as usize] = row as u32;
            *next += 1;
        }
        // Each start has moved to the next user's.
        let mut from = 0;
        for user in 0..users {
            let to = self.starts[user] as usize;
            let order = &mut self.order[from..to];
            from = to;
            let time = |row: u32| plan.time_of(&records[row as usize * stride..]);
            if order.is_sorted_by_key(|row| time(*row)) {
                continue;
            }
            self.keyed.clear();
            self.keyed.extend(order.iter().map(|row| (time(*row), *row)));
            self.keyed.sort_unstable();
            order.iter_mut().zip(&self.keyed).for_each(|(row, (_, sorted))| *row = *sorted);
        }
        let mut sorted = Vec::with_capacity(records.len());
        for row in &self.order {
            let at = *row as usize * stride;
            sorted.extend_from_slice(&records[at..at + stride]);
        }
        sorted
    }

    fn split(&mut self, plan: &Plan, encoder: &RowEncoder, splits: &Splits, records: &mut [u8]) {
        for range in users(plan, records) {
            let stride = plan.stride;
            let rows = &mut records[range.start * stride..range.end * stride];
            self.times.clear();
            self.given.clear();
            self.keys.clear();
            for record in rows.chunks_exact(stride) {
                self.times.push(plan.time_of(record).0);
                self.given.push(record[plan.given_at]);
                self.keys.push(plan.key(record));
            }
            let user = plan
                .user
                .map_or("", |(slot, vocabulary)| encoder.interners[vocabulary].text(u32_at(rows, plan.slots[slot].at)));
            splits.assign(&self.times, &self.given, &self.keys, user, &mut self.splits);
            for (record, split) in rows.chunks_exact_mut(stride).zip(&self.splits) {
                record[plan.given_at + 1] = *split;
            }
        }
    }
}

/// The ranges of rows of one user each; one range of all rows where there are no users.
pub(crate) fn users(plan: &Plan, records: &[u8]) -> Vec<std::ops::Range<usize>> {
    let rows = records.len() / plan.stride;
    let Some((slot, _)) = plan.user else { return std::iter::once(0..rows).collect() };
    let user = |row: usize| u32_at(records, row * plan.stride + plan.slots[slot].at);
    let mut ranges = Vec::new();
    let mut start = 0;
    for row in 1..=rows {
        if row == rows || user(row) != user(start) {
            ranges.push(start..row);
            start = row;
        }
    }
    ranges
}
