#![allow(clippy::unwrap_used)]
use super::config::{Contrastive, Estimator, Fit, Gramian, Objective, Prior, Sag, Softmax};
use super::gram::Gram;
use super::moments::{Moments, PriorVectors};
use super::pairs::{Gradients, Links, Pairs, UserPositives};
use super::{Minimized, estimator::Moving};
use kitestring_core::Seed;
use kitestring_nn::engine::{OneWorker, Workers};

/// Pairs of a small world, all with weights and frequencies.
struct World {
    k: usize,
    queries: Vec<f32>,
    items: Vec<f32>,
    links: Links,
    positives: UserPositives,
    labels: Vec<f32>,
    numbers: Vec<u64>,
    query_weights: Vec<f32>,
    item_weights: Vec<f32>,
    drawn: Vec<u32>,
    frequency: Vec<f32>,
    draw_probability: Vec<f32>,
}

struct Threads(usize);

impl Workers for Threads {
    fn count(&self) -> usize {
        self.0
    }

    fn run(&self, task: &(dyn Fn(usize) + Sync)) {
        std::thread::scope(|scope| (0..self.0).for_each(|number| drop(scope.spawn(move || task(number)))));
    }
}

impl World {
    /// `n` pairs over `m` items, the last two of which have none.
    fn new(n: usize, m: usize, k: usize, weighted: bool) -> Self {
        let seed = Seed(7);
        let normal = |name: &str, count: usize| -> Vec<f32> {
            (0..count as u64).map(|at| 0.5 * seed.child(name).normal_at(at)).collect()
        };
        let positive = |name: &str, count: usize| -> Vec<f32> {
            (0..count as u64).map(|at| 0.5 + seed.child(name).unit_at(at)).collect()
        };
        let item_of: Vec<u32> = (0..n as u64).map(|at| (seed.bits_at(at) % (m as u64 - 2)) as u32).collect();
        let mut links = Links::default();
        links.set(&item_of, m).unwrap();
        let frequency = (0..m).map(|item| links.of_item(item).len() as f32 / n as f32).collect();
        Self {
            k,
            positives: UserPositives::default(),
            queries: normal("u", n * k),
            items: normal("v", m * k),
            labels: (0..n).map(|at| f32::from(at % 3 != 0)).collect(),
            numbers: (0..n as u64).collect(),
            query_weights: if weighted { positive("query", n) } else { Vec::new() },
            item_weights: if weighted { positive("item", m) } else { Vec::new() },
            drawn: Vec::new(),
            frequency,
            draw_probability: Vec::new(),
            links,
        }
    }

    fn pairs(&self) -> Pairs<'_> {
        Pairs {
            dimension: self.k,
            queries: &self.queries,
            items: &self.items,
            links: &self.links,
            positives: &self.positives,
            labels: &self.labels,
            numbers: &self.numbers,
            query_weights: &self.query_weights,
            item_weights: &self.item_weights,
            drawn: &self.drawn,
            frequency: &self.frequency,
            draw_probability: &self.draw_probability,
        }
    }

    /// A part of the pairs, with all items.
    fn part(&self, pairs: &[usize]) -> Self {
        let item_of: Vec<u32> = pairs.iter().map(|pair| self.links.item_of()[*pair]).collect();
        let mut links = Links::default();
        links.set(&item_of, self.links.items()).unwrap();
        let of = |values: &[f32]| pairs.iter().filter_map(|pair| values.get(*pair).copied()).collect();
        Self {
            k: self.k,
            queries: pairs.iter().flat_map(|pair| self.pairs().query(*pair).to_vec()).collect(),
            items: self.items.clone(),
            links,
            positives: UserPositives::default(),
            labels: of(&self.labels),
            numbers: pairs.iter().map(|pair| *pair as u64).collect(),
            query_weights: of(&self.query_weights),
            item_weights: self.item_weights.clone(),
            drawn: self.drawn.clone(),
            frequency: self.frequency.clone(),
            draw_probability: self.draw_probability.clone(),
        }
    }

    /// Gives the pairs users, three pairs each and the last ones unknown, who have what their pairs have and an item more.
    fn with_users(mut self) -> Self {
        let (n, m) = (self.labels.len(), self.links.items());
        let mut positives = UserPositives::default();
        for user in 0..n / 3 {
            let mut rows: Vec<u32> = (3 * user..3 * user + 3).map(|pair| self.own(pair) as u32).collect();
            rows.push((user % m) as u32);
            let list = positives.push_list(rows.into_iter());
            (0..3).for_each(|_| positives.push_pair(list));
        }
        self.positives = positives;
        self
    }

    /// Whether an item is held against a pair.
    fn is_other(&self, pair: usize, item: usize) -> bool {
        item != self.own(pair) && !self.positives.of_pair(pair).contains(&(item as u32))
    }

    /// The inner product of a pair's query with an item.
    fn product(&self, pair: usize, item: usize) -> f64 {
        let (u, v) = (self.pairs().query(pair), self.pairs().item(item));
        u.iter().zip(v).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    }

    fn own(&self, pair: usize) -> usize {
        self.links.item_of()[pair] as usize
    }
}

