//! Reading what was prepared, and refusing what is damaged.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::chunk::{Chunk, Lines};
use crate::config::{Negatives, Split as Rule};
use crate::prepare::{GivenCandidates, Input, Options, encode, prepare};
use crate::reader::BadRows;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, ListArray, RecordBatch, StringArray};
use kitestring_core::schema::{
    Feature, FeatureKind, History, Level, Of, TableRule, Task, TaskKind, Transform, Vocabulary,
};
use kitestring_core::{Batch, Kind, Seed};
use std::sync::Arc;

/// A schema with a column of every sort.
fn schema() -> Schema {
    let feature = |name: &str, kind: FeatureKind, of: Of| Feature { of, ..Feature::new(name, kind) };
    let history = |name: &str, of: &str, table: &str| Feature {
        table: Some(table.into()),
        length: 2,
        history: Some(History { of: of.into(), when: None, which: Default::default() }),
        ..feature(name, FeatureKind::Sequence, Of::User)
    };
    let number = |name: &str, transform, of: Of| Feature { transform, ..feature(name, FeatureKind::Numeric, of) };
    Schema {
        user: Some("user".into()),
        item: Some("item".into()),
        time: Some("time".into()),
        position: Some("position".into()),
        treatment: Some("arm".into()),
        propensity: Some("propensity".into()),
        weight: Some("weight".into()),
        features: vec![
            feature("item", FeatureKind::Categorical, Of::Item),
            feature("brand", FeatureKind::Categorical, Of::Item),
            feature("tags", FeatureKind::Multi, Of::Item),
            number("price", Transform::Bucketize(3), Of::Item),
            number("weight_of_item", Transform::Standardize, Of::Item),
            feature("city", FeatureKind::Categorical, Of::Context),
            number("hour", Transform::None, Of::Context),
            history("bought", "item", "item"),
            history("brands", "brand", "brand"),
        ],
        tables: vec![
            TableRule { name: "brand".into(), vocabulary: Vocabulary::Open },
            TableRule { name: "city".into(), vocabulary: Vocabulary::Hashed { buckets: 100 } },
        ],
        scenarios: vec![Level { name: "country".into(), column: None }, Level { name: "page".into(), column: None }],
        tasks: vec![Task::binary("click"), Task { kind: TaskKind::Count, ..Task::binary("seconds") }],
    }
}

/// Row `n` of a user: a user has three rows, and sees items in turn.
fn rows(numbers: std::ops::Range<i64>) -> Chunk {
    let text = |value: &dyn Fn(i64) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(numbers.clone().map(value)))
    };
    let item = |n: i64| n % 7;
    let tags = numbers.clone().map(|n| Some((0..item(n) % 3).map(Some).collect::<Vec<_>>()));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("user", text(&|n| format!("u{}", n / 3))),
        ("item", Arc::new(Int64Array::from_iter_values(numbers.clone().map(item)))),
        ("brand", text(&|n| format!("b{}", item(n) % 2))),
        ("tags", Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(tags))),
        ("price", text(&|n| if item(n) == 6 { String::new() } else { item(n).to_string() })),
        ("weight_of_item", text(&|n| (item(n) * 10).to_string())),
        ("city", text(&|n| format!("c{}", n % 5))),
        ("hour", text(&|n| if n == 0 { String::new() } else { (n % 24).to_string() })),
        ("time", text(&|n| format!("2024-05-01T00:00:{:02}Z", n % 60))),
        ("position", text(&|n| if n % 4 == 0 { String::new() } else { (n % 4).to_string() })),
        ("arm", text(&|n| (if n % 2 == 0 { "control" } else { "mail" }).into())),
        ("propensity", text(&|_| "0.25".into())),
        ("weight", text(&|n| if n == 1 { "2".into() } else { String::new() })),
        ("country", text(&|n| (if n % 2 == 0 { "FR" } else { "US" }).into())),
        ("page", text(&|n| (if n % 3 == 0 { "home" } else { "cart" }).into())),
        ("click", text(&|n| if n % 10 == 9 { String::new() } else { (n % 2).to_string() })),
        ("seconds", text(&|n| n.to_string())),
    ];
    let rows = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)));
    Chunk { rows: rows.unwrap(), file: "log.parquet".into(), lines: Lines::From(1 + numbers.start as u64) }
}

fn make(out: &Path, negatives: Option<&Negatives>) -> Manifest {
    make_with(out, negatives, ["0 99", "4 6 3"]).unwrap()
}

/// With candidates for the positives 5 of u1 and 2 of u0.
fn make_with(out: &Path, negatives: Option<&Negatives>, lists: [&str; 2]) -> Result<Manifest> {
    let bad = BadRows::default();
    let schema = schema();
    let split = Some(Rule::LeaveLast { valid: 0, test: 1 });
    let options = Options {
        schema: &schema,
        split,
        ties: Default::default(),
        negatives,
        like: None,
        seed: Seed(3),
        bad_rows: &bad,
    };
    let candidates = |name: &str, values: Vec<&str>| (name.to_owned(), Arc::new(StringArray::from(values)) as ArrayRef);
    let given = [
        candidates("user", vec!["u1", "u0"]),
        candidates("item", vec!["5", "2"]),
        candidates("candidates", lists.to_vec()),
    ];
    let given = RecordBatch::try_from_iter(given).unwrap();
    let given = Chunk { rows: given, file: "candidates".into(), lines: Lines::From(1) };
    let given =
        GivenCandidates { split: "test".into(), chunks: Box::new([Ok(given)].into_iter()), separator: " ".into() };
    let inputs = vec![Input::new("train", [Ok(rows(0..20)), Ok(rows(20..30))].into_iter())];
    prepare(inputs, vec![given], &options, out, &mut |_| {})
}

