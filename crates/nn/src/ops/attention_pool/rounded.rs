//! The attention in training for codes of eight bits: what enters its products is rounded as [`super::codes`] has it.
//!
//! Keys are no inputs of a matrix folded for each sample, so the first layer is done in the two products that a device does, `k (W_k − W_d)` and
//! `(t ⊙ k) W_m`, of weights whose `W_d` is folded away: it stays zero, for it gets no gradient. Activations of hidden layers are kept as they
//! are and rounded where they are read, because their slope is that of numbers not yet rounded.

use super::AttentionPool;
use crate::engine::Context;
use crate::kernels::kernel;
use crate::kernels::matmul::{Matrix, Start, matmul};
#[cfg(feature = "train")]
use crate::kernels::reduce::{add, axpy};
#[cfg(feature = "train")]
use crate::ops::Backward;
use crate::quantization::affine::Affine;
#[cfg(feature = "train")]
use crate::quantization::rounding::clip;
use crate::quantization::rounding::round;

/// What is rounded, and its gradients: memory behind what a forward pass saves.
pub(super) struct Room<'a> {
    /// The keys, rounded.
    keys: &'a mut [f32],
    /// Their part of the first layer, or its gradient, for each element of a list.
    key_part: &'a mut [f32],
    /// The products of a list's keys with the target, and their gradient.
    products: [&'a mut [f32]; 2],
    /// What enters a hidden layer, rounded.
    hidden: &'a mut [f32],
}

impl Room<'_> {
    /// What enters a hidden layer, rounded.
    pub(super) fn rounded(&mut self, x: &[f32], by: Affine) -> &[f32] {
        let rounded = &mut self.hidden[..x.len()];
        rounded.copy_from_slice(x);
        round(rounded, by);
        rounded
    }
}

kernel! {
    /// `products[p] = keys[p] ⊙ target`.
    fn multiply['a](products: &'a mut [f32], keys: &'a [f32], target: &'a [f32]) {
        let rows = products.chunks_exact_mut(target.len()).zip(keys.chunks_exact(target.len()));
        for (product, key) in rows {
            for ((product, key), target) in product.iter_mut().zip(key).zip(target) {
                *product = key * target;
            }
        }
    }
}

#[cfg(feature = "train")]
kernel! {
    /// `target_grad += Σ_p products_grad[p] ⊙ keys[p]`.
    fn add_to_target['a](target_grad: &'a mut [f32], products_grad: &'a [f32], keys: &'a [f32]) {
        let rows = products_grad.chunks_exact(target_grad.len()).zip(keys.chunks_exact(target_grad.len()));
        for (grad, key) in rows {
            for ((target_grad, grad), key) in target_grad.iter_mut().zip(grad).zip(key) {
                *target_grad += grad * key;
            }
        }
    }

    /// `key_grads[p] += products_grad[p] ⊙ target + weights[p] · out_grad`.
    fn add_to_keys['a](
        key_grads: &'a mut [f32],
        products_grad: &'a [f32],
        target: &'a [f32],
        weights: &'a [f32],
        out_grad: &'a [f32],
    ) {
        let rows = key_grads.chunks_exact_mut(target.len()).zip(products_grad.chunks_exact(target.len()));
        for ((key_grad, grad), weight) in rows.zip(weights) {
            for ((key_grad, grad), target) in key_grad.iter_mut().zip(grad).zip(target) {
                *key_grad += grad * target;
            }
            axpy(key_grad, *weight, out_grad);
        }
    }
}

impl AttentionPool {
    /// How keys and their products with the target are rounded, where all that enters products in codes is.
    pub(super) fn rounding(&self, cx: &Context<'_>) -> Option<[Affine; 2]> {
        let [keys, products] = self.first_products();
        let all = self.hidden_layers().iter().all(|(weight, _)| cx.rounding(*weight).is_some());
        Some([cx.rounding(keys)?, cx.rounding(products)?]).filter(|_| all)
    }

    fn sizes_of_room(&self, cx: &Context<'_>, pairs: usize) -> [usize; 5] {
        let elements = cx.positions(self.feature).len();
        let longest = (0..cx.rows.len()).map(|row| cx.segment(self.feature, row).len()).max().unwrap_or(0);
        let widest = self.hidden_widths().max().unwrap_or(0);
        let list = longest * self.width;
        [elements * self.width, elements * self.first(), list, list, pairs * widest]
    }

    /// How many floats [`Self::room`] takes.
    pub(super) fn size_of_room(&self, cx: &Context<'_>, pairs: usize) -> usize {
        self.sizes_of_room(cx, pairs).iter().sum()
    }

