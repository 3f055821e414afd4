//! Matrix products.
//!
//! A product of a tile of a few hundred rows with a layer's weights is small: a general library first copies both factors into an
//! order it likes, and for these sizes that is a fifth of its time, for those of a phone most of it. Here nothing is copied. A block
//! of the result stays in registers while the inner dimension runs; the part of the right factor under it, 128 rows by four vectors,
//! stays in the first-level cache while all rows of the left factor pass.
//!
//! The loops read without bounds checks, so that sizes are checked here once: a product of sizes that is beyond a `usize` is no length of any
//! slice, and must not be taken for the one that it wraps to.
#![allow(unsafe_code)]

use pulp::{Simd, WithSimd};

/// A read-only matrix in a slice: element `(r, c)` is `data[r * row_stride + c * column_stride]`.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// A contiguous row-major matrix.
    ///
    /// # Panics
    /// If the slice is not `rows × columns` long.
    pub fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        assert_eq!(Some(data.len()), rows.checked_mul(columns), "matrix of {rows} × {columns}");
        Self { data, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// The transposed view.
    #[must_use]
    pub fn transposed(self) -> Self {
        Self {
            data: self.data,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }
}

/// What a product is added to.
#[derive(Debug, Clone, Copy)]
pub enum Start<'a> {
    /// Zero.
    Zero,
    /// What is there.
    Existing,
    /// This row, in every row.
    Row(&'a [f32]),
}

impl Start<'_> {
    /// What is there, or zero.
    pub fn adding(add: bool) -> Self {
        if add { Self::Existing } else { Self::Zero }
    }
}

/// `out = start + left · right`. `right` (`k × n`) and `out` are contiguous and row-major; `left` may be a transposed view.
///
/// # Panics
/// If the shapes do not fit.
pub fn matmul(out: &mut [f32], left: Matrix<'_>, right: &[f32], n: usize, start: Start<'_>) {
    let (m, k) = (left.rows, left.columns);
    assert_eq!(Some(right.len()), k.checked_mul(n), "right factor of a product of {k} × {n}");
    assert_eq!(Some(out.len()), m.checked_mul(n), "result of a product of {m} × {n}");
    if let Start::Row(row) = start {
        assert_eq!(row.len(), n, "first row of a product of {m} × {n}");
    }
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        match start {
            Start::Zero => out.fill(0.0),
            Start::Existing => {}
            Start::Row(row) => out.chunks_exact_mut(n).for_each(|out| out.copy_from_slice(row)),
        }
        return;
    }
    super::dispatch(Product { out, left, right, n, start });
}

/// Brings a matrix that is not in cache there, in order. A product goes through it a few columns at a time, which the processor does not
/// foresee: it would wait for every line.
pub fn fetch(x: &[f32]) {
    const LINE: usize = 16;
    std::hint::black_box(x.iter().step_by(LINE).fold(0, |bits, x| bits ^ x.to_bits()));
}

kernel! {
    /// Writes the transpose of a row-major `rows × columns` matrix.
    ///
    /// # Panics
    /// If the slices are not `rows × columns` long.
    pub fn transpose['a](out: &'a mut [f32], x: &'a [f32], rows: usize, columns: usize) {
        let size = rows.checked_mul(columns);
        assert_eq!((Some(x.len()), Some(out.len())), (size, size), "transpose of {rows} × {columns}");
        // Four rows are interleaved, which vectorizes, and go out four numbers at a time. Sixteen rows are a line of cache of each column.
        let mut interleaved = [[0.0; 4]; BLOCK];
        for first_row in (0..rows).step_by(16) {
            for first in (0..columns).step_by(BLOCK) {
                let width = BLOCK.min(columns - first);
                let part = |row: usize| &x[row * columns + first..][..width];
                let end = rows.min(first_row + 16);
                let mut row = first_row;
                while row + 4 <= end {
                    let [a, b, c, d] = [0, 1, 2, 3].map(|i| part(row + i));
                    for ((((into, a), b), c), d) in interleaved.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                        *into = [*a, *b, *c, *d];
                    }
                    for (column, from) in interleaved[..width].iter().enumerate() {
                        out[(first + column) * rows + row..][..4].copy_from_slice(from);
                    }
                    row += 4;
                }
                for row in row..end {
                    part(row).iter().enumerate().for_each(|(column, x)| out[(first + column) * rows + row] = *x);
                }
            }
        }
    }
}

/// Columns that are transposed at a time.
const BLOCK: usize = 32;

/// Rows of the right factor that stay in cache at a time.
const INNER: usize = 128;

struct Product<'a> {
    out: &'a mut [f32],
    left: Matrix<'a>,
    right: &'a [f32],
    n: usize,
    start: Start<'a>,
}

