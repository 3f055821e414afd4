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
    /// Adam with decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2, as PyTorch's AdamW): `w ← w − η λ w` before Adam's step, whose
    /// moments do not see the decay. λ applies to matrices, not to biases and scales.
    #[serde(rename = "adamw", alias = "adam_w")]
    AdamW {
        /// β₁.
        #[serde(default = "beta1")]
        beta1: f32,
        /// β₂.
        #[serde(default = "beta2")]
        beta2: f32,
        /// ε.
        #[serde(default = "adam_epsilon")]
        epsilon: f32,
        /// λ.
        #[serde(default = "weight_decay")]
        weight_decay: f32,
    },
}

fn weight_decay() -> f32 {
    1e-2
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
    ranges: Vec<WeightRange>,
    /// Momentum or first moments; empty where the rule has none.
    first: Vec<f32>,
    /// Sums of squares or second moments; empty where the rule has none.
    second: Vec<f32>,
    steps: u64,
}

/// A weight's part of the flat vector.
#[derive(Debug, Clone, Copy, PartialEq)]
struct WeightRange {
    len: usize,
    /// Whether L2 and weight decay apply.
    decays: bool,
    /// What the rate of its steps is multiplied by.
    rate: f32,
}

impl Optimizer {
    /// An optimizer of a graph's weights.
    ///
    /// # Errors
    /// A config error if a parameter is out of its range.
    pub fn new(rule: Rule, l2: f32, graph: &Graph) -> Result<Self> {
        let ranges = graph.weights().iter();
        let ranges =
            ranges.map(|info| WeightRange { len: info.shape[0] * info.shape[1], decays: info.decays, rate: 1.0 });
        Self::of(rule, l2, ranges.collect())
    }

    /// An optimizer of so many numbers that are no network's, without L2.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of_numbers(rule: Rule, count: usize) -> Result<Self> {
        Self::of(rule, 0.0, vec![WeightRange { len: count, decays: false, rate: 1.0 }])
    }

    /// Multiplies the rate of the steps of some weights of the graph that this is an optimizer of: of the weight with this name, or of all
    /// that are in the scope with this name. Returns how many these are.
    pub fn scale_rate(&mut self, graph: &Graph, name: &str, factor: f32) -> usize {
        let within =
            |weight: &str| weight.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        let weights = graph.weights().iter().zip(&mut self.ranges).filter(|(info, _)| within(&info.name));
        weights.map(|(_, range)| range.rate *= factor).count()
    }

    fn of(rule: Rule, l2: f32, ranges: Vec<WeightRange>) -> Result<Self> {
        let sound = match rule {
            Rule::Sgd { momentum } => (0.0..1.0).contains(&momentum),
            Rule::Adagrad { epsilon } => epsilon > 0.0,
            Rule::Adam { beta1, beta2, epsilon } | Rule::AdamW { beta1, beta2, epsilon, .. } => {
                (0.0..1.0).contains(&beta1) && (0.0..1.0).contains(&beta2) && epsilon > 0.0
            }
        };
        if let Rule::AdamW { weight_decay, .. } = rule {
            if weight_decay < 0.0 || !weight_decay.is_finite() {
                return Err(Error::config("the weight decay of AdamW must be a number of at least 0")
                    .in_field("train.optimizer.weight_decay"));
            }
            if l2 > 0.0 {
                return Err(Error::config(
                    "AdamW decays weights by itself, and l2 would be added to the gradient it sees",
                )
                .in_field("train.l2")
                .mend("set train.optimizer.weight_decay instead, or take the optimizer `adam`"));
            }
        }
        if !sound || l2 < 0.0 || !l2.is_finite() {
            return Err(Error::config("momentum and betas are in [0, 1), epsilon is positive, l2 is not negative")
                .in_field("train.optimizer"));
        }
        let count = ranges.iter().map(|range| range.len).sum();
        let len = |used: bool| if used { count } else { 0 };
        Ok(Self {
            rule,
            l2,
            ranges,
            first: vec![
                0.0;
                len(match rule {
                    Rule::Adam { .. } | Rule::AdamW { .. } => true,
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
            left: WeightRange { len: 0, decays: false, rate: 1.0 },
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
                let Piece { w, g, first, second, decays, rate: factor } = piece;
                let rate = rate * factor;
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
                    Rule::AdamW { beta1, beta2, epsilon, weight_decay } => {
                        if decays {
                            shrink(w, 1.0 - rate * weight_decay);
                        }
                        let rate = rate / (1.0 - beta1.powi(steps));
                        let correction = 1.0 / (1.0 - beta2.powi(steps)).sqrt();
                        adam(w, g, first, second, rate, 0.0, [beta1, beta2, correction, epsilon]);
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
    ranges: std::slice::Iter<'a, WeightRange>,
    /// What is left of the last one.
    left: WeightRange,
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
    rate: f32,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        while self.left.len == 0 {
            self.left = *self.ranges.next()?;
        }
        let len = self.left.len.min(PIECE);
        self.left.len -= len;
        Some(Piece {
            w: self.weights.split_off_mut(..len)?,
            g: self.gradients.split_off(..len)?,
            first: self.first.split_off_mut(..len).unwrap_or_default(),
            second: self.second.split_off_mut(..len).unwrap_or_default(),
            decays: self.left.decays,
            rate: self.left.rate,
        })
    }
}

kernel! {
    fn shrink['a](w: &'a mut [f32], factor: f32) {
        w.iter_mut().for_each(|w| *w *= factor);
    }

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
    fn rates_scale_by_name_and_scope() {
        let mut graph = Graph::new();
        let x = graph.numeric(2);
        for name in ["encoder", "encoders", "body"] {
            graph.scope(name, |graph| graph.linear(x, 1, Activation::None));
        }
        let mut sgd = Optimizer::new(Rule::Sgd { momentum: 0.0 }, 0.0, &graph).unwrap();
        assert_eq!(sgd.scale_rate(&graph, "encoder", 0.5), 2);
        assert_eq!(sgd.scale_rate(&graph, "encoder.bias", 0.0), 1);
        assert_eq!(["enc", "", "weight"].map(|name| sgd.scale_rate(&graph, name, 9.0)), [0; 3]);
        let mut weights = vec![0.0; graph.weight_count()];
        sgd.apply(&mut weights, &vec![-1.0; graph.weight_count()], 1.0);
        for info in graph.weights() {
            let expected = match info.name.as_str() {
                "encoder.weight" => 0.5,
                "encoder.bias" => 0.0,
                _ => 1.0,
            };
            assert_eq!(weights[info.offset], expected, "{}", info.name);
        }
    }

    #[test]
    fn weight_decay_is_checked() {
        let mut graph = Graph::new();
        let x = graph.numeric(2);
        graph.linear(x, 1, Activation::None);
        let of = |text: &str| serde_json::from_str::<Rule>(text).unwrap();
        let field = |rule: Rule, l2: f32| Optimizer::new(rule, l2, &graph).unwrap_err().to_string();
        assert!(Optimizer::new(of(r#"{"type": "adamw"}"#), 0.0, &graph).is_ok());
        assert!(field(of(r#"{"type": "adamw"}"#), 0.1).contains("train.optimizer.weight_decay"));
        assert!(field(of(r#"{"type": "adamw", "weight_decay": -1}"#), 0.0).contains("train.optimizer.weight_decay"));
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
