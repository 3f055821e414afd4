//! What a data set says of itself.

use crate::config::Negatives;
use kitestring_core::fitted::Fitted;
use kitestring_core::schema::Feature;
use kitestring_core::{Error, Note, Result, Schema, Seed, VocabularyHash};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// The format number of data set directories that this version writes, and the only one it reads.
pub const FORMAT: u32 = 2;

/// The id of a missing value, in every table.
pub const MISSING: u64 = 0;

/// The id, in every table with a vocabulary, of a value that the vocabulary does not hold. Ids of values follow it.
const UNKNOWN: u64 = 1;

/// The name of the manifest within a data set directory.
pub const MANIFEST: &str = "manifest.json";

/// What a data set says of itself: `manifest.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The format number, [`FORMAT`].
    pub format: u32,
    /// The declared meaning of the columns.
    pub schema: Schema,
    /// The seed that drew the splits.
    pub seed: Seed,
    /// The splits: `train`, `valid`, `test`, then others by name.
    pub splits: Vec<SplitInfo>,
    /// The tables in the order of [`Schema::table_names`].
    pub tables: Vec<TableInfo>,
    /// The vocabularies.
    pub vocabularies: Vec<VocabularyInfo>,
    /// The vocabulary whose entries are the users' numbers.
    pub user: Option<usize>,
    /// The vocabulary whose entries are the items' numbers.
    pub item: Option<usize>,
    /// The vocabulary of each scenario level. An entry is the path of values from the outermost level, joined by U+001F.
    pub scenarios: Vec<usize>,
    /// The vocabulary of the arms of the treatment.
    pub treatment: Option<usize>,
    /// What was fitted to the numeric features, in the order of the schema.
    pub fitted: Vec<Fitted>,
    /// The list of events that each history is cut from: column `events.N` of the users' shards.
    pub histories: BTreeMap<String, usize>,
    /// How negatives are drawn when rows are read.
    pub negatives: Option<Negatives>,
    /// Number of shards of users.
    pub user_shards: usize,
    /// First and last time, where the schema has a time.
    pub time: Option<(i64, i64)>,
    /// What times are.
    #[serde(default)]
    pub time_scale: TimeScale,
    /// Malformed rows that were dropped.
    pub bad_rows: u64,
    /// The least and the greatest value of each numeric feature in training, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ranges: BTreeMap<String, [f64; 2]>,
    /// What rows and schema say against each other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
    /// Rows to be scored that are rows of the data set whose events their histories are made of: of the same user, item and time.
    #[serde(default)]
    pub overlapping: u64,
    /// The files the rows came from, in the order read.
    pub sources: Vec<String>,
    /// The size in bytes of each file of the data set.
    pub files: BTreeMap<String, u64>,
    /// What tells its ids from those of others; none in data sets of older versions, whose files tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vocabulary_hash: Option<VocabularyHash>,
}

/// What the times of a data set are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeScale {
    /// Whole numbers as the files have them, of a unit that they do not tell.
    #[default]
    Own,
    /// Microseconds since 1970, of dates, of timestamps in any unit, or of texts of them.
    Moment,
    /// Microseconds since 1970, of numbers of seconds of which some have fractions.
    Seconds,
}

/// A split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SplitInfo {
    /// Its name.
    pub name: String,
    /// Number of samples, drawn negatives included.
    pub rows: u64,
    /// Number of stored rows.
    pub stored: u64,
    /// Its stored labels, in the order of the schema's tasks.
    pub labels: Vec<LabelInfo>,
    /// Its shards.
    pub shards: Vec<ShardInfo>,
    /// The file of the candidates given for it.
    pub candidates: Option<String>,
    /// Candidates given for it in all.
    #[serde(default)]
    pub given_candidates: u64,
    /// Given candidates that were no item of any row: each is ranked as the unknown item.
    #[serde(default)]
    pub unknown_candidates: u64,
    /// Given candidates that their own list has already, or that are the list's positive: they count once.
    #[serde(default)]
    pub repeated_candidates: u64,
}