/// A block of columns of a product, over a part of the inner dimension.
#[derive(Clone, Copy)]
struct Panel<'a> {
    left: Matrix<'a>,
    right: &'a [f32],
    n: usize,
    start: Start<'a>,
    inner: (usize, usize),
    column: usize,
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { out, left, right, n, start } = self;
        let mut first = 0;
        while first < left.columns {
            let inner = (first, (first + INNER).min(left.columns));
            let start = if first == 0 { start } else { Start::Existing };
            let mut panel = Panel { left, right, n, start, inner, column: 0 };
            let mut vectors = n / S::F32_LANES;
            // The sums and the right factor's vectors fill the registers.
            let many = S::REGISTER_COUNT >= 32;
            while many && (vectors > 5 || vectors == 4) {
                rows::<S, 6, 4>(simd, out, panel);
                panel.column += 4 * S::F32_LANES;
                vectors -= 4;
            }
            if many && (vectors == 5 || vectors == 3) {
                rows::<S, 8, 3>(simd, out, panel);
                panel.column += 3 * S::F32_LANES;
                vectors -= 3;
            }
            while vectors >= 2 {
                if many {
                    rows::<S, 12, 2>(simd, out, panel)
                } else {
                    rows::<S, 6, 2>(simd, out, panel)
                }
                panel.column += 2 * S::F32_LANES;
                vectors -= 2;
            }
            if vectors == 1 {
                rows::<S, 12, 1>(simd, out, panel);
                panel.column += S::F32_LANES;
            }
            if panel.column < n {
                tail(simd, out, panel);
            }
            first = inner.1;
        }
    }
}

#[inline(always)]
fn rows<S: Simd, const M: usize, const N: usize>(simd: S, out: &mut [f32], panel: Panel<'_>) {
    let mut row = 0;
    while row + M <= panel.left.rows {
        block::<S, M, N>(simd, out, panel, row);
        row += M;
    }
    while row + 4 <= panel.left.rows {
        block::<S, 4, N>(simd, out, panel, row);
        row += 4;
    }
    while row < panel.left.rows {
        block::<S, 1, N>(simd, out, panel, row);
        row += 1;
    }
}

#[inline(always)]
fn block<S: Simd, const M: usize, const N: usize>(simd: S, out: &mut [f32], panel: Panel<'_>, row: usize) {
    let Panel { left, right, n, start, inner, column } = panel;
    let width = N * S::F32_LANES;
    let mut sums = [[simd.splat_f32s(0.0); N]; M];
    match start {
        Start::Zero => {}
        Start::Existing => {
            for (i, sums) in sums.iter_mut().enumerate() {
                let at = (row + i) * n + column;
                sums.copy_from_slice(S::as_simd_f32s(&out[at..at + width]).0);
            }
        }
        Start::Row(first) => {
            sums.iter_mut().for_each(|sums| sums.copy_from_slice(S::as_simd_f32s(&first[column..column + width]).0));
        }
    }
    for k in inner.0..inner.1 {
        let at = k * n + column;
        // SAFETY: `matmul` checked that `right` holds left.columns × n numbers; k < left.columns and column + width ≤ n.
        let right = S::as_simd_f32s(unsafe { right.get_unchecked(at..at + width) }).0;
        for (i, sums) in sums.iter_mut().enumerate() {
            let at = (row + i) * left.row_stride + k * left.column_stride;
            // SAFETY: row + i < left.rows and k < left.columns, and a `Matrix` lies within its slice by construction.
            let factor = simd.splat_f32s(unsafe { *left.data.get_unchecked(at) });
            for (sum, right) in sums.iter_mut().zip(right) {
                *sum = simd.mul_add_e_f32s(factor, *right, *sum);
            }
        }
    }
    for (i, sums) in sums.iter().enumerate() {
        let at = (row + i) * n + column;
        S::as_mut_simd_f32s(&mut out[at..at + width]).0.copy_from_slice(sums);
    }
}

/// The columns past the last whole vector.
#[inline(always)]
fn tail<S: Simd>(simd: S, out: &mut [f32], panel: Panel<'_>) {
    let mut row = 0;
    while row + 8 <= panel.left.rows {
        tail_block::<S, 8>(simd, out, panel, row);
        row += 8;
    }
    while row < panel.left.rows {
        tail_block::<S, 1>(simd, out, panel, row);
        row += 1;
    }
}

