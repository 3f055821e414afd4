//! A user's moment: candidates are kept as they came, what the user does changes the history, and the same candidates are ranked anew.
//!
//! All samples of a ranking share what is the user's and the moment's, so that is encoded, pooled and gathered once.

use crate::encode::{Encoder, Value, scenarios};
use kitestring_core::artifact::Artifact;
use kitestring_core::schema::Schema;
use kitestring_core::{Batch, Error, Ids, Result};
#[cfg(feature = "train")]
use kitestring_nn::package::Personal;
use kitestring_nn::package::Runtime;
#[cfg(feature = "train")]
use kitestring_nn::package::learning::{Learning, Lesson};

/// Ranks candidates for one user.
#[derive(Debug)]
pub struct Session {
    runtime: Runtime,
    columns: Vec<Column>,
    /// The candidates, with what all share.
    batch: Batch,
    /// Whether `batch` is what was set last.
    ready: bool,
    scenarios: Vec<u32>,
    scores: Vec<f32>,
    /// The numbers of the sparse features that a recurrent state stands for.
    remembered: Vec<usize>,
    /// Whether the state is that of all events, so that the lists it stands for need not be read.
    remembers: bool,
}

/// A feature, and where its values are in a batch.
#[derive(Debug)]
struct Column {
    encoder: Encoder,
    /// The number among the sparse features, else among the numeric ones.
    at: usize,
    /// What all candidates share, or what each has: keys and, where there may be any number, where each candidate's start.
    keys: Vec<u64>,
    offsets: Vec<u32>,
    numbers: Vec<f32>,
}

/// What a ranker says of the candidates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ranking<'a> {
    /// `candidates × columns`, row-major: a probability of each binary task.
    pub scores: &'a [f32],
    /// Predictions of a candidate.
    pub columns: usize,
}

impl Ranking<'_> {
    /// The candidates by one of their predictions, the highest first; of equal ones the first.
    pub fn order(&self, column: usize) -> Vec<usize> {
        let score = |candidate: &usize| self.scores.get(candidate * self.columns + column).copied().unwrap_or(f32::NAN);
        let mut order: Vec<usize> = (0..self.scores.len() / self.columns.max(1)).collect();
        order.sort_by(|a, b| score(b).total_cmp(&score(a)));
        order
    }
}

impl Session {
    /// A session with the ranker of an artifact.
    ///
    /// # Errors
    /// An artifact of another version of the engine.
    pub fn new(artifact: Artifact) -> Result<Self> {
        let runtime = Runtime::open(artifact)?;
        let manifest = runtime.artifact().manifest();
        let (mut sparse, mut numeric) = (0, 0);
        let columns = Encoder::all(manifest)?.into_iter().map(|encoder| {
            let count = if encoder.feature.is_sparse() { &mut sparse } else { &mut numeric };
            *count += 1;
            let at = *count - 1;
            let (keys, offsets, numbers) = Default::default();
            Column { encoder, at, keys, offsets, numbers }
        });
        let columns = columns.collect();
        let scenarios = vec![0; manifest.schema.scenarios.len()];
        let batch = Batch { sparse: vec![Ids::default(); sparse], ..Batch::default() };
        let remembered = runtime.remembers();
        let (scores, remembers) = (Vec::new(), false);
        let mut session = Self { runtime, columns, batch, ready: false, scenarios, scores, remembered, remembers };
        let shared: Vec<String> = session.shared().map(str::to_owned).collect();
        shared.iter().try_for_each(|feature| session.set(feature, Value::Missing))?;
        Ok(session)
    }

    /// A session with another artifact, and with what was learned on the device if that one has the same network.
    ///
    /// # Errors
    /// An artifact of another version of the engine.
    pub fn renewed(&self, artifact: Artifact) -> Result<Self> {
        #[cfg(not(feature = "train"))]
        return Self::new(artifact);
        #[cfg(feature = "train")]
        {
            let mut session = Self::new(artifact)?;
            let version = &session.runtime.artifact().manifest().version;
            if let Some(personal) = self.runtime.personal().filter(|personal| personal.version() == version) {
                session.personalize(Some(personal.clone()))?;
            }
            Ok(session)
        }
    }

