//! The vocabularies of a data set: what is needed to encode values as a model learnt them.

use super::file;
use super::items::{ItemTable, NAMES};
use super::manifest::{MANIFEST, MISSING, Manifest, VocabularyInfo};
use crate::prepare::{ITEMS, Interner, PATH};
use arrow_array::cast::AsArray;
use arrow_array::types::UInt32Type;
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use kitestring_core::hash::stable_hash;
use kitestring_core::schema::Vocabulary;
use kitestring_core::value::canonical;
use kitestring_core::{Error, Result, VocabularyHash, VocabularyHasher};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The manifest, the vocabularies and the item table of a data set. They can be copied into a run's directory and opened
/// there without the rows.
pub struct Vocabularies {
    directory: PathBuf,
    manifest: Manifest,
    texts: Vec<ArrayRef>,
    counts: Vec<ArrayRef>,
    items: Option<ItemTable>,
    finders: OnceLock<Vec<Interner>>,
}

impl Vocabularies {
    /// Opens the vocabularies of a data set directory, or of a copy.
    ///
    /// # Errors
    /// Another format number, or a missing or damaged file.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self> {
        let directory = directory.as_ref();
        let manifest = Manifest::read(directory)?;
        let mut texts = Vec::with_capacity(manifest.vocabularies.len());
        let mut counts = Vec::with_capacity(manifest.vocabularies.len());
        for vocabulary in &manifest.vocabularies {
            let [values, counted] = columns(directory, &manifest, vocabulary)?;
            texts.push(values);
            counts.push(counted);
        }
        let items = ItemTable::open(directory, &manifest)?;
        Ok(Self { directory: directory.to_owned(), manifest, texts, counts, items, finders: OnceLock::new() })
    }

    /// The same with the items of a file that [`change_items`](crate::prepare::change_items) wrote in place of the data set's: those that
    /// came later have names, numbers and features as well, and no ids.
    ///
    /// # Errors
    /// A missing or damaged file, or items of another data set.
    pub fn with_items(mut self, path: &Path) -> Result<Self> {
        const MEND: &str =
            "remove the file, build the index again with kitestring retrieve index, and add the items again";
        let Some(item) = self.manifest.item else {
            return Err(Error::config("the data do not know the item of a row").in_field("schema.item"));
        };
        let table = file::read(path, None).map_err(|error| error.mend(MEND))?;
        let names = table.column_by_name(NAMES).filter(|names| names.data_type() == &DataType::LargeUtf8);
        let before = self.manifest.vocabularies[item].entries;
        let same = |names: &&ArrayRef| {
            let texts = names.as_string::<i64>();
            texts.len() >= before as usize
                && (0..before).all(|number| texts.value(number as usize) == self.text(item, number.into()))
        };
        let Some(names) = names.filter(same).cloned() else {
            let error = Error::format("these are not the items of the data set").in_file(path.display().to_string());
            return Err(error.mend(MEND));
        };
        self.items = Some(ItemTable::of(&table, path, &self.manifest.schema).map_err(|error| error.mend(MEND))?);
        self.manifest.vocabularies[item].entries = names.len() as u32;
        self.texts[item] = names;
        self.finders = OnceLock::new();
        Ok(self)
    }

    /// What tells these ids from those of others.
    ///
    /// # Errors
    /// A missing or damaged file.
    pub fn vocabulary_hash(&self) -> Result<VocabularyHash> {
        vocabulary_hash(&self.directory, &self.manifest)
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The item table; none where the schema has no item.
    pub fn items(&self) -> Option<&ItemTable> {
        self.items.as_ref()
    }

    /// Copies the manifest, the vocabularies and the item table into a directory.
    ///
    /// # Errors
    /// What the machine refuses.
    pub fn copy_to(&self, directory: &Path) -> Result<()> {
        std::fs::create_dir_all(directory).map_err(|cause| Error::io(cause, "cannot make the folder", directory))?;
        let vocabularies = self.manifest.vocabularies.iter().map(|vocabulary| vocabulary.file.as_str());
        let items = self.manifest.item.map(|_| ITEMS);
        // The manifest comes last: where it is, the rest is.
        for name in vocabularies.chain(items).chain([MANIFEST]) {
            let to = directory.join(name);
            std::fs::copy(self.directory.join(name), &to).map_err(|cause| Error::io(cause, "cannot copy to", &to))?;
        }
        Ok(())
    }

    /// The text of an entry of a vocabulary; empty for entry 0 and entries there are not.
    pub fn text(&self, vocabulary: usize, entry: u64) -> &str {
        let Some(values) = self.texts.get(vocabulary) else { return "" };
        let Some(entry) = usize::try_from(entry).ok().filter(|entry| *entry < values.len()) else { return "" };
        match values.as_string_opt::<i32>() {
            Some(values) => values.value(entry),
            None => values.as_string_opt::<i64>().map_or("", |values| values.value(entry)),
        }
    }

    /// The number of training rows of an entry of a vocabulary; 0 for entries there are not.
    pub fn count(&self, vocabulary: usize, entry: u64) -> u32 {
        let counts = self.counts.get(vocabulary).map(|counts| counts.as_primitive::<UInt32Type>().values());
        let entry = usize::try_from(entry).ok();
        counts.zip(entry).and_then(|(counts, entry)| counts.get(entry).copied()).unwrap_or(0)
    }

    /// The text of an id of a table; none for a missing value, an unknown one, ids there are not and tables without a vocabulary.
    pub fn value(&self, table: &str, id: u64) -> Option<&str> {
        let (vocabulary, entry) = self.entry_of(table, id)?;
        Some(self.text(vocabulary, entry))
    }

    /// [`Self::value`], or in words what stands in its place: `missing` or `unknown`.
    pub fn value_in_words(&self, table: &str, id: u64) -> &str {
        self.value(table, id).unwrap_or(if id == MISSING { "missing" } else { "unknown" })
    }

    /// The vocabulary of a table and the entry of one of its ids; none as for [`Self::value`].
    pub fn entry_of(&self, table: &str, id: u64) -> Option<(usize, u64)> {
        let info = self.manifest.tables.iter().find(|info| info.name == table)?;
        let vocabulary = info.vocabulary?;
        let entry = id.checked_sub(self.manifest.unknown_id())?;
        (entry > 0 && entry < u64::from(self.manifest.vocabularies[vocabulary].ids)).then_some((vocabulary, entry))
    }

    /// The text of a user's number.
    pub fn user(&self, number: u64) -> &str {
        self.manifest.user.map_or("", |vocabulary| self.text(vocabulary, number))
    }

    /// The text of an item's number.
    pub fn item(&self, number: u64) -> &str {
        self.manifest.item.map_or("", |vocabulary| self.text(vocabulary, number))
    }

    /// The path of a scenario, its values from the outermost level joined by ` / `.
    pub fn scenario(&self, level: usize, index: u32) -> String {
        let vocabulary = self.manifest.scenarios.get(level);
        vocabulary.map_or_else(String::new, |vocabulary| self.text(*vocabulary, index.into()).replace(PATH, " / "))
    }

    /// The id of a value in a table: that of missing values for an empty text, and that of unknown ones where the vocabulary does not hold it;
    /// 0 where there is no such table of texts. The first call indexes the vocabularies.
    pub fn id(&self, table: &str, text: &str) -> u64 {
        let unknown = || if canonical(text).is_none() { MISSING } else { self.manifest.unknown_id_of(table) };
        self.find(table, text).unwrap_or_else(unknown)
    }

    /// The id of a value in a table, however it is written ([`canonical`]); none where it is missing, where the vocabulary does not hold it, or
    /// where there is no such table of texts. The first call indexes the vocabularies.
    pub fn find(&self, table: &str, text: &str) -> Option<u64> {
        let info = self.manifest.tables.iter().find(|info| info.name == table)?;
        let text = canonical(text)?;
        match (info.vocabulary, self.manifest.schema.vocabulary(table)) {
            (Some(vocabulary), _) => {
                let entry = self.entry(vocabulary, &text);
                let known = entry > 0 && entry < self.manifest.vocabularies[vocabulary].ids;
                known.then(|| u64::from(entry) + self.manifest.unknown_id())
            }
            (None, Vocabulary::Hashed { buckets }) => Some(stable_hash(&text) % buckets.max(1)),
            (None, Vocabulary::Open) => Some(stable_hash(&text)),
            (None, Vocabulary::Known { .. }) => None,
        }
    }

    /// The entry of a text in a vocabulary, such as the number of a user, however it is written ([`canonical`]); 0 where there is none.
    pub fn entry(&self, vocabulary: usize, text: &str) -> u32 {
        let finders = self.finders.get_or_init(|| self.texts.iter().map(interner).collect());
        canonical(text).and_then(|text| finders.get(vocabulary)?.find(&text)).unwrap_or(0)
    }

    /// Fresh interners whose numbers are the entries.
    pub(crate) fn interners(&self) -> Result<Vec<Interner>> {
        let interners: Vec<_> = self.texts.iter().map(interner).collect();
        for (interner, vocabulary) in interners.iter().zip(&self.manifest.vocabularies) {
            if interner.len() != vocabulary.entries as usize {
                return Err(Error::format("a value is listed twice")
                    .in_file(self.directory.join(&vocabulary.file).display().to_string())
                    .mend("prepare the data set again"));
            }
        }
        Ok(interners)
    }
}

