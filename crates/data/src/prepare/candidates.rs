//! Given candidates: the items each positive of a split is ranked against.

use super::Chunks;
use super::columns::Lists;
use super::intern::Interner;
use super::number::Numbering;
use super::plan::{Plan, unknown_column};
use super::split::file_stem;
use crate::cells::Cells;
use arrow_array::{ArrayRef, UInt32Array};
use kitestring_core::value::canonical;
use kitestring_core::{Error, Result};
use std::collections::HashSet;
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
    /// Candidates in all, those that are no item of any row, and those that repeat one of their list or are its positive.
    pub(crate) given: u64,
    pub(crate) unknown: u64,
    pub(crate) repeated: u64,
}

/// Lists of candidates being collected. An item stands once in a list, and its positive not at all: a candidate that is there twice would be
/// two rivals, and the positive its own.
#[derive(Default)]
struct CandidateLists {
    starts: Vec<usize>,
    values: Vec<u32>,
    /// What the list being collected has: known items by their entries, others by their texts.
    known: HashSet<u32>,
    others: HashSet<String>,
    given: u64,
    unknown: u64,
    repeated: u64,
    /// The first candidate that is no item, and its file and line.
    first_unknown: Option<(String, String, u64)>,
}

impl CandidateLists {
    /// Begins the list of a positive.
    fn begin(&mut self, positive: u32) {
        self.starts.push(self.values.len());
        self.known.clear();
        self.others.clear();
        self.known.insert(positive);
    }

    /// Adds a candidate; 0 is the entry of no item. `place` is the file and line.
    fn add(&mut self, entry: u32, text: &str, place: (&str, u64)) {
        self.given += 1;
        let is_new = if entry == 0 { !self.others.contains(text) } else { self.known.insert(entry) };
        if entry == 0 {
            self.unknown += 1;
            self.first_unknown.get_or_insert_with(|| (text.to_owned(), place.0.to_owned(), place.1));
            if is_new {
                self.others.insert(text.to_owned());
            }
        }
        if is_new { self.values.push(entry) } else { self.repeated += 1 }
    }

    /// Checks that no more than half of the candidates are no items.
    fn check(&self) -> Result<()> {
        let Some((text, file, line)) = self.first_unknown.as_ref().filter(|_| 2 * self.unknown > self.given) else {
            return Ok(());
        };
        let what =
            format!("{} of {} candidates are no item of any row, the first of them `{text}`", self.unknown, self.given);
        Err(Error::data(what)
            .in_file(file.as_str())
            .at_line(*line)
            .in_field("data.layouts.candidates")
            .mend("check that the candidates name items as the rows do: the same column, and 12 where the rows have 12, not 012"))
    }

    fn list(&self, number: usize) -> &[u32] {
        let end = self.starts.get(number + 1).copied().unwrap_or(self.values.len());
        self.starts.get(number).and_then(|start| self.values.get(*start..end)).unwrap_or_default()
    }
}

/// Writes the candidates of a split, by user and item.
///
/// # Errors
/// A user or an item that has no row in any split, or candidates most of which have none: the files do not belong together.
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
        let number = canonical(text).and_then(|text| interners[vocabulary].find(&text));
        number.map_or(0, |number| numbering.entry(vocabulary, number))
    };
    let mut keys: Vec<(u32, u32, u32)> = Vec::new();
    let mut all = CandidateLists::default();
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
            let positive = key(&item, items, "item")?;
            keys.push((key(&user, users, "user")?, positive, keys.len() as u32));
            all.begin(positive);
            let mut add = |text: &str| all.add(entry(items, text), text, (&chunk.file, chunk.lines.of(row)));
            // What is missing in a list fills it up to the length of others.
            if let Some((elements, range)) = candidates.list(row) {
                range.for_each(|element| elements.text(element, &mut scratch).into_iter().for_each(&mut add));
            } else {
                let text = candidates.text(row, &mut scratch).unwrap_or_default();
                text.split(separator.as_str()).filter(|part| !part.is_empty()).for_each(&mut add);
            }
        }
    }
    all.check()?;
    keys.sort_unstable();
    let mut lists = Lists::new(false);
    for (_, _, row) in &keys {
        all.list(*row as usize).iter().for_each(|value| lists.values.push((*value).into()));
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
    let CandidateLists { given, unknown, repeated, .. } = all;
    Ok(Written { split: index, file, bytes, given, unknown, repeated })
}
