//! The best k of many scores, without sorting them.

use std::cmp::Reverse;

use super::order::{score_of, sort_key};

/// Keeps the `k` highest of the scores it is shown, part by part. Equal scores: the lower index wins. NaN is never kept,
/// so writing NaN over a score takes an item out.
///
/// Takes O(1) amortized a score and O(k) memory.
#[derive(Debug, Clone)]
pub struct TopK {
    k: usize,
    /// Everything that may still be among the best; cut back to `k` when it has grown to twice that.
    best: Vec<(u32, Reverse<usize>)>,
    /// What a newcomer must beat, once `k` scores are known.
    floor: Option<(u32, Reverse<usize>)>,
}

impl TopK {
    /// Nothing yet.
    pub fn new(k: usize) -> Self {
        Self { k, best: Vec::new(), floor: None }
    }

    /// Shows the scores of items `first`, `first + 1`, ….
    pub fn extend(&mut self, first: usize, scores: &[f32]) {
        if self.k == 0 {
            return;
        }
        // Comparing floats first passes over most scores, NaN too, with one comparison.
        let mut least = self.floor.map_or(f32::NEG_INFINITY, |floor| score_of(floor.0));
        for (offset, score) in scores.iter().enumerate() {
            if *score >= least
                && let Some(key) = sort_key(*score)
            {
                let entry = (key, Reverse(first + offset));
                if self.floor.is_none_or(|floor| entry > floor) {
                    self.best.push(entry);
                    if self.best.len() >= self.k.saturating_mul(2) {
                        self.cut();
                        least = self.floor.map_or(f32::NEG_INFINITY, |floor| score_of(floor.0));
                    }
                }
            }
        }
    }

    /// The best first, each with its index; fewer than `k` if fewer were shown.
    pub fn into_sorted(mut self) -> Vec<(usize, f32)> {
        self.cut();
        self.best.sort_unstable_by(|a, b| b.cmp(a));
        self.best.iter().map(|(key, Reverse(index))| (*index, score_of(*key))).collect()
    }

    fn cut(&mut self) {
        if self.k > 0 && self.best.len() >= self.k {
            let (_, kth, _) = self.best.select_nth_unstable_by(self.k - 1, |a, b| b.cmp(a));
            self.floor = Some(*kth);
            self.best.truncate(self.k);
        }
    }
}

/// The indices and scores of the `k` highest scores, the best first; equal scores in order of index, NaN never.
pub fn top_k(scores: &[f32], k: usize) -> Vec<(usize, f32)> {
    let mut best = TopK::new(k);
    best.extend(0, scores);
    best.into_sorted()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    #[test]
    fn by_hand() {
        assert_eq!(top_k(&[0.1, 0.9, f32::NAN, 0.5, 0.9], 3), [(1, 0.9), (4, 0.9), (3, 0.5)]);
        assert_eq!(top_k(&[0.1, f32::NEG_INFINITY], 5), [(0, 0.1), (1, f32::NEG_INFINITY)]);
        assert_eq!(top_k(&[1.0; 1000], 2), [(0, 1.0), (1, 1.0)]);
        assert_eq!(top_k(&[0.0, -0.0], 1), [(0, 0.0)]);
        assert_eq!(top_k(&[0.1], 0), []);
        assert_eq!(top_k(&[], 3), []);
        assert_eq!(top_k(&[0.5], usize::MAX), [(0, 0.5)]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(5), failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn equals_sort(
            scores in prop::collection::vec(prop_oneof![8 => (-9i8..9).prop_map(f32::from), 2 => any::<f32>()], 0..300),
            k in 0usize..40,
            split in 0usize..300,
        ) {
            let mut sorted: Vec<(usize, f32)> =
                scores.iter().copied().enumerate().filter(|(_, score)| !score.is_nan()).collect();
            sorted.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap());
            sorted.truncate(k);
            prop_assert_eq!(top_k(&scores, k), sorted.clone());

            // In parts, the later one first.
            let split = split.min(scores.len());
            let mut parts = TopK::new(k);
            parts.extend(split, &scores[split..]);
            parts.extend(0, &scores[..split]);
            prop_assert_eq!(parts.into_sorted(), sorted);
        }
    }
}
