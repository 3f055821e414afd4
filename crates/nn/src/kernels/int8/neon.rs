//! 64-bit Arm: plain NEON, the dot products of Armv8.2 (`sdot`) and the matrix products of Armv8.6 (`smmla`).
//!
//! Written in assembly: Rust has no stable functions for the last two, and loops that must be small are not unrolled by a compiler that is told
//! to make small code. Each loop takes two rows of activations and sixteen outputs, eight inputs a turn: 256 products. A register of weights is
//! two outputs of eight inputs each.
//!
//! | path | products an instruction | instructions a turn, with loads |
//! |---|---|---|
//! | `smmla`: two rows by two outputs, of eight inputs | 32 | 16 |
//! | `sdot`: a row by two outputs, in sums of four inputs | 16 | 24 |
//! | plain: `smull`, `smull2`, `addp`, `sadalp`: the same | 4 | 72 |
//!
//! Plain products are added in 16 bits by twos, which do not overflow: 2 · 128 · 127 is 32,512. No weight's code is −128.
#![allow(unsafe_code)] // Assembly; what it reads and writes is asserted.

use super::two_rows::{self, Sums, SumsOf};
use super::{GROUP, Int8Path, LANES, Packed};
use std::arch::asm;

/// Whether this processor has dot products.
pub(super) fn has_dot_products() -> bool {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return system::hardware(16) & 1 << 20 != 0;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    std::arch::is_aarch64_feature_detected!("dotprod")
}

/// Whether this processor has products of matrices.
pub(super) fn has_matrix_products() -> bool {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return system::hardware(26) & 1 << 13 != 0;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    std::arch::is_aarch64_feature_detected!("i8mm")
}

/// What Linux says of a processor. The standard library's macro asks for all that there may be, and reads files where this call fails: some
/// thousand bytes of code in a library for phones.
#[cfg(any(target_os = "linux", target_os = "android"))]
mod system {
    use std::ffi::c_ulong;

    unsafe extern "C" {
        safe fn getauxval(kind: c_ulong) -> c_ulong;
    }

    /// The bits of `AT_HWCAP` (16), of which 20 is ASIMDDP, or of `AT_HWCAP2` (26), of which 13 is I8MM; none where the system knows of none.
    pub(super) fn hardware(kind: c_ulong) -> c_ulong {
        getauxval(kind)
    }
}

/// Sums the products of so many groups of eight inputs of two rows.
type Loop = unsafe fn(x: *const u8, y: *const u8, weights: *const i8, groups: usize, sums: &mut Sums);

/// A loop that this processor has the instructions for.
struct Chosen(Loop);

impl SumsOf for Chosen {
    fn sums(&self, [x, y]: [&[u8]; 2], codes: &[i8], sums: &mut Sums) {
        let groups = x.len() / GROUP;
        assert!(groups > 0 && x.len() == groups * GROUP && y.len() == x.len() && codes.len() == x.len() * LANES);
        // SAFETY: both rows have so many groups of eight bytes, at least one, and there are sixteen times as many codes.
        unsafe { self.0(x.as_ptr(), y.as_ptr(), codes.as_ptr(), groups, sums) }
    }
}

pub(super) fn products(out: &mut [i32], x: &[u8], weights: &Packed) {
    const { assert!(GROUP == 8) }
    // Weights are packed for a path only where the processor has it.
    let chosen = Chosen(match weights.path() {
        Int8Path::NeonI8mm => matrix,
        Int8Path::NeonDotprod => dot,
        _ => plain,
    });
    two_rows::products(out, x, weights, &chosen);
}

/// Lines of assembly that all paths have, and what they do with a turn's weights `v18`–`v25` and activations `v16` and `v17`.
macro_rules! loop_of {
    ($x:ident, $y:ident, $weights:ident, $groups:ident, $sums:ident; $extension:literal, load: [$($load:literal),*], turn: [$($turn:expr),*], end: [$($end:literal),*]) => {
        // SAFETY: the caller's.
        unsafe {
            asm!(
                $extension,
                "movi v0.2d, #0", "movi v1.2d, #0", "movi v2.2d, #0", "movi v3.2d, #0",
                "movi v4.2d, #0", "movi v5.2d, #0", "movi v6.2d, #0", "movi v7.2d, #0",
                "movi v8.2d, #0", "movi v9.2d, #0", "movi v10.2d, #0", "movi v11.2d, #0",
                "movi v12.2d, #0", "movi v13.2d, #0", "movi v14.2d, #0", "movi v15.2d, #0",
                "2:",
                $($load,)*
                "ldp q18, q19, [{weights}], #32", "ldp q20, q21, [{weights}], #32",
                "ldp q22, q23, [{weights}], #32", "ldp q24, q25, [{weights}], #32",
                "subs {groups}, {groups}, #1",
                $($turn,)*
                "b.ne 2b",
                $($end,)*
                "st1 {{v0.4s, v1.4s, v2.4s, v3.4s}}, [{sums}], #64",
                "st1 {{v4.4s, v5.4s, v6.4s, v7.4s}}, [{sums}]",
                x = inout(reg) $x => _, y = inout(reg) $y => _, weights = inout(reg) $weights => _,
                groups = inout(reg) $groups => _, sums = inout(reg) $sums.as_mut_ptr() => _,
                out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
                out("v8") _, out("v9") _, out("v10") _, out("v11") _, out("v12") _, out("v13") _, out("v14") _, out("v15") _,
                out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _, out("v22") _,
                out("v23") _, out("v24") _, out("v25") _, out("v26") _, out("v27") _,
                options(nostack),
            );
        }
    };
}

