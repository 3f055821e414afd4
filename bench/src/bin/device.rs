//! Rankers as a device runs them, against ONNX Runtime on the same graph: one thread, one candidate and 512, `f32` and eight bits.
//!
//! `cargo run --release -p kitestring-bench --bin device [rounds=3] [python=.venv-peers/bin/python] [path=avx2]`
//!
//! Ours and the peer's take turns, round by round; the least of the rounds' medians are compared, so that a busy machine counts for little. With a
//! `path` (`avx512-vnni`, `avx-vnni`, `avx2`, `portable`) products of codes are summed that way, and all else does what a processor does that has
//! no better one. The peer runs the model that we export, from
//! Python as its users do, with its inputs in place; histories are repeated for each candidate there, as its model reads them, and shared
//! here. Without a Python that has onnxruntime only ours is timed. The floor is the operations of a pass over the rate of a large product.

use kitestring_bench::{as_if_fastest, peak};
use kitestring_core::batch::Ids;
use kitestring_core::schema::{Feature, FeatureKind, History, Of, Schema, Task};
use kitestring_core::{Batch, Result, Seed};
use kitestring_nn::engine::{BatchInputs, OneWorker, Scorer};
use kitestring_nn::graph::Graph;
use kitestring_nn::kernels::activation::Activation;
use kitestring_nn::kernels::int8::Int8Path;
use kitestring_nn::network::Network;
use kitestring_nn::onnx::{Metadata, Source, to_onnx};
use kitestring_nn::quantization::affine::Weights;
use kitestring_nn::quantization::calibrate::{Calibration, Observer};
use kitestring_nn::quantization::product::{Codes, Product};
use kitestring_nn::ranker::Ranker;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

/// Events of a history.
const EVENTS: usize = 50;
/// Rows of each table.
const ROWS: u64 = 300;
const BATCHES: [usize; 3] = [1, 100, 512];
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/serve_onnxruntime.py");

/// A network with what it reads.
struct Case {
    name: &'static str,
    graph: Arc<Graph>,
    network: Network,
    codes: Arc<Codes>,
    schema: Schema,
    rows: Vec<Vec<f32>>,
}

fn main() -> Result<()> {
    let (mut rounds, mut python, mut path) = (3, None, Int8Path::fastest().unwrap_or(Int8Path::Portable));
    for argument in std::env::args().skip(1) {
        match argument.split_once('=') {
            Some(("rounds", number)) => rounds = number.parse().unwrap_or_else(|_| panic!("`{number}` is no number")),
            Some(("python", path)) => python = Some(path.to_owned()),
            Some(("path", name)) => path = as_if_fastest(name)?,
            _ => panic!("`{argument}` is neither rounds=N, python=PATH nor path=NAME"),
        }
    }
    let cases =
        [mlp("64-64-32-1", &[64, 64, 32], path)?, mlp("128-256-128-64-1", &[128, 256, 128, 64], path)?, din(path)?];
    let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
    for case in &cases {
        for rows in BATCHES {
            case.write(folder.path(), rows)?;
        }
    }
    let flops = peak(&OneWorker);
    let mut found: BTreeMap<(usize, usize, &str), Vec<f64>> = BTreeMap::new();
    for _ in 0..rounds {
        for (number, case) in cases.iter().enumerate() {
            for rows in BATCHES {
                found.entry((number, rows, "f32")).or_default().push(case.time(rows, false)?);
                found.entry((number, rows, "int8")).or_default().push(case.time(rows, true)?);
            }
        }
        if let Some(python) = &python {
            let told = peer(python, folder.path());
            for (number, case) in cases.iter().enumerate() {
                for rows in BATCHES {
                    let seconds = told[format!("{}.{rows}", case.name)].as_f64().unwrap_or(f64::NAN);
                    found.entry((number, rows, "peer")).or_default().push(seconds);
                }
            }
        }
    }
    let least = |key: (usize, usize, &str)| {
        found.get(&key).into_iter().flatten().copied().min_by(f64::total_cmp).unwrap_or(f64::NAN)
    };
    println!("int8 path: {}", path.name());
    println!(
        "{:18} {:>10} {:>9} {:>9} {:>9} {:>9} {:>11} {:>10}",
        "network", "candidates", "floor µs", "f32 µs", "int8 µs", "peer µs", "peer / f32", "f32 / int8"
    );
    let mut lines = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        for rows in BATCHES {
            let floor = case.graph.cost(rows, rows * EVENTS).flops as f64 / flops;
            let [f32, int8, peer] = ["f32", "int8", "peer"].map(|kind| least((number, rows, kind)));
            println!(
                "{:18} {rows:>10} {:>9.1} {:>9.1} {:>9.1} {:>9.1} {:>11.2} {:>10.2}",
                case.name,
                1e6 * floor,
                1e6 * f32,
                1e6 * int8,
                1e6 * peer,
                peer / f32,
                f32 / int8
            );
            lines.push(json!({
                "network": case.name, "candidates": rows, "floor_us": 1e6 * floor, "f32_us": 1e6 * f32,
                "int8_us": 1e6 * int8, "onnxruntime_us": if peer.is_nan() { Value::Null } else { json!(1e6 * peer) },
            }));
        }
    }
    println!("{}", json!({ "rounds": rounds, "path": path.name(), "cases": lines }));
    Ok(())
}

