//! Which experts a model's gates choose, scenario by scenario.

use super::sample;
use crate::inputs::Prepared;
use crate::model::Model;
use crate::predictor::Predictor;
use crate::report::{Gate, GateRow};
use kitestring_core::{Result, Seed};
use kitestring_data::dataset::Dataset;
use kitestring_nn::engine::Shown;
use std::collections::BTreeMap;

/// Samples looked at.
const SAMPLES: u64 = 16_384;

/// The mean weight of each expert at each gate, and how often it was chosen at all, by the innermost scenario. Empty where the model has
/// no experts.
///
/// # Errors
/// If the data does not fit the model; a damaged file.
pub fn gates(model: &Model, dataset: &Dataset, split: &str, seed: Seed) -> Result<Vec<Gate>> {
    if model.graph.gates().is_empty() {
        return Ok(Vec::new());
    }
    let split = dataset.split(split)?;
    let mut prepared = Prepared::default();
    split.read(&sample(split, SAMPLES, seed), seed, &mut prepared.batch)?;
    let levels = dataset.schema().scenarios.len();
    let innermost: Vec<u32> = match levels.checked_sub(1) {
        Some(last) => prepared.batch.scenarios.iter().skip(last).step_by(levels).copied().collect(),
        None => vec![0; prepared.batch.rows],
    };
    // For each gate, in the order of the forward pass, the sums of each scenario.
    let mut all: Vec<(String, BTreeMap<u32, Sums>)> = Vec::new();
    Predictor::new(model, 1).explain(&mut prepared, |shown| {
        let Shown::Gates(gates) = shown else { return };
        let at = all.iter().position(|(name, _)| name == gates.name).unwrap_or_else(|| {
            all.push((gates.name.to_owned(), BTreeMap::new()));
            all.len() - 1
        });
        let experts = gates.weights.len() / gates.rows.len().max(1);
        for (row, weights) in gates.rows.zip(gates.weights.chunks_exact(experts.max(1))) {
            all[at].1.entry(innermost[row]).or_default().add(weights);
        }
    })?;
    let vocabularies = dataset.vocabularies()?;
    let name = |scenario: u32| match (levels, scenario) {
        (0, _) => "all samples".to_owned(),
        (_, 0) => "not seen in training".to_owned(),
        (levels, scenario) => vocabularies.scenario(levels - 1, scenario),
    };
    let gate = |(gate, scenarios): (String, BTreeMap<u32, Sums>)| Gate {
        name: gate.trim_start_matches("body.").to_owned(),
        rows: scenarios.into_iter().map(|(scenario, sums)| sums.row(name(scenario))).collect(),
    };
    Ok(all.into_iter().map(gate).collect())
}

/// Sums over the samples of a scenario.
#[derive(Default)]
struct Sums {
    samples: u64,
    weights: Vec<f64>,
    chosen: Vec<f64>,
}

impl Sums {
    fn add(&mut self, weights: &[f32]) {
        self.samples += 1;
        self.weights.resize(weights.len(), 0.0);
        self.chosen.resize(weights.len(), 0.0);
        for (weight, (sum, chosen)) in weights.iter().zip(self.weights.iter_mut().zip(&mut self.chosen)) {
            *sum += f64::from(*weight);
            *chosen += f64::from(u8::from(*weight > 0.0));
        }
    }

    fn row(self, scenario: String) -> GateRow {
        let mean = |sums: Vec<f64>| sums.into_iter().map(|sum| sum / self.samples as f64).collect();
        GateRow { scenario, samples: self.samples, weights: mean(self.weights), chosen: mean(self.chosen) }
    }
}
