//! Vectors of 256 bits: AVX2, and AVX-VNNI where it is there.
//!
//! AVX2's own product of bytes, `vpmaddubsw`, adds two products in 16 bits and saturates: 2 · 255 · 127 is 64,770. So codes are widened to
//! 16 bits and go through `vpmaddwd`, which adds two products in 32 bits and never saturates; activations are widened once for all outputs,
//! weights as they are read. `vpdpbusd` of AVX-VNNI adds four products of bytes in 32 bits; it wraps where a sum is beyond them, as sums of
//! integers everywhere here do, and the sum as a whole is not.
//!
//! No closure is handed to a function of the standard library here: what calls it there is compiled for the baseline, and calls it for each vector.
#![allow(unsafe_code)] // The processor's instructions; what each reads and writes is asserted.

use super::x86::{At, Then};
use super::{LANES, Numbers, OFFSET, Packed};
use crate::kernels::activation::Activation;
use bytemuck::Pod;
use std::arch::x86_64::*;
use std::mem::MaybeUninit;

/// The most rows of a block: with two vectors of sums each, these, two of weights and one of activations fill the sixteen registers.
const ROWS: usize = 6;

/// Inputs of a row that are widened at a time.
pub(super) const CHUNK: usize = 1024;

/// Sixteen sums of each row.
type Sums<const ROWS: usize> = [[__m256i; 2]; ROWS];

/// Rows of activations in 16 bits.
type Wide = [[MaybeUninit<i16>; CHUNK]; ROWS];

/// Sums of products with AVX2, of no more inputs than are widened at a time, and what follows them.
#[target_feature(enable = "avx2")]
pub(super) fn all_widened<const KEEP: bool>(x: &[u8], weights: &Packed, then: &mut Then<'_>) {
    let (outputs, stride) = (weights.outputs(), weights.stride());
    let mut wide: Wide = [[MaybeUninit::uninit(); CHUNK]; ROWS];
    for (number, x) in x.chunks(ROWS * stride).enumerate() {
        let rows = x.len() / stride;
        widen(&mut wide, x, stride, 0..stride);
        for first in (0..outputs).step_by(LANES) {
            let at = At { first, row: number * ROWS, outputs, stride };
            match rows {
                1 => finish::<1, KEEP>(widened(&wide, weights, first, 0..stride, then.numbers()), at, then),
                2 => finish::<2, KEEP>(widened(&wide, weights, first, 0..stride, then.numbers()), at, then),
                3 => finish::<3, KEEP>(widened(&wide, weights, first, 0..stride, then.numbers()), at, then),
                4 => finish::<4, KEEP>(widened(&wide, weights, first, 0..stride, then.numbers()), at, then),
                5 => finish::<5, KEEP>(widened(&wide, weights, first, 0..stride, then.numbers()), at, then),
                _ => finish::<6, KEEP>(widened(&wide, weights, first, 0..stride, then.numbers()), at, then),
            }
        }
    }
}

/// Sums of products with AVX2, of any number of inputs, one row after the other.
#[target_feature(enable = "avx2")]
pub(super) fn long_widened(out: &mut [i32], x: &[u8], weights: &Packed) {
    let (outputs, stride) = (weights.outputs(), weights.stride());
    let mut wide: Wide = [[MaybeUninit::uninit(); CHUNK]; ROWS];
    let mut part = [0; LANES];
    for (out, x) in out.chunks_exact_mut(outputs).zip(x.chunks_exact(stride)) {
        out.fill(0);
        for start in (0..stride).step_by(CHUNK) {
            let inputs = start..stride.min(start + CHUNK);
            widen(&mut wide, x, stride, inputs.clone());
            for (vector, out) in out.chunks_mut(LANES).enumerate() {
                let [sums] = widened::<1>(&wide, weights, vector * LANES, inputs.clone(), None);
                let at = At { first: 0, row: 0, outputs: LANES, stride };
                finish::<1, true>([sums], at, &mut Then::Keep(&mut part));
                out.iter_mut().zip(part).for_each(|(out, part)| *out += part);
            }
        }
    }
}

