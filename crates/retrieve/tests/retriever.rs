//! From a data set to a retriever with an index: what it learns, what it goes on from, what it refuses.
#![allow(clippy::unwrap_used)]

use kitestring_core::{Batch, Result, Seed};
use kitestring_data::dataset::{Dataset, ItemTable, Split};
use kitestring_data::layout;
use kitestring_data::prepare::{Change, change_items, prepare_folder};
use kitestring_data::reader::BadRows;
use kitestring_nn::engine::OneWorker;
use kitestring_retrieve::als::{self, Interactions, Solver};
use kitestring_retrieve::corpus::{Corpus, PairBatch};
use kitestring_retrieve::encode::Encoder;
use kitestring_retrieve::index::{Filter, Found, Required};
use kitestring_retrieve::learner::Learner;
use kitestring_retrieve::objective::config::{Estimator, Objective, Prior};
use kitestring_retrieve::recall::{Retrieval, had};
use kitestring_retrieve::{RetrieveConfig, RetrieverModel, evaluate, fit};
use kitestring_table::Route;
use kitestring_train::RunConfig;
use kitestring_train::evaluate::full_ranking_queries;
use kitestring_train::watch::Event;
use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::Path;
use tempfile::TempDir;

const CONFIG: &str = r#"
[data]
split = { by = "user_fraction", valid = 0.15, test = 0.15 }
[[data.layouts]]
name = "visits"
samples = { path = "visits.csv" }

[schema]
user = "user"
item = "place"
time = "time"
features = [
    { name = "user", kind = "categorical", of = "user" },
    { name = "hour", kind = "numeric", of = "context" },
    { name = "before", kind = "sequence", of = "user", table = "place", length = 8, history = { of = "place", when = "visit" } },
    { name = "place", kind = "categorical", of = "item" },
    { name = "kind", kind = "categorical", of = "item" },
]
tasks = [{ name = "visit" }]

[evaluate]
bootstrap = 20

[retrieve]
cutoffs = [5, 20]
objective = { type = "softmax", temperature = 0.2 }
[retrieve.model]
dimension = 8
vector = 8
unit_length = true
query = { layers = { units = [16] } }
item = { layers = { units = [16] } }
[retrieve.train]
batch_size = 64
epochs = 4
learning_rate = 1e-2
workers = 2
row_init = { normal = { std = 0.1 } }
"#;

/// Users of eight kinds who mostly visit places of their kind; some rows were seen and not visited. Sixteen places are never visited in
/// training, but are there.
struct World {
    folder: TempDir,
    config: RunConfig,
    dataset: Dataset,
}

impl World {
    /// What an index is built of.
    fn sources(&self) -> (&ItemTable, &Split) {
        (self.dataset.items().unwrap(), self.dataset.split("train").unwrap())
    }

    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut rows = String::from("user,place,kind,hour,time,visit\n");
        let seed = Seed(11);
        for user in 0..160_u64 {
            for event in 0..20_u64 {
                let draw = seed.at(user * 100 + event);
                let kind = if draw.unit_at(0) < 0.85 { user % 8 } else { draw.bits_at(1) % 8 };
                let place = kind + 8 * (draw.bits_at(2) % 12);
                let visit = u8::from(event % 4 != 3);
                let place = if visit == 1 { place } else { 8 * 12 + draw.bits_at(3) % 16 };
                writeln!(rows, "u{user},p{place},k{},{},{event},{visit}", place % 8, event % 5).unwrap();
            }
        }
        std::fs::write(folder.path().join("visits.csv"), rows).unwrap();
        let config = RunConfig::parse(text, "test.toml", &[]).unwrap();
        let opened = layout::open(&config.data, folder.path()).unwrap();
        let out = folder.path().join("dataset");
        prepare_folder(&opened, &config.data, &config.schema, (Seed(1), None), &out, &mut |_| {}).unwrap();
        Self { dataset: Dataset::open(&out).unwrap(), config, folder }
    }

    fn section(&self, overrides: &[&str]) -> RetrieveConfig {
        let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
        RetrieveConfig::of(&RetrieveConfig::overridden(self.config.clone(), &overrides).unwrap()).unwrap().unwrap()
    }

    fn fit(&self, section: &RetrieveConfig, name: &str, resume: bool) -> Result<fit::Fitted> {
        fit::fit((&self.config, section), &self.dataset, &self.path(name), resume, &mut |_| {})
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// `recall@20` of a model on `test`.
    fn recall(&self, model: &RetrieverModel, section: &RetrieveConfig) -> f64 {
        let how = (section, &self.config.evaluate);
        let ranked = evaluate::rank(model, &self.dataset, "test", how, Seed(1), &OneWorker).unwrap();
        let metrics = ranked.metrics(&self.config.evaluate, Seed(1));
        metrics.iter().find(|metric| metric.key == "recall@20").unwrap().value
    }

    fn vectors(&self, model: &RetrieverModel) -> (Vec<f32>, Vec<f32>) {
        let mut encoder = Encoder::new(model, 1);
        let queries = encoder.queries(self.dataset.split("test").unwrap(), &[0, 5, 9], &OneWorker).unwrap();
        let table = self.dataset.items().unwrap();
        (queries, encoder.items(table, table.seen(), &OneWorker).unwrap())
    }
}

