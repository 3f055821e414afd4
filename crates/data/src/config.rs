//! The `[data]` section of a config: where the rows are, how files become rows, and how rows become splits.
//!
//! A [`Layout`] says how to get from files to rows of columns; a config may list several, for the same data set is
//! published in several shapes, and the first whose files all exist is used. What comes after (splits, negatives) and
//! the schema speak of the layout's columns and are written once.

mod border;

pub use border::TimeBorder;

use kitestring_core::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The `[data]` section.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// The folder or file of the raw data, where the command line gives none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The shapes the data may have; the first whose files all exist is used.
    #[serde(default)]
    pub layouts: Vec<Layout>,
    /// How rows become `train`, `valid` and `test`. Where the layout gives splits, it divides the given `train` further,
    /// into those that are not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
    /// Whether a user's rows of one time see each other in histories.
    #[serde(default, skip_serializing_if = "Ties::is_default")]
    pub ties: Ties,
    /// Negatives drawn for rows that are all positive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub negatives: Option<Negatives>,
    /// How many malformed rows are dropped and counted before the command stops. 0: the first one stops it.
    #[serde(default)]
    pub max_bad_rows: u64,
    /// Texts that mean "no value" besides the empty one in every column of every text or JSON file, ids too. Where a number is read `NA`,
    /// `N/A`, `#N/A`, `NaN`, `null`, `None`, `\\N`, `-`, `--`, `?` and `.` mean it anyway, in any case.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

/// Whether a user's rows of one time see each other in histories. Without a time column the order of the files is time, and there are no ties.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ties {
    /// They do not: they are one moment, such as the items of a request, of which serving knows no outcome yet.
    #[default]
    Apart,
    /// Each sees those that come before it in the files, for logs whose clock is coarser than their order.
    FileOrder,
}

impl Ties {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// How to get from the files of a folder to rows of columns.
///
/// A column comes from the file, from a join, or is derived; what a column needs is worked out from the columns asked
/// for, so the order in which joins and derived columns are listed does not matter, and what nobody asks for is neither
/// read nor computed. Filters are applied last.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    /// Its name, for messages.
    pub name: String,
    /// All rows, to be split by [`DataConfig::split`]. Either this or `splits`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<Source>,
    /// The rows of each given split by its name; `train` must be among them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub splits: BTreeMap<String, Source>,
    /// Side tables, kept in memory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub joins: Vec<Join>,
    /// Columns computed from others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub derive: Vec<Derive>,
    /// Which rows are kept: those that pass all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<Filter>,
    /// The items each positive of a split is ranked against, by split.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub candidates: BTreeMap<String, Candidates>,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// A file, or a folder of files read in the order of their names.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Path within the data folder: a file, a folder with all in it and its subfolders, or files and folders with `*` in their names. A
    /// compressed `path.gz`, `path.zst` or `path.br` is found too. Folders such as `day=1` are partitions: `day` is a column of the rows
    /// in them, and takes the place of one of that name in the files.
    pub path: String,
    /// The format, where neither the first bytes tell (Parquet and Arrow) nor the extension: `.json`, `.jsonl` and `.ndjson` are JSON,
    /// everything else is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// Text between two fields, of any length. By default a comma for `.csv` and a tab for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub separator: Option<String>,
    /// The columns' names, for text without a header line, or in place of it. Of JSON, where an object's members are columns (those of
    /// objects within it by `outer.inner`), the ones there are besides those of the first rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Vec<String>>,
    /// Whether the last of `columns` repeats: a line is a row for each of its values, and none without any. An empty value
    /// is none. Only for text without quotes.
    #[serde(default)]
    pub repeat: bool,
    /// Whether the first line is a header. By default it is where `columns` is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<bool>,
    /// The quote around fields that hold separators (RFC 4180); empty for none. By default `"` where the separator is a
    /// comma or a semicolon, else none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote: Option<String>,
    /// The letter before a quote, or before itself, that is a part of the text, where quotes within quotes are not doubled: `\\` as a
    /// rule. Only within quotes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escape: Option<String>,
    /// Whether white space around unquoted fields is dropped.
    #[serde(default)]
    pub trim: bool,
    /// Lines that start with this are skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// How bytes become letters.
    #[serde(default)]
    pub encoding: Encoding,
    /// Texts that mean "no value" besides the empty one, by the column's name in the file; those
    /// under `"*"` in every column. Only for text and JSON.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub missing: BTreeMap<String, Vec<String>>,
    /// Columns, by their names in the file, whose numbers have a comma for a point: `3,14`; points in them separate thousands. Only for text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decimal_comma: Vec<String>,
    /// Whether a line may end before the last columns, which then have no value in its row. Only for text.
    #[serde(default, skip_serializing_if = "is_false")]
    pub short_rows: bool,
    /// New names of columns: `new = "old"`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rename: BTreeMap<String, String>,
}

