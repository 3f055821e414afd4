//! What an artifact is worth: its bytes, its microseconds, and what it says of a split's samples, through the device's own runtime.

use crate::candidate::Candidate;
use crate::config::Device;
use crate::latency::Work;
use kitestring_core::artifact::{Aligned, Artifact, SecretKey};
use kitestring_core::batch::Ids;
use kitestring_core::metrics::{Bootstrap, BootstrapPlan, bootstrap_auc, bootstrap_auc_by_group, bootstrap_rmse};
use kitestring_core::schema::{Of, TaskKind};
use kitestring_core::{Batch, Error, Result, Seed};
use kitestring_data::dataset::Vocabularies;
use kitestring_nn::package::Runtime;
use kitestring_train::evaluate::Served;
use std::time::Instant;

/// Samples scored at once.
const BATCH: u64 = 1024;

/// How long each artifact is timed at least, in seconds, in how many rounds, and calls a round.
const TIMED: f64 = 0.2;
const ROUNDS: usize = 10;
const CALLS: usize = 3;

/// What a task is measured by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QualityMetric {
    /// Area under the ROC curve of a binary task; more is better.
    Auc,
    /// Root mean squared error of a regression or a count; less is better.
    Rmse,
}

impl QualityMetric {
    /// As people write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auc => "AUC",
            Self::Rmse => "RMSE",
        }
    }

    /// How much worse `is` than `was`, paired by replicate; positive is worse.
    pub fn lost(self, was: &Bootstrap, is: &Bootstrap) -> Option<Bootstrap> {
        match self {
            Self::Auc => was.minus(is),
            Self::Rmse => is.minus(was),
        }
    }
}

/// How well a task is predicted.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskQuality {
    /// The task.
    pub name: String,
    /// What it is measured by.
    pub metric: QualityMetric,
    /// The metric with replicates; none where it is not defined, as where a split has one class alone.
    pub value: Option<Bootstrap>,
}

/// What an artifact predicts of one task.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskScores {
    /// The task.
    pub name: String,
    /// What it is measured by.
    pub metric: QualityMetric,
    /// A prediction a sample.
    pub predictions: Vec<f32>,
    /// A label a sample; NaN where one is missing.
    pub labels: Vec<f32>,
}

/// What an artifact predicts of the samples of a split.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scores {
    /// The tasks: binary ones first, each kind in the order of the schema.
    pub tasks: Vec<TaskScores>,
    /// The users of the samples; empty where the schema has none.
    pub users: Vec<u64>,
}

impl Scores {
    /// The metric of each task, resampled over users where there are any.
    pub fn quality(&self, plan: BootstrapPlan) -> Vec<TaskQuality> {
        let of_task = |task: &TaskScores| {
            let labelled: Vec<usize> = (0..task.labels.len()).filter(|row| !task.labels[*row].is_nan()).collect();
            let of = |values: &[f32]| labelled.iter().map(|row| values[*row]).collect::<Vec<f32>>();
            let (scores, labels) = (of(&task.predictions), of(&task.labels));
            let users: Vec<u64> = match self.users.is_empty() {
                true => Vec::new(),
                false => labelled.iter().map(|row| self.users[*row]).collect(),
            };
            let value = match task.metric {
                QualityMetric::Auc if users.is_empty() => bootstrap_auc(&scores, &labels, plan),
                QualityMetric::Auc => bootstrap_auc_by_group(&scores, &labels, &users, plan),
                QualityMetric::Rmse => bootstrap_rmse(&scores, &labels, &users, plan),
            };
            TaskQuality { name: task.name.clone(), metric: task.metric, value }
        };
        self.tasks.iter().map(of_task).collect()
    }
}

/// Opens an artifact as a device does.
///
/// # Errors
/// One that a device would refuse.
pub fn open(file: &[u8], key: &SecretKey) -> Result<Runtime> {
    Runtime::open(Artifact::open(Box::new(Aligned::from(file)), &[key.public()])?)
}

