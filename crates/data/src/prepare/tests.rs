//! What a data set must keep, whatever the rows: against the definitions, computed row by row.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::chunk::Lines;
use crate::config::{Draw, Ties, TimeBorder};
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use kitestring_core::Batch;
use kitestring_core::schema::{Feature, History, Task, Transform};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// An event as a user's file has it.
#[derive(Debug, Clone)]
struct Event {
    user: u8,
    item: u8,
    time: i64,
    like: bool,
}

fn chunk(file: &str, first: u64, columns: Vec<(&str, ArrayRef)>) -> Chunk {
    let rows = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)));
    Chunk { rows: rows.unwrap(), file: file.into(), lines: Lines::From(first) }
}

fn texts<'a>(values: impl IntoIterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

/// Events as chunks of seven rows, so that chunks, users and files cross.
fn chunks(file: &str, events: &[Event]) -> Vec<Result<Chunk>> {
    let mut first = 1;
    let mut made = Vec::new();
    for events in events.chunks(7) {
        let of = |value: &dyn Fn(&Event) -> String| {
            texts(events.iter().map(value).collect::<Vec<_>>().iter().map(String::as_str))
        };
        let columns = vec![
            ("user", of(&|event| format!("u{}", event.user))),
            ("item", of(&|event| format!("i{}", event.item))),
            ("brand", of(&|event| format!("b{}", event.item % 3))),
            ("tags", of(&|event| (0..event.item % 4).map(|tag| format!("t{tag}")).collect::<Vec<_>>().join("|"))),
            ("price", of(&|event| if event.item % 5 == 0 { String::new() } else { f64::from(event.item).to_string() })),
            ("time", Arc::new(Int64Array::from_iter_values(events.iter().map(|event| event.time))) as ArrayRef),
            ("like", of(&|event| u8::from(event.like).to_string())),
        ];
        made.push(Ok(chunk(file, first, columns)));
        first += events.len() as u64;
    }
    made
}

fn schema() -> Schema {
    let feature = |name: &str, kind: FeatureKind, of: Of| Feature { of, ..Feature::new(name, kind) };
    let history = |name: &str, when: Option<&str>, length: usize| Feature {
        table: Some("item".into()),
        length,
        history: Some(History { of: "item".into(), when: when.map(Into::into), which: Default::default() }),
        ..feature(name, FeatureKind::Sequence, Of::User)
    };
    Schema {
        user: Some("user".into()),
        item: Some("item".into()),
        time: Some("time".into()),
        features: vec![
            feature("user", FeatureKind::Categorical, Of::User),
            feature("item", FeatureKind::Categorical, Of::Item),
            feature("brand", FeatureKind::Categorical, Of::Item),
            Feature { separator: Some("|".into()), ..feature("tags", FeatureKind::Multi, Of::Item) },
            feature("price", FeatureKind::Numeric, Of::Item),
            history("liked", Some("like"), 3),
            history("seen", None, 5),
        ],
        tasks: vec![Task::binary("like")],
        ..Schema::default()
    }
}

fn run(
    inputs: &[(&str, &[Event])],
    split: Option<Split>,
    negatives: Option<&Negatives>,
) -> (tempfile::TempDir, Result<Dataset>) {
    run_like(inputs, split, negatives, None, Ties::Apart)
}

fn run_like(
    inputs: &[(&str, &[Event])],
    split: Option<Split>,
    negatives: Option<&Negatives>,
    like: Option<&Vocabularies>,
    ties: Ties,
) -> (tempfile::TempDir, Result<Dataset>) {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("set");
    let bad = BadRows::default();
    let schema = schema();
    let options = Options { schema: &schema, split, ties, negatives, like, seed: Seed(7), bad_rows: &bad };
    let inputs = inputs.iter().map(|(name, events)| Input::new(*name, chunks(name, events).into_iter())).collect();
    let prepared = prepare(inputs, Vec::new(), &options, &out, &mut |_| {});
    let left = directory.path().read_dir().unwrap().count();
    assert_eq!(left, usize::from(prepared.is_ok()), "nothing is left beside the data set");
    let dataset = prepared.and_then(|manifest| {
        let dataset = Dataset::open(&out)?;
        assert_eq!(dataset.manifest(), &manifest);
        Ok(dataset)
    });
    (directory, dataset)
}

/// A row as read back: where it came from, its split and its histories as texts.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    file: String,
    line: u64,
    split: String,
    item: String,
    liked: Vec<String>,
    seen: Vec<String>,
}

