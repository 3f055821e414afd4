//! Gram matrices of vectors, and what follows from two of them.
//!
//! For vectors `x_i` of dimension k with weights `w_i`: `G = Σ w_i x_i x_iᵀ`, `k × k`, positive semi-definite for weights of at least zero.
//! The mean over all pairs of `⟨u_i, v_j⟩²` is `⟨G_u, G_v⟩` (Krichene et al. 2019, section 2): what would be a sum over n² pairs costs k².

use kitestring_nn::kernels::matmul::{Matrix, Start, matmul};
use nalgebra::{DMatrix, Dyn, linalg::SymmetricEigen};

/// A symmetric matrix, `k × k`, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Gram {
    dimension: usize,
    values: Vec<f32>,
}

impl Gram {
    /// All zero.
    pub fn zero(dimension: usize) -> Self {
        Self { dimension, values: vec![0.0; dimension * dimension] }
    }

    /// A matrix from its values, row-major. None if they are not k² finite numbers.
    pub fn from_values(dimension: usize, values: Vec<f32>) -> Option<Self> {
        let sound = values.len() == dimension * dimension && values.iter().all(|value| value.is_finite());
        sound.then_some(Self { dimension, values })
    }

    /// Its values, row-major.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// k.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// `G ← factor G`.
    pub fn scale(&mut self, factor: f32) {
        self.values.iter_mut().for_each(|value| *value *= factor);
    }

    /// `G ← G + Σ_i w(i) x_i x_iᵀ` over the rows of `vectors`, `n × k`. `scratch` is memory for the moment.
    pub fn add(&mut self, vectors: &[f32], weight: impl Fn(usize) -> f32, scratch: &mut Vec<f32>) {
        let k = self.dimension;
        scratch.clear();
        for (row, vector) in vectors.chunks_exact(k).enumerate() {
            let weight = weight(row);
            scratch.extend(vector.iter().map(|x| weight * x));
        }
        let rows = vectors.len() / k;
        matmul(&mut self.values, Matrix::new(vectors, rows, k).transposed(), scratch, k, Start::Existing);
    }

    /// `G ← G + factor other`.
    pub fn add_scaled(&mut self, factor: f32, other: &Self) {
        self.values.iter_mut().zip(&other.values).for_each(|(value, other)| *value += factor * other);
    }

    /// `⟨G, other⟩`, the sum of products of their elements.
    pub fn inner(&self, other: &Self) -> f64 {
        self.values.iter().zip(&other.values).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    }

    /// `‖G − other‖ / ‖other‖`, in the norm that sums squares of elements (Frobenius).
    pub fn relative_error(&self, other: &Self) -> f64 {
        let difference: f64 =
            self.values.iter().zip(&other.values).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
        (difference / other.inner(other).max(f64::MIN_POSITIVE)).sqrt()
    }

    /// The nearest positive semi-definite matrix: its eigenvalues below zero become zero. O(k³).
    pub fn project(&mut self) {
        let mut eigen = self.eigen();
        if eigen.eigenvalues.iter().all(|value| *value >= 0.0) {
            return;
        }
        eigen.eigenvalues.iter_mut().for_each(|value| *value = value.max(0.0));
        self.values.copy_from_slice(eigen.recompose().as_slice());
    }

    /// The least eigenvalue.
    pub fn least_eigenvalue(&self) -> f32 {
        self.eigen().eigenvalues.min()
    }

    fn eigen(&self) -> SymmetricEigen<f32, Dyn> {
        // Row-major or column-major is the same for a symmetric matrix.
        SymmetricEigen::new(DMatrix::from_column_slice(self.dimension, self.dimension, &self.values))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use kitestring_core::Seed;
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    const U: [f32; 6] = [1.0, 0.0, 1.0, 1.0, 0.0, 2.0];
    const V: [f32; 6] = [1.0, 2.0, 0.0, 1.0, 1.0, -1.0];

    fn mean(vectors: &[f32], k: usize) -> Gram {
        let n = vectors.len() / k;
        let mut gram = Gram::zero(k);
        gram.add(vectors, |_| 1.0 / n as f32, &mut Vec::new());
        gram
    }

    fn close(found: &[f32], expected: &[f32]) {
        assert_eq!(found.len(), expected.len());
        let near = found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-4);
        assert!(near, "{found:?} {expected:?}");
    }

