//! Whether a model's uncertainty knows where its errors are.

use super::sample;
use crate::evaluate::{Doubted, doubts};
use crate::model::Model;
use crate::report::{Curve, Uncertainty};
use kitestring_core::metrics::{rejection_curve, uncertainty_bins};
use kitestring_core::schema::TaskKind;
use kitestring_core::{Result, Seed};
use kitestring_data::dataset::Dataset;
use kitestring_nn::engine::Workers;

/// Samples looked at.
const SAMPLES: u64 = 16_384;
/// Passes with dropout where the config names no number.
const PASSES: u32 = 20;
const BINS: usize = 10;
const STEPS: usize = 20;

/// Uncertainty against error of each task of which the model says one: by passes with dropout where something drops out, else by the
/// variance that the head predicts. A task of counts has none.
///
/// # Errors
/// If the data does not fit the model; a damaged file.
pub fn uncertainty(
    model: &Model,
    dataset: &Dataset,
    split: &str,
    passes: u32,
    seed: Seed,
    workers: &dyn Workers,
) -> Result<Vec<Uncertainty>> {
    let passes = match (model.graph.drops_out(), passes) {
        (false, _) => 0,
        (true, 0) => PASSES,
        (true, passes) => passes,
    };
    let samples = sample(dataset.split(split)?, SAMPLES, seed);
    let found = doubts(model, dataset, split, &samples, passes, seed, workers)?;
    Ok(found.iter().filter_map(|task| judged(task, passes)).collect())
}

fn judged(task: &Doubted, passes: u32) -> Option<Uncertainty> {
    let binary = task.kind == TaskKind::Binary;
    let kept: Vec<usize> = (0..task.labels.len()).filter(|row| !task.labels[*row].is_nan()).collect();
    let of = |column: &[f32]| -> Vec<f32> { kept.iter().filter_map(|row| column.get(*row).copied()).collect() };
    let (labels, scores) = (of(&task.labels), of(&task.scores));
    let errors: Vec<f32> = labels.iter().zip(&scores).map(|(label, score)| error(binary, *label, *score)).collect();
    let (aleatoric, epistemic) = (of(&task.aleatoric), of(&task.epistemic));
    let whole: Vec<f32> = aleatoric.iter().zip(&epistemic).map(|(a, e)| a + e).collect();
    let bins = uncertainty_bins(&whole, &errors, BINS)?;
    // A variance is shown as a deviation, which has the label's unit.
    let shown = |value: f64| if binary { value } else { value.sqrt() };
    let curve = |name: &str, by: &[f32]| {
        let points = rejection_curve(by, &errors, STEPS)?;
        Some(Curve { name: name.into(), points: points.into_iter().map(|[x, y]| [x, shown(y)]).collect() })
    };
    let parts = [("whole uncertainty", &whole), ("aleatoric part", &aleatoric), ("epistemic part", &epistemic)];
    // A part that is the same for all samples rejects nobody.
    let tells = |values: &[f32]| values.windows(2).any(|pair| pair[0] != pair[1]);
    let mut rejection: Vec<Curve> =
        parts.iter().filter(|(_, by)| tells(by)).filter_map(|(name, by)| curve(name, by)).collect();
    // With one part, the whole is that part.
    if rejection.len() == 2 {
        rejection.truncate(1);
    }
    rejection.extend(curve("error itself", &errors));
    Some(Uncertainty {
        task: task.name.clone(),
        error: if binary { "log-loss" } else { "RMSE" }.into(),
        measure: if binary { "entropy, nats" } else { "standard deviation" }.into(),
        passes,
        samples: errors.len() as u64,
        bins: bins.iter().map(|bin| [shown(bin.uncertainty), shown(bin.error)]).collect(),
        rejection,
    })
}

/// What a sample's uncertainty is the expectation of: the log-loss of a probability, the square of a difference.
fn error(binary: bool, label: f32, score: f32) -> f32 {
    if !binary {
        return (label - score).powi(2);
    }
    let score = score.clamp(1e-7, 1.0 - 1e-7);
    -(label * score.ln() + (1.0 - label) * (1.0 - score).ln())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Probabilities that are true: entropy is the expected log-loss, and what is rejected first is wrong most.
    #[test]
    fn true_probabilities_are_reliable() {
        let count = 40_000;
        let scores: Vec<f32> = (0..count).map(|row| Seed(1).unit_at(row)).collect();
        let labels =
            (0..count).map(|row| if Seed(2).unit_at(row) < scores[row as usize] { 1.0 } else { 0.0 }).collect();
        let entropy = |p: &f32| -(p * p.max(1e-9).ln() + (1.0 - p) * (1.0 - p).max(1e-9).ln());
        let aleatoric = scores.iter().map(entropy).collect();
        let epistemic = vec![0.0; scores.len()];
        let task = Doubted { name: "click".into(), kind: TaskKind::Binary, scores, labels, aleatoric, epistemic };
        let found = judged(&task, 0).unwrap();
        assert!(found.bins.iter().all(|[entropy, loss]| (entropy - loss).abs() < 0.03), "{:?}", found.bins);
        let names: Vec<&str> = found.rejection.iter().map(|curve| curve.name.as_str()).collect();
        assert_eq!(names, ["whole uncertainty", "error itself"]);
        let falls = |curve: &Curve| curve.points.windows(2).all(|pair| pair[1][1] < pair[0][1]);
        assert!(found.rejection.iter().all(falls), "{:?}", found.rejection);
    }

    /// Deviations are told, not variances, and a label that is missing does not count.
    #[test]
    fn deviations_have_the_unit_of_the_label() {
        let count = 30_000;
        let deviation = |row: u64| 1.0 + Seed(4).unit_at(row) * 3.0;
        let labels =
            (0..count).map(|row| if row % 3 == 0 { f32::NAN } else { 10.0 + deviation(row) * Seed(5).normal_at(row) });
        let task = Doubted {
            name: "dwell".into(),
            kind: TaskKind::Regression,
            scores: vec![10.0; count as usize],
            labels: labels.collect(),
            aleatoric: (0..count).map(|row| deviation(row).powi(2)).collect(),
            epistemic: vec![0.0; count as usize],
        };
        let found = judged(&task, 0).unwrap();
        assert_eq!(found.samples, count * 2 / 3);
        assert!(found.bins.iter().all(|[deviation, error]| (error / deviation - 1.0).abs() < 0.08), "{:?}", found.bins);
    }
}
