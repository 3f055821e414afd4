//! Pull, compute, push: one step of learning.

use crate::config::TrainConfig;
use crate::guide::{Guide, Guided, Lesson};
use crate::inputs::{Prepared, Pulled, Readers};
use crate::model::Model;
use crate::occurrence_l2::OccurrenceL2;
use crate::rates;
use kitestring_core::{Error, Result, Seed};
use kitestring_nn::engine::{StepReport, Trainer, Workers};
use kitestring_nn::network::Network;
use kitestring_nn::optimizer::{Optimizer, gradient_norm};
use kitestring_nn::quantization::rounding::Rounding;
use kitestring_table::{Step, Table};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Learns on batches: pulls a submodel, computes its gradients, pushes an update.
#[derive(Debug)]
pub struct Learner {
    pass: Pass,
    /// What the learning rate of each table's rows is multiplied by.
    rates: Vec<f32>,
    optimizer: Optimizer,
    readers: Readers,
    dropout: Seed,
    evict_steps: u64,
    steps: u64,
    rounded: Option<Rounded>,
}

/// What learning sees of a network that will be done in codes.
#[derive(Debug)]
struct Rounded {
    by: Arc<Rounding>,
    weights: Vec<f32>,
}

impl Learner {
    /// A learner of a model for a number of workers.
    ///
    /// # Errors
    /// A config error that names the key.
    pub fn new(model: &Model, config: &TrainConfig, workers: usize, seed: Seed) -> Result<Self> {
        Self::of(Pass::new(model, config, workers), model, config, seed)
    }

