//! Batch normalization of each domain by itself: the partitioned normalization of STAR (Sheng et al. 2021).

#[cfg(feature = "train")]
use super::batch_norm::{combine, merge_moments};
#[cfg(feature = "train")]
use super::{Backward, BatchStatistics};
use super::{Cost, Operation};
use crate::engine::{Context, Inputs};
use crate::graph::{Domain, Graph, Initializer, Value, Weight};
use crate::grow::{Of, Parts};
use crate::kernels::kernel;
use serde::{Deserialize, Serialize};

/// `γ γ_p (x − mean_p) / √(variance_p + ε) + β + β_p` for a sample of domain p, a scenario of one level; in training with the moments of
/// the domain's samples in the batch, in inference with its running ones.
///
/// Samples of an unseen scenario (number 0) have no `γ_p` and `β_p`. In training they are a domain of their own; in inference they take
/// the moments of one sample of every domain: the mean of the running means, and the mean of the variances plus the variance of the means.
/// (Domains that were [added](crate::grow) to a trained network are left out.)
///
/// A domain with one sample in a batch has no variance there: that sample is normalized by the domain's running moments, which then count
/// as constants, and its squared distance from the running mean enters the running variance.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PartitionedNorm {
    /// The level whose scenarios are the domains.
    pub level: usize,
    /// How many scenarios were seen in training.
    pub domains: usize,
    /// Number of columns.
    pub width: usize,
    /// `γ` and `β`.
    pub shared: [Weight; 2],
    /// `γ_p` and `β_p`, a row a domain.
    pub own: [Weight; 2],
    /// Added to the variance.
    pub epsilon: f32,
    /// How much of a batch's moments enters the running ones.
    pub momentum: f32,
    /// Where the running means start among the states, a row a domain; the running variances follow.
    pub running: usize,
    /// Where the states start that are not zero for the domains whose moments stand in for those of an unseen one.
    pub heard: usize,
    /// Where the batch's finished statistics start: for the unseen ones, then for each domain, the mean and 1/deviation that normalize and the
    /// two means of the backward pass; then, for each domain, its own mean and unbiased variance in the batch; then its number of samples.
    pub statistics: usize,
}

impl Graph {
    /// Normalizes each column over the samples of each of a level's `domains` scenarios (without the unseen one).
    ///
    /// # Panics
    /// If the value has no row a sample: a defect of the calling slot.
    pub fn partitioned_norm(&mut self, x: Value, level: usize, domains: usize) -> Value {
        assert_eq!(self.domain(x), Domain::Rows, "a scenario is that of a sample");
        let width = self.width(x);
        let pair = |graph: &mut Self, name: &str, rows: usize| {
            let gamma = graph.weight(&format!("{name}gamma"), [rows, width], Initializer::Constant(1.0));
            [gamma, graph.weight(&format!("{name}beta"), [rows, width], Initializer::Constant(0.0))]
        };
        let shared = pair(self, "", 1);
        let parts = Parts::new(Of::Scenario(level), domains);
        let (own, running) = self.rows_of(parts, |graph| {
            let own = pair(graph, "domain.", domains);
            let running = graph.state("running_mean", [domains, width], 0.0);
            graph.state("running_variance", [domains, width], 1.0);
            (own, running)
        });
        let heard = self.columns_of(parts.speaking(), |graph| graph.state("hears", [1, domains], 1.0));
        let statistics = self.statistics_count();
        let (epsilon, momentum) = (1e-5, 0.1);
        let op = PartitionedNorm { level, domains, width, shared, own, epsilon, momentum, running, heard, statistics };
        self.record(super::Op::PartitionedNorm(op), &[x], Domain::Rows, width)
    }
}

