//! Ranks candidates: those given for a positive, or all items.

use super::ahead::read_ahead;
use super::combine::Combine;
use super::queries::{Query, draw, full_ranking_queries, positives, ranked_task};
use super::score::{Served, check_schema, mixed};
use super::tally::{Ranked, Tally};
use crate::config::EvaluateConfig;
use crate::inputs::Prepared;
use crate::loader::blame;
use crate::model::Model;
use crate::predictor::Predictor;
use kitestring_core::metrics::{Placement, RankingMean, Ties, top_k};
use kitestring_core::{Error, Result, Seed};
use kitestring_data::dataset::{Candidates, Dataset, Split};
use kitestring_nn::engine::Workers;
use std::collections::HashSet;
use std::time::Instant;

/// The best candidates of a list: as many as the largest cutoff.
#[derive(Debug, Clone, Copy)]
pub struct TopList<'a> {
    /// The number of the list, from 0, and of how many.
    pub number: (u64, u64),
    /// The user's number.
    pub user: u64,
    /// The sample of the split whose context the candidates were scored in.
    pub sample: u64,
    /// How many candidates the list has.
    pub candidates: usize,
    /// Items by their numbers, with what they are ranked by ([`super::Combine`]), best first; ties by the order of the list.
    pub items: &'a [(u32, f32)],
}

