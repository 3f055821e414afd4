//! Head: from the body's results to a prediction a task, and to its loss.

pub mod esmm;
pub mod logit;

use super::ModelInputs;
use super::loss::TaskLoss;
use crate::graph::{Graph, Value};
use kitestring_core::Result;

super::slot! {
    /// From the body's results to a prediction a task.
    Head "head" default Logit {
        Logit(logit::Logit) = "logit", "One logit a task, each task by itself", "";
        Esmm(esmm::Esmm) = "esmm", "A task after another is the product of both probabilities, over all impressions", "Ma et al. 2018";
    }
}

impl Head {
    /// Records predictions and losses. `logits` has one column-wide value a task.
    ///
    /// # Errors
    /// If the variant does not fit the tasks.
    pub fn forward(&self, graph: &mut Graph, logits: &[Value], inputs: &ModelInputs, loss: &TaskLoss) -> Result<()> {
        match self {
            Self::Logit(variant) => variant.forward(graph, logits, inputs, loss),
            Self::Esmm(variant) => variant.forward(graph, logits, inputs, loss),
        }
    }
}
