//! What must not change a result: workers, tiles, shared lists, recording. And what must be refused.
#![allow(clippy::unwrap_used)]

mod common;

use common::model::{config, network, ranker, samples};
use common::{Samples, Stepped, Threads, assert_close, assert_same, normal, scores, state_of};
use kitestring_core::Seed;
use kitestring_core::error::Kind;
use kitestring_nn::engine::{OneWorker, Scorer, Shown, Trainer};
use kitestring_nn::graph::Graph;
use kitestring_nn::kernels::activation::Activation;
use kitestring_nn::network::Network;
use kitestring_nn::ops::Op;
use kitestring_nn::ops::arithmetic::Binary;
use kitestring_nn::ops::pool::Pooling;
use kitestring_nn::ranker::{ModelConfig, Ranker};
use serde_json::json;
use std::sync::Arc;

/// Rankers that together have every operation.
fn rankers() -> Vec<(&'static str, Ranker)> {
    let small = json!({"type": "mlp", "units": [6, 5]});
    let din = json!({"type": "din", "attention": [6, 5]});
    let softmax = json!({"type": "din", "attention": [16, 5], "activation": "sigmoid", "softmax": true});
    let wide = json!({"type": "din", "attention": [48, 16]});
    let configs = [
        ("din", json!({"dimension": 4, "encoder": din, "body": small, "head": {"type": "esmm"}})),
        // Keys as wide as a vector register: small products take another path.
        ("wide", json!({"dimension": 8, "encoder": wide, "body": small})),
        ("softmax", json!({"dimension": 8, "encoder": softmax, "body": small})),
        (
            "max",
            json!({"dimension": 4, "encoder": {"type": "pool", "pooling": "max"}, "body": small,
                "head": {"type": "heteroscedastic"}}),
        ),
        (
            "fm",
            json!({"dimension": 4, "encoder": {"type": "fm"}, "body": small,
                "bias": {"type": "position", "positions": 6, "dropout": 0.2, "crossed": ["user"]}}),
        ),
        (
            "cross",
            json!({"dimension": 4, "encoder": {"type": "cross", "layers": 2}, "body": small, "loss": {"type": "uncertainty"}}),
        ),
        (
            "batch norm",
            json!({"dimension": 4, "encoder": din, "head": {"type": "esmm"},
                "body": {"type": "mlp", "units": [6, 5], "batch_norm": true, "dropout": 0.3, "activation": "prelu"}}),
        ),
        (
            "dice",
            json!({"dimension": 4, "encoder": {"type": "cross", "structure": "stacked", "pooling": "sum"},
                "body": {"type": "mlp", "units": [6, 5], "activation": "dice", "dropout": 0.3}}),
        ),
        (
            "ple",
            json!({"dimension": 4, "body": {"type": "ple", "shared_experts": 2, "task_experts": 1, "expert": {"units": [6, 5]},
                "towers": {"units": [3]}}}),
        ),
        (
            "sparse",
            json!({"dimension": 4, "body": {"type": "sparse_moe", "experts": 5, "expert": {"units": [6]}, "towers": {"units": [3]}}}),
        ),
        (
            "two levels",
            json!({"dimension": 4, "body": {"type": "sparse_moe", "experts": 6, "groups": 3, "expert": {"units": [6]}}}),
        ),
        (
            "mmoe",
            json!({"dimension": 4, "head": {"type": "esmm"},
                "body": {"type": "mmoe", "experts": 3, "expert": {"units": [6], "dropout": 0.3}}}),
        ),
        (
            "cross stitch",
            json!({"dimension": 4, "body": {"type": "cross_stitch", "towers": {"units": [6, 5], "dropout": 0.3}}}),
        ),
        (
            "star",
            json!({"dimension": 4, "body": {"type": "star", "layers": {"units": [6, 5], "dropout": 0.3},
                "auxiliary": {"units": [4]}}}),
        ),
        (
            "plain star",
            json!({"dimension": 4, "encoder": {"type": "cross", "layers": 1}, "body": {"type": "star",
                "partitioned_norm": false, "layers": {"units": [6, 5], "activation": "tanh"}}}),
        ),
        (
            "hmoe",
            json!({"dimension": 4, "encoder": {"type": "fm"}, "head": {"type": "esmm"},
                "body": {"type": "hmoe", "experts": 3, "expert": {"units": [6]}, "towers": {"units": [4]}}}),
        ),
        (
            "aesm2",
            json!({"dimension": 4, "body": {"type": "aesm2", "gate_batch_norm": false, "noise": 0.0,
                "scenarios": {"experts": 5, "expert": {"units": [6]}, "specific": 1, "shared": 1}}}),
        ),
        // So many weights that tiles are made larger for them.
        (
            "many experts",
            json!({"dimension": 4, "body": {"type": "aesm2", "gate_batch_norm": false, "noise": 0.0, "tasks": {"layers": 0},
                "scenarios": {"layers": 1, "experts": 24, "expert": {"units": [128, 96]}, "specific": 1, "shared": 1}}}),
        ),
        ("gru", json!({"dimension": 4, "encoder": {"type": "gru", "units": 6}, "body": small})),
        (
            "latent cross",
            json!({"dimension": 8, "body": small, "encoder": {"type": "gru_latent_cross", "units": 16,
                "event_contexts": ["category_history"], "contexts": ["user", "category"]}}),
        ),
    ];
    configs.into_iter().map(|(name, json)| (name, ranker(&config(json)))).collect()
}

