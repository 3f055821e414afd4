//! The distinct ids of a batch, and which of them each occurrence is.

const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
const LEAST_SLOTS: usize = 64;

/// A slot of the hash table. It is occupied only if it carries the current generation, so clearing costs nothing.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    id: u64,
    generation: u32,
    index: u32,
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
    slots: Vec<Slot>,
    generation: u32,
    ids: Vec<u64>,
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
        // Batches resemble each other: room for as many distinct ids as last time, at a load of at most a half, keeps
        // the part of the table that is touched small without growing it on the way.
        let mut slots = (self.ids.len() * 2).next_power_of_two().max(LEAST_SLOTS);
        self.ids.clear();
        self.positions.clear();
        self.ends.clear();
        self.begin(slots);
        for column in columns {
            assert!(self.positions.len() + column.len() < u32::MAX as usize, "a batch holds fewer than 2^32 ids");
            self.positions.reserve(column.len());
            let mut rest = column;
            loop {
                let taken = self.insert(rest, slots);
                rest = &rest[taken..];
                if rest.is_empty() {
                    break;
                }
                slots *= 2;
                self.begin(slots);
                self.restore(slots);
            }
            self.ends.push(self.positions.len());
        }
    }

    /// The distinct ids, in the order of their first appearance.
    pub fn ids(&self) -> &[u64] {
        &self.ids
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
            self.slots.resize(slots, Slot::default());
        }
        self.generation = self.generation.wrapping_add(1);
        if self.generation == 0 {
            self.slots.fill(Slot::default());
            self.generation = 1;
        }
    }

    /// Enters ids until the table is half full; how many were entered.
    fn insert(&mut self, ids: &[u64], slots: usize) -> usize {
        let table = &mut self.slots[..slots];
        let (mask, shift, generation) = (slots - 1, 64 - slots.trailing_zeros(), self.generation);
        for (taken, &id) in ids.iter().enumerate() {
            let mut at = (id.wrapping_mul(MULTIPLIER) >> shift) as usize;
            let index = loop {
                let slot = &mut table[at & mask];
                if slot.generation != generation {
                    if self.ids.len() * 2 >= slots {
                        return taken;
                    }
                    let index = self.ids.len() as u32;
                    *slot = Slot { id, generation, index };
                    self.ids.push(id);
                    break index;
                }
                if slot.id == id {
                    break slot.index;
                }
                at += 1;
            };
            self.positions.push(index);
        }
        ids.len()
    }

    /// Enters the ids already found into a larger table.
    fn restore(&mut self, slots: usize) {
        let table = &mut self.slots[..slots];
        let (mask, shift, generation) = (slots - 1, 64 - slots.trailing_zeros(), self.generation);
        for (index, &id) in self.ids.iter().enumerate() {
            let mut at = (id.wrapping_mul(MULTIPLIER) >> shift) as usize;
            while table[at & mask].generation == generation {
                at += 1;
            }
            table[at & mask] = Slot { id, generation, index: index as u32 };
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
        for column in 0..columns.len() {
            assert_eq!(unique.column(column).len(), columns[column].len());
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
        let mut unique = Unique { generation: u32::MAX - 2, ..Unique::new() };
        for round in 0..6 {
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
