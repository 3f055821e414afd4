//! Scores a split, batch by batch, and keeps what the metrics need of it.

use super::ahead::read_ahead;
use crate::config::EvaluateConfig;
use crate::inputs::Prepared;
use crate::loader::blame;
use crate::model::Model;
use crate::predictor::Predictor;
use kitestring_core::hash::stable_hash;
use kitestring_core::schema::{FeatureKind, TaskKind};
use kitestring_core::seed::mix;
use kitestring_core::{Batch, Error, Result, Seed};
use kitestring_data::dataset::{Dataset, Vocabularies};
use kitestring_nn::engine::Workers;
use kitestring_nn::quantization::product::Codes;
use kitestring_nn::uncertainty;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Instant;

/// A split as the model sees it: a few numbers a sample, no features. Entry `i` of every column is of sample `i` of the split.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scored {
    /// The split.
    pub split: String,
    /// Predictions and labels of each task.
    pub tasks: Vec<ScoredTask>,
    /// What else is said of each sample, by name: what the head says besides, and the parts of each task's uncertainty where passes with
    /// dropout were asked for (`TASK.aleatoric`, `TASK.epistemic`: variances, or nats of a binary task).
    pub others: Vec<(String, Vec<f32>)>,
    /// The user's number; empty where the schema has no user.
    pub users: Vec<u64>,
    /// The item's number; empty where the schema has no item.
    pub items: Vec<u64>,
    /// Which samples these are.
    pub rows: JudgedRows,
    /// For each scenario level, the scenario's index.
    pub scenarios: Vec<Vec<u32>>,
    /// How much was known of the user: the longest sequence of the sample or, if that is more, the number of different items
    /// the user has in training.
    pub history: Vec<u32>,
    /// The sample's weight; empty where the schema has none.
    pub weights: Vec<f32>,
    /// For each table, how many ids were looked up and how many of them were number 0, which stands for all that training
    /// did not know.
    pub lookups: Vec<(u64, u64)>,
    /// Seconds it took.
    pub seconds: f64,
}

/// Fingerprints of what metrics were measured on: runs are compared where they are equal. They are the same from one preparation of the same
/// rows to the next, whatever features it has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JudgedRows {
    /// Of the samples in order: users and items by their values, times, labels and weights.
    #[serde(with = "hexadecimal")]
    pub samples: u64,
    /// Of the users' numbers in order: where they are equal, too, the draws of intervals are of the same users.
    #[serde(with = "hexadecimal")]
    pub users: u64,
    /// Of the lists that were ranked: how many, for which samples, and how long; 0 where none were.
    #[serde(with = "hexadecimal")]
    pub lists: u64,
}

/// Numbers of 64 bits as texts, for not every reader of JSON has them.
mod hexadecimal {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{number:016x}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        u64::from_str_radix(&String::deserialize(deserializer)?, 16).map_err(D::Error::custom)
    }
}

/// Adds a number to a fingerprint.
#[inline]
pub(super) fn mixed(fingerprint: u64, number: u64) -> u64 {
    mix(fingerprint.rotate_left(5) ^ number)
}

/// Fingerprints of values by their numbers, made when they are first met.
struct Texts {
    vocabulary: Option<usize>,
    known: Vec<u64>,
}

impl Texts {
    fn of(&mut self, vocabularies: &Vocabularies, number: u64) -> u64 {
        let (Some(vocabulary), Ok(place)) = (self.vocabulary, usize::try_from(number)) else { return number };
        if place >= self.known.len() {
            self.known.resize(place + 1, 0);
        }
        if self.known[place] == 0 {
            let text = vocabularies.text(vocabulary, number);
            self.known[place] = stable_hash(text) | 1;
        }
        self.known[place]
    }
}

/// One task of the samples of a split.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredTask {
    /// Its name.
    pub name: String,
    /// What its label is.
    pub kind: TaskKind,
    /// Predictions: probabilities of a binary task. All finite.
    pub scores: Vec<f32>,
    /// Labels; NaN where one is missing.
    pub labels: Vec<f32>,
}

impl Scored {
    /// The number of samples.
    pub fn samples(&self) -> usize {
        self.tasks.first().map_or(0, |task| task.labels.len())
    }
}

