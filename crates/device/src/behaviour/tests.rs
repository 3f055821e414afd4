//! The rules of the module's documentation, one by one.
#![allow(clippy::unwrap_used)]

use super::*;
use kitestring_core::Kind;

const NOON: i64 = 1_700_000_000_000;
const MINUTE: i64 = 60 * 1000;
const DAY: i64 = 24 * 60 * MINUTE;

fn layout() -> Layout {
    Layout::new(&["exposure", "click", "delete"], &["item"], &["seconds"]).unwrap()
}

fn store(config: Config) -> Store {
    Store::open(Box::new(Memory::default()), layout(), config, NOON).unwrap().0
}

/// Pushes an exposure that is its id; what became of it, and the time it was given.
fn push(store: &mut Store, id: u64, time: i64, now: i64) -> Pushed {
    let item = id.to_string();
    store.push(&Event { time, action: 0, texts: &[&item], numbers: &[0.0], id: Some(id) }, now).unwrap()
}

fn ids(store: &Store, now: i64) -> Vec<u64> {
    store.events(now).map(|event| event.id().unwrap()).collect()
}

fn appended(time: i64) -> Pushed {
    Pushed { outcome: Outcome::Appended, time, epoch_began: false }
}

fn inserted(time: i64, followers: usize) -> Pushed {
    Pushed { outcome: Outcome::Inserted { followers }, ..appended(time) }
}

#[test]
fn a_late_event_is_placed_by_its_time_and_ties_by_arrival() {
    let mut store = store(Config::default());
    assert_eq!(push(&mut store, 1, NOON, NOON), appended(NOON));
    assert_eq!(push(&mut store, 2, NOON + MINUTE, NOON + MINUTE), appended(NOON + MINUTE));
    assert_eq!(push(&mut store, 3, NOON + MINUTE, NOON + MINUTE), appended(NOON + MINUTE));
    assert_eq!(push(&mut store, 4, NOON, NOON + MINUTE), inserted(NOON, 2));
    assert_eq!(push(&mut store, 5, NOON - 3 * MINUTE, NOON + MINUTE), inserted(NOON - 3 * MINUTE, 4));
    assert_eq!(ids(&store, NOON), [5, 1, 4, 2, 3]);
    let newest_first: Vec<_> = store.events(NOON).rev().map(|event| event.id().unwrap()).collect();
    assert_eq!(newest_first, [3, 2, 4, 1, 5]);
}

#[test]
fn an_event_that_is_too_late_is_placed_at_the_edge_of_the_window() {
    let mut store = store(Config::default());
    push(&mut store, 1, NOON, NOON);
    push(&mut store, 2, NOON + 10 * MINUTE, NOON + 10 * MINUTE);
    let edge = NOON + 5 * MINUTE;
    assert_eq!(push(&mut store, 3, NOON - DAY, NOON + 10 * MINUTE), inserted(edge, 1));
    assert_eq!(ids(&store, NOON), [1, 3, 2]);
}

/// What an app held back for a day and then delivers in order is late for nobody.
#[test]
fn old_events_in_order_keep_their_times() {
    let mut store = store(Config::default());
    assert_eq!(push(&mut store, 1, NOON - DAY, NOON), appended(NOON - DAY));
    assert_eq!(push(&mut store, 2, NOON - DAY / 2, NOON), appended(NOON - DAY / 2));
    assert_eq!(push(&mut store, 3, NOON, NOON), appended(NOON));
}

#[test]
fn an_event_of_the_future_is_of_now() {
    let mut store = store(Config::default());
    assert_eq!(push(&mut store, 1, NOON + 5 * MINUTE, NOON), appended(NOON + 5 * MINUTE));
    assert_eq!(push(&mut store, 2, NOON + 5 * MINUTE + 1, NOON), inserted(NOON, 1));
    assert_eq!(push(&mut store, 3, i64::MAX, NOON + DAY), appended(NOON + DAY));
}

