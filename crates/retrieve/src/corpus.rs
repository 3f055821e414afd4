//! What a retriever learns from: the training pairs of a data set, and how often each side has one.

use crate::config::RetrieveConfig;
use crate::objective::config::Objective;
use crate::objective::pairs::{Links, Pairs, UserPositives};
use kitestring_core::schema::{Of, TaskKind};
use kitestring_core::{Batch, Error, Result, Schema, Seed};
use kitestring_data::dataset::{Dataset, ItemTable, Permutation, Split};
use kitestring_train::inputs::{Distinct, Readers};
use std::collections::HashMap;

/// Pairs read at once where all are gone through.
const BLOCK: u64 = 8192;

/// The training pairs of a data set: the samples whose label of a task says that something happened, or how much.
pub struct Corpus<'a> {
    dataset: &'a Dataset,
    split: &'a Split,
    items: &'a ItemTable,
    /// Which features queries and items read.
    readers: [Readers; 2],
    task: Option<usize>,
    binary: bool,
    /// The samples that are pairs, ascending.
    samples: Vec<u64>,
    /// For each item number its share of pairs.
    frequency: Vec<f32>,
    /// For each user number the weight of its queries in averages; empty for 1.
    query_weights: Vec<f32>,
    /// The same for each item number.
    item_weights: Vec<f32>,
    draws: Option<Draws>,
    /// What users have, where the objective holds pairs against other items and users are known.
    positives: Option<ItemsOfUsers>,
    /// The sparse features that are the item's own id, and how often a step does as if it did not know them.
    ids: Vec<usize>,
    unknown: f32,
    /// The id of unknown items in the tables of these features.
    unknown_id: u64,
}

/// Draws items in proportion to a power of their pairs.
struct Draws {
    count: usize,
    items: Vec<u32>,
    /// Running sums of probabilities, the last one 1.
    sums: Vec<f64>,
    /// For each item number the probability of a draw.
    probability: Vec<f32>,
}

/// The distinct items of each user's training pairs.
struct ItemsOfUsers {
    /// Where each user's items start, by the user's number, and one past the last.
    starts: Vec<usize>,
    /// Ascending within a user.
    items: Vec<u32>,
}

/// The pairs of a step, read and indexed. A workspace: a warm one allocates nothing that grows with the corpus.
#[derive(Debug, Default)]
pub struct PairBatch {
    /// The samples: what queries are made of.
    pub query: Batch,
    /// The distinct items, in the order of [`Self::items`].
    pub item: Batch,
    /// The distinct ids of both.
    pub distinct: Distinct,
    /// The numbers of the distinct items.
    pub items: Vec<u32>,
    links: Links,
    positives: UserPositives,
    /// The list in `positives` of each user.
    lists: HashMap<u64, u32>,
    labels: Vec<f32>,
    numbers: Vec<u64>,
    query_weights: Vec<f32>,
    item_weights: Vec<f32>,
    drawn: Vec<u32>,
    frequency: Vec<f32>,
    draw_probability: Vec<f32>,
    /// For each item number its row in this batch, and whether it is one: the rows' numbers tell.
    rows: Vec<u32>,
    item_of: Vec<u32>,
}

impl PairBatch {
    /// What an objective sees, with the towers' vectors of dimension k.
    pub fn pairs<'a>(&'a self, dimension: usize, queries: &'a [f32], items: &'a [f32]) -> Pairs<'a> {
        Pairs {
            dimension,
            queries,
            items,
            links: &self.links,
            positives: &self.positives,
            labels: &self.labels,
            numbers: &self.numbers,
            query_weights: &self.query_weights,
            item_weights: &self.item_weights,
            drawn: &self.drawn,
            frequency: &self.frequency,
            draw_probability: &self.draw_probability,
        }
    }

    /// For each pair the ids of a feature of the query and one of the item, each with one id.
    pub(crate) fn ids(&self, query: usize, item: usize) -> impl Iterator<Item = (u64, u64)> + '_ {
        let items = self.item_of.iter().map(move |row| self.item.sparse[item].ids[*row as usize]);
        self.query.sparse[query].ids.iter().copied().zip(items)
    }

    /// The row of an item, if it is in this batch.
    fn known_row(&self, item: u32) -> Option<u32> {
        let row = self.rows.get(item as usize).copied()?;
        (self.items.get(row as usize) == Some(&item)).then_some(row)
    }

    /// The row of an item of this batch.
    fn row(&mut self, item: u32) -> u32 {
        let at = self.rows[item as usize];
        if self.items.get(at as usize) == Some(&item) {
            return at;
        }
        let at = self.items.len() as u32;
        self.rows[item as usize] = at;
        self.items.push(item);
        at
    }
}

