//! What a killed run goes on from: the model with its optimizers' memory, and how far it was.
//!
//! Checkpoints stand side by side as `step-N`, each written beside its place and renamed, so that a kill at any moment leaves a whole
//! one. The one before is removed only when the next is in place. Beside them stands `best-N`, the model of the best epoch so far, under the
//! number of its epoch: a checkpoint names the epoch it goes with, so a kill between the two leaves a pair that fits.

use crate::config::{KeptEpoch, Schedule, TrainConfig};
use crate::evaluate;
use crate::history::{Epoch, History};
use crate::model::write;
use crate::run::replace_directory;
use kitestring_core::{Error, Result};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The format number of checkpoints.
const FORMAT: u32 = 2;
const STATE: &str = "state.json";
const OPTIMIZER: &str = "optimizer.safetensors";
const MODEL: &str = "model";
const BEST: &str = "best-";

/// How far a run is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The epoch, counted from 0.
    pub epoch: u32,
    /// Batches of this epoch that are done.
    pub batch: u64,
    /// What the schedule multiplied the learning rate by because of validation.
    pub rate_factor: f32,
    /// The best validation metric.
    pub best: Option<f64>,
    /// Epochs since then.
    pub epochs_without_better: u32,
    /// Seconds spent in training steps.
    pub seconds: f64,
    /// Samples trained on.
    pub samples: u64,
    /// What was measured so far.
    pub history: History,
}

impl Progress {
    /// Notes the end of an epoch, one of `epochs`, after so many steps in all, with what validation measured.
    pub fn end_epoch(&mut self, (train, epochs): (&TrainConfig, u32), steps: u64, metrics: BTreeMap<String, f64>) {
        let before = self.history.epochs.iter();
        let (seconds, samples) =
            before.fold((0.0, 0), |(seconds, samples), epoch| (seconds + epoch.seconds, samples + epoch.samples));
        let total = (steps / u64::from(self.epoch + 1)) * u64::from(epochs);
        let factor = train.schedule.factor(steps.saturating_sub(1), total) * self.rate_factor;
        self.history.epochs.push(Epoch {
            epoch: self.epoch + 1,
            learning_rate: train.learning_rate * factor,
            seconds: self.seconds - seconds,
            samples: self.samples - samples,
            metrics,
        });
        self.epoch += 1;
        self.batch = 0;
    }

    /// Whether the last epoch is the best so far by a metric, so that its model is to be kept. Without such a metric (a validation split of
    /// one class has no AUC) the last epoch's will be.
    ///
    /// # Errors
    /// A config error, if early stopping or the schedule needs the metric and it was not measured.
    pub fn judge(&mut self, train: &TrainConfig, metric: &str) -> Result<bool> {
        let plateau = match train.schedule {
            Schedule::Plateau { factor } => Some(factor),
            _ => None,
        };
        let Some(epoch) = self.history.epochs.last() else { return Ok(false) };
        let Some(value) = epoch.metrics.get(metric).copied() else {
            if train.early_stopping.is_none() && plateau.is_none() {
                return Ok(false);
            }
            let known = epoch.metrics.keys().cloned().collect::<Vec<_>>().join(", ");
            return Err(Error::config(format!("validation gives no `{metric}`"))
                .in_field("train.early_stopping.metric")
                .mend(format!("choose one of {known}")));
        };
        self.history.metric = Some(metric.to_owned());
        let lower_is_better = evaluate::lower_is_better(metric);
        let better = self.best.is_none_or(|best| if lower_is_better { value < best } else { value > best });
        if better {
            let kept = train.keep == KeptEpoch::Best;
            self.best = Some(value);
            self.history.best_epoch = kept.then_some(epoch.epoch);
            self.epochs_without_better = 0;
            return Ok(kept);
        }
        self.epochs_without_better += 1;
        self.rate_factor *= plateau.unwrap_or(1.0);
        if let Some(stopping) = &train.early_stopping
            && self.epochs_without_better >= stopping.patience.max(1)
        {
            let epochs = self.epochs_without_better;
            self.history.stopped = Some(format!("{metric} no better for {epochs} epochs"));
        }
        Ok(false)
    }
}

#[derive(Serialize, Deserialize)]
struct State {
    format: u32,
    steps: u64,
    /// The sections of the config that decide what training does.
    config: String,
    progress: Progress,
}

/// What a checkpoint is made of.
pub struct Checkpoint<'a> {
    /// Steps done.
    pub steps: u64,
    /// The sections of the config that decide what training does: a checkpoint of others is not gone on from.
    pub identity: &'a str,
    /// How far the run is.
    pub progress: &'a Progress,
    /// What optimizers and objectives remember, by name.
    pub memory: &'a [(String, &'a [f32])],
    /// Writes the model, with what its tables' optimizers remember, into a directory.
    pub model: &'a dyn Fn(&Path) -> Result<()>,
}

