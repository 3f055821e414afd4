//! The softmax of each row.

#[cfg(feature = "train")]
use super::Backward;
use super::{Cost, Operation};
use crate::engine::{Context, Inputs};
use crate::graph::{Graph, Value};
use crate::kernels::{activation::exp, kernel};
use serde::{Deserialize, Serialize};

/// `e^x_c / Σ e^x_c` over the columns of each row that are heard, and 0 in the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Softmax {
    /// Number of columns.
    pub width: usize,
    /// Which columns are heard; all where absent.
    pub heard: Option<Heard>,
}

/// Which columns are heard: those that are not zero in a row of kept numbers ([`grow`](crate::grow)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// Where the rows start among the states.
    pub start: usize,
    /// The level whose scenarios have a row each, and samples of an unseen one a last row. Where absent there is one row for all.
    pub level: Option<usize>,
}

impl Graph {
    /// The softmax of each row.
    pub fn softmax(&mut self, x: Value) -> Value {
        self.softmax_of(x, None)
    }

    /// The softmax of each row over the columns that are heard.
    pub(crate) fn softmax_of(&mut self, x: Value, heard: Option<Heard>) -> Value {
        let (domain, width) = (self.domain(x), self.width(x));
        self.record(super::Op::Softmax(Softmax { width, heard }), &[x], domain, width)
    }
}

/// The softmax of one row in place. Minus infinity becomes zero, in all columns too.
#[inline(always)]
pub(crate) fn softmax(row: &mut [f32]) {
    let highest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for x in row.iter_mut() {
        // The exponential itself never gets to zero.
        *x = if *x == f32::NEG_INFINITY { 0.0 } else { exp(*x - highest) };
        sum += *x;
    }
    if sum != 0.0 {
        row.iter_mut().for_each(|x| *x /= sum);
    }
}

/// From the gradient of a softmax's result to that of its argument, in place.
#[inline(always)]
#[cfg(feature = "train")]
pub(crate) fn softmax_chain(grad: &mut [f32], y: &[f32]) {
    let mean: f32 = grad.iter().zip(y).map(|(g, y)| g * y).sum();
    grad.iter_mut().zip(y).for_each(|(g, y)| *g = y * (*g - mean));
}

kernel! {
    fn softmax_rows['a](out: &'a mut [f32], width: usize) {
        out.chunks_exact_mut(width).for_each(softmax);
    }
}

impl Operation for Softmax {
    fn forward(&self, cx: &Context<'_>, inputs: Inputs<'_>, out: &mut [f32], _: &mut Vec<f32>) {
        out.copy_from_slice(inputs.get(0));
        if let Some(Heard { start, level }) = self.heard {
            for (row, out) in out.chunks_exact_mut(self.width).enumerate() {
                let listener = level.map_or(0, |level| cx.seen_scenario(level, row, self.width).unwrap_or(self.width));
                let heard = &cx.state[start + listener * self.width..][..self.width];
                let silent = out.iter_mut().zip(heard).filter(|(_, heard)| **heard == 0.0);
                silent.for_each(|(out, _)| *out = f32::NEG_INFINITY);
            }
        }
        softmax_rows(out, self.width);
    }

    #[cfg(feature = "train")]
    fn backward(&self, _: &Context<'_>, mut pass: Backward<'_>) {
        for (grad, y) in pass.out_grad.chunks_exact_mut(self.width).zip(pass.out.chunks_exact(self.width)) {
            softmax_chain(grad, y);
        }
        pass.pass(0, |g, _| g);
    }

    fn cost(&self, _: usize, _: usize, out_rows: usize) -> Cost {
        Cost { flops: (20 * out_rows * self.width) as u64, bytes: 0 }
    }
}
