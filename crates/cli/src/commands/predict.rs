//! `kitestring predict`: a prediction a task for every row of a file.

use crate::arguments::{BadRows, DatasetPlace, OutputArgs};
use crate::kept_columns::KeptColumns;
use crate::output::{dropped, say};
use crate::predictions::{Predictions, extension};
use crate::stages;
use crate::standard_input::{STANDARD_INPUT, StandardInput, shown};
use clap::Args;
use kitestring_core::{Error, Result};
use kitestring_train::evaluate::{Combine, SEED, score};
use kitestring_train::run::Run;
use kitestring_train::workers::Threads;
use serde_json::json;
use std::path::PathBuf;
use std::time::Instant;

/// Predict every task for every row of a file, in the order of the file
///
/// Rows need the columns of the features, not those of labels. The result has the file and line of each row (the number of the row in
/// Parquet and Arrow files) and a column a task: a probability where the task is binary. A head that predicts more adds TASK.variance
/// (regression) or TASK.deviation (of a binary task's logit); --draws adds TASK.aleatoric and TASK.epistemic, variances or nats; a config
/// with evaluate.score adds what candidates are ranked by, as score. --keep carries columns of the data through, as data.NAME where the name
/// is taken; --rank-within adds each row's rank among the rows with the same value of a column, as rank.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kitestring predict runs/din --data candidates.csv > scores.csv
  kitestring predict runs/din --data candidates.parquet --out scores.parquet --draws 50
  kitestring predict runs/din --data requests.csv --keep request_id,item_id --rank-within request_id
  kitestring predict runs/din --data - < candidates.csv")]
pub struct Predict {
    /// The run directory
    run: PathBuf,
    /// Raw data: a file or a folder; - for standard input
    #[arg(long, value_name = "PATH")]
    data: PathBuf,
    /// The file to write, .parquet or .csv; CSV on standard output when absent
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Passes with dropout on, to tell the noise of the data (aleatoric) from what the model does not know (epistemic); the config's
    /// evaluate.draws when absent
    #[arg(long, value_name = "N")]
    draws: Option<u32>,
    /// Leave histories empty: what the run knows of the users does not count
    #[arg(long)]
    without_past: bool,
    /// Carry these columns of the data through; several are separated by commas
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    keep: Vec<String>,
    /// Add the rank of each row, the best is 1, among those with the same value of this column
    #[arg(long, value_name = "COLUMN")]
    rank_within: Option<String>,
    #[command(flatten)]
    dataset: DatasetPlace,
    #[command(flatten)]
    bad_rows: BadRows,
    #[command(flatten)]
    output: OutputArgs,
}

impl Predict {
    /// # Errors
    /// A directory that is no finished run; what is wrong with the data or the disk.
    pub fn execute(self) -> Result<()> {
        let start = Instant::now();
        if let Some(out) = &self.out
            && !matches!(extension(out), "csv" | "parquet")
        {
            return Err(Error::config("predictions are written as .csv or .parquet")
                .in_file(out.display().to_string())
                .mend("give --out a name that ends so"));
        }
        let mut run = Run::open(&self.run)?;
        let mut config = run.config()?;
        config.evaluate.draws = self.draws.unwrap_or(config.evaluate.draws);
        let model = run.model()?;
        let vocabularies = run.vocabularies()?;
        let past = stages::past(&run, &model.schema, !self.without_past, &self.dataset)?;
        run.release();
        let mut progress = self.output.progress()?;
        let input = (self.data.as_os_str() == STANDARD_INPUT).then(StandardInput::read).transpose()?;
        let data = input.as_ref().map_or_else(|| self.data.clone(), StandardInput::path);
        let (known, bad_rows) = ((&vocabularies, past.as_ref()), self.bad_rows.allowed(&config));
        let encoded = stages::encode(known, &config, &data, bad_rows, &mut progress)?;
        let threads = Threads::new(config.train.workers)?;
        let mut found = Predictions::default();
        let combine = Combine::new(&model.schema, &config.evaluate, 0);
        for dataset in &encoded.datasets {
            // In the order they were read: samples come by user.
            found.files.extend(dataset.manifest().sources.iter().cloned());
            for split in dataset.splits() {
                let told = &mut |done, all| progress.judging(kitestring_train::evaluate::Progress::Scoring(done, all));
                let seed = SEED;
                let scored = score(&model, dataset, split.name(), &config.evaluate, seed, &threads, told)?;
                for sample in 0..split.rows() {
                    let (file, line) = split.source(sample)?;
                    found.note(file, line);
                }
                let score = |row: usize| combine.score(|task| scored.tasks[task].scores[row]);
                let scores: Vec<f32> = (0..scored.samples()).map(score).collect();
                found.scores.extend_from_slice(&scores);
                let combined = (!config.evaluate.score.is_empty()).then_some(scores);
                let tasks = scored.tasks.into_iter().map(|task| (task.name, task.scores));
                let others = scored.others.into_iter().chain(combined.map(|combined| ("score".to_owned(), combined)));
                found.add(tasks.chain(others));
            }
        }
        // Preparation sorts rows by user; the reader wants them as they came.
        found.rows.sort_unstable();
        if !self.keep.is_empty() {
            found.kept = KeptColumns::read(&config.data, &data, &distinct(&self.keep), &found.places())?;
        }
        if let Some(column) = &self.rank_within {
            let groups = KeptColumns::read(&config.data, &data, std::slice::from_ref(column), &found.places())?;
            found.rank(&groups.texts(column)?);
        }
        for file in &mut found.files {
            *file = shown(file, input.as_ref().map(StandardInput::path).as_deref()).to_owned();
        }
        drop(progress);
        match &self.out {
            None => {
                if !self.output.is_json() {
                    found.csv(&mut |text| say(text))?;
                }
                // Among the predictions it would be taken for one.
                eprint!("{}", dropped(encoded.bad_rows));
            }
            Some(out) => {
                found.write(out)?;
                self.output.line(&format!("{} predictions: {}", found.rows.len(), out.display()))?;
                self.output.text(&dropped(encoded.bad_rows))?;
            }
        }
        self.output.object(&json!({
            "run": self.run,
            "predictions": found.rows.len(),
            "rows": if self.output.is_json() && self.out.is_none() { Some(found.objects()?) } else { None },
            "bad_rows": encoded.bad_rows,
            "out": self.out,
            "seconds": start.elapsed().as_secs_f64(),
        }))
    }
}

/// Names in their order, each once.
fn distinct(names: &[String]) -> Vec<String> {
    let mut distinct: Vec<String> = Vec::new();
    for name in names {
        if !distinct.contains(name) {
            distinct.push(name.clone());
        }
    }
    distinct
}
