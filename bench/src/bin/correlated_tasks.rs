//! Two regressions that are more or less alike, learned by one bottom and by experts with gates: the synthetic experiment of MMoE
//! (Ma et al. 2018, sections 3.2 and 5.1). `cargo run --release -p kitestring-bench --bin correlated_tasks
//! [SINES]`.
//!
//! With orthogonal unit vectors u₁ and u₂ of 100 dimensions, w₁ = u₁ and w₂ = p u₁ + √(1 − p²) u₂, the labels of x ~ N(0, I) are
//! y_k = w_k·x + Σᵢ sin(αᵢ w_k·x + βᵢ) + ε, ε ~ N(0, 0.01): with p = 1 the tasks are the same function, with smaller p they share less.
//! The models have sizes as in the paper: 8 experts of 16 units, or one bottom of 8 · 16, with towers of 8 units. All see the same fresh
//! samples in the same order. Each model's learning rate is the one with the least loss on samples of two worlds that are none of those
//! that are reported. Prints the mean squared error of held-out samples, by p, with 95 % intervals over worlds of what MMoE is ahead by.

use kitestring_bench::by_hand::ByHand;
use kitestring_bench::seeds::{each, mean, mean_difference, shown};
use kitestring_core::schema::TaskKind;
use kitestring_core::{Batch, Result, Seed};
use kitestring_train::report::Estimate;
use serde_json::{Value, json};

const WIDTH: usize = 100;
/// How many sines where the argument does not say.
const SINES: u64 = 1;
const CORRELATIONS: [f64; 3] = [1.0, 0.9, 0.5];
const MODELS: [&str; 3] = ["shared bottom", "OMoE", "MMoE"];
const RATES: [f32; 4] = [1e-3, 3e-3, 1e-2, 3e-2];
const WORLDS: usize = 20;
/// Worlds that only choose learning rates.
const CHOOSING: usize = 2;
const STEPS: u64 = 3_000;
const ROWS: usize = 256;
const TEST_ROWS: usize = 20_000;

fn model(name: &str) -> Value {
    let towers = json!({"units": [8]});
    let expert = json!({"units": [16]});
    let body = match name {
        "shared bottom" => json!({"type": "shared_bottom", "bottom": {"units": [8 * 16]}, "towers": towers}),
        "OMoE" => json!({"type": "omoe", "experts": 8, "expert": expert, "gate_dropout": 0.0, "towers": towers}),
        _ => json!({"type": "mmoe", "experts": 8, "expert": expert, "gate_dropout": 0.0, "towers": towers}),
    };
    json!({ "body": body })
}

/// What x means for y.
struct World {
    seed: Seed,
    /// u₁ and u₂.
    axes: [Vec<f64>; 2],
    /// βᵢ; αᵢ is i.
    phases: Vec<f64>,
}

fn dot(a: &[f64], b: impl IntoIterator<Item = f64>) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

impl World {
    fn new(number: usize, sines: u64) -> Self {
        let seed = Seed(number as u64).child("correlated tasks");
        let drawn = |name: &str| (0..WIDTH as u64).map(|at| f64::from(seed.child(name).normal_at(at))).collect();
        let normalized = |mut axis: Vec<f64>| {
            let norm = dot(&axis, axis.iter().copied()).sqrt();
            axis.iter_mut().for_each(|x| *x /= norm);
            axis
        };
        let first: Vec<f64> = normalized(drawn("first"));
        let mut second: Vec<f64> = drawn("second");
        let along = dot(&first, second.iter().copied());
        second.iter_mut().zip(&first).for_each(|(second, first)| *second -= along * first);
        let phase = |at: u64| std::f64::consts::TAU * f64::from(seed.child("phases").unit_at(at));
        Self { seed, axes: [first, normalized(second)], phases: (0..sines).map(phase).collect() }
    }

    /// Samples without labels, and where each lies along both axes.
    fn draw(&self, seed: Seed, rows: usize) -> (Batch, Vec<[f64; 2]>) {
        let numeric: Vec<f32> = (0..(rows * WIDTH) as u64).map(|at| seed.normal_at(at)).collect();
        let place = |x: &[f32]| [0, 1].map(|axis| dot(&self.axes[axis], x.iter().map(|x| f64::from(*x))));
        let places = numeric.chunks_exact(WIDTH).map(place).collect();
        (Batch { rows, numeric, ..Batch::default() }, places)
    }

    /// Labels of both tasks.
    fn labels(&self, places: &[[f64; 2]], p: f64, seed: Seed) -> Vec<f32> {
        let function =
            |z: f64| z + self.phases.iter().zip(1..).map(|(phase, i)| (f64::from(i) * z + phase).sin()).sum::<f64>();
        let of_row = places.iter().flat_map(|[first, second]| [*first, p * first + (1.0 - p * p).sqrt() * second]);
        of_row.zip(0..).map(|(z, at)| function(z) as f32 + 0.1 * seed.normal_at(at)).collect()
    }
}