const MANY: usize = 1300;

/// Whether a sample's result depends on the others of its batch.
fn has_batch_statistics(ranker: &Ranker) -> bool {
    ranker
        .graph
        .nodes()
        .iter()
        .any(|node| matches!(node.op, Op::BatchNorm(_) | Op::PartitionedNorm(_) | Op::Balance(_)))
}

fn assert_same_step(what: &str, found: &Stepped, expected: &Stepped, relative: f64) {
    let losses = |step: &Stepped| step.report.losses.iter().map(|loss| *loss as f32).collect::<Vec<_>>();
    assert_same(&format!("{what}: losses"), &losses(found), &losses(expected), relative);
    assert_same(&format!("{what}: network"), &found.network, &expected.network, relative);
    assert_same(&format!("{what}: state"), &found.state, &expected.state, relative);
    for (table, (found, expected)) in found.rows.iter().zip(&expected.rows).enumerate() {
        assert_same(&format!("{what}: rows of table {table}"), found, expected, relative);
    }
}

#[test]
fn workers_change_rounding_only_and_repeat_to_the_bit() {
    let mut other_rows = Vec::new();
    for (name, ranker) in rankers() {
        let samples = samples(&ranker, MANY, Seed(5));
        let network = network(&ranker.graph, Seed(6));
        let graph = &ranker.graph;
        let one = Stepped::of(graph, &network, &samples, Some(Seed(7)), 1);
        for workers in [2, 3, 8] {
            let mut trainer = Trainer::new(Arc::new(graph.clone()), workers);
            let some = Stepped::again(&mut trainer, &network, &samples, Some(Seed(7)), workers);
            // Dropout depends on no worker either: else this would differ by far more than rounding.
            assert_same_step(&format!("{name}, {workers} workers"), &some, &one, 1e-5);
            // A row's gradient is summed over its occurrences, in their order, whoever found them.
            if !has_batch_statistics(&ranker) && some.rows != one.rows {
                other_rows.push(format!("{name}, {workers} workers"));
            }
            // A warm trainer, and a new one.
            assert!(some == Stepped::again(&mut trainer, &network, &samples, Some(Seed(7)), workers), "{name}");
            assert!(some == Stepped::of(graph, &network, &samples, Some(Seed(7)), workers), "{name}");
        }
    }
    assert!(other_rows.is_empty(), "gradients of rows differ: {other_rows:?}");
}

#[test]
fn workers_do_not_change_scores() {
    for (name, ranker) in rankers() {
        let samples = samples(&ranker, MANY, Seed(5));
        let network = network(&ranker.graph, Seed(6));
        let one = scores(&ranker.graph, &network, &samples);
        assert_eq!(one.len(), MANY * ranker.graph.outputs().len());
        for workers in [2, 3] {
            let mut some = Vec::new();
            Scorer::new(Arc::new(ranker.graph.clone()), workers)
                .score(&network.weights, &network.state, &samples.inputs(), &Threads(workers), &mut some)
                .unwrap();
            assert_eq!(one, some, "{name}");
        }
    }
}

/// A sample's part of a batch.
fn only(samples: &Samples, row: usize) -> Samples {
    let mut one = samples.clone();
    one.batch.rows = 1;
    one.batch.labels = samples.batch.labels[4 * row..4 * row + 4].to_vec();
    one.batch.position = vec![samples.batch.position[row]];
    one.batch.scenarios = samples.batch.scenarios[2 * row..2 * row + 2].to_vec();
    one.batch.numeric = samples.batch.numeric[2 * row..2 * row + 2].to_vec();
    one.batch.index = vec![samples.batch.index[row]];
    for (feature, (ids, lookups)) in one.batch.sparse.iter_mut().zip(&mut one.lookups).enumerate() {
        let from = &samples.batch.sparse[feature];
        let range =
            if from.is_ragged() { from.offsets[row] as usize..from.offsets[row + 1] as usize } else { row..row + 1 };
        ids.ids = from.ids[range.clone()].to_vec();
        *lookups = samples.lookups[feature][range].to_vec();
        if from.is_ragged() {
            ids.offsets = vec![0, ids.ids.len() as u32];
        }
    }
    one
}

