//! A first config for a file nobody has described: columns by name, type and cardinality.
//!
//! The guess is written as a commented config, for its reader to correct.

mod columns;
mod events;
mod names;
mod roles;
mod sides;
mod sniff;
mod write;

use crate::config::{DataConfig, Format};
use crate::reader::{BadRows, Input};
use columns::Column;
use kitestring_core::error::{Error, Result, shown};
use kitestring_core::schema::Schema;
use roles::roles;
use serde::Deserialize;
use std::path::Path;
use write::Writer;

/// The rows looked at, and the most files they are of.
const ROWS: usize = 10_000;
const FILES: usize = 20;

/// A first config.
#[derive(Debug, Clone)]
pub struct Guess {
    /// Its `[data]`.
    pub data: DataConfig,
    /// Its `[schema]`.
    pub schema: Schema,
    /// Both as commented TOML.
    pub text: String,
    /// What its reader has to do before it can be used; nothing as a rule.
    pub edits: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sections {
    data: DataConfig,
    schema: Schema,
}

/// Guesses a config from the header and the first rows of a file, or of the files of a folder. The same rows give the same guess.
///
/// # Errors
/// A file that cannot be read, or that has no rows.
pub fn guess(path: &Path) -> Result<Guess> {
    let (folder, source) = sniff::source(path)?;
    let input = Input::open(&folder, &source)?;
    let columns = look(&input)?;
    let comma = input.format() == Format::Text && source.separator.as_deref() == Some(";");
    let roles = roles(&columns, comma);
    // A log of what users had, and nothing else, is one of positives; a column that is called an outcome is none to pass over.
    let implicit = roles.labels.is_empty() && roles.unclear.is_empty() && roles.item.is_some();
    let mut edits = Vec::new();
    if roles.labels.is_empty() && !implicit {
        edits.push(match roles.unclear.first() {
            Some(name) => format!(
                "`{}` is called an outcome, but its values are neither numbers nor yes and no: say in `schema.tasks` which is positive, such \
                 as {{ name = \"positive\", column = {name:?}, equals = \"…\" }}",
                shown(name, 40)
            ),
            None => "no column looks like an outcome: name it in `schema.tasks`, such as { name = \"clicked\" }".to_owned(),
        });
    }
    let text = Writer { folder: &folder, source: &source, columns: &columns, roles: &roles, implicit }.config();
    let Sections { data, schema } =
        toml::from_str(&text).map_err(|cause| Error::internal("the guessed config cannot be read").caused_by(cause))?;
    data.check()?;
    if edits.is_empty() {
        schema.check()?;
    }
    Ok(Guess { data, schema, text, edits })
}

/// Looks at the first rows of the files.
fn look(input: &Input) -> Result<Vec<Column>> {
    let all = input.columns();
    let unread = |name: &String| match all.iter().filter(|other| *other == name).count() {
        1 => input.unread(name),
        _ => Some("has the name of another column"),
    };
    let mut columns: Vec<Column> = Vec::with_capacity(all.len());
    for name in all {
        if columns.iter().all(|column| column.name != *name) {
            columns.push(unread(name).map_or_else(|| Column::new(name), |why| Column::unread(name, why)));
        }
    }
    let names: Vec<String> = columns.iter().filter(|column| column.unread.is_none()).map(|c| c.name.clone()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    // Of several files some from each are looked at, for files may be days. Rows that are malformed say nothing about the others; the
    // command that reads them all will say so.
    let files = input.spread(FILES);
    let most = (ROWS / files.len().max(1)).max(1);
    let mut rows = 0;
    for file in files {
        let mut left = most;
        for chunk in file.read(&names, &BadRows::new(u64::MAX))? {
            let chunk = chunk?;
            let count = left.min(chunk.rows.num_rows());
            for (name, array) in names.iter().zip(chunk.rows.columns()) {
                if let Some(column) = columns.iter_mut().find(|column| column.name == *name && column.unread.is_none())
                {
                    column.add(&array.slice(0, count))?;
                }
            }
            rows += count;
            left -= count;
            if left == 0 {
                break;
            }
        }
    }
    if rows == 0 {
        return Err(Error::data("there are no rows to guess from").in_file(input.file()));
    }
    columns.iter_mut().for_each(Column::finish);
    Ok(columns)
}

#[cfg(test)]
mod tests;
