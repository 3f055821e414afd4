//! Products in eight bits, as pairs of `QuantizeLinear` and `DequantizeLinear` around a product of real numbers: runtimes that know how
//! replace the three by a product of codes, others compute what it stands for.
//!
//! Codes of activations and of weights are both written as *unsigned* bytes, 128 above the signed codes and with a zero point 128 higher, so
//! that they stand for the same numbers. With signed weights onnxruntime's products are wrong on processors that have AVX2 or AVX-512 but not
//! VNNI: its kernels for unsigned by signed bytes, to which it also takes signed by signed ones, add pairs of products with `vpmaddubsw`, and
//! a pair of 255 · 127 is more than the 16 bits of its result, which saturates. Unsigned by unsigned bytes are widened to 16 bits first and
//! summed in 32 (`vpmaddwd`), which is exact on every processor, whatever the codes are.

use super::Quantized;
use super::builder::{Attribute, Builder, Key, Tensor};
use crate::graph::Weight;
use kitestring_core::{Error, Result};

impl Builder<'_> {
    /// `x W`, in eight bits where there are codes for `W`.
    pub(super) fn product(&mut self, x: Tensor, weight: Weight) -> Result<Tensor> {
        let Some((name, quantized)) = self.quantized(weight)? else {
            let weight = self.weight(weight)?;
            return Ok(self.op("MatMul", &[x, weight]));
        };
        let Quantized { input, weights } = quantized;
        let (rows, columns) = (weight.rows, weight.columns);
        if weights.codes.len() != rows * columns || weights.scales.len() != columns {
            let (codes, scales) = (weights.codes.len(), weights.scales.len());
            let what = format!("{codes} codes and {scales} scales for a weight of {rows} × {columns}");
            return Err(Error::internal(what).in_field(name));
        }
        let scale = self.float(input.scale);
        let zero = self.bytes(&format!("{name}.input_zero"), &[], &[unsigned(input.zero)]);
        let x = self.op("QuantizeLinear", &[x, scale, zero]);
        let x = self.op("DequantizeLinear", &[x, scale, zero]);
        let weight = self.once(Key::Weight(weight.offset), |b| {
            let codes: Vec<u8> = weights.codes.iter().copied().map(unsigned).collect();
            let codes = b.bytes(&name, &[rows as i64, columns as i64], &codes);
            let scales = b.floats(&format!("{name}.scales"), &[columns as i64], &weights.scales);
            let zeros = b.bytes(&format!("{name}.zeros"), &[columns as i64], &vec![unsigned(0); columns]);
            b.op_with("DequantizeLinear", &[codes, scales, zeros], &[("axis", Attribute::Int(1))])
        });
        Ok(self.op("MatMul", &[x, weight]))
    }
}

/// The unsigned byte that is written for a code.
fn unsigned(code: i8) -> u8 {
    code.cast_unsigned() ^ 0x80
}
