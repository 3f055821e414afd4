//! Weighted least squares of one row of a factorization: `(C + Qᵀ D Q) x = b` with a few rows `Q` (`n × k`) of the other side, their
//! weights on the diagonal of `D`, and a matrix `C` that all rows share.
//!
//! Conjugate gradients (Hestenes and Stiefel 1952) never form the sum: a product with it is one pass over `Q`
//! (Takács, Pilászy and Tikk 2011). `C`'s own product is the caller's, who has many rows at once and can make it a matrix product.

use super::reduce::{axpy, dot};
use pulp::{Simd, WithSimd};

/// What belongs to one row: the factors of what it interacted with, and its part of the diagonal.
#[derive(Debug, Clone, Copy)]
pub struct Observed<'a> {
    /// Factors of the other side, one row an interaction, as wide as the unknowns.
    pub factors: &'a [f32],
    /// Weights of the interactions' target of one.
    pub weights: &'a [f32],
    /// What is taken from the weights in `D`: the weight that the shared matrix already gives these pairs.
    pub shared: f32,
    /// What the row adds to the diagonal.
    pub ridge: f32,
}

/// A row's unknowns and the vectors of the method, all of the same width.
#[derive(Debug)]
pub struct Iterate<'a> {
    /// The unknowns.
    pub solution: &'a mut [f32],
    /// What is left: `b − A x`.
    pub residual: &'a mut [f32],
    /// The direction of the next step.
    pub direction: &'a mut [f32],
    /// On entry the shared matrix's product with the solution (at the start) or the direction (at a step); overwritten.
    pub product: &'a mut [f32],
}

/// Sets the residual and the first direction of a row; the residual's squared length.
///
/// # Panics
/// If the widths do not fit.
pub fn start(row: Observed<'_>, iterate: Iterate<'_>) -> f32 {
    check(row, &iterate);
    pulp::Arch::new().dispatch(Start { row, iterate })
}

/// One step of conjugate gradients, given the residual's squared length before it; the one after it. A length that is zero, or too small
/// for a number, ends the row: its direction is then zero and further steps change nothing. NaN where a sum overflows.
///
/// # Panics
/// If the widths do not fit.
pub fn step(row: Observed<'_>, iterate: Iterate<'_>, squared: f32) -> f32 {
    check(row, &iterate);
    pulp::Arch::new().dispatch(Step { row, iterate, squared })
}

fn check(row: Observed<'_>, iterate: &Iterate<'_>) {
    let k = iterate.solution.len();
    let same = [iterate.residual.len(), iterate.direction.len(), iterate.product.len()].iter().all(|width| *width == k);
    assert!(same && row.factors.len() == row.weights.len() * k, "vectors of {k} unknowns");
}

struct Start<'a> {
    row: Observed<'a>,
    iterate: Iterate<'a>,
}

impl WithSimd for Start<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        let Self { row, iterate: Iterate { solution, residual, direction, product } } = self;
        for ((residual, product), x) in residual.iter_mut().zip(&*product).zip(&*solution) {
            *residual = -product - row.ridge * x;
        }
        add_products(simd, residual, row, solution, |weight, score| weight - (weight - row.shared) * score);
        direction.copy_from_slice(residual);
        inner(simd, residual, residual)
    }
}

struct Step<'a> {
    row: Observed<'a>,
    iterate: Iterate<'a>,
    squared: f32,
}

impl WithSimd for Step<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        let Self { row, iterate: Iterate { solution, residual, direction, product }, squared } = self;
        axpy(product, row.ridge, direction);
        add_products(simd, product, row, direction, |weight, score| (weight - row.shared) * score);
        let curvature = inner(simd, direction, product);
        if !(squared.is_normal() && curvature.is_normal() && curvature > 0.0) {
            direction.fill(0.0);
            return if squared.is_finite() && curvature.is_finite() { 0.0 } else { f32::NAN };
        }
        let length = squared / curvature;
        axpy(solution, length, direction);
        axpy(residual, -length, product);
        let after = inner(simd, residual, residual);
        let turn = after / squared;
        direction
            .iter_mut()
            .zip(&*residual)
            .for_each(|(direction, residual)| *direction = residual + turn * *direction);
        after
    }
}

