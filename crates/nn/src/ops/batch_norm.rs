//! Batch normalization (Ioffe and Szegedy 2015) over the whole batch, whatever the number of workers.

#[cfg(feature = "train")]
use super::{Backward, BatchStatistics};
use super::{Cost, Operation};
use crate::engine::{Context, Inputs};
use crate::graph::{Graph, Initializer, Value, Weight};
use crate::kernels::activation::{Activation, relu, sigmoid, tanh};
use crate::kernels::kernel;
use serde::{Deserialize, Serialize};

/// `activation(γ (x − mean) / √(variance + ε) + β)`; in training with the batch's mean and biased variance, in inference with the running
/// mean and (unbiased) variance.
///
/// A batch with one row has no variance: it is normalized by the running statistics, which then count as constants.
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
    /// Where the batch's finished statistics start: the mean and 1/deviation that normalize, the two means of the backward pass, then what
    /// moves the running statistics: the batch's own mean and unbiased variance, and its number of rows.
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
        let running = self.state("running_mean", [1, width], 0.0);
        self.state("running_variance", [1, width], 1.0);
        let statistics = self.statistics_count();
        let op = BatchNorm { width, affine, activation, epsilon, momentum: 0.1, running, statistics };
        self.record(super::Op::BatchNorm(op), &[x], domain, width)
    }

    /// How many finished statistics a batch has in all.
    pub(crate) fn statistics_count(&self) -> usize {
        let of = |node: &crate::graph::Node| match &node.op {
            super::Op::BatchNorm(norm) => norm.statistics + 6 * norm.width + 1,
            super::Op::PartitionedNorm(norm) => norm.statistics_end(),
            super::Op::Balance(balance) => balance.statistics_end(),
            _ => 0,
        };
        self.nodes.iter().map(of).max().unwrap_or(0)
    }
}

kernel! {
    /// `f((x − mean) · scale + shift)`, column by column. The mean is taken off first: it may be large against the deviation.
    fn scale_and_shift['a, F: Fn(f32) -> f32](out: &'a mut [f32], x: &'a [f32], columns: [&'a [f32]; 3], f: F) {
        let [mean, scale, shift] = columns;
        for (out, x) in out.chunks_exact_mut(mean.len()).zip(x.chunks_exact(mean.len())) {
            for ((((out, x), mean), scale), shift) in out.iter_mut().zip(x).zip(mean).zip(scale).zip(shift) {
                *out = f((x - mean) * scale + shift);
            }
        }
    }
}

#[cfg(feature = "train")]
kernel! {
    /// `scale · (g − mean g − (x − mean) · slope)`, column by column.
    fn input_grad['a](grad: &'a mut [f32], out_grad: &'a [f32], x: &'a [f32], columns: [&'a [f32]; 4], add: bool) {
        let [mean, scale, slope, mean_grad] = columns;
        let width = mean.len();
        for ((grad, g), x) in grad.chunks_exact_mut(width).zip(out_grad.chunks_exact(width)).zip(x.chunks_exact(width)) {
            for c in 0..width.min(scale.len()).min(slope.len()).min(mean_grad.len()) {
                let value = scale[c] * (g[c] - mean_grad[c] - (x[c] - mean[c]) * slope[c]);
                grad[c] = if add { grad[c] + value } else { value };
            }
        }
    }

    /// Adds each column's `Σ a` and `Σ a (x − origin)`, with `a = x − origin` where no other is given.
    fn column_sums['a](
        a: Option<&'a [f32]>, x: &'a [f32], origin: &'a [f32], sums: &'a mut [f64], products: &'a mut [f64],
    ) {
        let width = origin.len();
        let mut from = 0;
        while from < width {
            let columns = Columns { a, x, origin, width, from };
            from += match width - from {
                64.. => columns.sum::<64>(sums, products),
                16.. => columns.sum::<16>(sums, products),
                _ => columns.sum::<1>(sums, products),
            };
        }
    }
}

/// A matrix from some column on.
#[cfg(feature = "train")]
struct Columns<'a> {
    a: Option<&'a [f32]>,
    x: &'a [f32],
    origin: &'a [f32],
    width: usize,
    from: usize,
}

