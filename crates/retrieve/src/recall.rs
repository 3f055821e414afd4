//! Candidates for a ranker: a retriever with its index, asked for what users may want.

use crate::config::RetrieveConfig;
use crate::encode::Encoder;
use crate::fit::MODEL;
use crate::index::{Attribute, Built, Filter, Found, Index, Items};
use crate::model::RetrieverModel;
use kitestring_core::schema::{Feature, FeatureKind, Of};
use kitestring_core::{Batch, Error, Result, Schema};
use kitestring_data::dataset::{Dataset, ItemTable, QueryRow, Split};
use kitestring_nn::engine::Workers;
use std::collections::HashSet;
use std::path::Path;

/// Where the index lies in a retriever's directory.
pub const INDEX: &str = "index";

/// Where the items of the index are described, in the same directory, once some have been added or removed: [`change_items`] writes the file.
///
/// [`change_items`]: kitestring_data::prepare::change_items
pub const ITEMS: &str = "items.arrow";

/// Queries answered at once.
const QUERIES: usize = 2048;

/// A retriever with its index.
#[derive(Debug)]
pub struct Retrieval {
    /// The towers.
    pub model: RetrieverModel,
    /// The items.
    pub index: Index,
}

/// The features whose values items can be filtered by: one id each, of the item, from a known vocabulary.
pub fn attributes(schema: &Schema) -> impl Iterator<Item = (usize, &Feature)> {
    let filters = |feature: &Feature| feature.of == Of::Item && feature.kind == FeatureKind::Categorical;
    schema
        .sparse()
        .enumerate()
        .filter(move |(_, feature)| filters(feature) && schema.item.as_deref() != Some(feature.column()))
}

/// Items as an index takes them.
struct Encoded<'a> {
    numbers: Vec<u64>,
    vectors: Vec<f32>,
    codes: Vec<(&'a str, Vec<u32>)>,
}

impl<'a> Encoded<'a> {
    /// The vectors that the item tower gives to items of a table, and the codes to filter them by.
    fn new(model: &'a RetrieverModel, table: &ItemTable, items: &[u32], workers: &dyn Workers) -> Result<Self> {
        let vectors = Encoder::new(model, workers.count()).items(table, items, workers)?;
        let mut batch = Batch::default();
        table.put(items, &mut batch)?;
        let codes = attributes(&model.schema).map(|(number, feature)| {
            let codes = batch.sparse[number].ids.iter().map(|id| u32::try_from(*id));
            let codes = codes.collect::<std::result::Result<Vec<u32>, _>>();
            codes.map(|codes| (feature.name.as_str(), codes)).map_err(|_| {
                Error::config("an open vocabulary has no codes to filter by")
                    .in_field(format!("schema.tables.{}", feature.table()))
                    .mend("give it a known or hashed vocabulary")
            })
        });
        let codes = codes.collect::<Result<_>>()?;
        Ok(Self { numbers: items.iter().map(|item| u64::from(*item)).collect(), vectors, codes })
    }

    fn with<T>(&self, use_them: impl FnOnce(&Items<'_>) -> T) -> T {
        let attributes: Vec<Attribute<'_>> = self.codes.iter().map(|(name, codes)| Attribute { name, codes }).collect();
        use_them(&Items { ids: &self.numbers, vectors: &self.vectors, attributes: &attributes })
    }
}

impl Retrieval {
    /// Builds the index of a retriever over all items of a table that are in any row; training rows are the queries that it is judged by.
    ///
    /// # Errors
    /// A vector that is not finite; an index config that names the key.
    pub fn build(
        model: RetrieverModel,
        config: &RetrieveConfig,
        (table, train): (&ItemTable, &Split),
        workers: &dyn Workers,
    ) -> Result<(Self, Option<f64>, f64)> {
        let items = Encoded::new(&model, table, table.seen(), workers)?;
        let dimension = model.vector_dimension();
        let apart = train.rows().div_ceil(QUERIES as u64).max(1);
        let samples: Vec<u64> = (0..train.rows().div_ceil(apart)).map(|number| number * apart).collect();
        let queries = Encoder::new(&model, workers.count()).queries(train, &samples, workers)?;
        let built = items
            .with(|items| Index::build(items, dimension, &config.index, &model.version, Some(&queries), workers))?;
        let Built { index, recall, seconds } = built;
        Ok((Self { model, index }, recall, seconds))
    }

