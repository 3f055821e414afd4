//! DIN's attention: a list pooled with weights that depend on the target.

mod codes;
mod rounded;

#[cfg(feature = "train")]
use super::Backward;
use super::softmax::softmax;
#[cfg(feature = "train")]
use super::softmax::softmax_chain;
use super::{Cost, Operation};
use crate::engine::{Context, Inputs};
use crate::graph::{Domain, Graph, Initializer, Value, Weight};
use crate::kernels::{
    activation::Activation,
    kernel,
    matmul::{Matrix, Start, matmul},
    reduce::{axpy, score_rows},
};
#[cfg(feature = "train")]
use crate::kernels::{
    matmul::transpose,
    reduce::{add, add_column_sums, dot},
};
#[cfg(feature = "train")]
use crate::quantization::rounding::clip;
use serde::{Deserialize, Serialize};

/// `Σ_j a(k_j, t) k_j` over the keys `k_j` of a sample's list, with the target `t` (Zhou et al. 2018, eq. 3).
///
/// `a` is an MLP on `[k, t, t − k, t ⊙ k]` with one result. Its first layer is never run on that: with the weight's row blocks
/// `W_k, W_t, W_d, W_m`,
///
/// `k W_k + t W_t + (t − k) W_d + (t ⊙ k) W_m = k (W_k − W_d + diag(t) W_m) + t (W_t + W_d)`,
///
/// so a position costs one product of the key with a matrix folded once a sample, a quarter of the work, and the target's
/// part is computed once a sample. Lists are ragged: padding does not exist.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttentionPool {
    /// The feature whose lists count.
    pub feature: usize,
    /// The width of a key and of the target.
    pub width: usize,
    /// Weight and bias of each layer; the last has one column.
    pub layers: Vec<(Weight, Weight)>,
    /// What follows each layer but the last.
    pub activation: Activation,
    /// Whether the scores, over `√width`, go through a softmax. The paper's do not: the sum of weights says how strong the
    /// interest is.
    pub softmax: bool,
}

impl Graph {
    /// Pools `keys` (`positions × width`) by their match with `target` (`samples × width`).
    ///
    /// # Panics
    /// If the keys are no list, or are not as wide as the target: a defect of the calling slot.
    pub fn attention_pool(
        &mut self,
        keys: Value,
        target: Value,
        hidden: &[usize],
        activation: Activation,
        softmax: bool,
    ) -> Value {
        let width = self.width(keys);
        assert_eq!(width, self.width(target), "a key is as wide as the target");
        let Domain::Positions(feature) = self.domain(keys) else { panic!("attention needs a list of keys") };
        let mut inputs = 4 * width;
        let mut layers = Vec::new();
        for (number, outputs) in hidden.iter().copied().chain([1]).enumerate() {
            layers.push(self.scope(format!("attention.{number}"), |graph| {
                let weight = graph.weight("weight", [inputs, outputs], Initializer::XavierNormal);
                (weight, graph.weight("bias", [1, outputs], Initializer::Constant(0.0)))
            }));
            inputs = outputs;
        }
        let op = AttentionPool { feature, width, layers, activation, softmax };
        self.record(super::Op::AttentionPool(op), &[keys, target], Domain::Rows, width)
    }
}

/// Where the parts of what a forward pass saves lie: the first layer's `W_k − W_d` and `W_t + W_d`, the target's part by sample, each
/// hidden layer by pair, and the attention weight of each pair.
#[cfg_attr(not(feature = "train"), allow(dead_code))] // The backward pass reads them all.
struct Saved {
    key_weight: usize,
    target_weight: usize,
    target_part: usize,
    hidden: usize,
    weights: usize,
    end: usize,
}

impl AttentionPool {
    fn first(&self) -> usize {
        self.layers[0].0.columns
    }

