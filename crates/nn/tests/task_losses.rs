//! What becomes of the tasks' losses: sample spaces, weights that decay, and the weights that a report shows.
#![allow(clippy::unwrap_used)]

mod common;

use common::model::{config, network, ranker, samples};
use common::{Samples, Stepped, assert_close, set_weight};
use kitestring_core::Seed;
use kitestring_core::schema::TaskKind;
use kitestring_nn::engine::{OneWorker, Trainer};
use kitestring_nn::graph::Graph;
use kitestring_nn::network::Network;
use kitestring_nn::optimizer::{Optimizer, Rule};
use kitestring_nn::ranker::Ranker;
use kitestring_nn::slots::body::OfTask;
use kitestring_nn::slots::head::{Head, logit::Logit};
use kitestring_nn::slots::loss::{TaskLoss, weights_of_tasks};
use kitestring_nn::slots::{ModelInputs, catalogue};
use serde_json::{Value, json};
use std::f64::consts::LN_2;
use std::sync::Arc;

fn loss(json: Value) -> TaskLoss {
    serde_json::from_value(json).unwrap()
}

/// Click and conversion of four samples, whose logits are leaves: the gradient of a row is that of a logit.
fn four(loss: &TaskLoss) -> (Graph, Samples) {
    let inputs = ModelInputs {
        sparse: Vec::new(),
        numeric: Vec::new(),
        read: Vec::new(),
        tasks: vec![(TaskKind::Binary, None), (TaskKind::Binary, Some(0))],
        task_names: ["click", "conversion"].map(String::from).into(),
        scenarios: Vec::new(),
        position: false,
    };
    let (mut graph, mut samples) = (Graph::new(), Samples::new(4, 2));
    let click = samples.leaf(&mut graph, &[0.0; 4], 1, None);
    let conversion = samples.leaf(&mut graph, &[0.0, 1.0, 2.0, 3.0_f32.ln()], 1, None);
    loss.check(&inputs).unwrap();
    let tasks = [click, conversion].map(|z| OfTask { read: z, logit: z, unbiased: z, representation: z });
    Head::Logit(Logit {}).forward(&mut graph, &tasks, &inputs, loss).unwrap();
    // Of those with a conversion's label, the second was not clicked and of the third it is not known.
    samples.batch.labels = [[1.0, 1.0], [0.0, 1.0], [f32::NAN, 0.0], [1.0, 0.0]].concat();
    (graph, samples)
}

fn stepped(graph: &Graph, samples: &Samples, steps: u64) -> Stepped {
    let mut trainer = Trainer::new(Arc::new(graph.clone()), 1);
    trainer.at_step(steps);
    Stepped::again(&mut trainer, &Network::new(graph, Seed(1)), samples, None, 1)
}

fn close(what: &str, found: &[f64], expected: &[f64]) {
    let found: Vec<f32> = found.iter().map(|x| *x as f32).collect();
    assert_close(what, &found, expected, 1e-6, 1e-7);
}

#[test]
fn golden_sample_space() {
    for kind in ["fixed", "uncertainty"] {
        let (graph, mut samples) = four(&loss(json!({"type": kind, "spaces": {"conversion": "click"}})));
        let at = |name: &str| graph.losses().iter().position(|loss| loss.name == name).unwrap();
        let step = stepped(&graph, &samples, 0);
        // Of the first and the last sample: −ln σ(0) and −ln(1 − σ(ln 3)).
        let found = [step.report.losses[at("click")], step.report.losses[at("conversion")]];
        close("losses", &found, &[LN_2, (LN_2 + 4.0_f64.ln()) / 2.0]);
        assert_eq!([step.report.labelled[at("click")], step.report.labelled[at("conversion")]], [3.0, 2.0]);
        assert_close("click", &step.rows[0], &[-0.5 / 3.0, 0.5 / 3.0, 0.0, -0.5 / 3.0], 1e-6, 0.0);
        assert_close("conversion", &step.rows[1], &[-0.5 / 2.0, 0.0, 0.0, 0.75 / 2.0], 1e-6, 0.0);

        samples.batch.weight = vec![2.0, 5.0, 5.0, 1.0];
        let step = stepped(&graph, &samples, 0);
        close("weighted", &[step.report.losses[at("conversion")]], &[(2.0 * LN_2 + 4.0_f64.ln()) / 3.0]);
        assert_eq!(step.report.labelled[at("conversion")], 3.0);
        assert_close("weighted", &step.rows[1], &[-1.0 / 3.0, 0.0, 0.0, 0.75 / 3.0], 1e-6, 0.0);

        // Nobody clicked: nothing is learned of conversions.
        samples.batch.labels.iter_mut().step_by(2).for_each(|click| *click = 0.0);
        let step = stepped(&graph, &samples, 0);
        assert_eq!((step.report.losses[at("conversion")], step.report.labelled[at("conversion")]), (0.0, 0.0));
        assert_eq!(step.rows[1], [0.0; 4]);
    }
}

