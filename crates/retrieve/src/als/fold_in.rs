//! Vectors of users who were not there at fitting.

use super::config::Config;
use super::fit::unsolvable;
use super::interactions::check_weight;
use super::solvers::{Scratch, cholesky};
use super::system::Systems;
use kitestring_core::{Error, Result};
use kitestring_nn::engine::Workers;

/// Solves single users against fitted items. Makes the items' Gram matrix once; a user then takes `O(n k² + k³)`.
#[derive(Debug)]
pub struct FoldIn<'a> {
    systems: Systems<'a>,
    config: &'a Config,
}

impl<'a> FoldIn<'a> {
    /// Over fitted items, row-major, with the config they were fitted with.
    ///
    /// # Errors
    /// A config error where the config is wrong or the items are no whole number of vectors.
    pub fn new(items: &'a [f32], dimension: usize, config: &'a Config, workers: &dyn Workers) -> Result<Self> {
        config.check()?;
        if items.is_empty() || items.len().checked_rem(dimension) != Some(0) {
            let what = format!("{} numbers are not vectors of {dimension}", items.len());
            return Err(Error::config(what).in_field("dimension"));
        }
        Ok(Self { systems: Systems::new(items, dimension, config, workers), config })
    }

    /// The vector of a user with these items, each with the weight of its pair; an item that comes several times has the sum. It is the
    /// exact solution whatever the solver, and zero without items.
    ///
    /// # Errors
    /// A data error where an item is past the last or a weight is not positive; a numeric error where the system has no solution.
    pub fn user(&self, items: impl IntoIterator<Item = (u32, f32)>) -> Result<Vec<f32>> {
        let mut items: Vec<(u32, f32)> = items.into_iter().collect();
        items.sort_by_key(|(item, _)| *item);
        let count = self.systems.fixed.len() / self.systems.dimension;
        let (mut columns, mut weights) = (Vec::new(), Vec::<f32>::new());
        for (item, weight) in items {
            if item as usize >= count {
                return Err(
                    Error::data(format!("there is no item {item}")).mend(format!("there are {count}, from zero"))
                );
            }
            check_weight(weight).map_err(|error| error.in_field(format!("weight of item {item}")))?;
            match weights.last_mut() {
                Some(last) if columns.last() == Some(&item) => *last += weight,
                _ => {
                    columns.push(item);
                    weights.push(weight);
                }
            }
        }
        let mut vector = vec![0.0; self.systems.dimension];
        let solved = cholesky(&self.systems, &columns, &weights, &mut vector, &mut Scratch::default());
        if solved && vector.iter().all(|x| x.is_finite()) {
            Ok(vector)
        } else {
            Err(unsolvable("user", "to fold in", self.config))
        }
    }
}
