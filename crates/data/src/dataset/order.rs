//! A shuffled order that needs no memory.

use kitestring_core::Seed;

/// A random permutation of `0..len` that is computed, not stored: a Feistel network over the smallest even number of
/// bits that holds `len`, walked until it falls below `len` (Black and Rogaway 2002, "cycle walking").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permutation {
    len: u64,
    half: u32,
    keys: [u64; 4],
}

impl Permutation {
    /// The permutation of a seed.
    pub fn new(len: u64, seed: Seed) -> Self {
        let bits = u64::BITS - len.saturating_sub(1).leading_zeros();
        let seed = seed.child("permutation");
        Self { len, half: bits.div_ceil(2).max(1), keys: [0, 1, 2, 3].map(|round| seed.bits_at(round)) }
    }

    /// The number of positions.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is no position.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What is at a position below [`Permutation::len`].
    #[inline]
    pub fn at(&self, position: u64) -> u64 {
        debug_assert!(position < self.len);
        let mut value = position;
        loop {
            value = self.walk(value);
            // The walk is a bijection of a domain at most four times as large, so it comes back in a step or a few.
            if value < self.len || self.len == 0 {
                return value;
            }
        }
    }

    #[inline(always)]
    fn walk(&self, value: u64) -> u64 {
        let mask = (1u64 << self.half) - 1;
        let (mut left, mut right) = (value >> self.half, value & mask);
        for key in self.keys {
            (left, right) = (right, left ^ (kitestring_core::seed::mix(right ^ key) & mask));
        }
        left << self.half | right
    }

    /// Everything in the order of the permutation.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = u64> + use<> {
        let this = *self;
        (0..usize::try_from(self.len).unwrap_or(usize::MAX)).map(move |position| this.at(position as u64))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_position_once() {
        for len in [0, 1, 2, 3, 4, 5, 16, 17, 1000, 65_537] {
            let permutation = Permutation::new(len, Seed(3));
            let mut seen: Vec<u64> = permutation.iter().collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..len).collect::<Vec<_>>());
        }
    }

    #[test]
    fn shuffles_alike_from_run_to_run_and_differently_by_seed() {
        let order = |seed| Permutation::new(10_000, Seed(seed)).iter().collect::<Vec<_>>();
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
        // The mean distance between neighbours of a random order is a third of the length.
        let distances: u64 = order(1).windows(2).map(|pair| pair[0].abs_diff(pair[1])).sum();
        assert!((distances as f64 / 1e4 / 1e4 - 1.0 / 3.0).abs() < 0.02, "{distances}");
    }
}