/// Without statistics of the batch, a batch is the mean of its samples: tiles and their edges are invisible, and a
/// batch of one sample works.
#[test]
fn a_batch_is_the_mean_of_its_samples() {
    for (name, ranker) in rankers() {
        if has_batch_statistics(&ranker) {
            continue;
        }
        let mut samples = samples(&ranker, MANY, Seed(8));
        // Then all losses are means over the same samples.
        samples.batch.labels.iter_mut().for_each(|label| *label = if label.is_nan() { 0.0 } else { *label });
        let network = network(&ranker.graph, Seed(9));
        let whole = Stepped::of(&ranker.graph, &network, &samples, None, 1);
        let graph = Arc::new(ranker.graph.clone());
        let (mut trainer, mut scorer) = (Trainer::new(graph.clone(), 1), Scorer::new(graph.clone(), 1));
        let mut network_mean = vec![0.0; graph.weight_count()];
        let mut rows_mean: Vec<Vec<f64>> = samples.tables.iter().map(|table| vec![0.0; table.len()]).collect();
        let mut loss_means = vec![0.0; graph.losses().len()];
        let (mut of_rows, mut of_row) = (Vec::new(), Vec::new());
        for row in 0..MANY {
            let one = only(&samples, row);
            scorer.score(&network.weights, &network.state, &one.inputs(), &OneWorker, &mut of_row).unwrap();
            of_rows.extend_from_slice(&of_row);
            let step = Stepped::again(&mut trainer, &network, &one, None, 1);
            let add = |mean: &mut [f64], grads: &[f32]| {
                mean.iter_mut().zip(grads).for_each(|(mean, g)| *mean += f64::from(*g) / MANY as f64);
            };
            add(&mut network_mean, &step.network);
            rows_mean.iter_mut().zip(&step.rows).for_each(|(mean, grads)| add(mean, grads));
            let losses = loss_means.iter_mut().zip(&step.report.losses);
            losses.for_each(|(mean, loss)| *mean += loss / MANY as f64);
        }
        assert_same(&format!("{name}: scores"), &scores(&graph, &network, &samples), &of_rows, 1e-5);
        assert_close(&format!("{name}: network"), &whole.network, &network_mean, 1e-5, 1e-9);
        for (found, expected) in whole.rows.iter().zip(&rows_mean) {
            assert_close(&format!("{name}: rows"), found, expected, 1e-5, 1e-9);
        }
        for (found, expected) in whole.report.losses.iter().zip(&loss_means) {
            assert!((found - expected).abs() < 1e-6 * expected.abs().max(1.0), "{name}: {found} {expected}");
        }
    }
}

/// Normalized columns and what their backward pass needs, by the textbook's formula in double precision.
struct Normalized {
    width: usize,
    rows: usize,
    mean: Vec<f64>,
    variance: Vec<f64>,
    normal: Vec<f64>,
    inverse: Vec<f64>,
}

impl Normalized {
    fn new(x: &[f32], width: usize, epsilon: f64) -> Self {
        let rows = x.len() / width;
        let column = |c: usize| x.iter().skip(c).step_by(width).map(|x| f64::from(*x));
        let mean: Vec<f64> = (0..width).map(|c| column(c).sum::<f64>() / rows as f64).collect();
        let squares = |c: usize| column(c).map(|x| (x - mean[c]) * (x - mean[c])).sum::<f64>();
        let variance: Vec<f64> = (0..width).map(|c| squares(c) / rows as f64).collect();
        let inverse: Vec<f64> = variance.iter().map(|variance| 1.0 / (variance + epsilon).sqrt()).collect();
        let normal = x.iter().enumerate();
        let normal = normal.map(|(at, x)| (f64::from(*x) - mean[at % width]) * inverse[at % width]).collect();
        Self { width, rows, mean, variance, normal, inverse }
    }

    /// From the gradient of the normalized columns to that of the columns.
    fn back(&self, grad: &[f64]) -> Vec<f64> {
        let mean_of = |c: usize, f: &dyn Fn(usize) -> f64| {
            (0..self.rows).map(|row| f(row * self.width + c)).sum::<f64>() / self.rows as f64
        };
        let sums: Vec<f64> = (0..self.width).map(|c| mean_of(c, &|at| grad[at])).collect();
        let products: Vec<f64> = (0..self.width).map(|c| mean_of(c, &|at| grad[at] * self.normal[at])).collect();
        let each = |(at, g): (usize, &f64)| {
            let c = at % self.width;
            self.inverse[c] * (g - sums[c] - self.normal[at] * products[c])
        };
        grad.iter().enumerate().map(each).collect()
    }

    /// The running statistics after one batch, from 0 and 1.
    fn running(&self) -> Vec<f64> {
        let unbiased = self.rows as f64 / (self.rows as f64 - 1.0);
        let means = self.mean.iter().map(|mean| 0.1 * mean);
        means.chain(self.variance.iter().map(|variance| 0.9 + 0.1 * variance * unbiased)).collect()
    }
}

