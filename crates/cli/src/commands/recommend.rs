//! `kitestring recommend`: what to show one user now.

use crate::arguments::{DatasetPlace, OutputArgs};
use crate::output::columns;
use crate::retriever::{self, RETRIEVER};
use crate::stages::MODEL;
use clap::Args;
use kitestring_core::schema::FeatureKind;
use kitestring_core::{Error, Result};
use kitestring_data::dataset::{HistoryEvent, QueryRow, Vocabularies};
use kitestring_retrieve::RetrieveConfig;
use kitestring_retrieve::fit::MODEL as TOWERS;
use kitestring_retrieve::recall::{ITEMS, Retrieval, had};
use kitestring_retrieve::recommend::{RecommendRequest, Recommendations, Recommender, history_event};
use kitestring_train::run::Run;
use kitestring_train::workers::Threads;
use kitestring_train::{Model, RunConfig};
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use std::time::Instant;

/// Recommend items to one user: the retriever finds candidates, the ranker orders them
///
/// A user of the run's data is met as in the newest row, with everything that the user did; --history takes the place of that. Of a user that
/// is not there, all that is known is --history and --context. Items that the user has seen, in the data or in --history, are left out. A run
/// without a retriever ranks all its items; one without a ranker orders what the retriever finds.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kitestring recommend runs/movies --user 17 -k 10
  kitestring recommend runs/movies --history 1193,661,914 --context gender=F
  kitestring recommend runs/shop --user 17 --history boots:click,laces:buy --with-seen")]
pub struct Recommend {
    /// The run directory
    run: PathBuf,
    /// The user, as the data names it; may be one that the data do not have
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// How many items
    #[arg(short, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    k: u64,
    /// What the user did, the oldest first, in place of what the data say: items, separated by commas. ITEM:TASK was positive in that task
    /// (and in those before it), an item alone in all of them; may be repeated
    #[arg(long, value_name = "ITEM[:TASK],…")]
    history: Vec<String>,
    /// A feature of the user or the moment, or a scenario, as it stands in the data; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    context: Vec<String>,
    /// How many candidates the retriever finds for the ranker; the largest of the config's retrieve.candidates when absent
    #[arg(long, value_name = "N")]
    candidates: Option<usize>,
    /// Also items that the user has seen already
    #[arg(long)]
    with_seen: bool,
    #[command(flatten)]
    dataset: DatasetPlace,
    #[command(flatten)]
    output: OutputArgs,
}

/// What a run recommends with.
struct Models {
    config: RunConfig,
    vocabularies: Vocabularies,
    ranker: Option<Model>,
    retrieval: Option<Retrieval>,
}

impl Models {
    fn open(run: &Run) -> Result<Self> {
        let directory = run.directory().join(RETRIEVER);
        let ranker = run.directory().join(MODEL).is_dir().then(|| run.model()).transpose()?;
        let mut vocabularies = run.vocabularies()?;
        let has_retriever = directory.join(TOWERS).is_dir();
        let open = || retriever::open(run.directory(), &vocabularies.vocabulary_hash()?);
        let retrieval = has_retriever.then(open).transpose()?;
        if ranker.is_none() && retrieval.is_none() {
            return Err(Error::config("the run has neither a ranker nor a retriever")
                .in_file(run.directory().display().to_string())
                .mend("train one: kitestring train, kitestring retrieve train"));
        }
        if retrieval.is_some() && directory.join(ITEMS).exists() {
            vocabularies = vocabularies.with_items(&directory.join(ITEMS))?;
        }
        if vocabularies.manifest().item.is_none() {
            return Err(Error::config("the run's data do not name the items of rows")
                .in_field("schema.item")
                .mend("name the column of the item in the config, and train again"));
        }
        Ok(Self { config: run.config()?, vocabularies, ranker, retrieval })
    }

    /// How many candidates the retriever finds, where nobody says.
    fn candidates(&self) -> Result<usize> {
        let section = RetrieveConfig::of(&self.config)?.unwrap_or_default();
        Ok(section.candidates.into_iter().max().unwrap_or(500))
    }

    /// The feature of items that says what they are called.
    fn title(&self) -> Option<usize> {
        const NAMES: [&str; 5] = ["title", "name", "item_name", "item_title", "product_name"];
        let schema = &self.vocabularies.manifest().schema;
        schema.sparse().position(|feature| {
            let named = |name: &str| NAMES.contains(&name.to_lowercase().as_str());
            feature.kind == FeatureKind::Categorical
                && feature.history.is_none()
                && schema.item.as_deref() != Some(feature.column())
                && (named(&feature.name) || named(feature.column()))
        })
    }

