//! What a report says, as plain data. Every part may be empty; what is empty is not shown.
//!
//! Numbers that are not defined (an AUC without a positive, say) are NaN here, `null` in JSON and "undefined" on the
//! page, so that a report with a gap can still be written, read back and compared.

use kitestring_core::Note;
use kitestring_core::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::null;
use crate::evaluate::{Better, JudgedRows};

/// The number of the JSON layout that [`Report::to_json`] writes.
pub const FORMAT: u32 = 1;

/// Everything one run has to say.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// The run's name.
    pub title: String,
    /// What was trained, in a clause: "DIN encoder, MLP body, ESMM head, 1.2 M parameters".
    pub model: String,
    /// What it was trained on, in a clause: "simulated marketplace, 2,000,000 impressions".
    pub data: String,
    /// The run's seed.
    pub seed: Option<u64>,
    /// How the intervals were made: "95 % bootstrap over users, 200 draws". Empty if there are none.
    pub intervals: String,
    /// Every metric of every split. Those marked as headline open the report.
    pub metrics: Vec<Metric>,
    /// On which rows each split's metrics were measured.
    pub judged: Vec<JudgedSplit>,
    /// What the model was trained and judged on.
    pub summary: Option<DataSummary>,
    /// How training went.
    pub learning: Option<Learning>,
    /// Curves of each task.
    pub tasks: Vec<Task>,
    /// A metric by scenario, by history length, by anything that splits samples into groups.
    pub groupings: Vec<Grouping>,
    /// The model held against a simulator's truth, a task each.
    pub truth: Vec<Truth>,
    /// Where the model looks in a history.
    pub attention: Option<Attention>,
    /// Which experts the model chooses, one entry a gate.
    pub gates: Vec<Gate>,
    /// What the place on the page adds, a task each.
    pub position_bias: Vec<PositionBias>,
    /// Uncertainty against error, a task each.
    pub uncertainty: Vec<Uncertainty>,
    /// Ranking metrics, one entry for each way of choosing candidates.
    pub rankings: Vec<Ranking>,
    /// Ranking what a retriever found against ranking everything, one entry a way.
    pub recall: Vec<Recall>,
    /// A retriever's index against the exact answer.
    pub index: Option<Index>,
    /// What became of the ranker on its way to a device.
    pub shipped: Option<Shipped>,
    /// What each feature is worth, one entry for each task and method.
    pub importance: Vec<Importance>,
    /// Time and memory.
    pub speed: Option<Speed>,
    /// The resolved config, as TOML.
    pub config: String,
    /// Facts about the machine and the build, as (name, value).
    pub environment: Vec<(String, String)>,
    /// What config, data and training say against each other.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
    /// What a reader must not conclude, a sentence each.
    pub caveats: Vec<String>,
}

/// A number and, where it is known, its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The number itself; NaN where it is not defined.
    #[serde(deserialize_with = "null::nan")]
    pub value: f64,
    /// The interval's ends, low and high.
    #[serde(default, deserialize_with = "null::nan", skip_serializing_if = "Option::is_none")]
    pub interval: Option<[f64; 2]>,
}

/// One metric of one split.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Metric {
    /// The split it was measured on: "test".
    pub split: String,
    /// The task it belongs to, if it belongs to one.
    pub task: Option<String>,
    /// The metric's name: "AUC".
    pub name: String,
    /// Its value.
    pub estimate: Estimate,
    /// The best value that any model could reach on these samples, where it is known.
    pub ceiling: Option<f64>,
    /// The value of a model that knows nothing: 0.5 for AUC.
    pub chance: Option<f64>,
    /// Less is better, as for log-loss.
    pub lower_is_better: bool,
    /// The value that is best, where neither high nor low values are: 1 for predicted over observed.
    pub best_near: Option<f64>,
    /// It opens the report and is drawn when runs are compared.
    pub headline: bool,
    /// What training alone comes to on the same samples, by the keys of [`crate::evaluate::BASELINES`].
    #[serde(deserialize_with = "null::nan")]
    pub baselines: BTreeMap<String, f64>,
    /// What a reader should know of it, in a clause: "of 412 of 6040 users".
    pub note: String,
    /// Its replicates, by which it is compared with that of another run; empty where it has no interval.
    #[serde(deserialize_with = "null::nan", skip_serializing_if = "Vec::is_empty")]
    pub replicates: Vec<f32>,
    /// How many users, or rows, a replicate drew.
    pub units: u64,
}

