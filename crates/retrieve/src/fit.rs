//! Training a retriever: epochs of steps, validation, early stopping, checkpoints.

use crate::als;
use crate::config::RetrieveConfig;
use crate::corpus::{Corpus, PairBatch};
use crate::evaluate;
use crate::learner::Learner;
use crate::linear;
use crate::model::RetrieverModel;
use crate::objective::config::Objective;
use kitestring_core::{Error, Note, Result, Seed, VocabularyHash};
use kitestring_data::dataset::Dataset;
use kitestring_train::RunConfig;
use kitestring_train::checkpoint::{self, Checkpoint, Progress};
use kitestring_train::config::{Schedule, TrainingLength};
use kitestring_train::evaluate::read_ahead;
use kitestring_train::history::{Epoch as EpochHistory, History};
use kitestring_train::notes;
use kitestring_train::reserved::ReservedRows;
use kitestring_train::run::replace_directory;
use kitestring_train::watch::{Event, Watch};
use kitestring_train::workers::Threads;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

/// Where checkpoints lie in a retriever's directory.
pub const CHECKPOINTS: &str = "checkpoint";
/// Where the model lies in a retriever's directory.
pub const MODEL: &str = "model";

/// A trained retriever.
#[derive(Debug)]
pub struct Fitted {
    /// The retriever of the best epoch, or of the last one where no validation chose.
    pub model: RetrieverModel,
    /// How training went.
    pub history: History,
    /// Seconds spent in training steps.
    pub seconds: f64,
    /// Pairs trained on a second.
    pub pairs_per_second: f64,
    /// What the user should know of how it went.
    pub notes: Vec<Note>,
}

