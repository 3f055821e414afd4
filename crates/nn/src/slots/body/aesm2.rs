//! AESM²: automatic expert selection for many scenarios and many tasks (Zou et al. 2022).
//!
//! Layer by layer, a gate `G = BN(W [z ; s])` gives the relevance of each expert for each scenario of a level (then for each task), from
//! which [`select_experts`](crate::ops::select_experts) picks the active one's specific experts and those shared by all; only these are
//! computed. Scenario levels come first, the outermost first, then the tasks, whose layers share experts and gates between tasks.
//! Two auxiliary losses pull the selected specific experts towards one scenario and the shared ones towards all.
//!
//! Two departures from the reference. Its task embedding enters a gate as a constant, which the batch norm behind it takes away again, so
//! there is none here. Its experts have a batch norm over samples that did not choose them, because it computes every expert for every
//! sample; ours have none.

use super::{BodyInput, check_experts, towers};
use crate::graph::{Graph, Value};
use crate::grow::{Of, Parts};
use crate::kernels::activation::Activation;
use crate::ops::experts::ExpertLayers;
use crate::ops::select_experts::{Active, SelectExperts};
use crate::slots::Layers;
use kitestring_core::{Error, Result};
use serde::Serialize;

/// One kind of select layers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SelectLayers {
    /// How many layers on top of each other: at each scenario level, or for the tasks.
    pub layers: usize,
    /// Experts of a layer.
    pub experts: usize,
    /// What each is made of.
    pub expert: ExpertLayers,
    /// Specific experts selected.
    pub specific: usize,
    /// Shared experts selected.
    pub shared: usize,
}

kitestring_core::fields!(SelectLayers { layers, experts, expert, specific, shared });

impl Default for SelectLayers {
    fn default() -> Self {
        Self { layers: 2, experts: 10, expert: ExpertLayers::default(), specific: 2, shared: 2 }
    }
}

/// Selected experts for scenarios, then for tasks.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Aesm2 {
    /// The layers of each scenario level.
    pub scenarios: SelectLayers,
    /// The layers of tasks.
    pub tasks: SelectLayers,
    /// ν: the noise on the relevance that steers selection in training is normal with deviation ν times the number of experts.
    pub noise: f32,
    /// Steps after which ν has halved, again and again; 0 for never.
    pub noise_half_life: f32,
    /// The weight of the loss that pulls specific experts towards their scenario.
    pub specific_weight: f32,
    /// The weight of the loss that pulls shared experts towards all scenarios.
    pub shared_weight: f32,
    /// Normalize the gates over the batch.
    pub gate_batch_norm: bool,
    /// The layers of each task behind its select layers.
    pub towers: Layers,
}

kitestring_core::fields!(Aesm2 {
    scenarios,
    tasks,
    noise,
    noise_half_life,
    specific_weight,
    shared_weight,
    gate_batch_norm,
    towers
});

impl Default for Aesm2 {
    fn default() -> Self {
        let expert = ExpertLayers { units: vec![32], ..ExpertLayers::default() };
        Self {
            scenarios: SelectLayers::default(),
            tasks: SelectLayers { layers: 2, experts: 3, expert, specific: 1, shared: 1 },
            noise: 0.1,
            noise_half_life: 0.0,
            specific_weight: 1e-3,
            shared_weight: 1e-4,
            gate_batch_norm: true,
            towers: Layers { units: Vec::new(), ..Layers::default() },
        }
    }
}

/// The losses of all selections so far.
#[derive(Default)]
struct Auxiliary([Option<Value>; 2]);

impl Auxiliary {
    fn add(&mut self, graph: &mut Graph, losses: [Value; 2]) {
        for (sum, loss) in self.0.iter_mut().zip(losses) {
            *sum = Some(sum.map_or(loss, |sum| graph.add(sum, loss)));
        }
    }
}

