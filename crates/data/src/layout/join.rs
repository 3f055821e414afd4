//! A side table in memory, and the rows' partners in it.

use super::value::Texts;
use crate::chunk::Chunk;
use crate::reader::{BadRows, Input};
use arrow_array::types::Int32Type;
use arrow_array::{Array, ArrayRef, DictionaryArray, Int32Array, StringArray};
use hashbrown::HashMap;
use kitestring_core::error::{Error, Result};
use std::sync::Arc;

/// Between the values of a key of several columns; the separator of ASCII's own for that purpose.
const BETWEEN: char = '\u{1f}';

/// A side table in memory.
pub(super) struct SideTable {
    partners: HashMap<Box<str>, i32>,
    /// The wanted columns.
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
    /// Reads a side table's keys and wanted columns.
    ///
    /// # Errors
    /// A key that appears twice.
    pub fn load(input: &Input, keys: &[&str], wanted: &[&str], bad: &BadRows) -> Result<Self> {
        let all: Vec<&str> = keys.iter().chain(wanted).copied().collect();
        let mut partners = HashMap::new();
        let mut parts: Vec<Vec<ArrayRef>> = vec![Vec::new(); wanted.len()];
        let mut joined = String::new();
        let mut count = 0;
        for chunk in input.read(&all, bad)? {
            let mut chunk: Chunk = chunk?;
            let texts = chunk.rows.columns()[..keys.len()].iter().map(Texts::new).collect::<Result<Vec<_>>>()?;
            let mut kept = vec![true; chunk.rows.num_rows()];
            for (row, kept) in kept.iter_mut().enumerate() {
                let Some(key) = key(&texts, row, &mut joined) else {
                    *kept = false;
                    continue;
                };
                if partners.contains_key(key) {
                    let what = format!("the key `{}` of a side table appears twice", key.replace(BETWEEN, ", "));
                    bad.tolerate(chunk.blame(Error::data(what), row, &keys.join(", ")))?;
                    *kept = false;
                    continue;
                }
                partners.insert(key.into(), count);
                count += 1;
            }
            if kept.contains(&false) {
                chunk = chunk.keep(kept.into_iter().collect())?;
            }
            for (part, column) in parts.iter_mut().zip(&chunk.rows.columns()[keys.len()..]) {
                part.push(column.clone());
            }
        }
        let columns = parts.iter().map(|part| whole(part, &input.file())).collect::<Result<_>>()?;
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

fn whole(parts: &[ArrayRef], file: &str) -> Result<ArrayRef> {
    let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
    if parts.is_empty() {
        return Ok(Arc::new(StringArray::new_null(0)));
    }
    arrow_select::concat::concat(&parts).map_err(|cause| {
        Error::data("the side table does not fit in memory as one, or its files differ").in_file(file).caused_by(cause)
    })
}
