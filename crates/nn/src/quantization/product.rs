//! Products of a network's weights in codes: which of a graph's are done so, and how one is done.
//!
//! A row `x` of activations becomes codes `q` by the product's [`Affine`]; the exact sums `s = q · W` of 32-bit integers become
//! `(s − zero · Σ W) · scale_x · scale_w`, column by column; bias and activation follow in `f32`. So whatever computes the integers, the
//! numbers are the same to the bit.

use super::affine::{Affine, Weights};
use crate::graph::Weight;
use crate::kernels::activation::Activation;
use crate::kernels::int8::{self, Int8Path, Numbers, Packed};
use kitestring_core::{Error, Result};
use std::collections::BTreeMap;

/// Rows that are encoded, multiplied and decoded together: what is between stays in the first cache.
const ROWS: usize = 64;

/// A weight matrix in codes, and the codes of what it is multiplied with.
#[derive(Debug, Clone, PartialEq)]
pub struct Product {
    packed: Packed,
    by: Affine,
    /// The zero of activations times the sum of each column's codes.
    offsets: Vec<i32>,
    /// Both scales' product, column by column.
    scales: Vec<f32>,
}

impl Product {
    /// The product with a matrix, of activations in some codes.
    ///
    /// # Errors
    /// What cannot be packed: see [`Packed::new`].
    pub fn new(weights: &Weights, by: Affine) -> Result<Self> {
        Ok(Self::of(Packed::new(weights)?, weights, by))
    }

    /// The same, summed in a certain way: for tests and measurements.
    ///
    /// # Errors
    /// What cannot be packed: see [`Packed::with_path`].
    pub fn with_path(weights: &Weights, by: Affine, path: Int8Path) -> Result<Self> {
        Ok(Self::of(Packed::with_path(weights, path)?, weights, by))
    }

    fn of(packed: Packed, weights: &Weights, by: Affine) -> Self {
        let offsets = packed.sums().iter().map(|sum| i32::from(by.zero) * sum).collect();
        let scales = weights.scales.iter().map(|scale| scale * by.scale).collect();
        Self { packed, by, offsets, scales }
    }

    /// The number of outputs.
    pub fn outputs(&self) -> usize {
        self.packed.outputs()
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.packed.bytes() + 8 * self.outputs()
    }

    /// How many floats of memory a product needs for the moment.
    pub fn scratch(&self) -> usize {
        ROWS * (self.packed.stride() / 4 + self.outputs())
    }

    /// `out = activation(x W + bias)`, row by row; a row of `x` with a NaN, which has no code, gives a row of NaN. `scratch` has at least
    /// [`Self::scratch`] floats, which are overwritten.
    ///
    /// # Panics
    /// If the slices do not have whole rows, as many of each, or the memory is too little.
    pub fn multiply(
        &self,
        x: &[f32],
        bias: Option<&[f32]>,
        activation: Activation,
        out: &mut [f32],
        scratch: &mut [f32],
    ) {
        let (inputs, outputs) = (self.packed.inputs(), self.outputs());
        if inputs == 0 || outputs == 0 {
            out.fill(0.0);
            return;
        }
        let rows = x.chunks(ROWS * inputs).zip(out.chunks_mut(ROWS * outputs));
        for (x, out) in rows {
            let (codes, sums) = self.room(x.len() / inputs, scratch);
            self.encode(x, codes);
            let of = self.numbers(&[], bias.unwrap_or_default(), activation);
            int8::dense(out, codes, &self.packed, of, sums);
            if has_nan(x) {
                let rows = x.chunks_exact(inputs).zip(out.chunks_exact_mut(outputs));
                rows.filter(|(x, _)| has_nan(x)).for_each(|(_, out)| out.fill(f32::NAN));
            }
        }
    }

    /// The codes of what enters it.
    pub(crate) fn by(&self) -> Affine {
        self.by
    }

    /// How far apart rows of codes are.
    pub(crate) fn stride(&self) -> usize {
        self.packed.stride()
    }

    /// The weights.
    pub(crate) fn packed(&self) -> &Packed {
        &self.packed
    }

    /// What sums become, with a row of `parts` for each row of them, where there are any, and one `row` for all.
    pub(crate) fn numbers<'a>(&'a self, parts: &'a [f32], row: &'a [f32], activation: Activation) -> Numbers<'a> {
        Numbers { offsets: &self.offsets, scales: &self.scales, parts, row, activation }
    }

    /// Room for the codes of some rows, and for the sums of their products.
    fn room<'a>(&self, rows: usize, scratch: &'a mut [f32]) -> (&'a mut [u8], &'a mut [i32]) {
        let (codes, sums) = (rows * self.packed.stride() / 4, rows * self.outputs());
        let (codes, sums) = scratch[..codes + sums].split_at_mut(codes);
        (bytemuck::cast_slice_mut(codes), bytemuck::cast_slice_mut(sums))
    }

    fn encode(&self, x: &[f32], codes: &mut [u8]) {
        let (inputs, stride) = (self.packed.inputs(), self.packed.stride());
        if inputs == stride {
            return int8::encode(codes, x, self.by);
        }
        for (codes, x) in codes.chunks_exact_mut(stride).zip(x.chunks_exact(inputs)) {
            int8::encode(codes, x, self.by);
        }
    }
}

