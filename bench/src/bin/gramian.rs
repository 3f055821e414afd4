//! How well Gram matrices are known while towers learn, and what that is worth:
//! `cargo run --release -p kitestring-bench --bin gramian -- configs/wikispeedia.toml DATA/wikispeedia [PAGE] [seconds=20] [seeds=3]`.
//!
//! The link graph of a small Wikipedia, towers over pages, categories and words of titles, and gravity between all pairs (Krichene et al.
//! 2019, section 4). Each estimator trains for the same time, without the time to measure: the relative error of its Gram matrices against
//! those of all pairs, and MAP@10 of held-out links among all articles. Sampling is a running mean with α = 1: the pairs of two batches.
//! Then one estimator with several weights λ of gravity: too small, and unrelated articles end up together ("folding": training pairs fit
//! and held-out ones are lost among others); too large, and everything is pulled to zero. One thread a training, two at a time.

use kitestring_bench::seeds::{each, mean, shown};
use kitestring_core::{Error, Result, Seed};
use kitestring_data::dataset::Dataset;
use kitestring_data::layout;
use kitestring_data::prepare::prepare_folder;
use kitestring_nn::engine::OneWorker;
use kitestring_retrieve::corpus::{Corpus, PairBatch};
use kitestring_retrieve::learner::Learner;
use kitestring_retrieve::{RetrieveConfig, RetrieverModel, evaluate};
use kitestring_train::RunConfig;
use kitestring_train::config::EvaluateConfig;
use kitestring_train::report::{Chart, Estimate, charts};
use serde_json::json;
use std::path::Path;
use std::time::Instant;

/// Measurements over a training, evenly in time.
const MEASURED: usize = 10;

const ESTIMATORS: [(&str, &str); 7] = [
    ("sampling", "estimator={ type = \"sogram\", alpha = 1.0 }"),
    ("SOGram .1", "estimator={ type = \"sogram\", alpha = 0.1 }"),
    ("SOGram .01", "estimator={ type = \"sogram\", alpha = 0.01 }"),
    ("SOGram .001", "estimator={ type = \"sogram\", alpha = 0.001 }"),
    ("SAGram, SAG", "estimator={ type = \"sagram\", variant = \"sag\" }"),
    ("SAGram, SAGA", "estimator={ type = \"sagram\", variant = \"saga\" }"),
    ("exact", "estimator={ type = \"exact\", every = 10 }"),
];
const LAMBDAS: [f32; 6] = [0.01, 0.1, 1.0, 10.0, 100.0, 1000.0];

/// What was measured at one place of a training.
#[derive(Clone, Copy)]
struct Point {
    seconds: f64,
    steps: u64,
    error: f64,
    map: f64,
    /// The mean product of training pairs, and the root of the mean square of all pairs' products.
    products: [f64; 2],
}

fn main() {
    if let Err(error) = run() {
        eprintln!("error: {error}");
        std::process::exit(error.exit_code().into());
    }
}

fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [config, data, rest @ ..] = arguments.as_slice() else {
        eprintln!("usage: gramian CONFIG DATA [PAGE] [seconds=20] [seeds=3]");
        std::process::exit(2);
    };
    let setting = |name: &str, default: f64| {
        let found = rest.iter().find_map(|text| text.strip_prefix(name)?.strip_prefix('='));
        found.and_then(|value| value.parse().ok()).unwrap_or(default)
    };
    let (seconds, seeds) = (setting("seconds", 20.0), setting("seeds", 3.0) as usize);
    let page = rest.iter().find(|text| !text.contains('='));
    let config = RetrieveConfig::resolve(RunConfig::read_as_written(Path::new(config))?)?;
    let place =
        tempfile::tempdir().map_err(|error| Error::io(error, "could not make a folder", std::env::temp_dir()))?;
    let opened = layout::open(&config.data, Path::new(data))?;
    let seed = Seed(config.seed).child("prepare");
    prepare_folder(&opened, &config.data, &config.schema, (seed, None), place.path(), &mut |_| {})?;
    let dataset = Dataset::open(place.path())?;

    let mut settings: Vec<(String, String)> = ESTIMATORS
        .iter()
        .map(|(name, setting)| ((*name).to_owned(), format!("retrieve.objective.{setting}")))
        .collect();
    settings.extend(LAMBDAS.map(|lambda| (format!("λ = {lambda}"), format!("retrieve.objective.lambda={lambda}"))));
    let found = each(settings.len() * seeds, |number| {
        let (_, setting) = &settings[number / seeds];
        train(&config, setting, &dataset, seconds, (number % seeds) as u64)
    })?;
    let of = |setting: usize, read: fn(&Point) -> f64, at: usize| -> Result<Estimate> {
        let values: Vec<f64> = (0..seeds).map(|seed| read(&found[setting * seeds + seed][at])).collect();
        if seeds == 1 { Ok(values[0].into()) } else { mean(&values) }
    };
    println!(
        "{:14} {:>7} {:>26} {:>26} {:>10} {:>10}",
        "", "steps/s", "error of Gram matrices", "MAP@10", "pairs", "all pairs"
    );
    let mut told = Vec::new();
    for (number, (name, _)) in settings.iter().enumerate() {
        let last = MEASURED - 1;
        let speed = of(number, |point| point.steps as f64 / point.seconds, last)?;
        let (error, map) = (of(number, |point| point.error, last)?, of(number, |point| point.map, last)?);
        let [own, all] = [of(number, |point| point.products[0], last)?, of(number, |point| point.products[1], last)?];
        println!(
            "{name:14} {:7.0} {:>26} {:>26} {:10.3} {:10.3}",
            speed.value,
            shown(error, 4),
            shown(map, 4),
            own.value,
            all.value
        );
        told.push(json!({ "name": name, "steps_per_second": speed.value, "gram_error": error.value, "map": map.value,
            "product_of_pairs": own.value, "product_of_all": all.value }));
    }
    if let Some(page) = page {
        let line = |number: usize, read: fn(&Point) -> f64| -> Result<_> {
            let points = (0..MEASURED).map(|at| Ok((found[number * seeds][at].seconds, of(number, read, at)?)));
            Ok((settings[number].0.clone(), points.collect::<Result<Vec<_>>>()?))
        };
        let lines = |read: fn(&Point) -> f64, from: std::ops::Range<usize>| {
            from.map(|number| line(number, read)).collect::<Result<Vec<_>>>()
        };
        let (estimators, lambdas) = (0..ESTIMATORS.len(), ESTIMATORS.len()..settings.len());
        let chart = |title: &str, caption: &str, y: &str, log_y: bool, lines: Vec<_>| Chart {
            title: title.into(),
            caption: caption.into(),
            x: "seconds of training".into(),
            y: y.into(),
            log_x: false,
            log_y,
            from_zero: false,
            lines,
        };
        let sweep = LAMBDAS
            .iter()
            .zip(lambdas)
            .map(|(lambda, number)| Ok((f64::from(*lambda), of(number, |point| point.map, MEASURED - 1)?)));
        let all = [
            chart(
                "How far the Gram matrices are off",
                "‖Ĝ − G‖ / ‖G‖ of items, against all pairs' as the towers stand.",
                "relative error",
                true,
                lines(|point| point.error, estimators.clone())?,
            ),
            chart(
                "What it is worth",
                "MAP@10 of held-out links among all articles.",
                "MAP@10",
                false,
                lines(|point| point.map, estimators)?,
            ),
            Chart {
                x: "λ".into(),
                log_x: true,
                ..chart(
                    "How much gravity",
                    "Too little folds, too much flattens.",
                    "MAP@10",
                    false,
                    vec![("SOGram .01".into(), sweep.collect::<Result<Vec<_>>>()?)],
                )
            },
        ];
        std::fs::write(page, charts("Gram matrices while towers learn", "Wikispeedia, means over seeds.", &all))
            .map_err(|error| Error::io(error, "could not write the page", page))?;
    }
    println!("{}", json!({ "task": "gramian", "seconds": seconds, "seeds": seeds, "found": told }));
    Ok(())
}

/// Trains for some seconds, measuring evenly.
fn train(config: &RunConfig, setting: &str, dataset: &Dataset, seconds: f64, seed: u64) -> Result<Vec<Point>> {
    let config = RunConfig { seed, ..config.clone() }.overridden(&[setting.to_owned()])?;
    let section = RetrieveConfig::of(&config)?;
    let section = section.ok_or_else(|| Error::config("the config has no retriever").in_field("retrieve"))?;
    let corpus = Corpus::new(dataset, &section)?;
    let (seed, train) = (Seed(seed).child("bench"), &section.train);
    let size = |table: &str| dataset.table_size(table);
    let mut model = RetrieverModel::new(dataset.schema(), &section.model, train, size, seed)?;
    let mut learner = Learner::new(&model, (&section.objective, train), &corpus, 1, seed)?;
    let judged = EvaluateConfig { bootstrap: 0, ..config.evaluate.clone() };
    let (mut batch, mut points, mut spent) = (PairBatch::default(), Vec::new(), 0.0);
    let size = train.length(dataset.split("train")?.rows()).batch_size;
    for epoch in 0.. {
        let order = corpus.order(seed, epoch);
        for first in (0..corpus.len()).step_by(size) {
            let start = Instant::now();
            let last = (first + size as u64).min(corpus.len());
            let pairs: Vec<u64> = (first..last).map(|position| order.at(position)).collect();
            corpus.read(&pairs, None, &mut batch)?;
            learner.refresh(&model, &corpus, &OneWorker)?;
            learner.step(&mut model, &batch, train.learning_rate, &OneWorker)?;
            spent += start.elapsed().as_secs_f64();
            if spent < seconds * (points.len() + 1) as f64 / MEASURED as f64 {
                continue;
            }
            let exact = learner.exact_moments(&model, &corpus, &OneWorker)?;
            let moving = learner.minimized().moving();
            let error = moving.map_or(f64::NAN, |moving| moving.estimate().items.relative_error(&exact.items));
            let ranked = evaluate::rank(&model, dataset, "valid", (&section, &judged), seed, &OneWorker)?;
            let map = ranked.mean.mean().and_then(|mean| mean.first().map(|at| at.map)).unwrap_or(f64::NAN);
            let own = evaluate::mean_product(&model, &corpus, &OneWorker)?;
            let products = [own, exact.queries.inner(&exact.items).sqrt()];
            points.push(Point { seconds: spent, steps: learner.steps(), error, map, products });
            if points.len() == MEASURED {
                return Ok(points);
            }
        }
    }
    Err(Error::internal("epochs ended"))
}
