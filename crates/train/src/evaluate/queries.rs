//! What is to be ranked: the positives of a split, by user.

use crate::config::EvaluateConfig;
use kitestring_core::schema::TaskKind;
use kitestring_core::{Error, Result, Schema, Seed};
use kitestring_data::dataset::{Dataset, Permutation, Split};

/// A list of candidates to be ranked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The user's number.
    pub user: u64,
    /// The sample of the split that gives the context.
    pub sample: u64,
    /// The numbers of the items that should come first, ascending.
    pub relevant: Vec<u32>,
}

/// The number of the ranked task: the first binary one.
///
/// # Errors
/// A schema without a binary task.
pub fn ranked_task(schema: &Schema) -> Result<usize> {
    let task = schema.tasks.iter().position(|task| task.kind == TaskKind::Binary);
    task.ok_or_else(|| {
        Error::config("a ranking needs a binary task").in_field("evaluate.ranking").mend("set it to none")
    })
}

/// The positives of a split by user, in the order of the split.
pub(super) fn positives(split: &Split, task: usize) -> Result<Vec<Query>> {
    let mut found = Vec::new();
    split.each_block(|batch| {
        let tasks = batch.labels.len() / batch.rows.max(1);
        let labels = batch.labels.iter().skip(task).step_by(tasks.max(1));
        for ((label, sample), (user, item)) in labels.zip(&batch.index).zip(batch.user.iter().zip(&batch.item)) {
            if *label > 0.5 {
                found.push(Query { user: *user, sample: *sample, relevant: vec![*item as u32] });
            }
        }
        Ok(())
    })?;
    found.sort_by_key(|query| (query.user, query.sample));
    Ok(found)
}

/// Some of the queries, drawn with the seed; all where `most` is 0.
pub(super) fn draw(queries: Vec<Query>, most: usize, seed: Seed) -> Vec<Query> {
    if most == 0 || queries.len() <= most {
        return queries;
    }
    let order = Permutation::new(queries.len() as u64, seed.child("queries"));
    let mut drawn = vec![false; queries.len()];
    (0..most as u64).for_each(|position| drawn[order.at(position) as usize] = true);
    queries.into_iter().zip(drawn).filter(|(_, drawn)| *drawn).map(|(query, _)| query).collect()
}

/// The queries of a full ranking: for each user who has positives in a split their items, with the user's first one as the
/// context. Of more than [`EvaluateConfig::ranking_queries`], that many drawn with the seed. In the order of users.
///
/// # Errors
/// A split without a positive; a damaged file.
pub fn full_ranking_queries(split: &Split, task: usize, config: &EvaluateConfig, seed: Seed) -> Result<Vec<Query>> {
    let mut queries = positives(split, task)?;
    queries.dedup_by(|next, first| {
        let same = next.user == first.user;
        if same {
            first.relevant.append(&mut next.relevant);
        }
        same
    });
    if queries.is_empty() {
        return Err(Error::data(format!("split `{}` has no positive to rank", split.name())));
    }
    for query in &mut queries {
        query.relevant.sort_unstable();
        query.relevant.dedup();
    }
    Ok(draw(queries, config.ranking_queries, seed))
}

/// The splits before one: a full ranking leaves out the items the user had there, but for those that are relevant. `train`
/// comes before `valid`, and both before all others.
pub fn earlier_splits<'a>(dataset: &'a Dataset, split: &str) -> Vec<&'a str> {
    dataset.earlier_splits(split)
}
