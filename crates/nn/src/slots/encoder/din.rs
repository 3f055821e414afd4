//! `x = [e₁ … e_F ; Σ_j a(k_j, t) k_j ; numbers]`: a history pooled by its match with the target (Zhou et al. 2018).
//!
//! A key `k_j` is made of the histories of the same events side by side (the items, their categories …), the target `t` of the features
//! they are histories of. Other lists are pooled.

use super::{Encoded, histories, with_histories};
use crate::graph::{Domain, Graph};
use crate::kernels::activation::Activation;
use crate::ops::pool::Pooling;
use crate::slots::ModelInputs;
use kitestring_core::{Error, Result};
use serde::Serialize;

/// A history weighted by its match with the target.
#[derive(Debug, Clone, PartialEq, Serialize)]
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

kitestring_core::fields!(Din { attention, activation, softmax, pooling });

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
        let histories = histories(inputs, "DIN")?;
        with_histories(graph, inputs, self.pooling, &histories, |graph, history| {
            let keys = history.embed(graph);
            let target = graph.embed(history.targets.clone(), Domain::Rows);
            graph.attention_pool(keys, target, &self.attention, self.activation, self.softmax)
        })
    }
}