    /// The room of a tile.
    pub(super) fn room<'a>(&self, cx: &Context<'_>, pairs: usize, mut floats: &'a mut [f32]) -> Room<'a> {
        let [keys, key_part, products, of_products, hidden] = self.sizes_of_room(cx, pairs).map(|size| {
            let (part, rest) = std::mem::take(&mut floats).split_at_mut(size);
            floats = rest;
            part
        });
        Room { keys, key_part, products: [products, of_products], hidden }
    }

    /// The first layer: `out` of each pair, from the weight of keys and the target's part by sample.
    pub(super) fn first_layer_rounded(
        &self,
        cx: &Context<'_>,
        by: [Affine; 2],
        (keys, target): (&[f32], &[f32]),
        (key_weight, target_part): (&[f32], &[f32]),
        room: &mut Room<'_>,
        out: &mut [f32],
    ) {
        let (d, h) = (self.width, self.first());
        room.keys.copy_from_slice(keys);
        round(room.keys, by[0]);
        matmul(room.key_part, Matrix::new(room.keys, keys.len() / d, d), key_weight, h, Start::Zero);
        let weight = self.first_products()[1].of(cx.weights);
        let mut first = 0;
        for (row, (target, of_target)) in target.chunks_exact(d).zip(target_part.chunks_exact(h)).enumerate() {
            let list = cx.segment(self.feature, row);
            let next = first + list.len();
            let products = &mut room.products[0][..list.len() * d];
            multiply(products, &keys[list.start * d..list.end * d], target);
            round(products, by[1]);
            let result = &mut out[first * h..next * h];
            result.copy_from_slice(&room.key_part[list.start * h..list.end * h]);
            matmul(result, Matrix::new(products, list.len(), d), weight, h, Start::Existing);
            self.activation.apply_with_bias(result, of_target);
            first = next;
        }
    }

    /// From the gradient of the first layer's results before their activation to its two weights, the target, and the keys, which get that of
    /// the pooled row too. Of keys and of products it takes how they are rounded and their weight, transposed; `weights` are the attention's.
    #[cfg(feature = "train")]
    pub(super) fn first_layer_rounded_back(
        &self,
        cx: &Context<'_>,
        [by_keys, by_products]: [(Affine, &[f32]); 2],
        pass: &mut Backward<'_>,
        room: &mut Room<'_>,
        (pair_grad, weights, out_grad): (&[f32], &[f32], &[f32]),
        target_grad: &mut [f32],
    ) {
        let (keys, target) = (pass.inputs.get(0), pass.inputs.get(1));
        let (d, h) = (self.width, self.first());
        let [of_keys, of_products] = self.first_products();
        pass.input_grad_to_add(0);
        room.key_part.fill(0.0);
        let mut first = 0;
        let rows = out_grad.chunks_exact(d).zip(target.chunks_exact(d).zip(target_grad.chunks_exact_mut(d)));
        for (row, (out_grad, (target, target_grad))) in rows.enumerate() {
            let list = cx.segment(self.feature, row);
            let (len, elements) = (list.len(), list.start * d..list.end * d);
            let [products, products_grad] = room.products.each_mut().map(|part| &mut part[..len * d]);
            let (grad, weights) = (&pair_grad[first * h..(first + len) * h], &weights[first..first + len]);
            first += len;
            multiply(products, &keys[elements.clone()], target);
            matmul(products_grad, Matrix::new(grad, len, h), by_products.1, d, Start::Zero);
            clip(products_grad, products, by_products.0);
            round(products, by_products.0);
            let read = Matrix::new(products, len, d).transposed();
            matmul(of_products.of_mut(pass.weight_grads), read, grad, h, Start::Existing);
            add(&mut room.key_part[list.start * h..list.end * h], grad);
            add_to_target(target_grad, products_grad, &keys[elements.clone()]);
            if let Some((key_grads, _)) = pass.input_grad(0) {
                add_to_keys(&mut key_grads[elements], products_grad, target, weights, out_grad);
            }
        }
        let elements = keys.len() / d;
        let read = Matrix::new(room.keys, elements, d).transposed();
        matmul(of_keys.of_mut(pass.weight_grads), read, room.key_part, h, Start::Existing);
        matmul(room.keys, Matrix::new(room.key_part, elements, h), by_keys.1, d, Start::Zero);
        clip(room.keys, keys, by_keys.0);
        if let Some((key_grads, _)) = pass.input_grad(0) {
            add(key_grads, room.keys);
        }
    }
}