    /// Widths of the hidden layers, one after another.
    fn hidden_widths(&self) -> impl DoubleEndedIterator<Item = usize> + '_ {
        self.layers[..self.layers.len() - 1].iter().map(|(weight, _)| weight.columns)
    }

    fn saved(&self, rows: usize, pairs: usize) -> Saved {
        let block = self.width * self.first();
        let (key_weight, target_weight, target_part) = (0, block, 2 * block);
        let hidden = target_part + rows * self.first();
        let weights = hidden + pairs * self.hidden_widths().sum::<usize>();
        Saved { key_weight, target_weight, target_part, hidden, weights, end: weights + pairs }
    }

    /// The attention weights of a tile's pairs, kept by a forward pass: what the model attends to.
    pub(crate) fn weights_of<'a>(&self, saved: &'a [f32], rows: usize, pairs: usize) -> &'a [f32] {
        let at = self.saved(rows, pairs);
        &saved[at.weights..at.end]
    }

    /// The number of pairs of a tile: of a sample and an element of its list.
    pub(crate) fn pairs(&self, cx: &Context<'_>) -> usize {
        (0..cx.rows.len()).map(|row| cx.segment(self.feature, row).len()).sum()
    }

    pub(crate) fn scale(&self) -> f32 {
        if self.softmax { 1.0 / (self.width as f32).sqrt() } else { 1.0 }
    }
}

/// Some columns of `Σ_p weights[p] · keys[p]`, whose sums stay in registers from the first key to the last.
#[inline(always)]
fn sum_of_columns<const COLUMNS: usize>(weights: &[f32], keys: &[f32], width: usize, first: usize) -> [f32; COLUMNS] {
    let mut sums = [0.0; COLUMNS];
    for (weight, key) in weights.iter().zip(keys.chunks_exact(width)) {
        sums.iter_mut().zip(&key[first..first + COLUMNS]).for_each(|(sum, key)| *sum += weight * key);
    }
    sums
}

kernel! {
    /// `folded[i] = base[i] + target[i] · product[i]`, row by row: the first layer for one target.
    fn fold['a](folded: &'a mut [f32], base: &'a [f32], product: &'a [f32], target: &'a [f32]) {
        let h = folded.len() / target.len();
        let rows = folded.chunks_exact_mut(h).zip(base.chunks_exact(h).zip(product.chunks_exact(h)));
        for ((folded, (base, product)), t) in rows.zip(target) {
            for ((folded, base), product) in folded.iter_mut().zip(base).zip(product) {
                *folded = base + t * product;
            }
        }
    }

    /// `out = Σ_p weights[p] · keys[p]`.
    fn weighted_sum['a](out: &'a mut [f32], weights: &'a [f32], keys: &'a [f32]) {
        let width = out.len();
        let (wide, rest) = out.as_chunks_mut::<32>();
        let (narrow, rest) = rest.as_chunks_mut::<16>();
        for (number, out) in wide.iter_mut().enumerate() {
            *out = sum_of_columns(weights, keys, width, 32 * number);
        }
        for out in narrow {
            *out = sum_of_columns(weights, keys, width, width / 32 * 32);
        }
        if !rest.is_empty() {
            rest.fill(0.0);
            for (weight, key) in weights.iter().zip(keys.chunks_exact(width)) {
                axpy(rest, *weight, &key[width / 16 * 16..]);
            }
        }
    }

    fn softmax_list['a](weights: &'a mut [f32]) {
        softmax(weights);
    }
}

