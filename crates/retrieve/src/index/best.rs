//! The best of scored items, by score and then by number.

use std::cmp::{Ordering, Reverse};

/// A score that is not NaN, ordered; −0 is 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Score(f32);

impl Score {
    pub(super) fn new(score: f32) -> Option<Self> {
        if score.is_nan() { None } else { Some(Self(score + 0.0)) }
    }

    pub(super) fn get(self) -> f32 {
        self.0
    }
}

impl Eq for Score {}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Score {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// Keeps the `k` best it is shown; equal scores: the lower number wins. Unlike [`kitestring_core::metrics::TopK`] it takes items one by
/// one and by their own numbers, because rows do not stand in the order of items once some came later.
#[derive(Debug)]
pub(super) struct Best {
    k: usize,
    /// Everything that may still be among the best; cut back to `k` when it has grown to twice that.
    kept: Vec<(Score, Reverse<u64>)>,
    least: f32,
}

impl Best {
    pub(super) fn new(k: usize) -> Self {
        // Nothing is worth keeping where none is asked for.
        Self { k, kept: Vec::new(), least: if k == 0 { f32::INFINITY } else { f32::NEG_INFINITY } }
    }

    /// A score below this is not among the best; one that equals it may be.
    pub(super) fn least(&self) -> f32 {
        self.least
    }

    pub(super) fn offer(&mut self, number: u64, score: f32) {
        if let Some(score) = Score::new(score)
            && score.get() >= self.least
            && self.k > 0
        {
            self.kept.push((score, Reverse(number)));
            if self.kept.len() >= self.k.saturating_mul(2) {
                self.cut();
            }
        }
    }

    /// The numbers of those among `first`, `first + 1`, … that may be among the best, with their scores. Most are passed over sixteen
    /// at a time.
    pub(super) fn offer_run(&mut self, scores: &[f32], first: usize, mut number: impl FnMut(usize) -> Option<u64>) {
        const TOGETHER: usize = 16;
        for (chunk, scores) in scores.chunks(TOGETHER).enumerate() {
            let least = self.least;
            // Without an early end this is a comparison of vectors.
            if !scores.iter().fold(false, |any, score| any | (*score >= least)) {
                continue;
            }
            for (offset, score) in scores.iter().enumerate() {
                if *score >= self.least
                    && let Some(number) = number(first + chunk * TOGETHER + offset)
                {
                    self.offer(number, *score);
                }
            }
        }
    }

    /// How many are known, up to `k`.
    pub(super) fn len(&self) -> usize {
        self.kept.len().min(self.k)
    }

    /// The best first.
    pub(super) fn into_sorted(mut self) -> Vec<(u64, f32)> {
        self.kept.sort_unstable_by(|a, b| b.cmp(a));
        self.kept.truncate(self.k);
        self.kept.iter().map(|(score, Reverse(number))| (*number, score.get())).collect()
    }

    fn cut(&mut self) {
        if let Some(last) = self.k.checked_sub(1)
            && last < self.kept.len()
        {
            let (_, kth, _) = self.kept.select_nth_unstable_by(last, |a, b| b.cmp(a));
            self.least = kth.0.get();
            self.kept.truncate(self.k);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(5), failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn equals_sort(
            scores in prop::collection::vec(prop_oneof![8 => (-9i8..9).prop_map(f32::from), 2 => any::<f32>()], 0..300),
            k in 0usize..40,
        ) {
            // Numbers that descend, so that the later of two equal scores wins.
            let number = |at: usize| 1000 - at as u64;
            let mut sorted: Vec<(u64, f32)> =
                scores.iter().enumerate().filter(|(_, score)| !score.is_nan()).map(|(at, score)| (number(at), *score)).collect();
            sorted.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap().then(a.0.cmp(&b.0)));
            sorted.truncate(k);
            let mut one_by_one = Best::new(k);
            scores.iter().enumerate().for_each(|(at, score)| one_by_one.offer(number(at), *score));
            prop_assert_eq!(one_by_one.into_sorted(), sorted.clone());
            let mut run = Best::new(k);
            run.offer_run(&scores, 0, |at| Some(number(at)));
            prop_assert_eq!(run.len(), sorted.len());
            prop_assert_eq!(run.into_sorted(), sorted);
        }
    }
}
