//! The features of every item.

use super::column::Stored;
use super::features::{Sparse, is_item, numeric, sparse};
use super::file;
use super::manifest::Manifest;
use crate::prepare::{Column, ITEMS};
use arrow_array::RecordBatch;
use arrow_buffer::ScalarBuffer;
use kitestring_core::{Batch, Error, Ids, Result, Schema};
use std::path::Path;

/// The column of names, in a file of items that stand beside a data set's.
pub(crate) const NAMES: &str = "name";

/// The features of every item by its number. Number 0 is an unknown item.
pub struct ItemTable {
    train: ScalarBuffer<u32>,
    rows: ScalarBuffer<u32>,
    seen: Vec<u32>,
    trained: Vec<u32>,
    /// The column of each sparse feature that is the item's, in the order of the batch.
    pub(super) sparse: Vec<Option<Sparse>>,
    /// Likewise of each numeric feature.
    pub(super) numeric: Vec<Option<ScalarBuffer<f32>>>,
    names: Vec<String>,
}

impl ItemTable {
    /// The item table of a data set directory or of a copy of its vocabularies; none where the schema has no item.
    pub(super) fn open(directory: &Path, manifest: &Manifest) -> Result<Option<Self>> {
        let Some(item) = manifest.item else { return Ok(None) };
        let path = directory.join(ITEMS);
        let table = file::read(&path, manifest.files.get(ITEMS).copied())?;
        Stored { table: &table, path: &path }.expect_rows(manifest.vocabularies[item].entries.into())?;
        Self::of(&table, &path, &manifest.schema).map(Some)
    }

    /// The item table in a file's columns.
    pub(super) fn of(table: &RecordBatch, path: &Path, schema: &Schema) -> Result<Self> {
        let stored = Stored { table, path };
        let (train, rows) = (stored.plain("train")?, stored.plain("rows")?);
        let with = |counts: &ScalarBuffer<u32>| {
            (0..).zip(counts.iter()).filter(|(_, rows)| **rows > 0).map(|(item, _)| item).collect::<Vec<u32>>()
        };
        Ok(Self {
            seen: with(&rows),
            trained: with(&train),
            train,
            rows,
            sparse: schema
                .sparse()
                .map(|feature| is_item(feature).then(|| sparse(&stored, feature, None)).transpose())
                .collect::<Result<_>>()?,
            numeric: schema
                .numeric()
                .map(|feature| is_item(feature).then(|| numeric(&stored, feature)).transpose())
                .collect::<Result<_>>()?,
            names: schema.sparse().chain(schema.numeric()).map(|feature| feature.name.clone()).collect(),
        })
    }

    /// One past the largest item number.
    pub fn count(&self) -> usize {
        self.rows.len()
    }

    /// The items of any split's rows, ascending.
    pub fn seen(&self) -> &[u32] {
        &self.seen
    }

    /// The items of training rows, ascending: those negatives are drawn from.
    pub fn trained(&self) -> &[u32] {
        &self.trained
    }

    /// The number of training rows of an item; 0 for an item there is not.
    pub fn popularity(&self, item: u32) -> u32 {
        self.train.get(item as usize).copied().unwrap_or(0)
    }

    /// The number of rows of an item in any split; 0 for an item there is not.
    pub(crate) fn rows(&self, item: u32) -> u32 {
        self.rows.get(item as usize).copied().unwrap_or(0)
    }

    /// Appends these items to a batch: their numbers and their features' values. Columns of other features are left as
    /// they are, and the rows are not counted: this is for a tower that reads items alone, and for what completes a row.
    /// A numeric feature that is not the item's is 0.
    ///
    /// # Errors
    /// An item there is not.
    pub fn put(&self, items: &[u32], batch: &mut Batch) -> Result<()> {
        self.check(items)?;
        batch.sparse.resize_with(self.sparse.len(), Default::default);
        for index in 0..self.sparse.len() {
            items.iter().for_each(|item| self.put_sparse(index, *item, &mut batch.sparse[index]));
        }
        for item in items {
            for values in &self.numeric {
                batch.numeric.push(values.as_ref().map_or(0.0, |values| values[*item as usize]));
            }
        }
        batch.item.extend(items.iter().map(|item| u64::from(*item)));
        Ok(())
    }

    pub(super) fn check(&self, items: &[u32]) -> Result<()> {
        match items.iter().find(|item| **item as usize >= self.count()) {
            None => Ok(()),
            Some(item) => Err(Error::config(format!("there is no item number {item}: there are {}", self.count()))),
        }
    }

    /// Appends an item's ids of a sparse feature, where it is the item's.
    #[inline]
    pub(super) fn put_sparse(&self, index: usize, item: u32, ids: &mut Ids) {
        match &self.sparse[index] {
            Some(Sparse::One(values)) => ids.ids.push(values.get(item as usize)),
            Some(Sparse::Lists(lists)) => {
                if ids.offsets.is_empty() {
                    ids.offsets.push(0);
                }
                lists.values.extend(lists.range(item as usize), &mut ids.ids);
                ids.offsets.push(ids.ids.len() as u32);
            }
            Some(Sparse::History { .. }) | None => {}
        }
    }

    /// Appends an item's value in a column of the item file to a column being collected; false where there is none.
    pub(crate) fn copy(&self, column: &str, item: usize, into: &mut Column) -> bool {
        let Some(feature) = column.strip_prefix("feature.") else { return false };
        let Some(index) = self.names.iter().position(|name| name == feature) else { return false };
        if self.rows.get(item).is_none_or(|rows| *rows == 0) {
            return false;
        }
        match (index.checked_sub(self.sparse.len()), into) {
            (None, into) => match (&self.sparse[index], into) {
                (Some(Sparse::One(values)), Column::Whole(into)) => into.push(values.get(item)),
                (Some(Sparse::Lists(lists)), Column::Lists(into)) => {
                    lists.range(item).for_each(|at| into.values.push(lists.values.get(at)));
                    into.end();
                }
                _ => return false,
            },
            (Some(index), Column::Float(into)) => match &self.numeric[index] {
                Some(values) => into.push(values[item]),
                None => return false,
            },
            _ => return false,
        }
        true
    }
}
