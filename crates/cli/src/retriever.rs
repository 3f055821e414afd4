//! The stages of a retriever: training, judging, its index.

use crate::commands::write_beside;
use crate::output::columns;
use crate::progress::Progress;
use crate::stages::{Known, REPORT, STORED, tell};
use kitestring_core::{Error, Note, Result, VocabularyHash};
use kitestring_data::dataset::{Dataset, Split, Vocabularies};
use kitestring_retrieve::corpus::items;
use kitestring_retrieve::fit::{Fitted, MODEL, fit};
use kitestring_retrieve::recall::{ITEMS, Retrieval};
use kitestring_retrieve::report::{self, Parts};
use kitestring_retrieve::{RetrieveConfig, RetrieverModel, evaluate, pipeline};
use kitestring_train::RunConfig;
use kitestring_train::assemble::peak_rss_mib;
use kitestring_train::config::EvaluateConfig;
use kitestring_train::evaluate::{Progress as Judging, RankingMetric, SEED};
use kitestring_train::notes;
use kitestring_train::report::{RankingValue, Recall, Speed, html};
use kitestring_train::run::RunWriter;
use kitestring_train::watch::Event;
use kitestring_train::workers::Threads;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Where a run keeps its retriever.
pub const RETRIEVER: &str = "retriever";

/// Opens a run's retriever, which must have been trained with these ids.
///
/// # Errors
/// A run without a retriever, or one that was trained with other ids; a damaged file.
pub fn open(run: &Path, ids: &VocabularyHash) -> Result<Retrieval> {
    let directory = there(run)?;
    let retrieval = Retrieval::open(&directory)?;
    check_ids(&retrieval.model, ids, &directory)?;
    Ok(retrieval)
}

/// Opens the towers of a run's retriever alone.
///
/// # Errors
/// As [`open`].
pub fn model(run: &Path, ids: &VocabularyHash) -> Result<RetrieverModel> {
    let directory = there(run)?;
    let model = RetrieverModel::read(&directory.join(MODEL))?;
    check_ids(&model, ids, &directory)?;
    Ok(model)
}

/// Where a run's retriever is.
fn there(run: &Path) -> Result<PathBuf> {
    let directory = run.join(RETRIEVER);
    if directory.join(MODEL).is_dir() {
        return Ok(directory);
    }
    let error = Error::config("the run has no retriever").in_file(run.display().to_string());
    Err(error.mend("train one with kitestring retrieve train"))
}

fn check_ids(model: &RetrieverModel, ids: &VocabularyHash, directory: &Path) -> Result<()> {
    VocabularyHash::check(("the retriever", model.vocabulary_hash.as_ref()), ("the run's data set", Some(ids))).map_err(
        |error| error.in_file(directory.display().to_string()).mend("train it again with kitestring retrieve train"),
    )
}

/// The vocabularies of a run's data set with the items of its index: the data set's, or what `retrieve index` made of them since.
///
/// # Errors
/// A damaged file, or items of another data set.
pub fn vocabularies(dataset: &Dataset, directory: &Path) -> Result<Vocabularies> {
    let (vocabularies, path) = (dataset.vocabularies()?, directory.join(ITEMS));
    if path.exists() { vocabularies.with_items(&path) } else { Ok(vocabularies) }
}

/// The retriever's section of a config.
///
/// # Errors
/// A config without the section, or what is wrong in it.
pub fn section(config: &RunConfig) -> Result<RetrieveConfig> {
    RetrieveConfig::of(config)?.ok_or_else(|| {
        Error::config("the config says nothing of a retriever")
            .in_field("retrieve")
            .mend("add a section [retrieve]; configs/gowalla.toml has one")
    })
}

/// A retriever that was trained, judged and indexed.
pub struct Trained {
    /// The towers and the index.
    pub retrieval: Retrieval,
    fitted_seconds: f64,
    pairs_per_second: f64,
    /// The metrics of each split.
    metrics: Vec<(String, Vec<RankingMetric>)>,
    index: (Option<f64>, f64),
    /// What config, data and training say against each other.
    notes: Vec<Note>,
}

