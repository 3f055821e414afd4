//! Judges a model on a split: metrics with intervals, curves, groups, and rankings of candidates.
//!
//! A split is scored once, in batches; a few numbers a sample are kept ([`Scored`]), and everything that needs no ranking
//! follows from them. Ranking scores candidates list by list, so that a matrix of users × items never exists.
//!
//! Metrics are named `TASK.METRIC`: of a binary task `auc`, `log_loss`, `gauc` (where there are users), `brier`,
//! `calibration_error` (15 bins of equal count), `predicted_over_observed`, `weighted_auc` (where samples have weights),
//! `heterogeneity` and `head_tail_gap` (by history length); of others `rmse` and `mae`. The plain names `auc`, `log_loss`,
//! `gauc`, `rmse` and `mae` are the means over the tasks that have them. Ranking adds `hr@K`, `ndcg@K` and `mrr@K` of the first
//! binary task, and `recall@K` where a list has several relevant items.

mod ahead;
mod baselines;
mod combine;
mod groupings;
mod judge;
#[cfg(test)]
mod protocol;
mod queries;
mod ranking;
mod score;
mod tally;
#[cfg(test)]
mod tests;

pub use ahead::read_ahead;
pub use baselines::BASELINES;
pub use combine::Combine;
pub(crate) use judge::{CONFIDENCE, Labelled, auc_replicates, estimate, mean_over_runs, plan};
pub use queries::{Query, earlier_splits, full_ranking_queries, ranked_task};
pub use ranking::{List, TopList, rank_all, rank_among, rank_candidates};
use score::score_in_codes;
pub(crate) use score::{Doubted, doubts};
pub use score::{JudgedRows, Scored, ScoredTask, Served, score};
pub use tally::{Ranked, RankingMetric, Tally};

use crate::config::{EvaluateConfig, Ranking};
use crate::model::Model;
use crate::report;
use kitestring_core::metrics::{Bootstrap, Interval};
use kitestring_core::schema::TaskKind;
use kitestring_core::{Result, Schema, Seed};
use kitestring_data::dataset::Dataset;
use kitestring_nn::engine::Workers;
use kitestring_nn::quantization::product::Codes;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// How a model does on a split.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Evaluation {
    /// The split.
    pub split: String,
    /// Samples scored.
    pub samples: u64,
    /// Metrics by name.
    pub metrics: BTreeMap<String, f64>,
    /// 95 % bootstrap intervals of some of them: over users where there are users, else over samples; none of fewer than 20.
    pub intervals: BTreeMap<String, Interval>,
    /// What the intervals were made of, and under `TASK.auc[LEVEL=SCENARIO]` the AUC of each scenario. All metrics drew the same users under
    /// one seed.
    #[serde(skip)]
    pub replicates: BTreeMap<String, Bootstrap>,
    /// What training alone comes to on the same samples: metrics by name, for each of [`BASELINES`].
    pub baselines: BTreeMap<String, BTreeMap<String, f64>>,
    /// Which samples, users and lists these are: metrics of others are not to be compared with them.
    pub rows: JudgedRows,
    /// For each task that has a GAUC, how many users it covers, those with both classes, and how many there are.
    pub gauc_users: BTreeMap<String, [u64; 2]>,
    /// Metrics that have no value here, and why.
    pub absent: BTreeMap<String, String>,
    /// What a reader of the metrics should know, a sentence each.
    pub notes: Vec<String>,
    /// ROC and calibration of each binary task.
    pub tasks: Vec<report::Task>,
    /// AUC by scenario and by history length.
    pub groupings: Vec<report::Grouping>,
    /// Ranking metrics.
    pub rankings: Vec<report::Ranking>,
    /// Seconds in all.
    pub seconds: f64,
    /// Samples scored a second, without metrics and rankings.
    pub samples_per_second: f64,
    /// Seconds spent on rankings.
    pub ranking_seconds: f64,
    /// What the metrics were computed from.
    #[serde(skip)]
    pub scored: Scored,
}

/// What an evaluation is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Samples scored, and all.
    Scoring(u64, u64),
    /// Lists of candidates ranked, and all.
    Ranking(u64, u64),
}

/// The seed of what an evaluation draws: negatives of judged splits, what of long histories is seen, queries to rank, and the users of
/// intervals. It is not the run's, so that runs with other seeds are judged on the same rows, and their differences are paired.
pub const SEED: Seed = Seed(0);

/// Which values of a metric are better.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Better {
    /// High ones.
    High,
    /// Low ones.
    Low,
    /// Those near to this one.
    Near(f64),
}

