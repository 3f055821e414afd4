//! One vector against many rows: inner products in f32 and int8, and the distance of two vectors.
//!
//! A scan reads every row once and is done with it, so that memory sets its speed; four rows go at a time, which keeps several lines
//! of memory under way. How a row's products are summed depends on the row alone, not on those beside it: a row has the same score to
//! the last bit wherever it is met.

/// Sums that run beside each other; one AVX-512 register of them.
const LANES: usize = 16;

kernel! {
    /// `out[r] = Σ_c query[c] · rows[r, c]` over a row-major matrix as wide as `query`.
    ///
    /// # Panics
    /// If `rows` is not `out.len() × query.len()` long.
    pub fn products['a](out: &'a mut [f32], query: &'a [f32], rows: &'a [f32]) {
        let width = query.len();
        assert_eq!(rows.len(), out.len() * width, "rows of a scan of {} × {width}", out.len());
        if width == 0 {
            out.fill(0.0);
            return;
        }
        let (outs, out_tail) = out.as_chunks_mut::<4>();
        let (blocks, tail) = rows.split_at(outs.len() * 4 * width);
        for (out, block) in outs.iter_mut().zip(blocks.chunks_exact(4 * width)) {
            let (ab, cd) = block.split_at(2 * width);
            let ((a, b), (c, d)) = (ab.split_at(width), cd.split_at(width));
            *out = four(query, [a, b, c, d]);
        }
        for (out, row) in out_tail.iter_mut().zip(tail.chunks_exact(width)) {
            *out = one(query, row);
        }
    }

    /// `out[i] = Σ_c query[c] · rows[chosen[i], c]`: the same of some rows, each as [`products`] has it.
    ///
    /// # Panics
    /// If a chosen row is not there, or `out` and `chosen` differ in length.
    pub fn products_at['a](out: &'a mut [f32], query: &'a [f32], rows: &'a [f32], chosen: &'a [u32]) {
        assert_eq!(out.len(), chosen.len(), "chosen rows of a scan");
        let width = query.len();
        let (outs, out_tail) = out.as_chunks_mut::<4>();
        let (chosen, chosen_tail) = chosen.as_chunks::<4>();
        for (out, chosen) in outs.iter_mut().zip(chosen) {
            *out = four(query, chosen.map(|row| &rows[row as usize * width..][..width]));
        }
        for (out, row) in out_tail.iter_mut().zip(chosen_tail) {
            *out = one(query, &rows[*row as usize * width..][..width]);
        }
    }

    /// `out[r] = Σ_c query[c] · rows[r, c]` of small integers, exactly: 4096 products of 128 · 128 are far from an `i32`'s end.
    ///
    /// # Panics
    /// If `rows` is not `out.len() × query.len()` long.
    pub fn products_i8['a](out: &'a mut [i32], query: &'a [i8], rows: &'a [i8]) {
        let width = query.len();
        assert_eq!(rows.len(), out.len() * width, "rows of a scan of {} × {width}", out.len());
        if width == 0 {
            out.fill(0);
            return;
        }
        for (out, row) in out.iter_mut().zip(rows.chunks_exact(width)) {
            *out = query.iter().zip(row).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum();
        }
    }

    /// `Σ (a − b)²`.
    pub fn squared_distance['a](a: &'a [f32], b: &'a [f32]) -> f32 {
        let mut sums = [0.0_f32; LANES];
        let ((a, a_tail), (b, b_tail)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
        for (a, b) in a.iter().zip(b) {
            for lane in 0..LANES {
                let difference = a[lane] - b[lane];
                sums[lane] += difference * difference;
            }
        }
        let tail: f32 = a_tail.iter().zip(b_tail).map(|(a, b)| (a - b) * (a - b)).sum();
        total(sums) + tail
    }
}

#[inline(always)]
fn four(query: &[f32], rows: [&[f32]; 4]) -> [f32; 4] {
    let mut sums = [[0.0_f32; LANES]; 4];
    let (query, query_tail) = query.as_chunks::<LANES>();
    let [a, b, c, d] = rows.map(|row| row.as_chunks::<LANES>());
    for ((((q, a), b), c), d) in query.iter().zip(a.0).zip(b.0).zip(c.0).zip(d.0) {
        for lane in 0..LANES {
            sums[0][lane] += q[lane] * a[lane];
            sums[1][lane] += q[lane] * b[lane];
            sums[2][lane] += q[lane] * c[lane];
            sums[3][lane] += q[lane] * d[lane];
        }
    }
    let tails = [a.1, b.1, c.1, d.1];
    std::array::from_fn(|row| total(sums[row]) + tail(query_tail, tails[row]))
}

#[inline(always)]
fn one(query: &[f32], row: &[f32]) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let ((query, query_tail), (row, row_tail)) = (query.as_chunks::<LANES>(), row.as_chunks::<LANES>());
    for (q, x) in query.iter().zip(row) {
        for lane in 0..LANES {
            sums[lane] += q[lane] * x[lane];
        }
    }
    total(sums) + tail(query_tail, row_tail)
}

