//! The stages that commands are made of: data, training, judging.

use crate::arguments::DatasetPlace;
use crate::commands::write_beside;
use crate::metrics::Told;
use crate::progress::Progress;
use crate::start::Start;
use kitestring_core::{Error, Kind, Note, Result, Schema, Seed, VocabularyHash};
use kitestring_data::config::{DataConfig, Layout};
use kitestring_data::dataset::manifest::MANIFEST;
use kitestring_data::dataset::{Dataset, Vocabularies};
use kitestring_data::layout::{self, Opened};
use kitestring_data::prepare::{self, prepare_folder};
use kitestring_data::reader::BadRows;
use kitestring_data::simulator;
use kitestring_retrieve::RetrieveConfig;
use kitestring_train::assemble::{self, Parts, peak_rss_mib};
use kitestring_train::evaluate::{self, Evaluation};
use kitestring_train::fit::{Event, Fitted, fit_from};
use kitestring_train::history::History;
use kitestring_train::notes;
use kitestring_train::report::{self, Recall, Shipped, Speed};
use kitestring_train::run::{Run, RunParts, RunWriter, VOCABULARIES, remove_directory};
use kitestring_train::truth::{self, Comparison};
use kitestring_train::workers::Threads;
use kitestring_train::{Model, RunConfig};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where a run keeps the data set it prepared, and the logs it simulated.
const DATASET: &str = "dataset";
const SIMULATED: &str = "simulated";
/// What training leaves behind for `--resume`.
pub const CHECKPOINTS: &str = "checkpoint";
pub use kitestring_train::fit::MODEL;
const HISTORY: &str = "history.json";
const METRICS: &str = "metrics.json";
/// The page a run explains itself with, and what it is drawn from.
pub const REPORT: &str = "report.html";
pub const STORED: &str = "report.json";

/// Whether a path is a prepared data set.
pub fn is_dataset(path: &Path) -> bool {
    path.join(MANIFEST).is_file()
}

/// The folder or file of raw data: the one given, else the config's.
///
/// # Errors
/// A config error if there is neither.
pub fn raw(config: &RunConfig, given: Option<&Path>) -> Result<PathBuf> {
    let named = || config.data.path.as_ref().map(PathBuf::from);
    given.map(Path::to_owned).or_else(named).ok_or_else(|| {
        Error::config("no data are given")
            .mend("give their folder or file with --data, or as `data.path` in the config")
    })
}

/// Prepares raw data in the directory `out`, going on with the vocabularies `like`, where they are given.
///
/// # Errors
/// What is wrong with the data, the config or the disk.
pub fn prepare(
    config: &RunConfig,
    (bad_rows, like): (u64, Option<&Vocabularies>),
    raw: &Path,
    out: &Path,
    progress: &mut Progress,
) -> Result<Dataset> {
    let data = DataConfig { max_bad_rows: bad_rows, ..config.data.clone() };
    let opened = layout::open(&data, raw)?;
    let seed = Seed(config.seed).child("prepare");
    let told = &mut |step| progress.preparing(step);
    prepare_folder(&opened, &data, &config.schema, (seed, like), out, told)?;
    for (side, rows) in opened.without_partner().into_iter().filter(|(_, rows)| *rows > 0) {
        progress.note(&format!("{rows} rows have no partner in {side}: its columns are missing there"));
    }
    Dataset::open(out)
}

/// What a run is to learn from.
pub struct DataRequest<'a> {
    /// A prepared data set or raw data; else what the config names, or simulates.
    pub given: Option<&'a Path>,
    /// The run to start from, with whose vocabularies preparation goes on.
    pub start: Option<&'a Start>,
    /// How many malformed rows may be dropped.
    pub bad_rows: u64,
}

