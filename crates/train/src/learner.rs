//! Pull, compute, push: one step of learning.

use crate::config::TrainConfig;
use crate::inputs::{Prepared, Pulled, Readers};
use crate::model::Model;
use kitestring_core::{Error, Result, Seed};
use kitestring_nn::engine::{StepReport, Trainer, Workers};
use kitestring_nn::optimizer::{Optimizer, gradient_norm};
use kitestring_table::Step;
use std::sync::Arc;
use std::sync::{Mutex, PoisonError};

/// Learns on batches: pulls a submodel, computes its gradients, pushes an update.
#[derive(Debug)]
pub struct Learner {
    trainer: Trainer,
    optimizer: Optimizer,
    readers: Readers,
    pulled: Pulled,
    clip_norm: Option<f64>,
    dropout: Seed,
    steps: u64,
}

impl Learner {
    /// A learner of a model for a number of workers.
    ///
    /// # Errors
    /// A config error that names the key.
    pub fn new(model: &Model, config: &TrainConfig, workers: usize, seed: Seed) -> Result<Self> {
        Ok(Self {
            trainer: Trainer::new(Arc::clone(&model.graph), workers),
            optimizer: Optimizer::new(config.optimizer, config.l2, &model.graph)?,
            readers: Readers::new(&model.schema),
            pulled: Pulled::default(),
            clip_norm: config.clip_norm,
            dropout: seed.child("dropout"),
            steps: 0,
        })
    }

    /// Makes the ids of a batch distinct, table by table: what comes before a step.
    pub fn index(&self, prepared: &mut Prepared) {
        prepared.index(&self.readers);
    }

    /// How many steps were done.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The row of the last step's batch whose loss was not finite, where that is why it failed.
    pub(crate) fn not_finite(&self) -> Option<usize> {
        self.trainer.not_finite()
    }

    /// What the network's optimizer remembers.
    pub(crate) fn optimizer(&self) -> &Optimizer {
        &self.optimizer
    }

    /// Goes on from a checkpoint.
    pub(crate) fn restore(&mut self, steps: u64, first: &[f32], second: &[f32]) -> Result<()> {
        self.steps = steps;
        self.optimizer.restore(steps, first, second)
    }

    /// One step on a batch.
    ///
    /// # Errors
    /// A loss or gradient that is not finite: the model is then as it was before the step.
    pub fn step(
        &mut self,
        model: &mut Model,
        prepared: &Prepared,
        learning_rate: f32,
        workers: &dyn Workers,
    ) -> Result<StepReport> {
        self.pulled.pull(&model.tables, prepared, workers)?;
        let dropout = Some(self.dropout.at(self.steps));
        let network = &mut model.network;
        let inputs = self.pulled.inputs(prepared);
        let report = self.trainer.step(&network.weights, &mut network.state, &inputs, dropout, workers)?;
        let gradients = self.trainer.gradients();
        // The network's alone costs next to nothing, and no row's gradient diverges without it.
        let norm = match self.clip_norm {
            Some(_) => gradient_norm(gradients.network, gradients.rows),
            None => gradient_norm(gradients.network, &[]),
        };
        if !norm.is_finite() {
            return Err(Error::numeric("a gradient is not a finite number").mend("lower the learning rate"));
        }
        let scale = self.clip_norm.map_or(1.0, |limit| (limit / norm.max(f64::MIN_POSITIVE)).min(1.0) as f32);
        if scale < 1.0 {
            gradients.network.iter_mut().for_each(|gradient| *gradient *= scale);
            gradients.rows.iter_mut().flatten().for_each(|gradient| *gradient *= scale);
        }
        self.steps += 1;
        self.optimizer.apply(&mut network.weights, gradients.network, learning_rate);
        let step = Step { number: self.steps, learning_rate };
        self.pulled.push(&model.tables, gradients.rows, step, workers)?;
        let tables = &model.tables;
        if tables.iter().any(|table| table.config().optimizer.sweeps()) {
            let failed = Mutex::new(None);
            workers.run(&|worker| {
                for table in tables {
                    if let Err(error) = table.sweep(step, worker, workers.count()) {
                        *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    }
                }
            });
            if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
                return Err(error);
            }
        }
        Ok(report)
    }
}
