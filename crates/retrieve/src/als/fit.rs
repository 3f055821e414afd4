//! Fitting: users given items, items given users, again and again.

use super::config::Config;
use super::interactions::{Interactions, Rows};
use super::solvers::{Scratch, blocks, solve};
use super::system::Systems;
use kitestring_core::{Error, Result, Seed};
use kitestring_nn::engine::{Workers, each_piece};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// The vectors of both sides, row-major, one row a user or an item. Those without interactions have zero.
#[derive(Debug, Clone, PartialEq)]
pub struct Factors {
    /// `users × dimension`.
    pub users: Vec<f32>,
    /// `items × dimension`.
    pub items: Vec<f32>,
}

/// An iteration that has just ended.
#[derive(Debug, Clone, Copy)]
pub struct Iteration<'a> {
    /// Which, from one.
    pub number: u32,
    /// Seconds that it took.
    pub seconds: f64,
    /// The vectors after it, from which [`objective`](super::objective()) can be computed.
    pub factors: &'a Factors,
}

/// Fits vectors of `dimension` numbers. The seed decides the items' vectors before the first iteration. The result is the same to the bit
/// for any number of workers.
///
/// # Errors
/// A config error where the config or the dimension is wrong; a numeric error where a system has no solution, which happens without
/// regularization alone, or a number overflows.
pub fn fit(
    interactions: &Interactions,
    config: &Config,
    dimension: usize,
    seed: Seed,
    workers: &dyn Workers,
    observe: &mut dyn FnMut(Iteration<'_>),
) -> Result<Factors> {
    config.check()?;
    let floats = |rows: usize| match rows.checked_mul(dimension).filter(|floats| *floats <= isize::MAX as usize / 4) {
        Some(0) | None => {
            Err(Error::config(format!("{rows} vectors of {dimension} numbers cannot be fitted")).in_field("dimension"))
        }
        Some(floats) => Ok(floats),
    };
    let mut factors = Factors {
        users: vec![0.0; floats(interactions.users())?],
        items: start(&interactions.items, floats(interactions.items())?, dimension, config, seed.child("items")),
    };
    for number in 1..=config.iterations {
        let start = Instant::now();
        let Factors { users, items } = &mut factors;
        solve_side("user", &interactions.users, users, (items, dimension), config, workers)?;
        solve_side("item", &interactions.items, items, (users, dimension), config, workers)?;
        observe(Iteration { number, seconds: start.elapsed().as_secs_f64(), factors: &factors });
    }
    Ok(factors)
}

/// Drawn vectors for rows with interactions, zero for the others.
fn start(rows: &Rows, floats: usize, dimension: usize, config: &Config, seed: Seed) -> Vec<f32> {
    // A uniform number of [−a, a) has the variance a² / 3.
    let most = config.start_length * (3.0 / dimension as f32).sqrt();
    let mut vectors = vec![0.0; floats];
    for (row, vector) in vectors.chunks_exact_mut(dimension).enumerate().filter(|(row, _)| rows.len(*row) > 0) {
        let seed = seed.at(row as u64);
        (0..).zip(vector).for_each(|(at, x)| *x = most * (2.0 * seed.unit_at(at) - 1.0));
    }
    vectors
}

/// Solves all rows of one side.
fn solve_side(
    name: &str,
    rows: &Rows,
    vectors: &mut [f32],
    (fixed, dimension): (&[f32], usize),
    config: &Config,
    workers: &dyn Workers,
) -> Result<()> {
    let systems = Systems::new(fixed, dimension, config, workers);
    let first_wrong = Mutex::new(None);
    each_piece(workers, blocks(rows, dimension, vectors), Scratch::default, |scratch, (block, vectors)| {
        if let Err(row) = solve(&systems, config.solver, (rows, block), vectors, scratch) {
            let mut first = first_wrong.lock().unwrap_or_else(PoisonError::into_inner);
            *first = Some(first.map_or(row, |first: usize| first.min(row)));
        }
    });
    match first_wrong.into_inner().unwrap_or_else(PoisonError::into_inner) {
        None => Ok(()),
        Some(row) => Err(unsolvable(name, &row.to_string(), config)),
    }
}

/// The error of a system without a solution.
pub(super) fn unsolvable(name: &str, row: &str, config: &Config) -> Error {
    let error = Error::numeric(format!("the equations of {name} {row} have no single solution of finite numbers"));
    if config.regularization == 0.0 {
        error.mend("set `regularization` above zero")
    } else {
        error.mend("raise `regularization`, or scale the weights of the interactions down")
    }
}