kernel! {
    /// `γ γ_p (x − mean) f(spread) + β + β_p` for one row; `f` makes 1/deviation of what is known of the spread.
    fn normalize['a, F: Fn(f32) -> f32](
        out: &'a mut [f32], x: &'a [f32], moments: [&'a [f32]; 2], shared: [&'a [f32]; 2], own: [&'a [f32]; 2], f: F,
    ) {
        let [mean, spread] = moments;
        let width = out.len().min(x.len()).min(mean.len()).min(spread.len());
        for c in 0..width.min(shared[0].len()).min(shared[1].len()).min(own[0].len()).min(own[1].len()) {
            out[c] = (x[c] - mean[c]) * f(spread[c]) * (shared[0][c] * own[0][c]) + (shared[1][c] + own[1][c]);
        }
    }
}

#[cfg(feature = "train")]
kernel! {
    /// Takes one row into means and sums of squared deviations (Welford 1962). `share` is one over the rows taken, with this one.
    fn take_row['a](means: &'a mut [f64], squares: &'a mut [f64], x: &'a [f32], share: f64) {
        for ((mean, squares), x) in means.iter_mut().zip(squares).zip(x) {
            let deviation = f64::from(*x) - *mean;
            *mean += deviation * share;
            *squares += deviation * (f64::from(*x) - *mean);
        }
    }

    /// Adds one row's gradient, and its product with what was normalized.
    fn take_gradient['a](
        sums: &'a mut [f64], products: &'a mut [f64], g: &'a [f32], x: &'a [f32], moments: [&'a [f32]; 2],
    ) {
        let [mean, inverse] = moments;
        for c in 0..sums.len().min(products.len()).min(g.len()).min(x.len()).min(mean.len()).min(inverse.len()) {
            sums[c] += f64::from(g[c]);
            products[c] += f64::from(g[c] * (x[c] - mean[c]) * inverse[c]);
        }
    }

    /// The gradient of one row: `γ γ_p / deviation · (g − mean g − x̂ · mean (g x̂))`.
    fn row_grad['a](
        grad: &'a mut [f32], g: &'a [f32], x: &'a [f32], statistics: [&'a [f32]; 4], gammas: [&'a [f32]; 2], add: bool,
    ) {
        let [mean, inverse, mean_grad, mean_product] = statistics;
        let width = grad.len().min(g.len()).min(x.len()).min(mean.len()).min(inverse.len()).min(mean_grad.len());
        for c in 0..width.min(mean_product.len()).min(gammas[0].len()).min(gammas[1].len()) {
            let normal = (x[c] - mean[c]) * inverse[c];
            let value = gammas[0][c] * gammas[1][c] * inverse[c] * (g[c] - mean_grad[c] - normal * mean_product[c]);
            grad[c] = if add { grad[c] + value } else { value };
        }
    }
}

impl PartitionedNorm {
    /// A row of a matrix with a row a domain.
    fn row<'a>(&self, all: &'a [f32], domain: usize) -> &'a [f32] {
        &all[domain * self.width..(domain + 1) * self.width]
    }

    /// The batch's finished statistics of a domain: mean, 1/deviation, the two means of the backward pass.
    fn finished_of<'a>(&self, cx: &Context<'a>, domain: Option<usize>) -> [&'a [f32]; 4] {
        let first = 4 * domain.map_or(0, |domain| domain + 1);
        let all = &cx.statistics()[self.statistics..];
        [0, 1, 2, 3].map(|part| self.row(all, first + part))
    }

    /// How many finished statistics are there to read.
    fn finished_len(&self) -> usize {
        4 * (self.domains + 1) * self.width
    }

    /// One past the end of its finished statistics.
    pub(crate) fn statistics_end(&self) -> usize {
        self.statistics + self.finished_len() + self.domains * (2 * self.width + 1)
    }

    /// The moments of one sample of every domain.
    pub(crate) fn pool_moments(&self, state: &[f32], mean: &mut [f32], variance: &mut [f32]) {
        let (means, variances) = state[self.running..].split_at(self.domains * self.width);
        let heard = &state[self.heard..self.heard + self.domains];
        let heard = || (0..self.domains).filter(|domain| heard[*domain] != 0.0);
        let share = 1.0 / heard().count().max(1) as f64;
        for c in 0..self.width {
            let each = |all: &'_ [f32], domain: usize| f64::from(all[domain * self.width + c]);
            let of_all = share * heard().map(|domain| each(means, domain)).sum::<f64>();
            let spread = |domain: usize| each(variances, domain) + (each(means, domain) - of_all).powi(2);
            mean[c] = of_all as f32;
            variance[c] = (share * heard().map(spread).sum::<f64>()) as f32;
        }
    }
}

impl Operation for PartitionedNorm {
    fn forward(&self, cx: &Context<'_>, inputs: Inputs<'_>, out: &mut [f32], saved: &mut Vec<f32>) {
        let width = self.width;
        let domain = |row: usize| cx.seen_scenario(self.level, row, self.domains);
        // What stands in for an unseen scenario: γ_p and β_p that change nothing, and moments of all domains.
        saved.clear();
        saved.resize(width, 1.0);
        saved.resize(4 * width, 0.0);
        if !cx.records() && (0..cx.rows.len()).any(|row| domain(row).is_none()) {
            let (mean, variance) = saved[2 * width..].split_at_mut(width);
            self.pool_moments(cx.state, mean, variance);
        }
        let unseen = [0, 1, 2, 3].map(|part| self.row(saved, part));
        let shared = self.shared.map(|weight| weight.of(cx.weights));
        let running = [0, self.domains * width].map(|offset| &cx.state[self.running + offset..]);
        for (row, (out, x)) in out.chunks_exact_mut(width).zip(inputs.get(0).chunks_exact(width)).enumerate() {
            let domain = domain(row);
            let own = match domain {
                Some(domain) => self.own.map(|weight| self.row(weight.of(cx.weights), domain)),
                None => [unseen[0], unseen[1]],
            };
            if cx.records() {
                let [mean, inverse, ..] = self.finished_of(cx, domain);
                normalize(out, x, [mean, inverse], shared, own, |inverse| inverse);
            } else {
                let moments = match domain {
                    Some(domain) => running.map(|all| self.row(all, domain)),
                    None => [unseen[2], unseen[3]],
                };
                normalize(out, x, moments, shared, own, |variance| 1.0 / (variance + self.epsilon).sqrt());
            }
        }
    }

