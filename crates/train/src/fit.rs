//! Training: epochs of steps, validation, early stopping, checkpoints.

use crate::asynchronous;
use crate::checkpoint::{self, Checkpoint, Progress};
use crate::config::{RunConfig, Schedule, TrainingLength};
use crate::evaluate;
use crate::guide::{Guide, Guided};
use crate::history::History;
use crate::inputs::Readers;
use crate::learner::{Learner, Pass};
use crate::loader::{self, Epoch};
use crate::model::Model;
use crate::notes;
use crate::occurrence_l2::OccurrenceL2;
use crate::reserved::ReservedRows;
use crate::run::replace_directory;
pub use crate::watch::Event;
use crate::watch::Watch;
use crate::workers::Threads;
use kitestring_core::{Error, Kind, Note, Result, Seed, VocabularyHash};
use kitestring_data::dataset::Dataset;
use kitestring_nn::engine::StepReport;
use kitestring_nn::quantization::rounding::Rounding;
use kitestring_nn::slots::loss::weights_of_tasks;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Where checkpoints lie in a run directory.
const CHECKPOINTS: &str = "checkpoint";
/// Where the model lies in a run directory.
pub const MODEL: &str = "model";

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
    /// What the user should know of how it went.
    pub notes: Vec<Note>,
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
    fit_from(None, (config, dataset), directory, resume, observe)
}