/// Some inputs of rows, in 16 bits.
#[target_feature(enable = "avx2")]
#[inline]
fn widen(wide: &mut Wide, x: &[u8], stride: usize, inputs: std::ops::Range<usize>) {
    for (wide, x) in wide.iter_mut().zip(x.chunks_exact(stride)) {
        for (wide, x) in wide.iter_mut().zip(&x[inputs.clone()]) {
            wide.write(i16::from(*x) - i16::from(OFFSET));
        }
    }
}

/// The sums of the products of some inputs of `ROWS` rows, which were widened, with sixteen outputs.
#[target_feature(enable = "avx2")]
#[inline]
fn widened<const ROWS: usize>(
    wide: &Wide,
    weights: &Packed,
    first: usize,
    inputs: std::ops::Range<usize>,
    numbers: Option<&Numbers<'_>>,
) -> Sums<ROWS> {
    const PAIR: usize = 2;
    let pairs = inputs.len() / PAIR;
    let codes = weights.vector(first, inputs);
    assert!(pairs * PAIR <= CHUNK && codes.len() == pairs * PAIR * LANES && ROWS <= wide.len());
    let mut start = [_mm256_setzero_si256(); 2];
    if let Some(of) = numbers {
        take(&mut start, of_columns(of.offsets, first));
    }
    let mut sums = [start; ROWS];
    for pair in 0..pairs {
        // SAFETY: there are `pairs` vectors of codes, as asserted; these are the two halves of one.
        let (low, high) = unsafe {
            let codes = codes.as_ptr().add(pair * PAIR * LANES);
            (_mm_loadu_si128(codes.cast()), _mm_loadu_si128(codes.add(PAIR * LANES / 2).cast()))
        };
        let weights = [_mm256_cvtepi8_epi16(low), _mm256_cvtepi8_epi16(high)];
        for (row, sums) in sums.iter_mut().enumerate() {
            // SAFETY: `widen` wrote these inputs of all rows; the read need not be aligned.
            let two = unsafe { wide[row].as_ptr().add(pair * PAIR).cast::<i32>().read_unaligned() };
            let x = _mm256_set1_epi32(two);
            for (sum, weights) in sums.iter_mut().zip(weights) {
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(x, weights));
            }
        }
    }
    sums
}

/// Sums of products with AVX-VNNI, and what follows them.
#[target_feature(enable = "avx2,avxvnni")]
pub(super) fn all_dotted<const KEEP: bool>(x: &[u8], weights: &Packed, then: &mut Then<'_>) {
    let (outputs, stride) = (weights.outputs(), weights.stride());
    for first in (0..outputs).step_by(LANES) {
        for (number, x) in x.chunks(ROWS * stride).enumerate() {
            let at = At { first, row: number * ROWS, outputs, stride };
            match x.len() / stride {
                1 => finish::<1, KEEP>(dotted(x, weights, first, then.numbers()), at, then),
                2 => finish::<2, KEEP>(dotted(x, weights, first, then.numbers()), at, then),
                3 => finish::<3, KEEP>(dotted(x, weights, first, then.numbers()), at, then),
                4 => finish::<4, KEEP>(dotted(x, weights, first, then.numbers()), at, then),
                5 => finish::<5, KEEP>(dotted(x, weights, first, then.numbers()), at, then),
                _ => finish::<6, KEEP>(dotted(x, weights, first, then.numbers()), at, then),
            }
        }
    }
}

