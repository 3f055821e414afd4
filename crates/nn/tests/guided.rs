//! The graph's own losses together with a loss from outside over some of its values.
#![allow(clippy::unwrap_used)]

mod common;

use common::model::{config, network, ranker, samples};
use common::{Samples, Stepped, Threads, assert_same, normal};
use kitestring_core::Seed;
use kitestring_nn::engine::Trainer;
use kitestring_nn::graph::{Graph, Value};
use kitestring_nn::network::Network;
use kitestring_nn::ops::arithmetic::{Binary, Unary};
use kitestring_nn::ranker::Ranker;
use kitestring_nn::slots::body::OfTask;
use serde_json::json;
use std::sync::Arc;

/// Bodies with one representation and with one a task, with statistics of the whole batch, with losses of their own, and with logits.
fn rankers() -> Vec<(String, Ranker)> {
    let bodies = [
        json!({"type": "mlp", "units": [6, 5], "batch_norm": true, "dropout": 0.2}),
        json!({"type": "mlp", "units": []}),
        json!({"type": "mmoe", "experts": 3, "expert": {"units": [5]}, "towers": {"units": [4]}}),
        json!({"type": "sparse_moe", "experts": 4, "expert": {"units": [5]}, "towers": {"units": [4], "activation": "dice"}}),
        json!({"type": "star"}),
        json!({"type": "hmoe"}),
    ];
    let encoders = [json!({"type": "pool"}), json!({"type": "fm"})];
    let heads = [json!({"type": "logit"}), json!({"type": "esmm"}), json!({"type": "heteroscedastic"})];
    let all = bodies.iter().enumerate().map(|(number, body)| {
        let (encoder, head) = (&encoders[number % 2], &heads[number % 3]);
        let loss = if number == 2 { json!({"type": "uncertainty"}) } else { json!({"type": "fixed"}) };
        let config = config(json!({"dimension": 3, "encoder": encoder, "body": body, "head": head, "loss": loss,
            "bias": {"type": "position", "tasks": ["click"]}}));
        (format!("{body} {head}"), ranker(&config))
    });
    all.collect()
}

/// Logits and representations; a representation may be there several times, and a logit without a bias too.
fn values(ranker: &Ranker) -> Vec<Value> {
    let each = |of: fn(&OfTask) -> Value| ranker.tasks.iter().map(of);
    each(|of| of.logit).chain(each(|of| of.unbiased)).chain(each(|of| of.representation)).collect()
}

fn guided(
    (graph, values): (&Graph, &[Value]),
    of_tasks: f32,
    (network, samples): (&Network, &Samples),
    workers: usize,
    outside: impl Fn(&[f32], &mut [f32]),
) -> Stepped {
    let mut trainer = Trainer::guided(Arc::new(graph.clone()), values, of_tasks, workers).unwrap();
    let (inputs, dropout, threads) = (samples.inputs(), Some(Seed(9)), Threads(workers));
    let mut state = network.state.clone();
    let (mut shown, mut report) = (Vec::new(), Default::default());
    // Twice: a warm step must not see the one before.
    for _ in 0..2 {
        state.copy_from_slice(&network.state);
        trainer.forward(&network.weights, &state, &inputs, dropout, &threads, &mut shown).unwrap();
        let mut gradient = vec![0.0; shown.len()];
        outside(&shown, &mut gradient);
        report = trainer.backward(&network.weights, &mut state, &inputs, dropout, &gradient, &threads).unwrap();
    }
    let found = trainer.gradients();
    Stepped { report, network: found.network.to_vec(), rows: found.rows.to_vec(), state }
}

#[test]
fn nothing_from_outside_is_a_plain_step_to_the_bit() {
    for (name, ranker) in rankers() {
        let (network, samples) = (network(&ranker.graph, Seed(2)), samples(&ranker, 700, Seed(1)));
        for workers in [1, 3] {
            let plain = Stepped::of(&ranker.graph, &network, &samples, Some(Seed(9)), workers);
            let of = (&ranker.graph, values(&ranker));
            let found = guided((of.0, &of.1), 1.0, (&network, &samples), workers, |_, _| {});
            assert_eq!(found, plain, "{name}");
        }
    }
}

