//! Learned noise: of tasks (the loss slot), of samples (the head), of the network (dropout).
#![allow(clippy::unwrap_used)]

mod common;

use common::model::{config, network, ranker, samples};
use common::{Samples, Stepped, assert_close, normal, scores, set_weight, weight_of};
use kitestring_core::schema::{Feature, FeatureKind, Task, TaskKind};
use kitestring_core::{Schema, Seed};
use kitestring_nn::engine::{OneWorker, Scorer, Trainer};
use kitestring_nn::graph::{Graph, Value};
use kitestring_nn::kernels::activation::Activation;
use kitestring_nn::network::Network;
use kitestring_nn::ops::loss::LossKind;
use kitestring_nn::optimizer::{Optimizer, Rule};
use kitestring_nn::ranker::Ranker;
use kitestring_nn::uncertainty;
use serde_json::json;
use std::sync::Arc;

/// Trains a graph's weights with Adam on one batch, the rate falling to a hundredth. The result is the last step's total.
fn train(graph: &Graph, network: &mut Network, samples: &Samples, steps: u32, [rate, l2]: [f32; 2]) -> f64 {
    let mut trainer = Trainer::new(Arc::new(graph.clone()), 1);
    // Squared errors fall by orders of magnitude: a shorter memory of their gradients than usual.
    let rule = Rule::Adam { beta1: 0.9, beta2: 0.99, epsilon: 1e-8 };
    let mut optimizer = Optimizer::new(rule, l2, graph).unwrap();
    let mut total = 0.0;
    for step in 0..steps {
        let (weights, state) = (&network.weights, &mut network.state);
        let report = trainer.step(weights, state, &samples.inputs(), Some(Seed(u64::from(step))), &OneWorker).unwrap();
        let pairs = graph.losses().iter().zip(&report.losses);
        total = pairs.map(|(loss, mean)| f64::from(loss.weight) * mean).sum();
        let rate = rate * 0.01_f32.powf(step as f32 / steps as f32);
        optimizer.apply(&mut network.weights, trainer.gradients().network, rate);
    }
    total
}

fn weighted(graph: &mut Graph, prediction: Value, task: usize) {
    let loss = graph.loss(LossKind::Squared, prediction, task);
    let weighted = graph.scope(format!("task {task}"), |graph| graph.task_weight(loss, task, false));
    graph.minimize("weighted", weighted, Some(task), 1.0);
}

/// The shared specification's case: squared errors of 4 and ¼ have the best `s` at their logarithms, where the total is 1. Weight decay,
/// which is on here, does not pull at `s`.
#[test]
fn the_best_log_variance_is_the_logarithm_of_the_error() {
    let (mut graph, mut samples) = (Graph::new(), Samples::new(4, 2));
    let zero = samples.leaf(&mut graph, &[0.0; 4], 1, None);
    (0..2).for_each(|task| weighted(&mut graph, zero, task));
    // A missing label has neither an error nor its ½ s: the means are over the other three.
    samples.batch.labels = vec![2.0, 0.5, -2.0, f32::NAN, 2.0, -0.5, f32::NAN, 0.5];
    let mut network = Network::new(&graph, Seed(1));
    assert_eq!(network.weights, [0.0; 2]);
    let total = train(&graph, &mut network, &samples, 1500, [0.05, 0.1]);
    assert_close("s", &network.weights, &[1.386294, -1.386294], 1e-4, 0.0);
    assert!((total - 1.0).abs() < 1e-5, "{total}");
}

