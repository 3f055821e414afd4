//! A ranker of numeric features, trained step by step on batches that an experiment makes: no files, no tables.

use kitestring_core::schema::{Feature, FeatureKind, Task, TaskKind};
use kitestring_core::{Batch, Error, Result, Schema, Seed};
use kitestring_nn::engine::{BatchInputs, OneWorker, Scorer, Trainer};
use kitestring_nn::network::Network;
use kitestring_nn::optimizer::{Optimizer, Rule};
use kitestring_nn::ranker::Ranker;
use std::sync::Arc;

/// A ranker in training, on one thread.
#[derive(Debug)]
pub struct ByHand {
    network: Network,
    trainer: Trainer,
    optimizer: Optimizer,
    scorer: Scorer,
    steps: u64,
    seed: Seed,
}

fn inputs(batch: &Batch) -> BatchInputs<'_> {
    BatchInputs { batch, lookups: &[], rows: &[], occurrences: &[] }
}

impl ByHand {
    /// A ranker of `features` numbers and some tasks of a kind, from the JSON of a `[model]` section, before its first step of Adam.
    ///
    /// # Errors
    /// What is wrong with the model.
    pub fn new(
        (features, tasks, kind): (usize, usize, TaskKind),
        model: serde_json::Value,
        l2: f32,
        seed: Seed,
    ) -> Result<Self> {
        let schema = Schema {
            features: (0..features).map(|x| Feature::new(format!("x{x}"), FeatureKind::Numeric)).collect(),
            tasks: (0..tasks).map(|y| Task { kind, ..Task::binary(format!("y{y}")) }).collect(),
            ..Schema::default()
        };
        let model = serde_json::from_value(model).map_err(|error| Error::config("the model").caused_by(error))?;
        let graph = Arc::new(Ranker::new(&schema, &model, &[])?.graph);
        Ok(Self {
            network: Network::new(&graph, seed.child("weights")),
            trainer: Trainer::new(Arc::clone(&graph), 1),
            optimizer: Optimizer::new(Rule::default(), l2, &graph)?,
            scorer: Scorer::new(graph, 1),
            steps: 0,
            seed: seed.child("dropout"),
        })
    }

    /// How many weights there are.
    pub fn weights(&self) -> usize {
        self.network.weights.len()
    }

    /// One step of a length on a batch.
    ///
    /// # Errors
    /// A batch that does not fit; a loss that is not finite.
    pub fn step(&mut self, batch: &Batch, rate: f32) -> Result<()> {
        let Network { weights, state } = &mut self.network;
        self.trainer.step(weights, state, &inputs(batch), Some(self.seed.at(self.steps)), &OneWorker)?;
        self.steps += 1;
        self.optimizer.apply(weights, self.trainer.gradients().network, rate);
        Ok(())
    }

    /// The outputs of each sample: one a task, then what else the head says.
    ///
    /// # Errors
    /// A batch that does not fit.
    pub fn score(&mut self, batch: &Batch) -> Result<Vec<f32>> {
        let mut scores = Vec::new();
        let Network { weights, state } = &self.network;
        self.scorer.score(weights, state, &inputs(batch), &OneWorker, &mut scores)?;
        Ok(scores)
    }

    /// [`Self::score`] of several networks that dropout draws.
    ///
    /// # Errors
    /// A batch that does not fit.
    pub fn passes(&mut self, batch: &Batch, count: u64) -> Result<Vec<Vec<f32>>> {
        let Network { weights, state } = &self.network;
        let seed = self.seed.child("passes");
        let mut passes = vec![Vec::new(); count as usize];
        for (scores, pass) in passes.iter_mut().zip(0..) {
            self.scorer.score_with_dropout(weights, state, &inputs(batch), seed.at(pass), &OneWorker, scores)?;
        }
        Ok(passes)
    }
}
