//! What training rounds, so that the network it learns is the one that is run.

use super::Description;
use crate::graph::{Graph, Weight};
use crate::quantization::rounding::Rounding;
use kitestring_core::{Error, Result};

impl Description {
    /// What training rounds of a graph: the weights that are coded, and what enters products in codes.
    ///
    /// # Errors
    /// A weight or product that the graph does not have.
    pub fn rounding(&self, graph: &Graph) -> Result<Rounding> {
        let mut rounding = Rounding::default();
        for name in &self.coded {
            let info = graph.weights().iter().find(|info| info.name == *name);
            let info = info.ok_or_else(|| Error::format("the graph has no such weight").in_field(name))?;
            rounding.weights(Weight { offset: info.offset, rows: info.shape[0], columns: info.shape[1] });
        }
        for of in &self.activations {
            rounding.inputs(of.product(graph)?, of.codes);
        }
        Ok(rounding)
    }
}