#[test]
fn a_clock_that_jumps_back_begins_an_epoch() {
    let mut store = store(Config::default());
    push(&mut store, 1, NOON, NOON);
    // Ahead, and a little back: neither is an epoch.
    assert_eq!(push(&mut store, 2, NOON + DAY, NOON + DAY), appended(NOON + DAY));
    assert!(!push(&mut store, 3, NOON + DAY, NOON + DAY - 5 * MINUTE).epoch_began);
    let began = Pushed { epoch_began: true, ..appended(NOON) };
    assert_eq!(push(&mut store, 4, NOON, NOON), began);
    // Late within the epoch, but before nothing of the one before.
    assert_eq!(push(&mut store, 5, NOON - MINUTE, NOON), inserted(NOON - MINUTE, 1));
    // Told by the clock of before: in the future of this one.
    assert_eq!(push(&mut store, 6, NOON + DAY, NOON + 1), appended(NOON + 1));
    assert_eq!(ids(&store, NOON), [1, 2, 3, 5, 4, 6]);
    let epochs: Vec<_> = store.events(NOON).map(|event| event.epoch()).collect();
    assert_eq!(epochs, [0, 0, 0, 1, 1, 1]);
}

/// Even where the event that came last is gone from the file.
#[test]
fn a_clock_outlives_compaction_and_opening() {
    let config = Config { keep_days: 2, ..Config::default() };
    let mut store = store(config);
    push(&mut store, 1, NOON, NOON);
    assert_eq!(push(&mut store, 2, NOON - MINUTE, NOON + DAY), inserted(NOON - MINUTE, 1));
    store.compact(NOON + 2 * DAY).unwrap();
    let image = Memory::new(store.image().to_vec());
    let (mut store, _) = Store::open(Box::new(image), layout(), config, NOON + 2 * DAY).unwrap();
    assert_eq!(ids(&store, NOON), [1]);
    assert!(push(&mut store, 3, NOON + DAY / 2, NOON + DAY / 2).epoch_began);
}

#[test]
fn an_event_is_taken_once_as_long_as_it_is_kept() {
    let mut store = store(Config { capacity: 2, ..Config::default() });
    push(&mut store, 1, NOON, NOON);
    push(&mut store, 2, NOON, NOON);
    assert_eq!(push(&mut store, 1, NOON + 1, NOON - DAY).outcome, Outcome::Duplicate);
    push(&mut store, 3, NOON, NOON);
    assert_eq!(push(&mut store, 1, NOON, NOON).outcome, Outcome::Appended);
    assert_eq!(ids(&store, NOON), [3, 1]);
    // Without an id nothing is known to be the same.
    let event = Event { time: NOON, action: 1, texts: &["x"], numbers: &[1.0], id: None };
    for _ in 0..2 {
        assert_eq!(store.push(&event, NOON).unwrap().outcome, Outcome::Appended);
    }
}

#[test]
fn the_oldest_go_first_and_what_is_older_than_all_is_not_taken() {
    let mut store = store(Config { capacity: 3, ..Config::default() });
    for id in 1..=5 {
        push(&mut store, id, NOON + id as i64, NOON + 5);
    }
    assert_eq!(ids(&store, NOON), [3, 4, 5]);
    assert_eq!(push(&mut store, 6, NOON, NOON + 5).outcome, Outcome::TooOld);
    assert_eq!(push(&mut store, 7, NOON + 4, NOON + 5), inserted(NOON + 4, 1));
    assert_eq!(ids(&store, NOON), [4, 7, 5]);
}

#[test]
fn what_has_expired_is_neither_returned_nor_left_on_disk() {
    let mut store = store(Config { keep_days: 2, ..Config::default() });
    push(&mut store, 1, NOON, NOON);
    push(&mut store, 2, NOON + DAY, NOON + DAY);
    assert_eq!(ids(&store, NOON + 2 * DAY), [1, 2]);
    assert_eq!(ids(&store, NOON + 2 * DAY + 1), [2]);
    assert_eq!(push(&mut store, 3, NOON - DAY, NOON + DAY + DAY / 2).outcome, Outcome::Inserted { followers: 1 });
    let mut fresh = Store::open(Box::new(Memory::default()), layout(), store.config, NOON).unwrap().0;
    assert_eq!(push(&mut fresh, 4, NOON - 3 * DAY, NOON).outcome, Outcome::TooOld);
    let holds = |store: &Store, item: &[u8]| store.image().windows(item.len()).any(|bytes| bytes == item);
    let event = Event { time: NOON, action: 0, texts: &["secret"], numbers: &[0.0], id: None };
    fresh.push(&event, NOON).unwrap();
    let image = fresh.image().to_vec();
    fresh.compact(NOON + 3 * DAY).unwrap();
    assert!(!holds(&fresh, b"secret") && fresh.kept() == 0);
    // Its id goes with an event.
    assert_eq!(push(&mut store, 1, NOON, NOON).outcome, Outcome::Duplicate);
    store.compact(NOON + 2 * DAY + 1).unwrap();
    assert_eq!(push(&mut store, 1, NOON + 2 * DAY, NOON + 2 * DAY).outcome, Outcome::Appended);
    // Nor is it there once the log was opened again.
    let open = |now| Store::open(Box::new(Memory::new(image.clone())), layout(), store.config, now).unwrap().0;
    assert!(holds(&open(NOON), b"secret"));
    assert!(!holds(&open(NOON + 3 * DAY), b"secret"));
}

