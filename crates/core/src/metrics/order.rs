//! Sorting rows by score, with ties kept together.

/// A key whose unsigned order is the order of the scores; `None` for NaN.
///
/// IEEE 754 floats of one sign already sort as integers; flipping the bits of negatives and setting the top bit of the
/// others joins the two halves. Adding zero first turns −0 into 0, so that the two are a tie.
#[inline]
pub(super) fn sort_key(score: f32) -> Option<u32> {
    if score.is_nan() {
        return None;
    }
    let bits = (score + 0.0).to_bits();
    Some(if bits >> 31 == 1 { !bits } else { bits | 0x8000_0000 })
}

/// The score of a key; −0 comes back as 0.
pub(super) fn score_of(key: u32) -> f32 {
    f32::from_bits(if key >> 31 == 1 { key & 0x7fff_ffff } else { !key })
}

/// Rows in ascending order of score.
pub(super) struct Ascending {
    /// The key in the high half, the row in the low half: one integer sort orders both.
    packed: Vec<u64>,
}

impl Ascending {
    /// Sorts; `None` if a score is NaN or there are more rows than 32 bits number.
    pub(super) fn new(scores: &[f32]) -> Option<Self> {
        u32::try_from(scores.len()).ok()?;
        let mut packed = Vec::with_capacity(scores.len());
        for (row, score) in scores.iter().enumerate() {
            packed.push((u64::from(sort_key(*score)?) << 32) | row as u64);
        }
        packed.sort_unstable();
        Some(Self { packed })
    }

    /// The blocks of tied rows, lowest score first; within a block by row.
    pub(super) fn blocks(&self) -> impl DoubleEndedIterator<Item = Block<'_>> {
        self.packed.chunk_by(|a, b| a >> 32 == b >> 32).map(Block)
    }
}

/// Rows with one score.
#[derive(Clone, Copy)]
pub(super) struct Block<'a>(&'a [u64]);

impl<'a> Block<'a> {
    pub(super) fn len(self) -> usize {
        self.0.len()
    }

    pub(super) fn rows(self) -> impl Iterator<Item = usize> + 'a {
        self.0.iter().map(|packed| *packed as u32 as usize)
    }
}

/// Which of `groups` nearly equal parts a block of tied rows falls in: the part that holds the block's middle, so that
/// ties are never torn apart and the answer does not depend on the order of rows.
pub(super) fn equal_count_part(start: usize, len: usize, total: usize, groups: usize) -> usize {
    ((2 * start + len) as u128 * groups as u128 / (2 * total) as u128) as usize
}

/// Whether two slices describe the same, non-empty set of rows.
pub(super) fn same_rows<A, B>(a: &[A], b: &[B]) -> bool {
    !a.is_empty() && a.len() == b.len()
}

/// Whether a label is positive; `None` for NaN.
#[inline]
pub(super) fn is_positive(label: f32) -> Option<bool> {
    if label.is_nan() { None } else { Some(label > 0.5) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn keys_sort_as_scores() {
        let scores = [f32::NEG_INFINITY, -2.0, -1e-40, 0.0, 1e-40, 0.5, 3.0, f32::INFINITY];
        assert!(scores.windows(2).all(|pair| sort_key(pair[0]).unwrap() < sort_key(pair[1]).unwrap()));
        assert!(scores.iter().all(|score| score_of(sort_key(*score).unwrap()) == *score));
        assert_eq!(sort_key(-0.0), sort_key(0.0));
        assert_eq!(sort_key(f32::NAN), None);
        assert_eq!(sort_key(-f32::NAN), None);
    }

    #[test]
    fn blocks_hold_ties_in_row_order() {
        let order = Ascending::new(&[1.0, -0.0, 1.0, 0.0, -5.0]).unwrap();
        let blocks: Vec<Vec<usize>> = order.blocks().map(|block| block.rows().collect()).collect();
        assert_eq!(blocks, [vec![4], vec![1, 3], vec![0, 2]]);
    }

    #[test]
    fn parts_are_in_range_and_balanced() {
        let mut sizes = [0; 4];
        (0..102).for_each(|row| sizes[equal_count_part(row, 1, 102, 4)] += 1);
        assert!(sizes.iter().all(|size| (25..=26).contains(size)), "{sizes:?}");
        assert_eq!(equal_count_part(0, 7, 7, 2), 1);
        assert_eq!(equal_count_part(6, 1, 7, 7), 6);
    }
}
