//! The linear systems of one side's rows, given the other side's vectors.

use super::config::{Config, Zeros};
use kitestring_nn::engine::{Workers, each_piece};
use kitestring_nn::kernels::matmul::{Matrix, Start, matmul};
use kitestring_nn::kernels::reduce::add;
use std::ops::Range;

/// The systems `(α₀ G + Σ_j (r_j − taken) q_j q_jᵀ + λ_row I) x = Σ_j r_j q_j` of all rows of a side, with `j` over what a row interacted
/// with and `G` the Gram matrix of the other side's vectors.
#[derive(Debug)]
pub(super) struct Systems<'a> {
    /// The other side's vectors.
    pub(super) fixed: &'a [f32],
    /// How long a vector is.
    pub(super) dimension: usize,
    /// `α₀ G`.
    pub(super) shared: Vec<f32>,
    /// What `α₀ G` gave observed pairs and they do not have.
    pub(super) taken: f32,
    config: &'a Config,
}

impl<'a> Systems<'a> {
    /// Sums the other side's Gram matrix.
    pub(super) fn new(fixed: &'a [f32], dimension: usize, config: &'a Config, workers: &dyn Workers) -> Self {
        let mut shared = gram(fixed, dimension, workers);
        shared.iter_mut().for_each(|x| *x *= config.unobserved_weight);
        let taken = if config.zeros == Zeros::Unobserved { config.unobserved_weight } else { 0.0 };
        Self { fixed, dimension, shared, taken, config }
    }

    /// Some columns of `α₀ G`, row-major.
    pub(super) fn columns(&self, columns: Range<usize>) -> Vec<f32> {
        self.shared.chunks_exact(self.dimension).flat_map(|row| &row[columns.clone()]).copied().collect()
    }

    /// `λ` of a row with so many interactions.
    pub(super) fn ridge(&self, interactions: usize) -> f32 {
        ridge(self.config, interactions, self.fixed.len() / self.dimension)
    }
}

/// `λ (n + α₀ · others)^ν` of a row with `n` interactions, where the other side has so many rows.
pub(super) fn ridge(config: &Config, interactions: usize, others: usize) -> f32 {
    let known = interactions as f64 + f64::from(config.unobserved_weight) * others as f64;
    (f64::from(config.regularization) * known.powf(f64::from(config.regularization_exponent))) as f32
}

/// Pieces that a sum over rows is cut into: enough for as many workers, and the same for any number of them.
const PIECES: usize = 16;

/// `Σ x xᵀ` over the rows of a matrix. The same to the bit for any number of workers.
pub(super) fn gram(x: &[f32], dimension: usize, workers: &dyn Workers) -> Vec<f32> {
    let rows = (x.len() / dimension).div_ceil(PIECES).max(1);
    let mut parts = vec![Vec::new(); PIECES];
    each_piece(
        workers,
        parts.iter_mut().zip(x.chunks(rows * dimension)),
        || (),
        |(), (part, x)| {
            *part = vec![0.0; dimension * dimension];
            let rows = Matrix::new(x, x.len() / dimension, dimension);
            matmul(part, rows.transposed(), x, dimension, Start::Zero);
        },
    );
    let mut sum = vec![0.0; dimension * dimension];
    parts.iter().filter(|part| !part.is_empty()).for_each(|part| add(&mut sum, part));
    sum
}
