//! Implicit alternating least squares on Gowalla: `cargo run --release -p kitestring-bench --bin als -- DATA/gowalla [key=value …]`.
//!
//! `DATA/gowalla` holds `train.txt.gz` and `test.txt.gz`, a user a line: the user and its items. Prints a row a setting (medians over
//! `repeats` seeds) and a JSON line: seconds of fitting, the share of the floor that floating-point operations set at the speed of a
//! product of 512 × 512 matrices, and recall and NDCG at 20 over all items but those of the training part.
//!
//! Keys: `dimension`, `repeats`, `seed`, `setting` (a name of the table), `tune=true`, and those of the retriever's
//! config, which make a setting of their own. `tune=true` holds a tenth of the training pairs out, drawn, and prints each point of a grid
//! on the held-out part; the test part is not read then.

use flate2::read::GzDecoder;
use kitestring_bench::peak;
use kitestring_core::metrics::TopK;
use kitestring_core::{Error, Result, Seed};
use kitestring_nn::engine::Workers;
use kitestring_nn::kernels::matmul::{Matrix, Start, matmul, transpose};
use kitestring_retrieve::als::{Config, Factors, Interactions, Solver, Zeros, fit};
use kitestring_train::workers::Threads;
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Rank down to which recall and NDCG look.
const CUT: usize = 20;

fn main() {
    if let Err(error) = run() {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

/// The arguments.
struct Options {
    dimension: usize,
    repeats: u64,
    seed: u64,
    setting: Option<String>,
    tune: bool,
    own: Map<String, Value>,
}

fn run() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let Some(folder) = arguments.next() else {
        eprintln!("usage: als DATA/gowalla [key=value …]");
        std::process::exit(2);
    };
    let options = Options::read(arguments)?;
    let threads = Threads::new(std::env::var("BENCH_THREADS").ok().and_then(|count| count.parse().ok()).unwrap_or(2))?;
    let folder = Path::new(&folder);
    let train = read(&folder.join("train.txt.gz"))?;
    if options.tune {
        return tune(&train, &options, &threads);
    }
    let test = read(&folder.join("test.txt.gz"))?;
    let (users, items) = counts([&train, &test]);
    let (train, test) = (Interactions::new(users, items, train)?, Interactions::new(users, items, test)?);
    let speed = peak(&threads);
    println!("{users} users, {items} items, {} training pairs, {:.0} GFLOP/s at most", train.pairs(), speed / 1e9);
    println!("{:<22}{:>9}{:>11}{:>9}{:>10}{:>9}", "setting", "fit s", "s a round", "floor s", "recall@20", "ndcg@20");
    let mut lines = Vec::new();
    for (name, config) in options.settings()? {
        let floor = flops(&train, &config, options.dimension) * f64::from(config.iterations) / speed;
        let (mut seconds, mut rounds, mut recalls, mut ndcgs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for repeat in 0..options.repeats {
            let start = Instant::now();
            let mut observe = |iteration: kitestring_retrieve::als::Iteration<'_>| rounds.push(iteration.seconds);
            let seed = Seed(options.seed + repeat);
            let factors = fit(&train, &config, options.dimension, seed, &threads, &mut observe)?;
            seconds.push(start.elapsed().as_secs_f64());
            let (recall, ndcg) = quality(&factors, options.dimension, &train, &test, &threads);
            recalls.push(recall);
            ndcgs.push(ndcg);
        }
        let [seconds, round, recall, ndcg] = [seconds, rounds, recalls, ndcgs].map(median);
        println!("{name:<22}{seconds:>9.3}{round:>11.4}{floor:>9.3}{recall:>10.4}{ndcg:>9.4}");
        lines.push(json!({
            "setting": name, "seconds": seconds, "seconds_an_iteration": round, "share_of_floor": floor / seconds,
            "recall_20": recall, "ndcg_20": ndcg, "config": config,
        }));
    }
    let line = json!({
        "task": "gowalla-als", "dimension": options.dimension, "repeats": options.repeats, "threads": threads.count(), "settings": lines,
    });
    println!("{line}");
    Ok(())
}

impl Options {
    fn read(arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self { dimension: 64, repeats: 3, seed: 1, setting: None, tune: false, own: Map::default() };
        for argument in arguments {
            let Some((key, value)) = argument.split_once('=') else {
                return Err(Error::config(format!("`{argument}` is not key=value")));
            };
            let wrong = |_| Error::config(format!("`{value}` is no value of it")).in_field(key);
            let number = || value.parse::<u64>().map_err(|_| wrong(()));
            match key {
                "dimension" => options.dimension = number()? as usize,
                "repeats" => options.repeats = number()?.max(1),
                "seed" => options.seed = number()?,
                "setting" => options.setting = Some(value.into()),
                "tune" => options.tune = value == "true",
                _ => {
                    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.into()));
                    options.own.insert(key.into(), value);
                }
            }
        }
        Ok(options)
    }

    /// The settings of the table that were asked for, or the one given by keys.
    fn settings(&self) -> Result<Vec<(String, Config)>> {
        if !self.own.is_empty() {
            let config = serde_json::from_value(Value::Object(self.own.clone()));
            let config = config.map_err(|error| Error::config("wrong keys").caused_by(error))?;
            return Ok(vec![("given".into(), config)]);
        }
        let with = |solver, config| Config { solver, ..config };
        // The best recall of `tune=true` in each parametrization.
        let (tuned, ials) = (as_implicit(80.0, 10.0), ials(0.01, 0.002));
        let settings = [
            ("implicit, default", as_implicit(1.0, 0.01)),
            ("implicit, tuned", tuned.clone()),
            ("implicit, tuned, exact", with(Solver::Cholesky, tuned)),
            ("ials, tuned", ials.clone()),
            ("ials, tuned, exact", with(Solver::Cholesky, ials.clone())),
            ("ials, tuned, subspace", with(Solver::Subspace { width: 32 }, ials)),
        ];
        let settings = settings.map(|(name, config)| (name.to_string(), config));
        Ok(settings.into_iter().filter(|(name, _)| self.setting.as_ref().is_none_or(|one| one == name)).collect())
    }
}

