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
use kitestring_nn::graph::{Graph, Value as Node};
use kitestring_nn::kernels::activation::Activation;
use kitestring_nn::network::Network;
use kitestring_nn::ops::Op;
use kitestring_nn::ops::arithmetic::{Binary, Unary};
use kitestring_nn::ops::loss::LossKind;
use kitestring_nn::ops::pool::Pooling;
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
    /// Whether rows are learned, too.
    rows: bool,
}

impl<'a> Check<'a> {
    fn new(name: &'a str, graph: &'a Graph, dropout: Option<Seed>) -> Self {
        Self { name, graph, trainer: Trainer::new(Arc::new(graph.clone()), 1), dropout, rows: true }
    }

    /// Of weights alone, with running statistics that stay as they are.
    fn of_weights(name: &'a str, graph: &'a Graph, learned: &dyn Fn(&str) -> bool) -> Self {
        let trainer = Trainer::of_weights(Arc::new(graph.clone()), learned, 1);
        Self { name, graph, trainer, dropout: None, rows: false }
    }

    /// The sum of all losses.
    fn loss(&mut self, network: &Network, samples: &Samples) -> f64 {
        let mut state = network.state.clone();
        let report =
            self.trainer.step(&network.weights, &mut state, &samples.inputs(), self.dropout, &OneWorker).unwrap();
        let pairs = self.graph.losses().iter().zip(report.losses);
        pairs.map(|(loss, mean)| f64::from(loss.weight) * mean).sum()
    }

    /// The first place where gradient and differences do not agree.
    fn run(&mut self, network: &Network, samples: &Samples) -> Result<(), String> {
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
            )?;
        }
        for (table, grad) in rows_grad.iter().enumerate().take(if self.rows { rows_grad.len() } else { 0 }) {
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
            )?;
        }
        Ok(())
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
    ) -> Result<(), String> {
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
            if !agrees {
                return Err(format!(
                    "{}: {what}: gradient {found}, differences {differences:?}, norm {size}",
                    self.name
                ));
            }
        }
        Ok(())
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
    all.push(json!({"type": "gru", "units": 5}));
    all.push(json!({"type": "gru_latent_cross", "units": 8, "event_contexts": ["category_history"],
        "contexts": ["user", "category"], "pooling": "sum"}));
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
    let expert = json!({"units": [5, 4], "activation": "tanh"});
    let dropping = json!({"units": [5, 4], "activation": "sigmoid", "dropout": 0.3});
    let towers = json!({"units": [3]});
    // Behind a layer of one unit stands a weight of one row.
    all.push(json!({"type": "mlp", "units": [1, 3], "activation": "tanh"}));
    all.extend([
        json!({"type": "cross_stitch", "towers": {"units": [5, 4], "activation": "tanh"}}),
        json!({"type": "cross_stitch", "per_channel": false, "own": 0.5,
            "towers": {"units": [4, 3], "activation": "prelu", "dropout": 0.3}}),
        json!({"type": "star", "layers": {"units": [5, 4], "activation": "tanh"}, "auxiliary": {"units": [3]}}),
        json!({"type": "star", "partitioned_norm": false, "auxiliary": {"units": []},
            "layers": {"units": [4], "activation": "prelu", "dropout": 0.3}}),
        json!({"type": "hmoe", "experts": 2, "expert": expert, "towers": towers, "gate_dropout": 0.0,
            "weights": {"units": [4], "activation": "tanh"}}),
        json!({"type": "hmoe", "experts": 3, "expert": dropping, "towers": {"units": []}, "gate_dropout": 0.4}),
        json!({"type": "shared_bottom", "bottom": {"units": [6]}, "towers": towers}),
        json!({"type": "mmoe", "experts": 3, "expert": expert, "towers": towers}),
        json!({"type": "mmoe", "experts": 3, "expert": dropping, "gate_dropout": 0.4, "towers": {"units": []}}),
        json!({"type": "omoe", "experts": 3, "expert": expert, "towers": towers}),
        json!({"type": "ple", "levels": 2, "shared_experts": 2, "task_experts": 1, "expert": expert, "towers": towers}),
        json!({"type": "ple", "levels": 1, "shared_experts": 2, "task_experts": 2, "expert": dropping}),
        // Which experts are chosen is not differentiable. Among all, and in few samples among few, no small step changes it.
        json!({"type": "sparse_moe", "experts": 3, "chosen": 3, "expert": dropping, "importance_weight": 0.7}),
        json!({"type": "sparse_moe", "experts": 3, "chosen": 1, "expert": expert, "towers": towers, "load_weight": 0.5}),
        json!({"type": "sparse_moe", "experts": 4, "groups": 2, "chosen": 2, "expert": expert, "load_weight": 0.5}),
        // All experts are selected, as shared ones: which are selected is not differentiable. The choice of specific ones still matters to
        // their loss, a sum of the smallest divergences, which is.
        json!({"type": "aesm2", "scenarios": {"layers": 2, "experts": 3, "expert": expert, "specific": 1, "shared": 3},
            "tasks": {"layers": 2, "experts": 3, "expert": expert, "specific": 1, "shared": 3},
            "specific_weight": 0.3, "shared_weight": 0.2}),
        json!({"type": "aesm2", "scenarios": {"layers": 1, "experts": 4, "expert": dropping, "specific": 2, "shared": 4},
            "tasks": {"layers": 1, "experts": 2, "expert": expert, "specific": 2, "shared": 2}, "gate_batch_norm": false,
            "noise_half_life": 10.0, "specific_weight": 0.2}),
    ]);
    all
}

