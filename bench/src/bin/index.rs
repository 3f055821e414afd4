//! The index of item vectors against what memory allows, and what a graph's search width buys: `cargo run --release -p kitestring-bench
//! --bin index [key=value …]`.
//!
//! | key | meaning |
//! |---|---|
//! | `scan=1000000` | vectors of the exact scans |
//! | `graph=200000` | vectors of the graph |
//! | `dimension=64` | numbers of each |
//! | `vectors=clusters` | or `gaussian` |
//! | `connections=16`, `build_width=60` | how the graph is built |
//! | `recall=0.96` | the recall that the build chooses a search width for |
//! | `widths=100,200,400,800` | search widths of the curve of recall against queries a second |
//! | `index=DIR` | a directory where the built graph is kept for the next call |
//!
//! `clusters`: like vectors of a trained model, a mixture of 1,000 clusters (the more popular the larger, their centres in a subspace of a
//! quarter of the dimensions, each vector with a length of its own) with noise in all dimensions; queries are other draws from the same
//! mixture. `gaussian`: independent normal numbers, the hard case: nothing is near anything.
//!
//! Prints a table and a JSON line. Times are medians over queries, on one thread unless said otherwise.

use kitestring_core::Seed;
use kitestring_nn::engine::OneWorker;
use kitestring_nn::kernels::reduce::sum_of_squares;
use kitestring_retrieve::index::{Filter, Found, Index, IndexConfig, Items, Kind, Precision};
use kitestring_train::workers::Threads;
use serde_json::json;
use std::collections::{BTreeMap, HashSet};
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

const K: usize = 100;
const QUERIES: usize = 200;

fn main() {
    let mut arguments = Arguments::of_process();
    let (count, graph_count) = (arguments.number("scan", 1_000_000), arguments.number("graph", 200_000));
    let dimension = arguments.number("dimension", 64);
    let (connections, build_width) = (arguments.number("connections", 16), arguments.number("build_width", 60));
    let widths = arguments.text("widths", "100,150,200,300,400");
    let mut widths: Vec<usize> = widths.split(',').map(whole).collect();
    let kind = arguments.text("vectors", "clusters");
    let wanted: f64 = arguments.text("recall", "0.96").parse().unwrap_or_else(|_| panic!("`recall` is no number"));
    let directory = arguments.text("index", "");
    arguments.end();
    let draw = match kind.as_str() {
        "clusters" => clustered,
        "gaussian" => gaussian,
        other => panic!("`{other}` is neither `clusters` nor `gaussian`"),
    };
    let vectors = draw(Seed(1), count.max(graph_count), dimension);
    let queries = draw(Seed(2), QUERIES, dimension);
    let ids: Vec<u64> = (0..count.max(graph_count) as u64).collect();
    let items = |count: usize| Items { ids: &ids[..count], vectors: &vectors[..count * dimension], attributes: &[] };
    println!("{kind}: top {K} of {count} × {dimension}, {QUERIES} queries");

    let exact = build(&items(count), dimension, &IndexConfig::default());
    let floor = median(9, |_| read_all(&vectors[..count * dimension]));
    let mut truth = Vec::new();
    let f32_time = median(QUERIES.min(50), |query| truth.push(search(&exact, &queries, query, dimension)));
    let floor = floor.min(median(9, |_| read_all(&vectors[..count * dimension])));
    let gigabytes = (4 * count * dimension) as f64 / 1e9;
    println!("floor, one read of {gigabytes:.3} GB: {:.2} ms, {:.1} GB/s", floor * 1e3, gigabytes / floor);
    println!("exact f32:  {:.2} ms, {:.2} × floor", f32_time * 1e3, f32_time / floor);
    let config = IndexConfig { precision: Precision::Int8, ..IndexConfig::default() };
    let int8 = build(&items(count), dimension, &config);
    let mut found = Vec::new();
    let int8_time = median(truth.len(), |query| found.push(search(&int8, &queries, query, dimension)));
    let int8_recall = recall(&truth, &found);
    println!("exact int8: {:.2} ms, {:.2} × floor, recall {int8_recall:.4}", int8_time * 1e3, int8_time / floor);
    drop((exact, int8));

    let exact = build(&items(graph_count), dimension, &IndexConfig::default());
    let mut truth = Vec::new();
    let scan_time = median(QUERIES, |query| truth.push(search(&exact, &queries, query, dimension)));
    println!("top {K} of {graph_count} × {dimension}: exact f32 {:.2} ms", scan_time * 1e3);
    let threads = Threads::new(2).unwrap_or_else(|error| panic!("{error}"));
    let batch: Vec<f32> = queries.iter().cycle().take(2048 * dimension).copied().collect();
    let start = Instant::now();
    let answers = exact.search_batch(&batch, K, &[], &threads).unwrap_or_else(|error| panic!("{error}"));
    let batch_rate = answers.len() as f64 / start.elapsed().as_secs_f64();
    println!("exact f32, 2048 queries at once on 2 threads: {batch_rate:.0} queries/s");
    let graph = Kind::Graph { connections, build_width, recall: wanted, search_width: None };
    let config = IndexConfig { kind: graph, ..IndexConfig::default() };
    let what = format!("graph of {connections} connections, build width {build_width}");
    // Its version says all that it depends on: one of other vectors is refused.
    let version = format!("{kind} {graph_count} × {dimension}, {what}");
    let place = Path::new(&directory);
    let (mut graph, build_seconds) = if !directory.is_empty() && place.exists() {
        println!("{what}: from {directory}");
        (Index::open(place, &version).unwrap_or_else(|error| panic!("{error}")), None)
    } else {
        let others = draw(Seed(3), 512, dimension);
        let built = Index::build(&items(graph_count), dimension, &config, &version, Some(&others), &threads);
        let built = built.unwrap_or_else(|error| panic!("{error}"));
        println!("{what}: built in {:.1} s on 2 threads", built.seconds);
        println!("for {wanted}: recall {:.4} on other queries", built.recall.unwrap_or(1.0));
        if !directory.is_empty() {
            built.index.save(place).unwrap_or_else(|error| panic!("{error}"));
        }
        (built.index, Some(built.seconds))
    };
    if let Some(width) = graph.search_width() {
        println!("its search width: {width}");
        widths.insert(0, width);
    }
    let mut curve = Vec::new();
    for width in widths {
        graph.set_search_width(width).unwrap_or_else(|error| panic!("{error}"));
        let mut found = Vec::new();
        let time = median(QUERIES, |query| found.push(search(&graph, &queries, query, dimension)));
        let recall = recall(&truth, &found);
        let (rate, ratio) = (1.0 / time, scan_time / time);
        println!(
            "graph, width {width:4}: recall@{K} {recall:.4}, {:.3} ms, {rate:.0} queries/s, {ratio:.1} × exact",
            time * 1e3
        );
        curve.push(json!({"width": width, "recall": recall, "milliseconds": time * 1e3, "times_exact": ratio}));
    }
    let line = json!({
        "task": "index", "vectors": kind, "count": count, "dimension": dimension, "floor_ms": floor * 1e3, "f32_ms": f32_time * 1e3,
        "f32_over_floor": f32_time / floor, "int8_ms": int8_time * 1e3, "int8_over_floor": int8_time / floor,
        "int8_recall": int8_recall, "graph_count": graph_count, "graph_exact_ms": scan_time * 1e3, "batch_queries_per_second": batch_rate,
        "graph_build_seconds": build_seconds, "graph": curve,
    });
    println!("{line}");
}