/// The task that pairs are read from: the one named, else the first; none where the schema has none and every row is a pair.
///
/// # Errors
/// A config error, if there is no such task.
pub fn pair_task(schema: &Schema, name: Option<&str>) -> Result<Option<usize>> {
    let Some(name) = name else { return Ok((!schema.tasks.is_empty()).then_some(0)) };
    schema.task(name).map(Some).ok_or_else(|| {
        let error = Error::config(format!("there is no task `{name}`")).in_field("retrieve.task");
        error.suggest(name, schema.tasks.iter().map(|task| task.name.as_str()))
    })
}

/// The readers of each tower: what is the item's is none of a query's.
pub fn readers(schema: &Schema) -> [Readers; 2] {
    [false, true].map(|item| Readers::of(schema, |feature| (feature.of == Of::Item) == item))
}

/// The item table of a data set.
///
/// # Errors
/// A config error, if the schema has no item.
pub fn items(dataset: &Dataset) -> Result<&ItemTable> {
    dataset.items().ok_or_else(|| {
        Error::config("a retriever needs to know the item of a row").in_field("schema.item").mend("name its column")
    })
}

impl<'a> Corpus<'a> {
    /// The pairs of the split `train`.
    ///
    /// # Errors
    /// A data set without items, without pairs, or that the objective cannot learn from.
    pub fn new(dataset: &'a Dataset, config: &RetrieveConfig) -> Result<Self> {
        let schema = dataset.schema();
        let items = items(dataset)?;
        let task = pair_task(schema, config.task.as_deref())?;
        let binary = task.is_none_or(|task| schema.tasks[task].kind == TaskKind::Binary);
        if !binary && !matches!(config.objective, Objective::Gramian(_)) {
            return Err(Error::config(
                "this objective needs a task that says whether something happened, not how much",
            )
            .in_field("retrieve.task")
            .mend("name a binary task, or use objective.type = \"gramian\""));
        }
        let split = dataset.split("train")?;
        let (mut samples, mut of_item) = (Vec::new(), vec![0_u32; items.count()]);
        let users = dataset.manifest().user.map(|at| dataset.manifest().vocabularies[at].entries as usize);
        let mut of_user = vec![0_u32; users.unwrap_or(0)];
        let masks = users.is_some() && matches!(config.objective, Objective::Softmax(_) | Objective::Contrastive(_));
        let mut had: Vec<(u32, u32)> = Vec::new();
        split.each_block(|batch| {
            let tasks = batch.labels.len() / batch.rows.max(1);
            for (row, sample) in batch.index.iter().enumerate() {
                let label = task.map_or(1.0, |task| batch.labels[row * tasks + task]);
                if label.is_nan() || (binary && label <= 0.5) {
                    continue;
                }
                samples.push(*sample);
                let missing = || Error::internal("a row's item or user is not in its vocabulary");
                *of_item.get_mut(batch.item[row] as usize).ok_or_else(missing)? += 1;
                if let Some(user) = batch.user.get(row) {
                    *of_user.get_mut(*user as usize).ok_or_else(missing)? += 1;
                    // Number 0 is all users that nobody named.
                    if masks && *user > 0 {
                        had.push((*user as u32, batch.item[row] as u32));
                    }
                }
            }
            Ok(())
        })?;
        if samples.is_empty() {
            let of = task.map_or("row", |task| schema.tasks[task].name.as_str());
            return Err(Error::data(format!("split `train` has no positive `{of}` to learn from"))
                .in_field("retrieve.task")
                .mend("name another task"));
        }
        let total = samples.len() as f64;
        let share = |count: &u32| (f64::from(*count) / total) as f32;
        let frequency: Vec<f32> = of_item.iter().map(share).collect();
        let (mut query_weights, mut item_weights) = (Vec::new(), Vec::new());
        if let Objective::Gramian(gramian) = &config.objective {
            let of_user: Vec<f32> = of_user.iter().map(share).collect();
            if gramian.query_power != 1.0 && users.is_none() {
                return Err(Error::config("users cannot be counted the same where nobody knows them")
                    .in_field("retrieve.objective.query_power")
                    .mend("name the column of the user as schema.user"));
            }
            query_weights = importance(&of_user, gramian.query_power);
            item_weights = importance(&frequency, gramian.item_power);
        }
        let draws = config.objective.draws().map(|(count, power)| Draws::new(count, power, &frequency));
        let own = schema.item.as_deref();
        let ids = schema
            .sparse()
            .enumerate()
            .filter(|(_, feature)| feature.of == Of::Item && !feature.is_ragged() && own == Some(feature.column()));
        let ids: Vec<usize> = ids.map(|(index, _)| index).collect();
        let of_ids = ids.first().and_then(|id| schema.sparse().nth(*id));
        let unknown_id = of_ids.map_or(0, |feature| dataset.manifest().unknown_id_of(feature.table()));
        Ok(Self {
            dataset,
            split,
            items,
            readers: readers(schema),
            task,
            binary,
            samples,
            frequency,
            query_weights,
            item_weights,
            draws,
            positives: masks.then(|| ItemsOfUsers::new(had, of_user.len())),
            ids,
            unknown: config.unknown_items,
            unknown_id,
        })
    }

