//! `kitestring compare`: runs side by side.

use super::report::stored;
use crate::arguments::OutputArgs;
use clap::Args;
use kitestring_core::Result;
use kitestring_train::report::{Comparison, compare, compare_text};
use kitestring_train::run::Run;
use serde_json::{Map, json};
use std::path::PathBuf;

/// Compare runs: metrics with intervals, differences, learning curves, and the config keys in which they differ
///
/// Differences are to the first run, with paired intervals. Runs that differ in nothing but their seed are one column: their mean, with
/// Student's t over the seeds. Runs that were judged on different rows are refused.
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
    /// A directory that is no run, a run that was not evaluated, or runs that were judged on different rows.
    pub fn execute(self) -> Result<()> {
        let reports = self.runs.iter().map(|run| stored(&Run::open(run)?)).collect::<Result<Vec<_>>>()?;
        let names: Vec<String> = self.runs.iter().map(|run| run.display().to_string()).collect();
        let compared = Comparison::new(&reports, &names)?;
        self.output.text(&compare_text(&compared))?;
        if let Some(out) = &self.out {
            super::write_beside(out, compare(&compared).as_bytes())?;
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
            let mut told = compared.to_json();
            (told["runs"], told["page"]) = (json!(runs), json!(self.out));
            self.output.object(&told)?;
        }
        Ok(())
    }
}