/// A list's own positive and what stands in it before are no rivals; candidates that are no item are counted, and refused where they are most.
#[test]
fn candidates_count_once_and_most_are_items() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("set");
    let manifest = make_with(&out, None, ["5 0 99 5 0 99 98", "4 6 3 4"]).unwrap();
    let test = &manifest.splits[1];
    assert_eq!((test.given_candidates, test.unknown_candidates, test.repeated_candidates), (11, 3, 5));
    let notes = manifest.notes();
    assert_eq!(notes.len(), 2);
    assert!(notes[0].text.contains("3 of 11 candidates of split `test` are no item of any row"), "{notes:?}");
    assert!(notes[1].text.contains("5 of 11 candidates of split `test` repeat"), "{notes:?}");
    let dataset = Dataset::open(&out).unwrap();
    let vocabularies = dataset.vocabularies().unwrap();
    let list = |user: &str, item: &str| {
        let number = |vocabulary: Option<usize>, text| u64::from(vocabularies.entry(vocabulary.unwrap(), text));
        let (user, item) = (number(manifest.user, user), number(manifest.item, item));
        let list = dataset.split("test").unwrap().candidates().unwrap().of(user, item).unwrap();
        list.iter().map(|item| vocabularies.item((*item).into()).to_owned()).collect::<Vec<_>>()
    };
    // 99 and 98 are two unknown items.
    assert_eq!(
        (list("u1", "5"), list("u0", "2")),
        (vec!["0".to_owned(), String::new(), String::new()], ["4", "6", "3"].map(String::from).to_vec())
    );

    let error = make_with(&directory.path().join("other"), None, ["00 6", "04 06 03"]).unwrap_err();
    assert_eq!((error.kind(), error.place().line), (Kind::Data, Some(1)));
    let shown = error.to_string();
    assert!(shown.contains("4 of 5 candidates are no item of any row, the first of them `00`"), "{shown}");
    assert!(shown.contains("not 012"), "{shown}");
    assert!(!directory.path().join("other").exists());
}

/// Sample of a line of `log.parquet`.
fn at_line(split: &Split, line: u64) -> u64 {
    (0..split.rows()).find(|index| split.source(*index).unwrap().1 == line).unwrap()
}

#[test]
fn every_column_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("set");
    make(&out, None);
    let dataset = Dataset::open(&out).unwrap();
    let vocabularies = dataset.vocabularies().unwrap();
    let train = dataset.split("train").unwrap();
    assert_eq!((train.rows(), dataset.split("test").unwrap().rows()), (20, 10));
    assert_eq!(dataset.table_size("brand").unwrap(), None);
    assert_eq!(dataset.table_size("city").unwrap(), Some(100));
    assert_eq!(dataset.table_size("price").unwrap(), Some(4));
    assert!(dataset.table_size("cty").is_err());
    let mut batch = Batch::default();
    // Rows n = 1 and n = 0: lines count from one.
    train.read(&[at_line(train, 2), at_line(train, 1)], Seed(0), &mut batch).unwrap();
    assert_eq!(batch.rows, 2);
    let sparse = |feature: usize, row: usize| batch.sparse[feature].of_row(row).to_vec();
    assert_eq!(vocabularies.value("item", sparse(0, 0)[0]), Some("1"));
    assert_eq!(sparse(1, 0), [kitestring_core::hash::stable_hash("b1")]);
    assert_eq!(vocabularies.value("tags", sparse(2, 0)[0]), Some("0"));
    assert!(sparse(2, 1).is_empty());
    // A third of the known training prices are below 1, and two thirds below 3.
    assert_eq!((sparse(3, 0), sparse(3, 1)), (vec![2], vec![1]));
    assert_eq!(sparse(4, 0), [kitestring_core::hash::stable_hash("c1") % 100]);
    assert_eq!((sparse(5, 0), sparse(5, 1)), (sparse(0, 1), vec![]));
    assert_eq!(sparse(6, 0), [kitestring_core::hash::stable_hash("b0")]);
    let fitted = &dataset.manifest().fitted;
    let hours: Vec<f64> = (0..30).filter(|n| n % 3 != 2 && *n != 0).map(|n| f64::from(n % 24)).collect();
    let mean = hours.iter().sum::<f64>() / hours.len() as f64;
    assert_eq!(fitted[2].missing, 1);
    let standard = fitted[1].number(10.0);
    assert_eq!(batch.numeric, [standard, 1.0, fitted[1].number(0.0), mean as f32]);
    let scenarios: Vec<String> =
        batch.scenarios.iter().enumerate().map(|(at, index)| vocabularies.scenario(at % 2, *index)).collect();
    assert_eq!(scenarios, ["US", "US / cart", "FR", "FR / home"]);
    assert_eq!(batch.labels, [1.0, 1.0, 0.0, 0.0]);
    assert_eq!(batch.time[1], 1_714_521_600_000_000);
    assert_eq!((&batch.position[..], &batch.treatment[..]), (&[1, 0][..], &[1, 0][..]));
    assert_eq!((&batch.propensity[..], &batch.weight[..]), (&[0.25, 0.25][..], &[2.0, 1.0][..]));
    assert_eq!(vocabularies.user(batch.user[0]), "u0");
    assert_eq!(vocabularies.item(batch.item[0]), "1");
    assert_eq!(train.source(batch.index[0]).unwrap(), ("log.parquet", 2));
    // A missing label.
    train.read(&[at_line(train, 10)], Seed(0), &mut batch).unwrap();
    assert!(batch.labels[0].is_nan() && batch.labels[1] == 9.0);
    assert_eq!(dataset.manifest().time, Some((1_714_521_600_000_000, 1_714_521_629_000_000)));
    let error = train.read(&[20], Seed(0), &mut batch).unwrap_err().to_string();
    assert_eq!(error, "there is no sample 20: split `train` has 20");
    assert_eq!(
        dataset.split("tset").err().unwrap().to_string(),
        "the data set has no split `tset`; use one of: train, test"
    );
}

