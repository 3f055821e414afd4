//! `kitestring evaluate`: what a run is worth.

use crate::arguments::{BadRows, OutputArgs};
use crate::metrics::{Told, table};
use crate::output::dropped;
use crate::stages::{self, Judged, Known};
use clap::Args;
use kitestring_core::{Error, Result};
use kitestring_data::dataset::Dataset;
use kitestring_train::evaluate::SEED;
use kitestring_train::run::Run;
use serde_json::json;
use std::path::PathBuf;
use std::time::Instant;

/// Judge a run: every metric with its interval, and a report
///
/// Without --data, the splits of the data set the run was trained on. With --data, files the run never saw, through its own
/// vocabularies: what these do not hold is the out-of-vocabulary row. The rows are no events: a row's histories hold the user's events in the
/// run's data set that are of strictly earlier times.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kitestring evaluate runs/din
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
        let run = Run::open(&self.run)?;
        let mut config = run.config()?;
        config.evaluate.splits = self.split.clone();
        let model = run.model()?;
        let how = stages::how(&run)?;
        let mut progress = self.output.progress()?;
        let mut bad_rows = 0;
        let (_encoded, datasets);
        match &self.data {
            None => datasets = vec![Dataset::open(run.origin()?.dataset)?],
            Some(path) if stages::is_dataset(path) => datasets = vec![Dataset::open(path)?],
            Some(path) => {
                let how = (self.bad_rows.allowed(&config), !self.without_past);
                let encoded = stages::encode(&run, &config, path, how, &mut progress)?;
                bad_rows = encoded.bad_rows;
                datasets = encoded.datasets;
                _encoded = encoded.place;
            }
        }
        let mut judged = Judged::default();
        let known = |dataset| Known { config: &config, model: &model, dataset, how: &how };
        for dataset in &datasets {
            judged.add(&known(dataset), SEED, &mut progress)?;
        }
        let scored: u64 = judged.evaluations.iter().map(|found| found.samples).sum();
        let spent: f64 = judged.evaluations.iter().map(|found| found.samples as f64 / found.samples_per_second).sum();
        let told = Told::new(run.directory(), &judged, start, scored as f64 / spent.max(1e-9));
        let out = self.out.as_deref().or(self.data.is_none().then(|| run.directory()));
        if let (Some(out), Some(dataset)) = (out, datasets.last()) {
            std::fs::create_dir_all(out).map_err(|error| Error::io(error, "could not make the folder", out))?;
            stages::note(out, &told)?;
            stages::report(out, &known(dataset), &judged)?;
        }
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
