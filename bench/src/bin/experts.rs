//! What choosing few of many experts costs: `cargo run --release -p kitestring-bench --bin experts [threads] [seconds]`.
//!
//! First the time of a training step (with Adam) of MMoE with 4 experts, and of AESM² that selects 4 of more and more, for small and for
//! larger experts. 20 fields of dimension 16, one level of 4 scenarios, two tasks, a tower of 64 units a task, batch 2048. The rankers take
//! turns, so that what else the machine does meets them all; the time is the least of all steps. Then the time of scoring one
//! user's 512 candidates on one thread with AESM² as its defaults are. Beside each time stands the floor that its floating-point
//! operations set, only chosen experts counted, at the speed of a product of 512 × 512 matrices. The last line is all of it as JSON.

use kitestring_bench::peak;
use kitestring_core::schema::{Feature, FeatureKind, Level, Task};
use kitestring_core::{Batch, Ids, Schema, Seed};
use kitestring_nn::engine::{BatchInputs, OneWorker, Scorer, Trainer, Workers};
use kitestring_nn::graph::Graph;
use kitestring_nn::network::Network;
use kitestring_nn::optimizer::{Optimizer, Rule};
use kitestring_nn::ranker::{ModelConfig, Ranker};
use kitestring_train::workers::Threads;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Instant;

const FIELDS: usize = 20;
const DIMENSION: usize = 16;
const SCENARIOS: u64 = 4;
/// Unique rows of a table.
const UNIQUE: u64 = 500;

/// A batch with the rows of its tables.
struct Samples {
    batch: Batch,
    lookups: Vec<Vec<u32>>,
    rows: Vec<Vec<f32>>,
}

impl Samples {
    /// The first `alike` fields are the same for all samples: those of a user.
    fn new(rows: u64, alike: usize) -> Self {
        let ids = |field: usize| (0..rows).map(move |row| if field < alike { 7 } else { row });
        let ids = |field: usize| ids(field).map(move |row| Seed(field as u64).bits_at(row) % UNIQUE);
        let scenario = |row: u64| 1 + (Seed(7).bits_at(if alike > 0 { 0 } else { row }) % SCENARIOS) as u32;
        let table = (0..UNIQUE * DIMENSION as u64).map(|at| 0.05 * Seed(3).normal_at(at)).collect();
        Self {
            batch: Batch {
                rows: rows as usize,
                sparse: (0..FIELDS).map(|field| Ids { ids: ids(field).collect(), ..Ids::default() }).collect(),
                scenarios: (0..rows).map(scenario).collect(),
                labels: (0..2 * rows).map(|at| f32::from(Seed(9).unit_at(at) < 0.3)).collect(),
                ..Batch::default()
            },
            lookups: (0..FIELDS).map(|field| ids(field).map(|id| id as u32).collect()).collect(),
            rows: vec![table; FIELDS],
        }
    }

    fn inputs(&self) -> BatchInputs<'_> {
        BatchInputs { batch: &self.batch, lookups: &self.lookups, rows: &self.rows, occurrences: &[] }
    }
}

fn graph(body: &Value) -> Arc<Graph> {
    let schema = Schema {
        features: (0..FIELDS).map(|field| Feature::new(format!("f{field}"), FeatureKind::Categorical)).collect(),
        scenarios: vec![Level { name: "page".into(), column: None }],
        tasks: ["click", "buy"].map(Task::binary).into(),
        ..Schema::default()
    };
    let config: ModelConfig = serde_json::from_value(json!({"dimension": DIMENSION, "body": body})).expect("a config");
    Arc::new(Ranker::new(&schema, &config, &[1 + SCENARIOS as usize]).expect("a ranker").graph)
}

/// A ranker in training.
struct Case {
    name: String,
    experts: usize,
    graph: Arc<Graph>,
    network: Network,
    trainer: Trainer,
    optimizer: Optimizer,
    turns: Vec<f64>,
}

impl Case {
    fn new(name: String, experts: usize, body: &Value, workers: usize) -> Self {
        let graph = graph(body);
        let network = Network::new(&graph, Seed(1));
        let optimizer = Optimizer::new(Rule::default(), 0.0, &graph).expect("an optimizer");
        let trainer = Trainer::new(Arc::clone(&graph), workers);
        Self { name, experts, graph, network, trainer, optimizer, turns: Vec::new() }
    }

