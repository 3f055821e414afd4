//! A prepared data set: a directory of Arrow files that batches are read out of.
//!
//! | file | holds |
//! |---|---|
//! | `manifest.json` | the schema, sizes, counts and everything fitted |
//! | `SPLIT-NNNNN.arrow` | rows of a split in columns |
//! | `users-NNNNN.arrow` | the users of those rows: their events, and their items in each split |
//! | `users.arrow` | where each user is |
//! | `items.arrow` | the features of each item |
//! | `vocabulary-N-NAME.arrow` | the text and count of each entry |
//! | `candidates-SPLIT.arrow` | the candidates given for a split |
//!
//! The files are uncompressed and used where they lie, mapped into memory. Ids are as narrow as the largest one allows.

mod column;
mod features;
pub(crate) mod file;
pub(crate) mod items;
pub mod manifest;
mod map;
mod negatives;
mod order;
pub mod outcomes;
mod query;
mod split;
#[cfg(test)]
mod tests;
mod users;
mod vocabulary;

pub use items::ItemTable;
pub use manifest::Manifest;
pub use order::{Order, Permutation};
pub use query::{HistoryEvent, QueryRow};
pub use split::{Candidates, Split};
pub use vocabulary::Vocabularies;
pub(crate) use vocabulary::hash_files;

use kitestring_core::{Error, Result, Schema, VocabularyHash};
use outcomes::TrainingOutcomes;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
pub(crate) use users::UserEvents;
use users::Users;

/// The places of the splits whose events come before those of the split at a place: `train` comes before `valid`, and both before all
/// others, which do not come before one another.
pub(crate) fn earlier(names: &[&str], split: usize) -> impl Iterator<Item = usize> + use<> {
    let own = names.get(split).copied();
    let before = ["train", "valid"].into_iter().take_while(|earlier| Some(*earlier) != own);
    let places = before.filter_map(|earlier| names.iter().position(|name| *name == earlier));
    places.collect::<Vec<_>>().into_iter()
}

/// What all splits share.
pub(crate) struct Shared {
    manifest: Manifest,
    items: Option<ItemTable>,
    users: Option<Users>,
    /// Number of sparse features.
    sparse: usize,
    /// Number of numeric features.
    numeric: usize,
}

/// A prepared data set. It can be read by many threads at once.
pub struct Dataset {
    directory: PathBuf,
    shared: Arc<Shared>,
    splits: Vec<Split>,
    /// Of its training split, or of the past's, once they are asked for.
    outcomes: OnceLock<Arc<TrainingOutcomes>>,
    /// What a data set with the same vocabularies knows, whose events are all earlier.
    past: OnceLock<Arc<Shared>>,
}

