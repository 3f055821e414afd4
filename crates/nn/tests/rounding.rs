//! Training that rounds as a device does: the forward pass is that of codes, and gradients go through rounding as if it were not there, but for
//! what is out of range.
#![allow(clippy::unwrap_used)]

mod common;

use common::model::{config, network, ranker, samples};
use common::{Samples, Threads, assert_close, normal, scores, weight_of};
use kitestring_core::Seed;
use kitestring_nn::engine::{OneWorker, Scorer, Trainer};
use kitestring_nn::graph::{Graph, Value};
use kitestring_nn::kernels::activation::Activation;
use kitestring_nn::network::Network;
use kitestring_nn::package::{Activations, Description, RowCodes};
use kitestring_nn::quantization::affine::Affine;
use kitestring_nn::quantization::calibrate::{Calibration, Observer};
use kitestring_nn::quantization::rounding::Rounding;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

/// All matrices in codes, and products by ranges that leave some of what was seen out.
fn description(config: &serde_json::Value, graph: &Graph, network: &Network, samples: &Samples) -> Description {
    let mut seen: BTreeMap<(String, usize), Observer> = BTreeMap::new();
    let mut scorer = Scorer::new(Arc::new(graph.clone()), 1);
    let mut observe = |weight, x: &[f32]| {
        let (name, row) = graph.name_of(weight).unwrap();
        seen.entry((name.to_owned(), row)).or_default().see(x).unwrap();
    };
    scorer.observe(&network.weights, &network.state, &samples.inputs(), &mut observe).unwrap();
    let codes = |((weight, row), seen): ((String, usize), Observer)| {
        let codes = seen.codes(Calibration::Percentile { share: 0.98 }).unwrap();
        Activations { weight, row, codes }
    };
    let matrices = graph.weights().iter().filter(|info| info.shape[0] > 1);
    Description {
        ranker: serde_json::from_value(config.clone()).unwrap(),
        scenarios: Vec::new(),
        rows: vec![RowCodes::F32; samples.tables.len()],
        coded: matrices.map(|info| info.name.clone()).collect(),
        activations: seen.into_iter().map(codes).collect(),
    }
}

/// A sum in another order may take an activation over the edge to the next code, which a few samples show and no more.
#[test]
fn forward_is_that_of_a_device() {
    let bodies = [
        json!({"type": "mlp", "units": [12, 7]}),
        json!({"type": "shared_bottom", "bottom": {"units": [9], "activation": "tanh"}, "towers": {"units": [5]}}),
        json!({"type": "mmoe", "experts": 3, "expert": {"units": [8]}, "towers": {"units": [6], "activation": "prelu"}}),
    ];
    let encoders = [
        json!({"type": "din", "attention": [8], "softmax": true}),
        json!({"type": "din", "attention": [16, 7], "activation": "tanh"}),
        json!({"type": "gru", "units": 5}),
        json!({"type": "din", "attention": [6, 5, 4], "activation": "sigmoid"}),
    ];
    for (body, encoder) in bodies.iter().cycle().zip(&encoders) {
        let written = json!({"dimension": 4, "encoder": encoder, "body": body});
        let ranker = ranker(&config(written.clone()));
        let (graph, samples) = (&ranker.graph, samples(&ranker, 300, Seed(1)));
        let mut network = network(graph, Seed(2));
        graph.fold(&mut network.weights);
        let rounding = description(&written, graph, &network, &samples).rounding(graph).unwrap();
        let codes = Arc::new(rounding.codes(&network.weights).unwrap());
        assert!(!codes.is_empty());

        let mut rounded = Network { weights: Vec::new(), state: network.state.clone() };
        rounding.round(&network.weights, &mut rounded.weights).unwrap();
        let mut scorer = Scorer::new(Arc::new(graph.clone()), 1).with_codes(codes);
        let mut device = Vec::new();
        scorer.score(&rounded.weights, &rounded.state, &samples.inputs(), &OneWorker, &mut device).unwrap();

        let outputs: Vec<Value> = graph.outputs().iter().map(|(_, value)| *value).collect();
        let trainer = |workers| Trainer::guided(Arc::new(graph.clone()), &outputs, 1.0, workers).unwrap();
        let mut trainer = trainer(2).with_rounding(Arc::new(rounding));
        let mut trained = Vec::new();
        let inputs = samples.inputs();
        trainer.forward(&rounded.weights, &rounded.state, &inputs, None, &Threads(2), &mut trained).unwrap();

        let near = |others: &[f32]| {
            let of_pairs = device.iter().zip(others);
            of_pairs.filter(|(device, other)| (*device - *other).abs() <= 1e-5 * device.abs()).count() as f64
                / device.len() as f64
        };
        let furthest =
            device.iter().zip(&trained).map(|(device, trained)| (device - trained).abs()).fold(0.0, f32::max);
        assert!(near(&trained) > 0.95 && furthest < 0.01, "{written}: {} {furthest}", near(&trained));
        let without = scores(graph, &network, &samples);
        assert!(near(&without) < 0.2, "{written}: {} without rounding", near(&without));
    }
}

