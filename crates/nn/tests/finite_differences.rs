//! The gradient of every slot variant against central differences, along drawn directions.
//!
//! For each weight and each table alone, `(f(w + εu) − f(w − εu)) / 2ε` must be `⟨g, u⟩`. The forward pass is in single precision, so ε is
//! large and the tolerance is a few percent of `|g|`: enough to catch a missing term, a wrong sign or a wrong factor. The golden tests
//! catch the rest.
#![allow(clippy::unwrap_used)]

mod common;

use common::model::{config, network, ranker, samples};
use common::{Samples, normal};
use kitestring_core::Seed;
use kitestring_nn::engine::{OneWorker, Trainer};
use kitestring_nn::graph::Graph;
use kitestring_nn::network::Network;
use kitestring_nn::slots::{body::Body, catalogue};
use serde_json::{Value, json};
use std::ops::Range;
use std::sync::Arc;

/// The largest is the least noisy; a smaller one does not reach a kink (of ReLU, of a maximum) that a larger one steps over.
const STEPS: [f32; 5] = [4e-3, 1e-3, 2.5e-4, 1.2e-4, 6e-5];

struct Check<'a> {
    name: &'a str,
    graph: &'a Graph,
    trainer: Trainer,
    dropout: Option<Seed>,
}

impl<'a> Check<'a> {
    fn new(name: &'a str, graph: &'a Graph, dropout: Option<Seed>) -> Self {
        Self { name, graph, trainer: Trainer::new(Arc::new(graph.clone()), 1), dropout }
    }

    /// The sum of all losses.
    fn loss(&mut self, network: &Network, samples: &Samples) -> f64 {
        let mut state = network.state.clone();
        let report =
            self.trainer.step(&network.weights, &mut state, &samples.inputs(), self.dropout, &OneWorker).unwrap();
        let pairs = self.graph.losses().iter().zip(report.losses);
        pairs.map(|(loss, mean)| f64::from(loss.weight) * mean).sum()
    }

    fn run(&mut self, network: &Network, samples: &Samples) {
        let loss = self.loss(network, samples);
        let gradients = self.trainer.gradients();
        let (network_grad, rows_grad) = (gradients.network.to_vec(), gradients.rows.to_vec());
        for info in self.graph.weights().to_vec() {
            let range = info.offset..info.offset + info.shape[0] * info.shape[1];
            self.block(
                &info.name,
                &network_grad,
                range,
                &|step, network_moved, _| {
                    network_moved.weights.iter_mut().zip(step).for_each(|(weight, step)| *weight += step);
                },
                network,
                samples,
                loss,
            );
        }
        for (table, grad) in rows_grad.iter().enumerate() {
            let name = format!("rows of table {table}");
            self.block(
                &name,
                grad,
                0..grad.len(),
                &|step, _, moved| {
                    moved.tables[table].iter_mut().zip(step).for_each(|(row, step)| *row += step);
                },
                network,
                samples,
                loss,
            );
        }
    }

    /// One weight or table, in two directions.
    #[allow(clippy::too_many_arguments)]
    fn block(
        &mut self,
        what: &str,
        grad: &[f32],
        range: Range<usize>,
        shift: &dyn Fn(&[f32], &mut Network, &mut Samples),
        network: &Network,
        samples: &Samples,
        loss: f64,
    ) {
        let norm = |values: &[f32]| values.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
        let size = norm(&grad[range.clone()]);
        for direction in 0..2 {
            let drawn = normal(Seed(direction).child(what), range.len(), 1.0);
            // Along the gradient itself a wrong factor shows; across it, a wrong place.
            let mut along = vec![0.0; grad.len()];
            for ((along, drawn), grad) in along[range.clone()].iter_mut().zip(&drawn).zip(&grad[range.clone()]) {
                let of_grad = if size > 1e-6 { grad / size as f32 } else { 0.0 };
                *along = if direction == 0 { of_grad + 0.3 * drawn / (drawn.abs() + 1.0) } else { *drawn };
            }
            let length = norm(&along) as f32;
            along.iter_mut().for_each(|along| *along /= length);
            let mut at = |step: f32| {
                let (mut network, mut samples) = (network.clone(), samples.clone());
                let step: Vec<f32> = along.iter().map(|along| step * along).collect();
                shift(&step, &mut network, &mut samples);
                self.loss(&network, &samples)
            };
            let found: f64 = grad.iter().zip(&along).map(|(g, u)| f64::from(*g) * f64::from(*u)).sum();
            let tolerance = 0.02 * size + 2e-4 * (1.0 + loss.abs());
            let mut differences = Vec::new();
            let agrees = STEPS.iter().any(|step| {
                let expected = (at(*step) - at(-step)) / (2.0 * f64::from(*step));
                differences.push(expected);
                (found - expected).abs() <= tolerance
            });
            assert!(agrees, "{}: {what}: gradient {found}, differences {differences:?}, norm {size}", self.name);
        }
    }
}

