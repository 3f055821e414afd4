//! The comparison on a small simulation, against its files.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::config::RunConfig;
use crate::evaluate::ScoredTask;
use kitestring_core::Batch;
use kitestring_data::config::Source;
use kitestring_data::dataset::Dataset;
use kitestring_data::reader::{BadRows, Input};
use kitestring_data::simulator;
use std::path::Path;

const CONFIG: &str = r#"
[data]
split = { by = "time", test = 0.3 }
[[data.layouts]]
name = "simulator"
samples = { path = "impressions.parquet" }
[schema]
user = "user_id"
item = "item_id"
time = "time"
features = [{ name = "item_id", kind = "categorical", of = "item" }]
tasks = [{ name = "clicked", column = "click" }, { name = "conversion", after = "clicked" }]
"#;

fn simulate(folder: &Path, seed: u64) {
    let config = simulator::Config { users: 300, items: 400, events: 20_000, seed, ..simulator::Config::default() };
    simulator::write(&config, folder, &mut |_| ()).unwrap();
}

/// A column of a file, whole.
fn column(path: &Path, name: &str) -> Vec<f64> {
    let file = path.file_name().unwrap().to_string_lossy().into_owned();
    let input = Input::open(path.parent().unwrap(), &Source::new(file)).unwrap();
    let mut found = Vec::new();
    for chunk in input.read(&[name], &BadRows::default()).unwrap() {
        let chunk = chunk.unwrap();
        found.extend((0..chunk.rows.num_rows()).map(|row| rows::number(chunk.rows.column(0), row).unwrap()));
    }
    found
}

/// The test split as a scorer of its own sees it: scores by the row in the log, counted from 0.
fn scored(dataset: &Dataset, score: impl Fn(usize) -> f32) -> Scored {
    let split = dataset.split("test").unwrap();
    let mut batch = Batch::default();
    split.read(&(0..split.rows()).collect::<Vec<_>>(), Seed(0), &mut batch).unwrap();
    let rows: Vec<usize> = (0..split.rows()).map(|sample| split.source(sample).unwrap().1 as usize - 1).collect();
    let task = |(number, name): (usize, &str)| ScoredTask {
        name: name.into(),
        kind: TaskKind::Binary,
        scores: rows.iter().map(|row| score(*row)).collect(),
        labels: batch.labels.iter().skip(number).step_by(2).copied().collect(),
    };
    Scored {
        split: "test".into(),
        tasks: ["clicked", "conversion"].into_iter().enumerate().map(task).collect(),
        users: batch.user,
        ..Scored::default()
    }
}

#[test]
fn each_sample_meets_its_own_truth() {
    let room = tempfile::tempdir().unwrap();
    let folder = room.path().join("simulated");
    simulate(&folder, 3);
    let config = RunConfig::parse(CONFIG, "truth.toml", &[]).unwrap();
    let dataset = crate::fixture::prepared(&config, &folder);
    let probability = column(&folder.join("truth/impressions.parquet"), "click_probability");
    let relevance = column(&folder.join("truth/impressions.parquet"), "relevance");
    let random = column(&folder.join("impressions.parquet"), "random_policy");
    let clicks = column(&folder.join("impressions.parquet"), "click");

    // The oracle itself has no gap, on any traffic.
    let oracle = scored(&dataset, |row| probability[row] as f32);
    let found = compare(&oracle, &dataset, &config.evaluate, Seed(1)).unwrap().unwrap();
    let names: Vec<(&str, bool)> = found.iter().map(|found| (found.task.as_str(), found.random)).collect();
    assert_eq!(names, [("clicked", false), ("clicked", true), ("conversion", false), ("conversion", true)]);
    let labels = found[0].labels.unwrap();
    assert_eq!(labels.gap, Estimate::within(0.0, 0.0, 0.0));
    assert_eq!(found[0].probability_correlation, Some(1.0));

    // AUC of the truth from the files alone.
    let split = dataset.split("test").unwrap();
    let rows: Vec<usize> = (0..split.rows()).map(|sample| split.source(sample).unwrap().1 as usize - 1).collect();
    let of = |values: &[f64]| rows.iter().map(|row| values[*row] as f32).collect::<Vec<f32>>();
    let expected = kitestring_core::metrics::auc(&of(&probability), &of(&clicks)).unwrap();
    assert!((labels.oracle.value - expected).abs() < 1e-12);
    assert_eq!(found[0].samples, rows.len() as u64);
    assert_eq!(found[1].samples, rows.iter().filter(|row| random[**row] > 0.5).count() as u64);
    let own: Vec<f32> = of(&relevance).iter().map(|logit| 1.0 / (1.0 + (-logit).exp())).collect();
    let ceiling = expected_auc(&own, &own).unwrap();
    assert!((found[0].relevance.unwrap().oracle.value - ceiling).abs() < 1e-9);

    let by_relevance = found[0].labels_by_relevance.unwrap().value;
    assert_eq!(Some(by_relevance), kitestring_core::metrics::auc(&own, &of(&clicks)));

    // Relevance itself reaches the ceiling of relevance and not that of labels, which position and friends had a hand in.
    let found = compare(&scored(&dataset, |row| relevance[row] as f32), &dataset, &config.evaluate, Seed(1));
    let found = found.unwrap().unwrap();
    assert!(found[0].relevance.unwrap().gap.value.abs() < 1e-9);
    assert!(found[0].labels.unwrap().gap.value > 0.005, "{:?}", found[0].labels);

    // A coin is at chance, and its gap has an interval.
    let coin = compare(&scored(&dataset, |row| Seed(2).unit_at(row as u64)), &dataset, &config.evaluate, Seed(1));
    let coin = coin.unwrap().unwrap();
    let gap = coin[0].labels.unwrap().gap;
    assert!((coin[0].relevance.unwrap().model.value - 0.5).abs() < 0.03);
    let [low, high] = gap.interval.unwrap();
    assert!(0.1 < low && low < gap.value && gap.value < high);
    let metrics = metrics(&coin);
    assert_eq!(metrics["clicked.gap"], gap.value);
    assert!(metrics.contains_key("conversion.random.relevance_auc"), "{metrics:?}");
    // One entry for the labels and one for relevance; a small random share may hold no conversion.
    let shown = coin.iter().map(|found| usize::from(found.labels.is_some()) + usize::from(found.relevance.is_some()));
    assert_eq!(for_report(&coin).len(), shown.sum::<usize>());
    assert!(coin[1].labels.is_some() && coin.iter().all(|found| found.relevance.is_some()));
    assert!(coin[0].joint.counts.iter().flatten().sum::<u64>() > 0);
}