/// The texts and counts of a vocabulary.
fn columns(directory: &Path, manifest: &Manifest, vocabulary: &VocabularyInfo) -> Result<[ArrayRef; 2]> {
    let path = directory.join(&vocabulary.file);
    let table = file::read(&path, manifest.files.get(&vocabulary.file).copied())?;
    let values = table.column_by_name("value").filter(|values| {
        matches!(values.data_type(), DataType::Utf8 | DataType::LargeUtf8)
            && values.len() == vocabulary.entries as usize
            && !values.is_empty()
    });
    let counted = table.column_by_name("count").filter(|counts| counts.data_type() == &DataType::UInt32);
    let (values, counted) = values.zip(counted).ok_or_else(|| {
        Error::format("not the vocabulary that was written")
            .in_file(path.display().to_string())
            .mend("prepare the data set again")
    })?;
    Ok([values.clone(), counted.clone()])
}

/// What tells the ids of a data set directory, or of a copy of its vocabularies, from those of others: as its manifest says, or, where an
/// older version wrote it, as its files do.
pub(crate) fn vocabulary_hash(directory: &Path, manifest: &Manifest) -> Result<VocabularyHash> {
    match &manifest.vocabulary_hash {
        Some(hash) => Ok(hash.clone()),
        None => hash_files(directory, manifest),
    }
}

