//! Each row divided by its Euclidean length.

#[cfg(feature = "train")]
use super::Backward;
use super::{Cost, Operation};
use crate::engine::{Context, Inputs};
use crate::graph::{Graph, Value};
use crate::kernels::reduce::dot;
use serde::{Deserialize, Serialize};

/// `x / √(|x|² + ε)` of each row: a row of zeros stays one, and has a gradient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitLength {
    /// Number of columns.
    pub width: usize,
}

/// Small beside the square of any vector that means something.
pub(crate) const EPSILON: f32 = 1e-12;

impl Graph {
    /// Each row divided by its length, so that inner products are cosines.
    pub fn unit_length(&mut self, x: Value) -> Value {
        let (domain, width) = (self.domain(x), self.width(x));
        self.record(super::Op::UnitLength(UnitLength { width }), &[x], domain, width)
    }
}

#[inline(always)]
fn inverse_length(x: &[f32]) -> f32 {
    1.0 / (dot(x, x) + EPSILON).sqrt()
}

impl Operation for UnitLength {
    fn forward(&self, _: &Context<'_>, inputs: Inputs<'_>, out: &mut [f32], _: &mut Vec<f32>) {
        for (out, x) in out.chunks_exact_mut(self.width).zip(inputs.get(0).chunks_exact(self.width)) {
            let scale = inverse_length(x);
            out.iter_mut().zip(x).for_each(|(out, x)| *out = scale * x);
        }
    }

    /// `∂/∂x = (g − ⟨g, y⟩ y) / √(|x|² + ε)`.
    #[cfg(feature = "train")]
    fn backward(&self, _: &Context<'_>, mut pass: Backward<'_>) {
        let rows = pass.inputs.get(0).chunks_exact(self.width).zip(pass.out.chunks_exact(self.width));
        for (grad, (x, y)) in pass.out_grad.chunks_exact_mut(self.width).zip(rows) {
            let (scale, along) = (inverse_length(x), dot(grad, y));
            grad.iter_mut().zip(y).for_each(|(grad, y)| *grad = scale * (*grad - along * y));
        }
        pass.pass(0, |g, _| g);
    }

    fn cost(&self, _: usize, _: usize, out_rows: usize) -> Cost {
        Cost { flops: (3 * out_rows * self.width) as u64, bytes: 0 }
    }
}
