//! A linear layer with shared weights and a factor a domain: the star topology of STAR (Sheng et al. 2021).

#[cfg(feature = "train")]
use super::Backward;
use super::{Cost, Operation};
use crate::engine::{Context, Inputs};
use crate::graph::{Domain, Graph, Initializer, Value, Weight};
use crate::grow::{Of, Parts};
#[cfg(feature = "train")]
use crate::kernels::reduce::add_column_sums;
use crate::kernels::{
    activation::Activation,
    kernel,
    matmul::{Matrix, Start, matmul},
};
use serde::{Deserialize, Serialize};

/// `activation(x (W ⊙ W_p) + b + b_p)` for a sample of domain p, a scenario of one level. A sample of an unseen scenario (number 0) has
/// the shared `W` and `b` alone.
///
/// A tile's samples are put in the order of their domains, so that there is one product a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StarLinear {
    /// The level whose scenarios are the domains.
    pub level: usize,
    /// How many scenarios were seen in training.
    pub domains: usize,
    /// `W`, `inputs × outputs`, and `b`.
    pub shared: (Weight, Weight),
    /// `W_p`, one below the other, and `b_p`, a row a domain.
    pub own: (Weight, Weight),
    /// What follows.
    pub activation: Activation,
}

impl Graph {
    /// `activation(x (W ⊙ W_p) + b + b_p)`: `rows × inputs` to `rows × outputs`, for a level's `domains` scenarios (without the unseen
    /// one). At first every domain has the shared layer: `W_p` is one and `b_p` zero.
    ///
    /// # Panics
    /// If the value has no row a sample: a defect of the calling slot.
    pub fn star_linear(
        &mut self,
        x: Value,
        outputs: usize,
        activation: Activation,
        level: usize,
        domains: usize,
    ) -> Value {
        assert_eq!(self.domain(x), Domain::Rows, "a scenario is that of a sample");
        let inputs = self.width(x);
        let weight = self.weight("weight", [inputs, outputs], Initializer::XavierNormal);
        let bias = self.weight("bias", [1, outputs], Initializer::Constant(0.0));
        let [own_weight, own_bias] = self.rows_of(Parts::new(Of::Scenario(level), domains), |graph| {
            [
                graph.weight("domain.weight", [domains * inputs, outputs], Initializer::Constant(1.0)),
                graph.weight("domain.bias", [domains, outputs], Initializer::Constant(0.0)),
            ]
        });
        let op = StarLinear { level, domains, shared: (weight, bias), own: (own_weight, own_bias), activation };
        self.record(super::Op::StarLinear(op), &[x], Domain::Rows, outputs)
    }
}

kernel! {
    fn multiply['a](out: &'a mut [f32], a: &'a [f32], b: &'a [f32]) {
        out.iter_mut().zip(a.iter().zip(b)).for_each(|(out, (a, b))| *out = a * b);
    }
}

#[cfg(feature = "train")]
kernel! {
    fn add_multiplied['a](out: &'a mut [f32], a: &'a [f32], b: &'a [f32]) {
        out.iter_mut().zip(a.iter().zip(b)).for_each(|(out, (a, b))| *out += a * b);
    }
}

/// Rows of `x` in the given order.
fn gather(into: &mut [f32], x: &[f32], order: &[f32], width: usize) {
    for (into, row) in into.chunks_exact_mut(width).zip(order) {
        into.copy_from_slice(&x[*row as usize * width..][..width]);
    }
}

impl StarLinear {
    fn sizes(&self) -> (usize, usize) {
        (self.shared.0.rows, self.shared.0.columns)
    }

    fn domain(&self, cx: &Context<'_>, row: f32) -> Option<usize> {
        cx.seen_scenario(self.level, row as usize, self.domains)
    }

    /// The weight of a domain among all of them.
    fn own_of(&self, domain: usize) -> (Weight, Weight) {
        let (k, n) = self.sizes();
        let (weight, bias) = self.own;
        (
            Weight { offset: weight.offset + domain * k * n, rows: k, columns: n },
            Weight { offset: bias.offset + domain * n, rows: 1, columns: n },
        )
    }
}