/// Scores all samples of a split in their order. Drawn negatives follow from the seed alone. `progress` hears how many samples
/// are done, and of how many.
///
/// # Errors
/// A data set whose schema is not the model's; a prediction that is not a finite number; a damaged file.
pub fn score(
    model: &Model,
    dataset: &Dataset,
    split: &str,
    config: &EvaluateConfig,
    seed: Seed,
    workers: &dyn Workers,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Scored> {
    score_in_codes((model, None), dataset, split, config, seed, workers, progress)
}

/// [`score`] with some products in codes.
pub(super) fn score_in_codes(
    (model, codes): (&Model, Option<Arc<Codes>>),
    dataset: &Dataset,
    split: &str,
    config: &EvaluateConfig,
    seed: Seed,
    workers: &dyn Workers,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Scored> {
    let start = Instant::now();
    let schema = check_schema(model, dataset)?;
    let split = dataset.split(split)?;
    let size = config.batch_size.max(1);
    let draws = seed.child("evaluate");
    let served = Served::new(dataset, config)?;
    let mut first = 0;
    let next = |prepared: &mut Prepared| {
        let last = (first + size as u64).min(split.rows());
        if first == last {
            return Ok(None);
        }
        let indices: Vec<u64> = (first..last).collect();
        first = last;
        split.read(&indices, draws, &mut prepared.batch)?;
        served.put(&mut prepared.batch);
        Ok(Some(()))
    };

    let rows = usize::try_from(split.rows()).map_err(|_| Error::data("more samples than memory has addresses"))?;
    let task = |task: &kitestring_core::schema::Task| ScoredTask {
        name: task.name.clone(),
        kind: task.kind,
        scores: Vec::with_capacity(rows),
        labels: Vec::with_capacity(rows),
    };
    let mut scored = Scored {
        split: split.name().to_owned(),
        tasks: schema.tasks.iter().map(task).collect(),
        scenarios: vec![Vec::new(); schema.scenarios.len()],
        lookups: vec![(0, 0); schema.table_names().len()],
        ..Scored::default()
    };
    let mut columns = Columns::new(model, dataset)?;
    let besides = model.graph.outputs().iter().skip(scored.tasks.len()).map(|(name, _)| (name.clone(), Vec::new()));
    scored.others = besides.collect();
    let mut drawn = Drawn::new(model, config.draws)?;
    let mut predictor = Predictor::new(model, workers.count()).with_codes(codes);
    let mut scores = Vec::new();
    read_ahead(next, |(), prepared| {
        predictor.score(prepared, workers, &mut scores)?;
        if let Some(wrong) = scores.iter().position(|score| !score.is_finite()) {
            let sample = prepared.batch.index.get(wrong / columns.scores).copied().unwrap_or(0);
            let error = Error::numeric(format!("the prediction of sample {sample} is not a finite number"))
                .mend("train again with a lower learning rate");
            return Err(blame(error, split, sample));
        }
        columns.append(&prepared.batch, &scores, dataset, &mut scored)?;
        drawn.add(&mut predictor, prepared, workers, draws)?;
        progress(scored.samples() as u64, split.rows());
        Ok(())
    })?;
    scored.others.extend(drawn.parts);
    scored.seconds = start.elapsed().as_secs_f64();
    Ok(scored)
}

/// The features that serving does not know, each with the id that stands for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served(Vec<(usize, u64)>);

impl Served {
    /// What a config says that serving does not know.
    ///
    /// # Errors
    /// A value that training did not have.
    pub fn new(dataset: &Dataset, config: &EvaluateConfig) -> Result<Self> {
        let mut found = Vec::new();
        for (number, feature) in dataset.schema().sparse().enumerate() {
            let Some(value) = config.serve_as.get(&feature.name) else { continue };
            let id = dataset.vocabularies()?.find(feature.table(), value).ok_or_else(|| {
                Error::config(format!("training has no `{value}` of `{}`", feature.name))
                    .in_field("evaluate.serve_as")
                    .mend("name a value that the training rows have")
            })?;
            found.push((number, id));
        }
        Ok(Self(found))
    }

    /// Puts the ids in the place of what a batch has.
    pub fn put(&self, batch: &mut Batch) {
        for (feature, id) in &self.0 {
            batch.sparse[*feature].ids.fill(*id);
        }
    }
}

/// Predictions of a task for some samples with the parts of their uncertainty: variances, or nats of a binary task.
pub(crate) struct Doubted {
    pub name: String,
    pub kind: TaskKind,
    pub scores: Vec<f32>,
    /// NaN where one is missing.
    pub labels: Vec<f32>,
    pub aleatoric: Vec<f32>,
    pub epistemic: Vec<f32>,
}

/// Scores some samples of a split with so many passes with dropout. Without passes, those tasks are found whose variance the head predicts.
///
/// # Errors
/// As [`score`].
pub(crate) fn doubts(
    model: &Model,
    dataset: &Dataset,
    split: &str,
    samples: &[u64],
    passes: u32,
    seed: Seed,
    workers: &dyn Workers,
) -> Result<Vec<Doubted>> {
    let schema = check_schema(model, dataset)?;
    let split = dataset.split(split)?;
    let mut drawn = Drawn::new(model, passes)?;
    let variances: Vec<Option<usize>> = drawn.tasks.iter().map(|(_, variance)| *variance).collect();
    if passes == 0 && variances.iter().all(Option::is_none) {
        return Ok(Vec::new());
    }
    let mut predictor = Predictor::new(model, workers.count());
    let (mut all, mut labels, mut scores) = (Vec::new(), Vec::new(), Vec::new());
    let mut prepared = Prepared::default();
    for part in samples.chunks(4096) {
        split.read(part, seed, &mut prepared.batch)?;
        predictor.score(&mut prepared, workers, &mut scores)?;
        all.extend_from_slice(&scores);
        labels.extend_from_slice(&prepared.batch.labels);
        drawn.add(&mut predictor, &prepared, workers, seed)?;
    }
    let columns = model.graph.outputs().len();
    let column = |number: usize| -> Vec<f32> { all.iter().skip(number).step_by(columns).copied().collect() };
    let mut parts = drawn.parts.into_iter().map(|(_, part)| part);
    let mut found = Vec::new();
    for (number, task) in schema.tasks.iter().enumerate() {
        let (aleatoric, epistemic) = match (parts.next().zip(parts.next()), variances[number]) {
            (Some(drawn), _) => drawn,
            (None, Some(variance)) => (column(variance), vec![0.0; samples.len()]),
            (None, None) => continue,
        };
        // A count's variance is its mean, which no pass tells.
        if task.kind == TaskKind::Count {
            continue;
        }
        let labels = labels.iter().skip(number).step_by(schema.tasks.len()).copied().collect();
        found.push(Doubted {
            name: task.name.clone(),
            kind: task.kind,
            scores: column(number),
            labels,
            aleatoric,
            epistemic,
        });
    }
    Ok(found)
}

/// The schema, if it is the model's.
pub(super) fn check_schema<'a>(model: &Model, dataset: &'a Dataset) -> Result<&'a kitestring_core::Schema> {
    if dataset.schema() == &model.schema {
        return Ok(dataset.schema());
    }
    Err(Error::config("the data set has another schema than the model")
        .mend("give data that was prepared for this model's run"))
}

