//! Products of codes of eight bits, summed exactly in 32.
//!
//! A sum of `k` products of codes fits an `i32` up to 131,071 inputs, whatever is between overflows and comes back. So the result does
//! not depend on how it is computed, and every processor has the same. With a zero taken out ([`decode`]) it fits up to 66,311, which is
//! what is accepted.
//!
//! How it is computed, a weight matrix says since it was packed ([`Packed::path`]): in the quickest way that the processor has.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod follow;
#[cfg(target_arch = "aarch64")]
mod neon;
mod packed;
mod path;
#[cfg(test)]
mod tests;
#[cfg(any(target_arch = "aarch64", all(target_arch = "wasm32", target_feature = "simd128")))]
mod two_rows;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod wasm;
#[cfg(target_arch = "x86_64")]
mod x86;

use follow::activated;
pub use follow::{decode, encode, encode_with};
pub use packed::Packed;
pub use path::Int8Path;
#[cfg(any(target_arch = "aarch64", all(target_arch = "wasm32", target_feature = "simd128")))]
use path::PORTABLE;

use super::activation::Activation;
use super::reduce::score_rows;
use crate::quantization::affine::Affine;

/// Rows of activations are whole groups of inputs: whatever sums products takes as many at a time.
const GROUP: usize = if cfg!(any(target_arch = "aarch64", target_arch = "wasm32")) { 8 } else { 4 };

/// Outputs side by side in a vector.
const LANES: usize = 16;

/// What is added to codes of activations where they are kept: Arm's instructions multiply signed bytes, the others' unsigned by signed ones.
pub const OFFSET: u8 = if cfg!(target_arch = "aarch64") { 0 } else { 128 };

/// The most inputs whose sum is exact, also with a zero of activations taken out: |code − zero| of 255, times 127.
const MOST_INPUTS: usize = i32::MAX as usize / (255 * 127);

/// `out[r, c] = Σ_k (x[r, k] − OFFSET) · w[k, c]`, exactly: codes of activations are kept with [`OFFSET`] added, as [`encode`] has them. Rows of
/// `x` are [`Packed::stride`] apart; what is between rows counts for nothing.
///
/// # Panics
/// If the slices are not as long as they should be.
pub fn products(out: &mut [i32], x: &[u8], weights: &Packed) {
    let (outputs, stride) = (weights.outputs(), weights.stride());
    if outputs == 0 {
        return;
    }
    let rows = out.len() / outputs;
    assert_eq!(out.len(), rows * outputs, "products of {outputs} outputs");
    assert_eq!(Some(x.len()), rows.checked_mul(stride), "activations {stride} apart");
    if stride == 0 {
        out.fill(0);
        return;
    }
    #[cfg(target_arch = "x86_64")]
    if weights.path() != Int8Path::Portable {
        return x86::products(out, x, weights);
    }
    #[cfg(target_arch = "aarch64")]
    if !PORTABLE || weights.path() != Int8Path::Portable {
        return neon::products(out, x, weights);
    }
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    if !PORTABLE || weights.path() != Int8Path::Portable {
        return wasm::products(out, x, weights);
    }
    portable(out, x, &weights.codes, (outputs, stride));
}

/// What the sums of a layer become: `f((sum − offset) · scale + (row + part))`, column by column.
#[derive(Debug, Clone, Copy)]
pub struct Numbers<'a> {
    /// What takes the zero of activations out of a sum.
    pub offsets: &'a [i32],
    /// What a step of a sum is worth.
    pub scales: &'a [f32],
    /// What is added to the sums of each row; empty where nothing is.
    pub parts: &'a [f32],
    /// What is added to the sums of all rows.
    pub row: &'a [f32],
    /// `f`.
    pub activation: Activation,
}

impl Numbers<'_> {
    fn check(&self, sums: usize, columns: usize) {
        assert_eq!((self.offsets.len(), self.scales.len(), self.row.len()), (columns, columns, columns), "columns");
        assert!(self.parts.is_empty() || self.parts.len() == sums, "a row of parts for each of sums");
    }
}

