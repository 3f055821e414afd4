//! From a file or a folder of files to [`Chunk`]s of rows: text with any separator and JSON (plain, gzip, zstd or brotli), Parquet,
//! Arrow IPC.

mod bad_rows;
mod columnar;
mod compressed;
pub(crate) mod files;
pub(crate) mod json;
pub(crate) mod lines;
mod magic;
pub(crate) mod partitions;
mod record;
mod text;

pub use bad_rows::BadRows;

use crate::chunk::Chunk;
use crate::config::{Format, Source};
use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::{Field, Schema, SchemaRef};
use columnar::ColumnarReader;
use json::{Holds, JsonReader, Member};
use kitestring_core::error::{Error, Result, did_you_mean, shown};
use partitions::{Arrangement, Partition};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use text::TextReader;

/// The most rows of a chunk.
pub const CHUNK_ROWS: usize = 8192;

/// The most bytes of text a chunk is made of, but for its last row.
pub(crate) const CHUNK_BYTES: usize = 32 << 20;

/// The files of a source, with the columns they have.
#[derive(Debug, Clone)]
pub struct Input {
    source: Source,
    files: Vec<PathBuf>,
    columns: Vec<String>,
    /// The format of the first file, and of the others.
    format: Format,
    /// The partitions of the first file.
    partitions: Vec<Partition>,
    /// The members of the first file's rows, where it is JSON.
    members: Vec<Member>,
}

impl Input {
    /// Finds the files of a source and reads the first one's header.
    ///
    /// # Errors
    /// A config error where there is no such file; what is wrong with the first file.
    pub fn open(folder: &Path, source: &Source) -> Result<Self> {
        match files::find(folder, &source.path)? {
            Some(files) => Self::of_files(files, source),
            None => Err(Error::config("there is no such file")
                .in_file(folder.join(&source.path).display().to_string())
                .mend("check the path")),
        }
    }

    /// The files given instead of the source's path.
    pub(crate) fn of_files(files: Vec<PathBuf>, source: &Source) -> Result<Self> {
        let first = files.first().ok_or_else(|| Error::internal("a source without files"))?;
        let format = files::format(source, first)?;
        if source.repeat && format != Format::Text {
            let error = Error::config("only a column of text can repeat").in_file(first.display().to_string());
            return Err(error.in_field("repeat").mend("take `repeat` out: lists of this format are read as they are"));
        }
        let mut members = Vec::new();
        let mut columns = match format {
            Format::Text => text::columns(first, source)?,
            Format::Json => {
                members = json::columns(first, source)?;
                members.iter().map(|member| member.name.clone()).collect()
            }
            Format::Parquet | Format::Arrow => columnar::columns(first, format == Format::Parquet)?,
        };
        let partitions = partitions::of(first);
        for Partition { column, .. } in &partitions {
            if !columns.contains(column) {
                columns.push(column.clone());
            }
        }
        for (new, old) in &source.rename {
            match columns.iter_mut().find(|column| *column == old) {
                Some(column) => column.clone_from(new),
                None => return Err(unknown(old, &columns, &first.display().to_string())),
            }
        }
        Ok(Self { source: source.clone(), files, columns, format, partitions, members })
    }

    /// The names of the columns, after renaming.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Inputs of one file each, at most so many, spread evenly over the files.
    pub(crate) fn spread(&self, most: usize) -> Vec<Self> {
        let count = self.files.len().min(most);
        let file = |number: usize| self.files.get(number * self.files.len() / count.max(1)).cloned();
        (0..count).filter_map(file).map(|file| Self { files: vec![file], ..self.clone() }).collect()
    }

    /// The format of the files.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Why a column cannot be read, where its format says so before it is.
    pub(crate) fn unread(&self, column: &str) -> Option<&'static str> {
        let member = self.members.iter().find(|member| member.name == column)?;
        (member.holds == Holds::Nested).then_some("holds lists of objects or of lists")
    }

    /// The first file, for messages.
    pub fn file(&self) -> String {
        self.files.first().map(|file| file.display().to_string()).unwrap_or_default()
    }

    /// Reads these columns, in this order, file after file.
    ///
    /// # Errors
    /// An unknown column. What is wrong with a file or a row comes while reading.
    pub fn read(&self, wanted: &[&str], bad: &BadRows) -> Result<Rows> {
        let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
        slots(&self.columns, &wanted, &self.file())?;
        let old = |name: &String| self.source.rename.get(name).unwrap_or(name).clone();
        let original: Vec<String> = wanted.iter().map(old).collect();
        let given = |name: &String| self.partitions.iter().any(|partition| partition.column == *name);
        let read = original.iter().filter(|name| !given(name)).cloned().collect();
        Ok(Rows {
            input: self.clone(),
            files: self.files.clone().into_iter(),
            original,
            read,
            wanted,
            current: None,
            schema: None,
            bad: bad.clone(),
        })
    }
}

