//! A first config for a file nobody has described: columns by name, type and cardinality.
//!
//! The guess is written as a commented config, for its reader to correct.

mod columns;
mod roles;
mod sniff;
mod write;

use crate::config::DataConfig;
use crate::reader::{BadRows, Input};
use columns::Column;
use kitestring_core::error::{Error, Result};
use kitestring_core::schema::Schema;
use roles::Roles;
use serde::Deserialize;
use std::path::Path;

/// The rows looked at.
const ROWS: usize = 10_000;

/// A first config.
#[derive(Debug, Clone)]
pub struct Guess {
    /// Its `[data]`.
    pub data: DataConfig,
    /// Its `[schema]`.
    pub schema: Schema,
    /// Both as commented TOML.
    pub text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sections {
    data: DataConfig,
    schema: Schema,
}

/// Guesses a config from the header and the first rows of a file, or of the files of a folder.
///
/// # Errors
/// A file that cannot be read, or that has no rows.
pub fn guess(path: &Path) -> Result<Guess> {
    let (folder, source) = sniff::source(path)?;
    let input = Input::open(&folder, &source)?;
    let columns = look(&input)?;
    let roles = Roles::of(&columns);
    let text = write::config(&folder, &source, &columns, &roles);
    let Sections { data, schema } =
        toml::from_str(&text).map_err(|cause| Error::internal("the guessed config cannot be read").caused_by(cause))?;
    data.check()?;
    schema.check()?;
    Ok(Guess { data, schema, text })
}

/// Looks at the first rows.
fn look(input: &Input) -> Result<Vec<Column>> {
    let names: Vec<&str> = input.columns().iter().map(String::as_str).collect();
    let mut columns: Vec<Column> = names.iter().map(|name| Column::new(name)).collect();
    // Rows that are malformed say nothing about the others; the command that reads them all will say so.
    let mut rows = 0;
    for chunk in input.read(&names, &BadRows::new(u64::MAX))? {
        let chunk = chunk?;
        for (column, array) in columns.iter_mut().zip(chunk.rows.columns()) {
            column.add(&array.slice(0, array.len().min(ROWS - rows)))?;
        }
        rows = ROWS.min(rows + chunk.rows.num_rows());
        if rows == ROWS {
            break;
        }
    }
    if rows == 0 {
        return Err(Error::data("there are no rows to guess from").in_file(input.file()));
    }
    Ok(columns)
}

#[cfg(test)]
mod tests;
