//! Matrix products on the `gemm` crate, bounds checked.
#![allow(unsafe_code)]

/// A read-only matrix in a slice: element `(r, c)` is `data[r * row_stride + c * column_stride]`.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    pub(super) data: &'a [f32],
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) row_stride: usize,
    pub(super) column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// A contiguous row-major matrix.
    ///
    /// # Panics
    /// If the slice is not `rows × columns` long.
    pub fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        assert_eq!(data.len(), rows * columns, "matrix of {rows} × {columns}");
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

/// `out = left · right`, or `out += left · right` if `add`. `out` is contiguous and row-major.
///
/// # Panics
/// If the shapes do not fit.
pub fn matmul(out: &mut [f32], left: Matrix<'_>, right: Matrix<'_>, add: bool) {
    let (m, n, k) = (left.rows, right.columns, left.columns);
    assert_eq!(k, right.rows, "inner sizes of a matrix product");
    assert_eq!(out.len(), m * n, "result of a matrix product of {m} × {n}");
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        if !add {
            out.fill(0.0);
        }
        return;
    }
    // SAFETY: `Matrix` is built only by `new`, which checks that the slice holds rows × columns elements, and by
    // `transposed`, which swaps sizes together with strides; `out` was checked above and is the only mutable borrow.
    // All strides and sizes fit isize because the slices exist.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            add,
            left.data.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.data.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            1.0_f32,
            1.0_f32,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
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
    fn products_of_all_orientations() {
        let (m, k, n) = (5, 7, 3);
        let a: Vec<f32> = (0..m * k).map(|i| (i as f32 * 0.37).sin()).collect();
        let b: Vec<f32> = (0..k * n).map(|i| (i as f32 * 0.11).cos()).collect();
        let expected = naive(&a, &b, m, k, n);
        let mut out = vec![1.0; m * n];
        matmul(&mut out, Matrix::new(&a, m, k), Matrix::new(&b, k, n), false);
        assert!(out.iter().zip(&expected).all(|(x, y)| (x - y).abs() < 1e-5));
        let mut transposed_b = vec![0.0; k * n];
        for i in 0..k {
            for j in 0..n {
                transposed_b[j * k + i] = b[i * n + j];
            }
        }
        matmul(&mut out, Matrix::new(&a, m, k), Matrix::new(&transposed_b, n, k).transposed(), true);
        assert!(out.iter().zip(&expected).all(|(x, y)| (x - 2.0 * y).abs() < 1e-5));
    }

    #[test]
    fn empty_products() {
        let mut out = vec![3.0; 4];
        matmul(&mut out, Matrix::new(&[], 2, 0), Matrix::new(&[], 0, 2), false);
        assert_eq!(out, [0.0; 4]);
        matmul(&mut [], Matrix::new(&[], 0, 2), Matrix::new(&[1.0, 2.0], 2, 1), false);
    }
}