#[inline(always)]
fn tail_block<S: Simd, const M: usize>(simd: S, out: &mut [f32], panel: Panel<'_>, row: usize) {
    let Panel { left, right, n, start, inner, column } = panel;
    let mut sums = [simd.splat_f32s(0.0); M];
    match start {
        Start::Zero => {}
        Start::Existing => {
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum = simd.partial_load_f32s(&out[(row + i) * n + column..(row + i + 1) * n]);
            }
        }
        Start::Row(first) => sums.fill(simd.partial_load_f32s(&first[column..n])),
    }
    for k in inner.0..inner.1 {
        // SAFETY: as in `block`; the slice ends with row k of `right`.
        let right = simd.partial_load_f32s(unsafe { right.get_unchecked(k * n + column..(k + 1) * n) });
        for (i, sum) in sums.iter_mut().enumerate() {
            let at = (row + i) * left.row_stride + k * left.column_stride;
            // SAFETY: as in `block`.
            let factor = simd.splat_f32s(unsafe { *left.data.get_unchecked(at) });
            *sum = simd.mul_add_e_f32s(factor, right, *sum);
        }
    }
    for (i, sum) in sums.iter().enumerate() {
        simd.partial_store_f32s(&mut out[(row + i) * n + column..(row + i + 1) * n], *sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naive(a: &[f32], b: &[f32], m: usize, k: usize, n: usize) -> Vec<f32> {
        let mut out = vec![0.0; m * n];
        for i in 0..m {
            for j in 0..n {
                out[i * n + j] = (0..k).map(|l| a[i * k + l] * b[l * n + j]).sum();
            }
        }
        out
    }

    #[test]
    fn equals_the_definition_at_every_size_near_a_block() {
        let sizes = [1, 2, 3, 4, 5, 6, 7, 8, 12, 13, 16, 17, 31, 38];
        for m in sizes {
            for n in [1, 2, 7, 8, 10, 16, 17, 32, 40, 48, 64, 80, 96, 112, 130] {
                for k in [0, 1, 5, 16, 130, 300] {
                    check(m, k, n);
                }
            }
        }
    }

    /// The product with every instruction set this processor has, not only the one that is chosen.
    fn products(out: &[f32], left: Matrix<'_>, right: &[f32], n: usize, start: Start<'_>) -> Vec<Vec<f32>> {
        let mut results = vec![out.to_vec(); 2];
        matmul(&mut results[0], left, right, n, start);
        Simd::vectorize(pulp::Scalar::new(), Product { out: &mut results[1], left, right, n, start });
        #[cfg(target_arch = "x86_64")]
        if let Some(simd) = pulp::x86::V3::try_new() {
            let mut out = out.to_vec();
            Simd::vectorize(simd, Product { out: &mut out, left, right, n, start });
            results.push(out);
        }
        results
    }

    fn check(m: usize, k: usize, n: usize) {
        let a: Vec<f32> = (0..m * k).map(|i| (i as f32 * 0.37).sin()).collect();
        let b: Vec<f32> = (0..k * n).map(|i| (i as f32 * 0.11).cos()).collect();
        let row: Vec<f32> = (0..n).map(|i| i as f32).collect();
        let expected = naive(&a, &b, m, k, n);
        let near = |x: f32, y: f32| (x - y).abs() < 1e-4 * (1.0 + y.abs());
        let mut stored = vec![0.0; m * k];
        transpose(&mut stored, &a, m, k);
        let existing = vec![9.0; m * n];
        for left in [Matrix::new(&a, m, k), Matrix::new(&stored, k, m).transposed()] {
            for (start, from) in [
                (Start::Zero, &(|_| 0.0_f32) as &dyn Fn(usize) -> f32),
                (Start::Existing, &|_| 9.0),
                (Start::Row(&row), &|i| row[i % n]),
            ] {
                // Without an inner dimension `matmul` needs no instruction set.
                let results = products(&existing, left, &b, n, start);
                for (level, out) in results.iter().enumerate().filter(|(level, _)| k > 0 || *level == 0) {
                    let right = out.iter().enumerate().all(|(i, x)| near(*x, expected[i] + from(i)));
                    assert!(right, "{m} {k} {n}, {start:?}, level {level}");
                }
            }
        }
    }

    /// Sizes whose product wraps to the length of the slice that is given: a matrix without bounds, if one believed them.
    #[test]
    fn sizes_that_wrap_are_refused() {
        const HALF: usize = 1 << (usize::BITS / 2);
        const QUARTER: usize = usize::MAX / 4 + 1;
        let refused = |what: fn()| {
            let message = std::panic::catch_unwind(what).expect_err("it was taken");
            let message = message.downcast::<String>().expect("a message");
            assert!(message.contains(" × "), "{message}");
        };
        refused(|| _ = Matrix::new(&[], HALF, HALF));
        refused(|| _ = Matrix::new(&[0.0; 4], QUARTER + 1, 4));
        // Both factors and the result are as long as what their sizes wrap to.
        refused(|| matmul(&mut [], Matrix::new(&[], 0, HALF), &[], HALF, Start::Zero));
        refused(|| matmul(&mut [], Matrix::new(&[1.0; 4], 4, 1), &[], QUARTER, Start::Zero));
        refused(|| matmul(&mut [0.0; 4], Matrix::new(&[1.0; 4], 4, 1), &[1.0], QUARTER + 1, Start::Zero));
        refused(|| transpose(&mut [], &[], HALF, HALF));
        // Without an inner dimension a matrix may have any number of rows; a result may not.
        refused(|| matmul(&mut [], Matrix::new(&[], QUARTER, 0), &[], 4, Start::Existing));
    }

    #[test]
    fn empty_products() {
        matmul(&mut [], Matrix::new(&[], 0, 2), &[1.0, 2.0], 1, Start::Zero);
        let mut out = vec![3.0; 4];
        matmul(&mut out, Matrix::new(&[], 2, 0), &[], 2, Start::Existing);
        assert_eq!(out, [3.0; 4]);
    }
}
