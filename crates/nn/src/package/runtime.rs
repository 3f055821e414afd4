//! Inference from an artifact, where it lies.

use super::{Packaged, RowCodes};
use crate::engine::{BatchInputs, OneWorker, Recurrent, Scorer};
use kitestring_core::artifact::{Artifact, Rows};
use kitestring_core::{Batch, Error, Result};
use std::sync::Arc;

/// Scores batches with the ranker of an artifact. Rows are read where the artifact lies, which may be a memory map; a warm call allocates
/// nothing.
#[derive(Debug)]
pub struct Runtime {
    pub(super) artifact: Artifact,
    pub(super) packaged: Packaged,
    pub(super) scorer: Scorer,
    /// For each sparse feature the number of its table.
    table_of: Vec<usize>,
    gathered: Vec<Gathered>,
    pub(super) lookups: Vec<Vec<u32>>,
    pub(super) rows: Vec<Vec<f32>>,
    /// What is remembered of one user's events, and what scores with it.
    pub(super) remembered: Option<(Recurrent, Scorer)>,
    /// What was learned on this device.
    #[cfg(feature = "train")]
    pub(super) personal: Option<super::Personal>,
}

/// The rows of a table that a batch needs, each once.
#[derive(Debug)]
struct Gathered {
    codes: RowCodes,
    width: usize,
    /// For each of the artifact's rows, and the default one behind them, its place among the gathered ones, where `turn` is the present one.
    place: Vec<(u32, u32)>,
    turn: u32,
    finder: Finder,
}

impl Runtime {
    /// Makes the ranker of an artifact.
    ///
    /// # Errors
    /// An artifact of another version of the engine, or one that contradicts itself.
    pub fn open(artifact: Artifact) -> Result<Self> {
        let packaged = Packaged::open(&artifact)?;
        let schema = &artifact.manifest().schema;
        let names = schema.table_names();
        let number = |table: &str| names.iter().position(|name| *name == table).unwrap_or_default();
        let table_of: Vec<usize> = schema.sparse().map(|feature| number(feature.table())).collect();
        let mut gathered = Vec::with_capacity(names.len());
        for (number, (table, codes)) in packaged.tables.iter().zip(&packaged.description.rows).enumerate() {
            let rows = artifact.rows(number)?;
            let count = rows.keys.len();
            if u32::try_from(count + 1).is_err() {
                return Err(Error::format(format!("{count} rows are too many for a device")).in_field(&table.name));
            }
            let (place, finder) = (vec![(0, 0); count + 1], Finder::new(rows.keys));
            gathered.push(Gathered { codes: *codes, width: table.width, place, turn: 0, finder });
        }
        let (scorer, remembered) = Self::scorers(&packaged);
        let (lookups, rows) = (vec![Vec::new(); table_of.len()], vec![Vec::new(); names.len()]);
        Ok(Self {
            artifact,
            packaged,
            scorer,
            table_of,
            gathered,
            lookups,
            rows,
            remembered,
            #[cfg(feature = "train")]
            personal: None,
        })
    }

    /// What scores with a network, and what remembers events and scores with that.
    pub(super) fn scorers(packaged: &Packaged) -> (Scorer, Option<(Recurrent, Scorer)>) {
        let scorer = Scorer::new(Arc::clone(&packaged.graph), 1).with_codes(Arc::clone(&packaged.codes));
        let remembered = Recurrent::new(&packaged.graph).map(|recurrent| {
            let scorer = Scorer::with_given(Arc::clone(&packaged.graph), &recurrent.values());
            (recurrent, scorer.with_codes(Arc::clone(&packaged.codes)))
        });
        (scorer, remembered)
    }

    /// The artifact.
    pub fn artifact(&self) -> &Artifact {
        &self.artifact
    }

    /// The number of predictions of a sample.
    pub fn width(&self) -> usize {
        let graph = &self.packaged.graph;
        graph.outputs().iter().map(|(_, value)| graph.width(*value)).sum()
    }

    /// Bytes of memory beside the artifact's own: the network, its codes, what finds and holds rows.
    pub fn memory(&self) -> usize {
        let network = 4 * (self.packaged.network.weights.len() + self.packaged.network.state.len());
        let places = self.gathered.iter().map(|gathered| 8 * gathered.place.len() + 4 * gathered.finder.starts.len());
        let held = self.rows.iter().map(|rows| 4 * rows.capacity());
        network + self.packaged.codes.bytes() + places.chain(held).sum::<usize>() + self.scorer.memory()
    }

    /// What the engine runs.
    pub fn packaged(&self) -> &Packaged {
        &self.packaged
    }

    /// The predictions of a batch, `samples × tasks`, row-major: a probability of a binary task. Ids are the
    /// [keys](kitestring_core::artifact) of rows; what has no row gets its table's default one.
    ///
    /// # Errors
    /// If the batch does not fit the schema.
    pub fn score(&mut self, batch: &Batch, scores: &mut Vec<f32>) -> Result<()> {
        self.gather(batch)?;
        let inputs = BatchInputs { batch, lookups: &self.lookups, rows: &self.rows, occurrences: &[] };
        let network = &self.packaged.network;
        self.scorer.score(&network.weights, &network.state, &inputs, &OneWorker, scores)
    }

    /// The numbers of the sparse features whose events can be remembered one by one: the histories of recurrent units. Empty where the
    /// ranker has none.
    pub fn remembers(&self) -> Vec<usize> {
        self.remembered.as_ref().map_or_else(Vec::new, |(recurrent, _)| recurrent.features().collect())
    }