/// `Σ upstream ⊙ f(x)` over a batch that is cut into several tiles, for an `f` with statistics of the whole batch.
fn whole_batch(
    workers: usize,
    record: impl Fn(&mut Graph, kitestring_nn::graph::Value) -> kitestring_nn::graph::Value,
) {
    let width = 3;
    // A mean far from zero, where sums of squares would lose their digits.
    let x: Vec<f32> = normal(Seed(20), MANY * width, 1.0).into_iter().map(|x| x + 30.0).collect();
    let upstream = normal(Seed(21), MANY * width, 1.0);
    let (mut graph, mut samples) = (Graph::new(), Samples::new(MANY, 1));
    let leaf = samples.leaf(&mut graph, &x, width, None);
    let y = record(&mut graph, leaf);
    let weights = samples.leaf(&mut graph, &upstream, width, None);
    let product = graph.binary(Binary::Multiply, y, weights);
    let sum = graph.row_sum(product);
    graph.minimize("loss", sum, Some(0), MANY as f32);
    let mut network = Network::new(&graph, Seed(1));
    let noise = normal(Seed(22), network.weights.len(), 0.5);
    network.weights.iter_mut().zip(&noise).for_each(|(weight, noise)| *weight += noise);
    let step = Stepped::of(&graph, &network, &samples, None, workers);

    let dice = graph.weights().len() == 1;
    let normalized = Normalized::new(&x, width, if dice { 1e-8 } else { 1e-5 });
    let (mut loss, mut network_grad, mut normal_grad) = (0.0, vec![0.0; network.weights.len()], Vec::new());
    let mut direct = vec![0.0; x.len()];
    for (at, n) in normalized.normal.iter().enumerate() {
        let (c, g, x) = (at % width, f64::from(upstream[at]), f64::from(x[at]));
        let weight = |row: usize| f64::from(network.weights[row * width + c]);
        if dice {
            let (slope, p) = (weight(0), 1.0 / (1.0 + (-n).exp()));
            loss += g * (p * x + (1.0 - p) * slope * x);
            network_grad[c] += g * (1.0 - p) * x;
            direct[at] = g * (p + (1.0 - p) * slope);
            normal_grad.push(g * x * (1.0 - slope) * p * (1.0 - p));
        } else {
            loss += g * (weight(0) * n + weight(1));
            network_grad[c] += g * n;
            network_grad[width + c] += g;
            normal_grad.push(g * weight(0));
        }
    }
    let rows_grad: Vec<f64> =
        normalized.back(&normal_grad).iter().zip(&direct).map(|(through, direct)| through + direct).collect();
    let found = step.report.losses[0] * MANY as f64;
    assert!((found - loss).abs() < 1e-4 * loss.abs().max(1.0), "{found} {loss}");
    assert_close("weights", &step.network, &network_grad, 1e-4, 0.0);
    assert_close("rows", &step.rows[0], &rows_grad, 1e-4, 0.0);
    assert_close("running", &step.state, &normalized.running(), 1e-5, 0.0);
}

/// One row is no sample of a distribution: it is normalized by the running statistics, through which no gradient goes.
#[test]
fn one_row_is_normalized_by_running_statistics() {
    let mut samples = Samples::new(1, 1);
    samples.batch.scenarios = vec![2];
    for partitioned in [false, true] {
        let (mut graph, mut samples) = (Graph::new(), samples.clone());
        let x = samples.leaf(&mut graph, &[3.0, -1.0], 2, None);
        let y = if partitioned {
            graph.partitioned_norm(x, 0, 3)
        } else {
            graph.batch_norm(x, true, Activation::None, 0.0)
        };
        let sum = graph.row_sum(y);
        graph.minimize("loss", sum, Some(0), 1.0);
        let mut network = Network::new(&graph, Seed(1));
        let [mut means, mut variances] = [vec![1.0, 1.0], vec![4.0, 0.25]];
        if partitioned {
            // The second of three domains.
            means = [[7.0, 7.0], [1.0, 1.0], [7.0, 7.0]].concat();
            variances = [[9.0, 9.0], [4.0, 0.25], [9.0, 9.0]].concat();
        }
        common::set_state(&graph, &mut network.state, "running_mean", &means);
        common::set_state(&graph, &mut network.state, "running_variance", &variances);
        let step = Stepped::of(&graph, &network, &samples, None, 1);
        // (3 − 1) / 2 + (−1 − 1) / 0.5.
        assert!((step.report.losses[0] + 3.0).abs() < 1e-3, "{}", step.report.losses[0]);
        assert_close("x", &step.rows[0], &[0.5, 2.0], 1e-3, 0.0);
        let at = if partitioned { 2 } else { 0 };
        let running = |name: &str| state_of(&graph, &step.state, name)[at..at + 2].to_vec();
        assert_close("mean", &running("running_mean"), &[1.2, 0.8], 1e-6, 0.0);
        // The squared distances from the running means are 4 and 4.
        assert_close("variance", &running("running_variance"), &[4.0, 0.9 * 0.25 + 0.4], 1e-6, 0.0);
    }
}

/// Statistics that many batches were begun on may be merged with all of them: the variance stays between those of the batches.
#[test]
fn what_is_merged_is_a_convex_combination() {
    let draw = |deviation: f32| {
        let (mut graph, mut samples) = (Graph::new(), Samples::new(MANY, 1));
        samples.batch.scenarios = (0..MANY as u32).map(|row| row % 2 + 1).collect();
        let x = samples.leaf(&mut graph, &normal(Seed(23), MANY * 2, deviation), 2, None);
        let (first, second) = (graph.batch_norm(x, false, Activation::None, 1e-5), graph.partitioned_norm(x, 0, 2));
        let both = graph.concat(&[first, second]);
        let sum = graph.row_sum(both);
        graph.minimize("loss", sum, Some(0), 1.0);
        (graph, samples)
    };
    let (graph, wide) = draw(3.0);
    let narrow = draw(0.1).1;
    let network = Network::new(&graph, Seed(1));
    let mut state = network.state.clone();
    for round in 0..4 {
        // 64 workers whose batches have seen the same statistics, wide ones and then narrow ones.
        let old = state.clone();
        for samples in [&wide, &narrow] {
            let mut trainer = Trainer::new(Arc::new(graph.clone()), 1);
            trainer.step(&network.weights, &mut old.clone(), &samples.inputs(), None, &Threads(1)).unwrap();
            (0..32).for_each(|_| trainer.merge_statistics(&mut state));
        }
        for info in graph.states().iter().filter(|info| info.name.ends_with("running_variance")) {
            for variance in &state[info.offset..info.offset + info.len] {
                assert!((0.009..1.0).contains(variance), "round {round}: {} is {variance}", info.name);
            }
        }
    }
}

