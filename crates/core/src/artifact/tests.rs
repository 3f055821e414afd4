#![allow(clippy::unwrap_used)]
use super::*;
use crate::schema::{Feature, FeatureKind, Schema, Task};
use crate::seed::Seed;
use zeroize::Zeroizing;

pub(super) fn key(number: u8) -> SecretKey {
    SecretKey::from_bytes(&Zeroizing::new([number; 32]))
}

/// Contents with a network of two pages and two tables, one of them empty.
fn contents(release: u64) -> Contents {
    let schema = Schema {
        features: vec![Feature::new("item", FeatureKind::Categorical), Feature::new("shop", FeatureKind::Categorical)],
        tasks: vec![Task::binary("click")],
        ..Schema::default()
    };
    let row = |key: u64| key.to_le_bytes()[..6].to_vec();
    let keys: Vec<u64> = (0..2500).map(|at| at * 7 + 3).collect();
    Contents {
        version: "m1".into(),
        vocabulary_hash: String::new(),
        release,
        schema,
        fitted: Vec::new(),
        scenarios: Vec::new(),
        model: serde_json::json!({ "layers": 2 }),
        pages: vec![
            ("first".into(), bytemuck::cast_slice(&[1.0_f32, 2.0, 3.0]).to_vec()),
            ("second".into(), vec![7; 100]),
        ],
        tables: vec![
            TableContents {
                name: "item".into(),
                default: vec![9; 6],
                rows: keys.iter().flat_map(|key| row(*key)).collect(),
                keys,
            },
            TableContents { name: "shop".into(), default: vec![1; 9], keys: vec![], rows: vec![] },
        ],
    }
}

fn open(bytes: &[u8]) -> crate::Result<Artifact> {
    Artifact::open(Box::new(Aligned::from(bytes)), &[key(1).public()])
}

#[test]
fn what_was_sealed_is_read() {
    let contents = contents(4);
    let file = contents.seal(&key(1)).unwrap();
    let artifact = open(&file).unwrap();
    assert_eq!((artifact.manifest().release, artifact.manifest().version.as_str()), (4, "m1"));
    assert_eq!(artifact.manifest().model, contents.model);
    assert_eq!(artifact.publisher(), key(1).public());
    assert_eq!(artifact.numbers("first", 3).unwrap(), [1.0, 2.0, 3.0]);
    assert!(artifact.numbers("first", 2).is_err() && artifact.page("third").is_err());
    let rows = artifact.rows(0).unwrap();
    for (number, key) in contents.tables[0].keys.iter().enumerate() {
        assert_eq!(rows.find(*key), Some(number));
        assert_eq!(rows.row(number), &key.to_le_bytes()[..6]);
    }
    assert_eq!(rows.find(4), None);
    assert_eq!(rows.row(usize::MAX), [9; 6]);
    assert_eq!(artifact.rows(1).unwrap().row(0), [1; 9]);
    assert!(artifact.rows(2).is_err());
    assert_eq!(contents.seal(&key(1)).unwrap(), file, "the same contents are the same file");
}

/// A flipped bit is refused, wherever it is; so is every shorter and every longer file.
#[test]
fn damage_is_refused() {
    let file = contents(1).seal(&key(1)).unwrap();
    let seed = Seed(1);
    let some = (0..400).map(|at| seed.bits_at(at) as usize % (file.len() * 8));
    let head = 0..layout::HEAD * 8;
    let between = (layout::HEAD * 8..file.len() * 8).filter(|bit| bit % 8 == 0 && file[bit / 8] == 0).step_by(97);
    for bit in head.chain(some).chain(between) {
        let mut damaged = file.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(open(&damaged).is_err(), "bit {bit}");
    }
    for length in (0..200).chain((200..file.len()).step_by(61)) {
        let error = open(&file[..length]).unwrap_err();
        assert_eq!(error.kind(), crate::Kind::Format, "{length}: {error}");
    }
    let mut longer = file.clone();
    longer.push(0);
    assert!(open(&longer).unwrap_err().to_string().contains("were signed"));
}

