//! The lists of what each user did, once for all rows that read them.

use super::columns::{Lists, Span, final_id};
use super::number::Numbering;
use super::plan::{Kind, Plan};
use super::rows::missing;
use super::spill::{f32_at, u32_at, u64_at};
use crate::dataset::Dataset;
use arrow_array::{ArrayRef, UInt32Array};
use kitestring_core::Result;
use kitestring_core::schema::Which;
use std::ops::Range;
use std::sync::Arc;

/// The lists of the users of a shard: the distinct items of each split, and the events histories are cut from.
///
/// A user has one entry, where every row sees all earlier rows. Rows of given files do not see later files' rows: where
/// a user's files mix in time, the user has an entry for each file with rows, holding what those rows see, and the last
/// one holds everything.
pub(crate) struct UserLists {
    users: Vec<u32>,
    items: Vec<Lists>,
    events: Vec<Lists>,
    /// The split `train`.
    train: Option<u8>,
}

impl UserLists {
    pub(crate) fn new(plan: &Plan, splits: &[String]) -> Self {
        let wide = |slot: usize| matches!(plan.slots[slot].kind, Kind::Id(ids) if ids.is_wide());
        Self {
            users: Vec::new(),
            items: (0..if plan.item.is_some() { splits.len() } else { 0 }).map(|_| Lists::new(false)).collect(),
            events: plan.event_lists.iter().map(|list| Lists::new(wide(list.slot))).collect(),
            train: splits.iter().position(|split| split == "train").map(|split| split as u8),
        }
    }

    /// The number of entries.
    pub(crate) fn len(&self) -> usize {
        self.users.len()
    }

    /// Adds a user: the distinct (split, item)s, and the events of the rows, which are in the order of time, or of training where order does
    /// not count. Says where each row's histories are. Events of the same user in `past` come before.
    #[allow(clippy::too_many_arguments)] // All of them are parts of one user.
    pub(crate) fn add(
        &mut self,
        plan: &Plan,
        numbering: &Numbering,
        (user, past): (u32, Option<&Dataset>),
        distinct: &[(u8, u32)],
        records: &[u8],
        rows: Range<usize>,
        spans: &mut [Vec<Span>],
    ) -> Result<()> {
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
            for (index, list) in plan.event_lists.iter().enumerate() {
                let Kind::Id(ids) = plan.slots[list.slot].kind else { continue };
                let events = &mut self.events[index];
                let base = events.values.len() as u32;
                if let Some(past) = past {
                    past.events(index, user.into(), list.longest, |event| events.values.push(event))?;
                }
                for row in rows.clone().filter(|row| given(*row) <= last) {
                    if !several || given(row) == last {
                        spans[index][row] = Span { base, end: events.values.len() as u32 };
                    }
                    let at = row * plan.stride;
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
                    }
                }
                if list.which == Which::All {
                    let all = Span { base, end: events.values.len() as u32 };
                    let seeing = rows.clone().filter(|row| !several || given(*row) == last);
                    seeing.for_each(|row| spans[index][row] = all);
                }
                events.end();
            }
            self.users.push(user);
            if Some(last) == full {
                distinct.iter().for_each(|(split, item)| self.items[*split as usize].values.push((*item).into()));
            }
            self.items.iter_mut().for_each(Lists::end);
        }
        Ok(())
    }

    pub(crate) fn finish(self, splits: &[String]) -> Result<Vec<(String, ArrayRef)>> {
        let mut columns: Vec<(String, ArrayRef)> = vec![("user".into(), Arc::new(UInt32Array::from(self.users)))];
        for (split, items) in splits.iter().zip(self.items) {
            columns.push((format!("items.{split}"), items.finish(true)?));
        }
        for (index, events) in self.events.into_iter().enumerate() {
            columns.push((format!("events.{index}"), events.finish(false)?));
        }
        Ok(columns)
    }
}