/// What is held against no pair of a user is exactly what the user visited in training: not what was seen and not visited, and not what is
/// visited in a later split alone, which training must not know of.
#[test]
fn what_a_user_has_in_training_is_no_negative_and_nothing_else_is() {
    let world = World::new(CONFIG);
    let section = world.section(&["retrieve.objective.drawn=200", "retrieve.objective.power=0.0"]);
    let corpus = Corpus::new(&world.dataset, &section).unwrap();
    let visited = |split: &str| {
        let mut visited = HashSet::new();
        world.dataset.split(split).unwrap().each_block(|batch| {
            let rows = (0..batch.rows).filter(|row| batch.labels[*row] > 0.5);
            visited.extend(rows.map(|row| (batch.user[row], batch.item[row])));
            Ok(())
        })?;
        Ok::<_, kitestring_core::Error>(visited)
    };
    let (train, test) = (visited("train").unwrap(), visited("test").unwrap());
    let mut batch = PairBatch::default();
    let mut later = 0;
    for part in 0..4 {
        let numbers: Vec<u64> = (0..150).map(|at| at * 4 + part).collect();
        corpus.read(&numbers, Some(Seed(part)), &mut batch).unwrap();
        let pairs = batch.pairs(1, &[], &[]);
        for (pair, user) in batch.query.user.iter().enumerate() {
            let known = pairs.positives.of_pair(pair);
            for (row, item) in batch.items.iter().enumerate() {
                let key = (*user, u64::from(*item));
                assert_eq!(known.contains(&(row as u32)), train.contains(&key), "{key:?}");
                later += usize::from(test.contains(&key) && !train.contains(&key));
            }
        }
    }
    assert!(later > 0, "some of them are visited later");
    // A loss without others needs no list.
    let gramian = world.section(&["retrieve.objective.type=gramian"]);
    Corpus::new(&world.dataset, &gramian).unwrap().read(&[0, 1], Some(Seed(1)), &mut batch).unwrap();
    assert_eq!(batch.pairs(1, &[], &[]).positives.of_pair(0), [0; 0]);
}

/// Every objective finds far more than chance (20 of 112 places, of which 12 are of a user's kind), from towers with histories, numbers and
/// layers; and what it learned is read back the same to the bit.
#[test]
fn every_objective_learns() {
    let world = World::new(CONFIG);
    for (name, overrides) in [
        ("softmax", vec![]),
        ("drawn", vec!["retrieve.objective.in_batch=false", "retrieve.objective.drawn=48"]),
        (
            "contrast",
            vec![
                "retrieve.objective={ type = \"contrastive\", drawn = 48, margin = 0.3, negative_weight = 10.0 }",
                "retrieve.train.epochs=20",
            ],
        ),
        ("gru", vec!["retrieve.model.query.encoder.type=gru", "retrieve.unknown_items=0.2"]),
        (
            "sogram",
            vec![
                "retrieve.objective.type=gramian",
                "retrieve.objective.lambda=3",
                "retrieve.objective.estimator={ type = \"sogram\", alpha = 0.05, alpha_start = 0.5, half_life = 50 }",
            ],
        ),
        (
            "sagram",
            vec![
                "retrieve.objective.type=gramian",
                "retrieve.objective.lambda=3",
                "retrieve.objective.estimator.type=sagram",
                "retrieve.objective.estimator.variant=saga",
            ],
        ),
        (
            "exact",
            vec![
                "retrieve.objective.type=gramian",
                "retrieve.objective.estimator.type=exact",
                "retrieve.objective.item_power=0.5",
                "retrieve.objective.query_power=0",
                "retrieve.objective.prior={ type = \"popularity\", value = 0.1 }",
            ],
        ),
    ] {
        let mut overrides = overrides;
        if name.ends_with("gram") || name == "exact" {
            overrides.extend(["retrieve.model.unit_length=false", "retrieve.train.epochs=20"]);
        }
        let section = world.section(&overrides);
        let fitted = world.fit(&section, name, false).unwrap();
        let recall = world.recall(&fitted.model, &section);
        assert!(recall > 0.6, "{name}: {recall}");
        let read = RetrieverModel::read(&world.path(name).join(fit::MODEL)).unwrap();
        assert_eq!(world.vectors(&read), world.vectors(&fitted.model), "{name}");
        assert_eq!(read.version, fitted.model.version);
        assert_eq!(Some(fitted.history.epochs.len() as u32), section.train.epochs);
        assert!(fitted.history.epochs[0].metrics.contains_key("recall@20"));
    }
}

