//! Ranking metrics over many queries.

use super::order::same_rows;
use super::placement::{Placement, RankingAtK, Ties};

/// The mean of ranking metrics over queries, gathered one query at a time. Queries weigh the same; those with nothing
/// relevant are counted and left out, as no order of theirs is better than another.
#[derive(Debug, Clone, PartialEq)]
pub struct RankingMean {
    sums: Vec<RankingAtK>,
    queries: u64,
    without_relevant: u64,
}

impl RankingMean {
    /// Nothing yet, for cuts after these ranks. A cut of 0 is left out.
    pub fn new(cutoffs: &[usize]) -> Self {
        let zero = |k| RankingAtK { k, hit_rate: 0.0, recall: 0.0, precision: 0.0, ndcg: 0.0, mrr: 0.0, map: 0.0 };
        Self { sums: cutoffs.iter().filter(|k| **k > 0).map(|k| zero(*k)).collect(), queries: 0, without_relevant: 0 }
    }

    /// Adds a query.
    pub fn add(&mut self, placement: &Placement) {
        if placement.relevant() == 0 {
            self.without_relevant += 1;
            return;
        }
        self.queries += 1;
        for sum in &mut self.sums {
            if let Some(at) = placement.at(sum.k) {
                *sum = combine(*sum, at, |a, b| a + b);
            }
        }
    }

    /// Adds another worker's queries. `None`, and nothing added, if its cuts are others.
    pub fn merge(&mut self, other: &Self) -> Option<()> {
        if !self.sums.iter().map(|sum| sum.k).eq(other.sums.iter().map(|sum| sum.k)) {
            return None;
        }
        for (sum, more) in self.sums.iter_mut().zip(&other.sums) {
            *sum = combine(*sum, *more, |a, b| a + b);
        }
        self.queries += other.queries;
        self.without_relevant += other.without_relevant;
        Some(())
    }

    /// Queries in the mean.
    pub fn queries(&self) -> u64 {
        self.queries
    }

    /// Queries left out because nothing was relevant.
    pub fn without_relevant(&self) -> u64 {
        self.without_relevant
    }

    /// The means, in the order of the cuts; `None` without queries.
    pub fn mean(&self) -> Option<Vec<RankingAtK>> {
        let queries = self.queries as f64;
        (self.queries > 0).then(|| self.sums.iter().map(|sum| combine(*sum, *sum, |a, _| a / queries)).collect())
    }
}

/// Metric by metric; the cut is `a`'s.
fn combine(a: RankingAtK, b: RankingAtK, f: impl Fn(f64, f64) -> f64) -> RankingAtK {
    RankingAtK {
        k: a.k,
        hit_rate: f(a.hit_rate, b.hit_rate),
        recall: f(a.recall, b.recall),
        precision: f(a.precision, b.precision),
        ndcg: f(a.ndcg, b.ndcg),
        mrr: f(a.mrr, b.mrr),
        map: f(a.map, b.map),
    }
}

/// Ranking metrics of given candidates in one flat list: row `i` is a candidate of query `queries[i]`. Rows of a query
/// need not be adjacent; under [`Ties::ByIndex`] the earlier row stands first.
///
/// `None` with a NaN, no rows or slices of different lengths.
pub fn ranking_by_query<Q: Copy + Ord>(
    scores: &[f32],
    labels: &[f32],
    queries: &[Q],
    ties: Ties,
    cutoffs: &[usize],
) -> Option<RankingMean> {
    if !same_rows(scores, labels) || !same_rows(scores, queries) {
        return None;
    }
    let mut rows: Vec<(Q, usize)> = queries.iter().enumerate().map(|(row, query)| (*query, row)).collect();
    rows.sort_unstable();
    let mut mean = RankingMean::new(cutoffs);
    let (mut query_scores, mut query_labels) = (Vec::new(), Vec::new());
    for query in rows.chunk_by(|a, b| a.0 == b.0) {
        query_scores.clear();
        query_scores.extend(query.iter().map(|(_, row)| scores[*row]));
        query_labels.clear();
        query_labels.extend(query.iter().map(|(_, row)| labels[*row]));
        mean.add(&Placement::from_labels(&query_scores, &query_labels, ties)?);
    }
    Some(mean)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn mean_over_queries() {
        // Query 1 ranks its positive first, query 2 second, query 3 has none.
        let scores = [0.9, 0.3, 0.5, 0.8, 0.1, 0.2];
        let labels = [1.0, 1.0, 0.0, 0.0, 0.0, 0.0];
        let queries = [1, 2, 1, 2, 3, 3];
        let ranking = ranking_by_query(&scores, &labels, &queries, Ties::Expected, &[1, 2, 0]).unwrap();
        assert_eq!((ranking.queries(), ranking.without_relevant()), (2, 1));
        let mean = ranking.mean().unwrap();
        assert_eq!(mean.len(), 2);
        assert_eq!((mean[0].k, mean[0].hit_rate, mean[0].mrr, mean[0].precision), (1, 0.5, 0.5, 0.5));
        assert_eq!((mean[1].k, mean[1].hit_rate, mean[1].mrr, mean[1].precision), (2, 1.0, 0.75, 0.5));
        assert!((mean[1].ndcg - (1.0 + 1.0 / 3f64.log2()) / 2.0).abs() < 1e-15);

        let half = |rows: &[usize]| {
            let of = |values: &[f32]| -> Vec<f32> { rows.iter().map(|row| values[*row]).collect() };
            let queries: Vec<i32> = rows.iter().map(|row| queries[*row]).collect();
            ranking_by_query(&of(&scores), &of(&labels), &queries, Ties::Expected, &[1, 2]).unwrap()
        };
        let mut merged = half(&[0, 2]);
        merged.merge(&half(&[1, 3, 4, 5])).unwrap();
        assert_eq!(merged, ranking);
        assert_eq!(merged.merge(&RankingMean::new(&[3])), None);
    }

    #[test]
    fn no_value() {
        assert_eq!(ranking_by_query(&[0.1, f32::NAN], &[1.0, 0.0], &[1, 1], Ties::Worst, &[1]), None);
        assert_eq!(ranking_by_query(&[0.1], &[1.0], &[1, 1], Ties::Worst, &[1]), None);
        assert_eq!(RankingMean::new(&[1]).mean(), None);
    }
}