    /// The data set.
    pub fn dataset(&self) -> &'a Dataset {
        self.dataset
    }

    /// Whether training takes ids of a table for unknown ones now and then.
    pub(crate) fn hides(&self, table: &str) -> bool {
        let features = self.dataset.schema().sparse().enumerate();
        let mut of_table = features.filter(|(_, feature)| feature.table() == table);
        self.unknown > 0.0 && of_table.any(|(number, _)| self.ids.contains(&number))
    }

    /// The number of pairs.
    pub fn len(&self) -> u64 {
        self.samples.len() as u64
    }

    /// Whether there is no pair. There is always one.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// The largest share of pairs that an item has.
    pub fn most_frequent(&self) -> f32 {
        self.frequency.iter().copied().fold(0.0, f32::max)
    }

    /// For each item number its share of pairs.
    pub fn frequency(&self) -> &[f32] {
        &self.frequency
    }

    /// The samples that are pairs, by the numbers of pairs.
    pub fn samples(&self) -> &[u64] {
        &self.samples
    }

    /// The split the pairs are of.
    pub fn split(&self) -> &'a Split {
        self.split
    }

    /// A shuffled order of the pairs, another one for every epoch.
    pub fn order(&self, seed: Seed, epoch: u64) -> Permutation {
        Permutation::new(self.len(), seed.child("order").at(epoch))
    }

    /// Fills a batch with pairs by their numbers. With a seed, draws what training draws: negatives, items to be unknown.
    ///
    /// # Errors
    /// A pair there is not, or a damaged file.
    pub fn read(&self, numbers: &[u64], draws: Option<Seed>, batch: &mut PairBatch) -> Result<()> {
        let sample = |number: &u64| self.samples.get(*number as usize).copied();
        let samples: Option<Vec<u64>> = numbers.iter().map(sample).collect();
        let samples = samples.ok_or_else(|| Error::internal("there is no such pair"))?;
        // Pairs are no drawn negatives: what is drawn here are histories.
        self.split.read(&samples, draws.unwrap_or(Seed(0)), &mut batch.query)?;
        batch.numbers.clear();
        batch.numbers.extend_from_slice(numbers);
        batch.rows.resize(self.items.count(), 0);
        batch.items.clear();
        batch.labels.clear();
        let tasks = batch.query.labels.len() / batch.query.rows.max(1);
        let mut item_of = std::mem::take(&mut batch.item_of);
        item_of.clear();
        for row in 0..numbers.len() {
            let label = self.task.filter(|_| !self.binary).map_or(1.0, |task| batch.query.labels[row * tasks + task]);
            batch.labels.push(label);
            let item = batch.query.item[row] as u32;
            item_of.push(batch.row(item));
        }
        batch.drawn.clear();
        if let (Some(seed), Some(draws)) = (draws, &self.draws) {
            let seed = seed.child("negatives");
            for at in 0..draws.count as u64 {
                let row = batch.row(draws.at(seed.bits_at(at))) as usize;
                batch.drawn.resize(batch.drawn.len().max(row + 1), 0);
                batch.drawn[row] += 1;
            }
        }
        let linked = batch.links.set(&item_of, batch.items.len());
        batch.item_of = item_of;
        linked?;
        batch.positives.clear();
        if let Some(positives) = &self.positives {
            positives.put(batch);
        }
        fill(&mut batch.frequency, &batch.items, &self.frequency);
        fill(&mut batch.item_weights, &batch.items, &self.item_weights);
        let probability = self.draws.as_ref().filter(|_| draws.is_some()).map(|draws| draws.probability.as_slice());
        fill(&mut batch.draw_probability, &batch.items, probability.unwrap_or_default());
        batch.query_weights.clear();
        if !self.query_weights.is_empty() {
            batch.query_weights.extend(batch.query.user.iter().map(|user| self.query_weights[*user as usize]));
        }
        self.put_items(batch)?;
        if let Some(seed) = draws.filter(|_| self.unknown > 0.0) {
            let seed = seed.child("unknown");
            for feature in &self.ids {
                for (row, id) in batch.item.sparse[*feature].ids.iter_mut().enumerate() {
                    if seed.unit_at(row as u64) < self.unknown {
                        *id = self.unknown_id;
                    }
                }
            }
        }
        let [query, item] = &self.readers;
        batch.distinct.index_to_learn(&[(query, &batch.query), (item, &batch.item)]);
        Ok(())
    }

    /// Calls `body` with all pairs in the order of their numbers, a block of them at a time, and draws nothing.
    pub(crate) fn each_block(&self, mut body: impl FnMut(&PairBatch) -> Result<()>) -> Result<()> {
        let mut batch = PairBatch::default();
        for first in (0..self.len()).step_by(BLOCK as usize) {
            let numbers: Vec<u64> = (first..(first + BLOCK).min(self.len())).collect();
            self.read(&numbers, None, &mut batch)?;
            body(&batch)?;
        }
        Ok(())
    }

    fn put_items(&self, batch: &mut PairBatch) -> Result<()> {
        batch.item.clear();
        self.items.put(&batch.items, &mut batch.item)?;
        batch.item.rows = batch.items.len();
        Ok(())
    }
}

