//! Arguments that several commands share.

use crate::output::{say, say_line};
use crate::progress::{Progress, Verbosity};
use crate::shipping::public_file;
use clap::Args;
use kitestring_core::artifact::PublicKey;
use kitestring_core::{Error, Result};
use kitestring_retrieve::RetrieveConfig;
use kitestring_train::RunConfig;
use kitestring_train::run::Existing;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// The config that `run` and `simulate` use where none is given.
const SIMULATED: &str = include_str!("../../../configs/simulated.toml");

/// What changes a config from the command line.
#[derive(Debug, Args)]
pub struct Settings {
    /// Override a key of the config; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// The seed that decides everything: splits, drawn negatives, first weights, order of samples, the simulator
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    seed: Option<u64>,
}

impl Settings {
    /// Reads a config, the simulated marketplace's where none is given, and applies the overrides.
    ///
    /// # Errors
    /// A config error with file, line and key.
    pub fn read(&self, path: Option<&Path>) -> Result<RunConfig> {
        let mut config = match path {
            Some(path) => {
                let resolved = RetrieveConfig::resolve(RunConfig::read_as_written(path)?);
                resolved.map_err(|error| error.in_file(path.display().to_string()))?
            }
            None => {
                let mut config = RunConfig::parse_as_written(SIMULATED, "the built-in config")?;
                config.name.get_or_insert_with(|| "simulated".into());
                config
            }
        };
        config = RetrieveConfig::overridden(config, &self.set)?;
        if let Some(seed) = self.seed {
            config.seed = seed;
            if let Some(simulator) = &mut config.simulator {
                simulator.seed = seed;
            }
        }
        Ok(config)
    }
}

/// What a run learns from, and where it goes.
#[derive(Debug, Args)]
pub struct Place {
    /// A prepared data set, or raw data (a folder or a file), which is prepared within the run
    #[arg(long, value_name = "PATH")]
    pub data: Option<PathBuf>,
    /// The run directory to write; runs/TIME when absent
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// Go on with the run in --out: one that was killed, or a finished one with more epochs
    #[arg(long, requires = "out")]
    pub resume: bool,
    /// Put the new run in the place of the one in --out. That one stays what it is until the new one has finished, and then goes with its
    /// report, its artifact and its retriever
    #[arg(long, requires = "out", conflicts_with = "resume")]
    pub overwrite: bool,
}

impl Place {
    /// What becomes of a run that is there already.
    pub fn existing(&self) -> Existing {
        match (self.resume, self.overwrite) {
            (true, _) => Existing::Resume,
            (_, true) => Existing::Overwrite,
            _ => Existing::Refuse,
        }
    }
}

/// Where a run's data set is.
#[derive(Debug, Args)]
pub struct DatasetPlace {
    /// Where the data set that the run was trained on is now, where it is not found
    #[arg(long, value_name = "FOLDER")]
    dataset: Option<PathBuf>,
}

impl DatasetPlace {
    /// The place, where it is given.
    pub fn given(&self) -> Option<&Path> {
        self.dataset.as_deref()
    }
}

/// How malformed rows are met.
#[derive(Debug, Args)]
pub struct BadRows {
    /// Drop and count up to this many malformed rows instead of stopping at the first
    #[arg(long, value_name = "N")]
    max_bad_rows: Option<u64>,
}

impl BadRows {
    /// How many malformed rows may be dropped.
    pub fn allowed(&self, config: &RunConfig) -> u64 {
        self.max_bad_rows.unwrap_or(config.data.max_bad_rows)
    }
}

/// Whom to trust.
#[derive(Debug, Args)]
pub struct Trust {
    /// The publisher's public key, for an artifact; the file beside it with the ending .pub when absent
    #[arg(long, value_name = "FILE")]
    trust: Option<PathBuf>,
}

impl Trust {
    /// The key that an artifact must be signed with.
    ///
    /// # Errors
    /// No such file, or one that is no key.
    pub fn key(&self, artifact: &Path) -> Result<PublicKey> {
        let path = self.trust.clone().unwrap_or_else(|| public_file(artifact));
        let text = std::fs::read_to_string(&path).map_err(|error| {
            Error::io(error, "could not read whom to trust", &path).mend("name the publisher's public key with --trust")
        })?;
        PublicKey::from_hex(&text, &path.display().to_string())
    }
}

/// How results and progress are written.
#[derive(Debug, Args)]
pub struct OutputArgs {
    /// Write one JSON object to standard output and nothing else
    #[arg(long)]
    json: bool,
    /// Write no progress to standard error; notes and errors stay
    #[arg(long, short)]
    quiet: bool,
}

impl OutputArgs {
    /// Whether the results are one JSON object.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Writes results for a reader; nothing with `--json`.
    ///
    /// # Errors
    /// What the system says.
    pub fn text(&self, text: &str) -> Result<()> {
        if self.json { Ok(()) } else { say(text) }
    }

    /// Writes a line for a reader; nothing with `--json`.
    ///
    /// # Errors
    /// What the system says.
    pub fn line(&self, text: &str) -> Result<()> {
        if self.json { Ok(()) } else { say_line(text) }
    }

    /// Writes the results as one JSON object where `--json` asks for it. It holds what [`Self::text`] shows, under the same names.
    ///
    /// # Errors
    /// What the system says; a number that is not finite.
    pub fn object(&self, results: &impl Serialize) -> Result<()> {
        if !self.json {
            return Ok(());
        }
        let text = serde_json::to_string(results);
        say_line(&text.map_err(|error| Error::internal("the results cannot be written as JSON").caused_by(error))?)
    }

    /// How progress is shown.
    pub fn verbosity(&self) -> Verbosity {
        if self.quiet { Verbosity::Quiet } else { Verbosity::Normal }
    }

    /// Progress of the command.
    ///
    /// # Errors
    /// As [`Progress::new`].
    pub fn progress(&self) -> Result<Progress> {
        Progress::new(self.verbosity())
    }
}
