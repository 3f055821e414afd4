//! What a step of a retriever costs by the number of items: `cargo run --release -p kitestring-bench --bin corpus_size [PAGE]`.
//!
//! Pairs of a million users and 10 thousand to 10 million items, a vector of 64 numbers each (Adam, sparse), 2048 pairs a step, by gravity
//! (SOGram) and by softmax over the batch. Ids are drawn evenly over the tables, so that hardly a row is met twice and none is in cache: the
//! hardest case. A step touches the rows of its pairs and k × k Gram matrices, so its cost should not grow with the corpus but by how far
//! rows are apart in memory. Memory is that of the rows and their optimizer's two numbers each: 8.5 GB at the largest.

use kitestring_core::{Error, Result, Seed};
use kitestring_data::dataset::Dataset;
use kitestring_data::layout;
use kitestring_data::prepare::prepare_folder;
use kitestring_retrieve::corpus::{Corpus, PairBatch, readers};
use kitestring_retrieve::learner::Learner;
use kitestring_retrieve::{RetrieveConfig, RetrieverModel};
use kitestring_train::RunConfig;
use kitestring_train::report::{Chart, charts};
use kitestring_train::workers::Threads;
use serde_json::json;
use std::fmt::Write as _;
use std::time::Instant;

const USERS: u64 = 1_000_000;
const ITEMS: [u64; 4] = [10_000, 100_000, 1_000_000, 10_000_000];
const STEPS: u64 = 200;
const ROWS: u64 = 200_000;
const OBJECTIVES: [(&str, &str); 2] = [("gramian", "type = \"gramian\""), ("softmax", "type = \"softmax\"")];

const CONFIG: &str = r#"
[[data.layouts]]
name = "drawn"
splits.train = { path = "pairs.csv" }
[schema]
user = "user"
item = "item"
features = [
    { name = "user_id", kind = "categorical", of = "user", column = "user" },
    { name = "item_id", kind = "categorical", of = "item", column = "item" },
]
tasks = [{ name = "click" }]
[retrieve]
objective = { OBJECTIVE }
[retrieve.model]
dimension = 64
vector = 64
query = { layers = { units = [] }, projection = false }
item = { layers = { units = [] }, projection = false }
[retrieve.train]
batch_size = 2048
row_init = { normal = { std = 0.1 } }
"#;

fn main() {
    if let Err(error) = run() {
        eprintln!("error: {error}");
        std::process::exit(error.exit_code().into());
    }
}

fn run() -> Result<()> {
    let place =
        tempfile::tempdir().map_err(|error| Error::io(error, "could not make a folder", std::env::temp_dir()))?;
    let mut text = String::from("user,item,click\n");
    for row in 0..ROWS {
        let draw = Seed(1).at(row);
        // A row without a click, for a label that never is zero is refused.
        let (user, item, click) = (draw.bits_at(0) % 20_000, draw.bits_at(1) % 20_000, u8::from(row % 50 > 0));
        let _ = writeln!(text, "{user},{item},{click}");
    }
    let path = place.path().join("pairs.csv");
    std::fs::write(&path, text).map_err(|error| Error::io(error, "could not write the pairs", &path))?;
    let (mut told, mut lines) = (Vec::new(), Vec::new());
    println!("{:10} {:>12} {:>10} {:>12}", "objective", "items", "ms/step", "pairs/s");
    for (name, objective) in OBJECTIVES {
        let config = RunConfig::parse(&CONFIG.replace("OBJECTIVE", objective), "the benchmark", &[])?;
        let out = place.path().join(name);
        let opened = layout::open(&config.data, place.path())?;
        prepare_folder(&opened, &config.data, &config.schema, (Seed(1), None), &out, &mut |_| {})?;
        let dataset = Dataset::open(&out)?;
        let mut line = Vec::new();
        for items in ITEMS {
            let seconds = steps(&config, &dataset, items)?;
            let pairs = 2048.0 / seconds;
            println!("{name:10} {items:12} {:10.2} {pairs:12.0}", 1000.0 * seconds);
            line.push((items as f64, (1000.0 * seconds).into()));
            told.push(json!({ "objective": name, "items": items, "milliseconds": 1000.0 * seconds, "pairs_per_second": pairs }));
        }
        lines.push((name.to_owned(), line));
    }
    if let Some(page) = std::env::args().nth(1) {
        let chart = Chart {
            title: "A step by the size of the corpus".into(),
            caption: "2048 pairs of vectors of 64 numbers; rows drawn evenly over the tables.".into(),
            x: "items".into(),
            y: "ms a step".into(),
            log_x: true,
            log_y: false,
            from_zero: false,
            lines,
        };
        std::fs::write(&page, charts("What a step costs", "One machine, one run.", &[chart]))
            .map_err(|error| Error::io(error, "could not write the page", &page))?;
    }
    println!("{}", json!({ "task": "corpus size", "found": told }));
    Ok(())
}

/// Seconds of a step over tables of a million users and so many items.
fn steps(config: &RunConfig, dataset: &Dataset, items: u64) -> Result<f64> {
    let section = RetrieveConfig::of(config)?;
    let section = section.ok_or_else(|| Error::config("the config has no retriever").in_field("retrieve"))?;
    let size = |table: &str| Ok(Some(if table == "user_id" { USERS } else { items }));
    let mut model = RetrieverModel::new(dataset.schema(), &section.model, &section.train, size, Seed(1))?;
    let (corpus, threads) = (Corpus::new(dataset, &section)?, Threads::new(section.train.workers)?);
    let mut learner = Learner::new(&model, (&section.objective, &section.train), &corpus, threads.count(), Seed(1))?;
    let ([query, item], order) = (readers(dataset.schema()), corpus.order(Seed(2), 0));
    let (mut batch, mut seconds) = (PairBatch::default(), 0.0);
    for step in 0..STEPS + 20 {
        let numbers: Vec<u64> = (0..2048).map(|at| order.at((step * 2048 + at) % corpus.len())).collect();
        corpus.read(&numbers, Some(Seed(3).at(step)), &mut batch)?;
        // The same pairs, spread over the larger tables.
        let spread = |ids: &mut [u64], rows: u64| {
            ids.iter_mut().for_each(|id| *id = Seed(step).bits_at(*id) % rows);
        };
        spread(&mut batch.query.sparse[0].ids, USERS);
        spread(&mut batch.item.sparse[1].ids, items);
        batch.distinct.index(&[(&query, &batch.query), (&item, &batch.item)]);
        let start = Instant::now();
        learner.step(&mut model, &batch, 1e-3, &threads)?;
        if step >= 20 {
            seconds += start.elapsed().as_secs_f64();
        }
    }
    Ok(seconds / STEPS as f64)
}