/// Makes ready what a run learns from: a prepared data set as it is, raw data prepared within the run, or, where no data are given
/// and the config has a simulator, a simulated marketplace. What is prepared goes on with the vocabularies of the run to start from. A run
/// that is gone on with, or added to, has its data already.
///
/// # Errors
/// What is wrong with the data, the config or the disk; data with other ids than those of the parts that stay.
pub fn data(
    writer: &RunWriter,
    config: &RunConfig,
    request: &DataRequest<'_>,
    progress: &mut Progress,
) -> Result<Dataset> {
    let (run, kept) = (writer.staged(), writer.kept());
    let DataRequest { given, start, bad_rows } = *request;
    let from = start.map(|start| start.directory.as_path());
    // The training that is gone on with: the one that did not finish, else the one that did.
    let begun = writer.resumes() && run.origin().is_ok();
    let before = if begun { Some(run) } else { kept.as_ref().filter(|_| writer.resumes() && !writer.adds()) };
    if let Some(before) = before {
        check_same_start(before.started_from()?.as_deref(), from)?;
        check_same_source(before, given)?;
    }
    let how = (bad_rows, start.map(|start| &start.vocabularies));
    let directory = run.directory();
    let place = directory.join(DATASET);
    let (dataset, source) = match (given, &config.simulator) {
        (Some(given), _) if is_dataset(given) => (Dataset::open(given)?, None),
        // What a killed run has finished is not done again.
        _ if writer.resumes() && is_dataset(&place) => {
            (Dataset::open(&place)?, run.raw().ok().flatten().or_else(|| given.map(Path::to_owned)))
        }
        _ if begun && given.is_none() => (run.dataset(None)?, run.raw()?),
        _ if let Some(kept) = &kept => {
            if let Some(given) = given.filter(|_| writer.adds()) {
                // The same data make the same ids: others are found out below.
                let dataset = prepare(config, how, given, &place, progress)?;
                check_kept_ids(kept, &dataset, given)?;
                drop(dataset);
                remove_directory(&place)?;
            }
            (kept.dataset(None)?, kept.raw()?)
        }
        (None, Some(simulator)) if config.data.path.is_none() => {
            let folder = directory.join(SIMULATED);
            let events = simulator.events;
            simulator::write(simulator, &folder, &mut |done| progress.simulating(done, events))?;
            (prepare(config, how, &folder, &place, progress)?, Some(folder))
        }
        _ => {
            let source = raw(config, given)?;
            (prepare(config, how, &source, &place, progress)?, Some(source))
        }
    };
    if dataset.schema() != &config.schema {
        return Err(Error::config("the data set was prepared with another [schema] than the config has")
            .in_file(dataset.directory().display().to_string())
            .mend("prepare it again with this config, or use the config it was prepared with"));
    }
    match &kept {
        Some(kept) => {
            check_kept_ids(kept, &dataset, dataset.directory())?;
            kept.check_dataset(&dataset)?;
        }
        None => dataset.vocabularies()?.copy_to(&directory.join(VOCABULARIES))?,
    }
    let config = match kept.filter(|_| writer.adds()) {
        // What stays was made with the config that is there.
        Some(kept) => joined(kept.config()?, config, writer.parts()),
        None => config.clone(),
    };
    let config = RetrieveConfig::with_length(&config, dataset.split("train")?.rows())?;
    run.begin(&config, dataset.directory(), source.as_deref(), from)?;
    Ok(dataset)
}

/// The config of a run that gets other parts beside those it has: each part's own.
fn joined(kept: RunConfig, added: &RunConfig, parts: RunParts) -> RunConfig {
    if parts.ranker {
        RunConfig { retrieve: kept.retrieve, ..added.clone() }
    } else {
        RunConfig { retrieve: added.retrieve.clone(), ..kept }
    }
}

/// Checks that the parts of a run which stay were made with the ids of a data set.
fn check_kept_ids(kept: &Run, dataset: &Dataset, place: &Path) -> Result<()> {
    let (found, hash) = (dataset.vocabulary_hash()?, kept.vocabulary_hash()?);
    VocabularyHash::check(("what is in the run", hash.as_ref()), ("these data", Some(&found))).map_err(|error| {
        let error = error.in_file(place.display().to_string());
        error.mend("give the run's own data, another --out, or, to begin again, --overwrite to `train`")
    })
}

/// Checks that a run which is gone on with learned from the raw data that are given.
fn check_same_source(before: &Run, given: Option<&Path>) -> Result<()> {
    let Some(given) = given.filter(|given| !is_dataset(given)) else { return Ok(()) };
    let place = |path: &Path| path.canonicalize().or_else(|_| std::path::absolute(path)).unwrap_or_default();
    match before.raw()? {
        Some(raw) if place(&raw) == place(given) => Ok(()),
        raw => {
            let raw = raw.map_or_else(|| "a prepared data set".to_owned(), |raw| raw.display().to_string());
            Err(Error::config(format!("the run learned from {raw}"))
                .in_field("--data")
                .mend("leave it out to go on with that, or begin again with --overwrite"))
        }
    }
}

