//! Arguments that several commands share.

use crate::shipping::public_file;
use clap::Args;
use kitestring_core::artifact::PublicKey;
use kitestring_core::{Error, Result};
use kitestring_retrieve::RetrieveConfig;
use kitestring_train::RunConfig;
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
    /// Go on with the run in --out that was killed
    #[arg(long, requires = "out")]
    pub resume: bool,
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

/// How results are told.
#[derive(Debug, Args)]
pub struct Telling {
    /// End with one line of JSON
    #[arg(long)]
    pub json: bool,
}