/// Trains a retriever on the pairs of the split `train` and leaves it in `directory`. With `resume`, goes on from the newest checkpoint
/// there, if any.
///
/// # Errors
/// A config error; a loss that is not finite (the last good checkpoint stays); what the file system says.
pub fn fit(
    (run, config): (&RunConfig, &RetrieveConfig),
    dataset: &Dataset,
    directory: &Path,
    resume: bool,
    observe: &mut dyn FnMut(Event<'_>),
) -> Result<Fitted> {
    match &config.objective {
        Objective::Als(als) => fit_linear((run, config, als), dataset, directory, observe),
        _ => Fit::new((run, config), dataset, directory, resume, observe)?.run(observe),
    }
}

/// Alternating least squares: an epoch is an iteration, and there is nothing to go on from, for all of them take seconds.
fn fit_linear(
    (run, config, als): (&RunConfig, &RetrieveConfig, &als::Config),
    dataset: &Dataset,
    directory: &Path,
    observe: &mut dyn FnMut(Event<'_>),
) -> Result<Fitted> {
    if config.train.early_stopping.is_some() {
        return Err(Error::config("alternating least squares goes through all its iterations")
            .in_field("retrieve.train.early_stopping")
            .mend("take it out, and choose objective.iterations"));
    }
    let (seed, threads) = (Seed(run.seed).child("retrieve"), Threads::new(config.train.workers)?);
    let corpus = Corpus::new(dataset, config)?;
    let length = config.train.length(dataset.split("train")?.rows());
    let size = |table: &str| dataset.table_size(table);
    let mut model = RetrieverModel::new(dataset.schema(), &config.model, &config.train, size, seed)?;
    model.vocabulary_hash = Some(dataset.vocabulary_hash()?);
    let (mut history, mut seconds) = (History::default(), 0.0);
    linear::fit(&mut model, &corpus, als, seed, &threads, &mut |number, took| {
        seconds += took;
        let epoch = EpochHistory { epoch: number, samples: corpus.len(), seconds: took, ..EpochHistory::default() };
        history.epochs.push(epoch);
        if let Some(epoch) = history.epochs.last() {
            observe(Event::Epoch { epoch, best: false });
        }
    })?;
    let identity = identity(run, config, &corpus, (threads.count(), length))?;
    model.version = version(Seed(run.seed).child(&identity), model.vocabulary_hash.as_ref());
    save_model(&model, directory)?;
    let pairs_per_second = corpus.len() as f64 * f64::from(als.iterations) / f64::max(seconds, 1e-9);
    Ok(Fitted { model, history, seconds, pairs_per_second, notes: Vec::new() })
}

struct Fit<'a> {
    run: &'a RunConfig,
    config: &'a RetrieveConfig,
    corpus: Corpus<'a>,
    directory: &'a Path,
    /// The sections that must not change between a run and its resumption.
    identity: String,
    seed: Seed,
    length: TrainingLength,
    threads: Threads,
    model: RetrieverModel,
    learner: Learner,
    progress: Progress,
    reserved: ReservedRows,
    validates: bool,
}

impl<'a> Fit<'a> {
    fn new(
        (run, config): (&'a RunConfig, &'a RetrieveConfig),
        dataset: &'a Dataset,
        directory: &'a Path,
        resume: bool,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<Self> {
        let seed = Seed(run.seed).child("retrieve");
        let threads = Threads::new(config.train.workers)?;
        let corpus = Corpus::new(dataset, config)?;
        let length = config.train.length(dataset.split("train")?.rows());
        let identity = identity(run, config, &corpus, (threads.count(), length))?;
        let loaded = if resume { checkpoint::load(&directory.join(CHECKPOINTS), &identity)? } else { None };
        let validates = dataset.splits().iter().any(|split| split.name() == "valid");
        if config.train.early_stopping.is_some() && !validates {
            return Err(Error::config("early stopping needs a split named `valid`")
                .in_field("retrieve.train.early_stopping")
                .mend("make one in [data] split, or train a fixed number of epochs"));
        }
        let vocabulary_hash = dataset.vocabulary_hash()?;
        let mut model = match &loaded {
            Some(loaded) => {
                let model = RetrieverModel::read(&loaded.model)?;
                let checkpoint = ("the checkpoint", model.vocabulary_hash.as_ref());
                VocabularyHash::check(checkpoint, ("the data set", Some(&vocabulary_hash)))
                    .map_err(|error| error.mend("resume with the run's own data, or start a new run"))?;
                model
            }
            None => {
                let size = |table: &str| dataset.table_size(table);
                RetrieverModel::new(dataset.schema(), &config.model, &config.train, size, seed)?
            }
        };
        model.vocabulary_hash = Some(vocabulary_hash);
        let how = (&config.objective, &config.train);
        let mut learner = Learner::new(&model, how, &corpus, threads.count(), seed)?;
        let mut progress = Progress { rate_factor: 1.0, ..Progress::default() };
        if let Some(loaded) = loaded {
            learner.restore(loaded.steps, &loaded.memory)?;
            observe(Event::Resumed { steps: loaded.steps });
            progress = loaded.progress;
        }
        let reserved = ReservedRows::new(dataset, |table| corpus.hides(table))?;
        Ok(Self {
            run,
            config,
            corpus,
            directory,
            identity,
            seed,
            length,
            threads,
            model,
            learner,
            progress,
            reserved,
            validates,
        })
    }

    fn run(mut self, observe: &mut dyn FnMut(Event<'_>)) -> Result<Fitted> {
        while self.progress.history.stopped.is_none() && self.progress.epoch < self.length.epochs {
            self.epoch(observe)?;
            self.finish_epoch(observe)?;
        }
        let model = match self.progress.history.best_epoch {
            Some(epoch) => RetrieverModel::read(&checkpoint::best(&self.directory.join(CHECKPOINTS), epoch))?,
            None => {
                self.model.version = self.version();
                self.model
            }
        };
        save_model(&model, self.directory)?;
        let seconds = self.progress.seconds;
        let pairs_per_second = self.progress.samples as f64 / seconds.max(1e-9);
        let history = self.progress.history;
        let notes = notes::still_improving(&history, self.length.epochs, "retrieve.train.epochs").into_iter().collect();
        Ok(Fitted { model, history, seconds, pairs_per_second, notes })
    }

    /// The batches of an epoch that are left.
    fn epoch(&mut self, observe: &mut dyn FnMut(Event<'_>)) -> Result<()> {
        let (train, epoch) = (&self.config.train, u64::from(self.progress.epoch));
        let (order, size) = (self.corpus.order(self.seed, epoch), self.length.batch_size as u64);
        let draws = self.seed.child("draws").at(epoch);
        let batches = self.corpus.len().div_ceil(size);
        let epochs = self.length.epochs;
        let total = batches * u64::from(epochs);
        let factor = self.progress.rate_factor;
        let Self { corpus, model, learner, threads, progress, identity, directory, .. } = self;
        let (corpus, mut number) = (&*corpus, progress.batch);
        let next = |batch: &mut PairBatch| {
            if number == batches {
                return Ok(None);
            }
            let pairs = number * size..((number + 1) * size).min(corpus.len());
            let pairs: Vec<u64> = pairs.map(|position| order.at(position)).collect();
            corpus.read(&pairs, Some(draws.at(number)), batch)?;
            number += 1;
            Ok(Some(pairs.len()))
        };
        let mut watch = Watch::new(progress, observe, (batches, epochs), learner.steps());
        let mut since = Instant::now();
        read_ahead(next, |pairs, batch: &mut PairBatch| {
            learner.refresh(model, corpus, threads)?;
            let step = learner.steps();
            let rate = train.learning_rate * train.schedule.factor(step, total) * factor;
            let losses = learner.step(model, batch, rate, threads)?;
            let loss = learner.minimized().total(&losses);
            watch.done(pairs, (&losses, &vec![pairs as f64; losses.len()]), loss);
            let due = train.checkpoint_steps > 0 && learner.steps().is_multiple_of(train.checkpoint_steps);
            if due && watch.progress.batch < batches {
                watch.progress.seconds += since.elapsed().as_secs_f64();
                save_checkpoint(directory, model, learner, identity, watch.progress)?;
                since = Instant::now();
            }
            Ok(())
        })?;
        self.progress.seconds += since.elapsed().as_secs_f64();
        Ok(())
    }

    /// Validates, decides whether to go on, and writes a checkpoint.
    fn finish_epoch(&mut self, observe: &mut dyn FnMut(Event<'_>)) -> Result<()> {
        let train = &self.config.train;
        self.reserved.fill(&self.model.tables)?;
        let metrics = if self.validates { self.validate()? } else { BTreeMap::new() };
        let progress = &mut self.progress;
        let metric = self.config.validation_metric(&metrics);
        progress.end_epoch((train, self.length.epochs), self.learner.steps(), metrics);
        let best = self.validates
            && progress
                .judge(train, &metric)
                .map_err(|error| error.in_field("retrieve.train.early_stopping.metric"))?;
        if best {
            self.model.version = self.version();
            let model = |new: &Path| self.model.write(new, false);
            checkpoint::keep_best(&self.directory.join(CHECKPOINTS), self.progress.epoch, &model)?;
        }
        save_checkpoint(self.directory, &self.model, &self.learner, &self.identity, &self.progress)?;
        if let Some(epoch) = self.progress.history.epochs.last() {
            observe(Event::Epoch { epoch, best });
        }
        Ok(())
    }

    /// The metrics of `valid`, without intervals.
    fn validate(&self) -> Result<BTreeMap<String, f64>> {
        let evaluate = kitestring_train::config::EvaluateConfig { bootstrap: 0, ..self.run.evaluate.clone() };
        let (dataset, seed) = (self.corpus.dataset(), kitestring_train::evaluate::SEED);
        let ranked = evaluate::rank(&self.model, dataset, "valid", (self.config, &evaluate), seed, &self.threads)?;
        let metrics = ranked.metrics(&evaluate, seed).into_iter();
        Ok(metrics.map(|metric| (metric.key, metric.value)).collect())
    }

    /// The version of the model as it is now.
    fn version(&self) -> String {
        let losses = self.progress.history.steps.last().map(|step| step.losses.as_slice()).unwrap_or_default();
        let state = Seed(self.run.seed).child(&self.identity).at(self.learner.steps());
        let state = losses.iter().fold(state, |state, loss| state.at(loss.to_bits()));
        version(state, self.model.vocabulary_hash.as_ref())
    }
}

/// A version by which what is made of a model can tell its state from any other. An index holds it alone, so it is another one where ids are
/// others.
fn version(state: Seed, ids: Option<&VocabularyHash>) -> String {
    format!("{:016x}", state.child(ids.map_or("", VocabularyHash::as_str)).0)
}

/// Writes a model in its place.
fn save_model(model: &RetrieverModel, directory: &Path) -> Result<()> {
    std::fs::create_dir_all(directory).map_err(|error| Error::io(error, "could not make the directory", directory))?;
    replace_directory(&directory.join(MODEL), |new| model.write(new, false))
}

fn save_checkpoint(
    directory: &Path,
    model: &RetrieverModel,
    learner: &Learner,
    identity: &str,
    progress: &Progress,
) -> Result<()> {
    let towers = [&model.query, &model.item];
    if !towers.iter().all(|tower| tower.network.weights.iter().all(|weight| weight.is_finite())) {
        return Err(Error::numeric("a weight is not a finite number").mend("lower the learning rate or clip gradients"));
    }
    let memory = learner.memory();
    let memory: Vec<(String, &[f32])> = memory.iter().map(|(name, values)| (name.clone(), values.as_slice())).collect();
    let model = |place: &Path| model.write(place, true);
    let checkpoint = Checkpoint { steps: learner.steps(), identity, progress, memory: &memory, model: &model };
    checkpoint::save(&directory.join(CHECKPOINTS), &checkpoint)
}

/// What training depends on, as text: a checkpoint of another one is refused. The number of epochs may grow.
fn identity(
    run: &RunConfig,
    config: &RetrieveConfig,
    corpus: &Corpus<'_>,
    (workers, length): (usize, TrainingLength),
) -> Result<String> {
    let mut config = config.clone();
    let cosine = matches!(config.train.schedule, Schedule::Cosine { .. });
    config.train.epochs = cosine.then_some(length.epochs);
    config.train.batch_size = Some(length.batch_size);
    config.train.workers = workers;
    config.train.checkpoint_steps = 0;
    config.index = Default::default();
    let parts = (run.seed, corpus.dataset().schema(), &config, corpus.len());
    serde_json::to_string(&parts).map_err(|error| Error::internal("the run's identity").caused_by(error))
}
