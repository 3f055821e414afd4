//! `kitestring train`: from data to a model; and what `run` does besides.

use crate::arguments::{BadRows, OutputArgs, Place, Settings};
use crate::metrics::{Told, table};
use crate::retriever;
use crate::shipping::{self, ARTIFACT, DEVICE};
use crate::stages::{self, DataRequest, Judged, Known};
use crate::start::Starting;
use clap::Args;
use kitestring_core::Result;
use kitestring_retrieve::RetrieveConfig;
use kitestring_train::evaluate::SEED;
use kitestring_train::report::ledger_text;
use kitestring_train::run::{RunLock, RunParts, RunWriter};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Train a ranker and measure it, without a report
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kitestring train configs/movielens-1m.toml --data ml-1m-prepared --out runs/din
  kitestring train configs/movielens-1m.toml --data ml-1m-prepared --out runs/din --resume
  kitestring train configs/movielens-1m.toml --data ml-1m-of-today --out runs/din --overwrite
  kitestring train configs/movielens-1m.toml --data ml-1m-grown --out runs/later --from runs/din")]
pub struct Train {
    /// The config
    config: PathBuf,
    #[command(flatten)]
    learning: Learning,
}

impl Train {
    /// # Errors
    /// What is wrong with the config, the data or the disk; a loss that is not finite.
    pub fn execute(self) -> Result<()> {
        self.learning.execute(Some(&self.config), false)
    }
}

/// What `train` and `run` have in common.
#[derive(Debug, Args)]
pub struct Learning {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    starting: Starting,
    #[command(flatten)]
    bad_rows: BadRows,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    output: OutputArgs,
}

impl Learning {
    /// Makes a run: its data, its model, its metrics and, if asked for, its report.
    ///
    /// # Errors
    /// What is wrong with the config, the data or the disk; a loss that is not finite.
    pub fn execute(self, config: Option<&Path>, report: bool) -> Result<()> {
        let start = Instant::now();
        let config = self.settings.read(config)?;
        // `train` learns a ranker alone, `run` also what finds its candidates, where the config says how.
        let section = (report && config.retrieve.is_some()).then(|| retriever::section(&config)).transpose()?;
        let begin = self.starting.open(&config, self.place.out.as_deref())?;
        let lock = RunLock::create(self.place.out.as_deref())?;
        let parts = RunParts { ranker: true, retriever: section.is_some() };
        let mut writer = RunWriter::train(lock, parts, self.place.existing())?;
        let (run, place, resume) = (writer.staged(), writer.place().to_owned(), writer.resumes());
        let mut progress = self.output.progress()?;
        let request = DataRequest {
            given: self.place.data.as_deref(),
            start: begin.as_ref(),
            bad_rows: self.bad_rows.allowed(&config),
        };
        let dataset = stages::data(&writer, &config, &request, &mut progress)?;
        shipping::carry_release(&writer)?;
        let config = RetrieveConfig::with_length(&config, dataset.split("train")?.rows())?;
        let notes = stages::note_before_training(run, &config, &dataset, &progress)?;
        let grown = begin.as_ref().map(|begin| begin.grow(&config, &dataset)).transpose()?;
        let (model, added) = grown.map_or((None, Vec::new()), |grown| (Some(grown.model), grown.added));
        if let Some(begin) = &begin {
            run.log(&json!({ "event": "started", "from": begin.directory, "added": added }))?;
        }
        let retrieval =
            section.as_ref().map(|section| retriever::train(&writer, (&config, section), &dataset, &mut progress));
        let retrieval = retrieval.transpose()?;
        let trained = stages::train(run, &config, &dataset, (model, notes), resume, &mut progress)?;
        let known = Known { config: &config, model: &trained.model, dataset: &dataset, how: &trained.how };
        let mut judged = Judged::default();
        judged.add(&known, SEED, &mut progress)?;
        if let (Some(section), Some(found)) = (&section, &retrieval)
            && let Some(split) = judged.evaluations.last().map(|found| found.split.clone())
            && !section.candidates.is_empty()
        {
            judged.recall = retriever::compare(&found.retrieval, section, &known, &split, &mut progress)?;
        }
        let parcel = report.then(|| shipping::ship_run(run, &config, &dataset, &mut progress)).transpose()?;
        judged.shipped = parcel.as_ref().map(|parcel| parcel.ledger.clone());
        let told = Told::new(&place, &judged, start, trained.how.samples_per_second);
        let told = told.trained(&trained.how);
        stages::note(run.directory(), &told)?;
        if report {
            stages::report(run.directory(), &known, &judged)?;
        }
        writer.commit()?;
        drop(progress);
        for [kind, name, nearest] in &added {
            self.output.line(&format!("new {kind}: {name}, started as {nearest}"))?;
        }
        self.output.text(&table(&judged, true))?;
        if let Some(kept) = trained.how.kept() {
            self.output.line(&format!("kept: {kept}"))?;
        }
        if let Some(found) = &retrieval {
            self.output.line("")?;
            self.output.text(&found.table())?;
            self.output.text(&retriever::recall_table(&judged.recall))?;
            self.output.line("")?;
        }
        if let Some(parcel) = &parcel {
            self.output.text(&ledger_text(&parcel.ledger))?;
            match parcel.missed.as_slice() {
                [] => self.output.line(&format!("artifact: {}", place.join(DEVICE).join(ARTIFACT).display()))?,
                missed => self.output.line(&format!("no artifact: it misses {}", missed.join(", ")))?,
            }
            self.output.line("")?;
        }
        let artifact = place.join(DEVICE).join(ARTIFACT);
        let (what, place) = match report {
            true => ("report", place.join(stages::REPORT)),
            false => ("run", place),
        };
        self.output.line(&format!("{what}: {}", place.display()))?;
        let mut results = told.to_value()?;
        results.insert(what.into(), json!(place));
        if !added.is_empty() {
            let added =
                added.iter().map(|[kind, name, nearest]| json!({ "kind": kind, "name": name, "started_as": nearest }));
            results.insert("added".into(), added.collect());
        }
        if let Some(found) = &retrieval {
            results.insert("retrieval".into(), found.told());
            results.insert("recall".into(), json!(judged.recall));
        }
        if let Some(parcel) = &parcel {
            results.insert("ledger".into(), json!(parcel.ledger));
            results.insert("violations".into(), json!(parcel.missed));
            let artifact = parcel.missed.is_empty().then_some(artifact);
            results.insert("artifact".into(), json!(artifact));
        }
        self.output.object(&results)
    }
}
