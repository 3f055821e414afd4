//! `kitestring prepare`: from raw files to a data set directory.

use crate::arguments::{BadRows, OutputArgs, Settings};
use crate::output::{columns, dropped};
use crate::stages;
use crate::start::vocabularies;
use clap::Args;
use kitestring_core::Result;
use kitestring_data::dataset::{Dataset, Manifest};
use kitestring_train::assemble::peak_rss_mib;
use serde_json::json;
use std::path::PathBuf;
use std::time::Instant;

/// Prepare raw files: a data set directory of splits, histories and vocabularies
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kitestring prepare configs/movielens-1m.toml --data ml-1m --out ml-1m-prepared
  kitestring prepare configs/movielens-1m.toml --data ml-1m-later --like runs/din --out ml-1m-grown")]
pub struct Prepare {
    /// The config, with its data and schema sections
    config: PathBuf,
    /// The folder or file of raw data
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// The data set directory to write
    #[arg(long, value_name = "FOLDER", default_value = "dataset")]
    out: PathBuf,
    /// Go on with the vocabularies and transforms of this run: its ids stay as they are, and new values follow. For `train --from`
    #[arg(long, value_name = "RUN")]
    like: Option<PathBuf>,
    #[command(flatten)]
    bad_rows: BadRows,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    output: OutputArgs,
}

impl Prepare {
    /// # Errors
    /// What is wrong with the config, the data or the disk. Nothing is left in `out` then.
    pub fn execute(self) -> Result<()> {
        let start = Instant::now();
        let config = self.settings.read(Some(&self.config))?;
        let raw = stages::raw(&config, self.data.as_deref())?;
        let mut progress = self.output.progress()?;
        let like = self.like.as_deref().map(vocabularies).transpose()?;
        let how = (self.bad_rows.allowed(&config), like.as_ref());
        let dataset = stages::prepare(&config, how, &raw, &self.out, &mut progress)?;
        let manifest = dataset.manifest();
        manifest.notes().iter().for_each(|note| progress.note(&note.to_string()));
        drop(progress);
        self.output.text(&splits(manifest))?;
        self.output.text(&tables(&dataset))?;
        self.output.text(&dropped(manifest.bad_rows))?;
        self.output.line(&format!("data set: {}", self.out.display()))?;
        let rows = manifest.splits.iter().map(|split| (split.name.clone(), json!(split.rows)));
        let means = manifest.splits.iter().map(|split| {
            let labels = manifest.schema.tasks.iter().zip(&split.labels);
            let labels = labels.map(|(task, label)| (task.name.clone(), json!(label.mean)));
            (split.name.clone(), json!(labels.collect::<serde_json::Map<_, _>>()))
        });
        let tables = manifest.tables.iter().map(|table| (table.name.clone(), json!(table.rows)));
        self.output.object(&json!({
            "dataset": self.out,
            "rows": rows.collect::<serde_json::Map<_, _>>(),
            "label_means": means.collect::<serde_json::Map<_, _>>(),
            "tables": tables.collect::<serde_json::Map<_, _>>(),
            "bad_rows": manifest.bad_rows,
            "notes": manifest.notes(),
            "seconds": start.elapsed().as_secs_f64(),
            "peak_rss_mib": peak_rss_mib(),
        }))
    }
}

fn splits(manifest: &Manifest) -> String {
    let mut rows = vec![vec!["split".to_owned(), "samples".into()]];
    rows[0].extend(manifest.schema.tasks.iter().map(|task| format!("mean of {}", task.name)));
    for split in &manifest.splits {
        let means = split.labels.iter().map(|label| format!("{:.4}", label.mean));
        rows.push([split.name.clone(), split.rows.to_string()].into_iter().chain(means).collect());
    }
    columns(&rows)
}

fn tables(dataset: &Dataset) -> String {
    let mut rows = vec![vec!["table".to_owned(), "rows".into()]];
    for table in &dataset.manifest().tables {
        rows.push(vec![table.name.clone(), table.rows.map_or_else(|| "open".into(), |rows| rows.to_string())]);
    }
    columns(&rows)
}