impl Aesm2 {
    pub(super) fn forward(&self, graph: &mut Graph, input: &BodyInput<'_>) -> Result<Vec<Value>> {
        for (layers, field) in [(&self.scenarios, "model.body.scenarios"), (&self.tasks, "model.body.tasks")] {
            check_experts(layers.experts, &layers.expert, field)?;
            if layers.specific + layers.shared == 0 || layers.specific.max(layers.shared) > layers.experts {
                return Err(Error::config(format!(
                    "{} specific and {} shared experts cannot be selected from {}",
                    layers.specific, layers.shared, layers.experts
                ))
                .in_field(format!("{field}.experts"))
                .mend("select at least one in all, and of each kind no more than there are"));
            }
        }
        if !(self.noise >= 0.0 && self.noise_half_life >= 0.0) {
            return Err(Error::config("noise cannot be negative").in_field("model.body.noise"));
        }
        let mut auxiliary = Auxiliary::default();
        let mut z = input.x;
        for (level, scenario) in input.inputs.scenarios.iter().enumerate() {
            for layer in 0..self.scenarios.layers {
                z = graph.scope(format!("{}.{layer}", scenario.name), |graph| {
                    let conditions = scenario.count.saturating_sub(1).max(1);
                    let context = &input.scenarios[..=level];
                    let parts = Parts::new(Of::Scenario(level), conditions);
                    let (gates, heard) = self.gates(graph, z, context, parts, self.scenarios.experts);
                    let select = self.select(&self.scenarios, parts, Active::Scenario(level), heard);
                    let (weights, losses) = graph.select_experts(gates, select);
                    graph.watch_gates(weights);
                    auxiliary.add(graph, losses);
                    experts(graph, z, weights, &self.scenarios)
                });
            }
        }
        let tasks = input.inputs.tasks.len();
        let mut of_tasks = vec![z; tasks];
        for layer in 0..self.tasks.layers {
            of_tasks = graph.scope(format!("task.{layer}"), |graph| {
                let parts = Parts::new(Of::Task, tasks);
                let (first, heard) = self.gates(graph, of_tasks[0], input.scenarios, parts, self.tasks.experts);
                let mut weights = Vec::with_capacity(tasks);
                for (task, z) in of_tasks.iter().enumerate() {
                    // The tasks share one gate; from the second layer on they have inputs of their own.
                    let gates = if layer == 0 || task == 0 { first } else { graph.again(first, &[(of_tasks[0], *z)]) };
                    let select = self.select(&self.tasks, parts, Active::Always(task), heard);
                    let (weight, losses) = graph.select_experts(gates, select);
                    graph.scope(&input.inputs.task_names[task], |graph| graph.watch_gates(weight));
                    auxiliary.add(graph, losses);
                    weights.push(weight);
                }
                if layer == 0 {
                    // All read the same: an expert is computed once for all tasks that selected it.
                    let all = graph.concat(&weights);
                    let mixed = experts(graph, of_tasks[0], all, &self.tasks);
                    let width = graph.width(mixed) / tasks;
                    return (0..tasks).map(|task| graph.slice(mixed, task * width, width)).collect();
                }
                let first = experts(graph, of_tasks[0], weights[0], &self.tasks);
                let replaced = |task: usize| [(of_tasks[0], of_tasks[task]), (weights[0], weights[task])];
                let others = (1..tasks).map(|task| graph.again(first, &replaced(task)));
                std::iter::once(first).chain(others.collect::<Vec<_>>()).collect()
            });
        }
        let [specific, shared] = auxiliary.0;
        for (name, loss, weight) in
            [("specific experts", specific, self.specific_weight), ("shared experts", shared, self.shared_weight)]
        {
            if let Some(loss) = loss.filter(|_| weight > 0.0) {
                graph.minimize(name, loss, None, weight);
            }
        }
        towers(graph, &self.towers, of_tasks, input)
    }

    /// The relevance of so many experts for each condition, and where the states say which conditions hear each other.
    fn gates(
        &self,
        graph: &mut Graph,
        z: Value,
        context: &[Value],
        conditions: Parts,
        experts: usize,
    ) -> (Value, usize) {
        graph.scope("gate", |graph| {
            let mut parts = vec![z];
            parts.extend(context);
            let all = graph.concat(&parts);
            let gates = graph.columns_of(conditions, |graph| {
                let gates = graph.linear(all, conditions.count * experts, Activation::None);
                if self.gate_batch_norm { graph.batch_norm(gates, true, Activation::None, 1e-5) } else { gates }
            });
            (gates, graph.hearing(conditions.of, conditions.count))
        })
    }

    fn select(&self, layers: &SelectLayers, conditions: Parts, active: Active, heard: usize) -> SelectExperts {
        SelectExperts {
            conditions: conditions.count,
            experts: layers.experts,
            specific: layers.specific,
            shared: layers.shared,
            noise: self.noise,
            noise_half_life: self.noise_half_life,
            active,
            heard,
            number: 0,
        }
    }
}

fn experts(graph: &mut Graph, z: Value, weights: Value, layers: &SelectLayers) -> Value {
    graph.experts(z, weights, layers.experts, &layers.expert, layers.specific + layers.shared)
}
