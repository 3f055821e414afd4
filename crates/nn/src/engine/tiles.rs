//! How a batch is cut into tiles: runs of samples whose values stay in cache together.

use crate::graph::{Domain, Graph};
use crate::ops::Op;
use kitestring_core::Batch;
use kitestring_core::batch::Ids;
use std::ops::Range;

/// How many floats of values and gradients a tile may have: about a core's second-level cache. Half of it was slower by a tenth
/// (each tile reads all weights), twice of it by a twentieth on DIN.
pub(crate) const TILE_FLOATS: usize = 512 * 1024;

/// How many samples of a tile each expert gets on average, where samples choose few of many. A quarter of it was slower by a half with
/// 40 experts of 256 and 128 units, twice of it the same.
pub(crate) const EXPERT_ROWS: usize = 256;

/// The most samples of a tile: more are no faster, whatever there is room for.
const MOST_ROWS: usize = 512;

/// The fewest samples of a tile, where these fit in [`LEAST_ROWS_FLOATS`]: fewer of them hardly use the weights that they read.
const LEAST_ROWS: usize = 16;

/// The most floats that a tile may have for the sake of [`LEAST_ROWS`].
const LEAST_ROWS_FLOATS: usize = 4 * TILE_FLOATS;

/// The samples below which a batch is not cut further to give more workers some: each tile reads all weights, and each worker has gradients
/// of them to be summed.
const SHARED_ROWS: usize = 64;

/// The floats that a tile holds, by what it has.
#[derive(Debug, Default)]
pub(super) struct Tiling {
    /// For each sample.
    row: usize,
    /// For each ragged feature.
    lists: Vec<ListFloats>,
    /// How many samples a tile should have for the sake of experts that few of them choose.
    expert_rows: usize,
}

/// The floats of one ragged feature's lists.
#[derive(Debug)]
struct ListFloats {
    /// The number of the feature whose lists count.
    feature: usize,
    /// For each element of a list, which samples may share.
    element: usize,
    /// For each element of each sample's list: samples that share a list have their own.
    pair: usize,
}

impl Tiling {
    /// What the nodes of these numbers hold; `copies` is 2 where values have gradients.
    pub(super) fn new(graph: &Graph, nodes: impl Iterator<Item = usize>, copies: usize) -> Self {
        let mut tiling = Self::default();
        for node in nodes.map(|node| &graph.nodes()[node]) {
            match graph.domain(node.output) {
                Domain::Rows => tiling.row += copies * graph.width(node.output),
                Domain::Positions(feature) => tiling.of(feature).element += copies * graph.width(node.output),
            }
            // What an operation keeps of a list, it keeps of the list that it reads first.
            if let Some(Domain::Positions(feature)) = node.inputs.first().map(|input| graph.domain(*input)) {
                let operation = node.op.operation();
                tiling.of(feature).element += copies * operation.saved_of_element();
                tiling.of(feature).pair += copies * operation.saved_of_pair();
            }
            // Where samples choose few of many experts whose weights and gradients do not stay in cache, a small tile has all of them read for
            // a handful of samples each: worse than values that come from the cache behind.
            if let Op::Experts(experts) = &node.op
                && 2 * experts.size() > TILE_FLOATS
            {
                let spread = experts.experts.len().div_ceil(experts.chosen.max(1));
                tiling.expert_rows = tiling.expert_rows.max(if spread > 1 { spread * EXPERT_ROWS } else { 0 });
            }
        }
        tiling
    }

    fn of(&mut self, feature: usize) -> &mut ListFloats {
        let at = self.lists.iter().position(|list| list.feature == feature).unwrap_or_else(|| {
            self.lists.push(ListFloats { feature, element: 0, pair: 0 });
            self.lists.len() - 1
        });
        &mut self.lists[at]
    }

    /// The floats that a sample adds to those before it. A list that it shares with the sample before is there already, unless it is the
    /// `first` of a tile.
    fn added(&self, batch: &Batch, row: usize, first: bool) -> usize {
        let lists = self.lists.iter().map(|floats| {
            let ids = &batch.sparse[floats.feature];
            let shared = !first && row > 0 && continues(ids, row - 1);
            ids.of_row(row).len() * (floats.pair + if shared { 0 } else { floats.element })
        });
        self.row + lists.sum::<usize>()
    }