#[cfg(feature = "train")]
impl Columns<'_> {
    /// The sums of the next `N` columns. A few rows at a time are summed in registers, so that rounding stays that of a short sum.
    #[inline(always)]
    fn sum<const N: usize>(self, sums: &mut [f64], products: &mut [f64]) -> usize {
        const ROWS: usize = 32;
        let Self { a, x, origin, width, from } = self;
        let mut start = [0.0; N];
        start.copy_from_slice(&origin[from..from + N]);
        for (block, x) in x.chunks(ROWS * width).enumerate() {
            let (mut first, mut second) = ([0.0_f32; N], [0.0_f32; N]);
            for (row, x) in x.chunks_exact(width).enumerate() {
                let x = &x[from..from + N];
                let at = (block * ROWS + row) * width + from;
                let a = a.map(|a| &a[at..at + N]);
                for c in 0..N {
                    let deviation = x[c] - start[c];
                    let a = a.map_or(deviation, |a| a[c]);
                    first[c] += a;
                    second[c] += a * deviation;
                }
            }
            for c in 0..N {
                sums[from + c] += f64::from(first[c]);
                products[from + c] += f64::from(second[c]);
            }
        }
        N
    }
}

impl Operation for BatchNorm {
    fn forward(&self, cx: &Context<'_>, inputs: Inputs<'_>, out: &mut [f32], saved: &mut Vec<f32>) {
        let width = self.width;
        saved.resize(2 * width, 0.0);
        let (scale, shift) = saved.split_at_mut(width);
        let mean = if cx.records() {
            let finished = &cx.statistics()[self.statistics..self.statistics + 2 * width];
            scale.copy_from_slice(&finished[width..]);
            &finished[..width]
        } else {
            let running = &cx.state[self.running..self.running + 2 * width];
            let deviations = running[width..].iter().map(|variance| (variance + self.epsilon).sqrt());
            scale.iter_mut().zip(deviations).for_each(|(scale, deviation)| *scale = 1.0 / deviation);
            &running[..width]
        };
        match self.affine {
            Some((gamma, beta)) => {
                scale.iter_mut().zip(gamma.of(cx.weights)).for_each(|(scale, gamma)| *scale *= gamma);
                shift.copy_from_slice(beta.of(cx.weights));
            }
            None => shift.fill(0.0),
        }
        let (x, columns) = (inputs.get(0), [mean, scale, shift]);
        match self.activation {
            Activation::None => scale_and_shift(out, x, columns, |y| y),
            Activation::Relu => scale_and_shift(out, x, columns, relu),
            Activation::Sigmoid => scale_and_shift(out, x, columns, sigmoid),
            Activation::Tanh => scale_and_shift(out, x, columns, tanh),
        }
    }

    #[cfg(feature = "train")]
    fn backward(&self, cx: &Context<'_>, mut pass: Backward<'_>) {
        // `backward_partial` has run over this tile: out_grad is already that of the activation's argument.
        let width = self.width;
        let finished = &cx.statistics()[self.statistics..self.statistics + 4 * width];
        let (mean, rest) = finished.split_at(width);
        let (inverse, rest) = rest.split_at(width);
        let (mean_grad, mean_product) = rest.split_at(width);
        let x = pass.inputs.get(0);
        let (out_grad, mut scratch) = (std::mem::take(&mut pass.out_grad), std::mem::take(pass.scratch));
        scratch.clear();
        scratch.resize(2 * width, 0.0);
        let (scale, slope) = scratch.split_at_mut(width);
        scale.copy_from_slice(inverse);
        if let Some((gamma, _)) = self.affine {
            scale.iter_mut().zip(gamma.of(cx.weights)).for_each(|(scale, gamma)| *scale *= gamma);
        }
        for (slope, (inverse, mean_product)) in slope.iter_mut().zip(inverse.iter().zip(mean_product)) {
            *slope = inverse * mean_product;
        }
        if let Some((grad, add)) = pass.input_grad(0) {
            input_grad(grad, out_grad, x, [mean, scale, slope, mean_grad], add);
        }
        *pass.scratch = scratch;
    }

    #[cfg(feature = "train")]
    fn weights(&self) -> Vec<Weight> {
        self.affine.iter().flat_map(|(gamma, beta)| [*gamma, *beta]).collect()
    }

    fn cost(&self, _: usize, _: usize, out_rows: usize) -> Cost {
        Cost { flops: (4 * out_rows * self.width) as u64, bytes: 16 * self.width as u64 }
    }

    #[cfg(feature = "train")]
    fn statistics(&self) -> Option<&dyn BatchStatistics> {
        Some(self)
    }
}

