//! Dense optimizers over the flat vector of a network's weights.

use crate::engine::{OneWorker, PIECE, Workers, each_piece, enough_for};
use crate::graph::Graph;
use crate::kernels::kernel;
use kitestring_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// How a gradient becomes a step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Rule {
    /// `w ← w − η m`, `m ← μ m + g`.
    Sgd {
        /// μ.
        #[serde(default)]
        momentum: f32,
    },
    /// `v ← v + g²`, `w ← w − η g / (√v + ε)` (Duchi, Hazan and Singer 2011).
    Adagrad {
        /// ε.
        #[serde(default = "adagrad_epsilon")]
        epsilon: f32,
    },
    /// Kingma and Ba 2015, with bias correction.
    Adam {
        /// β₁.
        #[serde(default = "beta1")]
        beta1: f32,
        /// β₂.
        #[serde(default = "beta2")]
        beta2: f32,
        /// ε.
        #[serde(default = "adam_epsilon")]
        epsilon: f32,
    },
}

fn adagrad_epsilon() -> f32 {
    1e-10
}
fn beta1() -> f32 {
    0.9
}
fn beta2() -> f32 {
    0.999
}
fn adam_epsilon() -> f32 {
    1e-8
}

impl Default for Rule {
    fn default() -> Self {
        Self::Adam { beta1: beta1(), beta2: beta2(), epsilon: adam_epsilon() }
    }
}

/// An optimizer of a network: the rule, L2, and what it remembers.
#[derive(Debug, Clone, PartialEq)]
pub struct Optimizer {
    rule: Rule,
    /// `l2 · w` is added to the gradient of matrices, not of biases and scales.
    l2: f32,
    /// Ranges of the flat vector, and whether L2 applies.
    ranges: Vec<(std::ops::Range<usize>, bool)>,
    /// Momentum or first moments; empty where the rule has none.
    first: Vec<f32>,
    /// Sums of squares or second moments; empty where the rule has none.
    second: Vec<f32>,
    steps: u64,
}

impl Optimizer {
    /// An optimizer of a graph's weights.
    ///
    /// # Errors
    /// A config error if a parameter is out of its range.
    pub fn new(rule: Rule, l2: f32, graph: &Graph) -> Result<Self> {
        let ranges = graph.weights().iter().map(|info| {
            let end = info.offset + info.shape[0] * info.shape[1];
            (info.offset..end, info.decays)
        });
        Self::of(rule, l2, ranges.collect())
    }

    /// An optimizer of so many numbers that are no network's, without L2.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of_numbers(rule: Rule, count: usize) -> Result<Self> {
        Self::of(rule, 0.0, vec![(0..count, false)])
    }

    fn of(rule: Rule, l2: f32, ranges: Vec<(std::ops::Range<usize>, bool)>) -> Result<Self> {
        let sound = match rule {
            Rule::Sgd { momentum } => (0.0..1.0).contains(&momentum),
            Rule::Adagrad { epsilon } => epsilon > 0.0,
            Rule::Adam { beta1, beta2, epsilon } => {
                (0.0..1.0).contains(&beta1) && (0.0..1.0).contains(&beta2) && epsilon > 0.0
            }
        };
        if !sound || l2 < 0.0 || !l2.is_finite() {
            return Err(Error::config("momentum and betas are in [0, 1), epsilon is positive, l2 is not negative")
                .in_field("train.optimizer"));
        }
        let count = ranges.last().map_or(0, |(range, _)| range.end);
        let len = |used: bool| if used { count } else { 0 };
        Ok(Self {
            rule,
            l2,
            ranges,
            first: vec![
                0.0;
                len(match rule {
                    Rule::Adam { .. } => true,
                    Rule::Sgd { momentum } => momentum > 0.0,
                    Rule::Adagrad { .. } => false,
                })
            ],
            second: vec![0.0; len(!matches!(rule, Rule::Sgd { .. }))],
            steps: 0,
        })
    }

    /// Moves the weights against their gradients by one step of length `rate`.
    pub fn apply(&mut self, weights: &mut [f32], gradients: &[f32], rate: f32) {
        self.apply_with(weights, gradients, rate, &OneWorker);
    }

    /// [`Self::apply`] by several workers; the result is the same to the bit.
    pub fn apply_with(&mut self, weights: &mut [f32], gradients: &[f32], rate: f32, workers: &dyn Workers) {
        self.steps += 1;
        let steps = i32::try_from(self.steps).unwrap_or(i32::MAX);
        let (rule, decay) = (self.rule, self.l2);
        let count = weights.len();
        let pieces = Pieces {
            ranges: self.ranges.iter(),
            left: (0, false),
            weights,
            gradients,
            first: &mut self.first,
            second: &mut self.second,
        };
        each_piece(
            enough_for(workers, count),
            pieces,
            || (),
            |(), piece| {
                let Piece { w, g, first, second, decays } = piece;
                let l2 = if decays { decay } else { 0.0 };
                match rule {
                    Rule::Sgd { .. } if first.is_empty() => sgd(w, g, rate, l2),
                    Rule::Sgd { momentum } => sgd_with_momentum(w, g, first, rate, l2, momentum),
                    Rule::Adagrad { epsilon } => adagrad(w, g, second, rate, l2, epsilon),
                    Rule::Adam { beta1, beta2, epsilon } => {
                        let rate = rate / (1.0 - beta1.powi(steps));
                        let correction = 1.0 / (1.0 - beta2.powi(steps)).sqrt();
                        adam(w, g, first, second, rate, l2, [beta1, beta2, correction, epsilon]);
                    }
                }
            },
        );
    }

    /// What it remembers, for a checkpoint: steps, first and second moments.
    pub fn memory(&self) -> (u64, &[f32], &[f32]) {
        (self.steps, &self.first, &self.second)
    }

    /// Puts back what it remembered.
    ///
    /// # Errors
    /// If it is the memory of another rule or network.
    pub fn restore(&mut self, steps: u64, first: &[f32], second: &[f32]) -> Result<()> {
        if first.len() != self.first.len() || second.len() != self.second.len() {
            return Err(Error::format("the optimizer's state is that of another rule or network")
                .mend("resume with the config of the run, or start a new one"));
        }
        self.steps = steps;
        self.first.copy_from_slice(first);
        self.second.copy_from_slice(second);
        Ok(())
    }
}

