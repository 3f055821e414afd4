//! The index of item vectors against what memory allows: `cargo run --release -p kitestring-bench --bin index [VECTORS [DIMENSION
//! [GRAPH_VECTORS [clusters|gaussian]]]]`, by default 1,000,000 vectors of dimension 64 for scans and 200,000 for the graph.
//!
//! `clusters`: like vectors of a trained model, a mixture of 1,000 clusters (the more popular the larger, their centres in a subspace of a
//! quarter of the dimensions, each vector with a length of its own) with noise in all dimensions; queries are other draws from the same
//! mixture. `gaussian`: independent normal numbers, the hard case: nothing is near anything.
//!
//! Prints a table and a JSON line. Times are medians over queries, on one thread unless said otherwise.

use kitestring_core::Seed;
use kitestring_nn::engine::{OneWorker, Workers};
use kitestring_nn::kernels::reduce::sum_of_squares;
use kitestring_retrieve::index::{Filter, Found, Index, IndexConfig, Items, Kind, Precision};
use kitestring_train::workers::Threads;
use serde_json::json;
use std::collections::HashSet;
use std::hint::black_box;
use std::time::Instant;

const K: usize = 100;
const QUERIES: usize = 200;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, otherwise: usize| {
        let given = arguments.get(at).map(|text| text.parse().unwrap_or_else(|_| panic!("`{text}` is no number")));
        given.unwrap_or(otherwise)
    };
    let (count, dimension) = (number(0, 1_000_000), number(1, 64));
    let graph_count = number(2, 200_000);
    let kind = arguments.get(3).map_or("clusters", String::as_str);
    let draw = match kind {
        "clusters" => clustered,
        "gaussian" => gaussian,
        other => panic!("`{other}` is neither `clusters` nor `gaussian`"),
    };
    let vectors = draw(Seed(1), count.max(graph_count), dimension);
    let queries = draw(Seed(2), QUERIES, dimension);
    let ids: Vec<u64> = (0..count.max(graph_count) as u64).collect();
    let items = |count: usize| Items { ids: &ids[..count], vectors: &vectors[..count * dimension], attributes: &[] };
    println!("{kind}: top {K} of {count} × {dimension}, {QUERIES} queries");

    let exact = build(&items(count), dimension, &IndexConfig::default(), &OneWorker);
    let floor = median(9, |_| read_all(&vectors[..count * dimension]));
    let mut truth = Vec::new();
    let f32_time = median(QUERIES.min(50), |query| truth.push(search(&exact.0, &queries, query, dimension)));
    let floor = floor.min(median(9, |_| read_all(&vectors[..count * dimension])));
    let gigabytes = (4 * count * dimension) as f64 / 1e9;
    println!("floor, one read of {gigabytes:.3} GB: {:.2} ms, {:.1} GB/s", floor * 1e3, gigabytes / floor);
    println!("exact f32:  {:.2} ms, {:.2} × floor", f32_time * 1e3, f32_time / floor);
    let config = IndexConfig { precision: Precision::Int8, ..IndexConfig::default() };
    let int8 = build(&items(count), dimension, &config, &OneWorker);
    let mut found = Vec::new();
    let int8_time = median(truth.len(), |query| found.push(search(&int8.0, &queries, query, dimension)));
    let int8_recall = recall(&truth, &found);
    println!("exact int8: {:.2} ms, {:.2} × floor, recall {int8_recall:.4}", int8_time * 1e3, int8_time / floor);
    drop((exact, int8));

    let exact = build(&items(graph_count), dimension, &IndexConfig::default(), &OneWorker).0;
    let mut truth = Vec::new();
    let scan_time = median(QUERIES, |query| truth.push(search(&exact, &queries, query, dimension)));
    println!("top {K} of {graph_count} × {dimension}: exact f32 {:.2} ms", scan_time * 1e3);
    let threads = Threads::new(2).unwrap_or_else(|error| panic!("{error}"));
    let batch: Vec<f32> = queries.iter().cycle().take(2048 * dimension).copied().collect();
    let start = Instant::now();
    let answers = exact.search_batch(&batch, K, &[], &threads).unwrap_or_else(|error| panic!("{error}"));
    let batch_rate = answers.len() as f64 / start.elapsed().as_secs_f64();
    println!("exact f32, 2048 queries at once on 2 threads: {batch_rate:.0} queries/s");
    let graph = Kind::Graph { connections: 16, build_width: 60, search_width: 200 };
    let config = IndexConfig { kind: graph, ..IndexConfig::default() };
    let (mut graph, build_seconds) = build(&items(graph_count), dimension, &config, &threads);
    println!("graph of 16 connections, build width 60: built in {build_seconds:.1} s on 2 threads");
    let mut widths = Vec::new();
    for width in [100, 150, 200, 300, 400] {
        graph.set_search_width(width).unwrap_or_else(|error| panic!("{error}"));
        let mut found = Vec::new();
        let time = median(QUERIES, |query| found.push(search(&graph, &queries, query, dimension)));
        let recall = recall(&truth, &found);
        let (rate, ratio) = (1.0 / time, scan_time / time);
        println!(
            "graph, width {width:4}: recall@{K} {recall:.4}, {:.3} ms, {rate:.0} queries/s, {ratio:.1} × exact",
            time * 1e3
        );
        widths.push(json!({"width": width, "recall": recall, "milliseconds": time * 1e3, "times_exact": ratio}));
    }
    let line = json!({
        "task": "index", "vectors": kind, "count": count, "dimension": dimension, "floor_ms": floor * 1e3, "f32_ms": f32_time * 1e3,
        "f32_over_floor": f32_time / floor, "int8_ms": int8_time * 1e3, "int8_over_floor": int8_time / floor,
        "int8_recall": int8_recall, "graph_count": graph_count, "graph_exact_ms": scan_time * 1e3, "batch_queries_per_second": batch_rate,
        "graph_build_seconds": build_seconds, "graph": widths,
    });
    println!("{line}");
}

fn build(items: &Items<'_>, dimension: usize, config: &IndexConfig, workers: &dyn Workers) -> (Index, f64) {
    let built =
        Index::build(items, dimension, config, "bench", None, workers).unwrap_or_else(|error| panic!("{error}"));
    (built.index, built.seconds)
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
