//! The gradients of looked-up rows.
//!
//! On its way back a tile leaves the gradient of every place that looks a row up where nobody else does: nothing is added to, so nothing has to
//! be zero first. Then the places of each distinct row are summed, in their order, whoever does it: workers take ranges of rows, and their number
//! changes neither a bit nor the work.

use crate::engine::context::{BatchInputs, Context};
use crate::engine::occurrences::Occurrences;
use crate::engine::workers::{PIECE, Workers, each_piece, enough_for};
use crate::graph::{Domain, Graph};
use crate::kernels::kernel;
use crate::ops::Op;
use crate::ops::embed::Embed;
use kitestring_core::{Error, Result};
use std::sync::{Mutex, PoisonError};

/// Places of a block, each of which has a lock: tiles rarely meet in one.
const BLOCK: usize = 1024;

/// The gradients of rows, of one batch after the other. A warm one allocates nothing.
#[derive(Debug, Default)]
pub(super) struct RowGradients {
    /// The features whose rows learn.
    features: Vec<FeatureGradients>,
    /// For each node that looks rows up, for each of its lookups.
    nodes: Vec<Vec<LookupGradient>>,
    tables: Vec<TableGradients>,
    /// Those that the trainer had to find, where the batch came without.
    found: Vec<Occurrences>,
    sums: Vec<Vec<f32>>,
}

#[derive(Debug)]
struct FeatureGradients {
    feature: usize,
    table: usize,
    width: usize,
    /// The place of the feature's first id in the batch.
    first: usize,
    /// Whether samples share ids: then several have a part of a place's gradient, and some places may have none.
    shared: bool,
}

/// Where the gradient of a lookup goes.
#[derive(Debug, Clone, Copy)]
struct LookupGradient {
    /// The number among [`RowGradients::features`].
    feature: usize,
    /// Whether another node, earlier on the way back, has left the gradient of the same places.
    add: bool,
}

#[derive(Debug, Default)]
struct TableGradients {
    width: usize,
    /// The gradients of places, a block each.
    blocks: Vec<Mutex<Vec<f32>>>,
    /// The same without locks, while they are summed.
    unlocked: Vec<Vec<f32>>,
}

/// What a node leaves its gradients with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlaceGradients<'a> {
    of: &'a RowGradients,
    node: usize,
}

impl RowGradients {
    /// Those of the rows that the `differentiated` nodes of a graph look up.
    pub(super) fn new(graph: &Graph, differentiated: &[bool]) -> Self {
        let mut all = Self { nodes: vec![Vec::new(); graph.nodes().len()], ..Self::default() };
        let nodes = graph.nodes().iter().enumerate().zip(differentiated).rev();
        for ((number, node), _) in nodes.filter(|(_, differentiated)| **differentiated) {
            let Op::Embed(embed) = &node.op else { continue };
            for lookup in &embed.lookups {
                let known = all.features.iter().position(|of| of.feature == lookup.feature);
                let feature = known.unwrap_or_else(|| {
                    let (feature, table, width) = (lookup.feature, lookup.table, lookup.width);
                    all.features.push(FeatureGradients { feature, table, width, first: 0, shared: false });
                    all.features.len() - 1
                });
                all.nodes[number].push(LookupGradient { feature, add: known.is_some() });
            }
        }
        all
    }

