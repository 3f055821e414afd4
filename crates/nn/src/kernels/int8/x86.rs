//! The paths of x86-64. What follows a block of sums is done while they are in registers.
#![allow(unsafe_code)] // Calls of functions compiled for instructions that the path says are there.

use super::{GROUP, Int8Path, LANES, Numbers, Packed, avx2, avx512};
use crate::kernels::activation::Activation;
use crate::quantization::affine::Affine;

/// What becomes of sums.
pub(super) enum Then<'a> {
    /// They are kept.
    Keep(&'a mut [i32]),
    /// They become the numbers that follow them.
    Numbers(&'a mut [f32], Numbers<'a>),
    /// They become the codes of the next layer, in rows so many bytes apart.
    Codes(&'a mut [u8], Numbers<'a>, Affine, usize),
    /// The numbers that follow them are multiplied with a row, and summed lane by lane.
    Lanes(&'a mut [f32], Numbers<'a>, &'a [f32]),
}

impl<'a> Then<'a> {
    /// What makes numbers of sums, where anything does.
    pub(super) fn numbers(&self) -> Option<&Numbers<'a>> {
        match self {
            Self::Keep(_) => None,
            Self::Numbers(_, of) | Self::Codes(_, of, ..) | Self::Lanes(_, of, _) => Some(of),
        }
    }
}

/// Where a block is: its first column and row, of how many outputs, with rows of activations how far apart.
#[derive(Clone, Copy)]
pub(super) struct At {
    pub(super) first: usize,
    pub(super) row: usize,
    pub(super) outputs: usize,
    pub(super) stride: usize,
}

/// Whether the sums of a layer's products can go on through an activation while they are in registers.
pub(super) fn goes_on(weights: &Packed, activation: Activation) -> bool {
    let is_whole = weights.path() != Int8Path::Avx2 || weights.stride() <= avx2::CHUNK;
    weights.path() != Int8Path::Portable && is_whole && matches!(activation, Activation::None | Activation::Relu)
}

/// [`super::products`], by any path but the portable one.
pub(super) fn products(out: &mut [i32], x: &[u8], weights: &Packed) {
    match weights.path() {
        // SAFETY: weights are packed for a path only where the processor has it.
        Int8Path::Avx512Vnni => unsafe { avx512::all::<true>(x, weights, &mut Then::Keep(out)) },
        // SAFETY: as above.
        Int8Path::AvxVnni => unsafe { avx2::all_dotted::<true>(x, weights, &mut Then::Keep(out)) },
        // SAFETY: as above.
        Int8Path::Avx2 if weights.stride() <= avx2::CHUNK => unsafe {
            avx2::all_widened::<true>(x, weights, &mut Then::Keep(out))
        },
        // SAFETY: as above.
        Int8Path::Avx2 => unsafe { avx2::long_widened(out, x, weights) },
        _ => unreachable!("no path of this processor with instructions of its own"),
    }
}

/// [`super::dense`], where sums [go on](goes_on).
pub(super) fn dense(out: &mut [f32], x: &[u8], weights: &Packed, of: Numbers<'_>) {
    go_on(x, weights, &mut Then::Numbers(out, of));
}

/// [`super::layer`], where sums [go on](goes_on).
pub(super) fn layer(codes: &mut [u8], x: &[u8], weights: &Packed, of: Numbers<'_>, next: Affine) {
    let apart = weights.outputs().next_multiple_of(GROUP);
    go_on(x, weights, &mut Then::Codes(codes, of, next, apart));
}

/// [`super::last_layers`], where sums [go on](goes_on) and the last layer reads whole vectors of them.
pub(super) fn last_layers(
    scores: &mut [f32],
    x: &[u8],
    weights: &Packed,
    of: Numbers<'_>,
    (last, bias, scale): (&[f32], f32, f32),
    lanes: &mut [f32],
) {
    let (lanes, by_512) = (&mut lanes[..scores.len() * LANES], weights.path() == Int8Path::Avx512Vnni);
    go_on(x, weights, &mut Then::Lanes(lanes, of, last));
    // SAFETY: weights are packed for a path only where the processor has it, and all of them have AVX2.
    unsafe {
        if by_512 {
            avx512::sum_lanes(scores, lanes, bias, scale);
        } else {
            avx2::sum_lanes(scores, lanes, bias, scale);
        }
    }
}

fn go_on(x: &[u8], weights: &Packed, then: &mut Then<'_>) {
    match weights.path() {
        // SAFETY: weights are packed for a path only where the processor has it.
        Int8Path::Avx512Vnni => unsafe { avx512::all::<false>(x, weights, then) },
        // SAFETY: as above.
        Int8Path::AvxVnni => unsafe { avx2::all_dotted::<false>(x, weights, then) },
        // SAFETY: as above.
        Int8Path::Avx2 => unsafe { avx2::all_widened::<false>(x, weights, then) },
        _ => unreachable!("no path of this processor with instructions of its own"),
    }
}