/// A run that stops and goes on, within an epoch or between two, is the run that never stopped, to the bit.
#[test]
fn a_run_goes_on_where_it_was() {
    let world = World::new(CONFIG);
    for estimator in ["sogram", "sagram"] {
        let estimator = format!("retrieve.objective.estimator.type={estimator}");
        let objective = ["retrieve.objective.type=gramian", &estimator, "retrieve.train.checkpoint_steps=7"];
        let section = world.section(&objective);
        let whole = world.fit(&section, "whole", false).unwrap();
        for stop in [2, 7, 24, 41] {
            // The observer panics at a step, as a kill would come.
            let mut steps = 0;
            let place = world.path("stopped");
            let _ = std::fs::remove_dir_all(&place);
            let killed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                fit::fit((&world.config, &section), &world.dataset, &place, false, &mut |event| {
                    if let Event::Step { .. } = event {
                        steps += 1;
                        assert!(steps < stop, "killed");
                    }
                })
            }));
            assert!(killed.is_err());
            let again = world.fit(&section, "stopped", true).unwrap();
            assert_eq!(world.vectors(&again.model), world.vectors(&whole.model), "{estimator} {stop}");
            assert_eq!(again.model.version, whole.model.version);
        }
        let other = world.section(&["retrieve.objective.type=gramian", "retrieve.objective.lambda=4"]);
        let error = world.fit(&other, "stopped", true).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{error}");
    }
}

#[test]
fn early_stopping_keeps_the_best() {
    let world = World::new(CONFIG);
    let stopping = "retrieve.train.early_stopping={ metric = \"recall@20\", patience = 1 }";
    let section = world.section(&[stopping, "retrieve.train.epochs=40", "retrieve.train.learning_rate=0.05"]);
    let fitted = world.fit(&section, "stops", false).unwrap();
    let best = fitted.history.best_epoch.unwrap();
    assert!(fitted.history.stopped.is_some() && u64::from(best) < fitted.history.epochs.len() as u64);
    let wrong = ["retrieve.train.early_stopping={ metric = \"auc\", patience = 1 }".to_owned()];
    let wrong = RetrieveConfig::overridden(world.config.clone(), &wrong).unwrap();
    let error = RetrieveConfig::of(&wrong).unwrap_err().to_string();
    assert!(error.contains("retrieve.train.early_stopping.metric") && error.contains("recall@20"), "{error}");
}

