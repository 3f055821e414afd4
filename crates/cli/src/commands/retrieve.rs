//! `kitestring retrieve`: candidates for a ranker, from two towers and an index.

use super::{create_beside, put};
use crate::arguments::{BadRows, DatasetPlace, OutputArgs, Place, Settings};
use crate::output::{columns, dropped};
use crate::retriever::{self, RETRIEVER};
use crate::stages::{self, DataRequest};
use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::{ArrayRef, RecordBatch, StringArray};
use clap::{Args, Subcommand};
use kitestring_core::{Error, Result};
use kitestring_data::dataset::{Dataset, Vocabularies};
use kitestring_data::prepare::{Change, Changed, change_items};
use kitestring_data::reader;
use kitestring_retrieve::RetrieveConfig;
use kitestring_retrieve::corpus::items;
use kitestring_retrieve::index::{Filter, Found, Required};
use kitestring_retrieve::recall::{INDEX, ITEMS, Retrieval, attributes, had};
use kitestring_train::run::{Run, RunLock, RunParts, RunWriter};
use kitestring_train::workers::Threads;
use parquet::arrow::ArrowWriter;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Find candidates: train two towers, answer queries, write candidates for a ranker
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kitestring retrieve train configs/gowalla.toml --data gowalla --out runs/places
  kitestring retrieve query runs/places --user 17 -k 10
  kitestring retrieve candidates runs/places --split test -k 500 --out candidates.parquet")]
pub struct Retrieve {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Train(Train),
    Index(Index),
    Query(Query),
    Candidates(Candidates),
}

/// Train a retriever on the pairs of a data set, judge it, and build its index
///
/// The config's section `retrieve` says what it is made of. It lies in the run's folder `retriever`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kitestring retrieve train configs/gowalla.toml --data gowalla --out runs/places
  kitestring retrieve train configs/gowalla.toml --data gowalla --out runs/places --resume")]
struct Train {
    /// The config
    config: PathBuf,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    bad_rows: BadRows,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    output: OutputArgs,
}

/// Add items to a run's index, remove some, or build it again as the config's retrieve.index or --set says
///
/// What was added or removed stays so when the index is built again; a new training begins with the items of the data.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kitestring retrieve index runs/movies --add new-movies.csv
  kitestring retrieve index runs/movies --remove 1193 661
  kitestring retrieve index runs/movies --set retrieve.index.kind.type=graph")]
struct Index {
    /// The run directory
    run: PathBuf,
    /// Items to add, or to update where they are there already: a file with the columns of schema.item and of the features of items, a line
    /// an item. An empty value is a missing one; an item without any has the vector of an item of which nothing is known
    #[arg(long, value_name = "FILE")]
    add: Option<PathBuf>,
    /// Items to remove, as the data names them
    #[arg(long, value_name = "ITEM", num_args = 1..)]
    remove: Vec<String>,
    #[command(flatten)]
    bad_rows: BadRows,
    /// Override a key of the run's config; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", conflicts_with_all = ["add", "remove"])]
    set: Vec<String>,
    #[command(flatten)]
    dataset: DatasetPlace,
    #[command(flatten)]
    output: OutputArgs,
}

/// What is asked, however it is answered.
#[derive(Debug, Args)]
struct Asked {
    /// How many items
    #[arg(short, value_name = "N", default_value_t = 20)]
    k: usize,
    /// Only items whose feature has this value (several for one feature: any of them); may be repeated
    #[arg(long = "where", value_name = "FEATURE=VALUE")]
    required: Vec<String>,
    /// Also items that the user has in the data already
    #[arg(long)]
    with_seen: bool,
    #[command(flatten)]
    dataset: DatasetPlace,
    #[command(flatten)]
    output: OutputArgs,
}

/// Answer for one user: the best items, as the user's newest row in the data tells
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kitestring retrieve query runs/movies --user 17 -k 10
  kitestring retrieve query runs/movies --user 17 --where genre=Drama --where genre=Comedy --with-seen")]
