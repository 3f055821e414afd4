//! The device runtime for Kotlin, Swift and Python, by UniFFI: what is written here is what those languages see.

#[cfg(feature = "train")]
mod learn;

use kitestring_core::artifact::{Aligned, Artifact, PublicKey};
use kitestring_device::app::{App, Done};
use kitestring_device::behaviour::{Files, Memory, Storage};
use kitestring_device::encode::Value as Borrowed;
use kitestring_device::session::Session;
use kitestring_device::{map, shelf};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

uniffi::setup_scaffolding!("kitestring");

/// Why a call failed.
#[derive(Debug, uniffi::Error)]
#[uniffi(flat_error)]
pub enum KitestringError {
    /// A config that does not fit.
    Config(String),
    /// A value, a feature or a candidate that the ranker cannot read.
    Data(String),
    /// An artifact that is damaged, not to be trusted, or of another version.
    Format(String),
    /// The file system refused.
    Io(String),
    /// A number that is not finite.
    Numeric(String),
    /// A defect of Kitestring.
    Internal(String),
}

impl std::fmt::Display for KitestringError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Config(message)
        | Self::Data(message)
        | Self::Format(message)
        | Self::Io(message)
        | Self::Numeric(message)
        | Self::Internal(message)) = self;
        f.write_str(message)
    }
}

impl std::error::Error for KitestringError {}

impl From<kitestring_core::Error> for KitestringError {
    fn from(error: kitestring_core::Error) -> Self {
        let message = error.to_string();
        match error.kind() {
            kitestring_core::Kind::Config => Self::Config(message),
            kitestring_core::Kind::Data => Self::Data(message),
            kitestring_core::Kind::Format => Self::Format(message),
            kitestring_core::Kind::Io => Self::Io(message),
            kitestring_core::Kind::Numeric => Self::Numeric(message),
            _ => Self::Internal(message),
        }
    }
}

type Result<T> = std::result::Result<T, KitestringError>;

/// A value, as an app has it.
#[derive(Debug, Clone, PartialEq, uniffi::Enum)]
pub enum Value {
    /// There is none.
    Missing,
    /// A text: the id of an item, a category, a city.
    Text {
        /// The text.
        text: String,
    },
    /// A number.
    Number {
        /// The number.
        number: f64,
    },
    /// Several texts: tags, or a history that the app keeps by itself, oldest first.
    Texts {
        /// The texts.
        texts: Vec<String>,
    },
}

impl Value {
    /// The texts of a list, for a [`Borrowed`] to borrow.
    fn list(&self) -> Vec<&str> {
        if let Self::Texts { texts } = self { borrowed(texts) } else { Vec::new() }
    }

    fn borrow<'a>(&'a self, list: &'a [&'a str]) -> Borrowed<'a> {
        match self {
            Self::Missing => Borrowed::Missing,
            Self::Text { text } => Borrowed::Text(text),
            Self::Number { number } => Borrowed::Number(*number),
            Self::Texts { .. } => Borrowed::List(list),
        }
    }
}

fn borrowed(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

fn owned<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    names.map(str::to_owned).collect()
}

fn keys(keys: &[String]) -> Result<Vec<PublicKey>> {
    Ok(keys.iter().map(|key| PublicKey::from_hex(key, "the keys")).collect::<std::result::Result<_, _>>()?)
}

fn in_file(path: &str, trusted: &[String]) -> Result<Artifact> {
    Ok(map::open(Path::new(path), &keys(trusted)?)?)
}

fn in_memory(artifact: &[u8], trusted: &[String]) -> Result<Artifact> {
    Ok(Artifact::open(Box::new(Aligned::from(artifact)), &keys(trusted)?)?)
}

/// What a ranker says of the candidates.
#[derive(Debug, Clone, PartialEq, uniffi::Record)]
pub struct Ranking {
    /// For each candidate its predictions: a probability of each binary task.
    pub scores: Vec<Vec<f32>>,
    /// For each prediction the candidates, the highest first; of equal ones the first.
    pub orders: Vec<Vec<u32>>,
}

/// Something a user did.
#[derive(Debug, Clone, PartialEq, uniffi::Record)]
pub struct Event {
    /// The action's name.
    pub action: String,
    /// A text for each declared column; an empty one means that there is none.
    pub texts: Vec<String>,
    /// A number for each declared one; one that is not a number means that there is none.
    pub numbers: Vec<f32>,
    /// When, in milliseconds since 1970.
    pub time: i64,
    /// A number by which a second delivery of the same event is known.
    pub id: Option<u64>,
}

