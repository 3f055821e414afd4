//! Pull, compute, push for two towers: one step of learning.
//!
//! The rows of both towers' distinct ids are pulled once; each tower goes forward to its vectors; the objective, which may couple all of
//! them, gives their gradients; each tower goes back; and what both found for a row is pushed as one update.

use crate::corpus::{Corpus, PairBatch};
use crate::encode::Encoder;
use crate::model::RetrieverModel;
use crate::objective::Minimized;
use crate::objective::config::Objective;
use crate::objective::moments::{Moments, PriorVectors};
use crate::objective::pairs::Gradients;
use kitestring_core::{Error, Result, Seed};
use kitestring_nn::engine::{Trainer, Workers};
use kitestring_nn::kernels::reduce::add;
use kitestring_nn::optimizer::{Optimizer, gradient_norm};
use kitestring_table::Step;
use kitestring_train::config::TrainConfig;
use kitestring_train::inputs::Pulled;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Learns on batches of pairs.
#[derive(Debug)]
pub struct Learner {
    towers: [Tower; 2],
    pulled: Pulled,
    minimized: Minimized,
    objective: Objective,
    most_frequent: f32,
    dropout: Seed,
    clip_norm: Option<f64>,
    evict_steps: u64,
    steps: u64,
}

/// What one tower computes with.
#[derive(Debug)]
struct Tower {
    trainer: Trainer,
    optimizer: Optimizer,
    vectors: Vec<f32>,
    gradients: Vec<f32>,
}

impl Learner {
    /// A learner of a retriever from a corpus, for a number of workers.
    ///
    /// # Errors
    /// A config error that names the key.
    pub fn new(
        model: &RetrieverModel,
        (objective, train): (&Objective, &TrainConfig),
        corpus: &Corpus<'_>,
        workers: usize,
        seed: Seed,
    ) -> Result<Self> {
        let tower = |tower: &crate::model::TowerModel| {
            Ok(Tower {
                trainer: Trainer::of_result(Arc::clone(&tower.graph), workers)?,
                optimizer: Optimizer::new(train.optimizer, train.l2, &tower.graph)?,
                vectors: Vec::new(),
                gradients: Vec::new(),
            })
        };
        let most_frequent = corpus.most_frequent();
        Ok(Self {
            towers: [tower(&model.query)?, tower(&model.item)?],
            pulled: Pulled::default(),
            minimized: Minimized::new(objective, model.vector_dimension(), corpus.len(), most_frequent)?,
            objective: objective.clone(),
            most_frequent,
            dropout: seed.child("dropout"),
            clip_norm: train.clip_norm,
            evict_steps: train.evict_steps,
            steps: 0,
        })
    }

    /// How many steps were done.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The objective with what it remembers.
    pub fn minimized(&self) -> &Minimized {
        &self.minimized
    }

    /// One step on a batch of pairs: its losses, by the objective's names.
    ///
    /// # Errors
    /// A loss or gradient that is not finite: the model is then as it was before the step.
    pub fn step(
        &mut self,
        model: &mut RetrieverModel,
        batch: &PairBatch,
        learning_rate: f32,
        workers: &dyn Workers,
    ) -> Result<Vec<f64>> {
        let dropout = self.dropout.at(self.steps);
        let seeds = [dropout.child("query"), dropout.child("item")];
        self.pulled.pull(&model.tables, &batch.distinct, workers)?;
        let inputs = [&batch.query, &batch.item];
        let inputs: [_; 2] = std::array::from_fn(|at| self.pulled.inputs(&batch.distinct, at, inputs[at]));
        let networks = [&mut model.query.network, &mut model.item.network];
        for (tower, ((network, inputs), seed)) in
            self.towers.iter_mut().zip(networks.into_iter().zip(&inputs).zip(seeds))
        {
            tower.trainer.at_step(self.steps);
            let (weights, state) = (&network.weights, &network.state);
            tower.trainer.forward(weights, state, inputs, Some(seed), workers, &mut tower.vectors)?;
            tower.gradients.resize(tower.vectors.len(), 0.0);
        }
        let [query, item] = &mut self.towers;
        let pairs = batch.pairs(model.config.vector, &query.vectors, &item.vectors);
        let mut gradients = Gradients { queries: &mut query.gradients, items: &mut item.gradients };
        let losses = self.minimized.gradients(&pairs, &mut gradients, workers)?;
        if !losses.iter().all(|loss| loss.is_finite()) {
            return Err(not_finite("the loss"));
        }
        let networks = [&mut model.query.network, &mut model.item.network];
        for (tower, ((network, inputs), seed)) in
            self.towers.iter_mut().zip(networks.into_iter().zip(&inputs).zip(seeds))
        {
            let (weights, state) = (&network.weights, &mut network.state);
            tower.trainer.backward(weights, state, inputs, Some(seed), &tower.gradients, workers)?;
        }
        let [query, item] = &mut self.towers;
        let (first, second) = (query.trainer.gradients(), item.trainer.gradients());
        for (first, second) in first.rows.iter_mut().zip(second.rows) {
            add(first, second);
        }
        // The networks' alone cost next to nothing, and no row's gradient diverges without them or the loss.
        let rows: &[Vec<f32>] = if self.clip_norm.is_some() { first.rows } else { &[] };
        let norm = gradient_norm(first.network, rows).hypot(gradient_norm(second.network, &[]));
        if !norm.is_finite() {
            return Err(not_finite("a gradient"));
        }
        let scale = self.clip_norm.map_or(1.0, |limit| (limit / norm.max(f64::MIN_POSITIVE)).min(1.0) as f32);
        if scale < 1.0 {
            let all = first.network.iter_mut().chain(second.network.iter_mut());
            all.chain(first.rows.iter_mut().flatten()).for_each(|gradient| *gradient *= scale);
        }
        self.steps += 1;
        query.optimizer.apply_with(&mut model.query.network.weights, first.network, learning_rate, workers);
        item.optimizer.apply_with(&mut model.item.network.weights, second.network, learning_rate, workers);
        let step = Step { number: self.steps, learning_rate };
        self.pulled.push(&model.tables, first.rows, step, workers)?;
        if self.evict_steps > 0 && self.steps.is_multiple_of(self.evict_steps) {
            for table in &model.tables {
                table.evict(self.steps);
            }
        }
        Ok(losses)
    }

