//! AVX-512 with VNNI: four products of unsigned and signed bytes a lane and instruction. The 128 that were added to activations the sums of the
//! weights take out again. What follows a block of sums is done while they are in registers.
#![allow(unsafe_code)] // The processor's instructions; what each reads and writes is asserted or masked.

use super::x86::{At, Then};
use super::{GROUP, LANES, Numbers, OFFSET, Packed};
use crate::kernels::activation::Activation;
use std::arch::x86_64::*;

/// The most rows of a block: with two vectors of outputs each, their sums are half of the registers.
const ROWS: usize = 8;

/// Sums of products, and what follows them. Apart for sums that are `KEEP`, so that a small product has nothing of the others' memory to set up.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn all<const KEEP: bool>(x: &[u8], weights: &Packed, then: &mut Then<'_>) {
    let (outputs, stride) = (weights.outputs(), weights.stride());
    let rows = x.len() / stride;
    let part = stride * LANES;
    let mut first = 0;
    while first < outputs {
        let vectors = (outputs - first).div_ceil(LANES).min(2);
        let codes = &weights.codes[first / LANES * part..][..vectors * part];
        let sums = &weights.sums[first..outputs.min(first + vectors * LANES)];
        let mut row = 0;
        while row < rows {
            // The last two are of like size: a block of a few rows would wait for each of its sums.
            let count = match rows - row {
                left if left <= ROWS => left,
                left if left < 2 * ROWS => left.div_ceil(2),
                _ => ROWS,
            };
            let x = &x[row * stride..(row + count) * stride];
            let at = At { first, row, outputs, stride };
            match (count, vectors) {
                (8, 2) => block::<8, 2, KEEP>(x, codes, sums, at, then),
                (7, 2) => block::<7, 2, KEEP>(x, codes, sums, at, then),
                (6, 2) => block::<6, 2, KEEP>(x, codes, sums, at, then),
                (5, 2) => block::<5, 2, KEEP>(x, codes, sums, at, then),
                (4, 2) => block::<4, 2, KEEP>(x, codes, sums, at, then),
                (3, 2) => block::<3, 2, KEEP>(x, codes, sums, at, then),
                (2, 2) => block::<2, 2, KEEP>(x, codes, sums, at, then),
                (_, 2) => block::<1, 2, KEEP>(x, codes, sums, at, then),
                (8, _) => block::<8, 1, KEEP>(x, codes, sums, at, then),
                (7, _) => block::<7, 1, KEEP>(x, codes, sums, at, then),
                (6, _) => block::<6, 1, KEEP>(x, codes, sums, at, then),
                (5, _) => block::<5, 1, KEEP>(x, codes, sums, at, then),
                (4, _) => block::<4, 1, KEEP>(x, codes, sums, at, then),
                (3, _) => block::<3, 1, KEEP>(x, codes, sums, at, then),
                (2, _) => block::<2, 1, KEEP>(x, codes, sums, at, then),
                (_, _) => block::<1, 1, KEEP>(x, codes, sums, at, then),
            }
            row += count;
        }
        first += vectors * LANES;
    }
}

/// The columns of a vector that there are.
fn columns(count: usize, vector: usize) -> u16 {
    let count = count.saturating_sub(vector * LANES).min(LANES);
    ((1_u32 << count) - 1) as u16
}

/// As many numbers of a slice as a mask has.
#[target_feature(enable = "avx512f")]
#[inline]
fn floats(from: &[f32], at: usize, mask: u16) -> __m512 {
    let from = &from[at..at + mask.count_ones() as usize];
    // SAFETY: the mask reads the numbers of the slice, and no more.
    unsafe { _mm512_maskz_loadu_ps(mask, from.as_ptr()) }
}

/// As many numbers of a slice as a mask has.
#[target_feature(enable = "avx512f")]
#[inline]
fn integers(from: &[i32], at: usize, mask: u16) -> __m512i {
    let from = &from[at..at + mask.count_ones() as usize];
    // SAFETY: the mask reads the numbers of the slice, and no more.
    unsafe { _mm512_maskz_loadu_epi32(mask, from.as_ptr()) }
}