/// The library's `alpha` and `regularization`.
fn as_implicit(alpha: f32, regularization: f32) -> Config {
    Config {
        unobserved_weight: 1.0 / alpha,
        zeros: Zeros::Unobserved,
        regularization: regularization / alpha,
        regularization_exponent: 0.0,
        ..Config::default()
    }
}

fn ials(unobserved_weight: f32, regularization: f32) -> Config {
    Config { unobserved_weight, regularization, ..Config::default() }
}

/// Prints quality on held-out training pairs over a grid.
fn tune(pairs: &[(u32, u32)], options: &Options, workers: &Threads) -> Result<()> {
    let (users, items) = counts([pairs, &[]]);
    let drawn = Seed(options.seed).child("hold out");
    let held = |at: usize| drawn.unit_at(at as u64) < 0.1;
    let part =
        |wanted: bool| pairs.iter().enumerate().filter(move |(at, _)| held(*at) == wanted).map(|(_, pair)| *pair);
    let (train, test) = (Interactions::new(users, items, part(false))?, Interactions::new(users, items, part(true))?);
    println!("{:<12}{:>18}{:>15}{:>10}{:>9}", "setting", "unobserved", "regularization", "recall@20", "ndcg@20");
    let mut grid = Vec::new();
    for alpha in [20.0, 40.0, 60.0, 80.0, 120.0, 160.0] {
        for regularization in [0.1, 1.0, 10.0, 30.0] {
            grid.push((format!("implicit alpha {alpha} reg {regularization}"), as_implicit(alpha, regularization)));
        }
    }
    for unobserved in [0.003, 0.005, 0.007, 0.01, 0.02, 0.05] {
        for regularization in [3e-4, 1e-3, 4e-3, 8e-3] {
            grid.push(("ials".into(), ials(unobserved, regularization)));
        }
    }
    if !options.own.is_empty() {
        grid = options.settings()?;
    }
    for (name, config) in grid {
        let factors = fit(&train, &config, options.dimension, Seed(options.seed), workers, &mut |_| {})?;
        let (recall, ndcg) = quality(&factors, options.dimension, &train, &test, workers);
        let Config { unobserved_weight, regularization, .. } = config;
        println!("{name:<30}{unobserved_weight:>8}{regularization:>15}{recall:>10.4}{ndcg:>9.4}");
    }
    Ok(())
}

/// Pairs of a file whose lines are a user and its items.
fn read(path: &Path) -> Result<Vec<(u32, u32)>> {
    let failed = |error| Error::io(error, "could not read", path);
    let mut pairs = Vec::new();
    for (number, line) in (1..).zip(BufReader::new(GzDecoder::new(File::open(path).map_err(failed)?)).lines()) {
        let line = line.map_err(failed)?;
        let mut ids = line.split_ascii_whitespace().map(|id| {
            let wrong =
                |_| Error::data(format!("`{id}` is no number")).in_file(path.display().to_string()).at_line(number);
            id.parse::<u32>().map_err(wrong)
        });
        if let Some(user) = ids.next().transpose()? {
            for item in ids {
                pairs.push((user, item?));
            }
        }
    }
    Ok(pairs)
}