fn heads() -> [Value; 3] {
    [json!({"type": "logit"}), json!({"type": "esmm"}), json!({"type": "heteroscedastic", "draws": 4})]
}

fn biases() -> [Value; 3] {
    [
        json!({"type": "none"}),
        json!({"type": "position", "positions": 7, "dropout": 0.2}),
        json!({"type": "position", "positions": 8, "crossed": ["user", "category"], "tasks": ["click", "conversion"]}),
    ]
}

fn losses() -> [Value; 4] {
    [
        json!({"type": "fixed", "weights": {"rating": 0.5, "click": 2.0}}),
        json!({"type": "uncertainty"}),
        json!({"type": "fixed", "spaces": {"rating": "click", "plays": "conversion"}}),
        json!({"type": "uncertainty", "spaces": {"rating": "click"}}),
    ]
}

/// What is listed above covers every variant there is: a new one must be added to this test.
#[test]
fn every_variant_is_here() {
    let here: Vec<(&str, Vec<Value>)> = vec![
        ("encoder", encoders()),
        ("body", bodies()),
        ("head", heads().to_vec()),
        ("loss", losses().to_vec()),
        ("bias", biases().to_vec()),
    ];
    for variant in catalogue() {
        let (_, configs) = here.iter().find(|(slot, _)| *slot == variant.slot).unwrap();
        assert!(configs.iter().any(|config| config["type"] == variant.name), "{variant:?}");
    }
}