fn read_all(dataset: &Dataset) -> Vec<Row> {
    let vocabularies = dataset.vocabularies().unwrap();
    let mut rows = Vec::new();
    let mut batch = Batch::default();
    for split in dataset.splits() {
        let indices: Vec<u64> = split.order(Seed(1), 0).iter().collect();
        split.read(&indices, Seed(0), &mut batch).unwrap();
        for (row, index) in indices.iter().enumerate() {
            let (file, line) = split.source(*index).unwrap();
            let text = |id: &u64| vocabularies.value("item", *id).unwrap_or("?").to_owned();
            rows.push(Row {
                file: file.into(),
                line,
                split: split.name().into(),
                item: vocabularies.item(batch.item[row]).into(),
                liked: batch.sparse[4].of_row(row).iter().map(text).collect(),
                seen: batch.sparse[5].of_row(row).iter().map(text).collect(),
            });
        }
    }
    rows.sort();
    rows
}

/// The definition: the last `length` events of the user that are earlier, in this file or one before it.
fn expected(inputs: &[(&str, &[Event])], split_of: impl Fn(usize, usize) -> String) -> Vec<Row> {
    expected_like(inputs, BTreeSet::new(), Ties::Apart, split_of)
}

/// The same, where some items have ids already.
fn expected_like(
    inputs: &[(&str, &[Event])],
    mut train: BTreeSet<u8>,
    ties: Ties,
    split_of: impl Fn(usize, usize) -> String,
) -> Vec<Row> {
    let all: Vec<(usize, usize, &Event)> = inputs
        .iter()
        .enumerate()
        .flat_map(|(file, (_, events))| events.iter().enumerate().map(move |(line, event)| (file, line, event)))
        .collect();
    let of_train = all.iter().filter(|(file, line, _)| split_of(*file, *line) == "train");
    train.extend(of_train.map(|(_, _, event)| event.item));
    let mut rows: Vec<Row> = all
        .iter()
        .map(|(file, line, event)| {
            let mut earlier: Vec<_> = all
                .iter()
                .filter(|(f, l, e)| {
                    e.user == event.user
                        && f <= file
                        && match ties {
                            Ties::Apart => e.time < event.time,
                            Ties::FileOrder => (e.time, f, l) < (event.time, file, line),
                        }
                })
                .collect();
            earlier.sort_by_key(|(f, l, e)| (e.time, *f, *l));
            let history = |length: usize, liked: bool| {
                let kept: Vec<_> = earlier.iter().filter(|(_, _, e)| e.like || !liked).collect();
                let last = kept[kept.len().saturating_sub(length)..].iter();
                let text = |item: u8| if train.contains(&item) { format!("i{item}") } else { "?".into() };
                last.map(|(_, _, e)| text(e.item)).collect::<Vec<_>>()
            };
            Row {
                file: inputs[*file].0.into(),
                line: *line as u64 + 1,
                split: split_of(*file, *line),
                item: format!("i{}", event.item),
                liked: history(3, true),
                seen: history(5, false),
            }
        })
        .collect();
    rows.sort();
    rows
}

/// The ranks of a user's rows in the order of time.
fn ranks(events: &[Event]) -> Vec<(usize, usize)> {
    let key = |row: usize| (events[row].time, row);
    let of = |row: usize| {
        let mine: Vec<usize> = (0..events.len()).filter(|other| events[*other].user == events[row].user).collect();
        (mine.iter().filter(|other| key(**other) < key(row)).count(), mine.len())
    };
    (0..events.len()).map(of).collect()
}

