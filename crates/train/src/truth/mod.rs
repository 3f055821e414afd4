//! Holds a model against what the simulator knows to be true.
//!
//! Two questions, each with the best possible answer beside the model's:
//!
//! - **Labels.** AUC on what users did, and the AUC that the true probability of the label reaches on the same samples. No scorer
//!   can be expected to do better, so the difference, the *gap*, is all that is left to learn.
//! - **Relevance.** The true relevance `r` of a sample is the chance that the label is 1 for the item by itself: shown at the first
//!   place, at an average hour, suggested by no friend. For the task `click` it is `σ(relevance)` of the simulator; for a task
//!   that follows a click, times the true probability given a click. AUC against `r` is the AUC expected of the scores `s` if
//!   every label were drawn anew from `r`:
//!
//!   ```text
//!   AUC(s, r) = Σᵢⱼ rᵢ (1 − rⱼ) [sᵢ > sⱼ] / Σᵢⱼ rᵢ (1 − rⱼ),   a tie counting ½
//!   ```
//!
//!   Its ceiling is `AUC(r, r)`. What a logging policy, a position or a friend did to the labels does not enter.
//!
//! Both are also measured on the traffic that the simulator filled uniformly at random, where what is shown does not depend on
//! what is liked.

mod rows;
#[cfg(test)]
mod tests;

use crate::config::EvaluateConfig;
use crate::evaluate::{CONFIDENCE, Labelled, Scored, auc_replicates, estimate, plan};
use crate::report::{self, Estimate};
use kitestring_core::metrics::{BootstrapPlan, auc, spearman, weighted_auc};
use kitestring_core::schema::TaskKind;
use kitestring_core::{Result, Seed};
use kitestring_data::dataset::Dataset;
pub(crate) use rows::TrueRows;
use serde::Serialize;
use std::collections::BTreeMap;

/// Bins of the histogram of true and predicted probability.
const BINS: usize = 24;

/// A task on one kind of traffic, held against the truth.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The task.
    pub task: String,
    /// Whether only traffic filled uniformly at random was judged.
    pub random: bool,
    /// Samples judged.
    pub samples: u64,
    /// AUC on the labels; none where they are all alike.
    pub labels: Option<Gap>,
    /// AUC of the true relevance on the labels: what an item by itself tells, when place, hour and friends are left out.
    pub labels_by_relevance: Option<Estimate>,
    /// AUC against the true relevance; none where all are equally relevant.
    pub relevance: Option<Gap>,
    /// Spearman's correlation of prediction and true probability of the label.
    pub probability_correlation: Option<f64>,
    /// Spearman's correlation of prediction and true relevance.
    pub relevance_correlation: Option<f64>,
    /// How often each true probability of the label met each prediction.
    pub joint: report::Joint,
}

/// A model's AUC beside the ceiling.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Gap {
    /// The model's.
    pub model: Estimate,
    /// The truth's own.
    pub oracle: Estimate,
    /// Oracle − model.
    pub gap: Estimate,
}

/// Holds the predictions for a split against the truth that lies beside its rows, in the folder `truth`; none where the rows are
/// not simulated, or where samples are not rows because negatives were drawn. Needs memory for the split's samples, not for the
/// whole simulation.
///
/// # Errors
/// A truth of another simulation than the rows; a damaged file.
pub fn compare(
    scored: &Scored,
    dataset: &Dataset,
    config: &EvaluateConfig,
    seed: Seed,
) -> Result<Option<Vec<Comparison>>> {
    let split = dataset.split(&scored.split)?;
    if split.info().rows != split.info().stored {
        return Ok(None);
    }
    let Some(truth) = TrueRows::read(split)? else { return Ok(None) };
    let mut found = Vec::new();
    for (task, declared) in scored.tasks.iter().zip(&dataset.schema().tasks) {
        let outcome = match truth.outcome(declared.column()) {
            Some(outcome) if task.kind == TaskKind::Binary => outcome,
            _ => continue,
        };
        let samples = Labelled::new(scored, task);
        let judged = Judged {
            task: &task.name,
            scores: samples.scores.to_vec(),
            labels: samples.labels.to_vec(),
            users: samples.users.to_vec(),
            probability: samples.of(&outcome.probability).to_vec(),
            relevance: samples.of(&outcome.relevance).to_vec(),
        };
        let random = samples.of(&truth.random);
        let on_random = judged.only(|row| random.get(row).is_some_and(|random| *random));
        for (judged, random) in [(judged, false), (on_random, true)] {
            if !judged.scores.is_empty() {
                found.push(judged.comparison(random, plan(config, judged.scores.len(), seed)));
            }
        }
    }
    Ok(Some(found))
}

/// The samples of a task with their truth.
struct Judged<'a> {
    task: &'a str,
    scores: Vec<f32>,
    labels: Vec<f32>,
    users: Vec<u64>,
    probability: Vec<f32>,
    relevance: Vec<f32>,
}