#[test]
fn statistics_are_those_of_the_whole_batch() {
    for workers in [1, 3] {
        whole_batch(workers, |graph, x| graph.batch_norm(x, true, Activation::None, 1e-5));
        whole_batch(workers, |graph, x| graph.dice(x));
    }
}

/// Samples that share lists give what samples with their own copies give, forward and back, also across tiles and
/// with a list that no sample has.
#[test]
fn shared_lists_are_copies() {
    for (name, ranker) in rankers() {
        let few = samples(&ranker, 90, Seed(30));
        // Runs of samples with one list each; list 3 is nobody's.
        let list_of_row: Vec<u32> =
            (0..MANY as u32).map(|row| row * 90 / MANY as u32).map(|list| if list == 3 { 4 } else { list }).collect();
        let mut copies = samples(&ranker, MANY, Seed(31));
        copies.tables.clone_from(&few.tables);
        let mut shared = copies.clone();
        for feature in [3, 4, 5] {
            let ids = &few.batch.sparse[feature];
            shared.batch.sparse[feature] = ids.clone();
            shared.batch.sparse[feature].list_of_row.clone_from(&list_of_row);
            shared.lookups[feature].clone_from(&few.lookups[feature]);
            let (copied, lookups) = (&mut copies.batch.sparse[feature], &mut copies.lookups[feature]);
            *copied = kitestring_core::batch::Ids { offsets: vec![0], ..Default::default() };
            lookups.clear();
            for list in &list_of_row {
                let range = ids.offsets[*list as usize] as usize..ids.offsets[*list as usize + 1] as usize;
                copied.ids.extend_from_slice(&ids.ids[range.clone()]);
                lookups.extend_from_slice(&few.lookups[feature][range]);
                copied.offsets.push(copied.ids.len() as u32);
            }
        }
        // One of the features with one id a sample, too: the user of a request.
        shared.batch.sparse[0] = few.batch.sparse[0].clone();
        shared.batch.sparse[0].list_of_row.clone_from(&list_of_row);
        shared.lookups[0].clone_from(&few.lookups[0]);
        copies.batch.sparse[0].ids = list_of_row.iter().map(|list| few.batch.sparse[0].ids[*list as usize]).collect();
        copies.lookups[0] = list_of_row.iter().map(|list| few.lookups[0][*list as usize]).collect();

        let network = network(&ranker.graph, Seed(32));
        let (a, b) = (scores(&ranker.graph, &network, &shared), scores(&ranker.graph, &network, &copies));
        assert_same(&format!("{name}: scores"), &a, &b, 1e-6);
        // Twice with one trainer: what an earlier step left behind must not show.
        let mut trainer = Trainer::new(Arc::new(ranker.graph.clone()), 2);
        Stepped::again(&mut trainer, &network, &copies, Some(Seed(1)), 2);
        let a = Stepped::again(&mut trainer, &network, &shared, Some(Seed(1)), 2);
        let b = Stepped::of(&ranker.graph, &network, &copies, Some(Seed(1)), 2);
        assert_same_step(name, &a, &b, 1e-5);
    }
}

#[test]
fn scoring_is_the_recording_pass_without_dropout() {
    for (name, ranker) in rankers() {
        if has_batch_statistics(&ranker) {
            continue;
        }
        // The recorded value of each output, by a loss over one sample at a time.
        let mut graph = ranker.graph.clone();
        let outputs: Vec<_> = graph.outputs().iter().map(|(_, value)| *value).collect();
        let own = graph.losses().len();
        outputs.iter().for_each(|value| graph.minimize("loss", *value, Some(1), 0.0));
        let mut samples = samples(&ranker, 40, Seed(40));
        // A position counts in training only.
        samples.batch.position.fill(0);
        let network = network(&graph, Seed(41));
        let mut trainer = Trainer::new(Arc::new(graph.clone()), 1);
        let mut recorded = Vec::new();
        for row in 0..40 {
            samples.batch.weight = (0..40).map(|other| f32::from(other == row)).collect();
            let step = Stepped::again(&mut trainer, &network, &samples, None, 1);
            recorded.extend(step.report.losses[own..].iter().map(|loss| *loss as f32));
        }
        assert_same(name, &scores(&graph, &network, &samples), &recorded, 1e-6);
    }
}

