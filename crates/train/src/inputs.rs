//! A batch made ready for the engine: its ids made distinct, table by table.

use kitestring_core::schema::Feature;
use kitestring_core::{Batch, Result, Schema};
use kitestring_nn::engine::{BatchInputs, Occurrences, Workers};
use kitestring_table::{Route, Step, Table, Unique};
use std::sync::{Mutex, PoisonError};

/// Which sparse features read which table.
#[derive(Debug, Clone)]
pub struct Readers {
    /// For each table, the numbers of its features.
    features: Vec<Vec<usize>>,
}

impl Readers {
    /// The readers of each table of a schema.
    pub fn new(schema: &Schema) -> Self {
        Self::of(schema, |_| true)
    }

    /// The same of some features alone: the others' ids are not looked at.
    pub fn of(schema: &Schema, reads: impl Fn(&Feature) -> bool) -> Self {
        let features = schema.table_names().into_iter().map(|table| {
            let of_table =
                schema.sparse().enumerate().filter(|(_, feature)| feature.table() == table && reads(feature));
            of_table.map(|(index, _)| index).collect()
        });
        Self { features: features.collect() }
    }
}

/// The distinct ids of each table, of one batch or of several that are learned from together. A workspace: a warm one allocates nothing.
#[derive(Debug, Default)]
pub struct Distinct {
    unique: Vec<Unique>,
    /// For each batch and sparse feature the place of each id among its table's distinct ones.
    lookups: Vec<Vec<Vec<u32>>>,
    /// For each batch that is learned from and each table, where the distinct ids occur.
    occurrences: Vec<Vec<Occurrences>>,
}

impl Distinct {
    /// The distinct ids of a table.
    pub(crate) fn ids(&self, table: usize) -> &[u64] {
        self.unique.get(table).map_or(&[], Unique::ids)
    }

    /// The distinct ids of a table, each with how often the first batch has it, where that is learned from.
    pub(crate) fn counts(&self, table: usize) -> impl Iterator<Item = (u64, u32)> + '_ {
        let occurrences = self.occurrences.first().and_then(|tables| tables.get(table));
        let ids = self.ids(table).iter().enumerate();
        ids.filter_map(move |(row, id)| Some((*id, occurrences?.places_of(row).len() as u32)))
    }

    /// Makes the ids of batches distinct, table by table, each batch's as far as its readers go.
    pub fn index(&mut self, batches: &[(&Readers, &Batch)]) {
        self.occurrences.iter_mut().for_each(Vec::clear);
        self.make_distinct(batches);
    }

    /// [`Self::index`] for a step of learning: also finds where each distinct id occurs, for the gradient of its row is summed over that.
    pub fn index_to_learn(&mut self, batches: &[(&Readers, &Batch)]) {
        self.make_distinct(batches);
        self.occurrences.resize_with(batches.len(), Vec::new);
        for ((occurrences, lookups), (readers, _)) in self.occurrences.iter_mut().zip(&self.lookups).zip(batches) {
            occurrences.resize_with(readers.features.len(), Occurrences::default);
            for ((occurrences, features), unique) in occurrences.iter_mut().zip(&readers.features).zip(&self.unique) {
                let columns = features.iter().map(|feature| (*feature, lookups[*feature].as_slice()));
                occurrences.index(columns, unique.ids().len());
            }
        }
    }

    fn make_distinct(&mut self, batches: &[(&Readers, &Batch)]) {
        let tables = batches.first().map_or(0, |(readers, _)| readers.features.len());
        self.unique.resize_with(tables, Unique::new);
        self.lookups.resize_with(batches.len(), Vec::new);
        for (lookups, (_, batch)) in self.lookups.iter_mut().zip(batches) {
            lookups.resize_with(batch.sparse.len(), Vec::new);
            lookups.iter_mut().for_each(Vec::clear);
        }
        for (table, unique) in self.unique.iter_mut().enumerate() {
            let columns = || {
                let batches = batches.iter().enumerate();
                batches.flat_map(move |(at, (readers, _))| readers.features[table].iter().map(move |of| (at, *of)))
            };
            unique.dedupe(columns().map(|(at, feature)| batches[at].1.sparse[feature].ids.as_slice()));
            for (column, (at, feature)) in columns().enumerate() {
                self.lookups[at][feature].extend_from_slice(unique.column(column));
            }
        }
    }
}

/// A batch with the distinct ids of each table. A workspace: a warm one allocates nothing.
#[derive(Debug, Default)]
pub struct Prepared {
    /// The samples.
    pub batch: Batch,
    pub(crate) distinct: Distinct,
}

impl Prepared {
    /// Makes the batch's ids distinct.
    pub(crate) fn index(&mut self, readers: &Readers) {
        self.distinct.index(&[(readers, &self.batch)]);
    }

    /// [`Self::index`] for a step of learning.
    pub(crate) fn index_to_learn(&mut self, readers: &Readers) {
        self.distinct.index_to_learn(&[(readers, &self.batch)]);
    }
}

/// The rows of distinct ids, pulled from the tables. Workers share the ids of a large batch.
#[derive(Debug, Default)]
pub struct Pulled {
    /// For each table the ways to its rows, one a share.
    routes: Vec<Vec<Route>>,
    rows: Vec<Vec<f32>>,
    /// What the learning rate of each table's rows is multiplied by; 1 where there is none.
    rates: Vec<f32>,
}

