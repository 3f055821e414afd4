//! A shuffled order that needs no memory.

use kitestring_core::Seed;

/// A shuffled order of samples in which those of a block stand together: the blocks are permuted, and what they are cut of starts at a drawn
/// sample, so that other samples are neighbours in every epoch. Blocks of one sample are a plain [`Permutation`].
///
/// The samples of a user are stored side by side, in the order of time: a block holds a stretch of a user's samples, or of a few users'. It
/// takes neither memory nor a pass over the data to know who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    len: u64,
    block: u64,
    first: u64,
    /// Of the whole blocks.
    blocks: Permutation,
}

impl Order {
    /// The order of a seed. `block` is the number of samples that stand together, at least one.
    pub fn new(len: u64, block: u64, seed: Seed) -> Self {
        let block = block.max(1);
        let first = if block == 1 { 0 } else { seed.child("first").bits_at(0) % len.max(1) };
        Self { len, block, first, blocks: Permutation::new(len / block, seed) }
    }

    /// The number of positions.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is no position.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What is at a position below [`Self::len`].
    #[inline]
    pub fn at(&self, position: u64) -> u64 {
        let (number, within) = (position / self.block, position % self.block);
        // What is left over of a block stays last.
        let number = if number < self.blocks.len() { self.blocks.at(number) } else { number };
        let sample = self.first + number * self.block + within;
        if sample < self.len { sample } else { sample - self.len }
    }

    /// Everything in this order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = u64> + use<> {
        let this = *self;
        (0..usize::try_from(self.len).unwrap_or(usize::MAX)).map(move |position| this.at(position as u64))
    }
}

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
    fn blocks_stay_together() {
        for (len, block) in [(0, 4), (1, 4), (7, 4), (8, 4), (1003, 10), (1000, 1)] {
            let order: Vec<u64> = Order::new(len, block, Seed(3)).iter().collect();
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..len).collect::<Vec<_>>());
            let follows = |pair: &[u64]| pair[1] == (pair[0] + 1) % len;
            assert!(order.chunks(block as usize).all(|block| block.windows(2).all(follows)), "{len} {block}");
        }
        let order = |block, seed| Order::new(1000, block, Seed(seed)).iter().collect::<Vec<_>>();
        assert_eq!(order(1, 5), Permutation::new(1000, Seed(5)).iter().collect::<Vec<_>>());
        assert_ne!(order(10, 5), order(10, 6));
        // Blocks begin at other samples with another seed, and are shuffled.
        let ends = |seed| order(10, seed).chunks(10).map(|block| block[0]).collect::<Vec<_>>();
        assert_ne!(ends(5)[0] % 10, ends(6)[0] % 10);
        assert!(!ends(5).is_sorted());
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
