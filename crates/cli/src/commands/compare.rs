//! `kitestring compare`: runs side by side.

use super::report::stored;
use crate::arguments::OutputArgs;
use clap::Args;
use kitestring_core::Result;
use kitestring_train::report::{compare, compare_text};
use kitestring_train::run::Run;
use serde_json::{Map, json};
use std::path::PathBuf;

/// Compare runs: metrics with intervals, learning curves, and the config keys in which they differ
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  kitestring compare runs/pool runs/din --out compared.html")]
pub struct Compare {
    /// Two or more run directories
    #[arg(required = true, num_args = 2.., value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Also write the comparison as one self-contained page
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

impl Compare {
    /// # Errors
    /// A directory that is no run, or a run that was not evaluated.
    pub fn execute(self) -> Result<()> {
        let reports = self.runs.iter().map(|run| stored(&Run::open(run)?)).collect::<Result<Vec<_>>>()?;
        self.output.text(&compare_text(&reports))?;
        if let Some(out) = &self.out {
            super::write_beside(out, compare(&reports).as_bytes())?;
            self.output.line(&format!("comparison: {}", out.display()))?;
        }
        if self.output.is_json() {
            let mut runs = Vec::new();
            for (run, report) in self.runs.iter().zip(&reports) {
                let mut metrics: Map<String, serde_json::Value> = Map::new();
                for metric in &report.metrics {
                    let split = metrics.entry(&metric.split).or_insert_with(|| json!({}));
                    let name =
                        metric.task.as_ref().map_or(metric.name.clone(), |task| format!("{task}.{}", metric.name));
                    split[name] = json!(metric.estimate);
                }
                runs.push(json!({ "run": run, "title": report.title, "metrics": metrics }));
            }
            self.output.object(&json!({ "runs": runs, "page": self.out }))?;
        }
        Ok(())
    }
}