/// `ROWS` rows of activations with `VECTORS` times sixteen outputs, and what follows.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
fn block<const ROWS: usize, const VECTORS: usize, const KEEP: bool>(
    x: &[u8],
    codes: &[i8],
    sums: &[i32],
    at: At,
    then: &mut Then<'_>,
) {
    let At { first, row: first_row, outputs, stride } = at;
    assert!(x.len() == ROWS * stride && codes.len() == VECTORS * stride * LANES && stride.is_multiple_of(GROUP));
    assert!(first + sums.len() <= outputs && sums.len() <= VECTORS * LANES);
    let mut masks = [0; VECTORS];
    let mut start = [_mm512_setzero_si512(); VECTORS];
    for (vector, (start, mask)) in start.iter_mut().zip(&mut masks).enumerate() {
        *mask = columns(sums.len(), vector);
        let sums = integers(sums, vector * LANES, *mask);
        const { assert!(OFFSET == 1 << 7) }
        *start = _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_slli_epi32::<7>(sums));
        if let Some(of) = then.numbers() {
            *start = _mm512_sub_epi32(*start, integers(of.offsets, first + vector * LANES, *mask));
        }
    }
    let mut total: [[__m512i; VECTORS]; ROWS] = [start; ROWS];
    for group in 0..stride / GROUP {
        let mut weights = start;
        for (vector, weights) in weights.iter_mut().enumerate() {
            let at = (vector * stride / GROUP + group) * LANES * GROUP;
            // SAFETY: the codes hold `VECTORS` runs of `stride / GROUP` vectors, as asserted.
            *weights = unsafe { _mm512_loadu_si512(codes.as_ptr().add(at).cast()) };
        }
        for (row, total) in total.iter_mut().enumerate() {
            // SAFETY: a row holds `stride` bytes, as asserted; the read need not be aligned.
            let four = unsafe { x.as_ptr().add(row * stride + group * GROUP).cast::<i32>().read_unaligned() };
            let x = _mm512_set1_epi32(four);
            for (total, weights) in total.iter_mut().zip(&weights) {
                *total = _mm512_dpbusd_epi32(*total, x, *weights);
            }
        }
    }
    match then {
        Then::Keep(out) if KEEP => {
            let into = &mut out[first_row * outputs..(first_row + ROWS) * outputs];
            for (row, total) in total.iter().enumerate() {
                for (vector, total) in total.iter().enumerate() {
                    // SAFETY: as many numbers from here as the mask has are the row's, as asserted; it writes no others.
                    unsafe {
                        let into = into.as_mut_ptr().add(row * outputs + first + vector * LANES);
                        _mm512_mask_storeu_epi32(into, masks[vector], *total);
                    }
                }
            }
        }
        Then::Numbers(out, of) if !KEEP => {
            let into = &mut out[first_row * outputs..(first_row + ROWS) * outputs];
            let row_of = Row::<ROWS, VECTORS>::new(of, at, masks);
            for (row, total) in total.iter().enumerate() {
                for (vector, x) in row_of.numbers(row, *total).into_iter().enumerate() {
                    // SAFETY: as many numbers from here as the mask has are the row's, as asserted; it writes no others.
                    unsafe {
                        let into = into.as_mut_ptr().add(row * outputs + first + vector * LANES);
                        _mm512_mask_storeu_ps(into, masks[vector], x);
                    }
                }
            }
        }
        Then::Codes(codes, of, next, apart) if !KEEP => {
            assert!(outputs <= *apart);
            let into = &mut codes[first_row * *apart..(first_row + ROWS) * *apart];
            let (step, zero) = (_mm512_set1_ps(1.0 / next.scale), _mm512_set1_ps(f32::from(next.zero)));
            let (top, sign) = (_mm512_set1_ps(127.0), _mm_set1_epi8(-128));
            let row_of = Row::<ROWS, VECTORS>::new(of, at, masks);
            for (row, total) in total.iter().enumerate() {
                let x = row_of.numbers(row, *total);
                for (vector, x) in x.iter().enumerate() {
                    let level = _mm512_add_ps(_mm512_mul_ps(*x, step), zero);
                    // The least of two is the second where one is no number; that, and what is below all codes, becomes the least one.
                    let level = _mm512_cvtps_epi32(_mm512_min_ps(top, level));
                    let code = _mm_xor_si128(_mm512_cvtsepi32_epi8(level), sign);
                    // SAFETY: as many codes from here as the mask has are the row's, as asserted; it writes no others.
                    unsafe {
                        let into = into.as_mut_ptr().add(row * *apart + first + vector * LANES);
                        _mm_mask_storeu_epi8(into.cast(), masks[vector], code);
                    }
                }
            }
        }
        Then::Lanes(lanes, of, last) if !KEEP => {
            let into = &mut lanes.as_chunks_mut::<LANES>().0[first_row..first_row + ROWS];
            let mut by = [_mm512_setzero_ps(); VECTORS];
            for (vector, by) in by.iter_mut().enumerate() {
                *by = floats(last, first + vector * LANES, masks[vector]);
            }
            let before = if first == 0 { 0 } else { u16::MAX };
            let row_of = Row::<ROWS, VECTORS>::new(of, at, masks);
            for (row, (total, into)) in total.iter().zip(into).enumerate() {
                // SAFETY: the array is a vector.
                let mut sum = unsafe { _mm512_maskz_loadu_ps(before, into.as_ptr()) };
                for (x, by) in row_of.numbers(row, *total).iter().zip(&by) {
                    sum = _mm512_add_ps(sum, _mm512_mul_ps(*x, *by));
                }
                // SAFETY: as above.
                unsafe { _mm512_storeu_ps(into.as_mut_ptr(), sum) };
            }
        }
        _ => unreachable!("sums are kept by a block of their own"),
    }
}

