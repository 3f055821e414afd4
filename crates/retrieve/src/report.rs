//! What a retriever has to say, as a [`Report`]: how it was trained, how good its rankings are, and how its index does.

use crate::config::RetrieveConfig;
use crate::encode::Encoder;
use crate::index::{Filter, Found, Kind, RECALL_AT};
use crate::objective::config::Objective;
use crate::recall::Retrieval;
use kitestring_core::{Error, Note, Result, Seed};
use kitestring_data::dataset::{Dataset, Permutation, Split};
use kitestring_nn::engine::Workers;
use kitestring_nn::retriever::Tower;
use kitestring_train::RunConfig;
use kitestring_train::assemble::{data_in_words, data_summary, environment, grouped};
use kitestring_train::evaluate::RankingMetric;
use kitestring_train::history::History;
use kitestring_train::report::{Curve, Index, Learning, Metric, Report, Speed};
use std::time::Instant;

/// Queries that an index is asked.
const QUERIES: u64 = 128;

/// What a report is made of.
pub struct Parts<'a> {
    /// The resolved config, and its section.
    pub config: (&'a RunConfig, &'a RetrieveConfig),
    /// The data.
    pub dataset: &'a Dataset,
    /// The towers and the index.
    pub retrieval: &'a Retrieval,
    /// How training went.
    pub history: &'a History,
    /// The ranking metrics of each judged split. The last one's open the report.
    pub metrics: &'a [(String, Vec<RankingMetric>)],
    /// Time and memory.
    pub speed: Speed,
    /// Seconds to build the index.
    pub build_seconds: f64,
    /// What config, data and training say against each other.
    pub notes: &'a [Note],
    /// Threads.
    pub workers: &'a dyn Workers,
}

/// Puts a report together. Asks the index some of the last judged split's queries, one by one, to say what it finds and how long it takes.
///
/// # Errors
/// A vector that is not finite, a damaged file.
pub fn report(parts: &Parts<'_>) -> Result<Report> {
    let Parts { config: (run, section), dataset, retrieval, .. } = parts;
    let seed = Seed(run.seed).child("report");
    let judged = parts.metrics.last().map_or("train", |(split, _)| split.as_str());
    let drawn = parts.metrics.iter().flat_map(|(_, metrics)| metrics).filter(|metric| metric.interval().is_some());
    let drawn = drawn.filter_map(|metric| Some(metric.replicates.as_ref()?.replicates.len())).max();
    let pairs = parts.history.epochs.first().map_or(0, |epoch| epoch.samples);
    Ok(Report {
        title: run.name.clone().map(|name| format!("{name}: retriever")).unwrap_or_default(),
        model: in_words(retrieval, section),
        data: format!("{} pairs of {}", grouped(pairs), data_in_words(dataset)),
        seed: Some(run.seed),
        intervals: drawn.map(|draws| format!("95 % bootstrap over users, {draws} draws")).unwrap_or_default(),
        metrics: metrics(parts.metrics),
        summary: Some(data_summary(dataset, &retrieval.model.tables, &[], seed)?),
        learning: Some(learning(parts.history, &section.objective, parts.metrics)),
        index: Some(index(parts, dataset.split(judged)?, seed)?),
        speed: Some(parts.speed.clone()),
        config: run.to_toml()?,
        environment: environment(parts.workers.count()),
        notes: parts.notes.to_vec(),
        caveats: caveats(section),
        ..Report::default()
    })
}

/// The retriever in a clause.
fn in_words(retrieval: &Retrieval, section: &RetrieveConfig) -> String {
    let model = &retrieval.model;
    let encoder = |tower: &Tower| {
        let value = serde_json::to_value(&tower.encoder).unwrap_or_default();
        value.get("type").and_then(|name| name.as_str()).unwrap_or_default().replace('_', " ")
    };
    let objective = match &section.objective {
        Objective::Gramian(_) => "gravity between all pairs",
        Objective::Softmax(_) => "softmax",
        Objective::Contrastive(_) => "cosine contrast",
        Objective::Als(_) => "alternating least squares",
    };
    let (network, rows) = model.parameters();
    format!(
        "two towers ({} of the query, {} of the item) to vectors of {}, by {objective}; {} numbers in tables, {} in the towers",
        encoder(&model.config.query),
        encoder(&model.config.item),
        model.vector_dimension(),
        grouped(rows),
        grouped(network)
    )
}

/// Every metric of every split; recall (or, with one relevant item a user, the hit rate) and NDCG at the first cutoff open the report.
fn metrics(judged: &[(String, Vec<RankingMetric>)]) -> Vec<Metric> {
    let mut found = Vec::new();
    for (number, (split, metrics)) in judged.iter().enumerate() {
        let first = metrics.first().map(|metric| metric.cutoff);
        found.extend(metrics.iter().map(|metric| Metric {
            split: split.clone(),
            name: shown(metric),
            estimate: metric.estimate(),
            headline: number + 1 == judged.len() && Some(metric.cutoff) == first && leads(metric, metrics),
            ..Metric::default()
        }));
    }
    found
}