/// `Σ a b` in one vector of sums: the rows are too short for more of them to pay.
#[inline(always)]
fn inner<S: Simd>(simd: S, a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_tail), (b, b_tail)) = (S::as_simd_f32s(a), S::as_simd_f32s(b));
    let tail = simd.mul_f32s(simd.partial_load_f32s(a_tail), simd.partial_load_f32s(b_tail));
    simd.reduce_sum_f32s(a.iter().zip(b).fold(tail, |sum, (a, b)| simd.mul_add_e_f32s(*a, *b, sum)))
}

/// Rows of factors at a time: their sums run side by side, and `out` is read and written once for all of them.
const ROWS: usize = 4;

/// `out += Σ_j coefficient(weight_j, q_j · v) q_j`.
#[inline(always)]
fn add_products<S: Simd>(
    simd: S,
    out: &mut [f32],
    row: Observed<'_>,
    v: &[f32],
    coefficient: impl Fn(f32, f32) -> f32,
) {
    let k = v.len();
    let vectors = if k.is_multiple_of(S::F32_LANES) { k / S::F32_LANES } else { 0 };
    match vectors {
        _ if k == 0 => {}
        // `v` and the sums then stay in registers.
        2 => add_products_held::<S, 2>(simd, out, row, v, coefficient),
        4 => add_products_held::<S, 4>(simd, out, row, v, coefficient),
        8 if S::REGISTER_COUNT >= 32 => add_products_held::<S, 8>(simd, out, row, v, coefficient),
        _ => add_products_of_any(simd, out, row, v, coefficient),
    }
}

/// The same for rows of `V` whole vectors.
#[inline(always)]
fn add_products_held<S: Simd, const V: usize>(
    simd: S,
    out: &mut [f32],
    row: Observed<'_>,
    v: &[f32],
    coefficient: impl Fn(f32, f32) -> f32,
) {
    let zero = simd.splat_f32s(0.0);
    let (mut held, mut sums) = ([zero; V], [zero; V]);
    held.copy_from_slice(S::as_simd_f32s(v).0);
    sums.copy_from_slice(S::as_simd_f32s(out).0);
    for (q, weight) in row.factors.chunks_exact(V * S::F32_LANES).zip(row.weights) {
        let q = S::as_simd_f32s(q).0;
        let mut score = zero;
        for (q, v) in q.iter().zip(&held) {
            score = simd.mul_add_e_f32s(*q, *v, score);
        }
        let factor = simd.splat_f32s(coefficient(*weight, simd.reduce_sum_f32s(score)));
        for (sum, q) in sums.iter_mut().zip(q) {
            *sum = simd.mul_add_e_f32s(factor, *q, *sum);
        }
    }
    S::as_mut_simd_f32s(out).0.copy_from_slice(&sums);
}

/// The same for rows of any length.
#[inline(always)]
fn add_products_of_any<S: Simd>(
    simd: S,
    out: &mut [f32],
    row: Observed<'_>,
    v: &[f32],
    coefficient: impl Fn(f32, f32) -> f32,
) {
    let k = v.len();
    let (groups, weights) = (row.factors.chunks_exact(ROWS * k), row.weights.chunks_exact(ROWS));
    let (factors, rest) = (groups.remainder(), weights.remainder());
    for (group, weights) in groups.zip(weights) {
        let rows: [&[f32]; ROWS] = std::array::from_fn(|i| &group[i * k..(i + 1) * k]);
        add_group(simd, out, rows, std::array::from_fn(|i| weights[i]), v, &coefficient);
    }
    for (q, weight) in factors.chunks_exact(k).zip(rest) {
        add_group(simd, out, [q], [*weight], v, &coefficient);
    }
}

