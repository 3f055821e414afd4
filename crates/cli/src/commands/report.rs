//! `kitestring report`: draws a run's report again.

use crate::arguments::OutputArgs;
use crate::retriever::RETRIEVER;
use crate::stages;
use clap::Args;
use kitestring_core::{Error, Kind, Result};
use kitestring_train::report;
use kitestring_train::run::{Run, RunLock};
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;

/// Draw a run's report again from what its evaluation stored
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  kitestring report runs/din --out din.html")]
pub struct Report {
    /// The run directory
    run: PathBuf,
    /// The file to write; where the run has its report when absent
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

impl Report {
    /// # Errors
    /// A directory that is no evaluated run; what the disk says.
    pub fn execute(self) -> Result<()> {
        // The page of a report is not put beside another one.
        let _lock = self.out.is_none().then(|| RunLock::open(&self.run, Duration::ZERO)).transpose()?;
        let mut run = Run::open(&self.run)?;
        let page = report::html(&stored(&run)?);
        run.release();
        let out = self.out.unwrap_or_else(|| place(&run).with_file_name(stages::REPORT));
        super::write_beside(&out, page.as_bytes())?;
        self.output.line(&format!("report: {}", out.display()))?;
        self.output.object(&json!({ "run": self.run, "report": out }))
    }
}

/// Where a run's report is stored: that of its ranker, or, where it has a retriever alone, that.
fn place(run: &Run) -> PathBuf {
    let (ranker, retriever) =
        (run.directory().join(stages::STORED), run.directory().join(RETRIEVER).join(stages::STORED));
    if !ranker.exists() && retriever.exists() { retriever } else { ranker }
}

/// The report that a run's evaluation stored, or the training of its retriever where it has nothing else.
///
/// # Errors
/// A run that was not evaluated, or a report of another format.
pub fn stored(run: &Run) -> Result<report::Report> {
    let path = place(run);
    let text = std::fs::read_to_string(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::new(Kind::Io, "the run was not evaluated")
            .in_file(run.directory().display().to_string())
            .mend(format!("do `kitestring evaluate {}`", run.directory().display())),
        _ => Error::io(error, "could not read the report", &path),
    })?;
    report::Report::from_json(&text)
        .map_err(|error| error.in_file(path.display().to_string()).mend("do `kitestring evaluate` with this version"))
}
