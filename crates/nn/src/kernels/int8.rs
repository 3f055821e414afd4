//! Products of codes of eight bits, summed exactly in 32.
//!
//! A sum of `k` products of codes fits an `i32` up to 131,071 inputs, whatever is between overflows and comes back. So the result does
//! not depend on how it is computed, and every processor has the same. With a zero taken out ([`decode`]) it fits up to 66,311, which is
//! what is accepted.
#![allow(unsafe_code)]

use crate::quantization::affine::{Affine, Weights};
use kitestring_core::{Error, Result};

/// Inputs whose products are summed by one instruction, where there is one.
const GROUP: usize = 4;

/// Outputs side by side in a vector.
const LANES: usize = 16;

/// The most inputs whose sum is exact, also with a zero of activations taken out: |code − zero| of 255, times 127.
const MOST_INPUTS: usize = i32::MAX as usize / (255 * 127);

/// Codes of weights in the order in which products read them: four inputs of an output side by side, sixteen outputs of them, and so on over
/// the inputs, then the next sixteen outputs. What is missing to four or sixteen is zero.
#[derive(Debug, Clone, PartialEq)]
pub struct Packed {
    codes: Vec<i8>,
    /// The sum of each output's codes, which takes the zero of activations out of a product.
    sums: Vec<i32>,
    inputs: usize,
}

impl Packed {
    /// Packs the codes of a matrix.
    ///
    /// # Errors
    /// More inputs than an `i32` can sum.
    pub fn new(weights: &Weights) -> Result<Self> {
        let outputs = weights.scales.len();
        let inputs = weights.codes.len() / outputs.max(1);
        if inputs > MOST_INPUTS {
            return Err(Error::config(format!("{inputs} inputs of a layer are too many for eight bits")));
        }
        let (groups, vectors) = (inputs.div_ceil(GROUP), outputs.div_ceil(LANES));
        let mut codes = vec![0; groups * GROUP * vectors * LANES];
        let mut sums = vec![0; outputs];
        for (input, row) in weights.codes.chunks_exact(outputs.max(1)).enumerate() {
            for (output, code) in row.iter().enumerate() {
                let vector = (output / LANES) * groups + input / GROUP;
                codes[(vector * LANES + output % LANES) * GROUP + input % GROUP] = *code;
                sums[output] += i32::from(*code);
            }
        }
        Ok(Self { codes, sums, inputs })
    }

    /// The number of inputs.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// The number of outputs.
    pub fn outputs(&self) -> usize {
        self.sums.len()
    }

    /// How far apart rows of activations are: the number of inputs, to the next multiple of four.
    pub fn stride(&self) -> usize {
        self.inputs.next_multiple_of(GROUP)
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.codes.len() + 4 * self.sums.len()
    }

    /// The sum of each output's codes.
    pub fn sums(&self) -> &[i32] {
        &self.sums
    }
}

/// `out[r, c] = Σ_k x[r, k] · w[k, c]`, exactly. Rows of `x` are [`Packed::stride`] apart; what is between rows counts for nothing.
///
/// # Panics
/// If the slices are not as long as they should be.
pub fn products(out: &mut [i32], x: &[i8], weights: &Packed) {
    let (outputs, stride) = (weights.outputs(), weights.stride());
    if outputs == 0 {
        return;
    }
    let rows = out.len() / outputs;
    assert_eq!(out.len(), rows * outputs, "products of {outputs} outputs");
    assert_eq!(x.len(), rows * stride, "activations {stride} apart");
    if stride == 0 {
        out.fill(0);
        return;
    }
    #[cfg(target_arch = "x86_64")]
    if x86::available() {
        return x86::products(out, x, weights);
    }
    portable(out, x, &weights.codes, (outputs, stride));
}

kernel! {
    fn portable['a](out: &'a mut [i32], x: &'a [i8], codes: &'a [i8], shape: (usize, usize)) {
        let (outputs, stride) = shape;
        for (out, x) in out.chunks_exact_mut(outputs).zip(x.chunks_exact(stride)) {
            for (out, codes) in out.chunks_mut(LANES).zip(codes.chunks_exact(stride * LANES)) {
                let mut sums = [0_i32; LANES];
                let (groups, _) = x.as_chunks::<GROUP>();
                for (x, codes) in groups.iter().zip(codes.as_chunks::<{ GROUP * LANES }>().0) {
                    let x = x.map(i16::from);
                    for (sum, code) in sums.iter_mut().zip(codes.as_chunks::<GROUP>().0) {
                        let first = i32::from(x[0]) * i32::from(code[0]) + i32::from(x[1]) * i32::from(code[1]);
                        let second = i32::from(x[2]) * i32::from(code[2]) + i32::from(x[3]) * i32::from(code[3]);
                        *sum += first + second;
                    }
                }
                out.copy_from_slice(&sums[..out.len()]);
            }
        }
    }
}

