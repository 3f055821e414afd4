//! Ranks all items for every user of a split: `cargo run --release -p kitestring-bench --bin rank CONFIG DATA [SPLIT] [key=value …]`.
//!
//! Prints one JSON line: seconds, candidates scored a second, the seconds that scoring waited for candidates to be read, and the
//! metrics; and the floor: what the ranker's floating-point operations take at the speed of a large product on the same threads,
//! measured in the same run. The model is trained as the config says; `train.epochs=1` is enough to measure time. Beside it stand the
//! seconds that building the candidates' batches takes alone, without any scoring.

use kitestring_bench::{Prepared, peak};
use kitestring_core::{Batch, Result, Seed};
use kitestring_data::dataset::Dataset;
use kitestring_train::evaluate::rank_all;
use kitestring_train::fit::fit;
use kitestring_train::workers::Threads;
use std::time::Instant;

fn main() {
    if let Err(error) = run() {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

fn run() -> Result<()> {
    let Prepared { config, dataset, split, place, .. } = Prepared::from_arguments("rank", "test")?;
    let threads = Threads::new(config.train.workers)?;
    let fitted = fit(&config, &dataset, place.path(), false, &mut |_| {})?;
    let mut contexts = Vec::new();
    let ranked =
        rank_all(&fitted.model, &dataset, &split, &config.evaluate, Seed(config.seed), &threads, &mut |top| {
            contexts.push((top.sample, top.candidates));
        })?;
    let reading = reading(&dataset, &split, &contexts)?;
    let cost = fitted.model.graph.cost(ranked.candidates as usize, reading.positions);
    let floor = cost.flops as f64 / peak(&threads);
    let line = serde_json::json!({
        "config": config.name, "split": split, "lists": ranked.mean.queries(), "candidates": ranked.candidates,
        "seconds": ranked.seconds, "candidates_per_second": ranked.candidates as f64 / ranked.seconds,
        "floor_seconds": floor, "times_floor": ranked.seconds / floor, "gigaflops": cost.flops as f64 / 1e9,
        "waiting_seconds": ranked.waiting, "reading_alone_seconds": reading.seconds, "metrics": ranked.mean.mean(),
    });
    println!("{line}");
    Ok(())
}

/// What building the batches of all items takes.
struct Reading {
    seconds: f64,
    /// Pairs of a candidate and an element of its history.
    positions: usize,
}

/// Builds the batches of all items in each of these contexts, and scores none. A context is a sample, and how many candidates were ranked
/// in it.
fn reading(dataset: &Dataset, split: &str, contexts: &[(u64, usize)]) -> Result<Reading> {
    let (split, mut batch) = (dataset.split(split)?, Batch::default());
    let items = dataset.items().map(|items| items.seen().to_vec()).unwrap_or_default();
    let (start, mut positions) = (Instant::now(), 0);
    for contexts in contexts.chunks(2) {
        let lists = items.repeat(contexts.len());
        let offsets: Vec<u32> = (0..=contexts.len()).map(|list| (list * items.len()) as u32).collect();
        let samples: Vec<u64> = contexts.iter().map(|(sample, _)| *sample).collect();
        split.read_candidates(&samples, &offsets, &lists, &mut batch)?;
        if let Some(history) = batch.sparse.iter().find(|ids| ids.is_ragged()) {
            for (list, (_, candidates)) in contexts.iter().enumerate() {
                positions += history.of_row(list * items.len()).len() * candidates;
            }
        }
    }
    Ok(Reading { seconds: start.elapsed().as_secs_f64(), positions })
}
