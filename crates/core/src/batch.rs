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

    /// Puts the ids of other samples behind its own, which are of `rows` samples; the others are of `added`.
    fn append(&mut self, other: &Self, rows: usize, added: usize) {
        let (lists, ids) = (self.lists() as u32, self.ids.len() as u32);
        if !(self.list_of_row.is_empty() && other.list_of_row.is_empty()) {
            if self.list_of_row.is_empty() {
                self.list_of_row.extend(0..rows as u32);
            }
            if other.list_of_row.is_empty() {
                self.list_of_row.extend(lists..lists + added as u32);
            } else {
                self.list_of_row.extend(other.list_of_row.iter().map(|list| lists + list));
            }
        }
        if let Some((_, ends)) = other.offsets.split_first() {
            if self.offsets.is_empty() {
                self.offsets.push(0);
            }
            self.offsets.extend(ends.iter().map(|end| ids + end));
        }
        self.ids.extend_from_slice(&other.ids);
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
    /// Puts other samples behind its own. Both have the same columns, or this one is empty.
    pub fn append(&mut self, other: &Self) {
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
        } = other;
        self.sparse.resize_with(sparse.len().max(self.sparse.len()), Ids::default);
        for (own, ids) in self.sparse.iter_mut().zip(sparse) {
            own.append(ids, self.rows, *rows);
        }
        self.rows += rows;
        self.numeric.extend_from_slice(numeric);
        self.scenarios.extend_from_slice(scenarios);
        self.labels.extend_from_slice(labels);
        self.user.extend_from_slice(user);
        self.item.extend_from_slice(item);
        self.time.extend_from_slice(time);
        self.position.extend_from_slice(position);
        self.treatment.extend_from_slice(treatment);
        self.propensity.extend_from_slice(propensity);
        self.weight.extend_from_slice(weight);
        self.index.extend_from_slice(index);
    }

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
    fn samples_stand_behind_others_whether_they_share_lists_or_not() {
        let ids = |ids: &[u64], offsets: &[u32], list_of_row: &[u32]| Ids {
            ids: ids.into(),
            offsets: offsets.into(),
            list_of_row: list_of_row.into(),
        };
        let of = |rows: usize, sparse: [Ids; 2], label: f32| Batch {
            rows,
            sparse: sparse.into(),
            labels: vec![label; rows],
            numeric: vec![label + 1.0; 2 * rows],
            ..Batch::default()
        };
        let own = of(2, [ids(&[1, 2, 3], &[0, 1, 3], &[]), ids(&[7, 8], &[], &[])], 0.0);
        let shared = of(3, [ids(&[4, 5], &[0, 2, 2], &[0, 0, 1]), ids(&[9], &[], &[0, 0, 0])], 1.0);
        for order in [[&own, &shared], [&shared, &own], [&own, &own], [&shared, &shared]] {
            let mut all = Batch::default();
            order.iter().for_each(|part| all.append(part));
            let mut row = 0;
            for part in order {
                for of_part in 0..part.rows {
                    for (all, part) in all.sparse.iter().zip(&part.sparse) {
                        assert_eq!(all.of_row(row), part.of_row(of_part));
                    }
                    assert_eq!(all.labels[row], part.labels[of_part]);
                    assert_eq!(all.numeric[2 * row..2 * row + 2], part.numeric[2 * of_part..2 * of_part + 2]);
                    row += 1;
                }
            }
            assert_eq!(all.rows, row);
        }
    }

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