/// The sums of the products of `ROWS` rows with sixteen outputs.
#[target_feature(enable = "avx2,avxvnni")]
#[inline]
fn dotted<const ROWS: usize>(x: &[u8], weights: &Packed, first: usize, numbers: Option<&Numbers<'_>>) -> Sums<ROWS> {
    const FOUR: usize = 4;
    let stride = weights.stride();
    let codes = weights.vector(first, 0..stride);
    assert!(x.len() == ROWS * stride && codes.len() == stride * LANES && stride.is_multiple_of(FOUR));
    const { assert!(OFFSET == 1 << 7) }
    let [low, high] = of_columns(&weights.sums, first);
    let mut start = [_mm256_setzero_si256(); 2];
    take(&mut start, [_mm256_slli_epi32::<7>(low), _mm256_slli_epi32::<7>(high)]);
    if let Some(of) = numbers {
        take(&mut start, of_columns(of.offsets, first));
    }
    let mut sums = [start; ROWS];
    for group in 0..stride / FOUR {
        // SAFETY: there are `stride / FOUR` vectors of codes, as asserted.
        let weights = unsafe {
            let codes = codes.as_ptr().add(group * FOUR * LANES);
            [_mm256_loadu_si256(codes.cast()), _mm256_loadu_si256(codes.add(FOUR * LANES / 2).cast())]
        };
        for (row, sums) in sums.iter_mut().enumerate() {
            // SAFETY: a row holds `stride` bytes, as asserted; the read need not be aligned.
            let four = unsafe { x.as_ptr().add(row * stride + group * FOUR).cast::<i32>().read_unaligned() };
            let x = _mm256_set1_epi32(four);
            for (sum, weights) in sums.iter_mut().zip(weights) {
                *sum = _mm256_dpbusd_avx_epi32(*sum, x, weights);
            }
        }
    }
    sums
}

/// What becomes of the sums of `ROWS` rows and sixteen outputs, or of those that there are.
#[target_feature(enable = "avx2")]
#[inline]
fn finish<const ROWS: usize, const KEEP: bool>(sums: Sums<ROWS>, at: At, then: &mut Then<'_>) {
    let At { first, row: first_row, outputs, .. } = at;
    if outputs < first + LANES {
        // A block of its own, of whole vectors, from which the outputs that there are go where they belong.
        let place = At { first: 0, row: 0, outputs: LANES, stride: at.stride };
        return last_outputs::<ROWS, KEEP>(sums, at, place, then);
    }
    let end = (first_row + ROWS) * outputs;
    match then {
        Then::Keep(out) if KEEP => {
            let out = &mut out[first_row * outputs + first..end];
            for (row, [low, high]) in sums.into_iter().enumerate() {
                // SAFETY: the slice ends with the last row's last output, and sixteen outputs start here in each row.
                unsafe {
                    let into = out.as_mut_ptr().add(row * outputs);
                    _mm256_storeu_si256(into.cast(), low);
                    _mm256_storeu_si256(into.add(8).cast(), high);
                }
            }
        }
        Then::Numbers(out, of) if !KEEP => {
            let out = &mut out[first_row * outputs + first..end];
            let columns = Columns::new(of, at, ROWS);
            for (row, sums) in sums.into_iter().enumerate() {
                let [low, high] = columns.numbers(row, sums);
                // SAFETY: as above.
                unsafe {
                    let into = out.as_mut_ptr().add(row * outputs);
                    _mm256_storeu_ps(into, low);
                    _mm256_storeu_ps(into.add(8), high);
                }
            }
        }
        Then::Codes(codes, of, next, apart) if !KEEP => {
            assert!(outputs <= *apart);
            let codes = &mut codes[first_row * *apart + first..(first_row + ROWS) * *apart];
            let (step, zero) = (_mm256_set1_ps(1.0 / next.scale), _mm256_set1_ps(f32::from(next.zero)));
            let (top, sign) = (_mm256_set1_ps(127.0), _mm_set1_epi8(-128));
            let columns = Columns::new(of, at, ROWS);
            for (row, sums) in sums.into_iter().enumerate() {
                let [low, high] = columns.numbers(row, sums);
                let low = _mm256_add_ps(_mm256_mul_ps(low, step), zero);
                let high = _mm256_add_ps(_mm256_mul_ps(high, step), zero);
                // The least of two is the second where one is no number; that, and what is below all codes, becomes the least one.
                let low = _mm256_cvtps_epi32(_mm256_min_ps(top, low));
                let high = _mm256_cvtps_epi32(_mm256_min_ps(top, high));
                // Halves of 128 bits are packed each for itself, and put in order.
                let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(low, high));
                let bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
                // SAFETY: as above, with rows so far apart.
                unsafe { _mm_storeu_si128(codes.as_mut_ptr().add(row * *apart).cast(), _mm_xor_si128(bytes, sign)) };
            }
        }
        Then::Lanes(lanes, of, last) if !KEEP => {
            let lanes = &mut lanes.as_chunks_mut::<LANES>().0[first_row..first_row + ROWS];
            let (by, columns) = (floats_of_columns(last, first), Columns::new(of, at, ROWS));
            for (row, (lanes, sums)) in lanes.iter_mut().zip(sums).enumerate() {
                let before = if first == 0 { [_mm256_setzero_ps(); 2] } else { floats(lanes) };
                let [low, high] = columns.numbers(row, sums);
                let low = _mm256_add_ps(before[0], _mm256_mul_ps(low, by[0]));
                let high = _mm256_add_ps(before[1], _mm256_mul_ps(high, by[1]));
                // SAFETY: the array is two vectors.
                unsafe {
                    _mm256_storeu_ps(lanes.as_mut_ptr(), low);
                    _mm256_storeu_ps(lanes.as_mut_ptr().add(8), high);
                }
            }
        }
        _ => unreachable!("sums are kept by a block of their own"),
    }
}