#[test]
fn candidates_take_the_items_place() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("set");
    make(&out, None);
    let dataset = Dataset::open(&out).unwrap();
    let (vocabularies, items) = (dataset.vocabularies().unwrap(), dataset.items().unwrap());
    let test = dataset.split("test").unwrap();
    let mut own = Batch::default();
    let samples = [at_line(test, 6), at_line(test, 3)];
    test.read(&samples, Seed(0), &mut own).unwrap();
    let given = test.candidates().unwrap();
    let lists: Vec<&[u32]> = (0..2).map(|row| given.of(own.user[row], own.item[row]).unwrap()).collect();
    let text = |list: &[u32]| list.iter().map(|item| vocabularies.item((*item).into())).collect::<Vec<_>>().join(" ");
    assert_eq!((text(lists[0]), text(lists[1])), ("0 ".into(), "4 6 3".into()));
    assert_eq!(dataset.manifest().splits[1].unknown_candidates, 1);
    assert!(given.of(own.user[0], own.item[1]).is_none());
    let mut batch = Batch::default();
    test.read_candidates(&samples, &[0, 2, 5], &lists.concat(), &mut batch).unwrap();
    assert_eq!(batch.rows, 5);
    assert_eq!(batch.index, [samples[0], samples[0], samples[1], samples[1], samples[1]]);
    assert_eq!(batch.item, lists.concat().iter().map(|item| u64::from(*item)).collect::<Vec<_>>());
    // The histories are stored once a sample.
    assert_eq!((batch.sparse[5].lists(), batch.sparse[5].list_of_row.as_slice()), (2, &[0, 0, 1, 1, 1][..]));
    for row in 0..5 {
        let (sample, item) = (usize::from(row > 1), batch.item[row]);
        for feature in [4, 5, 6] {
            assert_eq!(batch.sparse[feature].of_row(row), own.sparse[feature].of_row(sample));
        }
        // Ids of values follow that of unknown ones; an item that is none is missing.
        assert_eq!(batch.sparse[0].of_row(row)[0], if item == 0 { 0 } else { item + 1 });
        let name = vocabularies.item(item);
        if let Ok(number) = name.parse::<u64>() {
            assert_eq!(batch.sparse[1].of_row(row)[0], kitestring_core::hash::stable_hash(&format!("b{}", number % 2)));
            assert_eq!(batch.sparse[2].of_row(row).len() as u64, number % 3);
            assert_eq!(batch.sparse[3].of_row(row)[0] == 0, number == 6);
            assert_eq!(batch.numeric[2 * row], dataset.manifest().fitted[1].number(number as f64 * 10.0));
        }
        assert_eq!(batch.numeric[2 * row + 1], own.numeric[2 * sample + 1]);
        assert_eq!(batch.scenarios[2 * row..2 * row + 2], own.scenarios[2 * sample..2 * sample + 2]);
        assert!(batch.labels[2 * row].is_nan());
    }
    // Items alone: what a tower reads.
    let mut tower = Batch::default();
    items.put(&lists.concat(), &mut tower).unwrap();
    assert_eq!((&tower.sparse[..4], &tower.item), (&batch.sparse[..4], &batch.item));
    assert!(tower.sparse[5].ids.is_empty());
    assert!(items.put(&[99], &mut tower).is_err());
    assert!(test.read_candidates(&samples, &[0, 2], &lists.concat(), &mut batch).is_err());
    assert_eq!((items.count(), items.seen().len(), items.popularity(0)), (8, 7, 0));
}