/// Passes with dropout, and what they say of each task's uncertainty.
struct Drawn {
    passes: u32,
    /// The kind of each task, and the place of its variance among the scores, if the head predicts one.
    tasks: Vec<(TaskKind, Option<usize>)>,
    /// Scores of a sample.
    columns: usize,
    scores: Vec<Vec<f32>>,
    /// Two columns a task.
    parts: Vec<(String, Vec<f32>)>,
}

impl Drawn {
    fn new(model: &Model, passes: u32) -> Result<Self> {
        if passes > 0 && !model.graph.drops_out() {
            return Err(Error::config("nothing in this model drops out, so passes with dropout all say the same")
                .in_field("evaluate.draws")
                .mend("train with dropout, such as model.body.dropout=0.1"));
        }
        let outputs = model.graph.outputs();
        let variance = |name: &str| outputs.iter().position(|(output, _)| *output == format!("{name}.variance"));
        let drawn = model.schema.tasks.iter().filter(|_| passes > 0);
        let parts =
            drawn.flat_map(|task| ["aleatoric", "epistemic"].map(|part| (format!("{}.{part}", task.name), Vec::new())));
        Ok(Self {
            passes,
            tasks: model.schema.tasks.iter().map(|task| (task.kind, variance(&task.name))).collect(),
            columns: outputs.len(),
            scores: vec![Vec::new(); passes as usize],
            parts: parts.collect(),
        })
    }

    /// Adds the batch that the predictor scored last.
    fn add(
        &mut self,
        predictor: &mut Predictor<'_>,
        prepared: &Prepared,
        workers: &dyn Workers,
        seed: Seed,
    ) -> Result<()> {
        if self.passes == 0 {
            return Ok(());
        }
        let seed = seed.child("dropout").at(prepared.batch.index.first().copied().unwrap_or(0));
        for (pass, scores) in self.scores.iter_mut().enumerate() {
            predictor.score_again_with_dropout(prepared, seed.at(pass as u64), workers, scores)?;
        }
        let Self { tasks, columns, scores, parts, .. } = self;
        for row in 0..prepared.batch.rows {
            for (task, (kind, variance)) in tasks.iter().enumerate() {
                let at = |column: usize| {
                    let place = row * *columns + column;
                    scores.iter().map(move |scores| scores[place])
                };
                let found = match (kind, variance) {
                    (TaskKind::Binary, _) => uncertainty::binary(at(task)),
                    (_, Some(variance)) => uncertainty::regression(at(task).zip(at(*variance))),
                    (_, None) => uncertainty::regression(at(task).map(|value| (value, 0.0))),
                };
                parts[2 * task].1.push(found.aleatoric as f32);
                parts[2 * task + 1].1.push(found.epistemic as f32);
            }
        }
        Ok(())
    }
}

