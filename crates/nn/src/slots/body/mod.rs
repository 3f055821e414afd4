//! Body: what tasks and scenarios share, from one row a sample to one row a sample and task.

pub mod mlp;

use super::ModelInputs;
use crate::graph::{Graph, Value};
use kitestring_core::Result;

super::slot! {
    /// What tasks and scenarios share.
    Body "body" default Mlp {
        Mlp(mlp::Mlp) = "mlp", "One stack of layers for all tasks", "Rumelhart, Hinton and Williams 1986";
    }
}

impl Body {
    /// Records the forward pass. The result has one value a task.
    ///
    /// # Errors
    /// If the config is not sound.
    pub fn forward(&self, graph: &mut Graph, x: Value, inputs: &ModelInputs) -> Result<Vec<Value>> {
        graph.scope("body", |graph| match self {
            Self::Mlp(variant) => variant.forward(graph, x, inputs),
        })
    }
}