/// The count, mean and sum of squared deviations of all parts, from those of each (Chan, Golub and LeVeque 1979).
#[cfg(feature = "train")]
pub(super) fn combine(parts: impl Iterator<Item = [f64; 3]>) -> [f64; 3] {
    let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
    for [n, m, s] in parts.filter(|[n, ..]| *n > 0.0) {
        let (total, delta) = (count + n, m - mean);
        mean += delta * n / total;
        squares += s + delta * delta * count * n / total;
        count = total;
    }
    [count, mean, squares]
}

/// Moves running means and variances towards those of a batch of `count` rows: `(1 − momentum) running + momentum batch`. A convex
/// combination of what they are now, so that a variance stays one however many batches were merged since this one was begun. One row has
/// no variance: its squared distance from the running mean stands in.
#[cfg(feature = "train")]
pub(super) fn merge_moments(running: [&mut [f32]; 2], batch: [&[f32]; 2], count: f32, momentum: f32) {
    if count < 1.0 {
        return;
    }
    let [means, variances] = running;
    for ((mean, variance), (of_batch, spread)) in means.iter_mut().zip(variances).zip(batch[0].iter().zip(batch[1])) {
        let distance = of_batch - *mean;
        let spread = if count > 1.0 { *spread } else { distance * distance };
        *mean += momentum * distance;
        *variance += momentum * (spread - *variance);
    }
}

#[cfg(feature = "train")]
impl BatchStatistics for BatchNorm {
    fn partial_len(&self) -> usize {
        1 + 2 * self.width
    }

    fn finished(&self) -> std::ops::Range<usize> {
        self.statistics..self.statistics + 6 * self.width + 1
    }

    fn take_running(&self, state: &[f32], finished: &mut [f32]) {
        let width = self.width;
        let running = &state[self.running..self.running + 2 * width];
        finished.fill(0.0);
        finished[..width].copy_from_slice(&running[..width]);
        for (inverse, variance) in finished[width..2 * width].iter_mut().zip(&running[width..]) {
            *inverse = 1.0 / (variance + self.epsilon).sqrt();
        }
    }

    /// Count, and each column's mean and sum of squared deviations. Summed as deviations from the tile's first row: stable where a
    /// mean is large.
    fn forward_partial(&self, _: &Context<'_>, inputs: Inputs<'_>, partial: &mut [f64]) {
        let width = self.width;
        let x = inputs.get(0);
        partial.fill(0.0);
        let Some(origin) = x.get(..width) else { return };
        let count = (x.len() / width) as f64;
        partial[0] = count;
        let (means, squares) = partial[1..].split_at_mut(width);
        column_sums(None, x, origin, means, squares);
        for ((mean, squares), origin) in means.iter_mut().zip(squares).zip(origin) {
            let deviation = *mean / count;
            *squares = (*squares - *mean * deviation).max(0.0);
            *mean = f64::from(*origin) + deviation;
        }
    }

    fn forward_finish(&self, partials: &[f64], state: &[f32], finished: &mut [f32]) {
        let width = self.width;
        let running = &state[self.running..self.running + 2 * width];
        for c in 0..width {
            let parts = partials.chunks_exact(self.partial_len());
            let [count, mean, squares] = combine(parts.map(|part| [part[0], part[1 + c], part[1 + width + c]]));
            let [used, biased] =
                if count > 1.0 { [mean as f32, (squares / count) as f32] } else { [running[c], running[width + c]] };
            finished[c] = used;
            finished[width + c] = 1.0 / (biased + self.epsilon).sqrt();
            finished[4 * width + c] = mean as f32;
            finished[5 * width + c] = (squares / (count - 1.0).max(1.0)) as f32;
            finished[6 * width] = count as f32;
        }
    }

    fn merge(&self, finished: &[f32], state: &mut [f32]) {
        let width = self.width;
        let (means, variances) = state[self.running..self.running + 2 * width].split_at_mut(width);
        let batch = [&finished[4 * width..5 * width], &finished[5 * width..6 * width]];
        merge_moments([means, variances], batch, finished[6 * width], self.momentum);
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
        column_sums(Some(pass.out_grad), x, mean, sums, products);
        products.iter_mut().zip(inverse).for_each(|(product, inverse)| *product *= f64::from(*inverse));
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
            // Running statistics do not depend on the batch.
            let share = if count > 1.0 { 1.0 / count } else { 0.0 };
            finished[2 * width + c] = (sum * share) as f32;
            finished[3 * width + c] = (product * share) as f32;
        }
    }
}