/// What followed from an event.
#[derive(Debug, Clone, PartialEq, uniffi::Record)]
pub struct Effect {
    /// Whether it counts: not if it came twice, or too late to be kept.
    pub kept: bool,
    /// The numbers of the triggers it set off, among those declared.
    pub fired: Vec<u32>,
    /// Whether a history changed, so that candidates may be in another order now.
    pub moved: bool,
}

/// Ranks candidates for one user. It may be used by several threads, one at a time.
#[derive(Debug, uniffi::Object)]
pub struct Ranker {
    app: Mutex<App>,
}

impl Ranker {
    fn of(artifact: Artifact) -> Result<Arc<Self>> {
        Ok(Arc::new(Self { app: Mutex::new(App::new(Session::new(artifact)?)) }))
    }

    /// A thread that panicked left a session whose values are whole, if not all that it meant to set.
    fn app(&self) -> MutexGuard<'_, App> {
        self.app.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[uniffi::export]
impl Ranker {
    /// Opens the artifact in a file, which is mapped into memory and must not be changed meanwhile. `trusted` are the keys of who may publish, each
    /// 64 hexadecimal digits.
    #[uniffi::constructor]
    pub fn open(path: &str, trusted: &[String]) -> Result<Arc<Self>> {
        Self::of(in_file(path, trusted)?)
    }

    /// Opens an artifact in memory.
    #[uniffi::constructor]
    pub fn from_bytes(artifact: Vec<u8>, trusted: &[String]) -> Result<Arc<Self>> {
        Self::of(in_memory(&artifact, trusted)?)
    }

    /// Goes on with the artifact in a file: what was observed and declared stays, and histories are read anew by what it knows. Candidates are asked
    /// for again, and what was set of the user and the moment is set again. `now` is the device's clock, in milliseconds since 1970. Where the
    /// artifact is refused, or what was declared does not fit its histories, the one before stays, with all that was set.
    pub fn renew_file(&self, path: &str, trusted: &[String], now: i64) -> Result<()> {
        Ok(self.app().renew(in_file(path, trusted)?, now)?)
    }

    /// Goes on with an artifact in memory. Otherwise as `renew_file`.
    pub fn renew_bytes(&self, artifact: Vec<u8>, trusted: &[String], now: i64) -> Result<()> {
        Ok(self.app().renew(in_memory(&artifact, trusted)?, now)?)
    }

    /// Goes on with the artifact in use on a shelf. Otherwise as `renew_file`.
    pub fn renew_shelf(&self, shelf: &Shelf, now: i64) -> Result<()> {
        let current = shelf.shelf().current()?;
        let none = || KitestringError::Data("nothing was installed on the shelf yet: install an artifact first".into());
        Ok(self.app().renew(current.ok_or_else(none)?, now)?)
    }

    /// The version of the model.
    pub fn version(&self) -> Result<String> {
        Ok(self.app().session()?.runtime().artifact().manifest().version.clone())
    }

    /// The number of the artifact, which counts up with every one that is published.
    pub fn release(&self) -> Result<u64> {
        Ok(self.app().session()?.runtime().artifact().manifest().release)
    }

    /// The features of the user and the moment, which all candidates share.
    pub fn shared(&self) -> Result<Vec<String>> {
        Ok(owned(self.app().session()?.shared()))
    }

    /// The features that each candidate has.
    pub fn of_items(&self) -> Result<Vec<String>> {
        Ok(owned(self.app().session()?.of_items()))
    }

    /// The levels of the scenario, the outermost first.
    pub fn scenarios(&self) -> Result<Vec<String>> {
        Ok(owned(self.app().session()?.schema().scenarios.iter().map(|level| level.name.as_str())))
    }

    /// What is predicted of a candidate: a column of the scores each.
    pub fn predictions(&self) -> Result<Vec<String>> {
        Ok(owned(self.app().session()?.runtime().packaged().graph.outputs().iter().map(|(name, _)| name.as_str())))
    }

    /// Sets a feature of the user or the moment; what was never set is missing.
    pub fn set(&self, feature: &str, value: &Value) -> Result<()> {
        Ok(self.app().session()?.set(feature, value.borrow(&value.list()))?)
    }

    /// Adds an event to the ends of histories: a text to each feature that lists something of this event. Of more than its length the oldest
    /// goes.
    pub fn append(&self, event: HashMap<String, String>) -> Result<()> {
        let event: Vec<(&str, &str)> = event.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Ok(self.app().session()?.append(&event)?)
    }

    /// Reads the histories into the recurrent state anew, where the ranker has one: from then on an event costs one step.
    pub fn remember_all(&self) -> Result<()> {
        Ok(self.app().session()?.remember_all()?)
    }

