//! Batch normalization (Ioffe and Szegedy 2015) over the whole batch, whatever the number of workers.

#[cfg(feature = "train")]
use super::{Backward, BatchStatistics};
use super::{Cost, Operation};
use crate::engine::{Context, Inputs};
use crate::graph::{Graph, Initializer, Value, Weight};
use crate::kernels::{activation::Activation, kernel};
use serde::{Deserialize, Serialize};

/// `activation(γ (x − mean) / √(variance + ε) + β)`; in training with the batch's biased variance, in inference with the running
/// mean and (unbiased) variance.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BatchNorm {
    /// Number of columns.
    pub width: usize,
    /// γ and β. `None` only normalizes.
    pub affine: Option<(Weight, Weight)>,
    /// What follows.
    pub activation: Activation,
    /// Added to the variance.
    pub epsilon: f32,
    /// How much of a batch's statistics enters the running ones.
    pub momentum: f32,
    /// Where the running means start among the states; the running variances follow.
    pub running: usize,
    /// Where the batch's finished statistics start: mean, 1/deviation, then the two sums of the backward pass.
    pub statistics: usize,
}

impl Graph {
    /// Normalizes each column over the batch; with `affine`, scales and shifts it by learned weights.
    pub fn batch_norm(&mut self, x: Value, affine: bool, activation: Activation, epsilon: f32) -> Value {
        let (domain, width) = (self.domain(x), self.width(x));
        let affine = affine.then(|| {
            let gamma = self.weight("gamma", [1, width], Initializer::Constant(1.0));
            (gamma, self.weight("beta", [1, width], Initializer::Constant(0.0)))
        });
        let running = self.state("running_mean", width, 0.0);
        self.state("running_variance", width, 1.0);
        let statistics = self.statistics_count();
        let op = BatchNorm { width, affine, activation, epsilon, momentum: 0.1, running, statistics };
        self.record(super::Op::BatchNorm(op), &[x], domain, width)
    }

    /// How many finished statistics a batch has in all.
    pub(crate) fn statistics_count(&self) -> usize {
        let of = |node: &crate::graph::Node| match &node.op {
            super::Op::BatchNorm(norm) => 4 * norm.width,
            _ => 0,
        };
        self.nodes.iter().map(of).sum()
    }
}

impl BatchNorm {
    /// Mean and 1/deviation of each column.
    fn moments<'a>(&self, cx: &'a Context<'_>, own: &'a mut Vec<f32>) -> (&'a [f32], &'a [f32]) {
        let width = self.width;
        if cx.records() {
            let finished = &cx.statistics()[self.statistics..self.statistics + 2 * width];
            return finished.split_at(width);
        }
        let running = &cx.state[self.running..self.running + 2 * width];
        own.clear();
        own.extend(running[width..].iter().map(|variance| 1.0 / (variance + self.epsilon).sqrt()));
        (&running[..width], own)
    }
}

kernel! {
    fn normalize['a](out: &'a mut [f32], x: &'a [f32], mean: &'a [f32], inverse: &'a [f32]) {
        for (out, x) in out.chunks_exact_mut(mean.len()).zip(x.chunks_exact(mean.len())) {
            for (((out, x), mean), inverse) in out.iter_mut().zip(x).zip(mean).zip(inverse) {
                *out = (x - mean) * inverse;
            }
        }
    }

    fn scale_and_shift['a](out: &'a mut [f32], gamma: &'a [f32], beta: &'a [f32]) {
        for out in out.chunks_exact_mut(gamma.len()) {
            for ((out, gamma), beta) in out.iter_mut().zip(gamma).zip(beta) {
                *out = *out * gamma + beta;
            }
        }
    }
}

