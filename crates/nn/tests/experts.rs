//! Mixtures of experts: the one operation against its composition, and what bodies made of it must be.
#![allow(clippy::unwrap_used)]

mod common;

use common::model::{config, network, ranker, samples};
use common::{Samples, Stepped, assert_same, normal, scores, set_weight, weight_of};
use kitestring_core::Seed;
use kitestring_nn::engine::{OneWorker, Trainer};
use kitestring_nn::graph::{Graph, Value};
use kitestring_nn::kernels::activation::Activation;
use kitestring_nn::network::Network;
use kitestring_nn::ops::Op;
use kitestring_nn::ops::arithmetic::Binary;
use kitestring_nn::ops::experts::ExpertLayers;
use kitestring_nn::ops::loss::LossKind;
use kitestring_nn::ranker::Ranker;
use serde_json::json;
use std::sync::Arc;

const ROWS: usize = 60;

/// Gates of two mixtures of three experts: some zero, some experts nobody's, some everybody's.
fn gates() -> Vec<f32> {
    let mut gates = normal(Seed(2), ROWS * 6, 1.0);
    for (at, gate) in gates.iter_mut().enumerate() {
        let (row, column) = (at / 6, at % 6);
        // The first expert has all samples, the second some, the third two.
        let zero = match column % 3 {
            0 => false,
            1 => (row + column) % 3 == 0,
            _ => row != 7 && row != 31,
        };
        if zero {
            *gate = 0.0;
        }
    }
    gates
}

/// The sum over mixtures of `Σ_k g_k E_k(x)` composed of products and slices.
fn composed(graph: &mut Graph, x: Value, gates: Value) -> Value {
    let experts: Vec<Value> = (0..3)
        .map(|expert| {
            graph.scope(format!("expert.{expert}"), |graph| {
                let h = graph.scope("0", |graph| graph.linear(x, 7, Activation::Tanh));
                graph.scope("1", |graph| graph.linear(h, 4, Activation::Tanh))
            })
        })
        .collect();
    let mixtures: Vec<Value> = (0..2)
        .map(|mixture| {
            let parts: Vec<Value> = (0..3)
                .map(|expert| {
                    let gate = graph.slice(gates, mixture * 3 + expert, 1);
                    let wide = graph.concat(&[gate; 4]);
                    graph.binary(Binary::Multiply, wide, experts[expert])
                })
                .collect();
            let some = graph.add(parts[0], parts[1]);
            graph.add(some, parts[2])
        })
        .collect();
    graph.concat(&mixtures)
}

#[test]
fn one_operation_is_its_composition() {
    let layers = ExpertLayers { units: vec![7, 4], activation: Activation::Tanh, dropout: 0.0 };
    let run = |fused: bool| {
        let (mut graph, mut samples) = (Graph::new(), Samples::new(ROWS, 1));
        let x = samples.leaf(&mut graph, &normal(Seed(1), ROWS * 5, 1.0), 5, None);
        let gates = samples.leaf(&mut graph, &gates(), 6, None);
        let y = if fused { graph.experts(x, gates, 3, &layers, 3) } else { composed(&mut graph, x, gates) };
        graph.output("y", y);
        let sum = graph.row_sum(y);
        let loss = graph.loss(LossKind::Squared, sum, 0);
        graph.minimize("loss", loss, Some(0), 1.0);
        let network = Network::new(&graph, Seed(3));
        let step = Stepped::of(&graph, &network, &samples, None, 1);
        (scores(&graph, &network, &samples), step, graph)
    };
    let ((scores, step, graph), (expected_scores, expected, expected_graph)) = (run(true), run(false));
    assert_same("scores", &scores, &expected_scores, 1e-6);
    for info in graph.weights() {
        let of = weight_of(&expected_graph, &expected.network, &info.name);
        assert_same(&info.name, weight_of(&graph, &step.network, &info.name), of, 1e-5);
    }
    assert_same("x", &step.rows[0], &expected.rows[0], 1e-5);
    // What an unselected expert would have said has no gradient: it was not computed.
    for ((found, expected), gate) in step.rows[1].iter().zip(&expected.rows[1]).zip(gates()) {
        assert!(gate == 0.0 || (found - expected).abs() <= 1e-5 * expected.abs().max(1.0), "{found} {expected}");
    }
}