/// Writes a checkpoint below `directory` and removes older ones.
///
/// # Errors
/// What the file system says; what stood there before is then untouched.
pub fn save(directory: &Path, checkpoint: &Checkpoint<'_>) -> Result<()> {
    let fail = |error| Error::io(error, "could not write the checkpoint", directory);
    std::fs::create_dir_all(directory).map_err(fail)?;
    let new = tempfile::Builder::new().prefix(".new-").tempdir_in(directory).map_err(fail)?;
    let place = new.path().join(MODEL);
    std::fs::create_dir(&place).map_err(fail)?;
    (checkpoint.model)(&place)?;
    let steps = checkpoint.steps;
    write(&new.path().join(OPTIMIZER), &tensors(checkpoint.memory)?)?;
    let (config, progress) = (checkpoint.identity.to_owned(), checkpoint.progress.clone());
    let state = State { format: FORMAT, steps, config, progress };
    let text = serde_json::to_vec(&state).map_err(|error| Error::internal("a checkpoint").caused_by(error))?;
    write(&new.path().join(STATE), &text)?;
    let older = list(directory)?;
    let place = directory.join(format!("step-{steps}"));
    // The same step again (an epoch's end right after a checkpoint within it) replaces the one that is there.
    let replaced = directory.join(format!(".old-{steps}"));
    if place.exists() {
        std::fs::rename(&place, &replaced).map_err(fail)?;
    }
    std::fs::rename(new.keep(), &place).map_err(fail)?;
    for (step, path) in older {
        if step != steps {
            std::fs::remove_dir_all(path).map_err(fail)?;
        }
    }
    if replaced.exists() {
        std::fs::remove_dir_all(replaced).map_err(fail)?;
    }
    remove_other_best(directory, checkpoint.progress.history.best_epoch)
}

/// Where the model of the best epoch stands.
pub fn best(directory: &Path, epoch: u32) -> PathBuf {
    directory.join(format!("{BEST}{epoch}"))
}

/// Keeps the model of an epoch that is the best so far, below `directory`. The one before stays until the next checkpoint is in place.
///
/// # Errors
/// What the file system says.
pub fn keep_best(directory: &Path, epoch: u32, model: &dyn Fn(&Path) -> Result<()>) -> Result<()> {
    std::fs::create_dir_all(directory)
        .map_err(|error| Error::io(error, "could not make the directory of checkpoints", directory))?;
    replace_directory(&best(directory, epoch), model)
}

fn remove_other_best(directory: &Path, kept: Option<u32>) -> Result<()> {
    let fail = |error| Error::io(error, "could not remove an older model", directory);
    for entry in std::fs::read_dir(directory).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let name = entry.file_name();
        let epoch = name.to_string_lossy().strip_prefix(BEST).map(str::to_owned);
        if epoch.is_some_and(|epoch| epoch.parse().ok() != kept) {
            std::fs::remove_dir_all(entry.path()).map_err(fail)?;
        }
    }
    Ok(())
}

/// The newest checkpoint below `directory`, if there is one.
///
/// # Errors
/// A damaged checkpoint, or one of another identity.
pub fn load(directory: &Path, identity: &str) -> Result<Option<Loaded>> {
    let Some((_, place)) = list(directory)?.into_iter().max() else { return Ok(None) };
    let path = place.join(STATE);
    let file = path.display().to_string();
    let bytes = std::fs::read(&path).map_err(|error| Error::io(error, "could not read the checkpoint", &path))?;
    let damaged = |error: serde_json::Error| Error::format("a damaged checkpoint").caused_by(error).in_file(&file);
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(damaged)?;
    if value.get("format").and_then(serde_json::Value::as_u64) != Some(u64::from(FORMAT)) {
        return Err(Error::format(format!("not a checkpoint of format {FORMAT}"))
            .in_file(file)
            .mend("go on with the version of Kitestring that wrote it, or start a new run"));
    }
    let state: State = serde_json::from_value(value).map_err(damaged)?;
    if state.config != identity {
        return Err(Error::config("the run was started with another [schema], [model], [train] or data set")
            .in_file(file)
            .mend("resume with the run's own config.toml, or start a new run"));
    }
    let path = place.join(OPTIMIZER);
    let bytes = std::fs::read(&path).map_err(|error| Error::io(error, "could not read the checkpoint", &path))?;
    let memory = numbers(&bytes)
        .map_err(|error| Error::format("a damaged checkpoint").caused_by(error).in_file(path.display().to_string()))?;
    Ok(Some(Loaded { model: place.join(MODEL), steps: state.steps, memory, progress: state.progress }))
}

/// A checkpoint that was read.
pub struct Loaded {
    /// The directory of the model.
    pub model: PathBuf,
    /// Steps done.
    pub steps: u64,
    /// What optimizers and objectives remember, by name.
    pub memory: BTreeMap<String, Vec<f32>>,
    /// How far the run is.
    pub progress: Progress,
}

fn list(directory: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|error| Error::io(error, "could not list the checkpoints", directory))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| Error::io(error, "could not list the checkpoints", directory))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        // `.old-N` counts too: a kill between the two renames leaves only it.
        let step = name.strip_prefix("step-").or_else(|| name.strip_prefix(".old-"));
        if let Some(Ok(step)) = step.map(str::parse) {
            found.push((step, entry.path()));
        }
    }
    Ok(found)
}

fn tensors(memory: &[(String, &[f32])]) -> Result<Vec<u8>> {
    let broken = |error: safetensors::SafeTensorError| Error::internal("safetensors").caused_by(error);
    let bytes: Vec<Vec<u8>> =
        memory.iter().map(|(_, values)| values.iter().flat_map(|value| value.to_le_bytes()).collect()).collect();
    let mut views = Vec::with_capacity(memory.len());
    for ((name, values), bytes) in memory.iter().zip(&bytes) {
        views.push((name, TensorView::new(Dtype::F32, vec![values.len()], bytes).map_err(broken)?));
    }
    safetensors::serialize(views, None).map_err(broken)
}

fn numbers(bytes: &[u8]) -> std::result::Result<BTreeMap<String, Vec<f32>>, safetensors::SafeTensorError> {
    let tensors = SafeTensors::deserialize(bytes)?;
    let read = |view: &TensorView<'_>| {
        view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    };
    Ok(tensors.iter().map(|(name, view)| (name.to_owned(), read(&view))).collect())
}