/// Labels of one task in one split, without drawn negatives.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LabelInfo {
    /// The task.
    pub task: String,
    /// Labels that are given.
    pub given: u64,
    /// Labels above zero.
    pub positive: u64,
    /// Mean of the given labels; 0 where none is.
    pub mean: f64,
}

/// A file of rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShardInfo {
    /// The file.
    pub file: String,
    /// Number of stored rows.
    pub rows: u64,
    /// Samples made of each row: one, and the negatives drawn for it.
    pub copies: u32,
    /// The shard of its users, where there are users.
    pub users: usize,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TableInfo {
    /// Its name.
    pub name: String,
    /// Number of rows; none where the table is open.
    pub rows: Option<u64>,
    /// Its vocabulary, where it has one.
    pub vocabulary: Option<usize>,
}

/// A vocabulary: an Arrow file with the columns `value` and `count`, entry 0 standing for every other value. An id of a table is an entry
/// plus [`Manifest::unknown_id`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VocabularyInfo {
    /// Its name.
    pub name: String,
    /// The file.
    pub file: String,
    /// Entries that are ids. Those past them are users or items that are in no training row, or in too few.
    pub ids: u32,
    /// All entries.
    pub entries: u32,
    /// Look-ups of training rows without a value.
    #[serde(default)]
    pub missing: u64,
    /// Look-ups of training rows with a value that is no id.
    #[serde(default)]
    pub unknown: u64,
}

impl Manifest {
    /// Reads the manifest of a data set directory.
    ///
    /// # Errors
    /// No such directory, another format number, or a damaged manifest.
    pub fn read(directory: &Path) -> Result<Self> {
        let path = directory.join(MANIFEST);
        let shown = || path.display().to_string();
        let text = std::fs::read_to_string(&path).map_err(|cause| {
            let missing = cause.kind() == std::io::ErrorKind::NotFound && directory.is_dir();
            let error = Error::io(cause, "cannot read the manifest of a data set", &path);
            if missing { error.mend("name a folder that `kitestring prepare` wrote") } else { error }
        })?;
        // The number is looked at first, for another format's manifest need not have our keys.
        #[derive(Deserialize)]
        struct Numbered {
            format: u32,
        }
        let damaged = |cause: serde_json::Error| {
            Error::format("not a readable manifest")
                .in_file(shown())
                .caused_by(cause)
                .mend("prepare the data set again")
        };
        let Numbered { format } = serde_json::from_str(&text).map_err(damaged)?;
        if format != FORMAT {
            let what = format!("a data set of format {format}, and this version reads format {FORMAT}");
            return Err(Error::format(what).in_file(shown()).mend(
                "prepare the data set again with this version, and train again what was trained on it: the same values may have other ids",
            ));
        }
        let manifest: Self = serde_json::from_str(&text).map_err(damaged)?;
        manifest.check().map_err(|what| {
            Error::format(format!("a manifest that contradicts itself: {what}"))
                .in_file(shown())
                .mend("prepare the data set again")
        })?;
        Ok(manifest)
    }

    /// What whoever prepared it should know: what rows and schema say against each other, and the candidates.
    pub fn notes(&self) -> Vec<Note> {
        let mut notes = self.notes.clone();
        if self.overlapping > 0 {
            let rows: u64 = self.splits.iter().map(|split| split.rows).sum();
            let text = format!(
                "{} of {rows} rows are rows of the run's own data too, of the same user, item and time",
                self.overlapping
            );
            let hint = "take figures of them for those of rows that the run knows";
            notes.push(Note::new(text).hint(hint).counting(self.overlapping));
        }
        for SplitInfo { name, given_candidates, unknown_candidates, repeated_candidates, .. } in &self.splits {
            if *unknown_candidates > 0 {
                let text = format!(
                    "{unknown_candidates} of {given_candidates} candidates of split `{name}` are no item of any row: each is ranked as the \
                     unknown item, which makes the ranking easier"
                );
                let hint = "check that the candidates and the rows number items alike";
                notes.push(Note::new(text).hint(hint).counting(*unknown_candidates));
            }
            if *repeated_candidates > 0 {
                let text = format!(
                    "{repeated_candidates} of {given_candidates} candidates of split `{name}` repeat one of their list or its positive: each \
                     item counts once"
                );
                notes.push(Note::new(text).counting(*repeated_candidates));
            }
        }
        notes
    }