impl Trained {
    /// A table of metrics, a column a split, and what there is to say of the index.
    pub fn table(&self) -> String {
        let mut rows = vec![vec![String::new()]];
        rows[0].extend(self.metrics.iter().map(|(split, _)| split.clone()));
        // A split of which every user has one relevant item has other metrics than one where some have more.
        let mut keys: Vec<&str> = Vec::new();
        for metric in self.metrics.iter().flat_map(|(_, metrics)| metrics) {
            if !keys.contains(&metric.key.as_str()) {
                keys.push(&metric.key);
            }
        }
        for key in keys {
            let mut row = vec![key.to_owned()];
            for (_, metrics) in &self.metrics {
                let shown = metrics.iter().find(|metric| metric.key == key).map(|metric| {
                    let interval = metric.interval().map(|found| format!(" [{:.4}, {:.4}]", found.lower, found.upper));
                    format!("{:.4}{}", metric.value, interval.unwrap_or_default())
                });
                row.push(shown.unwrap_or_default());
            }
            rows.push(row);
        }
        let (recall, seconds) = self.index;
        columns(&rows) + &index_in_words(&self.retrieval, recall, seconds) + "\n"
    }

    /// The same as JSON.
    pub fn told(&self) -> serde_json::Value {
        let of = |metrics: &[RankingMetric]| -> BTreeMap<String, f64> {
            metrics.iter().map(|metric| (metric.key.clone(), metric.value)).collect()
        };
        let metrics: BTreeMap<&str, _> =
            self.metrics.iter().map(|(split, metrics)| (split.as_str(), of(metrics))).collect();
        let (recall, seconds) = self.index;
        json!({
            "metrics": metrics,
            "training_seconds": self.fitted_seconds,
            "pairs_per_second": self.pairs_per_second,
            "notes": self.notes,
            "index": { "items": self.retrieval.index.len(), "recall": recall, "seconds": seconds },
        })
    }
}

/// What there is to say of an index that was built.
pub fn index_in_words(retrieval: &Retrieval, recall: Option<f64>, seconds: f64) -> String {
    let found = match recall {
        Some(recall) => {
            let width = retrieval.index.search_width().map(|width| format!(" at search width {width}"));
            format!("recall of the exact 100 best {recall:.4}{}", width.unwrap_or_default())
        }
        None => "exact".to_owned(),
    };
    format!("index: {} items, {found}, built in {seconds:.2} s", retrieval.index.len())
}

/// Trains the run's retriever, judges it on all splits but `train`, and builds its index.
///
/// # Errors
/// What is wrong with the config, a loss that is not finite, a full disk.
pub fn train(
    writer: &RunWriter,
    (config, section): (&RunConfig, &RetrieveConfig),
    dataset: &Dataset,
    progress: &mut Progress,
) -> Result<Trained> {
    let run = writer.staged();
    let directory = run.directory().join(RETRIEVER);
    let mut told = notes::of_training(&section.train, dataset, "retrieve.train")?;
    tell(run, &told, progress)?;
    let mut logged = Ok(());
    let Fitted { model, history, seconds, pairs_per_second, notes } =
        fit((config, section), dataset, &directory, writer.resumes(), &mut |event| {
            progress.training(&event);
            if let (Event::Epoch { epoch, best }, true) = (&event, logged.is_ok()) {
                logged = run.log(&json!({ "event": "retriever", "best": best, "measured": epoch }));
            }
        })?;
    logged?;
    tell(run, &notes, progress)?;
    told.extend(notes);
    let threads = Threads::new(section.train.workers)?;
    let mut metrics = Vec::new();
    let judging = Instant::now();
    for split in dataset.splits().iter().filter(|split| split.name() != "train") {
        let seed = SEED;
        let ranked = evaluate::rank(&model, dataset, split.name(), (section, &config.evaluate), seed, &threads)?;
        metrics.push((split.name().to_owned(), ranked.metrics(&config.evaluate, seed)));
    }
    let judging_seconds = judging.elapsed().as_secs_f64();
    let (retrieval, recall, index_seconds) =
        Retrieval::build(model, section, (items(dataset)?, dataset.split("train")?), &threads)?;
    if writer.place().join(RETRIEVER).join(ITEMS).exists() {
        progress.note("the index holds the items of the data again: what was added or removed is to be so again");
    }
    retrieval.save_index(&directory)?;
    let phases = [("train", seconds), ("judge", judging_seconds), ("index", index_seconds)];
    let speed = Speed {
        samples_per_second: Some(pairs_per_second),
        peak_rss_mib: peak_rss_mib(),
        phases: phases.map(|(name, seconds)| (name.to_owned(), seconds)).into(),
    };
    let page = report::report(&Parts {
        config: (config, section),
        dataset,
        retrieval: &retrieval,
        history: &history,
        metrics: &metrics,
        speed,
        build_seconds: index_seconds,
        workers: &threads,
        notes: &told,
    })?;
    write_beside(&directory.join(STORED), page.to_json()?.as_bytes())?;
    write_beside(&directory.join(REPORT), html(&page).as_bytes())?;
    let index = (recall, index_seconds);
    let found = Trained { retrieval, fitted_seconds: seconds, pairs_per_second, metrics, index, notes: told };
    run.write("retriever.json", found.told().to_string().as_bytes())?;
    Ok(found)
}

