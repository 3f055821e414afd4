//! Columns of raw data that are written next to predictions.

use arrow_array::{Array, ArrayRef, UInt64Array};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{ArrowError, DataType};
use arrow_select::concat::concat;
use arrow_select::take::take;
use kitestring_core::{Error, Result};
use kitestring_data::config::DataConfig;
use kitestring_data::layout;
use kitestring_data::reader::BadRows;
use std::collections::HashMap;
use std::path::Path;

/// Columns of raw data, one value a prediction.
#[derive(Debug, Default)]
pub struct KeptColumns {
    names: Vec<String>,
    columns: Vec<ArrayRef>,
}

impl KeptColumns {
    /// Reads columns of raw data in the order of `rows`, the file and line of each.
    ///
    /// # Errors
    /// A column that the data does not have; a file that changed after its rows were scored.
    pub fn read(config: &DataConfig, raw: &Path, names: &[String], rows: &[(&str, u64)]) -> Result<Self> {
        if names.is_empty() {
            return Ok(Self::default());
        }
        let opened = layout::open(config, raw)?;
        let wanted: Vec<&str> = names.iter().map(String::as_str).collect();
        let place: HashMap<(&str, u64), usize> = rows.iter().enumerate().map(|(at, row)| (*row, at)).collect();
        let mut found: Vec<Option<u64>> = vec![None; rows.len()];
        let mut parts: Vec<Vec<ArrayRef>> = vec![Vec::new(); names.len()];
        let mut read = 0;
        for split in opened.splits() {
            // Malformed rows were counted, and refused or allowed, when the rows were scored.
            for chunk in opened.read(split, &wanted, &BadRows::new(u64::MAX))? {
                let chunk = chunk?;
                for row in 0..chunk.rows.num_rows() {
                    let at = place.get(&(&*chunk.file, chunk.lines.of(row))).copied();
                    if let Some(found) = at.and_then(|at| found.get_mut(at)) {
                        *found = Some(read + row as u64);
                    }
                }
                read += chunk.rows.num_rows() as u64;
                parts.iter_mut().zip(chunk.rows.columns()).for_each(|(part, column)| part.push(column.clone()));
            }
        }
        let Some(order) = found.into_iter().collect::<Option<Vec<u64>>>() else {
            return Err(Error::data("the data changed while its rows were scored")
                .in_file(raw.display().to_string())
                .mend("predict again when nothing writes to it"));
        };
        let order = UInt64Array::from(order);
        let columns = parts.iter().map(|part| in_order(part, &order)).collect::<Result<_, ArrowError>>();
        let columns = columns.map_err(|error| {
            Error::data("the kept columns cannot be put together").caused_by(error).in_file(raw.display().to_string())
        })?;
        Ok(Self { names: names.to_vec(), columns })
    }

    /// Names and values. A name that is taken by an output is written as `data.NAME`.
    pub fn named<'a>(&'a self, taken: &'a [String]) -> impl Iterator<Item = (String, &'a ArrayRef)> {
        let name = |name: &String| if taken.contains(name) { format!("data.{name}") } else { name.clone() };
        self.names.iter().map(name).zip(&self.columns)
    }

    /// The values of a column as text; missing ones are `None`.
    ///
    /// # Errors
    /// A column that the data does not have, or of a type without a text.
    pub fn texts(&self, name: &str) -> Result<Vec<Option<String>>> {
        let at = self.names.iter().position(|known| known == name);
        let column = at.and_then(|at| self.columns.get(at));
        let column = column.ok_or_else(|| Error::internal(format!("the column `{name}` was not kept")))?;
        texts(column)
    }
}

/// The parts of a column as one, its rows in this order. A text where the files have several types.
fn in_order(parts: &[ArrayRef], order: &UInt64Array) -> Result<ArrayRef, ArrowError> {
    let same = parts.windows(2).all(|pair| pair[0].data_type() == pair[1].data_type());
    let plain = same && !matches!(parts.first().map(|part| part.data_type()), Some(DataType::Dictionary(..)));
    let cast = |part: &ArrayRef| arrow_cast::cast(part, &DataType::Utf8);
    let parts = if plain { parts.to_vec() } else { parts.iter().map(cast).collect::<Result<_, _>>()? };
    let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
    take(&concat(&parts)?, order, None)
}

/// The values of a column as text; missing ones are `None`.
///
/// # Errors
/// A type without a text.
pub fn texts(column: &ArrayRef) -> Result<Vec<Option<String>>> {
    let options = FormatOptions::default();
    let formatter = ArrayFormatter::try_new(column.as_ref(), &options)
        .map_err(|error| Error::data("a kept column cannot be written as text").caused_by(error))?;
    let text = |row: usize| column.is_valid(row).then(|| formatter.value(row).to_string());
    // In files of text an empty cell is a missing value.
    Ok((0..column.len()).map(|row| text(row).filter(|text| !text.is_empty())).collect())
}
