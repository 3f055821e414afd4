//! Given candidates: the items each positive of a split is ranked against.

use crate::chunk::{self, Chunk};
use crate::config::Candidates;
use crate::reader::lines::Lines;
use crate::reader::{BadRows, CHUNK_BYTES, CHUNK_ROWS, Input, Rows, files};
use arrow_array::builder::StringBuilder;
use arrow_array::{ArrayRef, RecordBatch};
use kitestring_core::error::{Error, Result, shown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The candidate lists of a split: chunks with the columns `user`, the positive `item` and `candidates`, the last one
/// a list, or a text with a separator.
pub struct CandidateRows {
    from: From,
    /// Separates the candidates of a text.
    pub separator: String,
    bad: BadRows,
}

enum From {
    Pairs { files: std::vec::IntoIter<PathBuf>, lines: Option<Lines> },
    Table(Box<Rows>),
}

impl CandidateRows {
    pub(super) fn open(folder: &Path, candidates: &Candidates, bad: &BadRows) -> Result<Self> {
        let (from, separator) = match candidates {
            Candidates::Pairs(path) => {
                let files = files::find(folder, path)?.ok_or_else(|| {
                    Error::config("there is no such file").in_file(folder.join(path).display().to_string())
                })?;
                (From::Pairs { files: files.into_iter(), lines: None }, "\t")
            }
            Candidates::Table { source, user, item, candidates, separator } => {
                if separator.is_empty() {
                    return Err(Error::config("a separator is at least one letter").in_field("separator"));
                }
                let rows = Input::open(folder, source)?.read(&[user, item, candidates], bad)?;
                (From::Table(Box::new(rows)), separator.as_str())
            }
        };
        Ok(Self { from, separator: separator.to_owned(), bad: bad.clone() })
    }

    fn next_chunk(&mut self) -> Result<Option<Chunk>> {
        let Self { from, bad, .. } = self;
        match from {
            From::Table(rows) => {
                let Some(chunk) = rows.next().transpose()? else { return Ok(None) };
                let columns = chunk.rows.columns().to_vec();
                Ok(Some(Chunk { rows: named(columns)?, ..chunk }))
            }
            From::Pairs { files, lines } => loop {
                let Some(open) = lines else {
                    let Some(file) = files.next() else { return Ok(None) };
                    *lines = Some(Lines::open(&file)?);
                    continue;
                };
                if let Some(chunk) = pairs(open, bad)? {
                    return Ok(Some(chunk));
                }
                *lines = None;
            },
        }
    }
}

impl Iterator for CandidateRows {
    type Item = Result<Chunk>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_chunk().transpose()
    }
}

fn named(columns: Vec<ArrayRef>) -> Result<RecordBatch> {
    let names = ["user", "item", "candidates"];
    RecordBatch::try_from_iter_with_nullable(names.into_iter().zip(columns).map(|(name, column)| (name, column, true)))
        .map_err(|cause| Error::internal("the columns differ in length").caused_by(cause))
}

/// The next lines of pairs and candidates; `None` at the end of the file.
fn pairs(lines: &mut Lines, bad: &BadRows) -> Result<Option<Chunk>> {
    let (mut users, mut items, mut candidates) = (StringBuilder::new(), StringBuilder::new(), StringBuilder::new());
    let mut numbers = Vec::new();
    let mut bytes = 0;
    while numbers.len() < CHUNK_ROWS && bytes < CHUNK_BYTES {
        let Some(length) = lines.length()? else { break };
        bytes += length.all;
        match pair(&lines.rest()[..length.text]) {
            Ok(Some((user, item, list))) => {
                users.append_value(user);
                items.append_value(item);
                candidates.append_value(list);
                numbers.push(lines.number);
            }
            Ok(None) => {}
            Err(error) => bad.tolerate(error.in_file(&*lines.file).at_line(lines.number))?,
        }
        lines.consume(length.all, 1);
    }
    if bytes == 0 {
        return Ok(None);
    }
    let rows = named(vec![Arc::new(users.finish()), Arc::new(items.finish()), Arc::new(candidates.finish())])?;
    Ok(Some(Chunk { rows, file: lines.file.clone(), lines: chunk::Lines::Each(numbers.into()) }))
}

/// Parts `(user,item)<tab>candidate<tab>candidate…` into user, item and candidates; nothing of an empty line.
fn pair(line: &[u8]) -> Result<Option<(&str, &str, &str)>> {
    if line.is_empty() {
        return Ok(None);
    }
    let parts = || {
        let (pair, list) = std::str::from_utf8(line).ok()?.split_once('\t')?;
        let (user, item) = pair.trim().strip_prefix('(')?.strip_suffix(')')?.split_once(',')?;
        let parts = (user.trim(), item.trim(), list.trim_matches('\t'));
        (!parts.0.is_empty() && !parts.1.is_empty() && !parts.2.is_empty()).then_some(parts)
    };
    parts().map(Some).ok_or_else(|| {
        let line = String::from_utf8_lossy(line.get(..200).unwrap_or(line));
        Error::data(format!("expected `(user,item)` and candidates after tabs, found `{}`", shown(&line, 40)))
    })
}

impl Candidates {
    /// The path of its file.
    pub(super) fn path(&self) -> &str {
        match self {
            Self::Pairs(path) => path,
            Self::Table { source, .. } => &source.path,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use arrow_array::cast::AsArray;

    /// The rows as `line: user|item|candidates`.
    fn read(candidates: &str, text: &str, bad: &BadRows) -> Result<Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("x.tsv"), text).unwrap();
        let table: toml::Table = toml::from_str(candidates).unwrap();
        let candidates: Candidates = toml::Value::Table(table).try_into().unwrap();
        let mut shown = Vec::new();
        for chunk in CandidateRows::open(folder.path(), &candidates, bad)? {
            let chunk = chunk?;
            for row in 0..chunk.rows.num_rows() {
                let cell = |name| chunk.rows.column_by_name(name).unwrap().as_string::<i32>().value(row);
                shown.push(format!(
                    "{}: {}|{}|{}",
                    chunk.lines.of(row),
                    cell("user"),
                    cell("item"),
                    cell("candidates")
                ));
            }
        }
        Ok(shown)
    }

    #[test]
    fn pairs_as_published() {
        let text = "(0,25)\t1064\t174\n\n(1, 133)\t1072\t\r\n";
        let rows = read("pairs = \"x.tsv\"", text, &BadRows::default()).unwrap();
        assert_eq!(rows, ["1: 0|25|1064\t174", "3: 1|133|1072"]);
    }

    #[test]
    fn a_malformed_pair_names_its_line() {
        let text = "(0,25)\t1\n0,25\t3\n(0,2)\n";
        let error = read("pairs = \"x.tsv\"", text, &BadRows::default()).unwrap_err().to_string();
        assert!(error.contains("x.tsv:2: expected `(user,item)`"), "{error}");
        let bad = BadRows::new(2);
        assert_eq!(read("pairs = \"x.tsv\"", text, &bad).unwrap(), ["1: 0|25|1"]);
        assert_eq!(bad.count(), 2);
    }

    #[test]
    fn tables_of_lists() {
        let settings = "[table]\nsource = { path = \"x.tsv\" }\nuser = \"u\"\nseparator = \",\"";
        let rows = read(settings, "u\titem\tx\tcandidates\na\tb\t0\tc,d\n", &BadRows::default()).unwrap();
        assert_eq!(rows, ["2: a|b|c,d"]);
        let error = read(settings, "user\titem\tcandidates\n", &BadRows::default()).unwrap_err().to_string();
        assert!(error.contains("`u`: there is no such column"), "{error}");
    }
}
