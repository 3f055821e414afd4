//! A few thousand rows in columns, and where they came from.

use arrow_array::RecordBatch;
use kitestring_core::Error;
use std::sync::Arc;

/// A few thousand rows of one file in columns. Columns of a text format are `Utf8`; those of Parquet and Arrow have the
/// types of the file.
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
    /// Adds the place of a row and a column to an error.
    pub fn blame(&self, error: Error, row: usize, column: &str) -> Error {
        error.in_file(&*self.file).at_line(self.lines.of(row)).in_field(column)
    }
}
