//! Prepares, trains and validates a config: `cargo run --release -p kitestring-bench --bin fit CONFIG DATA [SPLIT] [key=value …]`.
//!
//! Prints a table on stderr as it goes, and one JSON line with the samples a second of training, without preparation and validation.

use kitestring_core::{Result, Seed};
use kitestring_data::dataset::Dataset;
use kitestring_data::prepare::{Input, Options, columns, prepare};
use kitestring_data::reader::BadRows;
use kitestring_data::{layout, prepare};
use kitestring_train::config::RunConfig;
use kitestring_train::evaluate::quick;
use kitestring_train::fit::{Event, fit};
use kitestring_train::workers::Threads;
use std::path::{Path, PathBuf};
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
    prepare_into(&config, &PathBuf::from(data), &out)?;
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

fn prepare_into(config: &RunConfig, data: &Path, out: &Path) -> Result<()> {
    let bad = BadRows::new(config.data.max_bad_rows);
    let opened = layout::open(&config.data, data)?;
    let needed = columns(&config.schema);
    let needed: Vec<&str> = needed.iter().map(AsRef::as_ref).collect();
    let inputs = opened.splits().map(|split| {
        let rows = opened.read(split, &needed, &bad)?;
        Ok(Input::new(split.unwrap_or("train"), rows))
    });
    let inputs = inputs.collect::<Result<Vec<_>>>()?;
    let options = Options {
        schema: &config.schema,
        split: config.data.split,
        negatives: config.data.negatives.as_ref(),
        seed: Seed(config.seed).child("prepare"),
        bad_rows: &bad,
    };
    prepare(inputs, Vec::new(), &options, out, &mut |_| {})?;
    Ok(())
}
