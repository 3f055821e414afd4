//! Every body, head, bias and loss against PyTorch in double precision: losses, predictions, running moments, and the gradient of every
//! weight and row.
//!
//! `fixtures/rankers.json` is written by `bench/peers/fixtures_nn.py`, whose docstring defines it.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Matrix, Samples, Stepped, assert_close, scores, set_state, set_weight, state_of, weight_of};
use kitestring_core::batch::Ids;
use kitestring_core::schema::{Feature, FeatureKind, Level, Task};
use kitestring_core::{Schema, Seed};
use kitestring_nn::engine::Trainer;
use kitestring_nn::graph::Graph;
use kitestring_nn::network::Network;
use kitestring_nn::ranker::{ModelConfig, Ranker};
use kitestring_nn::slots::catalogue;
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

type Matrices = BTreeMap<String, Matrix>;

#[derive(Deserialize)]
struct Fixtures {
    format: u32,
    models: Vec<Model>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    name: String,
    #[serde(rename = "description")]
    _description: String,
    config: Value,
    tasks: Vec<Task>,
    ids: BTreeMap<String, Vec<u64>>,
    price: Matrix,
    levels: Ordered<usize>,
    scenarios: Ordered<Vec<u32>>,
    position: Option<Vec<u32>>,
    seed: Option<u64>,
    step: u64,
    labels: Matrices,
    tables: Matrices,
    table_gradients: Matrices,
    weights: Matrices,
    gradients: Matrices,
    state: Matrices,
    state_after: Matrices,
    losses: BTreeMap<String, f64>,
    loss: f64,
    outputs: Matrices,
}

/// Scenario levels in their order: their names sort so.
type Ordered<T> = BTreeMap<String, T>;

const FEATURES: [&str; 2] = ["user", "item"];

fn fixtures() -> Vec<Model> {
    let fixtures: Fixtures = serde_json::from_str(include_str!("fixtures/rankers.json")).unwrap();
    assert_eq!(fixtures.format, 1);
    fixtures.models
}

impl Model {
    fn schema(&self) -> Schema {
        let mut features: Vec<Feature> =
            FEATURES.iter().map(|name| Feature::new(*name, FeatureKind::Categorical)).collect();
        features.push(Feature::new("price", FeatureKind::Numeric));
        Schema {
            user: Some("user".into()),
            features,
            position: self.position.as_ref().map(|_| "position".into()),
            scenarios: self.levels.keys().map(|name| Level { name: name.clone(), column: None }).collect(),
            tasks: self.tasks.clone(),
            ..Schema::default()
        }
    }

    fn ranker(&self) -> Ranker {
        let config: ModelConfig = serde_json::from_value(self.config.clone()).unwrap();
        let scenarios: Vec<usize> = self.levels.values().map(|count| count + 1).collect();
        Ranker::new(&self.schema(), &config, &scenarios).unwrap()
    }

    fn samples(&self, ranker: &Ranker) -> Samples {
        let rows = self.price.shape[0];
        let mut samples = Samples::new(rows, self.tasks.len());
        samples.tables = ranker.tables.iter().map(|table| self.tables[&table.name].floats()).collect();
        for name in FEATURES {
            let ids = self.ids[name].clone();
            samples.lookups.push(ids.iter().map(|id| *id as u32).collect());
            samples.batch.sparse.push(Ids { ids, ..Ids::default() });
        }
        samples.batch.numeric = self.price.floats();
        samples.batch.scenarios = (0..rows).flat_map(|row| self.scenarios.values().map(move |all| all[row])).collect();
        samples.batch.position = self.position.clone().unwrap_or_default();
        let columns: Vec<Vec<f32>> = self.tasks.iter().map(|task| self.labels[&task.name].floats()).collect();
        samples.batch.labels = (0..rows).flat_map(|row| columns.iter().map(move |column| column[row])).collect();
        samples
    }

