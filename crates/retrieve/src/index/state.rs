//! What a search sees: rows, and the shortcut to some of them.

use super::best::Best;
use super::codes::Codes;
use super::config::{IndexConfig, Kind};
use super::corpus::Corpus;
use super::filter::Wanted;
use super::graph::Graph;
use super::segments::{self, ScanCost, Segment};
use super::{Found, RECALL_AT, sampled, scan, share};
use kitestring_core::Result;
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
    /// At least one; the first begins at row 0, each at the end of the one before.
    Graphs(Vec<Segment>),
}

/// What a search does with the shortcut.
#[derive(Debug, Clone, Copy)]
pub(super) enum How {
    /// Nothing: it scans all.
    Exact,
    /// Rescores so many candidates a result.
    Rescore(usize),
    /// Walks through the graphs and keeps so many results, or as many as each graph's own width says.
    Walk(Option<usize>),
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
                state.shortcut =
                    Shortcut::Graphs(vec![Segment { first: 0, graph, width: search_width.unwrap_or(RECALL_AT) }]);
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
        let enough = |width| share(&exact, &search(How::Walk(Some(width)))) >= recall;
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

    /// The first row of the graph that rows without one are due for, together with the smaller graphs before them.
    pub(super) fn next_segment(&self) -> Option<usize> {
        if let Shortcut::Graphs(known) = &self.shortcut { segments::next(known, self.corpus.len()) } else { None }
    }

    /// Takes a graph of the rows from one on, which was built of [`Corpus::tail`], in the place of those that begin there or later.
    pub(super) fn take_segment(&mut self, first: usize, built: Self) {
        if let (Shortcut::Graphs(known), Shortcut::Graphs(new)) = (&mut self.shortcut, built.shortcut) {
            known.retain(|segment| segment.first < first);
            known.extend(new.into_iter().map(|segment| Segment { first: first + segment.first, ..segment }));
        }
    }

    /// Covers rows that came in, where that takes no building.
    pub(super) fn cover(&mut self) {
        if let Shortcut::Codes(codes) = &mut self.shortcut {
            let dimension = self.corpus.dimension;
            codes.extend(&self.corpus.vectors[codes.len() * dimension..], dimension);
        }
    }

    /// The search width of the first graph, where there is one.
    pub(super) fn search_width(&self) -> Option<usize> {
        if let Shortcut::Graphs(known) = &self.shortcut { known.first().map(|segment| segment.width) } else { None }
    }

    pub(super) fn set_search_width(&mut self, new: usize) {
        if let Shortcut::Graphs(known) = &mut self.shortcut {
            known.iter_mut().for_each(|segment| segment.width = new);
        }
    }

    /// How a search goes.
    pub(super) fn how(&self, config: &IndexConfig) -> How {
        if matches!(self.shortcut, Shortcut::Graphs(_)) { How::Walk(None) } else { How::Rescore(config.rescore) }
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
            Shortcut::Graphs(known) => known.last().map_or(0, Segment::end),
        }
    }

    pub(super) fn search(&self, query: &[f32], k: usize, wanted: &Wanted<'_>, how: How) -> Vec<Found> {
        let corpus = &self.corpus;
        let k = k.min(corpus.rows.len());
        let mut best = Best::new(k);
        let listed = wanted.rows(corpus);
        let scan = ScanCost::new(corpus, listed.as_ref());
        // Rows from here on are still to be scanned.
        let scanned = match (&self.shortcut, how) {
            _ if scan.rows < k || k == 0 => None,
            // A vector of the int8 copy has a quarter of the bytes.
            (Shortcut::Codes(codes), How::Rescore(rescore)) if corpus.len() / 4 < scan.cost => {
                codes.search(corpus, query, rescore.saturating_mul(k), wanted, &mut best);
                Some(codes.len())
            }
            (Shortcut::Graphs(known), How::Walk(width)) => {
                let reach = scan.reach(known, width, k);
                let ended = reach.is_some_and(|reach| {
                    segments::walk(corpus, query, (&reach, scan.cost), |row, score| {
                        let Some(item) = wanted.item(corpus, row) else { return false };
                        best.offer(item, score);
                        true
                    })
                });
                ended.then(|| self.covered())
            }
            _ => None,
        };
        if let Some(scanned) = scanned {
            scan::one(corpus, query, scanned..corpus.len(), wanted, &mut best);
        }
        if scanned.is_none() || best.len() < k {
            // The walk gave up or missed some, or there are none: the scan knows.
            best = Best::new(k);
            match &listed {
                Some(listed) if scan.is_listed => scan::listed(corpus, query, listed, wanted, &mut best),
                _ => scan::one(corpus, query, 0..corpus.len(), wanted, &mut best),
            }
        }
        best.into_sorted().into_iter().map(|(item, score)| Found { item, score }).collect()
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
