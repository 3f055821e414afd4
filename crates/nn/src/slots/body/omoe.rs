//! `f = Σ_k g[k](x) E_k(x)`, `g = softmax(W x)`, `y_t = tower_t(f)`: one gate for all tasks, the baseline of Ma et al. 2018.

use super::{BodyInput, mmoe::Mmoe};
use crate::graph::{Graph, Value};
use kitestring_core::Result;
use serde::Serialize;

/// Experts and one gate, shared by all tasks.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Omoe(pub Mmoe);

kitestring_core::fields!(Omoe(pub Mmoe));

impl Omoe {
    pub(super) fn forward(&self, graph: &mut Graph, input: &BodyInput<'_>) -> Result<Vec<Value>> {
        self.0.forward(graph, input, true)
    }
}