/// Two regressions over one hidden layer, with noise of deviation 10 and 1: `e^{s/2}` recovers them.
#[test]
fn the_noise_of_two_regressions_is_recovered() {
    const ROWS: usize = 2000;
    let (mut graph, mut samples) = (Graph::new(), Samples::new(ROWS, 2));
    let x = graph.numeric(1);
    samples.batch.numeric = normal(Seed(1), ROWS, 1.0);
    let noise = normal(Seed(2), 2 * ROWS, 1.0);
    for (row, labels) in samples.batch.labels.chunks_exact_mut(2).enumerate() {
        let x = samples.batch.numeric[row];
        labels.copy_from_slice(&[2.0 * x + 8.0 + 10.0 * noise[2 * row], 3.0 * x + 3.0 + noise[2 * row + 1]]);
    }
    let hidden = graph.scope("hidden", |graph| graph.linear(x, 4, Activation::Tanh));
    for task in 0..2 {
        let both = graph.concat(&[x, hidden]);
        let prediction = graph.scope(format!("head {task}"), |graph| graph.linear(both, 1, Activation::None));
        weighted(&mut graph, prediction, task);
    }
    let mut network = Network::new(&graph, Seed(3));
    train(&graph, &mut network, &samples, 2500, [0.05, 0.0]);
    let deviation =
        |task: usize| (0.5 * weight_of(&graph, &network.weights, &format!("task {task}.log_variance"))[0]).exp();
    let found = [deviation(0), deviation(1)];
    assert!((found[0] / 10.0 - 1.0).abs() < 0.05 && (found[1] - 1.0).abs() < 0.05, "{found:?}");
}

/// A deviance is zero at best, so that `s` of a count stays finite where Poisson's loss is far below zero.
#[test]
fn counts_are_weighted_by_their_deviance() {
    let (mut graph, mut samples) = (Graph::new(), Samples::new(3, 1));
    samples.batch.labels = vec![20.0, 0.0, 3.0];
    let z = [20.0_f32.ln(), -30.0, 2.0];
    let logs = samples.leaf(&mut graph, &z, 1, None);
    let loss = graph.loss(LossKind::Poisson, logs, 0);
    let weighted = graph.task_weight(loss, 0, true);
    graph.minimize("weighted", weighted, Some(0), 1.0);
    let mut network = Network::new(&graph, Seed(1));
    network.weights[0] = 0.7;
    let step = Stepped::of(&graph, &network, &samples, None, 1);
    // The first two are perfect; the third's half deviance is y ln(y / μ) − (y − μ).
    let half_deviance = 3.0 * (3.0_f64.ln() - 2.0) - (3.0 - 2.0_f64.exp());
    let expected = (-0.7_f64).exp() * half_deviance / 3.0 + 0.35;
    assert!((step.report.losses[0] - expected).abs() < 1e-5, "{} {expected}", step.report.losses[0]);
    assert!((f64::from(step.network[0]) - (0.5 - (-0.7_f64).exp() * half_deviance / 3.0)).abs() < 1e-5);
}

/// Beyond its bounds `s` counts as the bound, and still comes back from where a step too large has put it.
#[test]
fn a_log_variance_is_bounded_and_comes_back() {
    let (mut graph, mut samples) = (Graph::new(), Samples::new(1, 1));
    let zero = samples.leaf(&mut graph, &[0.0], 1, None);
    weighted(&mut graph, zero, 0);
    let mut network = Network::new(&graph, Seed(1));
    // An error of 1e6 wants s = 13.8, one of 1e-6 wants −13.8.
    for (s, error, expected) in
        [(12.0, 1.0, 0.5), (12.0, 1e6, 0.0), (-12.0, 1e-6, 0.0), (-12.0, 1.0, 0.5 - 0.5 * 10.0_f64.exp())]
    {
        (network.weights[0], samples.batch.labels[0]) = (s, f32::sqrt(error));
        let step = Stepped::of(&graph, &network, &samples, None, 1);
        let bound = f64::from(s.clamp(-10.0, 10.0));
        let loss = 0.5 * (-bound).exp() * f64::from(error) + 0.5 * bound;
        assert!((step.report.losses[0] - loss).abs() < 1e-4 * loss.abs(), "{s} {error}: {:?}", step.report);
        assert_close(&format!("{s} {error}"), &step.network, &[expected], 1e-4, 1e-4);
    }
}

