//! Activations with a learned slope a column: PReLU and Dice.

#[cfg(feature = "train")]
use super::Backward;
use super::{Cost, Operation};
use crate::engine::{Context, Inputs};
use crate::graph::{Graph, Initializer, Value, Weight};
use crate::kernels::{activation::Activation, activation::sigmoid, kernel};
use serde::{Deserialize, Serialize};

/// `max(x, 0) + α min(x, 0)` (He et al. 2015).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Prelu {
    /// α, one a column.
    pub slope: Weight,
}

/// The gate of Dice (Zhou et al. 2018, eq. 3): `x (α + (1 − α) σ(n))`, where `n` is `x` normalized over the batch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DiceGate {
    /// α, one a column.
    pub slope: Weight,
}

impl Graph {
    /// PReLU with α starting at .25.
    pub fn prelu(&mut self, x: Value) -> Value {
        let (domain, width) = (self.domain(x), self.width(x));
        let slope = self.weight("slope", [1, width], Initializer::Constant(0.25));
        self.record(super::Op::Prelu(Prelu { slope }), &[x], domain, width)
    }

    /// Dice with α starting at 0: `p x + (1 − p) α x`, `p = σ((x − mean) / √(variance + 1e-8))`. Gradients flow through mean and
    /// variance.
    pub fn dice(&mut self, x: Value) -> Value {
        let (domain, width) = (self.domain(x), self.width(x));
        // Its statistics have a name of their own: a batch norm may stand before it.
        let normal = self.scope("dice", |graph| graph.batch_norm(x, false, Activation::None, 1e-8));
        let slope = self.weight("slope", [1, width], Initializer::Constant(0.0));
        self.record(super::Op::Dice(DiceGate { slope }), &[x, normal], domain, width)
    }
}

kernel! {
    fn prelu['a](out: &'a mut [f32], x: &'a [f32], slope: &'a [f32]) {
        for (out, x) in out.chunks_exact_mut(slope.len()).zip(x.chunks_exact(slope.len())) {
            for ((out, x), slope) in out.iter_mut().zip(x).zip(slope) {
                *out = if *x > 0.0 { *x } else { slope * x };
            }
        }
    }

    fn dice['a](out: &'a mut [f32], x: &'a [f32], normal: &'a [f32], slope: &'a [f32]) {
        let rows = x.chunks_exact(slope.len()).zip(normal.chunks_exact(slope.len()));
        for (out, (x, normal)) in out.chunks_exact_mut(slope.len()).zip(rows) {
            for (((out, x), normal), slope) in out.iter_mut().zip(x).zip(normal).zip(slope) {
                *out = x * (slope + (1.0 - slope) * sigmoid(*normal));
            }
        }
    }
}

#[cfg(feature = "train")]
kernel! {
    fn prelu_slope_grad['a](slope_grad: &'a mut [f32], out_grad: &'a [f32], x: &'a [f32]) {
        let width = slope_grad.len();
        for (g, x) in out_grad.chunks_exact(width).zip(x.chunks_exact(width)) {
            for ((slope, g), x) in slope_grad.iter_mut().zip(g).zip(x) {
                *slope += g * x.min(0.0);
            }
        }
    }

    fn prelu_grad['a](grad: &'a mut [f32], out_grad: &'a [f32], x: &'a [f32], slope: &'a [f32], add: bool) {
        let width = slope.len();
        for ((grad, g), x) in grad.chunks_exact_mut(width).zip(out_grad.chunks_exact(width)).zip(x.chunks_exact(width)) {
            for (((grad, g), x), slope) in grad.iter_mut().zip(g).zip(x).zip(slope) {
                let value = if *x > 0.0 { *g } else { g * slope };
                *grad = if add { *grad + value } else { value };
            }
        }
    }

    fn dice_slope_grad['a](slope_grad: &'a mut [f32], out_grad: &'a [f32], x: &'a [f32], normal: &'a [f32]) {
        let width = slope_grad.len();
        let rows = x.chunks_exact(width).zip(normal.chunks_exact(width));
        for (g, (x, normal)) in out_grad.chunks_exact(width).zip(rows) {
            for (((slope, g), x), normal) in slope_grad.iter_mut().zip(g).zip(x).zip(normal) {
                *slope += g * x * (1.0 - sigmoid(*normal));
            }
        }
    }
}

impl Operation for Prelu {
    fn forward(&self, cx: &Context<'_>, inputs: Inputs<'_>, out: &mut [f32], _: &mut Vec<f32>) {
        let slope = self.slope.of(cx.weights);
        prelu(out, inputs.get(0), slope);
    }

    #[cfg(feature = "train")]
    fn backward(&self, cx: &Context<'_>, mut pass: Backward<'_>) {
        let slope = self.slope.of(cx.weights);
        let x = pass.inputs.get(0);
        prelu_slope_grad(self.slope.of_mut(pass.weight_grads), pass.out_grad, x);
        let out_grad = std::mem::take(&mut pass.out_grad);
        let Some((grad, add)) = pass.input_grad(0) else { return };
        prelu_grad(grad, out_grad, x, slope, add);
    }

    #[cfg(feature = "train")]
    fn weights(&self) -> Vec<Weight> {
        vec![self.slope]
    }

    fn cost(&self, _: usize, _: usize, out_rows: usize) -> Cost {
        Cost { flops: (3 * out_rows * self.slope.columns) as u64, bytes: 4 * self.slope.columns as u64 }
    }
}

impl Operation for DiceGate {
    fn forward(&self, cx: &Context<'_>, inputs: Inputs<'_>, out: &mut [f32], _: &mut Vec<f32>) {
        let slope = self.slope.of(cx.weights);
        dice(out, inputs.get(0), inputs.get(1), slope);
    }

    #[cfg(feature = "train")]
    fn backward(&self, cx: &Context<'_>, mut pass: Backward<'_>) {
        let slope = self.slope.of(cx.weights);
        let width = slope.len();
        let (x, normal) = (pass.inputs.get(0), pass.inputs.get(1));
        dice_slope_grad(self.slope.of_mut(pass.weight_grads), pass.out_grad, x, normal);
        pass.pass(0, |g, i| {
            let slope = slope[i % width];
            g * (slope + (1.0 - slope) * sigmoid(normal[i]))
        });
        pass.pass(1, |g, i| {
            let p = sigmoid(normal[i]);
            g * x[i] * (1.0 - slope[i % width]) * p * (1.0 - p)
        });
    }

    #[cfg(feature = "train")]
    fn weights(&self) -> Vec<Weight> {
        vec![self.slope]
    }

    fn cost(&self, _: usize, _: usize, out_rows: usize) -> Cost {
        Cost { flops: (12 * out_rows * self.slope.columns) as u64, bytes: 4 * self.slope.columns as u64 }
    }
}