/// A candidate's batches as its artifact reads them: keys of rows in the place of ids, and of what serving does not know the value that stands
/// for it.
pub struct Keys {
    served: Served,
    /// For each sparse feature the keys of its table's ids, where they are not the ids themselves.
    of_feature: Vec<Option<Vec<u64>>>,
}

impl Keys {
    /// The keys of a candidate's features.
    ///
    /// # Errors
    /// A table that the data set does not have.
    pub fn new(candidate: &Candidate, vocabularies: &Vocabularies) -> Result<Self> {
        let of_feature = candidate.model.schema.sparse().map(|feature| {
            let table = feature.table();
            let infos = &candidate.dataset.manifest().tables;
            let named = infos.iter().any(|info| info.name == table && info.vocabulary.is_some());
            let Some(rows) = candidate.dataset.table_size(table)?.filter(|_| named) else { return Ok(None) };
            let key = candidate.keys(table, vocabularies)?;
            Ok(Some((0..rows).map(key).collect()))
        });
        let served = Served::new(&candidate.dataset, &candidate.config.evaluate)?;
        Ok(Self { served, of_feature: of_feature.collect::<Result<_>>()? })
    }

    /// Puts keys in the place of ids.
    pub fn put(&self, batch: &mut Batch) {
        self.served.put(batch);
        for (ids, keys) in batch.sparse.iter_mut().zip(&self.of_feature) {
            let Some(keys) = keys else { continue };
            for id in &mut ids.ids {
                *id = usize::try_from(*id).ok().and_then(|id| keys.get(id)).copied().unwrap_or(0);
            }
        }
    }
}

