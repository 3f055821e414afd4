//! Head: from the body's results to a prediction a task, and to its loss.

pub mod esmm;
pub mod heteroscedastic;
pub mod logit;

use super::ModelInputs;
use super::body::OfTask;
use super::loss::TaskLoss;
use crate::graph::{Graph, Value};
use kitestring_core::Result;
use kitestring_core::schema::TaskKind;

super::slot! {
    /// From the body's results to a prediction a task.
    Head "head" default Logit {
        Logit(logit::Logit) = "logit", "One logit a task, each task by itself", "";
        Esmm(esmm::Esmm) = "esmm", "A task after another is the product of both probabilities, over all impressions", "Ma et al. 2018";
        Heteroscedastic(heteroscedastic::Heteroscedastic) = "heteroscedastic", "Each prediction with its own learned spread", "Kendall and Gal 2017";
    }
}

impl Head {
    /// Whether the logit of a task of this kind has a second column: the logarithm of its variance.
    pub fn spreads(&self, kind: TaskKind) -> bool {
        matches!(self, Self::Heteroscedastic(_)) && heteroscedastic::spreads(kind)
    }

    /// Records predictions and losses, from what stands before the head for each task.
    ///
    /// # Errors
    /// If the variant does not fit the tasks.
    pub fn forward(&self, graph: &mut Graph, tasks: &[OfTask], inputs: &ModelInputs, loss: &TaskLoss) -> Result<()> {
        let logits: Vec<Value> = tasks.iter().map(|of_task| of_task.read).collect();
        match self {
            Self::Logit(variant) => variant.forward(graph, &logits, inputs, loss),
            Self::Esmm(variant) => variant.forward(graph, &logits, inputs, loss),
            Self::Heteroscedastic(variant) => variant.forward(graph, &logits, inputs, loss),
        }
    }
}
