//! Tables against naive references: what is read and updated, by any number of workers.
#![allow(clippy::unwrap_used)]

mod common;

use common::{distinct_ids, gradients, optimizers, read, step, train};
use kitestring_core::Seed;
use kitestring_table::{Config, Init, Open, Optimizer, Route, Rule, Space, Step, Table, Touched, Unadmitted};
use proptest::prelude::*;
use std::collections::HashMap;

const INIT: Init = Init::Normal { std: 0.5 };

/// One row in double precision, updated by the formulas as they are written down.
#[derive(Clone)]
struct Row {
    w: Vec<f64>,
    m: Vec<f64>,
    v: Vec<f64>,
    updates: i32,
}

impl Row {
    fn new(w: &[f32], optimizer: &Optimizer) -> Self {
        let initial = if let Rule::Adagrad { initial, .. } = optimizer.rule { f64::from(initial) } else { 0.0 };
        let w: Vec<f64> = w.iter().map(|w| f64::from(*w)).collect();
        Self { m: vec![0.0; w.len()], v: vec![initial; w.len()], w, updates: 0 }
    }

    fn update(&mut self, gradient: &[f64], optimizer: &Optimizer, step: Step) {
        let (rate, l2) = (f64::from(step.learning_rate), f64::from(optimizer.l2));
        self.updates += 1;
        if optimizer.decoupled {
            self.w.iter_mut().for_each(|w| *w *= 1.0 - rate * l2);
        }
        let coupled = if optimizer.decoupled { 0.0 } else { l2 };
        let g: Vec<f64> = gradient.iter().zip(&self.w).map(|(g, w)| g + coupled * w).collect();
        let mean_square = g.iter().map(|g| g * g).sum::<f64>() / g.len() as f64;
        for (i, g) in g.into_iter().enumerate() {
            match optimizer.rule {
                Rule::Sgd {} => self.w[i] -= rate * g,
                Rule::Adagrad { epsilon, row_wise, .. } => {
                    self.v[i] += if row_wise { mean_square } else { g * g };
                    self.w[i] -= rate * g / (self.v[i].sqrt() + f64::from(epsilon));
                }
                Rule::Adam { beta1, beta2, epsilon, per_row_steps } => {
                    let t = if per_row_steps { self.updates } else { step.number as i32 };
                    self.m[i] = beta1 * self.m[i] + (1.0 - beta1) * g;
                    self.v[i] = beta2 * self.v[i] + (1.0 - beta2) * g * g;
                    let mean = self.m[i] / (1.0 - beta1.powi(t));
                    let spread = (1.0 - beta2.powi(t)).sqrt();
                    let epsilon = f64::from(epsilon);
                    let epsilon = if optimizer.rows == Touched::Touched { epsilon / spread } else { epsilon };
                    self.w[i] -= rate * mean / (self.v[i].sqrt() / spread + epsilon);
                }
            }
        }
    }
}

fn assert_near(found: &[f32], expected: impl Iterator<Item = f64>, place: &str) {
    let expected: Vec<f64> = expected.collect();
    assert_eq!(found.len(), expected.len());
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let near = (f64::from(*found) - expected).abs() <= 2e-5 * expected.abs().max(1.0);
        assert!(near, "{place}: number {i} is {found}, not {expected}");
    }
}

