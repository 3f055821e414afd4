//! What came of the rows of training, by item and by user: what a model must be better than is made of it.

use super::split::Split;
use kitestring_core::{Result, Seed};

/// How many rows at the mean of all a smoothed mean of few rows begins with.
pub const SMOOTHING: f64 = 10.0;

/// Sums over some rows that have a label of a task, each row with its weight.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LabelSums {
    /// Of weights.
    pub weight: f64,
    /// Of labels times weights.
    pub label: f64,
}

/// The labels of a task in training.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TaskOutcomes {
    /// Of all rows.
    pub all: LabelSums,
    /// The number of rows that have a label.
    pub rows: u64,
    /// Of the rows of each item, by its number.
    items: Vec<LabelSums>,
    /// Of the rows of each user, by the number.
    users: Vec<LabelSums>,
    /// The number of positive rows of each item: those with a label above one half.
    positives: Vec<u32>,
}

/// What came of the rows of training, drawn negatives included, task by task.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TrainingOutcomes {
    /// In the order of the schema.
    pub tasks: Vec<TaskOutcomes>,
}

/// A row's labels, and whose they are.
pub(super) struct Outcome<'a> {
    pub user: Option<u64>,
    pub item: Option<u64>,
    pub weight: f32,
    /// One a task, NaN where it is missing.
    pub labels: &'a [f32],
}

impl TaskOutcomes {
    /// The mean label of all rows, with weights; none where no row has a label and a weight.
    pub fn mean(&self) -> Option<f64> {
        (self.all.weight > 0.0).then(|| self.all.label / self.all.weight)
    }

    /// The mean label of an item's rows, begun with [`SMOOTHING`] rows at the mean of all: `(Σ w y + k m) / (Σ w + k)`, where `m` is the mean
    /// of all and `k` so many rows of the mean weight. Of an item that training does not have it is `m`.
    pub fn item_mean(&self, item: u64) -> Option<f64> {
        self.smoothed(at(&self.items, item))
    }

    /// The mean label of a user's rows, likewise.
    pub fn user_mean(&self, user: u64) -> Option<f64> {
        self.smoothed(at(&self.users, user))
    }

    /// The number of an item's positive rows: how popular it is.
    pub fn popularity(&self, item: u64) -> u32 {
        usize::try_from(item).ok().and_then(|item| self.positives.get(item)).copied().unwrap_or(0)
    }

    fn smoothed(&self, sums: LabelSums) -> Option<f64> {
        let mean = self.mean()?;
        let begun = SMOOTHING * self.all.weight / self.rows as f64;
        Some((sums.label + begun * mean) / (sums.weight + begun))
    }
}

fn at(sums: &[LabelSums], number: u64) -> LabelSums {
    usize::try_from(number).ok().and_then(|number| sums.get(number)).copied().unwrap_or_default()
}

/// Adds a label to the sums of a number.
fn add(sums: &mut Vec<LabelSums>, number: u64, label: f64, weight: f64) {
    let Ok(number) = usize::try_from(number) else { return };
    if number >= sums.len() {
        sums.resize(number + 1, LabelSums::default());
    }
    if let Some(sums) = sums.get_mut(number) {
        sums.weight += weight;
        sums.label += weight * label;
    }
}

impl TrainingOutcomes {
    /// Of a split of so many tasks, in one pass over its labels, users and items. Negatives are drawn once, with a seed of their own.
    pub(super) fn of(split: &Split, tasks: usize) -> Result<Self> {
        let mut outcomes = Self { tasks: vec![TaskOutcomes::default(); tasks] };
        split.each_outcome(Seed(0).child("outcomes"), |outcome| {
            let weight = f64::from(outcome.weight);
            for (task, label) in outcomes.tasks.iter_mut().zip(outcome.labels).filter(|(_, label)| !label.is_nan()) {
                let label = f64::from(*label);
                task.rows += 1;
                task.all.weight += weight;
                task.all.label += weight * label;
                outcome.user.into_iter().for_each(|user| add(&mut task.users, user, label, weight));
                let Some(item) = outcome.item else { continue };
                add(&mut task.items, item, label, weight);
                if let (true, Ok(item)) = (label > 0.5, usize::try_from(item)) {
                    task.positives.resize(task.positives.len().max(item + 1), 0);
                    task.positives[item] = task.positives[item].saturating_add(1);
                }
            }
        })?;
        Ok(outcomes)
    }
}
