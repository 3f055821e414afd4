//! Puts together what a run has to say: a [`Report`] from its config, its data, how training went, how it was judged, and a
//! look into the model on a few thousand samples.

mod attention;
mod environment;
mod gates;
mod importance;
mod position;
mod summary;
#[cfg(test)]
mod tests;
mod uncertainty;

pub use attention::attention;
pub use environment::{environment, peak_rss_mib};
pub use gates::gates;
pub use importance::importance;
pub use position::position_bias;
pub use summary::{data as data_in_words, grouped, summary as data_summary};
pub use uncertainty::uncertainty;

use crate::config::RunConfig;
use crate::evaluate::{Better, Evaluation, better, estimate};
use crate::history::History;
use crate::model::Model;
use crate::report::{Curve, JudgedSplit, Learning, Metric, Recall, Report, Shipped, Speed};
use crate::truth::{self, Comparison};
use kitestring_core::{Note, Result, Seed};
use kitestring_data::dataset::{Dataset, Permutation, Split};
use kitestring_nn::engine::Workers;
use kitestring_nn::slots::loss::weights_of_tasks;
use std::collections::BTreeMap;

/// What a report is made of.
pub struct Parts<'a> {
    /// The resolved config.
    pub config: &'a RunConfig,
    /// The data.
    pub dataset: &'a Dataset,
    /// The trained model.
    pub model: &'a Model,
    /// How training went, where this run trained.
    pub history: Option<&'a History>,
    /// How the model was judged. The last one's split opens the report.
    pub evaluations: &'a [Evaluation],
    /// The last split held against a simulator's truth; empty where none is known.
    pub truth: &'a [Comparison],
    /// The last split ranked among what a retriever found; empty where there is none.
    pub recall: Vec<Recall>,
    /// What became of the ranker on its way to a device, where it was shipped.
    pub shipped: Option<Shipped>,
    /// Time and memory. Without a speed of training, the history's is taken.
    pub speed: Speed,
    /// What config, data and training say against each other.
    pub notes: &'a [Note],
    /// Threads for the look into the model.
    pub workers: &'a dyn Workers,
}

/// Puts a report together. Scores a few thousand samples of the last judged split to show what the model attends to and what
/// each feature is worth.
///
/// # Errors
/// As [`crate::evaluate::evaluate`].
pub fn report(parts: &Parts<'_>) -> Result<Report> {
    let Parts { config, dataset, model, evaluations, .. } = parts;
    let seed = Seed(config.seed).child("report");
    let last = evaluations.last();
    let (mut attended, mut chosen, mut places, mut worth) = (None, Vec::new(), Vec::new(), Vec::new());
    let mut doubted = Vec::new();
    if let Some(last) = last {
        attended = attention(model, dataset, &last.split, seed)?;
        chosen = gates(model, dataset, &last.split, seed)?;
        places = position_bias(model, dataset, &last.split, seed)?;
        doubted = uncertainty(model, dataset, &last.split, config.evaluate.draws, seed, parts.workers)?;
        worth = importance(model, dataset, &last.split, &config.evaluate, seed, parts.workers)?;
    }
    let mut speed = parts.speed.clone();
    speed.samples_per_second = speed.samples_per_second.or_else(|| {
        let epochs = &parts.history?.epochs;
        let (samples, seconds) = (
            epochs.iter().map(|epoch| epoch.samples).sum::<u64>(),
            epochs.iter().map(|epoch| epoch.seconds).sum::<f64>(),
        );
        (seconds > 0.0).then(|| samples as f64 / seconds)
    });
    Ok(Report {
        title: config.name.clone().unwrap_or_default(),
        model: summary::model(model)?,
        data: summary::data(dataset),
        seed: Some(config.seed),
        intervals: intervals(parts),
        metrics: metrics(parts),
        judged: evaluations.iter().map(|found| JudgedSplit { split: found.split.clone(), rows: found.rows }).collect(),
        summary: Some(data_summary(dataset, &model.tables, evaluations, seed)?),
        learning: parts.history.map(|history| learning(history, model)),
        tasks: last.map(|last| last.tasks.clone()).unwrap_or_default(),
        groupings: last.map(|last| last.groupings.clone()).unwrap_or_default(),
        truth: truth::for_report(parts.truth),
        attention: attended,
        gates: chosen,
        position_bias: places,
        uncertainty: doubted,
        recall: parts.recall.clone(),
        index: None,
        shipped: parts.shipped.clone(),
        rankings: evaluations.iter().flat_map(|evaluation| evaluation.rankings.iter().cloned()).collect(),
        importance: worth,
        speed: Some(speed),
        config: config.to_toml()?,
        environment: environment(parts.workers.count()),
        notes: parts.notes.to_vec(),
        caveats: caveats(model, evaluations),
    })
}

