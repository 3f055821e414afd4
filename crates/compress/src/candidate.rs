//! A ranker on its way to a device, and the artifact it is.

use crate::usage::{Needs, Usage};
use kitestring_core::artifact::{Contents, Digest, SecretKey, TableContents};
use kitestring_core::hash::stable_hash;
use kitestring_core::{Error, Result};
use kitestring_data::dataset::manifest::MISSING;
use kitestring_data::dataset::{Dataset, Vocabularies};
use kitestring_nn::package::{Activations, Description, RowCodes};
use kitestring_table::{Route, Table};
use kitestring_train::{Model, RunConfig};
use std::collections::BTreeSet;

/// Rows pulled at once.
const ROWS: usize = 4096;

/// A key that no row has: what hashes to it is as unlikely as any other value.
const NO_KEY: u64 = u64::MAX;

/// Which rows of a table are shipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// All.
    All,
    /// Those of some ids, ascending; for the others stands their mean, weighted by their use.
    Ids(Vec<u64>),
    /// A device's own user's alone.
    Own,
}

/// A ranker on its way to a device: what training left, and what was decided since.
pub struct Candidate {
    /// The ranker, in `f32`.
    pub model: Model,
    /// The config of the run that trained it.
    pub config: RunConfig,
    /// The data set as this ranker reads it, without the features it lacks.
    pub dataset: Dataset,
    /// Which rows of each table are shipped.
    pub kept: Vec<Kept>,
    /// How they are stored.
    pub rows: Vec<RowCodes>,
    /// The weights in codes.
    pub coded: BTreeSet<String>,
    /// The products done in codes.
    pub activations: Vec<Activations>,
}

/// Whom an artifact is for.
#[derive(Debug, Clone, Copy)]
pub enum Recipient<'a> {
    /// Everybody at once: with the own rows of all users. To measure with, never to ship.
    Everybody,
    /// Devices that need these rows beside those that all have.
    With(&'a Needs),
}

/// What sealing needs beside the candidate.
#[derive(Clone, Copy)]
pub struct Sealing<'a> {
    /// What turns values into ids.
    pub vocabularies: &'a Vocabularies,
    /// How often rows were used.
    pub usage: &'a Usage,
    /// Counts up with every artifact of a publisher.
    pub release: u64,
    /// The publisher's key.
    pub key: &'a SecretKey,
}

impl Candidate {
    /// A trained ranker as it is: all rows, everything in `f32`.
    pub fn new(model: Model, config: RunConfig, dataset: Dataset) -> Self {
        let tables = model.tables.len();
        Self {
            model,
            config,
            dataset,
            kept: vec![Kept::All; tables],
            rows: vec![RowCodes::F32; tables],
            coded: BTreeSet::new(),
            activations: Vec::new(),
        }
    }

    /// How the engine runs it.
    pub fn description(&self) -> Description {
        Description {
            ranker: self.model.config.clone(),
            scenarios: self.model.scenarios.clone(),
            rows: self.rows.clone(),
            coded: self.coded.clone(),
            activations: self.activations.clone(),
        }
    }

    /// The artifact, as a file.
    ///
    /// # Errors
    /// A number that is not finite; two values of a table with one hash; a damaged file.
    pub fn seal(&self, recipient: Recipient<'_>, sealing: &Sealing<'_>) -> Result<Vec<u8>> {
        let description = self.description();
        let pages = description.pages(&self.model.graph, &self.model.network)?;
        let hashes: Vec<u8> = pages.iter().flat_map(|(_, bytes)| Digest::of(bytes).0).collect();
        let manifest = self.dataset.manifest();
        let scenario = |vocabulary: &usize| {
            let known = u64::from(manifest.vocabularies[*vocabulary].ids);
            (0..known).map(|entry| sealing.vocabularies.text(*vocabulary, entry).to_owned()).collect()
        };
        let tables = (0..self.model.tables.len()).map(|number| self.table(number, recipient, sealing));
        let contents = Contents {
            version: Digest::of(&hashes).to_string()[..16].to_owned(),
            release: sealing.release,
            vocabulary_hash: self
                .model
                .vocabulary_hash
                .as_ref()
                .map_or_else(String::new, |hash| hash.as_str().to_owned()),
            schema: self.model.schema.clone(),
            fitted: manifest.fitted.clone(),
            scenarios: manifest.scenarios.iter().map(scenario).collect(),
            model: description.to_value()?,
            tables: tables.collect::<Result<_>>()?,
            pages,
        };
        contents.seal(sealing.key)
    }

    /// The ids of a table that have rows.
    pub(crate) fn ids(&self, number: usize, usage: &Usage) -> Result<BTreeSet<u64>> {
        let table = &self.model.tables[number];
        Ok(match self.dataset.table_size(table.name())? {
            Some(rows) => (0..rows).collect(),
            None => {
                let used = usage.ranked(table.name()).into_iter().map(|(id, _)| id);
                used.filter(|id| table.contains(*id)).collect()
            }
        })
    }

