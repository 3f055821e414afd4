//! Bodies that mix towers or domains: what each must be at first, what reaches whose weights, and the mistakes they are known for.
#![allow(clippy::unwrap_used)]

mod common;

use common::model::{config, ranker, samples, schema};
use common::{Samples, Stepped, assert_same, scores, set_weight, weight_of};
use kitestring_core::Seed;
use kitestring_nn::network::Network;
use kitestring_nn::ranker::Ranker;
use serde_json::{Value, json};

fn with_body(body: Value) -> Ranker {
    ranker(&config(json!({"dimension": 4, "body": body})))
}

/// The largest gradient of the weights whose names begin with a prefix. They must exist.
fn largest(ranker: &Ranker, gradients: &[f32], prefix: &str) -> f32 {
    let named: Vec<_> = ranker.graph.weights().iter().filter(|info| info.name.starts_with(prefix)).collect();
    assert!(!named.is_empty(), "no weight `{prefix}…` in {:?}", ranker.graph.weights());
    let all = named.iter().flat_map(|info| weight_of(&ranker.graph, gradients, &info.name));
    all.fold(0.0, |largest, g| largest.max(g.abs()))
}

/// Samples with one labelled task.
fn only_task(samples: &Samples, task: usize) -> Samples {
    let mut samples = samples.clone();
    let labels = samples.batch.labels.iter_mut().enumerate();
    labels.filter(|(at, _)| at % 4 != task).for_each(|(_, label)| *label = f32::NAN);
    samples
}

#[test]
fn stitches_start_as_the_paper_says() {
    for per_channel in [false, true] {
        let body = json!({"type": "cross_stitch", "per_channel": per_channel, "towers": {"units": [6, 5]}});
        let ranker = with_body(body);
        let network = Network::new(&ranker.graph, Seed(1));
        for (name, units) in [("body.stitch.0.weight", 6), ("body.stitch.1.weight", 5)] {
            let block = if per_channel { units } else { 1 };
            let alpha = weight_of(&ranker.graph, &network.weights, name);
            assert_eq!(alpha.len(), 4 * 4 * block);
            for (at, alpha) in alpha.iter().enumerate() {
                let own = at / (4 * block) == at / block % 4;
                let expected = if own { 0.9 } else { 0.1 / 3.0 };
                assert!((alpha - expected).abs() < 1e-6, "{name} {at}: {alpha}");
            }
            let info = ranker.graph.weights().iter().find(|info| info.name == name).unwrap();
            assert!(!info.decays, "a mixture that decays listens to nobody");
        }
    }
}

/// With `α` the identity there are four towers that know nothing of each other, in score and in gradient.
#[test]
fn towers_that_are_not_mixed_are_separate() {
    let towers = json!({"units": [6, 5]});
    let separate = with_body(json!({"type": "shared_bottom", "bottom": {"units": []}, "towers": towers}));
    for per_channel in [false, true] {
        let alone = json!({"type": "cross_stitch", "towers": towers, "own": 1.0, "per_channel": per_channel});
        let (alone, mixed) = (
            with_body(alone),
            with_body(json!({"type": "cross_stitch", "towers": towers, "per_channel": per_channel})),
        );
        let samples = samples(&alone, 60, Seed(1));
        let from = Network::new(&separate.graph, Seed(2));
        let mut into = Network::new(&alone.graph, Seed(2));
        for info in separate.graph.weights() {
            let weight = weight_of(&separate.graph, &from.weights, &info.name).to_vec();
            set_weight(&alone.graph, &mut into.weights, &info.name, &weight);
        }
        let expected = scores(&separate.graph, &from, &samples);
        assert_same("scores", &scores(&alone.graph, &into, &samples), &expected, 1e-6);
        // A task's loss reaches another's tower through the mixture only.
        let click = only_task(&samples, 0);
        let reached = |ranker: &Ranker, tower: &str| {
            let network = Network::new(&ranker.graph, Seed(2));
            let step = Stepped::of(&ranker.graph, &network, &click, None, 1);
            largest(ranker, &step.network, &format!("body.tower.{tower}"))
        };
        assert!(reached(&alone, "click") > 0.0 && reached(&mixed, "click") > 0.0);
        assert_eq!(reached(&alone, "rating"), 0.0);
        assert!(reached(&mixed, "rating") > 0.0);
    }
}

#[test]
fn one_task_has_nobody_to_listen_to() {
    let mut schema = schema();
    schema.tasks.truncate(1);
    let config = config(json!({"dimension": 4, "body": {"type": "cross_stitch"}}));
    let ranker = Ranker::new(&schema, &config, &common::model::SCENARIOS).unwrap();
    assert!(ranker.graph.weights().iter().all(|info| !info.name.contains("stitch")));
}