#[test]
fn gradients_are_differences() {
    for (number, encoder) in encoders().into_iter().enumerate() {
        for body in bodies() {
            // Each head meets each loss and bias, with one encoder or another.
            let others = losses().into_iter().cycle().skip(number).zip(biases().into_iter().cycle().skip(number / 2));
            for (head, (loss, bias)) in heads().into_iter().zip(others) {
                let json = json!({"dimension": if number % 2 == 0 { 4 } else { 8 }, "encoder": encoder, "body": body,
                    "head": head, "loss": loss, "bias": bias});
                let name = json.to_string();
                let config = config(json);
                let dropout = match &config.body {
                    Body::Mlp(mlp) => (mlp.0.dropout > 0.0).then_some(Seed(3)),
                    _ => Some(Seed(3)),
                };
                let ranker = ranker(&config);
                // A sample within a step of a kink, or a column that hardly varies, spoils the differences and not the gradient: among
                // thousands of cases some have one, so a case may draw again. A wrong gradient is wrong for every draw.
                let results = (0..3).map(|draw| {
                    let mut samples = samples(&ranker, 24, Seed(100 + number as u64).at(draw));
                    if matches!(config.body, Body::Hmoe(_)) {
                        // Where a gradient is stopped it is not that of differences, and it is not for an unseen scenario.
                        samples.batch.scenarios.iter_mut().skip(1).step_by(2).for_each(|scenario| *scenario = 0);
                    }
                    let network = network(&ranker.graph, Seed(200).at(draw));
                    Check::new(&name, &ranker.graph, dropout).run(&network, &samples)
                });
                let mut wrong = None;
                for result in results {
                    wrong = result.err();
                    if wrong.is_none() {
                        break;
                    }
                }
                assert_eq!(wrong, None);
            }
        }
    }
}

/// Patches of every body, and learning by some weights alone, with statistics that stay.
#[test]
fn of_patches_and_of_some_weights() {
    for (number, body) in bodies().into_iter().enumerate() {
        let encoder = &encoders()[number % encoders().len()];
        let head = &heads()[number % heads().len()];
        let json = json!({"dimension": 4, "encoder": encoder, "body": body, "head": head});
        let name = json.to_string();
        let ranker = ranker(&config(json));
        let patched = ranker.graph.patched(2, 3);
        let hmoe = body["type"] == "hmoe";
        let attempts = (0..3).map(|draw| {
            let mut samples = samples(&ranker, 24, Seed(300 + number as u64).at(draw));
            if hmoe {
                samples.batch.scenarios.iter_mut().skip(1).step_by(2).for_each(|scenario| *scenario = 0);
            }
            let network = network(&patched, Seed(400).at(draw));
            Check::new(&name, &patched, Some(Seed(3))).run(&network, &samples)?;
            let before = network.state.clone();
            let mut frozen = Check::of_weights(&name, &patched, &|_| true);
            frozen.run(&network, &samples)?;
            let mut state = before.clone();
            frozen.trainer.step(&network.weights, &mut state, &samples.inputs(), None, &OneWorker).unwrap();
            assert_eq!(state, before, "{name}");
            let all = frozen.trainer.gradients().network.to_vec();

            // Those of the numbers alone are the same, without a way through what lies deeper.
            let info = patched.weights().iter().find(|info| info.name == "patch.numbers").unwrap();
            let range = info.offset..info.offset + info.shape[1];
            let mut alone = Check::of_weights(&name, &patched, &|weight| weight == "patch.numbers");
            alone.loss(&network, &samples);
            assert_eq!(alone.trainer.gradients().network[range.clone()], all[range], "{name}");
            Ok::<(), String>(())
        });
        let mut wrong = None;
        for result in attempts {
            wrong = result.err();
            if wrong.is_none() {
                break;
            }
        }
        assert_eq!(wrong, None);
    }
}

