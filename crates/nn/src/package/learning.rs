//! Learning on a device: a few numbers, from what one user did, and only where it helps.
//!
//! Of the examples the newest are held out. From the others a few numbers are learned by gradients of the ranker's own losses, through its
//! weights as the artifact has them and with statistics that stay, pulled towards the artifact's numbers (`λ/2 ‖θ − θ₀‖²`), as long as the
//! loss of those held out falls. What was learned is taken only if it is better on these by more than chance explains, scored as the device
//! scores, products in codes included; else the device goes on as before.

use super::personal::{Learner, Learns, Personal};
use super::{Packaged, Runtime};
use crate::engine::{BatchInputs, OneWorker, Scorer, Trainer};
use crate::graph::{Graph, Loss};
use crate::network::Network;
use crate::optimizer::{Optimizer, Rule};
use kitestring_core::{Batch, Error, Result, Seed};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How a device learns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Learning {
    /// What is learned.
    pub learns: Learns,
    /// The length of a step.
    pub rate: f32,
    /// How often all examples are gone through.
    pub epochs: usize,
    /// Examples a step.
    pub batch: usize,
    /// λ: how strongly numbers are pulled towards the artifact's.
    pub decay: f32,
    /// The share of the examples, the newest, that is held out.
    pub held_out: f64,
    /// By how many standard errors the loss of the examples held out must fall.
    pub certainty: f64,
    /// Decides the order of examples.
    pub seed: u64,
}

impl Default for Learning {
    fn default() -> Self {
        Self {
            learns: Learns::default(),
            rate: 0.02,
            epochs: 20,
            batch: 16,
            decay: 0.01,
            held_out: 0.25,
            certainty: 2.0,
            seed: 0,
        }
    }
}

impl Learning {
    /// Checks what serde does not.
    ///
    /// # Errors
    /// A config error that names the key.
    pub fn check(&self) -> Result<()> {
        let wrong = |field: &str, what: &str| Err(Error::config(what).in_field(field));
        if !(self.rate > 0.0 && self.rate.is_finite()) {
            return wrong("rate", "a step has a length above zero");
        }
        if self.batch == 0 {
            return wrong("batch", "a step has at least one example");
        }
        if !(self.decay >= 0.0 && self.decay.is_finite()) {
            return wrong("decay", "a pull is not negative");
        }
        if !(self.held_out > 0.0 && self.held_out < 1.0) {
            return wrong("held_out", "a share that is held out lies between 0 and 1");
        }
        if self.certainty.is_nan() || self.certainty < 0.0 {
            return wrong("certainty", "a number of standard errors is not negative");
        }
        Ok(())
    }
}

/// By what a device goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Taken {
    /// The artifact alone.
    Artifact,
    /// What it had learned before.
    Before,
    /// What it learned now.
    Learned,
}

impl Taken {
    /// Its name: `artifact`, `before` or `learned`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Artifact => "artifact",
            Self::Before => "before",
            Self::Learned => "learned",
        }
    }
}

/// What came of learning.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Lesson {
    /// Examples that were learned from.
    pub examples: usize,
    /// Examples that were held out; with fewer than two of them nothing is learned.
    pub held_out: usize,
    /// The numbers that were learned.
    pub numbers: usize,
    /// The mean loss of the examples held out, by the artifact alone; NaN where none was held out.
    pub artifact: f64,
    /// The same by what was learned before, where anything was.
    pub before: Option<f64>,
    /// The same by what was learned now.
    pub learned: f64,
    /// By what the device goes on.
    pub taken: Taken,
}

impl Runtime {
    /// What it learned, where anything is in use.
    pub fn personal(&self) -> Option<&Personal> {
        self.personal.as_ref()
    }

    /// Goes on by what was learned on this device, or by the artifact alone.
    ///
    /// # Errors
    /// What was learned for another version of the artifact, or does not fit it: the runtime stays as it is.
    pub fn personalize(&mut self, personal: Option<Personal>) -> Result<()> {
        let mut packaged = Packaged::open(&self.artifact)?;
        if let Some(personal) = &personal {
            personal.apply(&mut packaged, &self.artifact.manifest().version)?;
        }
        (self.scorer, self.remembered) = Self::scorers(&packaged);
        (self.packaged, self.personal) = (packaged, personal);
        Ok(())
    }

