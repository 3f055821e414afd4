//! What a model must be better than: predictions that training gives without a model.
//!
//! | key | predicts |
//! |---|---|
//! | `mean` | the mean label of training, for every sample |
//! | `popular` | nothing; orders items by their positive rows in training |
//! | `item_mean` | the mean label of the item's training rows, smoothed |
//! | `user_mean` | the mean label of the user's training rows, smoothed |
//!
//! Means respect the weights of rows; [`TaskOutcomes::item_mean`] has the formula. They are measured on the same samples, by the same metrics.

use super::judge::{Labelled, Sheet, errors, first_of_binary, means, probability};
use super::score::{Scored, ScoredTask};
use super::{Better, Evaluation, better};
use kitestring_core::Result;
use kitestring_core::schema::TaskKind;
use kitestring_data::dataset::Dataset;
use kitestring_data::dataset::outcomes::TaskOutcomes;

/// The baselines in the order in which they are shown: key and name.
pub const BASELINES: [(&str, &str); 4] = [
    ("mean", "the mean of training"),
    ("popular", "the most popular items"),
    ("item_mean", "the item's mean"),
    ("user_mean", "the user's mean"),
];

/// Metrics that say whether a model is worth anything: of each task, and of rankings.
const DECISIVE: [&str; 4] = ["auc", "log_loss", "rmse", "ndcg"];

/// Measures the baselines on the samples that the model was measured on.
pub(super) fn add(scored: &Scored, dataset: &Dataset, evaluation: &mut Evaluation) -> Result<()> {
    let Some(outcomes) = dataset.training_outcomes()? else {
        let why = "this data has no training split, and that of the run is not there";
        evaluation.notes.push(format!("No baselines on {}: {why}.", evaluation.split));
        return Ok(());
    };
    for (baseline, _) in BASELINES {
        let mut found = Evaluation::default();
        for (task, outcomes) in scored.tasks.iter().zip(&outcomes.tasks) {
            let Some(scores) = scores(baseline, scored, task, outcomes) else { continue };
            let simple = ScoredTask { name: task.name.clone(), kind: task.kind, scores, labels: task.labels.clone() };
            let samples = Labelled::new(scored, &simple);
            let mut sheet = Sheet { task: &task.name, evaluation: &mut found };
            if task.kind != TaskKind::Binary {
                errors(&samples, &mut sheet);
                continue;
            }
            first_of_binary(&samples, &mut sheet);
            probability(scored, &samples, &mut sheet);
            if baseline == "popular" {
                // It orders; what it says are no probabilities.
                found.metrics.retain(|name, _| name.ends_with("auc"));
            }
        }
        means(scored, &mut found);
        if !found.metrics.is_empty() {
            evaluation.baselines.entry(baseline.into()).or_default().extend(found.metrics);
        }
    }
    Ok(())
}

/// What a baseline says of each sample; none where it says nothing of such a task or such data.
fn scores(baseline: &str, scored: &Scored, task: &ScoredTask, outcomes: &TaskOutcomes) -> Option<Vec<f32>> {
    let mean = outcomes.mean()? as f32;
    let of = |numbers: &[u64], score: &dyn Fn(u64) -> Option<f64>| {
        (!numbers.is_empty())
            .then(|| numbers.iter().map(|number| score(*number).map_or(mean, |score| score as f32)).collect())
    };
    match baseline {
        "mean" => Some(vec![mean; task.labels.len()]),
        "popular" if task.kind == TaskKind::Binary => of(&scored.items, &|item| Some(outcomes.popularity(item).into())),
        "item_mean" => of(&scored.items, &|item| outcomes.item_mean(item)),
        "user_mean" => of(&scored.users, &|user| outcomes.user_mean(user)),
        _ => None,
    }
}