/// Ranks each positive of a split against the candidates given for it: each item once, the positive itself never twice; candidates that are
/// no item of the data are the unknown item. Positives without any are left out, and counted in a note. `each` is shown the best of every
/// list.
///
/// # Errors
/// A split without given candidates or without a positive that has some; as [`super::score`].
pub fn rank_candidates(
    model: &Model,
    dataset: &Dataset,
    split: &str,
    config: &EvaluateConfig,
    seed: Seed,
    workers: &dyn Workers,
    each: &mut dyn FnMut(TopList<'_>),
) -> Result<Ranked> {
    let task = ranked_task(check_schema(model, dataset)?)?;
    let split = dataset.split(split)?;
    let Some(given) = split.candidates() else {
        return Err(Error::config(format!("no candidates are given for split `{}`", split.name()))
            .in_field("evaluate.ranking")
            .mend("use full, or auto to rank where there are some"));
    };
    let mut queries = positives(split, task)?;
    let of = |query: &Query| rivals(given, query);
    let all = queries.len();
    queries.retain(|query| !of(query).is_empty());
    let without = all - queries.len();
    if queries.is_empty() {
        let what = format!("no positive of split `{}` has candidates", split.name());
        return Err(Error::data(what).in_field("data.layouts.candidates").mend("check that users and items match"));
    }
    let queries = draw(queries, config.ranking_queries, seed);
    let (mut unknown, mut candidates) = (0, 0);
    let sizes = queries.iter().map(|query| {
        let rivals = of(query);
        unknown += rivals.iter().filter(|item| **item == 0).count();
        candidates += rivals.len();
        rivals.len()
    });
    let sizes: Vec<usize> = sizes.collect();
    let protocol = match (sizes.iter().min(), sizes.iter().max()) {
        (Some(least), Some(most)) if least == most => format!("{most} given ones and the positive"),
        (Some(least), Some(most)) => format!("{least} to {most} given ones and the positive"),
        _ => String::new(),
    };
    let list = |query: &Query, items: &mut Vec<u32>| {
        items.extend(&query.relevant);
        items.extend(of(query));
    };
    let relevant = |_: &Query, _: &[u32]| vec![0];
    let (served, popularity) = (Served::new(dataset, config)?, popularity(dataset, task)?);
    let job = Job { model, split, task, queries: &queries, config, served, popularity, workers };
    let mut ranked = job.rank(protocol, (&list, &relevant), each)?;
    if without > 0 {
        ranked
            .notes
            .push(format!("{without} of {all} positives of {} have no candidates and are not ranked.", split.name()));
    }
    if unknown > 0 {
        ranked.notes.push(format!(
            "{unknown} of {candidates} candidates of {} are no item of the data: each is ranked as the unknown item, which makes the ranking \
             easier.",
            split.name()
        ));
    }
    Ok(ranked)
}

/// The candidates given for a positive, in their order: each item once, without the positive. An item that stands there twice would be two
/// rivals, and the positive its own. Unknown items, 0, are not known to be the same one.
fn rivals(given: &Candidates, query: &Query) -> Vec<u32> {
    let list = query.relevant.first().and_then(|item| given.of(query.user, (*item).into())).unwrap_or_default();
    let mut seen: HashSet<u32> = query.relevant.iter().copied().collect();
    list.iter().copied().filter(|item| *item == 0 || seen.insert(*item)).collect()
}

/// Ranks all items for each user who has positives in a split: those of any row of the data (and of what the model was trained on, where
/// that is other data), without the ones the user had there or in an earlier split (in `train`, and when `valid` is behind, in `valid`). The
/// positives of the split are what should come
/// first, and the user's first one gives the context. `each` is shown the best of every list.
///
/// # Errors
/// A schema without users or items; a split without a positive; as [`super::score`].
pub fn rank_all(
    model: &Model,
    dataset: &Dataset,
    split: &str,
    config: &EvaluateConfig,
    seed: Seed,
    workers: &dyn Workers,
    each: &mut dyn FnMut(TopList<'_>),
) -> Result<Ranked> {
    if dataset.items().is_none() || dataset.schema().user.is_none() {
        return Err(Error::config("a full ranking needs to know users and items")
            .in_field("evaluate.ranking")
            .mend("name their columns as `schema.user` and `schema.item`, or set it to none"));
    }
    let items = dataset.known_items();
    let list = |query: &Query, list: &mut Vec<u32>| {
        let had = dataset.items_before(query.user, split);
        let is_in = |items: &[u32], item: &u32| items.binary_search(item).is_ok();
        list.extend(items.iter().filter(|item| is_in(&query.relevant, item) || !is_in(&had, item)));
    };
    let protocol = format!("all {} items but those the user had before", items.len());
    rank_among(model, dataset, split, (&list, protocol), (config, seed), workers, each)
}

/// [`rank_all`], among the items that `list` appends for each user, ascending: what a first stage found. A positive that is not among them
/// is never reached, and counts.
///
/// # Errors
/// As [`rank_all`].
pub fn rank_among(
    model: &Model,
    dataset: &Dataset,
    split: &str,
    (list, protocol): (List<'_>, String),
    (config, seed): (&EvaluateConfig, Seed),
    workers: &dyn Workers,
    each: &mut dyn FnMut(TopList<'_>),
) -> Result<Ranked> {
    let task = ranked_task(check_schema(model, dataset)?)?;
    let split = dataset.split(split)?;
    let queries = full_ranking_queries(split, task, config, seed)?;
    let relevant = |query: &Query, items: &[u32]| {
        let place = |item: &u32| items.binary_search(item).ok().map(|place| place as u32);
        query.relevant.iter().filter_map(place).collect()
    };
    let (served, popularity) = (Served::new(dataset, config)?, popularity(dataset, task)?);
    let job = Job { model, split, task, queries: &queries, config, served, popularity, workers };
    job.rank(protocol, (list, &relevant), each)
}

/// Lists to be ranked.
struct Job<'a> {
    model: &'a Model,
    split: &'a Split,
    task: usize,
    queries: &'a [Query],
    config: &'a EvaluateConfig,
    served: Served,
    /// How popular each item is in training, by its number; none where there is no training.
    popularity: Option<Vec<f32>>,
    workers: &'a dyn Workers,
}

/// How many positive rows each item has in training, by its number.
fn popularity(dataset: &Dataset, task: usize) -> Result<Option<Vec<f32>>> {
    let outcomes = dataset.training_outcomes()?;
    let of_task = outcomes.as_ref().and_then(|outcomes| outcomes.tasks.get(task)).zip(dataset.items());
    Ok(of_task
        .map(|(outcomes, items)| (0..items.count() as u64).map(|item| outcomes.popularity(item) as f32).collect()))
}

/// Appends the candidates of a query.
pub type List<'a> = &'a (dyn Fn(&Query, &mut Vec<u32>) + Sync);
/// Where among its candidates the relevant items of a query are.
type Relevant<'a> = &'a dyn Fn(&Query, &[u32]) -> Vec<u32>;

/// The lists of a batch.
#[derive(Default)]
struct Lists {
    samples: Vec<u64>,
    offsets: Vec<u32>,
    items: Vec<u32>,
    /// The number of each list's query, and whether the list ends here.
    parts: Vec<(usize, bool)>,
}

/// Cuts lists into batches: short lists are put together, and a long one may go through several.
struct Cutter<'a> {
    queries: &'a [Query],
    list: List<'a>,
    size: usize,
    /// The query whose list is being cut, the list, and how much of it is in batches.
    next: usize,
    items: Vec<u32>,
    done: usize,
}

impl Cutter<'_> {
    fn cut(&mut self) -> Option<Lists> {
        let mut lists = Lists { offsets: vec![0], ..Lists::default() };
        while lists.items.len() < self.size {
            let Some(query) = self.queries.get(self.next) else { break };
            if self.done == 0 {
                self.items.clear();
                (self.list)(query, &mut self.items);
            }
            let end = self.items.len().min(self.done + self.size - lists.items.len());
            // A list is cut only if it does not fit a batch of its own.
            if end < self.items.len() && self.done == 0 && !lists.parts.is_empty() && self.items.len() <= self.size {
                break;
            }
            lists.items.extend_from_slice(&self.items[self.done..end]);
            lists.samples.push(query.sample);
            lists.offsets.push(lists.items.len() as u32);
            lists.parts.push((self.next, end == self.items.len()));
            self.done = end;
            if end == self.items.len() {
                self.next += 1;
                self.done = 0;
            }
        }
        (!lists.parts.is_empty()).then_some(lists)
    }
}

impl Job<'_> {
    fn rank(
        &self,
        protocol: String,
        (list, relevant): (List<'_>, Relevant<'_>),
        each: &mut dyn FnMut(TopList<'_>),
    ) -> Result<Ranked> {
        let start = Instant::now();
        let size = self.config.batch_size.max(1);
        let mut cutter = Cutter { queries: self.queries, list, size, next: 0, items: Vec::new(), done: 0 };
        let next = |prepared: &mut Prepared| {
            let Some(lists) = cutter.cut() else { return Ok(None) };
            self.split.read_candidates(&lists.samples, &lists.offsets, &lists.items, &mut prepared.batch)?;
            self.served.put(&mut prepared.batch);
            Ok(Some(lists))
        };
        let mut tally = Tally::new(&self.config.cutoffs);
        let mut predictor = Predictor::new(self.model, self.workers.count());
        // A head may say more of a sample than a score a task; the tasks come first.
        let columns = self.model.graph.outputs().len();
        let combine = Combine::new(&self.model.schema, self.config, self.task);
        let (mut scores, mut list_scores, mut list_items) = (Vec::new(), Vec::new(), Vec::new());
        let k = self.config.cutoffs.iter().copied().max().unwrap_or(0);
        let (mut candidates, mut busy) = (0, 0.0);
        let (mut popular, mut counts) = (RankingMean::new(&self.config.cutoffs), Vec::new());
        let mut fingerprint = 0;
        read_ahead(next, |lists, prepared| {
            let scoring = Instant::now();
            predictor.score(prepared, self.workers, &mut scores)?;
            candidates += lists.items.len() as u64;
            for (part, (number, ends)) in lists.parts.iter().enumerate() {
                let rows = lists.offsets[part] as usize..lists.offsets[part + 1] as usize;
                list_items.extend_from_slice(&lists.items[rows.clone()]);
                list_scores.extend(rows.map(|row| combine.score(|task| scores[row * columns + task])));
                if !ends {
                    continue;
                }
                let query = &self.queries[*number];
                let relevant = relevant(query, &list_items);
                let place = |scores: &[f32]| match relevant.len() < query.relevant.len() {
                    // What is missing from the list has no place in it.
                    true => reached(scores, &relevant, query.relevant.len(), k),
                    false => Placement::from_relevant(scores, &relevant, &[], Ties::Expected),
                };
                if let Some(popularity) = &self.popularity {
                    counts.clear();
                    counts.extend(list_items.iter().map(|item| popularity.get(*item as usize).copied().unwrap_or(0.0)));
                    place(&counts).iter().for_each(|placement| popular.add(placement));
                }
                let of_list = [query.sample, list_items.len() as u64, query.relevant.len() as u64];
                fingerprint = of_list.into_iter().fold(fingerprint, mixed);
                let Some(placement) = place(&list_scores) else {
                    let error = Error::numeric("the prediction for a candidate is not a finite number");
                    return Err(blame(error, self.split, query.sample));
                };
                let added = tally.add(query.user, &placement);
                added.ok_or_else(|| Error::internal("a list without a relevant item"))?;
                let best = top_k(&list_scores, k);
                let best: Vec<(u32, f32)> = best.iter().map(|(at, score)| (list_items[*at], *score)).collect();
                let number = (*number as u64, self.queries.len() as u64);
                let candidates = list_items.len();
                each(TopList { number, user: query.user, sample: query.sample, candidates, items: &best });
                list_items.clear();
                list_scores.clear();
            }
            busy += scoring.elapsed().as_secs_f64();
            Ok(())
        })?;
        let seconds = start.elapsed().as_secs_f64();
        let mut ranked = tally.finish(protocol, candidates, seconds);
        ranked.waiting = seconds - busy;
        ranked.popular = self.popularity.as_ref().map(|_| popular);
        ranked.fingerprint = fingerprint;
        Ok(ranked)
    }
}

/// The placement of some relevant items in a list, of more that there are; `None` with a NaN.
fn reached(scores: &[f32], relevant: &[u32], all: usize, k: usize) -> Option<Placement> {
    if scores.iter().any(|score| score.is_nan()) {
        return None;
    }
    let best = top_k(scores, k);
    let mut hits: Vec<bool> = best.iter().map(|(at, _)| relevant.binary_search(&(*at as u32)).is_ok()).collect();
    hits.resize(k, false);
    Placement::from_top(&hits, all, scores.len() + all - relevant.len())
}