struct Query {
    /// The run directory
    run: PathBuf,
    /// The user, as the data names it
    #[arg(long, value_name = "USER")]
    user: String,
    #[command(flatten)]
    asked: Asked,
}

/// Write the best items for each user of a split, each as the user's first row there tells
///
/// The file has the columns user and candidates, a list; what a user had in earlier splits is left out.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kitestring retrieve candidates runs/movies --split test -k 500 --out candidates.parquet")]
struct Candidates {
    /// The run directory
    run: PathBuf,
    /// The split
    #[arg(long, value_name = "NAME", default_value = "test")]
    split: String,
    /// The file to write
    #[arg(long, value_name = "FILE.parquet")]
    out: PathBuf,
    #[command(flatten)]
    asked: Asked,
}

impl Retrieve {
    /// # Errors
    /// What is wrong with the config, the data or the disk; a loss that is not finite; a user or a value there is not.
    pub fn execute(self) -> Result<()> {
        match self.command {
            Command::Train(command) => command.execute(),
            Command::Index(command) => command.execute(),
            Command::Query(command) => command.execute(),
            Command::Candidates(command) => command.execute(),
        }
    }
}

impl Train {
    fn execute(self) -> Result<()> {
        let start = Instant::now();
        let config = self.settings.read(Some(&self.config))?;
        let section = retriever::section(&config)?;
        let lock = RunLock::create(self.place.out.as_deref())?;
        let mut writer = RunWriter::train(lock, RunParts::RETRIEVER, self.place.existing())?;
        let mut progress = self.output.progress()?;
        let request =
            DataRequest { given: self.place.data.as_deref(), start: None, bad_rows: self.bad_rows.allowed(&config) };
        let dataset = stages::data(&writer, &config, &request, &mut progress)?;
        stages::tell(writer.staged(), &dataset.manifest().notes(), &progress)?;
        let found = retriever::train(&writer, (&config, &section), &dataset, &mut progress)?;
        writer.commit()?;
        drop(progress);
        self.output.text(&found.table())?;
        let retriever = writer.place().join(RETRIEVER);
        let report = retriever.join(stages::REPORT);
        self.output.line(&format!("retriever: {}", retriever.display()))?;
        self.output.line(&format!("report: {}", report.display()))?;
        self.output.object(&json!({
            "run": writer.place(),
            "retrieval": found.told(),
            "report": report,
            "seconds": start.elapsed().as_secs_f64(),
        }))
    }
}

impl Index {
    fn execute(self) -> Result<()> {
        // A change that comes second waits, and then changes what the first one made.
        let mut writer = RunWriter::update(RunLock::open(&self.run, PATIENCE)?)?;
        let run = writer.run().ok_or_else(|| Error::internal("a run was opened that is none"))?;
        let config = RetrieveConfig::overridden(run.config()?, &self.set)?;
        let section = retriever::section(&config)?;
        let dataset = run.dataset(self.dataset.given())?;
        let directory = run.directory().join(RETRIEVER);
        let vocabularies = retriever::vocabularies(&dataset, &directory)?;
        let threads = Threads::new(section.train.workers)?;
        if self.add.is_some() || !self.remove.is_empty() {
            let bad_rows = reader::BadRows::new(self.bad_rows.allowed(&config));
            return self.change((&dataset, vocabularies), &mut writer, &section, &bad_rows, &threads);
        }
        let table = vocabularies.items().unwrap_or(items(&dataset)?);
        let changed = changes(items(&dataset)?.seen(), table.seen());
        let model = retriever::model(run.directory(), &dataset.vocabulary_hash()?)?;
        let (retrieval, recall, seconds) =
            Retrieval::build(model, &section, (table, dataset.split("train")?), &threads)?;
        retrieval.save_index(&staged(&writer)?)?;
        writer.commit()?;
        self.output.line(&retriever::index_in_words(&retrieval, recall, seconds))?;
        if changed != (0, 0) {
            let (added, removed) = changed;
            self.output.line(&format!("against the data, {added} items were added and {removed} removed"))?;
        }
        let (added, removed) = changed;
        self.output.object(&json!({
            "items": retrieval.index.len(),
            "recall": recall,
            "seconds": seconds,
            "added": added,
            "removed": removed,
        }))
    }

