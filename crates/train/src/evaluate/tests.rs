//! Evaluation against the definitions, computed sample by sample and list by list.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::fixture::Fixture;
use crate::inputs::Prepared;
use crate::predictor::Predictor;
use crate::workers::Threads;
use kitestring_core::metrics;
use kitestring_core::schema::TaskKind;
use std::collections::BTreeSet;

fn all(fixture: &Fixture, model: &Model, config: &EvaluateConfig, threads: usize) -> Evaluation {
    let workers = Threads::new(threads).unwrap();
    evaluate(model, &fixture.dataset, "test", config, Seed(9), &workers, &mut |_| {}).unwrap()
}

#[test]
fn metrics_follow_from_the_scores_of_the_samples_in_order() {
    let fixture = Fixture::new();
    let model = fixture.trained();
    let found = all(&fixture, &model, &fixture.config.evaluate, 1);

    // The samples once more, one by one.
    let split = fixture.dataset.split("test").unwrap();
    let workers = Threads::new(1).unwrap();
    let (mut prepared, mut predictor) = (Prepared::default(), Predictor::new(&model, 1));
    let (mut scores, mut likes, mut liked, mut users, mut seconds) = (vec![], vec![], vec![], vec![], vec![]);
    for sample in 0..split.rows() {
        split.read(&[sample], Seed(0), &mut prepared.batch).unwrap();
        predictor.score(&mut prepared, &workers, &mut scores).unwrap();
        likes.push(scores[0]);
        liked.push(prepared.batch.labels[0]);
        users.push(prepared.batch.user[0]);
        seconds.push((scores[1], prepared.batch.labels[1]));
    }
    let near = |name: &str, value: Option<f64>| {
        let (found, value) = (found.metrics[name], value.unwrap());
        assert!((found - value).abs() < 1e-6, "{name}: {found} {value}");
    };
    assert_eq!(found.samples, split.rows());
    near("like.auc", metrics::auc(&likes, &liked));
    near("like.log_loss", metrics::log_loss(&likes, &liked));
    near("like.gauc", metrics::gauc(&likes, &liked, &users));
    near("like.brier", metrics::brier(&likes, &liked));
    let (predicted, observed): (Vec<f32>, Vec<f32>) = seconds.into_iter().unzip();
    near("seconds.rmse", metrics::root_mean_squared_error(&predicted, &observed));
    near("rmse", metrics::root_mean_squared_error(&predicted, &observed));
    near("auc", metrics::auc(&likes, &liked));
    assert!(found.metrics["like.auc"] != 0.5, "a model that tells nothing apart shows nothing");

    let interval = &found.intervals["like.auc"];
    assert!(interval.lower < found.metrics["like.auc"] && found.metrics["like.auc"] < interval.upper);
    assert_eq!(found.tasks.len(), 1);
    assert_eq!(found.tasks[0].calibration.iter().map(|bin| bin.count).sum::<u64>(), split.rows());
    let quick = quick(&model, &fixture.dataset, "test", &fixture.config.evaluate, Seed(9), &workers).unwrap();
    for (name, value) in quick {
        assert_eq!(value, found.metrics[&name], "{name}");
    }
}

#[test]
fn neither_the_batch_nor_the_number_of_workers_matters() {
    let fixture = Fixture::new();
    let model = fixture.trained();
    let ranking = Ranking::Full;
    let config = EvaluateConfig { ranking, ..fixture.config.evaluate.clone() };
    let one = all(&fixture, &model, &config, 1);
    for (batch_size, threads) in [(7, 1), (1_000, 3)] {
        let other = all(&fixture, &model, &EvaluateConfig { batch_size, ..config.clone() }, threads);
        assert_eq!(one.metrics.keys().collect::<Vec<_>>(), other.metrics.keys().collect::<Vec<_>>());
        for (name, value) in &one.metrics {
            assert!((value - other.metrics[name]).abs() < 1e-5, "{name}: {value} {}", other.metrics[name]);
        }
    }
}

