//! DIN's attention: a list pooled with weights that depend on the target.

#[cfg(feature = "train")]
use super::Backward;
use super::softmax::softmax;
#[cfg(feature = "train")]
use super::softmax::softmax_chain;
use super::{Cost, Operation};
use crate::engine::{Context, Inputs};
use crate::graph::{Domain, Graph, Initializer, Value, Weight};
#[cfg(feature = "train")]
use crate::kernels::reduce::add_column_sums;
use crate::kernels::{
    activation::Activation,
    matmul::{Matrix, matmul},
    reduce::{axpy, dot},
    vectorized,
};
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

/// Where the parts of what a forward pass saves lie: the target's weight `W_t + W_d`, its result by sample, each hidden layer by pair,
/// and the attention weight of each pair.
struct Saved {
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
    fn hidden_widths(&self) -> impl Iterator<Item = usize> + '_ {
        self.layers[..self.layers.len() - 1].iter().map(|(weight, _)| weight.columns)
    }

    fn saved(&self, rows: usize, pairs: usize) -> Saved {
        let target_weight = 0;
        let target_part = target_weight + self.width * self.first();
        let hidden = target_part + rows * self.first();
        let weights = hidden + pairs * self.hidden_widths().sum::<usize>();
        Saved { target_weight, target_part, hidden, weights, end: weights + pairs }
    }

    /// `W_k − W_d + diag(t) W_m` into `folded` (`width × first`).
    #[inline(always)]
    fn fold(&self, weight: &[f32], target: &[f32], folded: &mut [f32]) {
        let (d, h) = (self.width, self.first());
        let block = d * h;
        for (i, t) in target.iter().enumerate() {
            let at = i * h..(i + 1) * h;
            let (key, difference) = (&weight[at.clone()], &weight[2 * block..3 * block][at.clone()]);
            let product = &weight[3 * block..4 * block][at.clone()];
            let folded = &mut folded[at];
            for (((folded, key), difference), product) in folded.iter_mut().zip(key).zip(difference).zip(product) {
                *folded = key - difference + t * product;
            }
        }
    }

    /// From the gradient of one sample's folded matrix to those of the blocks it is made of, and of the target.
    #[cfg(feature = "train")]
    #[inline(always)]
    fn unfold(&self, weight: &[f32], target: &[f32], folded: &[f32], weight_grad: &mut [f32], target_grad: &mut [f32]) {
        let (h, block) = (self.first(), self.width * self.first());
        let (key_grad, rest) = weight_grad.split_at_mut(2 * block);
        let (difference_grad, product_grad) = rest.split_at_mut(block);
        for (i, (t, target_grad)) in target.iter().zip(target_grad).enumerate() {
            let at = i * h..(i + 1) * h;
            let folded = &folded[at.clone()];
            *target_grad += dot(folded, &weight[3 * block..4 * block][at.clone()]);
            key_grad[at.clone()].iter_mut().zip(folded).for_each(|(grad, g)| *grad += g);
            difference_grad[at.clone()].iter_mut().zip(folded).for_each(|(grad, g)| *grad -= g);
            product_grad[at].iter_mut().zip(folded).for_each(|(grad, g)| *grad += t * g);
        }
    }

    /// The attention weights of a tile's pairs, kept by a recording forward pass: what the model attends to.
    pub(crate) fn weights_of<'a>(&self, saved: &'a [f32], rows: usize, pairs: usize) -> &'a [f32] {
        let at = self.saved(rows, pairs);
        &saved[at.weights..at.end]
    }

    /// How many floats a pair takes in what is saved.
    pub(crate) fn floats_of_pair(&self) -> usize {
        self.hidden_widths().sum::<usize>() + 1
    }

    /// The number of pairs of a tile: of a sample and an element of its list.
    pub(crate) fn pairs(&self, cx: &Context<'_>) -> usize {
        (0..cx.rows.len()).map(|row| cx.segment(self.feature, row).len()).sum()
    }
}