/// What rounding did to numbers, one after another: a number in range was moved, one out of range replaced.
#[derive(Default)]
struct Tape {
    steps: Vec<Result<f64, f64>>,
    next: Option<usize>,
}

impl Tape {
    /// Rounds at the first pass; at others does what was done then, to whatever there is now.
    fn round(&mut self, x: f64, by: Affine) -> f64 {
        let Some(next) = &mut self.next else {
            let rounded = f64::from(by.decode(by.encode(x as f32)));
            self.steps.push(if by.holds(x as f32) { Ok(rounded - x) } else { Err(rounded) });
            return rounded;
        };
        *next += 1;
        match self.steps[*next - 1] {
            Ok(moved) => x + moved,
            Err(end) => end,
        }
    }
}

/// Attention over lists, and two layers upon it.
struct Case {
    graph: Graph,
    samples: Samples,
    offsets: Vec<u32>,
    list_of_row: Vec<u32>,
    softmax: bool,
    ranges: BTreeMap<(String, usize), Affine>,
    /// All weights, keys, targets.
    numbers: [Vec<f32>; 3],
}

const WIDTH: usize = 3;
const HIDDEN: [usize; 2] = [5, 4];

impl Case {
    fn new(softmax: bool, shared: bool) -> Self {
        let (offsets, rows) = (vec![0, 4, 4, 9, 11], if shared { 7 } else { 4 });
        let list_of_row: Vec<u32> = if shared { vec![0, 0, 1, 2, 2, 2, 3] } else { Vec::new() };
        let (mut graph, mut samples) = (Graph::new(), Samples::new(rows, 0));
        let (keys, target) = (normal(Seed(1), 11 * WIDTH, 1.0), normal(Seed(2), rows * WIDTH, 1.0));
        let keys_leaf = samples.leaf(&mut graph, &keys, WIDTH, Some(&offsets));
        samples.batch.sparse[0].list_of_row.clone_from(&list_of_row);
        let target_leaf = samples.leaf(&mut graph, &target, WIDTH, None);
        let pooled = graph.attention_pool(keys_leaf, target_leaf, &HIDDEN, Activation::Tanh, softmax);
        // The target is read once more, so that a gradient is added to.
        let both = graph.concat(&[pooled, target_leaf]);
        let hidden = graph.scope("below", |graph| graph.linear(both, 5, Activation::Sigmoid));
        let result = graph.scope("above", |graph| graph.linear(hidden, 2, Activation::None));
        graph.output("result", result);
        let mut weights = normal(Seed(3), graph.weight_count(), 0.6);
        graph.fold(&mut weights);
        let ends = [(-0.9, 1.3), (-0.6, 0.8), (-0.4, 0.6), (-1.1, 0.9), (0.2, 0.6)];
        let products = graph.products();
        assert_eq!(products.len(), ends.len(), "keys, products, a hidden layer, and two layers");
        let named = products.iter().map(|product| graph.name_of(*product).unwrap());
        let ranges = named
            .zip(ends)
            .map(|((name, row), (low, high))| ((name.to_owned(), row), Affine::of_range(low, high).unwrap()));
        let ranges = ranges.collect();
        Self { graph, samples, offsets, list_of_row, softmax, ranges, numbers: [weights, keys, target] }
    }