/// A file's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Lines of separated fields.
    Text,
    /// Apache Parquet.
    Parquet,
    /// Apache Arrow IPC file (Feather version 2).
    Arrow,
    /// JSON: an object a line, or objects one after the other or in one array.
    Json,
}

impl Format {
    /// Its name in messages, with its article.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Parquet => "a Parquet",
            Self::Arrow => "an Arrow",
            Self::Json => "a JSON",
        }
    }
}

/// How bytes become letters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Encoding {
    /// UTF-8; a byte order mark is skipped.
    #[default]
    #[serde(rename = "utf-8")]
    Utf8,
    /// ISO 8859-1: each byte is the letter of its number.
    #[serde(rename = "latin-1")]
    Latin1,
}

/// A side table joined to every row that has its key. Rows without a partner are kept with missing values, and counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// The side table.
    pub source: Source,
    /// The key.
    pub on: On,
    /// The columns taken; all but the key's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Vec<String>>,
    /// Whether a key may have several rows: each column taken then holds the list of their values, in the order of the
    /// file, for a feature of several values. Where it is not set, a row whose key was there before is malformed.
    #[serde(default)]
    pub collect: bool,
}

/// The key of a join: `"user_id"`, `["user", "item"]`, or `{ left = "user_id", right = "id" }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum On {
    /// One column with the same name on both sides.
    Column(String),
    /// Several columns with the same names on both sides.
    Columns(Vec<String>),
    /// One column with a name on each side.
    Names(Sides),
}

/// The name of a key column on either side of a join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sides {
    /// Its name among the rows.
    pub left: String,
    /// Its name in the side table.
    pub right: String,
}

/// A column computed from another one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Derive {
    /// The new column.
    pub name: String,
    /// The column it is computed from; a constant needs none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// How.
    #[serde(rename = "as")]
    pub rule: Rule,
    /// Only in these given splits; in all when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<String>,
}

/// How a column is computed. A missing value stays missing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Rule {
    /// The integer plus this one.
    Offset(i64),
    /// The number, from this one on, of the value in the order of first appearance in the file, before filters.
    FirstAppearance(i64),
    /// One part of a text.
    Part {
        /// What separates the parts.
        separator: String,
        /// Which part, counted from 0; missing where there are fewer.
        index: usize,
    },
    /// The same text in every row.
    Constant(String),
    /// `1` where the condition holds, else `0`, also for a missing value.
    When(Condition),
    /// The text with each `%` and the two hexadecimal digits behind it read as the byte of that number, as in the paths of
    /// URLs. A `%` without them stays.
    PercentDecoded,
    /// Which of the ranges between these ascending borders a number lies in, in words: `under 25`, `25 to 35` (without 35), `35 and over`.
    Cut(Vec<f64>),
}

/// Which rows are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// The column.
    pub column: String,
    /// Rows whose value meets this are kept.
    pub keep: Condition,
    /// Only in these given splits; in all when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<String>,
}

/// A condition on a value. A missing value meets none but `present = false`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// A number of at least this.
    AtLeast(f64),
    /// A number of at most this.
    AtMost(f64),
    /// This text.
    Equals(String),
    /// One of these texts.
    OneOf(Vec<String>),
    /// Whether there is a value.
    Present(bool),
}

/// The items each positive of a split is ranked against.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Candidates {
    /// A file of lines `(user,item)<tab>candidate<tab>candidate…`, as published with neural collaborative filtering.
    Pairs(String),
    /// A table with a user, the positive item and the list of candidates in each row.
    Table {
        /// The table.
        source: Box<Source>,
        /// Column of the user.
        #[serde(default = "user")]
        user: String,
        /// Column of the positive item.
        #[serde(default = "item")]
        item: String,
        /// Column of the candidates, a list or a text.
        #[serde(default = "candidates")]
        candidates: String,
        /// Separates the candidates of a text.
        #[serde(default = "space")]
        separator: String,
    },
}

fn user() -> String {
    "user".into()
}
fn item() -> String {
    "item".into()
}
fn candidates() -> String {
    "candidates".into()
}
fn space() -> String {
    " ".into()
}

