//! Samples in columns: what the readers end in and the learners start from.

/// The ids of one sparse feature for the samples of a batch.
///
/// A categorical feature has exactly one id a sample and no offsets. A multi-valued or sequence feature is ragged:
/// the ids of sample `i` are `ids[offsets[i]..offsets[i + 1]]`, a sequence oldest first.
///
/// Several samples may share one list (a user's history under many candidates): then `list_of_row` names the list
/// of each sample, and the lists are stored once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ids {
    /// Row keys, by list.
    pub ids: Vec<u64>,
    /// Where each list starts, and one past the end of the last. Empty for a categorical feature.
    pub offsets: Vec<u32>,
    /// The list of each sample. Empty when sample `i` has list `i`.
    pub list_of_row: Vec<u32>,
}

impl Ids {
    /// Whether a sample may have any number of ids.
    pub fn is_ragged(&self) -> bool {
        !self.offsets.is_empty()
    }

    /// The number of lists (ragged) or ids (categorical).
    pub fn lists(&self) -> usize {
        if self.is_ragged() { self.offsets.len() - 1 } else { self.ids.len() }
    }

    /// The ids of one sample.
    pub fn of_row(&self, row: usize) -> &[u64] {
        let list = self.list_of_row.get(row).map_or(row, |list| *list as usize);
        if self.is_ragged() {
            &self.ids[self.offsets[list] as usize..self.offsets[list + 1] as usize]
        } else {
            &self.ids[list..=list]
        }
    }

    /// Empties the columns and keeps their memory.
    pub fn clear(&mut self) {
        self.ids.clear();
        self.offsets.clear();
        self.list_of_row.clear();
    }
}

/// Samples in columns. Every per-sample column has [`Batch::rows`] entries, or none where the schema has no such column.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// Number of samples.
    pub rows: usize,
    /// One entry a sparse feature, in the order of [`crate::Schema::sparse`].
    pub sparse: Vec<Ids>,
    /// `rows × numeric features`, row-major, in the order of [`crate::Schema::numeric`]; already transformed, finite.
    pub numeric: Vec<f32>,
    /// `rows × scenario levels`, row-major: the scenario's index at each level, 0 = unseen in training.
    pub scenarios: Vec<u32>,
    /// `rows × tasks`, row-major; NaN where a label is missing.
    pub labels: Vec<f32>,
    /// The user's number: the vocabulary's where the user is a feature's table, else the order of first appearance.
    pub user: Vec<u64>,
    /// The item's number, likewise.
    pub item: Vec<u64>,
    /// Time in the unit of the source.
    pub time: Vec<i64>,
    /// Display position, 0 = missing.
    pub position: Vec<u32>,
    /// Arm of a randomized treatment.
    pub treatment: Vec<u32>,
    /// Logged probability of what was done, in (0, 1].
    pub propensity: Vec<f32>,
    /// Weight of the sample in the loss.
    pub weight: Vec<f32>,
    /// Index of each sample in its split: the provenance an error names.
    pub index: Vec<u64>,
}

impl Batch {
    /// Empties every column and keeps the memory, so that a loader's warm batch allocates nothing.
    pub fn clear(&mut self) {
        let Self {
            rows,
            sparse,
            numeric,
            scenarios,
            labels,
            user,
            item,
            time,
            position,
            treatment,
            propensity,
            weight,
            index,
        } = self;
        *rows = 0;
        sparse.iter_mut().for_each(Ids::clear);
        numeric.clear();
        scenarios.clear();
        labels.clear();
        user.clear();
        item.clear();
        time.clear();
        position.clear();
        treatment.clear();
        propensity.clear();
        weight.clear();
        index.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_can_be_shared() {
        let ids = Ids { ids: vec![1, 2, 3], offsets: vec![0, 2, 3], list_of_row: vec![1, 0, 0] };
        assert_eq!(ids.of_row(0), [3]);
        assert_eq!(ids.of_row(2), [1, 2]);
        assert_eq!(ids.lists(), 2);
        let single = Ids { ids: vec![9, 8], ..Ids::default() };
        assert_eq!(single.of_row(1), [8]);
    }
}