    /// The meaning of the columns.
    pub fn schema(&self) -> &Schema {
        &self.runtime.artifact().manifest().schema
    }

    /// The ranker.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The names of the features of the user and the moment, which all candidates share.
    pub fn shared(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().filter(|column| !column.encoder.is_of_the_item()).map(Column::name)
    }

    /// The names of the features that each candidate has.
    pub fn of_items(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().filter(|column| column.encoder.is_of_the_item()).map(Column::name)
    }

    /// Sets a feature of the user or the moment; what was never set is missing.
    ///
    /// # Errors
    /// A feature there is not, one of the candidates, a value of another kind: nothing is changed then.
    pub fn set(&mut self, feature: &str, value: Value<'_>) -> Result<()> {
        let column = self.column(feature, false)?;
        let (sparse, at) = (column.is_sparse(), column.at);
        if sparse {
            let mut keys = Vec::new();
            column.encoder.keys(value, &mut keys)?;
            column.keys = keys;
        } else {
            let number = column.encoder.number(value)?;
            column.numbers.clear();
            column.numbers.push(number);
        }
        self.ready = false;
        // A state of events that are gone is worth nothing.
        self.remembers &= !(sparse && self.remembered.contains(&at));
        Ok(())
    }

    /// Adds an event to the end of the histories that list it: a value for each, by the history's name. Of more than its length the oldest
    /// goes. A recurrent state takes one step, however long the history.
    ///
    /// # Errors
    /// A feature that is no list: nothing is changed then.
    pub fn append(&mut self, event: &[(&str, &str)]) -> Result<()> {
        for (feature, _) in event {
            if !self.column(feature, false)?.encoder.feature.is_ragged() {
                return Err(Error::data("only a list is added to").in_field(*feature));
            }
        }
        for (feature, value) in event {
            let column = self.column(feature, false)?;
            if column.keys.len() >= column.encoder.feature.length {
                column.keys.remove(0);
            }
            let key = column.encoder.key(value);
            column.keys.push(key);
        }
        self.ready = false;
        if self.remembers {
            // Histories that the event is not in have nothing new.
            self.remember(|column| usize::from(event.iter().any(|(feature, _)| *feature == column.name())))?;
        }
        Ok(())
    }

    /// Reads the histories into the recurrent state anew, where the ranker has one. From then on an event costs one step. A state outlives the
    /// events that fell out of a history: to have it start again from those that are left, call this.
    ///
    /// # Errors
    /// Histories that are read together and differ in length.
    pub fn remember_all(&mut self) -> Result<()> {
        if self.remembered.is_empty() {
            return Ok(());
        }
        self.runtime.forget();
        self.remembers = false;
        self.remember(|_| usize::MAX)?;
        self.remembers = true;
        self.ready = false;
        Ok(())
    }

    /// Has the recurrent state read the last events, as many as `last` says of each history.
    fn remember(&mut self, last: impl Fn(&Column) -> usize) -> Result<()> {
        let mut events = Batch { rows: 1, scenarios: self.scenarios.clone(), ..Batch::default() };
        for column in self.columns.iter().filter(|column| column.is_sparse()) {
            let ragged = column.encoder.feature.is_ragged();
            let shared = !column.encoder.is_of_the_item();
            // Nothing of a candidate enters a state.
            let keys = match (ragged, shared) {
                (true, true) => &column.keys[column.keys.len().saturating_sub(last(column))..],
                (false, true) => &column.keys[..],
                (true, false) => &[],
                (false, false) => &[0],
            };
            let offsets = if ragged { vec![0, keys.len() as u32] } else { Vec::new() };
            events.sparse.push(Ids { ids: keys.to_vec(), offsets, list_of_row: Vec::new() });
        }
        events.numeric = vec![0.0; self.columns.iter().filter(|column| !column.is_sparse()).count()];
        self.runtime.remember(&events)
    }

