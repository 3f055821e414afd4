//! Graphs over stretches of a corpus, one behind the other, and what a walk through them may cost.
//!
//! Rows that come in stand behind those that a graph covers. As soon as they are [`SMALL`] they get a graph of their own, together with the
//! graphs before them that are not more than twice as large: each graph is more than twice as large as the next one, so that a search walks
//! through few of them and scans fewer than [`SMALL`] rows, however many have come, and a row is built into a graph a few times at most.

use super::RECALL_AT;
use super::config::SMALL;
use super::corpus::Corpus;
use super::filter::RowLists;
use super::graph::{Graph, Reach};

/// A graph over the rows from one on, and its search width.
#[derive(Debug, PartialEq)]
pub(super) struct Segment {
    pub(super) first: usize,
    pub(super) graph: Graph,
    pub(super) width: usize,
}

impl Segment {
    /// One past its last row.
    pub(super) fn end(&self) -> usize {
        self.first + self.graph.len()
    }
}

/// The first row of the next segment of a corpus of `rows`, which takes the place of those from there on; `None` while few rows are bare.
pub(super) fn next(segments: &[Segment], rows: usize) -> Option<usize> {
    let covered = segments.last().map_or(0, Segment::end);
    if rows - covered < SMALL {
        return None;
    }
    let absorbed = segments.iter().rev();
    Some(
        absorbed
            .fold((covered, true), |(first, goes_on), segment| {
                let goes_on = goes_on && segment.graph.len() <= 2 * (rows - first);
                (if goes_on { segment.first } else { first }, goes_on)
            })
            .0,
    )
}

/// What an exact answer to a query takes: what walks have to be cheaper than.
pub(super) struct ScanCost {
    /// Rows among which every result is.
    pub(super) rows: usize,
    /// Whether these are read alone, and not all rows of the corpus.
    pub(super) is_listed: bool,
    /// What it costs, in rows read one after the other.
    pub(super) cost: usize,
    /// The share of the corpus's rows that may be results.
    share: f64,
}

impl ScanCost {
    /// A row that is read by itself takes as long as so many that are read one after the other.
    const JUMP: usize = 2;

    /// Of a filter that leaves the rows of lists, or all.
    pub(super) fn new(corpus: &Corpus, listed: Option<&RowLists<'_>>) -> Self {
        let all = corpus.len();
        let rows = listed.map_or(all, |listed| listed.count);
        let is_listed = rows.saturating_mul(Self::JUMP) < all;
        let cost = if is_listed { rows * Self::JUMP } else { all };
        // Rows that are gone are taken to have what a filter asks for as often as others.
        let there = corpus.rows.len() as f64 / all.max(1) as f64;
        Self { rows, is_listed, cost, share: there * rows as f64 / all.max(1) as f64 }
    }

    /// How far to walk through each segment for `k` results, by `width` or the segment's own; `None` where that would cost as much as the
    /// scan.
    pub(super) fn reach<'s>(
        &self,
        segments: &'s [Segment],
        width: Option<usize>,
        k: usize,
    ) -> Option<Vec<(&'s Segment, usize)>> {
        let mut expected = 0.0;
        let reach = segments.iter().map(|segment| {
            let width = width.unwrap_or(segment.width);
            // The width was found to be enough for so many results, and more take more.
            let width = if k > RECALL_AT { width.saturating_mul(k).div_ceil(RECALL_AT) } else { width };
            let width = width.max(k);
            let (_, neighbours) = segment.graph.parts();
            let edges = neighbours.len() as f64 / segment.graph.len().max(1) as f64;
            // All edges of each row that it goes through are followed. Many lead where it was already, and a jump to a row takes longer than
            // reading on to it: where they are as many as rows, a scan is as fast.
            expected += (width as f64 / self.share).min(segment.graph.len() as f64) * edges;
            (segment, width)
        });
        let reach = reach.collect();
        (expected < self.cost as f64).then_some(reach)
    }
}

/// Walks through segments as far as said, and shows `offer` rows and scores as [`Graph::walk`] does; whether it got to the end of all before
/// it had followed `edges` edges.
pub(super) fn walk(
    corpus: &Corpus,
    query: &[f32],
    (reach, edges): (&[(&Segment, usize)], usize),
    mut offer: impl FnMut(usize, f32) -> bool,
) -> bool {
    let left = reach.iter().try_fold(edges, |edges, (segment, width)| {
        let vectors = &corpus.vectors[segment.first * corpus.dimension..segment.end() * corpus.dimension];
        segment
            .graph
            .walk(vectors, query, Reach { width: *width, edges }, |row, score| offer(segment.first + row, score))
    });
    left.is_some()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn segment(first: usize, rows: usize) -> Segment {
        let graph = Graph::from_parts(vec![0; rows + 1], Vec::new()).unwrap();
        Segment { first, graph, width: 1 }
    }

    #[test]
    fn segments_are_few_and_each_is_twice_the_next() {
        let (mut segments, mut rows, mut built) = (vec![segment(0, 500_000)], 500_000, 0);
        while rows < 1_000_000 {
            rows += 1000;
            let Some(first) = next(&segments, rows) else { continue };
            segments.retain(|segment| segment.first < first);
            segments.push(segment(first, rows - first));
            built += rows - first;
            assert!(segments.len() <= 8, "{}", segments.len());
            assert!(segments.windows(2).all(|pair| pair[0].end() == pair[1].first));
            assert!(segments.windows(2).all(|pair| pair[0].graph.len() > 2 * pair[1].graph.len()));
            assert!(rows - segments.last().unwrap().end() < SMALL);
        }
        assert!(built < 10 * 500_000, "{built}");
    }
}