#[test]
fn to_clear_is_to_forget() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("behaviour.log");
    let open = || Store::open(Box::new(Files::new(&path)), layout(), Config::default(), NOON).unwrap().0;
    let mut store = open();
    let begun = std::fs::read(&path).unwrap();
    push(&mut store, 1, NOON, NOON);
    store.clear().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), begun);
    assert_eq!(ids(&store, NOON), Vec::<u64>::new());
    // Of the clock too: an older event begins no epoch, and an id may come again.
    assert_eq!(push(&mut store, 1, NOON - DAY, NOON - DAY), appended(NOON - DAY));
    drop(store);
    assert_eq!(ids(&open(), NOON), [1]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn the_last_of_some_actions() {
    let mut store = store(Config::default());
    for (number, action) in [0, 1, 0, 2, 1, 0].into_iter().enumerate() {
        let event = Event { time: NOON + number as i64, action, texts: &["x"], numbers: &[number as f32], id: None };
        store.push(&event, NOON + number as i64).unwrap();
    }
    let last = |count, actions: &[u16]| -> Vec<f32> {
        store.last(count, actions, NOON).map(|event| event.number(0).unwrap()).collect()
    };
    assert_eq!(last(2, &[0, 1]), [5.0, 4.0]);
    assert_eq!(last(9, &[2]), [3.0]);
    assert_eq!(last(9, &[]), [0.0; 0]);
}

#[test]
fn the_file_stays_within_its_bound() {
    let config = Config { capacity: 50, ..Config::default() };
    let mut store = store(config);
    let mut most = 0;
    for id in 0..5000 {
        push(&mut store, id, NOON + id as i64, NOON + id as i64);
        most = most.max(store.image().len());
    }
    let kept = store.kept;
    assert!(most <= 2 * kept + 2 * 4096, "{most} bytes for {kept}");
    assert_eq!(ids(&store, NOON), (4950..5000).collect::<Vec<_>>());
}

#[test]
fn an_event_that_does_not_fit_the_layout_is_refused() {
    let mut store = store(Config::default());
    let long = "x".repeat(40_000);
    let good = Event { time: NOON, action: 0, texts: &["x"], numbers: &[0.0], id: None };
    let mut wrong = |event: Event<'_>| {
        let error = store.push(&event, NOON).unwrap_err();
        assert_eq!(error.kind(), Kind::Data);
        error.to_string()
    };
    assert_eq!(wrong(Event { texts: &[], ..good }), "`texts`: the event has 0, and 1 are declared");
    assert_eq!(wrong(Event { numbers: &[1.0, 2.0], ..good }), "`numbers`: the event has 2, and 1 are declared");
    assert_eq!(wrong(Event { action: 3, ..good }), "`action`: action 3 of an event, and 3 are declared");
    assert_eq!(
        wrong(Event { texts: &[&long], ..good }),
        "`item`: the event's texts have 40002 bytes, and 32768 are the most"
    );
    assert_eq!(store.kept(), 0);
}

#[test]
fn a_config_that_cannot_be_is_refused() {
    let config = Config { capacity: 0, ..Config::default() };
    let error = Store::open(Box::new(Memory::default()), layout(), config, NOON).err().unwrap();
    assert_eq!(error.to_string(), "`capacity`: at least one event must be kept");
}
