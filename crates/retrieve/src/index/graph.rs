//! A graph of near vectors, walked from near to nearer.
//!
//! The library `hnsw_rs` builds it (Malkov and Yashunin 2016). Only the edges of its base layer are kept, as two arrays, and walked
//! here: its own search can panic under a filter that leaves little, its own files are read without checks, and it holds each vector a
//! second time. Instead of descending through layers, a search begins at the best of a thousand rows evenly apart.
//!
//! An inner product is no metric: the item with the largest one need not be near anything. One more coordinate makes it a distance
//! (Bachrach et al. 2014): with `R` the largest length of a vector, item `x` becomes `(x, √(R² − |x|²))`, all of length `R`, and query
//! `q` becomes `(q, 0)`, so that `|q' − x'|² = |q|² + R² − 2⟨q, x⟩`. Edges join what is near in that space. A walk needs only the order
//! of a query's distances, which is that of inner products with the vectors as they are. What comes in later, longer than `R`
//! perhaps, is in no graph until the next one is built.
//!
//! Nearness alone leads a query badly: the answers to it are long vectors of a region, far from each other and from most of the region. So
//! each row gets edges to the answers to itself as well, found by a walk through the first graph (in the spirit of the edges of Morozov
//! and Babenko 2018, which are chosen by inner product).
//!
//! Of a million vectors of 64 numbers, clustered as a trained model's are, a walk that keeps 400 candidates finds 0.920 of the best 100 at
//! 40 to 53 times the speed of the exact scan, one of 800 finds 0.959 at 22 to 29 times, one of 1600 finds 0.981 at 13 to 15 times (the
//! benchmark `index`). Touching all rows that a step reads before any is scored made it faster by a twentieth only.

use super::best::{Best, Score};
use hnsw_rs::prelude::{Distance, Hnsw};
use kitestring_core::{Error, Result};
use kitestring_nn::engine::{Workers, each_piece};
use kitestring_nn::kernels::scan::{products_at, squared_distance};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// Edges between the first rows of a corpus: those of row `r` lead to `neighbours[offsets[r]..offsets[r + 1]]`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Graph {
    offsets: Vec<u32>,
    neighbours: Vec<u32>,
}

/// Rows at which a search looks first: it goes on from the best of them, and from the others if that leads nowhere.
const ENTRIES: usize = 1024;

struct SquaredDistance;

impl Distance<f32> for SquaredDistance {
    fn eval(&self, a: &[f32], b: &[f32]) -> f32 {
        squared_distance(a, b)
    }
}

impl Graph {
    /// Builds the graph of vectors, row-major. With one worker it is always the same; with more it depends on who is first.
    pub(super) fn build(
        vectors: &[f32],
        dimension: usize,
        connections: usize,
        build_width: usize,
        workers: &dyn Workers,
    ) -> Result<Self> {
        let count = vectors.len() / dimension;
        let longest = vectors.chunks_exact(dimension).map(length).fold(0.0, f64::max);
        let layers = 16;
        let built = Hnsw::new(connections, count, layers, build_width, SquaredDistance);
        each_piece(workers, vectors.chunks_exact(dimension).enumerate(), Vec::new, |lifted, (row, vector)| {
            lift(lifted, vector, longest);
            built.insert((lifted, row));
        });
        let mut edges = vec![Vec::new(); count];
        for point in built.get_point_indexation() {
            let row = point.get_origin_id();
            let base = point.get_neighborhood_id().into_iter().next().unwrap_or_default();
            edges[row] = base.iter().map(|near| near.d_id as u32).filter(|near| *near as usize != row).collect();
        }
        // It is many times as large as what is kept.
        drop(built);
        both_ways(&mut edges);
        join(&mut edges);
        let answers = Self::of(&edges)?.answers(vectors, dimension, 2 * connections, workers);
        for (edges, answers) in edges.iter_mut().zip(answers) {
            for row in answers {
                if !edges.contains(&row) {
                    edges.push(row);
                }
            }
        }
        Self::of(&edges)
    }

    fn of(edges: &[Vec<u32>]) -> Result<Self> {
        let mut graph = Self { offsets: vec![0], neighbours: Vec::new() };
        for edges in edges {
            graph.neighbours.extend_from_slice(edges);
            let end = u32::try_from(graph.neighbours.len());
            let many =
                |_| Error::config("the graph has more than 2³² edges").in_field("retrieve.index.kind.connections");
            graph.offsets.push(end.map_err(many)?);
        }
        Ok(graph)
    }

