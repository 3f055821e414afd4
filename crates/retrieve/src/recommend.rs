//! What to show one user now: candidates from the retriever, in the order of the ranker.

use crate::index::Filter;
use crate::recall::Retrieval;
use kitestring_core::{Error, Kind, Result, Schema};
use kitestring_data::dataset::{HistoryEvent, ItemTable, QueryRow, Vocabularies};
use kitestring_nn::engine::Workers;
use kitestring_train::Model;
use kitestring_train::config::EvaluateConfig;
use kitestring_train::evaluate::{Combine, ranked_task};
use kitestring_train::inputs::Prepared;
use kitestring_train::predictor::Predictor;

/// The most items that a ranker scores one by one where no retriever chooses among them.
pub const MOST_RANKED: usize = 100_000;

/// Recommends items by a ranker, a retriever, or both.
#[derive(Clone, Copy)]
pub struct Recommender<'a> {
    /// What turns values into the models' ids, with the items there are.
    pub vocabularies: &'a Vocabularies,
    /// The ranker, if there is one.
    pub ranker: Option<&'a Model>,
    /// The retriever with its index, if there is one.
    pub retrieval: Option<&'a Retrieval>,
    /// What candidates are ordered by (`score`), and how many are scored at once.
    pub evaluate: &'a EvaluateConfig,
}

/// Whom to recommend to, and how much.
#[derive(Debug, Clone, Copy)]
pub struct RecommendRequest<'a> {
    /// The user and the moment.
    pub row: &'a QueryRow<'a>,
    /// Items not to return, ascending: what the user has seen.
    pub excluded: &'a [u64],
    /// How many items to return at most.
    pub k: usize,
    /// How many candidates the retriever finds for the ranker; at least `k` in any case.
    pub candidates: usize,
}

/// An item that is recommended.
#[derive(Debug, Clone, PartialEq)]
pub struct RecommendedItem {
    /// The item's number.
    pub item: u64,
    /// What the items are in the order of: the ranker's score, or the retriever's where there is no ranker.
    pub score: f32,
    /// The ranker's prediction of each task, in the order of the schema; empty where there is no ranker.
    pub tasks: Vec<f32>,
    /// The retriever's score; `None` where there is no retriever.
    pub retrieval: Option<f32>,
}

/// The best items, the best first.
#[derive(Debug, Clone, PartialEq)]
pub struct Recommendations {
    /// The items; fewer than were asked for where no more are left.
    pub items: Vec<RecommendedItem>,
    /// How many candidates they are the best of.
    pub candidates: usize,
    /// What the items are in the order of: the name of a task, `score` for the config's combination of tasks, `retriever`.
    pub ordered_by: String,
}

