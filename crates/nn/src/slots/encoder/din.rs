//! `x = [e₁ … e_F ; Σ_j a(k_j, t) k_j ; numbers]`: a history pooled by its match with the target (Zhou et al. 2018).
//!
//! A key `k_j` is made of the histories of the same events side by side (the items, their categories …), the target `t` of the features
//! they are histories of. Other lists are pooled.

use super::{Encoded, pooled, side_by_side};
use crate::graph::{Domain, Graph, Value};
use crate::kernels::activation::Activation;
use crate::ops::embed::Lookup;
use crate::ops::pool::Pooling;
use crate::slots::ModelInputs;
use kitestring_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// A history weighted by its match with the target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Din {
    /// Units of the attention's hidden layers.
    pub attention: Vec<usize>,
    /// What follows each of them.
    pub activation: Activation,
    /// Whether the weights of a history sum to one. The paper's do not.
    pub softmax: bool,
    /// How other lists become one row.
    pub pooling: Pooling,
}

impl Default for Din {
    fn default() -> Self {
        Self { attention: vec![64, 32], activation: Activation::Relu, softmax: false, pooling: Pooling::Mean }
    }
}

impl Din {
    pub(super) fn forward(&self, graph: &mut Graph, inputs: &ModelInputs) -> Result<Encoded> {
        if self.attention.is_empty() || self.attention.contains(&0) {
            return Err(Error::config("the attention needs at least one hidden layer, none of them empty")
                .in_field("model.encoder.attention"));
        }
        let mut groups: Vec<(Domain, Vec<Lookup>, Vec<Lookup>)> = Vec::new();
        for input in inputs.ragged() {
            let Some(of) = &input.history_of else { continue };
            let target = inputs.sparse.iter().find(|other| other.name == *of && other.domain == Domain::Rows);
            let Some(target) = target else { continue };
            match groups.iter_mut().find(|(domain, ..)| *domain == input.domain) {
                Some((_, keys, targets)) => {
                    keys.push(input.lookup);
                    targets.push(target.lookup);
                }
                None => groups.push((input.domain, vec![input.lookup], vec![target.lookup])),
            }
        }
        if groups.is_empty() {
            return Err(Error::config("DIN needs a sequence with a `history` of a categorical feature")
                .in_field("model.encoder.type")
                .mend("declare one in schema.features, or use type = \"pool\""));
        }
        let attended: Vec<Domain> = groups.iter().map(|(domain, ..)| *domain).collect();
        let mut parts = side_by_side(graph, inputs, self.pooling, |graph, input, pooling| {
            if attended.contains(&input.domain) && input.history_of.is_some() {
                return Ok(None);
            }
            pooled(graph, input, pooling)
        })?;
        // After the features and before the numbers, where a pooled list would stand.
        let before_numbers = parts.len() - usize::from(inputs.numeric > 0);
        for (number, (domain, keys, targets)) in groups.into_iter().enumerate() {
            let pooled = self.attend(graph, number, domain, keys, targets);
            parts.insert(before_numbers + number, pooled);
        }
        Ok(Encoded { x: graph.concat(&parts), beside: None, logit: None })
    }

    fn attend(
        &self,
        graph: &mut Graph,
        number: usize,
        domain: Domain,
        keys: Vec<Lookup>,
        targets: Vec<Lookup>,
    ) -> Value {
        let keys = graph.embed(keys, domain);
        let target = graph.embed(targets, Domain::Rows);
        graph.scope(format!("history.{number}"), |graph| {
            graph.attention_pool(keys, target, &self.attention, self.activation, self.softmax)
        })
    }
}