    /// What the items of a list are called, where the data say.
    fn titles(&self, items: &[u32]) -> Result<Option<Vec<String>>> {
        let (Some(at), Some(table)) = (self.title(), self.vocabularies.items()) else { return Ok(None) };
        let Some(feature) = self.vocabularies.manifest().schema.sparse().nth(at) else { return Ok(None) };
        let mut batch = kitestring_core::Batch::default();
        table.put(items, &mut batch)?;
        let Some(ids) = batch.sparse.get(at).filter(|ids| ids.ids.len() == items.len()) else { return Ok(None) };
        let text = |id: &u64| self.vocabularies.value(feature.table(), *id).unwrap_or_default().to_owned();
        Ok(Some(ids.ids.iter().map(text).collect()))
    }
}

impl Recommend {
    /// # Errors
    /// A directory that is no finished run; a name, a value or an item that is not known; more items than can be ranked without a retriever.
    pub fn execute(self) -> Result<()> {
        if self.user.is_none() && self.history.is_empty() && self.context.is_empty() {
            return Err(Error::config("nothing says whom to recommend to")
                .mend("give --user, --history or --context, as in --user 17"));
        }
        let mut run = Run::open(&self.run)?;
        let models = Models::open(&run)?;
        let vocabularies = &models.vocabularies;
        let number = self.known_user(vocabularies)?;
        // Only what a known user did lies in the data set; without one it need not be there.
        let dataset = if number > 0 { Some(run.dataset(self.dataset.given())?) } else { None };
        run.release();
        let known = match &dataset {
            Some(dataset) => QueryRow::of_user(dataset, vocabularies, number.into())?,
            None => None,
        };
        let is_known = known.is_some();
        let mut row = known.unwrap_or_else(|| QueryRow::unknown(vocabularies.manifest()));
        if !is_known && let Some(user) = &self.user {
            self.note_unknown(user);
            row.set_user(vocabularies, user)?;
        }
        for (feature, value) in &models.config.evaluate.serve_as {
            row.set(vocabularies, feature, value).map_err(|error| error.in_field("evaluate.serve_as"))?;
        }
        self.set_context(vocabularies, &mut row)?;
        let history = self.events(vocabularies)?;
        if let Some(table) = vocabularies.items().filter(|_| !history.is_empty()) {
            row.set_history(table, &history)?;
        }
        let seen = match &dataset {
            _ if self.with_seen => Vec::new(),
            Some(dataset) => {
                let splits: Vec<&str> = dataset.splits().iter().map(|split| split.name()).collect();
                had(dataset, number.into(), &splits)?
            }
            None => Vec::new(),
        };
        let of_history = history.iter().filter(|_| !self.with_seen).map(|event| u64::from(event.item));
        let mut excluded: Vec<u64> = seen.into_iter().chain(of_history).collect();
        excluded.sort_unstable();
        excluded.dedup();
        let start = Instant::now();
        let candidates = match self.candidates {
            Some(candidates) => candidates,
            None => models.candidates()?,
        };
        let recommender = Recommender {
            vocabularies,
            ranker: models.ranker.as_ref(),
            retrieval: models.retrieval.as_ref(),
            evaluate: &models.config.evaluate,
        };
        let k = usize::try_from(self.k).unwrap_or(usize::MAX);
        let request = RecommendRequest { row: &row, excluded: &excluded, k, candidates };
        let found = recommender.recommend(&request, &Threads::new(models.config.train.workers)?)?;
        self.write(&models, &found, is_known, start.elapsed().as_secs_f64())
    }

    /// The user's number; 0 for one that the data do not have.
    fn known_user(&self, vocabularies: &Vocabularies) -> Result<u32> {
        let Some(user) = &self.user else { return Ok(0) };
        let users = vocabularies.manifest().user.ok_or_else(|| {
            Error::config("the run's data do not name the users of rows")
                .in_field("--user")
                .mend("leave it out, and give --history or --context")
        })?;
        Ok(vocabularies.entry(users, user))
    }

    fn note_unknown(&self, user: &str) {
        let given = [("--history", !self.history.is_empty()), ("--context", !self.context.is_empty())];
        let given: Vec<&str> = given.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect();
        let rest = if given.is_empty() {
            "what is known of the items alone; say more with --history and --context".to_owned()
        } else {
            given.join(" and ")
        };
        eprintln!("note: user `{user}` is not in the run's data: the recommendations rest on {rest}");
    }

