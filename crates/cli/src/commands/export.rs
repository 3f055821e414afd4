//! `kitestring export`: a ranker in the formats of others.

use crate::arguments::{DatasetPlace, OutputArgs, Trust};
use crate::shipping;
use clap::Args;
use kitestring_compress::export;
use kitestring_compress::usage::Usage;
use kitestring_core::{Error, Result, Seed};
use kitestring_nn::onnx::Metadata;
use kitestring_train::run::{Run, replace_directory};
use serde_json::json;
use std::path::PathBuf;

/// Write a ranker as ONNX, safetensors and Parquet
///
/// The ONNX model has the network alone: the rows of a batch's ids are its inputs, so it is as small as the network. An artifact's has its
/// products in eight bits.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kitestring export runs/din --out exported
  kitestring export ranker.kite --out exported")]
pub struct Export {
    /// The run directory, or an artifact
    from: PathBuf,
    /// The folder to write; what stood there before goes
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    #[command(flatten)]
    dataset: DatasetPlace,
    #[command(flatten)]
    trust: Trust,
    #[command(flatten)]
    output: OutputArgs,
}

impl Export {
    /// # Errors
    /// What is neither a finished run nor an artifact that can be trusted; what the disk says.
    pub fn execute(self) -> Result<()> {
        let foreign = self.out.exists() && !self.out.join("ranker.onnx").is_file();
        if foreign && std::fs::read_dir(&self.out).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(Error::config("the folder holds other things than an export")
                .in_file(self.out.display().to_string())
                .mend("give --out an empty or a new folder"));
        }
        let mut names = Vec::new();
        let progress = self.output.progress()?;
        replace_directory(&self.out, |folder| {
            let files = if self.from.is_dir() { self.run(folder)? } else { self.artifact(folder)? };
            names = files.iter().filter_map(|file| file.file_name()).map(|name| self.out.join(name)).collect();
            Ok(())
        })?;
        drop(progress);
        names.iter().try_for_each(|name| self.output.line(&name.display().to_string()))?;
        self.output.object(&json!({ "files": names }))
    }

    fn run(&self, folder: &std::path::Path) -> Result<Vec<PathBuf>> {
        let mut run = Run::open(&self.from)?;
        let (config, model) = (run.config()?, run.model()?);
        let dataset = run.dataset(self.dataset.given())?;
        run.release();
        let name = config.name.clone().unwrap_or_else(|| "ranker".into());
        let metadata = Metadata { name, version: String::new(), description: String::new() };
        let usage = Usage::of(&dataset, Seed(config.seed).child("train"))?;
        export::run(&model, (&dataset.vocabularies()?, &usage), &metadata, folder)
    }

    fn artifact(&self, folder: &std::path::Path) -> Result<Vec<PathBuf>> {
        let key = self.trust.key(&self.from)?;
        export::artifact(&shipping::open(&self.from, &[key])?, folder)
    }
}