/// Hashes, in this order: each table's name, its vocabulary and what is done without one; the vocabularies of users, items, arms and
/// scenarios; what was fitted to each numeric feature; and each vocabulary's name, its number of ids, and its texts.
pub(crate) fn hash_files(directory: &Path, manifest: &Manifest) -> Result<VocabularyHash> {
    let mut hasher = VocabularyHasher::default();
    let optional = |hasher: &mut VocabularyHasher, number: Option<usize>| {
        hasher.number(number.map_or(u64::MAX, |number| number as u64));
    };
    for table in &manifest.tables {
        hasher.text(&table.name);
        optional(&mut hasher, table.vocabulary);
        match manifest.schema.vocabulary(&table.name) {
            Vocabulary::Known { .. } => hasher.number(0),
            Vocabulary::Hashed { buckets } => hasher.number(buckets.max(1)),
            Vocabulary::Open => hasher.number(u64::MAX),
        }
    }
    for number in [manifest.user, manifest.item, manifest.treatment] {
        optional(&mut hasher, number);
    }
    manifest.scenarios.iter().for_each(|level| hasher.number(*level as u64));
    for fitted in &manifest.fitted {
        hasher.text(&fitted.feature);
        hasher.text(&format!("{:?}", fitted.transform));
        let numbers = [fitted.mean, fitted.deviation].into_iter().chain(fitted.borders.iter().copied());
        numbers.for_each(|number| hasher.number(number.to_bits()));
    }
    for vocabulary in &manifest.vocabularies {
        hasher.text(&vocabulary.name);
        hasher.number(vocabulary.ids.into());
        let [values, _] = columns(directory, manifest, vocabulary)?;
        if let Some(values) = values.as_string_opt::<i32>() {
            values.iter().for_each(|text| hasher.text(text.unwrap_or_default()));
        } else if let Some(values) = values.as_string_opt::<i64>() {
            values.iter().for_each(|text| hasher.text(text.unwrap_or_default()));
        }
    }
    Ok(hasher.finish())
}

fn interner(values: &ArrayRef) -> Interner {
    let mut interner = Interner::default();
    if let Some(values) = values.as_string_opt::<i32>() {
        values.iter().skip(1).flatten().for_each(|text| _ = interner.intern(text));
    } else if let Some(values) = values.as_string_opt::<i64>() {
        values.iter().skip(1).flatten().for_each(|text| _ = interner.intern(text));
    }
    interner
}
