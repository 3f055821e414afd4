//! A file of format 1 as it was written once, byte for byte.

use crate::model::seen;
use kitestring_device::behaviour::{Config, Event, Files, Layout, Memory, Opened, Store};
use std::path::{Path, PathBuf};

const NOON: i64 = 1_700_000_000_000;

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/behaviour-1.log")
}

fn layout() -> Layout {
    Layout::new(&["exposure", "click", "delete"], &["item", "Kategorie"], &["seconds"]).unwrap()
}

/// Two epochs, a late event, one without an id, one without a number, one without a text.
fn write() -> Store {
    let config = Config { reorder_window_ms: 1000, ..Config::default() };
    let (mut store, _) = Store::open(Box::new(Memory::default()), layout(), config, NOON).unwrap();
    let mut push = |time: i64, now: i64, action, texts: &[&str; 2], number, id| {
        let event = Event { time: NOON + time, action, texts, numbers: &[number], id };
        store.push(&event, NOON + now).unwrap();
    };
    push(0, 0, 0, &["item-1", "Bücher"], 2.5, Some(1));
    push(700, 700, 0, &["item-2", ""], f32::NAN, Some(u64::MAX));
    push(300, 800, 1, &["item-1", "Bücher"], 0.25, None);
    push(-60_000, -60_000, 2, &["item-3", "電気"], 1.0, Some(3));
    store
}

fn expected() -> Vec<crate::model::Seen> {
    let texts = |item: &str, category: &str| vec![item.to_owned(), category.to_owned()];
    vec![
        (0, NOON, 0, Some(1), texts("item-1", "Bücher"), Some(2.5)),
        (0, NOON + 300, 1, None, texts("item-1", "Bücher"), Some(0.25)),
        (0, NOON + 700, 0, Some(u64::MAX), texts("item-2", ""), None),
        (1, NOON - 60_000, 2, Some(3), texts("item-3", "電気"), Some(1.0)),
    ]
}

#[test]
fn a_file_of_format_1_opens() {
    let bytes = std::fs::read(path()).unwrap();
    let (store, report) = Store::open(Box::new(Memory::new(bytes)), layout(), Config::default(), NOON).unwrap();
    assert_eq!(report, Opened::default());
    assert_eq!(seen(&store, NOON), expected());
}

/// What is written today is format 1 still. `KITESTRING_WRITE=1` writes the file anew, when there is a new format to keep.
#[test]
fn what_is_written_is_format_1() {
    let store = write();
    if std::env::var_os("KITESTRING_WRITE").is_some() {
        std::fs::write(path(), store.image()).unwrap();
    }
    assert_eq!(store.image(), std::fs::read(path()).unwrap());
}

#[test]
fn an_update_of_the_app_brings_events_over_by_names() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log");
    std::fs::copy(path(), &file).unwrap();
    let updated = Layout::new(&["click", "exposure", "share"], &["Kategorie", "shop", "item"], &["speed", "seconds"]);
    let updated = updated.unwrap();
    let open = || Store::open(Box::new(Files::new(&file)), updated.clone(), Config::default(), NOON).unwrap();
    let (store, report) = open();
    let dropped = vec![("delete".to_owned(), 1)];
    assert_eq!(report, Opened { relaid: true, dropped_actions: dropped, ..Opened::default() });
    let check = |store: &Store| {
        let events: Vec<_> = store.events(NOON).collect();
        let actions: Vec<_> = events.iter().map(|event| event.action()).collect();
        assert_eq!(actions, [1, 0, 1]);
        assert_eq!(events[0].texts().collect::<Vec<_>>(), ["Bücher", "", "item-1"]);
        assert_eq!((events[0].number(0), events[0].number(1), events[0].number(2)), (None, Some(2.5), None));
        assert_eq!((events[2].id(), events[2].number(1)), (Some(u64::MAX), None));
    };
    check(&store);
    drop(store);
    let (mut store, report) = open();
    assert_eq!(report, Opened::default());
    check(&store);
    // The epoch of the event that was dropped goes on.
    let event = Event { time: NOON, action: 2, texts: &["", "", ""], numbers: &[1.0, 2.0], id: None };
    store.push(&event, NOON - 60_000).unwrap();
    assert_eq!(store.events(NOON).next_back().map(|event| (event.epoch(), event.action())), Some((1, 2)));
}
