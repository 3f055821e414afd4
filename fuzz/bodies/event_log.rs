//! Opens bytes as a behaviour log, pushes events, opens it again. Called by the fuzzer and by the tests of the device crate.

use kitestring_device::behaviour::{Config, Event, Layout, Memory, Store};
use std::collections::HashSet;

const NOW: i64 = 1_700_000_000_000;

/// The first byte says whether the rest is a log as it is, or is made one: a header, and chunks with their lengths and
/// checksums put right, so that what lies behind the checksums is reached.
pub fn event_log(data: &[u8]) {
    let Some((&kind, rest)) = data.split_first() else { return };
    let layout = layout(kind & 2 != 0);
    let bytes = if kind & 1 == 0 { rest.to_vec() } else { framed(rest) };
    let length = bytes.len();
    // A small capacity, so that a short input gets past it.
    let config = Config { capacity: 8, max_bytes: 128 << 10, ..Config::default() };
    let Ok((mut store, _)) = Store::open(Box::new(Memory::new(bytes)), layout.clone(), config, NOW) else { return };
    check(&store, &config, length);
    let texts = ["item", "shop"];
    let texts = &texts[..layout.columns().len()];
    for (number, &byte) in rest.iter().take(20).enumerate() {
        let now = NOW.saturating_add((i64::from(byte) - 128) * 10_000);
        let id = (byte & 1 == 0).then_some(u64::from(byte >> 4));
        let event = Event { time: now - i64::from(byte), action: 0, texts, numbers: &[number as f32], id };
        store.push(&event, now).expect("memory has room");
        check(&store, &config, length);
    }
    let before: Vec<_> = store.events(i64::MIN).map(|event| format!("{event:?}")).collect();
    let image = store.image().to_vec();
    let (again, report) = Store::open(Box::new(Memory::new(image)), layout, config, i64::MIN).expect("a log of ours");
    assert_eq!((report.torn_bytes, report.lost_bytes, report.header_lost), (0, 0, false));
    let after: Vec<_> = again.events(i64::MIN).map(|event| format!("{event:?}")).collect();
    assert_eq!(before, after);
}

/// Another one now and then, so that events are brought over.
fn layout(second: bool) -> Layout {
    let layout = if second {
        Layout::new(&["click", "exposure"], &["shop", "item"], &["seconds"])
    } else {
        Layout::new(&["exposure", "click", "delete"], &["item"], &["seconds"])
    };
    layout.expect("a layout")
}

fn check(store: &Store, config: &Config, length: usize) {
    assert!(store.kept() <= config.capacity);
    assert!(store.image().len() <= 4 * length + 4 * config.max_bytes, "{} bytes", store.image().len());
    let places: Vec<_> = store.events(i64::MIN).map(|event| (event.epoch(), event.time())).collect();
    assert!(places.is_sorted());
    let ids: Vec<_> = store.events(i64::MIN).filter_map(|event| event.id()).collect();
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len(), "an id is there twice");
    for event in store.events(NOW) {
        assert!(usize::from(event.action()) < store.layout().actions().len());
        assert_eq!(event.texts().count(), store.layout().columns().len());
    }
}

/// A log of the first layout with chunks of the data as records.
fn framed(mut data: &[u8]) -> Vec<u8> {
    let store = Store::open(Box::new(Memory::default()), layout(false), Config::default(), NOW);
    let mut log = store.map(|(store, _)| store.image().to_vec()).expect("an empty log");
    while let Some((&length, rest)) = data.split_first() {
        let (payload, rest) = rest.split_at(usize::from(length).min(rest.len()));
        let mut frame = (payload.len() as u32).to_le_bytes().to_vec();
        frame.extend_from_slice(payload);
        log.extend_from_slice(&crc32(&frame).to_le_bytes());
        log.extend_from_slice(&frame);
        data = rest;
    }
    log
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |rest: u32, _| if rest & 1 == 1 { 0xedb8_8320 ^ (rest >> 1) } else { rest >> 1 };
    !bytes.iter().fold(!0, |rest, &byte| (0..8).fold(rest ^ u32::from(byte), step))
}
