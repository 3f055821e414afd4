//! `kitestring predict`: a prediction a task for every row of a file.

use super::{create_beside, put};
use crate::arguments::{BadRows, OutputArgs};
use crate::output::{dropped, say};
use crate::stages;
use arrow_array::{ArrayRef, Float32Array, RecordBatch, StringArray, UInt64Array};
use clap::Args;
use kitestring_core::{Error, Result, Seed};
use kitestring_train::evaluate::{Combine, score};
use kitestring_train::run::Run;
use kitestring_train::workers::Threads;
use parquet::arrow::ArrowWriter;
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// Rows written at once.
const BLOCK: usize = 65_536;

/// Predict every task for every row of a file, in the order of the file
///
/// Rows need the columns of the features, not those of labels. The result has the file and line of each row (the number of the row in
/// Parquet and Arrow files) and a column a task: a probability where the task is binary. A head that predicts more adds TASK.variance
/// (regression) or TASK.deviation (of a binary task's logit); --draws adds TASK.aleatoric and TASK.epistemic, variances or nats; a config
/// with evaluate.score adds what candidates are ranked by, as score.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kitestring predict runs/din --data candidates.csv > scores.csv
  kitestring predict runs/din --data candidates.parquet --out scores.parquet --draws 50")]
pub struct Predict {
    /// The run directory
    run: PathBuf,
    /// Raw data: a file or a folder
    #[arg(long, value_name = "PATH")]
    data: PathBuf,
    /// The file to write, .parquet or .csv; CSV on standard output when absent
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Passes with dropout on, to tell the noise of the data (aleatoric) from what the model does not know (epistemic); the config's
    /// evaluate.draws when absent
    #[arg(long, value_name = "N")]
    draws: Option<u32>,
    /// Begin histories with the rows of --data, not with what the run knows of the users
    #[arg(long)]
    without_past: bool,
    #[command(flatten)]
    bad_rows: BadRows,
    #[command(flatten)]
    output: OutputArgs,
}

/// Predictions in the order of the files.
struct Predictions {
    /// What each column is.
    names: Vec<String>,
    files: Vec<String>,
    /// The file by its number, the line, and the place in `columns`.
    rows: Vec<(u32, u64, usize)>,
    columns: Vec<Vec<f32>>,
}

impl Predict {
    /// # Errors
    /// A directory that is no finished run; what is wrong with the data or the disk.
    pub fn execute(self) -> Result<()> {
        let start = Instant::now();
        if let Some(out) = &self.out
            && !matches!(extension(out), "csv" | "parquet")
        {
            return Err(Error::config("predictions are written as .csv or .parquet").in_file(out.display().to_string()));
        }
        let run = Run::open(&self.run)?;
        let mut config = run.config()?;
        config.evaluate.draws = self.draws.unwrap_or(config.evaluate.draws);
        let model = run.model()?;
        let mut progress = self.output.progress()?;
        let bad_rows = self.bad_rows.allowed(&config);
        let encoded = stages::encode(&run, &config, &self.data, (bad_rows, !self.without_past), &mut progress)?;
        let threads = Threads::new(config.train.workers)?;
        let mut found = Predictions { names: Vec::new(), files: Vec::new(), rows: Vec::new(), columns: Vec::new() };
        let combine = Combine::new(&model.schema, &config.evaluate, 0);
        for dataset in &encoded.datasets {
            for split in dataset.splits() {
                let told = &mut |done, all| progress.judging(kitestring_train::evaluate::Progress::Scoring(done, all));
                let seed = Seed(config.seed);
                let scored = score(&model, dataset, split.name(), &config.evaluate, seed, &threads, told)?;
                for sample in 0..split.rows() {
                    let (file, line) = split.source(sample)?;
                    found.note(file, line);
                }
                let score = |row: usize| combine.score(|task| scored.tasks[task].scores[row]);
                let combined = (!config.evaluate.score.is_empty()).then(|| (0..scored.samples()).map(score).collect());
                let tasks = scored.tasks.into_iter().map(|task| (task.name, task.scores));
                let others = scored.others.into_iter().chain(combined.map(|combined| ("score".to_owned(), combined)));
                found.add(tasks.chain(others));
            }
        }
        drop(progress);
        // Preparation sorts rows by user; the reader wants them as they came.
        found.rows.sort_unstable();
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
            "bad_rows": encoded.bad_rows,
            "out": self.out,
            "seconds": start.elapsed().as_secs_f64(),
        }))
    }
}