    /// Learns from examples, the oldest first: batches of samples with labels, ids as [`Self::score`] has them, the lists that a recurrent state
    /// stands for elsewhere included. Begins with what was learned before, where the same is learned.
    ///
    /// # Errors
    /// A setting out of its range; examples that do not fit the schema; a loss that is not finite. The runtime then goes on as before.
    pub fn learn(&mut self, examples: &[&Batch], learning: &Learning) -> Result<Lesson> {
        learning.check()?;
        let version = self.artifact.manifest().version.clone();
        let packaged = Packaged::open(&self.artifact)?;
        let mut learner = learning.learns.learner(&packaged, &version)?;
        let labelled: Vec<&Batch> =
            examples.iter().copied().filter(|example| counts(&packaged.graph, example)).collect();
        let held = ((labelled.len() as f64 * learning.held_out).ceil() as usize).min(labelled.len());
        let (old, new) = labelled.split_at(labelled.len() - held);
        let had = self.personal.clone();
        let mut lesson = Lesson {
            examples: old.len(),
            held_out: new.len(),
            numbers: learner.numbers().len(),
            artifact: f64::NAN,
            before: None,
            learned: f64::NAN,
            taken: if had.is_some() { Taken::Before } else { Taken::Artifact },
        };
        if new.len() < 2 || old.is_empty() {
            return Ok(lesson);
        }

        let begin = had.as_ref().filter(|had| had.learns == learning.learns).map(|had| had.numbers.clone());
        let held_out = joined(new);
        self.descend(&mut learner, begin, (old, &held_out), learning)?;
        let learned = Personal { version, learns: learning.learns.clone(), numbers: learner.numbers() };

        let of_artifact = self.losses(None, &held_out)?;
        let of_before = had.as_ref().map(|had| self.losses(Some(had), &held_out)).transpose()?;
        let of_learned = self.losses(Some(&learned), &held_out)?;
        let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
        lesson.artifact = mean(&of_artifact);
        lesson.before = of_before.as_deref().map(mean);
        lesson.learned = mean(&of_learned);
        // What was learned before has shown that it was no chance; what is new has to.
        let (mut best, mut taken) = (&of_artifact, Taken::Artifact);
        if let Some(before) = &of_before
            && gain(&of_artifact, before) > 0.0
        {
            (best, taken) = (before, Taken::Before);
        }
        if gain(best, &of_learned) > learning.certainty {
            taken = Taken::Learned;
        }
        lesson.taken = taken;
        match taken {
            Taken::Learned => self.personalize(Some(learned))?,
            Taken::Artifact if had.is_some() => self.personalize(None)?,
            Taken::Artifact | Taken::Before => {}
        }
        Ok(lesson)
    }

    /// Goes down the gradient of the losses of some examples, to where the loss of others is least after an epoch.
    fn descend(
        &mut self,
        learner: &mut Learner,
        begin: Option<Vec<f32>>,
        (examples, held_out): (&[&Batch], &Batch),
        learning: &Learning,
    ) -> Result<()> {
        let origin = learner.numbers();
        let mut numbers = begin.unwrap_or_else(|| origin.clone());
        learner.set(&numbers)?;
        let mut losses = Losses::new(&learner.graph);
        let mut least = (losses.sum(self, &learner.network, held_out)?, numbers.clone());
        let mut trainer = Trainer::of_weights(Arc::clone(&learner.graph), &|name| learning.learns.names(name), 1);
        let mut optimizer = Optimizer::of_numbers(Rule::default(), numbers.len())?;
        let (mut state, mut gradient) = (learner.network.state.clone(), Vec::new());
        let mut order: Vec<usize> = (0..examples.len()).collect();
        for epoch in 0..learning.epochs {
            let seed = Seed(learning.seed).child("learn").at(epoch as u64);
            order.sort_by_key(|example| seed.bits_at(*example as u64));
            for chosen in order.chunks(learning.batch) {
                let chosen: Vec<&Batch> = chosen.iter().map(|example| examples[*example]).collect();
                let batch = joined(&chosen);
                self.gather(&batch)?;
                let inputs = BatchInputs { batch: &batch, lookups: &self.lookups, rows: &self.rows };
                trainer.step(&learner.network.weights, &mut state, &inputs, None, &OneWorker)?;
                let found = trainer.gradients();
                gradient.clear();
                learner.learned.iter().for_each(|range| gradient.extend_from_slice(&found.network[range.clone()]));
                for ((gradient, number), origin) in gradient.iter_mut().zip(&numbers).zip(&origin) {
                    *gradient += learning.decay * (number - origin);
                }
                optimizer.apply(&mut numbers, &gradient, learning.rate);
                learner.set(&numbers)?;
            }
            let loss = losses.sum(self, &learner.network, held_out)?;
            if loss < least.0 {
                least = (loss, numbers.clone());
            }
        }
        learner.set(&least.1)
    }