fn direct_equals_reference(optimizer: Optimizer, rows: u64, dim: usize, workers: usize, seed: u64) {
    let config = Config { dim, space: Space::Direct { rows }, init: INIT, optimizer };
    let table = Table::new("direct", config, Seed(seed)).unwrap();
    let all: Vec<u64> = (0..rows).collect();
    let mut reference: Vec<Row> = read(&table, &all).chunks(dim).map(|w| Row::new(w, &optimizer)).collect();
    for number in 1..=4 {
        let step = step(number);
        let ids = distinct_ids(Seed(seed).at(number), 1 + rows as usize / 3, rows);
        let gradients = gradients(Seed(seed).child("gradients").at(number), ids.len() * dim);
        train(&table, &ids, &gradients, step, workers);
        let mut by_id: HashMap<u64, Vec<f64>> = ids
            .iter()
            .zip(gradients.chunks(dim))
            .map(|(id, g)| (*id, g.iter().map(|g| f64::from(*g)).collect()))
            .collect();
        for (id, row) in reference.iter_mut().enumerate() {
            match by_id.remove(&(id as u64)) {
                Some(gradient) => row.update(&gradient, &optimizer, step),
                None if optimizer.rows == Touched::All => row.update(&vec![0.0; dim], &optimizer, step),
                None => {}
            }
        }
        let place = format!("{optimizer:?} dim {dim} step {number}");
        assert_near(&read(&table, &all), reference.iter().flat_map(|row| row.w.iter().copied()), &place);
    }
}

