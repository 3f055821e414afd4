//! The lists of a ragged feature pooled to one row a sample.

#[cfg(feature = "train")]
use super::Backward;
use super::{Cost, Operation};
use crate::engine::{Context, Inputs};
use crate::graph::{Domain, Graph, Value};
use crate::kernels::{kernel, reduce::axpy};
use serde::{Deserialize, Serialize};

/// How a list becomes one row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// The mean of its rows.
    #[default]
    Mean,
    /// Their sum.
    Sum,
    /// The maximum of each column.
    Max,
}

kitestring_core::choices!(Pooling { Mean, Sum, Max });

/// Pools the rows of each sample's list. An empty list becomes zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// How.
    pub pooling: Pooling,
    /// The feature whose lists count.
    pub feature: usize,
    /// Number of columns.
    pub width: usize,
}

impl Graph {
    /// The rows of each sample's list pooled: `positions × width` to `samples × width`.
    ///
    /// # Panics
    /// If the value has one row a sample already: a defect of the calling slot.
    pub fn pool(&mut self, x: Value, pooling: Pooling) -> Value {
        let width = self.width(x);
        let Domain::Positions(feature) = self.domain(x) else { panic!("only lists can be pooled") };
        self.record(super::Op::Pool(Pool { pooling, feature, width }), &[x], Domain::Rows, width)
    }
}

kernel! {
    fn pool['a](out: &'a mut [f32], x: &'a [f32], op: &'a Pool, cx: &'a Context<'a>) {
        let width = op.width;
        for (row, out) in out.chunks_exact_mut(width).enumerate() {
            let list = cx.segment(op.feature, row);
            let rows = x[list.start * width..list.end * width].chunks_exact(width);
            if op.pooling == Pooling::Max {
                out.fill(if list.is_empty() { 0.0 } else { f32::NEG_INFINITY });
                for x in rows {
                    for (out, x) in out.iter_mut().zip(x) {
                        // `f32::max` would hide NaN.
                        *out = if *x > *out || x.is_nan() { *x } else { *out };
                    }
                }
            } else {
                out.fill(0.0);
                let factor = op.factor(list.len());
                rows.for_each(|x| axpy(out, factor, x));
            }
        }
    }
}

impl Operation for Pool {
    fn forward(&self, cx: &Context<'_>, inputs: Inputs<'_>, out: &mut [f32], _: &mut Vec<f32>) {
        pool(out, inputs.get(0), self, cx);
    }

    #[cfg(feature = "train")]
    fn backward(&self, cx: &Context<'_>, mut pass: Backward<'_>) {
        let (x, out, width) = (pass.inputs.get(0), pass.out, self.width);
        let out_grad = std::mem::take(&mut pass.out_grad);
        let Some(grad) = pass.input_grad_to_add(0) else { return };
        for (row, (g, y)) in out_grad.chunks_exact(width).zip(out.chunks_exact(width)).enumerate() {
            let list = cx.segment(self.feature, row);
            let elements = list.start * width..list.end * width;
            if self.pooling != Pooling::Max {
                let factor = self.factor(list.len());
                grad[elements].chunks_exact_mut(width).for_each(|grad| axpy(grad, factor, g));
                continue;
            }
            // The first maximum gets the gradient, as elsewhere.
            for c in 0..width {
                let mut column = elements.clone().skip(c).step_by(width);
                if let Some(first) = column.find(|at| x[*at] == y[c]) {
                    grad[first] += g[c];
                }
            }
        }
    }

    fn cost(&self, _: usize, positions: usize, _: usize) -> Cost {
        Cost { flops: (positions * self.width) as u64, bytes: 0 }
    }
}

impl Pool {
    #[inline(always)]
    fn factor(&self, len: usize) -> f32 {
        if self.pooling == Pooling::Mean && len > 0 { 1.0 / len as f32 } else { 1.0 }
    }
}