/// What is left to be moved, weight by weight.
struct Pieces<'a> {
    ranges: std::slice::Iter<'a, (std::ops::Range<usize>, bool)>,
    /// How much of the last range, and whether L2 applies to it.
    left: (usize, bool),
    weights: &'a mut [f32],
    gradients: &'a [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
}

/// A part of a weight, its gradient and what is remembered of it.
struct Piece<'a> {
    w: &'a mut [f32],
    g: &'a [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
    decays: bool,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        while self.left.0 == 0 {
            let (range, decays) = self.ranges.next()?;
            self.left = (range.len(), *decays);
        }
        let len = self.left.0.min(PIECE);
        self.left.0 -= len;
        Some(Piece {
            w: self.weights.split_off_mut(..len)?,
            g: self.gradients.split_off(..len)?,
            first: self.first.split_off_mut(..len).unwrap_or_default(),
            second: self.second.split_off_mut(..len).unwrap_or_default(),
            decays: self.left.1,
        })
    }
}

kernel! {
    fn sgd['a](w: &'a mut [f32], g: &'a [f32], rate: f32, l2: f32) {
        w.iter_mut().zip(g).for_each(|(w, g)| *w -= rate * (g + l2 * *w));
    }

    fn sgd_with_momentum['a](w: &'a mut [f32], g: &'a [f32], m: &'a mut [f32], rate: f32, l2: f32, momentum: f32) {
        for ((w, g), m) in w.iter_mut().zip(g).zip(m) {
            *m = momentum * *m + (g + l2 * *w);
            *w -= rate * *m;
        }
    }

    fn adagrad['a](w: &'a mut [f32], g: &'a [f32], v: &'a mut [f32], rate: f32, l2: f32, epsilon: f32) {
        for ((w, g), v) in w.iter_mut().zip(g).zip(v) {
            let g = g + l2 * *w;
            *v += g * g;
            *w -= rate * g / (v.sqrt() + epsilon);
        }
    }

    fn adam['a](
        w: &'a mut [f32],
        g: &'a [f32],
        m: &'a mut [f32],
        v: &'a mut [f32],
        rate: f32,
        l2: f32,
        constants: [f32; 4],
    ) {
        let [beta1, beta2, correction, epsilon] = constants;
        for (((w, g), m), v) in w.iter_mut().zip(g).zip(m).zip(v) {
            let g = g + l2 * *w;
            *m = beta1 * *m + (1.0 - beta1) * g;
            *v = beta2 * *v + (1.0 - beta2) * g * g;
            *w -= rate * *m / (v.sqrt() * correction + epsilon);
        }
    }
}

/// The Euclidean norm of a network's and its rows' gradients together.
pub fn gradient_norm(network: &[f32], rows: &[Vec<f32>]) -> f64 {
    let squares = |values: &[f32]| f64::from(crate::kernels::reduce::sum_of_squares(values));
    (squares(network) + rows.iter().map(|rows| squares(rows)).sum::<f64>()).sqrt()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::kernels::activation::Activation;

    #[test]
    fn l2_spares_biases_and_adam_moves_by_the_rate_at_first() {
        let mut graph = Graph::new();
        let x = graph.numeric(2);
        graph.linear(x, 1, Activation::None);
        let mut sgd = Optimizer::new(Rule::Sgd { momentum: 0.0 }, 0.5, &graph).unwrap();
        let bias = graph.weights().iter().find(|info| info.name == "bias").unwrap().offset;
        let mut weights = [2.0; 3];
        sgd.apply(&mut weights, &[0.0; 3], 0.1);
        for (at, weight) in weights.iter().enumerate() {
            assert_eq!(*weight, if at == bias { 2.0 } else { 1.9 });
        }
        let mut adam = Optimizer::new(Rule::default(), 0.0, &graph).unwrap();
        let mut weights = [0.0; 3];
        adam.apply(&mut weights, &[3.0, -0.2, 0.0], 0.01);
        assert!((weights[0] + 0.01).abs() < 1e-6 && (weights[1] - 0.01).abs() < 1e-6 && weights[2] == 0.0);
    }

    #[test]
    fn memory_of_another_rule_is_refused() {
        let mut graph = Graph::new();
        let x = graph.numeric(2);
        graph.linear(x, 1, Activation::None);
        let mut adam = Optimizer::new(Rule::default(), 0.0, &graph).unwrap();
        assert!(adam.restore(3, &[], &[0.0; 3]).is_err());
        assert!(adam.restore(3, &[0.0; 3], &[0.0; 3]).is_ok());
        assert!(Optimizer::new(Rule::Sgd { momentum: 1.0 }, 0.0, &graph).is_err());
    }
}