fn events(rows: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Event>> {
    let event = (0u8..6, 0u8..30, 0i64..40, any::<bool>());
    prop::collection::vec(event.prop_map(|(user, item, time, like)| Event { user, item, time, like }), rows)
}

/// Rows with which every split and label has something.
fn padded(mut events: Vec<Event>) -> Vec<Event> {
    for (user, like) in [(200, true), (201, false)] {
        events.extend((0..10).map(|time| Event { user, item: 101, time: time * 4, like }));
    }
    events
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_users_fraction(events in events(0..120)) {
        let events = padded(events);
        let split = Split::UserFraction { valid: 0.2, test: 0.3 };
        let (_directory, dataset) = run(&[("train", &events)], Some(split), None);
        let ranks = ranks(&events);
        let split_of = |_: usize, line: usize| {
            let (rank, rows) = ranks[line];
            let at = |tenths: usize| (rows * tenths).div_ceil(10);
            (if rank >= at(7) { "test" } else if rank >= at(5) { "valid" } else { "train" }).to_owned()
        };
        prop_assert_eq!(read_all(&dataset.unwrap()), expected(&[("train", &events)], split_of));
    }

    #[test]
    fn a_users_last(events in events(0..120)) {
        let events = padded(events);
        let split = Split::LeaveLast { valid: 1, test: 2 };
        let (_directory, dataset) = run(&[("train", &events)], Some(split), None);
        let ranks = ranks(&events);
        let split_of = |_: usize, line: usize| {
            let (rank, rows) = ranks[line];
            (match rows - rank {
                _ if rows < 4 => "train",
                1 | 2 => "test",
                3 => "valid",
                _ => "train",
            }).to_owned()
        };
        prop_assert_eq!(read_all(&dataset.unwrap()), expected(&[("train", &events)], split_of));
    }

    #[test]
    fn the_last_of_all(events in events(0..120)) {
        let events = padded(events);
        let split = Split::Time { valid: 0.1, test: 0.2 };
        let (_directory, dataset) = run(&[("train", &events)], Some(split), None);
        let mut times: Vec<i64> = events.iter().map(|event| event.time).collect();
        times.sort_unstable();
        let border = |tenths: usize| times[(times.len() * tenths).div_ceil(10)];
        let split_of = |_: usize, line: usize| {
            let time = events[line].time;
            (if time >= border(8) { "test" } else if time >= border(7) { "valid" } else { "train" }).to_owned()
        };
        // The padding has rows at every fourth time, but a border may leave `valid` without one.
        match dataset {
            Ok(dataset) => prop_assert_eq!(read_all(&dataset), expected(&[("train", &events)], split_of)),
            Err(error) => prop_assert!(error.to_string().contains("split `valid` is empty") && border(7) == border(8)),
        }
    }

    #[test]
    fn given_files_never_see_later_ones(first in events(0..80), second in events(1..40), third in events(1..40)) {
        let first = padded(first);
        let inputs: [(&str, &[Event]); 3] = [("train", &first), ("valid", &second), ("test", &third)];
        let (_directory, dataset) = run(&inputs, None, None);
        let split_of = |file: usize, _: usize| inputs[file].0.to_owned();
        prop_assert_eq!(read_all(&dataset.unwrap()), expected(&inputs, split_of));
    }

    #[test]
    fn whole_users_and_single_rows(events in events(0..200)) {
        for split in [Split::User { valid: 0.0, test: 0.4 }, Split::Random { valid: 0.3, test: 0.3 }] {
            let events = padded(events.clone());
            let (_directory, dataset) = run(&[("train", &events)], Some(split), None);
            let Ok(dataset) = dataset else { continue };
            let rows = read_all(&dataset);
            // Every row is in one split, and has the histories of the definition.
            let of: BTreeMap<u64, String> = rows.iter().map(|row| (row.line, row.split.clone())).collect();
            prop_assert_eq!(of.len(), events.len());
            prop_assert_eq!(&rows, &expected(&[("train", &events)], |_, line| of[&(line as u64 + 1)].clone()));
            if let Split::User { .. } = split {
                let users: BTreeSet<(u8, &String)> =
                    rows.iter().map(|row| (events[row.line as usize - 1].user, &row.split)).collect();
                let distinct: BTreeSet<u8> = events.iter().map(|event| event.user).collect();
                prop_assert_eq!(users.len(), distinct.len());
            }
        }
    }

    /// Where it is asked for, rows of one time see those before them in the file.
    #[test]
    fn ties_by_the_order_of_the_file(events in events(0..120)) {
        let events = padded(events);
        let (_directory, dataset) = run_like(&[("train", &events)], None, None, None, Ties::FileOrder);
        let found = read_all(&dataset.unwrap());
        let inputs: [(&str, &[Event]); 1] = [("train", &events)];
        prop_assert_eq!(found, expected_like(&inputs, BTreeSet::new(), Ties::FileOrder, |_, _| "train".into()));
    }

    /// Rows to be scored are no events: they see what the user did in the run's data, strictly before.
    #[test]
    fn rows_to_be_scored_see_earlier_events_of_the_run(first in events(0..120), second in events(1..60)) {
        let first = padded(first);
        let (_directory, dataset) = run(&[("train", &first)], Some(Split::LeaveLast { valid: 1, test: 1 }), None);
        let dataset = dataset.unwrap();
        let known = dataset.vocabularies().unwrap();
        let scored = |events: &[Event], past: Option<&Dataset>| {
            let directory = tempfile::tempdir().unwrap();
            let (out, bad) = (directory.path().join("set"), BadRows::default());
            let chunks = Box::new(chunks("new", events).into_iter());
            let encoded = encode("new", chunks, Vec::new(), (&known, past), &bad, &out, &mut |_| {}).unwrap();
            (read_all(&Dataset::open(&out).unwrap()), encoded)
        };
        let text = |item: u8| {
            let text = format!("i{item}");
            if known.find("item", &text).is_none() { "?".into() } else { text }
        };
        let (rows, encoded) = scored(&second, Some(&dataset));
        let mut overlapping = 0;
        for row in &rows {
            let event = &second[row.line as usize - 1];
            let mut earlier: Vec<&Event> =
                first.iter().filter(|other| other.user == event.user && other.time < event.time).collect();
            earlier.sort_by_key(|event| event.time);
            let last = |length: usize, liked: bool| {
                let kept: Vec<_> = earlier.iter().filter(|event| event.like || !liked).collect();
                kept[kept.len().saturating_sub(length)..].iter().map(|event| text(event.item)).collect::<Vec<_>>()
            };
            prop_assert_eq!(&row.liked, &last(3, true));
            prop_assert_eq!(&row.seen, &last(5, false));
            let same = |other: &&Event| (other.user, other.item, other.time) == (event.user, event.item, event.time);
            overlapping += u64::from(first.iter().any(|other| same(&other)));
        }
        prop_assert_eq!(encoded.overlapping, overlapping);
        prop_assert_eq!(encoded.notes().iter().any(|note| note.text.contains("rows of the run's own data")), overlapping > 0);
        let (rows, encoded) = scored(&second, None);
        prop_assert!(encoded.overlapping == 0 && rows.iter().all(|row| row.liked.is_empty() && row.seen.is_empty()));
        // The rows of the run itself see what they saw in training.
        let histories = |rows: Vec<Row>| rows.into_iter().map(|row| (row.line, row.liked, row.seen)).collect::<BTreeSet<_>>();
        let (rows, encoded) = scored(&first, Some(&dataset));
        prop_assert_eq!(encoded.overlapping, first.len() as u64);
        prop_assert_eq!(histories(rows), histories(read_all(&dataset)));
    }

    /// Ids and transforms stay, new values follow, and rows and histories are those of the definition.
    #[test]
    fn vocabularies_go_on(first in events(0..60), second in events(1..120)) {
        let split = Some(Split::User { valid: 0.0, test: 0.4 });
        let (first, second) = (padded(first), padded(second));
        let (_old, old) = run(&[("train", &first)], split, None);
        let Ok(old) = old else { return Ok(()) };
        let known = old.vocabularies().unwrap();
        let (_new, new) = run_like(&[("train", &second)], split, None, Some(&known), Ties::Apart);
        let Ok(new) = new else { return Ok(()) };
        let grown = new.vocabularies().unwrap();
        prop_assert_eq!(&known.manifest().fitted, &grown.manifest().fitted);
        for (number, info) in known.manifest().vocabularies.iter().enumerate() {
            for id in 0..u64::from(info.ids) {
                prop_assert_eq!(known.text(number, id), grown.text(number, id));
            }
        }
        let rows = read_all(&new);
        let of: BTreeMap<u64, String> = rows.iter().map(|row| (row.line, row.split.clone())).collect();
        let had = (0..=u8::MAX).filter(|item| known.find("item", &format!("i{item}")).is_some()).collect();
        let inputs: [(&str, &[Event]); 1] = [("train", &second)];
        prop_assert_eq!(&rows, &expected_like(&inputs, had, Ties::Apart, |_, line| of[&(line as u64 + 1)].clone()));
        // What the second rows do not show of an item is what the first ones did.
        for item in (0..=u8::MAX).map(|item| format!("i{item}")) {
            let [before, after] = [&known, &grown].map(|all| all.entry(all.manifest().item.unwrap(), &item));
            if known.find("item", &item).is_some() {
                let brands = [(&known, before), (&grown, after)].map(|(all, id)| {
                    let mut batch = Batch::default();
                    all.items().unwrap().put(&[id], &mut batch).unwrap();
                    all.value("brand", batch.sparse[2].ids[0]).map(str::to_owned)
                });
                prop_assert_eq!(&brands[0], &brands[1]);
            }
        }
    }

    #[test]
    fn negatives_are_in_neither_this_split_nor_an_earlier_one(events in events(20..200), popular in any::<bool>(), epoch in 0u64..1000) {
        let draw = if popular { Draw::Popularity } else { Draw::Uniform };
        let negatives = Negatives { per_positive: 3, draw, splits: vec!["train".into(), "test".into()] };
        let events = padded(events);
        let split = Split::LeaveLast { valid: 1, test: 1 };
        let (_directory, dataset) = run(&[("train", &events)], Some(split), Some(&negatives));
        let dataset = dataset.unwrap();
        let vocabularies = dataset.vocabularies().unwrap();
        // The items of each user by split, which come in the order of time.
        let names: Vec<&str> = dataset.splits().iter().map(|split| split.name()).collect();
        let mut has: BTreeMap<(usize, String), BTreeSet<String>> = BTreeMap::new();
        for (number, split) in dataset.splits().iter().enumerate() {
            let shards = &split.info().shards;
            let own = shards.iter().scan(0, |first, shard| {
                let from = *first;
                *first += shard.rows * u64::from(shard.copies);
                Some((from..*first).step_by(shard.copies as usize))
            });
            for sample in own.flatten() {
                let event = &events[split.source(sample).unwrap().1 as usize - 1];
                has.entry((number, format!("u{}", event.user))).or_default().insert(format!("i{}", event.item));
            }
        }
        let mut batch = Batch::default();
        let mut own = Batch::default();
        for split in dataset.splits() {
            let indices: Vec<u64> = (0..split.rows()).collect();
            split.read(&indices, Seed(epoch), &mut batch).unwrap();
            let positive = split.info().labels[0].positive;
            let drawn = if split.name() == "valid" { 0 } else { 3 * positive };
            prop_assert_eq!(split.rows(), split.info().stored + drawn);
            let mut seen = 0;
            for row in 0..batch.rows {
                // A negative has the place of its positive, and another item.
                let (_, line) = split.source(row as u64).unwrap();
                let event = &events[line as usize - 1];
                let (user, item) = (vocabularies.user(batch.user[row]), vocabularies.item(batch.item[row]));
                prop_assert_eq!(user, format!("u{}", event.user));
                if item == format!("i{}", event.item) {
                    prop_assert_eq!(batch.labels[row], f32::from(u8::from(event.like)));
                    continue;
                }
                seen += 1;
                let place = names.iter().position(|name| *name == split.name()).unwrap();
                let left_out = |place: usize| has.get(&(place, user.to_owned())).is_some_and(|items| items.contains(item));
                prop_assert!(event.like && !(0..=place).any(left_out), "{} has {} by {}", user, item, split.name());
                prop_assert_eq!(batch.labels[row], 0.0);
                let number: u32 = item[1..].parse().unwrap();
                let brand = vocabularies.value("brand", batch.sparse[2].of_row(row)[0]).unwrap();
                prop_assert_eq!(brand, format!("b{}", number % 3));
                prop_assert_eq!(batch.sparse[3].of_row(row).len() as u32, number % 4);
                prop_assert!(number.is_multiple_of(5) || batch.numeric[row] == number as f32);
                prop_assert!(dataset.items().unwrap().popularity(batch.item[row] as u32) > 0);
            }
            prop_assert_eq!(seen, drawn);
            // The same epoch draws the same, in any order.
            let reversed: Vec<u64> = indices.iter().rev().copied().collect();
            split.read(&reversed, Seed(epoch), &mut own).unwrap();
            own.item.reverse();
            prop_assert_eq!(&own.item, &batch.item);
        }
    }
}

/// What a user has in a later split is drawn in training as often as anything else the user does not have there: an item that never is
/// would be known to come later.
#[test]
fn what_comes_later_is_drawn_as_often_as_what_never_comes() {
    // Twenty users have items 0 to 4 in training, 5 in validation and 6 in the test; two others have 0 to 7 and 5 to 12 in training.
    let mut events: Vec<Event> = Vec::new();
    for user in 0..20 {
        events.extend((0..7).map(|item| Event { user, item, time: i64::from(item), like: true }));
    }
    for (user, first) in [(98, 0), (99, 5)] {
        events.extend((first..first + 10).map(|item| Event { user, item, time: i64::from(item), like: true }));
    }
    let negatives = Negatives { per_positive: 40, draw: Draw::Uniform, splits: vec!["train".into(), "valid".into()] };
    let (_directory, dataset) =
        run(&[("train", &events)], Some(Split::LeaveLast { valid: 1, test: 1 }), Some(&negatives));
    let dataset = dataset.unwrap();
    let vocabularies = dataset.vocabularies().unwrap();
    let mut batch = Batch::default();
    let mut shares = |split: &str| {
        let split = dataset.split(split).unwrap();
        split.read(&(0..split.rows()).collect::<Vec<_>>(), Seed(4), &mut batch).unwrap();
        let of_twenty = |row: &usize| !["u98", "u99"].contains(&vocabularies.user(batch.user[*row]));
        let drawn = (0..batch.rows).filter(|row| batch.labels[*row] == 0.0 && of_twenty(row));
        let items: Vec<&str> = drawn.map(|row| vocabularies.item(batch.item[row])).collect();
        let share = |item: &str| items.iter().filter(|drawn| **drawn == item).count() as f64 / items.len() as f64;
        ["i4", "i5", "i6", "i11"].map(share)
    };
    for (share, expected) in shares("train").into_iter().zip([0.0, 1.0 / 8.0, 1.0 / 8.0, 1.0 / 8.0]) {
        assert!((share - expected).abs() < 0.03, "{share} {expected}");
    }
    for (share, expected) in shares("valid").into_iter().zip([0.0, 0.0, 1.0 / 7.0, 1.0 / 7.0]) {
        assert!((share - expected).abs() < 0.06, "{share} {expected}");
    }
}

fn some() -> Vec<Event> {
    (0..60).map(|row| Event { user: row % 4, item: row % 11, time: i64::from(row), like: row % 3 == 0 }).collect()
}

const FRACTION: Option<Split> = Some(Split::UserFraction { valid: 0.0, test: 0.2 });

fn failure(events: &[Event], split: Option<Split>, change: impl Fn(&mut Schema)) -> String {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("set");
    let bad = BadRows::default();
    let mut schema = schema();
    change(&mut schema);
    let options = Options {
        schema: &schema,
        split,
        ties: Default::default(),
        negatives: None,
        like: None,
        seed: Seed(7),
        bad_rows: &bad,
    };
    let inputs = vec![Input::new("train", chunks("events.csv", events).into_iter())];
    let error = prepare(inputs, Vec::new(), &options, &out, &mut |_| {}).unwrap_err().to_string();
    assert_eq!(directory.path().read_dir().unwrap().count(), 0, "nothing is left behind");
    error
}

#[test]
fn failures_name_their_cause_and_mend() {
    let error = failure(&some(), FRACTION, |schema| schema.features[2].column = Some("brnd".into()));
    assert_eq!(error, "events.csv: there is no column `brnd`; did you mean `brand`?");
    let error = failure(&some(), FRACTION, |schema| schema.features[2].kind = FeatureKind::Numeric);
    assert!(error.starts_with("events.csv:1: `brand`: expected a finite number, found `b0`; mend the row"), "{error}");
    let error = failure(&some(), FRACTION, |schema| schema.tasks[0].column = Some("item".into()));
    assert!(error.starts_with("events.csv:1: `item`: expected a number as the label of `like`, found `i0`"), "{error}");
    let error = failure(&some(), FRACTION, |schema| schema.tasks[0].at_least = Some(2.0));
    assert!(error.starts_with("`like`: the label is never positive in training; check"), "{error}");
    let error = failure(&some(), FRACTION, |schema| schema.tasks[0].at_least = Some(0.0));
    assert!(error.starts_with("`like`: the label is never negative in training"), "{error}");
    let error = failure(&some(), Some(Split::TimeAt { valid: None, test: Some(TimeBorder::Number(1000)) }), |_| {});
    assert!(error.contains("split `test` is empty"), "{error}");
    let error = failure(&some(), FRACTION, |schema| schema.features[3].separator = None);
    assert!(error.contains("needs a list type or a separator"), "{error}");
    let error = failure(&some(), Some(Split::TimeAt { valid: None, test: Some(TimeBorder::Number(9)) }), |schema| {
        schema.time = None
    });
    assert!(error.contains("name its column as `schema.time`"), "{error}");
}

#[test]
fn malformed_rows_are_dropped_and_counted_within_the_budget() {
    let directory = tempfile::tempdir().unwrap();
    let bad = BadRows::new(2);
    let schema = schema();
    let options = Options {
        schema: &schema,
        split: FRACTION,
        ties: Default::default(),
        negatives: None,
        like: None,
        seed: Seed(7),
        bad_rows: &bad,
    };
    let columns = |user: &[&str], time: &[&str], price: &[&str]| {
        let all = |value: &str| texts(std::iter::repeat_n(value, user.len()).collect::<Vec<_>>());
        let like = texts(user.iter().enumerate().map(|(row, _)| if row % 2 == 0 { "1" } else { "0" }));
        let of = |values: &[&str]| texts(values.to_vec());
        vec![
            ("user", of(user)),
            ("item", all("i")),
            ("brand", all("b")),
            ("tags", all("t")),
            ("price", of(price)),
            ("time", of(time)),
            ("like", like),
        ]
    };
    let good = chunk("f", 1, columns(&["a"; 8], &["1"; 8], &["1"; 8]));
    let odd = chunk("f", 9, columns(&["", "x", "a"], &["1", "soon", "1"], &["1", "inf", "1"]));
    let inputs = vec![Input::new("train", [Ok(good.clone()), Ok(odd)].into_iter())];
    let manifest = prepare(inputs, Vec::new(), &options, &directory.path().join("set"), &mut |_| {}).unwrap();
    assert_eq!(manifest.bad_rows, 2);
    assert_eq!(manifest.splits.iter().map(|split| split.rows).sum::<u64>(), 9);
    let vocabularies = Vocabularies::open(directory.path().join("set")).unwrap();
    assert_eq!(vocabularies.find("user", "x"), None, "a dropped row teaches no value");
    let worse = chunk("f", 9, columns(&["a"], &["1"], &["inf"]));
    let inputs = vec![Input::new("train", [Ok(good), Ok(worse)].into_iter())];
    let error = prepare(inputs, Vec::new(), &options, &directory.path().join("set"), &mut |_| {}).unwrap_err();
    assert!(error.to_string().starts_with("f:9: `price`: expected a finite number, found inf"), "{error}");
    // The data set that was there is untouched.
    assert_eq!(Dataset::open(directory.path().join("set")).unwrap().manifest(), &manifest);
}

#[test]
fn a_place_that_is_no_data_set_is_not_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("letter.txt"), "dear").unwrap();
    let bad = BadRows::default();
    let schema = schema();
    let options = Options {
        schema: &schema,
        split: FRACTION,
        ties: Default::default(),
        negatives: None,
        like: None,
        seed: Seed(7),
        bad_rows: &bad,
    };
    let inputs = vec![Input::new("train", chunks("f", &some()).into_iter())];
    let error = prepare(inputs, Vec::new(), &options, directory.path(), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("not a data set; choose another place"), "{error}");
    assert!(directory.path().join("letter.txt").exists());
}