/// What models of several learning rates come to in one world: the mean squared error by correlation, model and rate.
fn learn((number, sines): (usize, u64), rates: &[&[f32]; MODELS.len()]) -> Result<Vec<Vec<Vec<f64>>>> {
    let world = World::new(number, sines);
    let input = (WIDTH, 2, TaskKind::Regression);
    let fresh = |name: &str| ByHand::new(input, model(name), 0.0, world.seed.child("model"));
    let mut learners: Vec<Vec<Vec<ByHand>>> = (0..CORRELATIONS.len())
        .map(|_| MODELS.iter().zip(rates).map(|(name, rates)| rates.iter().map(|_| fresh(name)).collect()).collect())
        .collect::<Result<_>>()?;
    for step in 0..STEPS {
        let seed = world.seed.child("train").at(step);
        let (mut batch, places) = world.draw(seed.child("x"), ROWS);
        // Down to nothing along a cosine: what is left at the end is what a model cannot do, and not its last steps.
        let factor = 0.5 + 0.5 * (std::f32::consts::PI * step as f32 / STEPS as f32).cos();
        for (p, learners) in CORRELATIONS.iter().zip(&mut learners) {
            batch.labels = world.labels(&places, *p, seed.child("noise"));
            for (learners, rates) in learners.iter_mut().zip(rates) {
                for (learner, rate) in learners.iter_mut().zip(*rates) {
                    learner.step(&batch, rate * factor)?;
                }
            }
        }
    }
    let seed = world.seed.child("test");
    let (batch, places) = world.draw(seed.child("x"), TEST_ROWS);
    let error = |learner: &mut ByHand, labels: &[f32]| {
        let squares = learner.score(&batch)?.iter().zip(labels).map(|(y, z)| f64::from(y - z).powi(2)).sum::<f64>();
        Ok(squares / labels.len() as f64)
    };
    let judged = CORRELATIONS.iter().zip(&mut learners).map(|(p, learners)| {
        let labels = world.labels(&places, *p, seed.child("noise"));
        let of_model = |learners: &mut Vec<ByHand>| learners.iter_mut().map(|one| error(one, &labels)).collect();
        learners.iter_mut().map(of_model).collect()
    });
    judged.collect()
}

fn main() {
    if let Err(error) = run() {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

fn run() -> Result<()> {
    let sines = std::env::args().nth(1).and_then(|sines| sines.parse().ok()).unwrap_or(SINES);
    let tried = each(CHOOSING, |world| learn((WORLDS + world, sines), &[&RATES; MODELS.len()]))?;
    let of_rate = |model: usize, rate: usize| -> f64 {
        tried.iter().flatten().map(|of_models| of_models[model][rate]).sum::<f64>()
            / (CHOOSING * CORRELATIONS.len()) as f64
    };
    let best = |model: usize| {
        let rates = (0..RATES.len()).map(|rate| (of_rate(model, rate), RATES[rate]));
        rates.min_by(|a, b| a.0.total_cmp(&b.0)).map_or(RATES[0], |(_, rate)| rate)
    };
    let chosen: [f32; MODELS.len()] = std::array::from_fn(best);
    for (number, name) in MODELS.iter().enumerate() {
        let weights = ByHand::new((WIDTH, 2, TaskKind::Regression), model(name), 0.0, Seed(0))?.weights();
        let errors: Vec<String> = (0..RATES.len()).map(|rate| format!("{:.4}", of_rate(number, rate))).collect();
        println!(
            "{name}: {weights} weights; learning rate {} of {RATES:?}, by errors of {}",
            chosen[number],
            errors.join(", ")
        );
    }

    let found = each(WORLDS, |world| {
        learn((world, sines), &std::array::from_fn(|model| std::slice::from_ref(&chosen[model])))
    })?;
    let errors = |p: usize, model: usize| found.iter().map(|world| world[p][model][0]).collect::<Vec<f64>>();
    let lead = |p: usize, over: usize| {
        errors(p, over).iter().zip(errors(p, 2)).map(|(over, mmoe)| over - mmoe).collect::<Vec<f64>>()
    };
    // A few bottoms are stuck at errors many times the others': a ratio's logarithm gives them no more than their due.
    let ratio = |p: usize, over: usize| {
        errors(p, over).iter().zip(errors(p, 2)).map(|(over, mmoe)| (over / mmoe).ln()).collect::<Vec<f64>>()
    };
    println!(
        "\nMean squared error over both tasks, {WORLDS} worlds, sines {sines}, noise 0.01; ahead: the other's error less MMoE's, paired"
    );
    println!(
        "{:>4}  {:<30}{:<30}{:<30}{:<32}{:<32}",
        "p", MODELS[0], MODELS[1], MODELS[2], "ahead of shared bottom", "ahead of OMoE"
    );
    let mut lines = Vec::new();
    for (number, p) in CORRELATIONS.iter().enumerate() {
        let means = (0..3).map(|model| mean(&errors(number, model))).collect::<Result<Vec<Estimate>>>()?;
        let leads = (0..2).map(|over| mean(&lead(number, over))).collect::<Result<Vec<Estimate>>>()?;
        let texts: Vec<String> = means.iter().chain(&leads).map(|estimate| shown(*estimate, 5)).collect();
        println!("{p:>4}  {:<30}{:<30}{:<30}{:<32}{:<32}", texts[0], texts[1], texts[2], texts[3], texts[4]);
        lines.push(json!({"p": p, "shared_bottom": means[0], "omoe": means[1], "mmoe": means[2],
            "ahead_of_shared_bottom": leads[0], "ahead_of_omoe": leads[1]}));
    }
    let mut growth = Vec::new();
    for (over, other) in MODELS.iter().enumerate().take(2) {
        for (from, to) in [(0, 1), (1, 2), (0, 2)] {
            let more = mean_difference(&lead(to, over), &lead(from, over))?;
            let times = mean_difference(&ratio(to, over), &ratio(from, over))?;
            let (from, to) = (CORRELATIONS[from], CORRELATIONS[to]);
            println!(
                "ahead of {} by more at p = {to} than at p = {from}: {}; by the logarithm of the ratio: {}",
                other,
                shown(more, 5),
                shown(times, 3)
            );
            growth.push(json!({"over": other, "from": from, "to": to, "more": more, "log_ratio": times}));
        }
    }
    println!(
        "{}",
        json!({"task": "correlated_tasks", "worlds": WORLDS, "sines": sines, "learning_rates": chosen, "by_correlation": lines, "growth": growth})
    );
    Ok(())
}
