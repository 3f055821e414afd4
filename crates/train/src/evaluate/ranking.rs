//! Ranks candidates: those given for a positive, or all items.

use super::Evaluation;
use super::ahead::read_ahead;
use super::combine::Combine;
use super::judge::{estimate, plan};
use super::score::{Served, check_schema};
use crate::config::EvaluateConfig;
use crate::inputs::Prepared;
use crate::loader::blame;
use crate::model::Model;
use crate::predictor::Predictor;
use crate::report::{self, RankingValue};
use kitestring_core::metrics::{Placement, RankingAtK, RankingMean, Ties, bootstrap_ratio, top_k};
use kitestring_core::schema::TaskKind;
use kitestring_core::{Batch, Error, Result, Schema, Seed};
use kitestring_data::dataset::{Dataset, Permutation, Split};
use kitestring_nn::engine::Workers;
use std::time::Instant;

/// How rankings came out.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranked {
    /// What was ranked against what.
    pub protocol: String,
    /// The mean over all lists.
    pub mean: RankingMean,
    /// Whether every list had a single relevant item, so that recall is the hit rate.
    single: bool,
    /// For each user the number of lists, and the sums of their metrics in the order of the cutoffs.
    users: Vec<(f64, Vec<RankingAtK>)>,
    /// Candidates scored.
    pub candidates: u64,
    /// Seconds it took.
    pub seconds: f64,
    /// Seconds of them spent waiting for candidates to be read.
    pub waiting: f64,
}

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

/// A list to be ranked.
struct Query {
    user: u64,
    /// The sample that gives the context.
    sample: u64,
    /// Items that should come first, ascending.
    relevant: Vec<u32>,
}

/// The names of ranking metrics, in a key and in a report.
type Read = fn(&RankingAtK) -> f64;
const METRICS: [(&str, &str, Read); 4] = [
    ("hr", "HR", |at| at.hit_rate),
    ("recall", "Recall", |at| at.recall),
    ("ndcg", "NDCG", |at| at.ndcg),
    ("mrr", "MRR", |at| at.mrr),
];

/// The number of the ranked task: the first binary one.
fn ranked_task(schema: &Schema) -> Result<usize> {
    let task = schema.tasks.iter().position(|task| task.kind == TaskKind::Binary);
    task.ok_or_else(|| {
        Error::config("a ranking needs a binary task").in_field("evaluate.ranking").mend("set it to none")
    })
}

/// The positives of a split by user, in the order of the split.
fn positives(split: &Split, task: usize, config: &EvaluateConfig) -> Result<Vec<Query>> {
    let mut found = Vec::new();
    let mut batch = Batch::default();
    let mut first = 0;
    while first < split.rows() {
        let last = (first + config.batch_size.max(1) as u64).min(split.rows());
        let indices: Vec<u64> = (first..last).collect();
        first = last;
        // Drawn negatives are no positives, so it does not matter which are drawn.
        split.read(&indices, Seed(0), &mut batch)?;
        let tasks = batch.labels.len() / batch.rows.max(1);
        let labels = batch.labels.iter().skip(task).step_by(tasks.max(1));
        for ((label, sample), (user, item)) in labels.zip(&batch.index).zip(batch.user.iter().zip(&batch.item)) {
            if *label > 0.5 {
                found.push(Query { user: *user, sample: *sample, relevant: vec![*item as u32] });
            }
        }
    }
    found.sort_by_key(|query| (query.user, query.sample));
    Ok(found)
}

/// Some of the queries, drawn with the seed; all where `most` is 0.
fn draw(queries: Vec<Query>, most: usize, seed: Seed) -> Vec<Query> {
    if most == 0 || queries.len() <= most {
        return queries;
    }
    let order = Permutation::new(queries.len() as u64, seed.child("queries"));
    let mut drawn = vec![false; queries.len()];
    (0..most as u64).for_each(|position| drawn[order.at(position) as usize] = true);
    queries.into_iter().zip(drawn).filter(|(_, drawn)| *drawn).map(|(query, _)| query).collect()
}

/// Ranks each positive of a split against the candidates given for it. Positives without any are left out. `each` is shown
/// the best of every list.
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
    let mut queries = positives(split, task, config)?;
    let of = |query: &Query| query.relevant.first().and_then(|item| given.of(query.user, (*item).into()));
    queries.retain(|query| of(query).is_some());
    if queries.is_empty() {
        let what = format!("no positive of split `{}` has candidates", split.name());
        return Err(Error::data(what).in_field("data.layouts.candidates").mend("check that users and items match"));
    }
    let queries = draw(queries, config.ranking_queries, seed);
    let sizes = queries.iter().filter_map(of).map(<[u32]>::len);
    let protocol = match (sizes.clone().min(), sizes.max()) {
        (Some(least), Some(most)) if least == most => format!("{most} given ones and the positive"),
        (Some(least), Some(most)) => format!("{least} to {most} given ones and the positive"),
        _ => String::new(),
    };
    let list = |query: &Query, items: &mut Vec<u32>| {
        items.extend(&query.relevant);
        items.extend(of(query).unwrap_or_default());
    };
    let relevant = |_: &Query, _: &[u32]| vec![0];
    let served = Served::new(dataset, config)?;
    let job = Job { model, split, task, queries: &queries, config, served, workers };
    job.rank(protocol, (&list, &relevant), each)
}

