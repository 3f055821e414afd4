//! `kitestring run`: the whole loop.

use super::train::Learning;
use clap::Args;
use kitestring_core::Result;
use std::path::PathBuf;

/// Do everything: simulate or read data, prepare, train, evaluate, write a report
///
/// Without a config: a simulated marketplace, a two-task DIN ranker with an ESMM head, held against the simulator's truth.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kitestring run
  kitestring run configs/movielens-1m.toml --data ml-1m --out runs/din --set train.epochs=3")]
pub struct Run {
    /// The config; the built-in simulated marketplace when absent
    config: Option<PathBuf>,
    #[command(flatten)]
    learning: Learning,
}

impl Run {
    /// # Errors
    /// What is wrong with the config, the data or the disk; a loss that is not finite.
    pub fn execute(self) -> Result<()> {
        self.learning.execute(self.config.as_deref(), true)
    }
}