#[inline(always)]
fn add_group<S: Simd, const N: usize>(
    simd: S,
    out: &mut [f32],
    rows: [&[f32]; N],
    weights: [f32; N],
    v: &[f32],
    coefficient: &impl Fn(f32, f32) -> f32,
) {
    let (v, v_tail) = S::as_simd_f32s(v);
    // All are as long as `v`, which the compiler must see to check no index.
    let vectors = v.len();
    let parts = rows.map(|row| {
        let (row, tail) = S::as_simd_f32s(row);
        (&row[..vectors], tail)
    });
    let mut sums = [simd.splat_f32s(0.0); N];
    for at in 0..vectors {
        for (sum, (row, _)) in sums.iter_mut().zip(&parts) {
            *sum = simd.mul_add_e_f32s(row[at], v[at], *sum);
        }
    }
    if !v_tail.is_empty() {
        let v = simd.partial_load_f32s(v_tail);
        for (sum, (_, tail)) in sums.iter_mut().zip(&parts) {
            *sum = simd.mul_add_e_f32s(simd.partial_load_f32s(tail), v, *sum);
        }
    }
    let mut factors = [simd.splat_f32s(0.0); N];
    for (factor, (sum, weight)) in factors.iter_mut().zip(sums.iter().zip(weights)) {
        *factor = simd.splat_f32s(coefficient(weight, simd.reduce_sum_f32s(*sum)));
    }
    add_rows(simd, S::as_mut_simd_f32s(out), factors, parts);
}

/// `out += Σ_i factors[i] rows[i]`, all cut into whole vectors and a rest, and equally long.
#[inline(always)]
fn add_rows<S: Simd, const N: usize>(
    simd: S,
    (out, out_tail): (&mut [S::f32s], &mut [f32]),
    factors: [S::f32s; N],
    rows: [(&[S::f32s], &[f32]); N],
) {
    let vectors = out.len();
    let rows = rows.map(|(row, tail)| (&row[..vectors], tail));
    for (at, out) in out.iter_mut().enumerate() {
        let mut sum = *out;
        for (factor, (row, _)) in factors.iter().zip(&rows) {
            sum = simd.mul_add_e_f32s(*factor, row[at], sum);
        }
        *out = sum;
    }
    if !out_tail.is_empty() {
        let mut sum = simd.partial_load_f32s(out_tail);
        for (factor, (_, tail)) in factors.iter().zip(&rows) {
            sum = simd.mul_add_e_f32s(*factor, simd.partial_load_f32s(tail), sum);
        }
        simd.partial_store_f32s(out_tail, sum);
    }
}

/// Solves `A x = b` for a symmetric positive definite `A` (row-major; its upper triangle is read) by Cholesky's factorization `A = Uᵀ U`.
/// Overwrites `A` with `U`, whose lower triangle means nothing, and `b` with `x`; false, with both spoilt, where a pivot is no more than
/// rounding.
///
/// Of 64 unknowns it takes 6.4 µs on one core where that of nalgebra takes 9.4, of 128 it takes 28 where that takes 71, and of 32 or fewer
/// about as long; nalgebra's also lets a pivot of mere rounding pass.
///
/// # Panics
/// If `a` is not as wide and as high as `b` is long.
pub fn solve_cholesky(a: &mut [f32], b: &mut [f32]) -> bool {
    assert_eq!(a.len(), b.len() * b.len(), "matrix of {0} × {0}", b.len());
    pulp::Arch::new().dispatch(Cholesky { a, b })
}

/// A pivot is the difference of sums as large as the diagonal's number; below so many of its roundings it is noise.
const ROUNDING: f32 = 8.0 * f32::EPSILON;

struct Cholesky<'a> {
    a: &'a mut [f32],
    b: &'a mut [f32],
}