/// Tells what config and data say against each other before anything is trained, and notes it in the run's log.
///
/// # Errors
/// What cannot be, such as early stopping without a split `valid`; what the file system says.
pub fn note_before_training(
    run: &Run,
    config: &RunConfig,
    dataset: &Dataset,
    progress: &Progress,
) -> Result<Vec<Note>> {
    let found = notes::before_training(config, dataset)?;
    tell(run, &found, progress)?;
    Ok(found)
}

/// Tells notes on standard error and in the run's log. Of several runs at once the log has them.
///
/// # Errors
/// What the file system says.
pub fn tell(run: &Run, notes: &[Note], progress: &Progress) -> Result<()> {
    for note in notes {
        if !progress.is_one_of_several() {
            progress.note(&note.to_string());
        }
        run.log(&json!({ "event": "note", "note": note }))?;
    }
    Ok(())
}

/// Checks that a run which is gone on with started where it is said to start.
fn check_same_start(before: Option<&Path>, now: Option<&Path>) -> Result<()> {
    let place = |path: &Path| path.canonicalize().or_else(|_| std::path::absolute(path)).unwrap_or_default();
    if before.map(place) == now.map(place) {
        return Ok(());
    }
    let error = match before {
        Some(before) => {
            Error::config(format!("the run started from {}", before.display())).mend("give the same --from")
        }
        None => Error::config("the run started from nothing").mend("leave --from out, or start a new run"),
    };
    Err(error.in_field("--from"))
}

/// How a model was trained: kept in the run for later evaluations.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct How {
    /// How training went.
    pub history: History,
    /// Seconds spent in training steps.
    pub seconds: f64,
    /// Samples trained on a second.
    pub samples_per_second: f64,
    /// What config, data and training say against each other.
    #[serde(default)]
    pub notes: Vec<Note>,
}

impl How {
    /// Which epoch's model was kept, in a clause; nothing where none was trained.
    pub fn kept(&self) -> Option<String> {
        let History { epochs, best_epoch, metric, .. } = &self.history;
        let last = epochs.last()?.epoch;
        Some(match (best_epoch, metric) {
            (Some(best), Some(metric)) => format!("epoch {best} of {last}, the best by {metric} on valid"),
            _ => format!("epoch {last}, the last"),
        })
    }
}

/// How a run's model was trained.
///
/// # Errors
/// A damaged file.
pub fn how(run: &Run) -> Result<How> {
    let path = run.directory().join(HISTORY);
    let text = std::fs::read(&path).map_err(|error| {
        Error::io(error, "could not read how training went", &path).mend("give a run whose training has finished")
    })?;
    serde_json::from_slice(&text).map_err(|error| {
        Error::format("a damaged history of training").caused_by(error).in_file(path.display().to_string())
    })
}

/// A trained model.
pub struct Trained {
    /// The model.
    pub model: Model,
    /// How it was trained.
    pub how: How,
}

/// Trains the run's model, from nothing or as a model that was grown. `notes` are those made before.
///
/// # Errors
/// What is wrong with the config, a loss that is not finite, a full disk.
pub fn train(
    run: &Run,
    config: &RunConfig,
    dataset: &Dataset,
    (start, notes): (Option<Model>, Vec<Note>),
    resume: bool,
    progress: &mut Progress,
) -> Result<Trained> {
    let mut logged = Ok(());
    let Fitted { model, history, seconds, samples_per_second, notes: found } =
        fit_from(start, (config, dataset), run.directory(), resume, &mut |event| {
            progress.training(&event);
            let entry = match event {
                Event::Resumed { steps } => json!({ "event": "resumed", "steps": steps }),
                Event::Epoch { epoch, best } => json!({ "event": "epoch", "best": best, "measured": epoch }),
                Event::Step { .. } => return,
            };
            if logged.is_ok() {
                logged = run.log(&entry);
            }
        })?;
    logged?;
    tell(run, &found, progress)?;
    let notes = notes.into_iter().chain(found).collect();
    let how = How { history, seconds, samples_per_second, notes };
    if let Some(kept) = how.kept() {
        run.log(&json!({ "event": "kept", "epoch": how.history.best_epoch, "by": how.history.metric, "text": kept }))?;
    }
    let text = serde_json::to_vec(&how).map_err(|error| Error::internal("the history as JSON").caused_by(error))?;
    run.write(HISTORY, &text)?;
    Ok(Trained { model, how })
}