/// `½ Σ v²` over all values: from outside its gradient is the values; inside it is a loss of the graph.
#[test]
fn a_loss_from_outside_adds_to_those_inside() {
    for (name, ranker) in rankers() {
        let (rows, of_tasks) = (90, 0.25);
        let (network, samples) = (network(&ranker.graph, Seed(2)), samples(&ranker, rows, Seed(1)));
        let values = values(&ranker);
        let mut inside = ranker.graph.clone();
        for value in &values {
            let square = inside.binary(Binary::Multiply, *value, *value);
            let sum = inside.row_sum(square);
            let half = inside.unary(Unary::Scale(0.5), sum);
            inside.minimize("outside", half, None, rows as f32);
        }
        let mut expected = Stepped::of(&inside, &network, &samples, Some(Seed(9)), 1);
        // Tasks' losses count for a quarter: three quarters of what they give alone is taken off.
        let alone = {
            let none = guided((&ranker.graph, &values), 0.0, (&network, &samples), 1, |_, _| {});
            let all = Stepped::of(&ranker.graph, &network, &samples, Some(Seed(9)), 1);
            let less = |all: &[f32], none: &[f32]| all.iter().zip(none).map(|(all, none)| all - none).collect();
            let network: Vec<f32> = less(&all.network, &none.network);
            let rows: Vec<Vec<f32>> = all.rows.iter().zip(&none.rows).map(|(all, none)| less(all, none)).collect();
            (network, rows)
        };
        let take = |from: &mut [f32], what: &[f32]| {
            from.iter_mut().zip(what).for_each(|(from, what)| *from -= (1.0 - of_tasks) * what);
        };
        take(&mut expected.network, &alone.0);
        expected.rows.iter_mut().zip(&alone.1).for_each(|(from, what)| take(from, what));
        assert!(alone.0.iter().any(|gradient| gradient.abs() > 1e-4));
        for workers in [1, 3] {
            let found = guided((&ranker.graph, &values), of_tasks, (&network, &samples), workers, |shown, gradient| {
                gradient.copy_from_slice(shown);
            });
            assert_same(&name, &found.network, &expected.network, 5e-5);
            assert_same(&name, &found.state, &expected.state, 1e-5);
            for (found, expected) in found.rows.iter().zip(&expected.rows) {
                assert_same(&name, found, expected, 5e-5);
            }
            let own = ranker.graph.losses().len();
            assert_eq!(found.report.losses.len(), own);
            for (found, expected) in found.report.losses.iter().zip(&expected.report.losses) {
                assert!((found - expected).abs() < 1e-5 * expected.abs().max(1.0), "{name}");
            }
        }
    }
}

/// What a ranker shows in place of predictions: of a logit comes the prediction, and it is what a trainer sees but for the bias, which a
/// trainer takes for the sample's position and a score for a missing one.
#[test]
fn logits_are_shown() {
    let (name, ranker) = rankers().remove(1);
    let (mut network, samples) = (network(&ranker.graph, Seed(2)), samples(&ranker, 40, Seed(1)));
    let values = values(&ranker);
    let shown = common::scores(&ranker.showing(&values), &network, &samples);
    let predictions = common::scores(&ranker.graph, &network, &samples);
    let width = shown.len() / 40;
    let bias = common::weight_of(&ranker.graph, &network.weights, "bias.click.by_position")[0];
    for row in 0..40 {
        let expected = 1.0 / (1.0 + (-shown[row * width]).exp());
        assert!((predictions[4 * row] - expected).abs() < 1e-6);
        assert!((shown[row * width] - shown[row * width + 4] - bias).abs() < 1e-5);
        assert_eq!(shown[row * width + 1], shown[row * width + 5]);
    }
    common::set_weight(&ranker.graph, &mut network.weights, "bias.click.by_position", &[bias; 51]);
    let mut trainer = Trainer::guided(Arc::new(ranker.graph.clone()), &values, 1.0, 1).unwrap();
    let mut seen = Vec::new();
    trainer.forward(&network.weights, &network.state, &samples.inputs(), None, &Threads(1), &mut seen).unwrap();
    assert!(shown == seen, "{name}");
}

#[test]
fn what_does_not_fit_is_refused() {
    let (_, ranker) = rankers().remove(0);
    let graph = Arc::new(ranker.graph.clone());
    assert!(Trainer::guided(Arc::clone(&graph), &[], 1.0, 1).is_err());
    let (network, samples) = (network(&ranker.graph, Seed(2)), samples(&ranker, 8, Seed(1)));
    let (inputs, mut state) = (samples.inputs(), network.state.clone());
    let mut trainer = Trainer::guided(graph, &values(&ranker), 1.0, 1).unwrap();
    assert!(trainer.step(&network.weights, &mut state, &inputs, None, &Threads(1)).is_err());
    let mut shown = Vec::new();
    trainer.forward(&network.weights, &state, &inputs, None, &Threads(1), &mut shown).unwrap();
    let wrong = normal(Seed(1), shown.len() - 1, 1.0);
    assert!(trainer.backward(&network.weights, &mut state, &inputs, None, &wrong, &Threads(1)).is_err());
    // A value that is not finite fails as in a plain step, and nothing is updated.
    trainer.forward(&network.weights, &state, &inputs, None, &Threads(1), &mut shown).unwrap();
    let mut broken = network.clone();
    broken.weights.fill(f32::NAN);
    trainer.forward(&broken.weights, &state, &inputs, None, &Threads(1), &mut shown).unwrap();
    let gradient = vec![0.0; shown.len()];
    assert!(trainer.backward(&broken.weights, &mut state, &inputs, None, &gradient, &Threads(1)).is_err());
    assert_eq!((state, trainer.not_finite()), (network.state, Some(0)));
}