/// Without experts of tasks and with one level, PLE is MMoE.
#[test]
fn ple_without_own_experts_is_mmoe() {
    let expert = json!({"units": [6]});
    let towers = json!({"units": [3]});
    let ple = ranker(&config(json!({"dimension": 4, "body": {"type": "ple", "levels": 1, "task_experts": 0,
        "shared_experts": 3, "expert": expert, "towers": towers}})));
    let mmoe = ranker(&config(json!({"dimension": 4, "body": {"type": "mmoe", "experts": 3, "expert": expert,
        "towers": towers}})));
    let samples = samples(&ple, 50, Seed(1));
    let from = network(&ple.graph, Seed(2));
    let mut into = Network::new(&mmoe.graph, Seed(0));
    assert_eq!(ple.graph.weight_count(), mmoe.graph.weight_count());
    for info in mmoe.graph.weights() {
        let name =
            info.name.replace("body.gate", "body.level.0.gate").replace("body.expert", "body.level.0.shared.expert");
        let weight = weight_of(&ple.graph, &from.weights, &name).to_vec();
        set_weight(&mmoe.graph, &mut into.weights, &info.name, &weight);
    }
    assert_same("scores", &scores(&mmoe.graph, &into, &samples), &scores(&ple.graph, &from, &samples), 1e-6);
}

/// With as many experts selected as there are, and one scenario level of two, every expert is in the mixture: the gate is a softmax over
/// the active scenario's relevance. A sample of another scenario takes another row.
#[test]
fn selecting_all_experts_is_a_plain_gate() {
    let select = |specific: usize, shared: usize| {
        json!({"dimension": 4, "body": {"type": "aesm2", "noise": 0.0, "gate_batch_norm": false,
            "scenarios": {"layers": 1, "experts": 4, "expert": {"units": [6]}, "specific": specific, "shared": shared},
            "tasks": {"layers": 1, "experts": 2, "expert": {"units": [5]}, "specific": 1, "shared": 1}}})
    };
    let (all, more) = (ranker(&config(select(4, 0))), ranker(&config(select(4, 4))));
    let samples = samples(&all, 40, Seed(3));
    let network = network(&all.graph, Seed(4));
    let scored = scores(&all.graph, &network, &samples);
    // Specific experts of an unseen scenario are unknown, so only seen ones must agree.
    let again = scores(&more.graph, &network, &samples);
    for row in 0..40 {
        let seen = samples.batch.scenarios[2 * row] > 0 && samples.batch.scenarios[2 * row + 1] > 0;
        if seen {
            assert_same("a seen scenario", &scored[4 * row..4 * row + 4], &again[4 * row..4 * row + 4], 1e-6);
        }
        assert!(scored[4 * row..4 * row + 4].iter().all(|score| score.is_finite()));
    }
    let mut elsewhere = samples.clone();
    elsewhere.batch.scenarios.iter_mut().for_each(|scenario| *scenario = *scenario % 3 + 1);
    assert_ne!(scores(&all.graph, &network, &elsewhere), scored);
}

/// A scenario that was never seen takes the shared path: finite, the same whatever the specific experts of others are.
#[test]
fn an_unseen_scenario_takes_the_shared_experts() {
    let body = json!({"type": "aesm2", "noise": 0.0, "gate_batch_norm": false,
        "scenarios": {"layers": 1, "experts": 6, "expert": {"units": [6]}, "specific": 2, "shared": 0}});
    let model = ranker(&config(json!({"dimension": 4, "body": body})));
    let mut samples = samples(&model, 30, Seed(3));
    samples.batch.scenarios.fill(0);
    let network = network(&model.graph, Seed(4));
    assert!(scores(&model.graph, &network, &samples).iter().all(|score| score.is_finite()));
}

