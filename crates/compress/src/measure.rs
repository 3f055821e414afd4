//! What an artifact is worth: its bytes, its microseconds, and what it says of a split's samples, through the device's own runtime.

use crate::candidate::Candidate;
use crate::config::Device;
use crate::latency::Work;
use kitestring_core::artifact::{Aligned, Artifact, SecretKey};
use kitestring_core::batch::Ids;
use kitestring_core::metrics::{Bootstrap, BootstrapPlan, bootstrap_auc, bootstrap_auc_by_group};
use kitestring_core::schema::{Of, TaskKind};
use kitestring_core::{Batch, Error, Result, Seed};
use kitestring_data::dataset::Vocabularies;
use kitestring_nn::package::Runtime;
use kitestring_train::evaluate::Served;
use std::time::Instant;

/// Samples scored at once.
const BATCH: u64 = 1024;

/// How long a latency is measured, in seconds.
const TIMED: f64 = 0.2;

/// A task's name and its AUC with replicates; none where a split has one class alone.
pub type TaskAuc = (String, Option<Bootstrap>);

/// What an artifact says of the samples of a split.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scores {
    /// For each binary task its name, the predictions and the labels; NaN where one is missing.
    pub tasks: Vec<(String, Vec<f32>, Vec<f32>)>,
    /// The users of the samples; empty where the schema has none.
    pub users: Vec<u64>,
}

impl Scores {
    /// The AUC of each binary task, over users where there are any.
    pub fn auc(&self, plan: BootstrapPlan) -> Vec<TaskAuc> {
        let of_task = |(name, scores, labels): &(String, Vec<f32>, Vec<f32>)| {
            let labelled: Vec<usize> = (0..labels.len()).filter(|row| !labels[*row].is_nan()).collect();
            let of = |values: &[f32]| labelled.iter().map(|row| values[*row]).collect::<Vec<f32>>();
            let (scores, labels) = (of(scores), of(labels));
            let found = if self.users.is_empty() {
                bootstrap_auc(&scores, &labels, plan)
            } else {
                let users: Vec<u64> = labelled.iter().map(|row| self.users[*row]).collect();
                bootstrap_auc_by_group(&scores, &labels, &users, plan)
            };
            (name.clone(), found)
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
    let binary: Vec<usize> = (0..tasks.len()).filter(|task| tasks[*task].kind == TaskKind::Binary).collect();
    let columns: usize = runtime.width();
    let named = binary.iter().map(|task| (tasks[*task].name.clone(), Vec::new(), Vec::new()));
    let mut found = Scores { tasks: named.collect(), users: Vec::new() };
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
        for (task, (_, predicted, labels)) in binary.iter().zip(&mut found.tasks) {
            predicted.extend(scores.iter().skip(*task).step_by(columns));
            labels.extend(batch.labels.iter().skip(*task).step_by(tasks.len()));
        }
        found.users.extend_from_slice(&batch.user);
        progress(last, split.rows());
        first = last;
    }
    Ok(found)
}

/// What a request costs.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Latency {
    /// Microseconds a candidate here, on one core.
    pub here: f64,
    /// The same on the device, from what the operations cost.
    pub device: f64,
}

/// Times requests for candidates of one user, the one of the first samples with the longest lists.
///
/// # Errors
/// No such split; a damaged file.
pub fn latency(
    candidate: &Candidate,
    runtime: &mut Runtime,
    keys: &Keys,
    (split, device): (&str, &Device),
    seed: Seed,
) -> Result<Latency> {
    let request = request(candidate, keys, split, device.candidates, seed)?;
    let elements = request.sparse.iter().filter(|ids| ids.is_ragged()).map(|ids| ids.of_row(0).len()).max();
    let count = request.rows as f64;
    let work = Work::of(&candidate.model.graph, &candidate.activations, request.rows, elements.unwrap_or(0));
    let mut scores = Vec::new();
    let median = median(TIMED, || runtime.score(&request, &mut scores))?;
    Ok(Latency { here: 1e6 * median / count, device: 1e6 * work.seconds(&device.speed) / count })
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