/// Where in a batch is what is kept.
struct Columns {
    vocabularies: Vocabularies,
    users: Texts,
    items: Texts,
    /// The sparse features that are sequences.
    sequences: Vec<usize>,
    /// The table of each sparse feature.
    tables: Vec<usize>,
    /// The id of values that training did not have.
    unknown: u64,
    /// Whether items in training are known.
    trained: bool,
    /// The scores of a sample: one a task, then what else the head says.
    scores: usize,
}

impl Columns {
    fn new(model: &Model, dataset: &Dataset) -> Result<Self> {
        let (schema, manifest) = (dataset.schema(), dataset.manifest());
        let names = schema.table_names();
        let sparse = || schema.sparse().enumerate();
        Ok(Self {
            vocabularies: dataset.vocabularies()?,
            users: Texts { vocabulary: manifest.user, known: Vec::new() },
            items: Texts { vocabulary: manifest.item, known: Vec::new() },
            sequences: sparse()
                .filter(|(_, feature)| feature.kind == FeatureKind::Sequence)
                .map(|(index, _)| index)
                .collect(),
            tables: sparse()
                .map(|(_, feature)| names.iter().position(|name| *name == feature.table()).unwrap_or(0))
                .collect(),
            unknown: dataset.manifest().unknown_id(),
            trained: dataset.splits().iter().any(|split| split.name() == "train"),
            scores: model.graph.outputs().len(),
        })
    }

    /// Adds a batch to the fingerprints of all samples.
    fn fingerprint(&mut self, batch: &Batch, tasks: usize, rows: &mut JudgedRows) {
        for row in 0..batch.rows {
            let mut number = mixed(rows.samples, 0);
            if let Some(user) = batch.user.get(row) {
                number = mixed(number, self.users.of(&self.vocabularies, *user));
                rows.users = mixed(rows.users, *user);
            }
            if let Some(item) = batch.item.get(row) {
                number = mixed(number, self.items.of(&self.vocabularies, *item));
            }
            let times = batch.time.get(row).map(|time| time.cast_unsigned());
            let weights = batch.weight.get(row).map(|weight| u64::from(weight.to_bits()));
            let labels = batch.labels.iter().skip(row * tasks).take(tasks);
            // A missing label is missing, whichever NaN it is.
            let labels = labels.map(|label| if label.is_nan() { u64::MAX } else { u64::from(label.to_bits()) });
            rows.samples = times.into_iter().chain(weights).chain(labels).fold(number, mixed);
        }
    }

    fn append(&mut self, batch: &Batch, scores: &[f32], dataset: &Dataset, scored: &mut Scored) -> Result<()> {
        let tasks = scored.tasks.len();
        for (number, task) in scored.tasks.iter_mut().enumerate() {
            task.scores.extend(scores.iter().skip(number).step_by(self.scores));
            task.labels.extend(batch.labels.iter().skip(number).step_by(tasks));
        }
        // Those of drawn passes are added behind them at the end.
        for (number, (_, column)) in scored.others.iter_mut().enumerate() {
            column.extend(scores.iter().skip(tasks + number).step_by(self.scores));
        }
        let levels = scored.scenarios.len();
        for (level, scenarios) in scored.scenarios.iter_mut().enumerate() {
            scenarios.extend(batch.scenarios.iter().skip(level).step_by(levels));
        }
        self.fingerprint(batch, tasks, &mut scored.rows);
        scored.users.extend_from_slice(&batch.user);
        scored.items.extend_from_slice(&batch.item);
        scored.weights.extend_from_slice(&batch.weight);
        for row in 0..batch.rows {
            let known = self.sequences.iter().map(|feature| batch.sparse[*feature].of_row(row).len());
            let mut longest = known.max().unwrap_or(0);
            if let (true, Some(user)) = (self.trained, batch.user.get(row)) {
                longest = longest.max(dataset.user_items(*user, "train")?.len());
            }
            scored.history.push(longest as u32);
        }
        for (ids, table) in batch.sparse.iter().zip(&self.tables) {
            let (all, unknown) = &mut scored.lookups[*table];
            *all += ids.ids.len() as u64;
            *unknown += ids.ids.iter().filter(|id| **id == self.unknown).count() as u64;
        }
        Ok(())
    }
}
