//! What a run of a sweep came to: a file in its folder, written last, so that where it is the run is finished.

use crate::evaluate::Evaluation;
use crate::model::Model;
use crate::report::null;
use crate::run::Run;
use kitestring_core::metrics::Bootstrap;
use kitestring_core::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The format number of outcomes. Those of format 1 do not say how many users their replicates drew.
const FORMAT: u32 = 2;
/// Where an outcome lies in a run directory.
pub const OUTCOME: &str = "outcome.json";

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    format: u32,
    /// Every metric of each split, in the order in which they were judged.
    pub splits: Vec<(String, BTreeMap<String, Measured>)>,
    /// Numbers in the network.
    pub network: u64,
    /// Numbers in rows of tables.
    pub rows: u64,
    /// Seconds of training.
    pub seconds: f64,
    /// Samples trained on a second, beside whatever else ran.
    pub samples_per_second: f64,
}

/// A metric with its replicates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Its value.
    #[serde(deserialize_with = "null::nan")]
    pub point: f64,
    /// Its replicates, if it has some.
    #[serde(default, deserialize_with = "null::nan", skip_serializing_if = "Vec::is_empty")]
    pub replicates: Vec<f64>,
    /// How many users, or rows, a replicate drew.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub units: usize,
}

fn is_zero(units: &usize) -> bool {
    *units == 0
}

impl Measured {
    /// For the arithmetic of replicates.
    pub fn bootstrap(&self) -> Bootstrap {
        Bootstrap { point: self.point, replicates: self.replicates.clone(), units: self.units }
    }
}

impl Outcome {
    /// What was measured of a model that trained so many seconds and samples a second. All evaluations have their replicates from one seed.
    pub fn new(evaluations: &[Evaluation], model: &Model, seconds: f64, samples_per_second: f64) -> Self {
        let measured = |evaluation: &Evaluation| {
            let plain = evaluation.metrics.iter().map(|(name, value)| (name, *value, None));
            let resampled = evaluation.replicates.iter().map(|(name, found)| (name, found.point, Some(found)));
            let metrics = plain.chain(resampled).map(|(name, point, found)| {
                let (replicates, units) =
                    found.map(|found| (found.replicates.clone(), found.units)).unwrap_or_default();
                (name.clone(), Measured { point, replicates, units })
            });
            (evaluation.split.clone(), metrics.collect())
        };
        let (network, rows) = model.parameters();
        let splits = evaluations.iter().map(measured).collect();
        Self { format: FORMAT, splits, network, rows, seconds, samples_per_second }
    }

    /// Writes it into its run.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&self, run: &Run) -> Result<()> {
        let text = serde_json::to_vec(self).map_err(|error| Error::internal("the outcome as JSON").caused_by(error))?;
        run.write(OUTCOME, &text)
    }

    /// Reads a run's; none where the run has not finished.
    ///
    /// # Errors
    /// A damaged file or another format number.
    pub fn read(run: &Run) -> Result<Option<Self>> {
        let path = run.directory().join(OUTCOME);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io(error, "could not read the outcome", &path)),
        };
        let mend = "remove the file, and the sweep judges that run again";
        let damaged = |error: serde_json::Error| {
            Error::format("a damaged outcome").caused_by(error).in_file(path.display().to_string()).mend(mend)
        };
        let outcome: Self = serde_json::from_slice(&text).map_err(damaged)?;
        if outcome.format != FORMAT {
            return Err(Error::format(format!("outcome format {}, expected {FORMAT}", outcome.format))
                .in_file(path.display().to_string())
                .mend(mend));
        }
        Ok(Some(outcome))
    }

    /// A metric of a split.
    pub fn metric(&self, split: &str, name: &str) -> Option<&Measured> {
        self.splits.iter().find(|(of, _)| of == split)?.1.get(name)
    }
}
