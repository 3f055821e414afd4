//! What is noted and told while a model is trained.

use crate::checkpoint::Progress;
use crate::guide::Guided;
use crate::history::{Epoch as EpochHistory, StepLoss};
use std::collections::BTreeMap;
use std::time::Instant;

/// About how many entries of the training loss a run keeps.
const LOSS_ENTRIES: u64 = 400;

/// What happens while a model is trained.
#[derive(Debug, Clone)]
pub enum Event<'a> {
    /// A run goes on from a checkpoint.
    Resumed {
        /// Steps done.
        steps: u64,
    },
    /// A step was done.
    Step {
        /// The epoch, counted from 1.
        epoch: u32,
        /// Batches of this epoch done.
        batch: u64,
        /// Batches of an epoch.
        batches: u64,
        /// The sum of the weighted losses of this step.
        loss: f64,
        /// Samples a second since the epoch started.
        samples_per_second: f64,
    },
    /// An epoch ended.
    Epoch {
        /// What was measured.
        epoch: &'a EpochHistory,
        /// Whether it is the best so far.
        best: bool,
    },
}

/// Notes what steps find while an epoch goes on.
pub struct Watch<'a, 'b> {
    /// How far the run is.
    pub progress: &'a mut Progress,
    /// Steps done over all epochs.
    pub steps: u64,
    observe: &'a mut (dyn FnMut(Event<'_>) + 'b),
    batches: u64,
    note_every: u64,
    note: LossNote,
    start: Instant,
    samples: u64,
}

impl<'a, 'b> Watch<'a, 'b> {
    /// Over an epoch of `batches`, one of `epochs`, from a step on.
    pub fn new(
        progress: &'a mut Progress,
        observe: &'a mut (dyn FnMut(Event<'_>) + 'b),
        (batches, epochs): (u64, u32),
        steps: u64,
    ) -> Self {
        let note_every = (batches * u64::from(epochs) / LOSS_ENTRIES).max(1);
        let (note, start) = (LossNote::default(), Instant::now());
        Self { progress, observe, batches, note_every, note, steps, start, samples: 0 }
    }

    /// What a guide found in the step that is done next.
    pub fn guided(&mut self, guided: &[Guided]) {
        for found in guided {
            let (sum, steps) = self.note.guided.entry(found.name).or_default();
            *sum += found.loss;
            *steps += 1.0;
        }
    }

    /// A step was done on so many samples: its mean losses, over how much sample weight each is, and what they come to together. Says
    /// whether it ends an entry of the history.
    pub fn done(&mut self, rows: usize, (losses, labelled): (&[f64], &[f64]), loss: f64) -> bool {
        let progress = &mut *self.progress;
        progress.batch += 1;
        progress.samples += rows as u64;
        self.samples += rows as u64;
        self.note.add(losses, labelled);
        let ends = progress.batch.is_multiple_of(self.note_every) || progress.batch == self.batches;
        if ends {
            let epoch = f64::from(progress.epoch) + progress.batch as f64 / self.batches as f64;
            let (losses, guided) = self.note.take();
            progress.history.steps.push(StepLoss { epoch, losses, weights: Vec::new(), guided });
        }
        (self.observe)(Event::Step {
            epoch: progress.epoch + 1,
            batch: progress.batch,
            batches: self.batches,
            loss,
            samples_per_second: self.samples as f64 / self.start.elapsed().as_secs_f64(),
        });
        self.steps += 1;
        ends
    }
}

/// The mean of each loss over several steps.
#[derive(Default)]
struct LossNote {
    sums: Vec<f64>,
    counts: Vec<f64>,
    /// Of a guide's losses: their sum, and over how many steps.
    guided: BTreeMap<&'static str, (f64, f64)>,
}

impl LossNote {
    fn add(&mut self, losses: &[f64], labelled: &[f64]) {
        self.sums.resize(losses.len(), 0.0);
        self.counts.resize(losses.len(), 0.0);
        for (index, (loss, labelled)) in losses.iter().zip(labelled).enumerate() {
            self.sums[index] += loss * labelled;
            self.counts[index] += labelled;
        }
    }

    fn take(&mut self) -> (Vec<f64>, BTreeMap<String, f64>) {
        let means = self.sums.iter().zip(&self.counts).map(|(sum, count)| sum / count.max(1e-300)).collect();
        let guided = self.guided.iter().map(|(name, (sum, steps))| ((*name).to_owned(), sum / steps)).collect();
        *self = Self::default();
        (means, guided)
    }
}
