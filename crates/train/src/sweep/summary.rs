//! From the outcomes of runs to what the sweep says: means over seeds with intervals, and differences to the first point.

use super::outcome::{Measured, Outcome};
use super::plan::{RunOf, Sweep};
use crate::assemble::{Told, shown};
use crate::evaluate::{lower_is_better, mean_over_runs};
use crate::report::{Estimate, SweepFailure, SweepGroups, SweepMetric, SweepPoint, SweepReport};
use kitestring_core::metrics::Bootstrap;
use std::collections::{BTreeMap, BTreeSet};

/// A run that came to nothing, and why.
pub type Failure = (RunOf, String);

/// Puts together what the runs of a sweep came to. `data` says what they were trained on, in a clause.
pub fn summarize(sweep: &Sweep, outcomes: &BTreeMap<RunOf, Outcome>, failures: &[Failure], data: &str) -> SweepReport {
    let by_seed = |point: usize| outcomes.iter().filter(move |(run, _)| run.point == point);
    let of_points: Vec<Vec<(u64, &Outcome)>> = (0..sweep.points.len())
        .map(|point| by_seed(point).map(|(run, outcome)| (run.seed, outcome)).collect())
        .collect();
    let any = outcomes.values().next();
    let splits: Vec<&str> =
        any.map(|outcome| outcome.splits.iter().map(|(name, _)| name.as_str()).collect()).unwrap_or_default();
    let judged = splits.last().copied().unwrap_or_default();
    let over = Over { points: &of_points };
    let names = |split: &str| -> BTreeSet<String> {
        let keys = outcomes.values().flat_map(|outcome| outcome.splits.iter());
        keys.filter(|(name, _)| name == split).flat_map(|(_, metrics)| metrics.keys().cloned()).collect()
    };
    let mut metrics = Vec::new();
    let mut groups: Vec<SweepGroups> = Vec::new();
    for split in &splits {
        for key in names(split) {
            let (values, differences) = over.points(split, &key);
            match key.split_once('[') {
                None => metrics.push(metric(
                    sweep.base.schema.tasks.len(),
                    split,
                    &key,
                    *split == judged,
                    values,
                    differences,
                )),
                Some((metric, group)) if *split == judged => {
                    let task = metric.rsplit_once('.').map_or("", |(task, _)| task).to_owned();
                    let (by, name) = group.trim_end_matches(']').split_once('=').unwrap_or(("", group));
                    let place = groups.iter().position(|known| known.task == task && known.by == by);
                    let place = place.unwrap_or_else(|| {
                        groups.push(SweepGroups {
                            task,
                            by: by.into(),
                            metric: "AUC".into(),
                            ..SweepGroups::default()
                        });
                        groups.len() - 1
                    });
                    groups[place].groups.push(name.to_owned());
                    groups[place].values.push(values);
                    groups[place].differences.push(differences);
                }
                Some(_) => {}
            }
        }
    }
    let metrics: Vec<SweepMetric> = metrics.into_iter().flatten().collect();
    let chosen_by = chosen_by(sweep, &names("valid"));
    let choice = chosen_by.as_ref().map(|key| over.points("valid", key).0);
    let sign = chosen_by.as_ref().map_or(1.0, |key| if lower_is_better(key) { -1.0 } else { 1.0 });
    let worth = |point: usize| Some(sign * choice.as_ref()?.get(point)?.value).filter(|value| value.is_finite());
    let best = (0..of_points.len())
        .filter_map(|point| Some((point, worth(point)?)))
        .reduce(|best, next| if next.1 > best.1 { next } else { best });
    let varied = |key: &String| {
        let values: Vec<_> = sweep.points.iter().map(|point| point.settings.get(key)).collect();
        values.windows(2).any(|pair| pair[0] != pair[1])
    };
    let points = sweep.points.iter().zip(&of_points).enumerate().map(|(number, (point, runs))| {
        let mean = |of: &dyn Fn(&Outcome) -> f64| {
            (!runs.is_empty()).then(|| runs.iter().map(|(_, outcome)| of(outcome)).sum::<f64>() / runs.len() as f64)
        };
        SweepPoint {
            name: point.name.clone(),
            folder: point.folder.clone(),
            seeds: runs.iter().map(|(seed, _)| *seed).collect(),
            settings: point
                .settings
                .iter()
                .filter(|(key, _)| varied(key))
                .map(|(key, value)| (key.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
                .collect(),
            network: runs.first().map(|(_, outcome)| outcome.network),
            rows: runs.first().map(|(_, outcome)| outcome.rows),
            samples_per_second: mean(&|outcome| outcome.samples_per_second),
            seconds: mean(&|outcome| outcome.seconds),
            choice: choice.as_ref().and_then(|choice| choice.get(number).copied()).unwrap_or_default(),
        }
    });
    let failed = |(run, why): &Failure| SweepFailure {
        point: sweep.points.get(run.point).map(|point| point.name.clone()).unwrap_or_default(),
        seed: run.seed,
        why: why.clone(),
    };
    SweepReport {
        name: sweep.name.clone(),
        data: data.to_owned(),
        split: judged.to_owned(),
        intervals: intervals(sweep, metrics.first()),
        chosen_by: chosen_by.map(|key| readable(&key)).unwrap_or_default(),
        best: best.map(|(point, _)| point),
        points: points.collect(),
        metrics,
        groups,
        failures: failures.iter().map(failed).collect(),
    }
}

/// A metric's key in words.
fn readable(key: &str) -> String {
    match key.rsplit_once('.') {
        Some((task, metric)) => format!("{task} {}", shown(metric)),
        None => format!("mean {}", shown(key)),
    }
}

/// What points are chosen by on the validation split: what stops training early, else the mean AUC, else the mean error.
fn chosen_by(sweep: &Sweep, names: &BTreeSet<String>) -> Option<String> {
    let stopping = sweep.base.train.early_stopping.as_ref().and_then(|stopping| stopping.metric.clone());
    let usual = ["auc", "rmse"].map(str::to_owned);
    stopping.into_iter().chain(usual).find(|name| names.contains(name))
}

fn intervals(sweep: &Sweep, metric: Option<&SweepMetric>) -> String {
    if metric.is_none() {
        return String::new();
    }
    let units = if sweep.base.schema.user.is_some() { "users" } else { "samples" };
    match (sweep.seeds.len(), sweep.base.evaluate.bootstrap) {
        (1, 0) => String::new(),
        (1, _) => format!("95 % bootstrap over {units}; one seed, so what another seed would give is not in them"),
        (seeds, 0) => format!("95 %, by Student's t over {seeds} seeds"),
        (seeds, _) => format!("95 %, by Student's t over {seeds} seeds and a bootstrap over {units}"),
    }
}

fn metric(
    tasks: usize,
    split: &str,
    key: &str,
    is_last: bool,
    values: Vec<Estimate>,
    differences: Vec<Estimate>,
) -> Option<SweepMetric> {
    let Told { task, metric, opens } = Told::new(key, tasks)?;
    Some(SweepMetric {
        split: split.to_owned(),
        task,
        name: shown(metric),
        lower_is_better: lower_is_better(metric),
        headline: is_last && opens,
        values,
        differences,
    })
}

/// The runs of each point, by seed.
struct Over<'a> {
    points: &'a [Vec<(u64, &'a Outcome)>],
}

impl Over<'_> {
    /// A metric of every point: its mean over seeds, and by how much that lies above the first point's over the seeds both have.
    fn points(&self, split: &str, key: &str) -> (Vec<Estimate>, Vec<Estimate>) {
        let found = |point: usize| -> BTreeMap<u64, &Measured> {
            let runs = self.points.get(point).into_iter().flatten();
            runs.filter_map(|(seed, outcome)| Some((*seed, outcome.metric(split, key)?))).collect()
        };
        let first = found(0);
        let all = 0..self.points.len();
        let value = |point| mean_over_runs(&found(point).values().map(|run| run.bootstrap()).collect::<Vec<_>>());
        let difference = |point: usize| {
            let own = found(point).into_iter().filter(|_| point > 0);
            let pairs = own.filter_map(|(seed, own)| Some((own, first.get(&seed)?)));
            let differences: Option<Vec<Bootstrap>> =
                pairs.map(|(own, first)| own.bootstrap().minus(&first.bootstrap())).collect();
            mean_over_runs(&differences.unwrap_or_default())
        };
        (all.clone().map(value).collect(), all.map(difference).collect())
    }
}
