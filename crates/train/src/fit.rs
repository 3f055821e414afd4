//! Training: epochs of steps, validation, early stopping, checkpoints.

use crate::checkpoint::{self, Progress};
use crate::config::{RunConfig, Schedule};
use crate::evaluate;
use crate::history::{Epoch as EpochHistory, History, StepLoss};
use crate::inputs::Readers;
use crate::learner::Learner;
use crate::loader::{self, Epoch};
use crate::model::Model;
use crate::run::replace_directory;
use crate::workers::Threads;
use kitestring_core::{Error, Kind, Result, Seed};
use kitestring_data::dataset::Dataset;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

/// Where checkpoints lie in a run directory.
const CHECKPOINTS: &str = "checkpoint";
/// Where the model lies in a run directory.
pub(crate) const MODEL: &str = "model";
/// About how many entries of the training loss a run keeps.
const LOSS_ENTRIES: u64 = 400;

/// What happens while a model is trained.
#[derive(Debug, Clone)]
pub enum Event<'a> {
    /// A run goes on from a checkpoint.
    Resumed {
        /// Steps done.
        steps: u64,
    },
    /// A step was done.
    Step {
        /// The epoch, counted from 1.
        epoch: u32,
        /// Batches of this epoch done.
        batch: u64,
        /// Batches of an epoch.
        batches: u64,
        /// The sum of the weighted losses of this step.
        loss: f64,
        /// Samples a second since the epoch started.
        samples_per_second: f64,
    },
    /// An epoch ended.
    Epoch {
        /// What was measured.
        epoch: &'a EpochHistory,
        /// Whether it is the best so far.
        best: bool,
    },
}

/// A trained model.
#[derive(Debug)]
pub struct Fitted {
    /// The model of the best epoch, or of the last one where no validation chose.
    pub model: Model,
    /// How training went.
    pub history: History,
    /// Seconds spent in training steps.
    pub seconds: f64,
    /// Samples trained on a second.
    pub samples_per_second: f64,
}

/// Trains a model on the split `train` and leaves it in `directory`. With `resume`, goes on from the newest checkpoint there, if any.
///
/// # Errors
/// A config error; a loss that is not finite (the error names the row; the last good checkpoint stays); what the file system says.
pub fn fit(
    config: &RunConfig,
    dataset: &Dataset,
    directory: &Path,
    resume: bool,
    observe: &mut dyn FnMut(Event<'_>),
) -> Result<Fitted> {
    Fit::new(config, dataset, directory, resume, observe)?.run(observe)
}

struct Fit<'a> {
    config: &'a RunConfig,
    dataset: &'a Dataset,
    directory: &'a Path,
    /// The sections that must not change between a run and its resumption.
    identity: String,
    seed: Seed,
    threads: Threads,
    readers: Readers,
    model: Model,
    learner: Learner,
    progress: Progress,
    validation: Option<&'static str>,
}