/// A file that outgrows a limit fails as it does on a full disk. The limit is of a process, so the test runs itself in
/// one of its own.
#[test]
#[cfg(unix)]
fn a_full_disk_leaves_what_was_there() {
    let many: Vec<Event> = (0..30_000u32)
        .map(|row| Event { user: (row % 97) as u8, item: (row % 251) as u8, time: row.into(), like: row % 2 == 0 })
        .collect();
    let prepare_in = |out: &Path| {
        let (bad, schema) = (BadRows::default(), schema());
        let options = Options {
            schema: &schema,
            split: FRACTION,
            ties: Default::default(),
            negatives: None,
            like: None,
            seed: Seed(7),
            bad_rows: &bad,
        };
        let inputs = vec![Input::new("train", chunks("f", &many).into_iter())];
        prepare(inputs, Vec::new(), &options, out, &mut |_| {})
    };
    if let Ok(out) = std::env::var("KITESTRING_TEST_FULL_DISK") {
        let error = prepare_in(Path::new(&out)).unwrap_err();
        assert_eq!(error.kind(), kitestring_core::Kind::Io);
        assert!(error.to_string().contains("cannot write"), "{error}");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("set");
    prepare_in(&out).unwrap();
    let before = std::fs::read(out.join("manifest.json")).unwrap();
    let name = "prepare::tests::a_full_disk_leaves_what_was_there";
    let program = std::env::current_exe().unwrap();
    let script = format!("trap '' XFSZ; ulimit -f 64; exec '{}' --exact {name} --nocapture", program.display());
    let child = std::process::Command::new("sh").args(["-c", &script]).env("KITESTRING_TEST_FULL_DISK", &out).output();
    let child = child.unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&child.stderr));
    assert_eq!(std::fs::read(out.join("manifest.json")).unwrap(), before);
    assert_eq!(directory.path().read_dir().unwrap().count(), 1);
    Dataset::open(&out).unwrap();
}

