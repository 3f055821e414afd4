//! How training went: what a fit notes down while it runs, what a run stores, and what the report draws.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How training went.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct History {
    /// The training loss along the way, ascending. A fit that makes many steps may note one entry for several.
    pub steps: Vec<StepLoss>,
    /// What was measured at the end of each epoch.
    pub epochs: Vec<Epoch>,
    /// The epoch, counted from 1, whose model was kept; none where the last one's was kept without a comparison.
    pub best_epoch: Option<u32>,
    /// The validation metric that epochs were compared by; none where none was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// Why training ended before its last epoch, in a clause such as "no better for 2 epochs".
    pub stopped: Option<String>,
}

/// The training loss at one place.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepLoss {
    /// Epochs done, with the fraction of the one in progress.
    pub epoch: f64,
    /// The mean loss of each of the graph's losses, in their order, over the samples since the entry before.
    pub losses: Vec<f64>,
    /// What each task's loss counts for here, in the order of the tasks; empty where nobody looked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub weights: Vec<f64>,
    /// The mean of each of a guide's losses, by name, over the steps since the entry before; empty where nobody guides.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub guided: BTreeMap<String, f64>,
}

/// What was measured at the end of an epoch.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Epoch {
    /// Its number, counted from 1.
    pub epoch: u32,
    /// Validation metrics by name, as `evaluate::quick` gives them; empty without a validation split.
    pub metrics: BTreeMap<String, f64>,
    /// The learning rate of its last step.
    pub learning_rate: f32,
    /// Seconds of training, without the validation.
    pub seconds: f64,
    /// Samples trained on.
    pub samples: u64,
}
