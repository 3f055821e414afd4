//! What the model attends to in a history.

use super::sample;
use crate::inputs::Prepared;
use crate::model::Model;
use crate::predictor::Predictor;
use crate::report::{Attention, AttentionBin, AttentionEvent, AttentionExample};
use kitestring_core::schema::{Feature, FeatureKind, Of};
use kitestring_core::{Batch, Result, Schema, Seed};
use kitestring_data::dataset::manifest::MISSING;
use kitestring_data::dataset::{Dataset, Vocabularies};
use kitestring_nn::engine::Shown;
use std::ops::Range;

/// Samples looked at.
const SAMPLES: u64 = 4_096;
/// Histories shown in full, and how many events of each.
const EXAMPLES: usize = 3;
const EVENTS: usize = 12;

/// The mean weight of the events of a history by recency, apart for those that share the target's category and others, and a few
/// histories in full. None where the model has no attention.
///
/// The category is the first categorical feature of the item besides the item itself; without one, the item.
///
/// # Errors
/// If the data does not fit the model; a damaged file.
pub fn attention(model: &Model, dataset: &Dataset, split: &str, seed: Seed) -> Result<Option<Attention>> {
    let split = dataset.split(split)?;
    let mut prepared = Prepared::default();
    split.read(&sample(split, SAMPLES, seed), seed, &mut prepared.batch)?;
    // Several attentions may share the samples; the first one is shown.
    let mut feature = None;
    let mut seen: Vec<(Range<usize>, Vec<f32>)> = Vec::new();
    let scores = Predictor::new(model, 1).explain(&mut prepared, |shown| {
        let Shown::Attention(attention) = shown else { return };
        if *feature.get_or_insert(attention.feature) == attention.feature {
            seen.push((attention.rows, attention.weights.to_vec()));
        }
    })?;
    let Some(feature) = feature else { return Ok(None) };
    let batch = &prepared.batch;
    let category = Category::new(dataset, batch, feature)?;
    let histories = &batch.sparse[feature];
    let mut bins: Vec<Bin> = Vec::new();
    let mut examples: Vec<(usize, Vec<f32>)> = Vec::new();
    for (rows, weights) in seen {
        let mut weights = weights.as_slice();
        for row in rows {
            let length = histories.of_row(row).len();
            // A sample's first weight is of its oldest event.
            let (own, rest) = weights.split_at(length.min(weights.len()));
            weights = rest;
            let same = category.same(batch, row);
            bins.resize(bins.len().max(own.len()), Bin::default());
            for (bin, (weight, same)) in bins.iter_mut().zip(own.iter().zip(&same).rev()) {
                let (sum, count) = if *same { &mut bin.same } else { &mut bin.other };
                *sum += f64::from(*weight);
                *count += 1;
            }
            let tells = same.iter().any(|same| *same) && !same.iter().all(|same| *same);
            if examples.len() < EXAMPLES && tells && length >= EVENTS / 2 {
                examples.push((row, own.to_vec()));
            }
        }
    }
    let vocabularies = dataset.vocabularies()?;
    let (tasks, columns) = (dataset.schema().tasks.len(), model.graph.outputs().len());
    let example = |(row, weights): &(usize, Vec<f32>)| {
        let (score, label) = (scores[row * columns], batch.labels[row * tasks]);
        let outcome = if label > 0.5 { "positive" } else { "negative" };
        let task = &dataset.schema().tasks[0].name;
        category.example(batch, *row, weights, format!("{task} predicted {score:.3}, {outcome}"), &vocabularies)
    };
    Ok(Some(Attention {
        shares: category.name.clone(),
        recency: bins.iter().zip(1..).map(|(bin, recency)| bin.shown(recency)).collect(),
        examples: examples.iter().map(example).collect(),
    }))
}

/// Sums of weights at one recency, and their numbers.
#[derive(Clone, Default)]
struct Bin {
    same: (f64, u64),
    other: (f64, u64),
}

impl Bin {
    fn shown(&self, recency: u64) -> AttentionBin {
        let mean = |(sum, count): (f64, u64)| (count > 0).then(|| (sum / count as f64).into());
        AttentionBin {
            recency,
            same: mean(self.same),
            other: mean(self.other),
            same_count: self.same.1,
            other_count: self.other.1,
        }
    }
}

/// What makes an event like the target.
struct Category {
    /// The name of the feature compared.
    name: String,
    /// The table of its ids.
    table: String,
    /// The id of its unknown values.
    unknown: u64,
    /// The table of the events.
    events: String,
    /// The feature that says which item a sample is of, by the table of the events; none where no item feature shares it.
    target: Option<usize>,
    /// The sparse feature attended to.
    history: usize,
    /// The target's category.
    of_target: Option<usize>,
    /// The events' categories, event by event.
    of_events: Vec<u64>,
}