#[test]
fn groups_part_the_samples() {
    let fixture = Fixture::new();
    let found = all(&fixture, &fixture.trained(), &fixture.config.evaluate, 1);
    let [pages, lengths] = found.groupings.as_slice() else { panic!("{:?}", found.groupings) };
    let names: BTreeSet<&str> = pages.groups.iter().map(|group| group.name.as_str()).collect();
    assert_eq!((pages.by.as_str(), names), ("page", BTreeSet::from(["home", "search"])));
    assert_eq!((lengths.by.as_str(), lengths.groups.len()), ("history length", 3));
    for grouping in &found.groupings {
        assert_eq!(grouping.groups.iter().map(|group| group.samples).sum::<u64>(), found.samples);
    }
    // The definitions: over the groups' values.
    let values: Vec<f64> = lengths.groups.iter().map(|group| group.estimate.value).collect();
    let mean = values.iter().sum::<f64>() / 3.0;
    let deviation = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 3.0).sqrt();
    assert!((found.metrics["like.heterogeneity"] - 100.0 * deviation).abs() < 1e-9);
    assert!((found.metrics["like.head_tail_gap"] - 100.0 * (values[2] - values[0])).abs() < 1e-9);
    // Users have at most as many different items in training as events there, and the head has more than the tail.
    assert!(lengths.groups[0].name.starts_with('4') || lengths.groups[0].name.starts_with('5'), "{:?}", lengths.groups);
}

/// The scores of some items in the context of a sample.
fn scores_of(fixture: &Fixture, model: &Model, sample: u64, items: &[u32]) -> Vec<f32> {
    let split = fixture.dataset.split("test").unwrap();
    let mut prepared = Prepared::default();
    split.read_candidates(&[sample], &[0, items.len() as u32], items, &mut prepared.batch).unwrap();
    let mut scores = Vec::new();
    Predictor::new(model, 1).score(&mut prepared, &Threads::new(1).unwrap(), &mut scores).unwrap();
    scores.iter().step_by(2).copied().collect()
}

/// Positives of the test split: user, item, sample.
fn positives(fixture: &Fixture) -> Vec<(u64, u32, u64)> {
    let split = fixture.dataset.split("test").unwrap();
    let mut batch = kitestring_core::Batch::default();
    split.read(&(0..split.rows()).collect::<Vec<_>>(), Seed(0), &mut batch).unwrap();
    let rows = (0..batch.rows).filter(|row| batch.labels[row * 2] > 0.5);
    let mut found: Vec<(u64, u32, u64)> =
        rows.map(|row| (batch.user[row], batch.item[row] as u32, batch.index[row])).collect();
    found.sort_by_key(|(user, _, sample)| (*user, *sample));
    found
}

#[test]
fn given_candidates_are_ranked_with_their_positive() {
    let fixture = Fixture::new();
    let model = fixture.trained();
    let given = fixture.dataset.split("test").unwrap().candidates().unwrap();
    let (mut hits, mut gains) = (0.0, 0.0);
    let positives = positives(&fixture);
    for (user, item, sample) in &positives {
        let mut items = vec![*item];
        items.extend(given.of(*user, (*item).into()).unwrap());
        assert_eq!(items.len(), 10);
        let scores = scores_of(&fixture, &model, *sample, &items);
        let above = scores[1..].iter().filter(|score| **score > scores[0]).count();
        let tied = scores[1..].iter().filter(|score| **score == scores[0]).count();
        assert_eq!(tied, 0, "a tie would need the mean over orders here");
        hits += f64::from(u8::from(above < 5));
        gains += if above < 5 { 1.0 / (above as f64 + 2.0).log2() } else { 0.0 };
    }
    let found = all(&fixture, &model, &fixture.config.evaluate, 1);
    assert_eq!(found.rankings[0].lists, positives.len() as u64);
    assert_eq!(found.rankings[0].candidates, "9 given ones and the positive");
    assert!(!found.metrics.contains_key("recall@5"), "with a single relevant item it is the hit rate");
    assert!((found.metrics["hr@5"] - hits / positives.len() as f64).abs() < 1e-9);
    assert!((found.metrics["ndcg@5"] - gains / positives.len() as f64).abs() < 1e-9);
    assert!(found.intervals["ndcg@5"].lower <= found.metrics["ndcg@5"]);
}

