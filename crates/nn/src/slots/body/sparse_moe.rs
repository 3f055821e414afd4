//! `h = Σ_i G_i(x) E_i(x)` over the `k` experts that a noisy gate chooses, then a tower a task: the sparsely-gated mixture of experts
//! (Shazeer et al. 2017).
//!
//! Two losses keep a batch from crowding onto few experts: the squared coefficients of variation of the importances `Σ_x G_i(x)` and of
//! the loads, the expected numbers of samples an expert gets ([`noisy_top_k`](crate::ops::noisy_top_k) has both formulas). They are taken
//! over the whole batch. The gate starts at zero: at first the noise alone chooses.

use super::{BodyInput, check_experts, towers};
use crate::graph::{Graph, Initializer, Value};
use crate::ops::experts::ExpertLayers;
use crate::slots::Layers;
use kitestring_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// Many experts, of which a sample chooses few.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SparseMoe {
    /// How many experts.
    pub experts: usize,
    /// How many of them a sample chooses: `k`.
    pub chosen: usize,
    /// What each is made of.
    pub expert: ExpertLayers,
    /// The weight of the loss that evens out importances.
    pub importance_weight: f32,
    /// The weight of the loss that evens out loads. With all experts chosen every load is the same.
    pub load_weight: f32,
    /// The layers of each task.
    pub towers: Layers,
}

impl Default for SparseMoe {
    fn default() -> Self {
        Self {
            experts: 16,
            chosen: 2,
            expert: ExpertLayers::default(),
            importance_weight: 0.1,
            load_weight: 0.1,
            towers: super::default_towers(),
        }
    }
}

impl SparseMoe {
    pub(super) fn forward(&self, graph: &mut Graph, input: &BodyInput<'_>) -> Result<Vec<Value>> {
        check_experts(self.experts, &self.expert, "model.body")?;
        if !(1..=self.experts).contains(&self.chosen) {
            return Err(Error::config(format!("{} experts cannot be chosen from {}", self.chosen, self.experts))
                .in_field("model.body.chosen")
                .mend("choose at least one, and no more than there are"));
        }
        if !(self.importance_weight >= 0.0 && self.load_weight >= 0.0) {
            return Err(Error::config("the weight of a loss cannot be negative").in_field("model.body"));
        }
        let [weights, load] = graph.scope("gate", |graph| {
            let zero = Initializer::Constant(0.0);
            let clean = graph.linear_from(input.x, self.experts, zero);
            let noise = graph.scope("noise", |graph| graph.linear_from(input.x, self.experts, zero));
            let both = graph.noisy_top_k(clean, noise, self.chosen);
            graph.watch_gates(both[0]);
            both
        });
        for (name, value, weight) in
            [("expert importance", weights, self.importance_weight), ("expert load", load, self.load_weight)]
        {
            if weight > 0.0 {
                let spread = graph.balance(value);
                graph.minimize(name, spread, None, weight);
            }
        }
        let mixed = graph.experts(input.x, weights, self.experts, &self.expert, self.chosen);
        towers(graph, &self.towers, vec![mixed; input.inputs.tasks.len()], input)
    }
}