/// How rows become `train`, `valid` and `test`. A fraction or count of 0 makes no such split.
///
/// "Last" is by the schema's time column; without one the order of the files is time. Where a number of rows must be cut off in the midst of
/// rows of one time (`leave_last`, `user_fraction`), those later in the files are the last ones, whatever `data.ties` says of histories.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case", deny_unknown_fields)]
pub enum Split {
    /// The last rows of all users: the first `⌈n · (1 − valid − test)⌉` are `train`, up to `⌈n · (1 − test)⌉` `valid`.
    /// Rows of one time are never parted: the border moves to the earlier end of its time.
    Time {
        /// Fraction of `valid`.
        #[serde(default)]
        valid: f64,
        /// Fraction of `test`.
        #[serde(default)]
        test: f64,
    },
    /// Borders in time: `valid` starts at one, `test` at the other.
    TimeAt {
        /// First time of `valid`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        valid: Option<TimeBorder>,
        /// First time of `test`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        test: Option<TimeBorder>,
    },
    /// Of each user the last `test` rows, and the `valid` rows before them. Users with fewer than `valid + test + 1` rows
    /// are `train` as a whole.
    LeaveLast {
        /// Rows of `valid`.
        #[serde(default)]
        valid: u32,
        /// Rows of `test`.
        #[serde(default)]
        test: u32,
    },
    /// Of each user's `n` rows the first `⌈n · (1 − valid − test)⌉` are `train`, up to `⌈n · (1 − test)⌉` `valid`.
    UserFraction {
        /// Fraction of `valid`.
        #[serde(default)]
        valid: f64,
        /// Fraction of `test`.
        #[serde(default)]
        test: f64,
    },
    /// Whole users, drawn by the hash of the user with the seed.
    User {
        /// Fraction of `valid`.
        #[serde(default)]
        valid: f64,
        /// Fraction of `test`.
        #[serde(default)]
        test: f64,
    },
    /// Rows drawn independently with the seed. Histories then see a user's earlier rows of other splits.
    Random {
        /// Fraction of `valid`.
        #[serde(default)]
        valid: f64,
        /// Fraction of `test`.
        #[serde(default)]
        test: f64,
    },
}

/// Negatives drawn for rows that are all positive: a copy of the row with another item, its features and all labels 0.
/// The item is drawn from those of training rows that the user has neither in the same split nor in an earlier one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Negatives {
    /// How many for each row whose first task is positive.
    pub per_positive: u32,
    /// From which distribution over the items.
    #[serde(default)]
    pub draw: Draw,
    /// In which splits.
    #[serde(default = "train")]
    pub splits: Vec<String>,
}

fn train() -> Vec<String> {
    vec!["train".into()]
}

/// The distribution negatives are drawn from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Draw {
    /// All items alike.
    #[default]
    Uniform,
    /// In proportion to the item's number of training rows.
    Popularity,
}

impl Source {
    /// With more texts that mean "no value" in every column.
    #[must_use]
    pub(crate) fn with_missing(mut self, texts: &[String]) -> Self {
        if !texts.is_empty() {
            self.missing.entry("*".into()).or_default().extend_from_slice(texts);
        }
        self
    }

    /// A source with everything but the path at its default.
    pub fn new(path: impl Into<String>) -> Self {
        Self { path: path.into(), ..Self::default() }
    }
}

impl On {
    /// The key columns as (name among the rows, name in the side table).
    pub fn pairs(&self) -> Vec<(&str, &str)> {
        match self {
            Self::Column(name) => vec![(name, name)],
            Self::Columns(names) => names.iter().map(|name| (name.as_str(), name.as_str())).collect(),
            Self::Names(Sides { left, right }) => vec![(left, right)],
        }
    }
}

impl Layout {
    /// With more texts that mean "no value" in every column of its rows and side tables.
    pub(crate) fn with_missing(&self, texts: &[String]) -> Self {
        let mut layout = self.clone();
        let more = |source: Source| source.with_missing(texts);
        layout.samples = layout.samples.map(more);
        layout.splits = layout.splits.into_iter().map(|(name, source)| (name, more(source))).collect();
        for join in &mut layout.joins {
            join.source = std::mem::take(&mut join.source).with_missing(texts);
        }
        layout
    }

    /// The sources of its rows with the names of their splits, `None` for rows that are to be split: `train`, `valid`,
    /// `test`, then others by name.
    pub fn sources(&self) -> Vec<(Option<&str>, &Source)> {
        if let Some(samples) = &self.samples {
            return vec![(None, samples)];
        }
        let mut sources: Vec<_> = self.splits.iter().map(|(name, source)| (Some(name.as_str()), source)).collect();
        let known = ["train", "valid", "test"];
        sources.sort_by_key(|(name, _)| known.iter().position(|k| Some(*k) == *name).unwrap_or(known.len()));
        sources
    }
}

impl Split {
    /// The sizes of `valid` and `test` where they are fractions.
    fn fractions(&self) -> Option<(f64, f64)> {
        match *self {
            Self::Time { valid, test }
            | Self::UserFraction { valid, test }
            | Self::User { valid, test }
            | Self::Random { valid, test } => Some((valid, test)),
            Self::TimeAt { .. } | Self::LeaveLast { .. } => None,
        }
    }

