//! The towers of a retriever: what they read, and gradients of losses that somebody else computes.
#![allow(clippy::unwrap_used)]

mod common;

use common::model::{network, ranker, samples, schema};
use common::{Samples, Threads, assert_same, normal, scores};
use kitestring_core::batch::Ids;
use kitestring_core::schema::Of;
use kitestring_core::{Schema, Seed};
use kitestring_nn::engine::Trainer;
use kitestring_nn::graph::{Domain, Graph};
use kitestring_nn::network::Network;
use kitestring_nn::ops::arithmetic::Binary;
use kitestring_nn::ops::embed::Lookup;
use kitestring_nn::ranker::ModelConfig;
use kitestring_nn::retriever::{Retriever, RetrieverConfig};
use serde_json::json;
use std::sync::Arc;

/// The schema of the rankers' tests, where item, category and price are the item's.
fn owned() -> Schema {
    let mut schema = schema();
    for feature in &mut schema.features {
        feature.of = match feature.name.as_str() {
            "item" | "category" | "price" => Of::Item,
            "tags" => Of::Context,
            _ => Of::User,
        };
    }
    schema
}

fn retriever(config: serde_json::Value) -> Retriever {
    let config: RetrieverConfig = serde_json::from_value(config).unwrap();
    Retriever::new(&owned(), &config).unwrap()
}

fn configs() -> [serde_json::Value; 4] {
    let tower = json!({"layers": {"units": [6]}});
    [
        json!({"dimension": 4, "vector": 5, "query": tower, "item": tower}),
        json!({"dimension": 4, "vector": 5, "unit_length": true, "item": tower,
            "query": {"encoder": {"type": "gru", "units": 5}, "layers": {"units": [6], "batch_norm": true, "dropout": 0.3}}}),
        json!({"dimension": 4, "vector": 5, "item": tower,
            "query": {"encoder": {"type": "gru_latent_cross", "units": 5, "contexts": ["user"]}, "layers": {"units": []}}}),
        json!({"dimension": 4, "vector": 6, "query": {"layers": {"units": [6], "activation": "prelu"}, "projection": false},
            "item": {"encoder": {"type": "cross", "structure": "stacked"}, "layers": {"units": [6]}}}),
    ]
}

fn drawn(rows: usize) -> Samples {
    let config = ModelConfig { dimension: 4, ..ModelConfig::default() };
    samples(&ranker(&config), rows, Seed(3))
}

struct Gradients {
    network: Vec<f32>,
    rows: Vec<Vec<f32>>,
    state: Vec<f32>,
}

fn outside(graph: &Graph, network: &Network, samples: &Samples, gradient: &[f32], workers: usize) -> Gradients {
    let mut trainer = Trainer::of_result(Arc::new(graph.clone()), workers).unwrap();
    let (inputs, dropout, threads) = (samples.inputs(), Some(Seed(9)), Threads(workers));
    let mut state = network.state.clone();
    let mut result = Vec::new();
    // Twice: a warm step must not see the one before.
    for _ in 0..2 {
        state.copy_from_slice(&network.state);
        trainer.forward(&network.weights, &state, &inputs, dropout, &threads, &mut result).unwrap();
        assert_eq!(result.len(), gradient.len());
        trainer.backward(&network.weights, &mut state, &inputs, dropout, gradient, &threads).unwrap();
    }
    let found = trainer.gradients();
    Gradients { network: found.network.to_vec(), rows: found.rows.to_vec(), state }
}

/// `Σ ⟨c, vector⟩` has the gradient `c`: computed outside, and as a loss of the graph with `c` as a constant.
#[test]
fn a_loss_from_outside_has_the_gradients_of_one_inside() {
    for config in configs() {
        let retriever = retriever(config.clone());
        let width = config["vector"].as_u64().unwrap() as usize;
        for (name, graph) in [("query", &retriever.query), ("item", &retriever.item)] {
            let rows = 70;
            let mut samples = drawn(rows);
            let network = network(graph, Seed(4));
            let gradient = normal(Seed(5), rows * width, 1.0);
            let mut inside = graph.clone();
            let vector = graph.outputs()[0].1;
            // The constants come in as rows of one more table, whose gradient nobody looks at.
            let lookup = Lookup { feature: samples.lookups.len(), table: samples.tables.len(), width };
            samples.batch.sparse.push(Ids { ids: (0..rows as u64).collect(), ..Ids::default() });
            samples.lookups.push((0..rows as u32).collect());
            samples.tables.push(gradient.clone());
            let constant = inside.embed(vec![lookup], Domain::Rows);
            let product = inside.binary(Binary::Multiply, vector, constant);
            let sum = inside.row_sum(product);
            inside.minimize("loss", sum, None, rows as f32);
            let expected = {
                let mut trainer = Trainer::new(Arc::new(inside), 1);
                let mut state = network.state.clone();
                trainer.step(&network.weights, &mut state, &samples.inputs(), Some(Seed(9)), &Threads(1)).unwrap();
                let found = trainer.gradients();
                Gradients { network: found.network.to_vec(), rows: found.rows.to_vec(), state }
            };
            for workers in [1, 3] {
                let found = outside(graph, &network, &samples, &gradient, workers);
                let what = format!("{name} of {config}, {workers} workers");
                assert_same(&what, &found.network, &expected.network, 2e-5);
                assert_same(&what, &found.state, &expected.state, 1e-5);
                for (found, expected) in found.rows.iter().zip(&expected.rows).take(retriever.tables.len()) {
                    assert_same(&what, found, expected, 2e-5);
                }
            }
        }
    }
}

