//! A part of each vector at a time (Rendle, Krichene, Zhang and Koren 2021, "iALS++: Speeding up Matrix Factorization with Subspace
//! Optimization").
//!
//! With the rest of a row's vector as it stands, the numbers of a part are a small system: a step of Newton's method, which is exact, as
//! the objective is quadratic. Scores of what the row interacted with are kept up, so that no part sees the others' vectors.

use super::interactions::Rows;
use super::solvers::{Scratch, gather};
use super::system::Systems;
use kitestring_nn::kernels::matmul::{Matrix, Start, matmul};
use kitestring_nn::kernels::normal_equations::{
    add_scores, add_weighted_rows, gradient_weights, scale_rows, solve_cholesky,
};
use std::ops::Range;

/// Solves each part of each row's vector in turn, given all before it.
///
/// # Errors
/// The first row whose system has no solution.
pub(super) fn subspace(
    systems: &Systems<'_>,
    width: usize,
    (rows, block): (&Rows, Range<usize>),
    vectors: &mut [f32],
    scratch: &mut Scratch,
) -> Result<(), usize> {
    let k = systems.dimension;
    let whole = rows.range_of(block.clone());
    let Scratch { gathered, residuals: part, directions: scaled, products, matrix } = scratch;
    gather(gathered, systems, &rows.columns[whole.clone()]);
    let of = |row: usize| rows.range(row).start - whole.start..rows.range(row).end - whole.start;
    let mut scores = vec![0.0; whole.len()];
    for (row, vector) in block.clone().zip(vectors.chunks_exact_mut(k)) {
        let range = of(row);
        if range.is_empty() {
            vector.fill(0.0);
        }
        add_scores(&mut scores[range.clone()], &gathered[range.start * k..range.end * k], vector);
    }
    let mut weights = Vec::new();
    for first in (0..k).step_by(width) {
        let columns = first..k.min(first + width);
        let width = columns.len();
        let shared = systems.columns(columns.clone());
        products.resize(block.len() * width, 0.0);
        matmul(products, Matrix::new(vectors, block.len(), k), &shared, width, Start::Zero);
        let each = vectors.chunks_exact_mut(k).zip(products.chunks_exact_mut(width));
        for (row, (vector, gradient)) in block.clone().zip(each) {
            let range = of(row);
            if range.is_empty() {
                continue;
            }
            let (scores, own) = (&mut scores[range.clone()], &rows.weights[rows.range(row)]);
            let vector = &mut vector[columns.clone()];
            part.clear();
            let factors = &gathered[range.start * k..range.end * k];
            factors.chunks_exact(k).for_each(|q| part.extend_from_slice(&q[columns.clone()]));
            scaled.resize(part.len(), 0.0);
            scale_rows(scaled, part, own, systems.taken);
            matrix.clear();
            matrix.extend_from_slice(&shared[columns.start * width..columns.end * width]);
            matmul(matrix, Matrix::new(scaled, own.len(), width).transposed(), part, width, Start::Existing);
            let ridge = systems.ridge(own.len());
            matrix.iter_mut().step_by(width + 1).for_each(|x| *x += ridge);
            // The descent: what the objective's gradient, without its factor of two, has the other way.
            gradient.iter_mut().zip(&*vector).for_each(|(g, x)| *g = -*g - ridge * x);
            weights.resize(own.len(), 0.0);
            gradient_weights(&mut weights, own, scores, systems.taken);
            add_weighted_rows(gradient, part, &weights);
            if !solve_cholesky(matrix, gradient) {
                return Err(row);
            }
            vector.iter_mut().zip(&*gradient).for_each(|(x, step)| *x += step);
            add_scores(scores, part, gradient);
        }
    }
    Ok(())
}
