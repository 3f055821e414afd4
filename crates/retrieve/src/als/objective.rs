//! The number that fitting lessens.

use super::config::{Config, Zeros};
use super::interactions::{Interactions, Rows};
use super::system::{gram, ridge};
use kitestring_core::{Error, Result};
use kitestring_nn::engine::{Workers, each_piece};
use kitestring_nn::kernels::reduce::dot;

/// Users whose pairs are summed as one piece.
const USERS: usize = 256;

/// The objective at the vectors `users` (`users × dimension`, row-major) and `items`. The module's head has the formula. The same to the
/// bit for any number of workers.
///
/// # Errors
/// An internal error where there are not as many vectors as users and items.
pub fn objective(
    interactions: &Interactions,
    config: &Config,
    users: &[f32],
    items: &[f32],
    dimension: usize,
    workers: &dyn Workers,
) -> Result<f64> {
    let long = |rows: usize| rows.checked_mul(dimension);
    if dimension == 0
        || long(interactions.users()) != Some(users.len())
        || long(interactions.items()) != Some(items.len())
    {
        return Err(Error::internal(format!("vectors of {dimension} numbers are not as many as users and items")));
    }
    let taken = if config.zeros == Zeros::Unobserved { config.unobserved_weight } else { 0.0 };
    let mut sums = vec![0.0_f64; interactions.users().div_ceil(USERS)];
    each_piece(
        workers,
        sums.iter_mut().enumerate(),
        || (),
        |(), (piece, sum)| {
            for user in piece * USERS..interactions.users().min((piece + 1) * USERS) {
                let vector = &users[user * dimension..][..dimension];
                let (columns, weights) = interactions.users.row(user);
                for (item, weight) in columns.iter().zip(weights) {
                    let score = f64::from(dot(vector, &items[*item as usize * dimension..][..dimension]));
                    *sum += f64::from(*weight) * (1.0 - score) * (1.0 - score) - f64::from(taken) * score * score;
                }
            }
        },
    );
    // Σ over all pairs of s² is the inner product of the two Gram matrices.
    let grams = gram(users, dimension, workers).into_iter().zip(gram(items, dimension, workers));
    let all: f64 = grams.map(|(a, b)| f64::from(a) * f64::from(b)).sum();
    let lengths = |rows: &Rows, vectors: &[f32], others: usize| -> f64 {
        let each = vectors.chunks_exact(dimension).enumerate();
        each.map(|(row, x)| f64::from(ridge(config, rows.len(row), others)) * f64::from(dot(x, x))).sum()
    };
    Ok(sums.iter().sum::<f64>()
        + f64::from(config.unobserved_weight) * all
        + lengths(&interactions.users, users, interactions.items())
        + lengths(&interactions.items, items, interactions.users()))
}