    /// GOLDEN: the matrices of the example, and their product against the double sum.
    #[test]
    fn golden() {
        let (u, v) = (mean(&U, 2), mean(&V, 2));
        close(u.values(), &[2.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0, 5.0 / 3.0]);
        close(v.values(), &[2.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0, 2.0]);
        assert!((u.inner(&v) - 4.0).abs() < 1e-5);
        let of = |x: &[f32], gram: &Gram| -> f32 {
            (0..2).flat_map(|i| (0..2).map(move |j| (i, j))).map(|(i, j)| x[i] * gram.values()[i * 2 + j] * x[j]).sum()
        };
        let pulls: Vec<f32> = U.chunks(2).zip(V.chunks(2)).map(|(x, y)| 0.5 * (of(x, &v) + of(y, &u))).collect();
        close(&pulls, &[4.666_667, 2.5, 4.833_333]);
    }

    /// GOLDEN: a running mean with α = .1 over draws u₀, u₁, u₂, u₀ from zero.
    #[test]
    fn golden_running() {
        let mut gram = Gram::zero(2);
        for draw in [0, 1, 2, 0] {
            gram.scale(0.9);
            gram.add(&U[2 * draw..2 * draw + 2], |_| 0.1, &mut Vec::new());
        }
        close(gram.values(), &[0.2539, 0.0810, 0.0810, 0.4410]);
    }

    #[test]
    fn projection_of_a_known_matrix() {
        // Eigenvalues 3 and -1 along (1, 1) and (1, -1).
        let mut gram = Gram::from_values(2, vec![1.0, 2.0, 2.0, 1.0]).unwrap();
        assert!((gram.least_eigenvalue() + 1.0).abs() < 1e-5);
        gram.project();
        close(gram.values(), &[1.5; 4]);
        assert_eq!(Gram::from_values(2, vec![f32::NAN; 4]), None);
        assert_eq!(Gram::from_values(2, vec![0.0; 3]), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(5), failure_persistence: None, cases: 40, ..ProptestConfig::default() })]

        /// The identity, against all pairs; and no eigenvalue below zero.
        #[test]
        fn identity(seed in any::<u64>(), n in 1usize..30, k in 1usize..20) {
            let vectors = |name: &str| -> Vec<f32> {
                (0..n * k).map(|at| Seed(seed).child(name).normal_at(at as u64)).collect()
            };
            let (u, v) = (vectors("u"), vectors("v"));
            let mut sum = 0.0;
            for x in u.chunks(k) {
                for y in v.chunks(k) {
                    let product: f64 = x.iter().zip(y).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                    sum += product * product;
                }
            }
            let expected = sum / (n * n) as f64;
            let (gu, gv) = (mean(&u, k), mean(&v, k));
            prop_assert!((gu.inner(&gv) - expected).abs() < 1e-4 * expected.max(1.0));
            prop_assert!(gu.least_eigenvalue() > -1e-5);
        }

        /// A projection has no eigenvalue below zero, is nearest among scaled ones, and changes nothing when done again.
        #[test]
        fn projection(seed in any::<u64>(), k in 1usize..24) {
            let mut values = vec![0.0; k * k];
            for i in 0..k {
                for j in 0..=i {
                    let x = Seed(seed).normal_at((i * k + j) as u64);
                    values[i * k + j] = x;
                    values[j * k + i] = x;
                }
            }
            let before = Gram::from_values(k, values).unwrap();
            let mut after = before.clone();
            after.project();
            prop_assert!(after.least_eigenvalue() > -1e-4);
            let mut again = after.clone();
            again.project();
            prop_assert!(again.relative_error(&after) < 1e-3 || after.inner(&after) < 1e-6);
            // What was cut off stands at right angles to what is left.
            let mut cut = before.clone();
            cut.add_scaled(-1.0, &after);
            prop_assert!(cut.inner(&after).abs() < 1e-2 * (1.0 + before.inner(&before)));
        }
    }
}
