//! `f_t = Σ_k g_t[k](x) E_k(x)`, `g_t = softmax(W_t x)`, `y_t = tower_t(f_t)`: multi-gate mixture of experts (Ma et al. 2018).
//!
//! In training a gate's weight drops out with a probability and the others share it, so that no gate collapses onto few experts (Zhao et
//! al. 2019). With one gate for all tasks it is OMoE, the paper's baseline.

use super::{BodyInput, check_experts, towers};
use crate::graph::{Graph, Value};
use crate::ops::experts::ExpertLayers;
use crate::slots::Layers;
use kitestring_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// Experts that all tasks share, and how each weighs them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mmoe {
    /// How many experts.
    pub experts: usize,
    /// What each is made of.
    pub expert: ExpertLayers,
    /// The probability of dropping a gate's weight in training.
    pub gate_dropout: f32,
    /// The layers of each task.
    pub towers: Layers,
}

impl Default for Mmoe {
    fn default() -> Self {
        Self { experts: 8, expert: ExpertLayers::default(), gate_dropout: 0.1, towers: super::default_towers() }
    }
}

impl Mmoe {
    /// `gates` is one a task, or one for all.
    pub(super) fn forward(&self, graph: &mut Graph, input: &BodyInput<'_>, one_gate: bool) -> Result<Vec<Value>> {
        check_experts(self.experts, &self.expert, "model.body")?;
        if !(0.0..1.0).contains(&self.gate_dropout) {
            return Err(Error::config("`gate_dropout` must be in [0, 1)").in_field("model.body.gate_dropout"));
        }
        let tasks = input.inputs.tasks.len();
        let names = input.inputs.task_names.iter().take(if one_gate { 1 } else { tasks });
        let gates: Vec<Value> = names
            .map(|name| {
                let scope = if one_gate { "gate".to_owned() } else { format!("gate.{name}") };
                graph.scope(scope, |graph| {
                    let logits = graph.linear_without_bias(input.x, self.experts);
                    let gates = graph.softmax(logits);
                    graph.watch_gates(gates);
                    graph.gate_dropout(gates, self.gate_dropout)
                })
            })
            .collect();
        let all = graph.concat(&gates);
        let mixed = graph.experts(input.x, all, self.experts, &self.expert, self.experts);
        let width = graph.width(mixed) / gates.len();
        let of_task = |task: usize| if one_gate { 0 } else { task * width };
        let of_tasks = (0..tasks).map(|task| graph.slice(mixed, of_task(task), width)).collect();
        towers(graph, &self.towers, of_tasks, input)
    }
}