/// The curve under a task's name is that of fixed weights; what is minimized stands beside it.
#[test]
fn the_reported_curve_is_the_tasks_own_loss() {
    let of = |loss: &str| ranker(&config(json!({"dimension": 4, "loss": {"type": loss}})));
    let (fixed, uncertain) = (of("fixed"), of("uncertainty"));
    let samples = samples(&fixed, 50, Seed(1));
    let plain = network(&fixed.graph, Seed(2));
    let mut learned = Network::new(&uncertain.graph, Seed(2));
    for info in fixed.graph.weights() {
        let weight = weight_of(&fixed.graph, &plain.weights, &info.name).to_vec();
        set_weight(&uncertain.graph, &mut learned.weights, &info.name, &weight);
    }
    let log_variances = [0.3, -0.2, 0.5, -0.4];
    for (name, s) in ["click", "conversion", "rating", "plays"].iter().zip(log_variances) {
        set_weight(&uncertain.graph, &mut learned.weights, &format!("loss.{name}.log_variance"), &[s]);
    }
    let (a, b) = (
        Stepped::of(&fixed.graph, &plain, &samples, None, 1),
        Stepped::of(&uncertain.graph, &learned, &samples, None, 1),
    );
    let curve = |name: &str| {
        let number = uncertain.graph.losses().iter().position(|loss| loss.name == name).unwrap();
        (b.report.losses[number], uncertain.graph.losses()[number].weight)
    };
    for (task, loss) in fixed.graph.losses().iter().enumerate() {
        assert_eq!(curve(&loss.name), (a.report.losses[task], 0.0));
        let (weighted, weight) = curve(&format!("{}.weighted", loss.name));
        let s = f64::from(log_variances[task]);
        if loss.name != "plays" {
            let expected = (-s).exp() * a.report.losses[task] + 0.5 * s;
            assert!((weighted - expected).abs() < 1e-6, "{}: {weighted} {expected}", loss.name);
        }
        assert_eq!(weight, 1.0);
    }
}

/// One number and one task of a kind.
fn one_number(kind: TaskKind, model: serde_json::Value, rows: usize) -> (Ranker, Samples) {
    let schema = Schema {
        features: vec![Feature::new("x", FeatureKind::Numeric)],
        tasks: vec![Task { kind, ..Task::binary("y") }],
        ..Schema::default()
    };
    let ranker = Ranker::new(&schema, &config(model), &[]).unwrap();
    let mut samples = Samples::new(rows, 1);
    samples.batch.numeric = normal(Seed(1), rows, 1.0);
    (ranker, samples)
}

/// Labels scatter by `e^{(0.8 x − 1) / 2}` around `2 x`: both are learned, from the values alone.
#[test]
fn noise_that_depends_on_the_sample_is_recovered() {
    const ROWS: usize = 8000;
    let model = json!({"head": {"type": "heteroscedastic"}, "body": {"type": "mlp", "units": []}});
    let (ranker, mut samples) = one_number(TaskKind::Regression, model, ROWS);
    for (row, y) in samples.batch.labels.iter_mut().enumerate() {
        let x = samples.batch.numeric[row];
        *y = 2.0 * x + (0.5 * (0.8 * x - 1.0)).exp() * Seed(2).normal_at(row as u64);
    }
    let mut network = Network::new(&ranker.graph, Seed(3));
    train(&ranker.graph, &mut network, &samples, 800, [0.05, 0.0]);
    let of = |name: &str| weight_of(&ranker.graph, &network.weights, name)[0];
    let found = [of("head.y.weight"), of("head.y.bias"), of("head.y.spread.weight"), of("head.y.spread.bias")];
    found.iter().zip([2.0, 0.0, 0.8, -1.0]).for_each(|(f, e)| assert!((f - e).abs() < 0.07, "{found:?}"));
    let names: Vec<&str> = ranker.graph.outputs().iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["y", "y.variance"]);
    // What is predicted is the value and e^s.
    for (row, found) in scores(&ranker.graph, &network, &samples).chunks_exact(2).enumerate() {
        let x = samples.batch.numeric[row];
        let expected = [
            of("head.y.weight") * x + of("head.y.bias"),
            (of("head.y.spread.weight") * x + of("head.y.spread.bias")).exp(),
        ];
        found.iter().zip(expected).for_each(|(f, e)| assert!((f - e).abs() < 1e-4 * e.abs().max(1.0), "{found:?}"));
    }
}

