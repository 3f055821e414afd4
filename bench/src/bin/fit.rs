//! Prepares, trains and validates a config: `cargo run --release -p kitestring-bench --bin fit CONFIG DATA [SPLIT] [key=value …]`.
//!
//! Prints a table on stderr as it goes, and one JSON line with the samples a second of training, without preparation and validation.

use kitestring_bench::Prepared;
use kitestring_core::{Result, Seed};
use kitestring_train::evaluate::quick;
use kitestring_train::fit::{Event, fit};
use kitestring_train::workers::Threads;

fn main() {
    if let Err(error) = run() {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

fn run() -> Result<()> {
    let Prepared { config, dataset, split, place, seconds: prepared } = Prepared::from_arguments("fit", "valid")?;
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
