//! The sparsely-gated mixture: what is chosen, what is computed, and what evens it out.
#![allow(clippy::unwrap_used)]

mod common;

use common::model::{config, network, ranker, samples};
use common::{Samples, Stepped, assert_close, assert_same, normal, scores, set_weight, weight_of};
use kitestring_core::Seed;
use kitestring_nn::engine::{OneWorker, Trainer};
use kitestring_nn::graph::Graph;
use kitestring_nn::kernels::activation::Activation;
use kitestring_nn::network::Network;
use kitestring_nn::ops::experts::ExpertLayers;
use kitestring_nn::optimizer::{Optimizer, Rule};
use serde_json::json;
use std::sync::Arc;

/// Over more rows than a tile has, with weights, for any number of workers: the loss and its gradient by the formula.
#[test]
fn balance_is_that_of_the_whole_batch() {
    const ROWS: usize = 4000;
    let width = 5;
    let x: Vec<f32> =
        normal(Seed(1), ROWS * width, 1.0).iter().enumerate().map(|(at, x)| x.abs() + (at % 5) as f32).collect();
    let (mut graph, mut samples) = (Graph::new(), Samples::new(ROWS, 1));
    let leaf = samples.leaf(&mut graph, &x, width, None);
    let loss = graph.balance(leaf);
    graph.minimize("balance", loss, None, 3.0);
    let network = Network::new(&graph, Seed(1));
    for weights in [Vec::new(), (0..ROWS).map(|row| (row % 3) as f32).collect::<Vec<f32>>()] {
        samples.batch.weight.clone_from(&weights);
        let weight = |row: usize| weights.get(row).map_or(1.0, |weight| f64::from(*weight));
        let column = |c: usize| (0..ROWS).map(|row| weight(row) * f64::from(x[row * width + c])).sum::<f64>();
        let sums: Vec<f64> = (0..width).map(column).collect();
        let mean = sums.iter().sum::<f64>() / width as f64;
        let variance = sums.iter().map(|sum| (sum - mean) * (sum - mean)).sum::<f64>() / width as f64;
        let by_sum = |sum: f64| 2.0 / width as f64 * ((sum - mean) / (mean * mean) - variance / (mean * mean * mean));
        let gradient: Vec<f64> = (0..x.len()).map(|at| 3.0 * weight(at / width) * by_sum(sums[at % width])).collect();
        for workers in [1, 3] {
            let step = Stepped::of(&graph, &network, &samples, None, workers);
            let (found, expected) = (step.report.losses[0], variance / (mean * mean));
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
            assert_close("gradient", &step.rows[0], &gradient, 1e-4, 0.0);
        }
    }
}

/// Experts that change nothing: the weights of the chosen sum to one, so the mixture is its input.
#[test]
fn a_mixture_of_identities_is_the_identity() {
    let (rows, width, experts) = (50, 4, 6);
    let x = normal(Seed(1), rows * width, 1.0);
    let (mut graph, mut samples) = (Graph::new(), Samples::new(rows, 1));
    let leaf = samples.leaf(&mut graph, &x, width, None);
    let clean = graph.scope("clean", |graph| graph.linear_without_bias(leaf, experts));
    let noise = graph.scope("noise", |graph| graph.linear_without_bias(leaf, experts));
    let [weights, _] = graph.noisy_top_k(clean, noise, 2);
    let layers = ExpertLayers { units: vec![width], activation: Activation::None, dropout: 0.0 };
    let mixed = graph.experts(leaf, weights, experts, &layers, 2);
    graph.output("mixed", mixed);
    let mut network = Network::new(&graph, Seed(2));
    let identity: Vec<f32> = (0..width * width).map(|at| f32::from(at / width == at % width)).collect();
    for expert in 0..experts {
        set_weight(&graph, &mut network.weights, &format!("expert.{expert}.0.weight"), &identity);
    }
    assert_same("mixture", &scores(&graph, &network, &samples), &x, 1e-6);
}

const EXPERTS: usize = 6;

fn body(weight: f32) -> serde_json::Value {
    json!({"dimension": 4, "body": {"type": "sparse_moe", "experts": EXPERTS, "chosen": 2, "expert": {"units": [5]},
        "importance_weight": weight, "load_weight": weight}})
}

/// In general position, some samples choose an expert and others do not; an expert nobody chose has no gradient.
#[test]
fn only_chosen_experts_are_trained() {
    let ranker = ranker(&config(body(0.1)));
    let samples = samples(&ranker, 60, Seed(3));
    let mut network = network(&ranker.graph, Seed(4));
    let info = ranker.graph.weights().iter().find(|info| info.name == "body.gate.weight").unwrap();
    let trained = |network: &Network, expert: usize| {
        let step = Stepped::of(&ranker.graph, network, &samples, None, 1);
        let name = format!("body.expert.{expert}.0.weight");
        step.of_weight(&ranker.graph, &name).iter().any(|grad| *grad != 0.0)
    };
    // Ties go to the lower numbers: with equal logits the first two experts have every sample.
    network.weights[info.offset..info.offset + info.shape[0] * info.shape[1]].fill(0.0);
    let found: Vec<bool> = (0..EXPERTS).map(|expert| trained(&network, expert)).collect();
    assert_eq!(found, [true, true, false, false, false, false]);
    let drawn = normal(Seed(5), info.shape[0] * info.shape[1], 1.0);
    set_weight(&ranker.graph, &mut network.weights, "body.gate.weight", &drawn);
    assert!((0..EXPERTS).all(|expert| trained(&network, expert)));
}

