//! `p(conversion) = p(click) · p(conversion | click)`, learned over all impressions: ESMM (Ma et al. 2018), for chains of any length.
//!
//! A task with `after` multiplies its probability into that of the task before it. The conditional probability has no loss of its
//! own, so it is never trained on clicked samples only. The loss is computed from a sum of log-probabilities, which neither overflows nor
//! rounds to one; the prediction is the product itself, so that rounding never makes a conversion likelier than its click. A sample space
//! ([`TaskLoss`]) of such a task is refused: it would bring back the selection that ESMM does away with.

use super::logit::predict;
use crate::graph::{Graph, Value};
use crate::ops::arithmetic::{Binary, Unary};
use crate::ops::loss::LossKind;
use crate::slots::ModelInputs;
use crate::slots::loss::{LossOf, TaskLoss};
use kitestring_core::schema::TaskKind;
use kitestring_core::{Error, Result};
use serde::Serialize;

/// Tasks after other tasks are products of probabilities.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Esmm {}

kitestring_core::fields!(Esmm {});

impl Esmm {
    pub(super) fn forward(
        self,
        graph: &mut Graph,
        logits: &[Value],
        inputs: &ModelInputs,
        loss: &TaskLoss,
    ) -> Result<()> {
        if inputs.tasks.iter().all(|(_, after)| after.is_none()) {
            return Err(Error::config("ESMM needs a task that comes after another")
                .in_field("model.head.type")
                .mend("give the later task `after = \"…\"` in schema.tasks, or use type = \"logit\""));
        }
        // The log-probability of each binary task so far, made when a later task needs it.
        let mut log_probability: Vec<Option<Value>> = vec![None; logits.len()];
        let mut predictions: Vec<Value> = Vec::with_capacity(logits.len());
        for (task, (logit, (kind, after))) in logits.iter().zip(&inputs.tasks).enumerate() {
            let name = &inputs.task_names[task];
            let Some(before) = *after else {
                predictions.push(predict(graph, *logit, *kind, task, inputs, loss));
                continue;
            };
            if *kind != TaskKind::Binary || inputs.tasks[before].0 != TaskKind::Binary {
                return Err(Error::config("ESMM chains binary tasks only").in_field(format!("schema.tasks.{name}")));
            }
            if let Some(space) = loss.space_of(name) {
                let what = format!("ESMM learns `{name}` over all impressions, not over those that `{space}` lets in");
                return Err(Error::config(what)
                    .in_field(format!("model.loss.spaces.{name}"))
                    .mend("leave the space out, or use model.head.type = \"logit\""));
            }
            let earlier = match log_probability[before] {
                Some(value) => value,
                None => graph.unary(Unary::LogSigmoid, logits[before]),
            };
            log_probability[before] = Some(earlier);
            let own = graph.unary(Unary::LogSigmoid, *logit);
            let sum = graph.add(earlier, own);
            log_probability[task] = Some(sum);
            let conditional = graph.unary(Unary::Sigmoid, *logit);
            let probability = graph.binary(Binary::Multiply, predictions[before], conditional);
            predictions.push(probability);
            graph.output(name, probability);
            let value = graph.loss(LossKind::BinaryCrossEntropyOfLog, sum, task);
            loss.minimize(graph, inputs, task, value, LossOf::Error);
        }
        Ok(())
    }
}
