//! A loss of each pair, and gravity between all pairs (Krichene et al. 2019).
//!
//! `mean_i ℓ(⟨u_i, v_i⟩, s_i) + λ mean_ij (⟨u_i, v_j⟩ − p_ij)²`. With the moments held fixed, the gradient of gravity for a pair's query is
//! `2 (G_v u − H_v q)`, and for its item `2 (G_u v − H_u r)`: both sides' share, so that the mean over pairs is the gradient of the whole.

use super::config::{Fit, Gramian, Prior};
use super::estimator::Moving;
use super::moments::{Moments, PriorVectors};
use super::pairs::{Gradients, Pairs, each_part};
use kitestring_core::Result;
use kitestring_nn::engine::Workers;
use kitestring_nn::kernels::activation::{sigmoid, softplus};
use kitestring_nn::kernels::matmul::{Matrix, Start, matmul};
use kitestring_nn::kernels::reduce::{axpy, dot};

/// What a step's loss is made of.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Parts {
    /// The mean loss of the pairs.
    pub fit: f64,
    /// Gravity as estimated, `mean_ij (⟨u_i, v_j⟩ − p_ij)²` less the mean of p².
    pub gravity: f64,
}

/// The Gramian objective with its memory. A warm step allocates nothing that grows with the batch.
#[derive(Debug)]
pub(super) struct GramianLoss {
    config: Gramian,
    most_frequent: f32,
    pub moving: Moving,
    prior: PriorVectors,
    products: Vec<f32>,
}

impl Fit {
    /// The loss of an inner product, and its slope.
    #[inline(always)]
    fn of(self, x: f32, label: f32) -> (f32, f32) {
        match self {
            Self::Squared => ((x - label) * (x - label), 2.0 * (x - label)),
            Self::Logistic => (softplus(x) - label * x, sigmoid(x) - label),
        }
    }
}

impl Prior {
    /// The dimension of its vectors.
    pub(crate) fn rank(self) -> usize {
        usize::from(self != Self::None)
    }

    /// The vectors of a step. `most_frequent` is the largest share of training pairs that an item has.
    pub(crate) fn fill(self, pairs: &Pairs<'_>, most_frequent: f32, into: &mut PriorVectors) {
        into.rank = self.rank();
        into.queries.clear();
        into.items.clear();
        if self == Self::None {
            return;
        }
        into.queries.resize(pairs.len(), 1.0);
        let items = (0..pairs.links.items()).map(|item| match self {
            Self::None => 0.0,
            Self::Constant { value } => value,
            Self::Popularity { value, power } => {
                value * (pairs.frequency[item] / most_frequent.max(f32::MIN_POSITIVE)).powf(power)
            }
        });
        into.items.extend(items);
    }
}

impl GramianLoss {
    /// `pairs` is the number of all training pairs, `most_frequent` the largest share of them that an item has.
    pub fn new(config: Gramian, dimension: usize, pairs: u64, most_frequent: f32) -> Result<Self> {
        let moving = Moving::new(config.estimator, dimension, config.prior.rank(), pairs)?;
        Ok(Self { config, most_frequent, moving, prior: PriorVectors::default(), products: Vec::new() })
    }

    /// λ.
    pub fn lambda(&self) -> f64 {
        self.config.lambda.into()
    }

    /// The loss of a step and its gradients; then the estimate is brought up to date.
    pub fn gradients(
        &mut self,
        pairs: &Pairs<'_>,
        gradients: &mut Gradients<'_>,
        workers: &dyn Workers,
    ) -> Result<Parts> {
        self.config.prior.fill(pairs, self.most_frequent, &mut self.prior);
        let first = self.moving.is_empty();
        if first {
            self.moving.show(pairs, &self.prior)?;
        }
        self.products.resize(pairs.len(), 0.0);
        each_part(workers, &mut self.products, 1, &|first, products| {
            for (pair, product) in (first..).zip(products) {
                *product = dot(pairs.query(pair), pairs.item(pairs.links.item_of()[pair] as usize));
            }
        });
        let share = 1.0 / pairs.len().max(1) as f32;
        let mut fit = 0.0;
        for (product, label) in self.products.iter_mut().zip(pairs.labels) {
            let (loss, slope) = self.config.fit.of(*product, *label);
            fit += f64::from(loss);
            *product = share * slope;
        }
        let moments = self.moving.estimate();
        let gravity = Gravity { moments, prior: &self.prior, factor: 2.0 * self.config.lambda * share };
        let slopes = &self.products;
        each_part(workers, gradients.queries, pairs.dimension, &|first, into| {
            gravity.of_queries(pairs, first, into);
            for (pair, into) in (first..).zip(into.chunks_exact_mut(pairs.dimension)) {
                axpy(into, slopes[pair], pairs.item(pairs.links.item_of()[pair] as usize));
            }
        });
        each_part(workers, gradients.items, pairs.dimension, &|first, into| {
            gravity.of_items(pairs, first, into);
            for (item, into) in (first..).zip(into.chunks_exact_mut(pairs.dimension)) {
                for pair in pairs.links.of_item(item) {
                    axpy(into, slopes[*pair as usize], pairs.query(*pair as usize));
                }
            }
        });
        let parts = Parts { fit: fit * f64::from(share), gravity: moments.gravity() };
        if !first {
            self.moving.show(pairs, &self.prior)?;
        }
        Ok(parts)
    }
}

/// Gravity with its moments held fixed.
pub(super) struct Gravity<'a> {
    pub moments: &'a Moments,
    pub prior: &'a PriorVectors,
    /// What each pair's part is multiplied by.
    pub factor: f32,
}

impl Gravity<'_> {
    /// `factor · w (G_v u − H_v q)` of the queries from `first` on.
    pub fn of_queries(&self, pairs: &Pairs<'_>, first: usize, into: &mut [f32]) {
        let (k, rank) = (pairs.dimension, self.prior.rank);
        let rows = into.len() / k;
        let vectors = Matrix::new(&pairs.queries[first * k..(first + rows) * k], rows, k);
        matmul(into, vectors, self.moments.items.values(), k, Start::Zero);
        self.pull(into, k, &self.moments.item_prior, &self.prior.queries[first * rank..], |row| {
            pairs.query_weight(first + row)
        });
    }

    /// `factor · w (G_u v − H_u r)` of the items from `first` on, each as often as it has pairs.
    pub fn of_items(&self, pairs: &Pairs<'_>, first: usize, into: &mut [f32]) {
        let (k, rank) = (pairs.dimension, self.prior.rank);
        let rows = into.len() / k;
        let vectors = Matrix::new(&pairs.items[first * k..(first + rows) * k], rows, k);
        matmul(into, vectors, self.moments.queries.values(), k, Start::Zero);
        self.pull(into, k, &self.moments.query_prior, &self.prior.items[first * rank..], |row| {
            pairs.item_weight(first + row)
        });
    }

    fn pull(&self, into: &mut [f32], k: usize, h: &[f32], prior: &[f32], weight: impl Fn(usize) -> f32) {
        let rank = self.prior.rank;
        for (row, into) in into.chunks_exact_mut(k).enumerate() {
            if rank > 0 {
                let prior = &prior[row * rank..(row + 1) * rank];
                into.iter_mut().zip(h.chunks_exact(rank)).for_each(|(into, h)| *into -= dot(h, prior));
            }
            let factor = self.factor * weight(row);
            into.iter_mut().for_each(|into| *into *= factor);
        }
    }
}
