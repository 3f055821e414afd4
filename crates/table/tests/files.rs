//! Tables as files.
#![allow(clippy::unwrap_used)]

mod common;

use common::{distinct_ids, gradients, optimizers, read, step, train};
use kitestring_core::{Kind, Seed};
use kitestring_table::{Config, Init, Open, Optimizer, Space, Table, Touched};
use std::path::Path;

fn spaces() -> [Space; 2] {
    [Space::Direct { rows: 9000 }, Space::Open(Open { admit_after: 2, max_age: Some(9), ..Open::default() })]
}

fn train_from(table: &Table, steps: std::ops::RangeInclusive<u64>, workers: usize) {
    for number in steps {
        let ids = distinct_ids(Seed(number), 2500, 9000);
        train(table, &ids, &gradients(Seed(number).at(1), ids.len() * table.dim()), step(number), workers);
    }
}

fn table(space: Space, optimizer: Optimizer) -> Table {
    let config = Config { dim: 5, space, init: Init::Normal { std: 0.3 }, optimizer };
    Table::new("file", config, Seed(2)).unwrap()
}

fn bytes(table: &Table, folder: &Path) -> Vec<u8> {
    let path = folder.join("bytes.safetensors");
    table.save(&path).unwrap();
    std::fs::read(path).unwrap()
}

#[test]
fn training_goes_on_as_if_never_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table.safetensors");
    for space in spaces() {
        for optimizer in optimizers() {
            let unbroken = table(space, optimizer);
            train_from(&unbroken, 1..=3, 1);
            unbroken.save(&path).unwrap();
            let resumed = Table::load(&path).unwrap();
            assert_eq!((resumed.config(), resumed.name(), resumed.step()), (unbroken.config(), "file", 3));
            assert_eq!(bytes(&resumed, folder.path()), bytes(&unbroken, folder.path()), "{optimizer:?}");
            train_from(&unbroken, 4..=6, 1);
            train_from(&resumed, 4..=6, 2);
            assert_eq!(unbroken.evict(14), resumed.evict(14));
            assert_eq!(bytes(&resumed, folder.path()), bytes(&unbroken, folder.path()), "{optimizer:?}");
        }
    }
}

#[test]
fn the_file_depends_on_the_contents_alone() {
    let folder = tempfile::tempdir().unwrap();
    for space in spaces() {
        let [one, three] = [1, 3].map(|workers| {
            let table = table(space, Optimizer::adam());
            train_from(&table, 1..=4, workers);
            table
        });
        assert_eq!(bytes(&one, folder.path()), bytes(&three, folder.path()));
    }
}

#[test]
fn an_export_reads_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.safetensors");
    let shrinking = Optimizer { l2: 0.2, rows: Touched::All, ..Optimizer::sgd() };
    for space in spaces() {
        for optimizer in [Optimizer::adam(), shrinking] {
            let table = table(space, optimizer);
            train_from(&table, 1..=4, 1);
            table.export(&path).unwrap();
            let size = std::fs::metadata(&path).unwrap().len();
            let rows = table.len() * if matches!(space, Space::Open(_)) { 28 } else { 20 };
            assert!((rows..rows + 2000).contains(&size), "{size} bytes for {rows}");
            let loaded = Table::load(&path).unwrap();
            let all: Vec<u64> = (0..9000).collect();
            assert_eq!(read(&loaded, &all), read(&table, &all));
            assert_eq!(loaded.len(), table.len());
        }
    }
}

#[test]
fn other_tools_can_read_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let table = table(Space::Direct { rows: 9000 }, Optimizer::adam());
    train_from(&table, 1..=2, 1);
    let bytes = bytes(&table, folder.path());
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(tensors.names().len(), 3);
    let rows = tensors.tensor("rows").unwrap();
    assert_eq!(rows.shape(), [9000, 5]);
    let expected: Vec<u8> =
        read(&table, &(0..9000).collect::<Vec<_>>()).iter().flat_map(|value| value.to_le_bytes()).collect();
    assert_eq!(rows.data(), expected);
}

#[test]
fn damaged_files_are_named_and_explained() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table.safetensors");
    let fault = |contents: &[u8]| {
        std::fs::write(&path, contents).unwrap();
        let error = Table::load(&path).unwrap_err();
        assert_eq!(error.kind(), Kind::Format, "{error}");
        assert!(error.to_string().contains("table.safetensors"), "{error}");
        error.to_string()
    };
    for space in spaces() {
        let table = table(space, Optimizer::adam());
        train_from(&table, 1..=2, 1);
        let good = bytes(&table, folder.path());
        for length in (0..good.len()).step_by(good.len() / 50).chain([7, 8, 9, good.len() - 1]) {
            let error = fault(&good[..length]);
            assert!(length < 9 || error.contains("cut short"), "{length}: {error}");
        }
        let mut longer = good.clone();
        longer.push(0);
        assert!(fault(&longer).contains("too long"));
        // Replacements of equal length keep the rest of the file in place.
        let replaced = |from: &str, to: &str| {
            assert_eq!(from.len(), to.len());
            let at = good.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
            let mut bytes = good.clone();
            bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
            fault(&bytes)
        };
        assert!(replaced("\\\"format\\\":1", "\\\"format\\\":7").contains("format 7"));
        assert!(replaced("kitestring_table", "kitestring_tible").contains("not a table"));
        assert!(replaced("\\\"dim\\\":5", "\\\"dim\\\":6").contains("`rows`"));
        assert!(replaced("second_moments", "second_moment_").contains("`second_moments`"));
        assert!(replaced("\"dtype\"", "\"dtipe\"").contains("header"));
    }
    assert!(fault(b"PK\x03\x04 some archive of another kind").contains("not a safetensors file"));
    assert_eq!(Table::load(&folder.path().join("none")).unwrap_err().kind(), Kind::Io);
}

#[test]
fn saving_replaces_only_what_is_complete() {
    let folder = tempfile::tempdir().unwrap();
    let table = table(Space::Direct { rows: 9000 }, Optimizer::sgd());
    let error = table.save(&folder.path().join("no folder").join("table")).unwrap_err();
    assert_eq!(error.kind(), Kind::Io);
    let path = folder.path().join("table");
    table.save(&path).unwrap();
    train_from(&table, 1..=1, 1);
    table.save(&path).unwrap();
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["table"], "nothing is left beside it");
    assert_eq!(Table::load(&path).unwrap().step(), 1);
}
