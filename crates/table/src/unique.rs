//! The distinct ids of a batch, and which of them each occurrence is.

use std::hint::select_unpredictable;

const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
/// Ids entered between two looks at how full the table is.
const BLOCK: usize = 128;
/// Slots an id, at the least: few collisions, for each costs a wrongly predicted branch.
const SPACE: usize = 4;

/// Where an id's search starts, and the slot it has but for its index.
///
/// A slot is eight bits of generation, 24 of the id's hash and 32 of its index, so that eight share a cache line. It is
/// occupied only if it carries the current generation, so clearing costs nothing. Start and hash share bits, which is no
/// harm, for ids are compared in the end.
#[inline(always)]
fn hash(id: u64, generation: u32, slots: usize) -> (usize, u64) {
    let product = id.wrapping_mul(MULTIPLIER);
    let tag = generation << 24 | (product >> 24) as u32 & 0xff_ffff;
    ((product >> (64 - slots.trailing_zeros())) as usize, u64::from(tag) << 32)
}

/// Finds the distinct ids of a batch. A workspace: a warm call allocates nothing.
///
/// ```
/// let mut unique = kitestring_table::Unique::new();
/// let (items, history) = ([7, 9], [9, 9, 3]);
/// unique.dedupe([&items[..], &history[..]]);
/// assert_eq!(unique.ids(), [7, 9, 3]);
/// assert_eq!(unique.positions(), [0, 1, 1, 1, 2]);
/// assert_eq!(unique.column(1), [1, 1, 2]);
/// ```
#[derive(Debug, Default)]
pub struct Unique {
    slots: Vec<u64>,
    generation: u32,
    /// The ids found, then room for more.
    ids: Vec<u64>,
    found: usize,
    positions: Vec<u32>,
    ends: Vec<usize>,
}

impl Unique {
    /// An empty workspace.
    pub fn new() -> Self {
        Self::default()
    }