/// What becomes of the sums of `ROWS` rows and the outputs behind the last whole vector.
#[target_feature(enable = "avx2")]
#[inline(never)]
fn last_outputs<const ROWS: usize, const KEEP: bool>(sums: Sums<ROWS>, at: At, place: At, then: &mut Then<'_>) {
    let At { first, row: first_row, outputs, .. } = at;
    let count = outputs - first;
    match then {
        Then::Keep(out) => {
            let mut whole = [0; LANES * 6];
            finish::<ROWS, true>(sums, place, &mut Then::Keep(&mut whole));
            for (row, whole) in whole.as_chunks::<LANES>().0.iter().enumerate().take(ROWS) {
                out[(first_row + row) * outputs + first..][..count].copy_from_slice(&whole[..count]);
            }
        }
        Then::Numbers(_, of) | Then::Codes(_, of, ..) | Then::Lanes(_, of, _) => {
            let columns = [of.scales, of.row].map(|columns| {
                let mut whole = [0.0; LANES];
                whole[..count].copy_from_slice(&columns[first..]);
                whole
            });
            let mut parts = [[0.0; LANES]; ROWS];
            if !of.parts.is_empty() {
                for (row, whole) in parts.iter_mut().enumerate() {
                    whole[..count].copy_from_slice(&of.parts[(first_row + row) * outputs + first..][..count]);
                }
            }
            let [scales, row] = &columns;
            // Offsets are taken from the sums already.
            let of = Numbers { offsets: &[], scales, parts: parts.as_flattened(), row, activation: of.activation };
            match then {
                Then::Codes(codes, _, next, apart) => {
                    let mut whole = [0; LANES * 6];
                    finish::<ROWS, false>(sums, place, &mut Then::Codes(&mut whole, of, *next, LANES));
                    for (row, whole) in whole.as_chunks::<LANES>().0.iter().enumerate().take(ROWS) {
                        codes[(first_row + row) * *apart + first..][..count].copy_from_slice(&whole[..count]);
                    }
                }
                Then::Numbers(out, _) => {
                    let mut whole = [0.0; LANES * 6];
                    finish::<ROWS, false>(sums, place, &mut Then::Numbers(&mut whole, of));
                    for (row, whole) in whole.as_chunks::<LANES>().0.iter().enumerate().take(ROWS) {
                        out[(first_row + row) * outputs + first..][..count].copy_from_slice(&whole[..count]);
                    }
                }
                _ => unreachable!("lanes are summed of whole vectors"),
            }
        }
    }
}

/// What makes numbers of a block's sums, from which offsets are taken already.
struct Columns<'a> {
    scales: [__m256; 2],
    row: [__m256; 2],
    /// What is added to the block's rows from the first column on, so far apart.
    parts: &'a [f32],
    apart: usize,
    /// The least number that the activation lets through.
    least: __m256,
}

