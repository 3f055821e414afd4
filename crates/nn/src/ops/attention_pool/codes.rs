//! The attention with its products done in codes of eight bits.
//!
//! A folded matrix a sample would have to be coded anew for each; so the first layer's two parts are products of their own,
//! `k (W_k − W_d)`, done once for each element of a list however many samples share it, and `(t ⊙ k) W_m` for each pair. Between layers
//! sums go straight to the codes of the next one, and from the last hidden layer to its activations.

use super::{AttentionPool, softmax_list, weighted_sum};
use crate::engine::{Context, Inputs};
use crate::graph::Weight;
use crate::kernels::activation::Activation;
use crate::kernels::int8::{encode_with, last_layers, layer};
use crate::kernels::matmul::{Matrix, Start, matmul};
use crate::quantization::product::Product;

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
        let (codes, sums) = (longest * apart / 4, longest * widest);
        let numbers = longest * self.last_width();
        let sizes = [elements * h, rows * h, codes, codes, sums, numbers, longest, of_keys.scratch()];
        let needed = sizes.iter().sum();
        if saved.len() < needed {
            saved.resize(needed, 0.0);
        }
        let mut rest = &mut saved[..needed];
        let [key_part, target_part, codes, others, sums, numbers, scores, scratch] = sizes.map(|size| {
            let (part, others) = std::mem::take(&mut rest).split_at_mut(size);
            rest = others;
            part
        });
        let sums: &mut [i32] = bytemuck::cast_slice_mut(sums);
        let (mut codes, mut others): (&mut [u8], &mut [u8]) =
            (bytemuck::cast_slice_mut(codes), bytemuck::cast_slice_mut(others));

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
            encode_with(&mut codes[..pairs * of_products.stride()], keys, target, of_products.by());
            let (mut product, mut of) = (of_products, of_products.numbers(parts, of_target, self.activation));
            for (next, bias) in hidden.clone() {
                let (from, to) = (&codes[..pairs * product.stride()], &mut others[..pairs * next.stride()]);
                layer(to, from, product.packed(), of, next.by(), &mut sums[..pairs * product.outputs()]);
                std::mem::swap(&mut codes, &mut others);
                (product, of) = (next, next.numbers(&[], bias.of(cx.weights), self.activation));
            }
            let (scores, from) = (&mut scores[..pairs], &codes[..pairs * product.stride()]);
            let memory = (&mut sums[..pairs * last.len()], &mut numbers[..pairs * last.len()]);
            last_layers(scores, from, product.packed(), of, (last, last_bias, self.scale()), memory);
            if self.softmax {
                softmax_list(scores);
            }
            weighted_sum(out, scores, keys);
        }
    }
}