/// Of a mixture's weights some become zero, as often as they should, and the others share what these had: they still sum to one.
#[test]
fn dropped_gates_are_shared_again() {
    let (rows, width, probability) = (2000, 4, 0.3);
    let (mut graph, mut samples) = (Graph::new(), Samples::new(rows, 1));
    let mut gates: Vec<f32> = normal(Seed(40), rows * width, 1.0).into_iter().map(f32::exp).collect();
    for row in gates.chunks_exact_mut(width) {
        let sum: f32 = row.iter().sum();
        row.iter_mut().for_each(|gate| *gate /= sum);
    }
    let leaf = samples.leaf(&mut graph, &gates, width, None);
    let dropped = graph.gate_dropout(leaf, probability);
    graph.output("gates", dropped);
    let mut trainer = Trainer::of_result(Arc::new(graph), 1).unwrap();
    let mut found = Vec::new();
    trainer.forward(&[], &[], &samples.inputs(), Some(Seed(41)), &OneWorker, &mut found).unwrap();
    let mut zeros = 0;
    for (found, gates) in found.chunks_exact(width).zip(gates.chunks_exact(width)) {
        let kept: f32 = found.iter().zip(gates).filter(|(found, _)| **found > 0.0).map(|(_, gate)| gate).sum();
        let expected: Vec<f32> =
            found.iter().zip(gates).map(|(found, gate)| if *found > 0.0 { gate / kept } else { 0.0 }).collect();
        assert_same("gates", found, &expected, 1e-5);
        assert!((found.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{found:?}");
        zeros += found.iter().filter(|gate| **gate == 0.0).count();
    }
    // A row that would lose all of them keeps all.
    let expected = f64::from(probability) - f64::from(probability).powi(4);
    let share = zeros as f64 / (rows * width) as f64;
    assert!((share - expected).abs() < 0.02, "{share} {expected}");
}

/// AESM²'s noise is that of its config, as its layers have experts, and is gone after many half-lives.
#[test]
fn selection_noise_is_that_of_the_config() {
    let of = |noise: f32, half_life: f32| {
        ranker(&config(json!({"dimension": 4, "body": {"type": "aesm2", "noise": noise, "noise_half_life": half_life,
            "gate_batch_norm": false, "scenarios": {"layers": 1, "experts": 6, "expert": {"units": [6]}},
            "tasks": {"layers": 1, "experts": 5, "expert": {"units": [6]}}}})))
    };
    let noisy = of(0.7, 3.0);
    let selections: Vec<_> = noisy
        .graph
        .nodes()
        .iter()
        .filter_map(|node| match node.op {
            Op::SelectExperts(select) => Some((select.experts, select.noise, select.noise_half_life)),
            _ => None,
        })
        .collect();
    assert!([6, 5].iter().all(|experts| selections.contains(&(*experts, 0.7, 3.0))), "{selections:?}");
    let samples = samples(&noisy, 200, Seed(42));
    let network = network(&noisy.graph, Seed(43));
    let losses = |ranker: &Ranker, step: u64| {
        let mut trainer = Trainer::new(Arc::new(ranker.graph.clone()), 1);
        trainer.at_step(step);
        let (mut state, seed) = (network.state.clone(), Some(Seed(44)));
        trainer.step(&network.weights, &mut state, &samples.inputs(), seed, &OneWorker).unwrap().losses
    };
    let without = losses(&of(0.0, 3.0), 0);
    assert_ne!(losses(&noisy, 0), without);
    assert_eq!(losses(&noisy, 300), without);
    assert_ne!(losses(&of(0.7, 0.0), 300), without);
}
