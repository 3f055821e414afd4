//! Prepares, trains and validates a config: `cargo run --release -p kitestring-bench --bin fit CONFIG DATA [SPLIT] [key=value …]`.
//!
//! Prints a table on stderr as it goes, and one JSON line with the samples a second of training, without preparation and validation.

use kitestring_core::{Result, Seed};
use kitestring_data::dataset::Dataset;
use kitestring_data::layout;
use kitestring_data::prepare::prepare_folder;
use kitestring_train::config::RunConfig;
use kitestring_train::evaluate::quick;
use kitestring_train::fit::{Event, fit};
use kitestring_train::workers::Threads;
use std::path::Path;
use std::time::Instant;

fn main() {
    if let Err(error) = run() {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

fn run() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(config), Some(data)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: fit CONFIG DATA [SPLIT] [key=value …]");
        std::process::exit(2);
    };
    let split = arguments.next().unwrap_or_else(|| "valid".into());
    let overrides: Vec<String> = arguments.collect();
    let config = RunConfig::read(Path::new(&config), &overrides)?;
    let place = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
    let out = place.path().join("dataset");
    let start = Instant::now();
    let opened = layout::open(&config.data, Path::new(&data))?;
    prepare_folder(&opened, &config.data, &config.schema, Seed(config.seed), &out, &mut |_| {})?;
    let prepared = start.elapsed().as_secs_f64();
    let dataset = Dataset::open(&out)?;
    let threads = Threads::new(config.train.workers)?;
    let fitted = fit(&config, &dataset, place.path(), false, &mut |event| {
        if let Event::Epoch { epoch, .. } = event {
            let rate = epoch.samples as f64 / epoch.seconds;
            eprintln!("epoch {} {:.0} samples/s {:?}", epoch.epoch, rate, epoch.metrics);
        }
    })?;
    let metrics = quick(&fitted.model, &dataset, &split, &config.evaluate, Seed(config.seed), &threads)?;
    let line = serde_json::json!({
        "config": config.name, "split": split, "seed": config.seed, "prepare_seconds": prepared,
        "samples_per_second": fitted.samples_per_second, "seconds": fitted.seconds, "metrics": metrics,
    });
    println!("{line}");
    Ok(())
}