/// How many users and items the pairs name.
fn counts(parts: [&[(u32, u32)]; 2]) -> (usize, usize) {
    let all = || parts.into_iter().flatten();
    let count = |most: Option<u32>| most.map_or(0, |most| most as usize + 1);
    (count(all().map(|pair| pair.0).max()), count(all().map(|pair| pair.1).max()))
}

/// Floating-point operations that an iteration cannot do without: the Gram matrices' triangles, and what the solver's formula has.
fn flops(train: &Interactions, config: &Config, dimension: usize) -> f64 {
    let (k, rows, pairs) = (dimension as f64, (train.users() + train.items()) as f64, 2.0 * train.pairs() as f64);
    let solver = match config.solver {
        Solver::ConjugateGradient { steps } => (f64::from(steps) + 1.0) * (2.0 * k * k * rows + 4.0 * k * pairs),
        Solver::Subspace { width } => {
            let b = width.min(dimension) as f64;
            rows * (2.0 * k * k + k * b * b / 3.0) + pairs * (k * b + 6.0 * k)
        }
        Solver::Cholesky => rows * k * k * k / 3.0 + pairs * k * k,
    };
    rows * k * k + solver
}

/// Recall and NDCG at 20, in the mean over users with test items, over all items but a user's training items.
fn quality(
    factors: &Factors,
    dimension: usize,
    train: &Interactions,
    test: &Interactions,
    workers: &dyn Workers,
) -> (f64, f64) {
    const USERS: usize = 64;
    const ITEMS: usize = 2048;
    let tiles: Vec<Vec<f32>> = factors
        .items
        .chunks(ITEMS * dimension)
        .map(|tile| {
            let mut columns = vec![0.0; tile.len()];
            transpose(&mut columns, tile, tile.len() / dimension, dimension);
            columns
        })
        .collect();
    let (next, sums) = (AtomicUsize::new(0), Mutex::new((0.0, 0.0, 0.0)));
    workers.run(&|_| {
        let mut scores = Vec::new();
        loop {
            let first = next.fetch_add(USERS, Ordering::Relaxed);
            let block = first..train.users().min(first + USERS);
            if block.is_empty() {
                return;
            }
            let vectors = Matrix::new(&factors.users[first * dimension..block.end * dimension], block.len(), dimension);
            let mut best = vec![TopK::new(CUT); block.len()];
            for (number, tile) in tiles.iter().enumerate() {
                let width = tile.len() / dimension;
                scores.resize(block.len() * width, 0.0);
                matmul(&mut scores, vectors, tile, width, Start::Zero);
                for ((user, best), scores) in block.clone().zip(&mut best).zip(scores.chunks_exact_mut(width)) {
                    let (seen, _) = train.of_user(user as u32).unwrap_or_default();
                    let from = seen.partition_point(|item| (*item as usize) < number * ITEMS);
                    for item in
                        seen[from..].iter().map(|item| *item as usize - number * ITEMS).take_while(|at| *at < width)
                    {
                        scores[item] = f32::NAN;
                    }
                    best.extend(number * ITEMS, scores);
                }
            }
            let (mut recall, mut ndcg, mut counted) = (0.0, 0.0, 0.0);
            for (user, best) in block.zip(best) {
                let (relevant, _) = test.of_user(user as u32).unwrap_or_default();
                if relevant.is_empty() {
                    continue;
                }
                let gain = |rank: usize| 1.0 / (rank as f64 + 2.0).log2();
                let hits = best.into_sorted().into_iter().enumerate();
                let hits: Vec<usize> = hits
                    .filter(|(_, (item, _))| relevant.binary_search(&(*item as u32)).is_ok())
                    .map(|(rank, _)| rank)
                    .collect();
                recall += hits.len() as f64 / relevant.len() as f64;
                ndcg += hits.iter().map(|rank| gain(*rank)).sum::<f64>()
                    / (0..relevant.len().min(CUT)).map(gain).sum::<f64>();
                counted += 1.0;
            }
            let mut sums = sums.lock().unwrap_or_else(|error| error.into_inner());
            *sums = (sums.0 + recall, sums.1 + ndcg, sums.2 + counted);
        }
    });
    let (recall, ndcg, counted) = sums.into_inner().unwrap_or_else(|error| error.into_inner());
    (recall / counted, ndcg / counted)
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
