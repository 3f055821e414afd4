//! Learning in a page: what was shown, what the user made of it, and what is learned from both. Nothing of it leaves the page.

use crate::{Ranker, mended};
use kitestring_device::learn;
use wasm_bindgen::prelude::*;

/// What came of learning.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Lesson {
    /// Examples with labels.
    pub examples: usize,
    /// How many of them told what learning is worth; 0 where there were too few, and nothing is learned.
    pub judged: usize,
    /// The numbers that were learned.
    pub numbers: usize,
    /// How often the examples were gone through.
    pub epochs: usize,
    /// The mean loss of those judged, by the artifact alone; NaN where none was.
    pub artifact: f64,
    /// The same by what is learned from the examples before them.
    pub learned: f64,
    /// How sure it is that the loss falls, in standard deviations of a normal distribution.
    pub certainty: f64,
    /// Whether the ranker goes on with what it learned, or with the artifact alone.
    pub taken: bool,
}

#[wasm_bindgen]
impl Ranker {
    /// Says how it learns from now on, as JSON; what is absent is as by default. `most` is how many examples are kept; of `learning`, `learns` is
    /// `{"type": "patch", "numbers": 16, "rank": 8}` or `{"type": "layers", "names": [..]}`.
    #[wasm_bindgen(js_name = learnBy)]
    pub fn learn_by(&mut self, settings: &str) -> Result<(), JsError> {
        self.app.learn_by(settings).map_err(mended)
    }

    /// A candidate is shown, at a place from 1, or 0 where places mean nothing: an example with no label yet. Call it before the user can do
    /// anything. Gives the example's number.
    pub fn show(&mut self, candidate: usize, position: u32) -> Result<f64, JsError> {
        Ok(self.app.show(candidate, position).map_err(mended)? as f64)
    }

    /// Says what a task's label of an example is. Gives whether the example is still kept.
    pub fn label(&mut self, example: f64, task: &str, label: f32) -> Result<bool, JsError> {
        self.app.label(example as u64, task, label).map_err(mended)
    }

    /// Learns from the examples with labels, and goes on with what helps. It takes a moment: call it when the user does not wait.
    pub fn learn(&mut self) -> Result<Lesson, JsError> {
        let learn::Lesson { examples, judged, numbers, epochs, artifact, learned, certainty, taken } =
            self.app.learn().map_err(mended)?;
        Ok(Lesson { examples, judged, numbers, epochs, artifact, learned, certainty, taken })
    }

    /// What was learned, for the page to keep; empty where nothing is in use.
    pub fn learned(&mut self) -> Result<Vec<u8>, JsError> {
        self.app.learned().map_err(mended)
    }

    /// Goes on by what `learned` gave; by the artifact alone where that is empty. Bytes that are damaged, or that were learned for another version
    /// of the model, are refused.
    #[wasm_bindgen(js_name = useLearned)]
    pub fn use_learned(&mut self, bytes: &[u8]) -> Result<(), JsError> {
        self.app.use_learned(bytes).map_err(mended)
    }
}
