//! Solves a block of one side's rows.

use super::config::Solver;
use super::interactions::Rows;
use super::subspace::subspace;
use super::system::Systems;
use kitestring_nn::kernels::matmul::{Matrix, Start, matmul};
use kitestring_nn::kernels::normal_equations::{
    Iterate, Observed, add_weighted_rows, scale_rows, solve_cholesky, start, step,
};
use std::ops::Range;

/// Rows of a block at most: the products with the shared matrix are one matrix product.
const ROWS: usize = 64;

/// Floats of the other side's vectors that a block gathers: a part of a core's second-level cache. A block of long vectors gathers as many
/// as the shared matrix has, so that reading that takes no more time than reading these. A row of more is alone.
const FLOATS: usize = 64 * 1024;

/// Cuts rows and their vectors into blocks of consecutive ones.
pub(super) fn blocks<'a>(
    rows: &'a Rows,
    dimension: usize,
    mut vectors: &'a mut [f32],
) -> impl Iterator<Item = (Range<usize>, &'a mut [f32])> + Send {
    let most_floats = FLOATS.max(dimension * dimension);
    let mut first = 0;
    std::iter::from_fn(move || {
        let most = rows.count().min(first + ROWS);
        let fits = |end: &usize| rows.range_of(first..*end).len() * dimension <= most_floats;
        let end = (first + 1..=most).take_while(fits).last().unwrap_or(most.min(first + 1));
        let block = first..end;
        first = end;
        let (these, rest) = std::mem::take(&mut vectors).split_at_mut(block.len() * dimension);
        vectors = rest;
        (!block.is_empty()).then_some((block, these))
    })
}

/// What a worker needs beside the vectors.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) gathered: Vec<f32>,
    pub(super) residuals: Vec<f32>,
    pub(super) directions: Vec<f32>,
    pub(super) products: Vec<f32>,
    pub(super) matrix: Vec<f32>,
}

/// Solves a block of rows into their vectors, from what is there. A row without interactions is zero.
///
/// # Errors
/// The first row whose system has no solution, or none of finite numbers.
pub(super) fn solve(
    systems: &Systems<'_>,
    solver: Solver,
    (rows, block): (&Rows, Range<usize>),
    vectors: &mut [f32],
    scratch: &mut Scratch,
) -> Result<(), usize> {
    let k = systems.dimension;
    match solver {
        Solver::ConjugateGradient { steps } => {
            conjugate_gradient(systems, steps, (rows, block.clone()), vectors, scratch)?;
        }
        Solver::Subspace { width } => subspace(systems, width, (rows, block.clone()), vectors, scratch)?,
        Solver::Cholesky => {
            for (row, vector) in block.clone().zip(vectors.chunks_exact_mut(k)) {
                let (columns, weights) = rows.row(row);
                if !cholesky(systems, columns, weights, vector, scratch) {
                    return Err(row);
                }
            }
        }
    }
    let first = block.start;
    let wrong = vectors.chunks_exact(k).position(|vector| !all_finite(vector));
    wrong.map_or(Ok(()), |wrong| Err(first + wrong))
}

/// Whether no number is infinite or none. Without a branch, so that it vectorizes.
fn all_finite(x: &[f32]) -> bool {
    x.iter().fold(0, |most, x| x.abs().to_bits().max(most)) < f32::INFINITY.to_bits()
}

/// Copies the other side's vectors of some interactions side by side.
pub(super) fn gather(gathered: &mut Vec<f32>, systems: &Systems<'_>, columns: &[u32]) {
    let k = systems.dimension;
    gathered.clear();
    gathered.reserve(columns.len() * k);
    for column in columns {
        gathered.extend_from_slice(&systems.fixed[*column as usize * k..][..k]);
    }
}

/// Solves one row exactly; whether its system has a solution.
pub(super) fn cholesky(
    systems: &Systems<'_>,
    columns: &[u32],
    weights: &[f32],
    vector: &mut [f32],
    scratch: &mut Scratch,
) -> bool {
    vector.fill(0.0);
    if columns.is_empty() {
        return true;
    }
    let k = systems.dimension;
    let Scratch { gathered, products: scaled, matrix, .. } = scratch;
    gather(gathered, systems, columns);
    scaled.resize(gathered.len(), 0.0);
    scale_rows(scaled, gathered, weights, systems.taken);
    matrix.clone_from(&systems.shared);
    matmul(matrix, Matrix::new(scaled, columns.len(), k).transposed(), gathered, k, Start::Existing);
    let ridge = systems.ridge(columns.len());
    matrix.iter_mut().step_by(k + 1).for_each(|x| *x += ridge);
    add_weighted_rows(vector, gathered, weights);
    solve_cholesky(matrix, vector)
}

fn conjugate_gradient(
    systems: &Systems<'_>,
    steps: u32,
    (rows, block): (&Rows, Range<usize>),
    vectors: &mut [f32],
    scratch: &mut Scratch,
) -> Result<(), usize> {
    let k = systems.dimension;
    let whole = rows.range_of(block.clone());
    let Scratch { gathered, residuals, directions, products, .. } = scratch;
    gather(gathered, systems, &rows.columns[whole.clone()]);
    for vector in [&mut *residuals, &mut *directions, &mut *products] {
        vector.resize(vectors.len(), 0.0);
    }
    for (row, vector) in block.clone().zip(vectors.chunks_exact_mut(k)) {
        if rows.len(row) == 0 {
            vector.fill(0.0);
        }
    }
    let observed: Vec<Observed<'_>> = block
        .clone()
        .map(|row| {
            let range = rows.range(row);
            Observed {
                factors: &gathered[(range.start - whole.start) * k..(range.end - whole.start) * k],
                weights: &rows.weights[range],
                shared: systems.taken,
                ridge: systems.ridge(rows.len(row)),
            }
        })
        .collect();
    let mut lengths = vec![0.0; block.len()];
    for number in 0..=steps {
        let from = if number == 0 { &*vectors } else { &*directions };
        matmul(products, Matrix::new(from, block.len(), k), &systems.shared, k, Start::Zero);
        let parts = vectors.chunks_exact_mut(k).zip(residuals.chunks_exact_mut(k));
        let parts = parts.zip(directions.chunks_exact_mut(k).zip(products.chunks_exact_mut(k)));
        for ((row, length), ((solution, residual), (direction, product))) in
            observed.iter().zip(&mut lengths).zip(parts)
        {
            let iterate = Iterate { solution, residual, direction, product };
            *length = if number == 0 { start(*row, iterate) } else { step(*row, iterate, *length) };
        }
        if let Some(wrong) = lengths.iter().position(|length| !length.is_finite()) {
            return Err(block.start + wrong);
        }
    }
    Ok(())
}