/// The rows of a source in chunks of at most [`CHUNK_ROWS`]. After an error it ends.
pub struct Rows {
    input: Input,
    files: std::vec::IntoIter<PathBuf>,
    /// The wanted columns by their names in the file, and those of them that are read, not given by partitions.
    original: Vec<String>,
    read: Vec<String>,
    wanted: Vec<String>,
    current: Option<(Current, Option<Arrangement>)>,
    /// The schema with new names, where columns are renamed.
    schema: Option<SchemaRef>,
    bad: BadRows,
}

enum Current {
    Text(Box<TextReader>),
    Json(Box<JsonReader>),
    Columnar(Box<ColumnarReader>),
}

impl Rows {
    fn open(&self, file: &Path) -> Result<(Current, Option<Arrangement>)> {
        let Input { source, format, partitions, members, .. } = &self.input;
        partitions::check(file, partitions)?;
        let own = files::format(source, file)?;
        if own != *format {
            let what =
                format!("this is {} file, and the first one of the source is {} file", own.name(), format.name());
            let error = Error::data(what).in_file(file.display().to_string());
            return Err(error.mend("name the files that are rows with a pattern, such as path = \"*.parquet\""));
        }
        let current = match format {
            Format::Text => Current::Text(Box::new(TextReader::open(file, source, &self.read, &self.bad)?)),
            Format::Json => Current::Json(Box::new(JsonReader::open(file, source, &self.read, members, &self.bad)?)),
            Format::Parquet | Format::Arrow => {
                Current::Columnar(Box::new(ColumnarReader::open(file, *format == Format::Parquet, &self.read)?))
            }
        };
        let arranged = (self.read.len() < self.original.len()).then(|| {
            let own = partitions::of(file);
            let given =
                self.original.iter().map(|name| own.iter().find(|partition| partition.column == *name).cloned());
            Arrangement { given: given.collect() }
        });
        Ok((current, arranged))
    }

    fn next_chunk(&mut self) -> Result<Option<Chunk>> {
        loop {
            let Some((current, arranged)) = &mut self.current else {
                let Some(file) = self.files.next() else { return Ok(None) };
                self.current = Some(self.open(&file)?);
                self.schema = None;
                continue;
            };
            let chunk = match current {
                Current::Text(reader) => reader.next_chunk()?,
                Current::Json(reader) => reader.next_chunk()?,
                Current::Columnar(reader) => reader.next_chunk()?,
            };
            let chunk = match (chunk, arranged) {
                (Some(chunk), Some(arranged)) => Some(arranged.apply(chunk)?),
                (chunk, _) => chunk,
            };
            match chunk {
                None => self.current = None,
                Some(chunk) if self.original == self.wanted => return Ok(Some(chunk)),
                Some(chunk) => return self.renamed(chunk).map(Some),
            }
        }
    }

    fn renamed(&mut self, mut chunk: Chunk) -> Result<Chunk> {
        let schema = self.schema.get_or_insert_with(|| {
            let fields = chunk.rows.schema_ref().fields().iter().zip(&self.wanted);
            let renamed = fields.map(|(field, name)| Field::clone(field).with_name(name));
            Arc::new(Schema::new(renamed.collect::<Vec<_>>()))
        });
        let options = RecordBatchOptions::new().with_row_count(Some(chunk.rows.num_rows()));
        let columns = chunk.rows.columns().to_vec();
        chunk.rows = RecordBatch::try_new_with_options(schema.clone(), columns, &options)
            .map_err(|cause| Error::internal("cannot rename columns").caused_by(cause))?;
        Ok(chunk)
    }
}

impl Iterator for Rows {
    type Item = Result<Chunk>;

    fn next(&mut self) -> Option<Self::Item> {
        let chunk = self.next_chunk();
        if chunk.is_err() {
            (self.current, self.files) = (None, Vec::new().into_iter());
        }
        chunk.transpose()
    }
}

/// Where each wanted column is among those there are.
fn slots(names: &[String], wanted: &[String], file: &str) -> Result<Vec<usize>> {
    wanted
        .iter()
        .map(|name| {
            let mut found = names.iter().enumerate().filter(|(_, other)| *other == name).map(|(place, _)| place);
            match (found.next(), found.next()) {
                (Some(place), None) => Ok(place),
                (Some(_), Some(_)) => {
                    Err(Error::data("two columns have this name").in_file(file).in_field(name.as_str()))
                }
                (None, _) => Err(unknown(name, names, file)),
            }
        })
        .collect()
}

/// The error about a column that is not there.
pub(crate) fn unknown(name: &str, names: &[String], file: &str) -> Error {
    const SHOWN: usize = 30;
    let mut list = names.iter().take(SHOWN).map(|name| format!("`{}`", shown(name, 40))).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        list += &format!(" and {} more", names.len() - SHOWN);
    }
    let error = Error::config(format!("there is no such column among {list}")).in_file(file).in_field(name);
    match did_you_mean(name, names.iter().map(String::as_str)) {
        Some(near) => error.mend(format!("did you mean `{}`?", shown(near, 100))),
        None => error.mend("check the name, the separator and whether the file has a header"),
    }
}

#[cfg(test)]
mod tests;
