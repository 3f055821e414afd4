//! Bias: what the place of an impression adds to its logit, learned beside the model and left out when serving.

pub mod position;

use super::ModelInputs;
use crate::graph::{Graph, Value};
use kitestring_core::Result;
use serde::Serialize;

/// No bias is modelled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct NoBias {}

kitestring_core::fields!(NoBias {});

super::slot! {
    /// What the place of an impression adds to its logit.
    Bias "bias" default None {
        None(NoBias) = "none", "No bias is modelled", "";
        Position(position::Position) = "position", "A shallow tower over the display position, unknown when serving", "Zhao et al. 2019";
    }
}

impl Bias {
    /// Records what is added to the logit of each task, one column, or nothing.
    ///
    /// # Errors
    /// If the variant does not fit the schema.
    pub fn forward(&self, graph: &mut Graph, inputs: &ModelInputs) -> Result<Vec<Option<Value>>> {
        match self {
            Self::None(_) => Ok(vec![None; inputs.tasks.len()]),
            Self::Position(variant) => graph.scope("bias", |graph| variant.forward(graph, inputs)),
        }
    }
}