/// The whole objective by the definition: every pair's query with every pair's item.
fn by_definition(world: &World, config: &Gramian) -> f64 {
    let n = world.labels.len();
    let most = world.frequency.iter().copied().fold(0.0, f32::max);
    let (mut fit, mut gravity) = (0.0, 0.0);
    for i in 0..n {
        let (x, s) = (world.product(i, world.own(i)), f64::from(world.labels[i]));
        fit += match config.fit {
            Fit::Squared => (x - s).powi(2),
            Fit::Logistic => x.exp().ln_1p() - s * x,
        };
        for j in 0..n {
            let item = world.own(j);
            let prior = match config.prior {
                Prior::None => 0.0,
                Prior::Constant { value } => value,
                Prior::Popularity { value, power } => value * (world.frequency[item] / most).powf(power),
            };
            let weight = world.query_weights.get(i).copied().unwrap_or(1.0)
                * world.item_weights.get(item).copied().unwrap_or(1.0);
            // What does not depend on the vectors is left out, as in the code.
            let x = world.product(i, item);
            gravity += f64::from(weight) * (x * x - 2.0 * x * f64::from(prior));
        }
    }
    fit / n as f64 + f64::from(config.lambda) * gravity / (n * n) as f64
}

fn gramian(estimator: Estimator) -> Gramian {
    Gramian { lambda: 3.0, estimator, ..Gramian::default() }
}

fn exact() -> Estimator {
    Estimator::Exact { every: 1 }
}

/// Losses and gradients of one step over all pairs, with the exact moments given.
fn step(world: &World, objective: &Objective, workers: &dyn Workers) -> (Vec<f64>, Vec<f32>, Vec<f32>) {
    let most = world.frequency.iter().copied().fold(0.0, f32::max);
    let mut minimized = Minimized::new(objective, world.k, world.labels.len() as u64, most).unwrap();
    if let Objective::Gramian(config) = objective {
        let mut prior = PriorVectors::default();
        config.prior.fill(&world.pairs(), most, &mut prior);
        let mut moments = Moments::zero(world.k, prior.rank);
        moments.add_mean(&world.pairs(), &prior, 1.0, &mut Vec::new());
        let moving = minimized.moving_mut().unwrap();
        if moving.is_due() {
            moving.set(moments);
        }
    }
    // What stood there before is overwritten.
    let (mut queries, mut items) = (vec![9.0; world.queries.len()], vec![9.0; world.items.len()]);
    let mut gradients = Gradients { queries: &mut queries, items: &mut items };
    let losses = minimized.gradients(&world.pairs(), &mut gradients, workers).unwrap();
    (losses, queries, items)
}

/// Holds gradients against central differences of a function of the world.
fn check_differences(name: &str, world: &mut World, (queries, items): (&[f32], &[f32]), f: impl Fn(&World) -> f64) {
    let epsilon = 1e-3_f32;
    let largest = queries.iter().chain(items).fold(0.0_f32, |most, x| most.max(x.abs()));
    for (side, gradient) in [queries, items].into_iter().enumerate() {
        for at in 0..gradient.len() {
            let mut moved = [0.0; 2];
            for (sign, moved) in [epsilon, -epsilon].into_iter().zip(&mut moved) {
                let vectors = if side == 0 { &mut world.queries } else { &mut world.items };
                let before = vectors[at];
                vectors[at] += sign;
                *moved = f(world);
                let vectors = if side == 0 { &mut world.queries } else { &mut world.items };
                vectors[at] = before;
            }
            let expected = (moved[0] - moved[1]) / f64::from(2.0 * epsilon);
            let difference = (f64::from(gradient[at]) - expected).abs();
            assert!(difference < 2e-3 * f64::from(largest), "{name}, {side}.{at}: {} {expected}", gradient[at]);
        }
    }
}

