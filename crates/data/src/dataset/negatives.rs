//! Negatives, drawn when rows are read.

use super::earlier;
use super::items::ItemTable;
use super::manifest::Manifest;
use super::users::Users;
use crate::config::Draw;
use kitestring_core::{Error, Result, Seed};

/// Draws tried before the rest of the distribution is walked.
const TRIES: u64 = 64;

/// Draws items that a user has neither in the split they are drawn for nor in an earlier one. What a user has in a later split is drawn
/// like any other item: were it left out, an item that is never a negative of the user would be known to come later. A draw depends on
/// nothing but its seed.
pub(super) struct Negatives {
    draw: Draw,
    /// The places of the split and of those before it.
    splits: Vec<usize>,
    /// For draws in proportion to popularity, in the order of [`ItemTable::trained`]: the share of the column that is the
    /// item's own, of 2^32, and the item the rest is another's (Walker 1977; filled as Vose 1991).
    alias: Vec<(u32, u32)>,
}

impl Negatives {
    /// For the split at a place.
    pub(super) fn new(draw: Draw, split: usize, manifest: &Manifest, items: &ItemTable) -> Self {
        let names: Vec<&str> = manifest.splits.iter().map(|split| split.name.as_str()).collect();
        let alias = match draw {
            Draw::Uniform => Vec::new(),
            Draw::Popularity => alias(&items.trained().iter().map(|item| items.popularity(*item)).collect::<Vec<_>>()),
        };
        Self { draw, splits: earlier(&names, split).chain([split]).collect(), alias }
    }

    /// An item the user does not have in the split or before.
    #[inline]
    pub(super) fn draw(&self, items: &ItemTable, users: &Users, user: u64, seed: Seed) -> Result<u32> {
        let trained = items.trained();
        for attempt in 0..TRIES {
            let bits = seed.bits_at(attempt);
            let mut index = ((u128::from(bits) * trained.len() as u128) >> 64) as usize;
            if let Some((own, other)) = self.alias.get(index)
                && seed.at(attempt).bits_at(1) as u32 >= *own
            {
                index = *other as usize;
            }
            let Some(item) = trained.get(index) else { break };
            if !users.had(user, *item, &self.splits) {
                return Ok(*item);
            }
        }
        self.walk(items, users, user, seed)
    }

    /// Draws from what is left for a user who has nearly everything.
    fn walk(&self, items: &ItemTable, users: &Users, user: u64, seed: Seed) -> Result<u32> {
        let weight = |item: u32| match self.draw {
            Draw::Uniform => 1,
            Draw::Popularity => u64::from(items.popularity(item)),
        };
        let left = || items.trained().iter().copied().filter(|item| !users.had(user, *item, &self.splits));
        let total: u64 = left().map(weight).sum();
        let mut rest = ((u128::from(seed.bits_at(TRIES)) * u128::from(total)) >> 64) as u64;
        for item in left() {
            match rest.checked_sub(weight(item)) {
                None => return Ok(item),
                Some(less) => rest = less,
            }
        }
        Err(Error::data(format!("user number {user} has every item, so no negative can be drawn")))
    }
}

fn alias(weights: &[u32]) -> Vec<(u32, u32)> {
    let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
    let mut shares: Vec<f64> = weights.iter().map(|weight| f64::from(*weight) * weights.len() as f64 / total).collect();
    let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..shares.len()).partition(|index| shares[*index] < 1.0);
    let mut alias: Vec<(u32, u32)> = (0..shares.len() as u32).map(|index| (u32::MAX, index)).collect();
    while let (Some(less), Some(more)) = (small.pop(), large.pop()) {
        alias[less] = ((shares[less] * 4_294_967_296.0) as u32, more as u32);
        shares[more] -= 1.0 - shares[less];
        if shares[more] < 1.0 { small.push(more) } else { large.push(more) }
    }
    alias
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_table_has_the_weights_it_was_made_of() {
        let weights = [5, 1, 0, 10, 4];
        let table = alias(&weights);
        let mut shares = [0.0; 5];
        for (index, (own, other)) in table.iter().enumerate() {
            let own = f64::from(*own) / 4_294_967_296.0;
            shares[index] += own / 5.0;
            shares[*other as usize] += (1.0 - own) / 5.0;
        }
        for (share, weight) in shares.iter().zip(weights) {
            assert!((share - f64::from(weight) / 20.0).abs() < 1e-8, "{shares:?}");
        }
    }
}
