//! What comes before sums of products and what follows them: codes of activations, numbers of sums, and codes of these.

use super::{GROUP, LANES, OFFSET};
use crate::quantization::affine::Affine;

kernel! {
    /// The codes of a row of activations, as [`Affine::encode`] has them, with [`OFFSET`] added.
    ///
    /// # Panics
    /// If there are fewer codes than numbers.
    pub fn encode['a](codes: &'a mut [u8], x: &'a [f32], by: Affine) {
        let codes = &mut codes[..x.len()];
        codes.iter_mut().zip(x).for_each(|(code, x)| *code = offset(by.encode(*x)));
    }

    /// The codes of the products of rows with one row, `x ⊙ t`, each row's to the next multiple of four.
    ///
    /// # Panics
    /// If there are fewer codes than numbers.
    pub fn encode_with['a](codes: &'a mut [u8], x: &'a [f32], t: &'a [f32], by: Affine) {
        let stride = t.len().next_multiple_of(GROUP);
        for (codes, x) in codes.chunks_exact_mut(stride.max(1)).zip(x.chunks_exact(t.len().max(1))) {
            codes.iter_mut().zip(x.iter().zip(t)).for_each(|(code, (x, t))| *code = offset(by.encode(x * t)));
        }
    }

    /// From exact sums straight to the codes of the next product, `encode(f((sum − offset) · scale + part + row))`: rows of sums, with a row
    /// of `parts` each, or none where there are none, and one `row` for all. Rows of codes are columns, to the next multiple of four, apart.
    ///
    /// # Panics
    /// If the slices differ in their number of columns or rows.
    pub fn requantize['a, F: Fn(f32) -> f32](
        codes: &'a mut [u8],
        sums: &'a [i32],
        by: (&'a [i32], &'a [f32]),
        parts: &'a [f32],
        row: &'a [f32],
        next: Affine,
        f: F,
    ) {
        let ((offsets, scales), columns) = (by, row.len().max(1));
        let stride = row.len().next_multiple_of(GROUP).max(1);
        assert_eq!((offsets.len(), scales.len()), (row.len(), row.len()), "columns of sums");
        assert!(parts.is_empty() || parts.len() == sums.len(), "a row of parts for each of sums");
        for (number, (codes, sums)) in codes.chunks_exact_mut(stride).zip(sums.chunks_exact(columns)).enumerate() {
            let parts = parts.get(number * columns..(number + 1) * columns).unwrap_or_default();
            let (whole, end) = (row.len() / LANES, row.len() / LANES * LANES);
            // Loops of the body's own: a closure would be compiled for the baseline.
            for (vector, codes) in codes.as_chunks_mut::<LANES>().0.iter_mut().enumerate().take(whole) {
                let x = numbers(whole_vector(sums, by, parts, row, vector));
                for (code, x) in codes.iter_mut().zip(x) {
                    *code = offset(next.encode(f(x)));
                }
            }
            if end < row.len() {
                // Rows may be whole vectors apart though their columns are none.
                let ends = codes[end..].iter_mut().zip(last_vector(sums, by, parts, row));
                ends.for_each(|(code, x)| *code = offset(next.encode(f(x))));
            }
        }
    }

    /// From exact sums to what follows them, `f((sum − offset) · scale + part + row)`, as [`requantize`] without codes.
    ///
    /// # Panics
    /// As [`requantize`].
    pub fn activate['a, F: Fn(f32) -> f32](
        out: &'a mut [f32],
        sums: &'a [i32],
        by: (&'a [i32], &'a [f32]),
        parts: &'a [f32],
        row: &'a [f32],
        f: F,
    ) {
        let ((offsets, scales), columns) = (by, row.len().max(1));
        assert_eq!((offsets.len(), scales.len()), (row.len(), row.len()), "columns of sums");
        assert!(parts.is_empty() || parts.len() == sums.len(), "a row of parts for each of sums");
        for (number, (out, sums)) in out.chunks_exact_mut(columns).zip(sums.chunks_exact(columns)).enumerate() {
            let parts = parts.get(number * columns..(number + 1) * columns).unwrap_or_default();
            let (whole, rest) = out.as_chunks_mut::<LANES>();
            for (vector, out) in whole.iter_mut().enumerate() {
                let x = numbers(whole_vector(sums, by, parts, row, vector));
                for (out, x) in out.iter_mut().zip(x) {
                    *out = f(x);
                }
            }
            if !rest.is_empty() {
                rest.iter_mut().zip(last_vector(sums, by, parts, row)).for_each(|(out, x)| *out = f(x));
            }
        }
    }

    /// From exact sums to numbers: `(sum − offset) · scale` of each column, in rows, where the offset is the activations' zero times the sum
    /// of the column's codes, and the scale both scales' product.
    ///
    /// # Panics
    /// If the slices differ in their number of columns.
    pub fn decode['a](out: &'a mut [f32], sums: &'a [i32], offsets: &'a [i32], scales: &'a [f32]) {
        assert_eq!((out.len(), offsets.len()), (sums.len(), scales.len()), "sums of products");
        let columns = scales.len().max(1);
        for (out, sums) in out.chunks_exact_mut(columns).zip(sums.chunks_exact(columns)) {
            for (((out, sum), offset), scale) in out.iter_mut().zip(sums).zip(offsets).zip(scales) {
                *out = sum.wrapping_sub(*offset) as f32 * scale;
            }
        }
    }
}

/// A code with [`OFFSET`] added.
#[inline(always)]
pub(super) fn offset(code: i8) -> u8 {
    code.cast_unsigned() ^ OFFSET
}

/// A vector of sums with what makes numbers of it.
struct Columns<'a> {
    sums: &'a [i32; LANES],
    offsets: &'a [i32; LANES],
    scales: &'a [f32; LANES],
    row: &'a [f32; LANES],
    part: Option<&'a [f32; LANES]>,
}

/// A whole vector of a row's columns, by its number.
#[inline(always)]
fn whole_vector<'a>(
    sums: &'a [i32],
    by: (&'a [i32], &'a [f32]),
    parts: &'a [f32],
    row: &'a [f32],
    vector: usize,
) -> Columns<'a> {
    Columns {
        sums: &sums.as_chunks().0[vector],
        offsets: &by.0.as_chunks().0[vector],
        scales: &by.1.as_chunks().0[vector],
        row: &row.as_chunks().0[vector],
        part: parts.as_chunks().0.get(vector),
    }
}

/// `(sum − offset) · scale + (part + row)`.
#[inline(always)]
fn numbers(columns: Columns<'_>) -> [f32; LANES] {
    let mut x = *columns.row;
    if let Some(part) = columns.part {
        x.iter_mut().zip(part).for_each(|(x, part)| *x += part);
    }
    for (at, x) in x.iter_mut().enumerate() {
        *x += columns.sums[at].wrapping_sub(columns.offsets[at]) as f32 * columns.scales[at];
    }
    x
}

/// [`numbers`] of the columns past the last whole vector; anything past the last one.
#[inline(never)]
fn last_vector(sums: &[i32], by: (&[i32], &[f32]), parts: &[f32], row: &[f32]) -> [f32; LANES] {
    let start = row.len() / LANES * LANES;
    let mut x = [0.0; LANES];
    for (at, x) in (start..row.len()).zip(&mut x) {
        let part = parts.get(at).copied().unwrap_or(0.0);
        *x = row[at] + part + sums[at].wrapping_sub(by.0[at]) as f32 * by.1[at];
    }
    x
}