    fn rounding(&self) -> Rounding {
        let mut rounding = Rounding::default();
        for product in self.graph.products() {
            let (name, row) = self.graph.name_of(product).unwrap();
            rounding.inputs(product, self.ranges[&(name.to_owned(), row)]);
        }
        rounding
    }

    /// The graph by hand, in 64 bits.
    fn result(&self, [weights, keys, target]: [&[f64]; 3], tape: &mut Tape) -> Vec<f64> {
        let of = |name: &str| {
            let info = self.graph.weights().iter().find(|info| info.name == name).unwrap();
            weights[info.offset..info.offset + info.shape[0] * info.shape[1]].to_vec()
        };
        let range = |name: &str, row: usize| self.ranges[&(name.to_owned(), row)];
        let product = |x: &[f64], weight: &[f64]| -> Vec<f64> {
            let columns = weight.len() / x.len();
            (0..columns).map(|c| x.iter().enumerate().map(|(k, x)| x * weight[k * columns + c]).sum()).collect()
        };
        let plus = |a: &[f64], b: &[f64]| -> Vec<f64> { a.iter().zip(b).map(|(a, b)| a + b).collect() };
        let first = of("attention.0.weight");
        let block = |number: usize| &first[number * WIDTH * HIDDEN[0]..(number + 1) * WIDTH * HIDDEN[0]];
        let rounded =
            |x: &[f64], by: Affine, tape: &mut Tape| -> Vec<f64> { x.iter().map(|x| tape.round(*x, by)).collect() };
        let parts: Vec<Vec<f64>> = keys
            .chunks(WIDTH)
            .map(|key| product(&rounded(key, range("attention.0.weight", 0), tape), block(0)))
            .collect();
        let mut results = Vec::new();
        for (row, target) in target.chunks(WIDTH).enumerate() {
            let list = self.list_of_row.get(row).map_or(row, |list| *list as usize);
            let list = self.offsets[list] as usize..self.offsets[list + 1] as usize;
            let mut scores = Vec::new();
            for element in list.clone() {
                let key = &keys[element * WIDTH..(element + 1) * WIDTH];
                let products: Vec<f64> = key.iter().zip(target).map(|(k, t)| k * t).collect();
                let products = rounded(&products, range("attention.0.weight", 3 * WIDTH), tape);
                let sum = plus(&plus(&parts[element], &product(&products, block(3))), &product(target, block(1)));
                let sum = plus(&sum, &of("attention.0.bias"));
                let hidden: Vec<f64> = sum.iter().map(|x| x.tanh()).collect();
                let hidden = rounded(&hidden, range("attention.1.weight", 0), tape);
                let sum = plus(&product(&hidden, &of("attention.1.weight")), &of("attention.1.bias"));
                let hidden: Vec<f64> = sum.iter().map(|x| x.tanh()).collect();
                scores.push(product(&hidden, &of("attention.2.weight"))[0] + of("attention.2.bias")[0]);
            }
            if self.softmax {
                scores.iter_mut().for_each(|score| *score = (*score / (WIDTH as f64).sqrt()).exp());
                let sum: f64 = scores.iter().sum();
                scores.iter_mut().for_each(|score| *score /= sum);
            }
            let mut both = vec![0.0; WIDTH];
            for (element, score) in list.zip(&scores) {
                both.iter_mut().enumerate().for_each(|(at, sum)| *sum += score * keys[element * WIDTH + at]);
            }
            both.extend_from_slice(target);
            let both = rounded(&both, range("below.weight", 0), tape);
            let sum = plus(&product(&both, &of("below.weight")), &of("below.bias"));
            let hidden: Vec<f64> = sum.iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect();
            let hidden = rounded(&hidden, range("above.weight", 0), tape);
            results.extend(plus(&product(&hidden, &of("above.weight")), &of("above.bias")));
        }
        results
    }
}

