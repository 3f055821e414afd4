//! What a sweep has to say, as plain data.

use crate::report::data::Estimate;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A sweep's points side by side.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SweepReport {
    /// Its name.
    pub name: String,
    /// What was trained on, in a clause.
    pub data: String,
    /// The split that the points are compared on.
    pub split: String,
    /// How the intervals were made; empty if there are none.
    pub intervals: String,
    /// The metric on the validation split that chooses a point; empty if there is no such split.
    pub chosen_by: String,
    /// The point it chooses.
    pub best: Option<usize>,
    /// The points. Differences are to the first.
    pub points: Vec<SweepPoint>,
    /// The metrics of every split.
    pub metrics: Vec<SweepMetric>,
    /// A metric by scenario.
    pub groups: Vec<SweepGroups>,
    /// The runs that came to nothing.
    pub failures: Vec<SweepFailure>,
}

/// A setting that was trained.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SweepPoint {
    /// Its name.
    pub name: String,
    /// Where its runs lie, within the sweep's folder.
    pub folder: String,
    /// The seeds whose runs have finished.
    pub seeds: Vec<u64>,
    /// What differs between the points, by key, as TOML.
    pub settings: BTreeMap<String, String>,
    /// Numbers in the network.
    pub network: Option<u64>,
    /// Numbers in rows of tables.
    pub rows: Option<u64>,
    /// Samples trained on a second, beside whatever else ran; the mean over runs.
    pub samples_per_second: Option<f64>,
    /// Seconds of training; the mean over runs.
    pub seconds: Option<f64>,
    /// What it is chosen by.
    pub choice: Estimate,
}

/// A metric of every point.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SweepMetric {
    /// The split.
    pub split: String,
    /// The task, if it belongs to one.
    pub task: Option<String>,
    /// Its name.
    pub name: String,
    /// Less is better.
    pub lower_is_better: bool,
    /// It is drawn.
    pub headline: bool,
    /// Its mean over seeds, a point each.
    pub values: Vec<Estimate>,
    /// By how much it lies above the first point's, over the seeds that both have.
    pub differences: Vec<Estimate>,
}

impl SweepMetric {
    /// "click AUC".
    pub fn full_name(&self) -> String {
        self.task.as_ref().map_or_else(|| self.name.clone(), |task| format!("{task} {}", self.name))
    }
}

/// A metric by scenario.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SweepGroups {
    /// The task.
    pub task: String,
    /// The level.
    pub by: String,
    /// The metric.
    pub metric: String,
    /// The scenarios.
    pub groups: Vec<String>,
    /// For each scenario its value at each point.
    pub values: Vec<Vec<Estimate>>,
    /// For each scenario by how much each point lies above the first.
    pub differences: Vec<Vec<Estimate>>,
}

/// A run that came to nothing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SweepFailure {
    /// Its point.
    pub point: String,
    /// Its seed.
    pub seed: u64,
    /// What went wrong.
    pub why: String,
}

/// The points that no other one beats on both axes, from the lowest `x` up; all but finite points are left out. `x_less` and `y_less` say
/// that less is better.
pub fn pareto_front(points: &[[f64; 2]], x_less: bool, y_less: bool) -> Vec<usize> {
    let worth =
        |point: &[f64; 2]| [if x_less { -point[0] } else { point[0] }, if y_less { -point[1] } else { point[1] }];
    let finite: Vec<(usize, [f64; 2])> = points
        .iter()
        .enumerate()
        .filter(|(_, point)| point.iter().all(|value| value.is_finite()))
        .map(|(number, point)| (number, worth(point)))
        .collect();
    let beats = |a: &[f64; 2], b: &[f64; 2]| a[0] >= b[0] && a[1] >= b[1] && a != b;
    let mut front: Vec<usize> = finite
        .iter()
        .filter(|(_, point)| !finite.iter().any(|(_, other)| beats(other, point)))
        .map(|(number, _)| *number)
        .collect();
    front.sort_by(|a, b| points[*a][0].total_cmp(&points[*b][0]));
    front
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_front_is_what_nothing_beats() {
        let points = [[0.7, 0.9], [0.8, 0.8], [0.75, 0.79], [0.9, 0.7], [f64::NAN, 1.0], [0.8, 0.8]];
        assert_eq!(pareto_front(&points, false, false), [0, 1, 5, 3]);
        assert_eq!(pareto_front(&points, true, false), [0]);
        assert_eq!(pareto_front(&points, true, true), [0, 2, 3]);
        assert_eq!(pareto_front(&[], false, false), [] as [usize; 0]);
    }
}
