//! How Gram matrices are known without going through all pairs at every step.

use super::config::{Estimator, Sag};
use super::moments::{Moments, PriorVectors};
use super::pairs::Pairs;
use kitestring_core::{Error, Result};
use std::collections::BTreeMap;

/// An estimate of the moments, and what it is kept up to date with.
///
/// A step uses the estimate made of the steps before it, and shows its own vectors afterwards. So an estimate does not depend on the pairs
/// whose gradient it makes, which the paper has of a second batch, and nothing is computed twice. The first step has none before it and
/// begins with its own.
#[derive(Debug)]
pub struct Moving {
    config: Estimator,
    estimate: Moments,
    steps: u64,
    cache: Option<Cache>,
    scratch: Vec<f32>,
}

/// SAGram's cache: the vectors of all pairs as they were when last computed, and their means.
#[derive(Debug)]
struct Cache {
    pairs: u64,
    mean: Moments,
    queries: Vec<f32>,
    items: Vec<f32>,
    fresh: Moments,
}

impl Moving {
    /// An estimate of nothing yet. `pairs` is the number of all training pairs.
    ///
    /// # Errors
    /// Too many pairs for a cache.
    pub fn new(config: Estimator, dimension: usize, rank: usize, pairs: u64) -> Result<Self> {
        let zero = Moments::zero(dimension, rank);
        let cache = match config {
            Estimator::Sagram { .. } => {
                let numbers = usize::try_from(pairs).ok().and_then(|pairs| pairs.checked_mul(dimension));
                let too_large = || {
                    Error::config(format!("a cache of the vectors of {pairs} pairs does not fit memory"))
                        .in_field("retrieve.objective.estimator.type")
                        .mend("use sogram")
                };
                let numbers = numbers.ok_or_else(too_large)?;
                let mut both = [Vec::new(), Vec::new()];
                for part in &mut both {
                    part.try_reserve_exact(numbers).map_err(|_| too_large())?;
                    part.resize(numbers, 0.0);
                }
                let [queries, items] = both;
                Some(Cache { pairs, mean: zero.clone(), queries, items, fresh: zero.clone() })
            }
            Estimator::Sogram { .. } | Estimator::Exact { .. } => None,
        };
        Ok(Self { config, estimate: zero, steps: 0, cache, scratch: Vec::new() })
    }

    /// The estimate.
    pub fn estimate(&self) -> &Moments {
        &self.estimate
    }

    /// Whether nothing was shown yet.
    pub fn is_empty(&self) -> bool {
        self.steps == 0
    }

    /// Whether the moments of all pairs are to be computed before the next step, for [`Self::set`].
    pub fn is_due(&self) -> bool {
        matches!(self.config, Estimator::Exact { every } if self.steps.is_multiple_of(every))
    }

    /// Takes the moments of all pairs.
    pub fn set(&mut self, exact: Moments) {
        self.estimate = exact;
    }

    /// α of the next step.
    fn alpha(&self) -> f32 {
        match self.config {
            _ if self.steps == 0 => 1.0,
            Estimator::Sogram { alpha, alpha_start, half_life } => {
                let start = alpha_start.unwrap_or(alpha);
                alpha + (start - alpha) * (-(self.steps as f64) / half_life).exp2() as f32
            }
            Estimator::Sagram { .. } | Estimator::Exact { .. } => 1.0,
        }
    }

    /// Shows the vectors of a step.
    ///
    /// # Errors
    /// A pair there is not.
    pub fn show(&mut self, pairs: &Pairs<'_>, prior: &PriorVectors) -> Result<()> {
        let alpha = self.alpha();
        self.steps += 1;
        let Self { config, estimate, cache, scratch, .. } = self;
        match (config, cache) {
            (Estimator::Exact { .. }, _) => Ok(()),
            (Estimator::Sagram { variant }, Some(cache)) => {
                cache.renew(pairs, prior, scratch)?;
                *estimate = cache.mean.clone();
                let share = pairs.len() as f32 / cache.pairs as f32;
                cache.mean.add_scaled(share, &cache.fresh);
                match variant {
                    Sag::Sag => estimate.add_scaled(share, &cache.fresh),
                    Sag::Saga => {
                        estimate.add_scaled(1.0, &cache.fresh);
                        estimate.queries.project();
                        estimate.items.project();
                    }
                }
                Ok(())
            }
            _ => {
                estimate.scale(1.0 - alpha);
                estimate.add_mean(pairs, prior, alpha, scratch);
                Ok(())
            }
        }
    }

