//! `kitestring simulate`: logs of a marketplace whose truth is known.

use crate::arguments::{OutputArgs, Settings};
use crate::output::columns;
use clap::Args;
use kitestring_core::{Error, Result};
use kitestring_data::simulator;
use serde_json::json;
use std::path::PathBuf;
use std::time::Instant;

/// Simulate a marketplace: its logs, and the truth beside them
///
/// The [simulator] section of the config says what the marketplace is made of; every key has a default. docs/simulator.md describes
/// the files and every column.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  kitestring simulate --out shop --set simulator.events=20000000 --seed 7")]
pub struct Simulate {
    /// A config with a [simulator] section; the built-in one when absent
    config: Option<PathBuf>,
    /// The folder to write
    #[arg(long, value_name = "FOLDER", default_value = "simulated")]
    out: PathBuf,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    output: OutputArgs,
}

impl Simulate {
    /// # Errors
    /// A wrong config, a folder that holds something else, a full disk.
    pub fn execute(self) -> Result<()> {
        let start = Instant::now();
        let config = self.settings.read(self.config.as_deref())?;
        let config = config.simulator.ok_or_else(|| {
            Error::config("the config has no [simulator] section")
                .mend("add one, or leave the config out for the built-in one")
        })?;
        let mut progress = self.output.progress()?;
        let summary = simulator::write(&config, &self.out, &mut |done| progress.simulating(done, config.events))?;
        drop(progress);
        let seconds = start.elapsed().as_secs_f64();
        let number = |name: &str, value: u64| vec![name.to_owned(), value.to_string()];
        self.output.text(&columns(&[
            vec!["folder".into(), self.out.display().to_string()],
            number("impressions", summary.impressions),
            number("sessions", summary.sessions),
            number("users", summary.users),
            number("clicks", summary.clicks),
            number("conversions", summary.conversions),
            number("occasions", summary.occasions),
            vec!["days".into(), format!("{:.1}", summary.days)],
            vec!["MiB".into(), format!("{:.1}", summary.bytes as f64 / f64::from(1 << 20))],
            vec!["seconds".into(), format!("{seconds:.1}")],
        ]))?;
        let rate = summary.impressions as f64 / seconds;
        self.output
            .object(&json!({ "folder": self.out, "summary": summary, "seconds": seconds, "events_per_second": rate }))
    }
}