#[test]
fn a_users_items_are_known_by_split() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("set");
    make(&out, None);
    let dataset = Dataset::open(&out).unwrap();
    let vocabularies = dataset.vocabularies().unwrap();
    let user = u64::from(vocabularies.entry(dataset.manifest().user.unwrap(), "u2"));
    let items = |split: &str| {
        let items = dataset.user_items(user, split).unwrap().iter();
        items.map(|item| vocabularies.item((*item).into())).collect::<Vec<_>>()
    };
    assert_eq!((items("train"), items("test")), (vec!["0", "6"], vec!["1"]));
    assert!(dataset.user_items(99, "train").unwrap().is_empty());
}

/// What came of training, with the weights of rows and with the negatives that are drawn, against the rows themselves.
#[test]
fn training_outcomes_are_sums_of_the_rows() {
    let directory = tempfile::tempdir().unwrap();
    let drawn = Negatives { per_positive: 2, draw: crate::config::Draw::Uniform, splits: vec!["train".into()] };
    for (name, negatives) in [("plain", None), ("drawn", Some(&drawn))] {
        let out = directory.path().join(name);
        make(&out, negatives);
        let dataset = Dataset::open(&out).unwrap();
        let outcomes = dataset.training_outcomes().unwrap().unwrap();
        let (train, mut batch) = (dataset.split("train").unwrap(), Batch::default());
        train.read(&(0..train.rows()).collect::<Vec<_>>(), Seed(0).child("outcomes"), &mut batch).unwrap();
        for (task, found) in outcomes.tasks.iter().enumerate() {
            let label = |row: &usize| batch.labels[2 * row + task];
            let rows: Vec<usize> = (0..batch.rows).filter(|row| !label(row).is_nan()).collect();
            let sum = |kept: &dyn Fn(usize) -> bool, value: &dyn Fn(usize) -> f32| {
                rows.iter().filter(|row| kept(**row)).map(|row| f64::from(value(*row))).sum::<f64>()
            };
            let weight = |row: usize| batch.weight[row];
            let labelled = |row: usize| batch.weight[row] * label(&row);
            let all = (sum(&|_| true, &labelled), sum(&|_| true, &weight));
            let mean = all.0 / all.1;
            assert!((found.mean().unwrap() - mean).abs() < 1e-9);
            let begun = outcomes::SMOOTHING * all.1 / rows.len() as f64;
            for item in 0..8 {
                let own = |row: usize| batch.item[row] == item;
                let expected = (sum(&own, &labelled) + begun * mean) / (sum(&own, &weight) + begun);
                assert!((found.item_mean(item).unwrap() - expected).abs() < 1e-9, "{name} {task} {item}");
                assert_eq!(f64::from(found.popularity(item)), sum(&|row| own(row) && label(&row) > 0.5, &|_| 1.0));
            }
            for user in 0..11 {
                let own = |row: usize| batch.user[row] == user;
                let expected = (sum(&own, &labelled) + begun * mean) / (sum(&own, &weight) + begun);
                assert!((found.user_mean(user).unwrap() - expected).abs() < 1e-9, "{name} {task} {user}");
            }
            // Without rows of its own an item has the mean of all, but for rounding.
            assert!((found.item_mean(99).unwrap() - found.mean().unwrap()).abs() < 1e-12);
            assert_eq!(found.popularity(99), 0);
        }
    }
}

/// New rows are ranked among the items of the old ones, too, without what users had there.
#[test]
fn what_a_model_was_trained_on_comes_before_new_rows() {
    let directory = tempfile::tempdir().unwrap();
    let (out, new) = (directory.path().join("set"), directory.path().join("new"));
    make(&out, None);
    let dataset = Dataset::open(&out).unwrap();
    let vocabularies = dataset.vocabularies().unwrap();
    let chunks = Box::new([Ok(rows(28..31))].into_iter());
    encode("new", chunks, Vec::new(), (&vocabularies, None), &BadRows::default(), &new, &mut |_| {}).unwrap();
    let set = Dataset::open(&new).unwrap();
    let user = u64::from(vocabularies.entry(dataset.manifest().user.unwrap(), "u9"));
    // User u9 has items 6, 0 and 1 in rows 27 to 29; the new rows are of items 0, 1 and 2.
    assert_eq!((set.known_items().len(), set.items_before(user, "new")), (3, vec![]));
    assert!(set.training_outcomes().unwrap().is_none());
    set.trained_on(&dataset).unwrap();
    assert_eq!(set.known_items(), dataset.items().unwrap().seen());
    let mut had: Vec<u32> =
        ["6", "0", "1"].map(|item| vocabularies.entry(dataset.manifest().item.unwrap(), item)).into();
    had.sort_unstable();
    assert_eq!(set.items_before(user, "new"), had);
    assert_eq!(set.training_outcomes().unwrap(), dataset.training_outcomes().unwrap());
    assert_eq!(dataset.items_before(user, "train"), [] as [u32; 0]);
    assert_eq!(dataset.items_before(user, "test"), dataset.user_items(user, "train").unwrap());
}