    /// Finds the distinct ids of several columns that share one table. What an earlier call found is forgotten.
    ///
    /// # Panics
    /// If the columns hold 2³² ids or more.
    pub fn dedupe<'a>(&mut self, columns: impl IntoIterator<Item = &'a [u64]>) {
        // Batches resemble each other: room for as many distinct ids as last time keeps the part of the table that is
        // touched small without growing it on the way.
        let mut slots = ((self.found + BLOCK) * SPACE).next_power_of_two();
        self.found = 0;
        self.positions.clear();
        self.ends.clear();
        self.begin(slots);
        for column in columns {
            assert!(self.positions.len() + column.len() < u32::MAX as usize, "a batch holds fewer than 2^32 ids");
            self.positions.reserve(column.len());
            for block in column.chunks(BLOCK) {
                if (self.found + BLOCK) * SPACE > slots {
                    slots *= 2;
                    self.begin(slots);
                    self.restore(slots);
                }
                self.insert(block, slots);
            }
            self.ends.push(self.positions.len());
        }
    }

    /// The distinct ids, in the order of their first appearance.
    pub fn ids(&self) -> &[u64] {
        &self.ids[..self.found]
    }

    /// The index within [`Self::ids`] of every occurrence, column after column.
    pub fn positions(&self) -> &[u32] {
        &self.positions
    }

    /// The index within [`Self::ids`] of every occurrence of one column.
    ///
    /// # Panics
    /// If the last [`Self::dedupe`] had no such column.
    pub fn column(&self, column: usize) -> &[u32] {
        let start = if column == 0 { 0 } else { self.ends[column - 1] };
        &self.positions[start..self.ends[column]]
    }

    /// Empties the first `slots` slots, by a new generation.
    fn begin(&mut self, slots: usize) {
        if self.slots.len() < slots {
            self.slots.resize(slots, 0);
            self.ids.resize(slots / SPACE + 1, 0);
        }
        self.generation += 1;
        if self.generation == 1 << 8 {
            self.slots.fill(0);
            self.generation = 1;
        }
    }

    /// Enters ids, for which there must be room.
    fn insert(&mut self, block: &[u64], slots: usize) {
        let (mask, generation) = (slots - 1, self.generation);
        let (table, ids, mut found) = (&mut self.slots[..slots], &mut self.ids[..], self.found);
        // Since the last batch the network has used the cache for itself. Asking for all slots at once, before the first
        // wrongly predicted branch, lets the answers overlap.
        let asked = block.iter().fold(0, |asked, &id| asked | table[hash(id, generation, slots).0 & mask]);
        std::hint::black_box(asked);
        self.positions.extend(block.iter().map(|&id| {
            let (mut at, tag) = hash(id, generation, slots);
            ids[found] = id;
            loop {
                let slot = table[at & mask];
                let difference = ((slot ^ tag) >> 32) as u32;
                // Of another generation; whether an id is new is a toss-up that no branch predictor wins.
                let free = difference >> 24 != 0;
                let index = select_unpredictable(free, found as u32, slot as u32);
                // Neither equal (0) nor of another generation (2^24 or more).
                let collides = difference.wrapping_sub(1) < 0xff_ffff;
                if !collides && ids[index as usize] == id {
                    table[at & mask] = tag | u64::from(index);
                    found += usize::from(free);
                    return index;
                }
                at += 1;
            }
        }));
        self.found = found;
    }

    /// Enters the ids already found into a larger table.
    fn restore(&mut self, slots: usize) {
        let (mask, generation) = (slots - 1, self.generation);
        let table = &mut self.slots[..slots];
        for (index, &id) in self.ids[..self.found].iter().enumerate() {
            let (mut at, tag) = hash(id, generation, slots);
            while (table[at & mask] ^ tag) >> 56 == 0 {
                at += 1;
            }
            table[at & mask] = tag | index as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kitestring_core::Seed;
    use proptest::prelude::*;

    fn naive(columns: &[Vec<u64>]) -> (Vec<u64>, Vec<u32>) {
        let mut ids = Vec::new();
        let mut positions = Vec::new();
        for &id in columns.iter().flatten() {
            let index = ids.iter().position(|known| *known == id).unwrap_or_else(|| {
                ids.push(id);
                ids.len() - 1
            });
            positions.push(index as u32);
        }
        (ids, positions)
    }

    fn check(unique: &mut Unique, columns: &[Vec<u64>]) {
        unique.dedupe(columns.iter().map(Vec::as_slice));
        let (ids, positions) = naive(columns);
        assert_eq!(unique.ids(), ids);
        assert_eq!(unique.positions(), positions);
        let mut joined = Vec::new();
        for (column, ids) in columns.iter().enumerate() {
            assert_eq!(unique.column(column).len(), ids.len());
            joined.extend_from_slice(unique.column(column));
        }
        assert_eq!(joined, positions);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn equals_the_naive_search(
            batches in proptest::collection::vec(
                proptest::collection::vec(
                    proptest::collection::vec(prop_oneof![0..50u64, Just(u64::MAX), any::<u64>()], 0..200), 0..4),
                1..5),
        ) {
            // One workspace for all batches: what an earlier one left behind must not show.
            let mut unique = Unique::new();
            for batch in &batches {
                check(&mut unique, batch);
            }
        }
    }

    #[test]
    fn a_worn_out_generation_starts_over() {
        let mut unique = Unique::new();
        for round in 0..600 {
            check(&mut unique, &[vec![round, 1, 2, round], vec![2, 5]]);
        }
    }

    #[test]
    fn a_warm_call_allocates_nothing() {
        let mut unique = Unique::new();
        let batch = |number: u64| (0..10_000).map(|i| Seed(number).bits_at(i) % 3000).collect::<Vec<_>>();
        let capacities = |unique: &Unique| {
            (unique.slots.capacity(), unique.ids.capacity(), unique.positions.capacity(), unique.ends.capacity())
        };
        unique.dedupe([&batch(0)[..]]);
        unique.dedupe([&batch(1)[..]]);
        let warm = capacities(&unique);
        for number in 2..10 {
            unique.dedupe([&batch(number)[..]]);
            assert_eq!(capacities(&unique), warm);
        }
    }
}