/// A metric's name as people write it.
fn shown(metric: &RankingMetric) -> String {
    format!("{}@{}", metric.name, metric.cutoff)
}

/// Whether a metric of a split says most: where every user has one relevant item there is no recall, and the hit rate stands for it.
fn leads(metric: &RankingMetric, metrics: &[RankingMetric]) -> bool {
    let recall = metrics.iter().any(|metric| metric.name == "Recall");
    [if recall { "Recall" } else { "HR" }, "NDCG"].contains(&metric.name)
}

fn learning(history: &History, objective: &Objective, judged: &[(String, Vec<RankingMetric>)]) -> Learning {
    let names: &[&str] = match objective {
        Objective::Gramian(_) => &["pairs", "gravity"],
        Objective::Softmax(_) => &["softmax"],
        Objective::Contrastive(_) => &["contrast"],
        Objective::Als(_) => &[],
    };
    let loss = names.iter().enumerate().map(|(number, name)| Curve {
        name: (*name).to_owned(),
        points: history.steps.iter().filter_map(|step| Some([step.epoch, *step.losses.get(number)?])).collect(),
    });
    let valid = judged.iter().find(|(split, _)| split == "valid").map_or(&[][..], |(_, metrics)| metrics);
    let drawn = valid.iter().filter(|metric| leads(metric, valid));
    let of_epoch = |key: &str| {
        let epochs = history.epochs.iter();
        epochs.filter_map(|epoch| Some([f64::from(epoch.epoch), *epoch.metrics.get(key)?])).collect()
    };
    let validation = drawn.map(|metric| Curve { name: shown(metric), points: of_epoch(&metric.key) });
    let end = history.epochs.last().map_or(0.0, |epoch| f64::from(epoch.epoch));
    Learning {
        loss: loss.collect(),
        task_weights: Vec::new(),
        validation: validation.collect(),
        best_epoch: history.best_epoch.map(f64::from),
        stopped: history.stopped.clone().map(|why| (end, why)),
    }
}

fn index(parts: &Parts<'_>, split: &Split, seed: Seed) -> Result<Index> {
    let Retrieval { model, index } = parts.retrieval;
    let order = Permutation::new(split.rows(), seed.child("queries"));
    let samples: Vec<u64> = (0..QUERIES.min(split.rows())).map(|position| order.at(position)).collect();
    let vectors = Encoder::new(model, parts.workers.count()).queries(split, &samples, parts.workers)?;
    let timed = |search: &dyn Fn(&[f32]) -> Result<Vec<Found>>| {
        // The first search reads memory that nobody has touched yet.
        vectors.chunks(model.vector_dimension()).take(1).try_for_each(|query| search(query).map(drop))?;
        let start = Instant::now();
        let found = vectors.chunks(model.vector_dimension()).map(search).collect::<Result<Vec<_>>>()?;
        Ok::<_, Error>((found, start.elapsed().as_secs_f64() / samples.len().max(1) as f64))
    };
    let all = Filter::default();
    let (exact, exact_seconds) = timed(&|query| index.search_exactly(query, RECALL_AT, &all))?;
    let (mut recall, mut seconds) = (None, exact_seconds);
    if !index.is_exact() {
        let found;
        (found, seconds) = timed(&|query| index.search(query, RECALL_AT, &all))?;
        let wanted: usize = exact.iter().map(Vec::len).sum();
        let both = exact.iter().zip(&found).map(|(exact, found)| {
            exact.iter().filter(|exact| found.iter().any(|found| found.item == exact.item)).count()
        });
        recall = Some(both.sum::<usize>() as f64 / wanted.max(1) as f64);
    }
    let kind = match index.config().kind {
        _ if index.is_exact() => "exact scan",
        Kind::Graph { .. } => "graph",
        Kind::Exact {} => "scan in int8, the best again in f32",
    };
    Ok(Index {
        kind: kind.into(),
        items: index.len() as u64,
        queries: samples.len() as u64,
        asked: RECALL_AT as u64,
        recall,
        seconds,
        exact_seconds,
        build_seconds: parts.build_seconds,
    })
}

fn caveats(section: &RetrieveConfig) -> Vec<String> {
    let mut caveats = vec![
        "One seed: another may move the metrics by more than the intervals say.".to_owned(),
        "Rankings of logged choices do not measure what a user would have chosen had something else been shown."
            .to_owned(),
    ];
    if section.unknown_items == 0.0 {
        caveats.push(
            "Training never hid an item's id (retrieve.unknown_items is 0), so vectors of items never seen mean less."
                .into(),
        );
    }
    caveats
}
