//! Where a batch looks the distinct rows of a table up: what the gradient of each row is summed over.

/// For each distinct row of a table the places of a batch that look it up, in compressed rows.
///
/// A place is one id of a feature that reads the table. Places are numbered feature after feature, in the order of their ids.
///
/// ```
/// # use kitestring_nn::engine::Occurrences;
/// let mut occurrences = Occurrences::default();
/// // Feature 0 looks up the rows 0 and 1, feature 4 the row 1 twice.
/// occurrences.index([(0, &[0, 1][..]), (4, &[1, 1][..])].into_iter(), 2);
/// assert_eq!(occurrences.places_of(1), [1, 2, 3]);
/// assert_eq!(occurrences.first_place(4), Some(2));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Occurrences {
    /// The features that read the table, each with the number of its first place and of its ids.
    features: Vec<(usize, usize, usize)>,
    /// Where the places of each distinct row start, and where the last ones end.
    offsets: Vec<u32>,
    /// The places, row after row, those of a row in their order.
    places: Vec<u32>,
}

impl Occurrences {
    /// Finds the places of `distinct` rows. `features` are those that read the table, each with the row that every id of it looks up.
    ///
    /// # Panics
    /// If a row is not below `distinct`, or there are 2³² places.
    pub fn index<'a>(&mut self, features: impl Iterator<Item = (usize, &'a [u32])> + Clone, distinct: usize) {
        self.features.clear();
        // Counted two rows on and moved one on by each entry, the starts end up where they belong.
        self.offsets.clear();
        self.offsets.resize(distinct + 2, 0);
        let mut total = 0;
        for (feature, rows) in features.clone() {
            self.features.push((feature, total, rows.len()));
            total += rows.len();
            rows.iter().for_each(|row| self.offsets[*row as usize + 2] += 1);
        }
        assert!(u32::try_from(total).is_ok(), "a batch holds fewer than 2^32 ids");
        let mut sum = 0;
        for count in &mut self.offsets {
            sum += *count;
            *count = sum;
        }
        self.places.resize(total, 0);
        for (place, row) in features.flat_map(|(_, rows)| rows).enumerate() {
            let at = &mut self.offsets[*row as usize + 1];
            self.places[*at as usize] = place as u32;
            *at += 1;
        }
        self.offsets.pop();
    }

    /// The number of distinct rows.
    pub fn distinct(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// The number of places of all features.
    pub fn places(&self) -> usize {
        self.places.len()
    }

    /// The places that look a row up.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn places_of(&self, row: usize) -> &[u32] {
        &self.places[self.offsets[row] as usize..self.offsets[row + 1] as usize]
    }

    /// The place of a feature's first id. None where the feature does not read the table.
    pub fn first_place(&self, feature: usize) -> Option<usize> {
        self.features.iter().find(|(of, ..)| *of == feature).map(|(_, first, _)| *first)
    }

    /// The features, each with the number of its first place and of its ids.
    #[cfg(feature = "train")]
    pub(super) fn features(&self) -> &[(usize, usize, usize)] {
        &self.features
    }

    /// Where the places of each of some rows start and where the last ones end, and all places.
    #[cfg(feature = "train")]
    pub(super) fn of_rows(&self, rows: std::ops::Range<usize>) -> (&[u32], &[u32]) {
        (&self.offsets[rows.start..rows.end + 1], &self.places)
    }
}