/// The splits a run is judged on: those its config names, else those of `valid` and `test` that there are, else all but `train`.
fn splits(config: &RunConfig, dataset: &Dataset) -> Vec<String> {
    if !config.evaluate.splits.is_empty() {
        return config.evaluate.splits.clone();
    }
    let names = dataset.splits().iter().map(|split| split.name());
    names.filter(|name| *name != "train").map(str::to_owned).collect()
}

/// What a model is worth.
#[derive(Default)]
pub struct Judged {
    /// On each split.
    pub evaluations: Vec<Evaluation>,
    /// The last split held against a simulator's truth; empty where none is known.
    pub truth: Vec<Comparison>,
    /// The last split ranked among what a retriever found; empty where there is none.
    pub recall: Vec<Recall>,
    /// What became of the ranker on its way to a device, where it was shipped.
    pub shipped: Option<Shipped>,
}

impl Judged {
    /// Judges a model on the splits of a data set, after those that were judged before. The seed decides what intervals and rankings draw.
    ///
    /// # Errors
    /// A split there is not, a data set of another schema, a prediction that is not finite.
    pub fn add(&mut self, known: &Known<'_>, seed: Seed, progress: &mut Progress) -> Result<()> {
        let Known { config, model, dataset, .. } = known;
        let evaluate = &config.evaluate;
        let threads = Threads::new(config.train.workers)?;
        for split in splits(config, dataset) {
            let told = &mut |step| progress.judging(step);
            self.evaluations.push(evaluate::evaluate(model, dataset, &split, evaluate, seed, &threads, told)?);
        }
        if let Some(last) = self.evaluations.last() {
            self.truth = truth::compare(&last.scored, dataset, evaluate, seed)?.unwrap_or_default();
        }
        Ok(())
    }

    /// All metrics by split and name.
    pub fn metrics(&self) -> BTreeMap<String, BTreeMap<String, f64>> {
        let found = self.evaluations.iter().map(|found| (found.split.clone(), found.metrics.clone()));
        let mut found: BTreeMap<_, _> = found.collect();
        if let Some(last) = self.evaluations.last() {
            found.entry(last.split.clone()).or_default().extend(truth::metrics(&self.truth));
        }
        found
    }
}

/// What a report tells of.
pub struct Known<'a> {
    /// The run's config.
    pub config: &'a RunConfig,
    /// The model judged.
    pub model: &'a Model,
    /// The data it was judged on.
    pub dataset: &'a Dataset,
    /// How it was trained.
    pub how: &'a How,
}

/// Writes `metrics.json` into a folder.
///
/// # Errors
/// What the system says.
pub fn note(folder: &Path, told: &Told) -> Result<()> {
    write_beside(&folder.join(METRICS), told.to_json()?.as_bytes())
}

/// Writes the report into a folder, as a page and as what the page is drawn from.
///
/// # Errors
/// What is wrong with the data set; what the system says.
pub fn report(folder: &Path, known: &Known<'_>, judged: &Judged) -> Result<()> {
    let Known { config, model, dataset, how } = *known;
    let speed = Speed {
        samples_per_second: Some(how.samples_per_second),
        peak_rss_mib: peak_rss_mib(),
        phases: [("training".to_owned(), how.seconds)]
            .into_iter()
            .chain(judged.evaluations.iter().map(|found| (format!("judging {}", found.split), found.seconds)))
            .collect(),
    };
    let parts = Parts {
        config,
        dataset,
        model,
        history: Some(&how.history),
        evaluations: &judged.evaluations,
        truth: &judged.truth,
        recall: judged.recall.clone(),
        shipped: judged.shipped.clone(),
        speed,
        notes: &how.notes,
        workers: &Threads::new(config.train.workers)?,
    };
    let report = assemble::report(&parts)?;
    write_beside(&folder.join(STORED), report.to_json()?.as_bytes())?;
    write_beside(&folder.join(REPORT), report::html(&report).as_bytes())
}

/// A data set of rows never seen in preparation, through the vocabularies of a run. It lies in a temporary folder.
pub struct Encoded {
    /// The data sets, one a split of the layout, else one.
    pub datasets: Vec<Dataset>,
    /// Malformed rows that were dropped.
    pub bad_rows: u64,
    /// Where they lie while this lives.
    pub place: tempfile::TempDir,
}