/// Some samples of a split, drawn with the seed, ascending.
fn sample(split: &Split, count: u64, seed: Seed) -> Vec<u64> {
    let order = Permutation::new(split.rows(), seed.child("sample"));
    let mut drawn: Vec<u64> = (0..count.min(split.rows())).map(|position| order.at(position)).collect();
    drawn.sort_unstable();
    drawn
}

fn intervals(parts: &Parts<'_>) -> String {
    let drawn = |evaluation: &Evaluation| {
        let replicates = evaluation.intervals.keys().filter_map(|name| evaluation.replicates.get(name));
        replicates.map(|found| found.replicates.len()).max()
    };
    let Some(draws) = parts.evaluations.iter().filter_map(drawn).max() else { return String::new() };
    let units = if parts.dataset.schema().user.is_some() { "users" } else { "samples" };
    format!("95 % bootstrap over {units}, {draws} draws")
}

/// A metric's name as people write it.
pub(crate) fn shown(metric: &str) -> String {
    let (name, cutoff) = metric.split_once('@').map_or((metric, None), |(name, cutoff)| (name, Some(cutoff)));
    let name = match name {
        "auc" => "AUC",
        "gauc" => "GAUC",
        "log_loss" => "log-loss",
        "brier" => "Brier score",
        "rmse" => "RMSE",
        "mae" => "MAE",
        "hr" => "HR",
        "ndcg" => "NDCG",
        "mrr" => "MRR",
        "recall" => "Recall",
        "head_tail_gap" => "head–tail gap",
        "weighted_auc" => "weighted AUC",
        other => return other.replace('_', " "),
    };
    cutoff.map_or_else(|| name.to_owned(), |cutoff| format!("{name}@{cutoff}"))
}

/// What a metric's key tells.
pub(crate) struct Told<'a> {
    /// The task it belongs to, if it belongs to one.
    pub task: Option<String>,
    /// The metric.
    pub metric: &'a str,
    /// Whether it is one of those that open a report.
    pub opens: bool,
}

impl<'a> Told<'a> {
    /// Of a key, where there are so many tasks; nothing of a mean over one task, which is that task's and says nothing more.
    pub(crate) fn new(key: &'a str, tasks: usize) -> Option<Self> {
        let (task, metric) = match key.rsplit_once('.') {
            Some((task, metric)) => (Some(task.to_owned()), metric),
            None => (None, key),
        };
        let opens = match metric {
            "auc" | "rmse" => task.is_some(),
            "hr@10" | "ndcg@10" => true,
            _ => false,
        };
        (task.is_some() || key.contains('@') || tasks > 1).then_some(Self { task, metric, opens })
    }
}

/// What training alone comes to for a metric.
fn baselines(evaluation: &Evaluation, key: &str) -> BTreeMap<String, f64> {
    let of = |(baseline, metrics): (&String, &BTreeMap<String, f64>)| Some((baseline.clone(), *metrics.get(key)?));
    evaluation.baselines.iter().filter_map(of).collect()
}

/// Of how many users a GAUC is.
fn gauc_note(evaluation: &Evaluation, task: Option<&str>, metric: &str) -> String {
    let covered = task.filter(|_| metric == "gauc").and_then(|task| evaluation.gauc_users.get(task));
    covered.map(|[covered, all]| format!("of {covered} of {all} users: the others have one class")).unwrap_or_default()
}

/// The replicates of a metric that has an interval, as precise as comparing needs.
fn replicates(evaluation: &Evaluation, key: &str) -> Vec<f32> {
    let found = evaluation.replicates.get(key).filter(|_| evaluation.intervals.contains_key(key));
    found.map(|found| found.replicates.iter().map(|value| *value as f32).collect()).unwrap_or_default()
}

