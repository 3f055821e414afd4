//! Bytes that are not what was written: what can be read is kept, what cannot is counted.

use crate::disk::Disk;
use crate::model::{Seen, seen};
use kitestring_device::behaviour::{Config, Event, Layout, Opened, Store};

const NOON: i64 = 1_700_000_000_000;

fn layout() -> Layout {
    Layout::new(&["exposure", "click"], &["item"], &["seconds"]).unwrap()
}

fn open(bytes: &[u8]) -> (Disk, Store, Opened) {
    let disk = Disk::with(bytes.to_vec());
    let (store, report) = Store::open(Box::new(disk.clone()), layout(), Config::default(), NOON).unwrap();
    (disk, store, report)
}

/// A log of ten events, its bytes, and where its records begin.
fn log() -> (Vec<u8>, Vec<Seen>, Vec<usize>) {
    let (disk, mut store, _) = open(&[]);
    let mut starts = vec![store.image().len()];
    for id in 0..10u64 {
        let item = format!("item-{}", "7".repeat(id as usize));
        let event = Event { time: NOON + id as i64, action: 1, texts: &[&item], numbers: &[0.5], id: Some(id) };
        store.push(&event, NOON).unwrap();
        starts.push(store.image().len());
    }
    let bytes = disk.change(|content| content.durable.clone());
    assert_eq!(bytes, store.image());
    (bytes, seen(&store, NOON), starts)
}

#[test]
fn a_torn_tail_is_cut_off_and_counted() {
    let (bytes, events, starts) = log();
    for end in starts[0]..=bytes.len() {
        let (disk, store, report) = open(&bytes[..end]);
        let whole = starts.iter().filter(|&&start| start <= end).count() - 1;
        assert_eq!(seen(&store, NOON), events[..whole], "{end}");
        assert_eq!(report, Opened { torn_bytes: end - starts[whole], ..Opened::default() });
        assert_eq!(disk.change(|content| content.current.clone()), bytes[..starts[whole]]);
    }
    // What a file system leaves that had given out the room and not yet the bytes.
    let (_, store, report) = open(&[&bytes[..], &[0; 5000]].concat());
    assert_eq!((seen(&store, NOON), report.torn_bytes), (events, 5000));
}

#[test]
fn a_flipped_bit_loses_its_event_alone() {
    let (bytes, events, starts) = log();
    for at in starts[0]..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            let (_, store, report) = open(&flipped);
            let hit = starts.iter().filter(|&&start| start <= at).count() - 1;
            let left: Vec<_> = [&events[..hit], &events[hit + 1..]].concat();
            assert_eq!(seen(&store, NOON), left, "byte {at}");
            let size = starts[hit + 1] - starts[hit];
            let expected = if hit == 9 { (size, 0, 0) } else { (0, size, 1) };
            assert_eq!((report.torn_bytes, report.lost_bytes, report.gaps), expected, "byte {at}");
            // It is found once: the file was written anew.
            assert_eq!(open(store.image()).2, Opened::default());
        }
    }
}

#[test]
fn a_header_that_cannot_be_read_begins_the_log_anew() {
    let (bytes, _, starts) = log();
    let begun = |bytes: &[u8]| {
        let (disk, store, report) = open(bytes);
        assert_eq!(seen(&store, NOON), []);
        assert_eq!(report, Opened { lost_bytes: bytes.len(), header_lost: true, ..Opened::default() });
        assert_eq!(disk.change(|content| content.durable.clone()), open(&[]).1.image());
    };
    for at in 12..starts[0] {
        let mut flipped = bytes.clone();
        flipped[at] ^= 4;
        begun(&flipped);
    }
    for end in 1..starts[0] {
        begun(&bytes[..end]);
    }
}

#[test]
fn what_is_no_log_or_of_another_format_is_refused_and_left() {
    let (bytes, ..) = log();
    let refused = |bytes: &[u8]| {
        let disk = Disk::with(bytes.to_vec());
        let result = Store::open(Box::new(disk.clone()), layout(), Config::default(), NOON);
        let error = result.err().expect("refused").to_string();
        disk.change(|content| assert_eq!((&content.current[..], content.operations), (bytes, 1)));
        error
    };
    let mut newer = bytes.clone();
    newer[8] = 2;
    assert_eq!(
        refused(&newer),
        "disk: `format`: format 2 of the behaviour log, and this version knows 1; update the app; the file is as it was"
    );
    assert_eq!(refused(b"item,user\n"), "disk: this is no behaviour log; give it another path");
    assert_eq!(refused(b"k!"), "disk: this is no behaviour log; give it another path");
}

/// Bytes that all look like the beginning of a long record must not take the square of their number.
#[test]
fn a_hostile_file_is_opened_in_linear_time() {
    let (bytes, events, _) = log();
    let mut hostile = bytes.clone();
    while hostile.len() < 4 << 20 {
        hostile.extend_from_slice(&[0, 0x80, 0, 0]);
    }
    let (_, store, report) = open(&hostile);
    assert_eq!((seen(&store, NOON), report.torn_bytes), (events, hostile.len() - bytes.len()));
}
