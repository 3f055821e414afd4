//! Predictions that say how noisy a sample is: `ŷ = z` with variance `e^s` (regression), `p = E σ(z + e^{s/2} ε)` (binary), where `s` is a
//! second linear map of the same layers (Kendall and Gal 2017).
//!
//! A regression's loss is the normal likelihood, `½ e^{−s} (y − z)² + ½ s`: it learns where labels scatter without having been told. A
//! binary task's is the cross-entropy of the mean probability over drawn logits. When predicting nothing is drawn: the mean is
//! `σ(z / √(1 + π e^s / 8))`, approximately (MacKay 1992). Counts have a spread that follows from their mean, and stay as they are.
//!
//! Beside each task stands another output: `TASK.variance`, `e^s`, or `TASK.deviation` of the logit, `e^{s/2}`. They come after all tasks.
//! `s` counts as no less than −10 and no more than 10: scale labels whose noise has a variance beyond `e^10`.

use super::logit::predict;
use crate::graph::{Graph, Value};
use crate::ops::arithmetic::{Binary, Unary};
use crate::ops::spread_loss::SpreadLossKind;
use crate::ops::task_weight::LOG_VARIANCE_BOUND;
use crate::slots::ModelInputs;
use crate::slots::loss::{LossOf, TaskLoss};
use kitestring_core::schema::TaskKind;
use kitestring_core::{Error, Result};
use serde::Serialize;

/// A prediction and its spread a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Heteroscedastic {
    /// How many logits are drawn for a sample of a binary task in training. With few the loss is a little too high.
    pub draws: usize,
}

kitestring_core::fields!(Heteroscedastic { draws });

impl Default for Heteroscedastic {
    fn default() -> Self {
        Self { draws: 16 }
    }
}

/// Whether a task of a kind has a spread of its own.
pub(super) fn spreads(kind: TaskKind) -> bool {
    matches!(kind, TaskKind::Binary | TaskKind::Regression)
}

impl Heteroscedastic {
    pub(super) fn forward(
        self,
        graph: &mut Graph,
        logits: &[Value],
        inputs: &ModelInputs,
        loss: &TaskLoss,
    ) -> Result<()> {
        if self.draws == 0 {
            return Err(Error::config("at least one logit must be drawn").in_field("model.head.draws"));
        }
        let mut beside = Vec::new();
        for (task, (both, (kind, _))) in logits.iter().zip(&inputs.tasks).enumerate() {
            let name = &inputs.task_names[task];
            if !spreads(*kind) {
                predict(graph, *both, *kind, task, inputs, loss);
                continue;
            }
            if graph.width(*both) != 2 {
                return Err(Error::internal(format!("`{name}` has no logarithm of a variance beside its logit")));
            }
            let [z, s] = [0, 1].map(|column| graph.slice(*both, column, 1));
            let s = graph.unary(Unary::Clamp([-LOG_VARIANCE_BOUND, LOG_VARIANCE_BOUND]), s);
            let (loss_kind, of, prediction, named) = if *kind == TaskKind::Regression {
                let variance = graph.unary(Unary::Exp, s);
                (SpreadLossKind::Normal, LossOf::Scaled, z, ("variance", variance))
            } else {
                // 1 / √(1 + π e^s / 8) is e^{−softplus(s + ln(π / 8)) / 2}.
                let shifted = graph.unary(Unary::Shift(std::f32::consts::FRAC_PI_8.ln()), s);
                let logarithm = graph.unary(Unary::Softplus, shifted);
                let shrinks = [Unary::Scale(-0.5), Unary::Exp].into_iter().fold(logarithm, |x, f| graph.unary(f, x));
                let shrunk = graph.binary(Binary::Multiply, z, shrinks);
                let probability = graph.unary(Unary::Sigmoid, shrunk);
                let deviation = [Unary::Scale(0.5), Unary::Exp].into_iter().fold(s, |x, f| graph.unary(f, x));
                (SpreadLossKind::Binary { draws: self.draws }, LossOf::Error, probability, ("deviation", deviation))
            };
            graph.output(name, prediction);
            beside.push((format!("{name}.{}", named.0), named.1));
            let value = graph.spread_loss(loss_kind, z, s, task);
            loss.minimize(graph, inputs, task, value, of);
        }
        beside.into_iter().for_each(|(name, value)| graph.output(name, value));
        Ok(())
    }
}
