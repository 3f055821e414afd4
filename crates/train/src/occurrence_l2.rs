//! Mini-batch aware regularization (Zhou et al. 2018, section 5.1): L2 on the rows of a batch's ids alone, less for an id that occurs often.
//!
//! A dense L2 would move every row at every step. Here the row `w_j` of an id that the batch has gets `λ / n_j · w_j` added to its gradient, with
//! `n_j` the number of times that the id occurs in the training split: over an epoch in which each occurrence is in a batch of its own, that is
//! `λ w_j` for every id.

use crate::inputs::Distinct;
use crate::loader::Epoch;
use kitestring_core::Result;
use kitestring_table::{Space, Table};
use std::collections::HashMap;

/// λ, and how often the ids of each table occur.
#[derive(Debug)]
pub(crate) struct OccurrenceL2 {
    l2: f32,
    tables: Vec<Counts>,
}

#[derive(Debug)]
enum Counts {
    /// By id.
    Direct(Vec<u32>),
    Open(HashMap<u64, u32>),
}

impl OccurrenceL2 {
    /// Counts the ids of an epoch: one pass that takes as long as reading.
    ///
    /// # Errors
    /// A damaged file.
    pub(crate) fn count(l2: f32, tables: &[Table], epoch: &Epoch<'_>) -> Result<Self> {
        let mut tables: Vec<Counts> = tables.iter().map(Counts::new).collect();
        epoch.read(1, |batches| {
            let used = batches.used();
            while let Some(prepared) = batches.next().transpose()? {
                for (number, counts) in tables.iter_mut().enumerate() {
                    for (id, count) in prepared.distinct.counts(number) {
                        counts.add(id, count);
                    }
                }
                // The loader is there as long as `batches` is.
                let _ = used.send(prepared);
            }
            Ok(())
        })?;
        Ok(Self { l2, tables })
    }

    /// Adds the regularization to the gradients of the rows of a batch: for each table those of its distinct ids.
    pub(crate) fn add(&self, distinct: &Distinct, rows: &[Vec<f32>], gradients: &mut [Vec<f32>]) {
        for (number, ((rows, gradients), counts)) in rows.iter().zip(gradients).zip(&self.tables).enumerate() {
            let ids = distinct.ids(number);
            let width = rows.len() / ids.len().max(1);
            if width == 0 {
                continue;
            }
            for ((id, row), gradient) in ids.iter().zip(rows.chunks_exact(width)).zip(gradients.chunks_exact_mut(width))
            {
                // A drawn negative may be an id that the count did not meet.
                let share = self.l2 / counts.of(*id).max(1) as f32;
                gradient.iter_mut().zip(row).for_each(|(gradient, w)| *gradient += share * w);
            }
        }
    }
}

impl Counts {
    fn new(table: &Table) -> Self {
        match table.config().space {
            Space::Direct { rows } => Self::Direct(vec![0; usize::try_from(rows).unwrap_or(0)]),
            Space::Open(_) => Self::Open(HashMap::new()),
        }
    }

    fn add(&mut self, id: u64, count: u32) {
        let into = match self {
            Self::Direct(counts) => usize::try_from(id).ok().and_then(|id| counts.get_mut(id)),
            Self::Open(counts) => Some(counts.entry(id).or_default()),
        };
        if let Some(into) = into {
            *into = into.saturating_add(count);
        }
    }

    fn of(&self, id: u64) -> u32 {
        let count = match self {
            Self::Direct(counts) => usize::try_from(id).ok().and_then(|id| counts.get(id)),
            Self::Open(counts) => counts.get(&id),
        };
        count.copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fixture::{Fixture, ITEMS};
    use crate::inputs::{Prepared, Readers};
    use kitestring_core::Seed;

    #[test]
    fn a_row_shrinks_by_its_share_where_its_id_occurs() {
        let fixture = Fixture::new();
        let (split, schema) = (fixture.dataset.split("train").unwrap(), fixture.dataset.schema());
        let readers = Readers::new(schema);
        let (order, draws) = (split.order_of_blocks(1, Seed(1), 0), Seed(2));
        let epoch = Epoch { split, readers: &readers, order, draws, batch_size: 7, first_batch: 0 };
        let model = fixture.trained();
        let regularization = OccurrenceL2::count(0.5, &model.tables, &epoch).unwrap();
        // Against a count by hand, of the item's table, which items and histories read.
        let number = schema.table_names().iter().position(|table| *table == "item").unwrap();
        let mut prepared = Prepared::default();
        let all: Vec<u64> = (0..split.rows()).collect();
        split.read(&all, Seed(2), &mut prepared.batch).unwrap();
        let mut expected: HashMap<u64, u32> = HashMap::new();
        for (feature, ids) in schema.sparse().zip(&prepared.batch.sparse) {
            if feature.table() == "item" {
                ids.ids.iter().for_each(|id| *expected.entry(*id).or_default() += 1);
            }
        }
        assert!(expected.len() > ITEMS as usize / 2);
        expected.iter().for_each(|(id, count)| assert_eq!(regularization.tables[number].of(*id), *count, "{id}"));

        split.read(&[3, 4], Seed(2), &mut prepared.batch).unwrap();
        prepared.index_to_learn(&readers);
        let rows: Vec<Vec<f32>> =
            (0..model.tables.len()).map(|table| vec![2.0; 3 * prepared.distinct.ids(table).len()]).collect();
        let mut gradients: Vec<Vec<f32>> = rows.iter().map(|rows| vec![1.0; rows.len()]).collect();
        regularization.add(&prepared.distinct, &rows, &mut gradients);
        for (id, gradient) in prepared.distinct.ids(number).iter().zip(gradients[number].chunks_exact(3)) {
            let expected = 1.0 + 0.5 / expected[id] as f32 * 2.0;
            assert!(gradient.iter().all(|g| (g - expected).abs() < 1e-6), "{id}: {gradient:?} {expected}");
        }
    }
}