/// What ONNX Runtime takes for each case, in seconds.
fn peer(python: &str, folder: &Path) -> Value {
    let output =
        Command::new(python).arg(SCRIPT).arg(folder).output().unwrap_or_else(|error| panic!("{python}: {error}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn normal(seed: Seed, count: usize, by: f32) -> Vec<f32> {
    (0..count as u64).map(|at| by * seed.normal_at(at)).collect()
}

/// Layers with rectifiers over numbers, and a probability.
fn mlp(name: &'static str, widths: &[usize], path: Int8Path) -> Result<Case> {
    let mut graph = Graph::new();
    let mut x = graph.numeric(widths[0]);
    for (number, width) in widths[1..].iter().enumerate() {
        x = graph.scope(number.to_string(), |graph| graph.linear(x, *width, Activation::Relu));
    }
    let y = graph.scope("last", |graph| graph.linear(x, 1, Activation::Sigmoid));
    graph.output("y", y);
    let features = (0..widths[0]).map(|number| Feature::new(format!("x{number}"), FeatureKind::Numeric));
    let schema = Schema { features: features.collect(), tasks: vec![Task::binary("y")], ..Schema::default() };
    Case::new(name, graph, schema, Vec::new(), path)
}

/// DIN over a history of items and categories: rows of 16, attention 64-32, layers 128-64.
fn din(path: Int8Path) -> Result<Case> {
    let of = |name: &str, of: Of| Feature { of, ..Feature::new(name, FeatureKind::Categorical) };
    let mut features = vec![of("user", Of::User), of("item", Of::Item), of("category", Of::Item)];
    for listed in ["item", "category"] {
        features.push(Feature {
            table: Some(listed.into()),
            of: Of::User,
            history: Some(History { of: listed.into(), when: None, which: Default::default() }),
            ..Feature::new(format!("{listed}s"), FeatureKind::Sequence)
        });
    }
    let schema =
        Schema { user: Some("user".into()), features, tasks: vec![Task::binary("click")], ..Schema::default() };
    let config = json!({ "dimension": 16, "encoder": { "type": "din", "attention": [64, 32] },
        "body": { "type": "mlp", "units": [128, 64] } });
    let config = serde_json::from_value(config).unwrap_or_else(|error| panic!("{error}"));
    let Ranker { graph, tables, .. } = Ranker::new(&schema, &config, &[])?;
    let rows = tables.iter().map(|table| normal(Seed(9).child(&table.name), ROWS as usize * table.width, 0.3));
    Case::new("DIN, 50 events", graph, schema, rows.collect(), path)
}

impl Case {
    fn new(name: &'static str, graph: Graph, schema: Schema, rows: Vec<Vec<f32>>, path: Int8Path) -> Result<Self> {
        let mut network = Network::new(&graph, Seed(3));
        graph.fold(&mut network.weights);
        let mut case = Self { name, graph: Arc::new(graph), network, codes: Arc::default(), schema, rows };
        case.codes = Arc::new(case.calibrate(path)?);
        Ok(case)
    }

    /// All products in codes, of ranges seen in 256 samples.
    fn calibrate(&self, path: Int8Path) -> Result<Codes> {
        let (batch, lookups) = self.batch(256);
        let mut seen: BTreeMap<usize, Observer> = BTreeMap::new();
        let products = self.graph.products();
        let mut scorer = Scorer::new(Arc::clone(&self.graph), 1);
        let inputs = BatchInputs { batch: &batch, lookups: &lookups, rows: &self.rows, occurrences: &[] };
        scorer.observe(&self.network.weights, &self.network.state, &inputs, |weight, x| {
            let number = products.iter().position(|product| *product == weight).unwrap_or_default();
            seen.entry(number).or_default().see(x).unwrap_or_else(|error| panic!("{error}"));
        })?;
        let mut codes = Codes::default();
        for (number, observer) in seen {
            let weight = products[number];
            let coded = Weights::per_column(weight.of(&self.network.weights), weight.shape()[1])?;
            let by = observer.codes(Calibration::MinMax)?;
            codes.insert(weight, Product::with_path(&coded, by, path)?)?;
        }
        Ok(codes)
    }

    /// Candidates of one user.
    fn batch(&self, rows: usize) -> (Batch, Vec<Vec<u32>>) {
        let mut batch = Batch { rows, ..Batch::default() };
        for feature in self.schema.sparse() {
            let draw = |count: usize| {
                let seed = Seed(4).child(&feature.name);
                (0..count as u64).map(|at| seed.bits_at(at) % ROWS).collect::<Vec<u64>>()
            };
            let shared = || vec![0; rows];
            batch.sparse.push(match (feature.is_ragged(), feature.of) {
                (true, _) => Ids { ids: draw(EVENTS), offsets: vec![0, EVENTS as u32], list_of_row: shared() },
                (false, Of::Item) => Ids { ids: draw(rows), ..Ids::default() },
                (false, _) => Ids { ids: draw(1), offsets: Vec::new(), list_of_row: shared() },
            });
        }
        batch.numeric = normal(Seed(5), rows * self.schema.numeric().count(), 1.0);
        let lookups = batch.sparse.iter().map(|ids| ids.ids.iter().map(|id| *id as u32).collect()).collect();
        (batch, lookups)
    }

    /// The median time of a call, in seconds.
    fn time(&self, rows: usize, coded: bool) -> Result<f64> {
        let (batch, lookups) = self.batch(rows);
        let inputs = BatchInputs { batch: &batch, lookups: &lookups, rows: &self.rows, occurrences: &[] };
        let mut scorer = Scorer::new(Arc::clone(&self.graph), 1);
        if coded {
            scorer = scorer.with_codes(Arc::clone(&self.codes));
        }
        let (mut scores, mut times, start) = (Vec::new(), Vec::new(), Instant::now());
        while start.elapsed().as_secs_f64() < 0.4 {
            let since = Instant::now();
            scorer.score(&self.network.weights, &self.network.state, &inputs, &OneWorker, &mut scores)?;
            times.push(since.elapsed().as_secs_f64());
        }
        times.sort_unstable_by(f64::total_cmp);
        Ok(times[times.len() / 2])
    }

    /// The model for the peer, what it is fed, and what we say to it.
    fn write(&self, folder: &Path, rows: usize) -> Result<()> {
        let model = to_onnx(&self.graph, &self.network, &self.schema, &BTreeMap::new(), &Metadata::default())?;
        let (batch, lookups) = self.batch(rows);
        let stem = format!("{}.{rows}", self.name);
        let write = |name: String, bytes: &[u8]| {
            std::fs::write(folder.join(&name), bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        };
        write(format!("{stem}.onnx"), &model.bytes);
        let names = self.schema.table_names();
        let sparse: Vec<&Feature> = self.schema.sparse().collect();
        let mut feeds = Vec::new();
        for (number, input) in model.inputs.iter().enumerate() {
            let (shape, bytes): (Vec<usize>, Vec<u8>) = match input.source {
                Source::Numbers => {
                    let numbers = batch.numeric.iter().flat_map(|x| x.to_le_bytes());
                    (vec![rows, batch.numeric.len() / rows], numbers.collect())
                }
                Source::Lengths { .. } => (vec![rows], (0..rows).flat_map(|_| (EVENTS as i64).to_le_bytes()).collect()),
                Source::Rows { feature } => {
                    let table = names.iter().position(|name| *name == sparse[feature].table()).unwrap_or_default();
                    let width = self.rows[table].len() / ROWS as usize;
                    let ids = &batch.sparse[feature];
                    let elements = if ids.is_ragged() { EVENTS } else { 1 };
                    let mut bytes = Vec::new();
                    for row in 0..rows {
                        let list = ids.list_of_row.get(row).map_or(row, |list| *list as usize);
                        for at in &lookups[feature][list * elements..(list + 1) * elements] {
                            let row = &self.rows[table][*at as usize * width..(*at as usize + 1) * width];
                            bytes.extend(row.iter().flat_map(|x| x.to_le_bytes()));
                        }
                    }
                    (if ids.is_ragged() { vec![rows, EVENTS, width] } else { vec![rows, width] }, bytes)
                }
                Source::Scenarios => (vec![rows, 0], Vec::new()),
            };
            let file = format!("{stem}.{number}.raw");
            write(file.clone(), &bytes);
            feeds.push(
                json!({ "name": input.name, "shape": shape, "integer": input.source.is_integer(), "file": file }),
            );
        }
        let inputs = BatchInputs { batch: &batch, lookups: &lookups, rows: &self.rows, occurrences: &[] };
        let mut scores = Vec::new();
        let mut scorer = Scorer::new(Arc::clone(&self.graph), 1);
        scorer.score(&self.network.weights, &self.network.state, &inputs, &OneWorker, &mut scores)?;
        let case = json!({ "name": stem, "feeds": feeds, "scores": scores });
        write(format!("{stem}.json"), case.to_string().as_bytes());
        Ok(())
    }
}