/// With the exact moments the mean of the pairs' gradients is the gradient of the double sum.
#[test]
fn gramian_gradients_are_those_of_all_pairs() {
    let popular = Prior::Popularity { value: 0.4, power: 0.5 };
    for (fit, prior, weighted) in [
        (Fit::Squared, Prior::None, false),
        (Fit::Logistic, Prior::Constant { value: -0.3 }, false),
        (Fit::Squared, popular, true),
    ] {
        let mut world = World::new(12, 7, 3, weighted);
        let config = Gramian { fit, prior, ..gramian(exact()) };
        let (losses, queries, items) = step(&world, &Objective::Gramian(config.clone()), &OneWorker);
        let expected = by_definition(&world, &config);
        let found = losses[0] + f64::from(config.lambda) * losses[1];
        assert!((found - expected).abs() < 1e-5, "{config:?}: {found} {expected}");
        check_differences(&format!("{config:?}"), &mut world, (&queries, &items), |world| {
            by_definition(world, &config)
        });
    }
}

/// The loss by the definition, over a list of columns with repetitions: the pairs' items as they came, then the drawn ones. The pair's own
/// item is its own column only, and what else the pair's user has is none.
fn softmax_by_definition(world: &World, config: &Softmax) -> f64 {
    let n = world.labels.len();
    let draws: u32 = world.drawn.iter().sum();
    let expected = |item: usize| {
        let batch = if config.in_batch { n as f32 * world.frequency[item] } else { 0.0 };
        batch + draws as f32 * world.draw_probability.get(item).copied().unwrap_or(0.0)
    };
    let mut columns = Vec::new();
    if config.in_batch {
        columns.extend((0..n).map(|pair| world.own(pair)));
    }
    for (item, times) in world.drawn.iter().enumerate() {
        columns.extend((0..*times).map(|_| item));
    }
    let mut loss = 0.0;
    for pair in 0..n {
        let logit = |item: usize| {
            world.product(pair, item) / f64::from(config.temperature)
                - f64::from(config.correction) * f64::from(expected(item)).ln()
        };
        let own = world.own(pair);
        let others = columns.iter().filter(|item| world.is_other(pair, **item)).map(|item| logit(*item).exp());
        loss += (logit(own).exp() + others.sum::<f64>()).ln() - logit(own);
    }
    loss / n as f64
}

#[test]
fn softmax_gradients_are_those_of_repeated_columns() {
    for (in_batch, drawn, correction, users) in [
        (true, false, 1.0, false),
        (true, false, 0.0, true),
        (false, true, 1.0, true),
        (true, true, 0.5, false),
        (true, true, 0.5, true),
    ] {
        let mut world = World::new(13, 7, 3, false);
        if users {
            world = world.with_users();
            assert!((0..12).any(|pair| (0..7).filter(|item| world.is_other(pair, *item)).count() < 5));
        }
        if drawn {
            world.drawn = vec![2, 0, 1, 3, 0, 1, 2];
            world.draw_probability = vec![0.2, 0.1, 0.1, 0.25, 0.05, 0.1, 0.2];
        }
        let config = Softmax { in_batch, drawn: 9, correction, temperature: 0.7, power: 0.0 };
        let (losses, queries, items) = step(&world, &Objective::Softmax(config.clone()), &OneWorker);
        let expected = softmax_by_definition(&world, &config);
        assert!((losses[0] - expected).abs() < 1e-5, "{config:?}: {} {expected}", losses[0]);
        check_differences(&format!("{config:?}"), &mut world, (&queries, &items), |world| {
            softmax_by_definition(world, &config)
        });
    }
}

fn contrast_by_definition(world: &World, config: &Contrastive) -> f64 {
    let n = world.labels.len();
    let draws: u32 = world.drawn.iter().sum();
    let mut loss = 0.0;
    for pair in 0..n {
        let own = world.own(pair);
        let over = |item: usize| (world.product(pair, item) - f64::from(config.margin)).max(0.0);
        let others = world.drawn.iter().enumerate().filter(|(item, _)| world.is_other(pair, *item));
        let others: f64 = others.map(|(item, times)| f64::from(*times) * over(item)).sum();
        loss += 1.0 - world.product(pair, own) + f64::from(config.negative_weight) * others / f64::from(draws);
    }
    loss / n as f64
}