    #[cfg(feature = "train")]
    fn backward(&self, cx: &Context<'_>, mut pass: Backward<'_>) {
        let (x, out_grad) = (pass.inputs.get(0), std::mem::take(&mut pass.out_grad));
        let saved = std::mem::take(&mut pass.saved);
        let Some((grad, add)) = pass.input_grad(0) else { return };
        let [shared, own] = [self.shared[0], self.own[0]].map(|weight| weight.of(cx.weights));
        let width = self.width;
        let rows = grad.chunks_exact_mut(width).zip(out_grad.chunks_exact(width)).zip(x.chunks_exact(width));
        for (row, ((grad, g), x)) in rows.enumerate() {
            let domain = cx.seen_scenario(self.level, row, self.domains);
            let own = domain.map_or(&saved[..width], |domain| self.row(own, domain));
            row_grad(grad, g, x, self.finished_of(cx, domain), [shared, own], add);
        }
    }

    #[cfg(feature = "train")]
    fn weights(&self) -> Vec<Weight> {
        [self.shared, self.own].concat()
    }

    fn cost(&self, _: usize, _: usize, out_rows: usize) -> Cost {
        let read = 2 + 4 * self.domains.min(out_rows);
        Cost { flops: (6 * out_rows * self.width) as u64, bytes: (4 * read * self.width) as u64 }
    }

    #[cfg(feature = "train")]
    fn statistics(&self) -> Option<&dyn BatchStatistics> {
        Some(self)
    }
}

/// A tile's sums of one domain: the number of its samples and two rows.
#[cfg(feature = "train")]
struct Part<'a> {
    count: &'a mut f64,
    rows: [&'a mut [f64]; 2],
}

#[cfg(feature = "train")]
impl PartitionedNorm {
    fn part<'a>(&self, partial: &'a mut [f64], domain: Option<usize>) -> Option<Part<'a>> {
        let len = 1 + 2 * self.width;
        let (count, rows) =
            partial.chunks_exact_mut(len).nth(domain.map_or(0, |domain| domain + 1))?.split_first_mut()?;
        let (first, second) = rows.split_at_mut(self.width);
        Some(Part { count, rows: [first, second] })
    }

    /// Puts running moments, or those of one sample of every domain, into the place of a batch's mean and 1/deviation.
    fn take_running_of(&self, domain: Option<usize>, state: &[f32], into: &mut [f32]) {
        let (means, inverses) = into.split_at_mut(self.width);
        match domain {
            Some(domain) => {
                let running = [0, self.domains * self.width].map(|offset| &state[self.running + offset..]);
                means.copy_from_slice(self.row(running[0], domain));
                inverses.copy_from_slice(self.row(running[1], domain));
            }
            None => self.pool_moments(state, means, inverses),
        }
        inverses.iter_mut().for_each(|variance| *variance = 1.0 / (*variance + self.epsilon).sqrt());
    }

    /// The unseen ones, then the domains.
    fn groups(&self) -> impl Iterator<Item = Option<usize>> + use<> {
        std::iter::once(None).chain((0..self.domains).map(Some))
    }

    /// A column's sums of a domain, tile by tile.
    fn column<'a>(&self, partials: &'a [f64], domain: Option<usize>, c: usize) -> impl Iterator<Item = [f64; 3]> + 'a {
        let (width, start) = (self.width, domain.map_or(0, |domain| domain + 1) * (1 + 2 * self.width));
        partials.chunks_exact(self.partial_len()).map(move |partial| {
            let part = &partial[start..];
            [part[0], part[1 + c], part[1 + width + c]]
        })
    }
}

#[cfg(feature = "train")]
impl BatchStatistics for PartitionedNorm {
    fn partial_len(&self) -> usize {
        (self.domains + 1) * (1 + 2 * self.width)
    }

    fn finished(&self) -> std::ops::Range<usize> {
        self.statistics..self.statistics_end()
    }

