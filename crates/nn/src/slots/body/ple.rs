//! Progressive layered extraction (Tang et al. 2020): experts of each task beside shared ones, several levels deep.
//!
//! At a level the gate of task k weighs its own experts and the shared ones, `f_k = Σ softmax(W_k z_k) [E_k(z_k) ; E_s(z_s)]`. At all
//! levels but the last a shared gate weighs the experts of all tasks and the shared ones for the next level's shared path. Level one
//! reads `x` on all paths. Gates have neither bias nor activation. One level is CGC; without experts of tasks it is MMoE.

use super::{BodyInput, check_experts, towers};
use crate::graph::{Graph, Value};
use crate::grow::{Of, Owner, Parts};
use crate::ops::experts::ExpertLayers;
use crate::ops::softmax::Heard;
use crate::slots::Layers;
use kitestring_core::{Error, Result};
use serde::Serialize;

/// Experts of tasks, and shared ones.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ple {
    /// How many levels of experts.
    pub levels: usize,
    /// Experts that all tasks share, at each level.
    pub shared_experts: usize,
    /// Experts of each task, at each level.
    pub task_experts: usize,
    /// What each is made of.
    pub expert: ExpertLayers,
    /// The layers of each task behind the last level.
    pub towers: Layers,
}

kitestring_core::fields!(Ple { levels, shared_experts, task_experts, expert, towers });

impl Default for Ple {
    fn default() -> Self {
        Self {
            levels: 2,
            shared_experts: 4,
            task_experts: 2,
            expert: ExpertLayers::default(),
            towers: super::default_towers(),
        }
    }
}

impl Ple {
    pub(super) fn forward(&self, graph: &mut Graph, input: &BodyInput<'_>) -> Result<Vec<Value>> {
        check_experts(self.shared_experts + self.task_experts, &self.expert, "model.body")?;
        if self.levels == 0 {
            return Err(Error::config("there must be at least one level").in_field("model.body.levels"));
        }
        let mut paths = Paths { shared: input.x, tasks: vec![input.x; input.inputs.tasks.len()] };
        for level in 0..self.levels {
            let last = level + 1 == self.levels;
            paths = graph.scope(format!("level.{level}"), |graph| self.level(graph, &paths, input, last));
        }
        towers(graph, &self.towers, paths.tasks, input)
    }

    fn level(&self, graph: &mut Graph, paths: &Paths, input: &BodyInput<'_>, last: bool) -> Paths {
        let (own, shared) = (self.task_experts, self.shared_experts);
        let tasks = paths.tasks.len();
        let names = &input.inputs.task_names;
        let gate = |graph: &mut Graph, k: usize| {
            graph.scope("gate", |graph| {
                graph.scope_of(Owner::task(k), &names[k], |graph| {
                    let logits = graph.linear_without_bias(paths.tasks[k], own + shared);
                    let gates = graph.softmax(logits);
                    graph.watch_gates(gates);
                    gates
                })
            })
        };
        let gates: Vec<Value> = (0..tasks).map(|k| gate(graph, k)).collect();
        let onward = (!last).then(|| {
            graph.scope("gate.shared", |graph| {
                let (experts, parts) = (tasks * own + shared, Parts::new(Of::Task, tasks).and(shared));
                let linear = |graph: &mut Graph| graph.linear_without_bias(paths.shared, experts);
                let logits = graph.columns_of(parts, linear);
                let start = graph.columns_of(parts.speaking(), |graph| graph.state("hears", [1, experts], 1.0));
                let gates = graph.softmax_of(logits, Some(Heard { start, level: None }));
                graph.watch_gates(gates);
                gates
            })
        });

        // What each path gets from each group of experts.
        let mut of_tasks: Vec<Vec<Value>> = vec![Vec::new(); tasks];
        let mut of_shared = Vec::new();
        for k in (0..tasks).filter(|_| own > 0) {
            let mut weights = vec![graph.slice(gates[k], 0, own)];
            weights.extend(onward.map(|onward| graph.slice(onward, k * own, own)));
            let mix = |graph: &mut Graph| mix(graph, paths.tasks[k], &weights, own, &self.expert);
            let mixed = graph.scope_of(Owner::task(k), &names[k], mix);
            of_tasks[k].push(mixed[0]);
            of_shared.extend(mixed.get(1));
        }
        if shared > 0 {
            let mut weights: Vec<Value> = gates.iter().map(|gate| graph.slice(*gate, own, shared)).collect();
            weights.extend(onward.map(|onward| graph.slice(onward, tasks * own, shared)));
            let mix = |graph: &mut Graph| mix(graph, paths.shared, &weights, shared, &self.expert);
            let mixed = graph.scope("shared", mix);
            of_tasks.iter_mut().zip(&mixed).for_each(|(parts, mixed)| parts.push(*mixed));
            of_shared.extend(mixed.get(tasks));
        }
        let mut sum = |parts: Vec<Value>| parts.into_iter().reduce(|sum, part| graph.add(sum, part));
        let of_tasks = of_tasks.into_iter().zip(&paths.tasks).map(|(parts, before)| sum(parts).unwrap_or(*before));
        let of_tasks = of_tasks.collect();
        Paths { shared: sum(of_shared).unwrap_or(paths.shared), tasks: of_tasks }
    }
}

/// What each path carries from level to level.
struct Paths {
    shared: Value,
    tasks: Vec<Value>,
}

/// A group of experts, mixed once for each of `gates`.
fn mix(graph: &mut Graph, z: Value, gates: &[Value], count: usize, layers: &ExpertLayers) -> Vec<Value> {
    let all = graph.concat(gates);
    let mixed = graph.experts(z, all, count, layers, count);
    let width = graph.width(mixed) / gates.len();
    (0..gates.len()).map(|mixture| graph.slice(mixed, mixture * width, width)).collect()
}
