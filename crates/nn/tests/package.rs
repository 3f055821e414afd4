//! What an artifact's ranker says is what the trained one says: for every variant of every slot.
#![allow(clippy::unwrap_used)]

mod common;

use common::trained::{Trained, batch, each_variant, keyed};
use kitestring_core::artifact::{Aligned, Artifact, Contents, SecretKey, TableContents};
use kitestring_core::batch::Ids;
use kitestring_core::{Batch, Seed};
use kitestring_nn::package::{RowCodes, Runtime};
use kitestring_nn::ranker::ModelConfig;
use serde_json::json;

#[test]
fn numbers_in_f32_are_the_same_to_the_bit() {
    each_variant(|name, trained| {
        for codes in [RowCodes::F32, RowCodes::Int8, RowCodes::Int4] {
            let mut device = Runtime::open(trained.artifact(false, codes)).unwrap();
            for (rows, shared) in [(1, false), (70, false), (33, true)] {
                let batch = batch(rows, Seed(rows as u64), shared);
                let mut found = Vec::new();
                device.score(&keyed(&batch), &mut found).unwrap();
                assert_eq!(found, trained.scores(&batch, codes), "{name}, {codes:?}, {rows}");
            }
        }
    });
}

/// In eight bits scores move a little, by the same whether samples share lists or have them apart, alone or together.
#[test]
fn numbers_in_codes_are_near_and_do_not_depend_on_the_batch() {
    each_variant(|name, trained| {
        let mut device = Runtime::open(trained.artifact(true, RowCodes::F32)).unwrap();
        let batch = batch(120, Seed(8), true);
        let (mut found, expected) = (Vec::new(), trained.scores(&batch, RowCodes::F32));
        device.score(&keyed(&batch), &mut found).unwrap();
        let spread = |scores: &[f32]| {
            let mean = scores.iter().sum::<f32>() / scores.len() as f32;
            (scores.iter().map(|score| (score - mean).powi(2)).sum::<f32>() / scores.len() as f32).sqrt()
        };
        let off: Vec<f32> = found.iter().zip(&expected).map(|(a, b)| a - b).collect();
        let share = off.iter().map(|off| off * off).sum::<f32>().sqrt() / (off.len() as f32).sqrt() / spread(&expected);
        assert!(share < 0.06, "{name}: {share} of the scores' spread");
        if name == "encoder din" {
            assert!(share > 0.0, "{name}: nothing was done in codes");
        }
        // Each sample alone, with a list of its own.
        for row in [0, 41, 119] {
            let mut alone = Batch { rows: 1, ..Batch::default() };
            for ids in &batch.sparse {
                let list = ids.of_row(row).to_vec();
                let offsets = if ids.is_ragged() { vec![0, list.len() as u32] } else { Vec::new() };
                alone.sparse.push(Ids { ids: list, offsets, list_of_row: Vec::new() });
            }
            alone.numeric = batch.numeric[2 * row..2 * row + 2].to_vec();
            alone.scenarios = batch.scenarios[2 * row..2 * row + 2].to_vec();
            alone.position = vec![0];
            let mut one = Vec::new();
            device.score(&keyed(&alone), &mut one).unwrap();
            let tasks = one.len();
            for (a, b) in one.iter().zip(&found[row * tasks..]) {
                assert!((a - b).abs() <= 1e-5 * b.abs().max(1.0), "{name}, row {row}: {a} {b}");
            }
        }
    });
}

