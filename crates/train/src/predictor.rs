//! Scores batches with a trained model.

use crate::inputs::{Prepared, Pulled, Readers};
use crate::model::Model;
use kitestring_core::{Result, Seed};
use kitestring_nn::engine::{OneWorker, Scorer, Shown, Workers};
use kitestring_nn::graph::Graph;
use kitestring_nn::quantization::product::Codes;
use std::sync::Arc;

/// Scores batches with a model. A warm call allocates nothing.
#[derive(Debug)]
pub struct Predictor<'a> {
    model: &'a Model,
    scorer: Scorer,
    readers: Readers,
    pulled: Pulled,
}

impl<'a> Predictor<'a> {
    /// A predictor for a number of workers.
    pub fn new(model: &'a Model, workers: usize) -> Self {
        Self::showing(model, Arc::clone(&model.graph), workers)
    }

    /// One of other results than predictions: those of `graph`, which is the model's otherwise
    /// ([`Ranker::showing`](kitestring_nn::ranker::Ranker::showing)).
    pub fn showing(model: &'a Model, graph: Arc<Graph>, workers: usize) -> Self {
        Self {
            model,
            scorer: Scorer::new(graph, workers),
            readers: Readers::new(&model.schema),
            pulled: Pulled::default(),
        }
    }

    /// Does some products in codes from now on: see [`Scorer::with_codes`].
    #[must_use]
    pub(crate) fn with_codes(mut self, codes: Option<Arc<Codes>>) -> Self {
        if let Some(codes) = codes {
            self.scorer = self.scorer.with_codes(codes);
        }
        self
    }

    /// The predictions of the batch in `prepared`, `samples × tasks`, row-major: a probability of a binary task.
    ///
    /// # Errors
    /// If the batch does not fit the model.
    pub fn score(&mut self, prepared: &mut Prepared, workers: &dyn Workers, scores: &mut Vec<f32>) -> Result<()> {
        prepared.index(&self.readers);
        self.pulled.pull(&self.model.tables, &prepared.distinct, workers)?;
        let network = &self.model.network;
        self.scorer.score(&network.weights, &network.state, &self.pulled.of(prepared), workers, scores)
    }

    /// One pass of [`Self::score`] over the batch it scored last, with what drops out in training dropping out as `seed` says.
    ///
    /// # Errors
    /// If the batch does not fit the model.
    pub fn score_again_with_dropout(
        &mut self,
        prepared: &Prepared,
        seed: Seed,
        workers: &dyn Workers,
        scores: &mut Vec<f32>,
    ) -> Result<()> {
        let (network, inputs) = (&self.model.network, self.pulled.of(prepared));
        self.scorer.score_with_dropout(&network.weights, &network.state, &inputs, seed, workers, scores)
    }

    /// Scores on one thread and shows what each attention operation attended to.
    ///
    /// # Errors
    /// If the batch does not fit the model.
    pub fn explain(&mut self, prepared: &mut Prepared, each: impl FnMut(Shown<'_>)) -> Result<Vec<f32>> {
        prepared.index(&self.readers);
        self.pulled.pull(&self.model.tables, &prepared.distinct, &OneWorker)?;
        let network = &self.model.network;
        self.scorer.explain(&network.weights, &network.state, &self.pulled.of(prepared), each)
    }
}
