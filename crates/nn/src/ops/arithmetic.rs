//! Elementwise functions, and the sum of a row.

#[cfg(feature = "train")]
use super::Backward;
use super::{Cost, Operation};
use crate::engine::{Context, Inputs};
use crate::graph::{Graph, Value};
use crate::kernels::{
    activation::{exp, relu, sigmoid, softplus, tanh},
    kernel,
};
use serde::{Deserialize, Serialize};

/// An elementwise function of one value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unary {
    /// `1 / (1 + e^−x)`.
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
    /// `max(x, 0)`.
    Relu,
    /// `e^x`.
    Exp,
    /// `ln(1 + e^x)`.
    Softplus,
    /// `ln(1 / (1 + e^−x))`.
    LogSigmoid,
    /// `factor · x`.
    Scale(f32),
    /// `x + term`.
    Shift(f32),
    /// `x`, no less and no more than the bounds. Outside them the gradient is zero only where a step against it would lead further out:
    /// what once overshot can come back.
    Clamp([f32; 2]),
}

/// An elementwise function of two values of one shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Binary {
    /// `a + b`.
    Add,
    /// `a − b`.
    Subtract,
    /// `a · b`.
    Multiply,
}

/// The sum of each row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowSum {
    /// The width of the input.
    pub of: usize,
}

impl Graph {
    /// An elementwise function of one value.
    pub fn unary(&mut self, function: Unary, x: Value) -> Value {
        let (domain, width) = (self.domain(x), self.width(x));
        self.record(super::Op::Unary(function), &[x], domain, width)
    }

    /// An elementwise function of two values.
    ///
    /// # Panics
    /// If their shapes differ: a defect of the calling slot.
    pub fn binary(&mut self, function: Binary, a: Value, b: Value) -> Value {
        assert_eq!(self.values[a.index()], self.values[b.index()], "shapes of {function:?}");
        let (domain, width) = (self.domain(a), self.width(a));
        self.record(super::Op::Binary(function), &[a, b], domain, width)
    }

    /// `a + b`.
    pub fn add(&mut self, a: Value, b: Value) -> Value {
        self.binary(Binary::Add, a, b)
    }

    /// The sum of each row, one column.
    pub fn row_sum(&mut self, x: Value) -> Value {
        let (domain, of) = (self.domain(x), self.width(x));
        self.record(super::Op::RowSum(RowSum { of }), &[x], domain, 1)
    }
}

/// The gradient of a value that counts as no less and no more than some bounds. Outside it is zero only where a step against it would lead
/// further out: a value that once overshot can come back.
#[cfg(feature = "train")]
#[inline(always)]
pub(super) fn inward(x: f32, [low, high]: [f32; 2], grad: f32) -> f32 {
    if (x > high && grad < 0.0) || (x < low && grad > 0.0) { 0.0 } else { grad }
}

kernel! {
    fn map['a, F: Fn(f32) -> f32](out: &'a mut [f32], x: &'a [f32], f: F) {
        out.iter_mut().zip(x).for_each(|(out, x)| *out = f(*x));
    }

    fn map_two['a, F: Fn(f32, f32) -> f32](out: &'a mut [f32], a: &'a [f32], b: &'a [f32], f: F) {
        out.iter_mut().zip(a.iter().zip(b)).for_each(|(out, (a, b))| *out = f(*a, *b));
    }
}

impl Operation for Unary {
    fn forward(&self, _: &Context<'_>, inputs: Inputs<'_>, out: &mut [f32], _: &mut Vec<f32>) {
        let x = inputs.get(0);
        match *self {
            Self::Sigmoid => map(out, x, sigmoid),
            Self::Tanh => map(out, x, tanh),
            Self::Relu => map(out, x, relu),
            Self::Exp => map(out, x, exp),
            Self::Softplus => map(out, x, softplus),
            Self::LogSigmoid => map(out, x, |x| -softplus(-x)),
            Self::Scale(factor) => map(out, x, |x| factor * x),
            Self::Shift(term) => map(out, x, |x| x + term),
            Self::Clamp([low, high]) => map(out, x, |x| x.clamp(low, high)),
        }
    }

    #[cfg(feature = "train")]
    fn backward(&self, _: &Context<'_>, mut pass: Backward<'_>) {
        let (x, y) = (pass.inputs.get(0), pass.out);
        match *self {
            Self::Sigmoid => pass.pass(0, |g, i| g * y[i] * (1.0 - y[i])),
            Self::Tanh => pass.pass(0, |g, i| g * (1.0 - y[i] * y[i])),
            Self::Relu => pass.pass(0, |g, i| if y[i] > 0.0 { g } else { 0.0 }),
            Self::Exp => pass.pass(0, |g, i| g * y[i]),
            Self::Softplus => pass.pass(0, |g, i| g * sigmoid(x[i])),
            Self::LogSigmoid => pass.pass(0, |g, i| g * sigmoid(-x[i])),
            Self::Scale(factor) => pass.pass(0, |g, _| g * factor),
            Self::Shift(_) => pass.pass(0, |g, _| g),
            Self::Clamp(bounds) => pass.pass(0, |g, i| inward(x[i], bounds, g)),
        }
    }

    fn cost(&self, _: usize, _: usize, _: usize) -> Cost {
        Cost::default()
    }
}

impl Operation for Binary {
    fn forward(&self, _: &Context<'_>, inputs: Inputs<'_>, out: &mut [f32], _: &mut Vec<f32>) {
        let (a, b) = (inputs.get(0), inputs.get(1));
        match self {
            Self::Add => map_two(out, a, b, |a, b| a + b),
            Self::Subtract => map_two(out, a, b, |a, b| a - b),
            Self::Multiply => map_two(out, a, b, |a, b| a * b),
        }
    }

    #[cfg(feature = "train")]
    fn backward(&self, _: &Context<'_>, mut pass: Backward<'_>) {
        let (a, b) = (pass.inputs.get(0), pass.inputs.get(1));
        match self {
            Self::Add => (0..2).for_each(|input| pass.pass(input, |g, _| g)),
            Self::Subtract => {
                pass.pass(0, |g, _| g);
                pass.pass(1, |g, _| -g);
            }
            Self::Multiply => {
                pass.pass(0, |g, i| g * b[i]);
                pass.pass(1, |g, i| g * a[i]);
            }
        }
    }

    fn cost(&self, _: usize, _: usize, _: usize) -> Cost {
        Cost::default()
    }
}

impl Operation for RowSum {
    fn forward(&self, _: &Context<'_>, inputs: Inputs<'_>, out: &mut [f32], _: &mut Vec<f32>) {
        for (out, x) in out.iter_mut().zip(inputs.get(0).chunks_exact(self.of)) {
            *out = x.iter().sum();
        }
    }

    #[cfg(feature = "train")]
    fn backward(&self, _: &Context<'_>, mut pass: Backward<'_>) {
        let out_grad = std::mem::take(&mut pass.out_grad);
        let Some((grad, add)) = pass.input_grad(0) else { return };
        for (grad, g) in grad.chunks_exact_mut(self.of).zip(out_grad) {
            grad.iter_mut().for_each(|grad| *grad = if add { *grad + *g } else { *g });
        }
    }

    fn cost(&self, _: usize, _: usize, out_rows: usize) -> Cost {
        Cost { flops: (out_rows * self.of) as u64, bytes: 0 }
    }
}
