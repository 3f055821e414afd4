//! `ŷ_t = σ(z_t)` (binary), `z_t` (regression) or `e^{z_t}` (counts), each task by itself.

use crate::graph::{Graph, Value};
use crate::ops::arithmetic::Unary;
use crate::ops::loss::LossKind;
use crate::slots::ModelInputs;
use crate::slots::loss::{LossOf, TaskLoss};
use kitestring_core::Result;
use kitestring_core::schema::TaskKind;
use serde::Serialize;

/// One logit a task.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Logit {}

kitestring_core::fields!(Logit {});

impl Logit {
    pub(super) fn forward(
        self,
        graph: &mut Graph,
        logits: &[Value],
        inputs: &ModelInputs,
        loss: &TaskLoss,
    ) -> Result<()> {
        for (task, (logit, (kind, _))) in logits.iter().zip(&inputs.tasks).enumerate() {
            predict(graph, *logit, *kind, task, inputs, loss);
        }
        Ok(())
    }
}

/// Records the prediction and the loss of a task that stands by itself. The result is the prediction.
pub(super) fn predict(
    graph: &mut Graph,
    logit: Value,
    kind: TaskKind,
    task: usize,
    inputs: &ModelInputs,
    loss: &TaskLoss,
) -> Value {
    let (prediction, loss_kind, of) = match kind {
        TaskKind::Binary => (graph.unary(Unary::Sigmoid, logit), LossKind::BinaryCrossEntropy, LossOf::Error),
        TaskKind::Regression => (logit, LossKind::Squared, LossOf::Error),
        TaskKind::Count => (graph.unary(Unary::Exp, logit), LossKind::Poisson, LossOf::Poisson),
    };
    graph.output(&inputs.task_names[task], prediction);
    let value = graph.loss(loss_kind, logit, task);
    loss.minimize(graph, inputs, task, value, of);
    prediction
}
