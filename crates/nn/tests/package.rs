//! What an artifact's ranker says is what the trained one says: for every variant of every slot.
#![allow(clippy::unwrap_used)]

mod common;

use common::model::{SCENARIOS, schema};
use kitestring_core::artifact::{Aligned, Artifact, Contents, SecretKey, TableContents};
use kitestring_core::batch::Ids;
use kitestring_core::{Batch, Seed};
use kitestring_nn::engine::{BatchInputs, OneWorker, Scorer};
use kitestring_nn::network::Network;
use kitestring_nn::package::{Activations, Description, RowCodes, Runtime};
use kitestring_nn::quantization::calibrate::{Calibration, Observer};
use kitestring_nn::ranker::{ModelConfig, Ranker};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Rows of each table.
const ROWS: u64 = 40;

/// A key for each row of a table, not in the order of rows.
fn key(row: u64) -> u64 {
    kitestring_core::seed::mix(row + 1)
}

/// Samples whose ids are numbers of rows; those from `ROWS` on have none.
fn batch(rows: usize, seed: Seed, shared: bool) -> Batch {
    let ids = |name: &str, count: usize| -> Vec<u64> {
        (0..count as u64).map(|at| seed.child(name).bits_at(at) % (ROWS + 3)).collect()
    };
    let lists = if shared { 2 } else { rows };
    let ragged = |name: &str, lengths: &str| {
        let lengths = (0..lists as u64).map(|list| (seed.child(lengths).bits_at(list) % 9) as u32);
        let mut offsets = vec![0];
        lengths.for_each(|length| offsets.push(offsets.last().unwrap() + length));
        let list_of_row = if shared { (0..rows as u32).map(|row| 2 * row / rows as u32).collect() } else { Vec::new() };
        Ids { ids: ids(name, *offsets.last().unwrap() as usize), offsets, list_of_row }
    };
    let single = |name: &str| Ids { ids: ids(name, rows), ..Ids::default() };
    Batch {
        rows,
        sparse: vec![
            single("user"),
            single("item"),
            single("category"),
            ragged("item_history", "history"),
            ragged("category_history", "history"),
            ragged("tags", "tags"),
        ],
        numeric: (0..2 * rows as u64).map(|at| seed.child("numeric").normal_at(at)).collect(),
        scenarios: (0..2 * rows as u64)
            .map(|at| (seed.child("scenario").bits_at(at) % SCENARIOS[at as usize % 2] as u64) as u32)
            .collect(),
        position: vec![0; rows],
        ..Batch::default()
    }
}

/// A ranker with everything in general position, and its tables' rows, `ROWS` and the default one behind them.
struct Trained {
    config: ModelConfig,
    ranker: Ranker,
    network: Network,
    rows: Vec<Vec<f32>>,
}

impl Trained {
    fn new(config: ModelConfig) -> kitestring_core::Result<Self> {
        let ranker = Ranker::new(&schema(), &config, &SCENARIOS)?;
        let mut network = Network::new(&ranker.graph, Seed(3));
        let noise = |at: usize, by: f32| by * Seed(4).normal_at(at as u64);
        network.weights.iter_mut().enumerate().for_each(|(at, weight)| *weight += noise(at, 0.1));
        network.state.iter_mut().enumerate().for_each(|(at, state)| *state += noise(at, 0.2).abs());
        let rows = ranker.tables.iter().map(|table| {
            let seed = Seed(5).child(&table.name);
            (0..(ROWS + 1) * table.width as u64).map(|at| 0.7 * seed.normal_at(at)).collect()
        });
        Ok(Self { config, rows: rows.collect(), ranker, network })
    }

    /// What the engine says without any artifact, of rows as they are decoded from `codes`.
    fn scores(&self, batch: &Batch, codes: RowCodes) -> Vec<f32> {
        let rows: Vec<Vec<f32>> = self
            .ranker
            .tables
            .iter()
            .zip(&self.rows)
            .map(|(table, rows)| {
                let through = |row: &[f32]| {
                    let (mut bytes, mut back) = (Vec::new(), vec![0.0; row.len()]);
                    codes.encode(row, &mut bytes).unwrap();
                    codes.decode(&bytes, &mut back).unwrap();
                    back
                };
                rows.chunks(table.width).flat_map(through).collect()
            })
            .collect();
        let lookups: Vec<Vec<u32>> =
            batch.sparse.iter().map(|ids| ids.ids.iter().map(|id| (*id).min(ROWS) as u32).collect()).collect();
        let inputs = BatchInputs { batch, lookups: &lookups, rows: &rows };
        let mut scores = Vec::new();
        let mut scorer = Scorer::new(Arc::new(self.ranker.graph.clone()), 1);
        scorer.score(&self.network.weights, &self.network.state, &inputs, &OneWorker, &mut scores).unwrap();
        scores
    }

