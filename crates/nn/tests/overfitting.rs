//! Every slot variant learns 64 samples with random labels by heart: what cannot has a gradient that leads elsewhere.
//!
//! The variants come from the slots' own lists, with their defaults, made small and without what is random in training.
#![allow(clippy::unwrap_used)]

mod common;

use common::model::{SCENARIOS, config, ranker};
use common::{Samples, normal, scores};
use kitestring_core::Seed;
use kitestring_core::batch::Ids;
use kitestring_nn::engine::{OneWorker, Trainer};
use kitestring_nn::graph::{Graph, Initializer};
use kitestring_nn::network::Network;
use kitestring_nn::optimizer::{Optimizer, Rule};
use kitestring_nn::ranker::Ranker;
use kitestring_nn::slots::{VariantInfo, catalogue};
use serde_json::{Value, json};
use std::sync::Arc;

const ROWS: usize = 64;
const STEPS: usize = 400;
const RATE: f32 = 0.02;

/// What a task's loss may be at last, above that of a perfect prediction. At first a binary task's is about 0.7, a rating's and a count's
/// about 0.5.
const LIMIT: f64 = 0.05;

/// What is random in training, and losses that ask for something else than the labels.
const OFF: [&str; 7] =
    ["dropout", "gate_dropout", "noise", "importance_weight", "load_weight", "specific_weight", "shared_weight"];

/// The defaults of a variant with layers of at most 24 units, without what is random.
fn small(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), if OFF.contains(&key.as_str()) { json!(0.0) } else { small(value) }))
            .collect(),
        Value::Array(all) => all.iter().map(small).collect(),
        Value::Number(number) => number.as_u64().map_or_else(|| value.clone(), |number| json!(number.min(24))),
        other => other.clone(),
    }
}

fn ranker_of(variant: &VariantInfo) -> Ranker {
    let mut model = json!({"dimension": 6, "body": {"type": "mlp", "units": [24, 16]}});
    model[variant.slot] = small(&variant.defaults);
    if variant.name == "gru_latent_cross" {
        // By default there is no context to cross with.
        model["encoder"]["event_contexts"] = json!(["category_history"]);
        model["encoder"]["contexts"] = json!(["user", "category"]);
    }
    ranker(&config(model))
}

/// Samples of which no two share an id of a feature, so that any labels can be learned.
fn samples(ranker: &Ranker, seed: Seed) -> Samples {
    let mut samples = Samples::new(ROWS, 4);
    for table in &ranker.tables {
        samples.tables.push(normal(seed.child(&table.name), ROWS * table.width, 0.4));
    }
    let own: Vec<u64> = (0..ROWS as u64).collect();
    let single = Ids { ids: own.clone(), ..Ids::default() };
    // One to three ids a list, the first of them the sample's own.
    let length = |row: u64| 1 + seed.child("lists").bits_at(row) % 3;
    let listed = own.iter().flat_map(|row| (0..length(*row)).map(move |at| (row + 7 * at) % ROWS as u64)).collect();
    let ends = own.iter().scan(0, |end, row| {
        *end += length(*row) as u32;
        Some(*end)
    });
    let lists = Ids { ids: listed, offsets: std::iter::once(0).chain(ends).collect(), list_of_row: Vec::new() };
    samples.batch.sparse = [vec![single; 3], vec![lists; 3]].concat();
    let lookup = |ids: &Ids| ids.ids.iter().map(|id| *id as u32).collect();
    samples.lookups = samples.batch.sparse.iter().map(lookup).collect();
    samples.batch.numeric = normal(seed.child("numeric"), ROWS * 2, 1.0);
    for (row, labels) in samples.batch.labels.chunks_exact_mut(4).enumerate() {
        let draw = |name: &str| seed.child(name).unit_at(row as u64);
        let click = f32::from(draw("click") < 0.5);
        // ESMM's conversion is none without a click.
        let conversion = click * f32::from(draw("conversion") < 0.5);
        labels.copy_from_slice(&[click, conversion, 4.0 * draw("rating") - 2.0, (4.0 * draw("plays")).floor()]);
    }
    let scenario = |at: usize| 1 + (seed.child("scenario").bits_at(at as u64) % (SCENARIOS[at % 2] as u64 - 1)) as u32;
    samples.batch.scenarios = (0..2 * ROWS).map(scenario).collect();
    samples.batch.position = own.iter().map(|row| (seed.child("position").bits_at(*row) % 9) as u32).collect();
    samples
}

