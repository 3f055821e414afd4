//! The lists of what each user did, once for all rows that read them.

use super::columns::{Lists, Span, final_id};
use super::number::Numbering;
use super::plan::{EventList, Kind, Plan};
use super::rows::missing;
use super::spill::{f32_at, u32_at, u64_at};
use crate::config::Ties;
use crate::dataset::Dataset;
use arrow_array::{ArrayRef, UInt32Array};
use kitestring_core::Result;
use kitestring_core::schema::Which;
use std::ops::Range;
use std::sync::Arc;

/// What histories are made of.
#[derive(Clone, Copy)]
pub(crate) enum EventSource<'a> {
    /// The rows themselves.
    Rows(Ties),
    /// The events of a data set, which may be none: the rows are to be scored, and are no events.
    Past(Option<&'a Dataset>),
}

/// The rows of a user, in the order of time, or of training where order does not count.
pub(crate) struct UserRows<'a> {
    /// The user's number.
    pub(crate) user: u32,
    /// The distinct (split, item)s.
    pub(crate) distinct: &'a [(u8, u32)],
    pub(crate) records: &'a [u8],
    pub(crate) rows: Range<usize>,
}

/// The lists of the users of a shard: the distinct items of each split, and the events histories are cut from, with their times.
///
/// A user has one entry, where every row sees the rows of earlier times. Rows of given files do not see later files' rows: where
/// a user's files mix in time, the user has an entry for each file with rows, holding what those rows see, and the last
/// one holds everything.
pub(crate) struct UserLists {
    users: Vec<u32>,
    items: Vec<Lists>,
    events: Vec<Lists>,
    /// The time of each event, counted from the first one of the data set; none for lists without order.
    times: Vec<Option<Lists>>,
    first_time: i64,
    /// The split `train`.
    train: Option<u8>,
}

impl UserLists {
    /// `time` is of the first and the last one, where rows have times and are events.
    pub(crate) fn new(plan: &Plan, splits: &[String], time: Option<(i64, i64)>) -> Self {
        let wide = |slot: usize| matches!(plan.slots[slot].kind, Kind::Id(ids) if ids.is_wide());
        let times = |list: &EventList| {
            let (first, last) = time.filter(|_| list.which == Which::Earlier)?;
            Some(Lists::new(last.abs_diff(first) > u64::from(u32::MAX)))
        };
        Self {
            users: Vec::new(),
            items: (0..if plan.item.is_some() { splits.len() } else { 0 }).map(|_| Lists::new(false)).collect(),
            events: plan.event_lists.iter().map(|list| Lists::new(wide(list.slot))).collect(),
            times: plan.event_lists.iter().map(times).collect(),
            first_time: time.map_or(0, |(first, _)| first),
            train: splits.iter().position(|split| split == "train").map(|split| split as u8),
        }
    }

    /// The number of entries.
    pub(crate) fn len(&self) -> usize {
        self.users.len()
    }

