//! One user at one moment as a model reads it: a row that is in no file, for candidates to be ranked now.

use super::features::is_item;
use super::{Dataset, ItemTable, Manifest, Vocabularies};
use crate::prepare::PATH;
use kitestring_core::schema::{Feature, FeatureKind, Which};
use kitestring_core::value::canonical;
use kitestring_core::{Batch, Error, Ids, Result, Seed};
use std::borrow::Cow;

/// What all candidates of a user share: the features of the user and the moment, encoded as preparation encodes them, with histories that
/// hold every event.
#[derive(Debug, Clone)]
pub struct QueryRow<'a> {
    manifest: &'a Manifest,
    user: u64,
    time: i64,
    /// The ids of each sparse feature, in the order of the schema; none of a feature of the item.
    sparse: Vec<Vec<u64>>,
    /// Each numeric feature; 0 for one of the item.
    numeric: Vec<f32>,
    /// The value of each scenario level, empty where it is not known, and the number of the path down to it.
    levels: Vec<String>,
    scenarios: Vec<u32>,
}

/// Something that a user did, to be put into histories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEvent {
    /// The item's number.
    pub item: u32,
    /// The tasks that were positive, by their numbers; all of them where absent.
    pub tasks: Option<Vec<usize>>,
}

impl<'a> QueryRow<'a> {
    /// A user of whom nothing is known, who has done nothing: every feature is missing.
    pub fn unknown(manifest: &'a Manifest) -> Self {
        let schema = &manifest.schema;
        let missing = |feature: &Feature| if feature.is_ragged() || is_item(feature) { Vec::new() } else { vec![0] };
        let number = |feature: &Feature| match manifest.fitted(feature) {
            Some(fitted) if !is_item(feature) => fitted.number(f64::NAN),
            _ => 0.0,
        };
        Self {
            manifest,
            user: 0,
            time: manifest.time.map_or(0, |(_, last)| last),
            sparse: schema.sparse().map(missing).collect(),
            numeric: schema.numeric().map(number).collect(),
            levels: vec![String::new(); schema.scenarios.len()],
            scenarios: vec![0; schema.scenarios.len()],
        }
    }

    /// A user by number, with the features of the user's newest row and with all events of the user, that row's among them. `None` where the
    /// user has no row.
    ///
    /// # Errors
    /// A damaged file.
    pub fn of_user(dataset: &'a Dataset, vocabularies: &Vocabularies, user: u64) -> Result<Option<Self>> {
        let Some((split, sample)) = dataset.newest_row(user) else { return Ok(None) };
        let mut batch = Batch::default();
        dataset.split(&split)?.read(&[sample], Seed(0), &mut batch)?;
        let manifest = dataset.manifest();
        let mut row = Self { user, ..Self::unknown(manifest) };
        for (number, feature) in manifest.schema.sparse().enumerate() {
            let Some(ids) = batch.sparse.get(number).filter(|_| !is_item(feature)) else { continue };
            row.sparse[number] = match (&feature.history, manifest.histories.get(&feature.name)) {
                // What is drawn of all events does not depend on the row.
                (Some(history), Some(list)) if history.which == Which::Earlier => {
                    dataset.events(*list, user)?.map_or_else(Vec::new, |events| {
                        let count = events.len();
                        (count.saturating_sub(feature.length)..count).map(|at| events.value(at)).collect()
                    })
                }
                _ => ids.of_row(0).to_vec(),
            };
        }
        let numbers = manifest.schema.numeric().zip(&batch.numeric).zip(&mut row.numeric);
        numbers.filter(|((feature, _), _)| !is_item(feature)).for_each(|((_, from), to)| *to = *from);
        row.scenarios.clone_from(&batch.scenarios);
        if let (Some(vocabulary), Some(number)) = (manifest.scenarios.last(), batch.scenarios.last()) {
            let path = vocabularies.text(*vocabulary, (*number).into());
            row.levels.iter_mut().zip(path.split(PATH)).for_each(|(level, text)| text.clone_into(level));
        }
        row.time = batch.time.first().copied().unwrap_or(row.time);
        Ok(Some(row))
    }

    /// The user's number; 0 for a user that the data do not have.
    pub fn user(&self) -> u64 {
        self.user
    }

