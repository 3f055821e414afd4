//! What to do with the place an impression stood at: nothing, a feature of it, or a tower of its own:
//! `cargo run --release -p kitestring-bench --bin position [CONFIG] [worlds=10] [key=value …]`.
//!
//! CONFIG is `configs/simulated.toml` where absent. Each world is a marketplace of its own; on its log three models are trained that
//! differ in what they do with the display position. The one that reads it is served, as it would have to be, with the first place
//! for every candidate. What a model is worth is Spearman's correlation of its predictions with the true relevance of the test's
//! impressions (docs/simulator.md), which holds no place; and AUC against that relevance. Differences are paired by world. The tower's
//! learned bias is held against the true one, up to a constant, for each device.

use kitestring_bench::seeds::{each, mean, mean_difference, shown};
use kitestring_core::schema::{Feature, FeatureKind};
use kitestring_core::{Error, Result, Seed};
use kitestring_data::dataset::Dataset;
use kitestring_data::layout;
use kitestring_data::prepare::prepare_folder;
use kitestring_data::simulator;
use kitestring_train::RunConfig;
use kitestring_train::assemble::position_bias;
use kitestring_train::evaluate::score;
use kitestring_train::fit::fit;
use kitestring_train::truth;
use kitestring_train::workers::Threads;
use serde_json::json;
use std::path::Path;

/// What is done with the position.
const MODELS: [&str; 3] = ["a tower of its own", "a feature, served as 1", "nothing"];

/// A number of what a model came to.
type Read = fn(&Found) -> f64;

/// What one model came to in one world.
struct Found {
    correlation: f64,
    auc: f64,
    /// The same on the pages that were filled at random.
    on_random: [f64; 2],
    /// For each device: its name, the root mean squared distance of learned and true bias, the share of steps that fall, and the learned
    /// bias by position.
    bias: Vec<(String, f64, f64, Vec<f64>)>,
}

fn config(path: &str, overrides: &[String], model: usize, world: usize) -> Result<RunConfig> {
    let mut config = RunConfig::read(Path::new(path), overrides)?;
    let own = match model {
        0 => vec![
            ("model.bias.type", "position".into()),
            ("model.bias.crossed", toml::Value::Array(vec!["device".into()])),
        ],
        1 => {
            config.schema.features.push(Feature::new("position", FeatureKind::Categorical));
            vec![("evaluate.serve_as.position", "1".into())]
        }
        _ => Vec::new(),
    };
    let own: Vec<(String, toml::Value)> = own.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let mut config = config.with(&own, "the model")?;
    config.check()?;
    config.seed = world as u64;
    // The worlds share the cores.
    config.train.workers = 1;
    config.simulator.get_or_insert_default().seed = 1 + world as u64;
    Ok(config)
}

fn in_world(path: &str, overrides: &[String], world: usize) -> Result<Vec<Found>> {
    let place = tempfile::tempdir();
    let place = place.map_err(|error| Error::io(error, "could not make a folder", "the temporary folder"))?;
    let (raw, threads) = (place.path().join("simulated"), Threads::new(1)?);
    let mut found = Vec::new();
    for (model, name) in MODELS.iter().enumerate() {
        let config = config(path, overrides, model, world)?;
        if model == 0 {
            simulator::write(&config.simulator.clone().unwrap_or_default(), &raw, &mut |_| {})?;
        }
        let run = place.path().join(model.to_string());
        let out = run.join("dataset");
        std::fs::create_dir_all(&run).map_err(|error| Error::io(error, "could not make the folder", &run))?;
        let opened = layout::open(&config.data, &raw)?;
        let seed = (Seed(config.seed).child("prepare"), None);
        prepare_folder(&opened, &config.data, &config.schema, seed, &out, &mut |_| {})?;
        let dataset = Dataset::open(&out)?;
        let fitted = fit(&config, &dataset, &run, false, &mut |_| {})?;
        let scored = score(&fitted.model, &dataset, "test", &config.evaluate, Seed(0), &threads, &mut |_, _| {})?;
        let compared = truth::compare(&scored, &dataset, &config.evaluate, Seed(0))?.unwrap_or_default();
        let of = |random: bool| {
            let of_click = compared.iter().find(|known| known.random == random && known.task == "click");
            let relevance =
                of_click.and_then(|known| Some((known.relevance_correlation?, known.relevance?.model.value)));
            relevance.ok_or_else(|| Error::data("there is no truth beside this log"))
        };
        let ((correlation, auc), random) = (of(false)?, of(true)?);
        let biases = position_bias(&fitted.model, &dataset, "test", Seed(0))?;
        let lines = biases.into_iter().filter(|bias| bias.task == "click").flat_map(|bias| bias.lines);
        let bias = lines.map(|line| {
            let error = line.distance();
            let steps = line.learned.windows(2);
            let all = steps.len().max(1) as f64;
            (line.name, error, steps.filter(|pair| pair[1] < pair[0]).count() as f64 / all, line.learned)
        });
        eprintln!("world {world}, {name}: {correlation:.4}");
        found.push(Found { correlation, auc, on_random: [random.0, random.1], bias: bias.collect() });
    }
    Ok(found)
}