impl Judged<'_> {
    fn only(&self, keep: impl Fn(usize) -> bool) -> Self {
        let rows: Vec<usize> = (0..self.scores.len()).filter(|row| keep(*row)).collect();
        let of = |column: &[f32]| rows.iter().map(|row| column[*row]).collect();
        Self {
            task: self.task,
            scores: of(&self.scores),
            labels: of(&self.labels),
            users: rows.iter().filter_map(|row| self.users.get(*row).copied()).collect(),
            probability: of(&self.probability),
            relevance: of(&self.relevance),
        }
    }

    fn comparison(&self, random: bool, plan: Option<BootstrapPlan>) -> Comparison {
        let relevance = expected_auc(&self.scores, &self.relevance).zip(expected_auc(&self.relevance, &self.relevance));
        Comparison {
            task: self.task.to_owned(),
            random,
            samples: self.scores.len() as u64,
            labels: self.on_labels(plan),
            labels_by_relevance: auc(&self.relevance, &self.labels).map(Estimate::from),
            relevance: relevance.map(|(model, oracle)| Gap {
                model: model.into(),
                oracle: oracle.into(),
                gap: (oracle - model).into(),
            }),
            probability_correlation: spearman(&self.scores, &self.probability),
            relevance_correlation: spearman(&self.scores, &self.relevance),
            joint: self.joint(),
        }
    }

    /// AUC on the labels, with intervals where there is a plan; that of the gap is of the paired difference.
    fn on_labels(&self, plan: Option<BootstrapPlan>) -> Option<Gap> {
        // Without replicates there is the number itself.
        let plan = plan.unwrap_or(BootstrapPlan { replicates: 0, seed: Seed(0) });
        let replicates = |scores: &[f32]| auc_replicates(scores, &self.labels, &self.users, plan);
        let (model, oracle) = (replicates(&self.scores)?, replicates(&self.probability)?);
        let gap = oracle.minus(&model)?;
        let [model, oracle, gap] = [model, oracle, gap].map(|found| {
            let interval = found.interval(CONFIDENCE);
            estimate(found.point, interval.as_ref())
        });
        Some(Gap { model, oracle, gap })
    }

    fn joint(&self) -> report::Joint {
        // A few large values would leave most bins empty.
        let high = |values: &[f32]| {
            let mut sorted = values.to_vec();
            sorted.sort_unstable_by(f32::total_cmp);
            sorted.get((sorted.len().saturating_sub(1)) * 995 / 1000).copied().unwrap_or(1.0)
        };
        let top = f64::from(high(&self.probability).max(high(&self.scores))).max(1e-6);
        let edges = (0..=BINS).map(|edge| top * edge as f64 / BINS as f64).collect();
        let pairs = self.probability.iter().zip(&self.scores);
        report::Joint::of(pairs.map(|(truth, score)| (f64::from(*truth), f64::from(*score))), edges)
    }
}

/// AUC of scores against soft labels in [0, 1], as the module defines it: each sample is a positive of its label's weight and a
/// negative of the rest.
///
/// `None` where all labels are 0 or all are 1, or with a NaN.
pub fn expected_auc(scores: &[f32], soft_labels: &[f32]) -> Option<f64> {
    let twice = |values: &[f32]| [values, values].concat();
    let labels = [vec![1.0; scores.len()], vec![0.0; scores.len()]].concat();
    let weights: Vec<f32> = soft_labels.iter().copied().chain(soft_labels.iter().map(|label| 1.0 - label)).collect();
    weighted_auc(&twice(scores), &labels, &weights)
}

/// The comparisons as metrics: `TASK.oracle_auc` and `TASK.gap` on labels, `TASK.relevance_auc`, `TASK.relevance_oracle_auc`,
/// `TASK.relevance_gap` and the correlations; on random traffic the same names after `TASK.random.`, and `TASK.random.auc`.
pub fn metrics(comparisons: &[Comparison]) -> BTreeMap<String, f64> {
    let mut found = BTreeMap::new();
    for comparison in comparisons {
        let prefix = if comparison.random { format!("{}.random", comparison.task) } else { comparison.task.clone() };
        let mut put = |name: &str, value: f64| _ = found.insert(format!("{prefix}.{name}"), value);
        if let Some(labels) = &comparison.labels {
            put("oracle_auc", labels.oracle.value);
            put("gap", labels.gap.value);
            if comparison.random {
                put("auc", labels.model.value);
            }
        }
        if let Some(relevance) = &comparison.relevance {
            put("relevance_auc", relevance.model.value);
            put("relevance_oracle_auc", relevance.oracle.value);
            put("relevance_gap", relevance.gap.value);
        }
        let correlations =
            [("probability", comparison.probability_correlation), ("relevance", comparison.relevance_correlation)];
        for (name, value) in correlations {
            if let Some(value) = value {
                put(&format!("{name}_correlation"), value);
            }
        }
    }
    found
}

/// The comparisons for a report.
pub fn for_report(comparisons: &[Comparison]) -> Vec<report::Truth> {
    let mut shown = Vec::new();
    for comparison in comparisons {
        let traffic = if comparison.random { ", random traffic" } else { "" };
        let truth = |what: &str, gap: Gap, correlation: Option<f64>| report::Truth {
            task: format!("{}{what}{traffic}", comparison.task),
            samples: comparison.samples,
            model: gap.model,
            oracle: gap.oracle,
            gap: Some(gap.gap),
            rank_correlation: correlation,
            ..report::Truth::default()
        };
        shown.extend(comparison.labels.map(|gap| report::Truth {
            others:
                comparison.labels_by_relevance.map(|auc| ("true relevance alone".into(), auc)).into_iter().collect(),
            joint: (!comparison.random).then(|| comparison.joint.clone()),
            ..truth("", gap, comparison.probability_correlation)
        }));
        let relevance = comparison.relevance;
        shown.extend(relevance.map(|gap| truth(" against true relevance", gap, comparison.relevance_correlation)));
    }
    shown
}