    /// The same without the splits that are given; `None` where it then makes none.
    fn without(mut self, given: impl Fn(&str) -> bool) -> Option<Self> {
        match &mut self {
            Self::Time { valid, test }
            | Self::UserFraction { valid, test }
            | Self::User { valid, test }
            | Self::Random { valid, test } => {
                *valid = if given("valid") { 0.0 } else { *valid };
                *test = if given("test") { 0.0 } else { *test };
                (*valid + *test > 0.0).then_some(self)
            }
            Self::TimeAt { valid, test } => {
                *valid = valid.filter(|_| !given("valid"));
                *test = test.filter(|_| !given("test"));
                (valid.is_some() || test.is_some()).then_some(self)
            }
            Self::LeaveLast { valid, test } => {
                *valid = if given("valid") { 0 } else { *valid };
                *test = if given("test") { 0 } else { *test };
                (*valid + *test > 0).then_some(self)
            }
        }
    }
}

impl DataConfig {
    /// How the rows of a layout that are `train`, or yet to be split, are divided.
    pub fn split_of(&self, layout: &Layout) -> Option<Split> {
        self.split?.without(|name| layout.splits.contains_key(name))
    }

    /// Checks what does not need the files.
    ///
    /// # Errors
    /// A config error that names the key.
    pub fn check(&self) -> Result<()> {
        if self.layouts.is_empty() {
            return Err(Error::config("there is no layout").in_field("data.layouts").mend("add a [[data.layouts]]"));
        }
        for layout in &self.layouts {
            self.check_layout(layout)?;
        }
        if let Some(split) = &self.split {
            let (valid, test) = split.fractions().unwrap_or_default();
            if !(valid >= 0.0 && test >= 0.0 && valid + test < 1.0) {
                return Err(Error::config(format!("valid = {valid} and test = {test} leave nothing to train on"))
                    .in_field("data.split")
                    .mend("give fractions of at least 0 with a sum below 1"));
            }
            if let Split::TimeAt { valid: Some(valid), test: Some(test) } = split {
                let ((TimeBorder::Number(valid), TimeBorder::Number(test))
                | (TimeBorder::Moment(valid), TimeBorder::Moment(test))) = (valid, test)
                else {
                    let error = Error::config("one border is a number and the other a date").in_field("data.split");
                    return Err(error.mend("give both alike"));
                };
                if valid >= test {
                    return Err(Error::config("`valid` must start before `test`").in_field("data.split"));
                }
            }
        }
        Ok(())
    }

    fn check_layout(&self, layout: &Layout) -> Result<()> {
        let field = format!("data.layouts.{}", layout.name);
        let wrong = |what: String| Err(Error::config(what).in_field(field.as_str()));
        if self.layouts.iter().filter(|other| other.name == layout.name).count() > 1 {
            return wrong("two layouts have this name".into());
        }
        if layout.samples.is_some() != layout.splits.is_empty() {
            return wrong("a layout has either `samples` or `splits`".into());
        }
        if layout.samples.is_none() && !layout.splits.contains_key("train") {
            return wrong("`splits` needs a `train`".into());
        }
        if layout.samples.is_some() && self.split.is_none() {
            return Err(Error::config(format!("layout `{}` gives no splits", layout.name))
                .in_field("data.split")
                .mend("say how to split, such as { by = \"user_fraction\", valid = 0.1, test = 0.1 }"));
        }
        for derive in &layout.derive {
            if layout.derive.iter().filter(|other| other.name == derive.name && overlap(other, derive)).count() > 1 {
                return wrong(format!("`{}` is derived twice", derive.name));
            }
            if let Rule::Cut(borders) = &derive.rule
                && (borders.is_empty()
                    || !borders.iter().all(|border| border.is_finite())
                    || borders.windows(2).any(|pair| pair[0] >= pair[1]))
            {
                return wrong(format!("derived column `{}`: borders must ascend", derive.name));
            }
            if derive.from.is_none() != matches!(derive.rule, Rule::Constant(_)) {
                return wrong(format!("derived column `{}`: all but a constant need `from`", derive.name));
            }
        }
        let only = layout.derive.iter().flat_map(|derive| &derive.only);
        for split in only.chain(layout.filters.iter().flat_map(|filter| &filter.only)) {
            if !layout.splits.contains_key(split) {
                return wrong(format!("`only` names `{split}`, which is not a given split"));
            }
        }
        Ok(())
    }
}

fn overlap(a: &Derive, b: &Derive) -> bool {
    a.only.is_empty() || b.only.is_empty() || a.only.iter().any(|split| b.only.contains(split))
}

#[cfg(test)]
mod tests;
