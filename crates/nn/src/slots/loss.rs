//! Loss: how the tasks' losses become one.
//!
//! A head hands over each task's loss, one number a sample, and says what it is; the slot decides what is minimized.

use crate::graph::{Graph, Value};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `Σ_t weight_t · loss_t`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fixed {
    /// The weight of a task's loss, by name; 1 where absent.
    pub weights: BTreeMap<String, f32>,
}

/// `Σ_t e^{−s_t} L_t + ½ s_t` with a learned `s_t = ln σ_t²` for each task, zero at first: a task that is noisy for every sample counts for
/// less. `L` is half the squared error (`½ e^{−s} (z − y)² + ½ s` is the likelihood of a normal distribution with variance `e^s`), the
/// cross-entropy (of a softmax at temperature `e^s`, approximately), or half of Poisson's deviance (a quasi-likelihood with dispersion
/// `e^s`). [`task_weight`](crate::ops::task_weight) has the details.
///
/// Two curves are reported for a task: under its name the loss without `s`, as the fixed weights report it, and under `NAME.weighted` what
/// is minimized, which may be negative.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Uncertainty {}

super::slot! {
    /// How the tasks' losses become one.
    TaskLoss "loss" default Fixed {
        Fixed(Fixed) = "fixed", "A weighted sum", "";
        Uncertainty(Uncertainty) = "uncertainty", "Weights learned as each task's own noise", "Kendall, Gal and Cipolla 2018";
    }
}

/// What a task's loss is, for a slot that scales it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossOf {
    /// Half a squared error or a cross-entropy: never negative.
    Error,
    /// Poisson's `e^z − y z`, which is negative for good predictions of large counts.
    Poisson,
    /// It has a learned scale of its own already: a second one would be the first one again.
    Scaled,
}

impl TaskLoss {
    /// Records what is minimized for a task, given its loss of one number a sample. `name` and `task` are the task's name and number.
    pub fn minimize(&self, graph: &mut Graph, (name, task): (&str, usize), value: Value, of: LossOf) {
        match self {
            Self::Fixed(fixed) => {
                let weight = fixed.weights.get(name).copied().unwrap_or(1.0);
                graph.minimize(name, value, Some(task), weight);
            }
            Self::Uncertainty(_) if of == LossOf::Scaled => graph.minimize(name, value, Some(task), 1.0),
            Self::Uncertainty(_) => {
                graph.minimize(name, value, Some(task), 0.0);
                let scope = format!("loss.{name}");
                let weighted = graph.scope(scope, |graph| graph.task_weight(value, task, of == LossOf::Poisson));
                graph.minimize(format!("{name}.weighted"), weighted, Some(task), 1.0);
            }
        }
    }
}
