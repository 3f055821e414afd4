//! The parts of a report against what they are made of.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::evaluate::evaluate;
use crate::fixture::Fixture;
use crate::history::{Epoch, StepLoss};
use crate::report::html;
use crate::workers::Threads;
use kitestring_core::Batch;
use std::collections::BTreeMap;

#[test]
fn the_feature_that_decides_is_worth_most() {
    let fixture = Fixture::new();
    let model = fixture.trained();
    let workers = Threads::new(1).unwrap();
    let found = importance(&model, &fixture.dataset, "train", &fixture.config.evaluate, Seed(4), &workers).unwrap();
    let [like] = found.as_slice() else { panic!("one binary task: {found:?}") };
    let names: Vec<&str> = like.drops.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["user", "item", "brand", "liked", "price"]);
    let drop: BTreeMap<&str, f64> = like.drops.iter().map(|(name, drop)| (name.as_str(), drop.value)).collect();
    // Whether an item is liked depends on its number alone.
    assert!(drop["item"] > 0.05, "{drop:?}");
    assert!(drop["item"] > 2.0 * drop["brand"] && drop["item"] > 2.0 * drop["price"], "{drop:?}");
}

#[test]
fn attention_is_summed_over_every_event() {
    let fixture = Fixture::new();
    let model = fixture.trained();
    let found = attention(&model, &fixture.dataset, "train", Seed(4)).unwrap().unwrap();
    assert_eq!(found.shares, "brand");
    let split = fixture.dataset.split("train").unwrap();
    let mut batch = Batch::default();
    split.read(&(0..split.rows()).collect::<Vec<_>>(), Seed(0), &mut batch).unwrap();
    let vocabularies = fixture.dataset.vocabularies().unwrap();
    // A brand is the remainder of the item's number by three.
    let brand = |id: u64| vocabularies.value("item", id).unwrap()[1..].parse::<u64>().unwrap() % 3;
    let mut counts = vec![(0, 0); 4];
    for row in 0..batch.rows {
        let target = brand(batch.sparse[1].of_row(row)[0]);
        for (place, event) in batch.sparse[3].of_row(row).iter().rev().enumerate() {
            let (same, other) = &mut counts[place];
            *if brand(*event) == target { same } else { other } += 1;
        }
    }
    let shown: Vec<(u64, u64)> = found.recency.iter().map(|bin| (bin.same_count, bin.other_count)).collect();
    assert_eq!(shown, counts);
    assert!(found.recency.iter().all(|bin| bin.same.unwrap().value.is_finite()));
}

#[test]
fn a_model_without_attention_attends_to_nothing() {
    let mut fixture = Fixture::new();
    fixture.config.model.encoder = kitestring_nn::slots::encoder::Encoder::default();
    if matches!(fixture.config.model.encoder, kitestring_nn::slots::encoder::Encoder::Din(_)) {
        panic!("the default encoder has attention: choose another one here");
    }
    let model = fixture.trained();
    assert_eq!(attention(&model, &fixture.dataset, "test", Seed(4)).unwrap(), None);
}

#[test]
fn a_report_says_everything_and_can_be_read_back() {
    let fixture = Fixture::new();
    let model = fixture.trained();
    let workers = Threads::new(1).unwrap();
    let judge = |split: &str| {
        let config = &fixture.config.evaluate;
        evaluate(&model, &fixture.dataset, split, config, Seed(5), &workers, &mut |_| {}).unwrap()
    };
    let evaluations = [judge("valid"), judge("test")];
    let epoch = |number: u32, auc: f64| Epoch {
        epoch: number,
        metrics: BTreeMap::from([("like.auc".to_owned(), auc), ("auc".to_owned(), auc)]),
        seconds: 2.0,
        samples: 300,
        learning_rate: 0.02,
    };
    let history = History {
        steps: [(0.5, [0.7, 2.0], [1.0, 1.0]), (2.0, [0.6, 1.0], [1.0, 0.5])]
            .map(|(epoch, losses, weights)| StepLoss {
                epoch,
                losses: losses.into(),
                weights: weights.into(),
                ..StepLoss::default()
            })
            .into(),
        epochs: vec![epoch(1, 0.6), epoch(2, 0.59)],
        best_epoch: Some(1),
        metric: Some("auc".into()),
        stopped: Some("no better for 1 epochs".into()),
    };
    let parts = Parts {
        config: &fixture.config,
        dataset: &fixture.dataset,
        model: &model,
        history: Some(&history),
        evaluations: &evaluations,
        recall: Vec::new(),
        shipped: None,
        truth: &[],
        speed: Speed::default(),
        notes: &[],
        workers: &workers,
    };
    let made = report(&parts).unwrap();
    assert_eq!(crate::report::Report::from_json(&made.to_json().unwrap()).unwrap(), made);
    let headline: Vec<&str> =
        made.metrics.iter().filter(|metric| metric.headline).map(|metric| metric.name.as_str()).collect();
    assert_eq!(headline, ["AUC", "RMSE"]);
    let auc = made.metrics.iter().find(|metric| metric.headline && metric.name == "AUC").unwrap();
    assert_eq!((auc.split.as_str(), auc.task.as_deref()), ("test", Some("like")));
    assert_eq!(auc.estimate.value, evaluations[1].metrics["like.auc"]);
    let learning = made.learning.as_ref().unwrap();
    assert_eq!(learning.loss[0].points, [[0.5, 0.7], [2.0, 0.6]]);
    assert_eq!(learning.loss[1].name, "seconds");
    assert_eq!(learning.validation[0].points, [[1.0, 0.6], [2.0, 0.59]]);
    assert_eq!(made.speed.as_ref().unwrap().samples_per_second, Some(150.0));
    let summary = made.summary.as_ref().unwrap();
    assert_eq!(summary.splits[2].rows, evaluations[1].samples);
    let lengths = summary.history_length.as_ref().unwrap();
    assert_eq!((lengths.counts.len(), lengths.counts.iter().sum::<u64>()), (5, summary.splits[0].rows));
    assert_eq!(made.model.split(';').next(), Some("DIN encoder, MLP body, logit head"));
    assert_eq!(made.rankings.len(), 1);
    let page = html(&made);
    for part in ["Ranking", "What each feature is worth", "What the model attends to", "Groups", "DIN encoder"] {
        assert!(page.contains(part), "{part}");
    }
}
