//! Click data with 26 categorical fields and ten million ids: `cargo run --release -p kitestring-bench --bin wide [dense|sparse]
//! [--ids N] [--steps N]`. The same samples, network and optimizers as `bench/peers/wide_sparse_torch.py`.
//!
//! One table of N rows of dimension 16 is shared out evenly among the fields; ranks are Zipf with exponent 1.05. `sparse` updates the
//! touched rows by lazy Adam, `dense` all rows by Adam. Prints one JSON line: samples a second of whole steps (distinct ids, gathering,
//! network, updates), and the peak resident memory against rows and optimizer state.

use kitestring_core::schema::{Feature, FeatureKind, Task};
use kitestring_core::{Ids, Result, Schema, Seed};
use kitestring_nn::ranker::ModelConfig;
use kitestring_table::Optimizer;
use kitestring_train::config::TrainConfig;
use kitestring_train::inputs::Prepared;
use kitestring_train::learner::Learner;
use kitestring_train::model::Model;
use kitestring_train::workers::Threads;
use std::time::Instant;

const FIELDS: u64 = 26;
const BATCH: usize = 4096;
const WARM_UP: usize = 5;

fn main() {
    if let Err(error) = run() {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str, default: usize| {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)?.parse().ok()).unwrap_or(default)
    };
    let dense = arguments.first().is_some_and(|argument| argument == "dense");
    let (ids, steps) = (number("--ids", 10_000_000) as u64, number("--steps", 50));
    let threads = Threads::new(std::env::var("BENCH_THREADS").ok().and_then(|count| count.parse().ok()).unwrap_or(2))?;

    let features = (0..FIELDS).map(|field| Feature {
        table: Some("id".into()),
        ..Feature::new(format!("field_{field}"), FeatureKind::Categorical)
    });
    let schema = Schema { features: features.collect(), tasks: vec![Task::binary("click")], ..Schema::default() };
    let config: ModelConfig =
        serde_json::from_str(r#"{"dimension": 16, "body": {"type": "mlp", "units": [256, 128]}}"#)
            .unwrap_or_else(|error| panic!("{error}"));
    let rows = if dense { Optimizer::dense_adam() } else { Optimizer::adam() };
    let train = TrainConfig { rows, ..TrainConfig::default() };
    let mut batches = draw(ids, WARM_UP + steps);
    let before = resident("VmRSS");

    let start = Instant::now();
    let mut model = Model::new(&schema, &config, &train, |_| Ok(Some(ids)), &[], Seed(1))?;
    let started = start.elapsed().as_secs_f64();
    let mut learner = Learner::new(&model, &train, threads.count(), Seed(1))?;
    let mut times = Vec::new();
    let mut loss = 0.0;
    for prepared in &mut batches {
        let start = Instant::now();
        learner.index(prepared);
        loss = learner.step(&mut model, prepared, 1e-3, &threads)?.losses[0];
        times.push(start.elapsed().as_secs_f64());
    }
    let timed = &mut times[WARM_UP..];
    let total: f64 = timed.iter().sum();
    timed.sort_by(f64::total_cmp);
    let state_mib = (ids * 16 * 4 * 3) as f64 / f64::from(1 << 20);
    let line = serde_json::json!({
        "task": if dense { "wide-dense" } else { "wide-sparse" }, "ids": ids, "steps": steps,
        "samples_per_second": (steps * BATCH) as f64 / total,
        "samples_per_second_median": BATCH as f64 / timed[timed.len() / 2],
        "start_seconds": started, "loss": loss,
        "rows_and_state_mib": state_mib, "batches_mib": before, "peak_rss_mib": resident("VmHWM"),
        "memory_over_rows_and_state": (resident("VmHWM") - before) / state_mib,
    });
    println!("{line}");
    Ok(())
}

/// Batches by the formulas of the peer's script.
fn draw(ids: u64, count: usize) -> Vec<Prepared> {
    let n = ids / FIELDS;
    let mut cumulative = Vec::with_capacity(n as usize);
    let mut sum = 0.0_f64;
    for rank in 1..=n {
        sum += (rank as f64).powf(-1.05);
        cumulative.push(sum);
    }
    let draw = |seed: Seed, at: u64| {
        let unit = (seed.bits_at(at) >> 11) as f64 / (1_u64 << 53) as f64 * sum;
        cumulative.partition_point(|below| *below < unit).min(n as usize - 1) as u64
    };
    let weight = |id: u64| (id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f64 / f64::from(1 << 24) - 0.5;
    let batch = |number: usize| {
        let seed = Seed(number as u64).child("wide");
        let mut prepared = Prepared::default();
        let batch = &mut prepared.batch;
        batch.rows = BATCH;
        batch.sparse = vec![Ids::default(); FIELDS as usize];
        for row in 0..BATCH as u64 {
            let mut logit = 0.0;
            for (field, column) in (0..FIELDS).zip(&mut batch.sparse) {
                let id = field * n + draw(seed, row * FIELDS + field).wrapping_mul(2_654_435_761) % n;
                logit += weight(id);
                column.ids.push(id);
            }
            let clicked = f64::from(seed.child("label").unit_at(row)) < 1.0 / (1.0 + (-logit).exp());
            batch.labels.push(f32::from(u8::from(clicked)));
        }
        prepared
    };
    (0..count).map(batch).collect()
}

/// A figure of this process in MiB; 0 where the system has none.
fn resident(name: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}
