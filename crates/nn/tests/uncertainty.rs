//! Learned noise: of tasks (the loss slot), of samples (the head), of the network (dropout).
#![allow(clippy::unwrap_used)]

mod common;

use common::model::{config, network, ranker, samples};
use common::{Samples, Stepped, assert_close, normal, set_weight, weight_of};
use kitestring_core::Seed;
use kitestring_nn::engine::{OneWorker, Trainer};
use kitestring_nn::graph::{Graph, Value};
use kitestring_nn::kernels::activation::Activation;
use kitestring_nn::network::Network;
use kitestring_nn::ops::loss::LossKind;
use kitestring_nn::optimizer::{Optimizer, Rule};
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