/// AVX-512 with VNNI: four products of unsigned and signed bytes a lane and instruction. Activations are made unsigned by adding 128, which
/// the sums of the weights take out again.
#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{GROUP, LANES, Packed};
    use std::arch::x86_64::{
        __m512i, _mm512_dpbusd_epi32, _mm512_loadu_si512, _mm512_mask_storeu_epi32, _mm512_set1_epi32,
    };

    pub(super) fn available() -> bool {
        is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni")
    }

    pub(super) fn products(out: &mut [i32], x: &[i8], weights: &Packed) {
        // SAFETY: the caller asked `available`.
        unsafe { all(out, x, weights) }
    }

    #[target_feature(enable = "avx512f,avx512vnni")]
    fn all(out: &mut [i32], x: &[i8], weights: &Packed) {
        let (outputs, stride) = (weights.outputs(), weights.stride());
        let part = stride * LANES;
        let mut first = 0;
        while first < outputs {
            let vectors = (outputs - first).div_ceil(LANES).min(2);
            let codes = &weights.codes[first / LANES * part..][..vectors * part];
            let sums = &weights.sums[first..outputs.min(first + vectors * LANES)];
            let rows = out.len() / outputs;
            let mut row = 0;
            while row < rows {
                let count = (rows - row).min(6);
                let x = &x[row * stride..(row + count) * stride];
                let out = &mut out[row * outputs..(row + count) * outputs];
                let shape = (first, outputs, stride);
                match (count, vectors) {
                    (6, 2) => block::<6, 2>(out, x, codes, sums, shape),
                    (5, 2) => block::<5, 2>(out, x, codes, sums, shape),
                    (4, 2) => block::<4, 2>(out, x, codes, sums, shape),
                    (3, 2) => block::<3, 2>(out, x, codes, sums, shape),
                    (2, 2) => block::<2, 2>(out, x, codes, sums, shape),
                    (_, 2) => block::<1, 2>(out, x, codes, sums, shape),
                    (6, _) => block::<6, 1>(out, x, codes, sums, shape),
                    (5, _) => block::<5, 1>(out, x, codes, sums, shape),
                    (4, _) => block::<4, 1>(out, x, codes, sums, shape),
                    (3, _) => block::<3, 1>(out, x, codes, sums, shape),
                    (2, _) => block::<2, 1>(out, x, codes, sums, shape),
                    (_, _) => block::<1, 1>(out, x, codes, sums, shape),
                }
                row += count;
            }
            first += vectors * LANES;
        }
    }

    /// `ROWS` rows of activations with `VECTORS` times sixteen outputs.
    #[target_feature(enable = "avx512f,avx512vnni")]
    #[inline]
    fn block<const ROWS: usize, const VECTORS: usize>(
        out: &mut [i32],
        x: &[i8],
        codes: &[i8],
        sums: &[i32],
        (first, outputs, stride): (usize, usize, usize),
    ) {
        assert!(x.len() == ROWS * stride && codes.len() == VECTORS * stride * LANES && out.len() == ROWS * outputs);
        assert!(first + sums.len() <= outputs && sums.len() <= VECTORS * LANES && stride.is_multiple_of(GROUP));
        let mut start = [[0_i32; LANES]; VECTORS];
        for (start, sum) in start.iter_mut().flatten().zip(sums) {
            *start = -128 * sum;
        }
        // SAFETY: an array of sixteen numbers is a vector's.
        let start = start.map(|start| unsafe { _mm512_loadu_si512(start.as_ptr().cast()) });
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
                let four = unsafe { x.as_ptr().add(row * stride + group * GROUP).cast::<u32>().read_unaligned() };
                let x = _mm512_set1_epi32((four ^ 0x8080_8080).cast_signed());
                for (total, weights) in total.iter_mut().zip(&weights) {
                    *total = _mm512_dpbusd_epi32(*total, x, *weights);
                }
            }
        }
        for (row, total) in total.iter().enumerate() {
            for (vector, total) in total.iter().enumerate() {
                let count = sums.len().saturating_sub(vector * LANES).min(LANES);
                let mask = ((1_u32 << count) - 1) as u16;
                // SAFETY: `count` numbers from here are the row's, as asserted; the mask writes no others.
                unsafe {
                    let into = out.as_mut_ptr().add(row * outputs + first + vector * LANES);
                    _mm512_mask_storeu_epi32(into, mask, *total);
                }
            }
        }
    }
}

