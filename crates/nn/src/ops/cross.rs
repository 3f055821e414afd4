//! One layer of a cross network.

#[cfg(feature = "train")]
use super::Backward;
use super::{Cost, Operation};
use crate::engine::{Context, Inputs};
use crate::graph::{Graph, Initializer, Value, Weight};
#[cfg(feature = "train")]
use crate::kernels::reduce::add_column_sums;
use crate::kernels::{
    kernel,
    matmul::{Matrix, Start, matmul},
};
use serde::{Deserialize, Serialize};

/// `x₀ ⊙ (x W + b) + x` (DCNv2: Wang et al. 2021, eq. 1).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Cross {
    /// `W`, square.
    pub weight: Weight,
    /// `b`.
    pub bias: Weight,
}

impl Graph {
    /// One layer of a cross network over `x`, crossing with the first layer's input `x0`.
    pub fn cross(&mut self, x0: Value, x: Value) -> Value {
        let (domain, width) = (self.domain(x), self.width(x));
        let weight = self.weight("weight", [width, width], Initializer::XavierNormal);
        let bias = self.weight("bias", [1, width], Initializer::Constant(0.0));
        self.record(super::Op::Cross(Cross { weight, bias }), &[x0, x], domain, width)
    }
}

kernel! {
    fn multiply_add['a](out: &'a mut [f32], x0: &'a [f32], x: &'a [f32]) {
        for ((out, x0), x) in out.iter_mut().zip(x0).zip(x) {
            *out = *out * x0 + x;
        }
    }
}

impl Operation for Cross {
    fn forward(&self, cx: &Context<'_>, inputs: Inputs<'_>, out: &mut [f32], saved: &mut Vec<f32>) {
        let width = self.weight.columns;
        let (x0, x) = (inputs.get(0), inputs.get(1));
        let rows = out.len() / width;
        let bias = Start::Row(self.bias.of(cx.weights));
        matmul(out, Matrix::new(x, rows, width), self.weight.of(cx.weights), width, bias);
        saved.clear();
        if cx.records() {
            saved.extend_from_slice(out);
        }
        multiply_add(out, x0, x);
    }

    #[cfg(feature = "train")]
    fn backward(&self, cx: &Context<'_>, mut pass: Backward<'_>) {
        let width = self.weight.columns;
        let (x0, x) = (pass.inputs.get(0), pass.inputs.get(1));
        let rows = pass.out_grad.len() / width;
        let saved = std::mem::take(&mut pass.saved);
        pass.pass(0, |g, i| g * saved[i]);
        pass.pass(1, |g, _| g);
        let out_grad = std::mem::take(&mut pass.out_grad);
        crate::kernels::activation::zip_map(out_grad, x0, |g, x0| g * x0);
        let transposed = Matrix::new(x, rows, width).transposed();
        matmul(self.weight.of_mut(pass.weight_grads), transposed, out_grad, width, Start::Existing);
        add_column_sums(self.bias.of_mut(pass.weight_grads), out_grad);
        // `pass` above wrote this gradient's first part.
        if let Some((grad, _)) = pass.input_grad(1) {
            matmul(grad, Matrix::new(out_grad, rows, width), cx.transposed(self.weight), width, Start::Existing);
        }
    }

    #[cfg(feature = "train")]
    fn weights(&self) -> Vec<Weight> {
        vec![self.weight, self.bias]
    }

    fn cost(&self, _: usize, _: usize, out_rows: usize) -> Cost {
        let width = self.weight.columns;
        Cost { flops: (out_rows * (2 * width * width + 3 * width)) as u64, bytes: 4 * (width * width) as u64 }
    }
}