/// Left-out features are read by nobody, and everything else is as it was: negatives, histories, candidates, tables.
#[test]
fn features_are_left_out() {
    let directory = tempfile::tempdir().unwrap();
    let drawn = Negatives { per_positive: 2, draw: crate::config::Draw::Uniform, splits: vec!["train".into()] };
    let out = directory.path().join("set");
    make(&out, Some(&drawn));
    let whole = Dataset::open(&out).unwrap();
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let part = whole.without(&names(&["item", "bought", "price", "weight_of_item"])).unwrap();
    let left: Vec<&str> = part.schema().features.iter().map(|feature| feature.name.as_str()).collect();
    assert_eq!(left, ["brand", "tags", "city", "hour", "brands"]);
    assert_eq!(part.schema().table_names(), ["brand", "tags", "city"]);
    assert_eq!(part.table_size("city").unwrap(), Some(100));
    assert!(part.table_size("item").is_err());
    for split in whole.splits() {
        let samples: Vec<u64> = (0..split.rows()).rev().collect();
        let (mut a, mut b) = (Batch::default(), Batch::default());
        split.read(&samples, Seed(4), &mut a).unwrap();
        part.split(split.name()).unwrap().read(&samples, Seed(4), &mut b).unwrap();
        a.sparse = [1, 2, 4, 6].map(|feature| a.sparse[feature].clone()).into();
        a.numeric = a.numeric.iter().skip(1).step_by(2).copied().collect();
        // A missing label is not itself.
        let bits = |labels: &mut Vec<f32>| std::mem::take(labels).into_iter().map(f32::to_bits).collect::<Vec<_>>();
        assert_eq!(bits(&mut a.labels), bits(&mut b.labels));
        assert_eq!(a, b);
    }
    let error = whole.without(&names(&["item"])).err().unwrap().to_string();
    assert!(error.contains("`bought` lists `item`"), "{error}");
}

#[test]
fn all_samples_and_those_of_a_user_are_gone_through_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let drawn = Negatives { per_positive: 1100, draw: crate::config::Draw::Uniform, splits: vec!["train".into()] };
    for (name, negatives) in [("plain", None), ("drawn", Some(&drawn))] {
        let out = directory.path().join(name);
        make(&out, negatives);
        let dataset = Dataset::open(&out).unwrap();
        for split in dataset.splits() {
            let mut whole = Batch::default();
            split.read(&(0..split.rows()).collect::<Vec<_>>(), Seed(0), &mut whole).unwrap();
            let (mut users, mut items, mut blocks) = (Vec::new(), Vec::new(), 0);
            split
                .each_block(|batch| {
                    assert_eq!(batch.index.first().copied(), Some(users.len() as u64));
                    users.extend_from_slice(&batch.user);
                    items.extend_from_slice(&batch.item);
                    blocks += 1;
                    Ok(())
                })
                .unwrap();
            assert_eq!((&users, &items), (&whole.user, &whole.item));
            assert_eq!(blocks > 1, negatives.is_some() && split.name() == "train", "{} rows", split.rows());
            // A row's own sample is the first of those with its source.
            let mut sources: Vec<_> = (0..split.rows()).map(|sample| split.source(sample).unwrap()).collect();
            sources.dedup();
            let mut found = 0;
            for user in 0..100 {
                for (sample, time) in split.of_user(user) {
                    assert_eq!((users[sample as usize], time), (user, whole.time.get(sample as usize).copied()));
                    assert!(sample == 0 || split.source(sample).unwrap() != split.source(sample - 1).unwrap());
                    found += 1;
                }
                assert!(split.of_user(user).map(|(sample, _)| sample).is_sorted());
            }
            assert_eq!(found, sources.len());
        }
    }
}

#[test]
fn new_rows_are_encoded_by_the_old_vocabulary() {
    let directory = tempfile::tempdir().unwrap();
    let (out, copy, new) = (directory.path().join("set"), directory.path().join("run"), directory.path().join("new"));
    let manifest = make(&out, None);
    let dataset = Dataset::open(&out).unwrap();
    dataset.vocabularies().unwrap().copy_to(&copy).unwrap();
    let vocabularies = Vocabularies::open(&copy).unwrap();
    // Rows 28 and 29 are of user u9, whom the data set knows; 30 to 32 are of a new one. There are no labels.
    let seen = rows(28..33);
    let kept: Vec<usize> = (0..seen.rows.num_columns())
        .filter(|column| !["click", "seconds", "weight"].contains(&seen.rows.schema().field(*column).name().as_str()))
        .collect();
    let seen = Chunk { rows: seen.rows.project(&kept).unwrap(), ..seen };
    for past in [None, Some(&dataset)] {
        let bad = BadRows::default();
        let chunks = Box::new([Ok(seen.clone())].into_iter());
        let encoded =
            encode("new rows.csv", chunks, Vec::new(), (&vocabularies, past), &bad, &new, &mut |_| {}).unwrap();
        assert_eq!(encoded.fitted, manifest.fitted);
        let sizes = |manifest: &Manifest| manifest.tables.iter().map(|table| table.rows).collect::<Vec<_>>();
        assert_eq!(sizes(&encoded), sizes(&manifest));
        let set = Dataset::open(&new).unwrap();
        let split = set.split("new rows.csv").unwrap();
        let (mut batch, mut old) = (Batch::default(), Batch::default());
        split.read(&[at_line(split, 29), at_line(split, 30), at_line(split, 31)], Seed(0), &mut batch).unwrap();
        let train = dataset.split("train").unwrap();
        train.read(&[at_line(train, 29)], Seed(0), &mut old).unwrap();
        for feature in 0..5 {
            assert_eq!(batch.sparse[feature].of_row(0), old.sparse[feature].of_row(0));
        }
        assert_eq!(batch.numeric[..2], old.numeric[..2]);
        assert_eq!((batch.user[0], batch.item[0]), (old.user[0], old.item[0]));
        // A new user has a number of their own.
        assert!(batch.user[2] >= u64::from(manifest.vocabularies[manifest.user.unwrap()].entries));
        assert!(batch.labels.iter().all(|label| label.is_nan()) && batch.weight == [1.0; 3]);
        let first = batch.sparse[0].of_row(0)[0];
        // Rows to be scored are no events: they see what the user did before in the data set. Row 27 is of item 6, row 28 of item 0.
        let sixth = vocabularies.id("item", "6");
        let expected: [&[u64]; 2] = if past.is_some() { [&[sixth], &[sixth, first]] } else { [&[], &[]] };
        assert_eq!([batch.sparse[5].of_row(0), batch.sparse[5].of_row(1)], expected);
        assert_eq!(encoded.overlapping, if past.is_some() { 2 } else { 0 });
        assert!(batch.sparse[5].of_row(2).is_empty());
        // Every item of the old table can be scored, those the new rows do not have too.
        let (mut a, mut b) = (Batch::default(), Batch::default());
        let all: Vec<u32> = (0..8).collect();
        dataset.items().unwrap().put(&all, &mut a).unwrap();
        set.items().unwrap().put(&all, &mut b).unwrap();
        assert_eq!((a.sparse, a.numeric), (b.sparse, b.numeric));
    }
}

