//! From scores and labels to metrics, with intervals, curves and groups.

use super::Evaluation;
use super::groupings;
use super::score::{Scored, ScoredTask};
use crate::config::EvaluateConfig;
use crate::report;
use kitestring_core::metrics::{
    self, Bins, Bootstrap, BootstrapPlan, FEWEST_REPLICATES, FEWEST_UNITS, Interval, auc, bootstrap_auc,
    bootstrap_auc_by_group, bootstrap_gauc, bootstrap_ratio, brier, expected_calibration_error, gauc, gauc_coverage,
    log_loss, mean_absolute_error, predicted_over_observed, reliability, roc_curve, root_mean_squared_error,
    weighted_auc,
};
use kitestring_core::schema::TaskKind;
use kitestring_core::{Result, Schema, Seed};
use kitestring_data::dataset::Vocabularies;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

/// Bins of the calibration error and of the calibration curve.
const BINS: Bins = Bins::EqualCount(15);
/// Points of a ROC curve: more than a page can show.
const ROC_POINTS: usize = 2_000;
/// The most rows that replicates of one metric go over, beyond the fewest that an interval needs: a second or two.
const BOOTSTRAP_ROWS: usize = 400_000_000;
/// The share of the replicates that an interval holds.
pub(crate) const CONFIDENCE: f64 = 0.95;
/// Metrics that also have a mean over the tasks that have them, under their plain name.
const MEANS: [&str; 5] = ["auc", "log_loss", "gauc", "rmse", "mae"];

/// The samples of one task that have a label.
pub(crate) struct Labelled<'a> {
    pub scores: Cow<'a, [f32]>,
    pub labels: Cow<'a, [f32]>,
    /// Empty where the schema has no user.
    pub users: Cow<'a, [u64]>,
    /// Which samples these are; none where all have a label.
    kept: Option<Vec<usize>>,
}

impl<'a> Labelled<'a> {
    pub fn new(scored: &'a Scored, task: &'a ScoredTask) -> Self {
        let missing = task.labels.iter().any(|label| label.is_nan());
        let kept: Option<Vec<usize>> = missing.then(|| {
            let labels = task.labels.iter().enumerate();
            labels.filter(|(_, label)| !label.is_nan()).map(|(row, _)| row).collect()
        });
        Self {
            scores: take(&task.scores, kept.as_deref()),
            labels: take(&task.labels, kept.as_deref()),
            users: take(&scored.users, kept.as_deref()),
            kept,
        }
    }

    /// The same samples of another column; nothing where the column is empty.
    pub fn of<'b, T: Copy>(&self, column: &'b [T]) -> Cow<'b, [T]> {
        take(column, self.kept.as_deref())
    }
}

fn take<'a, T: Copy>(column: &'a [T], kept: Option<&[usize]>) -> Cow<'a, [T]> {
    match kept {
        Some(kept) if !column.is_empty() => kept.iter().map(|row| column[*row]).collect(),
        _ => Cow::Borrowed(column),
    }
}

/// The replicates of a metric over this many rows: as many as the config asks for where that is affordable, and never fewer than an
/// interval needs; none where the config asks for none.
pub(crate) fn plan(config: &EvaluateConfig, rows: usize, seed: Seed) -> Option<BootstrapPlan> {
    let replicates = config.bootstrap.min(BOOTSTRAP_ROWS / rows.max(1)).max(FEWEST_REPLICATES);
    (config.bootstrap > 0).then(|| BootstrapPlan { replicates, seed: seed.child("intervals") })
}

/// AUC with its replicates: by user where there are users.
pub(crate) fn auc_replicates(scores: &[f32], labels: &[f32], users: &[u64], plan: BootstrapPlan) -> Option<Bootstrap> {
    if users.is_empty() {
        bootstrap_auc(scores, labels, plan)
    } else {
        bootstrap_auc_by_group(scores, labels, users, plan)
    }
}

/// The mean over runs that differ in their seed alone, with its interval; undefined without runs.
pub(crate) fn mean_over_runs(runs: &[Bootstrap]) -> report::Estimate {
    if runs.is_empty() {
        return report::Estimate::default();
    }
    let mean = runs.iter().map(|run| run.point).sum::<f64>() / runs.len() as f64;
    estimate(mean, metrics::interval_over_runs(runs, CONFIDENCE).as_ref())
}

/// A number with its interval, for a report.
pub(crate) fn estimate(value: f64, interval: Option<&Interval>) -> report::Estimate {
    match interval {
        Some(interval) => report::Estimate::within(value, interval.lower, interval.upper),
        None => value.into(),
    }
}

/// What is measured of a task, gathered by name.
pub(super) struct Sheet<'a> {
    pub task: &'a str,
    pub evaluation: &'a mut Evaluation,
}

