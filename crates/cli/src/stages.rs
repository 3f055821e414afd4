//! The stages that commands are made of: data, training, judging.

use crate::commands::write_beside;
use crate::metrics::Told;
use crate::progress::Progress;
use crate::start::Start;
use kitestring_core::{Error, Kind, Note, Result, Schema, Seed};
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
use kitestring_train::run::{Run, remove_directory};
use kitestring_train::truth::{self, Comparison};
use kitestring_train::workers::Threads;
use kitestring_train::{Model, RunConfig};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where a run keeps the data set it prepared, the logs it simulated, and what turns raw rows into its ids.
const DATASET: &str = "dataset";
const SIMULATED: &str = "simulated";
pub const VOCABULARIES: &str = "vocabularies";
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

/// Makes ready what a run learns from: a prepared data set as it is, raw data prepared within the run, or, where no data are given
/// and the config has a simulator, a simulated marketplace. What is prepared goes on with the vocabularies of the run to start from.
///
/// # Errors
/// What is wrong with the data, the config or the disk.
pub fn data(
    run: &Run,
    config: &RunConfig,
    given: Option<&Path>,
    start: Option<&Start>,
    (bad_rows, resume): (u64, bool),
    progress: &mut Progress,
) -> Result<Dataset> {
    let from = start.map(|start| start.directory.as_path());
    if resume && let Ok(origin) = run.origin() {
        check_same_start(origin.from.as_deref(), from)?;
    }
    let how = (bad_rows, start.map(|start| &start.vocabularies));
    let directory = run.directory();
    let place = directory.join(DATASET);
    let (dataset, place, source) = match (given, &config.simulator) {
        (Some(given), _) if is_dataset(given) => (Dataset::open(given)?, given.to_owned(), None),
        // What a killed run has finished is not done again.
        _ if resume && is_dataset(&place) => {
            let source = run.origin().ok().and_then(|origin| origin.raw);
            (Dataset::open(&place)?, place, source)
        }
        (None, Some(simulator)) if config.data.path.is_none() => {
            let folder = directory.join(SIMULATED);
            let events = simulator.events;
            simulator::write(simulator, &folder, &mut |done| progress.simulating(done, events))?;
            (prepare(config, how, &folder, &place, progress)?, place, Some(folder))
        }
        _ => {
            let source = raw(config, given)?;
            (prepare(config, how, &source, &place, progress)?, place, Some(source))
        }
    };
    if dataset.schema() != &config.schema {
        return Err(Error::config("the data set was prepared with another [schema] than the config has")
            .in_file(place.display().to_string())
            .mend("prepare it again with this config, or use the config it was prepared with"));
    }
    dataset.vocabularies()?.copy_to(&directory.join(VOCABULARIES))?;
    let resolved = RetrieveConfig::with_length(config, dataset.split("train")?.rows())?;
    run.begin(&resolved, &place, source.as_deref(), from)?;
    Ok(dataset)
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
    if !resume {
        // A checkpoint of an earlier run in this place must not be taken for one of this run.
        remove_directory(&run.directory().join(CHECKPOINTS))?;
    }
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

/// Encodes raw data through the vocabularies of a run. Histories begin with the users' events in the run's own data set, where that
/// is still there and `past` asks for it.
///
/// # Errors
/// What is wrong with the data or the disk.
pub fn encode(
    run: &Run,
    config: &RunConfig,
    raw: &Path,
    (bad_rows, past): (u64, bool),
    progress: &mut Progress,
) -> Result<Encoded> {
    let place = tempfile::Builder::new().prefix("kitestring-").tempdir();
    let place = place.map_err(|error| Error::io(error, "could not make a folder", std::env::temp_dir()))?;
    let vocabularies = Vocabularies::open(run.directory().join(VOCABULARIES))?;
    let past = if past { Dataset::open(run.origin()?.dataset).ok() } else { None };
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
        let known = (&vocabularies, past.as_ref());
        let told = &mut |step| progress.preparing(step);
        let manifest = prepare::encode(name, rows, candidates, known, &bad, &out, told)?;
        manifest.notes().iter().for_each(|note| progress.note(&note.to_string()));
        let dataset = Dataset::open(&out)?;
        known_training(run, &dataset);
        datasets.push(dataset);
    }
    Ok(Encoded { datasets, bad_rows: bad.count(), place })
}

/// Tells a data set what the run was trained on, for baselines, where that is still there.
fn known_training(run: &Run, dataset: &Dataset) {
    let trained = run.origin().and_then(|origin| Dataset::open(origin.dataset));
    if let Ok(trained) = trained
        && trained.schema() == dataset.schema()
    {
        // Without them there are no baselines, which the evaluation says.
        let _ = dataset.trained_on(&trained);
    }
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
