//! `x = [e₁ … e_F ; pool(list₁) … ; numbers]`: rows side by side, each list pooled (Covington, Adams and Sargin 2016).

use super::{Encoded, pooled, side_by_side};
use crate::graph::Graph;
use crate::ops::pool::Pooling;
use crate::slots::ModelInputs;
use kitestring_core::Result;
use serde::Serialize;

/// Rows side by side, lists pooled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Pool {
    /// How a list becomes one row.
    pub pooling: Pooling,
}

kitestring_core::fields!(Pool { pooling });

impl Pool {
    pub(super) fn forward(&self, graph: &mut Graph, inputs: &ModelInputs) -> Result<Encoded> {
        let parts = side_by_side(graph, inputs, self.pooling, pooled)?;
        Ok(Encoded { x: graph.concat(&parts), beside: None, logit: None })
    }
}
