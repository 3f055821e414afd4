//! An index over the vectors of items: the largest inner products with a query, exactly or nearly.
//!
//! Two ways are approximate, the scan of an int8 copy and the walk through a graph; [`Index::build`] says what share of the exact
//! answer they find. The int8 copy grows with the items; a graph covers the rows there were when it was built. Items that came later are
//! scanned exactly beside it until they are [`SMALL`] and the change that brings the last of them builds a graph of them. Items that are gone
//! are passed over. Past a share of rows that are gone or bare ([`IndexConfig::rebuild`]) the change that crosses it builds the index anew.
//! Searches go on meanwhile in what there was.
//!
//! Memory: 4 bytes a number of each vector and about 50 bytes an item; the int8 copy adds a byte a number, the graph 4 bytes an edge, about
//! three to four times [`Kind::Graph`] `connections` an item. Building a graph takes two to three kilobytes an item more for its while.

mod best;
mod codes;
mod config;
mod corpus;
mod file;
mod filter;
mod graph;
mod scan;
mod segments;
mod state;

pub use config::{IndexConfig, Kind, Precision, SMALL};
pub use corpus::{Attribute, Items, LARGEST_DIMENSION};
pub use filter::{Filter, Required};

use filter::Wanted;
use kitestring_core::{Error, Result};
use kitestring_nn::engine::Workers;
use state::{How, State};
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Instant;

/// An item that a search found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Found {
    /// The item's number in the data set.
    pub item: u64,
    /// The inner product of its vector with the query.
    pub score: f32,
}

/// The vectors of items, to be searched by many threads while others change them.
#[derive(Debug)]
pub struct Index {
    config: IndexConfig,
    version: String,
    /// Sampled queries that a graph's search width is chosen over; none where the vectors themselves are taken.
    queries: Vec<f32>,
    state: RwLock<State>,
    /// Held by the one who changes the state, from the checks to the end: what was checked still holds when it is done.
    changing: Mutex<()>,
    /// The directory that it was opened from or saved in last, and the checksum of what stood there then.
    stored: Mutex<Option<(PathBuf, String)>>,
}

/// An index that was built.
#[derive(Debug)]
pub struct Built {
    /// The index.
    pub index: Index,
    /// The share of the exact [`RECALL_AT`] best that the index finds, over sampled queries; `None` where it is exact.
    pub recall: Option<f64>,
    /// Seconds that it took, without measuring recall.
    pub seconds: f64,
}

/// The number of results at which [`Built::recall`] is measured, fewer in a smaller corpus.
pub const RECALL_AT: usize = 100;

/// Queries that [`Built::recall`] is measured over, and as many others that a graph's search width is chosen over.
const RECALL_QUERIES: usize = 256;

impl Index {
    /// Builds an index of items with vectors of a dimension; `version` names the model that made them. Where it is approximate, its recall
    /// is measured over up to 256 of `queries` (row-major, as wide as the vectors), or of the items' own vectors where there are none. A
    /// graph's search width is chosen over as many others; these are kept for the next build.
    ///
    /// With one worker the same items give the same index; with more, a graph depends on which of them is first.
    ///
    /// # Errors
    /// A config that names the key; an item given twice, a vector that is not finite or not of the dimension, a missing attribute; each
    /// names the item.
    pub fn build(
        items: &Items<'_>,
        dimension: usize,
        config: &IndexConfig,
        version: &str,
        queries: Option<&[f32]>,
        workers: &dyn Workers,
    ) -> Result<Built> {
        config.check()?;
        let start = Instant::now();
        let mut corpus = corpus::Corpus::new(dimension, items.attributes.iter().map(|attribute| attribute.name))?;
        corpus.check(items)?;
        let queries = queries.unwrap_or_default();
        check_queries(queries, dimension)?;
        corpus.append(items);
        let choosing = sampled(queries, dimension, 0);
        let state = State::build(corpus, config, &choosing, workers)?;
        let index = Self::of(state, config.clone(), version.to_owned(), choosing);
        let seconds = start.elapsed().as_secs_f64();
        let recall = if index.state().is_exact() {
            None
        } else {
            let judging = sampled(if queries.is_empty() { items.vectors } else { queries }, dimension, 1);
            Some(index.recall(&judging, RECALL_AT, workers)?)
        };
        Ok(Built { index, recall, seconds })
    }

    fn of(state: State, config: IndexConfig, version: String, queries: Vec<f32>) -> Self {
        Self {
            config,
            version,
            queries,
            state: RwLock::new(state),
            changing: Mutex::default(),
            stored: Mutex::default(),
        }
    }