/// Every metric of every split. The last split's AUC opens the report, or its ranking, or whatever its tasks have.
fn metrics(parts: &Parts<'_>) -> Vec<Metric> {
    let tasks = &parts.dataset.schema().tasks;
    let mut found = Vec::new();
    for (number, evaluation) in parts.evaluations.iter().enumerate() {
        let is_last = number + 1 == parts.evaluations.len();
        for (key, value) in &evaluation.metrics {
            let Some(Told { task, metric, opens }) = Told::new(key, tasks.len()) else { continue };
            let ceiling = parts.truth.iter().filter(|_| is_last && metric == "auc");
            let ceiling = ceiling.filter(|truth| !truth.random && Some(&truth.task) == task.as_ref());
            found.push(Metric {
                split: evaluation.split.clone(),
                name: shown(metric),
                estimate: estimate(*value, evaluation.intervals.get(key)),
                ceiling: ceiling.filter_map(|truth| truth.labels.map(|labels| labels.oracle.value)).next(),
                chance: matches!(metric, "auc" | "gauc" | "weighted_auc").then_some(0.5),
                lower_is_better: better(metric) == Better::Low,
                best_near: if let Better::Near(value) = better(metric) { Some(value) } else { None },
                headline: is_last && opens,
                baselines: baselines(evaluation, key),
                note: gauc_note(evaluation, task.as_deref(), metric),
                replicates: replicates(evaluation, key),
                units: evaluation.replicates.get(key).map_or(0, |found| found.units as u64),
                task,
            });
        }
    }
    for (key, value) in truth::metrics(parts.truth) {
        let Some((task, metric)) = key.split_once('.') else { continue };
        found.push(Metric {
            split: parts.evaluations.last().map(|last| last.split.clone()).unwrap_or_default(),
            task: Some(task.to_owned()),
            name: metric.replace('.', " traffic ").replace('_', " ").replace("auc", "AUC"),
            estimate: value.into(),
            lower_is_better: metric.ends_with("gap"),
            ..Metric::default()
        });
    }
    found
}

fn learning(history: &History, model: &Model) -> Learning {
    let task = |loss: usize| model.graph.losses().get(loss).map_or_else(|| "loss".into(), |loss| loss.name.clone());
    let losses = history.steps.first().map_or(0, |step| step.losses.len());
    let loss = (0..losses).map(|number| Curve {
        name: task(number),
        points: history.steps.iter().filter_map(|step| Some([step.epoch, *step.losses.get(number)?])).collect(),
    });
    let weights = weights_of_tasks(&model.graph, &model.network.weights, 0);
    let task_weights = weights.into_iter().enumerate().map(|(number, (name, _))| Curve {
        name,
        points: history.steps.iter().filter_map(|step| Some([step.epoch, *step.weights.get(number)?])).collect(),
    });
    let measured = history.epochs.first().map(|epoch| epoch.metrics.keys()).into_iter().flatten();
    let of_task = measured.filter_map(|key| key.rsplit_once('.').map(|(task, metric)| (key, task, metric)));
    let validation = of_task.map(|(key, task, metric)| Curve {
        name: format!("{task} {}", shown(metric)),
        points: history
            .epochs
            .iter()
            .filter_map(|epoch| Some([f64::from(epoch.epoch), *epoch.metrics.get(key)?]))
            .collect(),
    });
    let end = history.epochs.last().map_or(0.0, |epoch| f64::from(epoch.epoch));
    Learning {
        loss: loss.collect(),
        task_weights: task_weights.collect(),
        validation: validation.collect(),
        best_epoch: history.best_epoch.map(f64::from),
        stopped: history.stopped.clone().map(|why| (end, why)),
    }
}

fn caveats(model: &Model, evaluations: &[Evaluation]) -> Vec<String> {
    let mut caveats = vec![
        "One seed: another may move the metrics by more than the intervals say.".to_owned(),
        "Metrics on logged samples do not measure what a user would have done had something else been shown."
            .to_owned(),
    ];
    for evaluation in evaluations {
        for (level, scenarios) in model.schema.scenarios.iter().zip(&evaluation.scored.scenarios) {
            let unseen = scenarios.iter().filter(|scenario| **scenario == 0).count();
            if unseen > 0 {
                caveats.push(format!(
                    "{unseen} of {} samples of {} have a scenario of level {} that training did not have; they take what all share.",
                    scenarios.len(),
                    evaluation.split,
                    level.name
                ));
            }
        }
        caveats.extend_from_slice(&evaluation.notes);
        for (metric, why) in &evaluation.absent {
            let (task, name) = metric.rsplit_once('.').unwrap_or(("", metric));
            let name = format!("{task} {}", shown(name));
            caveats.push(format!("There is no {} on {}: {why}.", name.trim(), evaluation.split));
        }
    }
    caveats
}