    /// Computes the moments of all pairs, where the objective asks for them before the next step.
    ///
    /// # Errors
    /// A damaged file.
    pub fn refresh(&mut self, model: &RetrieverModel, corpus: &Corpus<'_>, workers: &dyn Workers) -> Result<()> {
        if self.minimized.moving().is_some_and(crate::objective::estimator::Moving::is_due) {
            let exact = self.exact_moments(model, corpus, workers)?;
            if let Some(moving) = self.minimized.moving_mut() {
                moving.set(exact);
            }
        }
        Ok(())
    }

    /// The moments of all pairs of a corpus, with the model as it is.
    ///
    /// # Errors
    /// A damaged file.
    pub fn exact_moments(&self, model: &RetrieverModel, corpus: &Corpus<'_>, workers: &dyn Workers) -> Result<Moments> {
        let Objective::Gramian(config) = &self.objective else {
            return Err(Error::config("only a Gramian objective has moments").in_field("retrieve.objective.type"));
        };
        let (mut encoder, mut prior) = (Encoder::new(model, workers.count()), PriorVectors::default());
        let mut moments = Moments::zero(model.vector_dimension(), config.prior.rank());
        let (mut queries, mut items, mut scratch) = (Vec::new(), Vec::new(), Vec::new());
        corpus.each_block(|batch| {
            encoder.both(&batch.distinct, [&batch.query, &batch.item], workers, [&mut queries, &mut items])?;
            let pairs = batch.pairs(model.vector_dimension(), &queries, &items);
            config.prior.fill(&pairs, self.most_frequent, &mut prior);
            moments.add_mean(&pairs, &prior, pairs.len() as f32 / corpus.len() as f32, &mut scratch);
            Ok(())
        })?;
        Ok(moments)
    }

    /// What to go on from: numbers by name.
    pub fn memory(&self) -> BTreeMap<String, Vec<f32>> {
        let mut all = BTreeMap::new();
        for (name, tower) in ["query", "item"].into_iter().zip(&self.towers) {
            let (_, first, second) = tower.optimizer.memory();
            all.insert(format!("{name}.first"), first.to_vec());
            all.insert(format!("{name}.second"), second.to_vec());
        }
        all.extend(self.minimized.moving().map(|moving| moving.memory()).unwrap_or_default());
        all
    }

    /// Goes on from [`Self::memory`] after a number of steps.
    ///
    /// # Errors
    /// If it is another retriever's.
    pub fn restore(&mut self, steps: u64, memory: &BTreeMap<String, Vec<f32>>) -> Result<()> {
        for (name, tower) in ["query", "item"].into_iter().zip(&mut self.towers) {
            let part = |which: &str| memory.get(&format!("{name}.{which}")).map_or(&[][..], Vec::as_slice);
            tower.optimizer.restore(steps, part("first"), part("second"))?;
        }
        if let Some(moving) = self.minimized.moving_mut() {
            moving.restore(steps, memory)?;
        }
        self.steps = steps;
        Ok(())
    }
}

fn not_finite(what: &str) -> Error {
    Error::numeric(format!("{what} is not a finite number"))
        .mend("lower the learning rate, clip gradients (retrieve.train.clip_norm), or lower retrieve.objective.lambda")
}
