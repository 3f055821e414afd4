//! What the tests share: matrices as leaves of a graph, fixtures, threads, comparisons.
#![allow(dead_code)] // Each test file uses its part.
#![allow(clippy::unwrap_used)]

pub mod model;
pub mod onnx;
pub mod trained;

use kitestring_core::batch::Ids;
use kitestring_core::{Batch, Seed};
use kitestring_nn::engine::{BatchInputs, OneWorker, Scorer, StepReport, Trainer, Workers};
use kitestring_nn::graph::{Domain, Graph, Value};
use kitestring_nn::network::Network;
use kitestring_nn::ops::embed::Lookup;
use serde::Deserialize;
use std::sync::Arc;

/// A matrix of a fixture. `null` in a label is NaN.
#[derive(Debug, Clone, Deserialize)]
pub struct Matrix {
    pub shape: [usize; 2],
    data: Vec<Option<f64>>,
}

impl Matrix {
    pub fn values(&self) -> Vec<f64> {
        self.data.iter().map(|value| value.unwrap_or(f64::NAN)).collect()
    }

    pub fn floats(&self) -> Vec<f32> {
        self.values().into_iter().map(|value| value as f32).collect()
    }

    pub fn column(&self, column: usize) -> Vec<f64> {
        self.values().into_iter().skip(column).step_by(self.shape[1]).collect()
    }
}

/// A batch in the making, with the rows of its tables.
#[derive(Debug, Clone, Default)]
pub struct Samples {
    pub batch: Batch,
    pub lookups: Vec<Vec<u32>>,
    pub tables: Vec<Vec<f32>>,
}

impl Samples {
    /// Samples whose labels of `tasks` tasks are all zero.
    pub fn new(rows: usize, tasks: usize) -> Self {
        let batch = Batch { rows, labels: vec![0.0; rows * tasks], ..Batch::default() };
        Self { batch, ..Self::default() }
    }

    pub fn inputs(&self) -> BatchInputs<'_> {
        BatchInputs { batch: &self.batch, lookups: &self.lookups, rows: &self.tables, occurrences: &[] }
    }

    /// A matrix as a leaf: one table of its own with a unique row for each of its rows, so that the gradient of the
    /// table is the gradient of the matrix. With offsets, its rows are the elements of lists.
    pub fn leaf(&mut self, graph: &mut Graph, values: &[f32], width: usize, offsets: Option<&[u32]>) -> Value {
        let count = values.len() / width;
        let number = self.lookups.len();
        self.batch.sparse.push(Ids {
            ids: (0..count as u64).collect(),
            offsets: offsets.unwrap_or_default().to_vec(),
            list_of_row: Vec::new(),
        });
        self.lookups.push((0..count as u32).collect());
        self.tables.push(values.to_vec());
        let domain = match offsets {
            None => Domain::Rows,
            Some(offsets) => {
                let first = self.batch.sparse.iter().position(|ids| ids.offsets == offsets).unwrap();
                Domain::Positions(first)
            }
        };
        graph.embed(vec![Lookup { feature: number, table: number, width }], domain)
    }
}

/// Threads of the moment.
#[derive(Debug, Clone, Copy)]
pub struct Threads(pub usize);

impl Workers for Threads {
    fn count(&self) -> usize {
        self.0
    }

    fn run(&self, task: &(dyn Fn(usize) + Sync)) {
        std::thread::scope(|scope| (0..self.0).for_each(|number| drop(scope.spawn(move || task(number)))));
    }
}

/// What a training step gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Stepped {
    pub report: StepReport,
    pub network: Vec<f32>,
    pub rows: Vec<Vec<f32>>,
    pub state: Vec<f32>,
}

impl Stepped {
    pub fn of(graph: &Graph, network: &Network, samples: &Samples, dropout: Option<Seed>, workers: usize) -> Self {
        let mut trainer = Trainer::new(Arc::new(graph.clone()), workers);
        Self::again(&mut trainer, network, samples, dropout, workers)
    }

    pub fn again(
        trainer: &mut Trainer,
        network: &Network,
        samples: &Samples,
        dropout: Option<Seed>,
        workers: usize,
    ) -> Self {
        let mut state = network.state.clone();
        let report = trainer.step(&network.weights, &mut state, &samples.inputs(), dropout, &Threads(workers)).unwrap();
        let gradients = trainer.gradients();
        Self { report, network: gradients.network.to_vec(), rows: gradients.rows.to_vec(), state }
    }

    /// The gradient of a weight.
    pub fn of_weight(&self, graph: &Graph, name: &str) -> &[f32] {
        weight_of(graph, &self.network, name)
    }
}

/// The scores of samples, `samples × outputs`.
pub fn scores(graph: &Graph, network: &Network, samples: &Samples) -> Vec<f32> {
    let mut scores = Vec::new();
    Scorer::new(Arc::new(graph.clone()), 1)
        .score(&network.weights, &network.state, &samples.inputs(), &OneWorker, &mut scores)
        .unwrap();
    scores
}

/// A weight's numbers within a flat vector.
pub fn weight_of<'a>(graph: &Graph, flat: &'a [f32], name: &str) -> &'a [f32] {
    let info = graph.weights().iter().find(|info| info.name == name);
    let info = info.unwrap_or_else(|| panic!("no weight `{name}` in {:?}", graph.weights()));
    &flat[info.offset..info.offset + info.shape[0] * info.shape[1]]
}

/// Puts a weight's numbers into a flat vector.
pub fn set_weight(graph: &Graph, flat: &mut [f32], name: &str, values: &[f32]) {
    let info = graph.weights().iter().find(|info| info.name == name);
    let info = info.unwrap_or_else(|| panic!("no weight `{name}` in {:?}", graph.weights()));
    flat[info.offset..info.offset + info.shape[0] * info.shape[1]].copy_from_slice(values);
}

/// A state's numbers within a flat vector.
pub fn state_of<'a>(graph: &Graph, flat: &'a [f32], name: &str) -> &'a [f32] {
    let info = graph.states().iter().find(|info| info.name == name);
    let info = info.unwrap_or_else(|| panic!("no state `{name}` in {:?}", graph.states()));
    &flat[info.offset..info.offset + info.len]
}

/// Puts a state's numbers into a flat vector.
pub fn set_state(graph: &Graph, flat: &mut [f32], name: &str, values: &[f32]) {
    let info = graph.states().iter().find(|info| info.name == name);
    let info = info.unwrap_or_else(|| panic!("no state `{name}` in {:?}", graph.states()));
    flat[info.offset..info.offset + info.len].copy_from_slice(values);
}

/// Fails unless every element is within `relative` of the largest expected magnitude, or `floor`.
pub fn assert_close(what: &str, found: &[f32], expected: &[f64], relative: f64, floor: f64) {
    assert_eq!(found.len(), expected.len(), "{what}: number of elements");
    let largest = expected.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        let difference = (f64::from(*found) - expected).abs();
        assert!(
            difference <= relative * largest + floor,
            "{what}, element {at}: found {found}, expected {expected} (largest {largest})"
        );
    }
}

/// The same, between two results of the engine.
pub fn assert_same(what: &str, found: &[f32], expected: &[f32], relative: f64) {
    let expected: Vec<f64> = expected.iter().map(|value| f64::from(*value)).collect();
    assert_close(what, found, &expected, relative, 1e-9);
}

/// Numbers drawn from a standard normal distribution.
pub fn normal(seed: Seed, count: usize, deviation: f32) -> Vec<f32> {
    (0..count as u64).map(|at| deviation * seed.normal_at(at)).collect()
}