#[test]
fn empty_histories_and_one_sample() {
    for (name, ranker) in rankers() {
        let network = network(&ranker.graph, Seed(50));
        for rows in [1, 7] {
            let mut samples = samples(&ranker, rows, Seed(51));
            for feature in [3, 4, 5] {
                samples.batch.sparse[feature].ids.clear();
                samples.batch.sparse[feature].offsets = vec![0; rows + 1];
                samples.lookups[feature].clear();
            }
            samples.batch.labels.iter_mut().for_each(|label| *label = if label.is_nan() { 0.0 } else { *label });
            let found = scores(&ranker.graph, &network, &samples);
            assert!(
                found.len() == rows * ranker.graph.outputs().len() && found.iter().all(|score| score.is_finite()),
                "{name}: {found:?}"
            );
            let step = Stepped::of(&ranker.graph, &network, &samples, Some(Seed(1)), 2);
            assert!(step.network.iter().chain(step.rows.iter().flatten()).all(|g| g.is_finite()), "{name}");
            // Tags are nobody's: their rows have no gradient.
            assert!(step.rows[3].iter().all(|g| *g == 0.0), "{name}");
        }
    }
}

#[test]
fn a_batch_without_samples_gives_nothing() {
    for (name, ranker) in rankers() {
        let samples = samples(&ranker, 0, Seed(55));
        let network = network(&ranker.graph, Seed(56));
        assert!(scores(&ranker.graph, &network, &samples).is_empty(), "{name}");
        let step = Stepped::of(&ranker.graph, &network, &samples, None, 2);
        assert!(step.network.iter().chain(step.rows.iter().flatten()).all(|g| *g == 0.0), "{name}");
        assert!(step.report.losses.iter().all(|loss| *loss == 0.0), "{name}");
    }
}

/// A weight of two is the sample twice, of zero the sample left out; likewise its label.
#[test]
fn weights_and_missing_labels() {
    let (_, ranker) = rankers().swap_remove(0);
    let network = network(&ranker.graph, Seed(60));
    let mut samples = samples(&ranker, 2, Seed(61));
    samples.batch.labels = vec![1.0, 1.0, 0.5, 2.0, 0.0, 0.0, -0.5, 1.0];
    let steps = |samples: &Samples| Stepped::of(&ranker.graph, &network, samples, None, 1);
    let (first, second) = (steps(&only(&samples, 0)), steps(&only(&samples, 1)));
    let mix = |a: f64, b: f64| -> Vec<f64> {
        first.network.iter().zip(&second.network).map(|(x, y)| a * f64::from(*x) + b * f64::from(*y)).collect()
    };
    samples.batch.weight = vec![2.0, 1.0];
    let step = steps(&samples);
    assert_eq!(step.report.labelled, [3.0; 4]);
    assert_close("weights 2 and 1", &step.network, &mix(2.0 / 3.0, 1.0 / 3.0), 1e-5, 1e-7);
    samples.batch.weight = vec![0.0, 5.0];
    assert_close("weights 0 and 5", &steps(&samples).network, &mix(0.0, 1.0), 1e-5, 1e-7);
    samples.batch.weight.clear();
    samples.batch.labels[4..].fill(f32::NAN);
    assert_close("no labels of the second", &steps(&samples).network, &mix(1.0, 0.0), 1e-5, 1e-7);
    assert_eq!(steps(&samples).report.labelled, [1.0; 4]);
    samples.batch.labels.fill(f32::NAN);
    let step = steps(&samples);
    assert_eq!((step.report.losses, step.report.labelled), (vec![0.0; 4], vec![0.0; 4]));
    assert!(step.network.iter().all(|g| *g == 0.0));
}

#[test]
fn a_loss_that_is_no_number_names_its_sample_and_changes_nothing() {
    for (name, ranker) in rankers() {
        let network = network(&ranker.graph, Seed(70));
        for workers in [1, 2] {
            let mut samples = samples(&ranker, MANY, Seed(71));
            samples.batch.labels.iter_mut().for_each(|label| *label = if label.is_nan() { 0.0 } else { *label });
            let mut trainer = Trainer::new(Arc::new(ranker.graph.clone()), workers);
            let mut step = |samples: &Samples, network: &Network| {
                let mut state = network.state.clone();
                let result = trainer.step(&network.weights, &mut state, &samples.inputs(), None, &Threads(workers));
                (result, state)
            };
            // Statistics of the batch spread a bad number to all samples; there a bad label shows one sample's.
            let bad_label = has_batch_statistics(&ranker);
            if bad_label {
                samples.batch.labels[4 * 1111 + 2] = f32::INFINITY;
            } else {
                samples.batch.numeric[2 * 1111] = f32::NAN;
            }
            let (result, state) = step(&samples, &network);
            let error = result.unwrap_err();
            assert_eq!(error.kind(), Kind::Numeric, "{name}");
            assert!(error.to_string().contains("2111"), "{name}: {error}");
            assert_eq!(state, network.state, "{name}");
            // And the trainer still works.
            samples.batch.labels[4 * 1111 + 2] = 0.0;
            samples.batch.numeric[2 * 1111] = 0.0;
            assert!(step(&samples, &network).0.is_ok(), "{name}");
        }
    }
}

#[test]
fn a_conversion_is_never_likelier_than_its_click() {
    let bias = json!({"type": "position"});
    let config = json!({"dimension": 4, "body": {"type": "mlp", "units": []}, "head": {"type": "esmm"}, "bias": bias});
    let ranker = ranker(&config_of(config));
    let samples = samples(&ranker, MANY, Seed(80));
    for scale in [1.0, 10.0, 100.0] {
        let mut network = network(&ranker.graph, Seed(81));
        network.weights.iter_mut().for_each(|weight| *weight *= scale);
        for row in scores(&ranker.graph, &network, &samples).chunks_exact(4) {
            assert!((0.0..=1.0).contains(&row[0]) && (0.0..=row[0]).contains(&row[1]), "{row:?}");
        }
    }
}

