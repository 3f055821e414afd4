//! `z_t = Σ_j a_j(x) z_{j,t}`, `z_{j,t} = tower_{j,t}(f_j)`, `f_j = Σ_k g_j[k](x) E_k(x)` over scenarios j: hybrid of implicit and explicit
//! mixture of experts (Li et al. 2020).
//!
//! The experts are shared; each scenario of the innermost level has a gate, and a tower a task. `a = softmax(W h(x) + b)` says how much the
//! sample's scenario listens to each. A sample teaches the tower and gate of its own scenario only: the gradient of the others' terms stops
//! at `z_{j,t}`. A sample of a scenario that was not seen in training is nobody's own, so all terms are taught by it.
//!
//! The paper mixes predictions. Here logits are mixed, so that regressions, counts and every head apply as they are.

use super::{BodyInput, innermost_scenarios, mmoe::mixtures};
use crate::graph::{Graph, Value};
use crate::grow::{Of, Owner, Parts};
use crate::kernels::activation::Activation;
use crate::ops::experts::ExpertLayers;
use crate::ops::softmax::Heard;
use crate::slots::Layers;
use kitestring_core::Result;
use serde::Serialize;

/// Experts that all scenarios share, a gate and a tower a scenario, and how much each listens to the others.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hmoe {
    /// How many experts.
    pub experts: usize,
    /// What each is made of.
    pub expert: ExpertLayers,
    /// The probability of dropping a gate's weight in training.
    pub gate_dropout: f32,
    /// The layers of each scenario and task.
    pub towers: Layers,
    /// The hidden layers `h` of the net that weighs the scenarios.
    pub weights: Layers,
}

kitestring_core::fields!(Hmoe { experts, expert, gate_dropout, towers, weights });

impl Default for Hmoe {
    fn default() -> Self {
        Self {
            experts: 8,
            expert: ExpertLayers::default(),
            gate_dropout: 0.1,
            towers: super::default_towers(),
            weights: Layers { units: Vec::new(), ..Layers::default() },
        }
    }
}

impl Hmoe {
    /// The result is a logit a task.
    pub(super) fn forward(&self, graph: &mut Graph, input: &BodyInput<'_>) -> Result<Vec<Value>> {
        let (level, scenarios) = innermost_scenarios(input, "hmoe")?;
        self.towers.check("model.body.towers")?;
        self.weights.check("model.body.weights")?;
        let gates = (0..scenarios).map(|number| Some((Owner::scenario(level, number), (number + 1).to_string())));
        let of_scenarios = mixtures(graph, input.x, gates, self.experts, &self.expert, self.gate_dropout)?;
        let names = &input.inputs.task_names;
        let mut logits = Vec::with_capacity(scenarios * names.len());
        for (number, f) in of_scenarios.into_iter().enumerate() {
            for (task, name) in names.iter().enumerate() {
                let tower = |graph: &mut Graph| {
                    let h = self.towers.forward(graph, f);
                    graph.scope("logit", |graph| graph.linear(h, 1, Activation::None))
                };
                logits.push(graph.scope("tower", |graph| {
                    graph.scope_of(Owner::scenario(level, number), (number + 1).to_string(), |graph| {
                        graph.scope_of(Owner::task(task), name, tower)
                    })
                }));
            }
        }
        let weights = graph.scope("weights", |graph| {
            let h = self.weights.forward(graph, input.x);
            let of = Of::Scenario(level);
            let linear = |graph: &mut Graph| graph.linear(h, scenarios, Activation::None);
            let logits = graph.scope("logit", |graph| graph.columns_of(Parts::new(of, scenarios), linear));
            let heard = Heard { start: graph.hearing(of, scenarios), level: Some(level) };
            graph.softmax_of(logits, Some(heard))
        });
        let all = graph.concat(&logits);
        let mixed = graph.scenario_mix(weights, all, level);
        Ok((0..names.len()).map(|task| graph.slice(mixed, task, 1)).collect())
    }
}
