//! `h = f_L(… f_1(x))`, the same for every task.

use super::BodyInput;
use crate::graph::{Graph, Value};
use crate::slots::Layers;
use kitestring_core::Result;
use serde::Serialize;

/// One stack of layers for all tasks.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Mlp(pub Layers);

kitestring_core::fields!(Mlp(pub Layers));

impl Mlp {
    pub(super) fn forward(&self, graph: &mut Graph, input: &BodyInput<'_>) -> Result<Vec<Value>> {
        self.0.check("model.body")?;
        let h = self.0.forward(graph, input.x);
        Ok(vec![h; input.inputs.tasks.len()])
    }
}
