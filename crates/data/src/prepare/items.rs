//! The features of every item, so that any item can take a row's place.

use super::arrange::Seen;
use super::columns::{Records, append, empty, item_columns};
use super::intern::Interner;
use super::number::Numbering;
use super::plan::{Ids, Kind, Plan};
use super::rows::missing;
use super::sides::SideCheck;
use super::spill::move_lists;
use crate::dataset::items::ItemTable;
use arrow_array::{ArrayRef, UInt32Array};
use kitestring_core::Result;
use kitestring_core::fitted::Fitted;
use kitestring_core::hash::stable_hash;
use kitestring_core::schema::Of;
use std::sync::Arc;

/// The item's part of the first row of each item, in the order of the files.
pub(crate) struct ItemRecords {
    /// The record of each item by provisional number, plus one; 0 where there is none yet.
    record_of: Vec<u32>,
    records: Vec<u8>,
    lists: Vec<u8>,
    pointers: Vec<(usize, usize)>,
    stride: usize,
    /// Whether later rows of an item are as its first.
    pub(crate) check: SideCheck,
}

/// The places of pointers to lists in a record, with the bytes of an element.
pub(crate) fn pointers(plan: &Plan, within: usize) -> Vec<(usize, usize)> {
    let of = |slot: &super::plan::Slot| match &slot.kind {
        Kind::List { ids, .. } if slot.at < within => Some((slot.at, if ids.is_wide() { 8 } else { 4 })),
        _ => None,
    };
    plan.slots.iter().filter_map(of).collect()
}

impl ItemRecords {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            record_of: Vec::new(),
            records: Vec::new(),
            lists: Vec::new(),
            pointers: pointers(plan, plan.item_stride),
            stride: plan.item_stride,
            check: SideCheck::new(plan, Of::Item),
        }
    }

    /// Keeps the item's part of a row, where it is the item's first.
    #[inline]
    pub(crate) fn add(&mut self, item: u32, record: &[u8], lists: &[u8]) {
        let item = item as usize;
        if let Some(known) = self.record_of.get(item).filter(|record| **record != 0) {
            let from = (*known as usize - 1) * self.stride;
            let first = (&self.records[from..from + self.stride], self.lists.as_slice());
            self.check.add(first, (&record[..self.stride], lists));
            return;
        }
        if self.record_of.len() <= item {
            self.record_of.resize(item + 1, 0);
        }
        let from = self.records.len();
        self.records.extend_from_slice(&record[..self.stride]);
        move_lists(&mut self.records[from..], lists, &self.pointers, &mut self.lists, 0);
        self.record_of[item] = (self.records.len() / self.stride.max(1)) as u32;
    }

    /// The columns of the item table: how many rows each item has, and its features. An item of which there is no record has those of the
    /// `stored` table; one that is not there either has its own id and otherwise missing values.
    pub(crate) fn columns(
        mut self,
        plan: &Plan,
        numbering: &Numbering,
        seen: &Seen,
        fitted: &[Fitted],
        (texts, stored): (&Interner, Option<&ItemTable>),
    ) -> Result<Vec<(String, ArrayRef)>> {
        let Some((item_slot, vocabulary)) = plan.item else { return Ok(Vec::new()) };
        let values = &numbering.values[vocabulary];
        let unknown = self.unknown(plan);
        let mut rows = Vec::with_capacity(values.len());
        let mut given = Vec::with_capacity(values.len());
        for value in values {
            let known = self.record_of.get(*value as usize).copied().unwrap_or(0);
            given.push(known != 0);
            let known = if known != 0 && self.stride > 0 {
                known - 1
            } else {
                self.nameless(plan, item_slot, *value, texts.text(*value), &unknown)
            };
            rows.push(known);
        }
        let of = |counts: &[u32]| -> ArrayRef {
            let count = |value: &u32| if *value == 0 { 0 } else { counts.get(*value as usize).copied().unwrap_or(0) };
            Arc::new(UInt32Array::from_iter_values(values.iter().map(count)))
        };
        let mut columns = vec![("train".to_owned(), of(&seen.item_train)), ("rows".to_owned(), of(&seen.item_rows))];
        let records = Records { records: &self.records, lists: &self.lists, spans: &[] };
        for (name, from) in item_columns(plan) {
            let mut column = empty(plan, &from);
            for (entry, row) in rows.iter().enumerate() {
                // Its provisional number is its entry in the stored table.
                let value = values[entry] as usize;
                if !given[entry] && stored.is_some_and(|stored| stored.copy(&name, value, &mut column)) {
                    continue;
                }
                append(plan, numbering, fitted, &from, &records, (&[*row], self.stride), &mut column)?;
            }
            columns.push((name, column.finish()?));
        }
        Ok(columns)
    }

    /// The record of an item of which nothing is known.
    fn unknown(&self, plan: &Plan) -> Vec<u8> {
        let mut record = vec![0; self.stride];
        for slot in plan.slots.iter().filter(|slot| slot.at < self.stride) {
            match &slot.kind {
                Kind::Number => record[slot.at..slot.at + 8].copy_from_slice(&f64::NAN.to_le_bytes()),
                Kind::Id(ids) if ids.is_wide() => {
                    record[slot.at..slot.at + 8].copy_from_slice(&missing(*ids).to_le_bytes());
                }
                Kind::Id(ids) => {
                    record[slot.at..slot.at + 4].copy_from_slice(&(missing(*ids) as u32).to_le_bytes());
                }
                _ => {}
            }
        }
        record
    }

    /// Adds the record of an item of which only the name is known, and returns its number.
    fn nameless(&mut self, plan: &Plan, item_slot: usize, value: u32, text: &str, unknown: &[u8]) -> u32 {
        let from = self.records.len();
        self.records.extend_from_slice(unknown);
        let column = plan.slots[item_slot].column;
        for slot in plan.slots.iter().filter(|slot| slot.at < self.stride && slot.column == column && value != 0) {
            let id = match slot.kind {
                Kind::Id(Ids::Vocabulary(vocabulary)) if plan.item.is_some_and(|(_, item)| item == vocabulary) => {
                    u64::from(value)
                }
                Kind::Id(Ids::Buckets(buckets)) => stable_hash(text) % buckets,
                Kind::Id(Ids::Open) => stable_hash(text),
                _ => continue,
            };
            let at = from + slot.at;
            match slot.kind {
                Kind::Id(ids) if ids.is_wide() => self.records[at..at + 8].copy_from_slice(&id.to_le_bytes()),
                _ => self.records[at..at + 4].copy_from_slice(&(id as u32).to_le_bytes()),
            }
        }
        (self.records.len() / self.stride.max(1)).saturating_sub(1) as u32
    }
}
