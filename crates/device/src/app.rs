//! What an app of any language holds: a ranker, and once it has declared its events an agent around it.

use crate::agent::{Agent, Meaning};
use crate::behaviour::{Config, Event, Layout, Outcome, Storage, Store};
use crate::session::Session;
use crate::trigger::{Trigger, Triggers};
use kitestring_core::artifact::Artifact;
use kitestring_core::{Error, Result, json};
use serde::Serialize;
use std::collections::BTreeMap;

/// What an app declares of its events. It is written as JSON, so that every language says it in the same way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Declaration {
    /// The names of what a user can do.
    pub actions: Vec<String>,
    /// The names of an event's texts.
    pub columns: Vec<String>,
    /// The names of an event's numbers.
    pub numbers: Vec<String>,
    /// How much is kept, and how soon it is on disk.
    pub store: Config,
    /// What something follows from.
    pub triggers: Vec<Trigger>,
    /// The action that makes a task's label positive, by the task's name, where it is not called like the task.
    pub tasks: BTreeMap<String, String>,
    /// The action that histories of all events list.
    pub shown: Option<String>,
}

kitestring_core::fields!(Declaration { actions, columns, numbers, store, triggers, tasks, shown });

/// What a user did, by names.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Done<'a> {
    /// The action's name.
    pub action: &'a str,
    /// A text for each of [`Declaration::columns`]; an empty one means that there is none.
    pub texts: &'a [&'a str],
    /// A number for each of [`Declaration::numbers`]; one that is not a number means that there is none.
    pub numbers: &'a [f32],
    /// When, in milliseconds since 1970.
    pub time: i64,
    /// A number by which a second delivery of the same event is known.
    pub id: Option<u64>,
}

/// What followed from an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// Whether it counts: not if it came twice, or too late to be kept.
    pub kept: bool,
    /// The numbers of the triggers it set off, among those declared.
    pub fired: Vec<u32>,
    /// Whether a history changed, so that candidates may be in another order now.
    pub moved: bool,
}

/// What an app holds.
pub struct App {
    pub(crate) held: Held,
    #[cfg(feature = "train")]
    pub(crate) learner: crate::learn::Learner,
}

pub(crate) enum Held {
    Session(Box<Session>),
    Agent(Box<Agent>),
    /// A declaration did not fit the ranker.
    Nothing,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.held {
            Held::Session(_) => "App(session)",
            Held::Agent(_) => "App(agent)",
            Held::Nothing => "App(nothing)",
        })
    }
}

impl Held {
    pub(crate) fn session(&mut self) -> Result<&mut Session> {
        match self {
            Self::Session(session) => Ok(session),
            Self::Agent(agent) => Ok(agent.session()),
            Self::Nothing => {
                Err(Error::config("the ranker was closed, for a declaration did not fit it").mend("open it again"))
            }
        }
    }
}

impl App {
    /// A ranker whose app keeps histories by itself, until it [observes](Self::observe).
    pub fn new(session: Session) -> Self {
        Self {
            held: Held::Session(Box::new(session)),
            #[cfg(feature = "train")]
            learner: Default::default(),
        }
    }

    /// The ranker.
    ///
    /// # Errors
    /// A declaration before did not fit it.
    pub fn session(&mut self) -> Result<&mut Session> {
        self.held.session()
    }

    /// From now on what the user does is kept in a storage, moves the histories and sets off triggers. `now` is the device's clock, in
    /// milliseconds since 1970.
    ///
    /// # Errors
    /// A declaration that cannot be read or contradicts itself, a storage that cannot be used: the ranker stays as it is. One that does
    /// not fit the ranker's histories: the ranker is closed.
    pub fn observe(&mut self, declaration: &str, storage: Box<dyn Storage + Send>, now: i64) -> Result<()> {
        let declared: Declaration = json::from_slice(declaration.as_bytes()).map_err(|error| {
            Error::config("the declaration of events cannot be read").caused_by(error).mend("see app::Declaration")
        })?;
        let [actions, columns, numbers] = [&declared.actions, &declared.columns, &declared.numbers]
            .map(|names| names.iter().map(String::as_str).collect::<Vec<_>>());
        let layout = Layout::new(&actions, &columns, &numbers)?;
        let triggers = Triggers::new(&layout, &declared.triggers)?;
        self.session()?;
        // One log at a time: an agent that is there lets go of its own first.
        let session = match std::mem::replace(&mut self.held, Held::Nothing) {
            Held::Session(session) => session,
            held => {
                self.held = held;
                return Err(Error::config("the ranker observes events already").mend("open it again to declare others"));
            }
        };
        let store = match Store::open(storage, layout, declared.store, now) {
            Ok((store, _)) => store,
            Err(error) => {
                self.held = Held::Session(session);
                return Err(error);
            }
        };
        let meaning = Meaning { tasks: declared.tasks, shown: declared.shown };
        self.held = Held::Agent(Box::new(Agent::new(*session, store, triggers, meaning, now)?));
        Ok(())
    }

    /// The user did something.
    ///
    /// # Errors
    /// Nothing was declared; an event that does not fit what was; what the storage says.
    pub fn push(&mut self, done: &Done<'_>, now: i64) -> Result<Effect> {
        let agent = self.agent()?;
        let action = agent.store().layout().action(done.action)?;
        let Done { texts, numbers, time, id, .. } = *done;
        let happened = agent.push(&Event { time, action, texts, numbers, id }, now)?;
        let kept = matches!(happened.pushed.outcome, Outcome::Appended | Outcome::Inserted { .. });
        Ok(Effect { kept, fired: happened.fired.to_vec(), moved: happened.moved })
    }

    /// Goes on with another artifact, and with what was declared and done: as [`Agent::renew`]. Histories that the app keeps by itself it sets
    /// again.
    ///
    /// # Errors
    /// A declaration before did not fit; as [`Agent::renew`]: the artifact before stays.
    pub fn renew(&mut self, artifact: Artifact, now: i64) -> Result<()> {
        if let Held::Agent(agent) = &mut self.held {
            return agent.renew(artifact, now);
        }
        let session = self.session()?;
        *session = session.renewed(artifact)?;
        Ok(())
    }

    /// Forgets what the user did, and what was learned of it.
    ///
    /// # Errors
    /// Nothing was declared, and so nothing done is known; what the storage says.
    pub fn forget(&mut self, now: i64) -> Result<()> {
        #[cfg(feature = "train")]
        {
            self.learner.forget();
            self.session()?.personalize(None)?;
        }
        self.agent()?.forget(now)
    }

    /// Around the ranker, once events were declared.
    ///
    /// # Errors
    /// Nothing was declared.
    pub fn agent(&mut self) -> Result<&mut Agent> {
        match &mut self.held {
            Held::Agent(agent) => Ok(agent),
            _ => Err(Error::config("the ranker observes no events").mend("declare them first, by observe")),
        }
    }
}