/// Adam over the rows of a table, which the graph does not know as weights.
fn of_rows(len: usize) -> Optimizer {
    let mut graph = Graph::new();
    graph.weight("rows", [1, len], Initializer::Constant(0.0));
    Optimizer::new(Rule::default(), 0.0, &graph).unwrap()
}

/// What is trained.
#[derive(Debug, Clone, Copy)]
struct Trained {
    network: bool,
    rows: bool,
}

/// Trains, and gives the losses of the last step above those of perfect predictions, by name.
fn train(graph: &Graph, network: &mut Network, samples: &mut Samples, trained: Trained) -> Vec<(String, f64)> {
    let mut trainer = Trainer::new(Arc::new(graph.clone()), 1);
    let mut of_network = Optimizer::new(Rule::default(), 0.0, graph).unwrap();
    let mut of_tables: Vec<Optimizer> = samples.tables.iter().map(|table| of_rows(table.len())).collect();
    let mut losses = Vec::new();
    for step in 0..=STEPS {
        losses =
            trainer.step(&network.weights, &mut network.state, &samples.inputs(), None, &OneWorker).unwrap().losses;
        let rate = RATE * (1.0 - 0.9 * step as f32 / STEPS as f32);
        let gradients = trainer.gradients();
        if trained.network {
            of_network.apply(&mut network.weights, gradients.network, rate);
        }
        for ((rows, optimizer), gradients) in samples.tables.iter_mut().zip(&mut of_tables).zip(gradients.rows) {
            if trained.rows {
                optimizer.apply(rows, gradients, rate);
            }
        }
    }
    let plays = samples.batch.labels.chunks_exact(4).map(|labels| f64::from(labels[3]));
    // Of e^z − y z: where e^z = y.
    let least = plays.filter(|y| *y > 0.0).map(|y| y - y * y.ln()).sum::<f64>() / ROWS as f64;
    let named = graph.losses().iter().zip(losses).filter(|(loss, _)| loss.task.is_some());
    named.map(|(loss, mean)| (loss.name.clone(), if loss.name == "plays" { mean - least } else { mean })).collect()
}

/// What the loss of a task must be below. A rating with a spread of its own has a likelihood, `½ ln E + ½` with the squared error `E`. A
/// binary task with one calls what it cannot tell yet noise, and learns it slowly.
fn limit(graph: &Graph, loss: &str) -> Option<f64> {
    let has = |what: &str| graph.outputs().iter().any(|(name, _)| *name == format!("{loss}.{what}"));
    match loss {
        _ if loss.ends_with(".weighted") => None,
        _ if has("deviation") => Some(4.0 * LIMIT),
        _ if has("variance") => Some(0.5 * (2.0 * LIMIT).ln() + 0.5),
        _ => Some(LIMIT),
    }
}

fn every_variant_learns(trained: Trained) {
    for variant in catalogue() {
        let what = format!("{} {} {trained:?}", variant.slot, variant.name);
        let ranker = ranker_of(&variant);
        let (mut samples, mut network) = (samples(&ranker, Seed(1)), Network::new(&ranker.graph, Seed(2)));
        let losses = train(&ranker.graph, &mut network, &mut samples, trained);
        assert_eq!(losses.iter().filter(|(name, _)| limit(&ranker.graph, name).is_some()).count(), 4, "{what}");
        for (name, loss) in &losses {
            if let Some(limit) = limit(&ranker.graph, name) {
                assert!(*loss < limit, "{what}: {losses:?}");
            }
        }
        let bytes = network.to_safetensors(&ranker.graph).unwrap();
        let again = Network::from_safetensors(&ranker.graph, &bytes, "network").unwrap();
        let bits = |network: &Network| -> Vec<u32> {
            scores(&ranker.graph, network, &samples).iter().map(|score| score.to_bits()).collect()
        };
        assert_eq!(bits(&again), bits(&network), "{what}: written and read back");
    }
}

#[test]
fn every_variant_learns_by_heart() {
    every_variant_learns(Trained { network: true, rows: true });
}

#[test]
fn every_variant_learns_by_heart_with_rows_as_they_are() {
    every_variant_learns(Trained { network: true, rows: false });
}
