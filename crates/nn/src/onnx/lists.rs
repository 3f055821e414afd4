//! What reads lists. They are padded, so whatever sums over places masks those past the length.

use super::builder::{Attribute, Builder, FLOAT, INT32, Key, Tensor};
use crate::graph::Weight;
use crate::kernels::activation::Activation;
use crate::ops::attention_pool::AttentionPool;
use crate::ops::gru::Gru;
use crate::ops::pool::{Pool, Pooling};
use kitestring_core::Result;

impl Builder<'_> {
    /// Which places of padded lists are elements, `N × L × 1`.
    pub(super) fn elements(&mut self, lists: usize) -> Result<Tensor> {
        let (padded, lengths) = (self.padded(lists)?, self.lengths(lists)?);
        Ok(self.once(Key::Elements(lists), |b| {
            let second = [("start", Attribute::Int(1)), ("end", Attribute::Int(2))];
            let longest = b.op_with("Shape", &[padded], &second);
            let longest = b.squeeze(longest, 0);
            let (start, step) = (b.whole(0), b.whole(1));
            let places = b.op("Range", &[start, longest, step]);
            let places = b.unsqueeze(places, &[-1]);
            let lengths = b.unsqueeze(lengths, &[1, 2]);
            b.op("Less", &[places, lengths])
        }))
    }

    /// The sum over the elements of each list, `N × L × columns` to `N × columns`.
    fn sum_of_elements(&mut self, x: Tensor, lists: usize) -> Result<Tensor> {
        let (elements, zero) = (self.elements(lists)?, self.float(0.0));
        let x = self.op("Where", &[elements, x, zero]);
        Ok(self.reduce_sum(x, 1, false))
    }

    /// An empty list becomes zeros.
    pub(super) fn pool(&mut self, op: &Pool, x: Tensor) -> Result<Tensor> {
        let lengths = self.lengths(op.feature)?;
        match op.pooling {
            Pooling::Sum => self.sum_of_elements(x, op.feature),
            Pooling::Mean => {
                let (sum, one) = (self.sum_of_elements(x, op.feature)?, self.float(1.0));
                let lengths = self.cast(lengths, FLOAT);
                let lengths = self.op("Max", &[lengths, one]);
                let lengths = self.unsqueeze(lengths, &[1]);
                Ok(self.op("Div", &[sum, lengths]))
            }
            Pooling::Max => {
                let (elements, zero) = (self.elements(op.feature)?, self.float(0.0));
                let least = self.float(f32::NEG_INFINITY);
                let x = self.op("Where", &[elements, x, least]);
                let highest = self.reduce_max(x, 1, false);
                let (lengths, none) = (self.unsqueeze(lengths, &[1]), self.whole(0));
                let any = self.op("Greater", &[lengths, none]);
                Ok(self.op("Where", &[any, highest, zero]))
            }
        }
    }

    /// The plain form of DIN's attention: the layers on `[k, t, t − k, t ⊙ k]`. In eight bits, as the engine has it, the first layer's parts
    /// of keys and of products stand by themselves, and that of differences went into the others.
    pub(super) fn attention_pool(&mut self, op: &AttentionPool, keys: Tensor, target: Tensor) -> Result<Tensor> {
        let target = self.unsqueeze(target, &[1]);
        let shape = self.op("Shape", &[keys]);
        let target = self.op("Expand", &[target, shape]);
        let product = self.op("Mul", &[target, keys]);
        let [of_keys, of_products] = op.first_products();
        let coded = self.quantized(of_keys)?.is_some() && self.quantized(of_products)?.is_some();
        let mut x = if coded {
            let of_target = self.weight(op.layers[0].0.part(op.width, op.width))?;
            let parts = [
                self.product(keys, of_keys)?,
                self.op("MatMul", &[target, of_target]),
                self.product(product, of_products)?,
                self.weight(op.layers[0].1)?,
            ];
            let sum = self.op("Sum", &parts);
            self.activation(op.activation, sum)
        } else {
            let difference = self.op("Sub", &[target, keys]);
            self.beside(&[keys, target, difference, product])
        };
        for (number, (weight, bias)) in op.layers.iter().enumerate().skip(usize::from(coded)) {
            let is_last = number + 1 == op.layers.len();
            x = self.linear(x, *weight, Some(*bias), if is_last { Activation::None } else { op.activation })?;
        }
        if op.softmax {
            let (scale, elements) = (self.float(op.scale()), self.elements(op.feature)?);
            let scores = self.op("Mul", &[x, scale]);
            x = self.masked_softmax(scores, elements, 1);
        }
        let weighted = self.op("Mul", &[x, keys]);
        self.sum_of_elements(weighted, op.feature)
    }

    /// ONNX's unit reads the gates in another order, from transposed weights, and lists by time.
    pub(super) fn gru(&mut self, op: &Gru, x: Tensor) -> Result<Tensor> {
        let lengths = self.lengths(op.feature)?;
        let lengths = self.cast(lengths, INT32);
        let units = op.units;
        let (input, recurrent) = (self.gates(op.input.0, units)?, self.gates(op.recurrent.0, units)?);
        let [(name, first), (_, second)] = [self.weight_numbers(op.input.1)?, self.weight_numbers(op.recurrent.1)?];
        let biases: Vec<f32> = [first, second].iter().flat_map(|bias| in_order(bias, units)).collect();
        let bias = self.floats(&format!("{name}.both"), &[1, 6 * units as i64], &biases);
        let swap = [("perm", Attribute::Ints(&[1, 0, 2]))];
        let by_time = self.op_with("Transpose", &[x], &swap);
        let inputs = [by_time, input, recurrent, bias, lengths].map(Some);
        let attributes = [("hidden_size", Attribute::Int(units as i64)), ("linear_before_reset", Attribute::Int(1))];
        let result = self.tensor("GRU");
        if op.every_state {
            self.node("GRU", &inputs, &attributes, &[Some(result)]);
            let states = self.squeeze(result, 1);
            return Ok(self.op_with("Transpose", &[states], &swap));
        }
        self.node("GRU", &inputs, &attributes, &[None, Some(result)]);
        Ok(self.squeeze(result, 0))
    }

    /// A weight of three gates side by side, transposed, one gate below the other.
    fn gates(&mut self, weight: Weight, units: usize) -> Result<Tensor> {
        let (name, numbers) = self.weight_numbers(weight)?;
        let column = |column: usize| numbers.iter().skip(column).step_by(3 * units).copied();
        let columns: Vec<usize> = (0..3 * units).collect();
        let transposed: Vec<f32> = in_order(&columns, units).flat_map(column).collect();
        let dims = [1, 3 * units as i64, weight.rows as i64];
        Ok(self.floats(&format!("{name}.transposed"), &dims, &transposed))
    }
}

/// What stands for reset gate, update gate and candidate in the order of ONNX: update gate, reset gate, candidate.
fn in_order<T: Copy>(parts: &[T], units: usize) -> impl Iterator<Item = T> {
    let part = move |number: usize| parts.iter().skip(number * units).take(units).copied();
    part(1).chain(part(0)).chain(part(2))
}
