//! The attention with its products done in codes of eight bits.
//!
//! A folded matrix a sample would have to be coded anew for each; so the first layer's two parts are products of their own,
//! `k (W_k − W_d)`, done once for each element of a list however many samples share it, and `(t ⊙ k) W_m` for each pair.

use super::{AttentionPool, score_pairs, softmax_list, weighted_sum};
use crate::engine::{Context, Inputs};
use crate::graph::Weight;
use crate::kernels::activation::Activation;
use crate::kernels::kernel;
use crate::kernels::matmul::{Matrix, Start, matmul};
use crate::quantization::product::Product;

kernel! {
    /// `out[p] = parts[p] + row` for every row `p`.
    fn add_row['a](out: &'a mut [f32], parts: &'a [f32], row: &'a [f32]) {
        for (out, part) in out.chunks_exact_mut(row.len()).zip(parts.chunks_exact(row.len())) {
            for ((out, part), x) in out.iter_mut().zip(part).zip(row) {
                *out = part + x;
            }
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

    pub(super) fn coded<'a>(&self, cx: &Context<'a>) -> Option<[&'a Product; 2]> {
        let [keys, products] = self.first_products();
        Some([cx.product(keys)?, cx.product(products)?])
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
        let hidden = &self.layers[1..self.layers.len() - 1];
        let longest = (0..rows).map(|row| cx.segment(self.feature, row).len()).max().unwrap_or(0);
        let widest = self.hidden_widths().max().unwrap_or(h);
        let coded = hidden.iter().filter_map(|(weight, _)| cx.product(*weight)).chain([of_keys, of_products]);
        let scratch = coded.map(Product::scratch).max().unwrap_or(0);
        let elements = keys.len() / d;
        let sizes = [elements * h, rows * h, longest * widest, longest * widest, longest, scratch];
        let needed = sizes.iter().sum();
        if saved.len() < needed {
            saved.resize(needed, 0.0);
        }
        let mut rest = &mut saved[..needed];
        let [key_part, target_part, mut before, mut after, scores, scratch] = sizes.map(|size| {
            let (part, others) = std::mem::take(&mut rest).split_at_mut(size);
            rest = others;
            part
        });

        of_keys.multiply(keys, None, Activation::None, key_part, scratch);
        let (weight, bias) = (self.layers[0].0, self.layers[0].1.of(cx.weights));
        let of_target = weight.part(d, d).of(cx.weights);
        matmul(target_part, Matrix::new(target, rows, d), of_target, h, Start::Row(bias));
        let (last, last_bias) = self.layers[self.layers.len() - 1];
        let (last, last_bias) = (last.of(cx.weights), last_bias.of(cx.weights)[0]);
        let targets = target.chunks_exact(d).zip(target_part.chunks_exact(h));
        for (row, (out, (target, of_target))) in out.chunks_exact_mut(d).zip(targets).enumerate() {
            let list = cx.segment(self.feature, row);
            let keys = &keys[list.start * d..list.end * d];
            let (mut width, pairs) = (h, list.len());
            add_row(&mut before[..pairs * h], &key_part[list.start * h..list.end * h], of_target);
            of_products.add_products_with(keys, target, &mut before[..pairs * h], scratch);
            self.activation.apply(&mut before[..pairs * h]);
            for (weight, bias) in hidden {
                let (x, y) = (&before[..pairs * width], &mut after[..pairs * weight.columns]);
                let bias = bias.of(cx.weights);
                match cx.product(*weight) {
                    Some(product) => product.multiply(x, Some(bias), self.activation, y, scratch),
                    None => {
                        let x = Matrix::new(x, pairs, width);
                        matmul(y, x, weight.of(cx.weights), weight.columns, Start::Row(bias));
                        self.activation.apply(y);
                    }
                }
                std::mem::swap(&mut before, &mut after);
                width = weight.columns;
            }
            let scores = &mut scores[..pairs];
            score_pairs(scores, &before[..pairs * width], last, last_bias, self.scale());
            if self.softmax {
                softmax_list(scores);
            }
            weighted_sum(out, scores, keys);
        }
    }
}
