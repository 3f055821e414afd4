//! Products of codes of eight bits, summed exactly in 32.
//!
//! A sum of `k` products of codes fits an `i32` up to 131,071 inputs, whatever is between overflows and comes back. So the result does
//! not depend on how it is computed, and every processor has the same. With a zero taken out ([`decode`]) it fits up to 66,311, which is
//! what is accepted.

#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86;

use super::activation::{Activation, relu, sigmoid, tanh};
use super::reduce::score_rows;
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

/// `out[r, c] = Σ_k (x[r, k] − 128) · w[k, c]`, exactly: codes of activations are kept with 128 added, as [`encode`] has them. Rows of `x` are
/// [`Packed::stride`] apart; what is between rows counts for nothing.
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
    assert_eq!(x.len(), rows * stride, "activations {stride} apart");
    if stride == 0 {
        out.fill(0);
        return;
    }
    #[cfg(target_arch = "x86_64")]
    if x86::available() {
        return x86::products(out, x, weights);
    }
    portable(out, x, &weights.codes, &weights.sums, stride);
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

/// A layer from codes to the codes that the next one reads: [`products`], and [`requantize`] of them. `sums` is memory for the moment.
///
/// # Panics
/// If the slices are not as long as they should be.
pub fn layer(codes: &mut [u8], x: &[u8], weights: &Packed, of: Numbers<'_>, next: Affine, sums: &mut [i32]) {
    of.check(sums.len(), weights.outputs());
    #[cfg(target_arch = "x86_64")]
    if x86::available() && x86::knows(of.activation) {
        return x86::layer(codes, x, weights, of, next);
    }
    products(sums, x, weights);
    let by = (of.offsets, of.scales);
    match of.activation {
        Activation::None => requantize(codes, sums, by, of.parts, of.row, next, |x| x),
        Activation::Relu => requantize(codes, sums, by, of.parts, of.row, next, relu),
        Activation::Sigmoid => requantize(codes, sums, by, of.parts, of.row, next, sigmoid),
        Activation::Tanh => requantize(codes, sums, by, of.parts, of.row, next, tanh),
    }
}

/// A layer from codes to one number a row: [`products`], [`activate`]d, and `(⟨·, last⟩ + bias) · scale` of them. `sums` and `numbers` are
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
    #[cfg(target_arch = "x86_64")]
    if x86::available() && x86::knows(of.activation) && last.len().is_multiple_of(LANES) {
        return x86::last_layers(scores, x, weights, of, (last, bias, scale), numbers);
    }
    products(sums, x, weights);
    let by = (of.offsets, of.scales);
    match of.activation {
        Activation::None => activate(numbers, sums, by, of.parts, of.row, |x| x),
        Activation::Relu => activate(numbers, sums, by, of.parts, of.row, relu),
        Activation::Sigmoid => activate(numbers, sums, by, of.parts, of.row, sigmoid),
        Activation::Tanh => activate(numbers, sums, by, of.parts, of.row, tanh),
    }
    score_rows(scores, numbers, last, bias, scale);
}

kernel! {
    fn portable['a](out: &'a mut [i32], x: &'a [u8], codes: &'a [i8], of_columns: &'a [i32], stride: usize) {
        let outputs = of_columns.len();
        for (out, x) in out.chunks_exact_mut(outputs).zip(x.chunks_exact(stride)) {
            let columns = out.chunks_mut(LANES).zip(of_columns.chunks(LANES));
            for ((out, of_columns), codes) in columns.zip(codes.chunks_exact(stride * LANES)) {
                let mut sums = [0_i32; LANES];
                sums.iter_mut().zip(of_columns).for_each(|(sum, of_column)| *sum = -128 * of_column);
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

kernel! {
    /// The codes of a row of activations, as [`Affine::encode`] has them, with 128 added.
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
            let (whole, rest) = codes.as_chunks_mut::<LANES>();
            // Loops of the body's own: a closure would be compiled for the baseline.
            for (vector, codes) in whole.iter_mut().enumerate().take(row.len() / LANES) {
                let x = numbers(whole_vector(sums, by, parts, row, vector));
                for (code, x) in codes.iter_mut().zip(x) {
                    *code = offset(next.encode(f(x)));
                }
            }
            if !row.len().is_multiple_of(LANES) {
                let (ends, x) = (rest.iter_mut(), last_vector(sums, by, parts, row));
                ends.zip(x).for_each(|(code, x)| *code = offset(next.encode(f(x))));
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

/// A code with 128 added, so that all are positive.
#[inline(always)]
fn offset(code: i8) -> u8 {
    code.cast_unsigned() ^ 0x80
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
