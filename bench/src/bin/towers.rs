//! Trains a retriever: how fast, and how much of what users will want it finds.
//!
//! `towers CONFIG DATA [SPLIT] [key=value …]`, for example
//! `cargo run --release -p kitestring-bench --bin towers -- configs/gowalla.toml DATA/gowalla test retrieve.train.epochs=3`.

use kitestring_bench::Prepared;
use kitestring_core::{Error, Result, Seed};
use kitestring_retrieve::{RetrieveConfig, evaluate, fit};
use kitestring_train::watch::Event;
use kitestring_train::workers::Threads;
use serde_json::{Map, json};
use std::time::Instant;

fn main() {
    if let Err(error) = run() {
        eprintln!("error: {error}");
        std::process::exit(error.exit_code().into());
    }
}

fn run() -> Result<()> {
    let Prepared { config, dataset, split, place, seconds: preparing } = Prepared::from_arguments("towers", "test")?;
    let section = RetrieveConfig::of(&config)?;
    let section = section.ok_or_else(|| Error::config("the config has no retriever").in_field("retrieve"))?;
    let threads = Threads::new(section.train.workers)?;
    println!("{} threads, data prepared in {preparing:.2} s", threads.count());
    let start = Instant::now();
    let fitted = fit::fit((&config, &section), &dataset, &place.path().join("retriever"), false, &mut |event| {
        if let Event::Epoch { epoch, best } = event {
            let metrics: Vec<String> = epoch.metrics.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
            let star = if best { "*" } else { "" };
            println!("epoch {:3} {:6.1} s  {}{star}", epoch.epoch, start.elapsed().as_secs_f64(), metrics.join("  "));
        }
    })?;
    let seed = Seed(config.seed);
    let ranked = evaluate::rank(&fitted.model, &dataset, &split, (&section, &config.evaluate), seed, &threads)?;
    let mut metrics = Map::new();
    println!("{split}: {}", ranked.protocol);
    for metric in ranked.metrics(&config.evaluate, seed) {
        let interval = metric.interval().map_or_else(String::new, |i| format!("  [{:.4}, {:.4}]", i.lower, i.upper));
        println!("  {:12} {:.4}{interval}", metric.key, metric.value);
        metrics.insert(metric.key.clone(), metric.value.into());
    }
    println!(
        "{:.0} pairs/s, {:.1} s of training, {:.1} s in all; ranked in {:.2} s",
        fitted.pairs_per_second,
        fitted.seconds,
        start.elapsed().as_secs_f64(),
        ranked.seconds
    );
    println!(
        "{}",
        json!({ "task": "towers", "pairs_per_second": fitted.pairs_per_second, "seconds": fitted.seconds,
            "ranking_seconds": ranked.seconds, "metrics": metrics })
    );
    Ok(())
}