    fn network(&self, graph: &Graph) -> Network {
        // Who hears whom is not the reference's: at first everybody hears everybody.
        let states = graph.states().iter().filter(|info| !info.name.ends_with("hears"));
        let ours = graph.weights().iter().map(|info| &info.name).chain(states.map(|info| &info.name));
        let ours: BTreeSet<&String> = ours.collect();
        let theirs = self.weights.keys().chain(self.state.keys()).collect();
        let different: Vec<_> = ours.symmetric_difference(&theirs).collect();
        assert!(different.is_empty(), "{}: on one side only: {different:?}", self.name);
        let mut network = Network { weights: vec![0.0; graph.weight_count()], state: graph.initial_state() };
        self.weights.iter().for_each(|(name, values)| {
            set_weight(graph, &mut network.weights, name, &values.floats());
        });
        self.state.iter().for_each(|(name, values)| set_state(graph, &mut network.state, name, &values.floats()));
        network
    }

    fn check(&self) {
        let ranker = self.ranker();
        let graph = &counted(&ranker.graph);
        let (samples, network) = (self.samples(&ranker), self.network(graph));
        let mut trainer = Trainer::new(Arc::new(graph.clone()), 1);
        trainer.at_step(self.step);
        let stepped = Stepped::again(&mut trainer, &network, &samples, self.seed.map(Seed), 1);
        let what = |part: &str| format!("{}: {part}", self.name);

        assert_eq!(graph.losses().len(), self.losses.len(), "{}", what("losses"));
        for (loss, found) in graph.losses().iter().zip(&stepped.report.losses) {
            assert_close(&what(&loss.name), &[*found as f32], &[self.losses[&loss.name]], 1e-5, 1e-6);
        }
        let weighted =
            graph.losses().iter().zip(&stepped.report.losses).map(|(loss, mean)| loss.weight_at(self.step) * mean);
        assert_close(&what("the loss"), &[weighted.sum::<f64>() as f32], &[self.loss], 1e-5, 1e-6);
        let scored = scores(graph, &network, &samples);
        assert_eq!(graph.outputs().len(), self.outputs.len(), "{}", what("outputs"));
        for (number, (name, _)) in graph.outputs().iter().enumerate() {
            let column: Vec<f32> = scored.iter().skip(number).step_by(self.outputs.len()).copied().collect();
            assert_close(&what(name), &column, &self.outputs[name].values(), 1e-5, 1e-6);
        }
        for (name, expected) in &self.gradients {
            assert_close(&what(name), weight_of(graph, &stepped.network, name), &expected.values(), 1e-4, 1e-6);
        }
        for (found, table) in stepped.rows.iter().zip(&ranker.tables) {
            let rows = what(&format!("rows of {}", table.name));
            assert_close(&rows, found, &self.table_gradients[&table.name].values(), 1e-4, 1e-6);
        }
        for (name, expected) in &self.state_after {
            assert_close(&what(name), state_of(graph, &stepped.state, name), &expected.values(), 1e-5, 1e-6);
        }
    }
}

/// The graph with the operations that draw counted from zero: a fixture does not know how many operations stand before them.
fn counted(graph: &Graph) -> Graph {
    let mut json = serde_json::to_value(graph).unwrap();
    let mut count = 0;
    for node in json["nodes"].as_array_mut().unwrap() {
        let op = &mut node["op"];
        let draws = op.get("noisy_top_k").is_some() || op.pointer("/spread_loss/kind/binary").is_some();
        if draws {
            op.as_object_mut().unwrap().values_mut().for_each(|op| op["number"] = count.into());
            count += 1;
        }
    }
    serde_json::from_value(json).unwrap()
}

#[test]
fn rankers_are_pytorchs() {
    fixtures().iter().for_each(Model::check);
}

/// Every variant is in a fixture here or in that of the encoders: a new one must be added to the generator.
#[test]
fn every_variant_has_a_fixture() {
    let models = fixtures();
    for variant in catalogue().into_iter().filter(|variant| variant.slot != "encoder") {
        let named = |model: &&Model| {
            let of_slot = &model.config[variant.slot];
            if of_slot.is_null() { default_of(variant.slot) == variant.name } else { of_slot["type"] == variant.name }
        };
        assert!(models.iter().any(|model| named(&model)), "{variant:?}");
    }
}

/// The type of a slot that a config leaves out.
fn default_of(slot: &str) -> Value {
    serde_json::to_value(ModelConfig::default()).unwrap()[slot]["type"].clone()
}