    /// Changes the items of an index that stays otherwise as it is.
    fn change(
        &self,
        (dataset, vocabularies): (&Dataset, Vocabularies),
        writer: &mut RunWriter,
        section: &RetrieveConfig,
        bad_rows: &reader::BadRows,
        threads: &Threads,
    ) -> Result<()> {
        let start = Instant::now();
        let retrieval = retriever::open(writer.place(), &dataset.vocabulary_hash()?)?;
        let gone = self.remove.iter().map(|name| there(name, &vocabularies, &retrieval));
        let gone: Vec<u32> = gone.collect::<Result<BTreeSet<u32>>>()?.into_iter().collect();
        let directory = staged(writer)?;
        let path = directory.join(ITEMS);
        let file = create_beside(&path)?;
        let changed =
            change_items(&vocabularies, Change { add: self.add.as_deref(), remove: &gone }, bad_rows, file.path())?;
        drop(vocabularies);
        let vocabularies = dataset.vocabularies()?.with_items(file.path())?;
        let numbers: Vec<u64> = gone.iter().map(|item| u64::from(*item)).collect();
        let there: Vec<u64> = numbers.into_iter().filter(|item| retrieval.index.contains(*item)).collect();
        retrieval.index.remove(&there, threads)?;
        let table = vocabularies.items().unwrap_or(items(dataset)?);
        let added = retrieval.put(table, &changed.items, threads).map_err(|error| match &self.add {
            Some(file) => error.in_file(file.display().to_string()),
            None => error,
        })?;
        put(file, &path)?;
        retrieval.save_index(&directory)?;
        writer.commit()?;
        let (updated, removed, left) = (changed.items.len() - added, gone.len(), retrieval.index.len());
        self.output.line(&format!("{added} items added, {updated} updated, {removed} removed: {left} items"))?;
        self.output.text(&dropped(bad_rows.count()))?;
        self.note(&changed, section, added);
        self.output.object(&json!({
            "items": left,
            "added": added,
            "updated": updated,
            "removed": removed,
            "without_features": changed.featureless,
            "unknown_values": changed.unknown.iter().cloned().collect::<BTreeMap<String, u64>>(),
            "bad_rows": bad_rows.count(),
            "seconds": start.elapsed().as_secs_f64(),
        }))
    }

    /// Says what about new items may not be meant.
    fn note(&self, changed: &Changed, section: &RetrieveConfig, added: usize) {
        if changed.featureless > 0 {
            let (items, have) = if changed.featureless == 1 { ("item", "has") } else { ("items", "have") };
            eprintln!(
                "note: {} {items} {have} no value for any feature: nothing is known of them",
                changed.featureless
            );
        }
        for (table, values) in &changed.unknown {
            eprintln!("note: values of `{table}` that training did not know, and that count as unknown: {values}");
        }
        if added > 0 && section.unknown_items == 0.0 {
            eprintln!("note: retrieve.unknown_items is 0: training never practised to do without an item's id");
        }
    }
}

/// How long a change of an index waits for one that came before.
const PATIENCE: Duration = Duration::from_secs(300);

/// The folder of a retriever among staged parts.
fn staged(writer: &RunWriter) -> Result<PathBuf> {
    let directory = writer.staged().directory().join(RETRIEVER);
    std::fs::create_dir_all(&directory).map_err(|error| Error::io(error, "could not make the folder", &directory))?;
    Ok(directory)
}

/// The number of an item that is to be removed.
fn there(name: &str, vocabularies: &Vocabularies, retrieval: &Retrieval) -> Result<u32> {
    let number = vocabularies.manifest().item.map_or(0, |items| vocabularies.entry(items, name));
    let listed = vocabularies.items().is_some_and(|table| table.seen().binary_search(&number).is_ok());
    if number > 0 && (listed || retrieval.index.contains(number.into())) {
        return Ok(number);
    }
    Err(Error::config(format!("there is no item `{name}`")).in_field("--remove").mend("name it as the data do"))
}

