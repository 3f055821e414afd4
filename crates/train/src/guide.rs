//! What guides training beside the labels: a loss that somebody else computes over what the network says of a whole batch.
//!
//! [`fit_guided`](crate::fit::fit_guided) trains with one. The graph's own losses stay; those of tasks may count for less.

use kitestring_core::{Batch, Result, Seed};
use kitestring_nn::engine::Workers;
use kitestring_nn::graph::Value;
use std::collections::BTreeMap;

/// A step as its guide sees it.
#[derive(Clone, Copy)]
pub struct Lesson<'a> {
    /// The samples, as the model in training reads them.
    pub batch: &'a Batch,
    /// By which negatives were drawn: with it the same samples can be read again, with other features.
    pub draws: Seed,
    /// Steps done before this one.
    pub step: u64,
    /// The length of this step.
    pub learning_rate: f32,
    /// [`Guide::values`] of the batch side by side, `samples × Σ widths`, row-major.
    pub values: &'a [f32],
    /// Who can share the work.
    pub workers: &'a dyn Workers,
}

/// One of a guide's losses over a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Guided {
    /// Its name in curves.
    pub name: &'static str,
    /// The loss, before it is weighted.
    pub loss: f64,
    /// What it is multiplied by in what is minimized.
    pub weight: f64,
}

/// A loss over a whole batch that is minimized beside those of the graph.
pub trait Guide {
    /// The values of the model's graph that its loss is computed from; each has one row a sample.
    fn values(&self) -> &[Value];

    /// What the losses of tasks are multiplied by beside its own.
    fn of_tasks(&self) -> f32;

    /// How many samples that are stored side by side, mostly of one user, stand together in the order of an epoch.
    fn block(&self) -> u64;

    /// What its losses depend on, as text: a run is not gone on from with another guide.
    fn identity(&self) -> String;

    /// Its losses over a batch. Adds the gradient of their weighted sum to `gradient`, which has the shape of [`Lesson::values`].
    ///
    /// # Errors
    /// What it cannot read, or a loss that is not finite.
    fn guide(&mut self, lesson: &Lesson<'_>, gradient: &mut [f32]) -> Result<Vec<Guided>>;

    /// What it remembers from step to step, by name, for a checkpoint.
    fn memory(&self) -> Vec<(String, &[f32])>;

    /// Goes on from a checkpoint after a number of steps.
    ///
    /// # Errors
    /// The memory of another guide.
    fn restore(&mut self, steps: u64, memory: &BTreeMap<String, Vec<f32>>) -> Result<()>;
}
