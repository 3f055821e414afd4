//! Which rows training looked up, how often, and which of them a user needs.

use kitestring_core::{Batch, Error, Result, Seed};
use kitestring_data::dataset::{Dataset, Split};
use std::collections::{BTreeSet, HashMap};

/// Samples read at once.
const BATCH: u64 = 8192;

/// How often each id of each table was looked up in training.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    tables: HashMap<String, HashMap<u64, u64>>,
}

/// What a user's device needs beside what all have: ids by table.
pub type Needs = HashMap<String, BTreeSet<u64>>;

impl Usage {
    /// Counts the lookups of the split `train`. Tables of known size are counted in place, so this is one pass that takes as long as reading.
    ///
    /// # Errors
    /// No such split, or a damaged file.
    pub fn of(dataset: &Dataset, seed: Seed) -> Result<Self> {
        let tables = tables_of_features(dataset);
        let mut direct: HashMap<&str, Vec<u64>> = HashMap::new();
        let mut open: HashMap<&str, HashMap<u64, u64>> = HashMap::new();
        for table in dataset.schema().table_names() {
            match dataset.table_size(table)?.map(usize::try_from) {
                Some(Ok(rows)) => _ = direct.insert(table, vec![0; rows]),
                _ => _ = open.insert(table, HashMap::new()),
            }
        }
        each_batch(dataset.split("train")?, seed, |batch| {
            for (ids, table) in batch.sparse.iter().zip(&tables) {
                if let Some(counts) = direct.get_mut(table.as_str()) {
                    let counted = ids.ids.iter().filter_map(|id| usize::try_from(*id).ok());
                    counted.for_each(|id| counts.get_mut(id).into_iter().for_each(|count| *count += 1));
                } else if let Some(counts) = open.get_mut(table.as_str()) {
                    ids.ids.iter().for_each(|id| *counts.entry(*id).or_default() += 1);
                }
            }
        })?;
        let used = |counts: Vec<u64>| (0..).zip(counts).filter(|(_, count)| *count > 0).collect();
        let direct = direct.into_iter().map(|(table, counts)| (table.to_owned(), used(counts)));
        let open = open.into_iter().map(|(table, counts)| (table.to_owned(), counts));
        Ok(Self { tables: direct.chain(open).collect() })
    }

    /// How often an id was looked up.
    pub fn count(&self, table: &str, id: u64) -> u64 {
        self.tables.get(table).and_then(|counts| counts.get(&id)).copied().unwrap_or(0)
    }

    /// The ids that were looked up, the most used first, each with its number of lookups.
    pub fn ranked(&self, table: &str) -> Vec<(u64, u64)> {
        let mut ids: Vec<(u64, u64)> = self.tables.get(table).into_iter().flatten().map(|(id, n)| (*id, *n)).collect();
        ids.sort_unstable_by_key(|(id, count)| (std::cmp::Reverse(*count), *id));
        ids
    }
}

/// What the devices of some users need: the ids of all their samples, in any split.
///
/// # Errors
/// A user nobody knows; data without users; a damaged file.
pub fn needs(dataset: &Dataset, users: &[String], seed: Seed) -> Result<Needs> {
    let mut needs = Needs::new();
    if users.is_empty() {
        return Ok(needs);
    }
    let unknown = |what: String| Error::config(what).in_field("--user");
    let Some(vocabulary) = dataset.manifest().user else {
        return Err(unknown("the data do not know the user of a row".into()).mend("leave --user out"));
    };
    let vocabularies = dataset.vocabularies()?;
    let mut numbers = BTreeSet::new();
    for user in users {
        match vocabularies.entry(vocabulary, user) {
            0 => return Err(unknown(format!("the data have no user `{user}`"))),
            number => _ = numbers.insert(u64::from(number)),
        }
    }
    let tables = tables_of_features(dataset);
    for split in dataset.splits() {
        each_batch(split, seed, |batch| {
            for row in (0..batch.rows).filter(|row| batch.user.get(*row).is_some_and(|user| numbers.contains(user))) {
                for (ids, table) in batch.sparse.iter().zip(&tables) {
                    needs.entry(table.clone()).or_default().extend(ids.of_row(row));
                }
            }
        })?;
    }
    Ok(needs)
}

fn tables_of_features(dataset: &Dataset) -> Vec<String> {
    dataset.schema().sparse().map(|feature| feature.table().to_owned()).collect()
}

/// Reads all samples of a split in their order.
pub(crate) fn each_batch(split: &Split, seed: Seed, mut each: impl FnMut(&Batch)) -> Result<()> {
    let (mut batch, mut first) = (Batch::default(), 0);
    while first < split.rows() {
        let last = (first + BATCH).min(split.rows());
        let indices: Vec<u64> = (first..last).collect();
        split.read(&indices, seed, &mut batch)?;
        each(&batch);
        first = last;
    }
    Ok(())
}
