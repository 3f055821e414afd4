//! What an evaluation must not give away, and what it must not count twice.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::config::RunConfig;
use crate::fit::fit;
use crate::fixture::{Fixture, prepared};
use crate::workers::Threads;
use std::fmt::Write;

/// Users who take items at random: nothing can be learned of what they take next.
const NOISE: &str = r#"
seed = 0
[data]
split = { by = "leave_last", test = 3 }
negatives = { per_positive = 4, splits = ["train", "test"] }
[[data.layouts]]
name = "events"
samples = { path = "events.csv" }
[schema]
user = "user"
item = "item"
time = "time"
features = [
    { name = "user", kind = "categorical", of = "user" },
    { name = "item", kind = "categorical", of = "item" },
]
tasks = [{ name = "label", kind = "binary" }]
[model]
dimension = 16
encoder = { type = "pool" }
body = { type = "mlp", units = [64, 32] }
[train]
batch_size = 128
epochs = 20
learning_rate = 0.02
workers = 1
row_init = { normal = { std = 0.1 } }
[evaluate]
ranking = "full"
cutoffs = [5]
bootstrap = 0
"#;

/// Were the items of the test never drawn as negatives in training, training would tell them from the others. Chance is 5 of the 28
/// items that a user does not have in training, and an even order.
#[test]
fn drawn_negatives_do_not_tell_the_test() {
    let folder = tempfile::tempdir().unwrap();
    let mut events = "user,item,time,label\n".to_owned();
    for user in 0..120_u64 {
        let order = kitestring_data::dataset::Permutation::new(50, Seed(user));
        (0..25).for_each(|time| writeln!(events, "u{user},i{},{time},1", order.at(time)).unwrap());
    }
    std::fs::write(folder.path().join("events.csv"), events).unwrap();
    let config = RunConfig::parse(NOISE, "noise.toml", &[]).unwrap();
    let dataset = prepared(&config, folder.path());
    let run = tempfile::tempdir().unwrap();
    let model = fit(&config, &dataset, run.path(), false, &mut |_| {}).unwrap().model;
    let workers = Threads::new(1).unwrap();
    let found = evaluate(&model, &dataset, "test", &config.evaluate, Seed(0), &workers, &mut |_| {}).unwrap();
    // Three standard errors of 360 draws each.
    let (recall, auc) = (found.metrics["recall@5"], found.metrics["label.auc"]);
    assert!((recall - 5.0 / 28.0).abs() < 0.06, "{recall}");
    assert!((auc - 0.5).abs() < 0.05, "{auc}");
}

/// A positive in its own list, and a candidate that is there twice, change nothing.
#[test]
fn an_item_counts_once_in_a_list() {
    let judged = |fixture: &Fixture, model: &Model| {
        let workers = Threads::new(1).unwrap();
        evaluate(model, &fixture.dataset, "test", &fixture.config.evaluate, Seed(9), &workers, &mut |_| {}).unwrap()
    };
    let plain = Fixture::new();
    let model = plain.trained();
    let expected = judged(&plain, &model);
    let repeated = Fixture::with_candidates(|own, others| format!("{own} {0} {own} {0} {own}", others.join(" ")));
    let found = judged(&repeated, &model);
    assert!(found.metrics.contains_key("ndcg@5"));
    assert_eq!((found.metrics, found.rankings), (expected.metrics, expected.rankings));
    let alone = Fixture::with_candidates(
        |own, others| if own.ends_with(['2', '4']) { own.to_owned() } else { others.join(" ") },
    );
    let found = judged(&alone, &model);
    assert!(found.rankings[0].lists < plain_lists(&plain, &model), "a list of the positive alone is no ranking");
    assert!(found.notes[0].contains("have no candidates and are not ranked"), "{:?}", found.notes);
}

fn plain_lists(fixture: &Fixture, model: &Model) -> u64 {
    let workers = Threads::new(1).unwrap();
    let config = &fixture.config.evaluate;
    let ranked = rank_candidates(model, &fixture.dataset, "test", config, Seed(9), &workers, &mut |_| {}).unwrap();
    ranked.mean.queries()
}

/// Candidates that are no item are ranked as the unknown one, and said so.
#[test]
fn unknown_candidates_are_counted() {
    let fixture = Fixture::with_candidates(|_, others| format!("{} nobody nothing", others.join(" ")));
    let model = fixture.trained();
    let workers = Threads::new(1).unwrap();
    let found =
        evaluate(&model, &fixture.dataset, "test", &fixture.config.evaluate, Seed(9), &workers, &mut |_| {}).unwrap();
    assert_eq!(found.rankings[0].candidates, "11 given ones and the positive");
    let lists = found.rankings[0].lists;
    let note = format!("{} of {} candidates of test are no item of the data", 2 * lists, 11 * lists);
    assert!(found.notes[0].starts_with(&note), "{:?}", found.notes);
}
