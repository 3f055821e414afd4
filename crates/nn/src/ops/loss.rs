//! Losses: one number a sample, 0 where the label is missing.

#[cfg(feature = "train")]
use super::Backward;
use super::{Cost, Operation};
use crate::engine::{Context, Inputs};
use crate::graph::{Domain, Graph, Value};
#[cfg(feature = "train")]
use crate::kernels::activation::sigmoid;
use crate::kernels::activation::softplus;
use serde::{Deserialize, Serialize};

/// Compares a column with the label of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LossOp {
    /// How.
    pub kind: LossKind,
    /// The task.
    pub task: usize,
}

/// How a prediction is compared with a label `y`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossKind {
    /// `−y ln σ(z) − (1 − y) ln(1 − σ(z))` of a logit `z`.
    BinaryCrossEntropy,
    /// `−y l − (1 − y) ln(1 − e^l)` of a log-probability `l ≤ 0`: ESMM's product of probabilities is a sum of these.
    BinaryCrossEntropyOfLog,
    /// `½ (z − y)²`.
    Squared,
    /// `e^z − y z` of a log-rate `z` (Poisson).
    Poisson,
}

impl Graph {
    /// The loss of a column against a task's label.
    pub fn loss(&mut self, kind: LossKind, prediction: Value, task: usize) -> Value {
        self.record(super::Op::Loss(LossOp { kind, task }), &[prediction], Domain::Rows, 1)
    }
}

/// A log-probability kept so low that `ln(1 − e^l)` stays finite. NaN stays NaN.
fn below_zero(l: f32) -> f32 {
    if l > -1e-30 { -1e-30 } else { l }
}

impl LossKind {
    fn value(self, z: f32, y: f32) -> f32 {
        match self {
            Self::BinaryCrossEntropy => softplus(z) - y * z,
            Self::BinaryCrossEntropyOfLog => {
                let l = below_zero(z);
                -y * l - (1.0 - y) * (-l.exp_m1()).ln()
            }
            Self::Squared => 0.5 * (z - y) * (z - y),
            Self::Poisson => z.exp() - y * z,
        }
    }

    #[cfg(feature = "train")]
    fn derivative(self, z: f32, y: f32) -> f32 {
        match self {
            Self::BinaryCrossEntropy => sigmoid(z) - y,
            Self::BinaryCrossEntropyOfLog => {
                let l = below_zero(z);
                // d/dl of −ln(1 − e^l) is e^l / (1 − e^l).
                -y + (1.0 - y) * l.exp() / -l.exp_m1()
            }
            Self::Squared => z - y,
            Self::Poisson => z.exp() - y,
        }
    }
}

impl Operation for LossOp {
    fn forward(&self, cx: &Context<'_>, inputs: Inputs<'_>, out: &mut [f32], _: &mut Vec<f32>) {
        for ((out, z), y) in out.iter_mut().zip(inputs.get(0)).zip(cx.labels(self.task)) {
            *out = if y.is_nan() { 0.0 } else { self.kind.value(*z, y) };
        }
    }

    #[cfg(feature = "train")]
    fn backward(&self, cx: &Context<'_>, mut pass: Backward<'_>) {
        let z = pass.inputs.get(0);
        let out_grad = std::mem::take(&mut pass.out_grad);
        let Some((grad, add)) = pass.input_grad(0) else { return };
        for (((grad, g), z), y) in grad.iter_mut().zip(out_grad).zip(z).zip(cx.labels(self.task)) {
            let value = if y.is_nan() { 0.0 } else { *g * self.kind.derivative(*z, y) };
            *grad = if add { *grad + value } else { value };
        }
    }

    fn cost(&self, rows: usize, _: usize, _: usize) -> Cost {
        Cost { flops: 20 * rows as u64, bytes: 0 }
    }
}
