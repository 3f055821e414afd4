//! Learning on the device: what was shown, what the user made of it, and what is learned from both. Nothing of it leaves the device.

use crate::{Ranker, Result};
use kitestring_device::learn;

/// What came of learning.
#[derive(Debug, Clone, PartialEq, uniffi::Record)]
pub struct Lesson {
    /// Examples with labels.
    pub examples: u64,
    /// How many of them told what learning is worth; 0 where there were too few, and nothing is learned.
    pub judged: u64,
    /// The numbers that were learned.
    pub numbers: u64,
    /// How often the examples were gone through.
    pub epochs: u64,
    /// The mean loss of those judged, by the artifact alone; NaN where none was.
    pub artifact: f64,
    /// The same by what is learned from the examples before them.
    pub learned: f64,
    /// How sure it is that the loss falls, in standard deviations of a normal distribution.
    pub certainty: f64,
    /// Whether the ranker goes on with what it learned, or with the artifact alone.
    pub taken: bool,
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
        let [examples, judged, numbers, epochs] =
            [lesson.examples, lesson.judged, lesson.numbers, lesson.epochs].map(|count| count as u64);
        let learn::Lesson { artifact, learned, certainty, taken, .. } = lesson;
        Ok(Lesson { examples, judged, numbers, epochs, artifact, learned, certainty, taken })
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
