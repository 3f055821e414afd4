//! What a search sees: rows, and the shortcut to some of them.

use super::best::Best;
use super::codes::Codes;
use super::config::{IndexConfig, Kind};
use super::corpus::Corpus;
use super::filter::Wanted;
use super::graph::Graph;
use super::{Found, RECALL_AT, sampled, scan, share};
use kitestring_core::{Result, Seed};
use kitestring_nn::engine::{Workers, each_piece};

#[derive(Debug, PartialEq)]
pub(super) struct State {
    pub(super) corpus: Corpus,
    pub(super) shortcut: Shortcut,
}

/// What spares reading the first rows in full; the rows after them are scanned.
#[derive(Debug, PartialEq)]
pub(super) enum Shortcut {
    None,
    Codes(Codes),
    /// A graph and its search width.
    Graph(Graph, usize),
}

/// What a search does with the shortcut.
#[derive(Debug, Clone, Copy)]
pub(super) enum How {
    /// Nothing: it scans all.
    Exact,
    /// Rescores so many candidates a result.
    Rescore(usize),
    /// Keeps so many candidates.
    Width(usize),
}

impl State {
    /// Where the config gives no search width, it is chosen over `queries`, or over some of the vectors where there are none.
    pub(super) fn build(corpus: Corpus, config: &IndexConfig, queries: &[f32], workers: &dyn Workers) -> Result<Self> {
        let mut state = Self { corpus, shortcut: Shortcut::None };
        let corpus = &state.corpus;
        if !config.approximates(corpus.len()) {
            return Ok(state);
        }
        match config.kind {
            Kind::Graph { connections, build_width, recall, search_width } => {
                let graph = Graph::build(&corpus.vectors, corpus.dimension, connections, build_width, workers)?;
                state.shortcut = Shortcut::Graph(graph, search_width.unwrap_or(RECALL_AT));
                if search_width.is_none() {
                    let own;
                    let queries = if queries.is_empty() {
                        own = sampled(&corpus.vectors, corpus.dimension, 0);
                        &own
                    } else {
                        queries
                    };
                    let width = state.narrowest(recall, queries, workers);
                    state.set_search_width(width);
                }
            }
            Kind::Exact {} => state.shortcut = Shortcut::Codes(Codes::new(&corpus.vectors, corpus.dimension)),
        }
        Ok(state)
    }

    /// The smallest search width, to a sixteenth, that finds a share of the exact best of some queries.
    fn narrowest(&self, recall: f64, queries: &[f32], workers: &dyn Workers) -> usize {
        let wanted: Vec<_> = queries.chunks(self.corpus.dimension).map(|_| Wanted::default()).collect();
        let search = |how| self.search_batch(queries, RECALL_AT, &wanted, how, workers);
        let exact = search(How::Exact);
        let enough = |width| share(&exact, &search(How::Width(width))) >= recall;
        let mut most = RECALL_AT;
        while most < self.covered() && !enough(most) {
            most *= 2;
        }
        let mut least = if most > RECALL_AT { most / 2 } else { most };
        while most - least > most / 16 {
            let middle = (least + most) / 2;
            *(if enough(middle) { &mut most } else { &mut least }) = middle;
        }
        most
    }

    /// The search width, where there is a graph.
    pub(super) fn search_width(&self) -> Option<usize> {
        if let Shortcut::Graph(_, width) = &self.shortcut { Some(*width) } else { None }
    }

    pub(super) fn set_search_width(&mut self, new: usize) {
        if let Shortcut::Graph(_, width) = &mut self.shortcut {
            *width = new;
        }
    }

    /// How a search goes.
    pub(super) fn how(&self, config: &IndexConfig) -> How {
        self.search_width().map_or(How::Rescore(config.rescore), How::Width)
    }

    pub(super) fn is_exact(&self) -> bool {
        self.shortcut == Shortcut::None
    }

    /// The share of rows that are gone, or that a shortcut should cover and does not.
    pub(super) fn stale(&self, config: &IndexConfig) -> f64 {
        let rows = self.corpus.len();
        let bare = if config.approximates(rows - self.corpus.gone()) { rows - self.covered() } else { 0 };
        (self.corpus.gone() + bare) as f64 / rows.max(1) as f64
    }