/// What makes numbers of a block's sums, from which offsets are taken already.
struct Row<'a, const ROWS: usize, const VECTORS: usize> {
    scales: [__m512; VECTORS],
    row: [__m512; VECTORS],
    /// What is added to the block's rows, so far apart.
    parts: &'a [f32],
    apart: usize,
    /// The columns of parts that there are.
    masks: [u16; VECTORS],
    /// The least number that the activation lets through.
    least: __m512,
    first: usize,
}

impl<'a, const ROWS: usize, const VECTORS: usize> Row<'a, ROWS, VECTORS> {
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn new(of: &Numbers<'a>, at: At, masks: [u16; VECTORS]) -> Self {
        let At { first, row: first_row, outputs, .. } = at;
        let mut scales = [_mm512_setzero_ps(); VECTORS];
        let mut row = scales;
        for (vector, (scales, row)) in scales.iter_mut().zip(&mut row).enumerate() {
            *scales = floats(of.scales, first + vector * LANES, masks[vector]);
            *row = floats(of.row, first + vector * LANES, masks[vector]);
        }
        let is_relu = of.activation == Activation::Relu;
        let least = _mm512_set1_ps(if is_relu { 0.0 } else { f32::NEG_INFINITY });
        // Where there are none, nothing is read; but an address that no memory has would be slow even so.
        let (parts, apart, masks) = match of.parts {
            [] => (&of.row[..outputs], 0, [0; VECTORS]),
            parts => (&parts[first_row * outputs..(first_row + ROWS) * outputs], outputs, masks),
        };
        Self { scales, row, parts, apart, masks, least, first }
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn numbers(&self, row: usize, total: [__m512i; VECTORS]) -> [__m512; VECTORS] {
        let mut numbers = self.row;
        for (vector, (x, total)) in numbers.iter_mut().zip(total).enumerate() {
            let from = self.parts.as_ptr().wrapping_add(row * self.apart + self.first + vector * LANES);
            // SAFETY: as many numbers from here as the mask has are the row's parts, and it reads no others.
            let part = unsafe { _mm512_maskz_loadu_ps(self.masks[vector], from) };
            let sum = _mm512_mul_ps(_mm512_cvtepi32_ps(total), self.scales[vector]);
            // The greater of two is the second where one is no number.
            *x = _mm512_max_ps(self.least, _mm512_add_ps(_mm512_add_ps(*x, part), sum));
        }
        numbers
    }
}

/// `(Σ lanes + bias) · scale` of each row: lanes are added by halves, those of sixteen rows at once.
#[target_feature(enable = "avx512f")]
pub(super) fn sum_lanes(scores: &mut [f32], lanes: &[f32], bias: f32, scale: f32) {
    let (bias, scale) = (_mm512_set1_ps(bias), _mm512_set1_ps(scale));
    for (scores, lanes) in scores.chunks_mut(LANES).zip(lanes.chunks(LANES * LANES)) {
        let row = |number: usize| match lanes.as_chunks::<LANES>().0.get(number) {
            // SAFETY: the array is a vector.
            Some(lanes) => unsafe { _mm512_loadu_ps(lanes.as_ptr()) },
            None => _mm512_setzero_ps(),
        };
        // Eight lanes and eight, of two rows.
        let eights = |a, b| _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xee>(a, b));
        // Four and four, of twice two.
        let fours = |a, b| _mm512_add_ps(_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0xdd>(a, b));
        let quad =
            |number: usize| fours(eights(row(number), row(number + 4)), eights(row(number + 8), row(number + 12)));
        let twos = |a, b| _mm512_add_ps(_mm512_shuffle_ps::<0x44>(a, b), _mm512_shuffle_ps::<0xee>(a, b));
        let ones = |a, b| _mm512_add_ps(_mm512_shuffle_ps::<0x88>(a, b), _mm512_shuffle_ps::<0xdd>(a, b));
        let sums = ones(twos(quad(0), quad(1)), twos(quad(2), quad(3)));
        let found = _mm512_mul_ps(_mm512_add_ps(sums, bias), scale);
        // SAFETY: the mask writes the scores of the slice, and no others.
        unsafe { _mm512_mask_storeu_ps(scores.as_mut_ptr(), columns(scores.len(), 0), found) };
    }
}