    /// Makes room for a batch's places.
    ///
    /// # Errors
    /// Occurrences of another batch.
    pub(super) fn begin(&mut self, inputs: &BatchInputs<'_>) -> Result<()> {
        let count = inputs.rows.len();
        self.sums.resize_with(count, Vec::new);
        self.tables.resize_with(count, TableGradients::default);
        self.find(inputs);
        let Self { features, tables, found, sums, .. } = self;
        for of in features.iter() {
            tables[of.table].width = of.width;
        }
        let mut found_features = 0;
        for (number, (table, sums)) in tables.iter_mut().zip(sums).enumerate() {
            sums.resize(inputs.rows[number].len(), 0.0);
            if table.width == 0 {
                sums.fill(0.0);
                continue;
            }
            let occurrences = occurrences_of(inputs, found, number)?;
            if occurrences.distinct() * table.width != sums.len() {
                return Err(Error::internal("the occurrences are not those of the batch's rows"));
            }
            table.blocks.resize_with(occurrences.places().div_ceil(BLOCK).max(table.blocks.len()), Mutex::default);
            for block in &mut table.blocks[..occurrences.places().div_ceil(BLOCK)] {
                let block = block.get_mut().unwrap_or_else(PoisonError::into_inner);
                block.resize(BLOCK * table.width, 0.0);
            }
            for (feature, first, len) in occurrences.features() {
                let ids = inputs.lookups.get(*feature).map_or(0, Vec::len);
                if ids != *len {
                    return Err(Error::internal("the occurrences are not those of the batch's ids"));
                }
                let learns = features.iter_mut().find(|of| of.feature == *feature);
                let shared = !inputs.batch.sparse[*feature].list_of_row.is_empty();
                let zero = shared || learns.is_none();
                if let Some(of) = learns {
                    found_features += 1;
                    (of.first, of.shared) = (*first, shared);
                }
                if zero {
                    each_block(*first..first + len, |number, within, _| {
                        let block = table.blocks[number].get_mut().unwrap_or_else(PoisonError::into_inner);
                        block[within.start * table.width..within.end * table.width].fill(0.0);
                    });
                }
            }
        }
        if found_features != features.len() {
            return Err(Error::internal("the occurrences lack a feature whose rows learn"));
        }
        Ok(())
    }

    /// Finds where rows are looked up in a batch that came without that.
    fn find(&mut self, inputs: &BatchInputs<'_>) {
        if !inputs.occurrences.is_empty() {
            return;
        }
        let Self { features, found, .. } = self;
        found.resize_with(inputs.rows.len(), Occurrences::default);
        for (number, occurrences) in found.iter_mut().enumerate() {
            let of_table = features.iter().filter(|of| of.table == number);
            let Some(width) = of_table.clone().map(|of| of.width.max(1)).next() else { continue };
            let columns = of_table.map(|of| (of.feature, inputs.lookups[of.feature].as_slice()));
            occurrences.index(columns, inputs.rows[number].len() / width);
        }
    }

    /// What a node leaves its gradients with.
    pub(super) fn of_node(&self, node: usize) -> PlaceGradients<'_> {
        PlaceGradients { of: self, node }
    }

    /// Sums the places of each distinct row of a batch, the one of the last [`Self::begin`].
    pub(super) fn sum(&mut self, inputs: &BatchInputs<'_>, workers: &dyn Workers) {
        let Self { tables, found, sums, .. } = self;
        tables.iter_mut().for_each(TableGradients::swap_locks);
        let (summed, found) = (&*tables, &*found);
        let learned = summed.iter().zip(sums).enumerate().filter(|(_, (table, _))| table.width > 0);
        let each_table = learned.filter_map(|(number, (table, sums))| {
            let occurrences = occurrences_of(inputs, found, number).ok()?;
            Some((table, occurrences, sums))
        });
        let pieces = each_table.flat_map(|(table, occurrences, sums)| {
            let rows = (PIECE / table.width).max(1);
            let pieces = sums.chunks_mut(rows * table.width).enumerate();
            pieces.map(move |(number, sums)| (table, occurrences, number * rows, sums))
        });
        let floats = summed.iter().map(|table| table.blocks.len() * BLOCK * table.width).sum();
        each_piece(
            enough_for(workers, floats),
            pieces,
            || (),
            |(), (table, occurrences, first, sums)| {
                let (offsets, places) = occurrences.of_rows(first..first + sums.len() / table.width);
                sum_places(sums, offsets, places, &table.unlocked, table.width);
            },
        );
        tables.iter_mut().for_each(TableGradients::swap_locks);
    }

    /// For each table the gradients of its distinct rows.
    pub(super) fn sums(&mut self) -> &mut [Vec<f32>] {
        &mut self.sums
    }
}