/// The same of both rows: sums of the first are in `v0`–`v7`, of the second in `v8`–`v15`, each of two outputs in parts side by side.
macro_rules! by_row {
    ($x:ident, $y:ident, $weights:ident, $groups:ident, $sums:ident; $extension:literal, $step:ident) => {
        loop_of!($x, $y, $weights, $groups, $sums; $extension,
            load: ["ld1r {{v16.2d}}, [{x}], #8", "ld1r {{v17.2d}}, [{y}], #8"],
            turn: [
                $step!("0", "18", "16"), $step!("8", "18", "17"), $step!("1", "19", "16"), $step!("9", "19", "17"),
                $step!("2", "20", "16"), $step!("10", "20", "17"), $step!("3", "21", "16"), $step!("11", "21", "17"),
                $step!("4", "22", "16"), $step!("12", "22", "17"), $step!("5", "23", "16"), $step!("13", "23", "17"),
                $step!("6", "24", "16"), $step!("14", "24", "17"), $step!("7", "25", "16"), $step!("15", "25", "17")
            ],
            end: [
                "addp v0.4s, v0.4s, v1.4s", "addp v1.4s, v2.4s, v3.4s", "addp v2.4s, v4.4s, v5.4s",
                "addp v3.4s, v6.4s, v7.4s", "addp v4.4s, v8.4s, v9.4s", "addp v5.4s, v10.4s, v11.4s",
                "addp v6.4s, v12.4s, v13.4s", "addp v7.4s, v14.4s, v15.4s"
            ])
    };
}

macro_rules! sdot {
    ($sum:literal, $weights:literal, $x:literal) => {
        concat!("sdot v", $sum, ".4s, v", $weights, ".16b, v", $x, ".16b")
    };
}

macro_rules! smull {
    ($sum:literal, $weights:literal, $x:literal) => {
        concat!(
            "smull v26.8h, v",
            $weights,
            ".8b, v",
            $x,
            ".8b\n",
            "smull2 v27.8h, v",
            $weights,
            ".16b, v",
            $x,
            ".16b\n",
            "addp v26.8h, v26.8h, v27.8h\n",
            "sadalp v",
            $sum,
            ".4s, v26.8h"
        )
    };
}

/// # Safety
/// There are so many groups of eight bytes, at least one, at both rows, and sixteen times as many codes.
unsafe fn plain(x: *const u8, y: *const u8, weights: *const i8, groups: usize, sums: &mut Sums) {
    by_row!(x, y, weights, groups, sums; "", smull);
}

/// # Safety
/// As [`plain`], and the processor has dot products.
unsafe fn dot(x: *const u8, y: *const u8, weights: *const i8, groups: usize, sums: &mut Sums) {
    by_row!(x, y, weights, groups, sums; ".arch_extension dotprod", sdot);
}

/// # Safety
/// As [`plain`], and the processor has products of matrices.
unsafe fn matrix(x: *const u8, y: *const u8, weights: *const i8, groups: usize, sums: &mut Sums) {
    // A sum is two outputs of the first row, and the same of the second.
    loop_of!(x, y, weights, groups, sums; ".arch_extension i8mm",
    load: ["ldr d16, [{x}], #8", "ld1 {{v16.d}}[1], [{y}], #8"],
    turn: [
        "smmla v0.4s, v16.16b, v18.16b", "smmla v1.4s, v16.16b, v19.16b",
        "smmla v2.4s, v16.16b, v20.16b", "smmla v3.4s, v16.16b, v21.16b",
        "smmla v4.4s, v16.16b, v22.16b", "smmla v5.4s, v16.16b, v23.16b",
        "smmla v6.4s, v16.16b, v24.16b", "smmla v7.4s, v16.16b, v25.16b"
    ],
    end: [
        "zip2 v8.2d, v0.2d, v1.2d", "zip2 v9.2d, v2.2d, v3.2d", "zip2 v10.2d, v4.2d, v5.2d",
        "zip2 v11.2d, v6.2d, v7.2d", "zip1 v0.2d, v0.2d, v1.2d", "zip1 v1.2d, v2.2d, v3.2d",
        "zip1 v2.2d, v4.2d, v5.2d", "zip1 v3.2d, v6.2d, v7.2d", "mov v4.16b, v8.16b",
        "mov v5.16b, v9.16b", "mov v6.16b, v10.16b", "mov v7.16b, v11.16b"
    ]);
}