impl Category {
    fn new(dataset: &Dataset, batch: &Batch, history: usize) -> Result<Self> {
        let schema = dataset.schema();
        let sparse: Vec<&Feature> = schema.sparse().collect();
        let events = sparse[history].table();
        let is_single = |feature: &Feature| feature.kind == FeatureKind::Categorical && feature.of == Of::Item;
        let target =
            sparse.iter().position(|feature| feature.table() == events && feature.kind == FeatureKind::Categorical);
        let candidates =
            sparse.iter().enumerate().filter(|(_, feature)| is_single(feature) && feature.table() != events);
        for (number, feature) in candidates {
            if let Some(of_events) = categories(dataset, batch, (history, number))? {
                return Ok(Self {
                    name: feature.name.clone(),
                    table: feature.table().to_owned(),
                    unknown: dataset.manifest().unknown_id_of(feature.table()),
                    events: events.to_owned(),
                    target,
                    history,
                    of_target: Some(number),
                    of_events,
                });
            }
        }
        Ok(Self {
            name: target.map_or_else(|| events.to_owned(), |target| sparse[target].name.clone()),
            table: events.to_owned(),
            unknown: dataset.manifest().unknown_id_of(events),
            events: events.to_owned(),
            target,
            history,
            of_target: target,
            of_events: batch.sparse[history].ids.clone(),
        })
    }

    /// For each event of a sample's history, whether it shares the target's category. What is unknown shares nothing.
    fn same(&self, batch: &Batch, row: usize) -> Vec<bool> {
        let target = self.of_target.and_then(|target| batch.sparse[target].of_row(row).first().copied());
        let events = self.of_events.get(range(batch, self.history, row)).unwrap_or_default();
        let is_known = |event: u64| event != MISSING && event != self.unknown;
        events.iter().map(|event| is_known(*event) && Some(*event) == target).collect()
    }

    fn example(
        &self,
        batch: &Batch,
        row: usize,
        weights: &[f32],
        outcome: String,
        vocabularies: &Vocabularies,
    ) -> AttentionExample {
        let named = |item: u64, category: Option<u64>| {
            let name = |table: &str, id: u64| vocabularies.value_in_words(table, id).to_owned();
            let item = format!("{} {}", self.events, name(&self.events, item));
            match category.filter(|_| self.table != self.events) {
                Some(category) => format!("{item}, {} {}", self.name, name(&self.table, category)),
                None => item,
            }
        };
        let id =
            |feature: Option<usize>| feature.and_then(|feature| batch.sparse[feature].of_row(row).first().copied());
        let ids = batch.sparse[self.history].of_row(row);
        let categories = self.of_events.get(range(batch, self.history, row)).unwrap_or_default();
        let events = ids.iter().zip(categories).zip(weights).zip(self.same(batch, row)).rev().take(EVENTS);
        AttentionExample {
            target: named(id(self.target).unwrap_or(0), id(self.of_target)),
            outcome,
            events: events
                .map(|(((item, category), weight), same)| AttentionEvent {
                    name: named(*item, Some(*category)),
                    same,
                    weight: f64::from(*weight),
                })
                .collect(),
        }
    }
}

/// Where the ids of a sample's list are.
fn range(batch: &Batch, feature: usize, row: usize) -> Range<usize> {
    let offsets = &batch.sparse[feature].offsets;
    match (offsets.get(row), offsets.get(row + 1)) {
        (Some(start), Some(end)) => *start as usize..*end as usize,
        _ => 0..0,
    }
}

/// The category of each event: from a sequence that lists it, or by the item table; none where neither knows.
fn categories(dataset: &Dataset, batch: &Batch, (history, category): (usize, usize)) -> Result<Option<Vec<u64>>> {
    let (schema, manifest) = (dataset.schema(), dataset.manifest());
    let table = |number: usize| schema.sparse().nth(number).map_or("", Feature::table);
    let twin = batch.sparse.iter().enumerate().find(|(number, ids)| {
        table(*number) == table(category) && ids.is_ragged() && ids.offsets == batch.sparse[history].offsets
    });
    if let Some((_, ids)) = twin {
        return Ok(Some(ids.ids.clone()));
    }
    let info = manifest.tables.iter().find(|info| info.name == table(history));
    let is_of_items = manifest.item.is_some() && info.is_some_and(|info| info.vocabulary == manifest.item);
    let (Some(items), true) = (dataset.items(), is_of_items && is_items(schema, category)) else { return Ok(None) };
    // Ids are numbers of items behind that of unknown ones.
    let number = |id: &u64| id.saturating_sub(manifest.unknown_id()) as u32;
    let numbers: Vec<u32> = batch.sparse[history].ids.iter().map(number).collect();
    let mut found = Batch::default();
    items.put(&numbers, &mut found)?;
    Ok(found.sparse.into_iter().nth(category).map(|ids| ids.ids))
}

/// Whether a sparse feature is a column of the item table.
fn is_items(schema: &Schema, number: usize) -> bool {
    schema.sparse().nth(number).is_some_and(|feature| feature.of == Of::Item && feature.history.is_none())
}
