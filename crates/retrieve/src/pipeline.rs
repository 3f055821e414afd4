//! Recall, then rank: what a ranker loses, and saves, by ranking only what a retriever found.

use crate::evaluate::had_before;
use crate::index::Filter;
use crate::recall::Retrieval;
use kitestring_core::{Result, Seed};
use kitestring_data::dataset::Dataset;
use kitestring_nn::engine::Workers;
use kitestring_train::Model;
use kitestring_train::config::EvaluateConfig;
use kitestring_train::evaluate::{Query, RankingMetric, full_ranking_queries, rank_all, rank_among, ranked_task};
use std::collections::HashMap;
use std::time::Instant;

/// One way to come to a list.
#[derive(Debug)]
pub struct Way {
    /// How many candidates the retriever gave; none where all items were ranked.
    pub candidates: Option<usize>,
    /// The share of positives that are among them.
    pub reached: f64,
    /// The ranking metrics.
    pub metrics: Vec<RankingMetric>,
    /// Lists made.
    pub lists: u64,
    /// Seconds to find the candidates of all lists.
    pub recall_seconds: f64,
    /// Seconds to rank them.
    pub rank_seconds: f64,
}

/// Ranks the users of a split among what the retriever finds, for several numbers of candidates, and among all items.
///
/// # Errors
/// As [`rank_all`] and [`Retrieval::candidates`].
pub fn compare(
    (retrieval, ranker): (&Retrieval, &Model),
    dataset: &Dataset,
    split: &str,
    candidates: &[usize],
    (config, seed): (&EvaluateConfig, Seed),
    workers: &dyn Workers,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Vec<Way>> {
    let task = ranked_task(dataset.schema())?;
    let queries = full_ranking_queries(dataset.split(split)?, task, config, seed)?;
    let total = queries.len() as u64 * (candidates.len() as u64 + 1);
    let mut done = 0;
    let mut ways = Vec::new();
    for k in candidates {
        let start = Instant::now();
        let lists = found(retrieval, dataset, split, &queries, *k, workers)?;
        let recall_seconds = start.elapsed().as_secs_f64();
        let relevant: usize = queries.iter().map(|query| query.relevant.len()).sum();
        let reached = queries.iter().map(|query| {
            let list = lists.get(&query.user).map_or(&[][..], Vec::as_slice);
            query.relevant.iter().filter(|item| list.binary_search(item).is_ok()).count()
        });
        let reached = reached.sum::<usize>() as f64 / relevant.max(1) as f64;
        let list = |query: &Query, into: &mut Vec<u32>| into.extend(lists.get(&query.user).into_iter().flatten());
        let protocol = format!("the {k} items that the retriever found");
        let ranked = rank_among(ranker, dataset, split, (&list, protocol), (config, seed), workers, &mut |_| {
            done += 1;
            progress(done, total);
        })?;
        ways.push(Way {
            candidates: Some(*k),
            reached,
            metrics: ranked.metrics(config, seed),
            lists: ranked.mean.queries(),
            recall_seconds,
            rank_seconds: ranked.seconds,
        });
    }
    let ranked = rank_all(ranker, dataset, split, config, seed, workers, &mut |_| {
        done += 1;
        progress(done, total);
    })?;
    ways.push(Way {
        candidates: None,
        reached: 1.0,
        metrics: ranked.metrics(config, seed),
        lists: ranked.mean.queries(),
        recall_seconds: 0.0,
        rank_seconds: ranked.seconds,
    });
    Ok(ways)
}

/// The candidates of each query's user, ascending, without what the user had in earlier splits and is not to be found again.
fn found(
    retrieval: &Retrieval,
    dataset: &Dataset,
    split: &str,
    queries: &[Query],
    k: usize,
    workers: &dyn Workers,
) -> Result<HashMap<u64, Vec<u32>>> {
    let excluded = queries.iter().map(|query| had_before(dataset, split, query));
    let excluded = excluded.collect::<Result<Vec<Vec<u64>>>>()?;
    let filters: Vec<Filter<'_>> = excluded.iter().map(|excluded| Filter { excluded, required: &[] }).collect();
    let samples: Vec<u64> = queries.iter().map(|query| query.sample).collect();
    let found = retrieval.candidates(dataset.split(split)?, &samples, k, &filters, workers)?;
    let lists = queries.iter().zip(found).map(|(query, found)| {
        let mut list: Vec<u32> = found.iter().filter_map(|found| u32::try_from(found.item).ok()).collect();
        list.sort_unstable();
        (query.user, list)
    });
    Ok(lists.collect())
}