    /// A few steps, of which the first warms the cache up again.
    fn turn(&mut self, samples: &Samples, workers: &dyn Workers) {
        let times: Vec<f64> = (0..4)
            .map(|step| {
                let (seed, start) = (Some(Seed((self.turns.len() * 4 + step) as u64)), Instant::now());
                let Self { network, trainer, optimizer, .. } = self;
                trainer.step(&network.weights, &mut network.state, &samples.inputs(), seed, workers).expect("a step");
                optimizer.apply_with(&mut network.weights, trainer.gradients().network, 1e-3, workers);
                start.elapsed().as_secs_f64()
            })
            .collect();
        self.turns.push(least(&times[1..]));
    }

    fn time(&self) -> f64 {
        least(&self.turns)
    }
}

fn least(times: &[f64]) -> f64 {
    times.iter().copied().fold(f64::INFINITY, f64::min)
}

fn most(speeds: &[f64]) -> f64 {
    speeds.iter().copied().fold(0.0, f64::max)
}

fn training(units: &[usize], workers: &dyn Workers, seconds: f64) -> Value {
    let samples = Samples::new(2048, 0);
    let expert = json!({"units": units});
    let mmoe = json!({"type": "mmoe", "experts": 4, "expert": expert});
    let mut cases = vec![Case::new("MMoE".into(), 4, &mmoe, workers.count())];
    for experts in [4, 8, 16, 40, 64, 128] {
        let scenarios = json!({"layers": 1, "experts": experts, "expert": expert, "specific": 2, "shared": 2});
        let body = json!({"type": "aesm2", "scenarios": scenarios, "tasks": {"layers": 0}, "towers": {"units": [64]}});
        cases.push(Case::new(format!("AESM², 4 of {experts}"), experts, &body, workers.count()));
    }
    let (start, mut speeds) = (Instant::now(), Vec::new());
    while start.elapsed().as_secs_f64() < seconds || speeds.len() < 3 {
        speeds.push(peak(workers));
        cases.iter_mut().for_each(|case| case.turn(&samples, workers));
    }
    let speed = most(&speeds);
    println!("experts of {units:?}, {} threads, {:.0} GFLOP/s at most", workers.count(), speed / 1e9);
    println!("{:<18} {:>9} {:>7} {:>9} {:>7}", "", "ms a step", "of MMoE", "floor ms", "floors");
    let of_mmoe = cases[0].time();
    let lines = cases.iter().map(|case| {
        let (time, flops) = (case.time(), 3 * case.graph.cost(samples.batch.rows, 0).flops);
        let floor = flops as f64 / speed;
        let (ratio, floors) = (time / of_mmoe, time / floor);
        println!("{:<18} {:>9.3} {ratio:>7.2} {:>9.3} {floors:>7.2}", case.name, time * 1e3, floor * 1e3);
        json!({"ranker": case.name, "experts": case.experts, "milliseconds": time * 1e3, "of_mmoe": ratio, "of_floor": floors})
    });
    json!({"units": units, "threads": workers.count(), "rankers": lines.collect::<Vec<_>>()})
}

fn scoring(seconds: f64) -> Value {
    let samples = Samples::new(512, FIELDS / 2);
    let graph = graph(&json!({"type": "aesm2"}));
    let network = Network::new(&graph, Seed(1));
    let (mut scorer, mut scores) = (Scorer::new(Arc::clone(&graph), 1), Vec::new());
    let (start, mut speeds, mut turns) = (Instant::now(), Vec::new(), Vec::new());
    while start.elapsed().as_secs_f64() < seconds {
        speeds.push(peak(&OneWorker));
        let mut pass = |_| {
            let start = Instant::now();
            scorer.score(&network.weights, &network.state, &samples.inputs(), &OneWorker, &mut scores).expect("scores");
            start.elapsed().as_secs_f64()
        };
        let times: Vec<f64> = (0..20).map(&mut pass).collect();
        turns.push(least(&times[1..]));
    }
    let (time, floor) = (least(&turns), graph.cost(samples.batch.rows, 0).flops as f64 / most(&speeds));
    let floors = time / floor;
    println!("512 candidates: {:.3} ms, floor {:.3} ms, {floors:.2} floors", time * 1e3, floor * 1e3);
    json!({"candidates": 512, "milliseconds": time * 1e3, "floor": floor * 1e3, "of_floor": floors})
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse().expect("a number"));
    let (threads, seconds) = (arguments.next().unwrap_or(1.0), arguments.next().unwrap_or(10.0));
    let pool = Threads::new(threads as usize).expect("threads");
    let training = [&[64][..], &[256, 128]].map(|units| training(units, &pool, seconds));
    let line = json!({"task": "expert selection", "training": training, "scoring": scoring(seconds / 5.0)});
    println!("{line}");
}