    /// Adds items of a table, each once, to the index, and gives those that are there already their new vectors and attributes. Returns how
    /// many were new.
    ///
    /// # Errors
    /// A vector that is not finite, an item given twice: nothing is changed then.
    pub fn put(&self, table: &ItemTable, items: &[u32], workers: &dyn Workers) -> Result<usize> {
        let mut distinct = HashSet::with_capacity(items.len());
        if let Some(item) = items.iter().find(|item| !distinct.insert(**item)) {
            return Err(Error::data(format!("item {item} is given twice")));
        }
        let (there, new): (Vec<u32>, Vec<u32>) =
            items.iter().copied().partition(|item| self.index.contains(u64::from(*item)));
        // Both are encoded before either changes the index.
        let changed = Encoded::new(&self.model, table, &there, workers)?;
        let added = Encoded::new(&self.model, table, &new, workers)?;
        changed.with(|items| self.index.update(items, workers))?;
        added.with(|items| self.index.add(items, workers))?;
        Ok(new.len())
    }

    /// Opens a retriever's directory.
    ///
    /// # Errors
    /// A missing or damaged file, another format, an index of another model.
    pub fn open(directory: &Path) -> Result<Self> {
        let model = RetrieverModel::read(&directory.join(MODEL))?;
        let index = Index::open(&directory.join(INDEX), &model.version)?;
        Ok(Self { model, index })
    }

    /// Writes the index into a retriever's directory, beside its model.
    ///
    /// # Errors
    /// What the file system says.
    pub fn save_index(&self, directory: &Path) -> Result<()> {
        self.index.save(&directory.join(INDEX))
    }

    /// The best `k` items for a row that is in no file. Fewer where the corpus or the filter has no `k`.
    ///
    /// # Errors
    /// A filter that the index does not know, a vector that is not finite.
    pub fn search(
        &self,
        row: &QueryRow<'_>,
        k: usize,
        filter: &Filter<'_>,
        workers: &dyn Workers,
    ) -> Result<Vec<Found>> {
        let vector = Encoder::new(&self.model, workers.count()).row(row, workers)?;
        self.index.search(&vector, k, filter)
    }

    /// The best `k` items for each of some samples of a split, as queries, each with its own filter (or none for all). Fewer where the
    /// corpus or a filter has no `k`.
    ///
    /// # Errors
    /// A sample there is not, a filter that the index does not know, a vector that is not finite.
    pub fn candidates(
        &self,
        split: &Split,
        samples: &[u64],
        k: usize,
        filters: &[Filter<'_>],
        workers: &dyn Workers,
    ) -> Result<Vec<Vec<Found>>> {
        let mut encoder = Encoder::new(&self.model, workers.count());
        let mut all = Vec::with_capacity(samples.len());
        for (number, samples) in samples.chunks(QUERIES).enumerate() {
            let vectors = encoder.queries(split, samples, workers)?;
            let first = number * QUERIES;
            let filters = if filters.is_empty() { filters } else { &filters[first..first + samples.len()] };
            all.extend(self.index.search_batch(&vectors, k, filters, workers)?);
        }
        Ok(all)
    }
}

/// The items that a user has in some splits, ascending: what is left out where only news are wanted.
///
/// # Errors
/// A split there is not.
pub fn had(dataset: &Dataset, user: u64, splits: &[&str]) -> Result<Vec<u64>> {
    let mut had = Vec::new();
    for split in splits {
        had.extend(dataset.user_items(user, split)?.iter().map(|item| u64::from(*item)));
    }
    had.sort_unstable();
    had.dedup();
    Ok(had)
}