impl Sheet<'_> {
    fn name(&self, metric: &str) -> String {
        format!("{}.{metric}", self.task)
    }

    /// Notes a metric, or why there is none.
    fn put(&mut self, metric: &str, value: Option<f64>, otherwise: &str) {
        let name = self.name(metric);
        match value.filter(|value| value.is_finite()) {
            Some(value) => _ = self.evaluation.metrics.insert(name, value),
            None => _ = self.evaluation.absent.insert(name, otherwise.to_owned()),
        }
    }

    fn interval(&mut self, metric: &str, replicates: Option<Bootstrap>) -> Option<Interval> {
        self.evaluation.resampled(self.name(metric), replicates?)
    }
}

/// The metrics that choose an epoch: of each task `auc`, `log_loss` and `gauc`, or `rmse` and `mae`; and their means.
pub(super) fn quick(scored: &Scored) -> BTreeMap<String, f64> {
    let mut evaluation = Evaluation::default();
    for task in &scored.tasks {
        let samples = Labelled::new(scored, task);
        let mut sheet = Sheet { task: &task.name, evaluation: &mut evaluation };
        if task.kind == TaskKind::Binary {
            first_of_binary(&samples, &mut sheet)
        } else {
            errors(&samples, &mut sheet)
        };
    }
    means(scored, &mut evaluation);
    evaluation.metrics
}

/// The names of the metrics that [`quick`] gives for a schema, those over all tasks first.
pub(super) fn quick_names(schema: &Schema) -> Vec<String> {
    let of_task = |kind: TaskKind| match kind {
        TaskKind::Binary if schema.user.is_some() => &["auc", "log_loss", "gauc"][..],
        TaskKind::Binary => &["auc", "log_loss"],
        TaskKind::Regression | TaskKind::Count => &["rmse", "mae"],
    };
    let means = MEANS.iter().filter(|name| schema.tasks.iter().any(|task| of_task(task.kind).contains(name)));
    let tasks = schema.tasks.iter();
    let single = tasks.flat_map(|task| of_task(task.kind).iter().map(move |name| format!("{}.{name}", task.name)));
    means.map(|name| (*name).to_owned()).chain(single).collect()
}

/// Everything that follows from the scores.
pub(super) fn judge(
    scored: &Scored,
    vocabularies: &Vocabularies,
    config: &EvaluateConfig,
    seed: Seed,
    evaluation: &mut Evaluation,
) -> Result<()> {
    for task in &scored.tasks {
        let samples = Labelled::new(scored, task);
        let plan = plan(config, samples.labels.len(), seed);
        let mut sheet = Sheet { task: &task.name, evaluation };
        if task.kind != TaskKind::Binary {
            errors(&samples, &mut sheet);
            sheet.interval("rmse", plan.and_then(|plan| rmse_replicates(&samples, plan)));
            sheet.interval("mae", plan.and_then(|plan| mae_replicates(&samples, plan)));
            continue;
        }
        first_of_binary(&samples, &mut sheet);
        probability(scored, &samples, &mut sheet);
        if let Some(covered) = gauc_coverage(&samples.labels, &samples.users) {
            sheet.evaluation.gauc_users.insert(task.name.clone(), covered);
        }
        let interval = plan.and_then(|plan| intervals(&samples, plan, &mut sheet));
        let overall = evaluation.metrics.get(&format!("{}.auc", task.name));
        let overall = overall.map(|auc| estimate(*auc, interval.as_ref()));
        evaluation.tasks.push(curves(task, &samples, overall));
        if let Some(overall) = overall {
            groupings::add((scored, task, &samples), (overall, plan), config, vocabularies, evaluation);
        }
    }
    means(scored, evaluation);
    note_few_units(scored, config, evaluation);
    Ok(())
}

/// Why a task has no AUC.
fn one_class(labels: &[f32]) -> &'static str {
    match labels {
        [] => "no sample has a label",
        _ if labels.iter().all(|label| *label > 0.5) => "every label is positive",
        _ => "every label is negative",
    }
}

pub(super) fn first_of_binary(samples: &Labelled<'_>, sheet: &mut Sheet<'_>) {
    let Labelled { scores, labels, users, .. } = samples;
    sheet.put("auc", auc(scores, labels), one_class(labels));
    sheet.put("log_loss", log_loss(scores, labels), "no sample has a label between 0 and 1");
    if !users.is_empty() {
        sheet.put("gauc", gauc(scores, labels, users), "no user has both a positive and a negative label");
    }
}

/// Whether predicted probabilities mean what they say.
pub(super) fn probability(scored: &Scored, samples: &Labelled<'_>, sheet: &mut Sheet<'_>) {
    let Labelled { scores, labels, .. } = samples;
    let unlabelled = "no sample has a label between 0 and 1";
    sheet.put("brier", brier(scores, labels), unlabelled);
    sheet.put("calibration_error", expected_calibration_error(scores, labels, BINS), unlabelled);
    sheet.put("predicted_over_observed", predicted_over_observed(scores, labels), "no label is positive");
    if !scored.weights.is_empty() {
        let weights = samples.of(&scored.weights);
        sheet.put("weighted_auc", weighted_auc(scores, labels, &weights), "a class has no weight");
    }
}

pub(super) fn errors(samples: &Labelled<'_>, sheet: &mut Sheet<'_>) {
    let Labelled { scores, labels, .. } = samples;
    let unlabelled = "no sample has a label";
    sheet.put("rmse", root_mean_squared_error(scores, labels), unlabelled);
    sheet.put("mae", mean_absolute_error(scores, labels), unlabelled);
}

