//! Steps of the engine alone, without data or tables: `cargo run --release -p kitestring-bench --bin engine [small|din|dnn]`.
//!
//! Prints the median time of a step, the samples a second, and the share of the floor that floating-point operations set at the
//! speed of a product of 512 × 512 matrices on the same threads, measured in the same run; then a JSON line of the last case.

use kitestring_bench::peak;
use kitestring_core::schema::{Feature, FeatureKind, History, Task};
use kitestring_core::{Batch, Ids, Schema, Seed};
use kitestring_nn::engine::{BatchInputs, Trainer};
use kitestring_nn::network::Network;
use kitestring_nn::optimizer::{Optimizer, Rule};
use kitestring_nn::ranker::{ModelConfig, Ranker};
use kitestring_train::workers::Threads;
use std::sync::Arc;
use std::time::Instant;

fn main() {
    let case = std::env::args().nth(1).unwrap_or_else(|| "all".into());
    let threads: usize = std::env::var("BENCH_THREADS").ok().and_then(|count| count.parse().ok()).unwrap_or(2);
    let one = |name: &str| case == "all" || case == name;
    if one("small") {
        small();
    }
    if one("dnn") {
        dnn(threads);
    }
    if one("din") {
        din(threads);
    }
}

fn pool(threads: usize) -> Threads {
    Threads::new(threads).unwrap_or_else(|error| panic!("{error}"))
}

struct Case {
    schema: Schema,
    config: ModelConfig,
    batch: Batch,
    lookups: Vec<Vec<u32>>,
    rows: Vec<Vec<f32>>,
}

fn run(name: &str, case: &Case, rule: Rule, workers: &Threads, steps: usize, dropout: bool) {
    let ranker = Ranker::new(&case.schema, &case.config, &[]).unwrap_or_else(|error| panic!("{error}"));
    let graph = Arc::new(ranker.graph);
    let mut network = Network::new(&graph, Seed(1));
    let mut optimizer = Optimizer::new(rule, 0.0, &graph).unwrap_or_else(|error| panic!("{error}"));
    let mut trainer = Trainer::new(Arc::clone(&graph), workers.count());
    let inputs = BatchInputs { batch: &case.batch, lookups: &case.lookups, rows: &case.rows, occurrences: &[] };
    let mut times = Vec::new();
    for step in 0..steps {
        let start = Instant::now();
        let seed = dropout.then_some(Seed(step as u64));
        let report = trainer.step(&network.weights, &mut network.state, &inputs, seed, workers);
        report.unwrap_or_else(|error| panic!("{error}"));
        optimizer.apply(&mut network.weights, trainer.gradients().network, 1e-3);
        times.push(start.elapsed().as_secs_f64());
    }
    times.drain(..steps / 5);
    times.sort_by(f64::total_cmp);
    let median = times[times.len() / 2];
    let positions: usize = case.batch.sparse.iter().filter(|ids| ids.is_ragged()).map(|ids| ids.ids.len()).sum();
    let flops = 3.0 * graph.cost(case.batch.rows, positions).flops as f64;
    let floor = flops / peak(workers);
    println!(
        "{name}: {:.4} ms a step, {:.0} samples/s, {:.1} % of the floor of {:.4} ms ({:.1} MFLOP, {:.1} GFLOP/s peak)",
        median * 1e3,
        case.batch.rows as f64 / median,
        100.0 * floor / median,
        floor * 1e3,
        flops / 1e6,
        flops / floor / 1e9
    );
    let line = serde_json::json!({
        "task": name, "milliseconds": median * 1e3, "steps_per_second": 1.0 / median,
        "samples_per_second": case.batch.rows as f64 / median, "share_of_floor": floor / median,
    });
    println!("{line}");
}

fn labels(rows: usize) -> Vec<f32> {
    (0..rows).map(|row| if Seed(9).unit_at(row as u64) < 0.3 { 1.0 } else { 0.0 }).collect()
}

fn table(rows: usize, width: usize) -> Vec<f32> {
    (0..rows * width).map(|i| 0.05 * Seed(3).normal_at(i as u64)).collect()
}

fn config(text: &str) -> ModelConfig {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}"))
}