/// How many items are in the second list alone, and in the first alone; both ascend.
fn changes(before: &[u32], after: &[u32]) -> (usize, usize) {
    let missing = |from: &[u32], of: &[u32]| of.iter().filter(|item| from.binary_search(item).is_err()).count();
    (missing(before, after), missing(after, before))
}

/// A run that answers.
struct Answering {
    directory: PathBuf,
    retrieval: Retrieval,
    dataset: Dataset,
    vocabularies: Vocabularies,
    threads: Threads,
    required: Vec<(String, Vec<u32>)>,
}

impl Answering {
    fn open(run: &Path, asked: &Asked) -> Result<Self> {
        let mut run = Run::open(run)?;
        let config = run.config()?;
        let section = retriever::section(&config)?;
        let dataset = run.dataset(asked.dataset.given())?;
        let directory = run.directory().join(RETRIEVER);
        let vocabularies = retriever::vocabularies(&dataset, &directory)?;
        let retrieval = retriever::open(run.directory(), &dataset.vocabulary_hash()?)?;
        run.release();
        let required = required(&asked.required, &dataset, &vocabularies)?;
        if asked.k == 0 {
            return Err(Error::config("ask for at least one item").in_field("-k"));
        }
        let threads = Threads::new(section.train.workers)?;
        Ok(Self { directory, retrieval, dataset, vocabularies, threads, required })
    }

    /// The name of an item that was found.
    fn name(&self, found: &Found) -> Result<&str> {
        let name = Some(self.vocabularies.item(found.item)).filter(|name| !name.is_empty());
        name.ok_or_else(|| {
            Error::format(format!("it holds item number {}, which nothing names", found.item))
                .in_file(self.directory.join(INDEX).display().to_string())
                .mend("build it again with kitestring retrieve index, and add the items again")
        })
    }

    /// The best items for some samples of a split, leaving out what each is not to get.
    fn answer(&self, split: &str, samples: &[u64], k: usize, excluded: &[Vec<u64>]) -> Result<Vec<Vec<Found>>> {
        let required: Vec<Required<'_>> =
            self.required.iter().map(|(attribute, codes)| Required { attribute, codes }).collect();
        let filters: Vec<Filter<'_>> =
            excluded.iter().map(|excluded| Filter { excluded, required: &required }).collect();
        self.retrieval.candidates(self.dataset.split(split)?, samples, k, &filters, &self.threads)
    }
}

/// Filters of the form `FEATURE=VALUE`, by feature.
fn required(texts: &[String], dataset: &Dataset, vocabularies: &Vocabularies) -> Result<Vec<(String, Vec<u32>)>> {
    let mut all: Vec<(String, Vec<u32>)> = Vec::new();
    for text in texts {
        let wrong = |what: String| Error::config(what).in_field("--where");
        let Some((name, value)) = text.split_once('=') else {
            return Err(wrong(format!("`{text}` has no `=`")).mend("write it as --where genre=Drama"));
        };
        let known = || attributes(dataset.schema()).map(|(_, feature)| feature);
        let Some(feature) = known().find(|feature| feature.name == name) else {
            let error = wrong(format!("items cannot be chosen by `{name}`"));
            return Err(error.suggest(name, known().map(|feature| feature.name.as_str())));
        };
        let code = vocabularies.find(feature.table(), value).and_then(|id| u32::try_from(id).ok());
        let code = code.ok_or_else(|| wrong(format!("no item has `{name}` of `{value}`")))?;
        match all.iter_mut().find(|(other, _)| other == name) {
            Some((_, codes)) => codes.push(code),
            None => all.push((name.to_owned(), vec![code])),
        }
    }
    Ok(all)
}