#[test]
fn another_simulation_is_no_truth() {
    let room = tempfile::tempdir().unwrap();
    let folder = room.path().join("simulated");
    simulate(&folder, 3);
    let config = RunConfig::parse(CONFIG, "truth.toml", &[]).unwrap();
    let dataset = crate::fixture::prepared(&config, &folder);
    let scores = scored(&dataset, |_| 0.5);
    // A truth of fewer rows.
    let other = room.path().join("other");
    let small = simulator::Config { users: 300, items: 400, events: 2_000, ..simulator::Config::default() };
    simulator::write(&small, &other, &mut |_| ()).unwrap();
    std::fs::copy(other.join("truth/impressions.parquet"), folder.join("truth/impressions.parquet")).unwrap();
    let error = compare(&scores, &dataset, &config.evaluate, Seed(1)).unwrap_err();
    assert!(error.to_string().contains("different simulations"), "{error}");
    // A truth whose rows are others.
    std::fs::copy(folder.join("truth/occasions.parquet"), folder.join("truth/impressions.parquet")).unwrap();
    assert!(compare(&scores, &dataset, &config.evaluate, Seed(1)).is_err());
    // None at all.
    std::fs::remove_dir_all(folder.join("truth")).unwrap();
    assert_eq!(compare(&scores, &dataset, &config.evaluate, Seed(1)).unwrap(), None);
}

#[test]
fn the_expected_auc_is_its_definition() {
    let scores = [0.3, 0.1, 0.3, 0.9, 0.2];
    let soft = [0.5, 0.2, 0.9, 0.6, 0.0];
    let (mut right, mut all) = (0.0, 0.0);
    for (s, r) in scores.iter().zip(soft) {
        for (t, q) in scores.iter().zip(soft) {
            let weight = f64::from(r) * (1.0 - f64::from(q));
            all += weight;
            right += weight
                * if s > t {
                    1.0
                } else if s == t {
                    0.5
                } else {
                    0.0
                };
        }
    }
    assert!((expected_auc(&scores, &soft).unwrap() - right / all).abs() < 1e-7);
    // Hard labels: the usual AUC, for a pair of equal samples has no weight.
    let hard = [1.0, 0.0, 0.0, 1.0, 0.0];
    assert_eq!(expected_auc(&scores, &hard), kitestring_core::metrics::auc(&scores, &hard));
    assert_eq!(expected_auc(&scores, &[0.0; 5]), None);
}

#[test]
fn nothing_beats_the_truth() {
    let seed = Seed(4);
    let truth: Vec<f32> = (0..2_000).map(|row| seed.unit_at(row)).collect();
    let noisy: Vec<f32> = truth.iter().zip(0..).map(|(truth, row)| truth + 0.3 * seed.normal_at(row)).collect();
    let (model, oracle) = (expected_auc(&noisy, &truth).unwrap(), expected_auc(&truth, &truth).unwrap());
    assert!(0.5 < model && model < oracle - 0.02, "{model} {oracle}");
    // For uniform truths it is ∫ r (r − r²/2) dr over ∫ r dr · ∫ (1 − r) dr, that is 5/24 over 1/4.
    assert!((oracle - 5.0 / 6.0).abs() < 0.01, "{oracle}");
}
