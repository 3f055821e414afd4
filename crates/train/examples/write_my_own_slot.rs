//! An encoder of our own, in front of the library's body and head.
//!
//! A slot variant is a forward pass over the graph's operations and nothing else: gradients, inference and cost follow from it.
//! Ours is *gated features*: every feature decides, looking at all of them, how loud it is.
//!
//! ```text
//! x = e ⊙ σ(W e + b),   e = [e₁ … e_F]
//! ```
//!
//! (This is the gate of instance-guided masks, Wang, She and Zhang 2021, with one layer.)
//!
//! ```text
//! cargo run --release -p kitestring-train --example write_my_own_slot
//! ```
//!
//! To choose such a variant by a line of a config, give it a file and a line in its slot's list: see CONTRIBUTING.md.

use kitestring_core::metrics::auc;
use kitestring_core::{Error, Result, Schema, Seed};
use kitestring_data::dataset::{Dataset, Split};
use kitestring_data::prepare::prepare_folder;
use kitestring_data::{layout, simulator};
use kitestring_nn::graph::{Domain, Graph, Value};
use kitestring_nn::kernels::activation::Activation;
use kitestring_nn::network::Network;
use kitestring_nn::ops::arithmetic::Binary;
use kitestring_nn::slots::ModelInputs;
use kitestring_nn::slots::body::BodyInput;
use kitestring_nn::slots::encoder::Encoded;
use kitestring_table::{Config, Space, Table};
use kitestring_train::inputs::Prepared;
use kitestring_train::learner::Learner;
use kitestring_train::predictor::Predictor;
use kitestring_train::workers::Threads;
use kitestring_train::{Model, RunConfig};
use std::path::Path;
use std::sync::Arc;

/// Numbers a row of every table has.
const DIMENSION: usize = 8;

/// The new variant: all there is to write.
fn gated(graph: &mut Graph, inputs: &ModelInputs) -> Value {
    // Values have a width; the number of rows is that of whatever batch comes. `embed` looks up rows and puts them side by side.
    let rows = graph.embed(inputs.single(), Domain::Rows);
    let width = graph.width(rows);
    // A scope gives the weights their names in the saved file: `encoder.gate.weight` and `encoder.gate.bias`.
    let gate = graph.scope("encoder.gate", |graph| graph.linear(rows, width, Activation::Sigmoid));
    graph.binary(Binary::Multiply, rows, gate)
}

/// A model with our encoder: the rest of the slots come from the config.
fn model(config: &RunConfig, schema: &Schema, dataset: &Dataset, seed: Seed) -> Result<Model> {
    let scenarios = dataset.scenario_counts();
    let inputs = ModelInputs::new(schema, |_| DIMENSION, &scenarios)?;
    let mut graph = Graph::new();
    let x = gated(&mut graph, &inputs);
    // The body gives one value a task, the head makes them probabilities and losses.
    let shared = config.model.body.forward(&mut graph, &BodyInput { x, scenarios: &[], inputs: &inputs })?;
    let encoded = Encoded { x, beside: None, logit: None };
    let logits = shared.logits(&mut graph, &inputs, &encoded, &[], &config.model.head);
    config.model.head.forward(&mut graph, &logits, &inputs, &config.model.loss)?;

    // Rows are not part of the graph: they live in tables, and a step touches those of its batch only.
    let tables = schema.table_names().into_iter().map(|name| {
        let rows = dataset.table_size(name)?.ok_or_else(|| Error::config("an open table"))?;
        let (init, optimizer) = (config.train.row_init, config.train.rows);
        Table::new(name, Config { dim: DIMENSION, space: Space::Direct { rows }, init, optimizer }, seed)
    });
    let tables = tables.collect::<Result<Vec<_>>>()?;
    let network = Network::new(&graph, seed);
    let (schema, config) = (schema.clone(), config.model.clone());
    Ok(Model { schema, config, scenarios, graph: Arc::new(graph), network, tables, vocabulary_hash: None })
}

/// Passes over the training split. `fit` does the same with validation, checkpoints and a reader that works ahead.
fn train(model: &mut Model, config: &RunConfig, split: &Split, seed: Seed) -> Result<f64> {
    let threads = Threads::new(0)?;
    let mut learner = Learner::new(model, &config.train, threads.count(), seed)?;
    let length = config.train.length(split.rows());
    let mut prepared = Prepared::default();
    let (mut loss, mut steps) = (0.0, 0.0);
    for epoch in 0..length.epochs {
        let order = split.order(seed, epoch.into());
        for first in (0..split.rows()).step_by(length.batch_size) {
            let last = split.rows().min(first + length.batch_size as u64);
            let samples: Vec<u64> = (first..last).map(|position| order.at(position)).collect();
            split.read(&samples, seed, &mut prepared.batch)?;
            learner.index(&mut prepared);
            let report = learner.step(model, &prepared, config.train.learning_rate, &threads)?;
            if epoch + 1 == length.epochs {
                loss += report.losses.iter().sum::<f64>();
                steps += 1.0;
            }
        }
    }
    Ok(loss / steps)
}

/// AUC of the first task on a split.
fn measure(model: &Model, split: &Split, seed: Seed) -> Result<f64> {
    let threads = Threads::new(0)?;
    let mut predictor = Predictor::new(model, threads.count());
    let mut prepared = Prepared::default();
    let samples: Vec<u64> = (0..split.rows()).collect();
    split.read(&samples, seed, &mut prepared.batch)?;
    let mut scores = Vec::new();
    predictor.score(&mut prepared, &threads, &mut scores)?;
    let tasks = model.schema.tasks.len();
    let first = |values: &[f32]| values.iter().step_by(tasks).copied().collect::<Vec<f32>>();
    auc(&first(&scores), &first(&prepared.batch.labels)).ok_or_else(|| Error::data("labels are all alike"))
}

fn main() -> Result<()> {
    let folder = tempfile::tempdir().map_err(|error| Error::io(error, "no temporary folder", "."))?;
    let (before, after) = learn(folder.path())?;
    println!("AUC on test: {before:.3} before training, {after:.3} after");
    Ok(())
}

/// Trains on a small simulated marketplace. The AUC before and after.
fn learn(folder: &Path) -> Result<(f64, f64)> {
    let small = ["simulator.users=300", "simulator.items=400", "simulator.events=20000", "train.batch_size=256"];
    let small: Vec<String> = small.map(str::to_owned).into();
    let config = RunConfig::parse(include_str!("../../../configs/simulated.toml"), "simulated.toml", &small)?;
    let world = config.simulator.clone().unwrap_or_default();
    let (shop, place) = (folder.join("shop"), folder.join("dataset"));
    simulator::write(&world, &shop, &mut |_| {})?;
    let opened = layout::open(&config.data, &shop)?;
    let seed = Seed(config.seed);
    prepare_folder(&opened, &config.data, &config.schema, (seed, None), &place, &mut |_| {})?;
    let dataset = Dataset::open(&place)?;

    let mut model = model(&config, dataset.schema(), &dataset, seed)?;
    let before = measure(&model, dataset.split("test")?, seed)?;
    let loss = train(&mut model, &config, dataset.split("train")?, seed)?;
    println!("mean loss of the last epoch: {loss:.4}");
    Ok((before, measure(&model, dataset.split("test")?, seed)?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_slot_of_ones_own_learns() {
        let folder = tempfile::tempdir().unwrap();
        let (before, after) = learn(folder.path()).unwrap();
        assert!(after > before + 0.04, "{before} {after}");
    }
}
