//! Which of the processor's instructions products of codes are summed with.

use kitestring_core::{Error, Result};

/// Whether there are plain loops: where nothing else is sure to be there, and to hold the others against.
pub(super) const PORTABLE: bool =
    cfg!(any(test, not(any(target_arch = "aarch64", all(target_arch = "wasm32", target_feature = "simd128")))));

/// How products of codes are summed. All of them give the same sums, to the bit; they differ in time alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Int8Path {
    /// AVX-512 with VNNI: 64 products an instruction.
    Avx512Vnni,
    /// AVX-VNNI: the same in vectors of 256 bits, 32 products an instruction.
    AvxVnni,
    /// AVX2: codes are widened to 16 bits, 16 products an instruction and another to add them up.
    Avx2,
    /// The products of matrices of Armv8.6: 32 products an instruction.
    NeonI8mm,
    /// The dot products of Armv8.2: 16 products an instruction.
    NeonDotprod,
    /// NEON of any 64-bit Arm: 16 products in four instructions.
    Neon,
    /// The vectors of WebAssembly, where a module is compiled for them: 8 products an instruction and another to add them up.
    WasmSimd,
    /// Plain loops, on any processor. Slower than products of `f32`, so that nothing chooses them: they are what the others are held against.
    Portable,
}

impl Int8Path {
    /// All paths, the quickest first.
    pub const ALL: [Self; 8] = [
        Self::Avx512Vnni,
        Self::AvxVnni,
        Self::Avx2,
        Self::NeonI8mm,
        Self::NeonDotprod,
        Self::Neon,
        Self::WasmSimd,
        Self::Portable,
    ];

    /// The quickest path that this processor has, where one is quicker than products of `f32`.
    pub fn fastest() -> Option<Self> {
        Self::ALL.into_iter().find(|path| *path != Self::Portable && path.is_available())
    }

    /// Whether this processor has what the path takes.
    pub fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("avxvnni"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "aarch64")]
            Self::NeonI8mm => super::neon::has_matrix_products(),
            #[cfg(target_arch = "aarch64")]
            Self::NeonDotprod => super::neon::has_dot_products(),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => true,
            Self::WasmSimd => cfg!(all(target_arch = "wasm32", target_feature = "simd128")),
            // What nothing chooses is not carried to devices.
            Self::Portable => PORTABLE,
            _ => false,
        }
    }

    /// Its name, as [`Self::from_name`] reads it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Avx512Vnni => "avx512-vnni",
            Self::AvxVnni => "avx-vnni",
            Self::Avx2 => "avx2",
            Self::NeonI8mm => "neon-i8mm",
            Self::NeonDotprod => "neon-dotprod",
            Self::Neon => "neon",
            Self::WasmSimd => "wasm-simd",
            Self::Portable => "portable",
        }
    }

    /// The path of a name.
    ///
    /// # Errors
    /// A name that none has.
    pub fn from_name(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|path| path.name() == name);
        let names = || Self::ALL.into_iter().map(Self::name);
        found.ok_or_else(|| Error::config(format!("no int8 path `{name}`")).suggest(name, names()))
    }
}
