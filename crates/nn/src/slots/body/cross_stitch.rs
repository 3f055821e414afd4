//! `x̃_i = Σ_j α_ij x_j` behind every layer of a tower a task: cross-stitch networks (Misra et al. 2016).
//!
//! Each task has all layers of its own; what they share is how much each listens to the others, learned for each layer and channel. At
//! first a tower is 0.9 its own and the others share the rest, so that no signal is scaled up or down. (The paper learns α a hundred to a
//! thousand times faster than the other weights; here all weights have one rate, and Adam's steps do not depend on a gradient's size.)

use super::BodyInput;
use crate::graph::{Graph, Value};
use crate::grow::Owner;
use crate::slots::Layers;
use kitestring_core::{Error, Result};
use serde::Serialize;

/// A tower a task, stitched to the others layer by layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CrossStitch {
    /// The layers of each task.
    pub towers: Layers,
    /// Learn a mixture for each output of a layer, not one for the whole layer.
    pub per_channel: bool,
    /// How much of a tower's own there is in its mixture at first, in [0, 1].
    pub own: f32,
}

kitestring_core::fields!(CrossStitch { towers, per_channel, own });

impl Default for CrossStitch {
    fn default() -> Self {
        Self { towers: Layers::default(), per_channel: true, own: 0.9 }
    }
}

impl CrossStitch {
    pub(super) fn forward(&self, graph: &mut Graph, input: &BodyInput<'_>) -> Result<Vec<Value>> {
        self.towers.check("model.body.towers")?;
        if !(0.0..=1.0).contains(&self.own) {
            return Err(Error::config("`own` must be in [0, 1]").in_field("model.body.own"));
        }
        let names = &input.inputs.task_names;
        let mut of_tasks = vec![input.x; names.len()];
        for (number, units) in self.towers.units.iter().enumerate() {
            for (task, (name, x)) in names.iter().zip(&mut of_tasks).enumerate() {
                let layer = |graph: &mut Graph| self.towers.layer(graph, *x, number, Graph::linear);
                *x = graph.scope("tower", |graph| graph.scope_of(Owner::task(task), name, layer));
            }
            // One task has nobody to listen to.
            if names.len() > 1 {
                let stitch = |graph: &mut Graph| graph.stitch(&of_tasks, self.per_channel, self.own);
                let all = graph.scope(format!("stitch.{number}"), stitch);
                of_tasks = (0..names.len()).map(|task| graph.slice(all, task * units, *units)).collect();
            }
        }
        Ok(of_tasks)
    }
}