impl Operation for AttentionPool {
    fn forward(&self, cx: &Context<'_>, inputs: Inputs<'_>, out: &mut [f32], saved: &mut Vec<f32>) {
        let (keys, target) = (inputs.get(0), inputs.get(1));
        let (d, h, rows) = (self.width, self.first(), cx.rows.len());
        let pairs = self.pairs(cx);
        let at = self.saved(rows, pairs);
        saved.resize(at.end + d * h, 0.0);
        let (saved, folded) = saved.split_at_mut(at.end);
        let (before, rest) = saved.split_at_mut(at.hidden);
        let (mut hidden, weights) = rest.split_at_mut(at.weights - at.hidden);
        let (target_weight, target_part) = before.split_at_mut(at.target_part);

        // The target's part, once a sample.
        let (weight, bias) = (self.layers[0].0.of(cx.weights), self.layers[0].1.of(cx.weights));
        let block = d * h;
        for ((sum, t), difference) in target_weight.iter_mut().zip(&weight[block..]).zip(&weight[2 * block..]) {
            *sum = t + difference;
        }
        matmul(target_part, Matrix::new(target, rows, d), Matrix::new(target_weight, d, h), false);
        Activation::None.apply_with_bias(target_part, bias);

        // The first layer: one small product a sample.
        let mut first = 0;
        let layer = &mut hidden[..pairs * h];
        for row in 0..rows {
            let list = cx.segment(self.feature, row);
            let next = first + list.len();
            let result = &mut layer[first * h..next * h];
            vectorized(|| self.fold(weight, &target[row * d..(row + 1) * d], folded));
            let keys = Matrix::new(&keys[list.start * d..list.end * d], list.len(), d);
            matmul(result, keys, Matrix::new(folded, d, h), false);
            self.activation.apply_with_bias(result, &target_part[row * h..(row + 1) * h]);
            first = next;
        }

        // The others, over all pairs at once.
        let mut width = h;
        for (weight, bias) in &self.layers[1..self.layers.len() - 1] {
            let (before, after) = hidden.split_at_mut(pairs * width);
            let result = &mut after[..pairs * weight.columns];
            let weights = Matrix::new(weight.of(cx.weights), width, weight.columns);
            matmul(result, Matrix::new(before, pairs, width), weights, false);
            self.activation.apply_with_bias(result, bias.of(cx.weights));
            hidden = after;
            width = weight.columns;
        }
        let (last, bias) = self.layers[self.layers.len() - 1];
        let (last, bias) = (last.of(cx.weights), bias.of(cx.weights)[0]);
        let scale = if self.softmax { 1.0 / (d as f32).sqrt() } else { 1.0 };
        vectorized(|| {
            for (weight, x) in weights.iter_mut().zip(hidden.chunks_exact(width)) {
                *weight = (dot(x, last) + bias) * scale;
            }
            let mut first = 0;
            for (row, out) in out.chunks_exact_mut(d).enumerate() {
                let list = cx.segment(self.feature, row);
                let weights = &mut weights[first..first + list.len()];
                first += list.len();
                if self.softmax {
                    softmax(weights);
                }
                out.fill(0.0);
                for (weight, key) in weights.iter().zip(keys[list.start * d..list.end * d].chunks_exact(d)) {
                    axpy(out, *weight, key);
                }
            }
        });
    }