/// On which rows a split's metrics were measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct JudgedSplit {
    /// The split.
    pub split: String,
    /// Fingerprints: metrics are compared where they are equal.
    pub rows: JudgedRows,
}

/// What the model was trained and judged on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DataSummary {
    /// The splits, training first.
    pub splits: Vec<Split>,
    /// The embedding tables.
    pub tables: Vec<TableSize>,
    /// How many training samples have a history of each length.
    pub history_length: Option<Histogram>,
    /// Rows read from the source files.
    pub rows_read: Option<u64>,
    /// Rows left out because they were malformed.
    pub bad_rows: Option<u64>,
}

/// One split of the data.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Split {
    /// Its name: "train", "valid", "test".
    pub name: String,
    /// Samples.
    pub rows: u64,
    /// Different users, if counted.
    pub users: Option<u64>,
    /// Different items, if counted.
    pub items: Option<u64>,
    /// First and last event, in seconds since 1970 UTC.
    pub time: Option<[i64; 2]>,
    /// Positive labels of each task.
    pub positives: Vec<Positives>,
}

/// How often a task's label is positive in a split.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Positives {
    /// The task.
    pub task: String,
    /// Samples that carry a label of this task.
    pub labelled: u64,
    /// Those whose label is positive.
    pub positive: u64,
}

/// One embedding table.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TableSize {
    /// Its name.
    pub name: String,
    /// Features that look up in it.
    pub features: Vec<String>,
    /// Rows, the out-of-vocabulary row included.
    pub rows: u64,
    /// Numbers a row.
    pub dimension: u64,
    /// Share of the test split's look-ups that met the out-of-vocabulary row, in 0..=1.
    pub out_of_vocabulary: Option<f64>,
}

/// Counts between edges; one edge more than counts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Histogram {
    /// Ascending edges.
    #[serde(deserialize_with = "null::nan")]
    pub edges: Vec<f64>,
    /// Counts between neighbouring edges.
    pub counts: Vec<u64>,
}

/// A named line.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Curve {
    /// What it shows.
    pub name: String,
    /// Points as (x, y), ascending in x.
    #[serde(deserialize_with = "null::nan")]
    pub points: Vec<[f64; 2]>,
}

/// How training went. The x of every curve counts epochs; within an epoch it is fractional.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Learning {
    /// Training loss by step or by epoch.
    pub loss: Vec<Curve>,
    /// What each task's loss counted for; drawn where it changed.
    pub task_weights: Vec<Curve>,
    /// Validation metrics after each epoch, drawn one figure for each.
    pub validation: Vec<Curve>,
    /// The epoch whose weights were kept.
    pub best_epoch: Option<f64>,
    /// The epoch after which training stopped before its time, and why: "no better for 2 epochs".
    pub stopped: Option<(f64, String)>,
}

/// Curves of one task on the test split.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Task {
    /// The task's name.
    pub name: String,
    /// The area under the curve, for the legend.
    pub auc: Option<Estimate>,
    /// ROC as (false positive rate, true positive rate) from (0, 0) to (1, 1). Any number of points; the page thins them.
    #[serde(deserialize_with = "null::nan")]
    pub roc: Vec<[f64; 2]>,
    /// Predictions against outcomes, by bin of the prediction.
    pub calibration: Vec<CalibrationBin>,
}