/// MLP 64-64-32-1 at batch 16 with the gradient of its input.
fn small() {
    let schema = Schema {
        features: vec![Feature::new("x", FeatureKind::Categorical)],
        tasks: vec![Task::binary("y")],
        ..Schema::default()
    };
    let rows = 16;
    let ids = Ids { ids: (0..rows as u64).collect(), ..Ids::default() };
    let case = Case {
        schema,
        config: config(r#"{"dimension": 64, "body": {"type": "mlp", "units": [64, 32]}}"#),
        batch: Batch { rows, sparse: vec![ids], labels: labels(rows), ..Batch::default() },
        lookups: vec![(0..rows as u32).collect()],
        rows: vec![table(rows, 64)],
    };
    run("small step 64-64-32-1, batch 16", &case, Rule::Sgd { momentum: 0.0 }, &pool(1), 20_000, false);
}

/// The shape of Frappe's DNN: ten fields of dimension 10, 400-400-400, dropout .2, batch 4096.
fn dnn(threads: usize) {
    let rows = 4096;
    let fields = 10;
    let schema = Schema {
        features: (0..fields).map(|field| Feature::new(format!("f{field}"), FeatureKind::Categorical)).collect(),
        tasks: vec![Task::binary("y")],
        ..Schema::default()
    };
    let unique = 500_u64;
    let column = |field: u64| (0..rows as u64).map(move |row| Seed(field).bits_at(row) % unique);
    let case = Case {
        schema,
        config: config(r#"{"dimension": 10, "body": {"type": "mlp", "units": [400, 400, 400], "dropout": 0.2}}"#),
        batch: Batch {
            rows,
            sparse: (0..fields).map(|field| Ids { ids: column(field).collect(), ..Ids::default() }).collect(),
            labels: labels(rows),
            ..Batch::default()
        },
        lookups: (0..fields).map(|field| column(field).map(|id| id as u32).collect()).collect(),
        rows: vec![table(unique as usize, 10); fields as usize],
    };
    run("DNN 100-400-400-400-1, batch 4096, dropout", &case, Rule::default(), &pool(threads), 25, true);
    run("DNN without dropout", &case, Rule::default(), &pool(threads), 25, false);
}

/// The shape of ML-1M's DIN: six fields of dimension 16, history of up to 50, attention 64-32, head 200-80, batch 2048.
fn din(threads: usize) {
    let rows = 2048;
    let names = ["user", "gender", "age", "occupation", "item", "genre"];
    let mut features: Vec<Feature> = names.iter().map(|name| Feature::new(*name, FeatureKind::Categorical)).collect();
    let mut history = Feature::new("history", FeatureKind::Sequence);
    history.table = Some("item".into());
    history.history = Some(History { of: "item".into(), when: None, which: Default::default() });
    features.push(history);
    let schema = Schema { user: Some("user".into()), features, tasks: vec![Task::binary("y")], ..Schema::default() };
    let unique = 2000_u64;
    let column = |field: u64| (0..rows as u64).map(move |row| Seed(field).bits_at(row) % unique);
    let mut offsets = vec![0_u32];
    let mut ids = Vec::new();
    for row in 0..rows as u64 {
        // About two thirds have the full fifty, as where users rate a hundred and more.
        let length = if Seed(77).unit_at(row) < 0.65 { 50 } else { Seed(78).bits_at(row) % 50 };
        ids.extend((0..length).map(|at| Seed(79).at(row).bits_at(at) % unique));
        offsets.push(ids.len() as u32);
    }
    let mut sparse: Vec<Ids> = (0..6).map(|field| Ids { ids: column(field).collect(), ..Ids::default() }).collect();
    sparse.push(Ids { ids, offsets, list_of_row: Vec::new() });
    let lookups = sparse.iter().map(|ids| ids.ids.iter().map(|id| *id as u32).collect()).collect();
    let case = Case {
        schema,
        config: config(
            r#"{"encoder": {"type": "din", "attention": [64, 32]}, "body": {"type": "mlp", "units": [200, 80]}}"#,
        ),
        batch: Batch { rows, sparse, labels: labels(rows), ..Batch::default() },
        lookups,
        rows: vec![table(unique as usize, 16); 6],
    };
    run("DIN history 50, attention 64-32, head 200-80, batch 2048", &case, Rule::default(), &pool(threads), 40, false);
}