    /// Says in which scenario the user is: the raw value of each level, the outermost first.
    pub fn set_scenarios(&mut self, values: &[&str]) {
        self.scenarios.clear();
        scenarios(self.runtime.artifact().manifest(), values, &mut self.scenarios);
        self.ready = false;
    }

    /// Puts candidates in the place of those before: their features by name, and the values of each candidate in this order.
    ///
    /// # Errors
    /// A feature that is missing or unknown, values that are too few or of another kind: the ones before stay.
    pub fn set_candidates(&mut self, features: &[&str], candidates: &[&[Value<'_>]]) -> Result<()> {
        for feature in features {
            self.column(feature, true)?;
        }
        if let Some(missing) = self.of_items().find(|name| !features.contains(name)) {
            let error = Error::data("the candidates lack a feature that the ranker reads").in_field(missing);
            return Err(error.mend("give it, as Missing where it is not known"));
        }
        if let Some((number, _)) = candidates.iter().enumerate().find(|(_, values)| values.len() != features.len()) {
            let what = format!("candidate {number} does not have one value for each of {} features", features.len());
            return Err(Error::data(what));
        }
        let mut encoded = Vec::with_capacity(features.len());
        for (at, feature) in features.iter().enumerate() {
            let column = self.column(feature, true)?;
            let (mut keys, mut offsets, mut numbers) = (Vec::new(), vec![0], Vec::new());
            for values in candidates {
                if column.is_sparse() {
                    column.encoder.keys(values[at], &mut keys)?;
                    offsets.push(keys.len() as u32);
                } else {
                    numbers.push(column.encoder.number(values[at])?);
                }
            }
            encoded.push((keys, offsets, numbers));
        }
        for (feature, (keys, offsets, numbers)) in features.iter().zip(encoded) {
            let column = self.column(feature, true)?;
            (column.keys, column.offsets, column.numbers) = (keys, offsets, numbers);
        }
        self.batch.rows = candidates.len();
        self.ready = false;
        Ok(())
    }

    /// That candidates are for this ranker: those found by the vectors of another version are not.
    ///
    /// # Errors
    /// Another version than the artifact's.
    pub fn expect_version(&self, version: &str) -> Result<()> {
        let own = &self.runtime.artifact().manifest().version;
        if own == version {
            return Ok(());
        }
        let what = format!("the candidates are for model {version}, and the device has {own}");
        Err(Error::data(what).mend("ask for candidates of the device's version, or update the artifact"))
    }

    /// Ranks the candidates as things are now. Where nothing was set since, nothing is encoded again.
    ///
    /// # Errors
    /// Histories that are read together and differ in length.
    pub fn rank(&mut self) -> Result<Ranking<'_>> {
        if !self.ready {
            self.assemble();
        }
        self.scores.clear();
        match (self.batch.rows, self.remembers) {
            (0, _) => {}
            (_, true) => self.runtime.score_remembering(&self.batch, &mut self.scores)?,
            (_, false) => self.runtime.score(&self.batch, &mut self.scores)?,
        }
        Ok(Ranking { scores: &self.scores, columns: self.runtime.width() })
    }

    /// The candidates as the engine reads them.
    pub fn batch(&mut self) -> &Batch {
        if !self.ready {
            self.assemble();
        }
        &self.batch
    }

    /// A candidate as it is now, as a sample of its own without labels: with all lists, those that a recurrent state stands for, too.
    ///
    /// # Errors
    /// No such candidate.
    #[cfg(feature = "train")]
    pub fn example(&self, candidate: usize, position: u32) -> Result<Batch> {
        if candidate >= self.batch.rows {
            let rows = self.batch.rows;
            return Err(Error::data(format!("there is no candidate {candidate}: {rows} were set, numbered from 0")));
        }
        let (scenarios, labels) = (self.scenarios.clone(), vec![f32::NAN; self.schema().tasks.len()]);
        let mut example = Batch { rows: 1, scenarios, labels, position: vec![position], ..Batch::default() };
        for column in &self.columns {
            let at = if column.encoder.is_of_the_item() { candidate } else { 0 };
            if !column.is_sparse() {
                example.numeric.push(column.numbers.get(at).copied().unwrap_or_default());
                continue;
            }
            let ragged = column.encoder.feature.is_ragged();
            let keys = match (ragged, column.encoder.is_of_the_item()) {
                (true, true) => &column.keys[column.offsets[at] as usize..column.offsets[at + 1] as usize],
                (true, false) => &column.keys[..],
                (false, _) => &column.keys[at..=at],
            };
            let offsets = if ragged { vec![0, keys.len() as u32] } else { Vec::new() };
            example.sparse.push(Ids { ids: keys.to_vec(), offsets, list_of_row: Vec::new() });
        }
        Ok(example)
    }

    /// Learns from examples with labels, the oldest first, and goes on with what helps.
    ///
    /// # Errors
    /// As [`Runtime::learn`]: the session goes on as before.
    #[cfg(feature = "train")]
    pub fn learn(&mut self, examples: &[&Batch], learning: &Learning) -> Result<Lesson> {
        let lesson = self.runtime.learn(examples, learning)?;
        self.begin_again()?;
        Ok(lesson)
    }

    /// Goes on by what was learned on this device, or by the artifact alone.
    ///
    /// # Errors
    /// As [`Runtime::personalize`]: the session goes on as before.
    #[cfg(feature = "train")]
    pub fn personalize(&mut self, personal: Option<Personal>) -> Result<()> {
        self.runtime.personalize(personal)?;
        self.begin_again()
    }

    /// A ranker that changed has remembered nothing.
    #[cfg(feature = "train")]
    fn begin_again(&mut self) -> Result<()> {
        if self.remembers { self.remember_all() } else { Ok(()) }
    }

    fn column(&mut self, feature: &str, of_item: bool) -> Result<&mut Column> {
        let known = |column: &Column| column.name() == feature && column.encoder.is_of_the_item() == of_item;
        if let Some(at) = self.columns.iter().position(known) {
            return Ok(&mut self.columns[at]);
        }
        let whose = if of_item { "of candidates" } else { "of the user or the moment" };
        let error = Error::data(format!("the ranker reads no such feature {whose}")).in_field(feature);
        let names = self.columns.iter().filter(|column| column.encoder.is_of_the_item() == of_item).map(Column::name);
        Err(error.suggest(feature, names))
    }

    /// Makes the batch of what was set.
    fn assemble(&mut self) {
        let (rows, numeric) = (self.batch.rows, self.columns.iter().filter(|column| !column.is_sparse()).count());
        self.batch.numeric.resize(rows * numeric, 0.0);
        for column in &self.columns {
            let of_item = column.encoder.is_of_the_item();
            if !column.is_sparse() {
                for row in 0..rows {
                    let number = column.numbers.get(if of_item { row } else { 0 }).copied().unwrap_or_default();
                    self.batch.numeric[row * numeric + column.at] = number;
                }
                continue;
            }
            let ids = &mut self.batch.sparse[column.at];
            ids.clear();
            let ragged = column.encoder.feature.is_ragged();
            if self.remembers && self.remembered.contains(&column.at) {
                // The state stands for it.
                ids.offsets.extend([0, 0]);
                ids.list_of_row.resize(rows, 0);
                continue;
            }
            ids.ids.extend_from_slice(&column.keys);
            if of_item {
                if ragged {
                    ids.offsets.extend_from_slice(&column.offsets);
                }
            } else {
                if ragged {
                    ids.offsets.extend([0, column.keys.len() as u32]);
                }
                ids.list_of_row.resize(rows, 0);
            }
        }
        self.batch.scenarios.clear();
        (0..rows).for_each(|_| self.batch.scenarios.extend_from_slice(&self.scenarios));
        self.ready = true;
    }
}

impl Column {
    fn name(&self) -> &str {
        &self.encoder.feature.name
    }

    fn is_sparse(&self) -> bool {
        self.encoder.feature.is_sparse()
    }
}
