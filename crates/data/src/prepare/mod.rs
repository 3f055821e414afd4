//! From rows of columns to a data set directory.
//!
//! Three passes, none of which holds all rows. The first turns rows into records of fixed size, with provisional numbers
//! for values, and deals them to parts by user; parts that do not fit in memory go to a temporary file. The second sorts
//! each part by user and time, gives every row its split, and counts over training rows; then values get their ids. The
//! third writes the rows of each part with their histories.
//!
//! What is held in memory is the vocabularies, the item table, one part, and one shard.
//!
//! Histories are not written row by row: a user's events are one list, and a row says where in it its history starts and
//! how long it is.

mod arrange;
mod candidates;
mod catalogue;
mod columns;
mod fit;
mod folder;
mod histories;
mod intern;
mod items;
mod notes;
mod number;
mod output;
mod plan;
mod rows;
mod shards;
mod sides;
mod spill;
mod split;
#[cfg(test)]
mod tests;
mod times;

pub use candidates::GivenCandidates;
pub use catalogue::{Change, Changed, change_items};
pub(crate) use columns::Column;
pub use folder::prepare_folder;
pub(crate) use intern::Interner;
pub use plan::columns;
pub(crate) use rows::PATH;
pub(crate) use shards::{USERS, user_file};

use crate::chunk::Chunk;
use crate::config::{Negatives, Split, Ties};
use crate::dataset::manifest::{FORMAT, MISSING, Manifest, SplitInfo, TableInfo, TimeScale};
use crate::dataset::{Dataset, Vocabularies, hash_files};
use crate::reader::BadRows;
use arrange::{Seen, arrange};
use histories::EventSource;
use items::{ItemRecords, pointers};
use kitestring_core::fitted::Fitted;
use kitestring_core::schema::{FeatureKind, Of, TaskKind};
use kitestring_core::{Error, Result, Schema, Seed};
use notes::{Strangers, notes_of_counts};
use number::{Numbering, Stored};
use output::Output;
use plan::{Ids, Plan};
use rows::{Needed, RowEncoder};
use shards::ShardWriter;
use spill::{Parts, u32_at};
use split::{Splits, check_negatives};
use std::collections::BTreeMap;
use std::path::Path;

/// Rows in the order of their file.
pub type Chunks<'a> = Box<dyn Iterator<Item = Result<Chunk>> + 'a>;

/// The name of the file of the item table.
pub(crate) const ITEMS: &str = "items.arrow";

/// The rows of one given split, or all rows.
pub struct Input<'a> {
    /// The split; `train` where rows are yet to be split.
    pub split: String,
    /// The rows.
    pub chunks: Chunks<'a>,
}

impl<'a> Input<'a> {
    /// The rows of a split.
    pub fn new(split: impl Into<String>, chunks: impl Iterator<Item = Result<Chunk>> + 'a) -> Self {
        Self { split: split.into(), chunks: Box::new(chunks) }
    }
}

/// What decides how rows become a data set, besides the rows.
#[derive(Clone)]
pub struct Options<'a> {
    /// The meaning of the columns.
    pub schema: &'a Schema,
    /// How the rows of `train` are divided further.
    pub split: Option<Split>,
    /// Whether a user's rows of one time see each other in histories.
    pub ties: Ties,
    /// Which negatives are drawn when the data set is read.
    pub negatives: Option<&'a Negatives>,
    /// Vocabularies and transforms to go on with: their ids stay as they are, and values of training rows that they do not hold follow.
    /// Their schema is this one, perhaps with fewer tasks.
    pub like: Option<&'a Vocabularies>,
    /// Decides drawn splits.
    pub seed: Seed,
    /// How many malformed rows are dropped.
    pub bad_rows: &'a BadRows,
}

/// How far a preparation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Rows read so far.
    Reading(u64),
    /// Rows put in order so far, and all.
    Arranging(u64, u64),
    /// Rows written so far, and all.
    Writing(u64, u64),
}