/// Towers of an id each are filled by alternating least squares with its factors.
#[test]
fn alternating_least_squares_fills_towers() {
    let features = CONFIG.find("    { name = \"hour\"").unwrap()..CONFIG.find("    { name = \"place\"").unwrap();
    let mut text = CONFIG.to_owned();
    text.replace_range(features, "");
    let text = text.replace("    { name = \"kind\", kind = \"categorical\", of = \"item\" },\n", "");
    let world = World::new(&text);
    let linear = [
        "retrieve.objective.type=als",
        "retrieve.objective.iterations=5",
        "retrieve.model.unit_length=false",
        "retrieve.model.query={ layers = { units = [] }, projection = false }",
        "retrieve.model.item={ layers = { units = [] }, projection = false }",
    ];
    let section = world.section(&linear);
    let fitted = world.fit(&section, "als", false).unwrap();
    assert!(world.recall(&fitted.model, &section) > 0.6);
    let corpus = Corpus::new(&world.dataset, &section).unwrap();
    let mut batch = PairBatch::default();
    let numbers: Vec<u64> = (0..corpus.len()).collect();
    corpus.read(&numbers, None, &mut batch).unwrap();
    let users = world.dataset.table_size("user").unwrap().unwrap() as usize;
    let places = world.dataset.table_size("place").unwrap().unwrap() as usize;
    let pairs = batch.query.sparse[0].ids.iter().zip(&batch.query.sparse[1].ids);
    let pairs: Vec<(u32, u32)> = pairs.map(|(user, place)| (*user as u32, *place as u32)).collect();
    let interactions = Interactions::new(users, places, pairs).unwrap();
    let Objective::Als(config) = &section.objective else { panic!() };
    let seed = Seed(world.config.seed).child("retrieve");
    let factors = als::fit(&interactions, config, 8, seed, &OneWorker, &mut |_| {}).unwrap();
    let table = world.dataset.items().unwrap();
    let item = table.seen()[1];
    let vector = Encoder::new(&fitted.model, 1).items(table, &[item], &OneWorker).unwrap();
    // A table's ids begin with those of missing and of unknown values, items are numbered from the latter.
    let id = item as usize + 1;
    assert!(vector.iter().any(|x| *x != 0.0));
    assert_eq!(vector, &factors.items[id * 8..id * 8 + 8]);
    let world = World::new(CONFIG);
    let section = world.section(&["retrieve.objective.type=als", "retrieve.model.unit_length=false"]);
    let error = world.fit(&section, "als", false).unwrap_err().to_string();
    assert!(error.contains("retrieve.model.query") && error.contains("projection = false"), "{error}");
}

/// The learner's exact moments are those of vectors computed one by one.
#[test]
fn exact_moments_are_those_of_all_pairs() {
    let world = World::new(CONFIG);
    let section = world.section(&["retrieve.objective.type=gramian", "retrieve.model.unit_length=false"]);
    let model = world.fit(&section, "moments", false).unwrap().model;
    let corpus = Corpus::new(&world.dataset, &section).unwrap();
    let learner = Learner::new(&model, (&section.objective, &section.train), &corpus, 1, Seed(1)).unwrap();
    let exact = learner.exact_moments(&model, &corpus, &OneWorker).unwrap();
    let queries = Encoder::new(&model, 1).queries(corpus.split(), corpus.samples(), &OneWorker).unwrap();
    let n = corpus.len() as f64;
    for (i, j) in [(0, 0), (2, 5), (7, 3)] {
        let expected: f64 = queries.chunks(8).map(|u| f64::from(u[i]) * f64::from(u[j])).sum::<f64>() / n;
        assert!((f64::from(exact.queries.values()[i * 8 + j]) - expected).abs() < 1e-4 * (1.0 + expected.abs()));
    }
}