/// Operations that no slot uses yet, or not on lists: a graph of all of them, over list elements and over samples.
#[test]
fn every_operation_over_lists_and_over_samples() {
    let offsets = [0, 3, 3, 4, 9, 11, 11, 16, 20, 24, 30, 31, 36];
    let (rows, count) = (12, 36);
    let (mut graph, mut samples) = (Graph::new(), Samples::new(rows, 2));
    let mut lists = Vec::new();
    for (seed, offsets, count) in [(1, Some(&offsets[..]), count), (2, None, rows)] {
        let x = samples.leaf(&mut graph, &normal(Seed(seed), count * 5, 1.0), 5, offsets);
        let other = samples.leaf(&mut graph, &normal(Seed(seed).at(1), count * 5, 1.0), 5, offsets);
        let y = graph.scope(format!("{seed}"), |graph| everything(graph, x, other));
        lists.push(y);
    }
    let pooled = [Pooling::Mean, Pooling::Sum, Pooling::Max].map(|pooling| graph.pool(lists[0], pooling));
    let attended = graph.attention_pool(lists[0], lists[1], &[4], Activation::Sigmoid, true);
    let last = graph.scope("gru", |graph| graph.gru(lists[0], 5));
    let states = graph.scope("states", |graph| graph.gru_states(lists[0], 5));
    let states = graph.pool(states, Pooling::Mean);
    let all = graph.concat(&[pooled[0], pooled[1], pooled[2], attended, lists[1], last, states]);
    let crossed = graph.factorization_machine(all, 5);
    let sum = graph.row_sum(all);
    let z = graph.add(crossed, sum);
    let z = graph.unary(Unary::Scale(0.1), z);
    let z = graph.unary(Unary::Tanh, z);
    let below = graph.unary(Unary::LogSigmoid, z);
    for (task, kind, value) in [
        (0, LossKind::BinaryCrossEntropy, z),
        (0, LossKind::BinaryCrossEntropyOfLog, below),
        (1, LossKind::Squared, z),
        (1, LossKind::Poisson, z),
    ] {
        let loss = graph.loss(kind, value, task);
        graph.minimize("loss", loss, Some(task), 1.0);
    }
    for (row, labels) in samples.batch.labels.chunks_exact_mut(2).enumerate() {
        labels.copy_from_slice(&[f32::from(row % 3 == 0), if row == 5 { f32::NAN } else { row as f32 * 0.3 }]);
    }
    samples.batch.weight = (0..rows).map(|row| 0.5 + (row % 4) as f32).collect();
    let network = network(&graph, Seed(7));
    Check::new("every operation", &graph, Some(Seed(8))).run(&network, &samples).unwrap();

    let mut names: Vec<String> = graph.nodes().iter().map(|node| name_of(&node.op)).collect();
    names.sort();
    names.dedup();
    // All variants of `Op` but `numeric`, which has no gradient, and those that slots use and that have no lists.
    let all = "attention_pool batch_norm binary concat cross dice dropout embed factorization_machine gru linear loss pool prelu row_sum \
        slice softmax unary unit_length";
    assert_eq!(names.join(" "), all);
}

fn name_of(op: &Op) -> String {
    match serde_json::to_value(op).unwrap() {
        Value::Object(tagged) => tagged.keys().next().unwrap().clone(),
        other => panic!("{other}"),
    }
}

fn everything(graph: &mut Graph, x: Node, other: Node) -> Node {
    let functions = [
        Unary::Sigmoid,
        Unary::Tanh,
        Unary::Relu,
        Unary::Softplus,
        Unary::LogSigmoid,
        Unary::Scale(-0.7),
        Unary::Shift(0.3),
        Unary::Clamp([-2.0, 2.0]),
    ];
    let mut y = graph.scope("linear", |graph| graph.linear(x, 5, Activation::Tanh));
    y = graph.scope("norm", |graph| graph.batch_norm(y, true, Activation::Sigmoid, 1e-5));
    y = graph.scope("plain norm", |graph| graph.batch_norm(y, false, Activation::None, 1e-5));
    y = graph.scope("dice", |graph| graph.dice(y));
    y = graph.scope("prelu", |graph| graph.prelu(y));
    y = graph.scope("cross", |graph| graph.cross(x, y));
    y = graph.dropout(y, 0.2);
    for function in functions {
        let z = graph.unary(function, y);
        y = graph.binary(Binary::Subtract, y, z);
    }
    let softmax = graph.softmax(other);
    let exp = graph.unary(Unary::Exp, softmax);
    y = graph.binary(Binary::Multiply, y, exp);
    let (left, right) = (graph.slice(y, 0, 2), graph.slice(y, 1, 3));
    let together = graph.concat(&[right, left]);
    let sum = graph.row_sum(together);
    let wide = graph.concat(&[together, sum, sum]);
    let wide = graph.unit_length(wide);
    graph.scope("last", |graph| graph.linear_without_bias(wide, 5))
}