    fn take_running(&self, state: &[f32], finished: &mut [f32]) {
        finished.fill(0.0);
        for (group, domain) in self.groups().enumerate() {
            self.take_running_of(domain, state, &mut finished[4 * group * self.width..][..2 * self.width]);
        }
    }

    fn forward_partial(&self, cx: &Context<'_>, inputs: Inputs<'_>, partial: &mut [f64]) {
        partial.fill(0.0);
        for (row, x) in inputs.get(0).chunks_exact(self.width).enumerate() {
            let domain = cx.seen_scenario(self.level, row, self.domains);
            let Some(Part { count, rows: [means, squares] }) = self.part(partial, domain) else { continue };
            *count += 1.0;
            take_row(means, squares, x, 1.0 / *count);
        }
    }

    fn forward_finish(&self, partials: &[f64], state: &[f32], finished: &mut [f32]) {
        let width = self.width;
        let (read, merged) = finished.split_at_mut(self.finished_len());
        let (moments, counts) = merged.split_at_mut(2 * self.domains * width);
        for (group, domain) in self.groups().enumerate() {
            let read = &mut read[4 * group * width..][..2 * width];
            let mut in_batch = 0.0;
            for c in 0..width {
                let [count, mean, squares] = combine(self.column(partials, domain, c));
                in_batch = count;
                read[c] = mean as f32;
                read[width + c] = (1.0 / (squares / count.max(1.0) + f64::from(self.epsilon)).sqrt()) as f32;
                if let Some(domain) = domain {
                    moments[2 * domain * width + c] = mean as f32;
                    moments[(2 * domain + 1) * width + c] = (squares / (count - 1.0).max(1.0)) as f32;
                }
            }
            if in_batch == 1.0 {
                self.take_running_of(domain, state, read);
            }
            if let Some(domain) = domain {
                counts[domain] = in_batch as f32;
            }
        }
    }

    fn merge(&self, finished: &[f32], state: &mut [f32]) {
        let (width, all) = (self.width, self.domains * self.width);
        let (moments, counts) = finished[self.finished_len()..].split_at(2 * all);
        let (means, variances) = state[self.running..self.running + 2 * all].split_at_mut(all);
        let running = means.chunks_exact_mut(width).zip(variances.chunks_exact_mut(width));
        for ((running, batch), count) in running.zip(moments.chunks_exact(2 * width)).zip(counts) {
            merge_moments([running.0, running.1], batch.split_at(width).into(), *count, self.momentum);
        }
    }

    fn backward_partial(&self, cx: &Context<'_>, pass: Backward<'_>, partial: &mut [f64]) {
        let width = self.width;
        partial.fill(0.0);
        let rows = pass.out_grad.chunks_exact(width).zip(pass.inputs.get(0).chunks_exact(width));
        for (row, (g, x)) in rows.enumerate() {
            let domain = cx.seen_scenario(self.level, row, self.domains);
            let [mean, inverse, ..] = self.finished_of(cx, domain);
            let Some(Part { count, rows: [sums, products] }) = self.part(partial, domain) else { continue };
            *count += 1.0;
            take_gradient(sums, products, g, x, [mean, inverse]);
        }
        let ([gamma, beta], [own_gamma, own_beta]) = (self.shared, self.own);
        for domain in self.groups() {
            let Some(Part { count, rows: [sums, products] }) = self.part(partial, domain) else { continue };
            if *count == 0.0 {
                continue;
            }
            for c in 0..width {
                let (sum, product) = (sums[c] as f32, products[c] as f32);
                beta.of_mut(pass.weight_grads)[c] += sum;
                let Some(at) = domain.map(|domain| domain * width + c) else {
                    gamma.of_mut(pass.weight_grads)[c] += product;
                    continue;
                };
                gamma.of_mut(pass.weight_grads)[c] += product * own_gamma.of(cx.weights)[at];
                own_gamma.of_mut(pass.weight_grads)[at] += product * gamma.of(cx.weights)[c];
                own_beta.of_mut(pass.weight_grads)[at] += sum;
            }
        }
    }

    fn backward_finish(&self, partials: &[f64], finished: &mut [f32]) {
        let width = self.width;
        for (group, domain) in self.groups().enumerate() {
            let finished = &mut finished[(4 * group + 2) * width..][..2 * width];
            for c in 0..width {
                let sums = self.column(partials, domain, c);
                let [count, sum, product] = sums.fold([0.0; 3], |[n, s, p], [m, t, q]| [n + m, s + t, p + q]);
                let share = if count > 1.0 { 1.0 / count } else { 0.0 };
                finished[c] = (sum * share) as f32;
                finished[width + c] = (product * share) as f32;
            }
        }
    }
}
