//! What workers and list features cost: `cargo run --release -p kitestring-bench --bin workers [FOLDER]`.
//!
//! Steps of the engine alone (forward, backward, sums of row gradients; no table is read or written) on a log drawn in memory, by 1, 2, 4 … 64
//! workers that share each batch: the processor's seconds a step, of all threads. Then the memory that the tiles of a batch are planned with, and have, by the number of list
//! features. Prints two tables and a JSON line; with a folder, draws `cpu-by-workers.svg` and `memory-by-lists.svg` there.

use kitestring_core::schema::{Feature, FeatureKind, Task};
use kitestring_core::{Batch, Error, Ids, Result, Schema, Seed};
use kitestring_nn::engine::{BatchInputs, Occurrences, OneWorker, Trainer};
use kitestring_nn::network::Network;
use kitestring_nn::ranker::{ModelConfig, Ranker};
use kitestring_train::report::{Chart, Estimate, chart_svg};
use kitestring_train::workers::Threads;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;

const ROWS: usize = 4096;
const LENGTH: usize = 50;
const DIMENSION: usize = 16;

fn main() {
    if let Err(error) = run() {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

fn run() -> Result<()> {
    let folder = std::env::args().nth(1);
    println!("workers  CPU ms a step  (batch {ROWS}, 2 lists of {LENGTH}, {DIMENSION} numbers a row)");
    let mut by_workers = Vec::new();
    let case = Case::new(2);
    for workers in [1, 2, 4, 8, 16, 32, 64] {
        let milliseconds = case.cpu_of_a_step(workers)?;
        println!("{workers:7}  {milliseconds:13.1}");
        by_workers.push((workers as f64, milliseconds));
    }
    println!("\nlists  planned MiB  MiB after a step  (one worker)");
    let mut planned = Vec::new();
    let mut measured = Vec::new();
    for lists in [1, 2, 4, 8, 16] {
        let case = Case::new(lists);
        let [plan, memory] = case.memory()?.map(|bytes| bytes as f64 / f64::from(1 << 20));
        println!("{lists:5}  {plan:11.2}  {memory:16.2}");
        planned.push((lists as f64, plan));
        measured.push((lists as f64, memory));
    }
    let line = json!({"task": "workers", "batch": ROWS, "cpu_ms_by_workers": by_workers, "planned_mib_by_lists": planned,
        "measured_mib_by_lists": measured});
    println!("{line}");
    if let Some(folder) = folder {
        draw(Path::new(&folder), by_workers, [planned, measured])?;
    }
    Ok(())
}

fn draw(folder: &Path, cpu: Vec<(f64, f64)>, [planned, measured]: [Vec<(f64, f64)>; 2]) -> Result<()> {
    let line = |name: &str, points: Vec<(f64, f64)>| {
        let points = points.into_iter().map(|(x, y)| (x, Estimate::from(y))).collect();
        (name.to_owned(), points)
    };
    let charts = [
        (
            "cpu-by-workers.svg",
            Chart {
                title: "Processor time of a step by workers".into(),
                caption: "All threads together, on two cores".into(),
                x: "workers".into(),
                y: "CPU ms a step".into(),
                from_zero: true,
                log_x: true,
                lines: vec![line("batch 4096, two lists of 50", cpu)],
                ..Chart::default()
            },
        ),
        (
            "memory-by-lists.svg",
            Chart {
                title: "Memory of a worker's tile by list features".into(),
                caption: "Lists of 50 rows of 16 numbers".into(),
                x: "list features".into(),
                y: "MiB".into(),
                from_zero: true,
                lines: vec![line("planned", planned), line("held after a step", measured)],
                ..Chart::default()
            },
        ),
    ];
    for (name, chart) in charts {
        let path = folder.join(name);
        std::fs::write(&path, chart_svg(&chart))
            .map_err(|error| Error::io(error, "could not write the plot", &path))?;
    }
    Ok(())
}

/// A ranker that pools some list features, and a batch of it.
struct Case {
    ranker: Ranker,
    batch: Batch,
    lookups: Vec<Vec<u32>>,
    rows: Vec<Vec<f32>>,
    occurrences: Vec<Occurrences>,
}

impl Case {
    fn new(lists: usize) -> Self {
        let mut features =
            vec![Feature::new("user", FeatureKind::Categorical), Feature::new("item", FeatureKind::Categorical)];
        features.extend((0..lists).map(|list| Feature::new(format!("list{list}"), FeatureKind::Multi)));
        let schema = Schema { features, tasks: vec![Task::binary("y")], ..Schema::default() };
        let config: ModelConfig = serde_json::from_value(json!({"dimension": DIMENSION, "encoder": {"type": "pool"},
            "body": {"type": "mlp", "units": [256, 128]}}))
        .unwrap_or_else(|error| panic!("{error}"));
        let ranker = Ranker::new(&schema, &config, &[]).unwrap_or_else(|error| panic!("{error}"));
        // Every table has more ids than a batch has places: most rows of a step occur once, as where logs are large.
        let distinct = 1 << 20;
        let draw = |feature: usize, count: usize| -> Vec<u64> {
            (0..count as u64).map(|at| Seed(feature as u64).bits_at(at) % distinct).collect()
        };
        let mut sparse: Vec<Ids> = (0..2).map(|feature| Ids { ids: draw(feature, ROWS), ..Ids::default() }).collect();
        for list in 0..lists {
            let offsets = (0..=ROWS).map(|row| (row * LENGTH) as u32).collect();
            sparse.push(Ids { ids: draw(2 + list, ROWS * LENGTH), offsets, list_of_row: Vec::new() });
        }
        let (mut lookups, mut rows, mut occurrences) = (Vec::new(), Vec::new(), Vec::new());
        for (feature, ids) in sparse.iter().enumerate() {
            let mut unique = kitestring_table::Unique::new();
            unique.dedupe([&ids.ids[..]]);
            let mut found = Occurrences::default();
            found.index([(feature, unique.positions())].into_iter(), unique.ids().len());
            lookups.push(unique.positions().to_vec());
            let count = unique.ids().len() * DIMENSION;
            rows.push((0..count as u64).map(|at| 0.05 * Seed(3).normal_at(at)).collect());
            occurrences.push(found);
        }
        let labels = (0..ROWS).map(|row| f32::from(u8::from(Seed(9).unit_at(row as u64) < 0.3))).collect();
        let batch = Batch { rows: ROWS, sparse, labels, ..Batch::default() };
        Self { ranker, batch, lookups, rows, occurrences }
    }

    fn inputs(&self) -> BatchInputs<'_> {
        let Self { batch, lookups, rows, occurrences, .. } = self;
        BatchInputs { batch, lookups, rows, occurrences }
    }

    /// The least of several rounds, in milliseconds: what else the machine does only adds to it.
    fn cpu_of_a_step(&self, workers: usize) -> Result<f64> {
        let graph = Arc::new(self.ranker.graph.clone());
        let mut network = Network::new(&graph, Seed(1));
        let mut trainer = Trainer::new(graph, workers);
        let threads = Threads::new(workers)?;
        let mut least = f64::INFINITY;
        for round in 0..7 {
            let (before, steps) = (cpu_seconds()?, 5);
            for _ in 0..steps {
                trainer.step(&network.weights, &mut network.state, &self.inputs(), None, &threads)?;
            }
            if round > 0 {
                least = least.min((cpu_seconds()? - before) * 1e3 / f64::from(steps));
            }
        }
        Ok(least)
    }

    /// Bytes of the tiles, as they are planned and as they are after a step.
    fn memory(&self) -> Result<[usize; 2]> {
        let graph = Arc::new(self.ranker.graph.clone());
        let mut network = Network::new(&graph, Seed(1));
        let mut trainer = Trainer::new(graph, 1);
        trainer.step(&network.weights, &mut network.state, &self.inputs(), None, &OneWorker)?;
        Ok([trainer.planned_memory(&self.batch), trainer.tile_memory()])
    }
}

/// Seconds of the processor that this process has used, of all its threads.
fn cpu_seconds() -> Result<f64> {
    let path = Path::new("/proc/self/schedstat");
    let unreadable = || Error::internal("the processor's time is read from /proc, which Linux has");
    // The process's own file is that of its first thread: the threads have one each.
    let threads =
        std::fs::read_dir("/proc/self/task").map_err(|error| Error::io(error, "cannot list the threads", path))?;
    let mut nanoseconds = 0.0;
    for thread in threads.flatten() {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
        let used = text.split_whitespace().next().and_then(|used| used.parse::<f64>().ok());
        nanoseconds += used.ok_or_else(unreadable)?;
    }
    Ok(nanoseconds * 1e-9)
}