/// A step by plain gradients moves rows and weights by the gradient of the whole objective: all pairs of a training query and a training item,
/// through both towers, into tables that both of them read.
#[test]
fn a_step_is_the_gradient_of_all_pairs() {
    let world = World::new(CONFIG);
    let sgd = "retrieve.train.rows={ rule = { type = \"sgd\" } }";
    let section = world.section(&[
        "retrieve.objective.type=gramian",
        "retrieve.objective.estimator.type=exact",
        "retrieve.objective.lambda=2",
        "retrieve.model.query.layers.activation=tanh",
        "retrieve.model.item.layers.activation=tanh",
        "retrieve.train.optimizer.type=sgd",
        "retrieve.train.row_init={ normal = { std = 0.5 } }",
        sgd,
    ]);
    let size = |table: &str| world.dataset.table_size(table);
    let mut model = RetrieverModel::new(world.dataset.schema(), &section.model, &section.train, size, Seed(3)).unwrap();
    let corpus = Corpus::new(&world.dataset, &section).unwrap();
    let mut batch = PairBatch::default();
    let all: Vec<u64> = (0..corpus.len()).collect();
    corpus.read(&all, None, &mut batch).unwrap();
    let objective = |model: &RetrieverModel| {
        let mut encoder = Encoder::new(model, 1);
        let queries = encoder.queries(corpus.split(), corpus.samples(), &OneWorker).unwrap();
        let numbers: Vec<u32> = batch.query.item.iter().map(|item| *item as u32).collect();
        let items = encoder.items(world.dataset.items().unwrap(), &numbers, &OneWorker).unwrap();
        let product = |u: &[f32], v: &[f32]| u.iter().zip(v).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        let n = numbers.len() as f64;
        let fit: f64 = queries.chunks(8).zip(items.chunks(8)).map(|(u, v)| (product(u, v) - 1.0).powi(2)).sum();
        let gram = |vectors: &[f32]| -> Vec<f64> {
            let of = |i: usize, j: usize| vectors.chunks(8).map(|x| f64::from(x[i]) * f64::from(x[j])).sum::<f64>() / n;
            (0..64).map(|at| of(at / 8, at % 8)).collect()
        };
        let gravity: f64 = gram(&queries).iter().zip(gram(&items)).map(|(a, b)| a * b).sum();
        fit / n + 2.0 * gravity
    };
    let row = |model: &RetrieverModel, table: usize, id: u64| {
        let (mut route, mut row) = (Route::new(), vec![0.0; 8]);
        model.tables[table].route(&[id], &mut route).unwrap();
        model.tables[table].gather(&mut route, &mut row).unwrap();
        row
    };
    let assign = |model: &RetrieverModel, table: usize, id: u64, row: &[f32]| {
        let mut route = Route::new();
        model.tables[table].route(&[id], &mut route).unwrap();
        model.tables[table].assign(&mut route, row).unwrap();
    };
    // Places are read by both towers: as items, and in histories.
    let places: Vec<(usize, u64)> = vec![(0, 3), (0, 40), (1, 2), (1, 17), (1, 50), (2, 1), (2, 4)];
    let mut expected = Vec::new();
    for (table, id) in &places {
        let before = row(&model, *table, *id);
        for at in [0, 5] {
            let moved = [3e-2_f32, -3e-2].map(|step| {
                let mut row = before.clone();
                row[at] += step;
                assign(&model, *table, *id, &row);
                objective(&model)
            });
            expected.push((moved[0] - moved[1]) / 6e-2);
        }
        assign(&model, *table, *id, &before);
    }
    let weights = [7, 60];
    let from_weights: Vec<f64> = weights
        .iter()
        .map(|at| {
            let before = model.item.network.weights[*at];
            let moved = [1e-2_f32, -1e-2].map(|step| {
                model.item.network.weights[*at] = before + step;
                objective(&model)
            });
            model.item.network.weights[*at] = before;
            (moved[0] - moved[1]) / 2e-2
        })
        .collect();
    let before: Vec<Vec<f32>> = places.iter().map(|(table, id)| row(&model, *table, *id)).collect();
    let weights_before = model.item.network.weights.clone();
    let mut learner = Learner::new(&model, (&section.objective, &section.train), &corpus, 1, Seed(1)).unwrap();
    learner.refresh(&model, &corpus, &OneWorker).unwrap();
    let losses = learner.step(&mut model, &batch, 1.0, &OneWorker).unwrap();
    assert!(losses.iter().all(|loss| loss.is_finite()));
    let found = places.iter().zip(&before).flat_map(|((table, id), before)| {
        let after = row(&model, *table, *id);
        [0, 5].map(|at| f64::from(before[at] - after[at]))
    });
    let found: Vec<f64> = found.collect();
    let from_weights_found = weights.map(|at| f64::from(weights_before[at] - model.item.network.weights[at]));
    let largest = expected.iter().chain(&from_weights).fold(0.0_f64, |most, x| most.max(x.abs()));
    for (found, expected) in found.iter().chain(&from_weights_found).zip(expected.iter().chain(&from_weights)) {
        assert!((found - expected).abs() < 0.01 * largest, "{found} {expected}, largest {largest}");
    }
    assert!(found.iter().filter(|gradient| gradient.abs() > 0.02 * largest).count() > 6, "{found:?}");
}

/// A full ranking by the index is that by all inner products.
#[test]
fn a_ranking_is_that_of_all_products() {
    let world = World::new(CONFIG);
    let section = world.section(&[]);
    let model = world.fit(&section, "ranks", false).unwrap().model;
    let (dataset, split) = (&world.dataset, world.dataset.split("test").unwrap());
    let (ids, vectors) = evaluate::corpus(&model, dataset, &OneWorker).unwrap();
    let queries = full_ranking_queries(split, 0, &world.config.evaluate, Seed(1)).unwrap();
    let mut encoder = Encoder::new(&model, 1);
    let mut recalls = Vec::new();
    for query in &queries {
        let vector = encoder.queries(split, &[query.sample], &OneWorker).unwrap();
        let had = had(dataset, query.user, &["train", "valid"]).unwrap();
        let relevant = |item: u64| query.relevant.contains(&(item as u32));
        let score = |at: usize| vectors[8 * at..8 * at + 8].iter().zip(&vector).map(|(a, b)| a * b).sum::<f32>();
        let mut left: Vec<(f32, u64)> = (0..ids.len())
            .filter(|at| relevant(ids[*at]) || had.binary_search(&ids[*at]).is_err())
            .map(|at| (score(at), ids[at]))
            .collect();
        left.sort_by(|a, b| b.0.total_cmp(&a.0));
        let hits = left.iter().take(20).filter(|(_, item)| relevant(*item)).count();
        recalls.push(hits as f64 / query.relevant.len() as f64);
    }
    let expected = recalls.iter().sum::<f64>() / recalls.len() as f64;
    assert!((world.recall(&model, &section) - expected).abs() < 1e-9, "{expected}");
}

