//! `f_t = Σ_k g_t[k](x) E_k(x)`, `g_t = softmax(W_t x)`, `y_t = tower_t(f_t)`: multi-gate mixture of experts (Ma et al. 2018).
//!
//! In training a gate's weight drops out with a probability and the others share it, so that no gate collapses onto few experts (Zhao et
//! al. 2019). With one gate for all tasks it is OMoE, the paper's baseline.

use super::{BodyInput, check_experts, towers};
use crate::graph::{Graph, Value};
use crate::grow::Owner;
use crate::ops::experts::ExpertLayers;
use crate::slots::Layers;
use kitestring_core::{Error, Result};
use serde::Serialize;

/// Experts that all tasks share, and how each weighs them.
#[derive(Debug, Clone, PartialEq, Serialize)]
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

kitestring_core::fields!(Mmoe { experts, expert, gate_dropout, towers });

impl Default for Mmoe {
    fn default() -> Self {
        Self { experts: 8, expert: ExpertLayers::default(), gate_dropout: 0.1, towers: super::default_towers() }
    }
}

impl Mmoe {
    /// `gates` is one a task, or one for all.
    pub(super) fn forward(&self, graph: &mut Graph, input: &BodyInput<'_>, one_gate: bool) -> Result<Vec<Value>> {
        let tasks = input.inputs.tasks.len();
        let names = input.inputs.task_names.iter().enumerate().take(if one_gate { 1 } else { tasks });
        let gates = names.map(|(task, name)| (!one_gate).then(|| (Owner::task(task), name.clone())));
        let mixed = mixtures(graph, input.x, gates, self.experts, &self.expert, self.gate_dropout)?;
        let of_tasks = (0..tasks).map(|task| mixed[if one_gate { 0 } else { task }]).collect();
        towers(graph, &self.towers, of_tasks, input)
    }
}

/// A mixture of the same experts for each gate. `gates` says whose each is, where it is not everybody's.
pub(super) fn mixtures(
    graph: &mut Graph,
    x: Value,
    gates: impl Iterator<Item = Option<(Owner, String)>>,
    experts: usize,
    expert: &ExpertLayers,
    gate_dropout: f32,
) -> Result<Vec<Value>> {
    check_experts(experts, expert, "model.body")?;
    if !(0.0..1.0).contains(&gate_dropout) {
        return Err(Error::config("`gate_dropout` must be in [0, 1)").in_field("model.body.gate_dropout"));
    }
    let gates: Vec<Value> = gates
        .map(|owner| {
            let gate = |graph: &mut Graph| {
                let logits = graph.linear_without_bias(x, experts);
                let gates = graph.softmax(logits);
                graph.watch_gates(gates);
                graph.gate_dropout(gates, gate_dropout)
            };
            graph.scope("gate", |graph| match owner {
                Some((owner, name)) => graph.scope_of(owner, name, gate),
                None => gate(graph),
            })
        })
        .collect();
    let all = graph.concat(&gates);
    let mixed = graph.experts(x, all, experts, expert, experts);
    let width = graph.width(mixed) / gates.len();
    Ok((0..gates.len()).map(|gate| graph.slice(mixed, gate * width, width)).collect())
}