impl WithSimd for Cholesky<'_> {
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> bool {
        let Self { a, b } = self;
        let k = b.len();
        let diagonal: Vec<f32> = (0..k).map(|at| a[at * k + at]).collect();
        // The rows below are read and written once for so many pivots.
        for first in (0..k).step_by(ROWS) {
            let end = k.min(first + ROWS);
            for pivot in first..end {
                let (above, below) = a.split_at_mut((pivot + 1) * k);
                let row = &mut above[pivot * k..];
                let square = row[pivot];
                if !(square > ROUNDING * diagonal[pivot] && square.is_normal()) {
                    return false;
                }
                let scale = 1.0 / square.sqrt();
                row[pivot..].iter_mut().for_each(|x| *x *= scale);
                for (column, rest) in (pivot + 1..end).zip(below.chunks_exact_mut(k)) {
                    axpy(&mut rest[column..], -row[column], &row[column..]);
                }
                let (done, rest) = b.split_at_mut(pivot + 1);
                done[pivot] *= scale;
                axpy(rest, -done[pivot], &row[pivot + 1..]);
            }
            let (above, below) = a.split_at_mut(end * k);
            // Fewer pivots than `ROWS` are the last: nothing is below them.
            for (column, rest) in (end..k).zip(below.chunks_exact_mut(k)) {
                let pivots: [&[f32]; ROWS] = std::array::from_fn(|i| &above[(first + i) * k..(first + i + 1) * k]);
                // From a whole vector on, into the lower triangle, so that most rows have no rest.
                let from = column / S::F32_LANES * S::F32_LANES;
                let factors = pivots.map(|pivot| simd.splat_f32s(-pivot[column]));
                let rows = pivots.map(|pivot| S::as_simd_f32s(&pivot[from..]));
                add_rows(simd, S::as_mut_simd_f32s(&mut rest[from..]), factors, rows);
            }
        }
        for at in (0..k).rev() {
            let row = &a[at * k..(at + 1) * k];
            let (left, solved) = b.split_at_mut(at + 1);
            left[at] = (left[at] - inner(simd, &row[at + 1..], solved)) / row[at];
        }
        true
    }
}