/// A chunk with another text in all rows of a column.
fn with_text(chunk: &Chunk, column: &str, text: &str) -> Chunk {
    let (schema, count) = (chunk.rows.schema(), chunk.rows.num_rows());
    let columns = schema.fields().iter().zip(chunk.rows.columns()).map(|(field, values)| {
        let texts = || Arc::new(StringArray::from(vec![text; count])) as ArrayRef;
        (field.name().as_str(), if field.name() == column { texts() } else { values.clone() }, true)
    });
    Chunk { rows: RecordBatch::try_from_iter_with_nullable(columns).unwrap(), ..chunk.clone() }
}

/// A row made of what is known now is what preparation makes of the same row in a file: of a user who is known, with all that the user did;
/// of one who is not, with what is given; and of one whose history is given.
#[test]
fn a_query_row_is_a_row_of_a_file_that_comes_later() {
    let directory = tempfile::tempdir().unwrap();
    let (out, new) = (directory.path().join("set"), directory.path().join("new"));
    make(&out, None);
    let dataset = Dataset::open(&out).unwrap();
    let vocabularies = dataset.vocabularies().unwrap();
    let items: Vec<u32> = (1..8).collect();
    // The last of some rows under all items, as preparation has it.
    let prepared = |chunks: Vec<Chunk>, last: u64| {
        let bad = BadRows::default();
        let chunks = Box::new(chunks.into_iter().map(Ok));
        encode("now", chunks, Vec::new(), (&vocabularies, Some(&dataset)), &bad, &new, &mut |_| {}).unwrap();
        let set = Dataset::open(&new).unwrap();
        let split = set.split("now").unwrap();
        let mut batch = Batch::default();
        split.read_candidates(&[at_line(split, last)], &[0, items.len() as u32], &items, &mut batch).unwrap();
        batch
    };
    let same = |row: &QueryRow<'_>, expected: &Batch, what: &str| {
        let mut found = Batch::default();
        row.put_candidates(dataset.items().unwrap(), &items, &mut found).unwrap();
        assert_eq!((found.rows, &found.item), (items.len(), &expected.item));
        for (number, feature) in dataset.schema().sparse().enumerate() {
            for (at, item) in items.iter().enumerate() {
                let ids = [&found, expected].map(|batch| batch.sparse[number].of_row(at).to_vec());
                assert_eq!(ids[0], ids[1], "{what}: {} of item {item}", feature.name);
            }
        }
        assert_eq!((&found.numeric, &found.scenarios), (&expected.numeric, &expected.scenarios), "{what}");
        // The query alone is the same without the item.
        row.put(&mut found);
        assert_eq!((found.rows, found.sparse[5].of_row(0)), (1, expected.sparse[5].of_row(0)), "{what}");
        assert!(found.sparse[0].ids.is_empty() && found.numeric[1] == expected.numeric[1]);
    };
    let later = |chunk: Chunk| with_text(&chunk, "time", "2024-06-01T00:00:00Z");
    let users = dataset.manifest().user.unwrap();
    for user in 0..10_i64 {
        let newest = 3 * user + 2;
        let expected = prepared(vec![later(rows(newest..newest + 1))], newest as u64 + 1);
        let number = vocabularies.entry(users, &format!("u{user}"));
        let row = QueryRow::of_user(&dataset, &vocabularies, number.into()).unwrap().unwrap();
        assert_eq!((row.user(), expected.sparse[5].of_row(0).len()), (number.into(), 2));
        same(&row, &expected, "a known user");
    }
    assert!(QueryRow::of_user(&dataset, &vocabularies, 0).unwrap().is_none());

    let nobody = |chunk: Chunk| with_text(&chunk, "user", "u99");
    let mut row = QueryRow::unknown(dataset.manifest());
    row.set_user(&vocabularies, "u99").unwrap();
    for (name, text) in [("city", "c3"), ("hour", "8"), ("country", "FR"), ("page", "cart")] {
        assert!(row.set(&vocabularies, name, text).unwrap(), "{name}");
    }
    // Row 8 has just these.
    same(&row, &prepared(vec![nobody(rows(8..9))], 9), "a user nobody knows");
    // A value of a level that training does not know, and a number that is missing.
    assert!(!row.set(&vocabularies, "country", "XX").unwrap());
    row.set(&vocabularies, "hour", "").unwrap();
    let unknown = with_text(&with_text(&nobody(rows(8..9)), "country", "XX"), "hour", "");
    same(&row, &prepared(vec![unknown], 9), "an unknown scenario");
    // The last two of the events that are given, of items 6 and 0, both of brand 0.
    let event = |n: i64| {
        let item = vocabularies.entry(dataset.manifest().item.unwrap(), &(n % 7).to_string());
        HistoryEvent { item, tasks: None }
    };
    row.set_history(dataset.items().unwrap(), &[event(5), event(6), event(7)]).unwrap();
    let mut batch = Batch::default();
    row.put_candidates(dataset.items().unwrap(), &items, &mut batch).unwrap();
    let bought = ["6", "0"].map(|item| vocabularies.id("item", item));
    let brand = kitestring_core::hash::stable_hash("b0");
    for at in 0..items.len() {
        assert_eq!((batch.sparse[5].of_row(at), batch.sparse[6].of_row(at)), (&bought[..], &[brand, brand][..]));
    }

    let refused = |name: &str, text: &str, parts: &[&str]| {
        let error = QueryRow::unknown(dataset.manifest()).set(&vocabularies, name, text).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(parts.iter().all(|part| error.to_string().contains(part)), "{error}");
    };
    refused("ctiy", "c1", &["no feature or scenario `ctiy`", "did you mean `city`"]);
    refused("price", "3", &["`price` is the item's"]);
    refused("bought", "3", &["`bought` is made of the user's events"]);
    refused("hour", "noon", &["`noon` is no number", "hour="]);
    refused("hour", "inf", &["`inf` is no number"]);
    let past = HistoryEvent { item: 99, tasks: None };
    assert!(row.set_history(dataset.items().unwrap(), &[past]).is_err());
}