/// Encoders: all variants, with every choice that changes what is computed.
fn encoders() -> Vec<Value> {
    let mut all: Vec<Value> = ["mean", "sum", "max"].map(|pooling| json!({"type": "pool", "pooling": pooling})).into();
    for (activation, softmax) in [("relu", false), ("sigmoid", true), ("tanh", false), ("none", true)] {
        all.push(json!({"type": "din", "attention": [6, 5], "activation": activation, "softmax": softmax}));
    }
    // Multiples of a vector's width take other products; one hidden layer and three.
    all.push(json!({"type": "din", "attention": [16]}));
    all.push(json!({"type": "din", "attention": [32, 16, 4], "activation": "tanh", "softmax": true, "pooling": "sum"}));
    all.extend(["mean", "max"].map(|pooling| json!({"type": "fm", "pooling": pooling})));
    all.push(json!({"type": "cross", "layers": 1}));
    all.push(json!({"type": "cross", "layers": 2, "pooling": "sum"}));
    all.push(json!({"type": "cross", "layers": 3, "structure": "stacked"}));
    all
}

fn bodies() -> Vec<Value> {
    let mut all = vec![json!({"type": "mlp", "units": []})];
    for activation in ["relu", "sigmoid", "tanh", "prelu", "dice"] {
        for (batch_norm, dropout) in [(false, 0.0), (true, 0.0), (false, 0.4), (true, 0.4)] {
            all.push(json!({"type": "mlp", "units": [6, 5], "activation": activation, "batch_norm": batch_norm,
                "dropout": dropout}));
        }
    }
    all
}

fn heads() -> [Value; 2] {
    [json!({"type": "logit"}), json!({"type": "esmm"})]
}

/// What is listed above covers every variant there is: a new one must be added to this test.
#[test]
fn every_variant_is_here() {
    let here: Vec<(&str, Vec<Value>)> = vec![("encoder", encoders()), ("body", bodies()), ("head", heads().to_vec())];
    for variant in catalogue() {
        let Some((_, configs)) = here.iter().find(|(slot, _)| *slot == variant.slot) else {
            assert!(["bias", "loss"].contains(&variant.slot), "{variant:?}");
            continue;
        };
        assert!(configs.iter().any(|config| config["type"] == variant.name), "{variant:?}");
    }
}

#[test]
fn gradients_are_differences() {
    for (number, encoder) in encoders().into_iter().enumerate() {
        for body in bodies() {
            for head in heads() {
                let json = json!({"dimension": if number % 2 == 0 { 4 } else { 8 }, "encoder": encoder, "body": body,
                    "head": head, "loss": {"type": "fixed", "weights": {"rating": 0.5, "click": 2.0}}});
                let name = json.to_string();
                let config = config(json);
                let Body::Mlp(mlp) = &config.body;
                let dropout = (mlp.0.dropout > 0.0).then_some(Seed(3));
                let ranker = ranker(&config);
                let samples = samples(&ranker, 24, Seed(100 + number as u64));
                let network = network(&ranker.graph, Seed(200));
                Check::new(&name, &ranker.graph, dropout).run(&network, &samples);
            }
        }
    }
}