    /// The `k` items with the largest inner products with a query, the best first; equal scores: the lower item first. Fewer where there
    /// are no `k` that the filter leaves.
    ///
    /// # Errors
    /// A query that is not finite or not of the index's dimension; a filter whose excluded items do not ascend, or that requires an
    /// attribute that items do not have.
    pub fn search(&self, query: &[f32], k: usize, filter: &Filter<'_>) -> Result<Vec<Found>> {
        let state = self.state();
        check_query(query, state.corpus.dimension, None)?;
        let wanted = Wanted::new(filter, &state.corpus)?;
        Ok(state.search(query, k, &wanted, state.how(&self.config)))
    }

    /// [`Self::search`] by a scan of all vectors, whatever the kind: what it is to be held against.
    ///
    /// # Errors
    /// As [`Self::search`].
    pub fn search_exactly(&self, query: &[f32], k: usize, filter: &Filter<'_>) -> Result<Vec<Found>> {
        let state = self.state();
        check_query(query, state.corpus.dimension, None)?;
        let wanted = Wanted::new(filter, &state.corpus)?;
        Ok(state.search(query, k, &wanted, How::Exact))
    }

    /// Whether every search is exact.
    pub fn is_exact(&self) -> bool {
        self.state().is_exact()
    }

    /// [`Self::search`] for many queries, row-major, shared by workers. `filters` has one for each, or is empty for none. All see the same
    /// items. An exact f32 index computes products of matrices, whose scores may differ in their last bits from a single search's.
    ///
    /// # Errors
    /// As [`Self::search`], naming the query; another number of filters than of queries.
    pub fn search_batch(
        &self,
        queries: &[f32],
        k: usize,
        filters: &[Filter<'_>],
        workers: &dyn Workers,
    ) -> Result<Vec<Vec<Found>>> {
        let state = self.state();
        let count = check_queries(queries, state.corpus.dimension)?;
        if !filters.is_empty() && filters.len() != count {
            return Err(Error::data(format!("{} filters for {count} queries", filters.len())));
        }
        let wanted =
            (0..count).map(|query| Wanted::new(filters.get(query).unwrap_or(&Filter::default()), &state.corpus));
        let wanted: Vec<_> = wanted.collect::<Result<_>>()?;
        Ok(state.search_batch(queries, k, &wanted, state.how(&self.config), workers))
    }

    /// The share of the exact `k` best that the index finds, over queries (row-major); 1 without queries.
    ///
    /// # Errors
    /// A query that is not finite or not of the index's dimension.
    pub fn recall(&self, queries: &[f32], k: usize, workers: &dyn Workers) -> Result<f64> {
        let state = self.state();
        let count = check_queries(queries, state.corpus.dimension)?;
        let wanted: Vec<_> = (0..count).map(|_| Wanted::default()).collect();
        let exact = state.search_batch(queries, k, &wanted, How::Exact, workers);
        let found = state.search_batch(queries, k, &wanted, state.how(&self.config), workers);
        Ok(share(&exact, &found))
    }

    /// Adds items. A search sees all of them or none. Where too much of the index is stale then, it is built anew before this returns.
    ///
    /// # Errors
    /// As [`Self::build`], and an item that is there already; nothing is added then.
    pub fn add(&self, items: &Items<'_>, workers: &dyn Workers) -> Result<()> {
        self.change(workers, |corpus| {
            corpus.check(items)?;
            if let Some(item) = items.ids.iter().find(|item| corpus.rows.contains_key(item)) {
                return Err(Error::data(format!("item {item} is in the index already")).mend("update it"));
            }
            Ok(Change { gone: &[], new: Some(items) })
        })
    }

    /// Gives items new vectors and attributes. A search sees all of them changed or none.
    ///
    /// # Errors
    /// As [`Self::build`], and an item that is not there; nothing is changed then.
    pub fn update(&self, items: &Items<'_>, workers: &dyn Workers) -> Result<()> {
        self.change(workers, |corpus| {
            corpus.check(items)?;
            check_there(corpus, items.ids)?;
            Ok(Change { gone: items.ids, new: Some(items) })
        })
    }

    /// Removes items. A search sees all of them or none.
    ///
    /// # Errors
    /// An item that is not there; nothing is removed then.
    pub fn remove(&self, items: &[u64], workers: &dyn Workers) -> Result<()> {
        self.change(workers, |corpus| {
            check_there(corpus, items)?;
            Ok(Change { gone: items, new: None })
        })
    }

    fn change<'a>(
        &self,
        workers: &dyn Workers,
        check: impl FnOnce(&corpus::Corpus) -> Result<Change<'a>>,
    ) -> Result<()> {
        let _one: MutexGuard<'_, ()> = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let Change { gone, new } = check(&self.state().corpus)?;
        {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            gone.iter().for_each(|item| state.corpus.remove(*item));
            if let Some(items) = new {
                state.corpus.append(items);
                state.cover();
            }
        }
        let state = self.state();
        let next = state.next_segment();
        if state.stale(&self.config) > self.config.rebuild || next == Some(0) {
            // Searches go on beside this; others who change wait.
            let anew = State::build(state.corpus.compact(), &self.config, &self.queries, workers)?;
            drop(state);
            *self.state.write().unwrap_or_else(PoisonError::into_inner) = anew;
        } else if let Some(first) = next {
            let built = State::build(state.corpus.tail(first), &self.config, &self.queries, workers)?;
            drop(state);
            self.state.write().unwrap_or_else(PoisonError::into_inner).take_segment(first, built);
        }
        Ok(())
    }

