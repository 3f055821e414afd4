//! Sums: over columns, over rows, of products.

kernel! {
    /// `out += x`.
    pub fn add['a](out: &'a mut [f32], x: &'a [f32]) {
        out.iter_mut().zip(x).for_each(|(out, x)| *out += x);
    }

    /// `Σ x²`.
    pub fn sum_of_squares['a](x: &'a [f32]) -> f32 {
        dot(x, x)
    }

    /// `scores = (x · last + bias) · scale`, row by row.
    pub fn score_rows['a](scores: &'a mut [f32], x: &'a [f32], last: &'a [f32], bias: f32, scale: f32) {
        for (score, x) in scores.iter_mut().zip(x.chunks_exact(last.len())) {
            *score = (dot(x, last) + bias) * scale;
        }
    }

    /// `out[c] += Σ_r x[r, c]` over a row-major matrix as wide as `out`.
    pub fn add_column_sums['a](out: &'a mut [f32], x: &'a [f32]) {
        if !out.is_empty() {
            for row in x.chunks_exact(out.len()) {
                out.iter_mut().zip(row).for_each(|(out, x)| *out += x);
            }
        }
    }
}

/// `out += factor · x`.
#[inline(always)]
pub fn axpy(out: &mut [f32], factor: f32, x: &[f32]) {
    out.iter_mut().zip(x).for_each(|(out, x)| *out += factor * x);
}

/// `Σ a b`, in eight (or more) interleaved sums so that it vectorizes; the order of summation is fixed.
#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0.0_f32; LANES];
    let (left, right) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let mut tail = 0.0;
    for (a, b) in left.remainder().iter().zip(right.remainder()) {
        tail += a * b;
    }
    for (a, b) in left.zip(right) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0] + tail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums() {
        let a: Vec<f32> = (0..37).map(|i| i as f32).collect();
        let b = vec![2.0; 37];
        assert_eq!(dot(&a, &b), 36.0 * 37.0);
        let mut out = [1.0, 1.0];
        add_column_sums(&mut out, &[1.0, 2.0, 3.0, 4.0]);
        assert_eq!(out, [5.0, 7.0]);
        axpy(&mut out, 2.0, &[1.0, 1.0]);
        assert_eq!(out, [7.0, 9.0]);
    }
}