/// By differences of a function that moves what was rounded as far as rounding did, and holds what was out of range.
#[test]
fn gradients_go_straight_through_where_codes_reach() {
    for (softmax, shared) in [(false, false), (true, false), (false, true), (true, true)] {
        let case = Case::new(softmax, shared);
        let numbers: Vec<Vec<f64>> =
            case.numbers.iter().map(|numbers| numbers.iter().map(|x| f64::from(*x)).collect()).collect();
        let mut tape = Tape::default();
        let expected = case.result([&numbers[0], &numbers[1], &numbers[2]], &mut tape);
        let out = tape.steps.iter().filter(|step| step.is_err()).count();
        assert!(
            10 * out > tape.steps.len() && 2 * out < tape.steps.len(),
            "{out} of {} out of range",
            tape.steps.len()
        );

        let rounding = Arc::new(case.rounding());
        let mut trainer = Trainer::of_result(Arc::new(case.graph.clone()), 1).unwrap().with_rounding(rounding);
        let (weights, inputs, mut found) = (&case.numbers[0], case.samples.inputs(), Vec::new());
        let slopes = normal(Seed(7), expected.len(), 1.0);
        // Twice: a warm step must not see the one before.
        for _ in 0..2 {
            trainer.forward(weights, &[], &inputs, None, &OneWorker, &mut found).unwrap();
            trainer.backward(weights, &mut [], &inputs, None, &slopes, &OneWorker).unwrap();
        }
        assert_close("forward", &found, &expected, 1e-6, 0.0);

        let gradients = trainer.gradients();
        let found = [&*gradients.network, &gradients.rows[0], &gradients.rows[1]];
        for (which, name) in ["weights", "keys", "targets"].into_iter().enumerate() {
            let slope = |at: usize| {
                let mut at_step = |step: f64| {
                    let mut numbers = numbers.clone();
                    numbers[which][at] += step;
                    tape.next = Some(0);
                    let results = case.result([&numbers[0], &numbers[1], &numbers[2]], &mut tape);
                    results.iter().zip(&slopes).map(|(result, slope)| result * f64::from(*slope)).sum::<f64>()
                };
                (at_step(1e-5) - at_step(-1e-5)) / 2e-5
            };
            let expected: Vec<f64> = (0..numbers[which].len()).map(slope).collect();
            assert_close(name, found[which], &expected, 2e-5, 0.0);
            assert!(expected.iter().any(|slope| slope.abs() > 0.01), "{name}");
        }
        // What was folded away stays away.
        let of_first = weight_of(&case.graph, found[0], "attention.0.weight");
        assert!(of_first[2 * WIDTH * HIDDEN[0]..3 * WIDTH * HIDDEN[0]].iter().all(|gradient| *gradient == 0.0));
    }
}

#[test]
fn a_number_is_held_where_a_code_is_near() {
    let by = Affine::of_range(-1.0, 3.0).unwrap();
    for x in [-1.0, 0.0, 1.7, 3.0, 3.0 + 0.2 * by.scale, -1.0 - 0.4 * by.scale] {
        assert!(by.holds(x), "{x}");
    }
    for x in [3.0 + by.scale, -1.0 - by.scale, 1e30, f32::NAN, f32::NEG_INFINITY] {
        assert!(!by.holds(x), "{x}");
    }
    let rectified = Affine::of_range(0.0, 5.0).unwrap();
    assert!(rectified.holds(0.0) && !rectified.holds(-0.1));
}
