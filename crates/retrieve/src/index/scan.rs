//! The exact scan: of one query, and of many at once.

use super::best::Best;
use super::corpus::Corpus;
use super::filter::{RowLists, Wanted};
use kitestring_nn::kernels::matmul::{Matrix, Start, matmul, transpose};
use kitestring_nn::kernels::scan::{products, products_at};
use std::ops::Range;

/// Rows whose scores are computed before they are compared: they stay in the first-level cache.
pub(super) const BLOCK: usize = 256;

/// Shows `best` the scores of the wanted ones of some rows.
pub(super) fn one(corpus: &Corpus, query: &[f32], rows: Range<usize>, wanted: &Wanted<'_>, best: &mut Best) {
    let mut scores = [0.0; BLOCK];
    for first in rows.clone().step_by(BLOCK) {
        let block = first..rows.end.min(first + BLOCK);
        let scores = &mut scores[..block.len()];
        products(scores, query, &corpus.vectors[first * corpus.dimension..block.end * corpus.dimension]);
        best.offer_run(scores, first, |row| wanted.item(corpus, row));
    }
}

/// The same for the rows of lists: the vectors of others are not read.
pub(super) fn listed(corpus: &Corpus, query: &[f32], rows: &RowLists<'_>, wanted: &Wanted<'_>, best: &mut Best) {
    let mut scores = [0.0; BLOCK];
    for rows in rows.lists.iter().flat_map(|rows| rows.chunks(BLOCK)) {
        let scores = &mut scores[..rows.len()];
        products_at(scores, query, &corpus.vectors, rows);
        best.offer_run(scores, 0, |at| wanted.item(corpus, rows[at] as usize));
    }
}

/// Queries that are scanned at once: the matrix of them stays in the first-level cache, their scores in the second.
pub(super) const QUERIES: usize = 128;

/// Shows each of up to [`QUERIES`] bests the scores of its query with the wanted rows. The scores are those of a product of matrices and
/// may differ from those of [`one`] in their last bits.
pub(super) fn many(corpus: &Corpus, queries: &[f32], wanted: &[Wanted<'_>], bests: &mut [Best]) {
    let (count, dimension) = (bests.len(), corpus.dimension);
    let mut columns = vec![0.0; queries.len()];
    transpose(&mut columns, queries, count, dimension);
    let mut scores = vec![0.0; BLOCK * count];
    let mut least: Vec<f32> = bests.iter().map(Best::least).collect();
    for (block, vectors) in corpus.vectors.chunks(BLOCK * dimension).enumerate() {
        let rows = vectors.len() / dimension;
        let scores = &mut scores[..rows * count];
        matmul(scores, Matrix::new(vectors, rows, dimension), &columns, count, Start::Zero);
        for (row, scores) in scores.chunks_exact(count).enumerate() {
            let row = block * BLOCK + row;
            for (chunk, (scores, floors)) in scores.chunks(16).zip(least.chunks_mut(16)).enumerate() {
                // Without an early end this is a comparison of vectors, and it mostly finds none.
                if !scores.iter().zip(floors.iter()).fold(false, |any, (score, least)| any | (score >= least)) {
                    continue;
                }
                for (at, (score, floor)) in scores.iter().zip(floors).enumerate() {
                    let query = chunk * 16 + at;
                    if *score >= *floor
                        && let Some(item) = wanted[query].item(corpus, row)
                    {
                        bests[query].offer(item, *score);
                        *floor = bests[query].least();
                    }
                }
            }
        }
    }
}
