//! `W*_p = W ⊙ W_p`, `b*_p = b + b_p` in every layer, for domain p: star topology adaptive recommender (Sheng et al. 2021).
//!
//! Domains are the scenarios of the innermost level; one that was not seen in training has the shared weights alone. The last layer, of the
//! star as the others, gives a logit a task. Before the first layer each domain is normalized by itself
//! ([`partitioned_norm`](crate::ops::partitioned_norm)). A small net beside it, which no domain has for itself, reads what is learned for the
//! scenario with the features, and its logits are added: `z = z_star + z_auxiliary`.
//!
//! The star reads the features without what is learned for the scenario: within a domain that is the same for every sample, so
//! normalization would leave nothing of it but its rounding error.

use super::{BodyInput, innermost_scenarios};
use crate::graph::{Graph, Value};
use crate::grow::{Of, Parts};
use crate::kernels::activation::Activation;
use crate::slots::Layers;
use kitestring_core::{Error, Result};
use serde::Serialize;

/// Layers with shared weights and a factor a domain.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Star {
    /// The layers of the star.
    pub layers: Layers,
    /// Normalize the samples of each domain by themselves. A domain with few samples in a batch has noisy moments there.
    pub partitioned_norm: bool,
    /// The net beside the star.
    pub auxiliary: Layers,
}

kitestring_core::fields!(Star { layers, partitioned_norm, auxiliary });

impl Default for Star {
    fn default() -> Self {
        Self { layers: Layers::default(), partitioned_norm: true, auxiliary: super::default_towers() }
    }
}

impl Star {
    /// The result is a logit a task.
    pub(super) fn forward(&self, graph: &mut Graph, input: &BodyInput<'_>) -> Result<Vec<Value>> {
        let (level, domains) = innermost_scenarios(input, "star")?;
        self.layers.check("model.body.layers")?;
        self.auxiliary.check("model.body.auxiliary")?;
        if input.scenarios.is_empty() {
            return Err(Error::config(
                "the auxiliary net of `star` reads what is learned for a scenario, and nothing is",
            )
            .in_field("model.scenario_dimension")
            .mend("set it to at least 1"));
        }
        let tasks = input.inputs.tasks.len();
        let star = |graph: &mut Graph, x: Value, outputs: usize, activation: Activation| {
            graph.star_linear(x, outputs, activation, level, domains)
        };
        let of_scenarios: usize = input.scenarios.iter().map(|scenario| graph.width(*scenario)).sum();
        let mut x = graph.slice(input.x, 0, graph.width(input.x) - of_scenarios);
        if self.partitioned_norm {
            x = graph.scope("norm", |graph| graph.partitioned_norm(x, level, domains));
        }
        let units = 0..self.layers.units.len();
        let h = units.fold(x, |x, number| self.layers.layer(graph, x, number, star));
        let of_tasks = Parts::new(Of::Task, tasks);
        let main =
            graph.scope("logit", |graph| graph.columns_of(of_tasks, |graph| star(graph, h, tasks, Activation::None)));
        let auxiliary = graph.scope("auxiliary", |graph| {
            let h = self.auxiliary.forward(graph, input.x);
            let linear = |graph: &mut Graph| graph.linear(h, tasks, Activation::None);
            graph.scope("logit", |graph| graph.columns_of(of_tasks, linear))
        });
        let logits = graph.add(main, auxiliary);
        Ok((0..tasks).map(|task| graph.slice(logits, task, 1)).collect())
    }
}
