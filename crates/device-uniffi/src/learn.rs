//! Learning on the device: what was shown, what the user made of it, and what is learned from both. Nothing of it leaves the device.

use crate::{Ranker, Result};
use kitestring_device::learn;

/// By what a ranker goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum Taken {
    /// The artifact alone.
    Artifact,
    /// What it had learned before.
    Before,
    /// What it learned now.
    Learned,
}

/// What came of learning.
#[derive(Debug, Clone, PartialEq, uniffi::Record)]
pub struct Lesson {
    /// Examples that were learned from.
    pub examples: u64,
    /// Examples that were held out; with fewer than two of them nothing is learned.
    pub held_out: u64,
    /// The numbers that were learned.
    pub numbers: u64,
    /// The mean loss of the examples held out, by the artifact alone; NaN where none was held out.
    pub artifact: f64,
    /// The same by what was learned before, where anything was.
    pub before: Option<f64>,
    /// The same by what was learned now.
    pub learned: f64,
    /// By what the ranker goes on: something learned is taken only where it is better by more than chance explains.
    pub taken: Taken,
}

#[uniffi::export]
impl Ranker {
    /// Says how it learns from now on, as JSON; what is absent is as by default. `most` is how many examples are kept; of `learning`, `learns` is
    /// `{"type": "patch", "numbers": 16, "rank": 8}` or `{"type": "layers", "names": [..]}`.
    pub fn learn_by(&self, settings: &str) -> Result<()> {
        Ok(self.app().learn_by(settings)?)
    }

    /// A candidate is shown, at a place from 1, or 0 where places mean nothing: an example with no label yet. Call it before the user can do
    /// anything. Gives the example's number.
    pub fn show(&self, candidate: u32, position: u32) -> Result<u64> {
        Ok(self.app().show(candidate as usize, position)?)
    }

    /// Says what a task's label of an example is. Gives whether the example is still kept.
    pub fn label(&self, example: u64, task: &str, label: f32) -> Result<bool> {
        Ok(self.app().label(example, task, label)?)
    }

    /// Learns from the examples with labels, and goes on with what helps. It takes a moment: call it when the user does not wait.
    pub fn learn(&self) -> Result<Lesson> {
        let lesson = self.app().learn()?;
        Ok(Lesson {
            examples: lesson.examples as u64,
            held_out: lesson.held_out as u64,
            numbers: lesson.numbers as u64,
            artifact: lesson.artifact,
            before: lesson.before,
            learned: lesson.learned,
            taken: match lesson.taken {
                learn::Taken::Artifact => Taken::Artifact,
                learn::Taken::Before => Taken::Before,
                learn::Taken::Learned => Taken::Learned,
            },
        })
    }

    /// What was learned, to be kept where only the app can read; empty where nothing is in use.
    pub fn learned(&self) -> Result<Vec<u8>> {
        Ok(self.app().learned()?)
    }

    /// Goes on by what `learned` gave; by the artifact alone where that is empty. Bytes that are damaged, or that were learned for another version
    /// of the model, are refused.
    pub fn use_learned(&self, bytes: Vec<u8>) -> Result<()> {
        Ok(self.app().use_learned(&bytes)?)
    }
}