    fn set_context(&self, vocabularies: &Vocabularies, row: &mut QueryRow<'_>) -> Result<()> {
        for text in &self.context {
            let Some((name, value)) = text.split_once('=') else {
                return Err(Error::config(format!("`{text}` has no `=`"))
                    .in_field("--context")
                    .mend("write it as --context gender=F"));
            };
            let known =
                row.set(vocabularies, name, value).map_err(|error| error.in_field(format!("--context {name}")))?;
            if !known {
                eprintln!("note: training does not know `{value}` of `{name}`: it counts as unknown");
            }
        }
        Ok(())
    }

    /// The events of `--history`. A text that is an item is one, though it has a comma.
    fn events(&self, vocabularies: &Vocabularies) -> Result<Vec<HistoryEvent>> {
        let mut events = Vec::new();
        for text in &self.history {
            match history_event(vocabularies, text) {
                Ok(event) => events.push(event),
                Err(_) if text.contains(',') => {
                    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
                        events.push(history_event(vocabularies, part).map_err(|error| error.in_field("--history"))?);
                    }
                }
                Err(error) => return Err(error.in_field("--history")),
            }
        }
        Ok(events)
    }

    fn write(&self, models: &Models, found: &Recommendations, is_known: bool, seconds: f64) -> Result<()> {
        let vocabularies = &models.vocabularies;
        let numbers: Vec<u32> = found.items.iter().filter_map(|item| u32::try_from(item.item).ok()).collect();
        let titles = models.titles(&numbers)?;
        let tasks: Vec<&str> = match &models.ranker {
            Some(ranker) => ranker.schema.tasks.iter().map(|task| task.name.as_str()).collect(),
            None => Vec::new(),
        };
        // A task that items are ordered by is its own score.
        let combined = found.ordered_by == "score";
        let mut rows = vec![vec!["rank".to_owned(), "item".to_owned()]];
        rows[0].extend(titles.as_ref().map(|_| "name".to_owned()));
        rows[0].extend(combined.then(|| "score".to_owned()));
        rows[0].extend(tasks.iter().map(|task| (*task).to_owned()));
        rows[0].extend(models.retrieval.as_ref().map(|_| "retriever".to_owned()));
        let mut items = Vec::with_capacity(found.items.len());
        for (at, item) in found.items.iter().enumerate() {
            let name = vocabularies.item(item.item);
            let title = titles.as_ref().and_then(|titles| titles.get(at));
            let mut row = vec![(at + 1).to_string(), name.to_owned()];
            row.extend(title.cloned());
            row.extend(combined.then(|| format!("{:.4}", item.score)));
            row.extend(item.tasks.iter().map(|score| format!("{score:.4}")));
            row.extend(item.retrieval.map(|score| format!("{score:.4}")));
            rows.push(row);
            let scores: Map<String, Value> =
                tasks.iter().zip(&item.tasks).map(|(task, score)| ((*task).to_owned(), json!(score))).collect();
            let mut object = json!({ "rank": at + 1, "item": name, "tasks": scores });
            title.into_iter().for_each(|title| object["name"] = json!(title));
            combined.then(|| object["score"] = json!(item.score));
            item.retrieval.into_iter().for_each(|score| object["retriever"] = json!(score));
            items.push(object);
        }
        self.output.text(&columns(&rows))?;
        let short = match self.k as usize - found.items.len() {
            0 => String::new(),
            _ => format!("; {} were asked for and no more are left", self.k),
        };
        let (shown, count, by) = (found.items.len(), found.candidates, &found.ordered_by);
        let summary = match (&models.ranker, &models.retrieval) {
            (Some(_), Some(_)) => format!("the best {shown} of {count} items that the retriever found, by {by}"),
            (Some(_), None) => format!("the best {shown} of all {count} items, by {by}: the run has no retriever"),
            _ => format!("the best {shown} items by the retriever alone: the run has no ranker"),
        };
        self.output.line(&format!("{summary}{short}"))?;
        self.output.object(&json!({
            "user": self.user,
            "known_user": is_known,
            "asked": self.k,
            "candidates": count,
            "from": if models.retrieval.is_some() { "retriever" } else { "all items" },
            "ordered_by": by,
            "items": items,
            "seconds": seconds,
        }))
    }
}
