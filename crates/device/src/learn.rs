//! Learning on the device: what was shown, what the user made of it, and a few numbers learned from both.
//!
//! An example is taken when a candidate is shown, before the user does anything: what follows changes the histories, and a history that
//! holds a click would give the click away. Its labels come when they are known. Nothing of all this leaves the device.

use crate::app::App;
use crate::session::Session;
use kitestring_core::schema::TaskKind;
use kitestring_core::{Batch, Error, Result};
use kitestring_nn::package::Personal;
pub use kitestring_nn::package::learning::{Learning, Lesson};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// How a device learns, and from how much. An app writes it as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The most examples that are kept; of more the oldest go.
    pub most: usize,
    /// How they are learned from.
    pub learning: Learning,
}

impl Default for Settings {
    fn default() -> Self {
        Self { most: 1000, learning: Learning::default() }
    }
}

impl Settings {
    /// Reads settings from JSON; what is absent is as by default.
    ///
    /// # Errors
    /// A config error that names the key.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |error| Error::config("the settings of learning cannot be read").caused_by(error);
        let settings: Self = serde_json::from_str(text).map_err(wrong)?;
        settings.learning.check()?;
        Ok(settings)
    }
}

/// What was shown and what became of it.
#[derive(Debug, Default)]
pub struct Learner {
    settings: Settings,
    /// One sample each, the oldest first.
    examples: VecDeque<Batch>,
    /// The number of the oldest one.
    first: u64,
    /// The version of the artifact that encoded them.
    version: String,
}

impl Learner {
    /// A learner without examples.
    pub fn new(settings: Settings) -> Self {
        Self { settings, examples: VecDeque::new(), first: 0, version: String::new() }
    }

    /// Learns in another way from now on.
    pub fn set(&mut self, settings: Settings) {
        self.settings = settings;
        self.shrink();
    }

    /// A candidate is shown, at a place from 1 or 0 where places mean nothing: an example with no label yet. Gives its number.
    ///
    /// # Errors
    /// No such candidate; histories that are read together and differ in length.
    pub fn show(&mut self, session: &Session, candidate: usize, position: u32) -> Result<u64> {
        let example = session.example(candidate, position)?;
        let version = &session.runtime().artifact().manifest().version;
        // Another artifact may read other features, and numbers otherwise.
        if self.version != *version {
            self.forget();
            self.version.clone_from(version);
        }
        self.examples.push_back(example);
        let number = self.first + self.examples.len() as u64 - 1;
        self.shrink();
        Ok(number)
    }

    /// Says what a task's label of an example is. Gives whether the example is still kept.
    ///
    /// # Errors
    /// No such task, a label it cannot have.
    pub fn label(&mut self, session: &Session, example: u64, task: &str, label: f32) -> Result<bool> {
        let tasks = &session.schema().tasks;
        let names = || tasks.iter().map(|task| task.name.as_str());
        let number = session
            .schema()
            .task(task)
            .ok_or_else(|| Error::data("the ranker has no such task").in_field(task).suggest(task, names()))?;
        let sound = match tasks[number].kind {
            TaskKind::Binary => label == 0.0 || label == 1.0,
            TaskKind::Count => label >= 0.0 && label.is_finite(),
            TaskKind::Regression => label.is_finite(),
        };
        if !sound {
            return Err(Error::data(format!("{label} is no label of a {:?} task", tasks[number].kind)).in_field(task));
        }
        let kept = example.checked_sub(self.first).and_then(|at| self.examples.get_mut(usize::try_from(at).ok()?));
        Ok(kept.map(|example| example.labels[number] = label).is_some())
    }

    /// How many examples there are.
    pub fn len(&self) -> usize {
        self.examples.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.examples.is_empty()
    }

    /// Learns from the examples whose labels are known; a session goes on with what helps. It takes a moment, so call it when the user does
    /// not wait: where a device charges, or between two screens.
    ///
    /// # Errors
    /// What [`Runtime::learn`](kitestring_nn::package::Runtime::learn) says: the session goes on as before.
    pub fn learn(&mut self, session: &mut Session) -> Result<Lesson> {
        if self.version != session.runtime().artifact().manifest().version {
            self.forget();
        }
        let examples: Vec<&Batch> = self.examples.iter().collect();
        session.learn(&examples, &self.settings.learning)
    }

    /// Forgets all examples.
    pub fn forget(&mut self) {
        self.first += self.examples.len() as u64;
        self.examples.clear();
    }

    fn shrink(&mut self) {
        while self.examples.len() > self.settings.most {
            self.examples.pop_front();
            self.first += 1;
        }
    }
}

impl App {
    /// Says how it learns from now on, in JSON: [`Settings`].
    ///
    /// # Errors
    /// As [`Settings::parse`].
    pub fn learn_by(&mut self, settings: &str) -> Result<()> {
        self.learner.set(Settings::parse(settings)?);
        Ok(())
    }

    /// A candidate is shown: [`Learner::show`].
    ///
    /// # Errors
    /// As that.
    pub fn show(&mut self, candidate: usize, position: u32) -> Result<u64> {
        self.learner.show(self.held.session()?, candidate, position)
    }

    /// What a label of an example is: [`Learner::label`].
    ///
    /// # Errors
    /// As that.
    pub fn label(&mut self, example: u64, task: &str, label: f32) -> Result<bool> {
        self.learner.label(self.held.session()?, example, task, label)
    }

    /// Learns: [`Learner::learn`].
    ///
    /// # Errors
    /// As that.
    pub fn learn(&mut self) -> Result<Lesson> {
        self.learner.learn(self.held.session()?)
    }

    /// What was learned, for the app to keep where only it can read; empty where nothing is in use.
    ///
    /// # Errors
    /// A declaration before did not fit the ranker.
    pub fn learned(&mut self) -> Result<Vec<u8>> {
        self.session()?.runtime().personal().map_or_else(|| Ok(Vec::new()), Personal::to_bytes)
    }

    /// Goes on by what [`Self::learned`] gave; by the artifact alone where that is empty.
    ///
    /// # Errors
    /// Bytes that are damaged or were learned for another version: the ranker goes on as before.
    pub fn use_learned(&mut self, bytes: &[u8]) -> Result<()> {
        let personal = if bytes.is_empty() { None } else { Some(Personal::from_bytes(bytes)?) };
        self.session()?.personalize(personal)
    }
}
