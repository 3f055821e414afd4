//! Candidates for a ranker: a retriever with its index, asked for what users may want.

use crate::config::RetrieveConfig;
use crate::corpus::items;
use crate::encode::Encoder;
use crate::evaluate::corpus;
use crate::fit::MODEL;
use crate::index::{Attribute, Built, Filter, Found, Index, Items};
use crate::model::RetrieverModel;
use kitestring_core::schema::{Feature, FeatureKind, Of};
use kitestring_core::{Batch, Error, Result, Schema};
use kitestring_data::dataset::{Dataset, Split};
use kitestring_nn::engine::Workers;
use std::path::Path;

/// Where the index lies in a retriever's directory.
pub const INDEX: &str = "index";

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

impl Retrieval {
    /// Builds the index of a retriever over all items of a data set; training rows are the queries that it is judged by.
    ///
    /// # Errors
    /// A vector that is not finite; an index config that names the key.
    pub fn build(
        model: RetrieverModel,
        config: &RetrieveConfig,
        dataset: &Dataset,
        workers: &dyn Workers,
    ) -> Result<(Self, Option<f64>, f64)> {
        let table = items(dataset)?;
        let (ids, vectors) = corpus(&model, dataset, workers)?;
        let mut batch = Batch::default();
        table.put(table.seen(), &mut batch)?;
        let codes = attributes(dataset.schema()).map(|(number, feature)| {
            let codes = batch.sparse[number].ids.iter().map(|id| u32::try_from(*id));
            let codes = codes.collect::<std::result::Result<Vec<u32>, _>>();
            codes.map(|codes| (feature.name.as_str(), codes)).map_err(|_| {
                Error::config("an open vocabulary has no codes to filter by")
                    .in_field(format!("schema.tables.{}", feature.table()))
                    .mend("give it a known or hashed vocabulary")
            })
        });
        let codes = codes.collect::<Result<Vec<_>>>()?;
        let attributes: Vec<Attribute<'_>> = codes.iter().map(|(name, codes)| Attribute { name, codes }).collect();
        let items = Items { ids: &ids, vectors: &vectors, attributes: &attributes };
        let dimension = model.vector_dimension();
        let train = dataset.split("train")?;
        let apart = train.rows().div_ceil(QUERIES as u64).max(1);
        let samples: Vec<u64> = (0..train.rows().div_ceil(apart)).map(|number| number * apart).collect();
        let queries = Encoder::new(&model, workers.count()).queries(train, &samples, workers)?;
        let built = Index::build(&items, dimension, &config.index, &model.version, Some(&queries), workers)?;
        let Built { index, recall, seconds } = built;
        Ok((Self { model, index }, recall, seconds))
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
