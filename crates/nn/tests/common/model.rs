//! A schema with everything a ranker can read, and samples of it.

use super::{Samples, normal};
use kitestring_core::batch::Ids;
use kitestring_core::schema::{Feature, FeatureKind, History, Level, Task, TaskKind};
use kitestring_core::{Schema, Seed};
use kitestring_nn::graph::Graph;
use kitestring_nn::network::Network;
use kitestring_nn::ranker::{ModelConfig, Ranker};

/// User, item, its category, both histories, tags, two numbers; a position from 0 to 8; two scenario levels; four tasks of three kinds, one of them after another.
pub fn schema() -> Schema {
    let mut features: Vec<Feature> =
        ["user", "item", "category"].iter().map(|name| Feature::new(*name, FeatureKind::Categorical)).collect();
    for of in ["item", "category"] {
        let mut history = Feature::new(format!("{of}_history"), FeatureKind::Sequence);
        history.table = Some(of.into());
        history.history = Some(History { of: of.into(), when: Some("click".into()), which: Default::default() });
        features.push(history);
    }
    features.push(Feature::new("tags", FeatureKind::Multi));
    features.extend(["age", "price"].map(|name| Feature::new(name, FeatureKind::Numeric)));
    let after = Task { after: Some("click".into()), ..Task::binary("conversion") };
    let rating = Task { kind: TaskKind::Regression, ..Task::binary("rating") };
    let plays = Task { kind: TaskKind::Count, ..Task::binary("plays") };
    Schema {
        user: Some("user".into()),
        features,
        position: Some("position".into()),
        scenarios: ["page", "tab"].map(|name| Level { name: name.into(), column: None }).into(),
        tasks: vec![Task::binary("click"), after, rating, plays],
        ..Schema::default()
    }
}

/// How many scenarios each level has, with the unseen one.
pub const SCENARIOS: [usize; 2] = [4, 5];

/// Unique rows of a table, few enough for ids to meet.
const UNIQUE: u64 = 12;

/// Drawn samples: lists of 0 to 5 ids, some labels missing.
pub fn samples(ranker: &Ranker, rows: usize, seed: Seed) -> Samples {
    let mut samples = Samples::new(rows, 4);
    for table in &ranker.tables {
        samples.tables.push(normal(seed.child(&table.name), UNIQUE as usize * table.width, 0.7));
    }
    let ids = |name: &str, count: usize| -> Vec<u64> {
        (0..count as u64).map(|at| seed.child(name).bits_at(at) % UNIQUE).collect()
    };
    let offsets = |name: &str| -> Vec<u32> {
        let lengths = (0..rows as u64).map(|row| (seed.child(name).bits_at(row) % 6) as u32);
        let mut sum = 0;
        let ends = lengths.map(|length| {
            sum += length;
            sum
        });
        std::iter::once(0).chain(ends).collect()
    };
    for name in ["user", "item", "category"] {
        samples.batch.sparse.push(Ids { ids: ids(name, rows), ..Ids::default() });
    }
    for (name, lists) in [("item_history", "history"), ("category_history", "history"), ("tags", "tag_lists")] {
        let offsets = offsets(lists);
        let count = *offsets.last().unwrap() as usize;
        samples.batch.sparse.push(Ids { ids: ids(name, count), offsets, list_of_row: Vec::new() });
    }
    let lookup = |ids: &Ids| ids.ids.iter().map(|id| *id as u32).collect();
    samples.lookups = samples.batch.sparse.iter().map(lookup).collect();
    samples.batch.numeric = normal(seed.child("numeric"), rows * 2, 1.0);
    for row in 0..rows {
        let draw = |name: &str| seed.child(name).unit_at(row as u64);
        let click = f32::from(draw("click") < 0.5);
        let missing = |name: &str, label: f32| if draw(name) < 0.2 { f32::NAN } else { label };
        let labels = [
            missing("no click", click),
            click * f32::from(draw("conversion") < 0.5),
            missing("no rating", 2.0 * draw("rating") - 1.0),
            (3.0 * draw("plays")).floor(),
        ];
        samples.batch.labels[4 * row..4 * row + 4].copy_from_slice(&labels);
    }
    let scenario = |at: usize| (seed.child("scenario").bits_at(at as u64) % SCENARIOS[at % 2] as u64) as u32;
    samples.batch.scenarios = (0..2 * rows).map(scenario).collect();
    samples.batch.position = (0..rows as u64).map(|row| (seed.child("position").bits_at(row) % 9) as u32).collect();
    samples.batch.index = (0..rows as u64).map(|row| 1000 + row).collect();
    samples
}

/// The graph of a config over the schema above.
pub fn ranker(config: &ModelConfig) -> Ranker {
    Ranker::new(&schema(), config, &SCENARIOS).unwrap()
}

/// A network in general position: no weight is zero or one, as biases and scales are at first.
pub fn network(graph: &Graph, seed: Seed) -> Network {
    let mut network = Network::new(graph, seed);
    let noise = normal(seed.child("noise"), network.weights.len(), 0.15);
    network.weights.iter_mut().zip(noise).for_each(|(weight, noise)| *weight += noise);
    let noise = normal(seed.child("state"), network.state.len(), 0.2);
    network.state.iter_mut().zip(noise).for_each(|(state, noise)| *state += noise.abs());
    network
}

/// A model config written as JSON.
pub fn config(json: serde_json::Value) -> ModelConfig {
    serde_json::from_value(json).unwrap()
}