/// A finite number that 32 bits do not hold is malformed wherever it stands, and dropped and counted like any other.
#[test]
fn numbers_that_32_bits_do_not_hold_are_malformed() {
    let schema = Schema {
        weight: Some("weight".into()),
        propensity: Some("propensity".into()),
        features: vec![
            Feature::new("plain", FeatureKind::Numeric),
            Feature { transform: Transform::Standardize, ..Feature::new("scaled", FeatureKind::Numeric) },
            Feature { transform: Transform::Log, ..Feature::new("log", FeatureKind::Numeric) },
        ],
        tasks: vec![Task { kind: TaskKind::Regression, ..Task::binary("stay") }],
        ..Schema::default()
    };
    let names = ["plain", "scaled", "log", "weight", "propensity", "stay"];
    let tried = |column: &str, value: &str, allowed: u64| {
        let of = |name: &str| {
            let cells = (0..20).map(|row| match row {
                7 if name == column => value.to_owned(),
                _ => {
                    if name == "propensity" {
                        "0.5".into()
                    } else {
                        row.to_string()
                    }
                }
            });
            texts(cells.collect::<Vec<_>>().iter().map(String::as_str))
        };
        let rows = chunk("log.csv", 2, names.map(|name| (name, of(name))).to_vec());
        let (directory, bad) = (tempfile::tempdir().unwrap(), BadRows::new(allowed));
        let options = Options {
            schema: &schema,
            split: None,
            ties: Default::default(),
            negatives: None,
            like: None,
            seed: Seed(7),
            bad_rows: &bad,
        };
        let out = directory.path().join("set");
        prepare(vec![Input::new("train", [Ok(rows)].into_iter())], Vec::new(), &options, &out, &mut |_| {})
    };
    for (column, value) in [
        ("plain", "1e39"),
        ("plain", "-3.5e38"),
        ("scaled", "1e200"),
        ("log", "1e39"),
        ("weight", "1e39"),
        ("weight", "1e-60"),
        ("propensity", "1e-60"),
        ("stay", "-1e39"),
    ] {
        let error = tried(column, value, 0).unwrap_err().to_string();
        let place = format!("log.csv:9: `{column}`: expected a number that 32 bits can hold");
        assert!(error.starts_with(&place) && error.contains(value), "{column} {value}: {error}");
        let manifest = tried(column, value, 1).unwrap();
        assert_eq!((manifest.bad_rows, manifest.splits[0].rows), (1, 19));
        // What was fitted is a number in JSON, too.
        let again: Manifest = serde_json::from_str(&serde_json::to_string(&manifest).unwrap()).unwrap();
        assert_eq!(again, manifest);
    }
    for (column, value) in [("plain", "3.4e38"), ("plain", "1e-60"), ("log", "-3.4e38"), ("weight", "1e-40")] {
        assert_eq!(tried(column, value, 0).unwrap().bad_rows, 0, "{column} {value}");
    }
    // All values alike but one that is standardized away beyond 32 bits.
    let error = {
        let column =
            |value: &dyn Fn(i32) -> String| texts((0..20).map(value).collect::<Vec<_>>().iter().map(String::as_str));
        let one = || column(&|_| "1".into());
        let scaled = column(&|row| match row {
            0 => "1e-37".into(),
            19 => "3e38".into(),
            _ => "0".into(),
        });
        let time = column(&|row| row.to_string());
        let rows = vec![
            ("plain", one()),
            ("scaled", scaled),
            ("log", one()),
            ("weight", one()),
            ("propensity", one()),
            ("stay", one()),
            ("time", time),
        ];
        let schema = Schema { time: Some("time".into()), ..schema.clone() };
        let (directory, bad) = (tempfile::tempdir().unwrap(), BadRows::default());
        let split = Some(Split::TimeAt { valid: None, test: Some(TimeBorder::Number(19)) });
        let options = Options {
            schema: &schema,
            split,
            ties: Default::default(),
            negatives: None,
            like: None,
            seed: Seed(7),
            bad_rows: &bad,
        };
        let inputs = vec![Input::new("train", [Ok(chunk("log.csv", 2, rows))].into_iter())];
        prepare(inputs, Vec::new(), &options, &directory.path().join("set"), &mut |_| {}).unwrap_err().to_string()
    };
    assert!(error.contains("`scaled`: 3e38 is more than 32 bits can hold once it is standardized"), "{error}");
}