    /// For every row, the others with the largest inner products with it, as a walk finds them.
    fn answers(&self, vectors: &[f32], dimension: usize, count: usize, workers: &dyn Workers) -> Vec<Vec<u32>> {
        const PIECE: usize = 256;
        let mut answers = vec![Vec::new(); self.len()];
        let pieces = answers.chunks_mut(PIECE).zip(vectors.chunks(PIECE * dimension)).enumerate();
        each_piece(
            workers,
            pieces,
            || (),
            |(), (piece, (answers, queries))| {
                for (at, (answers, query)) in answers.iter_mut().zip(queries.chunks_exact(dimension)).enumerate() {
                    let mut best = Best::new(count);
                    self.walk(vectors, query, 2 * count, |row, score| {
                        if row != piece * PIECE + at {
                            best.offer(row as u64, score);
                        }
                    });
                    answers.extend(best.into_sorted().into_iter().map(|(row, _)| row as u32));
                }
            },
        );
        answers
    }

    /// A graph from its stored parts; `None` where they are none.
    pub(super) fn from_parts(offsets: Vec<u32>, neighbours: Vec<u32>) -> Option<Self> {
        let count = offsets.len().checked_sub(1)?;
        let whole = offsets.first() == Some(&0)
            && offsets.is_sorted()
            && offsets.last().is_some_and(|end| *end as usize == neighbours.len())
            && neighbours.iter().all(|row| (*row as usize) < count);
        whole.then_some(Self { offsets, neighbours })
    }

    /// Where each row's edges begin and end, and where they lead.
    pub(super) fn parts(&self) -> (&[u32], &[u32]) {
        (&self.offsets, &self.neighbours)
    }

    /// How many rows it covers.
    pub(super) fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Walks towards the rows with the largest inner products with a query, keeping `width` candidates, and shows every row that it
    /// meets with its score, each once.
    pub(super) fn walk(&self, vectors: &[f32], query: &[f32], width: usize, mut meet: impl FnMut(usize, f32)) {
        let mut met = vec![0_u64; self.len().div_ceil(64)];
        let mut is_new = |row: u32| {
            let (word, bit) = (&mut met[row as usize / 64], 1 << (row % 64));
            let new = *word & bit == 0;
            *word |= bit;
            new
        };
        let mut frontier: BinaryHeap<(Score, Reverse<u32>)> = BinaryHeap::new();
        // The best so far, the worst of them on top.
        let mut nearest: BinaryHeap<Reverse<Score>> = BinaryHeap::with_capacity(width + 1);
        let mut fresh: Vec<u32> = entries(self.len());
        let mut scores = Vec::new();
        loop {
            fresh.retain(|row| is_new(*row));
            scores.resize(fresh.len(), 0.0);
            products_at(&mut scores, query, vectors, &fresh);
            for (row, score) in fresh.iter().zip(&scores) {
                let Some(ordered) = Score::new(*score) else { continue };
                meet(*row as usize, *score);
                let worst = nearest.peek();
                if nearest.len() < width || worst.is_some_and(|Reverse(worst)| ordered > *worst) {
                    frontier.push((ordered, Reverse(*row)));
                    nearest.push(Reverse(ordered));
                    if nearest.len() > width {
                        nearest.pop();
                    }
                }
            }
            let Some((score, Reverse(row))) = frontier.pop() else { return };
            if nearest.len() >= width && nearest.peek().is_some_and(|Reverse(worst)| score < *worst) {
                return;
            }
            fresh.clear();
            fresh.extend_from_slice(self.edges(row));
        }
    }

    fn edges(&self, row: u32) -> &[u32] {
        &self.neighbours[self.offsets[row as usize] as usize..self.offsets[row as usize + 1] as usize]
    }
}

fn entries(count: usize) -> Vec<u32> {
    (0..count).step_by(count.div_ceil(ENTRIES).max(1)).map(|row| row as u32).collect()
}

fn length(vector: &[f32]) -> f64 {
    vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt()
}

/// A vector with its further coordinate, all divided by the longest length, so that no square overflows.
fn lift(out: &mut Vec<f32>, vector: &[f32], longest: f64) {
    let scale = if longest > 0.0 { longest.recip() } else { 0.0 };
    out.clear();
    out.extend(vector.iter().map(|x| (f64::from(*x) * scale) as f32));
    let rest = 1.0 - (length(vector) * scale).powi(2);
    out.push(rest.max(0.0).sqrt() as f32);
}

/// Adds to every edge the one back: as nearer rows come in, the library drops a row's far edges, and those then lead one way only.
fn both_ways(edges: &mut [Vec<u32>]) {
    let ends: Vec<usize> = edges.iter().map(Vec::len).collect();
    for row in 0..edges.len() {
        for at in 0..ends[row] {
            let near = edges[row][at] as usize;
            if !edges[near][..ends[near]].contains(&(row as u32)) {
                edges[near].push(row as u32);
            }
        }
    }
}