/// Says where a model is not better than a baseline, or not surely so: where the baseline lies within its interval.
pub(super) fn compare(evaluation: &mut Evaluation) {
    let mut notes = Vec::new();
    for (name, value) in &evaluation.metrics {
        let metric = name.rsplit('.').next().unwrap_or(name);
        let kind = metric.split('@').next().unwrap_or(metric);
        if !DECISIVE.contains(&kind) || (!name.contains('.') && !name.contains('@')) {
            continue;
        }
        let sign = if better(metric) == Better::Low { -1.0 } else { 1.0 };
        let interval = evaluation.intervals.get(name);
        let worst = interval.map_or(*value, |found| if sign > 0.0 { found.lower } else { found.upper });
        let (mut no_better, mut unsure) = (Vec::new(), Vec::new());
        for (key, words) in BASELINES {
            let Some(baseline) = evaluation.baselines.get(key).and_then(|metrics| metrics.get(name)) else { continue };
            let told = format!("{words} ({baseline:.4})");
            if sign * (value - baseline) <= 0.0 {
                no_better.push(told);
            } else if sign * (worst - baseline) <= 0.0 {
                unsure.push(told);
            }
        }
        for (list, words) in [(no_better, "is no better than"), (unsure, "is not surely better than")] {
            if let [most @ .., last] = list.as_slice() {
                let listed = if most.is_empty() { last.clone() } else { format!("{} and {last}", most.join(", ")) };
                notes.push(format!("{name} on {} ({value:.4}) {words} {listed}.", evaluation.split));
            }
        }
    }
    evaluation.notes.extend(notes);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::evaluate::{EvaluateConfig, SEED, evaluate};
    use crate::fixture::Fixture;
    use crate::workers::Threads;
    use kitestring_core::metrics;
    use kitestring_core::{Batch, Seed};
    use kitestring_data::dataset::outcomes::SMOOTHING;
    use std::collections::HashMap;

    fn rows(dataset: &Dataset, split: &str) -> Batch {
        let (split, mut batch) = (dataset.split(split).unwrap(), Batch::default());
        split.read(&(0..split.rows()).collect::<Vec<_>>(), Seed(0), &mut batch).unwrap();
        batch
    }

    /// Sums and counts of a task's training labels by key, and the mean of all.
    fn means(train: &Batch, task: usize, key: &[u64]) -> (HashMap<u64, (f64, f64)>, f64) {
        let mut sums: HashMap<u64, (f64, f64)> = HashMap::new();
        let mut all = 0.0;
        for (row, key) in key.iter().enumerate() {
            let label = f64::from(train.labels[2 * row + task]);
            let sum = sums.entry(*key).or_default();
            *sum = (sum.0 + label, sum.1 + 1.0);
            all += label;
        }
        (sums, all / key.len() as f64)
    }

    /// Against the definitions, row by row: constant, item's and user's means of both tasks, and the most popular items.
    #[test]
    fn baselines_by_hand() {
        let fixture = Fixture::new();
        let (model, workers) = (fixture.trained(), Threads::new(1).unwrap());
        let config = &fixture.config.evaluate;
        let found = evaluate(&model, &fixture.dataset, "test", config, SEED, &workers, &mut |_| {}).unwrap();
        let (train, test) = (rows(&fixture.dataset, "train"), rows(&fixture.dataset, "test"));
        for (task, name) in ["like", "seconds"].into_iter().enumerate() {
            let labels: Vec<f32> = test.labels.iter().skip(task).step_by(2).copied().collect();
            let of = |train_keys: &[u64], keys: &[u64]| -> Vec<f32> {
                let (sums, mean) = means(&train, task, train_keys);
                let smooth = |key| sums.get(key).map_or((0.0, 0.0), |sum| *sum);
                keys.iter()
                    .map(|key| ((smooth(key).0 + SMOOTHING * mean) / (smooth(key).1 + SMOOTHING)) as f32)
                    .collect()
            };
            let (_, mean) = means(&train, task, &train.item);
            let constant = vec![mean as f32; labels.len()];
            for (key, scores) in [
                ("mean", constant),
                ("item_mean", of(&train.item, &test.item)),
                ("user_mean", of(&train.user, &test.user)),
            ] {
                let near = |metric: &str, value: Option<f64>| {
                    let found = found.baselines[key][&format!("{name}.{metric}")];
                    assert!((found - value.unwrap()).abs() < 1e-6, "{key} {name}.{metric}: {found} {value:?}");
                };
                if task == 0 {
                    near("auc", metrics::auc(&scores, &labels));
                    near("log_loss", metrics::log_loss(&scores, &labels));
                    near("gauc", metrics::gauc(&scores, &labels, &test.user));
                } else {
                    near("rmse", metrics::root_mean_squared_error(&scores, &labels));
                    near("mae", metrics::mean_absolute_error(&scores, &labels));
                }
            }
        }
        assert_eq!(found.baselines["mean"]["like.auc"], 0.5);
        // Popular items: those of most positive rows. There are no probabilities in them.
        let (positives, _) = means(&train, 0, &train.item);
        let popular: Vec<f32> =
            test.item.iter().map(|item| positives.get(item).map_or(0.0, |sum| sum.0) as f32).collect();
        let labels: Vec<f32> = test.labels.iter().step_by(2).copied().collect();
        assert!((found.baselines["popular"]["like.auc"] - metrics::auc(&popular, &labels).unwrap()).abs() < 1e-9);
        assert!(!found.baselines["popular"].contains_key("like.log_loss"));
        // The nine given candidates and the positive, ranked by popularity.
        let given = fixture.dataset.split("test").unwrap().candidates().unwrap();
        let (mut hits, mut lists) = (0.0, 0.0);
        for row in (0..test.rows).filter(|row| labels[*row] > 0.5) {
            let mut list = vec![test.item[row]];
            list.extend(given.of(test.user[row], test.item[row]).unwrap().iter().map(|item| u64::from(*item)));
            let scores: Vec<f32> =
                list.iter().map(|item| positives.get(item).map_or(0.0, |sum| sum.0) as f32).collect();
            let placement = metrics::Placement::from_relevant(&scores, &[0], &[], metrics::Ties::Expected).unwrap();
            hits += placement.at(5).unwrap().hit_rate;
            lists += 1.0;
        }
        assert!((found.baselines["popular"]["hr@5"] - hits / lists).abs() < 1e-9);
    }

    /// A model that says nothing is told so, and one that says something is told no more than that chance might explain it.
    #[test]
    fn a_model_no_better_than_a_baseline_is_told_so() {
        let fixture = Fixture::new();
        let (mut model, workers) = (fixture.trained(), Threads::new(1).unwrap());
        let config = EvaluateConfig { bootstrap: 0, ..fixture.config.evaluate.clone() };
        let judge = |model: &crate::model::Model| {
            evaluate(model, &fixture.dataset, "test", &config, SEED, &workers, &mut |_| {}).unwrap().notes
        };
        let about = |notes: &[String], metric: &str| {
            notes.iter().any(|note| note.starts_with(metric) && note.contains("is no better than"))
        };
        let notes = judge(&model);
        let chance = |note: &String| {
            note.starts_with("like.auc on test") && note.contains("is no better than the mean of training")
        };
        assert!(!notes.iter().any(chance), "items are liked by their numbers, which is learned: {notes:?}");
        model.network.weights.iter_mut().for_each(|weight| *weight = 0.0);
        let notes = judge(&model);
        assert!(about(&notes, "like.log_loss on test") && about(&notes, "seconds.rmse on test"), "{notes:?}");
        assert!(
            notes
                .iter()
                .any(|note| note
                    .starts_with("like.auc on test (0.5000) is no better than the mean of training (0.5000)")),
            "{notes:?}"
        );
        // A baseline within the interval.
        let mut found = crate::evaluate::Evaluation { split: "test".into(), ..Default::default() };
        found.metrics.insert("like.auc".into(), 0.7);
        found.baselines.entry("item_mean".into()).or_default().insert("like.auc".into(), 0.69);
        found.intervals.insert(
            "like.auc".into(),
            metrics::Interval { point: 0.7, lower: 0.65, upper: 0.75, standard_error: 0.02 },
        );
        compare(&mut found);
        assert_eq!(found.notes, ["like.auc on test (0.7000) is not surely better than the item's mean (0.6900)."]);
    }
}
