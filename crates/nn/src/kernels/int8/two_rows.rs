//! Products two rows of activations at a time: each register of weights is read once for both.

use super::{LANES, Packed};

/// Sums of two rows and sixteen outputs.
pub(super) type Sums = [[i32; LANES]; 2];

/// What sums the products of two rows with a vector of outputs, from its codes.
pub(super) trait SumsOf {
    /// The rows are as long as [`Packed::stride`], and the codes sixteen times as long.
    fn sums(&self, rows: [&[u8]; 2], codes: &[i8], sums: &mut Sums);
}

/// [`super::products`], of a product with inputs.
pub(super) fn products(out: &mut [i32], x: &[u8], weights: &Packed, of: &impl SumsOf) {
    let (outputs, stride) = (weights.outputs(), weights.stride());
    let mut sums = [[0; LANES]; 2];
    for (out, x) in out.chunks_mut(2 * outputs).zip(x.chunks(2 * stride)) {
        // The last of an odd number of rows is taken twice.
        let (first, second) = x.split_at(stride);
        let second = if second.is_empty() { first } else { second };
        for (vector, codes) in weights.codes.chunks_exact(stride * LANES).enumerate() {
            of.sums([first, second], codes, &mut sums);
            for (out, sums) in out.chunks_exact_mut(outputs).zip(&sums) {
                let out = &mut out[vector * LANES..];
                let count = out.len().min(LANES);
                out[..count].copy_from_slice(&sums[..count]);
            }
        }
    }
}