#[test]
fn damage_is_refused_with_its_cause() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("set");
    let open = || Dataset::open(&out).map(|_| ()).unwrap_err();
    assert_eq!(open().kind(), Kind::Io);
    make(&out, None);
    let shard = out.join("train-00000.arrow");
    let whole = std::fs::read(&shard).unwrap();
    std::fs::write(&shard, &whole[..whole.len() / 2]).unwrap();
    let error = open();
    assert_eq!(error.kind(), Kind::Format);
    assert!(error.to_string().contains("the file is truncated; prepare the data set again"), "{error}");
    // Damage that keeps the size, in the metadata at either end: opening it never panics.
    let mut refused = 0;
    let footer = whole.len() - 4096.min(whole.len());
    for at in (0..256).chain((footer..whole.len()).step_by(7)) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0xff;
        std::fs::write(&shard, &damaged).unwrap();
        refused += usize::from(Dataset::open(&out).is_err());
    }
    assert!(refused > 50, "{refused}");
    std::fs::write(&shard, &whole).unwrap();
    std::fs::remove_file(out.join("users-00000.arrow")).unwrap();
    assert!(open().to_string().contains("users-00000.arrow"));
    let manifest = out.join("manifest.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replace("\"format\": 2", "\"format\": 3")).unwrap();
    let error = open();
    assert!(error.to_string().contains("a data set of format 3, and this version reads format 2"), "{error}");
    std::fs::write(&manifest, &text[..text.len() / 2]).unwrap();
    assert!(open().to_string().contains("not a readable manifest"));
}

#[test]
fn the_same_seed_makes_the_same_files() {
    let directory = tempfile::tempdir().unwrap();
    let (a, b) = (directory.path().join("a"), directory.path().join("b"));
    let manifest = make(&a, None);
    make(&b, None);
    for name in manifest.files.keys().map(String::as_str).chain(["manifest.json"]) {
        assert_eq!(std::fs::read(a.join(name)).unwrap(), std::fs::read(b.join(name)).unwrap(), "{name}");
    }
}

