//! `kitestring evaluate`: what a run is worth.

use crate::arguments::{BadRows, DatasetPlace, OutputArgs};
use crate::metrics::{Told, table};
use crate::output::dropped;
use crate::stages::{self, Judged, Known};
use clap::Args;
use kitestring_core::{Error, Result, VocabularyHash};
use kitestring_data::dataset::Dataset;
use kitestring_retrieve::RetrieveConfig;
use kitestring_train::Model;
use kitestring_train::evaluate::SEED;
use kitestring_train::run::{Run, RunLock, RunWriter};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Judge a run: every metric with its interval, and a report
///
/// Without --data, the splits of the data set the run was trained on. With --data, files the run never saw, through its own
/// vocabularies: what these do not hold is the out-of-vocabulary row. The rows are no events: a row's histories hold the user's events in the
/// run's data set that are of strictly earlier times.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kitestring evaluate runs/din
  kitestring evaluate runs/din --set evaluate.ranking=full --set evaluate.cutoffs=[5,20]
  kitestring evaluate runs/din --data next-week.csv --out next-week")]
pub struct Evaluate {
    /// The run directory
    run: PathBuf,
    /// Raw data (a folder or a file), or a prepared data set of the same schema
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Where metrics.json and report.html go; into the run when absent, and nowhere with --data
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Leave histories empty: what the run knows of the users does not count
    #[arg(long, requires = "data")]
    without_past: bool,
    /// Judge this split; may be repeated. All but train when absent
    #[arg(long, value_name = "NAME")]
    split: Vec<String>,
    /// Override a key of the run's config below `evaluate`, which says how it is judged; may be repeated
    #[arg(long = "set", value_name = "evaluate.KEY=VALUE")]
    set: Vec<String>,
    #[command(flatten)]
    dataset: DatasetPlace,
    #[command(flatten)]
    bad_rows: BadRows,
    #[command(flatten)]
    output: OutputArgs,
}

impl Evaluate {
    /// # Errors
    /// A directory that is no finished run; what is wrong with the data or the disk.
    pub fn execute(self) -> Result<()> {
        let start = Instant::now();
        // Where its results go into the run, no other process changes it meanwhile.
        let into_run = self.out.is_none() && self.data.is_none();
        let mut writer = into_run.then(|| RunWriter::update(RunLock::open(&self.run, Duration::ZERO)?)).transpose()?;
        let run = writer.as_ref().and_then(RunWriter::run);
        let mut run = run.map_or_else(|| Run::open(&self.run), Ok)?;
        let mut config = run.config()?;
        config.evaluate.splits = self.split.clone();
        config = RetrieveConfig::overridden(config, &judging_alone(&self.set)?)?;
        let model = run.model()?;
        let how = stages::how(&run)?;
        let mut progress = self.output.progress()?;
        let mut bad_rows = 0;
        let (_encoded, datasets);
        // What baselines and full rankings of other data go by. Where it is gone there are no baselines, which the evaluation says.
        let trained = self.data.as_ref().and_then(|_| run.dataset(self.dataset.given()).ok());
        match &self.data {
            None => datasets = vec![run.dataset(self.dataset.given())?],
            Some(path) if stages::is_dataset(path) => datasets = vec![prepared(&model, path)?],
            Some(path) => {
                let vocabularies = run.vocabularies()?;
                let past = stages::past(&run, &model.schema, !self.without_past, &self.dataset)?;
                run.release();
                let (known, bad_rows_allowed) = ((&vocabularies, past.as_ref()), self.bad_rows.allowed(&config));
                let encoded = stages::encode(known, &config, path, bad_rows_allowed, &mut progress)?;
                bad_rows = encoded.bad_rows;
                datasets = encoded.datasets;
                _encoded = encoded.place;
            }
        }
        run.release();
        let mut judged = Judged::default();
        let known = |dataset| Known { config: &config, model: &model, dataset, how: &how };
        for dataset in &datasets {
            if let Some(trained) = trained.as_ref().filter(|trained| trained.schema() == dataset.schema()) {
                dataset.trained_on(trained)?;
            }
            judged.add(&known(dataset), SEED, &mut progress)?;
        }
        let scored: u64 = judged.evaluations.iter().map(|found| found.samples).sum();
        let spent: f64 = judged.evaluations.iter().map(|found| found.samples as f64 / found.samples_per_second).sum();
        let told = Told::new(&self.run, &judged, start, scored as f64 / spent.max(1e-9));
        let place = writer.as_ref().map(|writer| writer.staged().directory().to_owned()).or_else(|| self.out.clone());
        if let (Some(place), Some(dataset)) = (place, datasets.last()) {
            std::fs::create_dir_all(&place).map_err(|error| Error::io(error, "could not make the folder", &place))?;
            stages::note(&place, &told)?;
            stages::report(&place, &known(dataset), &judged)?;
        }
        if let Some(writer) = &mut writer {
            writer.commit()?;
        }
        let out = self.out.as_deref().or(into_run.then_some(self.run.as_path()));
        drop(progress);
        self.output.text(&table(&judged, false))?;
        self.output.text(&dropped(bad_rows))?;
        if let Some(out) = out {
            self.output.line(&format!("report: {}", out.join(stages::REPORT).display()))?;
        }
        let mut results = told.to_value()?;
        results.insert("bad_rows".into(), json!(bad_rows));
        results.insert("report".into(), json!(out.map(|out| out.join(stages::REPORT))));
        self.output.object(&results)
    }
}

/// Overrides that change how a run is judged, and nothing of what it is.
fn judging_alone(overrides: &[String]) -> Result<Vec<String>> {
    let key = |text: &String| text.split('=').next().unwrap_or_default().trim().to_owned();
    match overrides.iter().map(key).find(|key| key != "evaluate" && !key.starts_with("evaluate.")) {
        None => Ok(overrides.to_vec()),
        Some(key) => Err(Error::config(format!("`{key}` says what was trained, not how it is judged"))
            .in_field("--set")
            .mend("set keys of evaluate here, and others where the run is trained")),
    }
}

/// A prepared data set, whose ids must be those that a model was trained with.
fn prepared(model: &Model, path: &Path) -> Result<Dataset> {
    let dataset = Dataset::open(path)?;
    let hash = dataset.vocabulary_hash()?;
    VocabularyHash::check(("the data set", Some(&hash)), ("the model", model.vocabulary_hash.as_ref())).map_err(
        |error| {
            let error = error.in_file(path.display().to_string());
            error.mend("give the raw data, which are read through the run's own vocabularies")
        },
    )?;
    Ok(dataset)
}
