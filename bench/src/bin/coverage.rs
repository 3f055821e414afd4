//! How often intervals hold the truth: `cargo run --release -p kitestring-bench --bin coverage [trials=20000] [out=docs/interval-coverage.svg]`.
//!
//! Each trial draws runs of a metric whose mean is known: what another seed gives is normal, and so is what other users give, which all
//! runs of a trial share. A 95 % interval should hold the mean in 95 % of trials. Beside Student's t stand the percentiles of a bootstrap
//! over the seeds, which most frameworks print. Writes a chart, a table and a line of JSON.

use kitestring_core::metrics::{Bootstrap, interval_over_runs};
use kitestring_core::{Error, Result, Seed};
use kitestring_train::report::{Chart, Estimate, chart_svg};
use serde_json::json;

/// The share of trials that an interval should hold the truth in.
const CONFIDENCE: f64 = 0.95;
/// The numbers of seeds.
const SEEDS: [u64; 7] = [2, 3, 4, 5, 7, 10, 20];
/// Replicates of users, and of the bootstrap over seeds.
const REPLICATES: u64 = 200;

/// How an interval is made, and of what runs.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    /// Student's t over the seeds, which are all that varies.
    Seeds,
    /// Together with a bootstrap over users, who vary as much as a seed does.
    SeedsAndUsers,
    /// Of differences of two settings by seed, with users.
    Paired,
    /// Percentiles of means of as many seeds, drawn with replacement.
    Percentiles,
}

const WAYS: [(Way, &str); 4] = [
    (Way::Seeds, "Student's t over seeds"),
    (Way::SeedsAndUsers, "with a bootstrap over users"),
    (Way::Paired, "paired differences"),
    (Way::Percentiles, "percentiles of a bootstrap over seeds"),
];

/// The runs of a trial, around 0.
fn runs(trial: Seed, seeds: u64, way: Way) -> Vec<Bootstrap> {
    let normal = |name: &str, at: u64| f64::from(trial.child(name).normal_at(at));
    let users = if matches!(way, Way::Seeds | Way::Percentiles) { 0.0 } else { 1.0 };
    let shared = users * normal("users", 0);
    let replicates = if users > 0.0 { REPLICATES } else { 0 };
    let run = |seed: u64| {
        let point = shared + normal("seed", seed);
        let drawn = (0..replicates).map(|at| point + users * normal("drawn", at)).collect();
        Bootstrap { point, replicates: drawn, units: 10_000 }
    };
    let first: Vec<Bootstrap> = (0..seeds).map(run).collect();
    if way != Way::Paired {
        return first;
    }
    let later = |(seed, run): (u64, &Bootstrap)| {
        let lead = 0.3 * normal("lead", seed);
        let moved = run.replicates.iter().map(|value| value + lead).collect();
        Bootstrap { point: run.point + lead, replicates: moved, units: run.units }.minus(run)
    };
    (0..).zip(&first).filter_map(later).collect()
}

/// Whether an interval holds 0.
fn holds(trial: Seed, seeds: u64, way: Way) -> bool {
    let runs = runs(trial, seeds, way);
    if way != Way::Percentiles {
        let interval = interval_over_runs(&runs, CONFIDENCE);
        return interval.is_some_and(|interval| interval.lower <= 0.0 && interval.upper >= 0.0);
    }
    let draws = trial.child("bootstrap");
    let mean = |replicate: u64| {
        let draw = |at: u64| draws.at(replicate).bits_at(at) % seeds;
        (0..seeds).filter_map(|at| runs.get(draw(at) as usize)).map(|run| run.point).sum::<f64>() / seeds as f64
    };
    let mut means: Vec<f64> = (0..REPLICATES).map(mean).collect();
    means.sort_unstable_by(f64::total_cmp);
    let cut = (REPLICATES as f64 * (1.0 - CONFIDENCE) / 2.0) as usize;
    means[cut] <= 0.0 && means[means.len() - 1 - cut] >= 0.0
}

fn main() -> Result<()> {
    let (mut trials, mut out) = (20_000_u64, "docs/interval-coverage.svg".to_owned());
    for argument in std::env::args().skip(1) {
        match argument.split_once('=') {
            Some(("trials", count)) => {
                trials = count.parse().map_err(|_| Error::config(format!("trials={count} is no number")))?;
            }
            Some(("out", path)) => out = path.to_owned(),
            _ => return Err(Error::config(format!("unknown argument `{argument}`")).mend("give trials=N or out=FILE")),
        }
    }
    let mut chart = Chart {
        title: "How often 95 % intervals hold the truth".into(),
        caption: "Share of trials in which a 95 % interval of the mean over a few seeds holds the truth, by the number of seeds.".into(),
        x: "seeds".into(),
        y: "share of trials".into(),
        log_x: false,
        log_y: false,
        from_zero: false,
        lines: Vec::new(),
    };
    println!("{:38}{}", "seeds", SEEDS.map(|seeds| format!("{seeds:>7}")).concat());
    let mut told = serde_json::Map::new();
    for (way, name) in WAYS {
        let shares = SEEDS.map(|seeds| {
            let root = Seed(1).at(seeds);
            (0..trials).filter(|trial| holds(root.at(*trial), seeds, way)).count() as f64 / trials as f64
        });
        println!("{name:38}{}", shares.map(|share| format!("{share:>7.3}")).concat());
        let points = SEEDS.iter().zip(shares).map(|(seeds, share)| (*seeds as f64, Estimate::from(share)));
        chart.lines.push((name.to_owned(), points.collect()));
        told.insert(name.to_owned(), json!(shares));
    }
    std::fs::write(&out, chart_svg(&chart)).map_err(|error| Error::io(error, "could not write the chart", &out))?;
    println!("{}", json!({ "trials": trials, "seeds": SEEDS, "coverage": told, "chart": out }));
    Ok(())
}