    /// Remembers events of the user whose candidates [`Self::score_remembering`] scores: a batch of one sample, whose histories have those
    /// that came since the last call. It takes one step an event, however many there were before.
    ///
    /// # Errors
    /// A ranker without recurrent units; a batch that does not fit the schema.
    pub fn remember(&mut self, events: &Batch) -> Result<()> {
        self.gather(events)?;
        let Some((recurrent, _)) = &mut self.remembered else {
            return Err(Error::internal("the ranker has nothing to remember events by"));
        };
        let inputs = BatchInputs { batch: events, lookups: &self.lookups, rows: &self.rows, occurrences: &[] };
        let network = &self.packaged.network;
        recurrent.advance(&network.weights, &network.state, &inputs)
    }

    /// Forgets all events.
    pub fn forget(&mut self) {
        if let Some((recurrent, _)) = &mut self.remembered {
            recurrent.reset();
        }
    }

    /// [`Self::score`] with what is remembered in the place of the histories that recurrent units read, which may be empty.
    ///
    /// # Errors
    /// A ranker without recurrent units; a batch that does not fit the schema.
    pub fn score_remembering(&mut self, batch: &Batch, scores: &mut Vec<f32>) -> Result<()> {
        self.gather(batch)?;
        let Some((recurrent, scorer)) = &mut self.remembered else {
            return Err(Error::internal("the ranker has nothing to remember events by"));
        };
        recurrent.states().enumerate().for_each(|(number, state)| scorer.give(number, state));
        let inputs = BatchInputs { batch, lookups: &self.lookups, rows: &self.rows, occurrences: &[] };
        let network = &self.packaged.network;
        scorer.score(&network.weights, &network.state, &inputs, &OneWorker, scores)
    }

    /// Decodes the rows of a batch's keys.
    pub(super) fn gather(&mut self, batch: &Batch) -> Result<()> {
        if batch.sparse.len() != self.table_of.len() {
            let (given, expected) = (batch.sparse.len(), self.table_of.len());
            return Err(Error::data(format!("{given} sparse features, and the ranker reads {expected}")));
        }
        for (gathered, rows) in self.gathered.iter_mut().zip(&mut self.rows) {
            gathered.begin();
            rows.clear();
        }
        for ((ids, table), lookups) in batch.sparse.iter().zip(&self.table_of).zip(&mut self.lookups) {
            let (gathered, into) = (&mut self.gathered[*table], &mut self.rows[*table]);
            let rows = self.artifact.rows(*table)?;
            lookups.clear();
            for key in &ids.ids {
                lookups.push(gathered.place_of(*key, &rows, into)?);
            }
        }
        Ok(())
    }
}

impl Gathered {
    fn begin(&mut self) {
        self.turn = self.turn.wrapping_add(1);
        if self.turn == 0 {
            self.place.fill((0, 0));
            self.turn = 1;
        }
    }

    fn place_of(&mut self, key: u64, rows: &Rows<'_>, into: &mut Vec<f32>) -> Result<u32> {
        let row = self.finder.find(key, rows.keys).unwrap_or(rows.keys.len());
        let place = &mut self.place[row];
        if place.1 != self.turn {
            let start = into.len();
            *place = ((start / self.width) as u32, self.turn);
            into.resize(start + self.width, 0.0);
            self.codes.decode(rows.row(row), &mut into[start..])?;
        }
        Ok(place.0)
    }
}

/// Finds keys faster than by halves: keys that are hashes lie evenly, so their first bits tell about where a key is.
#[derive(Debug)]
struct Finder {
    /// How far keys are shifted to the number of their bucket.
    shift: u32,
    /// Where each bucket starts among the keys, and where the last one ends.
    starts: Vec<u32>,
}

impl Finder {
    fn new(keys: &[u64]) -> Self {
        // As many buckets as keys; the last key decides how many bits tell them apart.
        let bits = keys.len().max(1).ilog2() + 1;
        let last = keys.last().copied().unwrap_or(0);
        let shift = (64 - last.leading_zeros()).saturating_sub(bits);
        let buckets = usize::try_from(last >> shift).unwrap_or(0) + 1;
        let mut starts = Vec::with_capacity(buckets + 1);
        for (number, key) in keys.iter().enumerate() {
            let bucket = (key >> shift) as usize;
            starts.resize(starts.len().max(bucket + 1), number as u32);
        }
        starts.resize(buckets + 1, keys.len() as u32);
        Self { shift, starts }
    }

    fn find(&self, key: u64, keys: &[u64]) -> Option<usize> {
        let bucket = usize::try_from(key >> self.shift).ok()?;
        let (start, end) = (*self.starts.get(bucket)? as usize, *self.starts.get(bucket.checked_add(1)?)? as usize);
        let found = keys.get(start..end)?.binary_search(&key).ok()?;
        Some(start + found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kitestring_core::Seed;

    #[test]
    fn keys_are_found_as_by_halves() {
        let seed = Seed(1);
        for (count, bits) in [(0, 0), (1, 64), (1, 3), (300, 60), (1000, 0), (257, 40), (64, 58)] {
            let mut keys: Vec<u64> = (0..count).map(|at| seed.bits_at(at) >> bits.min(63)).collect();
            keys.push(0);
            keys.sort_unstable();
            keys.dedup();
            let finder = Finder::new(&keys);
            assert!(finder.starts.len() <= 2 * keys.len() + 3, "{} for {}", finder.starts.len(), keys.len());
            let others = (0..2000).map(|at| seed.child("other").bits_at(at) >> (at % 64));
            for key in keys.iter().copied().chain(others).chain([u64::MAX, 1, 2]) {
                assert_eq!(finder.find(key, &keys), keys.binary_search(&key).ok(), "{key} among {}", keys.len());
            }
        }
        assert_eq!(Finder::new(&[]).find(0, &[]), None);
        assert_eq!(Finder::new(&[u64::MAX]).find(u64::MAX, &[u64::MAX]), Some(0));
    }
}