#[test]
fn popularity_and_uniform_draws_have_their_distributions() {
    let directory = tempfile::tempdir().unwrap();
    let negatives =
        Negatives { per_positive: 400, draw: crate::config::Draw::Popularity, splits: vec!["train".into()] };
    let out = directory.path().join("set");
    make(&out, Some(&negatives));
    let dataset = Dataset::open(&out).unwrap();
    let (train, items) = (dataset.split("train").unwrap(), dataset.items().unwrap());
    let indices: Vec<u64> = (0..train.rows()).collect();
    let mut batch = Batch::default();
    train.read(&indices, Seed(5), &mut batch).unwrap();
    let user = u64::from(dataset.vocabularies().unwrap().entry(dataset.manifest().user.unwrap(), "u0"));
    // What the user has in the test is drawn like any other item.
    let had = dataset.user_items(user, "train").unwrap();
    let mut drawn = [0u32; 8];
    for row in (0..batch.rows).filter(|row| batch.user[*row] == user) {
        drawn[batch.item[row] as usize] += 1;
    }
    let left: Vec<u32> = items.trained().iter().copied().filter(|item| !had.contains(item)).collect();
    let total: u32 = left.iter().map(|item| items.popularity(*item)).sum();
    let all: u32 = left.iter().map(|item| drawn[*item as usize]).sum();
    assert!(all >= 400);
    for item in left {
        let share = f64::from(drawn[item as usize]) / f64::from(all);
        let expected = f64::from(items.popularity(item)) / f64::from(total);
        assert!((share - expected).abs() < 0.08, "{item}: {share} against {expected}");
    }
}

fn fixture(format: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/format-{format}"))
}

/// Values had other texts in format 1, and histories what happened at the same moment.
#[test]
fn a_stored_data_set_of_format_1_is_refused_with_what_to_do() {
    let error = Dataset::open(fixture(1)).err().unwrap();
    assert_eq!(error.kind(), Kind::Format);
    let shown = error.to_string();
    assert!(
        shown.contains("format-1/manifest.json: a data set of format 1, and this version reads format 2"),
        "{shown}"
    );
    assert!(shown.contains("prepare the data set again with this version, and train again"), "{shown}");
}

/// The stored data set was written by the first version of its format; `KITESTRING_WRITE=1` writes it anew, which is only right for a
/// format that was never released.
#[test]
fn a_stored_data_set_of_format_2_opens() {
    let directory = tempfile::tempdir().unwrap();
    let fresh = directory.path().join("set");
    make(&fresh, None);
    if std::env::var_os("KITESTRING_WRITE").is_some() {
        make(&fixture(2), None);
    }
    let (stored, fresh) = (Dataset::open(fixture(2)).unwrap(), Dataset::open(&fresh).unwrap());
    let (mut old, mut new) = (Batch::default(), Batch::default());
    for (a, b) in stored.splits().iter().zip(fresh.splits()) {
        let indices: Vec<u64> = (0..a.rows()).collect();
        a.read(&indices, Seed(0), &mut old).unwrap();
        b.read(&indices, Seed(0), &mut new).unwrap();
        // Missing labels are NaN, which equals nothing.
        for labels in [&mut old.labels, &mut new.labels] {
            labels.iter_mut().filter(|label| label.is_nan()).for_each(|label| *label = -1.0);
        }
        assert_eq!(old, new);
    }
    let (old, new) = (stored.vocabularies().unwrap(), fresh.vocabularies().unwrap());
    assert_eq!(old.id("item", "5"), new.id("item", "5"));
    assert_eq!(old.value("item", 3), new.value("item", 3));
}

/// A missing value, an unknown one and the values each have an id, in rows to be scored as in those to learn from.
#[test]
fn missing_and_unknown_values_are_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("set");
    make(&out, None);
    let dataset = Dataset::open(&out).unwrap();
    let vocabularies = dataset.vocabularies().unwrap();
    assert_eq!((vocabularies.id("item", ""), vocabularies.id("item", "nothing")), (0, 1));
    assert_eq!((vocabularies.find("item", "nothing"), vocabularies.value("item", 1)), (None, None));
    assert_eq!(
        (vocabularies.value_in_words("item", 0), vocabularies.value_in_words("item", 1)),
        ("missing", "unknown")
    );
    for id in 2..dataset.table_size("item").unwrap().unwrap() {
        assert_eq!(vocabularies.find("item", vocabularies.value("item", id).unwrap()), Some(id));
    }
    // Hashes have an id for every value.
    assert_eq!(dataset.manifest().unknown_id_of("city"), 0);
    assert!(vocabularies.find("city", "nowhere").is_some());
    let bad = BadRows::default();
    let scored = directory.path().join("scored");
    let mut chunk = rows(60..63);
    let tags = ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(0), Some(77)]), Some(vec![]), None]);
    let column = chunk.rows.schema().index_of("tags").unwrap();
    let mut columns = chunk.rows.columns().to_vec();
    columns[column] = Arc::new(tags);
    chunk.rows = RecordBatch::try_new(chunk.rows.schema(), columns).unwrap();
    let chunks = Box::new([Ok(chunk)].into_iter());
    encode("rows", chunks, Vec::new(), (&vocabularies, None), &bad, &scored, &mut |_| {}).unwrap();
    let (encoded, mut batch) = (Dataset::open(&scored).unwrap(), Batch::default());
    encoded.split("rows").unwrap().read(&[0, 1, 2], Seed(0), &mut batch).unwrap();
    assert_eq!(encoded.manifest().tables, dataset.manifest().tables);
    assert_eq!(batch.sparse[2].of_row(0), [vocabularies.id("tags", "0"), 1]);
    assert!(batch.sparse[2].of_row(1).is_empty() && batch.sparse[2].of_row(2).is_empty());
}
