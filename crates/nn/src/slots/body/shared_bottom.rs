//! `h = f(x)`, `y_t = tower_t(h)` (Caruana 1997): one bottom for all tasks and scenarios, a tower a task.

use super::{BodyInput, towers};
use crate::graph::{Graph, Value};
use crate::slots::Layers;
use kitestring_core::Result;
use serde::Serialize;

/// One bottom, a tower a task.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SharedBottom {
    /// The layers all tasks share.
    pub bottom: Layers,
    /// The layers of each task.
    pub towers: Layers,
}

kitestring_core::fields!(SharedBottom { bottom, towers });

impl Default for SharedBottom {
    fn default() -> Self {
        Self { bottom: Layers::default(), towers: super::default_towers() }
    }
}

impl SharedBottom {
    pub(super) fn forward(&self, graph: &mut Graph, input: &BodyInput<'_>) -> Result<Vec<Value>> {
        self.bottom.check("model.body.bottom")?;
        let h = graph.scope("bottom", |graph| self.bottom.forward(graph, input.x));
        towers(graph, &self.towers, vec![h; input.inputs.tasks.len()], input)
    }
}