/// Samples whose prediction falls between two edges.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CalibrationBin {
    /// Lowest prediction of the bin.
    #[serde(deserialize_with = "null::nan")]
    pub low: f64,
    /// Highest prediction of the bin.
    #[serde(deserialize_with = "null::nan")]
    pub high: f64,
    /// Samples in it.
    pub count: u64,
    /// Their mean prediction.
    #[serde(deserialize_with = "null::nan")]
    pub predicted: f64,
    /// Their rate of positives.
    #[serde(deserialize_with = "null::nan")]
    pub observed: f64,
}

/// One metric, group by group.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Grouping {
    /// What makes the groups: "scenario", "history length".
    pub by: String,
    /// The task judged.
    pub task: String,
    /// The metric: "AUC".
    pub metric: String,
    /// The metric over all samples.
    pub overall: Option<Estimate>,
    /// The groups in the order in which they are shown.
    pub groups: Vec<Group>,
    /// 100 × the standard deviation of the groups' values.
    pub heterogeneity: Option<Estimate>,
    /// 100 × (the last group's value − the first's), groups ascending from tail to head.
    pub head_tail_gap: Option<Estimate>,
}

/// One group.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Samples in it.
    pub samples: u64,
    /// Positive ones.
    pub positives: u64,
    /// The metric within it.
    pub estimate: Estimate,
}

/// The model held against what a simulator knows to be true.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Truth {
    /// The task.
    pub task: String,
    /// Samples judged.
    pub samples: u64,
    /// The model's AUC.
    pub model: Estimate,
    /// The AUC, on the same labels, of the true probability itself: no model can be expected to do better.
    pub oracle: Estimate,
    /// Oracle − model, with the interval of the paired difference.
    pub gap: Option<Estimate>,
    /// AUC of other scorers on the same labels: popularity, the logging policy.
    pub others: Vec<(String, Estimate)>,
    /// Rank correlation of prediction and true probability.
    pub rank_correlation: Option<f64>,
    /// How often each true probability met each prediction.
    pub joint: Option<Joint>,
}

/// A two-dimensional histogram of true and predicted probability over the same edges.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Joint {
    /// Ascending edges, shared by both axes.
    #[serde(deserialize_with = "null::nan")]
    pub edges: Vec<f64>,
    /// `counts[t][p]`: samples whose truth lies in bin `t` and whose prediction lies in bin `p`.
    pub counts: Vec<Vec<u64>>,
}

/// Where the model looks in a history.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attention {
    /// What the two lines differ in: "category of the target".
    pub shares: String,
    /// Mean weights by recency, most recent first.
    pub recency: Vec<AttentionBin>,
    /// A few histories in full.
    pub examples: Vec<AttentionExample>,
}

/// Mean attention weight at one distance from now.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AttentionBin {
    /// 1 for the most recent event.
    pub recency: u64,
    /// Events here that share the target's category (or what [`Attention::shares`] names), and their mean weight.
    pub same: Option<Estimate>,
    /// Events here that do not, and their mean weight.
    pub other: Option<Estimate>,
    /// Events counted in `same`.
    pub same_count: u64,
    /// Events counted in `other`.
    pub other_count: u64,
}

/// One history and how the model weighed it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AttentionExample {
    /// The candidate item, as a reader would name it.
    pub target: String,
    /// The prediction and the outcome, in a clause: "predicted 0.31, clicked".
    pub outcome: String,
    /// The history, most recent first.
    pub events: Vec<AttentionEvent>,
}

/// One event of an example.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AttentionEvent {
    /// The item, as a reader would name it.
    pub name: String,
    /// Whether it shares the target's category.
    pub same: bool,
    /// Its weight; without a softmax it may be negative.
    #[serde(deserialize_with = "null::nan")]
    pub weight: f64,
}

/// How a gate weighs the experts of a layer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gate {
    /// Its place in the model: "gate.click".
    pub name: String,
    /// One row a scenario.
    pub rows: Vec<GateRow>,
}