    /// How many items there are.
    pub fn len(&self) -> usize {
        self.state().corpus.rows.len()
    }

    /// Whether an item is there.
    pub fn contains(&self, item: u64) -> bool {
        self.state().corpus.rows.contains_key(&item)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The dimension of vectors.
    pub fn dimension(&self) -> usize {
        self.state().corpus.dimension
    }

    /// The version of the model that made the vectors.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// How it searches.
    pub fn config(&self) -> &IndexConfig {
        &self.config
    }

    /// How many candidates a search through the graph keeps; `None` where it is none.
    pub fn search_width(&self) -> Option<usize> {
        self.state().search_width()
    }

    /// Sets a graph's search width, which may change without building it again; nothing where the kind is another.
    ///
    /// # Errors
    /// A width that [`IndexConfig::check`] refuses.
    pub fn set_search_width(&mut self, width: usize) -> Result<()> {
        let mut config = self.config.clone();
        if let Kind::Graph { search_width, .. } = &mut config.kind {
            *search_width = Some(width);
        }
        config.check()?;
        self.config = config;
        self.state.get_mut().unwrap_or_else(PoisonError::into_inner).set_search_width(width);
        Ok(())
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a change does to the corpus, once checked.
struct Change<'a> {
    gone: &'a [u64],
    new: Option<&'a Items<'a>>,
}

/// Every second one of up to twice as many vectors as recall is measured over, evenly apart: one half or the other.
fn sampled(vectors: &[f32], dimension: usize, half: usize) -> Vec<f32> {
    let count = vectors.len() / dimension;
    let step = count.div_ceil(2 * RECALL_QUERIES).max(1);
    // A single one is both halves.
    let half = half.min(count.saturating_sub(1));
    vectors.chunks_exact(dimension).step_by(step).skip(half).step_by(2).flatten().copied().collect()
}

/// The share of what searches should have found that they did; 1 where there is nothing.
fn share(exact: &[Vec<Found>], found: &[Vec<Found>]) -> f64 {
    let (mut hits, mut all) = (0, 0);
    for (exact, found) in exact.iter().zip(found) {
        let exact: HashSet<u64> = exact.iter().map(|found| found.item).collect();
        all += exact.len();
        hits += found.iter().filter(|found| exact.contains(&found.item)).count();
    }
    if all == 0 { 1.0 } else { hits as f64 / all as f64 }
}

fn check_there(corpus: &corpus::Corpus, items: &[u64]) -> Result<()> {
    match items.iter().find(|item| !corpus.rows.contains_key(item)) {
        Some(item) => Err(Error::data(format!("item {item} is not in the index"))),
        None => Ok(()),
    }
}

/// How many queries there are.
fn check_queries(queries: &[f32], dimension: usize) -> Result<usize> {
    if !queries.len().is_multiple_of(dimension) {
        let what = format!("{} numbers are no whole queries of dimension {dimension}", queries.len());
        return Err(Error::data(what).mend("give queries of the index's dimension"));
    }
    let queries = queries.chunks_exact(dimension);
    let count = queries.len();
    queries.enumerate().try_for_each(|(number, query)| check_query(query, dimension, Some(number)))?;
    Ok(count)
}

fn check_query(query: &[f32], dimension: usize, number: Option<usize>) -> Result<()> {
    let name = || number.map_or_else(|| "the query".to_owned(), |number| format!("query {number}"));
    if query.len() != dimension {
        let what = format!("{} has dimension {}, the index has {dimension}", name(), query.len());
        return Err(Error::data(what).mend("query the index with the model that it was built with"));
    }
    if let Some(place) = query.iter().position(|number| !number.is_finite()) {
        return Err(Error::data(format!("{} has {} at place {place}", name(), query[place])));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