    fn artifact(&self, coded: bool, codes: RowCodes) -> Artifact {
        let graph = &self.ranker.graph;
        let mut network = self.network.clone();
        let mut description = Description {
            ranker: self.config.clone(),
            scenarios: SCENARIOS.to_vec(),
            rows: vec![codes; self.rows.len()],
            coded: Default::default(),
            activations: Vec::new(),
        };
        if coded {
            graph.fold(&mut network.weights);
            description.activations = self.calibrate(&network);
            let names = graph.weights().iter().filter(|info| info.shape[0] > 1).map(|info| info.name.clone());
            description.coded = names.collect();
        }
        let mut keys: Vec<(u64, u64)> = (0..ROWS).map(|row| (key(row), row)).collect();
        keys.sort_unstable();
        let tables = self.ranker.tables.iter().zip(&self.rows).map(|(table, numbers)| {
            let row = |row: u64, into: &mut Vec<u8>| {
                let at = row as usize * table.width;
                codes.encode(&numbers[at..at + table.width], into).unwrap();
            };
            let (mut default, mut rows) = (Vec::new(), Vec::new());
            row(ROWS, &mut default);
            keys.iter().for_each(|(_, number)| row(*number, &mut rows));
            TableContents { name: table.name.clone(), default, keys: keys.iter().map(|(key, _)| *key).collect(), rows }
        });
        let contents = Contents {
            version: "v".into(),
            release: 1,
            schema: schema(),
            fitted: Vec::new(),
            scenarios: vec![Vec::new(); 2],
            model: serde_json::to_value(&description).unwrap(),
            pages: description.pages(graph, &network).unwrap(),
            tables: tables.collect(),
        };
        let secret = SecretKey::from_bytes(&[7; 32].into());
        let file = contents.seal(&secret).unwrap();
        Artifact::open(Box::new(Aligned::from(file.as_slice())), &[secret.public()]).unwrap()
    }

    fn calibrate(&self, network: &Network) -> Vec<Activations> {
        let graph = &self.ranker.graph;
        let mut seen: BTreeMap<(String, usize), Observer> = BTreeMap::new();
        let batch = batch(200, Seed(50), false);
        let lookups: Vec<Vec<u32>> =
            batch.sparse.iter().map(|ids| ids.ids.iter().map(|id| (*id).min(ROWS) as u32).collect()).collect();
        let inputs = BatchInputs { batch: &batch, lookups: &lookups, rows: &self.rows };
        let mut scorer = Scorer::new(Arc::new(graph.clone()), 1);
        scorer
            .observe(&network.weights, &network.state, &inputs, |weight, activations| {
                let (name, row) = graph.name_of(weight).unwrap();
                seen.entry((name.to_owned(), row)).or_default().see(activations).unwrap();
            })
            .unwrap();
        assert_eq!(seen.len(), graph.products().len());
        let codes = |((weight, row), seen): ((String, usize), Observer)| Activations {
            weight,
            row,
            codes: seen.codes(Calibration::MinMax).unwrap(),
        };
        seen.into_iter().map(codes).collect()
    }
}

fn keyed(batch: &Batch) -> Batch {
    let mut keyed = batch.clone();
    keyed.sparse.iter_mut().for_each(|ids| ids.ids.iter_mut().for_each(|id| *id = key(*id)));
    keyed
}

/// Every variant of every slot, where it fits the schema.
fn each_variant(mut each: impl FnMut(&str, Trained)) {
    let small = json!({ "type": "mlp", "units": [24, 12] });
    for variant in kitestring_nn::slots::catalogue() {
        let mut config = json!({ "dimension": 8, "scenario_dimension": 4, "body": small });
        config[variant.slot] = variant.defaults.clone();
        let config: ModelConfig = serde_json::from_value(config).unwrap();
        let name = format!("{} {}", variant.slot, variant.name);
        each(&name, Trained::new(config).unwrap_or_else(|error| panic!("{name}: {error}")));
    }
    let norm = json!({ "dimension": 8, "encoder": { "type": "din", "softmax": true, "attention": [12, 20, 8] },
        "body": { "type": "shared_bottom", "bottom": { "units": [20], "activation": "dice", "batch_norm": true } } });
    each("softmax attention, batch norm, dice", Trained::new(serde_json::from_value(norm).unwrap()).unwrap());
}

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