#[test]
fn an_artifact_for_another_engine_is_refused() {
    let config: ModelConfig = serde_json::from_value(json!({ "dimension": 8 })).unwrap();
    let trained = Trained::new(config).unwrap();
    let artifact = trained.artifact(false, RowCodes::F32);
    let secret = SecretKey::from_bytes(&[7; 32].into());
    let change = |change: &dyn Fn(&mut Contents)| {
        let manifest = artifact.manifest();
        let pages = manifest.pages.iter().filter(|page| !page.name.starts_with("rows/"));
        let mut contents = Contents {
            version: "v".into(),
            vocabulary_hash: String::new(),
            release: 1,
            schema: manifest.schema.clone(),
            fitted: Vec::new(),
            scenarios: manifest.scenarios.clone(),
            model: manifest.model.clone(),
            pages: pages.map(|page| (page.name.clone(), artifact.page(&page.name).unwrap().to_vec())).collect(),
            tables: manifest
                .tables
                .iter()
                .enumerate()
                .map(|(number, table)| {
                    let rows = artifact.rows(number).unwrap();
                    TableContents {
                        name: table.name.clone(),
                        default: rows.default.to_vec(),
                        keys: rows.keys.to_vec(),
                        rows: rows.rows.to_vec(),
                    }
                })
                .collect(),
        };
        change(&mut contents);
        let file = contents.seal(&secret).unwrap();
        let artifact = Artifact::open(Box::new(Aligned::from(file.as_slice())), &[secret.public()]).unwrap();
        Runtime::open(artifact).unwrap_err().to_string()
    };
    assert!(
        change(&|contents| contents.model["ranker"]["encoder"]["type"] = json!("telepathy")).contains("update the app")
    );
    assert!(change(&|contents| contents.model["more"] = json!(1)).contains("update the app"));
    assert!(change(&|contents| drop(contents.pages.remove(0))).contains("no such page"));
    assert!(change(&|contents| contents.pages[0].1.truncate(4)).contains("expected"));
    assert!(change(&|contents| contents.model["rows"][0] = json!("int8")).contains("rows of 32 bytes, expected 16"));
    let error = change(&|contents| {
        contents.model["activations"] = json!([{ "weight": "x", "codes": { "scale": 1.0, "zero": 0 } }])
    });
    assert!(error.contains("no such product"), "{error}");
}

/// What is remembered event by event is what the whole history says, and however many events there were.
#[test]
fn events_remembered_one_by_one_are_the_whole_history() {
    for encoder in [
        json!({ "type": "gru", "units": 12 }),
        json!({ "type": "gru_latent_cross", "units": 9, "event_contexts": ["category_history"], "contexts": ["user"] }),
    ] {
        let config = json!({ "dimension": 8, "encoder": encoder, "body": { "type": "mlp", "units": [16] } });
        let trained = Trained::new(serde_json::from_value(config).unwrap()).unwrap();
        let mut device = Runtime::open(trained.artifact(false, RowCodes::F32)).unwrap();
        assert!(!device.remembers().is_empty());
        let whole = keyed(&batch(20, Seed(4), true));
        for list in 0..2 {
            let rows: Vec<usize> = (0..20).filter(|row| whole.sparse[3].list_of_row[*row] as usize == list).collect();
            let mut expected = Vec::new();
            device.score(&whole, &mut expected).unwrap();
            device.forget();
            let count = whole.sparse[3].of_row(rows[0]).len();
            let part = |events: std::ops::Range<usize>| {
                // One sample, with some of the events of this list.
                let mut one = Batch { rows: 1, ..Batch::default() };
                for (number, ids) in whole.sparse.iter().enumerate() {
                    let all = ids.of_row(rows[0]);
                    let kept = if (3..5).contains(&number) { &all[events.clone()] } else { all };
                    let offsets = if ids.is_ragged() { vec![0, kept.len() as u32] } else { Vec::new() };
                    one.sparse.push(Ids { ids: kept.to_vec(), offsets, list_of_row: Vec::new() });
                }
                one.numeric = whole.numeric[..2].to_vec();
                one.scenarios = whole.scenarios[..2].to_vec();
                one
            };
            // The first three at once, the others one by one.
            device.remember(&part(0..count.min(3))).unwrap();
            (count.min(3)..count).for_each(|event| device.remember(&part(event..event + 1)).unwrap());
            let mut without = whole.clone();
            for ids in &mut without.sparse[3..5] {
                *ids = Ids { ids: Vec::new(), offsets: vec![0, 0], list_of_row: vec![0; 20] };
            }
            let mut found = Vec::new();
            device.score_remembering(&without, &mut found).unwrap();
            let tasks = found.len() / 20;
            for row in rows {
                for task in 0..tasks {
                    let (a, b) = (found[row * tasks + task], expected[row * tasks + task]);
                    assert!((a - b).abs() <= 1e-6 * b.abs().max(1.0), "{row}, {task}: {a} {b}");
                }
            }
        }
    }
    let pooled = Trained::new(serde_json::from_value(json!({ "dimension": 8 })).unwrap()).unwrap();
    let mut device = Runtime::open(pooled.artifact(false, RowCodes::F32)).unwrap();
    assert!(device.remembers().is_empty() && device.remember(&batch(1, Seed(1), false)).is_err());
}
