//! Losses weighted by the noise of their task (Kendall, Gal and Cipolla 2018).

#[cfg(feature = "train")]
use super::Backward;
#[cfg(feature = "train")]
use super::arithmetic::inward;
use super::{Cost, Operation};
use crate::engine::{Context, Inputs};
use crate::graph::{Domain, Graph, Initializer, Value, Weight};
use serde::{Deserialize, Serialize};

/// `e^{−s} L + ½ s` of a task's loss `L`, with one learned `s = ln σ²`; 0 where the label is missing.
///
/// Our squared loss is half the squared error, so this is the paper's `½ e^{−s} (z − y)² + ½ s`: for a fixed mean squared error `E` the best
/// `s` is `ln E`. A loss that could be negative would drive `s` to its bound, so for counts `L` is measured from the loss of the perfect
/// prediction: `L = e^z − y z − (y − y ln y)` is half of Poisson's deviance, which takes the place of the squared error.
///
/// `s` counts as no less than −10 and no more than 10.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskWeight {
    /// `s`.
    pub log_variance: Weight,
    /// The task.
    pub task: usize,
    /// Whether `L` is Poisson's loss.
    pub poisson: bool,
}

/// Where a logarithm of a variance is cut off: a task whose loss goes to zero would get all the weight.
pub const LOG_VARIANCE_BOUND: f32 = 10.0;

impl Graph {
    /// A task's loss weighted by its learned noise. `poisson` says that it is Poisson's loss.
    pub fn task_weight(&mut self, loss: Value, task: usize, poisson: bool) -> Value {
        // One row: no weight decay.
        let log_variance = self.weight("log_variance", [1, 1], Initializer::Constant(0.0));
        let op = TaskWeight { log_variance, task, poisson };
        self.record(super::Op::TaskWeight(op), &[loss], Domain::Rows, 1)
    }
}

impl TaskWeight {
    /// `s` as it is, and within its bounds.
    fn log_variance(&self, weights: &[f32]) -> (f32, f32) {
        let s = self.log_variance.of(weights)[0];
        (s, s.clamp(-LOG_VARIANCE_BOUND, LOG_VARIANCE_BOUND))
    }

    /// `e^{−s}`: what the loss is multiplied by.
    pub fn precision(&self, weights: &[f32]) -> f32 {
        (-self.log_variance(weights).1).exp()
    }

    /// `L` of a sample: its loss without that of the perfect prediction.
    fn excess(&self, loss: f32, y: f32) -> f32 {
        if !self.poisson {
            return loss;
        }
        loss + if y > 0.0 { y * y.ln() - y } else { 0.0 }
    }
}

impl Operation for TaskWeight {
    fn forward(&self, cx: &Context<'_>, inputs: Inputs<'_>, out: &mut [f32], _: &mut Vec<f32>) {
        let (_, s) = self.log_variance(cx.weights);
        let precision = self.precision(cx.weights);
        for ((out, loss), y) in out.iter_mut().zip(inputs.get(0)).zip(cx.labels(self.task)) {
            *out = if y.is_nan() { 0.0 } else { precision * self.excess(*loss, y) + 0.5 * s };
        }
    }

    #[cfg(feature = "train")]
    fn backward(&self, cx: &Context<'_>, mut pass: Backward<'_>) {
        let (free, _) = self.log_variance(cx.weights);
        let precision = self.precision(cx.weights);
        let mut slope = 0.0_f64;
        for ((g, loss), y) in pass.out_grad.iter_mut().zip(pass.inputs.get(0)).zip(cx.labels(self.task)) {
            if y.is_nan() {
                *g = 0.0;
            } else {
                slope += f64::from(*g) * f64::from(0.5 - precision * self.excess(*loss, y));
            }
        }
        let bound = LOG_VARIANCE_BOUND;
        self.log_variance.of_mut(pass.weight_grads)[0] += inward(free, [-bound, bound], slope as f32);
        pass.pass(0, |g, _| g * precision);
    }

    #[cfg(feature = "train")]
    fn weights(&self) -> Vec<Weight> {
        vec![self.log_variance]
    }

    fn cost(&self, _: usize, _: usize, out_rows: usize) -> Cost {
        Cost { flops: 3 * out_rows as u64, bytes: 0 }
    }
}
