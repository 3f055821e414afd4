//! What more data take away and what they do not: `cargo run --release -p kitestring-bench --bin epistemic [PAGE]`; with
//! PAGE, the name of an HTML file, draws it too.
//!
//! One number x, drawn evenly from [−2, 2], and a label around sin 2x: a regression whose noise has the deviation 0.3 + 0.1 x, and a yes with
//! the probability σ(2 sin 2x). Networks of two hidden layers with dropout learn from 100 to 10,000 samples each; 50 passes with dropout
//! part what they do not know (epistemic) from the noise they see (aleatoric), within the range of the data and outside it, at 3 ≤ |x| ≤ 5.
//! (Kendall and Gal 2017; Gal and Ghahramani 2016.) Epistemic uncertainty should fall with more data and rise outside their range, and
//! aleatoric uncertainty should be that of the data however many there are.
//!
//! The weights have a normal prior of deviation one: L2 of 1 / samples on the mean loss. Dropout has one rate for all sizes, or that with
//! the most likely held-out labels, a fifth of the samples being held out to choose it. At one rate passes keep differing by about as much,
//! however many the samples are: it is the rate that says how much (Osband 2016). And a network of rectifiers is sure of a yes or a no far
//! from its data (Hein et al. 2019), so that its passes agree there. Prints means with 95 % intervals over seeds.

use kitestring_bench::by_hand::ByHand;
use kitestring_bench::seeds::{each, mean, shown};
use kitestring_core::schema::TaskKind;
use kitestring_core::{Batch, Error, Result, Seed};
use kitestring_nn::uncertainty::{Uncertainty, binary, regression};
use kitestring_train::report::{Chart, Estimate, charts};
use serde_json::json;

const SIZES: [usize; 5] = [100, 300, 1_000, 3_000, 10_000];
/// The rate of all sizes, and those to choose from.
const FIXED: f32 = 0.1;
const RATES: [f32; 4] = [0.003, 0.01, 0.03, 0.1];
const SEEDS: usize = 6;
const STEPS: usize = 2_000;
const ROWS: usize = 100;
const PASSES: u64 = 50;

fn noise(x: f32) -> f32 {
    0.3 + 0.1 * x
}

fn chance(x: f32) -> f32 {
    1.0 / (1.0 + (-2.0 * (2.0 * x).sin()).exp())
}

/// Samples in the range of the data, as many as wanted; the first ones are the same for every number.
fn draw(kind: TaskKind, seed: Seed, rows: usize) -> Batch {
    let numeric: Vec<f32> = (0..rows as u64).map(|row| 4.0 * seed.child("x").unit_at(row) - 2.0).collect();
    let label = |(x, row): (&f32, u64)| match kind {
        TaskKind::Binary => f32::from(u8::from(seed.child("y").unit_at(row) < chance(*x))),
        _ => (2.0 * x).sin() + noise(*x) * seed.child("y").normal_at(row),
    };
    let labels = numeric.iter().zip(0..).map(label).collect();
    Batch { rows, numeric, labels, ..Batch::default() }
}

/// Numbers at even distances, both ends among them.
fn grid(low: f32, high: f32) -> impl Iterator<Item = f32> {
    (0..=80).map(move |at| low + (high - low) * at as f32 / 80.0)
}

fn part(of: &Batch, rows: impl Iterator<Item = usize>) -> Batch {
    let rows: Vec<usize> = rows.collect();
    let column = |values: &[f32]| rows.iter().map(|row| values[*row]).collect();
    Batch { rows: rows.len(), numeric: column(&of.numeric), labels: column(&of.labels), ..Batch::default() }
}

fn learn(kind: TaskKind, samples: &Batch, dropout: f32, seed: Seed) -> Result<ByHand> {
    let head = if kind == TaskKind::Regression { "heteroscedastic" } else { "logit" };
    let body = json!({"type": "mlp", "units": [64, 64], "dropout": dropout});
    let model = json!({"body": body, "head": {"type": head}});
    let mut learner = ByHand::new((1, 1, kind), model, 1.0 / samples.rows as f32, seed)?;
    for step in 0..STEPS {
        let drawn =
            (0..ROWS as u64).map(|row| seed.child("order").at(step as u64).bits_at(row) as usize % samples.rows);
        let factor = 0.5 + 0.5 * (std::f32::consts::PI * step as f32 / STEPS as f32).cos();
        learner.step(&part(samples, drawn), 3e-3 * factor)?;
    }
    Ok(learner)
}