    /// Names a user that the data do not have: the features that are read from the user's column have the id of an unknown one, or, where ids
    /// are hashes, its own.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub fn set_user(&mut self, vocabularies: &Vocabularies, user: &str) -> Result<()> {
        let schema = &self.manifest.schema;
        let of_user = |feature: &&Feature| {
            feature.history.is_none() && !is_item(feature) && schema.user.as_deref() == Some(feature.column())
        };
        for feature in schema.features.iter().filter(of_user) {
            self.set(vocabularies, &feature.name, user)?;
        }
        Ok(())
    }

    /// Sets a feature of the user or the moment, or a scenario level, to a value as it stands in the data; an empty one is missing. Returns
    /// whether training knows the value.
    ///
    /// # Errors
    /// A config error for a name that there is not, for a feature of the item or a history, and for a text that is no number.
    pub fn set(&mut self, vocabularies: &Vocabularies, name: &str, text: &str) -> Result<bool> {
        let schema = &self.manifest.schema;
        if let Some(level) = schema.scenarios.iter().position(|level| level.name == name) {
            self.levels[level] = canonical(text).map_or_else(String::new, Cow::into_owned);
            self.find_scenarios(vocabularies);
            return Ok(self.scenarios[level] > 0);
        }
        let wrong = |what: String| Error::config(what).in_field(name);
        let Some(feature) = schema.features.iter().find(|feature| feature.name == name) else {
            let settable = schema.features.iter().filter(|feature| !is_item(feature) && feature.history.is_none());
            let names = settable.map(|feature| feature.name.as_str());
            let names = names.chain(schema.scenarios.iter().map(|level| level.name.as_str()));
            return Err(wrong(format!("there is no feature or scenario `{name}`")).suggest(name, names));
        };
        if feature.history.is_some() {
            return Err(wrong(format!("`{name}` is made of the user's events")).mend("give the events, not the list"));
        }
        if is_item(feature) {
            return Err(wrong(format!("`{name}` is the item's: each candidate has its own")).mend("leave it out"));
        }
        let number = || match text.trim() {
            "" => Ok(f64::NAN),
            text => {
                let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
                number.ok_or_else(|| wrong(format!("`{text}` is no number")).mend(format!("write {name}=1.5")))
            }
        };
        let id = |text: &str| vocabularies.id(feature.table(), text);
        let at = |found: Option<usize>| found.ok_or_else(|| Error::internal("the feature is not in the schema"));
        if !feature.is_sparse() {
            let at = at(schema.numeric().position(|known| known.name == name))?;
            let fitted = self.manifest.fitted(feature);
            self.numeric[at] = fitted.map_or(0.0, |fitted| number().map_or(f32::NAN, |number| fitted.number(number)));
            return number().map(|_| true);
        }
        let at = at(schema.sparse().position(|known| known.name == name))?;
        let mut ids: Vec<u64> = match feature.kind {
            FeatureKind::Numeric => {
                let fitted = self.manifest.fitted(feature);
                let number = number()?;
                vec![fitted.map_or(0, |fitted| fitted.bucket(number).into())]
            }
            FeatureKind::Categorical => vec![id(text)],
            FeatureKind::Multi | FeatureKind::Sequence => {
                let parts = text.split(feature.separator.as_deref().unwrap_or(","));
                parts.map(str::trim).filter(|part| !part.is_empty()).map(id).collect()
            }
        };
        let known = text.is_empty()
            || feature.kind == FeatureKind::Numeric
            || ids.iter().any(|id| *id > self.manifest.unknown_id_of(feature.table()));
        let cut = ids.len().saturating_sub(feature.length);
        match feature.kind {
            FeatureKind::Sequence => drop(ids.drain(..cut)),
            FeatureKind::Multi => ids.truncate(feature.length),
            FeatureKind::Categorical | FeatureKind::Numeric => {}
        }
        self.sparse[at] = ids;
        Ok(known)
    }

    /// Puts events, the oldest first, in the place of the user's.
    ///
    /// # Errors
    /// An item that the table does not have.
    pub fn set_history(&mut self, table: &ItemTable, events: &[HistoryEvent]) -> Result<()> {
        let schema = &self.manifest.schema;
        table.check(&events.iter().map(|event| event.item).collect::<Vec<u32>>())?;
        for (number, feature) in schema.sparse().enumerate() {
            let Some(history) = &feature.history else { continue };
            let listed = schema.sparse().position(|listed| listed.name == history.of);
            let Some(listed) = listed else { continue };
            let when = history.when.as_deref().and_then(|task| schema.task(task));
            let seen = |event: &&HistoryEvent| {
                when.is_none_or(|task| event.tasks.as_ref().is_none_or(|tasks| tasks.contains(&task)))
            };
            let mut ids = Ids::default();
            for event in events.iter().filter(seen) {
                if table.sparse[listed].is_some() {
                    table.put_sparse(listed, event.item, &mut ids);
                } else {
                    // What is the moment's was not given for this event.
                    ids.ids.push(0);
                }
            }
            let cut = ids.ids.len().saturating_sub(feature.length);
            self.sparse[number] = ids.ids.split_off(cut);
        }
        Ok(())
    }

    /// Fills a batch with this row alone, without an item: what a query tower reads.
    pub fn put(&self, batch: &mut Batch) {
        batch.clear();
        self.put_shared(1, batch);
        batch.numeric.extend_from_slice(&self.numeric);
    }

    /// Fills a batch with this row for each of some items of a table. Labels are missing; lists are stored once.
    ///
    /// # Errors
    /// An item that the table does not have.
    pub fn put_candidates(&self, table: &ItemTable, items: &[u32], batch: &mut Batch) -> Result<()> {
        batch.clear();
        table.put(items, batch)?;
        let width = self.numeric.len().max(1);
        for numbers in batch.numeric.chunks_exact_mut(width) {
            let shared = self.numeric.iter().zip(numbers).zip(&table.numeric);
            shared.filter(|(_, of_item)| of_item.is_none()).for_each(|((from, to), _)| *to = *from);
        }
        self.put_shared(items.len(), batch);
        Ok(())
    }

    /// Puts everything but numbers and what is the item's into a batch of rows.
    fn put_shared(&self, rows: usize, batch: &mut Batch) {
        let schema = &self.manifest.schema;
        batch.rows = rows;
        batch.sparse.resize_with(self.sparse.len(), Ids::default);
        for ((feature, own), ids) in schema.sparse().zip(&self.sparse).zip(&mut batch.sparse) {
            if is_item(feature) {
                continue;
            }
            if feature.is_ragged() {
                ids.ids.extend_from_slice(own);
                ids.offsets.extend([0, own.len() as u32]);
                ids.list_of_row.extend(std::iter::repeat_n(0, rows));
            } else {
                let id = own.first().copied().unwrap_or(0);
                ids.ids.extend(std::iter::repeat_n(id, rows));
            }
        }
        (0..rows).for_each(|_| batch.scenarios.extend_from_slice(&self.scenarios));
        batch.labels.resize(rows * schema.tasks.len(), f32::NAN);
        if self.manifest.user.is_some() {
            batch.user.resize(rows, self.user);
        }
        if schema.time.is_some() {
            batch.time.resize(rows, self.time);
        }
        if schema.position.is_some() {
            batch.position.resize(rows, 0);
        }
        if schema.treatment.is_some() {
            batch.treatment.resize(rows, 0);
        }
        if schema.propensity.is_some() {
            batch.propensity.resize(rows, 1.0);
        }
        if schema.weight.is_some() {
            batch.weight.resize(rows, 1.0);
        }
        batch.index.resize(rows, 0);
    }

    /// A scenario is the path of values down to its level.
    fn find_scenarios(&mut self, vocabularies: &Vocabularies) {
        let mut path = String::new();
        for (depth, (text, vocabulary)) in self.levels.iter().zip(&self.manifest.scenarios).enumerate() {
            if depth > 0 {
                path.push(PATH);
            }
            path.push_str(text);
            let entry = if text.is_empty() { 0 } else { vocabularies.entry(*vocabulary, &path) };
            let ids = self.manifest.vocabularies.get(*vocabulary).map_or(0, |vocabulary| vocabulary.ids);
            self.scenarios[depth] = if entry < ids { entry } else { 0 };
        }
    }
}