#[cfg(feature = "train")]
kernel! {
    /// The same fold, stored transposed (`h × d`).
    fn fold_transposed['a](folded: &'a mut [f32], base: &'a [f32], product: &'a [f32], target: &'a [f32]) {
        let d = target.len();
        let rows = folded.chunks_exact_mut(d).zip(base.chunks_exact(d).zip(product.chunks_exact(d)));
        for (folded, (base, product)) in rows {
            for (((folded, base), product), t) in folded.iter_mut().zip(base).zip(product).zip(target) {
                *folded = base + t * product;
            }
        }
    }

    /// From the gradient of one sample's folded matrix: its sum over samples, the product's weight, and the target.
    fn unfold['a](
        folded_grad: &'a [f32],
        product: &'a [f32],
        target: &'a [f32],
        sum: &'a mut [f32],
        product_grad: &'a mut [f32],
        target_grad: &'a mut [f32],
    ) {
        let h = folded_grad.len() / target.len();
        let rows = folded_grad.chunks_exact(h).zip(product.chunks_exact(h));
        let grads = sum.chunks_exact_mut(h).zip(product_grad.chunks_exact_mut(h));
        for (((folded_grad, product), (sum, product_grad)), (t, target_grad)) in
            rows.zip(grads).zip(target.iter().zip(target_grad))
        {
            *target_grad += dot(folded_grad, product);
            for ((sum, product_grad), g) in sum.iter_mut().zip(product_grad).zip(folded_grad) {
                *sum += g;
                *product_grad += t * g;
            }
        }
    }

    /// `grads[p] = ⟨out_grad, keys[p]⟩`.
    fn weight_grads['a](grads: &'a mut [f32], out_grad: &'a [f32], keys: &'a [f32]) {
        for (grad, key) in grads.iter_mut().zip(keys.chunks_exact(out_grad.len())) {
            *grad = dot(out_grad, key);
        }
    }

    /// `key_grads[p] += weights[p] · out_grad`.
    fn add_weighted['a](key_grads: &'a mut [f32], weights: &'a [f32], out_grad: &'a [f32]) {
        for (grad, weight) in key_grads.chunks_exact_mut(out_grad.len()).zip(weights) {
            axpy(grad, *weight, out_grad);
        }
    }

    /// The last layer back: its weight's gradient, and that of the hidden layer below.
    fn last_layer_back['a](
        last_grad: &'a mut [f32],
        last: &'a [f32],
        score_grads: &'a [f32],
        x: &'a [f32],
        x_grads: &'a mut [f32],
    ) {
        let width = last.len();
        for ((grad, x), x_grad) in score_grads.iter().zip(x.chunks_exact(width)).zip(x_grads.chunks_exact_mut(width)) {
            for (((last_grad, last), x), x_grad) in last_grad.iter_mut().zip(last).zip(x).zip(x_grad) {
                *last_grad += grad * x;
                *x_grad = grad * last;
            }
        }
    }
}

