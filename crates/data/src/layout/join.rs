//! A side table in memory, and the rows' partners in it.

use super::value::Texts;
use crate::chunk::Chunk;
use crate::reader::{BadRows, Input};
use arrow_array::types::Int32Type;
use arrow_array::{Array, ArrayRef, DictionaryArray, Int32Array, ListArray, StringArray, UInt32Array};
use arrow_buffer::OffsetBuffer;
use arrow_schema::{DataType, Field};
use hashbrown::HashMap;
use kitestring_core::error::{Error, Result};
use std::sync::Arc;

/// Between the values of a key of several columns; the separator of ASCII's own for that purpose.
const BETWEEN: char = '\u{1f}';

/// A side table in memory.
pub(super) struct SideTable {
    /// The row of each key.
    partners: HashMap<Box<str>, i32>,
    /// The wanted columns; where the rows of a key are collected, lists.
    columns: Vec<ArrayRef>,
}

/// The text of a row's key; `None` where a part is missing.
fn key<'a>(keys: &'a [Texts], row: usize, joined: &'a mut String) -> Option<&'a str> {
    let (first, others) = keys.split_first()?;
    if others.is_empty() {
        return first.get(row);
    }
    joined.clear();
    joined.push_str(first.get(row)?);
    for other in others {
        joined.push(BETWEEN);
        joined.push_str(other.get(row)?);
    }
    Some(joined)
}

impl SideTable {
    /// Reads a side table's keys and wanted columns; with `collect`, the rows of each key as one of lists.
    ///
    /// # Errors
    /// A key that appears twice, where rows are not collected; a column of lists, where they are.
    pub fn load(input: &Input, keys: &[&str], wanted: &[&str], collect: bool, bad: &BadRows) -> Result<Self> {
        let all: Vec<&str> = keys.iter().chain(wanted).copied().collect();
        let mut partners: HashMap<Box<str>, i32> = HashMap::new();
        // The place of the key of each row, for those to be collected.
        let mut places: Vec<i32> = Vec::new();
        let mut parts: Vec<Vec<ArrayRef>> = vec![Vec::new(); wanted.len()];
        let mut joined = String::new();
        for chunk in input.read(&all, bad)? {
            let mut chunk: Chunk = chunk?;
            let texts = chunk.rows.columns()[..keys.len()].iter().map(Texts::new).collect::<Result<Vec<_>>>()?;
            let mut kept = vec![true; chunk.rows.num_rows()];
            for (row, kept) in kept.iter_mut().enumerate() {
                let Some(key) = key(&texts, row, &mut joined) else {
                    *kept = false;
                    continue;
                };
                let known = partners.get(key).copied();
                if known.is_some() && !collect {
                    let key = key.replace(BETWEEN, ", ");
                    let what = format!("the key `{key}` of a side table appears twice, and its join has no `collect`");
                    bad.tolerate(chunk.blame(Error::data(what), row, &keys.join(", ")))?;
                    *kept = false;
                    continue;
                }
                let place = known.unwrap_or(partners.len() as i32);
                if known.is_none() {
                    partners.insert(key.into(), place);
                }
                if collect {
                    places.push(place);
                }
            }
            if kept.contains(&false) {
                chunk = chunk.keep(kept.into_iter().collect())?;
            }
            for (part, column) in parts.iter_mut().zip(&chunk.rows.columns()[keys.len()..]) {
                part.push(column.clone());
            }
        }
        let mut columns: Vec<ArrayRef> = parts.iter().map(|part| whole(part, &input.file())).collect::<Result<_>>()?;
        if collect {
            for (column, name) in columns.iter_mut().zip(wanted) {
                *column = collected(column, &places, partners.len())
                    .map_err(|error| error.in_file(input.file()).in_field(*name))?;
            }
        }
        Ok(Self { partners, columns })
    }

    /// Each row's partner, and how many rows have none.
    pub fn partners(&self, keys: &[&ArrayRef]) -> Result<(Int32Array, u64)> {
        let texts = keys.iter().map(|key| Texts::new(key)).collect::<Result<Vec<_>>>()?;
        let rows = keys.first().map_or(0, |key| key.len());
        let mut joined = String::new();
        let partners: Int32Array =
            (0..rows).map(|row| self.partners.get(key(&texts, row, &mut joined)?).copied()).collect();
        let without = partners.null_count() as u64;
        Ok((partners, without))
    }

    /// A wanted column of the partners: a dictionary whose values are the side table's column.
    pub fn column(&self, wanted: usize, partners: &Int32Array) -> Result<ArrayRef> {
        let values = self.columns.get(wanted).ok_or_else(|| Error::internal("a joined column was not read"))?;
        let column = DictionaryArray::<Int32Type>::try_new(partners.clone(), values.clone());
        Ok(Arc::new(column.map_err(|cause| Error::internal("a partner is not in the side table").caused_by(cause))?))
    }
}

/// The values of a column as a list for each key, given the place of the key of each row.
fn collected(column: &ArrayRef, places: &[i32], keys: usize) -> Result<ArrayRef> {
    if matches!(column.data_type(), DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..)) {
        return Err(Error::config("a column of lists cannot be collected again").mend("take `collect` out of the join"));
    }
    if i32::try_from(places.len()).is_err() {
        return Err(Error::data("the side table has more rows than can be collected"));
    }
    let mut rows: Vec<u32> = (0..places.len() as u32).collect();
    // Stable: the rows of a key stay in the order of the file.
    rows.sort_by_key(|row| places[*row as usize]);
    let mut lengths = vec![0; keys];
    places.iter().for_each(|place| lengths[*place as usize] += 1);
    let values = arrow_select::take::take(column, &UInt32Array::from(rows), None);
    let values = values.map_err(|cause| Error::internal("a side table lost rows").caused_by(cause))?;
    let field = Arc::new(Field::new("item", values.data_type().clone(), true));
    let lists = ListArray::try_new(field, OffsetBuffer::from_lengths(lengths), values, None);
    Ok(Arc::new(lists.map_err(|cause| Error::internal("lists do not fit together").caused_by(cause))?))
}

fn whole(parts: &[ArrayRef], file: &str) -> Result<ArrayRef> {
    let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
    if parts.is_empty() {
        return Ok(Arc::new(StringArray::new_null(0)));
    }
    arrow_select::concat::concat(&parts).map_err(|cause| {
        Error::data("the side table does not fit in memory as one, or its files differ").in_file(file).caused_by(cause)
    })
}