/// What is predicted without draws is the mean that training takes over draws.
#[test]
fn the_predicted_probability_is_the_mean_over_draws() {
    const ROWS: usize = 40;
    let model = json!({"head": {"type": "heteroscedastic", "draws": 4000}, "body": {"type": "mlp", "units": []}});
    let (ranker, mut samples) = one_number(TaskKind::Binary, model, ROWS);
    samples.batch.labels.fill(1.0);
    let mut network = Network::new(&ranker.graph, Seed(3));
    for (name, value) in [("weight", 2.0), ("bias", 0.5), ("spread.weight", 1.0), ("spread.bias", 0.3)] {
        set_weight(&ranker.graph, &mut network.weights, &format!("head.y.{name}"), &[value]);
    }
    let predicted = scores(&ranker.graph, &network, &samples);
    let mut trainer = Trainer::new(Arc::new(ranker.graph.clone()), 1);
    for (row, predicted) in predicted.chunks_exact(2).enumerate() {
        samples.batch.weight = (0..ROWS).map(|other| f32::from(other == row)).collect();
        // The loss of a sample whose label is 1 is −ln of its mean probability.
        let step = Stepped::again(&mut trainer, &network, &samples, Some(Seed(4)), 1);
        let mean = (-step.report.losses[0]).exp();
        // The approximation is good to .02, and 4000 draws to .02 (three deviations of at most ½ / √4000).
        assert!((f64::from(predicted[0]) - mean).abs() < 0.04, "{predicted:?} {mean}");
        let x = samples.batch.numeric[row];
        assert!((predicted[1] / (0.5 * (x + 0.3)).exp() - 1.0).abs() < 1e-4);
    }
    assert_eq!(ranker.graph.outputs()[1].0, "y.deviation");
}

/// Beside the head that learns a spread of each regression, the loss slot learns none of the task: it would be the same thing twice.
#[test]
fn a_loss_with_its_own_scale_has_no_second_one() {
    let model = json!({"dimension": 4, "head": {"type": "heteroscedastic"}, "loss": {"type": "uncertainty"}});
    let graph = ranker(&config(model)).graph;
    let losses: Vec<(&str, f32)> = graph.losses().iter().map(|loss| (loss.name.as_str(), loss.weight)).collect();
    let expected = [
        ("click", 0.0),
        ("click.weighted", 1.0),
        ("conversion", 0.0),
        ("conversion.weighted", 1.0),
        ("rating", 1.0),
        ("plays", 0.0),
        ("plays.weighted", 1.0),
    ];
    assert_eq!(losses, expected);
    let outputs: Vec<&str> = graph.outputs().iter().map(|(name, _)| name.as_str()).collect();
    let expected =
        ["click", "conversion", "rating", "plays", "click.deviation", "conversion.deviation", "rating.variance"];
    assert_eq!(outputs, expected);
}

/// Passes with dropout differ little where there were data and much where there were none; the noise of the data stays what it is.
#[test]
fn ignorance_grows_away_from_the_data() {
    let body = json!({"type": "mlp", "units": [32], "dropout": 0.2});
    let model = json!({"head": {"type": "heteroscedastic"}, "body": body});
    let (ranker, mut samples) = one_number(TaskKind::Regression, model, 1000);
    for (row, y) in samples.batch.labels.iter_mut().enumerate() {
        *y = samples.batch.numeric[row].sin() + 0.3 * Seed(2).normal_at(row as u64);
    }
    let mut network = Network::new(&ranker.graph, Seed(3));
    train(&ranker.graph, &mut network, &samples, 600, [0.02, 0.0]);
    samples.batch = kitestring_core::Batch { rows: 2, numeric: vec![0.5, 8.0], ..Default::default() };
    let mut scorer = Scorer::new(Arc::new(ranker.graph.clone()), 1);
    let (mut passes, mut found) = (Vec::new(), Vec::new());
    for pass in 0..50 {
        let (weights, state, seed) = (&network.weights, &network.state, Seed(9).at(pass));
        scorer.score_with_dropout(weights, state, &samples.inputs(), seed, &OneWorker, &mut found).unwrap();
        passes.push(found.clone());
    }
    let of = |row: usize| uncertainty::regression(passes.iter().map(|pass| (pass[2 * row], pass[2 * row + 1])));
    let (within, without) = (of(0), of(1));
    assert!((within.prediction - 0.5_f64.sin()).abs() < 0.15, "{within:?}");
    assert!((within.aleatoric.sqrt() - 0.3).abs() < 0.1, "{within:?}");
    assert!(without.epistemic > 10.0 * within.epistemic, "{within:?} {without:?}");
}