impl Dataset {
    /// Opens a data set directory. Its files are mapped, not read.
    ///
    /// # Errors
    /// No such directory, another format number, or a missing, truncated or damaged file.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self> {
        let directory = directory.as_ref();
        Self::of(directory, Manifest::read(directory)?)
    }

    /// The same data set without some features: as a model that does not know them reads it. Nothing is copied.
    ///
    /// # Errors
    /// A feature there is not; a history that stays of a feature that goes; what the file system says.
    pub fn without(&self, features: &[String]) -> Result<Self> {
        Self::of(&self.directory, self.manifest().without(features)?)
    }

    fn of(directory: &Path, manifest: Manifest) -> Result<Self> {
        let shared = Arc::new(Shared {
            items: ItemTable::open(directory, &manifest)?,
            users: Users::open(directory, &manifest)?,
            sparse: manifest.schema.sparse().count(),
            numeric: manifest.schema.numeric().count(),
            manifest,
        });
        let infos = shared.manifest.splits.iter().enumerate();
        let splits = infos.map(|(index, info)| Split::open(directory, index, info, &shared)).collect::<Result<_>>()?;
        Ok(Self { directory: directory.to_owned(), shared, splits, outcomes: OnceLock::new(), past: OnceLock::new() })
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.shared.manifest
    }

    /// The meaning of the columns.
    pub fn schema(&self) -> &Schema {
        &self.shared.manifest.schema
    }

    /// Opens its vocabularies.
    ///
    /// # Errors
    /// A missing or damaged file.
    pub fn vocabularies(&self) -> Result<Vocabularies> {
        Vocabularies::open(&self.directory)
    }

    /// What tells its ids from those of other data sets.
    ///
    /// # Errors
    /// A missing or damaged file.
    pub fn vocabulary_hash(&self) -> Result<VocabularyHash> {
        vocabulary::vocabulary_hash(&self.directory, self.manifest())
    }

    /// Where it lies.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The number of rows of a table; none where it is open.
    ///
    /// # Errors
    /// There is no such table.
    pub fn table_size(&self, table: &str) -> Result<Option<u64>> {
        let info = self.manifest().tables.iter().find(|info| info.name == table);
        info.map(|info| info.rows).ok_or_else(|| Error::config(format!("the data set has no table `{table}`")))
    }

    /// The number of scenarios at each level, with number 0: those not seen in training.
    pub fn scenario_counts(&self) -> Vec<usize> {
        let manifest = self.manifest();
        manifest.scenarios.iter().map(|vocabulary| manifest.vocabularies[*vocabulary].ids as usize).collect()
    }

    /// The splits, `train` first.
    pub fn splits(&self) -> &[Split] {
        &self.splits
    }

    /// The split of a name.
    ///
    /// # Errors
    /// There is none: the message lists those there are.
    pub fn split(&self, name: &str) -> Result<&Split> {
        self.splits.iter().find(|split| split.name() == name).ok_or_else(|| self.manifest().no_split(name))
    }

    /// The names of the splits that come before one, where it is one: `train` before `valid`, and both before all others.
    pub fn earlier_splits(&self, split: &str) -> Vec<&str> {
        let names: Vec<&str> = self.splits.iter().map(Split::name).collect();
        let place = names.iter().position(|name| *name == split).unwrap_or(names.len());
        earlier(&names, place).map(|place| names[place]).collect()
    }

    /// What came of the rows of training: those of its own training split, where it has one, else those of the data set that
    /// [`Self::trained_on`] was given. They are gathered the first time.
    ///
    /// # Errors
    /// A damaged file.
    pub fn training_outcomes(&self) -> Result<Option<Arc<TrainingOutcomes>>> {
        if let Some(outcomes) = self.outcomes.get() {
            return Ok(Some(outcomes.clone()));
        }
        let Some(train) = self.splits.iter().find(|split| split.name() == "train") else { return Ok(None) };
        let outcomes = Arc::new(TrainingOutcomes::of(train, self.schema().tasks.len())?);
        Ok(Some(self.outcomes.get_or_init(|| outcomes).clone()))
    }

    /// Takes another data set with the same vocabularies for what came before: its training for that of this one, its users' items for what
    /// they had, and its items for known ones.
    ///
    /// # Errors
    /// As [`Self::training_outcomes`].
    pub fn trained_on(&self, other: &Self) -> Result<()> {
        if let Some(outcomes) = other.training_outcomes()? {
            self.outcomes.get_or_init(|| outcomes);
        }
        self.past.get_or_init(|| other.shared.clone());
        Ok(())
    }

    /// The distinct items, ascending, that a user has in splits before one, and in the data set it was trained on where that is another.
    pub fn items_before(&self, user: u64, split: &str) -> Vec<u32> {
        let names: Vec<&str> = self.splits.iter().map(Split::name).collect();
        let place = names.iter().position(|name| *name == split).unwrap_or(names.len());
        let own =
            self.shared.users.iter().flat_map(|users| earlier(&names, place).map(|split| users.items(user, split)));
        let past = self.past.get().filter(|past| !Arc::ptr_eq(past, &self.shared));
        let past = past.iter().flat_map(|past| {
            let splits =
                past.users.iter().flat_map(|users| (0..past.manifest.splits.len()).map(move |split| (users, split)));
            splits.map(|(users, split)| users.items(user, split))
        });
        let mut items: Vec<u32> = own.chain(past).flatten().copied().collect();
        items.sort_unstable();
        items.dedup();
        items
    }

    /// The items of any row, ascending: its own, and those of the data set it was trained on where that is another.
    pub fn known_items(&self) -> Vec<u32> {
        let items = |shared: &Shared| shared.items.as_ref().map_or_else(Vec::new, |items| items.seen().to_vec());
        let mut known = items(&self.shared);
        if let Some(past) = self.past.get() {
            known.extend(items(past));
            known.sort_unstable();
            known.dedup();
        }
        known
    }

    /// The item table; none where the schema has no item.
    pub fn items(&self) -> Option<&ItemTable> {
        self.shared.items.as_ref()
    }

    /// The distinct items that a user, by number, has in the rows of a split, ascending. Empty where the schema has no
    /// user or no item.
    ///
    /// # Errors
    /// There is no such split.
    pub fn user_items(&self, user: u64, split: &str) -> Result<&[u32]> {
        let index = self.splits.iter().position(|known| known.name() == split);
        let index = index.ok_or_else(|| self.manifest().no_split(split))?;
        Ok(self.shared.users.as_ref().map_or(&[], |users| users.items(user, index)))
    }

    /// The newest row of a user, by number: the split's name and the sample. Without times, the last row of the last split that has one; `None`
    /// where the user has no row.
    pub fn newest_row(&self, user: u64) -> Option<(String, u64)> {
        let splits = self.splits.iter().enumerate();
        let rows = splits.flat_map(|(number, split)| {
            split.of_user(user).map(move |(sample, time)| ((time.unwrap_or(0), number, sample), split.name()))
        });
        rows.max().map(|((_, _, sample), split)| (split.to_owned(), sample))
    }

    /// The events of a user in one of the lists histories are cut from; none where the user has no rows.
    pub(crate) fn events(&self, list: usize, user: u64) -> Result<Option<UserEvents<'_>>> {
        self.shared.users.as_ref().map_or(Ok(None), |users| users.events(list, user))
    }

    /// How many of some rows it has. Each is a user, an item and a time, with how often it is there.
    pub(crate) fn overlap(&self, mut rows: HashMap<(u32, u32, i64), u64>) -> u64 {
        let users: HashSet<u32> = rows.keys().map(|(user, ..)| *user).collect();
        let place = |user: &u32| self.shared.users.as_ref()?.place((*user).into()).map(|(shard, _)| shard);
        let shards: HashSet<usize> = users.iter().filter_map(place).collect();
        self.splits.iter().map(|split| split.overlap(&mut rows, &shards)).sum()
    }
}