impl Better {
    /// By how much a value is worse than the best there could be, up to a constant: less is better.
    pub fn badness(self, value: f64) -> f64 {
        match self {
            Self::High => -value,
            Self::Low => value,
            Self::Near(best) => (value - best).abs(),
        }
    }
}

/// Which values of a metric of this name are better; a task's name may stand before it.
pub fn better(metric: &str) -> Better {
    match metric.rsplit('.').next().unwrap_or(metric) {
        "log_loss" | "brier" | "calibration_error" | "rmse" | "mae" | "heterogeneity" | "gap" | "relevance_gap" => {
            Better::Low
        }
        "predicted_over_observed" => Better::Near(1.0),
        "head_tail_gap" => Better::Near(0.0),
        _ => Better::High,
    }
}

/// Whether a metric of this name is better when it is smaller.
pub fn lower_is_better(metric: &str) -> bool {
    better(metric) == Better::Low
}

/// No metric asks what drawn passes say.
fn without_draws(config: &EvaluateConfig) -> EvaluateConfig {
    EvaluateConfig { draws: 0, ..config.clone() }
}

/// Judges a model on a split.
///
/// # Errors
/// A data set whose schema is not the model's; a prediction that is not a finite number; a ranking that the data cannot
/// give; a damaged file.
pub fn evaluate(
    model: &Model,
    dataset: &Dataset,
    split: &str,
    config: &EvaluateConfig,
    seed: Seed,
    workers: &dyn Workers,
    progress: &mut dyn FnMut(Progress),
) -> Result<Evaluation> {
    let start = Instant::now();
    let mut scoring = |done, all| progress(Progress::Scoring(done, all));
    let scored = score(model, dataset, split, &without_draws(config), seed, workers, &mut scoring)?;
    let mut evaluation = Evaluation {
        split: scored.split.clone(),
        samples: scored.samples() as u64,
        samples_per_second: scored.samples() as f64 / scored.seconds.max(1e-9),
        ..Evaluation::default()
    };
    evaluation.rows = scored.rows;
    judge::judge(&scored, &dataset.vocabularies()?, config, seed, &mut evaluation)?;
    baselines::add(&scored, dataset, &mut evaluation)?;
    let mut ranking = |list: TopList<'_>| progress(Progress::Ranking(list.number.0 + 1, list.number.1));
    let given = dataset.split(split)?.candidates().is_some();
    let ranked = match config.ranking {
        Ranking::None => None,
        Ranking::Auto if !given => None,
        Ranking::Candidates if !given => {
            evaluation.absent.insert("ranking".into(), "no candidates are given for this split".into());
            None
        }
        Ranking::Auto | Ranking::Candidates => {
            Some(rank_candidates(model, dataset, split, config, seed, workers, &mut ranking))
        }
        Ranking::Full => Some(rank_all(model, dataset, split, config, seed, workers, &mut ranking)),
    };
    if let Some(ranked) = ranked.transpose()? {
        ranked.note(config, seed, &mut evaluation);
    }
    baselines::compare(&mut evaluation);
    evaluation.scored = scored;
    evaluation.seconds = start.elapsed().as_secs_f64();
    Ok(evaluation)
}

/// The metrics that choose an epoch: of each binary task `auc`, `log_loss` and `gauc`, of others `rmse` and `mae`, and their
/// means; no intervals, no groups, no ranking.
///
/// # Errors
/// As [`evaluate`].
pub fn quick(
    model: &Model,
    dataset: &Dataset,
    split: &str,
    config: &EvaluateConfig,
    seed: Seed,
    workers: &dyn Workers,
) -> Result<BTreeMap<String, f64>> {
    quick_in_codes((model, None), dataset, split, config, seed, workers)
}

/// The names of the metrics that [`quick`] gives for a schema: those over all tasks, then each task's.
pub fn validation_metrics(schema: &Schema) -> Vec<String> {
    judge::quick_names(schema)
}

/// The metric that chooses an epoch where the config names none: the mean AUC, or RMSE where no task is binary.
pub fn default_metric(schema: &Schema) -> &'static str {
    if schema.tasks.iter().any(|task| task.kind == TaskKind::Binary) { "auc" } else { "rmse" }
}

/// [`quick`] with some products in codes.
pub(crate) fn quick_in_codes(
    model: (&Model, Option<Arc<Codes>>),
    dataset: &Dataset,
    split: &str,
    config: &EvaluateConfig,
    seed: Seed,
    workers: &dyn Workers,
) -> Result<BTreeMap<String, f64>> {
    let config = without_draws(config);
    Ok(judge::quick(&score_in_codes(model, dataset, split, &config, seed, workers, &mut |_, _| {})?))
}