    /// Cuts a batch into tiles of about as many floats, below [`TILE_FLOATS`] beside what all samples of a tile may share: a list of each
    /// feature. `whole_lists` never parts samples that share one.
    pub(super) fn cut(&self, batch: &Batch, workers: usize, whole_lists: bool, tiles: &mut Vec<Range<usize>>) {
        let rows = batch.rows;
        let total: usize = (0..rows).map(|row| self.added(batch, row, row == 0)).sum();
        let shared: usize =
            self.lists.iter().map(|floats| floats.element * longest_shared(batch, floats.feature)).sum();
        let count = self.count(rows, total, shared, workers);
        tiles.clear();
        let (mut start, mut floats) = (0, 0);
        for row in 0..rows {
            floats += self.added(batch, row, row == 0);
            let parted = whole_lists && batch.sparse.iter().any(|ids| row + 1 < rows && continues(ids, row));
            if !parted && floats * count >= (tiles.len() + 1) * total && row + 1 < rows {
                tiles.push(start..row + 1);
                start = row + 1;
            }
        }
        if start < rows {
            tiles.push(start..rows);
        }
    }

    /// How many tiles a batch becomes, of so many floats in all, `shared` of them with all samples of a tile.
    fn count(&self, rows: usize, total: usize, shared: usize, workers: usize) -> usize {
        let average = total as f64 / rows.max(1) as f64;
        let fit = |floats: usize| ((floats + shared) as f64 / average.max(1.0)) as usize;
        let least = LEAST_ROWS.min(fit(LEAST_ROWS_FLOATS)).max(1);
        let in_cache = (fit(TILE_FLOATS) / 8 * 8).clamp(least, MOST_ROWS);
        let most = fit(32 * TILE_FLOATS).min(rows.div_ceil(workers).next_multiple_of(8));
        let size = self.expert_rows.min(most).max(in_cache);
        if rows <= size {
            return 1;
        }
        // As many for each worker. Where there are fewer than workers, not so many that each has a handful of samples.
        let count = rows.div_ceil(size);
        let worth = (rows / SHARED_ROWS).max(total / (TILE_FLOATS / 4));
        if count >= workers { count.next_multiple_of(workers) } else { workers.min(count.max(worth)) }
    }

    /// The most floats that a tile holds.
    pub(super) fn largest(&self, batch: &Batch, tiles: &[Range<usize>]) -> usize {
        let floats =
            |tile: &Range<usize>| -> usize { tile.clone().map(|row| self.added(batch, row, row == tile.start)).sum() };
        tiles.iter().map(floats).max().unwrap_or(0)
    }
}

/// Whether the list of a row is also that of the next.
fn continues(ids: &Ids, row: usize) -> bool {
    let lists = ids.list_of_row.get(row..row + 2);
    lists.is_some_and(|lists| lists[0] == lists[1])
}

/// The number of elements of the longest list that samples share.
fn longest_shared(batch: &Batch, feature: usize) -> usize {
    let ids = &batch.sparse[feature];
    if ids.list_of_row.is_empty() {
        return 0;
    }
    (0..batch.rows).map(|row| ids.of_row(row).len()).max().unwrap_or(0)
}

