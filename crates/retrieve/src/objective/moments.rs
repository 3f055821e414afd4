//! What gravity needs to know of all pairs: Gram matrices, and vectors against priors.

use super::gram::Gram;
use super::pairs::Pairs;
use kitestring_core::{Error, Result};
use kitestring_nn::kernels::matmul::{Matrix, Start, matmul};
use std::collections::BTreeMap;

/// The prior of a step's pairs: `p_ij = ⟨q_i, r_j⟩`, of a low rank.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PriorVectors {
    /// The dimension of `q` and `r`; 0 for a prior of zero.
    pub rank: usize,
    /// `q` of each pair's query, `pairs × rank`.
    pub queries: Vec<f32>,
    /// `r` of each item row, `items × rank`.
    pub items: Vec<f32>,
}

/// `G_u = mean u uᵀ`, `G_v = mean v vᵀ`, `H_u = mean u qᵀ`, `H_v = mean v rᵀ`, each mean over training pairs (or as weighted).
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    /// `G_u`, `k × k`.
    pub queries: Gram,
    /// `G_v`, `k × k`.
    pub items: Gram,
    /// `H_u`, `k × rank`.
    pub query_prior: Vec<f32>,
    /// `H_v`, `k × rank`.
    pub item_prior: Vec<f32>,
}

/// Names of the parts in a file.
const NAMES: [&str; 4] = ["queries", "items", "query_prior", "item_prior"];

impl Moments {
    /// All zero, for vectors of a dimension and priors of a rank.
    pub fn zero(dimension: usize, rank: usize) -> Self {
        let (gram, prior) = (Gram::zero(dimension), vec![0.0; dimension * rank]);
        Self { queries: gram.clone(), items: gram, query_prior: prior.clone(), item_prior: prior }
    }

    /// `self + factor · mean` over the pairs of a step.
    pub fn add_mean(&mut self, pairs: &Pairs<'_>, prior: &PriorVectors, factor: f32, scratch: &mut Vec<f32>) {
        let (share, items) = (factor / pairs.len().max(1) as f32, pairs.links.items());
        let query_weight = |pair: usize| share * pairs.query_weight(pair);
        let item_weight = |item: usize| share * pairs.item_weight(item);
        self.queries.add(pairs.queries, query_weight, scratch);
        self.items.add(pairs.items, item_weight, scratch);
        let (k, rank) = (pairs.dimension, prior.rank);
        add_outer(
            &mut self.query_prior,
            (pairs.queries, pairs.len(), k),
            (&prior.queries, rank),
            query_weight,
            scratch,
        );
        add_outer(&mut self.item_prior, (pairs.items, items, k), (&prior.items, rank), item_weight, scratch);
    }

    /// `self ← factor · self`.
    pub fn scale(&mut self, factor: f32) {
        self.queries.scale(factor);
        self.items.scale(factor);
        self.query_prior.iter_mut().chain(&mut self.item_prior).for_each(|value| *value *= factor);
    }

    /// `self + factor · other`.
    pub fn add_scaled(&mut self, factor: f32, other: &Self) {
        self.queries.add_scaled(factor, &other.queries);
        self.items.add_scaled(factor, &other.items);
        let pairs = self.query_prior.iter_mut().zip(&other.query_prior);
        pairs.chain(self.item_prior.iter_mut().zip(&other.item_prior)).for_each(|(x, y)| *x += factor * y);
    }

    /// Gravity, `mean_ij (⟨u_i, v_j⟩ − p_ij)²`, but for what does not depend on the vectors.
    pub fn gravity(&self) -> f64 {
        let prior = self.query_prior.iter().zip(&self.item_prior).map(|(x, y)| f64::from(*x) * f64::from(*y));
        self.queries.inner(&self.items) - 2.0 * prior.sum::<f64>()
    }

    /// Its parts by name, for a file.
    pub fn parts(&self) -> [(&'static str, &[f32]); 4] {
        let [a, b, c, d] = NAMES;
        [(a, self.queries.values()), (b, self.items.values()), (c, &self.query_prior), (d, &self.item_prior)]
    }

    /// From its parts.
    ///
    /// # Errors
    /// If one is missing or of another size.
    pub fn from_parts(dimension: usize, rank: usize, parts: &BTreeMap<String, Vec<f32>>) -> Result<Self> {
        let part = |name: &str, len: usize| {
            let found = parts.get(name).filter(|part| part.len() == len).cloned();
            found.ok_or_else(|| Error::format("the Gram matrices are not those of this retriever").in_field(name))
        };
        let gram = |name: &str| {
            let values = part(name, dimension * dimension)?;
            let gram = Gram::from_values(dimension, values);
            gram.ok_or_else(|| Error::format("a Gram matrix has a number that is not finite").in_field(name))
        };
        let [queries, items, query_prior, item_prior] = NAMES;
        Ok(Self {
            queries: gram(queries)?,
            items: gram(items)?,
            query_prior: part(query_prior, dimension * rank)?,
            item_prior: part(item_prior, dimension * rank)?,
        })
    }
}

/// `out + Σ_i w(i) x_i y_iᵀ`, `k × rank`.
fn add_outer(
    out: &mut [f32],
    (vectors, rows, k): (&[f32], usize, usize),
    (others, rank): (&[f32], usize),
    weight: impl Fn(usize) -> f32,
    scratch: &mut Vec<f32>,
) {
    if rank == 0 {
        return;
    }
    scratch.clear();
    for (row, other) in others.chunks_exact(rank).enumerate() {
        let weight = weight(row);
        scratch.extend(other.iter().map(|y| weight * y));
    }
    matmul(out, Matrix::new(vectors, rows, k).transposed(), scratch, rank, Start::Existing);
}
