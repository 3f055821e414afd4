//! Vectors of WebAssembly.
//!
//! Its dot product takes 16 bits, so that codes are widened: 8 products an instruction and another to add them up, and nothing saturates.
#![allow(unsafe_code)] // Reads of vectors from slices that are as long.

use super::two_rows::{self, Sums, SumsOf};
use super::{GROUP, LANES, OFFSET, Packed};
use std::arch::wasm32::*;

pub(super) fn products(out: &mut [i32], x: &[u8], weights: &Packed) {
    two_rows::products(out, x, weights, &Widened);
}

/// Four vectors of four sums. They are named one by one: small code has no loops taken apart, and what a loop indexes is in memory.
type Four = [v128; 4];

fn zeros() -> Four {
    [i32x4_splat(0); 4]
}

fn store(sums: &mut [i32; LANES], from: Four) {
    let into = sums.as_chunks_mut::<4>().0;
    for (into, from) in into.iter_mut().zip(from) {
        // SAFETY: the array is a vector.
        unsafe { v128_store(into.as_mut_ptr().cast(), from) }
    }
}

/// A vector of codes.
#[inline(always)]
fn load(codes: &[i8; 16]) -> v128 {
    // SAFETY: the array is a vector.
    unsafe { v128_load(codes.as_ptr().cast()) }
}

/// The dot product of 16 bits. Weights are packed by two inputs.
struct Widened;

impl SumsOf for Widened {
    fn sums(&self, [x, y]: [&[u8]; 2], codes: &[i8], sums: &mut Sums) {
        let (mut of_x, mut of_y) = (zeros(), zeros());
        let rows = x.as_chunks::<GROUP>().0.iter().zip(y.as_chunks::<GROUP>().0);
        for ((x, y), codes) in rows.zip(codes.as_chunks::<{ GROUP * LANES }>().0) {
            let (x, y) = (wide(x), wide(y));
            let [first, second, third, fourth] = codes.as_chunks::<{ 2 * LANES }>().0 else { continue };
            two(first, i32x4_shuffle::<0, 0, 0, 0>(x, x), i32x4_shuffle::<0, 0, 0, 0>(y, y), &mut of_x, &mut of_y);
            two(second, i32x4_shuffle::<1, 1, 1, 1>(x, x), i32x4_shuffle::<1, 1, 1, 1>(y, y), &mut of_x, &mut of_y);
            two(third, i32x4_shuffle::<2, 2, 2, 2>(x, x), i32x4_shuffle::<2, 2, 2, 2>(y, y), &mut of_x, &mut of_y);
            two(fourth, i32x4_shuffle::<3, 3, 3, 3>(x, x), i32x4_shuffle::<3, 3, 3, 3>(y, y), &mut of_x, &mut of_y);
        }
        store(&mut sums[0], of_x);
        store(&mut sums[1], of_y);
    }
}

/// Eight codes of activations in 16 bits.
#[inline(always)]
fn wide(x: &[u8; GROUP]) -> v128 {
    // SAFETY: the array has what is read.
    let x = unsafe { i16x8_load_extend_u8x8(x.as_ptr()) };
    i16x8_sub(x, i16x8_splat(i16::from(OFFSET)))
}

/// The products of two inputs of two rows with sixteen outputs.
#[inline(always)]
fn two(codes: &[i8; 2 * LANES], x: v128, y: v128, of_x: &mut Four, of_y: &mut Four) {
    let ([low, high], _) = codes.as_chunks::<16>() else { return };
    let (low, high) = (load(low), load(high));
    let weights = [
        i16x8_extend_low_i8x16(low),
        i16x8_extend_high_i8x16(low),
        i16x8_extend_low_i8x16(high),
        i16x8_extend_high_i8x16(high),
    ];
    add(of_x, x, weights);
    add(of_y, y, weights);
}

#[inline(always)]
fn add(sums: &mut Four, x: v128, weights: Four) {
    sums[0] = i32x4_add(sums[0], i32x4_dot_i16x8(x, weights[0]));
    sums[1] = i32x4_add(sums[1], i32x4_dot_i16x8(x, weights[1]));
    sums[2] = i32x4_add(sums[2], i32x4_dot_i16x8(x, weights[2]));
    sums[3] = i32x4_add(sums[3], i32x4_dot_i16x8(x, weights[3]));
}