/// A tower's vector does not move with what the other one reads.
#[test]
fn a_tower_reads_its_features_alone() {
    let retriever = retriever(configs()[0].clone());
    let samples = drawn(20);
    let of = |graph: &Graph, samples: &Samples| scores(graph, &network(graph, Seed(1)), samples);
    let before = (of(&retriever.query, &samples), of(&retriever.item, &samples));
    let features = ["user", "item", "category", "item_history", "category_history", "tags"];
    for (feature, name) in features.iter().enumerate() {
        let mut moved = samples.clone();
        moved.lookups[feature].iter_mut().for_each(|row| *row = (*row + 1) % 12);
        let after = (of(&retriever.query, &moved), of(&retriever.item, &moved));
        let items = ["item", "category"].contains(name);
        assert_eq!((before.0 != after.0, before.1 != after.1), (!items, items), "{name}");
    }
    for (column, items) in [(0, false), (1, true)] {
        let mut moved = samples.clone();
        moved.batch.numeric.iter_mut().skip(column).step_by(2).for_each(|number| *number += 1.0);
        let after = (of(&retriever.query, &moved), of(&retriever.item, &moved));
        assert_eq!((before.0 != after.0, before.1 != after.1), (!items, items), "column {column}");
    }
}

#[test]
fn vectors_of_length_one() {
    let retriever = retriever(configs()[1].clone());
    for vector in scores(&retriever.item, &network(&retriever.item, Seed(1)), &drawn(20)).chunks_exact(5) {
        let length: f32 = vector.iter().map(|x| x * x).sum();
        assert!((length - 1.0).abs() < 1e-5, "{length}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let refused = |config: serde_json::Value, schema: &Schema| {
        let config: RetrieverConfig = serde_json::from_value(config).unwrap();
        Retriever::new(schema, &config).unwrap_err().to_string()
    };
    let cases = [
        (json!({"query": {"encoder": {"type": "din"}}}), "retrieve.model.query.encoder.type"),
        (json!({"item": {"encoder": {"type": "fm"}}}), "retrieve.model.item.encoder.type"),
        (json!({"item": {"encoder": {"type": "gru"}}}), "retrieve.model.item.encoder.type"),
        (json!({"item": {"encoder": {"type": "cross"}}}), "retrieve.model.item.encoder.structure"),
        (json!({"item": {"layers": {"units": [3]}, "projection": false}}), "retrieve.model.item.projection"),
        (json!({"item": {"layers": {"units": [0]}}}), "retrieve.model.item.layers.units"),
        (json!({"vector": 0}), "retrieve.model.vector"),
        (json!({"dimensions": {"itme": 3}}), "item"),
    ];
    for (config, expected) in cases {
        let error = refused(config.clone(), &owned());
        assert!(error.contains(expected), "{config}: {error}");
    }
    let error = refused(json!({}), &schema());
    assert!(error.contains("retrieve.model.item") && error.contains("of = \"item\""), "{error}");
    // Gradients that are not the last result's.
    let retriever = retriever(configs()[0].clone());
    let (samples, network) = (drawn(8), network(&retriever.item, Seed(1)));
    let mut trainer = Trainer::of_result(Arc::new(retriever.item.clone()), 1).unwrap();
    let mut state = network.state.clone();
    let inputs = samples.inputs();
    assert!(trainer.backward(&network.weights, &mut state, &inputs, None, &[0.0; 40], &Threads(1)).is_err());
    let mut result = Vec::new();
    trainer.forward(&network.weights, &state, &inputs, None, &Threads(1), &mut result).unwrap();
    assert!(trainer.backward(&network.weights, &mut state, &inputs, None, &[0.0; 39], &Threads(1)).is_err());
}
