//! How well a retriever finds what users will want: a full ranking, by vectors.

use crate::config::RetrieveConfig;
use crate::corpus::{Corpus, items, pair_task};
use crate::encode::Encoder;
use crate::index::{Filter, Index, IndexConfig, Items};
use crate::model::RetrieverModel;
use crate::recall::had;
use kitestring_core::metrics::Placement;
use kitestring_core::schema::TaskKind;
use kitestring_core::{Error, Result, Seed};
use kitestring_data::dataset::Dataset;
use kitestring_nn::engine::Workers;
use kitestring_nn::kernels::reduce::dot;
use kitestring_train::config::EvaluateConfig;
use kitestring_train::evaluate::{Query, Ranked, Tally, earlier_splits, full_ranking_queries};
use std::time::Instant;

/// Queries searched at once.
const QUERIES: usize = 2048;

/// Ranks all items for each user who has positives in a split: the protocol of
/// [`rank_all`](kitestring_train::evaluate::rank_all), with inner products for scores.
///
/// # Errors
/// A schema without users, items or a binary task; a split without a positive; a vector that is not finite.
pub fn rank(
    model: &RetrieverModel,
    dataset: &Dataset,
    split: &str,
    (config, evaluate): (&RetrieveConfig, &EvaluateConfig),
    seed: Seed,
    workers: &dyn Workers,
) -> Result<Ranked> {
    let start = Instant::now();
    let (schema, table) = (dataset.schema(), items(dataset)?);
    let task = pair_task(schema, config.task.as_deref())?.filter(|task| schema.tasks[*task].kind == TaskKind::Binary);
    let Some(task) = task.filter(|_| schema.user.is_some()) else {
        return Err(Error::config("a full ranking needs users and a task that says whether something happened")
            .in_field("retrieve.task")
            .mend("name a binary task, and the column of the user as schema.user"));
    };
    let (ids, vectors) = corpus(model, dataset, workers)?;
    let exact = IndexConfig::default();
    let items = Items { ids: &ids, vectors: &vectors, attributes: &[] };
    let index = Index::build(&items, model.vector_dimension(), &exact, &model.version, None, workers)?.index;
    let split = dataset.split(split)?;
    let queries = full_ranking_queries(split, task, evaluate, seed)?;
    let mut encoder = Encoder::new(model, workers.count());
    let mut tally = Tally::new(&config.cutoffs);
    let k = config.cutoffs.iter().copied().max().unwrap_or(0);
    let mut candidates = 0;
    for queries in queries.chunks(QUERIES) {
        let samples: Vec<u64> = queries.iter().map(|query| query.sample).collect();
        let vectors = encoder.queries(split, &samples, workers)?;
        let had = queries.iter().map(|query| had_before(dataset, split.name(), query)).collect::<Result<Vec<_>>>()?;
        let filters: Vec<Filter<'_>> = had.iter().map(|had| Filter { excluded: had, required: &[] }).collect();
        let found = index.search_batch(&vectors, k, &filters, workers)?;
        for ((query, found), had) in queries.iter().zip(found).zip(&had) {
            let mut hits: Vec<bool> = found.iter().map(|found| is_relevant(query, found.item)).collect();
            // Ranks past the corpus hold nothing.
            hits.resize(k, false);
            let left = table.seen().len() - had.len();
            candidates += left as u64;
            let placement = Placement::from_top(&hits, query.relevant.len(), left);
            let counted = placement.and_then(|placement| tally.add(query.user, &placement));
            counted.ok_or_else(|| Error::internal("a ranking that contradicts itself"))?;
        }
    }
    let protocol = format!("all {} items but those the user had before", table.seen().len());
    Ok(tally.finish(protocol, candidates, start.elapsed().as_secs_f64()))
}

/// The numbers and vectors of all items that are in any row.
///
/// # Errors
/// A vector that is not finite.
pub fn corpus(model: &RetrieverModel, dataset: &Dataset, workers: &dyn Workers) -> Result<(Vec<u64>, Vec<f32>)> {
    let table = items(dataset)?;
    let vectors = Encoder::new(model, workers.count()).items(table, table.seen(), workers)?;
    Ok((table.seen().iter().map(|item| u64::from(*item)).collect(), vectors))
}

/// The mean inner product of the training pairs: how well they fit, beside how all pairs do.
///
/// # Errors
/// A damaged file, a vector that is not finite.
pub fn mean_product(model: &RetrieverModel, corpus: &Corpus<'_>, workers: &dyn Workers) -> Result<f64> {
    let (mut encoder, k) = (Encoder::new(model, workers.count()), model.vector_dimension());
    let (mut queries, mut items, mut sum) = (Vec::new(), Vec::new(), 0.0);
    corpus.each_block(|batch| {
        encoder.both(&batch.distinct, [&batch.query, &batch.item], workers, [&mut queries, &mut items])?;
        let pairs = batch.pairs(k, &queries, &items);
        let of = |pair: usize| dot(pairs.query(pair), pairs.item(pairs.links.item_of()[pair] as usize));
        sum += (0..pairs.len()).map(|pair| f64::from(of(pair))).sum::<f64>();
        Ok(())
    })?;
    Ok(sum / corpus.len() as f64)
}

/// The items a user had in the splits before one, ascending, but for those that are relevant.
pub(crate) fn had_before(dataset: &Dataset, split: &str, query: &Query) -> Result<Vec<u64>> {
    let mut had = had(dataset, query.user, &earlier_splits(dataset, split))?;
    had.retain(|item| !is_relevant(query, *item));
    Ok(had)
}

fn is_relevant(query: &Query, item: u64) -> bool {
    u32::try_from(item).is_ok_and(|item| query.relevant.binary_search(&item).is_ok())
}