#[test]
fn golden_decay() {
    let config = json!({"type": "fixed", "weights": {"click": 0.5}, "decay": {"click": 0.5, "conversion": 0.9999}});
    let (graph, samples) = four(&loss(config));
    for (steps, click, conversion) in
        [(0, 0.5, 1.0), (1, 0.25, 0.9999), (3, 0.0625, 0.99970003), (100_000, 0.0, 4.537723e-5)]
    {
        let step = stepped(&graph, &samples, steps);
        let weight = |row: &[f32], of_one: f64| row.iter().map(|g| f64::from(*g) / of_one).collect::<Vec<f64>>();
        // What is reported is not weighted.
        close("loss", &step.report.losses[..1], &[LN_2]);
        close("click", &weight(&step.rows[0], -0.5 / 3.0), &[click, -click, 0.0, click]);
        close("conversion", &weight(&step.rows[1][..1], -0.5 / 4.0), &[conversion]);
        let now = weights_of_tasks(&graph, &[], steps);
        assert_eq!(now.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["click", "conversion"]);
        close("weights", &[now[0].1, now[1].1], &[click, conversion]);
    }
}

/// Learned weights, and a task whose head has a scale of its own.
#[test]
fn learned_weights_are_reported() {
    let model = |head: &str| {
        ranker(&config(
            json!({"body": {"type": "mlp", "units": [3]}, "head": {"type": head}, "loss": {"type": "uncertainty"}}),
        ))
    };
    let of = |ranker: &Ranker| {
        let mut weights = ranker.graph.initial_weights(Seed(1));
        for (name, s) in [("click", 2.0_f32), ("plays", -20.0)] {
            set_weight(&ranker.graph, &mut weights, &format!("loss.{name}.log_variance"), &[s]);
        }
        weights_of_tasks(&ranker.graph, &weights, 7)
    };
    let expected = [("click", (-2.0_f64).exp()), ("conversion", 1.0), ("rating", 1.0), ("plays", 10.0_f64.exp())];
    for head in ["logit", "heteroscedastic"] {
        for ((name, found), (expected_name, expected)) in of(&model(head)).into_iter().zip(expected) {
            assert_eq!(name, expected_name);
            assert!((found / expected - 1.0).abs() < 1e-6, "{head} {name}: {found} {expected}");
        }
        assert_eq!(of(&model(head)).len(), 4);
    }
    // Every variant says something of every task.
    for variant in catalogue().into_iter().filter(|variant| variant.slot == "loss") {
        let ranker = ranker(&config(json!({"body": {"type": "mlp", "units": [3]}, "loss": variant.defaults})));
        let found = weights_of_tasks(&ranker.graph, &ranker.graph.initial_weights(Seed(1)), 0);
        assert_eq!(found.len(), 4, "{}", variant.name);
    }
}

/// A run that stops and goes on with what a checkpoint holds takes the steps that it would have taken.
#[test]
fn a_resumed_run_decays_on() {
    let loss = json!({"type": "fixed", "spaces": {"conversion": "click"}, "decay": {"click": 0.8, "rating": 0.9}});
    let ranker = ranker(&config(json!({"dimension": 4, "body": {"type": "mlp", "units": [6]}, "loss": loss})));
    let samples = samples(&ranker, 30, Seed(4));
    let run = |network: &mut Network, optimizer: &mut Optimizer, steps: std::ops::Range<u64>| {
        let mut trainer = Trainer::new(Arc::new(ranker.graph.clone()), 1);
        for step in steps {
            trainer.at_step(step);
            trainer.step(&network.weights, &mut network.state, &samples.inputs(), None, &OneWorker).unwrap();
            optimizer.apply(&mut network.weights, trainer.gradients().network, 0.01);
        }
    };
    let start = || (network(&ranker.graph, Seed(5)), Optimizer::new(Rule::default(), 0.0, &ranker.graph).unwrap());
    let (mut whole, mut optimizer) = start();
    run(&mut whole, &mut optimizer, 0..10);
    let (mut parts, mut optimizer) = start();
    run(&mut parts, &mut optimizer, 0..4);
    run(&mut parts, &mut optimizer, 4..10);
    assert_eq!(whole, parts);
    let (mut again, mut optimizer) = start();
    run(&mut again, &mut optimizer, 0..4);
    run(&mut again, &mut optimizer, 0..6);
    assert_ne!(whole, again, "the step matters");
}

/// Tiles and workers see the labels of their own samples.
#[test]
fn workers_do_not_change_a_sample_space() {
    let loss = json!({"type": "fixed", "spaces": {"conversion": "click", "rating": "plays"}});
    let ranker = ranker(&config(json!({"dimension": 4, "body": {"type": "mlp", "units": [6]}, "loss": loss})));
    let (samples, network) = (samples(&ranker, 3000, Seed(6)), network(&ranker.graph, Seed(7)));
    let one = Stepped::of(&ranker.graph, &network, &samples, None, 1);
    let three = Stepped::of(&ranker.graph, &network, &samples, None, 3);
    assert_eq!(one.report.labelled, three.report.labelled);
    let clicked = samples.batch.labels.chunks_exact(4).filter(|labels| labels[0] > 0.0 && !labels[1].is_nan()).count();
    assert_eq!(one.report.labelled[1], clicked as f64);
    close("losses", &three.report.losses, &one.report.losses);
    common::assert_same("gradients", &three.network, &one.network, 1e-5);
}
