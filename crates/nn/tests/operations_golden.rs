//! Every operation against PyTorch in double precision: values, gradients, running statistics.
//!
//! `fixtures/operations.json` is written by `bench/peers/fixtures_nn.py`, whose docstring defines it.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Matrix, Samples, Stepped, assert_close, scores, set_state, set_weight, state_of, weight_of};
use kitestring_core::Seed;
use kitestring_nn::graph::{Domain, Graph, Value};
use kitestring_nn::kernels::activation::Activation;
use kitestring_nn::network::Network;
use kitestring_nn::ops::arithmetic::{Binary, Unary};
use kitestring_nn::ops::loss::LossKind;
use kitestring_nn::ops::pool::Pooling;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Cases of what the engine has no operation for: slots need none of them by itself (the softmax of a list and the
/// target beside each key are inside the attention).
const NOT_OPERATIONS: [&str; 4] = ["attention_prelu", "expand", "segment_softmax", "segment_softmax_extreme"];

type Matrices = BTreeMap<String, Matrix>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fixtures {
    format: u32,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    operation: String,
    attributes: Attributes,
    inputs: Matrices,
    weights: Matrices,
    constants: Matrices,
    outputs: Matrices,
    state_after: Matrices,
    upstream: Matrices,
    gradients: Matrices,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Attributes {
    activation: Option<String>,
    slope: Option<f32>,
    training: Option<bool>,
    momentum: Option<f32>,
    epsilon: Option<f32>,
    offsets: Option<Vec<u32>>,
    start: Option<usize>,
    end: Option<usize>,
    softmax: Option<bool>,
    fields: Option<usize>,
    dimension: Option<usize>,
    layers: Option<usize>,
}

/// A case's graph, before anything is done with its result.
struct Built {
    graph: Graph,
    samples: Samples,
    /// Table of each input.
    tables: BTreeMap<String, usize>,
    result: Value,
}

impl Case {
    /// Which inputs are list elements; the others have one row a sample.
    fn is_list(&self, input: &str) -> bool {
        self.attributes.offsets.is_some() && input != "target"
    }

    fn rows(&self) -> usize {
        match &self.attributes.offsets {
            Some(offsets) => offsets.len() - 1,
            None => self.inputs.values().next().unwrap().shape[0],
        }
    }

    fn leaves(&self) -> (Graph, Samples, BTreeMap<String, usize>, BTreeMap<String, Value>) {
        let (mut graph, mut samples) = (Graph::new(), Samples::new(self.rows(), 2));
        let (mut tables, mut values) = (BTreeMap::new(), BTreeMap::new());
        for (name, matrix) in &self.inputs {
            let offsets = self.attributes.offsets.as_deref().filter(|_| self.is_list(name));
            tables.insert(name.clone(), samples.tables.len());
            let value = samples.leaf(&mut graph, &matrix.floats(), matrix.shape[1], offsets);
            values.insert(name.clone(), value);
        }
        (graph, samples, tables, values)
    }

    fn build(&self) -> Built {
        let (mut graph, samples, tables, of) = self.leaves();
        let g = &mut graph;
        let attributes = &self.attributes;
        let result = match self.operation.as_str() {
            "linear" => self.linear(g, of["x"]),
            "batch_norm" => {
                assert_eq!(attributes.momentum, Some(0.1));
                g.batch_norm(of["x"], true, Activation::None, attributes.epsilon.unwrap())
            }
            "dice" => {
                assert_eq!((attributes.momentum, attributes.epsilon), (Some(0.1), Some(1e-8)));
                g.dice(of["x"])
            }
            "softmax" => g.softmax(of["x"]),
            "concat" => g.concat(&[of["a"], of["b"], of["c"]]),
            "slice" => {
                let start = attributes.start.unwrap();
                g.slice(of["x"], start, attributes.end.unwrap() - start)
            }
            "add" => g.add(of["a"], of["b"]),
            "sub" => g.binary(Binary::Subtract, of["a"], of["b"]),
            "mul" => g.binary(Binary::Multiply, of["a"], of["b"]),
            "sigmoid" => g.unary(Unary::Sigmoid, of["x"]),
            "tanh" => g.unary(Unary::Tanh, of["x"]),
            "log_sigmoid" => g.unary(Unary::LogSigmoid, of["x"]),
            "softplus" => g.unary(Unary::Softplus, of["x"]),
            "exp" => g.unary(Unary::Exp, of["x"]),
            "segment_sum" => g.pool(of["x"], Pooling::Sum),
            "segment_mean" => g.pool(of["x"], Pooling::Mean),
            "segment_max" => g.pool(of["x"], Pooling::Max),
            "attention_pooling" => {
                let hidden = |name: &String| name.ends_with(".weight");
                let layers = self.weights.keys().filter(|name| hidden(name)).count();
                let hidden: Vec<usize> =
                    (0..layers - 1).map(|layer| self.weights[&format!("attention.{layer}.weight")].shape[1]).collect();
                let activation = plain(attributes.activation.as_deref().unwrap());
                g.attention_pool(of["keys"], of["target"], &hidden, activation, attributes.softmax.unwrap())
            }
            "fm" => {
                let dimension = attributes.dimension.unwrap();
                assert_eq!(g.width(of["x"]), dimension * attributes.fields.unwrap());
                g.factorization_machine(of["x"], dimension)
            }
            "cross_layer" => g.cross(of["x0"], of["x"]),
            "cross_network" => (0..attributes.layers.unwrap())
                .fold(of["x"], |x, layer| g.scope(format!("cross.{layer}"), |g| g.cross(of["x"], x))),
            "gru" => g.gru(of["x"], self.units()),
            "gru_states" => {
                let states = g.gru_states(of["x"], self.units());
                let product = g.binary(Binary::Multiply, states, of["factors"]);
                g.pool(product, Pooling::Sum)
            }
            other => panic!("{}: no operation `{other}`", self.name),
        };
        Built { graph, samples, tables, result }
    }

    /// Of a recurrent network.
    fn units(&self) -> usize {
        self.weights["recurrent.weight"].shape[0]
    }

    fn linear(&self, g: &mut Graph, x: Value) -> Value {
        let outputs = self.weights["weight"].shape[1];
        match self.attributes.activation.as_deref().unwrap() {
            "prelu" | "leaky_relu" => {
                let y = g.linear(x, outputs, Activation::None);
                g.prelu(y)
            }
            "none" if !self.weights.contains_key("bias") => g.linear_without_bias(x, outputs),
            activation => g.linear(x, outputs, plain(activation)),
        }
    }

    /// Our name of a running statistic.
    fn state_name(&self, name: &str) -> String {
        if self.operation == "dice" { format!("dice.{name}") } else { name.to_owned() }
    }

    fn network(&self, graph: &Graph) -> Network {
        let mut network = Network::new(graph, Seed(1));
        for (name, matrix) in &self.weights {
            set_weight(graph, &mut network.weights, &ours(name), &matrix.floats());
        }
        if let Some(slope) = self.attributes.slope {
            let outputs = self.weights["weight"].shape[1];
            set_weight(graph, &mut network.weights, "slope", &vec![slope; outputs]);
        }
        for name in ["running_mean", "running_variance"] {
            if let Some(matrix) = self.constants.get(name) {
                set_state(graph, &mut network.state, &self.state_name(name), &matrix.floats());
            }
        }
        network
    }

    fn is_training(&self) -> bool {
        self.attributes.training != Some(false)
    }

    /// The result's columns, each as a loss and as an output.
    fn check_values(&self) {
        let Built { mut graph, mut samples, result, .. } = self.build();
        assert_eq!(graph.domain(result), Domain::Rows);
        let (rows, width) = (samples.batch.rows, graph.width(result));
        for column in 0..width {
            let value = graph.slice(result, column, 1);
            graph.output(format!("{column}"), value);
            graph.minimize("loss", value, Some(0), 1.0);
        }
        let network = self.network(&graph);
        let expected = self.outputs["y"].values();
        // Without recording: what scores. Statistics of the batch exist only when recording.
        let scored = scores(&graph, &network, &samples);
        if self.state_after.is_empty() {
            assert_close(&format!("{}: scores", self.name), &scored, &expected, 1e-4, 1e-6);
        }
        if !self.is_training() {
            return;
        }
        // With recording: a loss over one sample alone is that sample's value.
        let mut found = Vec::new();
        for row in 0..rows {
            samples.batch.weight = (0..rows).map(|other| if other == row { 1.0 } else { 0.0 }).collect();
            let stepped = Stepped::of(&graph, &network, &samples, None, 1);
            found.extend(stepped.report.losses.iter().map(|loss| *loss as f32));
        }
        assert_close(&format!("{}: values", self.name), &found, &expected, 1e-4, 1e-6);
    }

    /// `Σ upstream ⊙ result` as the loss: its gradients are those of the upstream gradient.
    fn check_gradients(&self) {
        let Built { mut graph, mut samples, tables, result } = self.build();
        let upstream = &self.upstream["y"];
        let upstream = samples.leaf(&mut graph, &upstream.floats(), upstream.shape[1], None);
        let product = graph.binary(Binary::Multiply, result, upstream);
        let sum = graph.row_sum(product);
        graph.minimize("loss", sum, Some(0), samples.batch.rows as f32);
        let network = self.network(&graph);
        let stepped = Stepped::of(&graph, &network, &samples, None, 1);
        self.compare(&graph, &stepped, &tables);
        for (name, expected) in &self.state_after {
            let found = state_of(&graph, &stepped.state, &self.state_name(name));
            assert_close(&format!("{}: {name}", self.name), found, &expected.values(), 1e-4, 1e-6);
        }
    }

    fn compare(&self, graph: &Graph, stepped: &Stepped, tables: &BTreeMap<String, usize>) {
        for (name, expected) in &self.gradients {
            let found = match tables.get(name) {
                Some(table) => &stepped.rows[*table],
                None => weight_of(graph, &stepped.network, &ours(name)),
            };
            assert_close(&format!("{}: gradient of {name}", self.name), found, &expected.values(), 1e-4, 1e-6);
        }
    }

    /// The operations that are losses: their value and gradients come out of a step as they are.
    fn check_loss(&self) {
        let (mut graph, mut samples, tables, of) = self.leaves();
        let upstream = self.upstream["loss"].floats()[0];
        let label = |name: &str| self.constants[name].floats();
        // Ours is half the square.
        let (factor, labels) = match self.operation.as_str() {
            "binary_cross_entropy" => {
                let value = graph.loss(LossKind::BinaryCrossEntropy, of["logits"], 0);
                graph.minimize("loss", value, Some(0), upstream);
                (1.0, vec![label("labels")])
            }
            "squared_error" => {
                let value = graph.loss(LossKind::Squared, of["predictions"], 0);
                graph.minimize("loss", value, Some(0), 2.0 * upstream);
                (2.0, vec![label("labels")])
            }
            "esmm" => {
                let click = graph.unary(Unary::LogSigmoid, of["logit_ctr"]);
                let conversion = graph.unary(Unary::LogSigmoid, of["logit_cvr"]);
                let both = graph.add(click, conversion);
                let value = graph.loss(LossKind::BinaryCrossEntropy, of["logit_ctr"], 0);
                graph.minimize("loss", value, Some(0), upstream);
                let value = graph.loss(LossKind::BinaryCrossEntropyOfLog, both, 1);
                graph.minimize("loss", value, Some(1), upstream);
                let both = label("click").iter().zip(label("conversion")).map(|(y, z)| y * z).collect();
                (1.0, vec![label("click"), both])
            }
            other => panic!("{}: no loss `{other}`", self.name),
        };
        for (row, samples) in samples.batch.labels.chunks_exact_mut(2).enumerate() {
            samples.iter_mut().zip(&labels).for_each(|(into, labels)| *into = labels[row]);
        }
        let network = self.network(&graph);
        let stepped = Stepped::of(&graph, &network, &samples, None, 1);
        let loss = factor * stepped.report.losses.iter().sum::<f64>();
        let expected = self.outputs["loss"].values();
        assert_close(&format!("{}: loss", self.name), &[loss as f32], &expected, 1e-4, 1e-6);
        self.compare(&graph, &stepped, &tables);
    }
}

fn plain(name: &str) -> Activation {
    match name {
        "none" => Activation::None,
        "relu" => Activation::Relu,
        "sigmoid" => Activation::Sigmoid,
        "tanh" => Activation::Tanh,
        other => panic!("no activation `{other}`"),
    }
}

/// Our name of a fixture's weight.
fn ours(name: &str) -> String {
    name.replace("alpha", "slope")
}

#[test]
fn operations_are_pytorchs() {
    let fixtures: Fixtures = serde_json::from_str(include_str!("fixtures/operations.json")).unwrap();
    assert_eq!(fixtures.format, 1);
    let mut left_out = Vec::new();
    for case in &fixtures.cases {
        if NOT_OPERATIONS.contains(&case.name.as_str()) {
            left_out.push(case.name.as_str());
        } else if case.outputs.contains_key("loss") {
            case.check_loss();
        } else {
            case.check_values();
            // With running statistics nothing is trained, so there is no gradient to compare.
            if case.is_training() {
                case.check_gradients();
            }
        }
    }
    left_out.sort_unstable();
    assert_eq!(left_out, NOT_OPERATIONS);
}
