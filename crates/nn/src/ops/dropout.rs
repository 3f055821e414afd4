//! Dropout (Srivastava et al. 2014), inverted: what stays is scaled up in training, nothing happens in inference.

#[cfg(feature = "train")]
use super::Backward;
use super::{Cost, Operation};
use crate::engine::{Context, Inputs};
use crate::graph::{Domain, Graph, Value};
use crate::kernels::kernel;
use kitestring_core::Seed;
use serde::{Deserialize, Serialize};

/// Zeroes elements with a probability. Which ones depends only on the step's seed, the row and the column, so that
/// neither the workers nor the backward pass need to remember a mask.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Dropout {
    /// The probability of being dropped.
    pub probability: f32,
    /// What the rows stand for: a row is numbered within the batch, not within its tile.
    pub domain: Domain,
    /// Number of columns.
    pub width: usize,
    /// Distinguishes the dropouts of one graph.
    pub number: u64,
}

impl Graph {
    /// Dropout with a probability; 0 records nothing.
    pub fn dropout(&mut self, x: Value, probability: f32) -> Value {
        if probability <= 0.0 {
            return x;
        }
        let (domain, width) = (self.domain(x), self.width(x));
        let number = self.nodes().len() as u64;
        self.record(super::Op::Dropout(Dropout { probability, domain, width, number }), &[x], domain, width)
    }
}

/// The finalizer of MurmurHash3 (32 bits): cheap enough to vectorize, good enough for a mask.
#[inline(always)]
fn scramble(mut h: u32) -> u32 {
    h = (h ^ (h >> 16)).wrapping_mul(0x85eb_ca6b);
    h = (h ^ (h >> 13)).wrapping_mul(0xc2b2_ae35);
    h ^ (h >> 16)
}

/// Whether a column stays, by what its row drew and the threshold.
#[inline(always)]
fn stays(draw: [u32; 2], column: usize) -> bool {
    scramble(draw[0] ^ (column as u32).wrapping_mul(0x9e37_79b9)) >= draw[1]
}

kernel! {
    fn mask_row['a](into: &'a mut [f32], x: &'a [f32], draw: [u32; 2], scale: f32, add: bool) {
        for (column, (into, x)) in into.iter_mut().zip(x).enumerate() {
            let value = if stays(draw, column) { x * scale } else { 0.0 };
            *into = if add { *into + value } else { value };
        }
    }

    fn drop_row['a](values: &'a mut [f32], draw: [u32; 2], scale: f32) {
        for (column, value) in values.iter_mut().enumerate() {
            *value = if stays(draw, column) { *value * scale } else { 0.0 };
        }
    }
}

/// Dropout in place, for operations that drop out values of their own. `row` gives the number of each row within the batch.
pub(super) fn drop_rows(values: &mut [f32], width: usize, probability: f32, seed: Seed, row: impl Fn(usize) -> u64) {
    let (threshold, scale) = scaled(probability);
    for (at, values) in values.chunks_exact_mut(width).enumerate() {
        drop_row(values, [seed.bits_at(row(at)) as u32, threshold], scale);
    }
}

/// Draws from here on stay, times this.
fn scaled(probability: f32) -> (u32, f32) {
    ((f64::from(probability) * 4_294_967_296.0) as u32, 1.0 / (1.0 - probability))
}

impl Dropout {
    /// `into = (into +) x · mask / (1 − probability)`.
    fn mask(&self, seed: Seed, first_row: usize, x: &[f32], into: &mut [f32], add: bool) {
        let (threshold, scale) = scaled(self.probability);
        let seed = seed.at(self.number);
        let rows = into.chunks_exact_mut(self.width).zip(x.chunks_exact(self.width));
        for (row, (into, x)) in rows.enumerate() {
            let base = seed.bits_at((first_row + row) as u64) as u32;
            mask_row(into, x, [base, threshold], scale, add);
        }
    }

    fn first_row(&self, cx: &Context<'_>) -> usize {
        match self.domain {
            Domain::Rows => cx.rows.start,
            Domain::Positions(feature) => cx.positions(feature).start,
        }
    }
}

impl Operation for Dropout {
    fn forward(&self, cx: &Context<'_>, inputs: Inputs<'_>, out: &mut [f32], _: &mut Vec<f32>) {
        match cx.dropout_seed() {
            Some(seed) => self.mask(seed, self.first_row(cx), inputs.get(0), out, false),
            None => out.copy_from_slice(inputs.get(0)),
        }
    }

    #[cfg(feature = "train")]
    fn backward(&self, cx: &Context<'_>, mut pass: Backward<'_>) {
        let out_grad = std::mem::take(&mut pass.out_grad);
        let Some((grad, add)) = pass.input_grad(0) else { return };
        if let Some(seed) = cx.dropout_seed() {
            self.mask(seed, self.first_row(cx), out_grad, grad, add);
        } else if add {
            crate::kernels::reduce::add(grad, out_grad);
        } else {
            grad.copy_from_slice(out_grad);
        }
    }

    fn cost(&self, _: usize, _: usize, _: usize) -> Cost {
        Cost::default()
    }
}