/// A layer from codes to numbers: [`products`], [`decode`]d, with the row added, where there is one, and the activation applied; no `parts`. `sums`
/// is memory for the moment.
///
/// # Panics
/// If the slices are not as long as they should be, or there are parts.
pub fn dense(out: &mut [f32], x: &[u8], weights: &Packed, of: Numbers<'_>, sums: &mut [i32]) {
    assert!(out.len() == sums.len() && of.parts.is_empty(), "a number for each sum");
    #[cfg(target_arch = "x86_64")]
    if !of.row.is_empty() && goes_on(x, weights, (sums.len(), of.activation)) {
        of.check(sums.len(), weights.outputs());
        return x86::dense(out, x, weights, of);
    }
    products(sums, x, weights);
    decode(out, sums, of.offsets, of.scales);
    if of.row.is_empty() {
        of.activation.apply(out);
    } else {
        of.activation.apply_with_bias(out, of.row);
    }
}

/// A layer from codes to the codes that the next one reads: [`products`], what follows them, and [`encode`] of that. `sums` is memory for the moment.
///
/// # Panics
/// If the slices are not as long as they should be.
pub fn layer(codes: &mut [u8], x: &[u8], weights: &Packed, of: Numbers<'_>, next: Affine, sums: &mut [i32]) {
    of.check(sums.len(), weights.outputs());
    #[cfg(target_arch = "x86_64")]
    if goes_on(x, weights, (sums.len(), of.activation)) {
        return x86::layer(codes, x, weights, of, next);
    }
    products(sums, x, weights);
    let columns = of.row.len();
    let rows = codes.chunks_exact_mut(columns.next_multiple_of(GROUP).max(1));
    for (codes, x) in rows.zip(activated(sums, of).chunks_exact(columns.max(1))) {
        encode(codes, x, next);
    }
}

/// A layer from codes to one number a row: [`products`], what follows them, and `(⟨·, last⟩ + bias) · scale` of that. `sums` and `numbers` are
/// memory for the moment, a place for each sum.
///
/// # Panics
/// If the slices are not as long as they should be.
pub fn last_layers(
    scores: &mut [f32],
    x: &[u8],
    weights: &Packed,
    of: Numbers<'_>,
    (last, bias, scale): (&[f32], f32, f32),
    (sums, numbers): (&mut [i32], &mut [f32]),
) {
    of.check(sums.len(), weights.outputs());
    assert_eq!((last.len(), numbers.len()), (weights.outputs(), sums.len()), "the last layer");
    assert_eq!(Some(sums.len()), scores.len().checked_mul(last.len()), "a score a row");
    #[cfg(target_arch = "x86_64")]
    if last.len().is_multiple_of(LANES) && goes_on(x, weights, (sums.len(), of.activation)) {
        return x86::last_layers(scores, x, weights, of, (last, bias, scale), numbers);
    }
    products(sums, x, weights);
    score_rows(scores, activated(sums, of), last, bias, scale);
}

/// Whether what follows the sums of a product is done while they are in registers. There must be some.
///
/// # Panics
/// If the activations are not as long as they should be.
#[cfg(target_arch = "x86_64")]
fn goes_on(x: &[u8], weights: &Packed, (sums, activation): (usize, Activation)) -> bool {
    let rows = sums / weights.outputs().max(1);
    assert_eq!(Some(x.len()), rows.checked_mul(weights.stride()), "activations {} apart", weights.stride());
    !x.is_empty() && x86::goes_on(weights, activation)
}

kernel! {
    fn portable['a](out: &'a mut [i32], x: &'a [u8], codes: &'a [i8], sizes: (usize, usize)) {
        let (outputs, stride) = sizes;
        for (out, x) in out.chunks_exact_mut(outputs).zip(x.chunks_exact(stride)) {
            for (out, codes) in out.chunks_mut(LANES).zip(codes.chunks_exact(stride * LANES)) {
                let mut sums = [0_i32; LANES];
                for (x, codes) in x.as_chunks::<GROUP>().0.iter().zip(codes.as_chunks::<{ GROUP * LANES }>().0) {
                    for (sum, codes) in sums.iter_mut().zip(codes.as_chunks::<GROUP>().0) {
                        for (x, code) in x.iter().zip(codes) {
                            *sum += i32::from((x ^ OFFSET).cast_signed()) * i32::from(*code);
                        }
                    }
                }
                out.copy_from_slice(&sums[..out.len()]);
            }
        }
    }
}