#[test]
fn strangers_are_refused() {
    let file = contents(1).seal(&key(2)).unwrap();
    assert!(open(&file).unwrap_err().to_string().contains("not signed by a key that is trusted"));
    // Another's file under a trusted name: the key is swapped, the signature is not its.
    let mut forged = file.clone();
    forged[16..48].copy_from_slice(&key(1).public().0);
    assert!(open(&forged).unwrap_err().to_string().contains("signature"));
    let mut unsigned = contents(1).seal(&key(1)).unwrap();
    unsigned[48..112].fill(0);
    assert!(open(&unsigned).unwrap_err().to_string().contains("signature"));
    let mut newer = file;
    newer[8] = 2;
    assert!(open(&newer).unwrap_err().to_string().contains("update the app"));
    assert!(open(b"not at all").unwrap_err().to_string().contains("no artifact"));
}

#[test]
fn keys_travel_as_text_and_stay_hidden() {
    let text = key(5).to_hex();
    let back = SecretKey::from_hex(&format!("{}\n", *text), "k").unwrap();
    assert_eq!(back.public(), key(5).public());
    assert!(!format!("{back:?}").contains(&text[..8]));
    assert!(SecretKey::from_hex("12", "k").unwrap_err().to_string().starts_with("k: "));
    assert_eq!(PublicKey::from_hex(&back.public().to_string(), "k").unwrap(), back.public());
    assert!(PublicKey::from_hex(&"g".repeat(64), "k").is_err());
}

#[test]
fn contents_that_do_not_fit_are_refused() {
    let mut wrong = contents(1);
    wrong.tables[0].keys.swap(0, 1);
    assert!(wrong.seal(&key(1)).is_err());
    let mut wrong = contents(1);
    wrong.tables[0].rows.pop();
    assert!(wrong.seal(&key(1)).is_err());
    let mut wrong = contents(1);
    wrong.tables.pop();
    assert!(wrong.seal(&key(1)).unwrap_err().to_string().contains("tables"));
    let mut wrong = contents(1);
    wrong.pages.push(("first".into(), vec![]));
    assert!(wrong.seal(&key(1)).unwrap_err().to_string().contains("twice"));
}

/// Whatever changed between two releases, the delta makes of the older file the newer one.
#[test]
fn a_delta_makes_the_newer_file() {
    let old = contents(1);
    let mut new = contents(2);
    new.version = "m2".into();
    new.pages[1].1[5] = 8;
    new.pages.push(("third".into(), vec![1; 10]));
    let table = &mut new.tables[0];
    let remove = |table: &mut TableContents, at: usize| {
        table.keys.remove(at);
        table.rows.drain(at * 6..(at + 1) * 6);
    };
    (0..40).for_each(|at| remove(table, at * 30));
    table.rows[600..1200].fill(4);
    let (more, row) = (table.keys.last().unwrap() + 1, [5; 6]);
    table.keys.push(more);
    table.rows.extend(row);
    new.tables[1] = TableContents { name: "shop".into(), default: vec![2; 4], keys: vec![1, 2], rows: vec![3; 8] };
    let [old, new] = [&old, &new].map(|contents| open(&contents.seal(&key(1)).unwrap()).unwrap());
    let trusted = [key(1).public()];
    for (from, to, expected) in [
        (&old, &new, delta::Summary { pages: 3, added: 3, changed: 100, evicted: 40 }),
        (&new, &old, delta::Summary { pages: 2, added: 40, changed: 100, evicted: 1 }),
        (&new, &new, delta::Summary::default()),
    ] {
        let (delta, summary) = delta::make(from, to).unwrap();
        assert_eq!(summary, expected);
        assert!(delta.len() < to.bytes().len() / 2, "{} for {}", delta.len(), to.bytes().len());
        assert_eq!(delta::apply(from, &delta, &trusted).unwrap().bytes(), to.bytes());
        // A stranger's, one for another file, and what is left of it.
        assert!(delta::apply(from, &delta, &[key(3).public()]).is_err());
        let other = if from.identity() == old.identity() { &new } else { &old };
        let error = delta::apply(other, &delta, &trusted).unwrap_err().to_string();
        assert!(error.contains("does not belong") && error.contains("whole artifact"), "{error}");
        for length in (0..delta.len()).step_by(37) {
            assert!(delta::apply(from, &delta[..length], &trusted).is_err());
        }
        for at in (0..delta.len()).step_by(11) {
            let mut damaged = delta.clone();
            damaged[at] ^= 16;
            if let Ok(made) = delta::apply(from, &damaged, &trusted) {
                assert_eq!(made.bytes(), to.bytes(), "byte {at}: what is made is what was signed");
            }
        }
    }
    assert!(open(&delta::make(&old, &new).unwrap().0).is_err(), "a delta is no artifact");
}