/// What passes say of each sample.
fn judge(kind: TaskKind, learner: &mut ByHand, batch: &Batch) -> Result<Vec<Uncertainty>> {
    let passes = learner.passes(batch, PASSES)?;
    let of_row = |row: usize| match kind {
        TaskKind::Binary => binary(passes.iter().map(|pass| pass[row])),
        _ => regression(passes.iter().map(|pass| (pass[2 * row], pass[2 * row + 1]))),
    };
    Ok((0..batch.rows).map(of_row).collect())
}

/// The mean of −ln of the likelihood of labels by the mean over passes.
fn surprise(kind: TaskKind, learner: &mut ByHand, batch: &Batch) -> Result<f64> {
    let found = judge(kind, learner, batch)?;
    let losses = found.iter().zip(&batch.labels).map(|(found, y)| match kind {
        TaskKind::Binary => -(if *y > 0.5 { found.prediction } else { 1.0 - found.prediction }).max(1e-12).ln(),
        _ => {
            let variance = found.aleatoric + found.epistemic;
            0.5 * (f64::from(*y) - found.prediction).powi(2) / variance + 0.5 * variance.ln()
        }
    });
    Ok(losses.sum::<f64>() / batch.rows as f64)
}

/// What was found with one network.
#[derive(Clone, Copy, Default)]
struct Found {
    rate: f32,
    /// Means over the range of the data.
    aleatoric: f64,
    epistemic: f64,
    /// The root mean square of what the prediction misses of the true function.
    error: f64,
    /// The mean over the range of how far the aleatoric part is from the truth, as a share of it: of deviations, or of nats.
    off_by: f64,
    /// The mean outside of the range.
    outside: f64,
}

fn measure(kind: TaskKind, learner: &mut ByHand, rate: f32) -> Result<Found> {
    let numbers = |x: Vec<f32>| Batch { rows: x.len(), numeric: x, ..Batch::default() };
    let batch = numbers(grid(-2.0, 2.0).collect());
    let within = judge(kind, learner, &batch)?;
    let outside = judge(kind, learner, &numbers(grid(-5.0, -3.0).chain(grid(3.0, 5.0)).collect()))?;
    let average = |of: &[Uncertainty], value: &dyn Fn(usize, &Uncertainty) -> f64| {
        of.iter().enumerate().map(|(row, found)| value(row, found)).sum::<f64>() / of.len() as f64
    };
    let x = |row: usize| batch.numeric[row];
    let entropy = |p: f64| -p * p.ln() - (1.0 - p) * (1.0 - p).ln();
    Ok(Found {
        rate,
        aleatoric: average(&within, &|_, found| found.aleatoric),
        epistemic: average(&within, &|_, found| found.epistemic),
        error: average(&within, &|row, found| {
            let truth = if kind == TaskKind::Binary { chance(x(row)) } else { (2.0 * x(row)).sin() };
            (found.prediction - f64::from(truth)).powi(2)
        })
        .sqrt(),
        off_by: average(&within, &|row, found| match kind {
            TaskKind::Binary => (found.aleatoric / entropy(f64::from(chance(x(row)))) - 1.0).abs(),
            _ => (found.aleatoric.sqrt() / f64::from(noise(x(row))) - 1.0).abs(),
        }),
        outside: average(&outside, &|_, found| found.epistemic),
    })
}

/// The mean aleatoric part by the truth.
fn truth(kind: TaskKind) -> f64 {
    let entropy = |p: f64| -p * p.ln() - (1.0 - p) * (1.0 - p).ln();
    let of = |x: f32| match kind {
        TaskKind::Binary => entropy(f64::from(chance(x))),
        _ => f64::from(noise(x)).powi(2),
    };
    grid(-2.0, 2.0).map(of).sum::<f64>() / grid(-2.0, 2.0).count() as f64
}

/// The network of the fixed rate, and that of the rate chosen by a fifth of the samples.
fn of_seed(kind: TaskKind, size: usize, number: usize) -> Result<[Found; 2]> {
    let seed = Seed(number as u64).child("epistemic");
    let samples = draw(kind, seed, size);
    let (shown, held) = (part(&samples, size / 5..size), part(&samples, 0..size / 5));
    let mut best = (f64::INFINITY, FIXED);
    for rate in RATES {
        let surprise = surprise(kind, &mut learn(kind, &shown, rate, seed)?, &held)?;
        if surprise < best.0 {
            best = (surprise, rate);
        }
    }
    let found = |rate: f32| measure(kind, &mut learn(kind, &samples, rate, seed)?, rate);
    let fixed = found(FIXED)?;
    Ok([fixed, if best.1 == FIXED { fixed } else { found(best.1)? }])
}