fn config_of(json: serde_json::Value) -> ModelConfig {
    config(json)
}

/// A value may be minimized and read by other operations, and minimized twice.
#[test]
fn a_loss_may_be_read_again() {
    let (mut graph, mut samples) = (Graph::new(), Samples::new(3, 1));
    let x = samples.leaf(&mut graph, &[1.0, 2.0, 3.0], 1, None);
    let square = graph.binary(Binary::Multiply, x, x);
    let cube = graph.binary(Binary::Multiply, square, x);
    graph.minimize("loss", square, Some(0), 3.0);
    graph.minimize("loss", cube, Some(0), 6.0);
    graph.minimize("loss", square, Some(0), 1.5);
    let step = Stepped::of(&graph, &Network::new(&graph, Seed(1)), &samples, None, 1);
    let expected: Vec<f64> = [1.0, 2.0, 3.0].iter().map(|x| 1.5 * 2.0 * x + 2.0 * 3.0 * x * x).collect();
    assert_close("gradient", &step.rows[0], &expected, 1e-6, 0.0);
}

/// What does not fit the graph is an error, not a panic and not a silent part of the work.
#[test]
fn what_does_not_fit_is_refused() {
    let bias = json!({"type": "position"});
    let ranker = ranker(&config(json!({"dimension": 4, "encoder": {"type": "din"}, "bias": bias})));
    let network = network(&ranker.graph, Seed(90));
    let good = samples(&ranker, 20, Seed(91));
    let refused = |change: &dyn Fn(&mut Samples)| {
        let mut samples = good.clone();
        change(&mut samples);
        let (mut state, mut found) = (network.state.clone(), Vec::new());
        let scored = Scorer::new(Arc::new(ranker.graph.clone()), 1).score(
            &network.weights,
            &network.state,
            &samples.inputs(),
            &OneWorker,
            &mut found,
        );
        let mut trainer = Trainer::new(Arc::new(ranker.graph.clone()), 1);
        let stepped = trainer.step(&network.weights, &mut state, &samples.inputs(), None, &OneWorker);
        (scored.is_err(), stepped.is_err())
    };
    assert_eq!(refused(&|_| {}), (false, false));
    assert_eq!(refused(&|samples| samples.batch.sparse.truncate(5)), (true, true));
    assert_eq!(refused(&|samples| samples.lookups[0][3] = 12), (true, true));
    assert_eq!(refused(&|samples| samples.batch.sparse[0].ids.push(1)), (true, true));
    assert_eq!(refused(&|samples| samples.batch.numeric.truncate(39)), (true, true));
    assert_eq!(refused(&|samples| samples.batch.labels.truncate(79)), (false, true));
    assert_eq!(refused(&|samples| samples.batch.labels.clear()), (false, true));
    assert_eq!(refused(&|samples| samples.batch.weight = vec![1.0; 3]), (false, true));
    assert_eq!(refused(&|samples| samples.batch.position.truncate(19)), (false, true));
    assert_eq!(refused(&|samples| samples.batch.sparse[3].list_of_row = vec![25; 20]), (true, true));
    assert_eq!(refused(&|samples| samples.batch.sparse[3].list_of_row = (0..20).rev().collect()), (true, true));
    assert_eq!(refused(&|samples| *samples.batch.sparse[5].offsets.last_mut().unwrap() += 1), (true, true));
    assert_eq!(refused(&|samples| samples.batch.sparse[5].offsets[1] = 1 << 20), (true, true));
    assert_eq!(refused(&|samples| samples.batch.sparse[4].offsets[1] += 1), (true, true));
}

/// More or fewer threads than were planned for would leave samples out.
#[test]
fn other_workers_than_planned_are_refused() {
    let (_, ranker) = rankers().swap_remove(0);
    let network = network(&ranker.graph, Seed(90));
    let samples = samples(&ranker, MANY, Seed(91));
    let (mut state, mut found) = (network.state.clone(), Vec::new());
    let mut scorer = Scorer::new(Arc::new(ranker.graph.clone()), 2);
    assert!(scorer.score(&network.weights, &state, &samples.inputs(), &OneWorker, &mut found).is_err());
    let mut trainer = Trainer::new(Arc::new(ranker.graph.clone()), 2);
    assert!(trainer.step(&network.weights, &mut state, &samples.inputs(), None, &OneWorker).is_err());
}