    fn table(&self, number: usize, recipient: Recipient<'_>, sealing: &Sealing<'_>) -> Result<TableContents> {
        let (table, codes) = (&self.model.tables[number], self.rows[number]);
        let name = table.name();
        let mut ids: BTreeSet<u64> = match (&self.kept[number], recipient) {
            (Kept::All, _) | (Kept::Own, Recipient::Everybody) => self.ids(number, sealing.usage)?,
            (Kept::Ids(ids), _) => ids.iter().copied().collect(),
            (Kept::Own, Recipient::With(_)) => BTreeSet::new(),
        };
        if let Recipient::With(needs) = recipient {
            ids.extend(needs.get(name).into_iter().flatten());
        }
        // A missing value has a row under the key 0. A value that the vocabulary does not hold has no key: its row is the default one.
        let direct = self.dataset.table_size(name)?.is_some();
        if direct {
            ids.insert(MISSING);
        }
        let unknown = self.dataset.manifest().unknown_id_of(name);
        if unknown != MISSING {
            ids.remove(&unknown);
        }
        // Of what all have, so that a user's own rows change no page of it.
        let dropped: Vec<(u64, u64)> = match &self.kept[number] {
            Kept::Ids(kept) => {
                let used = sealing.usage.ranked(name).into_iter();
                let has_row = |id: &u64| *id == MISSING || *id != unknown && kept.binary_search(id).is_ok();
                used.filter(|(id, _)| !has_row(id)).collect()
            }
            _ => Vec::new(),
        };
        let default = if dropped.is_empty() {
            if direct { rows_of(table, &[unknown])? } else { vec![0.0; table.dim()] }
        } else {
            mean(table, &dropped)?
        };
        let ids: Vec<u64> = ids.into_iter().collect();
        let key = self.keys(name, sealing.vocabularies)?;
        let mut keyed: Vec<(u64, u64)> = ids.iter().map(|id| (key(*id), *id)).collect();
        keyed.sort_unstable();
        if let Some(pair) = keyed.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            let what = format!("two values of the table `{name}` have one hash: rows {} and {}", pair[0].1, pair[1].1);
            return Err(Error::data(what));
        }
        let mut contents = TableContents {
            name: name.to_owned(),
            default: Vec::new(),
            keys: keyed.iter().map(|(key, _)| *key).collect(),
            rows: Vec::with_capacity(keyed.len() * codes.row_bytes(table.dim())),
        };
        codes.encode(&default, &mut contents.default)?;
        for part in keyed.chunks(ROWS) {
            let ids: Vec<u64> = part.iter().map(|(_, id)| *id).collect();
            for row in rows_of(table, &ids)?.chunks_exact(table.dim()) {
                codes.encode(row, &mut contents.rows).map_err(|error| error.in_field(name))?;
            }
        }
        Ok(contents)
    }

    /// The key of an artifact's row, from an id of a table; that of an unknown value is the key of no row.
    ///
    /// # Errors
    /// There is no such table.
    pub fn keys<'a>(&self, table: &str, vocabularies: &'a Vocabularies) -> Result<impl Fn(u64) -> u64 + 'a> {
        let known = self.dataset.manifest().tables.iter().find(|info| info.name == table);
        let known = known.ok_or_else(|| Error::internal(format!("the data set has no table `{table}`")))?;
        let (vocabulary, name) = (known.vocabulary, table.to_owned());
        Ok(move |id| match vocabulary {
            Some(_) if id == MISSING => MISSING,
            Some(_) => vocabularies.value(&name, id).map_or(NO_KEY, stable_hash),
            None => id,
        })
    }
}

/// The rows of some ids.
pub(crate) fn rows_of(table: &Table, ids: &[u64]) -> Result<Vec<f32>> {
    let mut route = Route::new();
    table.route(ids, &mut route)?;
    let mut rows = vec![0.0; ids.len() * table.dim()];
    table.gather(&mut route, &mut rows)?;
    Ok(rows)
}

/// The mean of some rows, each as often as it was used.
pub(crate) fn mean(table: &Table, used: &[(u64, u64)]) -> Result<Vec<f32>> {
    let mut sum = vec![0.0_f64; table.dim()];
    let total: f64 = used.iter().map(|(_, count)| *count as f64).sum();
    for part in used.chunks(ROWS) {
        let ids: Vec<u64> = part.iter().map(|(id, _)| *id).collect();
        for (row, (_, count)) in rows_of(table, &ids)?.chunks_exact(table.dim()).zip(part) {
            sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x) * *count as f64);
        }
    }
    Ok(sum.into_iter().map(|sum| (sum / total.max(1.0)) as f32).collect())
}
