//! Vectors as signed bytes.

use super::best::Best;
use super::corpus::Corpus;
use super::filter::Wanted;
use super::scan::BLOCK;
use kitestring_nn::kernels::scan::{products_at, products_i8};

/// The first rows of a corpus as signed bytes with a scale each: `x ≈ scale · code`, codes from −127 to 127.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Codes {
    codes: Vec<i8>,
    scales: Vec<f32>,
}

impl Codes {
    pub(super) fn new(vectors: &[f32], dimension: usize) -> Self {
        let mut coded = Self { codes: Vec::with_capacity(vectors.len()), scales: Vec::new() };
        coded.extend(vectors, dimension);
        coded
    }

    /// Covers the rows that follow.
    pub(super) fn extend(&mut self, vectors: &[f32], dimension: usize) {
        for vector in vectors.chunks_exact(dimension) {
            let scale = encode(&mut self.codes, vector);
            self.scales.push(scale);
        }
    }

    /// How many rows it covers.
    pub(super) fn len(&self) -> usize {
        self.scales.len()
    }

    /// Shows `best` the f32 scores of the `candidates` rows with the best int8 scores among those wanted.
    pub(super) fn search(
        &self,
        corpus: &Corpus,
        query: &[f32],
        candidates: usize,
        wanted: &Wanted<'_>,
        best: &mut Best,
    ) {
        let mut coded = Vec::with_capacity(query.len());
        // The query's scale is the same for all rows: it changes no order.
        encode(&mut coded, query);
        let mut nearest = Best::new(candidates);
        let (mut sums, mut scores) = ([0; BLOCK], [0.0; BLOCK]);
        let blocks = self.codes.chunks(BLOCK * corpus.dimension).zip(self.scales.chunks(BLOCK));
        for (block, (codes, scales)) in blocks.enumerate() {
            let count = scales.len();
            products_i8(&mut sums[..count], &coded, codes);
            for ((score, sum), scale) in scores.iter_mut().zip(&sums).zip(scales) {
                *score = *sum as f32 * scale;
            }
            let row = |row: usize| wanted.item(corpus, row).map(|_| row as u64);
            nearest.offer_run(&scores[..count], block * BLOCK, row);
        }
        let rows: Vec<u32> = nearest.into_sorted().into_iter().map(|(row, _)| row as u32).collect();
        let mut scores = vec![0.0; rows.len()];
        products_at(&mut scores, query, &corpus.vectors, &rows);
        for (row, score) in rows.iter().zip(scores) {
            best.offer(corpus.ids[*row as usize], score);
        }
    }
}

/// Appends a vector's codes, and returns their scale.
fn encode(codes: &mut Vec<i8>, vector: &[f32]) -> f32 {
    let largest = vector.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
    let (scale, inverse) = (largest / 127.0, 127.0 / largest);
    if inverse.is_finite() {
        // The largest rounds to 127 or, where the quotient was rounded up, to what a byte holds just so.
        codes.extend(vector.iter().map(|x| (x * inverse).round_ties_even().clamp(-127.0, 127.0) as i8));
        scale
    } else {
        // All zero, or so near that the quotient is no float.
        codes.resize(codes.len() + vector.len(), 0);
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_off_by_at_most_half_a_step() {
        let vector: Vec<f32> = (0..1000).map(|i| (i as f32 * 0.37).sin() * 3.0).collect();
        let mut codes = Vec::new();
        let scale = encode(&mut codes, &vector);
        for (code, x) in codes.iter().zip(&vector) {
            assert!((f32::from(*code) * scale - x).abs() <= scale * 0.5001, "{code} {x}");
        }
        assert_eq!(codes.iter().map(|code| code.unsigned_abs()).max(), Some(127));
    }

    #[test]
    fn extremes() {
        for (vector, expected) in [
            ([0.0, -0.0], [0, 0]),
            ([f32::MAX, f32::MIN], [127, -127]),
            ([1e-45, 0.0], [0, 0]),
            ([-2.0, 1.0], [-127, 64]),
        ] {
            let mut codes = Vec::new();
            let scale = encode(&mut codes, &vector);
            assert_eq!(codes, expected, "{vector:?}");
            assert!((0.0..=f32::MAX / 127.0).contains(&scale));
        }
    }
}