#[inline(always)]
fn tail(query: &[f32], row: &[f32]) -> f32 {
    query.iter().zip(row).fold(0.0, |sum, (a, b)| sum + a * b)
}

#[inline(always)]
fn total(mut sums: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whole numbers, so that any order of summation gives the same.
    fn whole(len: usize, factor: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * factor) % 17) as f32 - 8.0).collect()
    }

    #[test]
    fn equal_the_definition_at_every_size_near_a_block() {
        for width in [0, 1, 3, 15, 16, 17, 31, 32, 33, 64, 65, 100] {
            for count in [0, 1, 2, 3, 4, 5, 7, 8, 9, 33] {
                let (query, rows) = (whole(width, 5), whole(count * width, 7));
                let expected: Vec<f32> = (0..count)
                    .map(|row| (0..width).map(|column| query[column] * rows[row * width + column]).sum())
                    .collect();
                let mut out = vec![f32::NAN; count];
                products(&mut out, &query, &rows);
                assert_eq!(out, expected, "{count} × {width}");
                let chosen: Vec<u32> = (0..count as u32).rev().chain(0..count as u32).collect();
                let mut out = vec![f32::NAN; chosen.len()];
                products_at(&mut out, &query, &rows, &chosen);
                let picked: Vec<f32> = chosen.iter().map(|row| expected[*row as usize]).collect();
                assert_eq!(out, picked, "{count} × {width}");
            }
        }
    }

    #[test]
    fn a_row_has_the_same_score_wherever_it_stands() {
        let width = 37;
        let row: Vec<f32> = (0..width).map(|i| (i as f32 * 0.7).sin()).collect();
        let query: Vec<f32> = (0..width).map(|i| (i as f32 * 1.3).cos()).collect();
        let mut out = [0.0; 7];
        products(&mut out, &query, &row.repeat(7));
        let mut chosen = [0.0; 3];
        products_at(&mut chosen, &query, &row, &[0; 3]);
        assert!(out.iter().chain(&chosen).all(|score| score.to_bits() == out[0].to_bits()), "{out:?} {chosen:?}");
    }

    #[test]
    fn small_integers_are_summed_without_overflow() {
        for width in [0, 1, 7, 16, 31, 32, 33, 64, 100, 4096] {
            for (a, b) in [(-128, -128), (-128, 127), (127, 127), (1, -1)] {
                let mut out = [7; 3];
                products_i8(&mut out, &vec![a; width], &vec![b; 3 * width]);
                assert_eq!(out, [width as i32 * i32::from(a) * i32::from(b); 3]);
            }
            let query: Vec<i8> = (0..width).map(|i| (i * 37 % 256) as u8 as i8).collect();
            let rows: Vec<i8> = (0..5 * width).map(|i| (i * 91 % 256) as u8 as i8).collect();
            let mut out = [0; 5];
            products_i8(&mut out, &query, &rows);
            for (row, sum) in out.iter().enumerate() {
                let plain: i64 = (0..width).map(|c| i64::from(query[c]) * i64::from(rows[row * width + c])).sum();
                assert_eq!(i64::from(*sum), plain);
            }
        }
    }

    #[test]
    fn distances() {
        for width in [0, 1, 16, 17, 65] {
            let (a, b) = (whole(width, 5), whole(width, 3));
            let expected: f32 = a.iter().zip(&b).map(|(a, b)| (a - b) * (a - b)).sum();
            assert_eq!(squared_distance(&a, &b), expected);
        }
    }
}