#[test]
fn every_optimizer_equals_its_formula() {
    for (index, optimizer) in optimizers().into_iter().enumerate() {
        // Several stripes; a vector, a part of one, and both.
        for dim in [1, 8, 19] {
            direct_equals_reference(optimizer, 20_011, dim, 2, index as u64);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn any_size_and_number_of_workers(
        which in 0usize..30, rows in 1u64..3000, dim in 1usize..40, workers in 1usize..5, seed in any::<u64>(),
    ) {
        let all = optimizers();
        direct_equals_reference(all[which % all.len()], rows, dim, workers, seed);
    }

    #[test]
    fn open_tables_admit_at_their_sighting(
        admit_after in 1u32..4, workers in 1usize..4, zero in any::<bool>(), seed in any::<u64>(),
    ) {
        let unadmitted = if zero { Unadmitted::Zero } else { Unadmitted::Initial };
        let optimizer = Optimizer::adagrad();
        let space = Space::Open(Open { admit_after, unadmitted, ..Open::default() });
        let config = Config { dim: 5, space, init: INIT, optimizer };
        let table = Table::new("open", config, Seed(seed)).unwrap();
        let always = Space::Open(Open::default());
        let fresh = Table::new("open", Config { space: always, ..config }, Seed(seed)).unwrap();
        let pool: Vec<u64> = (0..400).map(|i| Seed(seed).child("pool").bits_at(i)).collect();
        let mut reference: HashMap<u64, (u32, Row)> = HashMap::new();
        for number in 1..=5 {
            let ids: Vec<u64> = distinct_ids(Seed(seed).at(number), 150, 400).iter().map(|i| pool[*i as usize]).collect();
            let gradients = gradients(Seed(seed).child("gradients").at(number), ids.len() * 5);
            train(&table, &ids, &gradients, step(number), workers);
            for (id, gradient) in ids.iter().zip(gradients.chunks(5)) {
                let start = || (0, Row::new(&read(&fresh, &[*id]), &optimizer));
                let (sightings, row) = reference.entry(*id).or_insert_with(start);
                *sightings += 1;
                if *sightings >= admit_after {
                    let gradient: Vec<f64> = gradient.iter().map(|g| f64::from(*g)).collect();
                    row.update(&gradient, &optimizer, step(number));
                }
            }
            let admitted = |id: &u64| reference.get(id).is_some_and(|(sightings, _)| *sightings >= admit_after);
            prop_assert_eq!(table.len() as usize, pool.iter().filter(|id| admitted(id)).count());
            for id in &pool {
                prop_assert_eq!(table.contains(*id), admitted(id));
                let found = read(&table, &[*id]);
                if admitted(id) {
                    assert_near(&found, reference[id].1.w.iter().copied(), "admitted");
                } else if zero {
                    prop_assert_eq!(found, vec![0.0; 5]);
                } else {
                    prop_assert_eq!(found, read(&fresh, &[*id]));
                }
            }
        }
    }
}

/// The bits of all rows after some steps.
fn trained(space: Space, optimizer: Optimizer, workers: usize) -> Vec<u32> {
    let config = Config { dim: 16, space, init: INIT, optimizer };
    let table = Table::new("repeat", config, Seed(5)).unwrap();
    for number in 1..=4 {
        let ids = distinct_ids(Seed(number), 9000, 40_000);
        train(&table, &ids, &gradients(Seed(number).at(1), ids.len() * 16), step(number), workers);
    }
    read(&table, &(0..40_000).collect::<Vec<_>>()).into_iter().map(f32::to_bits).collect()
}

#[test]
fn workers_and_repetition_change_no_bit() {
    for space in [Space::Direct { rows: 40_000 }, Space::Open(Open { admit_after: 2, ..Open::default() })] {
        for optimizer in optimizers() {
            let one = trained(space, optimizer, 1);
            assert_eq!(one, trained(space, optimizer, 1));
            assert_eq!(one, trained(space, optimizer, 3), "{optimizer:?}");
        }
    }
}

#[test]
fn threads_that_start_a_table_change_no_bit() {
    let config = Config { dim: 7, space: Space::Direct { rows: 50_000 }, init: INIT, optimizer: Optimizer::adagrad() };
    let all: Vec<u64> = (0..50_000).collect();
    let one = read(&Table::new("item", config, Seed(1)).unwrap(), &all);
    assert_eq!(one, read(&Table::new_by(3, "item", config, Seed(1)).unwrap(), &all));
    assert!(one.chunks(7).all(|row| row.iter().any(|value| *value != 0.0)), "every row is started");
}

#[test]
fn asynchronous_workers_lose_no_update() {
    for space in [Space::Direct { rows: 30_000 }, Space::Open(Open::default())] {
        let config = Config { dim: 3, space, init: Init::Zero, optimizer: Optimizer::sgd() };
        let table = Table::new("item", config, Seed(1)).unwrap();
        // All workers update the same ids, in different orders; halves add up exactly in any order.
        let (workers, rounds) = (4, 25);
        std::thread::scope(|scope| {
            for worker in 0..workers {
                let table = &table;
                scope.spawn(move || {
                    let mut ids: Vec<u64> = (0..500).map(|id| id * 59).collect();
                    ids.rotate_left(worker * 125);
                    let gradients = vec![1.0; ids.len() * 3];
                    let mut route = Route::new();
                    for round in 0..rounds {
                        let number = 1 + (round * workers + worker) as u64;
                        table.route(&ids, &mut route).unwrap();
                        table.apply(&mut route, &gradients, Step { number, learning_rate: 0.5 }).unwrap();
                    }
                });
            }
        });
        let all: Vec<u64> = (0..30_000).collect();
        let expected = -0.5 * (workers * rounds) as f32;
        for (id, row) in read(&table, &all).chunks(3).enumerate() {
            let expected = if id % 59 == 0 && id < 500 * 59 { expected } else { 0.0 };
            assert_eq!(row, [expected; 3], "id {id}");
        }
        assert_eq!(table.step(), (workers * rounds) as u64);
    }
}

#[test]
fn lazy_adam_equals_dense_adam_when_all_rows_are_touched() {
    let rows = 3000;
    let all: Vec<u64> = (0..rows).collect();
    let config = |optimizer| Config { dim: 10, space: Space::Direct { rows }, init: INIT, optimizer };
    // They differ in where ε stands, so it must not count.
    let rule = Rule::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-20, per_row_steps: false };
    let lazy = Table::new("adam", config(Optimizer::new(rule)), Seed(1)).unwrap();
    let dense = Optimizer { rows: Touched::All, ..Optimizer::new(rule) };
    let dense = Table::new("adam", config(dense), Seed(1)).unwrap();
    for number in 1..=6 {
        let gradients = gradients(Seed(number), all.len() * 10);
        train(&lazy, &all, &gradients, step(number), 1);
        train(&dense, &all, &gradients, step(number), 1);
    }
    for (lazy, dense) in read(&lazy, &all).iter().zip(read(&dense, &all)) {
        assert!((lazy - dense).abs() < 1e-5, "{lazy} {dense}");
    }
}

#[test]
fn a_step_touches_nothing_else() {
    let config = Config { dim: 4, space: Space::Direct { rows: 1000 }, init: INIT, optimizer: Optimizer::adam() };
    let table = Table::new("lazy", config, Seed(1)).unwrap();
    let all: Vec<u64> = (0..1000).collect();
    let before = read(&table, &all);
    train(&table, &[7, 500], &[1.0; 8], step(1), 1);
    for (id, (before, after)) in before.chunks(4).zip(read(&table, &all).chunks(4)).enumerate() {
        assert_eq!(before != after, id == 7 || id == 500, "id {id}");
    }
}

#[test]
fn tables_of_other_names_and_seeds_start_elsewhere() {
    let start = |name: &str, seed, space| {
        read(&Table::new(name, Config { dim: 3, space, init: INIT, optimizer: Optimizer::sgd() }, seed).unwrap(), &[5])
    };
    let direct = Space::Direct { rows: 9 };
    let one = start("a", Seed(1), direct);
    assert_eq!(one, start("a", Seed(1), Space::Open(Open::default())));
    assert_eq!(one, start("a", Seed(1), Space::Direct { rows: 100_000 }));
    assert_ne!(one, start("b", Seed(1), direct));
    assert_ne!(one, start("a", Seed(2), direct));
}

#[test]
fn wrong_calls_are_refused_and_change_nothing() {
    let config = Config { dim: 2, space: Space::Direct { rows: 10 }, init: INIT, optimizer: Optimizer::sgd() };
    let table = Table::new("item", config, Seed(1)).unwrap();
    let all: Vec<u64> = (0..10).collect();
    let before = read(&table, &all);
    let mut route = Route::new();
    let error = table.route(&[3, 10], &mut route).unwrap_err().to_string();
    assert!(error.contains("`item`") && error.contains("id 10") && error.contains("10 rows"), "{error}");
    table.route(&[3, 4], &mut route).unwrap();
    assert!(table.gather(&mut route, &mut [0.0; 3]).is_err());
    assert!(table.apply(&mut route, &[0.0; 5], step(1)).is_err());
    for (number, learning_rate) in [(0, 0.1), (1, f32::NAN), (u64::MAX, 0.1)] {
        assert!(table.apply(&mut route, &[1.0; 4], Step { number, learning_rate }).is_err());
    }
    assert!(table.sweep(step(1), 2, 2).is_err());
    let other = Table::new("other", Config { space: Space::Direct { rows: 1 << 20 }, ..config }, Seed(1)).unwrap();
    assert!(other.apply(&mut route, &[1.0; 4], step(1)).is_err());
    assert_eq!(read(&table, &all), before);
    let too_strong = Optimizer { l2: 2.0, rows: Touched::All, ..Optimizer::sgd() };
    let table = Table::new("item", Config { optimizer: too_strong, ..config }, Seed(1)).unwrap();
    table.route(&[3, 4], &mut route).unwrap();
    let error = table.apply(&mut route, &[1.0; 4], Step { number: 1, learning_rate: 0.5 }).unwrap_err();
    assert_eq!(error.exit_code(), 2);
}

#[test]
fn empty_batches_are_fine() {
    for space in [Space::Direct { rows: 10 }, Space::Open(Open::default())] {
        let config = Config { dim: 2, space, init: INIT, optimizer: Optimizer::adam() };
        let table = Table::new("item", config, Seed(1)).unwrap();
        train(&table, &[], &[], step(1), 1);
        assert_eq!(read(&table, &[]), [0.0; 0]);
    }
}

#[test]
fn eviction_by_age() {
    let open = Open { admit_after: 2, max_age: Some(3), ..Open::default() };
    let config = Config { dim: 2, space: Space::Open(open), init: INIT, optimizer: Optimizer::sgd() };
    let table = Table::new("item", config, Seed(1)).unwrap();
    let see = |ids: &[u64], number| train(&table, ids, &vec![1.0; ids.len() * 2], step(number), 1);
    see(&[1, 2, 3], 1);
    see(&[1, 2], 2);
    see(&[2], 5);
    assert_eq!(table.len(), 2);
    let evicted = table.evict(5);
    assert_eq!((evicted.by_age, evicted.by_use, evicted.waiting), (0, 0, 1));
    let evicted = table.evict(6);
    assert_eq!((evicted.by_age, evicted.by_use, evicted.waiting), (1, 0, 0));
    assert!(!table.contains(1) && table.contains(2));
    // Who was evicted starts over: it waits again, and then starts from its first row in the freed slot.
    let fresh = Table::new("item", config, Seed(1)).unwrap();
    assert_eq!(read(&table, &[1]), read(&fresh, &[1]));
    see(&[1], 7);
    assert!(!table.contains(1));
    let bytes = table.bytes();
    see(&[1], 8);
    let expected: Vec<f32> = read(&fresh, &[1]).iter().map(|w| w - step(8).learning_rate).collect();
    assert_eq!(read(&table, &[1]), expected);
    assert_eq!(table.bytes(), bytes);
}

/// The age of an id that waits counts from its last sighting, also once the table was saved and read again.
#[test]
fn a_waiting_id_is_as_old_as_its_last_sighting() {
    let open = Open { admit_after: 3, max_age: Some(3), ..Open::default() };
    let config = Config { dim: 2, space: Space::Open(open), init: INIT, optimizer: Optimizer::sgd() };
    for saved in [false, true] {
        let mut table = Table::new("item", config, Seed(1)).unwrap();
        let see = |table: &Table, ids: &[u64], number| train(table, ids, &vec![1.0; ids.len() * 2], step(number), 1);
        see(&table, &[1, 2], 1);
        see(&table, &[1], 5);
        if saved {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("table");
            table.save(&path).unwrap();
            table = Table::load(&path).unwrap();
        }
        // The one was seen at 5, the other at 1 alone.
        assert_eq!(table.evict(8).waiting, 1, "{saved}");
        see(&table, &[1, 2], 8);
        assert_eq!((table.contains(1), table.contains(2)), (true, false), "{saved}");
        assert_eq!(table.evict(12).waiting, 1, "{saved}");
    }
}

#[test]
fn eviction_by_use_keeps_the_most_seen() {
    let open = Open { max_rows: Some(100), ..Open::default() };
    let config = Config { dim: 2, space: Space::Open(open), init: INIT, optimizer: Optimizer::adam() };
    let table = Table::new("item", config, Seed(1)).unwrap();
    // Id i is seen in the steps 1 to 1 + i / 50, so that the last hundred are seen most.
    for number in 1..=10 {
        let ids: Vec<u64> = (0..500).filter(|id| 1 + id / 50 >= number).collect();
        train(&table, &ids, &vec![0.1; ids.len() * 2], step(number), 2);
    }
    assert_eq!(table.len(), 500);
    assert_eq!(table.evict(10).by_use, 400);
    assert_eq!(table.len(), 100);
    assert!((0..500).all(|id| table.contains(id) == (id >= 400)));
    assert_eq!(table.evict(10).by_use, 0);
    let direct = Config { space: Space::Direct { rows: 5 }, ..config };
    assert_eq!(Table::new("item", direct, Seed(1)).unwrap().evict(10), kitestring_table::Evicted::default());
}

#[test]
fn assigned_rows_are_read_back_and_admitted() {
    for space in [Space::Direct { rows: 50 }, Space::Open(Open { admit_after: 5, ..Open::default() })] {
        let optimizer = Optimizer { l2: 0.5, rows: Touched::All, ..Optimizer::sgd() };
        let table = Table::new("item", Config { dim: 2, space, init: INIT, optimizer }, Seed(1)).unwrap();
        train(&table, &[1, 3], &[1.0; 4], step(1), 1);
        let mut route = Route::new();
        table.route(&[40, 3], &mut route).unwrap();
        table.assign(&mut route, &[1.0, 2.0, 3.0, 4.0]).unwrap();
        assert_eq!(read(&table, &[3, 40]), [3.0, 4.0, 1.0, 2.0]);
        assert!(table.contains(40));
        // From here on they shrink like the others.
        train(&table, &[1], &[0.0; 2], Step { number: 2, learning_rate: 0.5 }, 1);
        assert_eq!(read(&table, &[40]), [0.75, 1.5]);
    }
}

#[test]
fn memory_stays_near_rows_and_state() {
    let least = |table: &Table, numbers: usize| (table.len() as usize * numbers * size_of::<f32>()) as f64;
    for (dim, optimizer, numbers) in [
        (16, Optimizer::adam(), 48),
        (10, Optimizer::adam(), 30),
        (10, Optimizer::sgd(), 10),
        (16, Optimizer::dense_adam(), 48),
        (16, Optimizer::adagrad(), 32),
    ] {
        let config = Config { dim, space: Space::Direct { rows: 200_003 }, init: Init::Zero, optimizer };
        let table = Table::new("direct", config, Seed(1)).unwrap();
        let ratio = table.bytes() as f64 / least(&table, numbers);
        assert!(ratio < 1.3, "{config:?}: {ratio}");
    }
    let config =
        Config { dim: 16, space: Space::Open(Open::default()), init: Init::Zero, optimizer: Optimizer::adam() };
    let table = Table::new("open", config, Seed(1)).unwrap();
    let gradients = vec![0.1; 10_000 * 16];
    for number in 1..=40 {
        let ids: Vec<u64> = (0..10_000).map(|i| Seed(number).bits_at(i)).collect();
        train(&table, &ids, &gradients, step(number), 1);
    }
    assert_eq!(table.len(), 400_000);
    let ratio = table.bytes() as f64 / least(&table, 48);
    assert!(ratio < 1.3, "open: {ratio}");
}

/// Ids that never come again do not fill the memory, and leave those alone that do come again.
#[test]
fn ids_seen_once_are_bounded() {
    let open = Open { admit_after: 3, max_waiting: 16_384, ..Open::default() };
    let config = Config { dim: 1, space: Space::Open(open), init: Init::default(), optimizer: Optimizer::sgd() };
    let table = Table::new("users", config, Seed(1)).unwrap();
    const BATCH: u64 = 1000;
    let (mut route, gradients) = (Route::new(), vec![0.0; BATCH as usize]);
    let mut most = 0;
    for step in 1..=1000 {
        let mut ids: Vec<u64> = (0..BATCH).map(|id| Seed(step).bits_at(id)).collect();
        // One that comes in every fourth step, while some 8,000 others wait.
        if step % 4 == 0 && step < 500 {
            ids[17] = 42;
        }
        table.route(&ids, &mut route).unwrap();
        table.apply(&mut route, &gradients, Step { number: step, learning_rate: 0.1 }).unwrap();
        most = most.max(table.waiting());
        assert_eq!(table.contains(42), step >= 12, "step {step}");
    }
    assert!((8_000..16_384 + BATCH).contains(&most), "{most}");
    assert_eq!(table.len(), 1);
    assert!(table.bytes() < 2 << 20, "{}", table.bytes());

    // Who shares a step's ids, and in which order, changes nothing.
    let open = Open { admit_after: 2, max_waiting: 4096, ..open };
    let config = Config { space: Space::Open(open), ..config };
    let run = |backwards: bool| {
        let table = Table::new("users", config, Seed(1)).unwrap();
        let mut route = Route::new();
        for step in 1..=60 {
            let mut ids: Vec<u64> = (0..BATCH).map(|id| Seed(step / 2).bits_at(id)).collect();
            if backwards {
                ids.reverse();
            }
            for part in ids.chunks(BATCH as usize / 4) {
                table.route(part, &mut route).unwrap();
                table.apply(&mut route, &gradients[..part.len()], Step { number: step, learning_rate: 0.1 }).unwrap();
            }
        }
        let waits = |step: u64| (0..BATCH).map(|id| Seed(step).bits_at(id)).filter(|id| table.contains(*id)).count();
        (table.waiting(), table.len(), (0..30).map(waits).collect::<Vec<_>>())
    };
    assert_eq!(run(false), run(true));
}