#[test]
fn a_full_ranking_leaves_out_what_the_user_had_before() {
    let fixture = Fixture::new();
    let model = fixture.trained();
    let dataset = &fixture.dataset;
    // Batches smaller than a list, so that lists are cut.
    let config = EvaluateConfig { batch_size: 11, cutoffs: vec![3], ..fixture.config.evaluate.clone() };
    let mut tops = Vec::new();
    let mut each = |top: TopList<'_>| tops.push((top.user, top.sample, top.items.to_vec()));
    let workers = Threads::new(1).unwrap();
    let ranked = rank_all(&model, dataset, "test", &config, Seed(9), &workers, &mut each).unwrap();

    let positives = positives(&fixture);
    let users: BTreeSet<u64> = positives.iter().map(|positive| positive.0).collect();
    assert_eq!((ranked.mean.queries(), tops.len()), (users.len() as u64, users.len()));
    let (mut recall, mut candidates) = (0.0, 0);
    for (user, (of, sample, top)) in users.iter().zip(&tops) {
        let own: Vec<_> = positives.iter().filter(|positive| positive.0 == *user).collect();
        assert_eq!((*of, *sample), (*user, own[0].2), "the first positive gives the context");
        let relevant: BTreeSet<u32> = own.iter().map(|positive| positive.1).collect();
        let had = |item: &u32| {
            ["train", "valid"].iter().any(|split| dataset.user_items(*user, split).unwrap().contains(item))
        };
        let items: Vec<u32> = dataset
            .items()
            .unwrap()
            .seen()
            .iter()
            .copied()
            .filter(|item| relevant.contains(item) || !had(item))
            .collect();
        candidates += items.len() as u64;
        let scores = scores_of(&fixture, &model, *sample, &items);
        let mut order: Vec<usize> = (0..items.len()).collect();
        order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
        let best: Vec<u32> = order[..3].iter().map(|place| items[*place]).collect();
        assert_eq!(best, top.iter().map(|(item, _)| *item).collect::<Vec<_>>(), "user {user}");
        recall += best.iter().filter(|item| relevant.contains(item)).count() as f64 / relevant.len() as f64;
    }
    assert_eq!(ranked.candidates, candidates);
    let mean = ranked.mean.mean().unwrap();
    assert!((mean[0].recall - recall / users.len() as f64).abs() < 1e-9);

    let few = EvaluateConfig { ranking_queries: 5, ..config };
    let ranked = rank_all(&model, dataset, "test", &few, Seed(9), &workers, &mut |_| {}).unwrap();
    assert_eq!(ranked.mean.queries(), 5);
}

/// Whoever finds the best items in another way has the same metrics from the same best items.
#[test]
fn tops_found_elsewhere_are_judged_as_lists_are() {
    let fixture = Fixture::new();
    let model = fixture.trained();
    let dataset = &fixture.dataset;
    let config = EvaluateConfig {
        ranking: Ranking::Full,
        ranking_queries: 12,
        cutoffs: vec![1, 3],
        ..fixture.config.evaluate.clone()
    };
    let mut tops = Vec::new();
    let mut each = |top: TopList<'_>| tops.push((top.user, top.sample, top.candidates, top.items.to_vec()));
    let workers = Threads::new(1).unwrap();
    let ranked = rank_all(&model, dataset, "test", &config, Seed(9), &workers, &mut each).unwrap();

    let task = ranked_task(dataset.schema()).unwrap();
    let queries = full_ranking_queries(dataset.split("test").unwrap(), task, &config, Seed(9)).unwrap();
    let mut tally = Tally::new(&config.cutoffs);
    for (query, (user, sample, candidates, top)) in queries.iter().zip(&tops) {
        assert_eq!((query.user, query.sample), (*user, *sample));
        let hits: Vec<bool> = top.iter().map(|(item, _)| query.relevant.binary_search(item).is_ok()).collect();
        let shallow = metrics::Placement::from_top(&hits[..1], query.relevant.len() + 1, *candidates).unwrap();
        assert_eq!(tally.add(query.user, &shallow), None, "a cutoff lies below what is known");
        let placement = metrics::Placement::from_top(&hits, query.relevant.len(), *candidates).unwrap();
        tally.add(query.user, &placement).unwrap();
    }
    let judged = tally.finish(ranked.protocol.clone(), ranked.candidates, 1.0);
    assert_eq!((queries.len(), judged.mean.queries()), (12, 12));
    let values = judged.metrics(&config, Seed(9));
    assert_eq!(values, ranked.metrics(&config, Seed(9)));
    let evaluation = all(&fixture, &model, &config, 1);
    assert_eq!(values.iter().filter(|metric| metric.key.starts_with("recall@")).count(), 2);
    for metric in &values {
        assert_eq!(metric.value, evaluation.metrics[&metric.key], "{}", metric.key);
        assert_eq!(metric.interval().as_ref(), evaluation.intervals.get(&metric.key), "{}", metric.key);
    }
    // Twelve users are too few for intervals.
    assert!(values.iter().any(|metric| metric.value > 0.0) && values.iter().all(|metric| metric.interval().is_none()));
    for (split, earlier) in [("train", vec![]), ("valid", vec!["train"]), ("test", vec!["train", "valid"])] {
        assert_eq!(earlier_splits(dataset, split), earlier);
    }
}