impl Query {
    fn execute(self) -> Result<()> {
        let answering = Answering::open(&self.run, &self.asked)?;
        let (dataset, vocabularies) = (&answering.dataset, &answering.vocabularies);
        let user = dataset.manifest().user.map_or(0, |users| vocabularies.entry(users, &self.user));
        if user == 0 {
            return Err(Error::config(format!("the run's data have no user `{}`", self.user))
                .in_field("--user")
                .mend("say what is known of a new user to `kitestring recommend` with --history and --context"));
        }
        let (split, sample) = retriever::newest(dataset, user.into())?;
        let names: Vec<&str> = dataset.splits().iter().map(|split| split.name()).collect();
        let seen = if self.asked.with_seen { Vec::new() } else { had(dataset, user.into(), &names)? };
        let start = Instant::now();
        let found = answering.answer(&split, &[sample], self.asked.k, &[seen])?;
        let seconds = start.elapsed().as_secs_f64();
        let mut rows = vec![vec!["item".to_owned(), "score".to_owned()]];
        let found = found.into_iter().next().unwrap_or_default();
        for found in &found {
            rows.push(vec![answering.name(found)?.to_owned(), format!("{:.4}", found.score)]);
        }
        self.asked.output.text(&columns(&rows))?;
        let items: Vec<_> =
            found.iter().map(|found| json!({ "item": vocabularies.item(found.item), "score": found.score })).collect();
        if found.len() < self.asked.k {
            self.asked.output.line(&format!("{} were asked for and no more are left", self.asked.k))?;
        }
        let asked = self.asked.k;
        self.asked.output.object(&json!({ "user": self.user, "asked": asked, "items": items, "seconds": seconds }))
    }
}

impl Candidates {
    fn execute(self) -> Result<()> {
        if self.out.extension().is_none_or(|extension| extension != "parquet") {
            return Err(Error::config("candidates are written as .parquet").in_file(self.out.display().to_string()));
        }
        let start = Instant::now();
        let answering = Answering::open(&self.run, &self.asked)?;
        let (dataset, vocabularies) = (&answering.dataset, &answering.vocabularies);
        let queries = retriever::first_rows(dataset.split(&self.split)?)?;
        let earlier = kitestring_train::evaluate::earlier_splits(dataset, &self.split);
        let excluded = queries
            .iter()
            .map(|(user, _)| if self.asked.with_seen { Ok(Vec::new()) } else { had(dataset, *user, &earlier) });
        let excluded = excluded.collect::<Result<Vec<_>>>()?;
        let samples: Vec<u64> = queries.iter().map(|(_, sample)| *sample).collect();
        let found = answering.answer(&self.split, &samples, self.asked.k, &excluded)?;
        let users: StringArray = queries.iter().map(|(user, _)| Some(vocabularies.user(*user))).collect();
        let mut lists = ListBuilder::new(StringBuilder::new());
        for found in &found {
            for found in found {
                lists.values().append_value(answering.name(found)?);
            }
            lists.append(true);
        }
        let columns: [(&str, ArrayRef); 2] = [("user", Arc::new(users)), ("candidates", Arc::new(lists.finish()))];
        let mut file = create_beside(&self.out)?;
        let written = RecordBatch::try_from_iter(columns).map_err(Into::into).and_then(|batch| {
            let mut writer = ArrowWriter::try_new(file.as_file_mut(), batch.schema(), None)?;
            writer.write(&batch)?;
            writer.close()
        });
        written.map_err(|error| Error::io(std::io::Error::other(error), "could not write the file", &self.out))?;
        put(file, &self.out)?;
        self.asked.output.line(&format!("candidates for {} users: {}", queries.len(), self.out.display()))?;
        let short = found.iter().filter(|found| found.len() < self.asked.k).count();
        if short > 0 {
            let k = self.asked.k;
            self.asked.output.line(&format!("{short} of the lists have fewer than {k} items: no more are left"))?;
        }
        self.asked.output.object(&json!({
            "users": queries.len(),
            "asked": self.asked.k,
            "short_lists": short,
            "out": self.out,
            "seconds": start.elapsed().as_secs_f64(),
        }))
    }
}
