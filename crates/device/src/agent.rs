//! All of a device together: what the user does goes into the store, sets off triggers and moves the histories by which candidates are ranked.

use crate::behaviour::{Event, Outcome, Pushed, Store};
use crate::encode::Value;
use crate::session::{Ranking, Session};
use crate::trigger::Triggers;
use kitestring_core::artifact::Artifact;
use kitestring_core::{Error, Result};
use std::collections::BTreeMap;

/// Which of an app's actions a schema speaks of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meaning {
    /// The action that makes a task's label positive, by the task's name, where it is not called like the task.
    pub tasks: BTreeMap<String, String>,
    /// The action that histories of all events list: what was shown. Needed where a schema has one.
    pub shown: Option<String>,
}

/// A user's device.
pub struct Agent {
    store: Store,
    triggers: Triggers,
    session: Session,
    meaning: Meaning,
    histories: Vec<Histories>,
}

/// Histories that list values of the same events.
#[derive(Debug)]
struct Histories {
    action: u16,
    length: usize,
    /// Each history's name and the store's column of what it lists.
    listed: Vec<(String, usize)>,
}

/// What followed from an event.
#[derive(Debug)]
pub struct Happened<'a> {
    /// What became of the event.
    pub pushed: Pushed,
    /// The numbers of the triggers it set off, in the order in which they were declared.
    pub fired: &'a [u32],
    /// Whether a history changed, so that candidates may be in another order now.
    pub moved: bool,
}

impl Agent {
    /// A device with a store, triggers and a ranker. Histories are read out of the store.
    ///
    /// # Errors
    /// A history of a column or an action that the store does not have: the field is the history's name.
    pub fn new(session: Session, store: Store, triggers: Triggers, meaning: Meaning, now: i64) -> Result<Self> {
        let histories = histories(&session, &store, &meaning)?;
        let mut agent = Self { store, triggers, session, meaning, histories };
        agent.read_histories(now)?;
        Ok(agent)
    }

    /// The user did something. `now` is the device's clock, in milliseconds since 1970.
    ///
    /// # Errors
    /// An event that does not fit the layout; what the storage says: then it counts for nothing.
    pub fn push(&mut self, event: &Event<'_>, now: i64) -> Result<Happened<'_>> {
        let pushed = self.store.push(event, now)?;
        let listed = self.histories.iter().filter(|of| of.action == event.action);
        let moved = match pushed.outcome {
            Outcome::Appended => {
                for of in listed {
                    let value = |column: usize| event.texts.get(column).copied().unwrap_or_default();
                    let values: Vec<(&str, &str)> =
                        of.listed.iter().map(|(name, column)| (name.as_str(), value(*column))).collect();
                    self.session.append(&values)?;
                }
                self.histories.iter().any(|of| of.action == event.action)
            }
            Outcome::Inserted { .. } if listed.count() > 0 => {
                self.read_histories(now)?;
                true
            }
            _ => false,
        };
        let fired = match pushed.outcome {
            Outcome::Appended | Outcome::Inserted { .. } => self.triggers.feed(event),
            _ => &[],
        };
        Ok(Happened { pushed, fired, moved })
    }

    /// Candidates that the cloud found for a version of the model.
    ///
    /// # Errors
    /// Candidates for another version than that of the ranker: the ones before stay. As [`Session::set_candidates`].
    pub fn set_candidates(&mut self, version: &str, features: &[&str], candidates: &[&[Value<'_>]]) -> Result<()> {
        self.session.expect_version(version)?;
        self.session.set_candidates(features, candidates)
    }

    /// Ranks the candidates as things are now.
    ///
    /// # Errors
    /// As [`Session::rank`].
    pub fn rank(&mut self) -> Result<Ranking<'_>> {
        self.session.rank()
    }

    /// Goes on with another artifact, and with what was learned if its network is the same. The events are raw, so they are read anew by its vocabularies; candidates are asked for again, and what
    /// was set of the user and the moment is set again.
    ///
    /// # Errors
    /// An artifact of another version of the engine, or one whose histories the store does not have: the one before stays.
    pub fn renew(&mut self, artifact: Artifact, now: i64) -> Result<()> {
        let mut session = self.session.renewed(artifact)?;
        let histories = histories(&session, &self.store, &self.meaning)?;
        read_histories(&mut session, &histories, &self.store, now)?;
        (self.session, self.histories) = (session, histories);
        Ok(())
    }

    /// Forgets what the user did.
    ///
    /// # Errors
    /// What the storage says.
    pub fn forget(&mut self, now: i64) -> Result<()> {
        self.triggers.reset();
        let cleared = self.store.clear();
        self.read_histories(now)?;
        cleared
    }

    /// What the user and the moment are.
    pub fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// What the user did.
    pub fn store(&mut self) -> &mut Store {
        &mut self.store
    }

    /// The triggers.
    pub fn triggers(&self) -> &Triggers {
        &self.triggers
    }

    fn read_histories(&mut self, now: i64) -> Result<()> {
        read_histories(&mut self.session, &self.histories, &self.store, now)
    }
}

/// Reads all histories out of a store.
fn read_histories(session: &mut Session, histories: &[Histories], store: &Store, now: i64) -> Result<()> {
    for of in histories {
        for (name, column) in &of.listed {
            let actions = [of.action];
            let newest = store.last(of.length, &actions, now);
            let mut values: Vec<&str> = newest.map(|event| event.text(*column)).collect();
            values.reverse();
            session.set(name, Value::List(&values))?;
        }
    }
    session.remember_all()
}

/// The histories of a session's schema, as a store has them.
fn histories(session: &Session, store: &Store, meaning: &Meaning) -> Result<Vec<Histories>> {
    let (schema, layout) = (session.schema(), store.layout());
    let mut all: Vec<Histories> = Vec::new();
    for feature in &schema.features {
        let Some(history) = &feature.history else { continue };
        let action = match &history.when {
            Some(task) => Some(meaning.tasks.get(task).unwrap_or(task)),
            None => meaning.shown.as_ref(),
        };
        let action = action.ok_or_else(|| {
            let error = Error::config("the history lists all events, and no action says what was shown");
            error.in_field(&feature.name).mend("name it as `shown`")
        })?;
        let number = layout.action(action).map_err(|error| error.in_field(&feature.name))?;
        let column = layout.column(&history.of).map_err(|error| error.in_field(&feature.name))?;
        let listed = (feature.name.clone(), column);
        match all.iter_mut().find(|of| of.action == number && of.length == feature.length) {
            Some(of) => of.listed.push(listed),
            None => all.push(Histories { action: number, length: feature.length, listed: vec![listed] }),
        }
    }
    Ok(all)
}