/// What the samples of one scenario gave the experts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GateRow {
    /// The scenario.
    pub scenario: String,
    /// Samples looked at.
    pub samples: u64,
    /// The mean weight of each expert.
    #[serde(deserialize_with = "null::nan")]
    pub weights: Vec<f64>,
    /// The share of samples that gave it any weight.
    #[serde(deserialize_with = "null::nan")]
    pub chosen: Vec<f64>,
}

impl PositionLine {
    /// The root mean squared difference of learned and true bias over the samples; 0 where nothing is known of the truth.
    pub fn distance(&self) -> f64 {
        let squares = self.learned.iter().zip(&self.truth).zip(&self.samples);
        let sum: f64 = squares.map(|((learned, truth), count)| (learned - truth).powi(2) * *count as f64).sum();
        (sum / self.samples.iter().sum::<u64>().max(1) as f64).sqrt()
    }
}

impl Gate {
    /// The mean weight of each expert over all samples.
    pub fn means(&self) -> Vec<f64> {
        let mut sums = vec![0.0; self.rows.first().map_or(0, |row| row.weights.len())];
        let samples: u64 = self.rows.iter().map(|row| row.samples).sum();
        for row in &self.rows {
            sums.iter_mut().zip(&row.weights).for_each(|(sum, weight)| *sum += weight * row.samples as f64);
        }
        sums.iter_mut().for_each(|sum| *sum /= samples.max(1) as f64);
        sums
    }

    /// The experts that hardly any sample uses: a mean weight below a tenth of an equal share.
    pub fn dead(&self) -> Vec<bool> {
        let means = self.means();
        let equal = 1.0 / means.len().max(1) as f64;
        means.iter().map(|mean| *mean < equal / 10.0).collect()
    }

    /// Whether one expert of several has nearly all weight, whatever the scenario.
    pub fn has_collapsed(&self) -> bool {
        self.rows.first().is_some_and(|row| row.weights.len() > 1) && self.means().iter().any(|mean| *mean > 0.9)
    }
}

/// What the place on the page adds to a task's logit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PositionBias {
    /// The task.
    pub task: String,
    /// One line, or one a value of the feature that is crossed with the position.
    pub lines: Vec<PositionLine>,
}

/// The bias by position of some samples.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PositionLine {
    /// Whose: "device phone".
    pub name: String,
    /// The positions.
    #[serde(deserialize_with = "null::nan")]
    pub positions: Vec<f64>,
    /// Samples at each.
    pub samples: Vec<u64>,
    /// What the model adds there, up to a constant.
    #[serde(deserialize_with = "null::nan")]
    pub learned: Vec<f64>,
    /// The mean of what is true there; empty where it is not known.
    #[serde(deserialize_with = "null::nan")]
    pub truth: Vec<f64>,
}

/// Whether a task's uncertainty knows where its errors are.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Uncertainty {
    /// The task.
    pub task: String,
    /// What is measured of errors: "log-loss", "RMSE".
    pub error: String,
    /// What the uncertainty is, in the same unit: "entropy, nats", "standard deviation".
    pub measure: String,
    /// Passes with dropout; 0 where the head's variance is all there is.
    pub passes: u32,
    /// Samples looked at.
    pub samples: u64,
    /// (uncertainty, error) of bins of equal count, from the most certain up.
    #[serde(deserialize_with = "null::nan")]
    pub bins: Vec<[f64; 2]>,
    /// The error of what is left over the share that is rejected, by the whole uncertainty, by its parts, and by the error itself.
    pub rejection: Vec<Curve>,
}

/// Ranking metrics under one way of choosing candidates.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ranking {
    /// The protocol: "all items", "99 given negatives".
    pub candidates: String,
    /// Ranked lists judged.
    pub lists: u64,
    /// The values.
    pub values: Vec<RankingValue>,
}

/// One ranking metric at one cutoff.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RankingValue {
    /// "HR", "Recall", "NDCG", "MRR".
    pub metric: String,
    /// The cutoff K.
    pub cutoff: u64,
    /// The value.
    pub estimate: Estimate,
}

