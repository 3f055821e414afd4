//! Row rates of a table of ten million rows: `cargo run --release -p kitestring-table --example throughput [WORKERS]`.
//!
//! Ids are drawn as from 26 categorical fields with Zipf-distributed values, 4096 samples a batch.

use kitestring_core::{Result, Seed};
use kitestring_table::{Config, Init, Open, Optimizer, Route, Space, Step, Table, Unique};
use std::time::{Duration, Instant};

const FIELDS: usize = 26;
const BATCH: usize = 4096;
const BATCHES: usize = 40;

/// Ids of a batch, column after column. Inverts a continuous Zipf distribution with exponent 1.05.
fn batch(seed: Seed, rows: u64, out: &mut Vec<u64>) {
    let field = rows / FIELDS as u64;
    let power = |x: f64, exponent: f64| (x.ln() * exponent).exp();
    let end = power(field as f64, -0.05);
    out.clear();
    for index in 0..FIELDS * BATCH {
        let u = f64::from(seed.unit_at(index as u64));
        let rank = (power(1.0 - u * (1.0 - end), -20.0) - 1.0) as u64;
        let id = rank.min(field - 1).wrapping_mul(2_654_435_761) % field;
        out.push((index / BATCH) as u64 * field + id);
    }
}

fn rate(count: usize, time: Duration) -> String {
    format!(
        "{:6.1} ns each, {:6.1} M/s",
        time.as_secs_f64() * 1e9 / count as f64,
        count as f64 / time.as_secs_f64() / 1e6
    )
}

fn run(name: &str, config: Config, workers: usize) -> Result<()> {
    let rows = 10_000_000;
    let start = Instant::now();
    let table = Table::new_by(workers, "click", config, Seed(1))?;
    println!("{name}: made in {:.2?}", start.elapsed());
    let mut unique = Unique::new();
    let mut ids = Vec::new();
    let mut routes: Vec<_> = (0..workers).map(|_| Route::new()).collect();
    let [mut dedupe, mut route, mut gather, mut apply, mut sweep] = [Duration::ZERO; 5];
    let (mut occurrences, mut distinct) = (0, 0);
    let (mut out, mut gradients) = (Vec::new(), Vec::new());
    for number in 0..BATCHES + 5 {
        batch(Seed(number as u64), rows, &mut ids);
        let before = (dedupe, route, gather, apply, sweep, occurrences, distinct);
        let start = Instant::now();
        unique.dedupe(ids.chunks(BATCH));
        dedupe += start.elapsed();
        occurrences += ids.len();
        let found = unique.ids();
        distinct += found.len();
        out.resize(found.len() * config.dim, 0.0f32);
        gradients.resize(out.len(), 0.0f32);
        gradients.iter_mut().enumerate().for_each(|(i, g)| *g = (i % 7) as f32 * 0.01 - 0.03);
        let share = found.len().div_ceil(workers);
        let step = Step { number: number as u64 + 1, learning_rate: 1e-3 };
        // Each phase on its own, for the sake of the clock; a trainer's workers would run through.
        route += each(&mut routes, found.chunks(share), |route, ids| table.route(ids, route))?;
        gather += each(&mut routes, out.chunks_mut(share * config.dim), |route, out| table.gather(route, out))?;
        apply += each(&mut routes, gradients.chunks(share * config.dim), |route, g| table.apply(route, g, step))?;
        if config.optimizer.sweeps() {
            sweep += each(&mut routes, 0..workers, |_, part| table.sweep(step, part, workers))?;
        }
        if number < 5 {
            (dedupe, route, gather, apply, sweep, occurrences, distinct) = before;
        }
    }
    println!(
        "  {} occurrences and {} distinct ids a batch, {workers} workers",
        occurrences / BATCHES,
        distinct / BATCHES
    );
    println!("  dedupe {}", rate(occurrences, dedupe));
    println!("  route  {}", rate(distinct, route));
    println!("  gather {}", rate(distinct, gather));
    println!("  apply  {}", rate(distinct, apply));
    if config.optimizer.sweeps() {
        println!("  sweep  {:.1?} a step", sweep / BATCHES as u32);
    }
    let floor = table.len() as f64 * (config.dim * 3 * 4) as f64;
    println!(
        "  bytes  {:.0} MiB, {:.3} × rows and moments",
        table.bytes() as f64 / 1048576.0,
        table.bytes() as f64 / floor
    );
    Ok(())
}

/// Runs one phase on all workers; the wall time.
fn each<T: Send>(
    routes: &mut [Route],
    parts: impl Iterator<Item = T>,
    work: impl Fn(&mut Route, T) -> Result<()> + Sync,
) -> Result<Duration> {
    let start = Instant::now();
    if routes.len() == 1 {
        routes.iter_mut().zip(parts).try_for_each(|(route, part)| work(route, part))?;
        return Ok(start.elapsed());
    }
    std::thread::scope(|scope| {
        let running: Vec<_> =
            routes.iter_mut().zip(parts).map(|(route, part)| scope.spawn(|| work(route, part))).collect();
        running.into_iter().try_for_each(|worker| worker.join().unwrap_or(Ok(())))
    })?;
    Ok(start.elapsed())
}

fn main() -> Result<()> {
    let workers = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1);
    let direct = Space::Direct { rows: 10_000_000 };
    let config = Config { dim: 16, space: direct, init: Init::Normal { std: 0.01 }, optimizer: Optimizer::adam() };
    run("direct, Adam", config, workers)?;
    run("open, Adam", Config { space: Space::Open(Open::default()), ..config }, workers)?;
    run("direct, SGD", Config { optimizer: Optimizer::sgd(), ..config }, workers)?;
    if std::env::args().nth(2).is_some() {
        run("direct, dense Adam", Config { optimizer: Optimizer::dense_adam(), ..config }, workers)?;
    }
    Ok(())
}