#[test]
fn contrast_gradients_are_those_of_the_definition() {
    for (margin, negative_weight, users) in [(0.1, 2.0, false), (-0.9, 0.5, true), (0.1, 0.0, false)] {
        let mut world = World::new(13, 7, 3, false);
        if users {
            world = world.with_users();
        }
        world.drawn = vec![2, 0, 1, 3, 0, 1, 2];
        let config = Contrastive { drawn: 9, power: 0.0, margin, negative_weight };
        let (losses, queries, items) = step(&world, &Objective::Contrastive(config.clone()), &OneWorker);
        let expected = contrast_by_definition(&world, &config);
        assert!((losses[0] - expected).abs() < 1e-5, "{config:?}: {} {expected}", losses[0]);
        check_differences(&format!("{config:?}"), &mut world, (&queries, &items), |world| {
            contrast_by_definition(world, &config)
        });
    }
}

/// Two pairs of one user and one of another, by hand: `u = (1,0), (1,0), (0,1)`, `v = (1,0), (2,0), (0,3)`. The first user's two items are no
/// negatives of each other: the losses are `ln(1 + e⁻¹)`, `ln(1 + e⁻²)` and `ln(1 + 2e⁻³)`.
#[test]
fn a_users_other_positives_are_no_negatives() {
    let mut world = World::new(3, 5, 2, false);
    world.links.set(&[0, 1, 2], 3).unwrap();
    world.queries = vec![1.0, 0.0, 1.0, 0.0, 0.0, 1.0];
    world.items = vec![1.0, 0.0, 2.0, 0.0, 0.0, 3.0];
    world.frequency = vec![1.0 / 3.0; 3];
    let first = world.positives.push_list([0, 1].into_iter());
    let second = world.positives.push_list([2].into_iter());
    [first, first, second].into_iter().for_each(|list| world.positives.push_pair(list));
    let softmax = Softmax { temperature: 1.0, correction: 0.0, ..Softmax::default() };
    let (losses, queries, items) = step(&world, &Objective::Softmax(softmax), &OneWorker);
    let near = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-6, "{found} {expected}");
    near(losses[0], (0.313_261_688 + 0.126_928_011 + 0.094_922_956) / 3.0);
    // The second item is pulled by its own pair alone: (1 / (1 + e⁻²) − 1) / 3 along the first user's query.
    near(items[2].into(), -0.039_734_307);
    near(items[3].into(), (3.0_f64.exp() + 2.0).recip() / 3.0);
    // And the first user's first query is moved by its own item and the other user's, not by its second item.
    near(queries[0].into(), -0.268_941_421 / 3.0);
    near(queries[1].into(), 3.0 * 0.268_941_421 / 3.0);

    world.drawn = vec![1; 3];
    let contrastive = Contrastive { drawn: 3, power: 0.0, margin: 0.5, negative_weight: 3.0 };
    let (losses, _, items) = step(&world, &Objective::Contrastive(contrastive), &OneWorker);
    // Nothing of another user is above the margin, and the first user's items are not held against each other.
    near(losses[0], ((1.0 - 1.0) + (1.0 - 2.0) + (1.0 - 3.0)) / 3.0);
    assert_eq!(items[2..4], [-1.0 / 3.0, 0.0]);
}

#[test]
fn workers_change_nothing_but_rounding() {
    let mut world = World::new(90, 40, 5, true).with_users();
    world.drawn = vec![1; 40];
    let prior = Prior::Constant { value: 0.1 };
    let objectives = [
        Objective::Gramian(Gramian { prior, ..gramian(exact()) }),
        Objective::Gramian(gramian(Estimator::default())),
        Objective::Softmax(Softmax::default()),
        Objective::Contrastive(Contrastive { margin: 0.0, ..Contrastive::default() }),
    ];
    for objective in objectives {
        let one = step(&world, &objective, &OneWorker);
        for workers in [2, 3, 100] {
            let found = step(&world, &objective, &Threads(workers));
            assert!((found.0[0] - one.0[0]).abs() < 1e-6, "{objective:?}");
            let pairs = found.1.iter().zip(&one.1).chain(found.2.iter().zip(&one.2));
            let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-6, "{objective:?}, {workers} workers: {worst}");
            assert_eq!(step(&world, &objective, &Threads(workers)), found, "a step repeats to the bit");
        }
    }
}

