//! `activation(x W + b)`.

#[cfg(feature = "train")]
use super::Backward;
use super::{Cost, Operation};
use crate::engine::{Context, Inputs};
use crate::graph::{Graph, Initializer, Value, Weight};
#[cfg(feature = "train")]
use crate::kernels::reduce::{add, add_column_sums};
use crate::kernels::{
    activation::Activation,
    matmul::{Matrix, Start, matmul},
};
#[cfg(feature = "train")]
use crate::quantization::rounding::clip;
use crate::quantization::rounding::round;
use serde::{Deserialize, Serialize};

/// `activation(x W + b)`, with `W` of `inputs × outputs`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Linear {
    /// `W`.
    pub weight: Weight,
    /// `b`, if any.
    pub bias: Option<Weight>,
    /// What follows.
    pub activation: Activation,
}

impl Graph {
    /// `activation(x W + b)`: `rows × inputs` to `rows × outputs`.
    pub fn linear(&mut self, x: Value, outputs: usize, activation: Activation) -> Value {
        let bias = self.weight("bias", [1, outputs], Initializer::Constant(0.0));
        let weight = self.weight("weight", [self.width(x), outputs], Initializer::XavierNormal);
        self.linear_with(x, Linear { weight, bias: Some(bias), activation })
    }

    /// `x W`, without bias.
    pub fn linear_without_bias(&mut self, x: Value, outputs: usize) -> Value {
        self.linear_without_bias_from(x, outputs, Initializer::XavierNormal)
    }

    /// The same, where `W` starts another way.
    pub fn linear_without_bias_from(&mut self, x: Value, outputs: usize, initializer: Initializer) -> Value {
        let weight = self.weight("weight", [self.width(x), outputs], initializer);
        self.linear_with(x, Linear { weight, bias: None, activation: Activation::None })
    }

    fn linear_with(&mut self, x: Value, linear: Linear) -> Value {
        let domain = self.domain(x);
        self.record(super::Op::Linear(linear), &[x], domain, linear.weight.columns)
    }
}

impl Operation for Linear {
    fn forward(&self, cx: &Context<'_>, inputs: Inputs<'_>, out: &mut [f32], saved: &mut Vec<f32>) {
        let (k, n) = (self.weight.rows, self.weight.columns);
        let x = inputs.get(0);
        if let Some(product) = cx.product(self.weight) {
            if saved.len() < product.scratch() {
                saved.resize(product.scratch(), 0.0);
            }
            return product.multiply(x, self.bias.map(|bias| bias.of(cx.weights)), self.activation, out, saved);
        }
        let x = match cx.rounding(self.weight) {
            Some(by) => {
                saved.clear();
                saved.extend_from_slice(x);
                round(saved, by);
                saved
            }
            None => x,
        };
        matmul(out, Matrix::new(x, x.len() / k, k), self.weight.of(cx.weights), n, Start::Zero);
        match self.bias {
            Some(bias) => self.activation.apply_with_bias(out, bias.of(cx.weights)),
            None => self.activation.apply(out),
        }
    }

    #[cfg(feature = "train")]
    fn backward(&self, cx: &Context<'_>, mut pass: Backward<'_>) {
        let (k, n) = (self.weight.rows, self.weight.columns);
        self.activation.chain(pass.out_grad, pass.out);
        let rows = pass.out_grad.len() / n;
        let (x, rounding) = (pass.inputs.get(0), cx.rounding(self.weight));
        let read = if rounding.is_some() { &*pass.saved } else { x };
        let read = Matrix::new(read, rows, k).transposed();
        matmul(self.weight.of_mut(pass.weight_grads), read, pass.out_grad, n, Start::Existing);
        if let Some(bias) = self.bias {
            add_column_sums(bias.of_mut(pass.weight_grads), pass.out_grad);
        }
        // The gradient is taken out for the moment because the input's lives in the same arena.
        let out_grad = std::mem::take(&mut pass.out_grad);
        if let Some(by) = rounding {
            // Nothing reads what was saved any more.
            let scratch = std::mem::take(&mut pass.saved);
            matmul(scratch, Matrix::new(out_grad, rows, n), cx.transposed(self.weight), k, Start::Zero);
            clip(scratch, x, by);
            match pass.input_grad(0) {
                Some((grad, true)) => add(grad, scratch),
                Some((grad, false)) => grad.copy_from_slice(scratch),
                None => {}
            }
        } else if let Some((grad, add)) = pass.input_grad(0) {
            matmul(grad, Matrix::new(out_grad, rows, n), cx.transposed(self.weight), k, Start::adding(add));
        }
    }

    fn products(&self) -> Vec<Weight> {
        vec![self.weight]
    }

    fn observe(&self, _: &Context<'_>, inputs: Inputs<'_>, _: &[f32], each: &mut dyn FnMut(Weight, &[f32])) {
        each(self.weight, inputs.get(0));
    }

    #[cfg(feature = "train")]
    fn weights(&self) -> Vec<Weight> {
        std::iter::once(self.weight).chain(self.bias).collect()
    }

    fn cost(&self, _: usize, _: usize, out_rows: usize) -> Cost {
        let size = self.weight.rows * self.weight.columns;
        Cost { flops: 2 * (out_rows * size) as u64, bytes: 4 * size as u64 }
    }
}
