//! What a shallow tower has learned that a place on the page does to a click, beside what is true where that is known.

use super::sample;
use crate::model::Model;
use crate::report::{PositionBias, PositionLine};
use crate::truth::TrueRows;
use kitestring_core::{Batch, Result, Seed};
use kitestring_data::dataset::Dataset;
use kitestring_nn::slots::bias::Bias;
use kitestring_nn::slots::bias::position::{bias_of_positions, crossed_bias};
use kitestring_table::Route;
use std::collections::BTreeMap;

/// Samples looked at.
const SAMPLES: u64 = 65_536;
/// The most values of a crossed feature that are told apart.
const LINES: usize = 6;
/// A place that fewer samples have says little about its mean.
const FEWEST: u64 = 20;

/// The bias of each task that has one, by position and, where one feature is crossed with it, by that feature's most frequent values. A
/// bias is known up to a constant, which the rest of the model takes: a line is moved so that its mean over the samples is the truth's or,
/// where no truth is known, so that its first position is 0.
///
/// # Errors
/// If the data does not fit the model; a damaged file; a truth of another simulation.
pub fn position_bias(model: &Model, dataset: &Dataset, split: &str, seed: Seed) -> Result<Vec<PositionBias>> {
    let Bias::Position(config) = &model.config.bias else { return Ok(Vec::new()) };
    let split = dataset.split(split)?;
    let drawn = sample(split, SAMPLES, seed);
    let mut batch = Batch::default();
    split.read(&drawn, seed, &mut batch)?;
    let truth = match split.info().rows == split.info().stored {
        true => TrueRows::read(split)?.map(|truth| truth.position_bias),
        false => None,
    };
    let truth: Vec<f64> = truth
        .filter(|truth| !truth.is_empty())
        .map_or_else(Vec::new, |truth| drawn.iter().map(|sample| f64::from(truth[*sample as usize])).collect());
    let groups = Groups::new(model, dataset, &batch, &config.crossed)?;
    let weights = &model.network.weights;
    let of_task = |task: &kitestring_core::schema::Task| -> Option<Result<PositionBias>> {
        let by_position = bias_of_positions(&model.graph, weights, &task.name)?;
        let line = |(name, id, rows): &(String, Option<u64>, Vec<usize>)| {
            let crossed = id.map(|id| groups.crossed(model, &task.name, id)).transpose()?.flatten();
            let learned = |position: usize| {
                let at = position.min(by_position.len() - 1);
                f64::from(by_position[at] + crossed.as_ref().map_or(0.0, |crossed| crossed[at]))
            };
            Ok(line(name.clone(), rows, &batch.position, &truth, learned))
        };
        let lines = groups.found.iter().map(line).collect::<Result<_>>();
        Some(lines.map(|lines| PositionBias { task: task.name.clone(), lines }))
    };
    model.schema.tasks.iter().filter_map(of_task).collect()
}

/// The samples by the value of the crossed feature: its name, its id, and whose samples.
struct Groups {
    table: usize,
    found: Vec<(String, Option<u64>, Vec<usize>)>,
}

impl Groups {
    fn new(model: &Model, dataset: &Dataset, batch: &Batch, crossed: &[String]) -> Result<Self> {
        let all = || Self { table: 0, found: vec![("all samples".into(), None, (0..batch.rows).collect())] };
        // Of two crossed features every pair of values would be a line.
        let [name] = crossed else { return Ok(all()) };
        let found = model.schema.sparse().enumerate().find(|(_, feature)| feature.name == *name);
        let Some((number, feature)) = found else { return Ok(all()) };
        let names = model.schema.table_names();
        let Some(table) = names.iter().position(|name| *name == feature.table()) else { return Ok(all()) };
        let mut by_id: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for row in 0..batch.rows {
            if let [id] = batch.sparse[number].of_row(row) {
                by_id.entry(*id).or_default().push(row);
            }
        }
        let mut found: Vec<(u64, Vec<usize>)> = by_id.into_iter().collect();
        found.sort_by_key(|(id, rows)| (std::cmp::Reverse(rows.len()), *id));
        found.truncate(LINES);
        let vocabularies = dataset.vocabularies()?;
        let named = |(id, rows): (u64, Vec<usize>)| {
            let value = vocabularies.value_in_words(names[table], id);
            (format!("{name} {value}"), Some(id), rows)
        };
        Ok(Self { table, found: found.into_iter().map(named).collect() })
    }

    /// What the crossed feature's value adds at each position.
    fn crossed(&self, model: &Model, task: &str, id: u64) -> Result<Option<Vec<f32>>> {
        let Some(table) = model.tables.get(self.table) else { return Ok(None) };
        let mut route = Route::default();
        let mut row = vec![0.0; table.dim()];
        table.route(&[id], &mut route)?;
        table.gather(&mut route, &mut row)?;
        Ok(crossed_bias(&model.graph, &model.network.weights, task, &row))
    }
}

/// One line: for each position the samples have, the learned bias and the mean of the true one.
fn line(
    name: String,
    rows: &[usize],
    positions: &[u32],
    truth: &[f64],
    learned: impl Fn(usize) -> f64,
) -> PositionLine {
    let mut sums: BTreeMap<u32, (u64, f64)> = BTreeMap::new();
    for row in rows {
        let Some(position) = positions.get(*row).filter(|position| **position > 0) else { continue };
        let (count, sum) = sums.entry(*position).or_default();
        *count += 1;
        *sum += truth.get(*row).copied().unwrap_or(0.0);
    }
    sums.retain(|_, (count, _)| *count >= FEWEST);
    let raw: Vec<f64> = sums.keys().map(|position| learned(*position as usize)).collect();
    let samples: Vec<u64> = sums.values().map(|(count, _)| *count).collect();
    let means: Vec<f64> = match truth.is_empty() {
        true => Vec::new(),
        false => sums.values().map(|(count, sum)| sum / *count as f64).collect(),
    };
    let all = samples.iter().sum::<u64>().max(1) as f64;
    let mean =
        |values: &[f64]| values.iter().zip(&samples).map(|(value, count)| value * *count as f64).sum::<f64>() / all;
    let shift = match means.is_empty() {
        true => -raw.first().copied().unwrap_or(0.0),
        false => mean(&means) - mean(&raw),
    };
    PositionLine {
        name,
        positions: sums.keys().map(|position| f64::from(*position)).collect(),
        samples,
        learned: raw.iter().map(|value| value + shift).collect(),
        truth: means,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line is moved by one constant, rare places are left out, and those without a position do not count.
    #[test]
    fn lines_differ_from_the_truth_by_no_constant() {
        let positions: Vec<u32> = (0..400).map(|row| [1, 2, 4, 0][row % 4]).chain([7]).collect();
        let truth: Vec<f64> = positions.iter().map(|position| -0.5 * f64::from((*position).max(1)).ln()).collect();
        let rows: Vec<usize> = (0..positions.len()).collect();
        let found = line("x".into(), &rows, &positions, &truth, |position| 3.0 - 0.5 * (position as f64).ln());
        assert_eq!(
            (found.positions.as_slice(), found.samples.as_slice()),
            (&[1.0, 2.0, 4.0][..], &[100, 100, 100][..])
        );
        assert!(found.learned.iter().zip(&found.truth).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?}");
        let blind = line("x".into(), &rows, &positions, &[], |position| 3.0 - position as f64);
        assert_eq!((blind.learned, blind.truth), (vec![0.0, -1.0, -3.0], Vec::new()));
    }
}
