//! Activations with a learned slope a column: PReLU and Dice.

#[cfg(feature = "train")]
use super::Backward;
use super::{Cost, Operation};
use crate::engine::{Context, Inputs};
use crate::graph::{Graph, Initializer, Value, Weight};
use crate::kernels::{activation::Activation, activation::sigmoid, vectorized};
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
        let normal = self.batch_norm(x, false, Activation::None, 1e-8);
        let slope = self.weight("slope", [1, width], Initializer::Constant(0.0));
        self.record(super::Op::Dice(DiceGate { slope }), &[x, normal], domain, width)
    }
}

impl Operation for Prelu {
    fn forward(&self, cx: &Context<'_>, inputs: Inputs<'_>, out: &mut [f32], _: &mut Vec<f32>) {
        let slope = self.slope.of(cx.weights);
        let rows = out.chunks_exact_mut(slope.len()).zip(inputs.get(0).chunks_exact(slope.len()));
        vectorized(|| {
            for (out, x) in rows {
                for ((out, x), slope) in out.iter_mut().zip(x).zip(slope) {
                    *out = x.max(0.0) + slope * x.min(0.0);
                }
            }
        });
    }

    #[cfg(feature = "train")]
    fn backward(&self, cx: &Context<'_>, mut pass: Backward<'_>) {
        let slope = self.slope.of(cx.weights);
        let (width, x) = (slope.len(), pass.inputs.get(0));
        let slope_grad = self.slope.of_mut(pass.weight_grads);
        vectorized(|| {
            for (g, x) in pass.out_grad.chunks_exact(width).zip(x.chunks_exact(width)) {
                for c in 0..width {
                    slope_grad[c] += g[c] * x[c].min(0.0);
                }
            }
        });
        let out_grad = std::mem::take(&mut pass.out_grad);
        let Some((grad, add)) = pass.input_grad(0) else { return };
        vectorized(|| {
            for ((grad, g), x) in
                grad.chunks_exact_mut(width).zip(out_grad.chunks_exact(width)).zip(x.chunks_exact(width))
            {
                for c in 0..width {
                    let value = if x[c] > 0.0 { g[c] } else { g[c] * slope[c] };
                    grad[c] = if add { grad[c] + value } else { value };
                }
            }
        });
    }

    fn cost(&self, _: usize, _: usize, out_rows: usize) -> Cost {
        Cost { flops: (3 * out_rows * self.slope.columns) as u64, bytes: 4 * self.slope.columns as u64 }
    }
}

impl Operation for DiceGate {
    fn forward(&self, cx: &Context<'_>, inputs: Inputs<'_>, out: &mut [f32], _: &mut Vec<f32>) {
        let slope = self.slope.of(cx.weights);
        let width = slope.len();
        let rows = inputs.get(0).chunks_exact(width).zip(inputs.get(1).chunks_exact(width));
        vectorized(|| {
            for (out, (x, normal)) in out.chunks_exact_mut(width).zip(rows) {
                for c in 0..width {
                    out[c] = x[c] * (slope[c] + (1.0 - slope[c]) * sigmoid(normal[c]));
                }
            }
        });
    }

    #[cfg(feature = "train")]
    fn backward(&self, cx: &Context<'_>, mut pass: Backward<'_>) {
        let slope = self.slope.of(cx.weights);
        let width = slope.len();
        let (x, normal) = (pass.inputs.get(0), pass.inputs.get(1));
        let slope_grad = self.slope.of_mut(pass.weight_grads);
        vectorized(|| {
            let rows = x.chunks_exact(width).zip(normal.chunks_exact(width));
            for (g, (x, normal)) in pass.out_grad.chunks_exact(width).zip(rows) {
                for c in 0..width {
                    slope_grad[c] += g[c] * x[c] * (1.0 - sigmoid(normal[c]));
                }
            }
        });
        pass.pass(0, |g, i| {
            let slope = slope[i % width];
            g * (slope + (1.0 - slope) * sigmoid(normal[i]))
        });
        pass.pass(1, |g, i| {
            let p = sigmoid(normal[i]);
            g * x[i] * (1.0 - slope[i % width]) * p * (1.0 - p)
        });
    }

    fn cost(&self, _: usize, _: usize, out_rows: usize) -> Cost {
        Cost { flops: (12 * out_rows * self.slope.columns) as u64, bytes: 4 * self.slope.columns as u64 }
    }
}
