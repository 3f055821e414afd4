//! `x_{l+1} = x₀ ⊙ (W_l x_l + b_l) + x_l`: the cross network of DCNv2 (Wang et al. 2021), below the body or beside it.

use super::{Encoded, pooled, side_by_side};
use crate::graph::Graph;
use crate::ops::pool::Pooling;
use crate::slots::ModelInputs;
use kitestring_core::{Error, Result};
use serde::Serialize;

/// Where the cross network stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Structure {
    /// Beside the body: both read the features, the head reads both.
    #[default]
    Parallel,
    /// Below the body.
    Stacked,
}

kitestring_core::choices!(Structure { Parallel, Stacked });

/// Explicit feature crosses.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Cross {
    /// Number of layers: the degree of the crosses less one.
    pub layers: usize,
    /// Where they stand.
    pub structure: Structure,
    /// How a list becomes one row.
    pub pooling: Pooling,
}

kitestring_core::fields!(Cross { layers, structure, pooling });

impl Default for Cross {
    fn default() -> Self {
        Self { layers: 3, structure: Structure::Parallel, pooling: Pooling::Mean }
    }
}

impl Cross {
    pub(super) fn forward(&self, graph: &mut Graph, inputs: &ModelInputs) -> Result<Encoded> {
        if self.layers == 0 {
            return Err(Error::config("a cross network needs at least one layer").in_field("model.encoder.layers"));
        }
        let parts = side_by_side(graph, inputs, self.pooling, pooled)?;
        let x0 = graph.concat(&parts);
        let mut x = x0;
        for layer in 0..self.layers {
            x = graph.scope(format!("cross.{layer}"), |graph| graph.cross(x0, x));
        }
        Ok(match self.structure {
            Structure::Parallel => Encoded { x: x0, beside: Some(x), logit: None },
            Structure::Stacked => Encoded { x, beside: None, logit: None },
        })
    }
}
