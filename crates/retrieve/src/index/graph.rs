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
use std::sync::{Mutex, PoisonError};

/// Edges between rows that follow each other in a corpus, numbered from 0: those of row `r` lead to `neighbours[offsets[r]..offsets[r + 1]]`.
#[derive(Debug)]
pub(super) struct Graph {
    offsets: Vec<u32>,
    neighbours: Vec<u32>,
    /// Bitmaps of the rows, all zero, that walks took and gave back: as many as there were walks at one time.
    bitmaps: Mutex<Vec<Vec<u64>>>,
}

impl PartialEq for Graph {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

/// How far a walk goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reach {
    /// How many results it keeps: it ends where nothing that is left to look at is better than the worst of them.
    pub(super) width: usize,
    /// How many edges it follows at most.
    pub(super) edges: usize,
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
        let mut graph = Self { offsets: vec![0], neighbours: Vec::new(), bitmaps: Mutex::default() };
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
                    let reach = Reach { width: 2 * count, edges: usize::MAX };
                    self.walk(vectors, query, reach, |row, score| {
                        if row != piece * PIECE + at {
                            best.offer(row as u64, score);
                        }
                        true
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
        whole.then(|| Self { offsets, neighbours, bitmaps: Mutex::default() })
    }

    /// Where each row's edges begin and end, and where they lead.
    pub(super) fn parts(&self) -> (&[u32], &[u32]) {
        (&self.offsets, &self.neighbours)
    }

    /// How many rows it covers.
    pub(super) fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Walks towards the rows with the largest inner products with a query, and shows `offer` every row whose score may matter, each once.
    /// `offer` says whether the row is a result. Only results count for the width; the other rows are walked through all the same, because
    /// they lead on: where many of them stand near the query, the walk goes on until it has found as many results as elsewhere. Returns
    /// how many of the edges that it may follow are left; `None` where it gave up because there were too few.
    pub(super) fn walk(
        &self,
        vectors: &[f32],
        query: &[f32],
        reach: Reach,
        mut offer: impl FnMut(usize, f32) -> bool,
    ) -> Option<usize> {
        let mut met = Met::new(self);
        let mut frontier: BinaryHeap<(Score, Reverse<u32>)> = BinaryHeap::new();
        // The best results so far, the worst of them on top.
        let mut nearest: BinaryHeap<Reverse<Score>> = BinaryHeap::new();
        let mut fresh: Vec<u32> = entries(self.len());
        let mut scores = Vec::new();
        let mut left = reach.edges;
        loop {
            fresh.retain(|row| met.is_new(*row));
            scores.resize(fresh.len(), 0.0);
            products_at(&mut scores, query, vectors, &fresh);
            for (row, score) in fresh.iter().zip(&scores) {
                let Some(ordered) = Score::new(*score) else { continue };
                let worst = nearest.peek().filter(|_| nearest.len() >= reach.width);
                // A row as good as the worst result may win by its number, but leads nowhere better.
                let better = worst.is_none_or(|Reverse(worst)| ordered > *worst);
                if !better && worst.is_none_or(|Reverse(worst)| ordered < *worst) {
                    continue;
                }
                let is_result = offer(*row as usize, *score);
                if better {
                    frontier.push((ordered, Reverse(*row)));
                    if is_result {
                        nearest.push(Reverse(ordered));
                        if nearest.len() > reach.width {
                            nearest.pop();
                        }
                    }
                }
            }
            let Some((score, Reverse(row))) = frontier.pop() else { return Some(left) };
            if nearest.len() >= reach.width && nearest.peek().is_some_and(|Reverse(worst)| score < *worst) {
                return Some(left);
            }
            let edges = self.edges(row);
            left = left.checked_sub(edges.len())?;
            fresh.clear();
            fresh.extend_from_slice(edges);
        }
    }

    fn edges(&self, row: u32) -> &[u32] {
        &self.neighbours[self.offsets[row as usize] as usize..self.offsets[row as usize + 1] as usize]
    }
}

/// The rows that a walk has met. Its bitmap is as long as the graph, so it is taken from the graph, and given back with only those words
/// cleared that were written: a walk costs what it meets, however many rows there are.
struct Met<'a> {
    graph: &'a Graph,
    bitmap: Vec<u64>,
    written: Vec<u32>,
}

impl<'a> Met<'a> {
    fn new(graph: &'a Graph) -> Self {
        let kept = graph.bitmaps.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Self { graph, bitmap: kept.unwrap_or_else(|| vec![0; graph.len().div_ceil(64)]), written: Vec::new() }
    }

    /// Whether a row is met for the first time.
    fn is_new(&mut self, row: u32) -> bool {
        let (word, bit) = (&mut self.bitmap[row as usize / 64], 1 << (row % 64));
        let new = *word & bit == 0;
        if *word == 0 {
            self.written.push(row / 64);
        }
        *word |= bit;
        new
    }
}

impl Drop for Met<'_> {
    fn drop(&mut self) {
        self.written.iter().for_each(|word| self.bitmap[*word as usize] = 0);
        let bitmap = std::mem::take(&mut self.bitmap);
        self.graph.bitmaps.lock().unwrap_or_else(PoisonError::into_inner).push(bitmap);
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
            let reach = Reach { width, edges: usize::MAX };
            let left = graph.walk(&vectors, &vectors[..dimension], reach, |row, score| {
                met.push((row, score));
                true
            });
            assert!(left.is_some());
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
    fn rows_that_are_no_results_are_walked_through() {
        let dimension = 8;
        let vectors: Vec<f32> = (0..4000 * dimension as u64).map(|i| Seed(3).normal_at(i)).collect();
        let graph = Graph::build(&vectors, dimension, 8, 40, &OneWorker).unwrap();
        let query = &vectors[..dimension];
        let mut sorted: Vec<(f32, usize)> = vectors
            .chunks(dimension)
            .map(|vector| vector.iter().zip(query).map(|(a, b)| a * b).sum())
            .zip(0..)
            .collect();
        sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
        // The three hundred best are no results: the walk goes on to the twenty after them.
        let passed: Vec<usize> = sorted[..300].iter().map(|(_, row)| *row).collect();
        let walk = |edges| {
            let mut results = Vec::new();
            let left = graph.walk(&vectors, query, Reach { width: 40, edges }, |row, _| {
                let is_result = !passed.contains(&row);
                results.extend(is_result.then_some(row));
                is_result
            });
            (left.is_some(), sorted[300..320].iter().filter(|(_, row)| results.contains(row)).count())
        };
        let (ended, found) = walk(usize::MAX);
        assert!(ended && found >= 19, "{found} of 20");
        // Three hundred rows have more edges than these.
        assert!(!walk(1000).0);
        let bitmaps = graph.bitmaps.lock().unwrap();
        assert_eq!(bitmaps.len(), 1, "walks one after the other share one");
        assert!(bitmaps.iter().flatten().all(|word| *word == 0));
    }

    #[test]
    fn vectors_all_alike_and_vast_ones_are_no_trouble() {
        for value in [0.0, 1.0, f32::MAX, f32::MIN_POSITIVE / 4.0] {
            let graph = Graph::build(&vec![value; 2000 * 3], 3, 8, 20, &OneWorker).unwrap();
            let mut met = 0;
            let reach = Reach { width: 2000, edges: usize::MAX };
            let left = graph.walk(&vec![value; 2000 * 3], &[1.0, -0.5, 0.0], reach, |_, _| {
                met += 1;
                true
            });
            assert!(left.is_some());
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