super::kernel! {
    /// `out[j] = (weights[j] − shared) x[j]` for rows of equal width.
    pub fn scale_rows['a](out: &'a mut [f32], x: &'a [f32], weights: &'a [f32], shared: f32) {
        if let Some(k) = x.len().checked_div(weights.len()).filter(|k| *k > 0) {
            for ((out, x), weight) in out.chunks_exact_mut(k).zip(x.chunks_exact(k)).zip(weights) {
                let factor = weight - shared;
                out.iter_mut().zip(x).for_each(|(out, x)| *out = factor * x);
            }
        }
    }

    /// `out[j] += x[j] · v` for rows as wide as `v`.
    pub fn add_scores['a](out: &'a mut [f32], x: &'a [f32], v: &'a [f32]) {
        if !v.is_empty() {
            out.iter_mut().zip(x.chunks_exact(v.len())).for_each(|(out, x)| *out += dot(x, v));
        }
    }

    /// `out[j] = weights[j] − (weights[j] − shared) scores[j]`: what each interaction's vector adds to the descent.
    pub fn gradient_weights['a](out: &'a mut [f32], weights: &'a [f32], scores: &'a [f32], shared: f32) {
        for ((out, weight), score) in out.iter_mut().zip(weights).zip(scores) {
            *out = weight - (weight - shared) * score;
        }
    }

    /// `out += Σ_j weights[j] x[j]` for rows as wide as `out`.
    pub fn add_weighted_rows['a](out: &'a mut [f32], x: &'a [f32], weights: &'a [f32]) {
        if !out.is_empty() {
            x.chunks_exact(out.len()).zip(weights).for_each(|(x, weight)| axpy(out, *weight, x));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(count: usize, rate: f32) -> Vec<f32> {
        (0..count).map(|i| (i as f32 * rate + 0.3).sin()).collect()
    }

    /// `Q` of more rows than columns, `I + Qᵀ Q` in double precision, and `(I + Qᵀ Q) x` for a known `x`.
    fn system(k: usize) -> (Vec<f32>, Vec<f32>, Vec<f32>, Vec<f32>) {
        let (n, x) = (k + 7, drawn(k, 0.9));
        let q = drawn(n * k, 0.77);
        let entry = |i: usize, j: usize| {
            let sum: f64 = (0..n).map(|row| f64::from(q[row * k + i]) * f64::from(q[row * k + j])).sum();
            sum + f64::from(u8::from(i == j))
        };
        let a: Vec<f32> = (0..k * k).map(|at| entry(at / k, at % k) as f32).collect();
        let b = (0..k).map(|i| (0..k).map(|j| entry(i, j) * f64::from(x[j])).sum::<f64>() as f32).collect();
        (q, a, b, x)
    }

    fn near(found: &[f32], expected: &[f32]) -> bool {
        found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-3)
    }

    #[test]
    fn cholesky_at_every_width_near_a_block_and_every_level() {
        for k in (1..40).chain([63, 64, 65, 100]) {
            let (_, a, b, x) = system(k);
            for scalar in [false, true] {
                let (mut a, mut b) = (a.clone(), b.clone());
                // Only the upper triangle may be read.
                (0..k * k).filter(|at| at % k < at / k).for_each(|at| a[at] = 1e3);
                let solved = if scalar {
                    Simd::vectorize(pulp::Scalar::new(), Cholesky { a: &mut a, b: &mut b })
                } else {
                    solve_cholesky(&mut a, &mut b)
                };
                assert!(solved && near(&b, &x), "{k}: {b:?} for {x:?}");
            }
        }
    }

    #[test]
    fn cholesky_refuses_what_is_not_positive_definite() {
        for a in [[0.0, 0.0, 0.0, 1.0], [1.0, 2.0, 2.0, 1.0], [0.1, 0.1, 0.1, 0.1], [f32::NAN, 0.0, 0.0, 1.0]] {
            assert!(!solve_cholesky(&mut a.clone(), &mut [1.0, 1.0]), "{a:?}");
        }
        assert!(solve_cholesky(&mut [], &mut []));
    }

    /// With `A = I + Qᵀ (W − shared) Q` the ridge is one and nothing else is shared.
    #[test]
    fn conjugate_gradients_end_at_the_solution_at_every_width_and_level() {
        for k in [1, 5, 8, 16, 17, 32, 33, 64, 128, 130] {
            let (q, a, _, _) = system(k);
            let shared = 0.25;
            let weights = vec![1.0 + shared; k + 7];
            let mut b = vec![0.0; k];
            add_weighted_rows(&mut b, &q, &weights);
            let mut expected = b.clone();
            assert!(solve_cholesky(&mut a.clone(), &mut expected));
            let row = Observed { factors: &q, weights: &weights, shared, ridge: 1.0 };
            for scalar in [false, true] {
                let mut vectors = [drawn(k, 0.4), vec![0.0; k], vec![0.0; k], vec![0.0; k]];
                let mut squared = 0.0;
                for number in 0..=80 {
                    vectors[3].fill(0.0);
                    let [solution, residual, direction, product] = &mut vectors;
                    let iterate = Iterate { solution, residual, direction, product };
                    squared = match (number, scalar) {
                        (0, false) => start(row, iterate),
                        (0, true) => Simd::vectorize(pulp::Scalar::new(), Start { row, iterate }),
                        (_, false) => step(row, iterate, squared),
                        (_, true) => Simd::vectorize(pulp::Scalar::new(), Step { row, iterate, squared }),
                    };
                }
                assert!(near(&vectors[0], &expected), "{k}: {:?} for {expected:?}", vectors[0]);
            }
        }
    }
}
