//! Parquet and Arrow IPC files.

use super::{CHUNK_ROWS, files, slots};
use crate::chunk::{Chunk, Lines};
use arrow_array::RecordBatch;
use arrow_ipc::reader::FileReader;
use arrow_schema::{ArrowError, SchemaRef};
use kitestring_core::error::{Error, Result};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

/// The rows of one Parquet or Arrow file.
pub(super) struct ColumnarReader {
    batches: Batches,
    /// What is left of the current batch.
    batch: Option<RecordBatch>,
    /// For each wanted column its place among those read.
    order: Vec<usize>,
    file: Arc<str>,
    row: u64,
}

enum Batches {
    Parquet(ParquetRecordBatchReader),
    Arrow(FileReader<BufReader<File>>),
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Parquet(batches) => batches.next(),
            Self::Arrow(batches) => batches.next(),
        }
    }
}

fn parquet(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    ParquetRecordBatchReaderBuilder::try_new(files::open(path)?).map_err(|cause| {
        Error::format("this is not a whole Parquet file").in_file(path.display().to_string()).caused_by(cause)
    })
}

fn arrow(path: &Path, projection: Option<Vec<usize>>) -> Result<FileReader<BufReader<File>>> {
    FileReader::try_new(BufReader::new(files::open(path)?), projection).map_err(|cause| {
        Error::format("this is not a whole Arrow IPC file").in_file(path.display().to_string()).caused_by(cause)
    })
}

fn names(schema: &SchemaRef) -> Vec<String> {
    schema.fields().iter().map(|field| field.name().clone()).collect()
}

/// The names of the columns.
pub(super) fn columns(path: &Path, is_parquet: bool) -> Result<Vec<String>> {
    Ok(if is_parquet { names(parquet(path)?.schema()) } else { names(&arrow(path, None)?.schema()) })
}

impl ColumnarReader {
    /// Opens a file for its wanted columns.
    pub fn open(path: &Path, is_parquet: bool, wanted: &[String]) -> Result<Self> {
        let file: Arc<str> = path.display().to_string().into();
        let wanted_of = |schema: &SchemaRef| slots(&names(schema), wanted, &file);
        let (batches, places) = if is_parquet {
            let builder = parquet(path)?;
            let places = wanted_of(builder.schema())?;
            let mask = ProjectionMask::roots(builder.parquet_schema(), places.iter().copied());
            let built = builder.with_projection(mask).with_batch_size(CHUNK_ROWS).build();
            let built = built.map_err(|cause| damaged(cause.into(), &file))?;
            (Batches::Parquet(built), places)
        } else {
            let places = wanted_of(&arrow(path, None)?.schema())?;
            let mut sorted = places.clone();
            sorted.sort_unstable();
            (Batches::Arrow(arrow(path, Some(sorted))?), places)
        };
        // Both formats give the columns in the order of the file.
        let order = places.iter().map(|place| places.iter().filter(|other| *other < place).count()).collect();
        Ok(Self { batches, batch: None, order, file, row: 1 })
    }

    /// The next rows; `None` at the end of the file.
    pub fn next_chunk(&mut self) -> Result<Option<Chunk>> {
        loop {
            if let Some(batch) = &mut self.batch
                && batch.num_rows() > 0
            {
                let count = batch.num_rows().min(CHUNK_ROWS);
                let rows = batch.slice(0, count);
                *batch = batch.slice(count, batch.num_rows() - count);
                let lines = Lines::From(self.row);
                self.row += count as u64;
                return Ok(Some(Chunk { rows, file: self.file.clone(), lines }));
            }
            let Some(batch) = self.batches.next() else { return Ok(None) };
            let batch = batch.and_then(|batch| batch.project(&self.order));
            let batch = batch.map_err(|cause| damaged(cause, &self.file))?;
            self.batch = Some(batch);
        }
    }
}

fn damaged(cause: ArrowError, file: &str) -> Error {
    // As both libraries word it.
    let text = cause.to_string();
    if ["Disabled feature", "not implemented", "not supported", "unsupported"].iter().any(|word| text.contains(word)) {
        return Error::data("the file is written in a way that kitestring does not read")
            .in_file(file)
            .mend("write it with another compression or encoding")
            .caused_by(cause);
    }
    Error::format("the file is damaged").in_file(file).mend("fetch it again").caused_by(cause)
}