    /// How many of the first rows the shortcut covers.
    pub(super) fn covered(&self) -> usize {
        match &self.shortcut {
            Shortcut::None => 0,
            Shortcut::Codes(codes) => codes.len(),
            Shortcut::Graph(graph, _) => graph.len(),
        }
    }

    pub(super) fn search(&self, query: &[f32], k: usize, wanted: &Wanted<'_>, how: How) -> Vec<Found> {
        let corpus = &self.corpus;
        let k = k.min(corpus.rows.len());
        let mut best = Best::new(k);
        let mut scanned = self.covered();
        match (&self.shortcut, how) {
            (Shortcut::Codes(codes), How::Rescore(rescore)) => {
                codes.search(corpus, query, rescore.saturating_mul(k), wanted, &mut best);
            }
            (Shortcut::Graph(graph, _), How::Width(width)) => match self.width(graph, width, k, wanted) {
                Some(width) => graph.walk(&corpus.vectors, query, width, |row, score| {
                    if score >= best.least()
                        && let Some(item) = wanted.item(corpus, row)
                    {
                        best.offer(item, score);
                    }
                }),
                None => scanned = 0,
            },
            _ => scanned = 0,
        }
        scan::one(corpus, query, scanned..corpus.len(), wanted, &mut best);
        if best.len() < k && scanned > 0 {
            // The walk missed some, or there are none: the scan of all knows.
            best = Best::new(k);
            scan::one(corpus, query, 0..corpus.len(), wanted, &mut best);
        }
        best.into_sorted().into_iter().map(|(item, score)| Found { item, score }).collect()
    }

    /// How many candidates a walk must keep for `k` of them to be wanted; `None` where it would read about as many rows as a scan.
    fn width(&self, graph: &Graph, width: usize, k: usize, wanted: &Wanted<'_>) -> Option<usize> {
        /// Rows that are asked whether they are wanted.
        const SAMPLE: usize = 512;
        let rows = graph.len();
        let mut needed = k + wanted.excluded();
        if wanted.requires() || self.corpus.gone() > 0 {
            // Anywhere, because attributes may come in turn.
            let sample = (0..SAMPLE as u64).map(|at| (Seed(0).bits_at(at) % rows as u64) as usize);
            let there = sample.filter(|row| wanted.has(&self.corpus, *row)).count();
            needed = needed.saturating_mul(SAMPLE).checked_div(there)?;
        }
        let width = width.max(needed);
        let (_, neighbours) = graph.parts();
        // All edges of each candidate are followed. Many lead where it was already, and a jump to a row takes longer than reading on to it:
        // where they are as many as rows, a scan is as fast.
        let read = width.saturating_mul(neighbours.len() / rows.max(1));
        (read < rows).then_some(width)
    }

    pub(super) fn search_batch(
        &self,
        queries: &[f32],
        k: usize,
        wanted: &[Wanted<'_>],
        how: How,
        workers: &dyn Workers,
    ) -> Vec<Vec<Found>> {
        // Fewer do not fill the registers of a product.
        const LEAST: usize = 16;
        let (count, dimension) = (wanted.len(), self.corpus.dimension);
        let mut results = vec![Vec::new(); count];
        let scans = self.is_exact() || matches!(how, How::Exact);
        let share = count.div_ceil(workers.count().max(1));
        let together = if scans { share.clamp(LEAST, scan::QUERIES) } else { 1 };
        let pieces =
            queries.chunks(together * dimension).zip(wanted.chunks(together)).zip(results.chunks_mut(together));
        let most = k.min(self.corpus.rows.len());
        each_piece(
            workers,
            pieces,
            || (),
            |(), ((queries, wanted), results)| {
                if results.len() < LEAST {
                    for ((query, wanted), result) in queries.chunks_exact(dimension).zip(wanted).zip(results) {
                        *result = self.search(query, k, wanted, how);
                    }
                    return;
                }
                let mut bests: Vec<Best> = results.iter().map(|_| Best::new(most)).collect();
                scan::many(&self.corpus, queries, wanted, &mut bests);
                for (best, result) in bests.into_iter().zip(results) {
                    *result = best.into_sorted().into_iter().map(|(item, score)| Found { item, score }).collect();
                }
            },
        );
        results
    }
}