/// The tiles of a worker: as many for each, and the first workers have them where there are fewer.
pub(super) fn share(tiles: usize, worker: usize, workers: usize) -> Range<usize> {
    let workers = workers.min(tiles).max(1);
    let worker = worker.min(workers);
    worker * tiles / workers..((worker + 1) * tiles / workers).min(tiles)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::embed::Lookup;
    use crate::ops::pool::Pooling;

    /// A graph that pools some list features of some width, beside one number a sample.
    fn pooled(lists: usize, width: usize) -> Graph {
        let mut graph = Graph::new();
        let mut parts = vec![graph.numeric(1)];
        for feature in 0..lists {
            let lookup = Lookup { feature, table: feature, width };
            let listed = graph.embed(vec![lookup], Domain::Positions(feature));
            parts.push(graph.pool(listed, Pooling::Mean));
        }
        let all = graph.concat(&parts);
        graph.output("score", all);
        graph
    }

    /// A batch whose lists of each feature have these lengths, sample after sample.
    fn batch(lengths: &[&[usize]]) -> Batch {
        let rows = lengths.first().map_or(0, |lengths| lengths.len());
        let sparse = lengths.iter().map(|lengths| {
            let ends = lengths.iter().scan(0, |end, len| {
                *end += *len as u32;
                Some(*end)
            });
            let offsets: Vec<u32> = std::iter::once(0).chain(ends).collect();
            Ids { ids: vec![0; lengths.iter().sum()], offsets, list_of_row: Vec::new() }
        });
        Batch { rows, sparse: sparse.collect(), numeric: vec![0.0; rows], ..Batch::default() }
    }

    fn tiles(graph: &Graph, batch: &Batch, workers: usize) -> (Vec<Range<usize>>, usize) {
        let tiling = Tiling::new(graph, 0..graph.nodes().len(), 2);
        let mut tiles = Vec::new();
        tiling.cut(batch, workers, true, &mut tiles);
        assert_eq!((tiles[0].start, tiles[tiles.len() - 1].end), (0, batch.rows));
        assert!(tiles.windows(2).all(|pair| pair[0].end == pair[1].start) && tiles.iter().all(|tile| !tile.is_empty()));
        let largest = tiling.largest(batch, &tiles);
        (tiles, largest)
    }

    /// A feature more makes tiles of fewer samples, not of more floats.
    #[test]
    fn all_lists_count() {
        for count in [1, 2, 8, 20] {
            let lengths = vec![50; 2000];
            let (graph, batch) = (pooled(count, 16), batch(&vec![&lengths[..]; count]));
            for workers in [1, 3] {
                let (tiles, largest) = tiles(&graph, &batch, workers);
                // But for one sample over: a tile has sixteen at least.
                assert!(largest <= TILE_FLOATS / 16 * 17, "{count} lists: {largest} floats");
                // Neither does it cut finer than it has to.
                assert!(
                    largest * 2 * workers >= TILE_FLOATS.min(2 * 2000 * 50 * 16 * count),
                    "{count} lists: {largest}"
                );
                assert_eq!(tiles.len() % workers, 0);
            }
        }
    }

    /// Of lists without elements and long ones that stand together, each tile has about as many floats.
    #[test]
    fn samples_with_long_lists_share_a_tile_with_fewer() {
        let lengths: Vec<usize> = (0..1000).map(|row| if row < 100 { 900 } else { 1 }).collect();
        let (tiles, largest) = tiles(&pooled(1, 16), &batch(&[&lengths]), 1);
        assert!(largest <= TILE_FLOATS + 2 * 16 * 900, "{largest} floats");
        assert!(tiles[0].len() < 20 && tiles[tiles.len() - 1].len() > 800, "{tiles:?}");
        // One sample does not fit, and is a tile of its own.
        let (tiles, _) = self::tiles(&pooled(1, 16), &batch(&[&[100_000; 3]]), 1);
        assert_eq!(tiles, [0..1, 1..2, 2..3]);
    }

    /// What the candidates of one user share is there once, and is not looked up again for some of them.
    #[test]
    fn samples_that_share_lists_stay_together() {
        let mut batch = batch(&[&[40_000], &[3]]);
        batch.rows = 100;
        batch.sparse.iter_mut().for_each(|ids| ids.list_of_row = vec![0; 100]);
        assert_eq!(tiles(&pooled(2, 16), &batch, 1).0.len(), 1);
        // Ten lists of ten samples each.
        let mut many = self::batch(&[&[20_000; 10]]);
        many.rows = 100;
        many.sparse[0].list_of_row = (0..100).map(|row| row / 10).collect();
        let (tiles, _) = tiles(&pooled(1, 16), &many, 1);
        assert!(tiles.len() >= 5 && tiles.iter().all(|tile| tile.start.is_multiple_of(10)), "{tiles:?}");
    }

    #[test]
    fn each_worker_has_a_share_as_long_as_that_is_worth_it() {
        for (tiles, workers) in [(1, 1), (1, 4), (3, 4), (4, 4), (8, 4), (9, 4)] {
            let shares: Vec<Range<usize>> = (0..workers).map(|worker| share(tiles, worker, workers)).collect();
            assert_eq!((shares[0].start, shares[workers - 1].end), (0, tiles));
            assert!(shares.windows(2).all(|pair| pair[0].end == pair[1].start), "{shares:?}");
            assert!(!shares[0].is_empty(), "{tiles} tiles: {shares:?}");
        }
        let (graph, batch) = (pooled(1, 16), batch(&[&[5; 2048]]));
        assert_eq!([1, 4, 16, 64].map(|workers| tiles(&graph, &batch, workers).0.len()), [4, 4, 16, 32]);
    }
}