impl Operation for AttentionPool {
    fn forward(&self, cx: &Context<'_>, inputs: Inputs<'_>, out: &mut [f32], saved: &mut Vec<f32>) {
        if let Some(products) = self.coded(cx) {
            return self.forward_in_codes(cx, products, inputs, out, saved);
        }
        let (keys, target) = (inputs.get(0), inputs.get(1));
        let (d, h, rows) = (self.width, self.first(), cx.rows.len());
        let (pairs, block) = (self.pairs(cx), d * h);
        let at = self.saved(rows, pairs);
        let rounding = self.rounding(cx);
        saved.resize(at.end + if rounding.is_some() { self.size_of_room(cx, pairs) } else { block }, 0.0);
        let (saved, behind) = saved.split_at_mut(at.end);
        let (before, rest) = saved.split_at_mut(at.hidden);
        let (mut hidden, weights) = rest.split_at_mut(at.weights - at.hidden);
        let (key_weight, rest) = before.split_at_mut(at.target_weight);
        let (target_weight, target_part) = rest.split_at_mut(block);

        let (weight, bias) = (self.layers[0].0.of(cx.weights), self.layers[0].1.of(cx.weights));
        let difference = &weight[2 * block..3 * block];
        for i in 0..block {
            key_weight[i] = weight[i] - difference[i];
            target_weight[i] = weight[block + i] + difference[i];
        }
        matmul(target_part, Matrix::new(target, rows, d), target_weight, h, Start::Row(bias));

        // The first layer.
        let mut room = None;
        if let Some(by) = rounding {
            let room = room.insert(self.room(cx, pairs, behind));
            let parts = (&*key_weight, &*target_part);
            self.first_layer_rounded(cx, by, (keys, target), parts, room, &mut hidden[..pairs * h]);
        } else {
            // One small product a sample.
            let (folded, mut first) = (behind, 0);
            for (row, target) in target.chunks_exact(d).enumerate() {
                let list = cx.segment(self.feature, row);
                let next = first + list.len();
                let result = &mut hidden[first * h..next * h];
                fold(folded, key_weight, &weight[3 * block..4 * block], target);
                let keys = Matrix::new(&keys[list.start * d..list.end * d], list.len(), d);
                matmul(result, keys, folded, h, Start::Row(&target_part[row * h..(row + 1) * h]));
                self.activation.apply(result);
                first = next;
            }
        }

        // The others, over all pairs at once.
        let mut width = h;
        for (weight, bias) in &self.layers[1..self.layers.len() - 1] {
            let (before, after) = hidden.split_at_mut(pairs * width);
            let result = &mut after[..pairs * weight.columns];
            let before = match (&mut room, cx.rounding(*weight)) {
                (Some(room), Some(by)) => room.rounded(before, by),
                _ => before,
            };
            let bias = Start::Row(bias.of(cx.weights));
            matmul(result, Matrix::new(before, pairs, width), weight.of(cx.weights), weight.columns, bias);
            self.activation.apply(result);
            hidden = after;
            width = weight.columns;
        }
        let (last, bias) = self.layers[self.layers.len() - 1];
        score_rows(weights, hidden, last.of(cx.weights), bias.of(cx.weights)[0], self.scale());
        let mut first = 0;
        for (row, out) in out.chunks_exact_mut(d).enumerate() {
            let list = cx.segment(self.feature, row);
            let weights = &mut weights[first..first + list.len()];
            first += list.len();
            if self.softmax {
                softmax_list(weights);
            }
            weighted_sum(out, weights, &keys[list.start * d..list.end * d]);
        }
    }