impl Recommender<'_> {
    /// The items there are.
    ///
    /// # Errors
    /// A config error, if the schema has no item.
    fn table(&self) -> Result<&ItemTable> {
        self.vocabularies.items().ok_or_else(|| {
            Error::config("the data do not name the items of rows, so none can be recommended")
                .in_field("schema.item")
                .mend("name the column of the item in the config, and train again")
        })
    }

    /// The best items for a request.
    ///
    /// # Errors
    /// Neither a ranker nor a retriever; models of other data; more than [`MOST_RANKED`] items and no retriever; scores that are not finite.
    pub fn recommend(&self, request: &RecommendRequest<'_>, workers: &dyn Workers) -> Result<Recommendations> {
        let schema = &self.vocabularies.manifest().schema;
        let schemas = [self.ranker.map(|ranker| &ranker.schema), self.retrieval.map(|found| &found.model.schema)];
        if schemas.into_iter().flatten().any(|of_model| of_model != schema) {
            return Err(Error::config("the models were trained on data of another schema").mend("train them again"));
        }
        let mut items = self.candidates(request, workers)?;
        let candidates = items.len();
        let ordered_by = match self.ranker {
            Some(ranker) => self.rank(ranker, request.row, &mut items, workers)?,
            None => "retriever".to_owned(),
        };
        let order = |a: &RecommendedItem, b: &RecommendedItem| b.score.total_cmp(&a.score).then(a.item.cmp(&b.item));
        if request.k > 0 && request.k < items.len() {
            items.select_nth_unstable_by(request.k - 1, order);
        }
        items.truncate(request.k);
        items.sort_by(order);
        Ok(Recommendations { items, candidates, ordered_by })
    }

    /// What the retriever finds, else all items.
    fn candidates(&self, request: &RecommendRequest<'_>, workers: &dyn Workers) -> Result<Vec<RecommendedItem>> {
        let of = |item: u64, score: Option<f32>| RecommendedItem {
            item,
            score: score.unwrap_or(0.0),
            tasks: Vec::new(),
            retrieval: score,
        };
        if let Some(retrieval) = self.retrieval {
            let filter = Filter { excluded: request.excluded, required: &[] };
            // Without a ranker nothing comes of more than are returned.
            let count = if self.ranker.is_some() { request.candidates.max(request.k) } else { request.k };
            let found = retrieval.search(request.row, count, &filter, workers)?;
            return Ok(found.into_iter().map(|found| of(found.item, Some(found.score))).collect());
        }
        if self.ranker.is_none() {
            return Err(Error::config("there is neither a ranker nor a retriever").mend("train one of them"));
        }
        let seen = self.table()?.seen();
        if seen.len() > MOST_RANKED {
            return Err(Error::config(format!("no retriever chooses among the {} items", seen.len()))
                .mend("train one: give the config a section [retrieve] and call `kitestring retrieve train`"));
        }
        let left = seen.iter().map(|item| u64::from(*item));
        Ok(left.filter(|item| request.excluded.binary_search(item).is_err()).map(|item| of(item, None)).collect())
    }

    /// Gives candidates the ranker's predictions and scores, and says what the score is.
    fn rank(
        &self,
        ranker: &Model,
        row: &QueryRow<'_>,
        items: &mut [RecommendedItem],
        workers: &dyn Workers,
    ) -> Result<String> {
        let (schema, table) = (&ranker.schema, self.table()?);
        let task = ranked_task(schema).unwrap_or(0);
        let combine = Combine::new(schema, self.evaluate, task);
        // A head may say more of a sample than a prediction a task; the tasks come first.
        let columns = ranker.graph.outputs().len();
        let mut predictor = Predictor::new(ranker, workers.count());
        let (mut prepared, mut scores) = (Prepared::default(), Vec::new());
        for items in items.chunks_mut(self.evaluate.batch_size.max(1)) {
            let numbers = items.iter().map(|item| u32::try_from(item.item)).collect::<Result<Vec<u32>, _>>();
            let numbers = numbers.map_err(|error| Error::format("an item's number is too large").caused_by(error))?;
            row.put_candidates(table, &numbers, &mut prepared.batch).map_err(|error| {
                Error::new(Kind::Format, "the index holds items that are not among the run's")
                    .caused_by(error)
                    .mend("build it again with kitestring retrieve index, and add the items again")
            })?;
            predictor.score(&mut prepared, workers, &mut scores)?;
            for (item, found) in items.iter_mut().zip(scores.chunks_exact(columns.max(1))) {
                item.tasks = found.iter().take(schema.tasks.len()).copied().collect();
                item.score = combine.score(|task| item.tasks.get(task).copied().unwrap_or(f32::NAN));
                if !item.score.is_finite() || item.tasks.iter().any(|score| !score.is_finite()) {
                    let name = self.vocabularies.item(item.item);
                    return Err(Error::numeric(format!("the ranker's score of item `{name}` is not finite"))
                        .mend("train it again with a lower learning rate, or look at the item's numeric features"));
                }
            }
        }
        let name = || schema.tasks.get(task).map_or_else(String::new, |task| task.name.clone());
        Ok(if self.evaluate.score.is_empty() { name() } else { "score".to_owned() })
    }
}

/// Reads an event of a history: an item as the data name it, and, behind a colon, the binary task that was positive, with those that come
/// before it. An item alone was positive in all tasks.
///
/// # Errors
/// A config error that names the item, or the task, and suggests another.
pub fn history_event(vocabularies: &Vocabularies, text: &str) -> Result<HistoryEvent> {
    let schema = &vocabularies.manifest().schema;
    if let Some(item) = item_number(vocabularies, text) {
        return Ok(HistoryEvent { item, tasks: None });
    }
    if let Some((name, action)) = text.rsplit_once(':')
        && let Some(item) = item_number(vocabularies, name)
    {
        let Some(task) = schema.task(action) else {
            let tasks = schema.tasks.iter().map(|task| task.name.as_str());
            return Err(Error::config(format!("there is no task `{action}`, in `{text}`")).suggest(action, tasks));
        };
        return Ok(HistoryEvent { item, tasks: Some(with_earlier(schema, task)) });
    }
    let name = text.rsplit_once(':').filter(|(_, action)| schema.task(action).is_some()).map_or(text, |(name, _)| name);
    let count = vocabularies.items().map_or(0, ItemTable::count) as u64;
    let known = (1..count).map(|item| vocabularies.item(item));
    Err(Error::config(format!("there is no item `{name}`")).suggest(name, known))
}

/// The number of an item, if there is one of that name.
fn item_number(vocabularies: &Vocabularies, name: &str) -> Option<u32> {
    let items = vocabularies.manifest().item?;
    Some(vocabularies.entry(items, name)).filter(|item| *item > 0)
}

/// A task and those that must be positive before it can be.
fn with_earlier(schema: &Schema, task: usize) -> Vec<usize> {
    let mut all = vec![task];
    let before = |task: &usize| schema.tasks.get(*task)?.after.as_deref().and_then(|name| schema.task(name));
    while let Some(earlier) = all.last().and_then(before).filter(|earlier| !all.contains(earlier)) {
        all.push(earlier);
    }
    all
}
