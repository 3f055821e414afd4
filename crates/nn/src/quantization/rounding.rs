//! A network that will be done in codes, as training sees it: quantization-aware training (Jacob et al. 2018).
//!
//! Forward, weights and what enters products are the numbers that their codes stand for, so that a loss is the device's. Rounding has no slope
//! to learn by; gradients go through it as if it were not there (straight-through, Bengio, Léonard and Courville 2013), where it is not: of an
//! activation out of its range nothing depends on how far out it is, so its gradient is zero. No weight is out of range, for its column's
//! range is its largest weight.

use super::affine::{Affine, Weights};
use super::product::{Codes, Product};
use crate::graph::Weight;
use kitestring_core::{Error, Result};
use std::collections::BTreeMap;

/// What of a graph is rounded: whole matrices of weights, and what enters products.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rounding {
    /// By where they start.
    weights: BTreeMap<usize, Weight>,
    products: BTreeMap<usize, (Weight, Affine)>,
}

impl Rounding {
    /// Rounds a whole matrix of weights, by columns.
    pub fn weights(&mut self, weight: Weight) {
        self.weights.insert(weight.offset, weight);
    }

    /// Rounds what enters the products with a matrix, a part of one that is rounded itself. Which matrices these may be, [`Graph::products`]
    /// says; where an attention's products are among them, the weights are [folded](crate::graph::Graph::fold).
    ///
    /// [`Graph::products`]: crate::graph::Graph::products
    pub fn inputs(&mut self, product: Weight, by: Affine) {
        self.products.insert(product.offset, (product, by));
    }

    /// The numbers that a network's weights are in codes.
    ///
    /// # Errors
    /// A weight that is not finite.
    pub fn round(&self, weights: &[f32], rounded: &mut Vec<f32>) -> Result<()> {
        rounded.clear();
        rounded.extend_from_slice(weights);
        for weight in self.weights.values() {
            let codes = Weights::per_column(weight.of(weights), weight.columns)?;
            weight.of_mut(rounded).copy_from_slice(&codes.decode());
        }
        Ok(())
    }

    /// The products of a network in codes, as a device does them.
    ///
    /// # Errors
    /// A weight that is not finite; a product of no rounded matrix, or of more inputs than an `i32` can sum.
    pub fn codes(&self, weights: &[f32]) -> Result<Codes> {
        let mut codes = Codes::default();
        for (product, by) in self.products.values() {
            let whole = self.weights.range(..=product.offset).next_back().map(|(_, weight)| *weight);
            let whole = whole.ok_or_else(|| Error::internal("a product of weights that are not rounded"))?;
            let coded = Weights::per_column(whole.of(weights), whole.columns)?;
            let first = product.offset - whole.offset;
            let part = coded.codes.get(first..first + product.rows * product.columns);
            let part = part.ok_or_else(|| Error::internal("a product of a part that its weights do not have"))?;
            codes.insert(*product, Product::new(&Weights { codes: part.to_vec(), scales: coded.scales }, *by)?)?;
        }
        Ok(codes)
    }

    /// How what enters a product is rounded, where it is.
    #[cfg(feature = "train")]
    pub(crate) fn of(&self, product: Weight) -> Option<Affine> {
        self.products.get(&product.offset).filter(|(of, _)| of.rows == product.rows).map(|(_, by)| *by)
    }
}

crate::kernels::kernel! {
    /// Rounds numbers to what their codes stand for; NaN stays NaN.
    pub(crate) fn round['a](numbers: &'a mut [f32], by: Affine) {
        numbers.iter_mut().for_each(|x| *x = if x.is_nan() { *x } else { by.decode(by.encode(*x)) });
    }
}

#[cfg(feature = "train")]
crate::kernels::kernel! {
    /// Takes out the gradient of what is out of range.
    pub(crate) fn clip['a](gradient: &'a mut [f32], numbers: &'a [f32], by: Affine) {
        gradient.iter_mut().zip(numbers).for_each(|(gradient, x)| *gradient = if by.holds(*x) { *gradient } else { 0.0 });
    }
}