/// Fewer ids than this are not worth sharing.
const SHARED: usize = 2048;

/// A part of a table's distinct ids: the way to their rows, and the numbers that are read or applied.
struct Share<'a, Numbers> {
    table: &'a Table,
    ids: &'a [u64],
    route: &'a mut Route,
    numbers: Numbers,
}

impl Pulled {
    /// Has the rows of each table learn at a rate of their own: the step's times this.
    #[must_use]
    pub(crate) fn with_rates(mut self, rates: Vec<f32>) -> Self {
        self.rates = rates;
        self
    }

    /// The rows of each table's distinct ids, as they were pulled.
    pub(crate) fn rows(&self) -> &[Vec<f32>] {
        &self.rows
    }

    /// A step of the rows of a table.
    fn step_of(rates: &[f32], table: usize, step: Step) -> Step {
        Step { learning_rate: step.learning_rate * rates.get(table).copied().unwrap_or(1.0), ..step }
    }

    /// Pulls rows.
    ///
    /// # Errors
    /// An id that a table cannot have.
    pub fn pull(&mut self, tables: &[Table], distinct: &Distinct, workers: &dyn Workers) -> Result<()> {
        self.routes.resize_with(tables.len(), Vec::new);
        self.rows.resize_with(tables.len(), Vec::new);
        let mut shares = Vec::with_capacity(tables.len() * workers.count());
        let places = self.routes.iter_mut().zip(&mut self.rows);
        for ((table, unique), (routes, rows)) in tables.iter().zip(&distinct.unique).zip(places) {
            let ids = unique.ids();
            let size = share_of(ids.len(), workers.count());
            rows.resize(ids.len() * table.dim(), 0.0);
            routes.resize_with(ids.len().div_ceil(size), Route::new);
            for ((ids, numbers), route) in
                ids.chunks(size).zip(rows.chunks_mut(size * table.dim())).zip(routes.iter_mut())
            {
                shares.push(Mutex::new(Share { table, ids, route, numbers }));
            }
        }
        each(&shares, workers, &|share| {
            share.table.route(share.ids, share.route)?;
            share.table.gather(share.route, share.numbers)
        })
    }

    /// What the engine reads of a batch, the one of this number among those whose ids were made distinct.
    pub fn inputs<'a>(&'a self, distinct: &'a Distinct, number: usize, batch: &'a Batch) -> BatchInputs<'a> {
        let lookups = distinct.lookups.get(number).map_or(&[][..], Vec::as_slice);
        let occurrences = distinct.occurrences.get(number).map_or(&[][..], Vec::as_slice);
        BatchInputs { batch, lookups, rows: &self.rows, occurrences }
    }

    /// [`Self::inputs`] of a batch alone.
    pub(crate) fn of<'a>(&'a self, prepared: &'a Prepared) -> BatchInputs<'a> {
        self.inputs(&prepared.distinct, 0, &prepared.batch)
    }

    /// Applies the gradients of the rows that were pulled, and moves the others where the optimizer moves all rows at every step.
    ///
    /// # Errors
    /// Gradients that do not fit the rows.
    pub fn push(&mut self, tables: &[Table], gradients: &[Vec<f32>], step: Step, workers: &dyn Workers) -> Result<()> {
        self.apply(tables, gradients, step, workers)?;
        if !tables.iter().any(|table| table.config().optimizer.sweeps()) {
            return Ok(());
        }
        let failed = Mutex::new(None);
        workers.run(&|worker| {
            for (number, table) in tables.iter().enumerate() {
                let step = Self::step_of(&self.rates, number, step);
                if let Err(error) = table.sweep(step, worker, workers.count()) {
                    *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                }
            }
        });
        failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    fn apply(&mut self, tables: &[Table], gradients: &[Vec<f32>], step: Step, workers: &dyn Workers) -> Result<()> {
        let mut shares = Vec::with_capacity(tables.len() * workers.count());
        for (((number, table), gradients), routes) in tables.iter().enumerate().zip(gradients).zip(&mut self.routes) {
            let step = Self::step_of(&self.rates, number, step);
            let size = share_of(gradients.len() / table.dim(), workers.count());
            for (route, numbers) in routes.iter_mut().zip(gradients.chunks(size * table.dim())) {
                shares.push(Mutex::new(Share { table, ids: &[], route, numbers: (numbers, step) }));
            }
        }
        each(&shares, workers, &|share| share.table.apply(share.route, share.numbers.0, share.numbers.1))
    }
}

/// How many ids each worker takes.
fn share_of(ids: usize, workers: usize) -> usize {
    if ids < SHARED { ids.max(1) } else { ids.div_ceil(workers) }
}

/// Calls `body` for every share, the workers taking turns. The first error stops nobody and is returned.
fn each<'a, Numbers: Send>(
    shares: &[Mutex<Share<'a, Numbers>>],
    workers: &dyn Workers,
    body: &(dyn Fn(&mut Share<'a, Numbers>) -> Result<()> + Sync),
) -> Result<()> {
    let failed = Mutex::new(None);
    let work = |worker: usize, workers: usize| {
        for share in shares.iter().skip(worker).step_by(workers) {
            if let Err(error) = body(&mut share.lock().unwrap_or_else(PoisonError::into_inner)) {
                failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        }
    };
    let count = workers.count();
    if shares.len() > 1 {
        workers.run(&|worker| work(worker, count))
    } else {
        work(0, 1)
    }
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}