/// Candidates leave out what they are to leave out, keep to a kind, and say when there are no more; an index of another model is refused.
#[test]
fn candidates_and_their_filters() {
    let world = World::new(CONFIG);
    let section = world.section(&[]);
    let place = world.path("found");
    let fitted = world.fit(&section, "found", false).unwrap();
    let version = fitted.model.version.clone();
    let (retrieval, recall, _) = Retrieval::build(fitted.model, &section, world.sources(), &OneWorker).unwrap();
    assert_eq!((retrieval.index.version(), recall), (version.as_str(), None));
    retrieval.save_index(&place).unwrap();
    let read = Retrieval::open(&place).unwrap();
    let split = world.dataset.split("test").unwrap();
    let samples = [0, 4, 11];
    let ask = |retrieval: &Retrieval, k: usize, filters: &[Filter<'_>]| {
        retrieval.candidates(split, &samples, k, filters, &OneWorker).unwrap()
    };
    let found = ask(&retrieval, 10, &[]);
    assert_eq!(ask(&read, 10, &[]), found);
    assert!(found.iter().all(|found| found.len() == 10 && found.is_sorted_by(|a, b| a.score >= b.score)));
    let all = world.dataset.items().unwrap().seen().len();
    assert!(ask(&retrieval, 10_000, &[]).iter().all(|found| found.len() == all), "more than there are");

    let vocabularies = world.dataset.vocabularies().unwrap();
    let code = vocabularies.id("kind", "k3") as u32;
    let excluded = had(&world.dataset, 1, &["train", "valid", "test"]).unwrap();
    assert!(!excluded.is_empty());
    let required = [Required { attribute: "kind", codes: &[code] }];
    let filters = [Filter { excluded: &excluded, required: &required }; 3];
    for found in ask(&retrieval, 100, &filters) {
        let names: Vec<&str> = found.iter().map(|found| vocabularies.item(found.item)).collect();
        let kind = |name: &str| name[1..].parse::<u64>().unwrap() % 8 == 3;
        assert!(!found.is_empty() && names.iter().all(|name| kind(name)), "{names:?}");
        assert!(found.iter().all(|found| excluded.binary_search(&found.item).is_err()));
    }

    let other = world.section(&["retrieve.train.learning_rate=0.02"]);
    world.fit(&other, "found", false).unwrap();
    let error = Retrieval::open(&place).unwrap_err();
    assert!(error.to_string().contains("retrieve index"), "{error}");
}

/// A place that nobody has visited in training lies near the places of its kind, by its features alone.
#[test]
fn an_item_never_seen_has_a_vector() {
    let world = World::new(CONFIG);
    let section = world.section(&["retrieve.unknown_items=0.3", "retrieve.train.epochs=8"]);
    let model = world.fit(&section, "cold", false).unwrap().model;
    let vocabularies = world.dataset.vocabularies().unwrap();
    let table = world.dataset.items().unwrap();
    let vectors = Encoder::new(&model, 1).items(table, table.seen(), &OneWorker).unwrap();
    let named = |item: &u32| vocabularies.item(u64::from(*item))[1..].parse::<u64>().unwrap();
    // Kinds by their visited places.
    let mut centres = vec![[0.0_f32; 8]; 8];
    let of = |at: usize| &vectors[8 * at..8 * at + 8];
    for (at, item) in table.seen().iter().enumerate().filter(|(_, item)| named(item) < 96) {
        let centre = &mut centres[(named(item) % 8) as usize];
        centre.iter_mut().zip(of(at)).for_each(|(sum, x)| *sum += x);
    }
    let (mut near, mut cold) = (0, 0);
    for (at, item) in table.seen().iter().enumerate().filter(|(_, item)| named(item) >= 96) {
        let score = |centre: &[f32; 8]| centre.iter().zip(of(at)).map(|(a, b)| a * b).sum::<f32>();
        let best = (0..8).max_by(|a, b| score(&centres[*a]).total_cmp(&score(&centres[*b]))).unwrap();
        near += u32::from(best as u64 == named(item) % 8);
        cold += 1;
    }
    assert_eq!(cold, 16);
    assert!(near >= 14, "{near} of {cold}");
}