    #[cfg(feature = "train")]
    fn backward(&self, cx: &Context<'_>, mut pass: Backward<'_>) {
        let (keys, target) = (pass.inputs.get(0), pass.inputs.get(1));
        let (d, h, rows) = (self.width, self.first(), cx.rows.len());
        let (pairs, block) = (self.pairs(cx), d * h);
        let at = self.saved(rows, pairs);
        let (saved, behind) = std::mem::take(&mut pass.saved).split_at_mut(at.end);
        let rounding = self.rounding(cx);
        let mut room = rounding.map(|_| self.room(cx, pairs, behind));
        let out_grad = std::mem::take(&mut pass.out_grad);
        let mut scratch = std::mem::take(pass.scratch);
        let widest = self.hidden_widths().max().unwrap_or(0);
        scratch.resize(pairs * (2 * widest + 1) + rows * (h + d) + 5 * block, 0.0);
        let (mut upper, rest) = scratch.split_at_mut(pairs * widest);
        let (mut lower, rest) = rest.split_at_mut(pairs * widest);
        let (score_grad, rest) = rest.split_at_mut(pairs);

        // From the pooled row to the scores.
        let weights = &saved[at.weights..at.end];
        let mut first = 0;
        for (row, g) in out_grad.chunks_exact(d).enumerate() {
            let list = cx.segment(self.feature, row);
            let range = first..first + list.len();
            first = range.end;
            let grads = &mut score_grad[range.clone()];
            weight_grads(grads, g, &keys[list.start * d..list.end * d]);
            if self.softmax {
                softmax_chain(grads, &weights[range]);
                grads.iter_mut().for_each(|grad| *grad *= self.scale());
            }
        }

        // The last layer, then the hidden ones from the top.
        let mut widths = self.hidden_widths().rev();
        let mut width = widths.next().unwrap_or(0);
        let mut end = at.weights - pairs * width;
        let x = &saved[end..at.weights];
        let (last, last_bias) = self.layers[self.layers.len() - 1];
        let last_grad = last.of_mut(pass.weight_grads);
        last_layer_back(last_grad, last.of(cx.weights), score_grad, x, &mut upper[..pairs * width]);
        last_bias.of_mut(pass.weight_grads)[0] += score_grad.iter().sum::<f32>();
        self.activation.chain(&mut upper[..pairs * width], x);
        for ((weight, bias), below) in self.layers[1..self.layers.len() - 1].iter().rev().zip(widths) {
            let x = &saved[end - pairs * below..end];
            let grad = &upper[..pairs * width];
            let rounding = cx.rounding(*weight).filter(|_| room.is_some());
            let read = match (&mut room, rounding) {
                (Some(room), Some(by)) => room.rounded(x, by),
                _ => x,
            };
            let transposed = Matrix::new(read, pairs, below).transposed();
            matmul(weight.of_mut(pass.weight_grads), transposed, grad, width, Start::Existing);
            add_column_sums(bias.of_mut(pass.weight_grads), grad);
            let lower_grad = &mut lower[..pairs * below];
            matmul(lower_grad, Matrix::new(grad, pairs, width), cx.transposed(*weight), below, Start::Zero);
            if let Some(by) = rounding {
                clip(lower_grad, x, by);
            }
            self.activation.chain(lower_grad, x);
            end -= pairs * below;
            width = below;
            std::mem::swap(&mut upper, &mut lower);
        }

        // The first layer's bias and target part, summed over each sample's pairs.
        let (weight, bias) = self.layers[0];
        let (part_grad, rest) = rest.split_at_mut(rows * h);
        let (target_grad, rest) = rest.split_at_mut(rows * d);
        let (folded_grad, rest) = rest.split_at_mut(block);
        part_grad.fill(0.0);
        let mut first = 0;
        for (row, sum) in part_grad.chunks_exact_mut(h).enumerate() {
            let next = first + cx.segment(self.feature, row).len();
            add_column_sums(sum, &upper[first * h..next * h]);
            first = next;
        }
        add_column_sums(bias.of_mut(pass.weight_grads), part_grad);
        matmul(folded_grad, Matrix::new(target, rows, d).transposed(), part_grad, h, Start::Zero);
        let weight_grad = weight.of_mut(pass.weight_grads);
        add(&mut weight_grad[block..2 * block], folded_grad);
        if rounding.is_none() {
            add(&mut weight_grad[2 * block..3 * block], folded_grad);
        }
        let (folded, rest) = rest.split_at_mut(block);
        transpose(folded, &saved[at.target_weight..at.target_part], d, h);
        matmul(target_grad, Matrix::new(part_grad, rows, h), folded, d, Start::Zero);

        // Sample by sample, through the folded matrix to keys, target and the other blocks.
        let (sum, rest) = rest.split_at_mut(block);
        let (base, rest) = rest.split_at_mut(block);
        let product_transposed = &mut rest[..block];
        sum.fill(0.0);
        let product = &weight.of(cx.weights)[3 * block..];
        transpose(base, &saved[at.key_weight..at.target_weight], d, h);
        transpose(product_transposed, product, d, h);
        if let (Some(by), Some(room)) = (rounding, &mut room) {
            let each = [(by[0], &*base), (by[1], &*product_transposed)];
            let grads = (&upper[..pairs * h], weights, &*out_grad);
            self.first_layer_rounded_back(cx, each, &mut pass, room, grads, target_grad);
        } else {
            // Samples that share a list add to the gradient of the same keys.
            let shared = !cx.batch().sparse[self.feature].list_of_row.is_empty();
            if shared {
                pass.input_grad_to_add(0);
            }
            let mut first = 0;
            for (row, (g, target)) in out_grad.chunks_exact(d).zip(target.chunks_exact(d)).enumerate() {
                let list = cx.segment(self.feature, row);
                let (len, elements) = (list.len(), list.start * d..list.end * d);
                let pair_grad = &upper[first * h..(first + len) * h];
                let transposed_keys = Matrix::new(&keys[elements.clone()], len, d).transposed();
                matmul(folded_grad, transposed_keys, pair_grad, h, Start::Zero);
                let product_grad = &mut weight.of_mut(pass.weight_grads)[3 * block..];
                unfold(folded_grad, product, target, sum, product_grad, &mut target_grad[row * d..(row + 1) * d]);
                if let Some((grad, add)) = pass.input_grad(0) {
                    let grad = &mut grad[elements];
                    fold_transposed(folded, base, product_transposed, target);
                    matmul(grad, Matrix::new(pair_grad, len, h), folded, d, Start::adding(add || shared));
                    add_weighted(grad, &weights[first..first + len], g);
                }
                first += len;
            }
        }
        let weight_grad = weight.of_mut(pass.weight_grads);
        add(&mut weight_grad[..block], sum);
        weight_grad[2 * block..3 * block].iter_mut().zip(&*sum).for_each(|(grad, sum)| *grad -= sum);
        if let Some((grad, add_to)) = pass.input_grad(1) {
            if add_to {
                add(grad, target_grad);
            } else {
                grad.copy_from_slice(target_grad);
            }
        }
        *pass.scratch = scratch;
    }

