//! A few thousand rows in columns, and where they came from.

use arrow_array::{BooleanArray, RecordBatch};
use arrow_buffer::BooleanBuffer;
use kitestring_core::{Error, Result};
use std::sync::Arc;

/// A few thousand rows of one file in columns. Columns of a text format are `Utf8`; those of Parquet and Arrow have the
/// types of the file; joined ones are dictionaries whose values are a whole column of the side table, the same array in
/// every chunk. A null and an empty text both mean that there is no value.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// The rows.
    pub rows: RecordBatch,
    /// The file they came from.
    pub file: Arc<str>,
    /// The line (text formats) or row (others) of each, counted from one.
    pub lines: Lines,
}

/// The line of each row of a chunk.
#[derive(Debug, Clone)]
pub enum Lines {
    /// Consecutive, from this one on.
    From(u64),
    /// One a row: what a filter or a dropped bad row leaves.
    Each(Arc<[u64]>),
}

impl Lines {
    /// The line of a row, counted from one.
    pub fn of(&self, row: usize) -> u64 {
        match self {
            Self::From(first) => first + row as u64,
            Self::Each(lines) => lines.get(row).copied().unwrap_or(0),
        }
    }
}

impl Chunk {
    /// The rows whose bit is set.
    pub(crate) fn keep(&self, kept: BooleanBuffer) -> Result<Self> {
        let lines = kept.set_indices().map(|row| self.lines.of(row)).collect();
        let rows = arrow_select::filter::filter_record_batch(&self.rows, &BooleanArray::new(kept, None))
            .map_err(|cause| Error::internal("cannot filter a chunk").caused_by(cause))?;
        Ok(Self { rows, file: self.file.clone(), lines: Lines::Each(lines) })
    }

    /// Adds the place of a row and a column to an error.
    pub fn blame(&self, error: Error, row: usize, column: &str) -> Error {
        error.in_file(&*self.file).at_line(self.lines.of(row)).in_field(column)
    }
}