/// Ranks all items for each user who has positives in a split: those of any row of the data, without the ones the user had
/// in an earlier split (in `train`, and when `valid` is behind, in `valid`). The positives of the split are what should come
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
    let schema = check_schema(model, dataset)?;
    let task = ranked_task(schema)?;
    let (Some(items), true) = (dataset.items(), schema.user.is_some()) else {
        return Err(Error::config("a full ranking needs to know users and items")
            .in_field("evaluate.ranking")
            .mend("name their columns as `schema.user` and `schema.item`, or set it to none"));
    };
    let split = dataset.split(split)?;
    let mut queries = positives(split, task, config)?;
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
    let queries = draw(queries, config.ranking_queries, seed);
    let had: Vec<&str> = ["train", "valid"]
        .into_iter()
        .take_while(|earlier| *earlier != split.name())
        .filter(|earlier| dataset.splits().iter().any(|known| known.name() == *earlier))
        .collect();
    let list = |query: &Query, list: &mut Vec<u32>| {
        let had = || had.iter().map(|earlier| dataset.user_items(query.user, earlier).unwrap_or_default());
        let is_in = |items: &[u32], item: &u32| items.binary_search(item).is_ok();
        let kept = |item: &&u32| is_in(&query.relevant, item) || !had().any(|items| is_in(items, item));
        list.extend(items.seen().iter().filter(kept));
    };
    let relevant = |query: &Query, items: &[u32]| {
        let place = |item: &u32| items.binary_search(item).ok().map(|place| place as u32);
        query.relevant.iter().filter_map(place).collect()
    };
    let protocol = format!("all {} items but those the user had before", items.seen().len());
    let served = Served::new(dataset, config)?;
    let job = Job { model, split, task, queries: &queries, config, served, workers };
    job.rank(protocol, (&list, &relevant), each)
}

/// Lists to be ranked.
struct Job<'a> {
    model: &'a Model,
    split: &'a Split,
    task: usize,
    queries: &'a [Query],
    config: &'a EvaluateConfig,
    served: Served,
    workers: &'a dyn Workers,
}

/// Appends the candidates of a query.
type List<'a> = &'a (dyn Fn(&Query, &mut Vec<u32>) + Sync);
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
                let Some(placement) = Placement::from_relevant(&list_scores, &relevant, &[], Ties::Expected) else {
                    let error = Error::numeric("the prediction for a candidate is not a finite number");
                    return Err(blame(error, self.split, query.sample));
                };
                tally.add(query.user, &placement);
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
        let Tally { mean, single, users, .. } = tally;
        Ok(Ranked { protocol, mean, single, users, candidates, seconds, waiting: seconds - busy })
    }
}

/// Metrics of the lists so far.
struct Tally {
    mean: RankingMean,
    single: bool,
    user: Option<u64>,
    users: Vec<(f64, Vec<RankingAtK>)>,
    cutoffs: Vec<usize>,
}

impl Tally {
    fn new(cutoffs: &[usize]) -> Self {
        Self { mean: RankingMean::new(cutoffs), single: true, user: None, users: Vec::new(), cutoffs: cutoffs.to_vec() }
    }

    /// Adds a list. The lists of a user come one after another.
    fn add(&mut self, user: u64, placement: &Placement) {
        self.mean.add(placement);
        self.single &= placement.relevant() == 1;
        let metrics = self.cutoffs.iter().filter_map(|cutoff| placement.at(*cutoff));
        match self.users.last_mut().filter(|_| self.user == Some(user)) {
            Some((lists, sums)) => {
                *lists += 1.0;
                for (sum, at) in sums.iter_mut().zip(metrics) {
                    sum.hit_rate += at.hit_rate;
                    sum.recall += at.recall;
                    sum.ndcg += at.ndcg;
                    sum.mrr += at.mrr;
                }
            }
            None => self.users.push((1.0, metrics.collect())),
        }
        self.user = Some(user);
    }
}

impl Ranked {
    /// Adds what came out to an evaluation, with intervals over users.
    pub(super) fn note(&self, config: &EvaluateConfig, seed: Seed, evaluation: &mut Evaluation) {
        let lists: Vec<f64> = self.users.iter().map(|(lists, _)| *lists).collect();
        let plan = plan(config, lists.len(), seed);
        let mut values = Vec::new();
        for (number, at) in self.mean.mean().unwrap_or_default().iter().enumerate() {
            for (key, name, read) in METRICS.into_iter().filter(|(key, ..)| !(self.single && *key == "recall")) {
                let key = format!("{key}@{}", at.k);
                let of_user = |(_, sums): &(f64, Vec<RankingAtK>)| sums.get(number).map_or(0.0, read);
                let sums: Vec<f64> = self.users.iter().map(of_user).collect();
                let replicates = plan.and_then(|plan| bootstrap_ratio(&sums, &lists, plan));
                evaluation.metrics.insert(key.clone(), read(at));
                let interval = replicates.and_then(|replicates| evaluation.resampled(key, replicates));
                let estimate = estimate(read(at), interval.as_ref());
                values.push(RankingValue { metric: name.into(), cutoff: at.k as u64, estimate });
            }
        }
        let (candidates, lists) = (self.protocol.clone(), self.mean.queries());
        evaluation.rankings.push(report::Ranking { candidates, lists, values });
        evaluation.ranking_seconds = self.seconds;
    }
}