    #[cfg(feature = "train")]
    fn weights(&self) -> Vec<Weight> {
        self.layers.iter().flat_map(|(weight, bias)| [*weight, *bias]).collect()
    }

    fn cost(&self, rows: usize, positions: usize, _: usize) -> Cost {
        let (d, h) = (self.width, self.first());
        let mut flops = rows * (2 * d * h + 2 * d * h) + positions * (2 * d * h + 2 * d);
        let mut size = 4 * d * h;
        for (weight, _) in &self.layers[1..] {
            flops += positions * 2 * weight.rows * weight.columns;
            size += weight.rows * weight.columns;
        }
        Cost { flops: flops as u64, bytes: 4 * size as u64 }
    }

    fn products(&self) -> Vec<Weight> {
        let hidden = self.layers[1..self.layers.len() - 1].iter().map(|(weight, _)| *weight);
        self.first_products().into_iter().chain(hidden).collect()
    }

    fn observe(&self, cx: &Context<'_>, inputs: Inputs<'_>, saved: &[f32], each: &mut dyn FnMut(Weight, &[f32])) {
        let (keys, target, d) = (inputs.get(0), inputs.get(1), self.width);
        let [of_keys, of_products] = self.first_products();
        each(of_keys, keys);
        let mut products = Vec::new();
        for (row, target) in target.chunks_exact(d).enumerate() {
            let list = cx.segment(self.feature, row);
            products.clear();
            let keys = keys[list.start * d..list.end * d].chunks_exact(d);
            products.extend(keys.flat_map(|key| key.iter().zip(target).map(|(k, t)| k * t)));
            each(of_products, &products);
        }
        let pairs = self.pairs(cx);
        let mut from = self.saved(cx.rows.len(), pairs).hidden;
        for (weight, _) in &self.layers[1..self.layers.len() - 1] {
            let to = from + pairs * weight.rows;
            each(*weight, &saved[from..to]);
            from = to;
        }
    }

    fn saved_of_pair(&self) -> usize {
        self.hidden_widths().sum::<usize>() + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kitestring_core::Seed;

    /// Column by column in the order of keys, to the bit, at every width.
    #[test]
    fn weighted_sums() {
        for width in [1, 15, 16, 17, 32, 47, 48, 64, 83] {
            for count in [0, 1, 5] {
                let draw = |name: &str, count: usize| -> Vec<f32> {
                    (0..count as u64).map(|at| Seed(1).child(name).normal_at(at)).collect()
                };
                let (weights, keys) = (draw("weights", count), draw("keys", count * width));
                let mut found = vec![f32::NAN; width];
                weighted_sum(&mut found, &weights, &keys);
                for (column, found) in found.iter().enumerate() {
                    let sum = (0..count).fold(0.0, |sum, key| sum + weights[key] * keys[key * width + column]);
                    assert_eq!(*found, sum, "{width}, {count}");
                }
            }
        }
    }
}