/// The arguments `key=value` of the process.
struct Arguments(BTreeMap<String, String>);

impl Arguments {
    fn of_process() -> Self {
        let pair = |argument: String| match argument.split_once('=') {
            Some((key, value)) => (key.to_owned(), value.to_owned()),
            None => panic!("`{argument}` is no key=value"),
        };
        Self(std::env::args().skip(1).map(pair).collect())
    }

    fn text(&mut self, key: &str, otherwise: &str) -> String {
        self.0.remove(key).unwrap_or_else(|| otherwise.to_owned())
    }

    fn number(&mut self, key: &str, otherwise: usize) -> usize {
        self.0.remove(key).map_or(otherwise, |text| whole(&text))
    }

    fn end(self) {
        assert!(self.0.is_empty(), "unknown: {}", self.0.into_keys().collect::<Vec<_>>().join(", "));
    }
}

fn whole(text: &str) -> usize {
    text.parse().unwrap_or_else(|_| panic!("`{text}` is no whole number"))
}

fn build(items: &Items<'_>, dimension: usize, config: &IndexConfig) -> Index {
    let built = Index::build(items, dimension, config, "bench", None, &OneWorker);
    built.unwrap_or_else(|error| panic!("{error}")).index
}

fn search(index: &Index, queries: &[f32], query: usize, dimension: usize) -> Vec<Found> {
    let query = &queries[query * dimension..][..dimension];
    index.search(query, K, &Filter::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// Reads numbers once, in order, and no more.
fn read_all(numbers: &[f32]) {
    black_box(sum_of_squares(numbers));
}

/// The median time of a call, in seconds.
fn median(count: usize, mut call: impl FnMut(usize)) -> f64 {
    let times = (0..count).map(|number| {
        let start = Instant::now();
        call(number);
        start.elapsed().as_secs_f64()
    });
    let mut times: Vec<f64> = times.collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn recall(truth: &[Vec<Found>], found: &[Vec<Found>]) -> f64 {
    let (mut hits, mut all) = (0, 0);
    for (truth, found) in truth.iter().zip(found) {
        let truth: HashSet<u64> = truth.iter().map(|found| found.item).collect();
        all += truth.len();
        hits += found.iter().filter(|found| truth.contains(&found.item)).count();
    }
    hits as f64 / all as f64
}

fn gaussian(seed: Seed, count: usize, dimension: usize) -> Vec<f32> {
    (0..(count * dimension) as u64).map(|at| seed.normal_at(at)).collect()
}

fn clustered(seed: Seed, count: usize, dimension: usize) -> Vec<f32> {
    const CLUSTERS: f32 = 1000.0;
    // The mixture is the same for items and queries: `seed` only draws from it.
    let mixture = Seed(7);
    let low = (dimension / 4).max(1);
    let basis: Vec<f32> = (0..low * dimension).map(|at| mixture.child("basis").normal_at(at as u64)).collect();
    let mut vectors = Vec::with_capacity(count * dimension);
    for number in 0..count as u64 {
        let seed = seed.at(number);
        // Squared, so that low clusters are large ones.
        let cluster = (CLUSTERS * seed.unit_at(0) * seed.unit_at(0)) as u64;
        let centre = mixture.child("centre").at(cluster);
        let weight = (0.3 * seed.normal_at(1)).exp() / (low as f32).sqrt();
        let place: Vec<f32> = (0..low as u64)
            .map(|at| weight * (centre.normal_at(at) + 0.5 * seed.child("place").normal_at(at)))
            .collect();
        for column in 0..dimension {
            let signal: f32 = place.iter().enumerate().map(|(at, place)| place * basis[at * dimension + column]).sum();
            vectors.push(signal + 0.1 * seed.child("noise").normal_at(column as u64));
        }
    }
    vectors
}