/// Ranks the last judged split among what the retriever finds, and among everything.
///
/// # Errors
/// A split without positives; a vector or a prediction that is not finite.
pub fn compare(
    retrieval: &Retrieval,
    section: &RetrieveConfig,
    known: &Known<'_>,
    split: &str,
    progress: &mut Progress,
) -> Result<Vec<Recall>> {
    let Known { config, model, dataset, .. } = *known;
    let evaluate = EvaluateConfig { ranking_queries: section.ranked_users, ..config.evaluate.clone() };
    let threads = Threads::new(config.train.workers)?;
    let told = &mut |done, all| progress.judging(Judging::Ranking(done, all));
    let how = (&evaluate, SEED);
    let ways = pipeline::compare((retrieval, model), dataset, split, &section.candidates, how, &threads, told)?;
    let value = |metric: &RankingMetric| RankingValue {
        metric: metric.name.into(),
        cutoff: metric.cutoff as u64,
        estimate: metric.estimate(),
    };
    let ways = ways.into_iter().map(|way| Recall {
        candidates: way.candidates.map(|candidates| candidates as u64),
        reached: way.reached,
        lists: way.lists,
        values: way.metrics.iter().map(value).collect(),
        recall_seconds: way.recall_seconds,
        rank_seconds: way.rank_seconds,
    });
    Ok(ways.collect())
}

/// What came out, as a table: what is reached, how long a list takes, how good it is.
pub fn recall_table(ways: &[Recall]) -> String {
    let Some(first) = ways.first() else { return String::new() };
    let mut rows = vec![vec!["candidates".to_owned(), "reached".into(), "ms/list".into()]];
    let shown = |value: &&RankingValue| ["HR", "Recall", "NDCG"].contains(&value.metric.as_str());
    rows[0].extend(
        first.values.iter().filter(shown).map(|value| format!("{}@{}", value.metric, value.cutoff).to_lowercase()),
    );
    for way in ways {
        let seconds = (way.recall_seconds + way.rank_seconds) / way.lists.max(1) as f64;
        let name = way.candidates.map_or_else(|| "all".to_owned(), |candidates| candidates.to_string());
        let mut row = vec![name, format!("{:.3}", way.reached), format!("{:.2}", 1000.0 * seconds)];
        row.extend(way.values.iter().filter(shown).map(|value| format!("{:.4}", value.estimate.value)));
        rows.push(row);
    }
    columns(&rows)
}

/// The first row of each user in a split, with the user's number, in the order of users.
///
/// # Errors
/// A damaged file.
pub fn first_rows(split: &Split) -> Result<Vec<(u64, u64)>> {
    let mut first: BTreeMap<u64, u64> = BTreeMap::new();
    split.each_block(|batch| {
        batch.user.iter().zip(&batch.index).for_each(|(user, sample)| _ = first.entry(*user).or_insert(*sample));
        Ok(())
    })?;
    Ok(first.into_iter().collect())
}

/// The newest row of a user: the split and the sample. Without times, the last row of the last split that has one.
///
/// # Errors
/// A user without rows.
pub fn newest(dataset: &Dataset, user: u64) -> Result<(String, u64)> {
    let splits = dataset.splits().iter().enumerate();
    let rows = splits.flat_map(|(number, split)| {
        split.of_user(user).map(move |(sample, time)| ((time.unwrap_or(0), number, sample), split.name()))
    });
    let found = rows.max().map(|((_, _, sample), split)| (split.to_owned(), sample));
    found.ok_or_else(|| Error::data("the user has no row to answer for").in_field("--user"))
}