/// Intervals of AUC, GAUC and log-loss; returns AUC's.
fn intervals(samples: &Labelled<'_>, plan: BootstrapPlan, sheet: &mut Sheet<'_>) -> Option<Interval> {
    let Labelled { scores, labels, users, .. } = samples;
    if !users.is_empty() {
        sheet.interval("gauc", bootstrap_gauc(scores, labels, users, plan));
    }
    // A row whose loss is none has none in the mean either, and then there is no interval.
    let loss = |row: usize| metrics::log_loss(&scores[row..=row], &labels[row..=row]).unwrap_or(f64::NAN);
    let (losses, counts) = sums_by_user(users, labels.len(), loss);
    sheet.interval("log_loss", bootstrap_ratio(&losses, &counts, plan));
    sheet.interval("auc", auc_replicates(scores, labels, users, plan))
}

/// A sum over the rows, and the number of rows, of each user; of each row by itself where there are no users.
fn sums_by_user(users: &[u64], rows: usize, of: impl Fn(usize) -> f64) -> (Vec<f64>, Vec<f64>) {
    if users.is_empty() {
        return (0..rows).map(|row| (of(row), 1.0)).unzip();
    }
    let mut rows: Vec<(u64, usize)> = users.iter().copied().zip(0..).collect();
    rows.sort_unstable();
    let users = rows.chunk_by(|a, b| a.0 == b.0);
    users.map(|user| (user.iter().map(|(_, row)| of(*row)).sum::<f64>(), user.len() as f64)).unzip()
}

/// The root mean squared error, resampled by user where there are users.
fn rmse_replicates(samples: &Labelled<'_>, plan: BootstrapPlan) -> Option<Bootstrap> {
    let Labelled { scores, labels, users, .. } = samples;
    let square = |row: usize| (f64::from(scores[row]) - f64::from(labels[row])).powi(2);
    let (squares, counts) = sums_by_user(users, labels.len(), square);
    let mut mean = bootstrap_ratio(&squares, &counts, plan)?;
    mean.point = mean.point.sqrt();
    mean.replicates.iter_mut().for_each(|value| *value = value.sqrt());
    Some(mean)
}

/// The mean absolute error, likewise.
fn mae_replicates(samples: &Labelled<'_>, plan: BootstrapPlan) -> Option<Bootstrap> {
    let Labelled { scores, labels, users, .. } = samples;
    let error = |row: usize| (f64::from(scores[row]) - f64::from(labels[row])).abs();
    let (errors, counts) = sums_by_user(users, labels.len(), error);
    bootstrap_ratio(&errors, &counts, plan)
}

/// Says where there are too few users, or rows where there are no users, for any interval.
fn note_few_units(scored: &Scored, config: &EvaluateConfig, evaluation: &mut Evaluation) {
    let (units, name) = match scored.users.is_empty() {
        true => (scored.samples(), "samples"),
        false => (scored.users.iter().collect::<HashSet<_>>().len(), "users"),
    };
    if config.bootstrap > 0 && units < FEWEST_UNITS {
        evaluation.notes.push(format!(
            "No intervals on {}: {units} {name} are too few to tell how they vary; {FEWEST_UNITS} are enough.",
            scored.split
        ));
    }
}

fn curves(task: &ScoredTask, samples: &Labelled<'_>, auc: Option<report::Estimate>) -> report::Task {
    let Labelled { scores, labels, .. } = samples;
    let roc = roc_curve(scores, labels, ROC_POINTS).unwrap_or_default();
    let calibration = reliability(scores, labels, BINS).unwrap_or_default();
    report::Task {
        name: task.name.clone(),
        auc,
        roc: roc.iter().map(|point| [point.false_positive_rate, point.true_positive_rate]).collect(),
        calibration: calibration
            .iter()
            .map(|bin| report::CalibrationBin {
                low: bin.lowest,
                high: bin.highest,
                count: bin.count,
                predicted: bin.mean_prediction,
                observed: bin.mean_label,
            })
            .collect(),
    }
}

/// Adds the means over tasks.
pub(super) fn means(scored: &Scored, evaluation: &mut Evaluation) {
    for metric in MEANS {
        let of_task = |task: &ScoredTask| evaluation.metrics.get(&format!("{}.{metric}", task.name)).copied();
        let values: Vec<f64> = scored.tasks.iter().filter_map(of_task).collect();
        if !values.is_empty() {
            evaluation.metrics.insert(metric.to_owned(), values.iter().sum::<f64>() / values.len() as f64);
        }
    }
}

impl Evaluation {
    /// Notes the replicates of a metric and the interval that follows from them.
    pub(super) fn resampled(&mut self, metric: String, replicates: Bootstrap) -> Option<Interval> {
        let interval = replicates.interval(CONFIDENCE);
        self.intervals.extend(interval.map(|interval| (metric.clone(), interval)));
        self.replicates.insert(metric, replicates);
        interval
    }
}
