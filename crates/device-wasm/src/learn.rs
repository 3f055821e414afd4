//! Learning in a page: what was shown, what the user made of it, and what is learned from both. Nothing of it leaves the page.

use crate::{Ranker, mended};
use wasm_bindgen::prelude::*;

/// What came of learning.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Lesson {
    /// Examples that were learned from.
    pub examples: usize,
    /// Examples that were held out; with fewer than two of them nothing is learned.
    #[wasm_bindgen(js_name = heldOut)]
    pub held_out: usize,
    /// The numbers that were learned.
    pub numbers: usize,
    /// The mean loss of the examples held out, by the artifact alone; NaN where none was held out.
    pub artifact: f64,
    /// The same by what was learned before, where anything was.
    pub before: Option<f64>,
    /// The same by what was learned now.
    pub learned: f64,
    taken: &'static str,
}

#[wasm_bindgen]
impl Lesson {
    /// By what the ranker goes on, `artifact`, `before` or `learned`: something learned is taken only where it is better by more than chance
    /// explains.
    #[wasm_bindgen(getter, unchecked_return_type = "\"artifact\" | \"before\" | \"learned\"")]
    pub fn taken(&self) -> String {
        self.taken.to_owned()
    }
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
        let lesson = self.app.learn().map_err(mended)?;
        let (examples, held_out, numbers) = (lesson.examples, lesson.held_out, lesson.numbers);
        let (artifact, before, learned) = (lesson.artifact, lesson.before, lesson.learned);
        Ok(Lesson { examples, held_out, numbers, artifact, before, learned, taken: lesson.taken.name() })
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
