//! Loss: how the tasks' losses become one.
//!
//! A head hands over each task's loss, one number a sample, and says what it is; the slot decides what is minimized.
//!
//! A task's loss is the mean over its sample space: the samples that have its label and, with `spaces.TASK = "OTHER"`, a positive label of
//! another task (Tang et al. 2020): a conversion is learned on clicked samples only. Nothing is said of the others; ESMM is the
//! head that learns over all of them.

use super::ModelInputs;
use crate::graph::{Graph, Loss, Value};
use crate::grow::Owner;
use crate::ops::Op;
use kitestring_core::{Error, Result};
use serde::Serialize;
use std::collections::BTreeMap;

/// `Σ_t weight_t γ_t^n · loss_t` at step n, from 0 on (Tang et al. 2020).
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Fixed {
    /// The weight of a task's loss, by name; 1 where absent.
    pub weights: BTreeMap<String, f32>,
    /// The task whose positive samples a task is learned on, by name; all where absent.
    pub spaces: BTreeMap<String, String>,
    /// γ: what the weight of a task's loss is multiplied by at each step, in (0, 1], by name; 1 where absent.
    pub decay: BTreeMap<String, f64>,
}

kitestring_core::fields!(Fixed { weights, spaces, decay });

/// `Σ_t e^{−s_t} L_t + ½ s_t` with a learned `s_t = ln σ_t²` for each task, zero at first: a task that is noisy for every sample counts for
/// less. `L` is half the squared error (`½ e^{−s} (z − y)² + ½ s` is the likelihood of a normal distribution with variance `e^s`), the
/// cross-entropy (of a softmax at temperature `e^s`, approximately), or half of Poisson's deviance (a quasi-likelihood with dispersion
/// `e^s`). [`task_weight`](crate::ops::task_weight) has the details.
///
/// Two curves are reported for a task: under its name the loss without `s`, as the fixed weights report it, and under `NAME.weighted` what
/// is minimized, which may be negative.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Uncertainty {
    /// The task whose positive samples a task is learned on, by name; all where absent.
    pub spaces: BTreeMap<String, String>,
}

kitestring_core::fields!(Uncertainty { spaces });

super::slot! {
    /// How the tasks' losses become one.
    TaskLoss "loss" default Fixed {
        Fixed(Fixed) = "fixed", "A weighted sum, each task over its sample space, with weights that may decay", "Tang et al. 2020";
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
    /// Checks that it speaks of the tasks there are.
    ///
    /// # Errors
    /// A config error that names the key.
    pub fn check(&self, inputs: &ModelInputs) -> Result<()> {
        let known = |key: &str, name: &String| {
            if inputs.task_names.contains(name) {
                return Ok(());
            }
            let error = Error::config(format!("there is no task `{name}`")).in_field(format!("model.loss.{key}"));
            Err(error.suggest(name, inputs.task_names.iter().map(String::as_str)))
        };
        for (name, space) in self.spaces() {
            known("spaces", name)?;
            known("spaces", space)?;
            if name == space {
                return Err(Error::config(format!("`{name}` cannot be learned on its own positive samples alone"))
                    .in_field(format!("model.loss.spaces.{name}"))
                    .mend("name the task that comes before it, or leave the space out"));
            }
        }
        if let Self::Fixed(fixed) = self {
            fixed.weights.keys().try_for_each(|name| known("weights", name))?;
            for (name, decay) in &fixed.decay {
                known("decay", name)?;
                if !(*decay > 0.0 && *decay <= 1.0) {
                    return Err(Error::config("a factor must be in (0, 1]")
                        .in_field(format!("model.loss.decay.{name}"))
                        .mend("0.9999 halves the weight in 6931 steps"));
                }
            }
        }
        Ok(())
    }

    fn spaces(&self) -> &BTreeMap<String, String> {
        match self {
            Self::Fixed(fixed) => &fixed.spaces,
            Self::Uncertainty(uncertainty) => &uncertainty.spaces,
        }
    }

    /// The task whose positive samples a task is learned on, where it is not learned on all.
    pub fn space_of(&self, task: &str) -> Option<&str> {
        self.spaces().get(task).map(String::as_str)
    }

    /// Records what is minimized for a task, given its number and its loss of one number a sample. [`Self::check`] has passed.
    pub fn minimize(&self, graph: &mut Graph, inputs: &ModelInputs, task: usize, value: Value, of: LossOf) {
        let name = &inputs.task_names[task];
        let space = self.space_of(name).and_then(|space| inputs.task_names.iter().position(|other| other == space));
        let loss = Loss { name: name.clone(), value, task: Some(task), weight: 1.0, space, decay: 1.0 };
        match self {
            Self::Fixed(fixed) => {
                let weight = fixed.weights.get(name).copied().unwrap_or(1.0);
                let decay = fixed.decay.get(name).copied().unwrap_or(1.0);
                graph.add_loss(Loss { weight, decay, ..loss });
            }
            Self::Uncertainty(_) if of == LossOf::Scaled => graph.add_loss(loss),
            Self::Uncertainty(_) => {
                let weighted = |graph: &mut Graph| graph.task_weight(value, task, of == LossOf::Poisson);
                let value = graph.scope("loss", |graph| graph.scope_of(Owner::task(task), name, weighted));
                graph.add_loss(Loss { weight: 0.0, ..loss.clone() });
                graph.add_loss(Loss { name: format!("{name}.weighted"), value, ..loss });
            }
        }
    }
}

/// What the loss of each task is multiplied by after a number of steps, for a report: `ω γ^n` for fixed weights, `e^{−s}` for learned
/// ones, in the order of the tasks and by name. `weights` are the network's. A spread that a head learns for itself is not in it.
pub fn weights_of_tasks(graph: &Graph, weights: &[f32], steps: u64) -> Vec<(String, f64)> {
    let mut all: Vec<Option<(String, f64)>> = Vec::new();
    for loss in graph.losses() {
        let Some(task) = loss.task else { continue };
        let learned = graph.nodes().iter().find_map(|node| match &node.op {
            Op::TaskWeight(op) if node.output == loss.value => Some(op.precision(weights)),
            _ => None,
        });
        let weight = loss.weight_at(steps) * learned.map_or(1.0, f64::from);
        all.resize(all.len().max(task + 1), None);
        // A task may have a loss of weight zero that is only reported: it comes first and has the task's name.
        match &mut all[task] {
            Some((_, sum)) => *sum += weight,
            none => *none = Some((loss.name.clone(), weight)),
        }
    }
    all.into_iter().flatten().collect()
}