/// Adds edges until every row can be reached from the entries.
fn join(edges: &mut [Vec<u32>]) {
    let mut reached = vec![false; edges.len()];
    let mut waiting: VecDeque<u32> = entries(edges.len()).into();
    waiting.iter().for_each(|row| reached[*row as usize] = true);
    let mut lost = 0..edges.len();
    loop {
        while let Some(row) = waiting.pop_front() {
            for near in &edges[row as usize] {
                if !std::mem::replace(&mut reached[*near as usize], true) {
                    waiting.push_back(*near);
                }
            }
        }
        let Some(row) = lost.find(|row| !reached[*row]) else { return };
        // Where its own edges lead is near it; a row without any hangs on the first.
        let near = edges[row].iter().copied().find(|near| reached[*near as usize]).unwrap_or(0);
        edges[near as usize].push(row as u32);
        reached[row] = true;
        waiting.push_back(row as u32);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use kitestring_core::Seed;
    use kitestring_nn::engine::OneWorker;

    #[test]
    fn edges_lead_both_ways() {
        let mut edges = vec![vec![1, 2], vec![], vec![1, 0], vec![2]];
        both_ways(&mut edges);
        assert_eq!(edges, [vec![1, 2], vec![0, 2], vec![1, 0, 3], vec![2]]);
    }

    #[test]
    fn every_row_can_be_reached() {
        // Two rows that know each other alone, a row without edges, and a row that others know.
        let mut edges = vec![Vec::new(); 3 * ENTRIES];
        (edges[1], edges[2], edges[4]) = (vec![2], vec![1], vec![0]);
        join(&mut edges);
        let mut reached = entries(edges.len());
        for at in 0.. {
            let Some(row) = reached.get(at).copied() else { break };
            let fresh: Vec<u32> = edges[row as usize].iter().copied().filter(|near| !reached.contains(near)).collect();
            reached.extend(fresh);
        }
        reached.sort_unstable();
        assert_eq!(reached, (0..3 * ENTRIES as u32).collect::<Vec<_>>());
        // Row 4 hangs where its own edge leads.
        assert!(edges[0].contains(&4));
    }

    #[test]
    fn a_walk_meets_each_row_once_and_repeats() {
        let dimension = 8;
        let vectors: Vec<f32> = (0..3000 * dimension as u64).map(|i| Seed(3).normal_at(i)).collect();
        let build = || Graph::build(&vectors, dimension, 8, 40, &OneWorker).unwrap();
        let graph = build();
        assert_eq!(graph, build());
        let walk = |graph: &Graph, width| {
            let mut met = Vec::new();
            graph.walk(&vectors, &vectors[..dimension], width, |row, score| met.push((row, score)));
            met
        };
        let met = walk(&graph, 50);
        let mut rows: Vec<usize> = met.iter().map(|(row, _)| *row).collect();
        rows.sort_unstable();
        rows.dedup();
        assert_eq!(rows.len(), met.len());
        for (row, score) in &met {
            let vector = &vectors[row * dimension..][..dimension];
            let expected: f32 = vectors.iter().zip(vector).map(|(a, b)| a * b).sum();
            assert!((expected - score).abs() < 1e-4, "{row}");
        }
        // As wide as the corpus, it meets all of it.
        assert_eq!(walk(&graph, 3000).len(), 3000);
        let (offsets, neighbours) = graph.parts();
        assert_eq!(Graph::from_parts(offsets.to_vec(), neighbours.to_vec()).as_ref(), Some(&graph));
    }

    #[test]
    fn vectors_all_alike_and_vast_ones_are_no_trouble() {
        for value in [0.0, 1.0, f32::MAX, f32::MIN_POSITIVE / 4.0] {
            let graph = Graph::build(&vec![value; 2000 * 3], 3, 8, 20, &OneWorker).unwrap();
            let mut met = 0;
            graph.walk(&vec![value; 2000 * 3], &[1.0, -0.5, 0.0], 2000, |_, _| met += 1);
            assert_eq!(met, 2000, "{value}");
        }
    }

    #[test]
    fn parts_that_are_no_graph_are_refused() {
        for (offsets, neighbours) in [
            (vec![], vec![]),
            (vec![1, 1], vec![0]),
            (vec![0, 2, 1, 2], vec![0, 1]),
            (vec![0, 1], vec![0, 0]),
            (vec![0, 1], vec![1]),
        ] {
            assert_eq!(Graph::from_parts(offsets.clone(), neighbours), None, "{offsets:?}");
        }
    }
}