    /// The loss of each sample of a batch, scored as the device does by what was learned.
    fn losses(&mut self, personal: Option<&Personal>, batch: &Batch) -> Result<Vec<f64>> {
        let mut packaged = Packaged::open(&self.artifact)?;
        if let Some(personal) = personal {
            personal.apply(&mut packaged, &self.artifact.manifest().version)?;
        }
        let mut losses = Losses::new(&packaged.graph);
        losses.scorer = losses.scorer.with_codes(Arc::clone(&packaged.codes));
        losses.of(self, &packaged.network, batch)
    }
}

/// Scores the losses of samples in the place of predictions.
struct Losses {
    graph: Arc<Graph>,
    scorer: Scorer,
    found: Vec<f32>,
}

impl Losses {
    fn new(graph: &Graph) -> Self {
        let mut graph = graph.clone();
        graph.outputs = graph.losses.iter().map(|loss| (loss.name.clone(), loss.value)).collect();
        let graph = Arc::new(graph);
        Self { scorer: Scorer::new(Arc::clone(&graph), 1), graph, found: Vec::new() }
    }

    /// The loss of each sample, over its tasks.
    fn of(&mut self, runtime: &mut Runtime, network: &Network, batch: &Batch) -> Result<Vec<f64>> {
        runtime.gather(batch)?;
        let inputs = BatchInputs { batch, lookups: &runtime.lookups, rows: &runtime.rows };
        self.scorer.score(&network.weights, &network.state, &inputs, &OneWorker, &mut self.found)?;
        let tasks = batch.labels.len() / batch.rows.max(1);
        let losses = self.graph.losses();
        let of_row = |(row, found): (usize, &[f32])| {
            let labels = &batch.labels[row * tasks..(row + 1) * tasks];
            let of = |(loss, value): (&Loss, &f32)| {
                let counts = loss.task.is_some() && loss.counts(labels);
                if counts { f64::from(loss.weight) * f64::from(*value) } else { 0.0 }
            };
            losses.iter().zip(found).map(of).sum()
        };
        let found: Vec<f64> = self.found.chunks_exact(losses.len().max(1)).enumerate().map(of_row).collect();
        if found.iter().any(|loss| !loss.is_finite()) {
            return Err(Error::numeric("the loss of an example held out is not a finite number").mend("lower the rate"));
        }
        Ok(found)
    }

    fn sum(&mut self, runtime: &mut Runtime, network: &Network, batch: &Batch) -> Result<f64> {
        Ok(self.of(runtime, network, batch)?.iter().sum())
    }
}

/// Whether an example's labels say anything.
fn counts(graph: &Graph, example: &Batch) -> bool {
    graph.losses().iter().any(|loss| loss.task.is_some() && loss.counts(&example.labels))
}

/// The samples of all, one after another.
fn joined(examples: &[&Batch]) -> Batch {
    let mut all = Batch::default();
    examples.iter().for_each(|example| all.append(example));
    all
}

/// By how many of its standard errors the loss falls, sample by sample; 0 where nothing differs.
fn gain(from: &[f64], to: &[f64]) -> f64 {
    let count = from.len() as f64;
    let falls = || from.iter().zip(to).map(|(from, to)| from - to);
    let mean = falls().sum::<f64>() / count;
    let squares: f64 = falls().map(|fall| (fall - mean).powi(2)).sum();
    let error = (squares / (count - 1.0).max(1.0) / count).sqrt();
    if mean == 0.0 { 0.0 } else { mean / error.max(f64::MIN_POSITIVE) }
}
