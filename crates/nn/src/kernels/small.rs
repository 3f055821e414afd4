//! Matrix products too small for packing: a few dozen rows, a few dozen columns.
//!
//! A general product first copies its factors into an order it likes; below some ten thousand multiplications that costs more than
//! it saves. Here a block of the result stays in registers while the inner dimension runs.
#![allow(unsafe_code)]

use super::matmul::{Matrix, matmul};
use pulp::{Simd, WithSimd};

/// What the result starts from.
#[derive(Debug, Clone, Copy)]
pub enum Start<'a> {
    /// Zero.
    Zero,
    /// What is there.
    Existing,
    /// This row, for every row.
    Row(&'a [f32]),
}

/// `out = start + left · right`, with a contiguous `right` (`k × n`); meant for `n` a multiple of 16 up to 64 and any `left`.
///
/// # Panics
/// If the shapes do not fit.
pub fn small_matmul(out: &mut [f32], left: Matrix<'_>, right: &[f32], n: usize, start: Start<'_>) {
    let (m, k) = (left.rows, left.columns);
    assert_eq!(out.len(), m * n, "result of a small product of {m} × {n}");
    assert_eq!(right.len(), k * n, "right factor of a small product");
    if let Start::Row(row) = start {
        assert_eq!(row.len(), n, "first row of a small product");
    }
    if n == 0 || !n.is_multiple_of(16) || k == 0 {
        if let Start::Row(row) = start {
            out.chunks_exact_mut(n.max(1)).for_each(|out| out.copy_from_slice(row));
        }
        let add = !matches!(start, Start::Zero);
        matmul(out, left, Matrix::new(right, k, n), add);
        return;
    }
    pulp::Arch::new().dispatch(Product { out, left, right, n, start });
}

struct Product<'a> {
    out: &'a mut [f32],
    left: Matrix<'a>,
    right: &'a [f32],
    n: usize,
    start: Start<'a>,
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { out, left, right, n, start } = self;
        let vectors = n / S::F32_LANES;
        let (right, _) = S::as_simd_f32s(right);
        let (out, _) = S::as_mut_simd_f32s(out);
        let start = match start {
            Start::Zero => Begin::Zero,
            Start::Existing => Begin::Existing,
            Start::Row(row) => Begin::Row(S::as_simd_f32s(row).0),
        };
        let mut column = 0;
        // Thirty-two registers hold 6 × 4 sums, sixteen hold 6 × 2.
        while S::F32_LANES >= 16 && column + 4 <= vectors {
            columns::<S, 4>(simd, out, left, right, vectors, column, start);
            column += 4;
        }
        while column + 2 <= vectors {
            columns::<S, 2>(simd, out, left, right, vectors, column, start);
            column += 2;
        }
        while column < vectors {
            columns::<S, 1>(simd, out, left, right, vectors, column, start);
            column += 1;
        }
    }
}

#[derive(Clone, Copy)]
enum Begin<'a, V> {
    Zero,
    Existing,
    Row(&'a [V]),
}

#[inline(always)]
fn columns<S: Simd, const N: usize>(
    simd: S,
    out: &mut [S::f32s],
    left: Matrix<'_>,
    right: &[S::f32s],
    vectors: usize,
    column: usize,
    start: Begin<'_, S::f32s>,
) {
    let mut row = 0;
    while row + 6 <= left.rows {
        block::<S, 6, N>(simd, out, left, right, vectors, column, row, start);
        row += 6;
    }
    while row + 2 <= left.rows {
        block::<S, 2, N>(simd, out, left, right, vectors, column, row, start);
        row += 2;
    }
    if row < left.rows {
        block::<S, 1, N>(simd, out, left, right, vectors, column, row, start);
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn block<S: Simd, const M: usize, const N: usize>(
    simd: S,
    out: &mut [S::f32s],
    left: Matrix<'_>,
    right: &[S::f32s],
    vectors: usize,
    column: usize,
    row: usize,
    start: Begin<'_, S::f32s>,
) {
    let mut sums = [[simd.splat_f32s(0.0); N]; M];
    match start {
        Begin::Zero => {}
        Begin::Existing => {
            for (i, sums) in sums.iter_mut().enumerate() {
                let at = (row + i) * vectors + column;
                sums.copy_from_slice(&out[at..at + N]);
            }
        }
        Begin::Row(first) => sums.iter_mut().for_each(|sums| sums.copy_from_slice(&first[column..column + N])),
    }
    for inner in 0..left.columns {
        let at = inner * vectors + column;
        // SAFETY: `small_matmul` checked that `right` holds left.columns × vectors vectors, and column + N ≤ vectors.
        let right: &[S::f32s] = unsafe { right.get_unchecked(at..at + N) };
        for (i, sums) in sums.iter_mut().enumerate() {
            let at = (row + i) * left.row_stride + inner * left.column_stride;
            // SAFETY: row + i < left.rows and inner < left.columns, and a `Matrix` lies within its slice by construction.
            let factor = simd.splat_f32s(unsafe { *left.data.get_unchecked(at) });
            for (sum, right) in sums.iter_mut().zip(right) {
                *sum = simd.mul_add_e_f32s(factor, *right, *sum);
            }
        }
    }
    for (i, sums) in sums.iter().enumerate() {
        let at = (row + i) * vectors + column;
        out[at..at + N].copy_from_slice(sums);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_the_general_product() {
        for (m, k, n) in [(1, 16, 64), (38, 16, 64), (7, 64, 16), (50, 3, 48), (5, 4, 10), (3, 0, 16), (0, 4, 16)] {
            let a: Vec<f32> = (0..m * k).map(|i| (i as f32 * 0.37).sin()).collect();
            let b: Vec<f32> = (0..k * n).map(|i| (i as f32 * 0.11).cos()).collect();
            let row: Vec<f32> = (0..n).map(|i| i as f32).collect();
            let mut expected = vec![0.0; m * n];
            matmul(&mut expected, Matrix::new(&a, m, k), Matrix::new(&b, k, n), false);
            let near = |x: &[f32], y: &[f32]| x.iter().zip(y).all(|(x, y)| (x - y).abs() < 1e-4);
            let mut out = vec![9.0; m * n];
            small_matmul(&mut out, Matrix::new(&a, m, k), &b, n, Start::Zero);
            assert!(near(&out, &expected), "{m} {k} {n}");
            small_matmul(&mut out, Matrix::new(&a, m, k), &b, n, Start::Existing);
            assert!(out.iter().zip(&expected).all(|(x, y)| (x - 2.0 * y).abs() < 1e-4));
            small_matmul(&mut out, Matrix::new(&a, m, k), &b, n, Start::Row(&row));
            assert!(out.iter().enumerate().all(|(i, x)| (x - expected[i] - row[i % n]).abs() < 1e-4));
            // The same left factor, stored transposed.
            let mut stored = vec![0.0; m * k];
            for i in 0..m {
                for j in 0..k {
                    stored[j * m + i] = a[i * k + j];
                }
            }
            small_matmul(&mut out, Matrix::new(&stored, k, m).transposed(), &b, n, Start::Zero);
            assert!(near(&out, &expected));
        }
    }
}
