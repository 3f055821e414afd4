//! Provisional numbers become entries of vocabularies.

use super::arrange::Seen;
use super::intern::Interner;
use super::plan::Plan;
use crate::dataset::manifest::VocabularyInfo;
use arrow_array::{ArrayRef, LargeStringArray, StringArray, UInt32Array};
use kitestring_core::Result;
use std::path::Path;
use std::sync::Arc;

/// The entry of each provisional number of each vocabulary, in the order of first appearance in the files. Ids come
/// first: the values of training rows; then users and items that are none. A value that is neither has entry 0.
pub(crate) struct Numbering {
    entries: Vec<Vec<u32>>,
    /// Number of entries that are ids, entry 0 among them.
    ids: Vec<u32>,
    /// The provisional number of each entry.
    pub(crate) values: Vec<Vec<u32>>,
    /// The number of each arm of the treatment, by provisional number.
    pub(crate) arms: Vec<u32>,
    /// The id of a value that is none. Those of entries follow it.
    unknown: u32,
}

/// The sizes of a stored vocabulary, whose entries are the first provisional numbers.
#[derive(Clone, Copy)]
pub(crate) struct Stored {
    pub(crate) ids: u32,
    pub(crate) entries: u32,
    /// Whether values it does not hold become ids, behind its own.
    pub(crate) grows: bool,
}

impl Stored {
    /// A vocabulary of a manifest.
    pub(crate) fn new(vocabulary: &VocabularyInfo, grows: bool) -> Self {
        // What was no id before has no row, and may become one.
        let entries = if grows { vocabulary.ids } else { vocabulary.entries };
        Self { ids: vocabulary.ids, entries, grows }
    }
}

impl Numbering {
    /// `unknown` is the id of a value that is none, [`unknown_id`](crate::dataset::manifest::Manifest::unknown_id).
    pub(crate) fn new(
        plan: &Plan,
        interners: &[Interner],
        seen: &Seen,
        (stored, unknown): (Option<&[Stored]>, u64),
    ) -> Self {
        let (entries, ids, values) = (Vec::new(), Vec::new(), Vec::new());
        let mut numbering = Self { entries, ids, values, arms: Vec::new(), unknown: unknown as u32 };
        for (vocabulary, rule) in plan.vocabularies.iter().enumerate() {
            let counts = &seen.counts[vocabulary];
            let mut entries = vec![0; counts.len()];
            let fresh = Stored { ids: 1, entries: 1, grows: true };
            let stored = stored.map_or(fresh, |stored| stored[vocabulary]);
            let known = stored.entries as usize;
            let mut values: Vec<u32> = (0..stored.entries).collect();
            let kept = |number: &usize| rule.min_count.is_none_or(|least| counts[*number] >= least);
            if stored.grows {
                values.extend((known..counts.len()).filter(kept).map(|number| number as u32));
            }
            let ids = if stored.grows { values.len() as u32 } else { stored.ids };
            for (entry, value) in values.iter().enumerate().skip(1) {
                entries[*value as usize] = entry as u32;
            }
            let is = |key: Option<(usize, usize)>| key.is_some_and(|(_, keyed)| keyed == vocabulary);
            for (number, entry) in entries.iter_mut().enumerate().take(counts.len()).skip(known) {
                let user = is(plan.user) && seen.user_rows.get(number).is_some_and(|rows| *rows > 0);
                let item = is(plan.item) && seen.item_rows.get(number).is_some_and(|rows| *rows > 0);
                if *entry == 0 && (user || item || is(plan.treatment)) {
                    *entry = values.len() as u32;
                    values.push(number as u32);
                }
            }
            numbering.entries.push(entries);
            numbering.ids.push(ids);
            numbering.values.push(values);
        }
        if let Some((_, vocabulary)) = plan.treatment {
            numbering.arms = arms(&interners[vocabulary]);
        }
        numbering
    }

    /// The entry of a provisional number, which is the number of a user or an item.
    #[inline(always)]
    pub(crate) fn entry(&self, vocabulary: usize, provisional: u32) -> u32 {
        self.entries[vocabulary][provisional as usize]
    }