    /// What to go on from: numbers by name.
    pub fn memory(&self) -> BTreeMap<String, Vec<f32>> {
        let named = |prefix: &str, moments: &Moments| {
            let parts = moments.parts().map(|(name, values)| (format!("{prefix}.{name}"), values.to_vec()));
            parts.into_iter().collect::<Vec<_>>()
        };
        let mut all: BTreeMap<String, Vec<f32>> = named("estimate", &self.estimate).into_iter().collect();
        if let Some(cache) = &self.cache {
            all.extend(named("cache", &cache.mean));
            all.insert("cache.query_vectors".into(), cache.queries.clone());
            all.insert("cache.item_vectors".into(), cache.items.clone());
        }
        all
    }

    /// Goes on from [`Self::memory`] after a number of steps.
    ///
    /// # Errors
    /// If it is another retriever's.
    pub fn restore(&mut self, steps: u64, memory: &BTreeMap<String, Vec<f32>>) -> Result<()> {
        let named = |prefix: &str, like: &Moments| {
            let parts = memory.iter().filter_map(|(name, values)| {
                Some((name.strip_prefix(prefix)?.strip_prefix('.')?.to_owned(), values.clone()))
            });
            let k = like.queries.dimension();
            Moments::from_parts(k, like.query_prior.len() / k.max(1), &parts.collect())
        };
        self.estimate = named("estimate", &self.estimate)?;
        if let Some(cache) = &mut self.cache {
            cache.mean = named("cache", &cache.mean)?;
            for (name, into) in [("query_vectors", &mut cache.queries), ("item_vectors", &mut cache.items)] {
                let found = memory.get(&format!("cache.{name}")).filter(|found| found.len() == into.len());
                let found = found.ok_or_else(|| Error::format("the cache is not that of this retriever"))?;
                into.copy_from_slice(found);
            }
        }
        self.steps = steps;
        Ok(())
    }
}

impl Cache {
    /// Puts into `fresh` the mean over a step's pairs of what is new less what was cached, and caches the new.
    fn renew(&mut self, pairs: &Pairs<'_>, prior: &PriorVectors, scratch: &mut Vec<f32>) -> Result<()> {
        let (k, rank) = (pairs.dimension, prior.rank);
        if pairs.numbers.len() != pairs.len() || pairs.numbers.iter().any(|number| *number >= self.pairs) {
            return Err(Error::internal("a pair there is not in the cache"));
        }
        self.fresh.scale(0.0);
        self.fresh.add_mean(pairs, prior, 1.0, scratch);
        let mut old = [Vec::with_capacity(pairs.len() * k), Vec::with_capacity(pairs.len() * k)];
        for (pair, (number, item)) in pairs.numbers.iter().zip(pairs.links.item_of()).enumerate() {
            let place = *number as usize * k..(*number as usize + 1) * k;
            let new = [pairs.query(pair), pairs.item(*item as usize)];
            for ((cached, old), new) in [&mut self.queries, &mut self.items].into_iter().zip(&mut old).zip(new) {
                let cached = &mut cached[place.clone()];
                old.extend_from_slice(cached);
                cached.copy_from_slice(new);
            }
        }
        let [old_queries, old_items] = &old;
        let share = -1.0 / pairs.len().max(1) as f32;
        let item_of = |pair: usize| pairs.links.item_of()[pair] as usize;
        let query_weight = |pair: usize| share * pairs.query_weight(pair);
        let item_weight = |pair: usize| share * pairs.item_weights.get(item_of(pair)).copied().unwrap_or(1.0);
        self.fresh.queries.add(old_queries, query_weight, scratch);
        self.fresh.items.add(old_items, item_weight, scratch);
        for pair in 0..pairs.len() {
            let of_query = (old_queries, query_weight(pair), &prior.queries[pair * rank..(pair + 1) * rank]);
            let item = item_of(pair);
            let of_item = (old_items, item_weight(pair), &prior.items[item * rank..(item + 1) * rank]);
            let into = [&mut self.fresh.query_prior, &mut self.fresh.item_prior];
            for (into, (vectors, weight, prior)) in into.into_iter().zip([of_query, of_item]) {
                for (x, into) in vectors[pair * k..(pair + 1) * k].iter().zip(into.chunks_exact_mut(rank.max(1))) {
                    into.iter_mut().zip(prior).for_each(|(into, y)| *into += weight * x * y);
                }
            }
        }
        Ok(())
    }
}