fn moments(world: &World, prior: Prior) -> (Moments, PriorVectors) {
    let most = world.frequency.iter().copied().fold(0.0, f32::max);
    let mut vectors = PriorVectors::default();
    prior.fill(&world.pairs(), most, &mut vectors);
    let mut moments = Moments::zero(world.k, vectors.rank);
    moments.add_mean(&world.pairs(), &vectors, 1.0, &mut Vec::new());
    (moments, vectors)
}

fn near(what: &str, found: &Moments, expected: &Moments, tolerance: f32) {
    for ((name, found), (_, expected)) in found.parts().into_iter().zip(expected.parts()) {
        let worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < tolerance, "{what}, {name}: off by {worst}");
    }
}

/// Any cache: the mean of SAGA's estimates over all pairs (before projection) is the exact one, and SAG's are never indefinite.
#[test]
fn saga_is_unbiased_and_sag_never_indefinite() {
    let (old, new) = (World::new(11, 6, 3, true), {
        let mut moved = World::new(11, 6, 3, true);
        moved.queries.iter_mut().chain(&mut moved.items).for_each(|x| *x = 0.3 - *x);
        moved
    });
    let prior = Prior::Constant { value: 0.5 };
    let (expected, vectors) = moments(&new, prior);
    let n = 11;
    for variant in [Sag::Sag, Sag::Saga] {
        let mut mean = Moments::zero(3, 1);
        for pair in 0..n {
            let mut moving = Moving::new(Estimator::Sagram { variant }, 3, 1, n as u64).unwrap();
            let all: Vec<usize> = (0..n).collect();
            moving.show(&old.part(&all).pairs(), &vectors).unwrap();
            let part = PriorVectors { rank: 1, queries: vec![1.0], items: vectors.items.clone() };
            moving.show(&new.part(&[pair]).pairs(), &part).unwrap();
            let found = moving.estimate().clone();
            for gram in [&found.queries, &found.items] {
                assert!(gram.least_eigenvalue() > -1e-5, "{variant:?}: {}", gram.least_eigenvalue());
            }
            mean.add_scaled(1.0 / n as f32, &found);
        }
        if variant == Sag::Saga {
            // Projection moves those that are indefinite, so the mean is only near; without it it is exact: see below.
            near("projected", &mean, &expected, 0.2);
        }
    }
    // Without projection, from the parts: the cache's mean and what one pair renews.
    let (before, _) = moments(&old, prior);
    let mut mean = Moments::zero(3, 1);
    for pair in 0..n {
        let part = PriorVectors { rank: 1, queries: vec![1.0], items: vectors.items.clone() };
        let mut estimate = before.clone();
        estimate.add_mean(&new.part(&[pair]).pairs(), &part, 1.0, &mut Vec::new());
        estimate.add_mean(&old.part(&[pair]).pairs(), &part, -1.0, &mut Vec::new());
        mean.add_scaled(1.0 / n as f32, &estimate);
    }
    near("unprojected", &mean, &expected, 1e-5);
}

/// A cache that has seen all pairs as they are holds the exact moments, in whatever parts they came.
#[test]
fn a_cache_that_saw_all_is_exact() {
    let world = World::new(20, 8, 4, true);
    let (expected, _) = moments(&world, Prior::Constant { value: 0.5 });
    for variant in [Sag::Sag, Sag::Saga] {
        let mut moving = Moving::new(Estimator::Sagram { variant }, 4, 1, 20).unwrap();
        for _ in 0..2 {
            for part in [&[0, 1, 2, 3, 4, 5, 6][..], &[7, 8, 9, 10, 11, 12, 13, 14, 15], &[16, 17, 18, 19]] {
                let world = world.part(part);
                let (_, vectors) = moments(&world, Prior::Constant { value: 0.5 });
                moving.show(&world.pairs(), &vectors).unwrap();
            }
        }
        near("cached", moving.estimate(), &expected, 1e-5);
    }
    let mut moving = Moving::new(Estimator::Sagram { variant: Sag::Sag }, 4, 0, 3).unwrap();
    assert!(moving.show(&world.pairs(), &PriorVectors::default()).is_err(), "a pair past the cache");
}