    /// From now on what the user does is kept in the file `log`, moves the histories and sets off triggers; without a file it is kept in memory
    /// alone. The declaration is JSON: `actions`, `columns` and `numbers` are lists of names, `triggers` what something follows from. `now` is the
    /// device's clock, in milliseconds since 1970. A declaration that does not fit the ranker's histories closes the ranker.
    pub fn observe(&self, declaration: &str, log: Option<String>, now: i64) -> Result<()> {
        let storage: Box<dyn Storage + Send> = match log {
            Some(log) => Box::new(Files::new(log)),
            None => Box::new(Memory::default()),
        };
        Ok(self.app().observe(declaration, storage, now)?)
    }

    /// The user did something.
    pub fn push(&self, event: &Event, now: i64) -> Result<Effect> {
        let Event { action, texts, numbers, time, id } = event;
        let done = Done { action, texts: &borrowed(texts), numbers, time: *time, id: *id };
        let effect = self.app().push(&done, now)?;
        Ok(Effect { kept: effect.kept, fired: effect.fired, moved: effect.moved })
    }

    /// Forgets what the user did.
    pub fn forget(&self, now: i64) -> Result<()> {
        Ok(self.app().forget(now)?)
    }

    /// Says in which scenario the user is: a text for each level, the outermost first.
    pub fn set_scenarios(&self, values: &[String]) -> Result<()> {
        self.app().session()?.set_scenarios(&borrowed(values));
        Ok(())
    }

    /// Puts candidates in the place of those before: the names of all features of candidates, and for each candidate its values in this
    /// order. `version` is that of the model that found them, by its vectors: with another one than the ranker's they are refused, and the ones
    /// before stay.
    #[uniffi::method(default(version = None))]
    pub fn set_candidates(
        &self,
        features: &[String],
        candidates: &[Vec<Value>],
        version: Option<String>,
    ) -> Result<()> {
        let lists: Vec<Vec<Vec<&str>>> = candidates.iter().map(|row| row.iter().map(Value::list).collect()).collect();
        let values = candidates.iter().zip(&lists).map(|(row, lists)| {
            row.iter().zip(lists).map(|(value, list)| value.borrow(list)).collect::<Vec<Borrowed<'_>>>()
        });
        let values: Vec<Vec<Borrowed<'_>>> = values.collect();
        let rows: Vec<&[Borrowed<'_>]> = values.iter().map(Vec::as_slice).collect();
        let mut app = self.app();
        let session = app.session()?;
        version.map_or(Ok(()), |version| session.expect_version(&version))?;
        Ok(session.set_candidates(&borrowed(features), &rows)?)
    }

    /// Ranks the candidates as things are now.
    pub fn rank(&self) -> Result<Ranking> {
        let mut app = self.app();
        let ranking = app.session()?.rank()?;
        let order = |column| ranking.order(column).into_iter().map(|candidate| candidate as u32).collect();
        Ok(Ranking {
            scores: ranking.scores.chunks(ranking.columns.max(1)).map(<[f32]>::to_vec).collect(),
            orders: (0..ranking.columns).map(order).collect(),
        })
    }
}

/// A folder with the artifact that is in use. What is new is checked before it takes the place of what is there, and a kill or a full disk at
/// any moment leaves one of them whole.
#[derive(Debug, uniffi::Object)]
pub struct Shelf {
    shelf: Mutex<shelf::Shelf>,
}

impl Shelf {
    /// One thread at a time: two would write the same file.
    fn shelf(&self) -> MutexGuard<'_, shelf::Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[uniffi::export]
impl Shelf {
    /// Opens a folder, which is made where it is not there. `trusted` are the keys of who may publish, each 64 hexadecimal digits.
    #[uniffi::constructor]
    pub fn new(folder: &str, trusted: &[String]) -> Result<Arc<Self>> {
        Ok(Arc::new(Self { shelf: Mutex::new(shelf::Shelf::new(Path::new(folder), &keys(trusted)?)?) }))
    }

    /// The ranker of the artifact in use; none before the first one.
    pub fn ranker(&self) -> Result<Option<Arc<Ranker>>> {
        let current = self.shelf().current()?;
        current.map(Ranker::of).transpose()
    }

    /// Puts an artifact in the place of the one in use. `provided` names the features that the app provides: an artifact that reads another is
    /// refused, and so is an older one. The one in use stays then.
    pub fn install(&self, artifact: Vec<u8>, provided: &[String]) -> Result<Arc<Ranker>> {
        Ranker::of(self.shelf().install(&artifact, &borrowed(provided))?)
    }

    /// Makes the newer artifact of the one in use and a delta, and puts it in its place. Otherwise as `install`.
    pub fn update(&self, delta: Vec<u8>, provided: &[String]) -> Result<Arc<Ranker>> {
        Ranker::of(self.shelf().update(&delta, &borrowed(provided))?)
    }
}