impl Operation for StarLinear {
    fn forward(&self, cx: &Context<'_>, inputs: Inputs<'_>, out: &mut [f32], saved: &mut Vec<f32>) {
        let (k, n) = self.sizes();
        let (x, rows) = (inputs.get(0), out.len() / n);
        saved.clear();
        // The place of a sample in its tile is small enough to be exact.
        saved.extend((0..rows).map(|row| row as f32));
        saved.sort_unstable_by_key(|row| (self.domain(cx, *row), *row as usize));
        let kept = rows * (1 + k);
        saved.resize(kept + rows * n + k * n + n, 0.0);
        let (order, rest) = saved.split_at_mut(rows);
        let (gathered, rest) = rest.split_at_mut(rows * k);
        let (results, rest) = rest.split_at_mut(rows * n);
        let (product, sum) = rest.split_at_mut(k * n);
        gather(gathered, x, order, k);
        let (shared, shared_bias) = (self.shared.0.of(cx.weights), self.shared.1.of(cx.weights));
        let mut first = 0;
        for group in order.chunk_by(|a, b| self.domain(cx, *a) == self.domain(cx, *b)) {
            let (weight, bias) = match self.domain(cx, group[0]) {
                None => (shared, shared_bias),
                Some(domain) => {
                    let (own, own_bias) = self.own_of(domain);
                    multiply(product, shared, own.of(cx.weights));
                    let biases = shared_bias.iter().zip(own_bias.of(cx.weights));
                    sum.iter_mut().zip(biases).for_each(|(sum, (shared, own))| *sum = shared + own);
                    (&*product, &*sum)
                }
            };
            let last = first + group.len();
            let left = Matrix::new(&gathered[first * k..last * k], group.len(), k);
            matmul(&mut results[first * n..last * n], left, weight, n, Start::Row(bias));
            first = last;
        }
        for (row, result) in order.iter().zip(results.chunks_exact(n)) {
            out[*row as usize * n..][..n].copy_from_slice(result);
        }
        self.activation.apply(out);
        saved.truncate(kept);
    }

    #[cfg(feature = "train")]
    fn backward(&self, cx: &Context<'_>, mut pass: Backward<'_>) {
        let (k, n) = self.sizes();
        self.activation.chain(pass.out_grad, pass.out);
        let rows = pass.out_grad.len() / n;
        let (out_grad, mut scratch) = (std::mem::take(&mut pass.out_grad), std::mem::take(pass.scratch));
        scratch.clear();
        scratch.resize(rows * (n + k) + k * n, 0.0);
        let (gathered_grad, rest) = scratch.split_at_mut(rows * n);
        let (x_grad, product) = rest.split_at_mut(rows * k);
        let saved = std::mem::take(&mut pass.saved);
        let (order, gathered) = saved.split_at(rows);
        gather(gathered_grad, out_grad, order, n);
        let wanted = pass.input_grad(0).is_some();
        let (shared, shared_bias) = self.shared;
        let mut first = 0;
        for group in order.chunk_by(|a, b| self.domain(cx, *a) == self.domain(cx, *b)) {
            let last = first + group.len();
            let g = &gathered_grad[first * n..last * n];
            let left = Matrix::new(&gathered[first * k..last * k], group.len(), k).transposed();
            let domain = self.domain(cx, group[0]);
            add_column_sums(shared_bias.of_mut(pass.weight_grads), g);
            if let Some(domain) = domain {
                let (own, own_bias) = self.own_of(domain);
                add_column_sums(own_bias.of_mut(pass.weight_grads), g);
                // The gradient of the product of both.
                matmul(product, left, g, n, Start::Zero);
                add_multiplied(own.of_mut(pass.weight_grads), product, shared.of(cx.weights));
                add_multiplied(shared.of_mut(pass.weight_grads), product, own.of(cx.weights));
            } else {
                matmul(shared.of_mut(pass.weight_grads), left, g, n, Start::Existing);
            }
            if wanted {
                let transposed = cx.transposed(shared);
                let right = match domain {
                    None => transposed,
                    Some(domain) => {
                        // Transposed together, the domains' weights stand side by side.
                        let own = cx.transposed(self.own.0).chunks_exact(self.domains * k);
                        let rows = product.chunks_exact_mut(k).zip(transposed.chunks_exact(k)).zip(own);
                        rows.for_each(|((into, shared), own)| multiply(into, shared, &own[domain * k..][..k]));
                        &*product
                    }
                };
                let left = Matrix::new(g, group.len(), n);
                matmul(&mut x_grad[first * k..last * k], left, right, k, Start::Zero);
            }
            first = last;
        }
        if let Some((grad, add)) = pass.input_grad(0) {
            for (row, x_grad) in order.iter().zip(x_grad.chunks_exact(k)) {
                let grad = &mut grad[*row as usize * k..][..k];
                if add {
                    crate::kernels::reduce::add(grad, x_grad);
                } else {
                    grad.copy_from_slice(x_grad);
                }
            }
        }
        *pass.scratch = scratch;
    }

    #[cfg(feature = "train")]
    fn weights(&self) -> Vec<Weight> {
        [self.shared, self.own].iter().flat_map(|(weight, bias)| [*weight, *bias]).collect()
    }

    fn cost(&self, _: usize, _: usize, out_rows: usize) -> Cost {
        let (k, n) = self.sizes();
        let domains = self.domains.min(out_rows);
        let flops = 2 * out_rows * k * n + domains * k * n;
        Cost { flops: flops as u64, bytes: (4 * (1 + domains) * k * n) as u64 }
    }
}
