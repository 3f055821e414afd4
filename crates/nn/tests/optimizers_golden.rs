//! The dense optimizers against PyTorch: five steps, with and without L2.
//!
//! The fixture is the tables', written by `bench/peers/fixtures_nn.py`: its cases where untouched rows move as if their gradient were zero
//! are those of a dense optimizer.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Matrix, Threads, assert_close, normal};
use kitestring_core::Seed;
use kitestring_nn::graph::Graph;
use kitestring_nn::kernels::activation::Activation;
use kitestring_nn::optimizer::{Optimizer, Rule};
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixtures {
    format: u32,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    optimizer: String,
    untouched: String,
    learning_rate: f32,
    l2: f32,
    epsilon: f32,
    beta1: f32,
    beta2: f32,
    initial: Matrix,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    ids: Vec<usize>,
    gradient: Matrix,
    rows: Matrix,
}

#[test]
fn dense_steps_are_pytorchs() {
    let text = include_str!("../../table/tests/fixtures/optimizers.json");
    let fixtures: Fixtures = serde_json::from_str(text).unwrap();
    assert_eq!(fixtures.format, 1);
    let dense: Vec<&Case> = fixtures.cases.iter().filter(|case| case.untouched == "updated").collect();
    assert!(["sgd", "adagrad", "adam"].iter().all(|name| dense.iter().any(|case| case.optimizer == *name)));
    assert!(dense.iter().any(|case| case.l2 > 0.0));
    for case in dense {
        let rule = match case.optimizer.as_str() {
            "sgd" => Rule::Sgd { momentum: 0.0 },
            "adagrad" => Rule::Adagrad { epsilon: case.epsilon },
            "adam" => Rule::Adam { beta1: case.beta1, beta2: case.beta2, epsilon: case.epsilon },
            other => panic!("no optimizer `{other}`"),
        };
        let [rows, columns] = case.initial.shape;
        let mut graph = Graph::new();
        let x = graph.numeric(rows);
        let _y = graph.linear_without_bias(x, columns);
        let mut optimizer = Optimizer::new(rule, case.l2, &graph).unwrap();
        let mut weights = case.initial.floats();
        for (number, step) in case.steps.iter().enumerate() {
            let mut gradient = vec![0.0; weights.len()];
            for (id, row) in step.ids.iter().zip(step.gradient.floats().chunks_exact(columns)) {
                gradient[id * columns..(id + 1) * columns].copy_from_slice(row);
            }
            if number == 2 {
                // A checkpoint between two steps changes nothing.
                let (steps, first, second) = optimizer.memory();
                let mut other = Optimizer::new(rule, case.l2, &graph).unwrap();
                other.restore(steps, first, second).unwrap();
                optimizer = other;
            }
            optimizer.apply(&mut weights, &gradient, case.learning_rate);
            let what = format!("{}, step {number}", case.name);
            assert_close(&what, &weights, &step.rows.values(), 1e-5, 1e-7);
        }
    }
}

/// Weights larger than a piece of work, and several of them.
#[test]
fn workers_change_no_step() {
    let mut graph = Graph::new();
    let x = graph.numeric(300);
    let h = graph.linear(x, 250, Activation::None);
    graph.linear(h, 3, Activation::None);
    let count = graph.weight_count();
    let adamw = Rule::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.1 };
    for rule in [Rule::Sgd { momentum: 0.0 }, Rule::Sgd { momentum: 0.9 }, Rule::default(), adamw] {
        let run = |workers: usize| {
            let l2 = if rule == adamw { 0.0 } else { 0.1 };
            let mut optimizer = Optimizer::new(rule, l2, &graph).unwrap();
            let mut weights = normal(Seed(1), count, 1.0);
            for step in 0..3 {
                optimizer.apply_with(&mut weights, &normal(Seed(2).at(step), count, 1.0), 0.1, &Threads(workers));
            }
            let (steps, first, second) = optimizer.memory();
            (weights, steps, first.to_vec(), second.to_vec())
        };
        let one = run(1);
        assert!(one.0.iter().zip(normal(Seed(1), count, 1.0)).all(|(after, before)| *after != before));
        assert!(one == run(3), "{rule:?}");
    }
}

/// PyTorch's AdamW (η .1, λ .05), by its formula in 64 bits; the bias does not decay.
#[test]
fn decoupled_decay_by_hand() {
    let mut graph = Graph::new();
    let x = graph.numeric(2);
    graph.linear(x, 1, Activation::None);
    let offset = |name: &str| graph.weights().iter().find(|info| info.name == name).unwrap().offset;
    let (weight, bias) = (offset("weight"), offset("bias"));
    let rule = Rule::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.05 };
    let mut optimizer = Optimizer::new(rule, 0.0, &graph).unwrap();
    let mut weights = [0.0; 3];
    weights[weight..weight + 2].copy_from_slice(&[1.0, -2.0]);
    weights[bias] = 3.0;
    let steps = [
        ([0.5, -0.1], [0.895, -1.89]),
        ([-0.3, 0.2], [0.871_375_2, -1.917_160_4]),
        ([0.1, 0.1], [0.841_621_8, -1.959_498_6]),
    ];
    for (gradient, expected) in steps {
        let mut gradients = [0.0; 3];
        gradients[weight..weight + 2].copy_from_slice(&gradient);
        optimizer.apply(&mut weights, &gradients, 0.1);
        assert_close("weights", &weights[weight..weight + 2], &expected, 1e-6, 0.0);
        assert_eq!(weights[bias], 3.0);
    }
}

/// Momentum as in PyTorch's SGD without dampening, by hand.
#[test]
fn momentum_by_hand() {
    let mut graph = Graph::new();
    let x = graph.numeric(1);
    graph.linear(x, 1, Activation::None);
    let mut optimizer = Optimizer::new(Rule::Sgd { momentum: 0.5 }, 0.0, &graph).unwrap();
    let mut weights = [1.0, 1.0];
    optimizer.apply(&mut weights, &[1.0, 2.0], 0.1);
    assert_close("first", &weights, &[0.9, 0.8], 1e-6, 0.0);
    optimizer.apply(&mut weights, &[1.0, 2.0], 0.1);
    assert_close("second", &weights, &[0.75, 0.5], 1e-6, 0.0);
}