kernel! {
    /// The codes of a row of activations, as [`Affine::encode`] has them.
    ///
    /// # Panics
    /// If there are fewer codes than numbers.
    pub fn encode['a](codes: &'a mut [i8], x: &'a [f32], by: Affine) {
        let codes = &mut codes[..x.len()];
        codes.iter_mut().zip(x).for_each(|(code, x)| *code = by.encode(*x));
    }

    /// The codes of the products of rows with one row, `x ⊙ t`, each row's to the next multiple of four.
    ///
    /// # Panics
    /// If there are fewer codes than numbers.
    pub fn encode_with['a](codes: &'a mut [i8], x: &'a [f32], t: &'a [f32], by: Affine) {
        let stride = t.len().next_multiple_of(GROUP);
        for (codes, x) in codes.chunks_exact_mut(stride.max(1)).zip(x.chunks_exact(t.len().max(1))) {
            codes.iter_mut().zip(x.iter().zip(t)).for_each(|(code, (x, t))| *code = by.encode(x * t));
        }
    }

    /// From exact sums straight to the codes of the next product, `encode(f((sum − offset) · scale + part + row))`: rows of sums, with a row
    /// of `parts` each, or none where there are none, and one `row` for all. Rows of codes are as far apart as four columns more or less.
    ///
    /// # Panics
    /// If the slices differ in their number of columns or rows.
    pub fn requantize['a, F: Fn(f32) -> f32](
        codes: &'a mut [i8],
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
        let zeros: &[f32] = &[];
        let rows = codes.chunks_exact_mut(stride).zip(sums.chunks_exact(columns)).enumerate();
        for (number, (codes, sums)) in rows {
            let of_column = sums.iter().zip(offsets.iter().zip(scales).zip(row));
            let part = if parts.is_empty() { zeros } else { &parts[number * columns..(number + 1) * columns] };
            if part.is_empty() {
                for (code, (sum, ((offset, scale), x))) in codes.iter_mut().zip(of_column) {
                    *code = next.encode(f(sum.wrapping_sub(*offset) as f32 * scale + x));
                }
            } else {
                for ((code, (sum, ((offset, scale), x))), part) in codes.iter_mut().zip(of_column).zip(part) {
                    *code = next.encode(f(sum.wrapping_sub(*offset) as f32 * scale + part + x));
                }
            }
        }
    }

    /// From exact sums to one number a row, `Σ_c weights[c] · f((sum − offset) · scale + part + row)`.
    ///
    /// # Panics
    /// If the slices differ in their number of columns or rows.
    pub fn weigh['a, F: Fn(f32) -> f32](
        out: &'a mut [f32],
        sums: &'a [i32],
        by: (&'a [i32], &'a [f32]),
        parts: &'a [f32],
        row: &'a [f32],
        weights: &'a [f32],
        f: F,
    ) {
        let ((offsets, scales), columns) = (by, row.len().max(1));
        assert_eq!((offsets.len(), scales.len(), weights.len()), (row.len(), row.len(), row.len()), "columns of sums");
        assert!(parts.is_empty() || parts.len() == sums.len(), "a row of parts for each of sums");
        for (number, (out, sums)) in out.iter_mut().zip(sums.chunks_exact(columns)).enumerate() {
            let part = |column: usize| parts.get(number * columns + column).copied().unwrap_or(0.0);
            // As many sums at once as a vector holds, so that the order of additions is one that vectorizes.
            let mut totals = [0.0_f32; LANES];
            let blocks = columns / LANES * LANES;
            for start in (0..blocks).step_by(LANES) {
                for (lane, total) in totals.iter_mut().enumerate() {
                    let at = start + lane;
                    let x = sums[at].wrapping_sub(offsets[at]) as f32 * scales[at] + part(at) + row[at];
                    *total += weights[at] * f(x);
                }
            }
            for at in blocks..columns {
                let x = sums[at].wrapping_sub(offsets[at]) as f32 * scales[at] + part(at) + row[at];
                totals[at - blocks] += weights[at] * f(x);
            }
            *out = totals.iter().sum();
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use kitestring_core::Seed;

    fn codes(seed: Seed, count: usize, least: i64) -> Vec<i8> {
        let span = (128 - least) as u64;
        (0..count as u64).map(|at| (least + (seed.bits_at(at) % span) as i64) as i8).collect()
    }

    fn case(rows: usize, inputs: usize, outputs: usize, extreme: bool) -> (Vec<i8>, Packed, Vec<i32>) {
        let seed = Seed(1).at((rows * 1_000_003 + inputs * 1009 + outputs) as u64);
        let weights =
            if extreme { vec![-127; inputs * outputs] } else { codes(seed.child("w"), inputs * outputs, -127) };
        let x = if extreme { vec![-128; rows * inputs] } else { codes(seed.child("x"), rows * inputs, -128) };
        let packed = Packed::new(&Weights { codes: weights.clone(), scales: vec![1.0; outputs] }).unwrap();
        let mut apart = vec![77; rows * packed.stride()];
        let mut expected = vec![0; rows * outputs];
        for row in 0..rows {
            apart[row * packed.stride()..][..inputs].copy_from_slice(&x[row * inputs..][..inputs]);
            for output in 0..outputs {
                let products =
                    (0..inputs).map(|k| i64::from(x[row * inputs + k]) * i64::from(weights[k * outputs + output]));
                expected[row * outputs + output] = products.sum::<i64>() as i32;
            }
        }
        (apart, packed, expected)
    }

    /// Every path gives the sums of 64-bit integers, at any shape and at the ends of the codes.
    #[test]
    fn products_are_exact() {
        for rows in [0, 1, 2, 6, 7, 13] {
            for inputs in [0, 1, 3, 4, 17, 64] {
                for outputs in [1, 15, 16, 17, 33, 48, 65] {
                    for extreme in [false, true] {
                        let (x, packed, expected) = case(rows, inputs, outputs, extreme);
                        let mut found = vec![-1; rows * outputs];
                        products(&mut found, &x, &packed);
                        assert_eq!(found, expected, "{rows} × {inputs} × {outputs}");
                        if inputs > 0 {
                            found.fill(-1);
                            portable(&mut found, &x, &packed.codes, (outputs, packed.stride()));
                            assert_eq!(found, expected, "portable, {rows} × {inputs} × {outputs}");
                        }
                    }
                }
            }
        }
        assert!(Packed::new(&Weights { codes: vec![0; MOST_INPUTS + 1], scales: vec![1.0] }).is_err());
    }

    /// With activations that have a zero of their own, the products of what the codes stand for.
    #[test]
    fn zeros_are_taken_out() {
        let (rows, inputs, outputs, zero, scale) = (3, 9, 5, -64, 0.02_f32);
        let (x, packed, _) = case(rows, inputs, outputs, false);
        let scales: Vec<f32> = (0..outputs).map(|at| 0.01 * (at + 1) as f32).collect();
        let (mut sums, mut found) = (vec![0; rows * outputs], vec![0.0; rows * outputs]);
        products(&mut sums, &x, &packed);
        let both: Vec<f32> = scales.iter().map(|of_weights| of_weights * scale).collect();
        let offsets: Vec<i32> = packed.sums().iter().map(|sum| zero * sum).collect();
        decode(&mut found, &sums, &offsets, &both);
        for row in 0..rows {
            for (output, of_weights) in scales.iter().enumerate() {
                let expected: f32 = (0..inputs)
                    .map(|k| {
                        let weight = packed.codes[((output / LANES * packed.stride() / GROUP + k / GROUP) * LANES
                            + output % LANES)
                            * GROUP
                            + k % GROUP];
                        (i32::from(x[row * packed.stride() + k]) - zero) as f32 * scale * f32::from(weight) * of_weights
                    })
                    .sum();
                assert!((found[row * outputs + output] - expected).abs() < 1e-4 * expected.abs().max(1.0));
            }
        }
    }

    #[test]
    fn codes_of_activations() {
        let x = [-1.0, 0.0, 1.0, 3.0, -9.0, 9.0, f32::NAN];
        let mut found = [0; 7];
        encode(&mut found, &x, Affine::of_range(-1.0, 3.0).unwrap());
        assert_eq!(found, [-128, -64, 0, 127, -128, 127, -128]);
    }
}