#[cfg(feature = "train")]
kernel! {
    /// Columns: mean, 1/deviation, γ/deviation, and the means of the gradient and of its product with the normalized value.
    fn input_grad['a](grad: &'a mut [f32], out_grad: &'a [f32], x: &'a [f32], columns: [&'a [f32]; 5], add: bool) {
        let [mean, inverse, scale, mean_grad, mean_product] = columns;
        let width = mean.len();
        for ((grad, g), x) in grad.chunks_exact_mut(width).zip(out_grad.chunks_exact(width)).zip(x.chunks_exact(width)) {
            for c in 0..width.min(inverse.len()).min(scale.len()).min(mean_grad.len()).min(mean_product.len()) {
                let normal = (x[c] - mean[c]) * inverse[c];
                let value = scale[c] * (g[c] - mean_grad[c] - normal * mean_product[c]);
                grad[c] = if add { grad[c] + value } else { value };
            }
        }
    }

    fn moments['a](x: &'a [f32], mean: &'a mut [f64], squares: &'a mut [f64], count: f64) {
        for row in x.chunks_exact(mean.len()) {
            mean.iter_mut().zip(row).for_each(|(mean, x)| *mean += f64::from(*x));
        }
        mean.iter_mut().for_each(|mean| *mean /= count.max(1.0));
        for row in x.chunks_exact(mean.len()) {
            for ((squares, mean), x) in squares.iter_mut().zip(mean.iter()).zip(row) {
                let deviation = f64::from(*x) - mean;
                *squares += deviation * deviation;
            }
        }
    }

    fn gradient_sums['a](
        out_grad: &'a [f32],
        x: &'a [f32],
        moments: [&'a [f32]; 2],
        sums: &'a mut [f64],
        products: &'a mut [f64],
    ) {
        let [mean, inverse] = moments;
        let width = mean.len();
        for (g, x) in out_grad.chunks_exact(width).zip(x.chunks_exact(width)) {
            for c in 0..width.min(inverse.len()).min(sums.len()).min(products.len()) {
                sums[c] += f64::from(g[c]);
                products[c] += f64::from(g[c] * ((x[c] - mean[c]) * inverse[c]));
            }
        }
    }
}

impl Operation for BatchNorm {
    fn forward(&self, cx: &Context<'_>, inputs: Inputs<'_>, out: &mut [f32], saved: &mut Vec<f32>) {
        let (mean, inverse) = self.moments(cx, saved);
        normalize(out, inputs.get(0), mean, inverse);
        if let Some((gamma, beta)) = self.affine {
            scale_and_shift(out, gamma.of(cx.weights), beta.of(cx.weights));
        }
        self.activation.apply(out);
    }

    #[cfg(feature = "train")]
    fn backward(&self, cx: &Context<'_>, mut pass: Backward<'_>) {
        // `backward_partial` has run over this tile: out_grad is already that of the activation's argument.
        let width = self.width;
        let finished = &cx.statistics()[self.statistics..self.statistics + 4 * width];
        let (mean, rest) = finished.split_at(width);
        let (inverse, rest) = rest.split_at(width);
        let (mean_grad, mean_product) = rest.split_at(width);
        let gamma = self.affine.map(|(gamma, _)| gamma.of(cx.weights));
        let x = pass.inputs.get(0);
        let (out_grad, scratch) = (std::mem::take(&mut pass.out_grad), std::mem::take(pass.scratch));
        let Some((grad, add)) = pass.input_grad(0) else { return };
        let mut scale = scratch;
        scale.clear();
        scale.extend_from_slice(inverse);
        if let Some(gamma) = gamma {
            scale.iter_mut().zip(gamma).for_each(|(scale, gamma)| *scale *= gamma);
        }
        input_grad(grad, out_grad, x, [mean, inverse, &scale, mean_grad, mean_product], add);
        *pass.scratch = scale;
    }

    fn cost(&self, _: usize, _: usize, out_rows: usize) -> Cost {
        Cost { flops: (4 * out_rows * self.width) as u64, bytes: 16 * self.width as u64 }
    }

    #[cfg(feature = "train")]
    fn statistics(&self) -> Option<&dyn BatchStatistics> {
        Some(self)
    }
}

#[cfg(feature = "train")]
impl BatchStatistics for BatchNorm {
    fn partial_len(&self) -> usize {
        1 + 2 * self.width
    }

    fn finished(&self) -> std::ops::Range<usize> {
        self.statistics..self.statistics + 4 * self.width
    }

    /// Count, and each column's mean and sum of squared deviations: stable where a mean is large.
    fn forward_partial(&self, _: &Context<'_>, inputs: Inputs<'_>, partial: &mut [f64]) {
        let width = self.width;
        let x = inputs.get(0);
        let count = (x.len() / width) as f64;
        partial.fill(0.0);
        partial[0] = count;
        let (mean, squares) = partial[1..].split_at_mut(width);
        moments(x, mean, squares, count);
    }

    /// Combines the tiles in order (Chan, Golub and LeVeque 1979).
    fn forward_finish(&self, partials: &[f64], finished: &mut [f32], state: &mut [f32]) {
        let width = self.width;
        let running = &mut state[self.running..self.running + 2 * width];
        for c in 0..width {
            let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
            for partial in partials.chunks_exact(self.partial_len()) {
                let (n, m, s) = (partial[0], partial[1 + c], partial[1 + width + c]);
                if n > 0.0 {
                    let (total, delta) = (count + n, m - mean);
                    mean += delta * n / total;
                    squares += s + delta * delta * count * n / total;
                    count = total;
                }
            }
            let biased = squares / count.max(1.0);
            let unbiased = squares / (count - 1.0).max(1.0);
            finished[c] = mean as f32;
            finished[width + c] = (1.0 / (biased + f64::from(self.epsilon)).sqrt()) as f32;
            running[c] += self.momentum * (mean as f32 - running[c]);
            running[width + c] += self.momentum * (unbiased as f32 - running[width + c]);
        }
    }

    fn backward_partial(&self, cx: &Context<'_>, pass: Backward<'_>, partial: &mut [f64]) {
        let width = self.width;
        self.activation.chain(pass.out_grad, pass.out);
        let finished = &cx.statistics()[self.statistics..self.statistics + 2 * width];
        let (mean, inverse) = finished.split_at(width);
        let x = pass.inputs.get(0);
        partial.fill(0.0);
        partial[0] = (x.len() / width) as f64;
        let (sums, products) = partial[1..].split_at_mut(width);
        gradient_sums(pass.out_grad, x, [mean, inverse], sums, products);
        if let Some((gamma, beta)) = self.affine {
            let into = gamma.of_mut(pass.weight_grads);
            into.iter_mut().zip(&*products).for_each(|(into, sum)| *into += *sum as f32);
            let into = beta.of_mut(pass.weight_grads);
            into.iter_mut().zip(&*sums).for_each(|(into, sum)| *into += *sum as f32);
        }
    }

    fn backward_finish(&self, partials: &[f64], finished: &mut [f32]) {
        let width = self.width;
        for c in 0..width {
            let (mut count, mut sum, mut product) = (0.0, 0.0, 0.0);
            for partial in partials.chunks_exact(self.partial_len()) {
                count += partial[0];
                sum += partial[1 + c];
                product += partial[1 + width + c];
            }
            finished[2 * width + c] = (sum / count.max(1.0)) as f32;
            finished[3 * width + c] = (product / count.max(1.0)) as f32;
        }
    }
}
