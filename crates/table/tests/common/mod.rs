//! What several tests need: every optimizer, random batches, and several workers at once.
#![allow(clippy::unwrap_used, dead_code)]

use kitestring_core::Seed;
use kitestring_table::{Optimizer, Route, Rule, Step, Table, Touched, Unique};

/// Every optimizer, with and without L2 of every kind.
pub fn optimizers() -> Vec<Optimizer> {
    let adam = |per_row_steps| Optimizer::new(Rule::Adam { beta1: 0.9, beta2: 0.99, epsilon: 1e-3, per_row_steps });
    let adagrad = |row_wise| Optimizer::new(Rule::Adagrad { initial: 0.1, epsilon: 1e-8, row_wise });
    let mut all = Vec::new();
    for plain in [Optimizer::sgd(), adagrad(false), adagrad(true), adam(false), adam(true)] {
        for l2 in [0.0, 0.3] {
            for decoupled in [false, true] {
                for rows in [Touched::Touched, Touched::All] {
                    if l2 > 0.0 || !decoupled {
                        all.push(Optimizer { l2, decoupled, rows, ..plain });
                    }
                }
            }
        }
    }
    all
}

pub fn step(number: u64) -> Step {
    Step { number, learning_rate: 0.2 / number as f32 }
}

/// Distinct ids below a bound.
pub fn distinct_ids(seed: Seed, count: usize, bound: u64) -> Vec<u64> {
    let drawn: Vec<u64> = (0..count as u64).map(|i| seed.bits_at(i) % bound).collect();
    let mut unique = Unique::new();
    unique.dedupe([&drawn[..]]);
    unique.ids().to_vec()
}

pub fn gradients(seed: Seed, count: usize) -> Vec<f32> {
    (0..count as u64).map(|i| seed.normal_at(i)).collect()
}

pub fn read(table: &Table, ids: &[u64]) -> Vec<f32> {
    let mut out = vec![0.0; ids.len() * table.dim()];
    let mut route = Route::new();
    table.route(ids, &mut route).unwrap();
    table.gather(&mut route, &mut out).unwrap();
    out
}

/// One training step by several workers at once, each with a part of the ids and of the table.
pub fn train(table: &Table, ids: &[u64], gradients: &[f32], step: Step, workers: usize) {
    let share = ids.len().div_ceil(workers).max(1);
    let parts = ids.chunks(share).zip(gradients.chunks(share * table.dim()));
    std::thread::scope(|scope| {
        for (ids, gradients) in parts {
            scope.spawn(move || {
                let mut route = Route::new();
                table.route(ids, &mut route).unwrap();
                table.gather(&mut route, &mut vec![0.0; gradients.len()]).unwrap();
                table.apply(&mut route, gradients, step).unwrap();
            });
        }
    });
    std::thread::scope(|scope| {
        for part in 0..workers {
            scope.spawn(move || table.sweep(step, part, workers).unwrap());
        }
    });
}