/// Whether one of some numbers is NaN: looked for in all, without a branch, so that the loop vectorizes.
fn has_nan(numbers: &[f32]) -> bool {
    numbers.iter().fold(false, |found, x| found | x.is_nan())
}

/// The products of a graph that are done in codes, by the weights they multiply with.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Codes {
    products: BTreeMap<usize, Product>,
}

impl Codes {
    /// Has the products with a matrix of weights done in codes. Which matrices these may be, [`Graph::products`] says.
    ///
    /// [`Graph::products`]: crate::graph::Graph::products
    ///
    /// # Errors
    /// A product of another shape.
    pub fn insert(&mut self, weight: Weight, product: Product) -> Result<()> {
        if (product.packed.inputs(), product.outputs()) != (weight.rows, weight.columns) {
            return Err(Error::format("codes of a matrix of another shape"));
        }
        self.products.insert(weight.offset, product);
        Ok(())
    }

    /// The product with a matrix of weights, where it is done in codes.
    pub fn get(&self, weight: Weight) -> Option<&Product> {
        self.products.get(&weight.offset).filter(|product| product.packed.inputs() == weight.rows)
    }

    /// Those of weights that do not start in some ranges of the flat vector of all.
    #[cfg(feature = "train")]
    pub(crate) fn without(&self, changed: &[std::ops::Range<usize>]) -> Self {
        let stays = |offset: &usize| !changed.iter().any(|range| range.contains(offset));
        let products = self.products.iter().filter(|(offset, _)| stays(offset));
        Self { products: products.map(|(offset, product)| (*offset, product.clone())).collect() }
    }

    /// How their sums are computed, where there are any.
    pub fn path(&self) -> Option<Int8Path> {
        self.products.values().next().map(|product| product.packed.path())
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.products.values().map(Product::bytes).sum()
    }

    /// Whether no product is done in codes.
    pub fn is_empty(&self) -> bool {
        self.products.is_empty()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use kitestring_core::Seed;

    /// What has no code is not taken for the least one: its row is NaN, and no other.
    #[test]
    fn nan_is_no_code() {
        let (rows, inputs, outputs) = (70, 6, 3);
        let weights = Weights::per_column(&[0.5; 18], outputs).unwrap();
        let product = Product::new(&weights, Affine::of_range(-1.0, 1.0).unwrap()).unwrap();
        let mut x = vec![0.25; rows * inputs];
        x[66 * inputs + 4] = f32::NAN;
        let mut out = vec![0.0; rows * outputs];
        product.multiply(&x, None, Activation::Sigmoid, &mut out, &mut vec![0.0; product.scratch()]);
        for (row, out) in out.chunks(outputs).enumerate() {
            assert!(out.iter().all(|x| x.is_nan() == (row == 66)), "{row}: {out:?}");
        }
        let mut numbers = [0.3, f32::NAN];
        crate::quantization::rounding::round(&mut numbers, Affine::of_range(-1.0, 1.0).unwrap());
        assert!(numbers[0].is_finite() && numbers[1].is_nan());
    }

    /// The same numbers by 64-bit integers and the formula above, to the bit.
    #[test]
    fn numbers_are_those_of_integers() {
        let seed = Seed(7);
        for (rows, inputs, outputs) in [(1, 5, 1), (70, 16, 33), (130, 31, 16)] {
            let x: Vec<f32> = (0..rows * inputs).map(|at| seed.normal_at(at as u64)).collect();
            let w: Vec<f32> = (0..inputs * outputs).map(|at| seed.child("w").normal_at(at as u64)).collect();
            let bias: Vec<f32> = (0..outputs).map(|at| seed.child("b").normal_at(at as u64)).collect();
            let by = Affine::of_range(-2.5, 3.0).unwrap();
            let weights = Weights::per_column(&w, outputs).unwrap();
            let product = Product::new(&weights, by).unwrap();
            let mut found = vec![f32::NAN; rows * outputs];
            product.multiply(&x, Some(&bias), Activation::Relu, &mut found, &mut vec![f32::NAN; product.scratch()]);
            for row in 0..rows {
                for column in 0..outputs {
                    let terms = (0..inputs).map(|k| {
                        let code = i64::from(by.encode(x[row * inputs + k])) - i64::from(by.zero);
                        code * i64::from(weights.codes[k * outputs + column])
                    });
                    let sum: i64 = terms.sum();
                    let number = sum as f32 * (weights.scales[column] * by.scale) + bias[column];
                    assert_eq!(found[row * outputs + column], number.max(0.0), "{row} {column}");
                }
            }
        }
    }
}