impl PlaceGradients<'_> {
    /// Leaves the gradient of a tile: `out_grad` is that of an operation's result, rows side by side.
    pub(crate) fn leave(self, cx: &Context<'_>, embed: &Embed, out_grad: &[f32]) {
        let stride: usize = embed.lookups.iter().map(|lookup| lookup.width).sum();
        let mut column = 0;
        for (lookup, goes) in embed.lookups.iter().zip(&self.of.nodes[self.node]) {
            let of = &self.of.features[goes.feature];
            let table = &self.of.tables[of.table];
            let from = |row: usize| &out_grad[row * stride + column..][..lookup.width];
            match embed.domain {
                Domain::Rows if of.shared => {
                    let lists = &cx.batch().sparse[of.feature].list_of_row[cx.rows.clone()];
                    for (row, list) in lists.iter().enumerate() {
                        let place = of.first + *list as usize;
                        table.leave(place..place + 1, true, |_| from(row));
                    }
                }
                Domain::Rows => table.leave(of.first + cx.rows.start..of.first + cx.rows.end, goes.add, from),
                Domain::Positions(lists) => {
                    let elements = cx.positions(lists);
                    let places = of.first + elements.start..of.first + elements.end;
                    table.leave(places, goes.add || of.shared, from);
                }
            }
            column += lookup.width;
        }
    }
}

impl TableGradients {
    /// Takes the blocks out of their locks, or puts them back.
    fn swap_locks(&mut self) {
        self.unlocked.resize_with(self.blocks.len(), Vec::new);
        for (block, unlocked) in self.blocks.iter_mut().zip(&mut self.unlocked) {
            std::mem::swap(block.get_mut().unwrap_or_else(PoisonError::into_inner), unlocked);
        }
    }

    /// Leaves the gradient of some places, or adds to what is there.
    fn leave<'a>(&self, places: std::ops::Range<usize>, add: bool, from: impl Fn(usize) -> &'a [f32]) {
        each_block(places, |number, within, done| {
            let mut block = self.blocks[number].lock().unwrap_or_else(PoisonError::into_inner);
            let into = block[within.start * self.width..within.end * self.width].chunks_exact_mut(self.width);
            for (at, into) in into.enumerate() {
                let from = from(done + at);
                if add {
                    into.iter_mut().zip(from).for_each(|(into, from)| *into += from);
                } else {
                    into.copy_from_slice(from);
                }
            }
        });
    }
}

/// Calls `each` for the blocks of some places: with the block's number, the places within it, and how many came before.
fn each_block(places: std::ops::Range<usize>, mut each: impl FnMut(usize, std::ops::Range<usize>, usize)) {
    let mut at = places.start;
    while at < places.end {
        let (number, within) = (at / BLOCK, at % BLOCK);
        let len = (BLOCK - within).min(places.end - at);
        each(number, within..within + len, at - places.start);
        at += len;
    }
}

/// Where a batch looks the rows of a table up: as it says, or as was found.
fn occurrences_of<'a>(inputs: &BatchInputs<'a>, found: &'a [Occurrences], table: usize) -> Result<&'a Occurrences> {
    let all = if inputs.occurrences.is_empty() { found } else { inputs.occurrences };
    all.get(table).ok_or_else(|| Error::internal("the batch does not have the occurrences of a table's rows"))
}

kernel! {
    /// `sums[r] = Σ blocks[p]` over the places `p` of each row: `places[offsets[r]..offsets[r + 1]]`, in their order.
    fn sum_places['a](
        sums: &'a mut [f32], offsets: &'a [u32], places: &'a [u32], blocks: &'a [Vec<f32>], width: usize,
    ) {
        for (row, sum) in sums.chunks_exact_mut(width).enumerate() {
            let places = &places[offsets[row] as usize..offsets[row + 1] as usize];
            if places.is_empty() {
                sum.fill(0.0);
            }
            for (number, place) in places.iter().enumerate() {
                let (block, within) = (*place as usize / BLOCK, *place as usize % BLOCK);
                let from = &blocks[block][within * width..(within + 1) * width];
                if number == 0 {
                    sum.copy_from_slice(from);
                } else {
                    for at in 0..width {
                        sum[at] += from[at];
                    }
                }
            }
        }
    }
}