/// The gate starts at zero, where noise alone chooses and the batch is even. From a crowded start the two losses alone, without any label,
/// spread the samples. With weights of zero they are not recorded.
#[test]
fn the_losses_even_out_a_crowded_gate() {
    let ranker = ranker(&config(body(0.1)));
    let graph = &ranker.graph;
    let mut samples = samples(&ranker, 500, Seed(6));
    samples.batch.labels.fill(f32::NAN);
    let mut network = Network::new(graph, Seed(7));
    assert!(weight_of(graph, &network.weights, "body.gate.weight").iter().all(|weight| *weight == 0.0));
    // Inputs of about one sign, so that a column of the gate can prefer its expert for all samples.
    samples.tables.iter_mut().flatten().for_each(|x| *x = 0.5 + 0.2 * *x);
    let inputs = weight_of(graph, &network.weights, "body.gate.weight").len() / EXPERTS;
    let even = Stepped::of(graph, &network, &samples, Some(Seed(1)), 1).report.losses[..2].to_vec();
    let crowded: Vec<f32> = (0..inputs * EXPERTS).map(|at| if at % EXPERTS < 2 { 0.15 } else { 0.0 }).collect();
    set_weight(graph, &mut network.weights, "body.gate.weight", &crowded);
    let mut trainer = Trainer::new(Arc::new(graph.clone()), 1);
    let mut optimizer = Optimizer::new(Rule::default(), 0.0, graph).unwrap();
    let (mut first, mut last) = (Vec::new(), Vec::new());
    for step in 0..150 {
        let state = &mut network.state;
        let report = trainer.step(&network.weights, state, &samples.inputs(), Some(Seed(step)), &OneWorker).unwrap();
        optimizer.apply(&mut network.weights, trainer.gradients().network, 0.01);
        last = report.losses[..2].to_vec();
        if step == 0 {
            first.clone_from(&last);
        }
    }
    assert!(even.iter().all(|loss| *loss < 0.02), "{even:?}");
    assert!(first.iter().all(|loss| *loss > 0.3), "{first:?}");
    assert!(last.iter().all(|loss| *loss < 0.05), "{last:?}");
    let graph = common::model::ranker(&config(body(0.0))).graph;
    assert!(graph.losses().iter().all(|loss| loss.task.is_some()));
}

/// Two levels: of a batch all weights sum to one, over the chosen experts of the chosen groups, and a group nobody chose is not computed.
#[test]
fn two_levels_choose_groups_and_then_experts() {
    let body = json!({"type": "sparse_moe", "experts": 12, "groups": 4, "chosen": 2, "chosen_groups": 2, "expert": {"units": [5]}});
    let mut model = ranker(&config(json!({"dimension": 4, "body": body})));
    let samples = samples(&model, 80, Seed(3));
    let network = network(&model.graph, Seed(4));
    let cost = model.graph.cost(1, 0).flops;
    let (_, weights) = model.graph.gates()[0].clone();
    let before: usize = model.graph.outputs().iter().map(|(_, value)| model.graph.width(*value)).sum();
    model.graph.output("weights", weights);
    let scored = scores(&model.graph, &network, &samples);
    let mut groups_seen = [false; 4];
    for row in scored.chunks_exact(before + 12) {
        let weights = &row[before..];
        assert!((weights.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        let used: Vec<usize> =
            weights.chunks_exact(3).map(|group| group.iter().filter(|weight| **weight > 0.0).count()).collect();
        assert!(used.iter().all(|used| [0, 2].contains(used)) && used.iter().sum::<usize>() == 4, "{used:?}");
        groups_seen.iter_mut().zip(used).for_each(|(seen, used)| *seen |= used > 0);
    }
    assert_eq!(groups_seen, [true; 4]);
    // Four experts of twelve are paid for, beside twelve logits where a single gate would have them as well.
    let flat = json!({"type": "sparse_moe", "experts": 12, "chosen": 4, "expert": {"units": [5]}});
    let flat = common::model::ranker(&config(json!({"dimension": 4, "body": flat}))).graph.cost(1, 0).flops;
    assert!((cost as f64 / flat as f64 - 1.0).abs() < 0.3, "{cost} {flat}");
    // In general position neither is even.
    let step = Stepped::of(&model.graph, &network, &samples, Some(Seed(5)), 2);
    let losses: Vec<f64> = step.report.losses[..2].to_vec();
    assert!(losses.iter().all(|loss| loss.is_finite() && *loss > 0.0), "{losses:?}");
    // At the start both gates are even.
    let start = Network::new(&model.graph, Seed(6));
    let many = common::model::samples(&model, 4000, Seed(7));
    let even = Stepped::of(&model.graph, &start, &many, Some(Seed(8)), 2).report.losses[..2].to_vec();
    assert!(even.iter().all(|loss| *loss < 0.01), "{even:?}");
}