    /// The entry of a provisional number, such as that of a scenario; 0 where training did not have the value often enough, or where there is
    /// none.
    #[inline(always)]
    pub(crate) fn trained_entry(&self, vocabulary: usize, provisional: u32) -> u32 {
        let entry = self.entries[vocabulary][provisional as usize];
        if entry < self.ids[vocabulary] { entry } else { 0 }
    }

    /// The id of a provisional number in a table.
    #[inline(always)]
    pub(crate) fn id(&self, vocabulary: usize, provisional: u32) -> u32 {
        // The provisional number of a missing value is 0, and so is its id.
        let unknown = if provisional == 0 { 0 } else { self.unknown };
        self.trained_entry(vocabulary, provisional) + unknown
    }

    /// Whether a provisional number is a value that has no id. Number 0 is no value.
    #[inline(always)]
    pub(crate) fn is_unknown(&self, vocabulary: usize, provisional: u32) -> bool {
        provisional != 0 && self.trained_entry(vocabulary, provisional) == 0
    }

    /// The number of rows of a table with a vocabulary.
    pub(crate) fn rows(&self, vocabulary: usize) -> u32 {
        self.ids[vocabulary] + self.unknown
    }

    pub(crate) fn entries(&self, vocabulary: usize) -> usize {
        self.values[vocabulary].len()
    }

    /// Writes a vocabulary: the value and the number of training rows of each entry.
    pub(crate) fn write(
        &self,
        plan: &Plan,
        interner: &Interner,
        seen: &Seen,
        vocabulary: usize,
        directory: &Path,
    ) -> Result<(VocabularyInfo, u64)> {
        let name = &plan.vocabularies[vocabulary].name;
        let (values, counts) = (&self.values[vocabulary], &seen.counts[vocabulary]);
        let mut shown: Vec<u32> = values.iter().map(|value| counts[*value as usize]).collect();
        let elsewhere = |entry: u32| entry == 0 || entry >= self.ids[vocabulary];
        let rest = self.entries[vocabulary].iter().zip(counts).filter(|(entry, _)| elsewhere(**entry));
        shown[0] = rest.fold(0, |sum: u32, (_, count)| sum.saturating_add(*count));
        let texts = values.iter().map(|value| interner.text(*value));
        let bytes: usize = values.iter().map(|value| interner.text(*value).len()).sum();
        let texts: ArrayRef = if bytes < i32::MAX as usize {
            Arc::new(StringArray::from_iter_values(texts))
        } else {
            Arc::new(LargeStringArray::from_iter_values(texts))
        };
        let file = format!("vocabulary-{vocabulary}-{}.arrow", file_name(name));
        let columns = vec![("value".into(), texts), ("count".into(), Arc::new(UInt32Array::from(shown)) as ArrayRef)];
        let written = crate::dataset::file::write(&directory.join(&file), columns)?;
        let (ids, entries) = (self.ids[vocabulary], values.len() as u32);
        let missing = u64::from(counts.first().copied().unwrap_or(0));
        let numbers = (0..).zip(counts).filter(|(number, _)| self.is_unknown(vocabulary, *number));
        let unknown = numbers.map(|(_, count)| u64::from(*count)).sum();
        Ok((VocabularyInfo { name: name.clone(), file, ids, entries, missing, unknown }, written))
    }
}

/// A name as a part of a file's name.
pub(crate) fn file_name(name: &str) -> String {
    name.chars().map(|letter| if letter.is_ascii_alphanumeric() || letter == '_' { letter } else { '-' }).collect()
}

/// Arms that are all integers are those integers; others are numbered from 0 in the order of first appearance.
fn arms(interner: &Interner) -> Vec<u32> {
    let numbers: Option<Vec<u32>> = (1..interner.len() as u32).map(|arm| interner.text(arm).parse().ok()).collect();
    let numbers = numbers.unwrap_or_else(|| (0..interner.len() as u32 - 1).collect());
    std::iter::once(0).chain(numbers).collect()
}
