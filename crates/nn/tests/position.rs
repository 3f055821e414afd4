//! The bias of positions: learned in training, absent from scores.
#![allow(clippy::unwrap_used)]

mod common;

use common::model::{config, network, ranker, samples};
use common::{Samples, Stepped, scores, set_weight, weight_of};
use kitestring_core::schema::{Feature, FeatureKind, Task};
use kitestring_core::{Schema, Seed};
use kitestring_nn::engine::{OneWorker, Trainer};
use kitestring_nn::graph::Graph;
use kitestring_nn::network::Network;
use kitestring_nn::optimizer::{Optimizer, Rule};
use kitestring_nn::ranker::Ranker;
use kitestring_nn::slots::bias::position::bias_of_positions;
use serde_json::json;
use std::sync::Arc;

#[test]
fn no_score_depends_on_a_position() {
    for crossed in [json!([]), json!(["user", "item"])] {
        let bias = json!({"type": "position", "crossed": crossed});
        let ranker = ranker(&config(json!({"dimension": 4, "head": {"type": "esmm"}, "bias": bias})));
        let mut samples = samples(&ranker, 100, Seed(1));
        let mut network = network(&ranker.graph, Seed(2));
        let found = scores(&ranker.graph, &network, &samples);
        samples.batch.position.iter_mut().for_each(|position| *position = 8 - *position);
        assert_eq!(scores(&ranker.graph, &network, &samples), found);
        // A device has no position at all.
        samples.batch.position.clear();
        assert_eq!(scores(&ranker.graph, &network, &samples), found);
        // Nor on what was learned of positions, but for the missing one.
        let mut by_position = weight_of(&ranker.graph, &network.weights, "bias.click.by_position").to_vec();
        by_position[1..].fill(5.0);
        set_weight(&ranker.graph, &mut network.weights, "bias.click.by_position", &by_position);
        assert_eq!(scores(&ranker.graph, &network, &samples), found);
        by_position[0] += 1.0;
        set_weight(&ranker.graph, &mut network.weights, "bias.click.by_position", &by_position);
        assert_ne!(scores(&ranker.graph, &network, &samples), found);
    }
}

/// Each position is trained by its samples, all from the last on by those of the last bucket, and the missing one by a tenth of them.
#[test]
fn the_missing_position_is_seen_in_training() {
    const ROWS: usize = 5000;
    let bias = json!({"type": "position", "positions": 4, "tasks": ["click", "conversion"]});
    let ranker = ranker(&config(json!({"dimension": 4, "bias": bias})));
    let mut samples = samples(&ranker, ROWS, Seed(1));
    samples.batch.labels.fill(0.0);
    samples.batch.position = (0..ROWS as u32).map(|row| row % 6 + 1).collect();
    let mut network = network(&ranker.graph, Seed(2));
    network.weights.fill(0.0);
    // All logits are zero and all labels 0: every sample's gradient is ½.
    let share = |dropout: Option<Seed>, task: &str| -> Vec<f32> {
        let step = Stepped::of(&ranker.graph, &network, &samples, dropout, 2);
        let grad = step.of_weight(&ranker.graph, &format!("bias.{task}.by_position"));
        grad.iter().map(|grad| 2.0 * grad).collect()
    };
    let near = |found: &[f32], expected: [f32; 5], tolerance: f32| {
        found.iter().zip(expected).for_each(|(f, e)| assert!((f - e).abs() < tolerance, "{found:?} {expected:?}"));
    };
    let sixth = 1.0 / 6.0;
    near(&share(None, "click"), [0.0, sixth, sixth, sixth, 0.5], 1e-3);
    let click = share(Some(Seed(3)), "click");
    near(&click, [0.1, 0.9 * sixth, 0.9 * sixth, 0.9 * sixth, 0.45], 0.015);
    assert!(click.iter().sum::<f32>() > 0.999);
    // The tasks draw apart.
    assert_ne!(share(Some(Seed(3)), "conversion"), click);
    assert!(bias_of_positions(&ranker.graph, &network.weights, "rating").is_none());
}

/// A score of one number and its position: `click ~ σ(1.5 x − 0.7 (position − 1))`, where what is relevant tends to stand first.
fn relevance_and_position(bias: &str) -> (Ranker, Samples) {
    const ROWS: usize = 12_000;
    let schema = Schema {
        position: Some("position".into()),
        features: vec![Feature::new("x", FeatureKind::Numeric)],
        tasks: vec![Task::binary("click")],
        ..Schema::default()
    };
    let model = json!({"body": {"type": "mlp", "units": []}, "bias": {"type": bias}});
    let ranker = Ranker::new(&schema, &config(model), &[]).unwrap();
    let mut samples = Samples::new(ROWS, 1);
    for row in 0..ROWS as u64 {
        let x = Seed(1).normal_at(row);
        let place = (3.0 - x + Seed(2).normal_at(row)).round().clamp(1.0, 5.0);
        let logit = 1.5 * x - 0.7 * (place - 1.0) + 0.5;
        samples.batch.numeric.push(x);
        samples.batch.position.push(place as u32);
        samples.batch.labels[row as usize] = f32::from(Seed(3).unit_at(row) < 1.0 / (1.0 + (-logit).exp()));
    }
    (ranker, samples)
}

fn trained(graph: &Graph, samples: &Samples) -> Network {
    let mut network = Network::new(graph, Seed(4));
    let mut trainer = Trainer::new(Arc::new(graph.clone()), 1);
    let mut optimizer = Optimizer::new(Rule::default(), 0.0, graph).unwrap();
    for step in 0..800 {
        let state = &mut network.state;
        trainer.step(&network.weights, state, &samples.inputs(), Some(Seed(step)), &OneWorker).unwrap();
        optimizer.apply(&mut network.weights, trainer.gradients().network, 0.05 * 0.995_f32.powf(step as f32));
    }
    network
}

#[test]
fn the_bias_of_positions_is_recovered_up_to_a_constant() {
    let relevance = |graph: &Graph, network: &Network| weight_of(graph, &network.weights, "head.click.weight")[0];
    let (biased, samples) = relevance_and_position("none");
    let without = relevance(&biased.graph, &trained(&biased.graph, &samples));
    let (ranker, samples) = relevance_and_position("position");
    let network = trained(&ranker.graph, &samples);
    let with = relevance(&ranker.graph, &network);
    // Without the bias, what stands first is taken for relevant.
    assert!((with - 1.5).abs() < 0.15 && without > 1.8, "{with} {without}");
    let found = bias_of_positions(&ranker.graph, &network.weights, "click").unwrap();
    assert_eq!(found.len(), 51);
    for place in 2..=5 {
        let (difference, expected) = (found[place] - found[1], -0.7 * (place as f32 - 1.0));
        assert!((difference - expected).abs() < 0.25, "{place}: {difference} {expected}");
        assert!(found[place] < found[place - 1]);
    }
}