fn main() {
    if let Err(error) = run() {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

fn run() -> Result<()> {
    let (mut lines, mut drawn) = (Vec::new(), Vec::new());
    for (kind, name, unit) in
        [(TaskKind::Regression, "regression", "variance"), (TaskKind::Binary, "yes or no", "nats")]
    {
        let count = SIZES.len();
        let found = each(count * SEEDS, |number| of_seed(kind, SIZES[number % count], number / count))?;
        let truth = truth(kind);
        for (way, way_name) in [format!("dropout {FIXED}"), "dropout chosen".into()].iter().enumerate() {
            let values = |size: usize, of: fn(&Found) -> f64| -> Vec<f64> {
                found.iter().skip(size).step_by(count).map(|found| of(&found[way])).collect()
            };
            println!("\n{name}, {way_name}, {SEEDS} seeds; in {unit}; the noise of the data is {truth:.4}");
            println!(
                "{:>8}{:>9}{:>9}  {:<26}{:>8}  {:<30}{:<26}",
                "samples", "dropout", "error", "aleatoric", "off by", "epistemic within the range", "epistemic outside"
            );
            let mut sizes = Vec::new();
            let mut chart = Chart {
                title: format!("{name}, {way_name}"),
                caption: format!(
                    "The noise of the data is {truth:.3}. Whiskers are 95 % intervals over {SEEDS} seeds."
                ),
                x: "samples".into(),
                y: unit.into(),
                log_x: true,
                log_y: true,
                from_zero: false,
                lines: ["aleatoric", "epistemic within the range", "epistemic outside"]
                    .map(|line| (line.to_owned(), Vec::new()))
                    .into(),
            };
            for (size, samples) in SIZES.iter().enumerate() {
                let of = |of: fn(&Found) -> f64| mean(&values(size, of));
                let (rate, error, off_by) = (of(|f| f.rate.into())?, of(|f| f.error)?, of(|f| f.off_by)?);
                let (aleatoric, epistemic, outside) = (of(|f| f.aleatoric)?, of(|f| f.epistemic)?, of(|f| f.outside)?);
                println!(
                    "{samples:>8}{:>9.3}{:>9.3}  {:<26}{:>6.1} %  {:<30}{:<26}",
                    rate.value,
                    error.value,
                    shown(aleatoric, 4),
                    100.0 * off_by.value,
                    shown(epistemic, 5),
                    shown(outside, 4)
                );
                for ((_, line), value) in chart.lines.iter_mut().zip([aleatoric, epistemic, outside]) {
                    line.push((*samples as f64, value));
                }
                sizes.push(json!({"samples": samples, "dropout": rate, "error": error, "aleatoric": aleatoric,
                    "off_by": off_by, "epistemic": epistemic, "outside": outside}));
            }
            drawn.push(chart);
            // Ratios are averaged as factors.
            let factor = |ratios: Vec<f64>| -> Result<Estimate> {
                let Estimate { value, interval } = mean(&ratios.into_iter().map(f64::ln).collect::<Vec<_>>())?;
                Ok(Estimate { value: value.exp(), interval: interval.map(|ends| ends.map(f64::exp)) })
            };
            let share = |of: fn(&Found) -> f64| {
                factor(values(count - 1, of).iter().zip(values(0, of)).map(|(last, first)| last / first).collect())
            };
            let [within, outside, aleatoric] =
                [share(|f| f.epistemic)?, share(|f| f.outside)?, share(|f| f.aleatoric)?];
            let rises = factor(found.iter().map(|found| found[way].outside / found[way].epistemic).collect())?;
            println!(
                "with {} times the samples: epistemic times {}, outside times {}, aleatoric times {}",
                SIZES[count - 1] / SIZES[0],
                shown(within, 2),
                shown(outside, 2),
                shown(aleatoric, 2)
            );
            println!("outside the range epistemic is {} times that within", shown(rises, 1));
            lines.push(
                json!({"kind": name, "dropout": way_name, "noise": truth, "sizes": sizes, "epistemic_times": within,
                "outside_times": outside, "aleatoric_times": aleatoric, "outside_over_within": rises}),
            );
        }
    }
    if let Some(path) = std::env::args().nth(1) {
        let page = charts("What more data take away", "Passes with dropout part ignorance from noise.", &drawn);
        std::fs::write(&path, page).map_err(|error| Error::io(error, "could not write the page", &path))?;
    }
    println!("{}", json!({"task": "epistemic", "seeds": SEEDS, "found": lines}));
    Ok(())
}
