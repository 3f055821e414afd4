//! Rankers in general position with rows of their own, and the artifacts made of them.

use super::Samples;
use super::model::{SCENARIOS, schema};
use kitestring_core::artifact::{Aligned, Artifact, Contents, SecretKey, TableContents};
use kitestring_core::batch::Ids;
use kitestring_core::{Batch, Seed};
use kitestring_nn::engine::Scorer;
use kitestring_nn::network::Network;
use kitestring_nn::package::{Activations, Description, RowCodes};
use kitestring_nn::quantization::calibrate::{Calibration, Observer};
use kitestring_nn::ranker::{ModelConfig, Ranker};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Rows of each table.
pub const ROWS: u64 = 40;

/// A key for each row of a table, not in the order of rows.
pub fn key(row: u64) -> u64 {
    kitestring_core::seed::mix(row + 1)
}

/// Samples whose ids are numbers of rows; those from `ROWS` on have none.
pub fn batch(rows: usize, seed: Seed, shared: bool) -> Batch {
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
pub struct Trained {
    pub config: ModelConfig,
    pub ranker: Ranker,
    pub network: Network,
    pub rows: Vec<Vec<f32>>,
}

impl Trained {
    pub fn new(config: ModelConfig) -> kitestring_core::Result<Self> {
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

    /// A batch with the rows it reads as they are decoded from `codes`.
    pub fn samples(&self, batch: &Batch, codes: RowCodes) -> Samples {
        let tables: Vec<Vec<f32>> = self
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
        let lookups =
            batch.sparse.iter().map(|ids| ids.ids.iter().map(|id| (*id).min(ROWS) as u32).collect()).collect();
        Samples { batch: batch.clone(), lookups, tables }
    }

    /// What the engine says without any artifact, of rows as they are decoded from `codes`.
    pub fn scores(&self, batch: &Batch, codes: RowCodes) -> Vec<f32> {
        super::scores(&self.ranker.graph, &self.network, &self.samples(batch, codes))
    }

    pub fn artifact(&self, coded: bool, codes: RowCodes) -> Artifact {
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
            vocabulary_hash: String::new(),
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
        let samples = self.samples(&batch(200, Seed(50), false), RowCodes::F32);
        let mut scorer = Scorer::new(Arc::new(graph.clone()), 1);
        scorer
            .observe(&network.weights, &network.state, &samples.inputs(), |weight, activations| {
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

pub fn keyed(batch: &Batch) -> Batch {
    let mut keyed = batch.clone();
    keyed.sparse.iter_mut().for_each(|ids| ids.ids.iter_mut().for_each(|id| *id = key(*id)));
    keyed
}

/// Every variant of every slot, where it fits the schema.
pub fn each_variant(mut each: impl FnMut(&str, Trained)) {
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
