//! Loops over slices that the compiler vectorizes, and matrix products.
//!
//! Everything here works on row-major matrices, of `f32` but for [`int8`], and knows nothing of graphs. A function declared in `kernel!` is compiled once for every
//! level the processor may have (AVX-512, AVX2, NEON, simd128 or plain) and picks one at run time; its body is plain Rust.

/// Declares functions whose bodies are compiled for every vector width and chosen at run time.
///
/// `kernel! { pub fn name['a, F: Bound](x: &'a [f32]) -> f32 { … } }`: one lifetime for all borrows, at most one generic. What a body
/// calls must be `#[inline(always)]` or a loop of the standard library's: what is not inlined is compiled for the baseline.
macro_rules! kernel {
    ($($(#[$meta:meta])* $visibility:vis fn $name:ident [$life:lifetime $(, $generic:ident : $bound:path)?]
        ($($argument:ident : $type:ty),* $(,)?) $(-> $output:ty)? $body:block)+) => {$(
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $visibility fn $name<$life $(, $generic: $bound)?>($($argument: $type),*) $(-> $output)? {
            // A struct and not a closure, because only a method can be told to be inlined into each copy.
            struct Call<$life $(, $generic: $bound)?> {
                $($argument: $type,)*
                life: std::marker::PhantomData<&$life ()>,
            }
            impl<$life $(, $generic: $bound)?> pulp::NullaryFnOnce for Call<$life $(, $generic)?> {
                type Output = $crate::kernels::kernel!(@output $($output)?);
                #[inline(always)]
                fn call(self) -> Self::Output {
                    let Self { $($argument,)* life: _ } = self;
                    $body
                }
            }
            $crate::kernels::dispatch(Call { $($argument,)* life: std::marker::PhantomData })
        }
    )+};
    (@output) => { () };
    (@output $output:ty) => { $output };
}
pub(crate) use kernel;

/// Whether vectors are kept to AVX2's.
#[cfg(target_arch = "x86_64")]
static NARROW: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// Keeps all loops of this process to vectors of AVX2, so that a processor with AVX-512 does what one without it would: for measurements. What
/// products of codes are summed with, their weights say ([`int8::Int8Path`]).
#[cfg(target_arch = "x86_64")]
pub fn keep_to_avx2() {
    NARROW.store(true, std::sync::atomic::Ordering::Relaxed);
}

/// Calls the copy of a kernel for the widest vectors that the processor has.
#[cfg(not(target_arch = "aarch64"))]
#[inline(always)]
pub(crate) fn dispatch<F: pulp::WithSimd>(call: F) -> F::Output {
    #[cfg(target_arch = "x86_64")]
    if NARROW.load(std::sync::atomic::Ordering::Relaxed)
        && let Some(simd) = pulp::x86::V3::try_new()
    {
        return pulp::Simd::vectorize(simd, call);
    }
    pulp::Arch::new().dispatch(call)
}

/// Calls a kernel: every 64-bit Arm has NEON, and a second copy without would only be carried along.
#[cfg(target_arch = "aarch64")]
#[inline(always)]
#[allow(unsafe_code)]
pub(crate) fn dispatch<F: pulp::WithSimd>(call: F) -> F::Output {
    const { assert!(cfg!(target_feature = "neon"), "compiled for a processor without NEON") }
    // Sound: code is compiled for NEON, so that it is there wherever the code runs.
    let neon = unsafe { pulp::aarch64::Neon::new_unchecked() };
    pulp::Simd::vectorize(neon, call)
}

pub mod activation;
pub mod contrast;
pub mod int8;
pub mod matmul;
pub mod normal_equations;
pub mod reduce;
pub mod scan;
