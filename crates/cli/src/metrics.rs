//! What a run is worth, as a table and as JSON.

use crate::output::columns;
use crate::stages::{How, Judged};
use kitestring_core::{Error, Note, Result};
use kitestring_train::assemble::peak_rss_mib;
use kitestring_train::evaluate::{BASELINES, Evaluation, JudgedRows};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Instant;

/// What `train` and `evaluate` end their JSON with.
#[derive(Debug, Serialize)]
pub struct Told {
    run: String,
    metrics: BTreeMap<String, BTreeMap<String, f64>>,
    /// By split and baseline: what training alone comes to on the same samples.
    baselines: BTreeMap<String, BTreeMap<String, BTreeMap<String, f64>>>,
    /// By split and task: how many users a GAUC covers, and how many there are.
    gauc_users: BTreeMap<String, BTreeMap<String, [u64; 2]>>,
    /// By split: fingerprints of the rows that were judged.
    rows: BTreeMap<String, JudgedRows>,
    /// By split: what a reader of its metrics should know.
    split_notes: BTreeMap<String, Vec<String>>,
    seconds: f64,
    samples_per_second: f64,
    peak_rss_mib: Option<f64>,
    /// The epoch whose model was kept, where a split `valid` chose it.
    #[serde(skip_serializing_if = "Option::is_none")]
    kept_epoch: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<Note>,
}

impl Told {
    /// What a command that started at `start` found, and how many samples a second it trained on or scored.
    pub fn new(run: &Path, judged: &Judged, start: Instant, samples_per_second: f64) -> Self {
        Self {
            run: run.display().to_string(),
            metrics: judged.metrics(),
            baselines: by_split(judged, |found| found.baselines.clone()),
            gauc_users: by_split(judged, |found| found.gauc_users.clone()),
            rows: by_split(judged, |found| found.rows),
            split_notes: by_split(judged, |found| found.notes.clone()),
            seconds: start.elapsed().as_secs_f64(),
            samples_per_second,
            peak_rss_mib: peak_rss_mib(),
            kept_epoch: None,
            notes: Vec::new(),
        }
    }

    /// With how the model was trained.
    #[must_use]
    pub fn trained(mut self, how: &How) -> Self {
        self.kept_epoch = how.history.best_epoch;
        self.notes.clone_from(&how.notes);
        self
    }

    /// As a JSON object, to which a command adds what else it found.
    ///
    /// # Errors
    /// Never: it is a struct of finite numbers.
    pub fn to_value(&self) -> Result<serde_json::Map<String, serde_json::Value>> {
        let value =
            serde_json::to_value(self).map_err(|error| Error::internal("the result is no JSON").caused_by(error))?;
        match value {
            serde_json::Value::Object(fields) => Ok(fields),
            _ => Err(Error::internal("the result is no JSON object")),
        }
    }

    /// As one line.
    ///
    /// # Errors
    /// Never: every number is finite.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|error| Error::internal("the result as JSON").caused_by(error))
    }
}

fn by_split<T>(judged: &Judged, of: impl Fn(&Evaluation) -> T) -> BTreeMap<String, T> {
    judged.evaluations.iter().map(|found| (found.split.clone(), of(found))).collect()
}

/// A table of metrics, one column a split, with intervals where there are some. With `short`, only what a run is chosen by.
pub fn table(judged: &Judged, short: bool) -> String {
    let metrics = judged.metrics();
    let names: BTreeSet<&str> = metrics.values().flat_map(BTreeMap::keys).map(String::as_str).collect();
    let mut rows = vec![vec![String::new()]];
    rows[0].extend(judged.evaluations.iter().map(|found| found.split.clone()));
    let shown: Vec<&str> = names.into_iter().filter(|name| !short || is_headline(name)).collect();
    for name in &shown {
        let mut row = vec![(*name).to_owned()];
        for found in &judged.evaluations {
            let value = metrics.get(&found.split).and_then(|metrics| metrics.get(*name));
            let interval = found.intervals.get(*name).map(|found| format!(" [{:.4}, {:.4}]", found.lower, found.upper));
            let task = name.strip_suffix(".gauc");
            let covered = task
                .and_then(|task| found.gauc_users.get(task))
                .map(|[covered, all]| format!(" ({covered} of {all} users)"));
            let value = value.map(|value| format!("{value:.4}")).unwrap_or_default();
            row.push(value + &interval.unwrap_or_default() + &covered.unwrap_or_default());
        }
        rows.push(row);
    }
    let notes = judged.evaluations.iter().flat_map(|found| &found.notes);
    columns(&rows) + &baselines(judged, &shown) + &notes.map(|note| format!("note: {note}\n")).collect::<String>()
}

/// What training alone comes to on the last split, a column a baseline; nothing where it is not known.
fn baselines(judged: &Judged, shown: &[&str]) -> String {
    let Some(last) = judged.evaluations.last().filter(|last| !last.baselines.is_empty()) else { return String::new() };
    let known = BASELINES.iter().filter_map(|(key, name)| Some((*name, last.baselines.get(*key)?)));
    let known: Vec<(&str, &BTreeMap<String, f64>)> = known.collect();
    let mut rows = vec![vec![format!("{} without a model", last.split)]];
    rows[0].extend(known.iter().map(|(name, _)| (*name).to_owned()));
    for name in shown.iter().filter(|name| known.iter().any(|(_, metrics)| metrics.contains_key(**name))) {
        let cell = |(_, metrics): &(&str, &BTreeMap<String, f64>)| {
            metrics.get(*name).map(|value| format!("{value:.4}")).unwrap_or_default()
        };
        rows.push(std::iter::once((*name).to_owned()).chain(known.iter().map(cell)).collect());
    }
    format!("\n{}", columns(&rows))
}

/// Whether a metric is shown in a short table: those of single tasks that order runs, what the truth reaches, and rankings.
fn is_headline(name: &str) -> bool {
    let of_task = name.split_once('.').map(|(_, metric)| metric);
    let chosen_by = [
        "auc",
        "log_loss",
        "gauc",
        "rmse",
        "oracle_auc",
        "gap",
        "relevance_auc",
        "relevance_oracle_auc",
        "relevance_gap",
    ];
    of_task.is_some_and(|metric| chosen_by.contains(&metric)) || name.contains('@')
}
