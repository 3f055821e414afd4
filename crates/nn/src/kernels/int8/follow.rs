//! What comes before sums of products and what follows them: codes of activations, and numbers of sums.

use super::{GROUP, Numbers, OFFSET};
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

    /// From exact sums, in place, to what an activation is applied to: `(row + part) + (sum − offset) · scale`, with a row of parts each, or none
    /// where there are none, and one `row` for all.
    fn add_up['a](sums: &'a mut [i32], of: Numbers<'a>) {
        let columns = of.row.len().max(1);
        for (number, sums) in sums.chunks_exact_mut(columns).enumerate() {
            let parts = of.parts.get(number * columns..(number + 1) * columns).unwrap_or_default();
            let each = sums.iter_mut().zip(of.offsets).zip(of.scales.iter().zip(of.row));
            if parts.is_empty() {
                for ((sum, offset), (scale, row)) in each {
                    *sum = bits(row + sum.wrapping_sub(*offset) as f32 * scale);
                }
            } else {
                for (((sum, offset), (scale, row)), part) in each.zip(parts) {
                    *sum = bits((row + part) + sum.wrapping_sub(*offset) as f32 * scale);
                }
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

/// A number in the place of a sum.
#[inline(always)]
fn bits(x: f32) -> i32 {
    x.to_bits().cast_signed()
}

/// The numbers that follow sums, in their place.
pub(super) fn activated<'a>(sums: &'a mut [i32], of: Numbers<'_>) -> &'a mut [f32] {
    add_up(sums, of);
    let numbers = bytemuck::cast_slice_mut(sums);
    of.activation.apply(numbers);
    numbers
}
