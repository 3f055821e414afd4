//! From the placements of many lists to ranking metrics, with intervals over users.

use super::Evaluation;
use super::judge::{CONFIDENCE, estimate, plan};
use crate::config::EvaluateConfig;
use crate::report::{self, RankingValue};
use kitestring_core::Seed;
use kitestring_core::metrics::{Bootstrap, Interval, Placement, RankingAtK, RankingMean, bootstrap_ratio};

/// How rankings came out.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranked {
    /// What was ranked against what.
    pub protocol: String,
    /// The mean over all lists.
    pub mean: RankingMean,
    /// Whether every list had a single relevant item, so that recall is the hit rate.
    single: bool,
    /// For each user the number of lists, and the sums of their metrics in the order of the cutoffs.
    users: Vec<(f64, Vec<RankingAtK>)>,
    /// Candidates scored.
    pub candidates: u64,
    /// Seconds it took.
    pub seconds: f64,
    /// Seconds of them spent waiting for candidates to be read.
    pub waiting: f64,
    /// What a reader of the metrics should know, a sentence each.
    pub notes: Vec<String>,
    /// The mean over the same lists in the order of their items' popularity in training, where that is known.
    pub popular: Option<RankingMean>,
    /// Which lists these are.
    pub(super) fingerprint: u64,
}

/// A ranking metric at a cutoff.
#[derive(Debug, Clone, PartialEq)]
pub struct RankingMetric {
    /// Its key among [`Evaluation::metrics`], such as `ndcg@10`.
    pub key: String,
    /// Its name in a report, without the cutoff.
    pub name: &'static str,
    /// The cutoff.
    pub cutoff: usize,
    /// The mean over lists.
    pub value: f64,
    /// Of draws of users; none where the config asks for none, or too few for an interval.
    pub replicates: Option<Bootstrap>,
}

impl RankingMetric {
    /// Its value with its interval, as reports have it.
    pub fn estimate(&self) -> report::Estimate {
        estimate(self.value, self.interval().as_ref())
    }

    /// Its 95 % interval.
    pub fn interval(&self) -> Option<Interval> {
        self.replicates.as_ref()?.interval(CONFIDENCE)
    }
}

/// The names of ranking metrics, in a key and in a report.
type Read = fn(&RankingAtK) -> f64;
const METRICS: [(&str, &str, Read); 4] = [
    ("hr", "HR", |at| at.hit_rate),
    ("recall", "Recall", |at| at.recall),
    ("ndcg", "NDCG", |at| at.ndcg),
    ("mrr", "MRR", |at| at.mrr),
];

/// Metrics of the lists so far, for whoever ranks: add every list, and finish.
#[derive(Debug, Clone)]
pub struct Tally {
    mean: RankingMean,
    single: bool,
    user: Option<u64>,
    users: Vec<(f64, Vec<RankingAtK>)>,
    cutoffs: Vec<usize>,
}

impl Tally {
    /// No lists yet, for these cutoffs. A cutoff of 0 is left out.
    pub fn new(cutoffs: &[usize]) -> Self {
        let cutoffs: Vec<usize> = cutoffs.iter().copied().filter(|cutoff| *cutoff > 0).collect();
        Self { mean: RankingMean::new(&cutoffs), single: true, user: None, users: Vec::new(), cutoffs }
    }

    /// Adds a list. The lists of a user come one after another.
    ///
    /// `None`, and nothing added, if the placement has no value at one of the cutoffs ([`Placement::at`]).
    pub fn add(&mut self, user: u64, placement: &Placement) -> Option<()> {
        let metrics = self.cutoffs.iter().map(|cutoff| placement.at(*cutoff)).collect::<Option<Vec<_>>>()?;
        self.mean.add(placement);
        self.single &= placement.relevant() == 1;
        match self.users.last_mut().filter(|_| self.user == Some(user)) {
            Some((lists, sums)) => {
                *lists += 1.0;
                for (sum, at) in sums.iter_mut().zip(metrics) {
                    sum.hit_rate += at.hit_rate;
                    sum.recall += at.recall;
                    sum.ndcg += at.ndcg;
                    sum.mrr += at.mrr;
                }
            }
            None => self.users.push((1.0, metrics)),
        }
        self.user = Some(user);
        Some(())
    }

    /// What came out: against what was ranked (`protocol`, for a report), how many candidates there were in all, and how
    /// long it took. Nothing is taken to have been waiting.
    pub fn finish(self, protocol: String, candidates: u64, seconds: f64) -> Ranked {
        let Self { mean, single, users, .. } = self;
        Ranked {
            protocol,
            mean,
            single,
            users,
            candidates,
            seconds,
            waiting: 0.0,
            notes: Vec::new(),
            popular: None,
            fingerprint: 0,
        }
    }
}

impl Ranked {
    /// The metrics at each cutoff, with the replicates of a bootstrap over users. Recall is left out where it is the hit
    /// rate.
    pub fn metrics(&self, config: &EvaluateConfig, seed: Seed) -> Vec<RankingMetric> {
        let lists: Vec<f64> = self.users.iter().map(|(lists, _)| *lists).collect();
        let plan = plan(config, lists.len(), seed);
        let mut metrics = Vec::new();
        for (number, at) in self.mean.mean().unwrap_or_default().iter().enumerate() {
            for (key, name, read) in METRICS.into_iter().filter(|(key, ..)| !(self.single && *key == "recall")) {
                let of_user = |(_, sums): &(f64, Vec<RankingAtK>)| sums.get(number).map_or(0.0, read);
                let sums: Vec<f64> = self.users.iter().map(of_user).collect();
                let replicates = plan.and_then(|plan| bootstrap_ratio(&sums, &lists, plan));
                metrics.push(RankingMetric {
                    key: format!("{key}@{}", at.k),
                    name,
                    cutoff: at.k,
                    value: read(at),
                    replicates,
                });
            }
        }
        metrics
    }

    /// Adds what came out to an evaluation, with intervals over users.
    pub(super) fn note(&self, config: &EvaluateConfig, seed: Seed, evaluation: &mut Evaluation) {
        let mut values = Vec::new();
        for RankingMetric { key, name, cutoff, value, replicates } in self.metrics(config, seed) {
            evaluation.metrics.insert(key.clone(), value);
            let interval = replicates.and_then(|replicates| evaluation.resampled(key, replicates));
            let estimate = estimate(value, interval.as_ref());
            values.push(RankingValue { metric: name.into(), cutoff: cutoff as u64, estimate });
        }
        let (candidates, lists) = (self.protocol.clone(), self.mean.queries());
        evaluation.rankings.push(report::Ranking { candidates, lists, values });
        evaluation.ranking_seconds = self.seconds;
        evaluation.rows.lists = self.fingerprint;
        let popular = self.popular.as_ref().and_then(RankingMean::mean).unwrap_or_default();
        for (at, (key, _, read)) in popular.iter().flat_map(|at| METRICS.map(|metric| (at, metric))) {
            if !(self.single && key == "recall") {
                let metrics = evaluation.baselines.entry("popular".into()).or_default();
                metrics.insert(format!("{key}@{}", at.k), read(at));
            }
        }
        evaluation.notes.extend_from_slice(&self.notes);
    }
}
