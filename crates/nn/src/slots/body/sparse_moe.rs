//! `h = Σ_i G_i(x) E_i(x)` over the `k` experts that a noisy gate chooses, then a tower a task: the sparsely-gated mixture of experts
//! (Shazeer et al. 2017).
//!
//! Two losses keep a batch from crowding onto few experts: the squared coefficients of variation of the importances `Σ_x G_i(x)` and of
//! the loads, the expected numbers of samples an expert gets ([`noisy_top_k`](crate::ops::noisy_top_k) has both formulas). They are taken
//! over the whole batch. The gate starts at zero: at first the noise alone chooses.
//!
//! With several groups there are two levels: `h = Σ_i G_i(x) Σ_j G_ij(x) E_ij(x)`, a gate over groups and one over each group's experts.
//! The importance of an expert is `Σ_x G_i G_ij`. Its load is `Σ_x P_i P_ij`, the expected number of samples if both noises were drawn
//! again; the paper has the group's load times the expert's share of the samples that did choose the group, which is nearly the same and
//! does not know what a group would do with samples it never got.

use super::{BodyInput, check_experts, towers};
use crate::graph::{Graph, Initializer, Value};
use crate::ops::arithmetic::Binary;
use crate::ops::experts::ExpertLayers;
use crate::slots::Layers;
use kitestring_core::{Error, Result};
use serde::Serialize;

/// Many experts, of which a sample chooses few.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SparseMoe {
    /// How many experts, in all groups together.
    pub experts: usize,
    /// How many a sample chooses of a group: `k`.
    pub chosen: usize,
    /// How many groups of as many experts each: 1 for a single gate.
    pub groups: usize,
    /// How many groups a sample chooses. Of no meaning with one group.
    pub chosen_groups: usize,
    /// What each is made of.
    pub expert: ExpertLayers,
    /// The weight of the loss that evens out importances.
    pub importance_weight: f32,
    /// The weight of the loss that evens out loads. With all experts chosen every load is the same.
    pub load_weight: f32,
    /// The layers of each task.
    pub towers: Layers,
}

kitestring_core::fields!(SparseMoe {
    experts,
    chosen,
    groups,
    chosen_groups,
    expert,
    importance_weight,
    load_weight,
    towers
});

impl Default for SparseMoe {
    fn default() -> Self {
        Self {
            experts: 16,
            chosen: 2,
            groups: 1,
            chosen_groups: 2,
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
        if self.groups == 0 || !self.experts.is_multiple_of(self.groups) {
            return Err(Error::config(format!("{} experts do not make {} equal groups", self.experts, self.groups))
                .in_field("model.body.groups"));
        }
        let of_group = self.experts / self.groups;
        let chosen_groups = if self.groups == 1 { 1 } else { self.chosen_groups };
        for (what, key, chosen, of) in
            [("experts", "chosen", self.chosen, of_group), ("groups", "chosen_groups", chosen_groups, self.groups)]
        {
            if !(1..=of).contains(&chosen) {
                return Err(Error::config(format!("{chosen} {what} cannot be chosen from {of}"))
                    .in_field(format!("model.body.{key}"))
                    .mend("choose at least one, and no more than there are"));
            }
        }
        if !(self.importance_weight >= 0.0 && self.load_weight >= 0.0) {
            return Err(Error::config("the weight of a loss cannot be negative").in_field("model.body"));
        }
        let [weights, load] = graph.scope("gate", |graph| {
            let both = if self.groups == 1 {
                gate(graph, input.x, self.experts, self.chosen)
            } else {
                self.two_levels(graph, input.x)
            };
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
        let mixed = graph.experts(input.x, weights, self.experts, &self.expert, self.chosen * chosen_groups);
        towers(graph, &self.towers, vec![mixed; input.inputs.tasks.len()], input)
    }

    /// The weights and the loads of all experts, group by group: those of the group times those within it.
    fn two_levels(&self, graph: &mut Graph, x: Value) -> [Value; 2] {
        let of_group = self.experts / self.groups;
        let groups = graph.scope("groups", |graph| gate(graph, x, self.groups, self.chosen_groups));
        let mut parts = [Vec::new(), Vec::new()];
        for group in 0..self.groups {
            let within = graph.scope(format!("group.{group}"), |graph| gate(graph, x, of_group, self.chosen));
            for ((parts, within), groups) in parts.iter_mut().zip(within).zip(groups) {
                let of_this = graph.slice(groups, group, 1);
                let wide = graph.concat(&vec![of_this; of_group]);
                parts.push(graph.binary(Binary::Multiply, wide, within));
            }
        }
        parts.map(|parts| graph.concat(&parts))
    }
}

/// A noisy gate: weights, and the probabilities of being chosen.
fn gate(graph: &mut Graph, x: Value, experts: usize, chosen: usize) -> [Value; 2] {
    let zero = Initializer::Constant(0.0);
    let clean = graph.linear_without_bias_from(x, experts, zero);
    let noise = graph.scope("noise", |graph| graph.linear_without_bias_from(x, experts, zero));
    graph.noisy_top_k(clean, noise, chosen)
}