fn main() {
    if let Err(error) = run() {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

fn run() -> Result<()> {
    let (mut path, mut worlds, mut overrides) = ("configs/simulated.toml".to_owned(), 10, Vec::new());
    for argument in std::env::args().skip(1) {
        match argument.split_once('=') {
            None => path = argument,
            Some(("worlds", count)) => {
                worlds = count.parse().map_err(|_| Error::config("`worlds` is a number"))?;
            }
            Some(_) => overrides.push(argument),
        }
    }
    let found = each(worlds, |world| in_world(&path, &overrides, world))?;
    let values = |model: usize, of: Read| -> Vec<f64> { found.iter().map(|models| of(&models[model])).collect() };
    let measures: [(&str, Read); 4] = [
        ("rank correlation with relevance", |found| found.correlation),
        ("AUC against relevance", |found| found.auc),
        ("rank correlation with relevance, random pages", |found| found.on_random[0]),
        ("AUC against relevance, random pages", |found| found.on_random[1]),
    ];
    let mut lines = Vec::new();
    for (measure, of) in measures {
        println!("\n{measure}, {worlds} worlds");
        println!("{:<28}{:<28}{:<28}", "position is", "mean", "the tower is ahead by");
        for (model, name) in MODELS.iter().enumerate() {
            let own = mean(&values(model, of))?;
            let ahead = mean_difference(&values(0, of), &values(model, of))?;
            println!("{name:<28}{:<28}{:<28}", shown(own, 4), if model == 0 { String::new() } else { shown(ahead, 4) });
            lines.push(json!({ "measure": measure, "model": name, "mean": own, "ahead": ahead }));
        }
    }
    println!("\nThe tower's bias against the true one, up to a constant");
    let mut devices: Vec<&String> = found.iter().flat_map(|models| models[0].bias.iter().map(|line| &line.0)).collect();
    devices.sort();
    devices.dedup();
    let mut biases = Vec::new();
    for device in devices {
        let of_device = || found.iter().filter_map(|models| models[0].bias.iter().find(|line| line.0 == *device));
        let errors: Vec<f64> = of_device().map(|line| line.1).collect();
        let falls: Vec<f64> = of_device().map(|line| line.2).collect();
        let places = of_device().map(|line| line.3.len()).min().unwrap_or(0);
        let means: Vec<f64> = (0..places)
            .map(|at| of_device().map(|line| line.3[at]).sum::<f64>() / of_device().count() as f64)
            .collect();
        let (error, falling) = (mean(&errors)?, mean(&falls)?);
        println!("{device:<18}root mean squared distance {}, steps that fall {}", shown(error, 3), shown(falling, 2));
        let text: Vec<String> = means.iter().map(|value| format!("{value:.2}")).collect();
        println!("{:<18}{}", "mean by position", text.join(" "));
        biases.push(json!({ "device": device, "distance": error, "falling": falling, "mean_by_position": means }));
    }
    println!(
        "{}",
        json!({ "task": "position", "worlds": worlds, "overrides": overrides, "models": lines, "bias": biases })
    );
    Ok(())
}
