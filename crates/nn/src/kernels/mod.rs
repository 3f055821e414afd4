//! Loops over slices that the compiler vectorizes, and matrix products.
//!
//! Everything here works on row-major `f32` and knows nothing of graphs. The instruction set is chosen at run time by
//! [`vectorized`]: the closure is compiled once for every level the processor may have (AVX-512, AVX2, NEON, simd128
//! or plain), and the loops in it are plain Rust.

pub mod activation;
pub mod matmul;
pub mod reduce;

/// Runs a closure compiled for the widest vectors this processor has.
///
/// The body must be a loop or call only `#[inline(always)]` functions: what is not inlined is compiled for the
/// baseline processor.
#[inline(always)]
pub fn vectorized<R>(body: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(body)
}