/// A running mean of a world that stands still comes to the exact moments, and is never indefinite on the way.
#[test]
fn a_running_mean_converges() {
    let world = World::new(200, 30, 4, false);
    let (expected, _) = moments(&world, Prior::None);
    let mut moving =
        Moving::new(Estimator::Sogram { alpha: 0.01, alpha_start: Some(0.5), half_life: 40.0 }, 4, 0, 200).unwrap();
    let mut errors = Vec::new();
    for step in 0..600 {
        let pairs: Vec<usize> = (0..20).map(|at| (Seed(3).at(step).bits_at(at) % 200) as usize).collect();
        moving.show(&world.part(&pairs).pairs(), &PriorVectors::default()).unwrap();
        assert!(moving.estimate().queries.least_eigenvalue() > -1e-6);
        errors.push(moving.estimate().items.relative_error(&expected.items));
    }
    let mean = |errors: &[f64]| errors.iter().sum::<f64>() / errors.len() as f64;
    assert!(mean(&errors[500..]) < 0.35 * mean(&errors[..10]), "{} {}", mean(&errors[500..]), mean(&errors[..10]));
    assert!(mean(&errors[500..]) < 0.05);
}

/// What is written is gone on from as if nothing had happened.
#[test]
fn estimates_are_gone_on_from() {
    let world = World::new(20, 8, 4, false);
    let estimators = [
        Estimator::Sagram { variant: Sag::Saga },
        Estimator::Sogram { alpha: 0.1, alpha_start: Some(1.0), half_life: 2.0 },
    ];
    for estimator in estimators {
        let make = || Moving::new(estimator, 4, 1, 20).unwrap();
        let show = |moving: &mut Moving, part: &[usize]| {
            let world = world.part(part);
            let (_, vectors) = moments(&world, Prior::Constant { value: 0.5 });
            moving.show(&world.pairs(), &vectors).unwrap();
        };
        let (mut through, parts) = (make(), [[0, 1, 2], [3, 4, 5], [1, 6, 7], [8, 9, 2]]);
        parts[..2].iter().for_each(|part| show(&mut through, part));
        let mut again = make();
        again.restore(2, &through.memory()).unwrap();
        for moving in [&mut through, &mut again] {
            parts[2..].iter().for_each(|part| show(moving, part));
        }
        assert_eq!(again.estimate(), through.estimate());
        assert!(Moving::new(estimator, 5, 1, 20).unwrap().restore(2, &through.memory()).is_err());
    }
}

/// One pair alone: Ĝ is its own, and gravity is its own product squared.
#[test]
fn the_first_step_begins_with_its_own() {
    let world = World::new(1, 3, 2, false);
    let (losses, ..) = step(&world, &Objective::Gramian(gramian(Estimator::default())), &OneWorker);
    assert!((losses[1] - world.product(0, world.own(0)).powi(2)).abs() < 1e-6);
    assert!(Gram::zero(2).relative_error(&Gram::zero(2)) == 0.0);
}

#[test]
fn wrong_keys_are_named() {
    let refused = |text: &str| {
        let objective: Result<Objective, _> = toml::from_str(text);
        match objective {
            Ok(objective) => objective.check().unwrap_err().to_string(),
            Err(error) => error.to_string(),
        }
    };
    for (text, expected) in [
        ("type = \"gramian\"\nlambda = -1", "lambda"),
        ("type = \"gramian\"\nestimator = { type = \"sogram\", alpha = 0 }", "alpha"),
        ("type = \"gramian\"\nestimator = { type = \"sogram\", alpha_start = 2 }", "alpha_start"),
        ("type = \"gramian\"\nestimator = { type = \"exact\", every = 0 }", "every"),
        ("type = \"gramian\"\nprior = { type = \"constant\", value = nan }", "prior.value"),
        ("type = \"gramian\"\nitem_power = 2", "item_power"),
        ("type = \"softmax\"\ntemperature = 0", "temperature"),
        ("type = \"softmax\"\nin_batch = false", "drawn"),
        ("type = \"softmax\"\nlambda = 1", "lambda"),
        ("type = \"contrastive\"\nmargin = 1.0", "margin"),
        ("type = \"contrastive\"\ndrawn = 0", "drawn"),
        ("type = \"sogram\"", "gramian"),
    ] {
        let error = refused(text);
        assert!(error.contains(expected), "{text}: {error}");
    }
}