/// The rankings of one way to come to a list of candidates.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Recall {
    /// How many candidates a retriever gave for each list; none where everything was ranked.
    pub candidates: Option<u64>,
    /// The share of relevant items that are among them.
    #[serde(deserialize_with = "null::nan")]
    pub reached: f64,
    /// Ranked lists judged.
    pub lists: u64,
    /// The metrics.
    pub values: Vec<RankingValue>,
    /// Seconds to find the candidates of all lists.
    #[serde(deserialize_with = "null::nan")]
    pub recall_seconds: f64,
    /// Seconds to rank them.
    #[serde(deserialize_with = "null::nan")]
    pub rank_seconds: f64,
}

/// What became of a ranker on its way to a device: the ledger of its passes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Shipped {
    /// The device it was made for.
    pub device: String,
    /// The split it was measured on.
    pub split: String,
    /// Candidates of a request.
    pub candidates: u64,
    /// What it may take at most.
    pub limits: Vec<ShippedLimit>,
    /// The ranker as it was trained, and after each pass.
    pub passes: Vec<ShippedPass>,
    /// What the trained ranker and the shipped one say of the same samples, of the first binary task.
    #[serde(deserialize_with = "null::nan")]
    pub scores: Vec<[f64; 2]>,
}

/// A limit of a device.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ShippedLimit {
    /// What is limited: its key in the config.
    pub name: String,
    /// The most there may be of it.
    #[serde(deserialize_with = "null::nan")]
    pub limit: f64,
}

/// A ranker after a pass.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ShippedPass {
    /// The pass.
    pub pass: String,
    /// What it did.
    pub said: String,
    /// Bytes of the artifact.
    pub download_bytes: u64,
    /// Bytes of memory where it is mapped.
    pub resident_bytes: u64,
    /// Microseconds a candidate on one core of the machine that measured.
    #[serde(deserialize_with = "null::nan")]
    pub here: f64,
    /// The same on the device, estimated from what the operations cost.
    #[serde(deserialize_with = "null::nan")]
    pub device: f64,
    /// How good it is, one entry a binary task.
    pub tasks: Vec<ShippedTask>,
}

/// How good a ranker is at a task after a pass.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ShippedTask {
    /// The task.
    pub name: String,
    /// What it is measured by: "AUC", or "RMSE" of a task that is not binary.
    #[serde(default = "auc_metric")]
    pub metric: String,
    /// The metric. Reports of before had AUC alone, under that name.
    #[serde(alias = "auc")]
    pub value: Estimate,
    /// How much worse it is than the trained ranker's, with the interval of the paired difference; positive is worse.
    pub loss: Estimate,
}

fn auc_metric() -> String {
    "AUC".into()
}

/// An index of vectors against an exact scan of them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Index {
    /// How it searches: "graph", "exact".
    pub kind: String,
    /// Items in it.
    pub items: u64,
    /// Queries that were asked, one by one.
    pub queries: u64,
    /// How many items each asked for.
    pub asked: u64,
    /// The share of the exact answer that it finds; none where it is exact.
    pub recall: Option<f64>,
    /// Seconds a query.
    #[serde(deserialize_with = "null::nan")]
    pub seconds: f64,
    /// Seconds a query by an exact scan.
    #[serde(deserialize_with = "null::nan")]
    pub exact_seconds: f64,
    /// Seconds to build it.
    #[serde(deserialize_with = "null::nan")]
    pub build_seconds: f64,
}

/// What each feature is worth to the model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Importance {
    /// The task judged.
    pub task: String,
    /// How the feature was taken away: "shuffled between samples", "replaced by the out-of-vocabulary row".
    pub method: String,
    /// The metric that falls.
    pub metric: String,
    /// (feature, how far the metric falls without it).
    pub drops: Vec<(String, Estimate)>,
}

/// Time and memory.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Speed {
    /// Training samples a second.
    pub samples_per_second: Option<f64>,
    /// Most memory resident at once.
    pub peak_rss_mib: Option<f64>,
    /// (phase, seconds), in order.
    pub phases: Vec<(String, f64)>,
}

