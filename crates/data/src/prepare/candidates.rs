//! Given candidates: the items each positive of a split is ranked against.

use super::Chunks;
use super::cells::Cells;
use super::columns::Lists;
use super::intern::Interner;
use super::number::Numbering;
use super::plan::{Plan, unknown_column};
use super::split::file_stem;
use arrow_array::{ArrayRef, UInt32Array};
use kitestring_core::{Error, Result};
use std::path::Path;
use std::sync::Arc;

/// Candidates given for a split: rows with the columns `user`, `item` and `candidates`, the last one a list or a text
/// with a separator. Their values are those of the schema's user and item columns.
pub struct GivenCandidates<'a> {
    /// The split.
    pub split: String,
    /// The rows.
    pub chunks: Chunks<'a>,
    /// Separates the candidates of a text.
    pub separator: String,
}

/// What was written.
pub(crate) struct Written {
    /// The split's place among all.
    pub(crate) split: usize,
    pub(crate) file: String,
    pub(crate) bytes: u64,
    pub(crate) unknown: u64,
}

/// Writes the candidates of a split, by user and item.
///
/// # Errors
/// A user or an item that has no row in any split: the files do not belong together.
pub(crate) fn write(
    given: GivenCandidates<'_>,
    splits: &[String],
    plan: &Plan,
    interners: &[Interner],
    numbering: &Numbering,
    directory: &Path,
) -> Result<Written> {
    let GivenCandidates { split, chunks, separator } = given;
    let index = splits.iter().position(|known| *known == split).ok_or_else(|| {
        Error::config(format!("candidates for split `{split}`, which there is not")).in_field("data.layouts.candidates")
    })?;
    let (Some((_, users)), Some((_, items))) = (plan.user, plan.item) else {
        return Err(Error::config("candidates need to know the user and the item of a row")
            .in_field("schema")
            .mend("name their columns as `schema.user` and `schema.item`"));
    };
    let entry = |vocabulary: usize, text: &str| {
        interners[vocabulary].find(text).map_or(0, |number| numbering.entry(vocabulary, number))
    };
    let mut keys: Vec<(u32, u32, u32)> = Vec::new();
    let (mut starts, mut values) = (vec![0], Vec::new());
    let mut unknown = 0;
    let mut scratch = String::new();
    for chunk in chunks {
        let chunk = chunk?;
        let schema = chunk.rows.schema();
        let column = |name: &str| {
            let present = schema.fields().iter().map(|field| field.name().as_str());
            let array = chunk.rows.column_by_name(name);
            Cells::new(array.ok_or_else(|| unknown_column(name, present).in_file(&*chunk.file))?)
        };
        let (user, item, candidates) = (column("user")?, column("item")?, column("candidates")?);
        for row in 0..chunk.rows.num_rows() {
            let mut key = |cells: &Cells, vocabulary: usize, column: &str| {
                let text = cells.text(row, &mut scratch).unwrap_or_default();
                match entry(vocabulary, text) {
                    0 => Err(chunk
                        .blame(Error::data(format!("candidates for {column} `{text}`, which has no row")), row, column)
                        .mend("check that the candidates and the rows number users and items alike")),
                    entry => Ok(entry),
                }
            };
            keys.push((key(&user, users, "user")?, key(&item, items, "item")?, keys.len() as u32));
            let mut add = |text: &str| {
                let entry = entry(items, text);
                unknown += u64::from(entry == 0);
                values.push(entry);
            };
            if let Some((elements, range)) = candidates.list(row) {
                range.for_each(|element| add(elements.text(element, &mut scratch).unwrap_or_default()));
            } else {
                let text = candidates.text(row, &mut scratch).unwrap_or_default();
                text.split(separator.as_str()).filter(|part| !part.is_empty()).for_each(&mut add);
            }
            starts.push(values.len());
        }
    }
    keys.sort_unstable();
    let mut lists = Lists::new(false);
    for (_, _, row) in &keys {
        let row = *row as usize;
        values[starts[row]..starts[row + 1]].iter().for_each(|value| lists.values.push((*value).into()));
        lists.end();
    }
    let column =
        |of: fn(&(u32, u32, u32)) -> u32| -> ArrayRef { Arc::new(UInt32Array::from_iter_values(keys.iter().map(of))) };
    let columns = vec![
        ("user".to_owned(), column(|key| key.0)),
        ("item".to_owned(), column(|key| key.1)),
        ("candidates".to_owned(), lists.finish(true)?),
    ];
    let file = format!("candidates-{}.arrow", file_stem(splits, index));
    let bytes = crate::dataset::file::write(&directory.join(&file), columns)?;
    Ok(Written { split: index, file, bytes, unknown })
}