/// Scores a split with a runtime. `progress` hears how many samples are done, and of how many.
///
/// # Errors
/// No such split; a prediction that is not finite; a damaged file.
pub fn score(
    candidate: &Candidate,
    runtime: &mut Runtime,
    keys: &Keys,
    split: &str,
    seed: Seed,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Scores> {
    let split = candidate.dataset.split(split)?;
    let tasks = &candidate.model.schema.tasks;
    let mut order: Vec<usize> = (0..tasks.len()).collect();
    order.sort_by_key(|task| tasks[*task].kind != TaskKind::Binary);
    let columns: usize = runtime.width();
    let empty = |task: &usize| {
        let binary = tasks[*task].kind == TaskKind::Binary;
        let metric = if binary { QualityMetric::Auc } else { QualityMetric::Rmse };
        TaskScores { name: tasks[*task].name.clone(), metric, predictions: Vec::new(), labels: Vec::new() }
    };
    let mut found = Scores { tasks: order.iter().map(empty).collect(), users: Vec::new() };
    let (mut batch, mut scores, mut first) = (Batch::default(), Vec::new(), 0);
    while first < split.rows() {
        let last = (first + BATCH).min(split.rows());
        let indices: Vec<u64> = (first..last).collect();
        split.read(&indices, seed.child("evaluate"), &mut batch)?;
        keys.put(&mut batch);
        runtime.score(&batch, &mut scores)?;
        if scores.iter().any(|score| !score.is_finite()) {
            return Err(Error::numeric(format!("a prediction of the samples from {first} on is not a finite number")));
        }
        for (task, of_task) in order.iter().zip(&mut found.tasks) {
            of_task.predictions.extend(scores.iter().skip(*task).step_by(columns));
            of_task.labels.extend(batch.labels.iter().skip(*task).step_by(tasks.len()));
        }
        found.users.extend_from_slice(&batch.user);
        progress(last, split.rows());
        first = last;
    }
    Ok(found)
}

/// An artifact's runtime and a request to time it with.
pub struct TimedRequest {
    runtime: Runtime,
    request: Batch,
    /// Microseconds a candidate on the device, from what the operations cost.
    pub device: f64,
}

impl TimedRequest {
    /// A request for candidates of one user, the one of the first samples with the longest lists.
    ///
    /// # Errors
    /// No such split; a damaged file.
    pub fn new(
        candidate: &Candidate,
        runtime: Runtime,
        keys: &Keys,
        (split, device): (&str, &Device),
        seed: Seed,
    ) -> Result<Self> {
        let request = request(candidate, keys, split, device.candidates, seed)?;
        let elements = request.sparse.iter().filter(|ids| ids.is_ragged()).map(|ids| ids.of_row(0).len()).max();
        let work = Work::of(&candidate.model.graph, &candidate.activations, request.rows, elements.unwrap_or(0));
        let device = 1e6 * work.seconds(&device.speed) / request.rows as f64;
        Ok(Self { runtime, request, device })
    }

    /// Bytes that the runtime made of the file.
    pub fn memory(&self) -> usize {
        self.runtime.memory()
    }
}

/// Microseconds a candidate here, on one core, for each of several artifacts. They are timed in rounds, each in its turn, and the least time
/// counts: what else the machine does then falls on all of them, and makes none look slow.
///
/// # Errors
/// What scoring says.
pub fn times_in_turn(artifacts: &mut [TimedRequest]) -> Result<Vec<f64>> {
    let mut least = vec![f64::INFINITY; artifacts.len()];
    let mut scores = Vec::new();
    for _ in 0..ROUNDS {
        for (artifact, least) in artifacts.iter_mut().zip(&mut least) {
            let (start, mut calls) = (Instant::now(), 0);
            while start.elapsed().as_secs_f64() < TIMED / ROUNDS as f64 || calls < CALLS {
                let since = Instant::now();
                artifact.runtime.score(&artifact.request, &mut scores)?;
                *least = least.min(since.elapsed().as_secs_f64());
                calls += 1;
            }
        }
    }
    let count = |artifact: &TimedRequest| artifact.request.rows as f64;
    Ok(least.iter().zip(artifacts.iter()).map(|(seconds, artifact)| 1e6 * seconds / count(artifact)).collect())
}

/// The median time of a call, in seconds, over about so many of them.
///
/// # Errors
/// What the call says.
pub fn median(seconds: f64, mut call: impl FnMut() -> Result<()>) -> Result<f64> {
    let (start, mut times) = (Instant::now(), Vec::new());
    while start.elapsed().as_secs_f64() < seconds || times.len() < 5 {
        let since = Instant::now();
        call()?;
        times.push(since.elapsed().as_secs_f64());
    }
    times.sort_unstable_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

/// A request: candidates of one user, which share all that is not the item's.
///
/// # Errors
/// No such split, or one without samples; a damaged file.
pub fn request(candidate: &Candidate, keys: &Keys, split: &str, candidates: usize, seed: Seed) -> Result<Batch> {
    let split = candidate.dataset.split(split)?;
    let rows = split.rows();
    if rows == 0 {
        return Err(Error::data("the split has no samples to make a request of").in_field(split.name()));
    }
    let mut batch = Batch::default();
    let indices: Vec<u64> = (0..candidates as u64).map(|number| number % rows).collect();
    split.read(&indices, seed.child("evaluate"), &mut batch)?;
    keys.put(&mut batch);
    let lengths = |row: usize| -> usize {
        batch.sparse.iter().filter(|ids| ids.is_ragged()).map(|ids| ids.of_row(row).len()).sum()
    };
    let longest = (0..batch.rows).max_by_key(|row| (lengths(*row), std::cmp::Reverse(*row))).unwrap_or(0);
    let schema = &candidate.model.schema;
    for (ids, feature) in batch.sparse.iter_mut().zip(schema.sparse()) {
        if feature.of == Of::Item {
            continue;
        }
        let list = ids.of_row(longest).to_vec();
        *ids = if ids.is_ragged() {
            let offsets = vec![0, list.len() as u32];
            Ids { ids: list, offsets, list_of_row: vec![0; candidates] }
        } else {
            Ids { ids: vec![list[0]; candidates], ..Ids::default() }
        };
    }
    Ok(batch)
}