impl Metric {
    /// Which values of it are better.
    pub fn better(&self) -> Better {
        match self.best_near {
            Some(value) => Better::Near(value),
            None if self.lower_is_better => Better::Low,
            None => Better::High,
        }
    }
}

impl Estimate {
    /// A number with its interval.
    pub fn within(value: f64, low: f64, high: f64) -> Self {
        Self { value, interval: Some([low, high]) }
    }

    /// The interval if both its ends are finite.
    pub(super) fn ends(&self) -> Option<[f64; 2]> {
        self.interval.filter(|ends| ends.iter().all(|end| end.is_finite()))
    }

    /// The value and what is known of the interval's ends, for fitting an axis.
    pub(super) fn extent(&self) -> impl Iterator<Item = f64> + use<> {
        std::iter::once(self.value).chain(self.ends().into_iter().flatten())
    }

    /// Whether both have intervals and these do not meet.
    pub(super) fn is_apart_from(&self, other: &Self) -> bool {
        matches!((self.ends(), other.ends()), (Some([a, b]), Some([c, d])) if b < c || d < a)
    }
}

impl From<f64> for Estimate {
    fn from(value: f64) -> Self {
        Self { value, interval: None }
    }
}

impl Default for Estimate {
    /// Undefined.
    fn default() -> Self {
        f64::NAN.into()
    }
}

impl Histogram {
    /// Counts values between ascending edges. The last bin holds its upper edge; what lies outside is not counted.
    pub fn of(values: impl IntoIterator<Item = f64>, edges: Vec<f64>) -> Self {
        let mut counts = vec![0; edges.len().saturating_sub(1)];
        for value in values {
            if let Some(count) = bin(&edges, value).and_then(|bin| counts.get_mut(bin)) {
                *count += 1;
            }
        }
        Self { edges, counts }
    }
}

impl Joint {
    /// Counts (truth, prediction) pairs between ascending edges. What lies outside is not counted.
    pub fn of(pairs: impl IntoIterator<Item = (f64, f64)>, edges: Vec<f64>) -> Self {
        let bins = edges.len().saturating_sub(1);
        let mut counts = vec![vec![0; bins]; bins];
        for (truth, prediction) in pairs {
            let place = bin(&edges, truth).zip(bin(&edges, prediction));
            if let Some(count) = place.and_then(|(t, p)| counts.get_mut(t)?.get_mut(p)) {
                *count += 1;
            }
        }
        Self { edges, counts }
    }
}

/// The bin of a value; the last bin holds its upper edge.
fn bin(edges: &[f64], value: f64) -> Option<usize> {
    let (first, last) = (*edges.first()?, *edges.last()?);
    if !(first..=last).contains(&value) {
        return None;
    }
    let above = edges.partition_point(|&edge| edge <= value);
    Some(above.saturating_sub(1).min(edges.len().saturating_sub(2)))
}

#[derive(Serialize, Deserialize)]
struct Stored<R> {
    format: u32,
    report: R,
}

impl Report {
    /// The report as JSON, with the number of its format. [`super::compare`] works on what this stores.
    ///
    /// # Errors
    /// An internal error if the data cannot be written as JSON, which no value of these types should cause.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string(&Stored { format: FORMAT, report: self })
            .map_err(|error| Error::internal(format!("the report cannot be written as JSON: {error}")))
    }

    /// Reads what [`Report::to_json`] wrote.
    ///
    /// # Errors
    /// A format error if the text is not such JSON, or is of another format.
    pub fn from_json(text: &str) -> Result<Self> {
        let stored: Stored<serde_json::Value> = serde_json::from_str(text)
            .map_err(|error| Error::format(format!("this is not a stored report: {error}")))?;
        if stored.format != FORMAT {
            let found = stored.format;
            return Err(Error::format(format!("the report has format {found}, and this program reads {FORMAT}")));
        }
        serde_json::from_value(stored.report)
            .map_err(|error| Error::format(format!("the stored report does not fit its format: {error}")))
    }
}
