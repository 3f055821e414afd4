//! Losses of predictions that come with their own spread (Kendall and Gal 2017).

#[cfg(feature = "train")]
use super::Backward;
use super::{Cost, Operation};
use crate::engine::{Context, Inputs};
use crate::graph::{Domain, Graph, Value};
use crate::kernels::activation::{sigmoid, softplus};
use kitestring_core::Seed;
use serde::{Deserialize, Serialize};

/// Compares a column `z` and a column `s`, the logarithm of its variance, with the label of a task; 0 where the label is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpreadLoss {
    /// How.
    pub kind: SpreadLossKind,
    /// The task.
    pub task: usize,
    /// Distinguishes the draws of one graph.
    pub number: u64,
}

/// How a prediction and its spread are compared with a label `y`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpreadLossKind {
    /// `½ e^{−s} (y − z)² + ½ s`: a normal distribution's negative log-likelihood, without its constant.
    Normal,
    /// `−ln (1/T) Σ_t p(y | z + e^{s/2} ε_t)` of a logit `z`, with `ε` standard normal: the cross-entropy of the *mean* probability over
    /// `T` draws, not the mean cross-entropy, for which no spread is best.
    Binary {
        /// T.
        draws: usize,
    },
}

impl Graph {
    /// The loss of a column and the logarithm of its variance against a task's label.
    pub fn spread_loss(&mut self, kind: SpreadLossKind, z: Value, log_variance: Value, task: usize) -> Value {
        let number = self.nodes().len() as u64;
        let op = SpreadLoss { kind, task, number };
        self.record(super::Op::SpreadLoss(op), &[z, log_variance], Domain::Rows, 1)
    }
}

/// A sample's loss, and its derivatives by `z` and `s`.
type Slopes = [f32; 3];

fn normal(z: f32, s: f32, y: f32) -> Slopes {
    let (precision, error) = ((-s).exp(), z - y);
    let half = 0.5 * precision * error * error;
    [half + 0.5 * s, precision * error, 0.5 - half]
}

/// The logarithm of a mean of probabilities that come as logarithms, with its derivatives by `z` and by the deviation. Sums are relative to
/// the highest so far: none underflows.
#[derive(Clone, Copy)]
struct LogMean {
    highest: f32,
    sum: f32,
    slope: f32,
    by_deviation: f32,
}

impl LogMean {
    const EMPTY: Self = Self { highest: f32::NEG_INFINITY, sum: 0.0, slope: 0.0, by_deviation: 0.0 };

    /// Adds a draw: the logarithm of its probability, its derivative by the logit, and ε.
    fn add(&mut self, log: f32, slope: f32, draw: f32) {
        if log > self.highest {
            let scale = (self.highest - log).exp();
            let Self { sum, slope, by_deviation, .. } = *self;
            *self = Self { highest: log, sum: sum * scale, slope: slope * scale, by_deviation: by_deviation * scale };
        }
        // A NaN is never the highest: it must not become the 1 of an empty sum.
        let weight = (log - self.highest).exp();
        self.sum += weight;
        self.slope += weight * slope;
        self.by_deviation += weight * slope * draw;
    }

    /// `ln` of the mean and its two derivatives, times a factor.
    fn finish(self, draws: usize, factor: f32) -> Slopes {
        let log = self.highest + (self.sum / draws as f32).ln();
        [log, self.slope / self.sum, self.by_deviation / self.sum].map(|x| factor * x)
    }
}

fn binary(z: f32, s: f32, y: f32, draws: usize, seed: Seed) -> Slopes {
    let deviation = (0.5 * s).exp();
    let (mut yes, mut no) = (LogMean::EMPTY, LogMean::EMPTY);
    for t in 0..draws {
        let draw = seed.normal_at(t as u64);
        let logit = z + deviation * draw;
        yes.add(-softplus(-logit), sigmoid(-logit), draw);
        no.add(-softplus(logit), -sigmoid(logit), draw);
    }
    let mut all = [0.0; 3];
    for (part, factor) in [(yes, -y), (no, y - 1.0)] {
        // A label is nearly always 0 or 1, and the logarithm of the other side may be beyond what a number holds.
        if factor != 0.0 {
            all.iter_mut().zip(part.finish(draws, factor)).for_each(|(all, part)| *all += part);
        }
    }
    all[2] *= 0.5 * deviation;
    all
}

impl SpreadLoss {
    fn slopes(&self, cx: &Context<'_>, row: usize, z: f32, s: f32, y: f32) -> Slopes {
        match self.kind {
            _ if y.is_nan() => [0.0; 3],
            SpreadLossKind::Normal => normal(z, s, y),
            SpreadLossKind::Binary { draws } => {
                // Without a step's seed all samples share their draws.
                let own = |seed: Seed| seed.at(self.number).at((cx.rows.start + row) as u64);
                binary(z, s, y, draws, cx.noise_seed().map_or(Seed(0), own))
            }
        }
    }
}