    /// Adds a user whose rows are events. Says where each row's histories are.
    ///
    /// A row sees the events of strictly earlier times. Those of its own moment are seen where `ties` are broken by the order of the file,
    /// and their rows come before it. Without a time column every row is a moment.
    pub(crate) fn add(
        &mut self,
        plan: &Plan,
        numbering: &Numbering,
        ties: Ties,
        of: &UserRows<'_>,
        spans: &mut [Vec<Span>],
    ) {
        let UserRows { user, distinct, records, ref rows } = *of;
        let given = |row: usize| records[row * plan.stride + plan.given_at];
        let mut visible: Vec<u8> = rows.clone().map(given).collect();
        if visible.is_sorted() {
            // Whatever is earlier is of the same file or an earlier one: one list serves all.
            visible.drain(..visible.len() - 1);
        } else {
            visible.sort_unstable();
            visible.dedup();
        }
        let several = visible.len() > 1;
        let full = visible.last().copied();
        for last in visible {
            let sees = |row: usize| !several || given(row) == last;
            for (index, list) in plan.event_lists.iter().enumerate() {
                let Kind::Id(ids) = plan.slots[list.slot].kind else { continue };
                let (events, mut times) = (&mut self.events[index], self.times[index].as_mut());
                let base = events.values.len() as u32;
                // Where the events end that are earlier than the moment of the row before.
                let (mut moment, mut end) = (None, base);
                for row in rows.clone().filter(|row| given(*row) <= last) {
                    let at = row * plan.stride;
                    let time = plan.time_of(&records[at..]);
                    if ties == Ties::FileOrder || moment != Some(time) {
                        (moment, end) = (Some(time), events.values.len() as u32);
                    }
                    if sees(row) {
                        spans[index][row] = Span { base, end };
                    }
                    if list.which == Which::All && self.train != Some(records[at + plan.given_at + 1]) {
                        continue;
                    }
                    if list.when.is_some_and(|label| f32_at(records, at + plan.slots[label].at) != 1.0) {
                        continue;
                    }
                    let place = at + plan.slots[list.slot].at;
                    let held = if ids.is_wide() { u64_at(records, place) } else { u32_at(records, place).into() };
                    if held != missing(ids) {
                        events.values.push(final_id(ids, numbering, records, place));
                        if let Some(times) = &mut times {
                            times.values.push(time.0.abs_diff(self.first_time));
                        }
                    }
                }
                if list.which == Which::All {
                    let all = Span { base, end: events.values.len() as u32 };
                    rows.clone().filter(|row| sees(*row)).for_each(|row| spans[index][row] = all);
                }
            }
            self.end(user, distinct, Some(last) == full);
        }
    }

    /// Adds a user whose rows are to be scored: a row sees the user's events in `past` of strictly earlier times, and no other row.
    pub(crate) fn add_scored(
        &mut self,
        plan: &Plan,
        past: Option<&Dataset>,
        of: &UserRows<'_>,
        spans: &mut [Vec<Span>],
    ) -> Result<()> {
        for (index, list) in plan.event_lists.iter().enumerate() {
            let events = &mut self.events[index];
            let base = events.values.len() as u32;
            let found = past.map(|past| past.events(index, of.user.into())).transpose()?.flatten();
            let before = |row: usize| {
                let count = |found: &crate::dataset::UserEvents<'_>| match list.which {
                    Which::Earlier => found.before(plan.time_of(&of.records[row * plan.stride..]).0),
                    Which::All => found.len(),
                };
                found.as_ref().map_or(0, count)
            };
            // Rows are in the order of time: the first one sees the fewest events, and of those no more than the last ones.
            let from = before(of.rows.start).saturating_sub(list.longest);
            if let Some(found) = &found {
                (from..before(of.rows.end - 1)).for_each(|at| events.values.push(found.value(at)));
            }
            for row in of.rows.clone() {
                spans[index][row] = Span { base, end: base + (before(row) - from) as u32 };
            }
        }
        self.end(of.user, of.distinct, true);
        Ok(())
    }

    /// Ends the lists of an entry. Its items are given where it is the user's last.
    fn end(&mut self, user: u32, distinct: &[(u8, u32)], with_items: bool) {
        self.users.push(user);
        if with_items {
            distinct.iter().for_each(|(split, item)| self.items[*split as usize].values.push((*item).into()));
        }
        let lists = self.items.iter_mut().chain(&mut self.events).chain(self.times.iter_mut().flatten());
        lists.for_each(Lists::end);
    }

    pub(crate) fn finish(self, splits: &[String]) -> Result<Vec<(String, ArrayRef)>> {
        let mut columns: Vec<(String, ArrayRef)> = vec![("user".into(), Arc::new(UInt32Array::from(self.users)))];
        for (split, items) in splits.iter().zip(self.items) {
            columns.push((format!("items.{split}"), items.finish(true)?));
        }
        for (index, events) in self.events.into_iter().enumerate() {
            columns.push((format!("events.{index}"), events.finish(false)?));
        }
        for (index, times) in self.times.into_iter().enumerate() {
            if let Some(times) = times {
                columns.push((format!("times.{index}"), times.finish(false)?));
            }
        }
        Ok(columns)
    }
}
