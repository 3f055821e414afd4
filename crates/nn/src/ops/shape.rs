//! Columns put side by side, and taken apart.

#[cfg(feature = "train")]
use super::Backward;
use super::{Cost, Operation};
use crate::engine::{Context, Inputs};
use crate::graph::{Graph, Value};
use serde::{Deserialize, Serialize};

/// Columns of several values side by side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Concat {
    /// The width of each input.
    pub widths: Vec<usize>,
}

/// Some columns of a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slice {
    /// The first column.
    pub start: usize,
    /// How many.
    pub width: usize,
    /// The width of the input.
    pub of: usize,
}

impl Graph {
    /// The columns of some values of one domain side by side. One value is returned as it is.
    ///
    /// # Panics
    /// If there is no value or their domains differ: a defect of the calling slot.
    pub fn concat(&mut self, values: &[Value]) -> Value {
        let domain = self.domain(values[0]);
        if values.len() == 1 {
            return values[0];
        }
        assert!(values.iter().all(|value| self.domain(*value) == domain), "only values of one domain go side by side");
        let widths: Vec<usize> = values.iter().map(|value| self.width(*value)).collect();
        let width = widths.iter().sum();
        self.record(super::Op::Concat(Concat { widths }), values, domain, width)
    }

    /// Some columns of a value.
    ///
    /// # Panics
    /// If the value is narrower: a defect of the calling slot.
    pub fn slice(&mut self, x: Value, start: usize, width: usize) -> Value {
        let of = self.width(x);
        assert!(start + width <= of, "columns {start}..{} of {of}", start + width);
        if width == of {
            return x;
        }
        let domain = self.domain(x);
        self.record(super::Op::Slice(Slice { start, width, of }), &[x], domain, width)
    }
}

impl Operation for Concat {
    fn forward(&self, _: &Context<'_>, inputs: Inputs<'_>, out: &mut [f32], _: &mut Vec<f32>) {
        let stride: usize = self.widths.iter().sum();
        let mut column = 0;
        for (index, width) in self.widths.iter().enumerate() {
            for (out, x) in out.chunks_exact_mut(stride).zip(inputs.get(index).chunks_exact(*width)) {
                out[column..column + width].copy_from_slice(x);
            }
            column += width;
        }
    }

    #[cfg(feature = "train")]
    fn backward(&self, _: &Context<'_>, mut pass: Backward<'_>) {
        let stride: usize = self.widths.iter().sum();
        let out_grad = std::mem::take(&mut pass.out_grad);
        let mut column = 0;
        for (index, width) in self.widths.iter().enumerate() {
            if let Some((grad, add)) = pass.input_grad(index) {
                for (grad, out) in grad.chunks_exact_mut(*width).zip(out_grad.chunks_exact(stride)) {
                    let out = &out[column..column + width];
                    if add {
                        grad.iter_mut().zip(out).for_each(|(grad, out)| *grad += out);
                    } else {
                        grad.copy_from_slice(out);
                    }
                }
            }
            column += width;
        }
    }

    fn cost(&self, _: usize, _: usize, _: usize) -> Cost {
        Cost::default()
    }
}

impl Operation for Slice {
    fn forward(&self, _: &Context<'_>, inputs: Inputs<'_>, out: &mut [f32], _: &mut Vec<f32>) {
        for (out, x) in out.chunks_exact_mut(self.width).zip(inputs.get(0).chunks_exact(self.of)) {
            out.copy_from_slice(&x[self.start..self.start + self.width]);
        }
    }

    #[cfg(feature = "train")]
    fn backward(&self, _: &Context<'_>, mut pass: Backward<'_>) {
        let out_grad = std::mem::take(&mut pass.out_grad);
        let Some(grad) = pass.input_grad_to_add(0) else { return };
        for (grad, out) in grad.chunks_exact_mut(self.of).zip(out_grad.chunks_exact(self.width)) {
            let grad = &mut grad[self.start..self.start + self.width];
            grad.iter_mut().zip(out).for_each(|(grad, out)| *grad += out);
        }
    }

    fn cost(&self, _: usize, _: usize, _: usize) -> Cost {
        Cost::default()
    }
}