/// The mean aleatoric and epistemic uncertainty over numbers, by 50 passes with dropout.
fn uncertainty_at(graph: &Graph, network: &Network, x: impl Iterator<Item = f32>) -> [f64; 2] {
    let numeric: Vec<f32> = x.collect();
    let mut samples = Samples::new(numeric.len(), 1);
    samples.batch.numeric = numeric;
    let mut scorer = Scorer::new(Arc::new(graph.clone()), 1);
    let passes: Vec<Vec<f32>> = (0..50)
        .map(|pass| {
            let (mut found, seed) = (Vec::new(), Seed(11).at(pass));
            let (weights, state) = (&network.weights, &network.state);
            scorer.score_with_dropout(weights, state, &samples.inputs(), seed, &OneWorker, &mut found).unwrap();
            found
        })
        .collect();
    let rows = samples.batch.rows;
    let mut sums = [0.0; 2];
    for row in 0..rows {
        let found = uncertainty::regression(passes.iter().map(|pass| (pass[2 * row], pass[2 * row + 1])));
        sums = [sums[0] + found.aleatoric, sums[1] + found.epistemic];
    }
    sums.map(|sum| sum / rows as f64)
}

/// Twenty times the samples take away from what the network does not know, which is most outside of their range, and leave the noise.
/// At one rate of dropout they take away little: it is the rate that says how much passes differ at most. Means over three draws of
/// samples and first weights.
#[test]
fn more_data_take_from_ignorance_and_not_from_noise() {
    const DEVIATION: f32 = 0.3;
    let mean = |rows: usize| {
        let mut sums = [0.0; 3];
        for draw in 0..3 {
            let seed = Seed(20).at(draw);
            let body = json!({"type": "mlp", "units": [64], "dropout": 0.04});
            let model = json!({"head": {"type": "heteroscedastic"}, "body": body});
            let (ranker, mut samples) = one_number(TaskKind::Regression, model, rows);
            for (row, x) in samples.batch.numeric.iter_mut().enumerate() {
                *x = 4.0 * seed.child("x").unit_at(row as u64) - 2.0;
                samples.batch.labels[row] = (2.0 * *x).sin() + DEVIATION * seed.child("y").normal_at(row as u64);
            }
            let mut network = Network::new(&ranker.graph, seed.child("weights"));
            // A normal prior of deviation one on the weights.
            train(&ranker.graph, &mut network, &samples, 1000, [0.02, 1.0 / rows as f32]);
            let at = |low: f32, high: f32| (0..=40).map(move |step| low + (high - low) * step as f32 / 40.0);
            let [aleatoric, within] = uncertainty_at(&ranker.graph, &network, at(-2.0, 2.0));
            let [_, outside] = uncertainty_at(&ranker.graph, &network, at(-5.0, -3.0).chain(at(3.0, 5.0)));
            sums = [sums[0] + aleatoric, sums[1] + within, sums[2] + outside];
        }
        sums.map(|sum| sum / 3.0)
    };
    let (few, many) = (mean(50), mean(1000));
    assert!(many[1] < 0.9 * few[1], "{few:?} {many:?}");
    for [aleatoric, within, outside] in [few, many] {
        assert!(outside > 8.0 * within, "{few:?} {many:?}");
        assert!((aleatoric / f64::from(DEVIATION * DEVIATION) - 1.0).abs() < 0.3, "{few:?} {many:?}");
    }
    assert!((many[0] / few[0] - 1.0).abs() < 0.2, "{few:?} {many:?}");
}
