//! Loss: how the tasks' losses become one.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `Σ_t weight_t · loss_t`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fixed {
    /// The weight of a task's loss, by name; 1 where absent.
    pub weights: BTreeMap<String, f32>,
}

super::slot! {
    /// How the tasks' losses become one.
    TaskLoss "loss" default Fixed {
        Fixed(Fixed) = "fixed", "A weighted sum", "";
    }
}

impl TaskLoss {
    /// The weight of a task's loss.
    pub fn weight(&self, task: &str) -> f32 {
        match self {
            Self::Fixed(fixed) => fixed.weights.get(task).copied().unwrap_or(1.0),
        }
    }
}
