//! How unevenly a batch is spread over columns: the balancing losses of sparse mixtures (Shazeer et al. 2017).

#[cfg(feature = "train")]
use super::{Backward, BatchStatistics};
use super::{Cost, Operation};
use crate::engine::{Context, Inputs};
use crate::graph::{Domain, Graph, Value};
use serde::{Deserialize, Serialize};

/// The squared coefficient of variation of the columns' sums over the whole batch, `V / (m² + 1e-10)` with their mean `m` and variance `V`
/// (divided by the number of columns), the same number for every sample: its mean over the batch is the loss. Samples count by their weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    /// Number of columns.
    pub width: usize,
    /// Where the batch's finished statistics start: the result, its derivative by each column's sum, the sum of the gradients.
    pub statistics: usize,
}

impl Graph {
    /// How unevenly the columns' sums over the whole batch are spread, one column.
    pub fn balance(&mut self, x: Value) -> Value {
        let (width, statistics) = (self.width(x), self.statistics_count());
        self.record(super::Op::Balance(Balance { width, statistics }), &[x], Domain::Rows, 1)
    }
}

impl Balance {
    /// One past the end of its finished statistics.
    pub(crate) fn statistics_end(&self) -> usize {
        self.statistics + self.width + 2
    }
}

/// The squared coefficient of variation of some sums, one for each of `derivative`, and its derivative by each.
#[cfg(feature = "train")]
fn variation(sum: impl Fn(usize) -> f64, derivative: &mut [f32]) -> f64 {
    let (width, count) = (derivative.len(), derivative.len() as f64);
    let mean = (0..width).map(&sum).sum::<f64>() / count;
    let variance = (0..width).map(|column| (sum(column) - mean).powi(2)).sum::<f64>() / count;
    let scale = 1.0 / (mean * mean + 1e-10);
    for (column, derivative) in derivative.iter_mut().enumerate() {
        *derivative = (2.0 * scale / count * ((sum(column) - mean) - variance * mean * scale)) as f32;
    }
    variance * scale
}

#[cfg(feature = "train")]
impl Balance {
    fn weight(cx: &Context<'_>, row: usize) -> f32 {
        cx.batch().weight.get(cx.rows.start + row).copied().unwrap_or(1.0)
    }
}

impl Operation for Balance {
    fn forward(&self, cx: &Context<'_>, _: Inputs<'_>, out: &mut [f32], _: &mut Vec<f32>) {
        // A score is of one sample, not of a batch: it has none.
        out.fill(cx.statistics().get(self.statistics).copied().unwrap_or(0.0));
    }

    #[cfg(feature = "train")]
    fn backward(&self, cx: &Context<'_>, mut pass: Backward<'_>) {
        let finished = &cx.statistics()[self.statistics..self.statistics_end()];
        let (derivative, total) = (&finished[1..=self.width], finished[self.width + 1]);
        let Some((grad, add)) = pass.input_grad(0) else { return };
        for (row, grad) in grad.chunks_exact_mut(self.width).enumerate() {
            let scale = total * Self::weight(cx, row);
            for (grad, derivative) in grad.iter_mut().zip(derivative) {
                let value = scale * derivative;
                *grad = if add { *grad + value } else { value };
            }
        }
    }

    fn cost(&self, _: usize, _: usize, out_rows: usize) -> Cost {
        Cost { flops: (out_rows * self.width) as u64, bytes: 0 }
    }

    #[cfg(feature = "train")]
    fn statistics(&self) -> Option<&dyn BatchStatistics> {
        Some(self)
    }
}

#[cfg(feature = "train")]
impl BatchStatistics for Balance {
    fn partial_len(&self) -> usize {
        self.width
    }

    fn finished(&self) -> std::ops::Range<usize> {
        self.statistics..self.statistics_end()
    }

    /// Nothing is balanced where the batch counts for nothing.
    fn take_running(&self, _: &[f32], finished: &mut [f32]) {
        finished.fill(0.0);
    }

    fn forward_partial(&self, cx: &Context<'_>, inputs: Inputs<'_>, partial: &mut [f64]) {
        partial.fill(0.0);
        for (row, x) in inputs.get(0).chunks_exact(self.width).enumerate() {
            let weight = f64::from(Self::weight(cx, row));
            partial.iter_mut().zip(x).for_each(|(sum, x)| *sum += weight * f64::from(*x));
        }
    }

    fn forward_finish(&self, partials: &[f64], _: &[f32], finished: &mut [f32]) {
        let sum = |column: usize| partials.iter().skip(column).step_by(self.width).sum::<f64>();
        let result = variation(sum, &mut finished[1..=self.width]);
        finished[0] = result as f32;
    }

    fn backward_partial(&self, _: &Context<'_>, pass: Backward<'_>, partial: &mut [f64]) {
        partial.fill(0.0);
        partial[0] = pass.out_grad.iter().map(|g| f64::from(*g)).sum();
    }

    fn backward_finish(&self, partials: &[f64], finished: &mut [f32]) {
        finished[self.width + 1] = partials.iter().step_by(self.width).sum::<f64>() as f32;
    }
}

#[cfg(all(test, feature = "train"))]
mod tests {
    use super::*;

    #[test]
    fn golden_variation() {
        let mut derivative = [0.0; 4];
        let sums = [1.0, 2.0, 3.0, 2.0];
        assert!((variation(|column| sums[column], &mut derivative) - 0.125).abs() < 1e-9);
        // Scaling all sums changes nothing: the derivative has no part along them.
        let along: f64 = derivative.iter().zip(sums).map(|(d, sum)| f64::from(*d) * sum).sum();
        assert!(along.abs() < 1e-6);
        assert_eq!(variation(|_| 2.0, &mut derivative), 0.0);
        assert_eq!(derivative, [0.0; 4]);
        assert_eq!(variation(|_| 0.0, &mut derivative), 0.0);
    }
}
