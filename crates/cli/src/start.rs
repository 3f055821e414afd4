//! Where a run starts, when it does not start from nothing.

use clap::Args;
use kitestring_core::{Error, Result};
use kitestring_data::dataset::{Dataset, Vocabularies};
use kitestring_train::grow::{self, Grown, Nearest};
use kitestring_train::run::Run;
use kitestring_train::{Model, RunConfig};
use std::path::{Path, PathBuf};

/// What says where a run starts.
#[derive(Debug, Args)]
pub struct Starting {
    /// Start from the model of this run, with what the config has more of tasks and the data of scenarios and ids; its old predictions
    /// stay as they are until an epoch is trained
    #[arg(long, value_name = "RUN")]
    from: Option<PathBuf>,
    /// The scenario a new one starts as, values joined by `/`; may be repeated. The largest of the same parent when absent
    #[arg(long, value_name = "NEW=OLD", requires = "from")]
    nearest: Vec<String>,
    /// The task a new one starts as; may be repeated. The one it comes after, else the first of its kind, when absent
    #[arg(long, value_name = "NEW=OLD", requires = "from")]
    nearest_task: Vec<String>,
}

/// A run to start from.
pub struct Start {
    /// Where it is.
    pub directory: PathBuf,
    /// What turns raw rows into its ids.
    pub vocabularies: Vocabularies,
    model: Model,
    nearest: Nearest,
}

impl Starting {
    /// Opens the run to start from, where one is given, and checks that it fits the config.
    ///
    /// # Errors
    /// A directory that is no finished run, or is the one to write; a schema or model that is not that run's.
    pub fn open(self, config: &RunConfig, out: Option<&Path>) -> Result<Option<Start>> {
        let Some(from) = self.from else { return Ok(None) };
        let run = Run::open(&from)?;
        let place = |path: &Path| path.canonicalize().ok();
        if out.is_some_and(|out| place(out).is_some() && place(out) == place(&from)) {
            return Err(Error::config("a run cannot start from itself")
                .in_field("--from")
                .mend("give --out another directory"));
        }
        let model = run.model()?;
        grow::check(&model, config)?;
        let vocabularies = run.vocabularies()?;
        let nearest = Nearest { scenarios: self.nearest, tasks: self.nearest_task };
        Ok(Some(Start { directory: from, vocabularies, model, nearest }))
    }
}

impl Start {
    /// The model for a data set.
    ///
    /// # Errors
    /// A data set with other ids, a nearest one there is not.
    pub fn grow(&self, config: &RunConfig, dataset: &Dataset) -> Result<Grown> {
        grow::grow(&self.model, &self.vocabularies, (config, dataset), &self.nearest)
    }
}

/// The vocabularies of a run.
///
/// # Errors
/// A directory that is no run, or a damaged file.
pub fn vocabularies(run: &Path) -> Result<Vocabularies> {
    Run::open(run)?.vocabularies()
}
