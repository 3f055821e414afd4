//! From samples and items to vectors.

use crate::corpus::readers;
use crate::model::{RetrieverModel, TowerModel};
use kitestring_core::{Batch, Error, Result, Seed};
use kitestring_data::dataset::{ItemTable, QueryRow, Split};
use kitestring_nn::engine::{Scorer, Workers};
use kitestring_train::inputs::{Distinct, Pulled, Readers};
use std::sync::Arc;

/// Samples or items at once.
const BATCH: usize = 8192;

/// Computes vectors with a retriever. A warm call allocates nothing.
#[derive(Debug)]
pub struct Encoder<'a> {
    model: &'a RetrieverModel,
    towers: [Scorer; 2],
    readers: [Readers; 2],
    pulled: Pulled,
    distinct: Distinct,
}

impl<'a> Encoder<'a> {
    /// An encoder for a number of workers.
    pub fn new(model: &'a RetrieverModel, workers: usize) -> Self {
        let scorer = |tower: &TowerModel| Scorer::new(Arc::clone(&tower.graph), workers);
        Self {
            model,
            towers: [scorer(&model.query), scorer(&model.item)],
            readers: readers(&model.schema),
            pulled: Pulled::default(),
            distinct: Distinct::default(),
        }
    }

    /// The vectors of queries and items whose ids were made distinct together.
    pub(crate) fn both(
        &mut self,
        distinct: &Distinct,
        batches: [&Batch; 2],
        workers: &dyn Workers,
        vectors: [&mut Vec<f32>; 2],
    ) -> Result<()> {
        self.pulled.pull(&self.model.tables, distinct, workers)?;
        for (number, (batch, vectors)) in batches.into_iter().zip(vectors).enumerate() {
            let inputs = self.pulled.inputs(distinct, number, batch);
            let network = [&self.model.query, &self.model.item][number];
            let network = &network.network;
            self.towers[number].score(&network.weights, &network.state, &inputs, workers, vectors)?;
        }
        Ok(())
    }

    /// The vectors of the queries (0) or items (1) of a batch.
    fn tower(&mut self, tower: usize, batch: &Batch, workers: &dyn Workers, vectors: &mut Vec<f32>) -> Result<()> {
        self.distinct.index(&[(&self.readers[tower], batch)]);
        self.pulled.pull(&self.model.tables, &self.distinct, workers)?;
        let inputs = self.pulled.inputs(&self.distinct, 0, batch);
        let network = &[&self.model.query, &self.model.item][tower].network;
        self.towers[tower].score(&network.weights, &network.state, &inputs, workers, vectors)
    }

    /// The vectors of samples as queries, `samples × k`, row-major.
    ///
    /// # Errors
    /// A sample there is not, a damaged file, a vector that is not finite.
    pub fn queries(&mut self, split: &Split, samples: &[u64], workers: &dyn Workers) -> Result<Vec<f32>> {
        let mut all = Vec::with_capacity(samples.len() * self.model.vector_dimension());
        let (mut batch, mut vectors) = (Batch::default(), Vec::new());
        for samples in samples.chunks(BATCH) {
            split.read(samples, Seed(0), &mut batch)?;
            self.tower(0, &batch, workers, &mut vectors)?;
            all.extend_from_slice(&vectors);
        }
        self.check(&all, |row| format!("sample {} of split `{}`", samples[row], split.name()))?;
        Ok(all)
    }

    /// The vector of a row that is in no file, as a query.
    ///
    /// # Errors
    /// A vector that is not finite.
    pub fn row(&mut self, row: &QueryRow<'_>, workers: &dyn Workers) -> Result<Vec<f32>> {
        let (mut batch, mut vector) = (Batch::default(), Vec::new());
        row.put(&mut batch);
        self.tower(0, &batch, workers, &mut vector)?;
        self.check(&vector, |_| "the query".to_owned())?;
        Ok(vector)
    }

    /// The vectors of items by their numbers, `items × k`, row-major. An item that was in no training row has the vector that its features
    /// give it.
    ///
    /// # Errors
    /// An item there is not, a vector that is not finite.
    pub fn items(&mut self, table: &ItemTable, items: &[u32], workers: &dyn Workers) -> Result<Vec<f32>> {
        let mut all = Vec::with_capacity(items.len() * self.model.vector_dimension());
        let (mut batch, mut vectors) = (Batch::default(), Vec::new());
        for items in items.chunks(BATCH) {
            batch.clear();
            table.put(items, &mut batch)?;
            batch.rows = items.len();
            self.tower(1, &batch, workers, &mut vectors)?;
            all.extend_from_slice(&vectors);
        }
        self.check(&all, |row| format!("item number {}", items[row]))?;
        Ok(all)
    }

    fn check(&self, vectors: &[f32], name: impl Fn(usize) -> String) -> Result<()> {
        match vectors.iter().position(|x| !x.is_finite()) {
            None => Ok(()),
            Some(at) => {
                let name = name(at / self.model.vector_dimension());
                Err(Error::numeric(format!("the vector of {name} is not finite"))
                    .mend("train again with a lower learning rate, or look at its numeric features"))
            }
        }
    }
}