impl<'a> Columns<'a> {
    /// Of a block whose outputs are there.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn new(of: &Numbers<'a>, at: At, rows: usize) -> Self {
        const NONE: [f32; LANES] = [0.0; LANES];
        let At { first, row, outputs, .. } = at;
        let is_relu = of.activation == Activation::Relu;
        let (parts, apart): (&[f32], usize) = match of.parts {
            [] => (&NONE, 0),
            parts => (&parts[row * outputs + first..(row + rows) * outputs], outputs),
        };
        assert!(parts.len() >= (rows - 1) * apart + LANES);
        Self {
            scales: floats_of_columns(of.scales, first),
            row: floats_of_columns(of.row, first),
            parts,
            apart,
            least: _mm256_set1_ps(if is_relu { 0.0 } else { f32::NEG_INFINITY }),
        }
    }

    /// `f((row + part) + sum · scale)`, of one of the block's rows.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn numbers(&self, row: usize, sums: [__m256i; 2]) -> [__m256; 2] {
        let mut numbers = self.row;
        for (half, x) in numbers.iter_mut().enumerate() {
            // SAFETY: there are sixteen parts from here, as asserted, for each of the block's rows.
            let part = unsafe { _mm256_loadu_ps(self.parts.as_ptr().add(row * self.apart + 8 * half)) };
            let sum = _mm256_mul_ps(_mm256_cvtepi32_ps(sums[half]), self.scales[half]);
            // The greater of two is the second where one is no number.
            *x = _mm256_max_ps(self.least, _mm256_add_ps(_mm256_add_ps(*x, part), sum));
        }
        numbers
    }
}

/// Sixteen numbers of a row from a column on, or those that there are, and zeros.
#[target_feature(enable = "avx2")]
#[inline]
fn of_columns<T: Pod>(row: &[T], first: usize) -> [__m256i; 2] {
    const { assert!(size_of::<T>() == 4) }
    let (row, mut lanes) = (&row[first..], [T::zeroed(); LANES]);
    let lanes = match row.first_chunk::<LANES>() {
        Some(whole) => whole,
        None => {
            lanes[..row.len()].copy_from_slice(row);
            &lanes
        }
    };
    // SAFETY: the array is two vectors.
    unsafe { [_mm256_loadu_si256(lanes.as_ptr().cast()), _mm256_loadu_si256(lanes.as_ptr().add(8).cast())] }
}

#[target_feature(enable = "avx2")]
#[inline]
fn floats_of_columns(row: &[f32], first: usize) -> [__m256; 2] {
    let [low, high] = of_columns(row, first);
    [_mm256_castsi256_ps(low), _mm256_castsi256_ps(high)]
}

/// Takes numbers away.
#[target_feature(enable = "avx2")]
#[inline]
fn take(from: &mut [__m256i; 2], numbers: [__m256i; 2]) {
    for (from, number) in from.iter_mut().zip(numbers) {
        *from = _mm256_sub_epi32(*from, number);
    }
}

#[target_feature(enable = "avx2")]
#[inline]
fn floats(from: &[f32; LANES]) -> [__m256; 2] {
    // SAFETY: the array is two vectors.
    unsafe { [_mm256_loadu_ps(from.as_ptr()), _mm256_loadu_ps(from.as_ptr().add(8))] }
}

/// `(Σ lanes + bias) · scale` of each row: lanes are added by halves.
#[target_feature(enable = "avx2")]
pub(super) fn sum_lanes(scores: &mut [f32], lanes: &[f32], bias: f32, scale: f32) {
    for (score, lanes) in scores.iter_mut().zip(lanes.as_chunks::<LANES>().0) {
        let [low, high] = floats(lanes);
        let eight = _mm256_add_ps(low, high);
        let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        let one = _mm_add_ss(two, _mm_movehdup_ps(two));
        *score = (_mm_cvtss_f32(one) + bias) * scale;
    }
}