#[test]
fn what_cannot_be_measured_says_why() {
    let task = |name: &str, labels: Vec<f32>| ScoredTask {
        name: name.into(),
        kind: TaskKind::Binary,
        scores: vec![0.2, 0.4, 0.6, 0.8],
        labels,
    };
    let scored = Scored {
        split: "test".into(),
        tasks: vec![
            task("click", vec![0.0, f32::NAN, 1.0, 1.0]),
            task("buy", vec![0.0, 0.0, 0.0, f32::NAN]),
            task("none", vec![f32::NAN; 4]),
        ],
        users: vec![1, 1, 1, 2],
        history: vec![3; 4],
        ..Scored::default()
    };
    let fixture = Fixture::new();
    let mut found = Evaluation::default();
    let vocabularies = fixture.dataset.vocabularies().unwrap();
    judge::judge(&scored, &vocabularies, &fixture.config.evaluate, Seed(0), &mut found).unwrap();
    assert_eq!(found.metrics["click.auc"], 1.0, "missing labels are left out");
    assert_eq!(found.metrics["auc"], 1.0, "the mean is over tasks that have one");
    assert!((found.metrics["buy.log_loss"] - metrics::log_loss(&[0.2, 0.4, 0.6], &[0.0; 3]).unwrap()).abs() < 1e-12);
    assert_eq!(found.absent["buy.auc"], "every label is negative");
    assert_eq!(found.absent["none.auc"], "no sample has a label");
    assert!(found.absent.contains_key("none.log_loss") && found.absent.contains_key("buy.gauc"));
    assert!(found.metrics.values().all(|value| value.is_finite()));
}

#[test]
fn rankings_that_the_data_cannot_give_are_refused() {
    let fixture = Fixture::new();
    let model = fixture.trained();
    let workers = Threads::new(1).unwrap();
    let config = EvaluateConfig { ranking: Ranking::Candidates, ..fixture.config.evaluate.clone() };
    let found = evaluate(&model, &fixture.dataset, "valid", &config, Seed(0), &workers, &mut |_| {}).unwrap();
    assert!(found.rankings.is_empty() && found.absent["ranking"].contains("no candidates"));
    let error =
        rank_candidates(&model, &fixture.dataset, "valid", &config, Seed(0), &workers, &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("no candidates are given for split `valid`"), "{error}");
    let error = evaluate(&model, &fixture.dataset, "tset", &config, Seed(0), &workers, &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("no split `tset`"), "{error}");
    let mut other = Fixture::new();
    other.config.schema.tasks.pop();
    std::fs::remove_dir_all(other.folder.path().join("set")).unwrap();
    let other = crate::fixture::prepared(&other.config, other.folder.path());
    let error = quick(&model, &other, "valid", &config, Seed(0), &workers).unwrap_err();
    assert!(error.to_string().contains("another schema"), "{error}");
}

#[test]
fn a_prediction_that_is_not_finite_names_its_row() {
    let fixture = Fixture::new();
    let mut model = fixture.trained();
    model.network.weights.iter_mut().for_each(|weight| *weight = f32::NAN);
    let workers = Threads::new(1).unwrap();
    let config = &fixture.config.evaluate;
    let error = quick(&model, &fixture.dataset, "valid", config, Seed(0), &workers).unwrap_err();
    assert!(error.place().line.is_some() && error.to_string().contains("events.csv"), "{error}");
}

/// A feature that serving does not know is judged by the value that stands for it, wherever samples or candidates are scored.
#[test]
fn what_serving_does_not_know_has_one_value() {
    let fixture = Fixture::new();
    let model = fixture.trained();
    let mut config = fixture.config.evaluate.clone();
    let vocabularies = fixture.dataset.vocabularies().unwrap();
    let user = vocabularies.value("user", 2).unwrap().to_owned();
    config.serve_as = BTreeMap::from([("user".to_owned(), user.clone())]);
    let found = all(&fixture, &model, &config, 1);
    let split = fixture.dataset.split("test").unwrap();
    let workers = Threads::new(1).unwrap();
    let (mut prepared, mut predictor, mut scores) = (Prepared::default(), Predictor::new(&model, 1), vec![]);
    for sample in 0..split.rows() {
        split.read(&[sample], Seed(0), &mut prepared.batch).unwrap();
        prepared.batch.sparse[0].ids = vec![vocabularies.id("user", &user)];
        predictor.score(&mut prepared, &workers, &mut scores).unwrap();
        assert_eq!(found.scored.tasks[0].scores[sample as usize], scores[0]);
    }
    assert_ne!(all(&fixture, &model, &fixture.config.evaluate, 1).rankings, found.rankings);
    config.serve_as = BTreeMap::from([("user".to_owned(), "nobody".to_owned())]);
    let error = evaluate(&model, &fixture.dataset, "test", &config, Seed(9), &workers, &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("training has no `nobody` of `user`"), "{error}");
    let mut whole = fixture.config.clone();
    whole.evaluate.serve_as = BTreeMap::from([("usr".to_owned(), user)]);
    assert!(whole.check().unwrap_err().to_string().contains("did you mean `user`?"));
}
