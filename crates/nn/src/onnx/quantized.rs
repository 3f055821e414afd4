//! Products in eight bits, as pairs of `QuantizeLinear` and `DequantizeLinear` around a product of real numbers: runtimes that know how
//! replace the three by a product of codes, others compute what it stands for.

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
        let zero = self.codes(&format!("{name}.input_zero"), &[], &[input.zero]);
        let x = self.op("QuantizeLinear", &[x, scale, zero]);
        let x = self.op("DequantizeLinear", &[x, scale, zero]);
        let weight = self.once(Key::Weight(weight.offset), |b| {
            let codes = b.codes(&name, &[rows as i64, columns as i64], &weights.codes);
            let scales = b.floats(&format!("{name}.scales"), &[columns as i64], &weights.scales);
            let zeros = b.codes(&format!("{name}.zeros"), &[columns as i64], &vec![0; columns]);
            b.op_with("DequantizeLinear", &[codes, scales, zeros], &[("axis", Attribute::Int(1))])
        });
        Ok(self.op("MatMul", &[x, weight]))
    }
}
