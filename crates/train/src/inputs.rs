//! A batch made ready for the engine: its ids made distinct, table by table.

use kitestring_core::{Batch, Result, Schema};
use kitestring_nn::engine::BatchInputs;
use kitestring_table::{Route, Table, Unique};

/// Which sparse features read which table.
#[derive(Debug, Clone)]
pub struct Readers {
    /// For each table, the numbers of its features.
    features: Vec<Vec<usize>>,
}

impl Readers {
    /// The readers of each table of a schema.
    pub fn new(schema: &Schema) -> Self {
        let features = schema.table_names().into_iter().map(|table| {
            let of_table = schema.sparse().enumerate().filter(|(_, feature)| feature.table() == table);
            of_table.map(|(index, _)| index).collect()
        });
        Self { features: features.collect() }
    }
}

/// A batch with the distinct ids of each table. A workspace: a warm one allocates nothing.
#[derive(Debug, Default)]
pub struct Prepared {
    /// The samples.
    pub batch: Batch,
    unique: Vec<Unique>,
    /// For each sparse feature the place of each id among its table's distinct ones.
    lookups: Vec<Vec<u32>>,
}

impl Prepared {
    /// Makes the batch's ids distinct.
    pub fn index(&mut self, readers: &Readers) {
        self.unique.resize_with(readers.features.len(), Unique::new);
        self.lookups.resize_with(self.batch.sparse.len(), Vec::new);
        for (unique, features) in self.unique.iter_mut().zip(&readers.features) {
            unique.dedupe(features.iter().map(|feature| self.batch.sparse[*feature].ids.as_slice()));
            for (column, feature) in features.iter().enumerate() {
                self.lookups[*feature].clear();
                self.lookups[*feature].extend_from_slice(unique.column(column));
            }
        }
    }
}

/// The rows of a batch's distinct ids, pulled from the tables.
#[derive(Debug, Default)]
pub(crate) struct Pulled {
    routes: Vec<Route>,
    rows: Vec<Vec<f32>>,
}

impl Pulled {
    /// Pulls the rows of a batch.
    pub(crate) fn pull(&mut self, tables: &[Table], prepared: &Prepared) -> Result<()> {
        self.routes.resize_with(tables.len(), Route::new);
        self.rows.resize_with(tables.len(), Vec::new);
        for (number, table) in tables.iter().enumerate() {
            let ids = prepared.unique[number].ids();
            self.rows[number].resize(ids.len() * table.dim(), 0.0);
            table.route(ids, &mut self.routes[number])?;
            table.gather(&mut self.routes[number], &mut self.rows[number])?;
        }
        Ok(())
    }

    /// What the engine reads.
    pub(crate) fn inputs<'a>(&'a self, prepared: &'a Prepared) -> BatchInputs<'a> {
        BatchInputs { batch: &prepared.batch, lookups: &prepared.lookups, rows: &self.rows }
    }

    pub(crate) fn routes(&mut self) -> &mut [Route] {
        &mut self.routes
    }
}