#[test]
fn attention_is_shown_for_every_element() {
    let (_, ranker) = rankers().swap_remove(2);
    let samples = samples(&ranker, MANY, Seed(95));
    let network = network(&ranker.graph, Seed(96));
    let mut scorer = Scorer::new(Arc::new(ranker.graph.clone()), 1);
    let (mut next, mut weights) = (0, Vec::new());
    let found = scorer
        .explain(&network.weights, &network.state, &samples.inputs(), |shown| {
            let Shown::Attention(attention) = shown else { return };
            assert_eq!((attention.feature, attention.rows.start), (3, next));
            next = attention.rows.end;
            weights.extend_from_slice(attention.weights);
        })
        .unwrap();
    assert_eq!(found, scores(&ranker.graph, &network, &samples));
    let offsets = &samples.batch.sparse[3].offsets;
    assert_eq!((next, weights.len()), (MANY, samples.batch.sparse[3].ids.len()));
    for list in offsets.windows(2).filter(|list| list[0] < list[1]) {
        let sum: f32 = weights[list[0] as usize..list[1] as usize].iter().sum();
        assert!((sum - 1.0).abs() < 1e-5, "{sum}");
    }
}

/// Which elements of lists drop out does not depend on tiles or workers either.
#[test]
fn dropout_of_list_elements_does_not_depend_on_workers() {
    let lengths = (0..MANY as u32).map(|row| row % 7);
    let offsets: Vec<u32> = std::iter::once(0)
        .chain(lengths.scan(0, |sum, length| {
            *sum += length;
            Some(*sum)
        }))
        .collect();
    let count = *offsets.last().unwrap() as usize;
    let (mut graph, mut samples) = (Graph::new(), Samples::new(MANY, 1));
    let x = samples.leaf(&mut graph, &normal(Seed(60), count * 8, 1.0), 8, Some(&offsets));
    let y = graph.dropout(x, 0.3);
    let pooled = graph.pool(y, Pooling::Sum);
    let sum = graph.row_sum(pooled);
    graph.minimize("loss", sum, Some(0), MANY as f32);
    let network = Network::new(&graph, Seed(1));
    let one = Stepped::of(&graph, &network, &samples, Some(Seed(2)), 1);
    let kept = one.rows[0].iter().filter(|g| **g != 0.0).count() as f64 / one.rows[0].len() as f64;
    assert!((kept - 0.7).abs() < 0.01, "{kept}");
    assert!(one.rows[0].iter().all(|g| *g == 0.0 || (*g - 1.0 / 0.7).abs() < 1e-5));
    for workers in [2, 5] {
        let some = Stepped::of(&graph, &network, &samples, Some(Seed(2)), workers);
        assert_same_step(&format!("{workers} workers"), &some, &one, 1e-5);
    }
}

#[test]
fn outputs_stand_side_by_side() {
    let (_, mut ranker) = rankers().swap_remove(0);
    let samples = samples(&ranker, 700, Seed(97));
    let network = network(&ranker.graph, Seed(98));
    let narrow = scores(&ranker.graph, &network, &samples);
    let outputs: Vec<_> = ranker.graph.outputs().iter().map(|(_, value)| *value).collect();
    let both = ranker.graph.concat(&outputs[..2]);
    ranker.graph.output("click and conversion", both);
    let wide = scores(&ranker.graph, &network, &samples);
    for (narrow, wide) in narrow.chunks_exact(4).zip(wide.chunks_exact(6)) {
        assert_eq!((narrow, &narrow[..2]), (&wide[..4], &wide[4..]));
    }
}

/// A drawn network: dropout as in training and nothing else of training, repeatable, the same for any number of workers.
#[test]
fn scores_can_be_drawn() {
    let expert = json!({"units": [6], "dropout": 0.3});
    let drawn = [
        (true, json!({"type": "mlp", "units": [6, 5], "dropout": 0.3, "batch_norm": true})),
        (true, json!({"type": "mmoe", "experts": 3, "expert": expert, "gate_dropout": 0.4})),
        // The noise of gates explores in training; it is no part of what a network does not know.
        (false, json!({"type": "mmoe", "experts": 3, "expert": {"units": [6]}, "gate_dropout": 0.4})),
        (false, json!({"type": "aesm2", "noise": 3.0})),
    ];
    for (drops, body) in drawn {
        let bias = json!({"type": "position", "dropout": 0.5});
        let ranker = ranker(&config(json!({"dimension": 4, "body": body, "bias": bias})));
        let samples = samples(&ranker, MANY, Seed(5));
        let network = network(&ranker.graph, Seed(6));
        let of = |seed: u64, workers: usize| {
            let mut found = Vec::new();
            Scorer::new(Arc::new(ranker.graph.clone()), workers)
                .score_with_dropout(
                    &network.weights,
                    &network.state,
                    &samples.inputs(),
                    Seed(seed),
                    &Threads(workers),
                    &mut found,
                )
                .unwrap();
            found
        };
        let plain = scores(&ranker.graph, &network, &samples);
        assert_eq!(of(1, 1), of(1, 3), "{body}");
        assert_eq!(of(1, 1) != of(2, 1), drops, "{body}");
        assert_eq!(of(1, 1) != plain, drops, "{body}");
        // Inverted dropout keeps the mean before a nonlinearity: passes scatter around the plain score.
        let passes: Vec<Vec<f32>> = (0..60).map(|seed| of(seed, 1)).collect();
        let mean = |at: usize| passes.iter().map(|pass| f64::from(pass[at])).sum::<f64>() / 60.0;
        let off = (0..plain.len()).step_by(4).map(|at| (mean(at) - f64::from(plain[at])).abs());
        assert!(off.sum::<f64>() / (MANY as f64) < 0.03, "{body}");
    }
}