impl Operation for SpreadLoss {
    fn forward(&self, cx: &Context<'_>, inputs: Inputs<'_>, out: &mut [f32], saved: &mut Vec<f32>) {
        let (z, s) = (inputs.get(0), inputs.get(1));
        saved.clear();
        for (row, (out, y)) in out.iter_mut().zip(cx.labels(self.task)).enumerate() {
            let [loss, by_z, by_s] = self.slopes(cx, row, z[row], s[row], y);
            *out = loss;
            if cx.records() {
                saved.extend([by_z, by_s]);
            }
        }
    }

    #[cfg(feature = "train")]
    fn backward(&self, _: &Context<'_>, mut pass: Backward<'_>) {
        let saved = std::mem::take(&mut pass.saved);
        (0..2).for_each(|input| pass.pass(input, |g, row| g * saved[2 * row + input]));
    }

    fn cost(&self, rows: usize, _: usize, _: usize) -> Cost {
        let each = match self.kind {
            SpreadLossKind::Normal => 20,
            SpreadLossKind::Binary { draws } => 100 * draws,
        };
        Cost { flops: (each * rows) as u64, bytes: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shared specification's case, and its derivatives by hand.
    #[test]
    fn golden_normal() {
        let e = std::f32::consts::E;
        let expected = [-0.160215, -0.5 * e, 0.5 - 0.125 * e];
        normal(0.5, -1.0, 1.0).iter().zip(expected).for_each(|(f, e)| assert!((f - e).abs() < 1e-6, "{f} {e}"));
    }

    /// Against the definition in double precision, value and derivatives, for labels of 0, 1 and between; and it is none of the losses it is
    /// mistaken for.
    #[test]
    fn the_mean_probability_counts() {
        let draws = 30;
        for (case, (z, s, y)) in
            [(0.7, 0.4, 1.0), (-1.5, 2.0, 1.0), (3.0, 1.0, 0.0), (0.2, -3.0, 0.3), (-40.0, 1.0, 1.0)].iter().enumerate()
        {
            let (z, s, y): (f64, f64, f64) = (*z, *s, *y);
            let seed = Seed(case as u64);
            let probabilities = |z: f64, s: f64| {
                let logit = move |t: u64| z + (0.5 * s).exp() * f64::from(seed.normal_at(t));
                (0..draws).map(move |t| 1.0 / (1.0 + (-logit(t)).exp()))
            };
            let loss = |z: f64, s: f64| {
                let mean = probabilities(z, s).sum::<f64>() / draws as f64;
                -y * mean.ln() - if y < 1.0 { (1.0 - y) * (1.0 - mean).ln() } else { 0.0 }
            };
            let found = binary(z as f32, s as f32, y as f32, draws as usize, seed).map(f64::from);
            let slope = |dz: f64, ds: f64| (loss(z + dz, s + ds) - loss(z - dz, s - ds)) / 2e-5;
            for (found, expected) in found.iter().zip([loss(z, s), slope(1e-5, 0.0), slope(0.0, 1e-5)]) {
                assert!((found - expected).abs() < 2e-5 * expected.abs().max(1.0), "{case}: {found} {expected}");
            }
            let of = |p: f64| -y * p.ln() - if y < 1.0 { (1.0 - y) * (1.0 - p).ln() } else { 0.0 };
            let mean_of_losses = probabilities(z, s).map(of).sum::<f64>() / draws as f64;
            let without_spread = of(1.0 / (1.0 + (-z).exp()));
            // What is often taken for it: a distortion of the difference of both, and a penalty on the variance.
            let distorted: f64 = probabilities(z, s)
                .map(|p| {
                    let difference = without_spread - of(p);
                    if difference > 0.0 { -difference } else { 1.0 - difference.exp() }
                })
                .sum::<f64>();
            let distorted = without_spread + distorted / draws as f64 * without_spread + s.exp().exp_m1();
            for wrong in [mean_of_losses, without_spread, distorted] {
                assert!((found[0] - wrong).abs() > 1e-3 * (found[0].abs() + wrong.abs()), "{case}: {found:?} {wrong}");
            }
        }
    }

    #[test]
    fn far_logits_stay_finite_and_nan_stays() {
        for (z, y) in [(200.0, 0.0), (-200.0, 1.0), (200.0, 1.0), (-200.0, 0.0)] {
            let found = binary(z, 2.0, y, 10, Seed(1));
            assert!(found.iter().all(|x| x.is_finite()), "{z} {y}: {found:?}");
        }
        assert!(binary(f32::NAN, 0.0, 1.0, 10, Seed(1))[0].is_nan());
    }
}