/// Items that came after training are added and updated by their features; a vector that is not finite, or an item given twice, changes
/// nothing.
#[test]
fn items_that_come_later_are_found() {
    let world = World::new(CONFIG);
    let section = world.section(&["retrieve.unknown_items=0.3", "retrieve.train.epochs=8"]);
    let fitted = world.fit(&section, "later", false).unwrap();
    let (mut retrieval, _, _) = Retrieval::build(fitted.model, &section, world.sources(), &OneWorker).unwrap();
    let count = retrieval.index.len();
    let (file, out) = (world.path("new.csv"), world.path("items.arrow"));
    std::fs::write(&file, "place,kind\nfresh,k2\np3,k2\nbare,\n").unwrap();
    let change = Change { add: Some(&file), remove: &[] };
    let known = world.dataset.vocabularies().unwrap();
    let changed = change_items(&known, change, &BadRows::default(), &out).unwrap();
    let known = known.with_items(&out).unwrap();
    let table = known.items().unwrap();
    assert_eq!(retrieval.put(table, &changed.items, &OneWorker).unwrap(), 2);
    assert_eq!((retrieval.index.len(), changed.featureless), (count + 2, 1));
    let split = world.dataset.split("test").unwrap();
    let code = known.id("kind", "k2") as u32;
    let required = [Required { attribute: "kind", codes: &[code] }];
    // The first rows of users 2 and 10, who love the kind.
    let mut batch = Batch::default();
    let all: Vec<u64> = (0..split.rows()).collect();
    split.read(&all, Seed(0), &mut batch).unwrap();
    let lovers = ["u2", "u10", "u18"].map(|user| known.entry(known.manifest().user.unwrap(), user));
    let samples = lovers.map(|user| batch.user.iter().position(|of| *of == u64::from(user)).unwrap() as u64);
    let names = |found: &[Found]| found.iter().map(|found| known.item(found.item).to_owned()).collect::<Vec<_>>();
    for found in retrieval.candidates(split, &samples, 20, &[], &OneWorker).unwrap() {
        assert!(names(&found).iter().any(|name| name == "fresh"), "{:?}", names(&found));
    }
    let filters = [Filter { excluded: &[], required: &required }; 3];
    let found = retrieval.candidates(split, &samples, 1000, &filters, &OneWorker).unwrap();
    assert!(["fresh", "p3"].iter().all(|name| names(&found[0]).iter().any(|found| found == name)));
    assert!(!names(&found[0]).iter().any(|name| name == "bare"), "what has no kind is of none");

    let before = retrieval.candidates(split, &samples, 1000, &[], &OneWorker).unwrap();
    let error = retrieval.put(table, &[changed.items[0], changed.items[0]], &OneWorker).unwrap_err();
    assert!(error.to_string().contains("given twice"), "{error}");
    retrieval.model.item.network.weights[0] = f32::NAN;
    let error = retrieval.put(table, &changed.items, &OneWorker).unwrap_err();
    assert!(error.to_string().contains("is not finite"), "{error}");
    assert_eq!(retrieval.candidates(split, &samples, 1000, &[], &OneWorker).unwrap(), before);
    let error =
        Retrieval::build(retrieval.model, &section, (table, world.sources().1), &OneWorker).unwrap_err().to_string();
    assert!(error.contains("the vector of item number") && error.contains("is not finite"), "{error}");
}

/// A user's first row has no history, and a vector from the rest; a query tower that diverged says which sample.
#[test]
fn a_user_without_history_has_candidates() {
    let world = World::new(CONFIG);
    let section = world.section(&[]);
    let fitted = world.fit(&section, "first", false).unwrap();
    let (mut retrieval, _, _) = Retrieval::build(fitted.model, &section, world.sources(), &OneWorker).unwrap();
    let split = world.dataset.split("train").unwrap();
    let mut batch = Batch::default();
    let all: Vec<u64> = (0..split.rows()).collect();
    split.read(&all, Seed(0), &mut batch).unwrap();
    let history = 1;
    let first = (0..batch.rows).find(|row| batch.sparse[history].of_row(*row).is_empty()).unwrap() as u64;
    let found = retrieval.candidates(split, &[first], 10, &[], &OneWorker).unwrap();
    assert!(found[0].len() == 10 && found[0].iter().all(|found| found.score.is_finite()));
    retrieval.model.query.network.weights.fill(f32::NAN);
    let error = retrieval.candidates(split, &[first], 10, &[], &OneWorker).unwrap_err().to_string();
    assert!(error.contains(&format!("sample {first} of split `train`")) && error.contains("not finite"), "{error}");
}

