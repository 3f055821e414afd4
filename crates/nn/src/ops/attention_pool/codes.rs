//! The attention with its products done in codes of eight bits.
//!
//! A folded matrix a sample would have to be coded anew for each; so the first layer's two parts are products of their own,
//! `k (W_k − W_d)`, done once for each element of a list however many samples share it, and `(t ⊙ k) W_m` for each pair. Between layers
//! sums go straight to the codes of the next one, and from the last hidden layer to its activations.

use super::{AttentionPool, score_pairs, softmax_list, weighted_sum};
use crate::engine::{Context, Inputs};
use crate::graph::Weight;
use crate::kernels::activation::{Activation, relu, sigmoid, tanh};
use crate::kernels::int8::{activate, encode_with, requantize};
use crate::kernels::matmul::{Matrix, Start, matmul};
use crate::quantization::product::Product;

/// Sums of a layer with what is added to them: a row of `parts` each, where there are any, and one `row` for all.
#[derive(Clone, Copy)]
struct Sums<'a> {
    product: &'a Product,
    parts: &'a [f32],
    row: &'a [f32],
}

impl Sums<'_> {
    /// The codes of the next layer's inputs.
    fn requantize(self, sums: &[i32], activation: Activation, next: &Product, codes: &mut [u8]) {
        let (by, to) = (self.product.of_columns(), next.by());
        match activation {
            Activation::None => requantize(codes, sums, by, self.parts, self.row, to, |x| x),
            Activation::Relu => requantize(codes, sums, by, self.parts, self.row, to, relu),
            Activation::Sigmoid => requantize(codes, sums, by, self.parts, self.row, to, sigmoid),
            Activation::Tanh => requantize(codes, sums, by, self.parts, self.row, to, tanh),
        }
    }

    /// What the last layer reads.
    fn activate(self, sums: &[i32], activation: Activation, out: &mut [f32]) {
        let by = self.product.of_columns();
        match activation {
            Activation::None => activate(out, sums, by, self.parts, self.row, |x| x),
            Activation::Relu => activate(out, sums, by, self.parts, self.row, relu),
            Activation::Sigmoid => activate(out, sums, by, self.parts, self.row, sigmoid),
            Activation::Tanh => activate(out, sums, by, self.parts, self.row, tanh),
        }
    }
}

impl AttentionPool {
    /// The parts of the first layer whose products may be done in codes: that of the keys, and that of their products with the target. The
    /// part of differences must be folded into the others before ([`Self::fold`]).
    pub(crate) fn first_products(&self) -> [Weight; 2] {
        let first = self.layers[0].0;
        [first.part(0, self.width), first.part(3 * self.width, self.width)]
    }

    /// The layers between the first and the last.
    pub(super) fn hidden_layers(&self) -> &[(Weight, Weight)] {
        &self.layers[1..self.layers.len() - 1]
    }

    /// The width of what the last layer reads.
    fn last_width(&self) -> usize {
        self.layers[self.layers.len() - 1].0.rows
    }

    /// The products of the first layer, where all products but the last layer's are done in codes.
    pub(super) fn coded<'a>(&self, cx: &Context<'a>) -> Option<[&'a Product; 2]> {
        let [keys, products] = self.first_products();
        let all = self.hidden_layers().iter().all(|(weight, _)| cx.product(*weight).is_some());
        Some([cx.product(keys)?, cx.product(products)?]).filter(|_| all)
    }

    /// Rewrites the first layer, whose function stays the same to the bit: `W_d` goes into `W_k` and `W_t`.
    pub(crate) fn fold(&self, weights: &mut [f32]) {
        let (weight, block) = (self.layers[0].0.of_mut(weights), self.width * self.first());
        for i in 0..block {
            let difference = std::mem::take(&mut weight[2 * block + i]);
            weight[i] -= difference;
            weight[block + i] += difference;
        }
    }

    pub(super) fn forward_in_codes(
        &self,
        cx: &Context<'_>,
        [of_keys, of_products]: [&Product; 2],
        inputs: Inputs<'_>,
        out: &mut [f32],
        saved: &mut Vec<f32>,
    ) {
        let (keys, target) = (inputs.get(0), inputs.get(1));
        let (d, h, rows) = (self.width, self.first(), cx.rows.len());
        let hidden = self.hidden_layers().iter().filter_map(|(weight, bias)| Some((cx.product(*weight)?, *bias)));
        let longest = (0..rows).map(|row| cx.segment(self.feature, row).len()).max().unwrap_or(0);
        let widest = self.hidden_widths().max().unwrap_or(h);
        let apart =
            hidden.clone().map(|(product, _)| product.stride()).chain([of_products.stride()]).max().unwrap_or(0);
        let elements = keys.len() / d;
        let codes = longest * apart / 4;
        let numbers = longest * self.last_width();
        let sizes = [elements * h, rows * h, codes, longest * widest, numbers, longest, of_keys.scratch()];
        let needed = sizes.iter().sum();
        if saved.len() < needed {
            saved.resize(needed, 0.0);
        }
        let mut rest = &mut saved[..needed];
        let [key_part, target_part, codes, sums, numbers, scores, scratch] = sizes.map(|size| {
            let (part, others) = std::mem::take(&mut rest).split_at_mut(size);
            rest = others;
            part
        });
        let (codes, sums): (&mut [u8], &mut [i32]) = (bytemuck::cast_slice_mut(codes), bytemuck::cast_slice_mut(sums));

        of_keys.multiply(keys, None, Activation::None, key_part, scratch);
        let (weight, bias) = (self.layers[0].0, self.layers[0].1.of(cx.weights));
        let of_target = weight.part(d, d).of(cx.weights);
        matmul(target_part, Matrix::new(target, rows, d), of_target, h, Start::Row(bias));
        let (last, last_bias) = self.layers[self.layers.len() - 1];
        let (last, last_bias) = (last.of(cx.weights), last_bias.of(cx.weights)[0]);
        let targets = target.chunks_exact(d).zip(target_part.chunks_exact(h));
        for (row, (out, (target, of_target))) in out.chunks_exact_mut(d).zip(targets).enumerate() {
            let list = cx.segment(self.feature, row);
            let (pairs, parts) = (list.len(), &key_part[list.start * h..list.end * h]);
            let keys = &keys[list.start * d..list.end * d];
            let mut layer = Sums { product: of_products, parts, row: of_target };
            encode_with(&mut codes[..pairs * of_products.stride()], keys, target, of_products.by());
            of_products.sums(&codes[..pairs * of_products.stride()], &mut sums[..pairs * h]);
            for (product, bias) in hidden.clone() {
                let codes = &mut codes[..pairs * product.stride()];
                layer.requantize(&sums[..pairs * layer.row.len()], self.activation, product, codes);
                product.sums(codes, &mut sums[..pairs * product.outputs()]);
                layer = Sums { product, parts: &[], row: bias.of(cx.weights) };
            }
            let scores = &mut scores[..pairs];
            let numbers = &mut numbers[..pairs * layer.row.len()];
            layer.activate(&sums[..pairs * layer.row.len()], self.activation, numbers);
            score_pairs(scores, numbers, last, last_bias, self.scale());
            if self.softmax {
                softmax_list(scores);
            }
            weighted_sum(out, scores, keys);
        }
    }
}