    /// A learner whose steps a guide takes part in: [`Self::step_guided`].
    ///
    /// # Errors
    /// A config error that names the key; values that the guide cannot have.
    pub fn guided(
        model: &Model,
        config: &TrainConfig,
        workers: usize,
        seed: Seed,
        guide: &(dyn Guide + '_),
    ) -> Result<Self> {
        Self::of(Pass::guided(model, config, workers, guide)?, model, config, seed)
    }

    fn of(pass: Pass, model: &Model, config: &TrainConfig, seed: Seed) -> Result<Self> {
        let mut optimizer = Optimizer::new(config.optimizer, config.l2, &model.graph)?;
        let rates = rates::apply(&config.rates, model, &mut optimizer)?;
        Ok(Self {
            pass: pass.with_rates(&rates),
            rates,
            optimizer,
            readers: Readers::new(&model.schema),
            dropout: seed.child("dropout"),
            evict_steps: config.evict_steps,
            steps: 0,
            rounded: None,
        })
    }

    /// Learns a network that will be done in codes, and it alone: rows are not shipped as they would be learned, so they stay as they are.
    #[must_use]
    pub fn with_rounding(mut self, rounding: Arc<Rounding>) -> Self {
        self.pass.trainer = self.pass.trainer.with_rounding(Arc::clone(&rounding));
        self.pass.rows_learn = false;
        self.rounded = Some(Rounded { by: rounding, weights: Vec::new() });
        self
    }

    /// Regularizes rows by how often their ids occur.
    pub(crate) fn regularize(&mut self, regularization: &Arc<OccurrenceL2>) {
        self.pass.regularize(regularization);
    }

    /// What the learning rate of each table's rows is multiplied by.
    pub(crate) fn row_rates(&self) -> &[f32] {
        &self.rates
    }

    /// Makes the ids of a batch distinct, table by table: what comes before a step.
    pub fn index(&self, prepared: &mut Prepared) {
        prepared.index_to_learn(&self.readers);
    }

    /// How many steps were done.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The row of the last step's batch whose loss was not finite, where that is why it failed.
    pub(crate) fn not_finite(&self) -> Option<usize> {
        self.pass.not_finite()
    }

    /// The seed of a step's dropout.
    pub(crate) fn dropout(&self, step: u64) -> Seed {
        self.dropout.at(step)
    }

    /// What the network's optimizer remembers.
    pub(crate) fn optimizer(&self) -> &Optimizer {
        &self.optimizer
    }

    /// Goes on from a checkpoint.
    pub(crate) fn restore(&mut self, steps: u64, memory: &BTreeMap<String, Vec<f32>>) -> Result<()> {
        let part = |name: &str| memory.get(name).map_or(&[][..], Vec::as_slice);
        self.steps = steps;
        self.optimizer.restore(steps, part("first"), part("second"))
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
        let dropout = self.dropout(self.steps);
        let network = &mut model.network;
        let report = self.pass.compute(
            &model.tables,
            read(&mut self.rounded, &network.weights)?,
            &mut network.state,
            prepared,
            (self.steps, dropout),
            workers,
        )?;
        self.push(model, learning_rate, workers)?;
        Ok(report)
    }

    /// One step on a batch that was read with the seed `draws`, with what a guide adds. The learner is one of [`Self::guided`].
    ///
    /// # Errors
    /// As [`Self::step`], and what the guide says.
    pub fn step_guided(
        &mut self,
        model: &mut Model,
        (prepared, draws): (&Prepared, Seed),
        learning_rate: f32,
        workers: &dyn Workers,
        guide: &mut (dyn Guide + '_),
    ) -> Result<(StepReport, Vec<Guided>)> {
        let (step, dropout) = (self.steps, self.dropout(self.steps));
        let lesson = Lesson { batch: &prepared.batch, draws, step, learning_rate, values: &[], workers };
        let network = &mut model.network;
        let found = self.pass.compute_guided(
            &model.tables,
            read(&mut self.rounded, &network.weights)?,
            &mut network.state,
            prepared,
            dropout,
            (guide, lesson),
        )?;
        self.push(model, learning_rate, workers)?;
        Ok(found)
    }

    /// Applies the gradients that were computed, and counts the step.
    fn push(&mut self, model: &mut Model, learning_rate: f32, workers: &dyn Workers) -> Result<()> {
        let network = &mut model.network;
        self.steps += 1;
        self.optimizer.apply_with(&mut network.weights, self.pass.network_gradients(), learning_rate, workers);
        if self.pass.rows_learn {
            let step = Step { number: self.steps, learning_rate };
            self.pass.push(&model.tables, step, workers)?;
            self.evict(&model.tables);
        }
        Ok(())
    }

    /// Applies a network's gradients that another pass computed, and counts the step.
    pub(crate) fn push_network(&mut self, network: &mut Network, gradients: &[f32], learning_rate: f32) -> Step {
        self.steps += 1;
        self.optimizer.apply(&mut network.weights, gradients, learning_rate);
        Step { number: self.steps, learning_rate }
    }

    /// The number of steps to the next eviction.
    pub(crate) fn steps_to_eviction(&self) -> u64 {
        match self.evict_steps {
            0 => u64::MAX,
            every => every - self.steps % every,
        }
    }

    /// Takes out of open tables what is too old or too many, where it is time: it reads every row's use, so not at every step.
    pub(crate) fn evict(&self, tables: &[Table]) {
        if self.evict_steps > 0 && self.steps.is_multiple_of(self.evict_steps) {
            for table in tables {
                table.evict(self.steps);
            }
        }
    }
}

/// The weights that a step reads.
fn read<'a>(rounded: &'a mut Option<Rounded>, weights: &'a [f32]) -> Result<&'a [f32]> {
    let Some(rounded) = rounded else { return Ok(weights) };
    rounded.by.round(weights, &mut rounded.weights)?;
    Ok(&rounded.weights)
}

/// The way of one batch: its rows pulled, its gradients computed, its rows' gradients pushed. A workspace: a warm one allocates
/// nothing that grows with the batch.
#[derive(Debug)]
pub(crate) struct Pass {
    trainer: Trainer,
    pulled: Pulled,
    clip_norm: Option<f64>,
    occurrence_l2: Option<Arc<OccurrenceL2>>,
    /// Whether rows learn, or the network alone does.
    rows_learn: bool,
    /// What a guide reads, and its gradient.
    values: Vec<f32>,
    gradient: Vec<f32>,
}

impl Pass {
    /// A pass over a model for a number of workers that share each batch.
    pub(crate) fn new(model: &Model, config: &TrainConfig, workers: usize) -> Self {
        Self::of(Trainer::new(Arc::clone(&model.graph), workers), config)
    }

    /// A pass that a guide takes part in.
    fn guided(model: &Model, config: &TrainConfig, workers: usize, guide: &(dyn Guide + '_)) -> Result<Self> {
        let graph = Arc::clone(&model.graph);
        Ok(Self::of(Trainer::guided(graph, guide.values(), guide.of_tasks(), workers)?, config))
    }

    fn of(trainer: Trainer, config: &TrainConfig) -> Self {
        let (pulled, values, gradient) = Default::default();
        let (clip_norm, occurrence_l2) = (config.clip_norm, None);
        Self { trainer, pulled, clip_norm, occurrence_l2, rows_learn: true, values, gradient }
    }

    /// Has the rows of each table learn at a rate of their own.
    pub(crate) fn with_rates(mut self, rates: &[f32]) -> Self {
        self.pulled = self.pulled.with_rates(rates.to_vec());
        self
    }

    /// Regularizes rows by how often their ids occur.
    pub(crate) fn regularize(&mut self, regularization: &Arc<OccurrenceL2>) {
        self.occurrence_l2 = Some(Arc::clone(regularization));
    }

    /// Adds to the gradients of rows what is no gradient of a loss.
    fn add_regularization(&mut self, prepared: &Prepared) {
        if let Some(regularization) = self.occurrence_l2.as_ref().filter(|_| self.rows_learn) {
            regularization.add(&prepared.distinct, self.pulled.rows(), self.trainer.gradients().rows);
        }
    }

    /// The row of the last batch whose loss was not finite, where that is why it failed.
    pub(crate) fn not_finite(&self) -> Option<usize> {
        self.trainer.not_finite()
    }

    /// Pulls the rows of a batch and computes its gradients, clipped, as the step of a number with the dropout of a seed. The running
    /// statistics in `state` move towards those of the batch.
    ///
    /// # Errors
    /// A loss or gradient that is not finite.
    pub(crate) fn compute(
        &mut self,
        tables: &[Table],
        weights: &[f32],
        state: &mut [f32],
        prepared: &Prepared,
        (step, dropout): (u64, Seed),
        workers: &dyn Workers,
    ) -> Result<StepReport> {
        self.trainer.at_step(step);
        self.pulled.pull(tables, &prepared.distinct, workers)?;
        let inputs = self.pulled.of(prepared);
        let report = self.trainer.step(weights, state, &inputs, Some(dropout), workers)?;
        self.clip()?;
        self.add_regularization(prepared);
        Ok(report)
    }

    /// [`Self::compute`] with what a guide adds to the lesson of this step, in which the values are still missing.
    fn compute_guided(
        &mut self,
        tables: &[Table],
        weights: &[f32],
        state: &mut [f32],
        prepared: &Prepared,
        dropout: Seed,
        (guide, lesson): (&mut (dyn Guide + '_), Lesson<'_>),
    ) -> Result<(StepReport, Vec<Guided>)> {
        let workers = lesson.workers;
        self.trainer.at_step(lesson.step);
        self.pulled.pull(tables, &prepared.distinct, workers)?;
        let inputs = self.pulled.of(prepared);
        self.trainer.forward(weights, state, &inputs, Some(dropout), workers, &mut self.values)?;
        self.gradient.clear();
        self.gradient.resize(self.values.len(), 0.0);
        let guided = guide.guide(&Lesson { values: &self.values, ..lesson }, &mut self.gradient)?;
        let report = self.trainer.backward(weights, state, &inputs, Some(dropout), &self.gradient, workers)?;
        self.clip()?;
        self.add_regularization(prepared);
        Ok((report, guided))
    }

    /// Scales down gradients that are too long.
    fn clip(&mut self) -> Result<()> {
        let gradients = self.trainer.gradients();
        // The network's alone costs next to nothing, and no row's gradient diverges without it.
        let norm = match self.clip_norm {
            Some(_) if self.rows_learn => gradient_norm(gradients.network, gradients.rows),
            _ => gradient_norm(gradients.network, &[]),
        };
        if !norm.is_finite() {
            return Err(Error::numeric("a gradient is not a finite number").mend("lower the learning rate"));
        }
        let scale = self.clip_norm.map_or(1.0, |limit| (limit / norm.max(f64::MIN_POSITIVE)).min(1.0) as f32);
        if scale < 1.0 {
            gradients.network.iter_mut().for_each(|gradient| *gradient *= scale);
            gradients.rows.iter_mut().flatten().for_each(|gradient| *gradient *= scale);
        }
        Ok(())
    }

    /// Moves running statistics towards those of the batch that [`Self::compute`] read.
    pub(crate) fn merge_statistics(&self, state: &mut [f32]) {
        self.trainer.merge_statistics(state);
    }

    /// The gradients of the network's weights that [`Self::compute`] found.
    pub(crate) fn network_gradients(&mut self) -> &mut [f32] {
        self.trainer.gradients().network
    }

    /// Applies the gradients of the rows that [`Self::compute`] found.
    pub(crate) fn push(&mut self, tables: &[Table], step: Step, workers: &dyn Workers) -> Result<()> {
        self.pulled.push(tables, self.trainer.gradients().rows, step, workers)
    }
}
