//! Columns that the folders of partitions name, as Spark, Hive and pyarrow write them: `day=1/part-0.parquet`.

use crate::chunk::Chunk;
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, StringArray};
use arrow_schema::{DataType, Field, Schema};
use kitestring_core::error::{Error, Result};
use std::path::Path;
use std::sync::Arc;

/// The name of the partition of rows without a value.
const MISSING: &str = "__HIVE_DEFAULT_PARTITION__";

/// A column and its value in all rows of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Partition {
    pub column: String,
    /// `None` where it is missing.
    pub value: Option<String>,
}

/// The partitions of a file: the folders right above it whose names are `column=value`, percent-decoded, the outermost first.
pub(super) fn of(file: &Path) -> Vec<Partition> {
    let mut found = Vec::new();
    for folder in file.ancestors().skip(1) {
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let Some((column, value)) = name.split_once('=').filter(|(column, _)| !column.is_empty()) else { break };
        found.push(Partition {
            column: decoded(column),
            value: (!value.is_empty() && value != MISSING).then(|| decoded(value)),
        });
    }
    found.reverse();
    found
}

fn decoded(text: &str) -> String {
    String::from_utf8_lossy(&percent_decoded(text)).into_owned()
}

/// The bytes of a text in which `%41` stands for the byte 0x41 (RFC 3986, 2.1). A `%` without two digits behind it stays.
pub(crate) fn percent_decoded(text: &str) -> Vec<u8> {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let mut rest = text.as_bytes();
    let mut decoded = Vec::with_capacity(rest.len());
    while let Some((first, others)) = rest.split_first() {
        rest = others;
        decoded.push(match (first, digit(rest.first()), digit(rest.get(1))) {
            (b'%', Some(high), Some(low)) => {
                rest = rest.get(2..).unwrap_or_default();
                (16 * high + low) as u8
            }
            _ => *first,
        });
    }
    decoded
}

/// Checks that a file has the partitions of the first one.
pub(super) fn check(file: &Path, first: &[Partition]) -> Result<()> {
    let names = |partitions: &[Partition]| -> Vec<String> { partitions.iter().map(|p| p.column.clone()).collect() };
    let (expected, found) = (names(first), names(&of(file)));
    if expected == found {
        return Ok(());
    }
    let shown = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let what = format!("the partitions of the file are {}, those of the first one {}", shown(&found), shown(&expected));
    Err(Error::data(what).in_file(file.display().to_string()).mend("read them as sources of their own"))
}

/// Where the wanted columns of a file's chunks come from.
pub(super) struct Arrangement {
    /// For each of them the partition that gives it; none for one that is read, in the order of reading.
    pub given: Vec<Option<Partition>>,
}

impl Arrangement {
    /// Puts the partitions' values between the columns that were read.
    pub fn apply(&self, chunk: Chunk) -> Result<Chunk> {
        let rows = chunk.rows.num_rows();
        let mut read = chunk.rows.columns().iter().zip(chunk.rows.schema_ref().fields());
        let mut fields = Vec::with_capacity(self.given.len());
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.given.len());
        for given in &self.given {
            match given {
                Some(Partition { column, value }) => {
                    fields.push(Arc::new(Field::new(column, DataType::Utf8, true)));
                    columns.push(Arc::new(std::iter::repeat_n(value.as_deref(), rows).collect::<StringArray>()));
                }
                None => {
                    let (column, field) = read.next().ok_or_else(|| Error::internal("a column was not read"))?;
                    fields.push(field.clone());
                    columns.push(column.clone());
                }
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let rows = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options);
        let rows = rows.map_err(|cause| Error::internal("the columns differ in length").caused_by(cause))?;
        Ok(Chunk { rows, ..chunk })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn folders_name_columns() {
        let of = |path: &str| of(Path::new(path)).into_iter().map(|p| (p.column, p.value)).collect::<Vec<_>>();
        let (day, shop) =
            (("day".to_owned(), Some("2024-01-02".to_owned())), ("shop".to_owned(), Some("a/b c".to_owned())));
        assert_eq!(of("s/day=2024-01-02/shop=a%2Fb c/part-0.parquet"), [day.clone(), shop]);
        assert_eq!(of("a=1/s/day=2024-01-02/x.csv"), [day]);
        assert_eq!(of("s/day=__HIVE_DEFAULT_PARTITION__/x.csv"), [("day".to_owned(), None)]);
        assert_eq!(of("s/x=1.csv"), []);
    }

    #[test]
    fn files_have_the_partitions_of_the_first_one() {
        let first = of(Path::new("s/day=1/a.csv"));
        assert!(check(Path::new("s/day=2/b.csv"), &first).is_ok());
        let error = check(Path::new("s/c.csv"), &first).unwrap_err().to_string();
        assert!(
            error.contains("s/c.csv: the partitions of the file are none, those of the first one day; "),
            "{error}"
        );
    }
}