    #[cfg(feature = "train")]
    fn backward(&self, cx: &Context<'_>, mut pass: Backward<'_>) {
        let (keys, target) = (pass.inputs.get(0), pass.inputs.get(1));
        let (d, h, rows) = (self.width, self.first(), cx.rows.len());
        let pairs = self.pairs(cx);
        let at = self.saved(rows, pairs);
        let saved = std::mem::take(&mut pass.saved);
        let (saved, folded) = saved.split_at_mut(at.end);
        let out_grad = std::mem::take(&mut pass.out_grad);
        let mut scratch = std::mem::take(pass.scratch);
        let widest = self.hidden_widths().max().unwrap_or(0);
        scratch.resize(pairs * (2 * widest + 1) + rows * (h + d) + d * h, 0.0);
        let (mut upper, rest) = scratch.split_at_mut(pairs * widest);
        let (mut lower, rest) = rest.split_at_mut(pairs * widest);
        let (score_grad, rest) = rest.split_at_mut(pairs);

        // From the pooled row to the scores.
        let weights = &saved[at.weights..at.end];
        vectorized(|| {
            let mut first = 0;
            for (row, g) in out_grad.chunks_exact(d).enumerate() {
                let list = cx.segment(self.feature, row);
                let range = first..first + list.len();
                first = range.end;
                for (grad, key) in
                    score_grad[range.clone()].iter_mut().zip(keys[list.start * d..list.end * d].chunks_exact(d))
                {
                    *grad = dot(g, key);
                }
                if self.softmax {
                    softmax_chain(&mut score_grad[range.clone()], &weights[range.clone()]);
                    let scale = 1.0 / (d as f32).sqrt();
                    score_grad[range].iter_mut().for_each(|grad| *grad *= scale);
                }
            }
        });

        // The last layer, then the hidden ones from the top.
        let widths: Vec<usize> = self.hidden_widths().collect();
        let mut end = at.weights;
        let (last, last_bias) = self.layers[self.layers.len() - 1];
        let mut width = widths[widths.len() - 1];
        let top = &saved[end - pairs * width..end];
        {
            let last_weight = last.of(cx.weights);
            let last_grad = last.of_mut(pass.weight_grads);
            vectorized(|| {
                for ((grad, x), upper) in
                    score_grad.iter().zip(top.chunks_exact(width)).zip(upper.chunks_exact_mut(width))
                {
                    axpy(last_grad, *grad, x);
                    upper.iter_mut().zip(last_weight).for_each(|(upper, weight)| *upper = grad * weight);
                }
            });
            last_bias.of_mut(pass.weight_grads)[0] += score_grad.iter().sum::<f32>();
        }
        self.activation.chain(&mut upper[..pairs * width], top);
        end -= pairs * width;
        for layer in (1..widths.len()).rev() {
            let (weight, bias) = self.layers[layer];
            let below = widths[layer - 1];
            let x = &saved[end - pairs * below..end];
            let grad = &upper[..pairs * width];
            let transposed = Matrix::new(x, pairs, below).transposed();
            matmul(weight.of_mut(pass.weight_grads), transposed, Matrix::new(grad, pairs, width), true);
            add_column_sums(bias.of_mut(pass.weight_grads), grad);
            let lower_grad = &mut lower[..pairs * below];
            let transposed = Matrix::new(weight.of(cx.weights), below, width).transposed();
            matmul(lower_grad, Matrix::new(grad, pairs, width), transposed, false);
            self.activation.chain(lower_grad, x);
            end -= pairs * below;
            width = below;
            std::mem::swap(&mut upper, &mut lower);
        }

        // The first layer's bias and target part, summed over each sample's pairs.
        let (weight, bias) = (self.layers[0].0, self.layers[0].1);
        let (first_weight, block) = (weight.of(cx.weights), d * h);
        let (part_grad, rest) = rest.split_at_mut(rows * h);
        let (folded_grad, target_grad) = rest.split_at_mut(block);
        part_grad.fill(0.0);
        vectorized(|| {
            let mut pair_grads = upper.chunks_exact(h);
            for (row, sum) in part_grad.chunks_exact_mut(h).enumerate() {
                for grad in pair_grads.by_ref().take(cx.segment(self.feature, row).len()) {
                    sum.iter_mut().zip(grad).for_each(|(sum, grad)| *sum += grad);
                }
            }
        });
        add_column_sums(bias.of_mut(pass.weight_grads), part_grad);
        let part = Matrix::new(part_grad, rows, h);
        matmul(folded_grad, Matrix::new(target, rows, d).transposed(), part, false);
        let weight_grad = weight.of_mut(pass.weight_grads);
        crate::kernels::reduce::add(&mut weight_grad[block..2 * block], folded_grad);
        crate::kernels::reduce::add(&mut weight_grad[2 * block..3 * block], folded_grad);
        let target_weight = Matrix::new(&saved[at.target_weight..at.target_part], d, h);
        matmul(target_grad, part, target_weight.transposed(), false);

        // Sample by sample, through the folded matrix to keys, target and the other blocks.
        let mut first = 0;
        for (row, g) in out_grad.chunks_exact(d).enumerate() {
            let list = cx.segment(self.feature, row);
            let (len, elements) = (list.len(), list.start * d..list.end * d);
            let pair_grad = Matrix::new(&upper[first * h..(first + len) * h], len, h);
            let target = &target[row * d..(row + 1) * d];
            matmul(folded_grad, Matrix::new(&keys[elements.clone()], len, d).transposed(), pair_grad, false);
            let weight_grad = weight.of_mut(pass.weight_grads);
            let into = &mut target_grad[row * d..(row + 1) * d];
            vectorized(|| self.unfold(first_weight, target, folded_grad, weight_grad, into));
            if let Some((grad, add)) = pass.input_grad(0) {
                let grad = &mut grad[elements];
                vectorized(|| self.fold(first_weight, target, folded));
                matmul(grad, pair_grad, Matrix::new(folded, d, h).transposed(), add);
                vectorized(|| {
                    for (grad, weight) in grad.chunks_exact_mut(d).zip(&weights[first..first + len]) {
                        axpy(grad, *weight, g);
                    }
                });
            }
            first += len;
        }
        if let Some((grad, add)) = pass.input_grad(1) {
            if add {
                crate::kernels::reduce::add(grad, target_grad);
            } else {
                grad.copy_from_slice(target_grad);
            }
        }
        *pass.scratch = scratch;
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
}