/// An override reaches the keys of a variant that the config does not name, or that another override chooses.
#[test]
fn overrides_reach_unnamed_keys() {
    let config = RunConfig::parse(CONFIG, "x.toml", &[]).unwrap();
    let set = |overrides: &[&str]| {
        let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
        RetrieveConfig::overridden(config.clone(), &overrides)
            .map(|config| RetrieveConfig::of(&config).unwrap().unwrap())
    };
    let gramian = "retrieve.objective.type=gramian";
    let found = set(&[gramian, "retrieve.objective.estimator.alpha=0.1"]).unwrap().objective;
    let Objective::Gramian(found) = found else { panic!() };
    assert_eq!(found.estimator, Estimator::Sogram { alpha: 0.1, alpha_start: None, half_life: 1000.0 });
    let als = ["retrieve.objective.type=als", "retrieve.objective.solver.steps=7"];
    let Objective::Als(found) = set(&als).unwrap().objective else { panic!() };
    assert_eq!(found.solver, Solver::ConjugateGradient { steps: 7 });
    assert_eq!(set(&["retrieve.train.rows.l2=0.5"]).unwrap().train.rows.l2, 0.5);
    assert_eq!(set(&["retrieve.index.rescore=9"]).unwrap().index.rescore, 9);
    // A key that must be given may come in an override of its own.
    let prior = [gramian, "retrieve.objective.prior.type=constant", "retrieve.objective.prior.value=0.25"];
    let Objective::Gramian(found) = set(&prior).unwrap().objective else { panic!() };
    assert_eq!(found.prior, Prior::Constant { value: 0.25 });
    let error = set(&prior[..2]).unwrap_err();
    assert!(error.exit_code() == 2 && error.to_string().contains("value"), "{error}");
    let error = set(&[gramian, "retrieve.objective.estimator.alpa=0.1", "retrieve.train.epochs=1"]).unwrap_err();
    assert!(error.to_string().ends_with("alpha`?"), "{error}");
}

#[test]
fn what_cannot_be_learned_from_is_refused() {
    let refused = |text: &str, expected: &str| {
        let world = World::new(text);
        let section = world.section(&[]);
        let error = world.fit(&section, "refused", false).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    };
    refused(&CONFIG.replace("item = \"place\"\n", ""), "schema.item");
    refused(&CONFIG.replace("[retrieve]\n", "[retrieve]\ntask = \"vsit\"\n"), "visit");
    refused(
        &CONFIG
            .replace("tasks = [{ name = \"visit\" }]", "tasks = [{ name = \"visit\", kind = \"count\" }]")
            .replace(", when = \"visit\"", ""),
        "retrieve.task",
    );
    let early = "workers = 2\nearly_stopping = { metric = \"recall@20\", patience = 1 }";
    refused(&CONFIG.replace("workers = 2", early).replace("valid = 0.15, ", ""), "valid");
    let parse =
        |text: &str| RetrieveConfig::of(&RunConfig::parse(text, "x.toml", &[]).unwrap()).unwrap_err().to_string();
    let error = parse(&CONFIG.replace("cutoffs = [5, 20]", "cutofs = [5, 20]"));
    assert!(error.contains("retrieve") && error.contains("did you mean `cutoffs`?"), "{error}");
    assert!(parse(&CONFIG.replace("workers = 2", "asynchronous = true")).contains("retrieve.train.asynchronous"));
    let contrast = CONFIG.replace("type = \"softmax\", temperature = 0.2", "type = \"contrastive\"");
    assert!(parse(&contrast.replace("unit_length = true", "")).contains("retrieve.model.unit_length"));
    assert!(parse(&CONFIG.replace("cutoffs = [5, 20]", "cutoffs = []")).contains("retrieve.cutoffs"));
    assert!(RetrieverModel::read(Path::new("/nowhere")).is_err());
}