impl<'a> Fit<'a> {
    fn new(
        config: &'a RunConfig,
        dataset: &'a Dataset,
        directory: &'a Path,
        resume: bool,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<Self> {
        let seed = Seed(config.seed).child("train");
        let threads = Threads::new(config.train.workers)?;
        let identity = identity(config, dataset, threads.count())?;
        let loaded = if resume { checkpoint::load(&directory.join(CHECKPOINTS), &identity)? } else { None };
        let fresh = || {
            let size = |table: &str| dataset.table_size(table);
            Model::new(dataset.schema(), &config.model, &config.train, size, seed)
        };
        let (model, memory, progress) = match loaded {
            Some(loaded) => (loaded.model, Some((loaded.steps, loaded.first, loaded.second)), loaded.progress),
            None => (fresh()?, None, Progress { rate_factor: 1.0, ..Progress::default() }),
        };
        let mut learner = Learner::new(&model, &config.train, threads.count(), seed)?;
        if let Some((steps, first, second)) = memory {
            learner.restore(steps, &first, &second)?;
            observe(Event::Resumed { steps });
        }
        // Choosing an epoch by the test split would tune to it: only `valid` decides.
        let validation = dataset.splits().iter().any(|split| split.name() == "valid").then_some("valid");
        if config.train.early_stopping.is_some() && validation.is_none() {
            return Err(Error::config("early stopping needs a split named `valid`")
                .in_field("train.early_stopping")
                .mend("make one in [data] split, or train a fixed number of epochs"));
        }
        let readers = Readers::new(dataset.schema());
        Ok(Self { config, dataset, directory, identity, seed, threads, readers, model, learner, progress, validation })
    }

    fn run(mut self, observe: &mut dyn FnMut(Event<'_>)) -> Result<Fitted> {
        while !self.progress.finished {
            self.epoch(observe)?;
            self.finish_epoch(observe)?;
        }
        let model = if self.progress.history.best_epoch.is_some() {
            Model::read(&self.directory.join(MODEL))?
        } else {
            self.save_model()?;
            self.model
        };
        let seconds = self.progress.seconds;
        let samples_per_second = self.progress.samples as f64 / seconds.max(1e-9);
        Ok(Fitted { model, history: self.progress.history, seconds, samples_per_second })
    }

    /// The batches of an epoch that are left.
    fn epoch(&mut self, observe: &mut dyn FnMut(Event<'_>)) -> Result<()> {
        let split = self.dataset.split("train")?;
        let train = &self.config.train;
        let number = self.progress.epoch;
        let epoch = Epoch {
            split,
            readers: &self.readers,
            order: split.order(self.seed, number.into()),
            draws: self.seed.child("negatives").at(number.into()),
            batch_size: train.batch_size,
            first_batch: self.progress.batch,
        };
        let batches = epoch.batches();
        let total = batches * u64::from(train.epochs);
        let note_every = (total / LOSS_ENTRIES).max(1);
        let start = Instant::now();
        let (mut since, mut samples) = (Instant::now(), 0_u64);
        let mut note = LossNote::default();
        let weights: Vec<f64> = self.model.graph.losses().iter().map(|loss| f64::from(loss.weight)).collect();
        let Self { model, learner, threads, progress, identity, directory, .. } = self;
        epoch.each(|prepared| {
            let step = learner.steps();
            let rate = train.learning_rate * train.schedule.factor(step, total) * progress.rate_factor;
            let report = learner.step(model, prepared, rate, threads).map_err(|error| {
                let row = learner.not_finite().and_then(|row| prepared.batch.index.get(row).copied());
                match row {
                    Some(sample) if error.kind() == Kind::Numeric => loader::blame(error, split, sample),
                    _ => error,
                }
            })?;
            progress.batch += 1;
            progress.samples += prepared.batch.rows as u64;
            samples += prepared.batch.rows as u64;
            note.add(&report.losses, &report.labelled);
            if progress.batch.is_multiple_of(note_every) || progress.batch == batches {
                let done = f64::from(number) + progress.batch as f64 / batches as f64;
                progress.history.steps.push(StepLoss { epoch: done, losses: note.take() });
            }
            observe(Event::Step {
                epoch: number + 1,
                batch: progress.batch,
                batches,
                loss: report.losses.iter().zip(&weights).map(|(loss, weight)| loss * weight).sum(),
                samples_per_second: samples as f64 / start.elapsed().as_secs_f64(),
            });
            let due = train.checkpoint_steps > 0 && learner.steps().is_multiple_of(train.checkpoint_steps);
            if due && progress.batch < batches {
                progress.seconds += since.elapsed().as_secs_f64();
                checkpoint::save(&directory.join(CHECKPOINTS), model, learner, identity, progress)?;
                since = Instant::now();
            }
            Ok(true)
        })?;
        self.progress.seconds += since.elapsed().as_secs_f64();
        Ok(())
    }

    /// Validates, decides whether to go on, and writes a checkpoint.
    fn finish_epoch(&mut self, observe: &mut dyn FnMut(Event<'_>)) -> Result<()> {
        let train = &self.config.train;
        let metrics = match self.validation {
            Some(split) => evaluate::quick(
                &self.model,
                self.dataset,
                split,
                &self.config.evaluate,
                Seed(self.config.seed),
                &self.threads,
            )?,
            None => BTreeMap::new(),
        };
        let progress = &mut self.progress;
        let (seconds, samples) = progress
            .history
            .epochs
            .iter()
            .fold((0.0, 0), |(seconds, samples), epoch| (seconds + epoch.seconds, samples + epoch.samples));
        let step = self.learner.steps().saturating_sub(1);
        let total = (self.learner.steps() / u64::from(progress.epoch + 1)) * u64::from(train.epochs);
        progress.history.epochs.push(EpochHistory {
            epoch: progress.epoch + 1,
            learning_rate: train.learning_rate * train.schedule.factor(step, total) * progress.rate_factor,
            seconds: progress.seconds - seconds,
            samples: progress.samples - samples,
            metrics,
        });
        progress.epoch += 1;
        progress.batch = 0;
        progress.finished = progress.epoch >= train.epochs;
        let best = self.judge()?;
        if best {
            self.save_model()?;
        }
        let checkpoints = self.directory.join(CHECKPOINTS);
        checkpoint::save(&checkpoints, &self.model, &self.learner, &self.identity, &self.progress)?;
        if let Some(epoch) = self.progress.history.epochs.last() {
            observe(Event::Epoch { epoch, best });
        }
        Ok(())
    }

    /// Whether the last epoch is the best so far. Without early stopping or a schedule that looks at validation, nobody asks.
    fn judge(&mut self) -> Result<bool> {
        let train = &self.config.train;
        let stopping = train.early_stopping.clone().unwrap_or_default();
        let plateau = match train.schedule {
            Schedule::Plateau { factor } => Some(factor),
            _ => None,
        };
        if self.validation.is_none() || (train.early_stopping.is_none() && plateau.is_none()) {
            return Ok(false);
        }
        let progress = &mut self.progress;
        let Some(epoch) = progress.history.epochs.last() else { return Ok(false) };
        let Some(value) = epoch.metrics.get(&stopping.metric).copied() else {
            let known = epoch.metrics.keys().cloned().collect::<Vec<_>>().join(", ");
            return Err(Error::config(format!("validation gives no `{}`", stopping.metric))
                .in_field("train.early_stopping.metric")
                .mend(format!("choose one of {known}")));
        };
        let lower_is_better = evaluate::lower_is_better(&stopping.metric);
        let better = progress.best.is_none_or(|best| if lower_is_better { value < best } else { value > best });
        if better {
            progress.best = Some(value);
            progress.history.best_epoch = Some(epoch.epoch);
            progress.epochs_without_better = 0;
            return Ok(train.early_stopping.is_some());
        }
        progress.epochs_without_better += 1;
        progress.rate_factor *= plateau.unwrap_or(1.0);
        if train.early_stopping.is_some() && progress.epochs_without_better >= stopping.patience.max(1) {
            progress.finished = true;
            let (metric, epochs) = (&stopping.metric, progress.epochs_without_better);
            progress.history.stopped = Some(format!("{metric} no better for {epochs} epochs"));
        }
        Ok(false)
    }

    fn save_model(&self) -> Result<()> {
        replace_directory(&self.directory.join(MODEL), |new| self.model.write(new, false))
    }
}

/// The mean of each loss over several steps.
#[derive(Default)]
struct LossNote {
    sums: Vec<f64>,
    counts: Vec<f64>,
}

impl LossNote {
    fn add(&mut self, losses: &[f64], labelled: &[f64]) {
        self.sums.resize(losses.len(), 0.0);
        self.counts.resize(losses.len(), 0.0);
        for (index, (loss, labelled)) in losses.iter().zip(labelled).enumerate() {
            self.sums[index] += loss * labelled;
            self.counts[index] += labelled;
        }
    }

    fn take(&mut self) -> Vec<f64> {
        let means = self.sums.iter().zip(&self.counts).map(|(sum, count)| sum / count.max(1e-300)).collect();
        *self = Self::default();
        means
    }
}

/// What training depends on, as text: a checkpoint of another one is refused. The number of epochs may grow.
fn identity(config: &RunConfig, dataset: &Dataset, workers: usize) -> Result<String> {
    let mut train = config.train.clone();
    if !matches!(train.schedule, Schedule::Cosine { .. }) {
        train.epochs = 0;
    }
    train.workers = workers;
    train.checkpoint_steps = 0;
    let rows: Vec<u64> = dataset.splits().iter().map(|split| split.rows()).collect();
    let parts = (config.seed, dataset.schema(), &config.model, &train, rows);
    serde_json::to_string(&parts).map_err(|error| Error::internal("the run's identity").caused_by(error))
}