impl ItemsOfUsers {
    /// Of pairs of a user and an item, for so many users.
    fn new(mut pairs: Vec<(u32, u32)>, users: usize) -> Self {
        pairs.sort_unstable();
        pairs.dedup();
        let mut starts = vec![0; users + 1];
        pairs.iter().for_each(|(user, _)| starts[*user as usize + 1] += 1);
        (0..users).for_each(|user| starts[user + 1] += starts[user]);
        Self { starts, items: pairs.into_iter().map(|(_, item)| item).collect() }
    }

    fn of(&self, user: u64) -> &[u32] {
        let user = user as usize;
        self.starts.get(user).zip(self.starts.get(user + 1)).map_or(&[], |(start, end)| &self.items[*start..*end])
    }

    /// Notes for each pair of a batch which of the batch's items its user has. A user's items are looked up in the batch, or the batch's in
    /// the user's where these are many more: no user costs more than the batch is large.
    fn put(&self, batch: &mut PairBatch) {
        let (mut positives, mut lists) = (std::mem::take(&mut batch.positives), std::mem::take(&mut batch.lists));
        lists.clear();
        for user in &batch.query.user {
            let list = lists.entry(*user).or_insert_with(|| {
                let had = self.of(*user);
                if had.len() / 8 <= batch.items.len() {
                    positives.push_list(had.iter().filter_map(|item| batch.known_row(*item)))
                } else {
                    let rows = (0_u32..).zip(&batch.items).filter(|(_, item)| had.binary_search(item).is_ok());
                    positives.push_list(rows.map(|(row, _)| row))
                }
            });
            positives.push_pair(*list);
        }
        (batch.positives, batch.lists) = (positives, lists);
    }
}

/// The values of some items, where there are any.
fn fill(into: &mut Vec<f32>, items: &[u32], values: &[f32]) {
    into.clear();
    if !values.is_empty() {
        into.extend(items.iter().map(|item| values[*item as usize]));
    }
}

/// Weights by which a mean over pairs becomes one where each counts by its share to a power: `f^(p − 1) / Σ f^p`. Empty for a power of 1.
fn importance(shares: &[f32], power: f32) -> Vec<f32> {
    if power == 1.0 {
        return Vec::new();
    }
    let present = || shares.iter().filter(|share| **share > 0.0);
    let sum: f64 = present().map(|share| f64::from(share.powf(power))).sum();
    let weight = |share: &f32| if *share > 0.0 { (f64::from(share.powf(power - 1.0)) / sum) as f32 } else { 0.0 };
    shares.iter().map(weight).collect()
}

impl Draws {
    fn new(count: usize, power: f32, frequency: &[f32]) -> Self {
        let items: Vec<u32> =
            (0_u32..).zip(frequency).filter(|(_, share)| **share > 0.0).map(|(item, _)| item).collect();
        let mass = |item: &u32| f64::from(frequency[*item as usize]).powf(power.into());
        let total: f64 = items.iter().map(mass).sum();
        let mut sum = 0.0;
        let mut probability = vec![0.0; frequency.len()];
        let sums = items.iter().map(|item| {
            let share = mass(item) / total;
            probability[*item as usize] = share as f32;
            sum += share;
            sum
        });
        Self { count, sums: sums.collect(), probability, items }
    }

    /// The item at a place of [0, 1) that 64 bits give.
    fn at(&self, bits: u64) -> u32 {
        let place = (bits >> 11) as f64 / (1_u64 << 53) as f64;
        let at = self.sums.partition_point(|sum| *sum <= place).min(self.items.len() - 1);
        self.items[at]
    }
}