/// Prepares a data set in the directory `out`, and returns its manifest. Nothing is left there on an error.
///
/// The inputs come in the order of their splits, `train` first: a row's histories hold rows of its own and of earlier
/// inputs only, of strictly earlier times unless [`Options::ties`] says otherwise.
///
/// # Errors
/// What is wrong with the schema, a file or a row; an empty split; a label that is never positive or never negative in
/// training; a full disk.
pub fn prepare(
    inputs: Vec<Input<'_>>,
    candidates: Vec<GivenCandidates<'_>>,
    options: &Options<'_>,
    out: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Manifest> {
    let plan = Plan::new(options.schema)?;
    let given: Vec<String> = inputs.iter().map(|input| input.split.clone()).collect();
    if given.first().is_none_or(|first| first != "train") {
        return Err(Error::config("the first input must be `train`").in_field("data.layouts"));
    }
    let splits = Splits::new(&given, options.split, &plan, options.seed)?;
    check_negatives(options.negatives, &splits.names)?;
    let ranked = options.negatives.is_some() || !candidates.is_empty();
    check_items(options.schema, ranked)?;
    let mut encoder = RowEncoder::new(&plan);
    if let Some(like) = options.like {
        options.schema.check_grown_from(&like.manifest().schema)?;
        encoder.interners = like.interners()?;
    }
    let job = Job { plan: &plan, splits, options, stored: options.like, past: None };
    job.run(encoder, inputs, candidates, out, progress)
}

/// Prepares rows never seen in [`prepare`] as the only split `name` of a data set in the directory `out`, with the
/// vocabularies and transforms of another one. Labels and logged facts may have no column.
///
/// Values the vocabularies do not hold have the id of unknown ones. The rows are no events: a row's histories hold the user's events in `past`, the data set the
/// vocabularies are of, that are of strictly earlier times than the row; all of them without a time column. Times of less than a microsecond
/// apart are one.
///
/// # Errors
/// As [`prepare`]; labels may be all alike.
pub fn encode(
    name: &str,
    chunks: Chunks<'_>,
    candidates: Vec<GivenCandidates<'_>>,
    (vocabularies, past): (&Vocabularies, Option<&Dataset>),
    bad_rows: &BadRows,
    out: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Manifest> {
    let manifest = vocabularies.manifest();
    if past.is_some_and(|past| past.manifest().schema != manifest.schema) {
        return Err(Error::config("the data set of past events has another schema"));
    }
    let plan = Plan::new(&manifest.schema)?;
    let schema = &manifest.schema;
    let options =
        Options { schema, split: None, ties: Ties::Apart, negatives: None, like: None, seed: manifest.seed, bad_rows };
    let splits = Splits::new(&[name.to_owned()], None, &plan, manifest.seed)?;
    let mut encoder = RowEncoder::new(&plan);
    encoder.needed = Needed::Unlabelled;
    encoder.interners = vocabularies.interners()?;
    times::expect(&mut encoder, manifest.time_scale);
    let job = Job { plan: &plan, splits, options: &options, stored: Some(vocabularies), past };
    let inputs = vec![Input { split: name.to_owned(), chunks }];
    job.run(encoder, inputs, candidates, out, progress)
}

struct Job<'a> {
    plan: &'a Plan,
    splits: Splits,
    options: &'a Options<'a>,
    stored: Option<&'a Vocabularies>,
    past: Option<&'a Dataset>,
}

impl Job<'_> {
    fn run(
        mut self,
        mut encoder: RowEncoder,
        inputs: Vec<Input<'_>>,
        candidates: Vec<GivenCandidates<'_>>,
        out: &Path,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Manifest> {
        let plan = self.plan;
        let output = Output::new(out)?;
        let mut parts = Parts::new(output.path(), plan.stride, plan.groups_users());
        let mut items = ItemRecords::new(plan);
        self.read(&mut encoder, inputs, &mut parts, &mut items, progress)?;
        let scale = match self.stored.filter(|_| self.is_scoring()) {
            Some(stored) => stored.manifest().time_scale,
            None => times::found(&encoder),
        };
        if scale == TimeScale::Seconds {
            times::to_moments(plan, &encoder, &mut parts)?;
        }
        self.splits.find_borders(plan, &mut parts, scale)?;
        let rows = parts.rows();
        let arranged = &mut |done| progress(Progress::Arranging(done, rows));
        let mut seen = arrange(plan, &encoder, &self.splits, &mut parts, self.options.seed, arranged)?;
        if let Some((first, last, source)) = seen.time.filter(|_| scale == TimeScale::Own) {
            let before = self.stored.filter(|_| self.is_scoring()).and_then(|stored| stored.manifest().time);
            let (earliest, latest) = before.unwrap_or((first, last));
            times::check_unit(plan, &encoder, (first.min(earliest), last.max(latest)), source)?;
        }
        self.check(&seen)?;
        let mut fitted = std::mem::take(&mut seen.fits).into_iter();
        let fitted: Vec<Fitted> = match self.stored {
            Some(stored) => stored.manifest().fitted.clone(),
            None => fitted.by_ref().map(fit::Fit::finish).collect::<Result<_>>()?,
        };
        let stored: Option<Vec<Stored>> = self.stored.map(|stored| {
            let sizes = stored.manifest().vocabularies.iter();
            sizes.map(|vocabulary| Stored::new(vocabulary, self.options.like.is_some())).collect()
        });
        let unknown = self.stored.map_or(MISSING + 1, |stored| stored.manifest().unknown_id());
        let numbering = Numbering::new(plan, &encoder.interners, &seen, (stored.as_deref(), unknown));
        let mut writer = ShardWriter::new(
            (plan, &numbering, &seen),
            &fitted,
            &self.splits.names,
            self.options.negatives,
            if self.is_scoring() { EventSource::Past(self.past) } else { EventSource::Rows(self.options.ties) },
            output.path(),
        );
        // What was prepared to be scored is held against what training saw, all else against its own training rows.
        let trains = self.stored.is_none() || self.options.like.is_some();
        let known = self.stored.filter(|_| !trains).map(|stored| stored.manifest().ranges.clone());
        let ranges = known.unwrap_or_else(|| seen.survey.ranges(plan));
        let mut strangers = Strangers::new(plan, &ranges, self.splits.names.len());
        let mut done = 0;
        for index in 0..parts.len() {
            let part = parts.take(index)?;
            writer.add(&part)?;
            strangers.add(plan, &numbering, &part.records);
            done += (part.records.len() / plan.stride) as u64;
            progress(Progress::Writing(done, rows));
        }
        drop(parts);
        let written = writer.finish()?;
        let mut manifest = self.manifest(&encoder, &seen, &numbering, fitted);
        let names = &self.splits.names;
        let drawn = self.options.negatives.map_or(&[][..], |negatives| &negatives.splits);
        manifest.notes = seen.survey.notes(plan, names, trains, drawn);
        manifest.notes.extend(notes_of_counts(plan, (&seen, &numbering), encoder.zero_positions, trains));
        if trains {
            manifest.notes.extend(items.check.notes().into_iter().chain(seen.sides.notes()));
        }
        let by_user = matches!(self.options.split, Some(Split::User { .. }));
        manifest.notes.extend(strangers.notes(plan, names, trains, by_user));
        manifest.ranges = ranges;
        manifest.time_scale = scale;
        manifest.files = written.files;
        manifest.user_shards = written.user_shards;
        manifest.overlapping = written.overlapping;
        for (split, shards) in manifest.splits.iter_mut().zip(written.shards) {
            split.stored = shards.iter().map(|shard| shard.rows).sum();
            split.rows = shards.iter().map(|shard| shard.rows * u64::from(shard.copies)).sum();
            split.shards = shards;
        }
        for given in candidates {
            let names = &self.splits.names;
            let written = candidates::write(given, names, plan, &encoder.interners, &numbering, output.path())?;
            let split = &mut manifest.splits[written.split];
            split.given_candidates = written.given;
            split.unknown_candidates = written.unknown;
            split.repeated_candidates = written.repeated;
            split.candidates = Some(written.file.clone());
            manifest.files.insert(written.file, written.bytes);
        }
        for (vocabulary, interner) in encoder.interners.iter().enumerate() {
            let (info, bytes) = numbering.write(plan, interner, &seen, vocabulary, output.path())?;
            manifest.files.insert(info.file.clone(), bytes);
            manifest.vocabularies.push(info);
        }
        if let Some((_, vocabulary)) = plan.item {
            let texts = &encoder.interners[vocabulary];
            let path = output.path().join(ITEMS);
            let stored = self.stored.and_then(Vocabularies::items);
            let columns = items.columns(plan, &numbering, &seen, &manifest.fitted, (texts, stored))?;
            let bytes = crate::dataset::file::write(&path, columns)?;
            manifest.files.insert(ITEMS.into(), bytes);
        }
        manifest.vocabulary_hash = Some(hash_files(output.path(), &manifest)?);
        output.commit(&manifest)?;
        Ok(manifest)
    }

    /// Whether rows are encoded for a data set that is there already, and are none of it.
    fn is_scoring(&self) -> bool {
        self.stored.is_some() && self.options.like.is_none()
    }

    fn read(
        &self,
        encoder: &mut RowEncoder,
        inputs: Vec<Input<'_>>,
        parts: &mut Parts,
        items: &mut ItemRecords,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<()> {
        let plan = self.plan;
        let pointers = pointers(plan, plan.stride);
        let at = |key: Option<(usize, usize)>| key.map(|(slot, _)| plan.slots[slot].at);
        let (user_at, item_at) = (at(plan.user), at(plan.item));
        let mut sink = |record: &[u8], lists: &[u8]| {
            if let Some(item_at) = item_at {
                items.add(u32_at(record, item_at), record, lists);
            }
            parts.push(user_at.map_or(0, |user_at| u32_at(record, user_at)), record, lists, &pointers)
        };
        for (given, input) in inputs.into_iter().enumerate() {
            for chunk in input.chunks {
                encoder.encode(plan, &chunk?, given as u8, self.options.bad_rows, &mut sink)?;
                progress(Progress::Reading(encoder.rows));
            }
        }
        Ok(())
    }

    /// Checks what only the rows tell.
    fn check(&self, seen: &Seen) -> Result<()> {
        for (split, rows) in self.splits.names.iter().zip(&seen.rows) {
            if *rows == 0 {
                return Err(Error::data(format!("split `{split}` is empty"))
                    .in_field("data.split")
                    .mend("give it more rows, or do not ask for it"));
            }
        }
        if self.is_scoring() {
            return Ok(());
        }
        let negatives = self.options.negatives;
        let drawn = negatives.is_some_and(|negatives| negatives.splits.contains(&self.splits.names[0]));
        for (task, label) in self.plan.schema.tasks.iter().zip(&seen.labels[0]) {
            let wrong = match task.kind {
                _ if label.given == 0 => "is missing in every training row",
                TaskKind::Binary if label.positive == 0 => "is never positive in training",
                TaskKind::Binary if label.positive == label.given && !drawn => "is never negative in training",
                _ => continue,
            };
            let mend = if wrong.contains("negative") {
                "check the task's `at_least` or `equals`, or draw negatives with [data.negatives]"
            } else {
                "check the task's column and its `at_least` or `equals`"
            };
            return Err(Error::data(format!("the label {wrong}")).in_field(task.name.as_str()).mend(mend));
        }
        Ok(())
    }

    fn manifest(&self, encoder: &RowEncoder, seen: &Seen, numbering: &Numbering, fitted: Vec<Fitted>) -> Manifest {
        let plan = self.plan;
        let splits = self.splits.names.iter().zip(&seen.labels).map(|(name, labels)| SplitInfo {
            name: name.clone(),
            rows: 0,
            stored: 0,
            labels: labels.clone(),
            shards: Vec::new(),
            candidates: None,
            given_candidates: 0,
            unknown_candidates: 0,
            repeated_candidates: 0,
        });
        let tables = plan.schema.table_names().into_iter().enumerate().map(|(table, name)| TableInfo {
            name: name.to_owned(),
            rows: plan.table_rows(table, |vocabulary| numbering.rows(vocabulary)),
            vocabulary: match plan.tables[table] {
                Some(Ids::Vocabulary(vocabulary)) => Some(vocabulary),
                _ => None,
            },
        });
        Manifest {
            // Ids mean what they mean in the vocabularies that are gone on with.
            format: self.stored.map_or(FORMAT, |stored| stored.manifest().format),
            schema: plan.schema.clone(),
            seed: self.options.seed,
            splits: splits.collect(),
            tables: tables.collect(),
            vocabularies: Vec::new(),
            user: plan.user.map(|(_, vocabulary)| vocabulary),
            item: plan.item.map(|(_, vocabulary)| vocabulary),
            scenarios: plan.levels.iter().map(|(_, vocabulary)| *vocabulary).collect(),
            treatment: plan.treatment.map(|(_, vocabulary)| vocabulary),
            fitted,
            histories: {
                let lists = plan.schema.features.iter().zip(&plan.histories);
                lists.filter_map(|(feature, list)| Some((feature.name.clone(), (*list)?))).collect()
            },
            negatives: self.options.negatives.cloned(),
            user_shards: 0,
            time: seen.time.map(|(first, last, _)| (first, last)),
            time_scale: TimeScale::default(),
            bad_rows: self.options.bad_rows.count(),
            ranges: BTreeMap::new(),
            notes: Vec::new(),
            overlapping: 0,
            sources: encoder.files.iter().map(|file| file.to_string()).collect(),
            files: BTreeMap::new(),
            vocabulary_hash: None,
        }
    }
}

/// Checks that another item can take a row's place, where it will have to.
fn check_items(schema: &Schema, ranked: bool) -> Result<()> {
    if !ranked {
        return Ok(());
    }
    let (Some(_), Some(item)) = (&schema.user, &schema.item) else {
        return Err(Error::config("negatives and candidates need to know the user and the item of a row")
            .in_field("schema")
            .mend("name their columns as `schema.user` and `schema.item`"));
    };
    let is_item = |feature: &&kitestring_core::schema::Feature| {
        feature.kind == FeatureKind::Categorical && feature.column() == item && feature.of != Of::Item
    };
    match schema.features.iter().find(is_item) {
        None => Ok(()),
        Some(feature) => Err(Error::config("this feature is the item, but not declared to be the item's")
            .in_field(format!("schema.features.{}", feature.name))
            .mend("set of = \"item\"")),
    }
}