/// [`fit`] from a [grown](crate::grow) model in place of one that knows nothing. Without an epoch the model is left as it is.
///
/// # Errors
/// As [`fit`].
pub fn fit_from(
    start: Option<Model>,
    (config, dataset): (&RunConfig, &Dataset),
    directory: &Path,
    resume: bool,
    observe: &mut dyn FnMut(Event<'_>),
) -> Result<Fitted> {
    Fit::new((start, None, None), (config, dataset), directory, resume, observe)?.run(observe)
}

/// [`fit`] with a loss that somebody else computes over what the model says of each batch, beside those of its graph.
///
/// # Errors
/// As [`fit`], and what the guide says; a config error with asynchronous updates, whose workers have batches of their own.
pub fn fit_guided(
    guide: &mut dyn Guide,
    (config, dataset): (&RunConfig, &Dataset),
    directory: &Path,
    resume: bool,
    observe: &mut dyn FnMut(Event<'_>),
) -> Result<Fitted> {
    Fit::new((None, Some(guide), None), (config, dataset), directory, resume, observe)?.run(observe)
}

/// [`fit_guided`] from a trained model whose network will be done in codes ([`rounding`](kitestring_nn::quantization::rounding)): steps and
/// validation see it rounded as a device will, so that an epoch is chosen by what is shipped; what is learned are the numbers that are not
/// rounded. Rows stay as they are, and running statistics become those of the rounded network.
///
/// # Errors
/// As [`fit_guided`].
pub fn fit_aware(
    (start, rounding): (Model, Arc<Rounding>),
    guide: &mut dyn Guide,
    (config, dataset): (&RunConfig, &Dataset),
    directory: &Path,
    resume: bool,
    observe: &mut dyn FnMut(Event<'_>),
) -> Result<Fitted> {
    Fit::new((Some(start), Some(guide), Some(rounding)), (config, dataset), directory, resume, observe)?.run(observe)
}

struct Fit<'a> {
    config: &'a RunConfig,
    dataset: &'a Dataset,
    directory: &'a Path,
    /// The sections that must not change between a run and its resumption.
    identity: String,
    seed: Seed,
    length: TrainingLength,
    threads: Threads,
    readers: Readers,
    model: Model,
    learner: Learner,
    guide: Option<&'a mut dyn Guide>,
    rounding: Option<Arc<Rounding>>,
    /// With asynchronous updates each worker's way through batches of its own; else none.
    passes: Vec<Pass>,
    progress: Progress,
    reserved: ReservedRows,
    validation: Option<&'static str>,
}

impl<'a> Fit<'a> {
    fn new(
        (start, mut guide, rounding): (Option<Model>, Option<&'a mut dyn Guide>, Option<Arc<Rounding>>),
        (config, dataset): (&'a RunConfig, &'a Dataset),
        directory: &'a Path,
        resume: bool,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<Self> {
        if guide.is_some() && config.train.asynchronous {
            return Err(Error::config("a guided run needs synchronous updates: its losses are those of one batch")
                .in_field("train.asynchronous")
                .mend("set it to false"));
        }
        let seed = Seed(config.seed).child("train");
        let threads = Threads::new(config.train.workers)?;
        let length = config.train.length(dataset.split("train")?.rows());
        let identity = identity(config, dataset, (threads.count(), length), (guide.as_deref(), rounding.as_deref()))?;
        let loaded = if resume { checkpoint::load(&directory.join(CHECKPOINTS), &identity)? } else { None };
        let fresh = || {
            let size = |table: &str| dataset.table_size(table);
            Model::new(dataset.schema(), &config.model, &config.train, size, &dataset.scenario_counts(), seed)
        };
        let (mut model, memory, progress) = match loaded {
            Some(loaded) => (Model::read(&loaded.model)?, Some((loaded.steps, loaded.memory)), loaded.progress),
            None => (start.map_or_else(fresh, Ok)?, None, Progress { rate_factor: 1.0, ..Progress::default() }),
        };
        let vocabulary_hash = dataset.vocabulary_hash()?;
        if memory.is_some() {
            let checkpoint = ("the checkpoint", model.vocabulary_hash.as_ref());
            VocabularyHash::check(checkpoint, ("the data set", Some(&vocabulary_hash)))
                .map_err(|error| error.mend("resume with the run's own data, or start a new run"))?;
        }
        model.vocabulary_hash = Some(vocabulary_hash);
        let asynchronous = if config.train.asynchronous { threads.count() } else { 0 };
        let mut learner = match &guide {
            Some(guide) => Learner::guided(&model, &config.train, threads.count(), seed, &**guide)?,
            None => Learner::new(&model, &config.train, threads.count(), seed)?,
        };
        if let Some(rounding) = &rounding {
            learner = learner.with_rounding(Arc::clone(rounding));
        }
        if let Some((steps, memory)) = memory {
            learner.restore(steps, &memory)?;
            if let Some(guide) = &mut guide {
                guide.restore(steps, &memory)?;
            }
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
        let pass = |_| Pass::new(&model, &config.train, 1).with_rates(learner.row_rates());
        let mut passes: Vec<Pass> = (0..asynchronous).map(pass).collect();
        if config.train.occurrence_l2 > 0.0 {
            let split = dataset.split("train")?;
            let (order, draws) = (split.order_of_blocks(1, seed, 0), seed.child("negatives").at(0));
            let batch_size = length.batch_size;
            let epoch = Epoch { split, readers: &readers, order, draws, batch_size, first_batch: 0 };
            let counted = Arc::new(OccurrenceL2::count(config.train.occurrence_l2, &model.tables, &epoch)?);
            learner.regularize(&counted);
            passes.iter_mut().for_each(|pass| pass.regularize(&counted));
        }
        Ok(Self {
            config,
            dataset,
            directory,
            identity,
            seed,
            length,
            threads,
            readers,
            model,
            learner,
            guide,
            rounding,
            passes,
            progress,
            reserved: ReservedRows::new(dataset, |_| false)?,
            validation,
        })
    }

    fn run(mut self, observe: &mut dyn FnMut(Event<'_>)) -> Result<Fitted> {
        while !self.finished() {
            self.epoch(observe)?;
            self.finish_epoch(observe)?;
        }
        let model = match self.progress.history.best_epoch {
            Some(epoch) => Model::read(&checkpoint::best(&self.directory.join(CHECKPOINTS), epoch))?,
            None => self.model,
        };
        replace_directory(&self.directory.join(MODEL), |new| model.write(new, false))?;
        let (seconds, history) = (self.progress.seconds, self.progress.history);
        let samples_per_second = self.progress.samples as f64 / seconds.max(1e-9);
        let mut notes: Vec<Note> =
            notes::still_improving(&history, self.length.epochs, "train.epochs").into_iter().collect();
        notes.extend(notes::empty_tables(&model.tables));
        Ok(Fitted { model, history, seconds, samples_per_second, notes })
    }

    /// The batches of an epoch that are left.
    fn epoch(&mut self, observe: &mut dyn FnMut(Event<'_>)) -> Result<()> {
        let split = self.dataset.split("train")?;
        let train = &self.config.train;
        let number = self.progress.epoch;
        let draws = self.seed.child("negatives").at(number.into());
        let block = self.guide.as_ref().map_or(1, |guide| guide.block());
        let of_tasks = self.guide.as_ref().map_or(1.0, |guide| f64::from(guide.of_tasks()));
        let epoch = Epoch {
            split,
            readers: &self.readers,
            order: split.order_of_blocks(block, self.seed, number.into()),
            draws,
            batch_size: self.length.batch_size,
            first_batch: self.progress.batch,
        };
        let batches = epoch.batches();
        let epochs = self.length.epochs;
        let total = batches * u64::from(epochs);
        let factor = self.progress.rate_factor;
        let rate = |step: u64| train.learning_rate * train.schedule.factor(step, total) * factor;
        let Self { model, learner, guide, passes, threads, progress, identity, directory, .. } = self;
        let losses = model.graph.losses().to_vec();
        let mut watch = Watch::new(progress, observe, (batches, epochs), learner.steps());
        let done = |watch: &mut Watch<'_, '_>, rows: usize, report: &StepReport, guided: &[Guided]| {
            let weighted = losses.iter().zip(&report.losses).map(|(loss, found)| {
                let factor = if loss.task.is_some() { of_tasks } else { 1.0 };
                found * factor * loss.weight_at(watch.steps)
            });
            let loss = weighted.chain(guided.iter().map(|found| found.weight * found.loss)).sum();
            watch.guided(guided);
            watch.done(rows, (&report.losses, &report.labelled), loss)
        };
        let mut since = Instant::now();
        let blame = |error: Error, sample: Option<u64>| match sample {
            Some(sample) if error.kind() == Kind::Numeric => loader::blame(error, split, sample),
            _ => error,
        };
        epoch.read(passes.len().max(1), |source| {
            while watch.progress.batch < batches {
                let before = watch.progress.batch;
                let mut stretch = batches - before;
                if train.checkpoint_steps > 0 {
                    stretch = stretch.min(train.checkpoint_steps - learner.steps() % train.checkpoint_steps);
                }
                if passes.is_empty() {
                    let used = source.used();
                    for _ in 0..stretch {
                        let Some(prepared) = source.next().transpose()? else { break };
                        let rate = rate(learner.steps());
                        let found = match guide.as_deref_mut() {
                            Some(guide) => learner.step_guided(model, (&prepared, draws), rate, threads, guide),
                            None => learner.step(model, &prepared, rate, threads).map(|report| (report, Vec::new())),
                        };
                        let (report, guided) = found.map_err(|error| {
                            let row = learner.not_finite();
                            blame(error, row.and_then(|row| prepared.batch.index.get(row).copied()))
                        })?;
                        if done(&mut watch, prepared.batch.rows, &report, &guided) {
                            weigh(&mut watch, model);
                        }
                        // The loader is there as long as `source` is.
                        let _ = used.send(prepared);
                    }
                } else {
                    stretch = stretch.min(learner.steps_to_eviction());
                    asynchronous::learn(passes, (model, learner), source, stretch, &rate, &mut |found| {
                        let report = found.report.map_err(|error| blame(error, found.not_finite))?;
                        done(&mut watch, found.rows, &report, &[]);
                        Ok(())
                    })?;
                    learner.evict(&model.tables);
                    weigh(&mut watch, model);
                }
                if watch.progress.batch == before {
                    return Err(Error::internal("the loader ended before its epoch"));
                }
                let due = train.checkpoint_steps > 0 && learner.steps().is_multiple_of(train.checkpoint_steps);
                if due && watch.progress.batch < batches {
                    watch.progress.seconds += since.elapsed().as_secs_f64();
                    save_checkpoint(directory, model, (learner, guide.as_deref()), identity, watch.progress)?;
                    since = Instant::now();
                }
            }
            Ok(())
        })?;
        self.progress.seconds += since.elapsed().as_secs_f64();
        Ok(())
    }

    /// Validates, decides whether to go on, and writes a checkpoint.
    fn finish_epoch(&mut self, observe: &mut dyn FnMut(Event<'_>)) -> Result<()> {
        let train = &self.config.train;
        // Rows of a network that learns to be rounded stay as they are.
        if self.rounding.is_none() {
            self.reserved.fill(&self.model.tables)?;
        }
        let metrics = self.validate()?;
        let progress = &mut self.progress;
        progress.end_epoch((train, self.length.epochs), self.learner.steps(), metrics);
        let metric = train.early_stopping.as_ref().and_then(|stopping| stopping.metric.as_deref());
        let metric = metric.unwrap_or_else(|| evaluate::default_metric(self.dataset.schema()));
        let best = self.validation.is_some() && progress.judge(train, metric)?;
        if best {
            let model = |new: &Path| self.model.write(new, false);
            checkpoint::keep_best(&self.directory.join(CHECKPOINTS), self.progress.epoch, &model)?;
        }
        let learning = (&self.learner, self.guide.as_deref());
        save_checkpoint(self.directory, &self.model, learning, &self.identity, &self.progress)?;
        if let Some(epoch) = self.progress.history.epochs.last() {
            observe(Event::Epoch { epoch, best });
        }
        Ok(())
    }

    /// What validation says of the model: where its network will be done in codes, as it then is.
    fn validate(&mut self) -> Result<BTreeMap<String, f64>> {
        let Some(split) = self.validation else { return Ok(BTreeMap::new()) };
        let (mut codes, mut rounded) = (None, Vec::new());
        let weights = &mut self.model.network.weights;
        if let Some(rounding) = &self.rounding {
            codes = Some(Arc::new(rounding.codes(weights)?));
            rounding.round(weights, &mut rounded)?;
            std::mem::swap(weights, &mut rounded);
        }
        let (model, config, seed) = ((&self.model, codes), &self.config.evaluate, evaluate::SEED);
        let metrics = evaluate::quick_in_codes(model, self.dataset, split, config, seed, &self.threads);
        if self.rounding.is_some() {
            self.model.network.weights = rounded;
        }
        metrics
    }

    fn finished(&self) -> bool {
        self.progress.history.stopped.is_some() || self.progress.epoch >= self.length.epochs
    }
}

/// Notes what each task's loss counts for now.
fn weigh(watch: &mut Watch<'_, '_>, model: &Model) {
    if let Some(entry) = watch.progress.history.steps.last_mut() {
        let weights = weights_of_tasks(&model.graph, &model.network.weights, watch.steps);
        entry.weights = weights.into_iter().map(|(_, weight)| weight).collect();
    }
}

fn save_checkpoint(
    directory: &Path,
    model: &Model,
    (learner, guide): (&Learner, Option<&(dyn Guide + '_)>),
    identity: &str,
    progress: &Progress,
) -> Result<()> {
    if !model.network.weights.iter().all(|weight| weight.is_finite()) {
        return Err(Error::numeric("a weight is not a finite number").mend("lower the learning rate or clip gradients"));
    }
    let (steps, first, second) = learner.optimizer().memory();
    let mut memory = vec![("first".to_owned(), first), ("second".to_owned(), second)];
    memory.extend(guide.map(|guide| guide.memory()).unwrap_or_default());
    let model = |place: &Path| model.write(place, true);
    let checkpoint = Checkpoint { steps, identity, progress, memory: &memory, model: &model };
    checkpoint::save(&directory.join(CHECKPOINTS), &checkpoint)
}

/// What training depends on, as text: a checkpoint of another one is refused. The number of epochs may grow.
fn identity(
    config: &RunConfig,
    dataset: &Dataset,
    (workers, length): (usize, TrainingLength),
    (guide, rounding): (Option<&(dyn Guide + '_)>, Option<&Rounding>),
) -> Result<String> {
    let mut train = config.train.clone();
    let cosine = matches!(train.schedule, Schedule::Cosine { .. });
    train.epochs = cosine.then_some(length.epochs);
    train.batch_size = Some(length.batch_size);
    train.workers = workers;
    train.checkpoint_steps = 0;
    let rows: Vec<u64> = dataset.splits().iter().map(|split| split.rows()).collect();
    let parts = (config.seed, dataset.schema(), &config.model, &train, rows);
    let text = serde_json::to_string(&parts);
    let text = text.map_err(|error| Error::internal("the run's identity").caused_by(error))?;
    let rounding = rounding.map(|rounding| format!("{rounding:?}")).unwrap_or_default();
    Ok(text + &guide.map(Guide::identity).unwrap_or_default() + &rounding)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fixture::Fixture;

    /// Asynchronous workers do every step once, learn what synchronous ones learn, stop for checkpoints, and go on from them.
    #[test]
    fn asynchronous_updates_learn() {
        let fixture = Fixture::new();
        let mut config = fixture.config.clone();
        config.train.epochs = Some(40);
        config.train.batch_size = Some(32);
        let auc = |config: &RunConfig, resume: bool, folder: &str| {
            let mut steps = Vec::new();
            let mut resumed = 0;
            let fitted =
                fit(config, &fixture.dataset, &fixture.folder.path().join(folder), resume, &mut |event| match event {
                    Event::Step { batch, batches, .. } => steps.push((batch, batches)),
                    Event::Resumed { steps } => resumed = steps,
                    Event::Epoch { .. } => {}
                });
            let fitted = fitted.unwrap();
            let in_order = |(index, (batch, batches)): (usize, &(u64, u64))| index as u64 % batches + 1 == *batch;
            assert!(steps.iter().enumerate().all(in_order), "{steps:?}");
            let last = fitted.history.epochs.last().unwrap().metrics["like.auc"];
            (last, steps.len() as u64 + resumed, resumed)
        };
        let (synchronous, all, _) = auc(&config, false, "synchronous");
        config.train.asynchronous = true;
        config.train.workers = 3;
        config.train.checkpoint_steps = 5;
        let (asynchronous, steps, _) = auc(&config, false, "asynchronous");
        assert_eq!(steps, all);
        assert!(asynchronous > synchronous - 0.05, "{asynchronous} {synchronous}");
        config.train.epochs = Some(41);
        let (_, more, resumed) = auc(&config, true, "asynchronous");
        assert_eq!((resumed, more), (all, all / 40 * 41));
    }

    /// Every variant of every slot, as its defaults are, goes from data to a model that is read back and judged the same. A position
    /// bias needs a position, which this data set does not have: it says so.
    #[test]
    fn every_variant_trains_with_its_defaults() {
        let fixture = Fixture::new();
        for variant in kitestring_nn::slots::catalogue() {
            let name = format!("{} {}", variant.slot, variant.name);
            let mut model = serde_json::to_value(&fixture.config.model).unwrap();
            model[variant.slot] = variant.defaults.clone();
            let mut config = fixture.config.clone();
            config.model = serde_json::from_value(model).unwrap();
            config.train.epochs = Some(1);
            let place = fixture.folder.path().join(name.replace(' ', "-"));
            let fitted = match fit(&config, &fixture.dataset, &place, false, &mut |_| {}) {
                Ok(fitted) => fitted,
                Err(error) => {
                    let needs = [("head esmm", "after"), ("bias position", "position")];
                    let expected = needs.iter().find(|(of, _)| *of == name).map(|(_, part)| *part);
                    assert!(expected.is_some_and(|part| error.to_string().contains(part)), "{name}: {error}");
                    continue;
                }
            };
            let judge = |model: &Model| {
                let threads = Threads::new(1).unwrap();
                evaluate::quick(model, &fixture.dataset, "valid", &config.evaluate, Seed(1), &threads).unwrap()
            };
            let found = judge(&fitted.model);
            assert!(found["like.auc"] > 0.0 && found["like.auc"] < 1.0, "{name}: {found:?}");
            assert_eq!(judge(&Model::read(&place.join(MODEL)).unwrap()), found, "{name}");
        }
    }

    /// What a task's loss counts for is noted where it changes, and goes on from a checkpoint.
    #[test]
    fn weights_of_tasks_are_noted() {
        let fixture = Fixture::new();
        let mut config = fixture.config.clone();
        config.train.epochs = Some(2);
        config.train.batch_size = Some(32);
        let task = fixture.dataset.schema().tasks[0].name.clone();
        let loss = serde_json::json!({ "type": "fixed", "weights": { &task: 2.0 }, "decay": { &task: 0.9 } });
        config.model.loss = serde_json::from_value(loss).unwrap();
        let place = fixture.folder.path().join("decays");
        fit(&config, &fixture.dataset, &place, false, &mut |_| {}).unwrap();
        config.train.epochs = Some(3);
        let fitted = fit(&config, &fixture.dataset, &place, true, &mut |_| {}).unwrap();
        let steps = fixture.dataset.split("train").unwrap().rows().div_ceil(32) as f64;
        for entry in &fitted.history.steps {
            let expected = 2.0 * 0.9f64.powf((entry.epoch * steps).round());
            assert!((entry.weights[0] / expected - 1.0).abs() < 1e-6, "{entry:?}: {expected}");
        }
        assert!(fitted.history.steps.last().unwrap().epoch > 2.5);
    }

    /// Without being asked, the model of the best epoch is kept, whether the run went through or was killed and resumed: the same bits. A
    /// model that a killed run kept for an epoch it has no checkpoint of is not taken for the best one.
    #[test]
    fn the_best_epoch_is_kept_across_a_kill() {
        let fixture = Fixture::new();
        let mut config = fixture.config.clone();
        config.train.batch_size = Some(16);
        config.train.learning_rate = 0.1;
        let run = |config: &RunConfig, epochs: u32, place: &Path, resume: bool| {
            let mut config = config.clone();
            config.train.epochs = Some(epochs);
            fit(&config, &fixture.dataset, place, resume, &mut |_| {}).unwrap()
        };
        let files = |place: &Path| {
            let files = std::fs::read_dir(place.join(MODEL)).unwrap().map(|entry| entry.unwrap().path());
            files
                .map(|path| (path.file_name().unwrap().to_owned(), std::fs::read(path).unwrap()))
                .collect::<BTreeMap<_, _>>()
        };
        let [whole, parts] = ["whole", "parts"].map(|name| fixture.folder.path().join(name));
        let fitted = run(&config, 12, &whole, false);
        let auc = |epoch: u32| fitted.history.epochs[epoch as usize - 1].metrics["auc"];
        let best = fitted.history.best_epoch.unwrap();
        assert!((1..=12).all(|epoch| auc(epoch) <= auc(best)) && best < 12, "{:?}", fitted.history);
        assert_eq!(fitted.history.metric.as_deref(), Some("auc"));
        let judge = |model: &Model| {
            let threads = Threads::new(1).unwrap();
            evaluate::quick(model, &fixture.dataset, "valid", &config.evaluate, Seed(config.seed), &threads).unwrap()
        };
        assert_eq!(judge(&fitted.model)["auc"], auc(best));

        // Killed after the epoch that is best, after a later one, and after an earlier one.
        for stop in [best, best + 1, 1] {
            run(&config, stop, &parts, false);
            let stale = parts.join(CHECKPOINTS).join(format!("best-{}", stop + 1));
            std::fs::create_dir(&stale).unwrap();
            std::fs::write(stale.join("manifest.json"), "of a run that was killed").unwrap();
            let resumed = run(&config, 12, &parts, true);
            assert_eq!(resumed.history.best_epoch, Some(best));
            assert_eq!(files(&parts), files(&whole));
            std::fs::remove_dir_all(&parts).unwrap();
        }

        // Asynchronous workers: whatever their epochs come to, what is kept is what the history says of the best.
        config.train.asynchronous = true;
        config.train.workers = 3;
        run(&config, 4, &parts, false);
        let resumed = run(&config, 12, &parts, true);
        let history = &resumed.history;
        let auc = |epoch: u32| history.epochs[epoch as usize - 1].metrics["auc"];
        let best = history.best_epoch.unwrap();
        assert!((1..=12).all(|epoch| auc(epoch) <= auc(best)), "{history:?}");
        assert_eq!(judge(&resumed.model)["auc"], auc(best));

        config.train.keep = crate::config::KeptEpoch::Last;
        config.train.asynchronous = false;
        let last = run(&config, 3, &fixture.folder.path().join("last"), false);
        assert_eq!(last.history.best_epoch, None);
        assert_eq!(judge(&last.model)["auc"], last.history.epochs[2].metrics["auc"]);
    }

    /// An error in one worker ends the others and names the row.
    #[test]
    fn a_failing_worker_ends_all() {
        let fixture = Fixture::new();
        let mut config = fixture.config.clone();
        config.train.asynchronous = true;
        config.train.workers = 3;
        config.train.batch_size = Some(16);
        config.train.learning_rate = 1e30;
        let place = fixture.folder.path().join("diverges");
        let error = fit(&config, &fixture.dataset, &place, false, &mut |_| {}).unwrap_err();
        assert_eq!(error.kind(), Kind::Numeric, "{error}");
    }
}