/// The data set in which histories begin, where a run's ranker reads any and `wanted` asks for it.
///
/// # Errors
/// A data set that is gone or has other ids: its past is not taken to be empty.
pub fn past(run: &Run, schema: &Schema, wanted: bool, place: &DatasetPlace) -> Result<Option<Dataset>> {
    let asks = wanted && schema.features.iter().any(|feature| feature.history.is_some());
    asks.then(|| run.dataset(place.given())).transpose().map_err(|error| match error.kind() {
        Kind::Config => {
            error.mend("say where it is with --dataset, or begin histories with the rows by --without-past")
        }
        _ => error,
    })
}

/// Encodes raw data through the vocabularies of a run. Histories begin with the users' events in `past`.
///
/// # Errors
/// What is wrong with the data or the disk.
pub fn encode(
    (vocabularies, past): (&Vocabularies, Option<&Dataset>),
    config: &RunConfig,
    raw: &Path,
    bad_rows: u64,
    progress: &mut Progress,
) -> Result<Encoded> {
    let place = tempfile::Builder::new().prefix("kitestring-").tempdir();
    let place = place.map_err(|error| Error::io(error, "could not make a folder", std::env::temp_dir()))?;
    let bad = BadRows::new(bad_rows);
    let opened = layout::open(&config.data, raw)?;
    let stem = raw.file_stem().map_or_else(|| "data".to_owned(), |stem| stem.to_string_lossy().into_owned());
    let mut datasets = Vec::new();
    for split in opened.splits() {
        let name = split.unwrap_or(&stem);
        let rows = read_present(&opened, split, &config.schema, &bad)?;
        let mut candidates = Vec::new();
        if let Some(rows) = split.map(|split| opened.candidates(split, &bad)).transpose()?.flatten() {
            let separator = rows.separator.clone();
            let chunks = Box::new(rows);
            candidates.push(prepare::GivenCandidates { split: name.to_owned(), chunks, separator });
        }
        let out = place.path().join(datasets.len().to_string());
        let known = (vocabularies, past);
        let told = &mut |step| progress.preparing(step);
        let manifest = prepare::encode(name, rows, candidates, known, &bad, &out, told)?;
        manifest.notes().iter().for_each(|note| progress.note(&note.to_string()));
        datasets.push(Dataset::open(&out)?);
    }
    Ok(Encoded { datasets, bad_rows: bad.count(), place })
}

/// Reads the columns that a schema speaks of. Rows to be scored need no labels and no logged facts: those that are not there are left out.
fn read_present<'a>(
    opened: &'a Opened,
    split: Option<&str>,
    schema: &Schema,
    bad: &BadRows,
) -> Result<prepare::Chunks<'a>> {
    let mut needed = prepare::columns(schema);
    loop {
        let names: Vec<&str> = needed.iter().map(String::as_str).collect();
        let error = match opened.read(split, &names, bad) {
            Ok(rows) => return Ok(Box::new(rows)),
            Err(error) => error,
        };
        let missing = error.place().field.clone().filter(|_| error.kind() == Kind::Config).unwrap_or_default();
        let absent = |column: &String| may_be_absent(schema, column) && comes_from(opened.layout(), column, &missing);
        let Some(index) = needed.iter().position(absent) else { return Err(error) };
        needed.remove(index);
    }
}

/// Whether nothing but labels and logged facts is read from a column.
fn may_be_absent(schema: &Schema, column: &str) -> bool {
    let Schema { user, item, time, position, treatment, propensity, weight, features, scenarios, tasks, .. } = schema;
    let is = |name: &Option<String>| name.as_deref() == Some(column);
    let read = |feature: &kitestring_core::schema::Feature| feature.history.is_none() && feature.column() == column;
    let needed = [user, item, time].into_iter().any(is)
        || features.iter().any(read)
        || scenarios.iter().any(|level| level.column() == column);
    let optional = [position, treatment, propensity, weight].into_iter().any(is);
    !needed && (optional || tasks.iter().any(|task| task.column() == column))
}

/// Whether a column is another one, or derived from it.
fn comes_from(layout: &Layout, column: &str, other: &str) -> bool {
    let derived = || layout.derive.iter().filter(|derive| derive.name == column);
    column == other || derived().any(|derive| derive.from.as_deref() == Some(other))
}