    /// What the readers rely on.
    fn check(&self) -> Result<(), String> {
        let numbers = self.user.iter().chain(&self.item).chain(&self.scenarios).chain(&self.treatment);
        let vocabularies = self.tables.iter().filter_map(|table| table.vocabulary.as_ref()).chain(numbers);
        for vocabulary in vocabularies {
            if *vocabulary >= self.vocabularies.len() {
                return Err(format!("there is no vocabulary {vocabulary}"));
            }
        }
        if self.tables.iter().map(|table| table.name.as_str()).ne(self.schema.table_names()) {
            return Err("the tables are not the schema's".into());
        }
        if self.scenarios.len() != self.schema.scenarios.len() {
            return Err("the scenario levels are not the schema's".into());
        }
        let histories = self.schema.features.iter().filter(|feature| feature.history.is_some());
        if histories.map(|feature| feature.name.as_str()).any(|name| !self.histories.contains_key(name)) {
            return Err("a history has no list of events".into());
        }
        for split in &self.splits {
            if split.shards.iter().any(|shard| shard.copies == 0) {
                return Err(format!("split `{}` has a shard without copies", split.name));
            }
            let rows: u64 = split.shards.iter().map(|shard| shard.rows.saturating_mul(u64::from(shard.copies))).sum();
            if rows != split.rows {
                return Err(format!(
                    "split `{}` has {rows} samples in its shards and {} in all",
                    split.name, split.rows
                ));
            }
        }
        Ok(())
    }

    /// The same without some features, and without what nothing else reads: their tables, and what was fitted to them.
    pub(super) fn without(&self, features: &[String]) -> Result<Self> {
        let mut left = self.clone();
        left.schema = self.schema.without(features)?;
        let tables = left.schema.table_names();
        let table = |name: &&str| self.tables.iter().find(|table| table.name == **name).cloned();
        left.tables = tables.iter().filter_map(table).collect();
        left.fitted.retain(|fitted| !features.contains(&fitted.feature));
        left.histories.retain(|name, _| !features.contains(name));
        Ok(left)
    }

    /// The id, in every table with a vocabulary, of a value that the vocabulary does not hold. Ids of values follow it.
    pub fn unknown_id(&self) -> u64 {
        UNKNOWN
    }

    /// [`Self::unknown_id`] of a table, which is [`MISSING`] where the table has no vocabulary: there every value has an id of its own.
    pub fn unknown_id_of(&self, table: &str) -> u64 {
        let has_vocabulary = self.tables.iter().any(|info| info.name == table && info.vocabulary.is_some());
        if has_vocabulary { self.unknown_id() } else { MISSING }
    }

    /// The split of a name.
    ///
    /// # Errors
    /// There is none: the message lists those there are.
    pub fn split(&self, name: &str) -> Result<&SplitInfo> {
        self.splits.iter().find(|split| split.name == name).ok_or_else(|| self.no_split(name))
    }

    pub(crate) fn no_split(&self, name: &str) -> Error {
        let names: Vec<_> = self.splits.iter().map(|split| split.name.as_str()).collect();
        Error::config(format!("the data set has no split `{name}`")).mend(format!("use one of: {}", names.join(", ")))
    }

    /// What was fitted to a numeric feature.
    pub fn fitted(&self, feature: &Feature) -> Option<&Fitted> {
        self.fitted.iter().find(|fitted| fitted.feature == feature.name)
    }
}