fn extension(path: &Path) -> &str {
    path.extension().and_then(|extension| extension.to_str()).unwrap_or_default()
}

impl Predictions {
    /// Adds the columns of a split, which are the same for all.
    fn add(&mut self, columns: impl Iterator<Item = (String, Vec<f32>)>) {
        for (number, (name, column)) in columns.enumerate() {
            if number == self.columns.len() {
                self.names.push(name);
                self.columns.push(Vec::new());
            }
            self.columns[number].extend(column);
        }
    }

    fn note(&mut self, file: &str, line: u64) {
        let number = match self.files.iter().rposition(|known| known == file) {
            Some(number) => number,
            None => {
                self.files.push(file.to_owned());
                self.files.len() - 1
            }
        };
        self.rows.push((number as u32, line, self.rows.len()));
    }

    fn write(&self, out: &Path) -> Result<()> {
        let fail = |error| Error::io(error, "could not write the file", out);
        let mut file = create_beside(out)?;
        if extension(out) == "csv" {
            let mut writer = std::io::BufWriter::new(file.as_file_mut());
            self.csv(&mut |text| writer.write_all(text.as_bytes()).map_err(fail))?;
            writer.flush().map_err(fail)?;
        } else {
            self.parquet(file.as_file_mut())
                .map_err(|error| Error::io(std::io::Error::other(error), "could not write the file", out))?;
        }
        put(file, out)
    }

    fn csv(&self, write: &mut dyn FnMut(&str) -> Result<()>) -> Result<()> {
        let quoted: Vec<String> = self.files.iter().map(|file| quote(file)).collect();
        let names: Vec<String> = self.names.iter().map(|name| quote(name)).collect();
        let mut text = format!("file,line,{}\n", names.join(","));
        for rows in self.rows.chunks(BLOCK) {
            for (file, line, place) in rows {
                text += &format!("{},{line}", quoted.get(*file as usize).map_or("", String::as_str));
                for column in &self.columns {
                    text += &format!(",{}", column.get(*place).copied().unwrap_or(f32::NAN));
                }
                text.push('\n');
            }
            write(&text)?;
            text.clear();
        }
        write(&text)
    }

    fn parquet(&self, file: &mut std::fs::File) -> Result<(), parquet::errors::ParquetError> {
        let batch = |rows: &[(u32, u64, usize)]| {
            let file = |row: &(u32, u64, usize)| self.files.get(row.0 as usize).map(String::as_str);
            let mut columns: Vec<(&str, ArrayRef)> = vec![
                ("file", Arc::new(rows.iter().map(file).collect::<StringArray>())),
                ("line", Arc::new(rows.iter().map(|row| row.1).collect::<UInt64Array>())),
            ];
            for (task, column) in self.names.iter().zip(&self.columns) {
                let values = rows.iter().map(|row| column.get(row.2).copied());
                columns.push((task, Arc::new(values.collect::<Float32Array>())));
            }
            RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, false)))
        };
        let mut writer = ArrowWriter::try_new(file, batch(&[])?.schema(), None)?;
        for rows in self.rows.chunks(BLOCK) {
            writer.write(&batch(rows)?)?;
        }
        writer.close()?;
        Ok(())
    }
}

/// A field of a CSV file (RFC 4180).
fn quote(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn csv_is_quoted_and_in_order() {
        let mut found = Predictions {
            names: vec!["click".into()],
            files: Vec::new(),
            rows: Vec::new(),
            columns: vec![vec![0.25, 0.5, 0.75]],
        };
        for (file, line) in [("a,b.csv", 3), ("a,b.csv", 2), ("c.csv", 1)] {
            found.note(file, line);
        }
        found.rows.sort_unstable();
        let mut text = String::new();
        found
            .csv(&mut |part| {
                text += part;
                Ok(())
            })
            .unwrap();
        assert_eq!(text, "file,line,click\n\"a,b.csv\",2,0.5\n\"a,b.csv\",3,0.25\nc.csv,1,0.75\n");
    }
}
