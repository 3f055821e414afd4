//! Weights in the order in which products of codes read them.

use super::path::Int8Path;
use super::{GROUP, LANES, MOST_INPUTS};
use crate::quantization::affine::Weights;
use kitestring_core::{Error, Result};

/// Codes of weights in the order in which products read them: a group of inputs of an output side by side, as many as an instruction sums,
/// sixteen outputs of them, and so on over the inputs, then the next sixteen outputs. What is missing to
/// [`Packed::stride`] inputs or sixteen outputs is zero.
#[derive(Debug, Clone, PartialEq)]
pub struct Packed {
    pub(super) codes: Vec<i8>,
    /// The sum of each output's codes, which takes the zero of activations out of a product.
    pub(super) sums: Vec<i32>,
    inputs: usize,
    /// One that this processor has.
    path: Int8Path,
}

impl Packed {
    /// Packs the codes of a matrix for the quickest path of this processor.
    ///
    /// # Errors
    /// More inputs than an `i32` can sum; a code of −128, which no weight has.
    pub fn new(weights: &Weights) -> Result<Self> {
        Self::of(weights, Int8Path::fastest().unwrap_or(Int8Path::Portable))
    }

    /// Packs the codes of a matrix for a path: for tests and measurements.
    ///
    /// # Errors
    /// As [`Self::new`]; a path that this processor does not have.
    pub fn with_path(weights: &Weights, path: Int8Path) -> Result<Self> {
        if !path.is_available() {
            return Err(Error::config(format!("the int8 path `{}` is not one of this processor", path.name()))
                .mend("choose another one"));
        }
        Self::of(weights, path)
    }

    /// Packs for a path that this processor has.
    fn of(weights: &Weights, path: Int8Path) -> Result<Self> {
        let outputs = weights.scales.len();
        let inputs = weights.codes.len() / outputs.max(1);
        if inputs > MOST_INPUTS {
            return Err(Error::config(format!("{inputs} inputs of a layer are too many for eight bits")));
        }
        // Two products of −128 with −128 are one more than 16 bits hold, in which some paths add two.
        if weights.codes.contains(&i8::MIN) {
            return Err(Error::format("a code of a weight is −128, and they are of −127 to 127"));
        }
        let (stride, group) = (inputs.next_multiple_of(GROUP), group(path));
        let mut codes = vec![0; stride * outputs.next_multiple_of(LANES)];
        let mut sums = vec![0; outputs];
        for (input, row) in weights.codes.chunks_exact(outputs.max(1)).enumerate() {
            for (output, code) in row.iter().enumerate() {
                let vector = (output / LANES) * (stride / group) + input / group;
                codes[(vector * LANES + output % LANES) * group + input % group] = *code;
                sums[output] += i32::from(*code);
            }
        }
        Ok(Self { codes, sums, inputs, path })
    }

    /// The number of inputs.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// The number of outputs.
    pub fn outputs(&self) -> usize {
        self.sums.len()
    }

    /// How far apart rows of activations are: the number of inputs, to the next multiple of four, or of eight on Arm and in WebAssembly.
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

    /// How products with it are summed: a path that this processor has.
    pub fn path(&self) -> Int8Path {
        self.path
    }

    /// The codes of some inputs, from a whole group to a whole group, of the vector of outputs that starts with `first`.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn vector(&self, first: usize, inputs: std::ops::Range<usize>) -> &[i8] {
        &self.codes[(first / LANES * self.stride() + inputs.start) * LANES..][..inputs.len() * LANES]
    }
}

/// Inputs whose products one instruction sums.
fn group(path: Int8Path) -> usize {
    match path {
        Int8Path::Avx2 | Int8Path::WasmSimd => 2,
        Int8Path::Avx512Vnni | Int8Path::AvxVnni => 4,
        Int8Path::NeonI8mm | Int8Path::NeonDotprod | Int8Path::Neon => 8,
        Int8Path::Portable => GROUP,
    }
}
