//! What each feature is worth: how far AUC falls when its values are shuffled between samples.

use super::sample;
use crate::config::EvaluateConfig;
use crate::evaluate::{CONFIDENCE, auc_replicates, estimate, plan};
use crate::inputs::Prepared;
use crate::model::Model;
use crate::predictor::Predictor;
use crate::report::Importance;
use kitestring_core::metrics::{Bootstrap, BootstrapPlan};
use kitestring_core::schema::TaskKind;
use kitestring_core::{Batch, Ids, Result, Schema, Seed};
use kitestring_data::dataset::{Dataset, Permutation};
use kitestring_nn::engine::Workers;

/// Samples judged.
const SAMPLES: u64 = 16_384;

/// Features that are shuffled together.
struct Unit {
    name: String,
    sparse: Vec<usize>,
    numeric: Vec<usize>,
}

/// How far the AUC of each binary task falls on a part of a split when a feature is shuffled between samples (Breiman 2001).
/// Sequences that are of equal length in every sample are shuffled as one: they are sides of the same events, and the model
/// may read them together. Tasks with a single class are left out.
///
/// # Errors
/// If the data does not fit the model; a damaged file.
pub fn importance(
    model: &Model,
    dataset: &Dataset,
    split: &str,
    config: &EvaluateConfig,
    seed: Seed,
    workers: &dyn Workers,
) -> Result<Vec<Importance>> {
    let split = dataset.split(split)?;
    let samples = sample(split, SAMPLES, seed);
    let mut prepared = Prepared::default();
    split.read(&samples, seed, &mut prepared.batch)?;
    let whole = prepared.batch.clone();
    let schema = dataset.schema();
    let plan = plan(config, samples.len(), seed).unwrap_or(BootstrapPlan { replicates: 0, seed });
    let mut predictor = Predictor::new(model, workers.count());
    let mut measure = |prepared: &mut Prepared| -> Result<Vec<Option<Bootstrap>>> {
        let mut scores = Vec::new();
        predictor.score(prepared, workers, &mut scores)?;
        Ok(aucs(schema, model.graph.outputs().len(), &prepared.batch, &scores, plan))
    };
    let base = measure(&mut prepared)?;
    let mut found: Vec<Importance> = schema
        .tasks
        .iter()
        .map(|task| Importance {
            task: task.name.clone(),
            method: format!("shuffled between {} samples of {}", samples.len(), split.name()),
            metric: "AUC".into(),
            drops: Vec::new(),
        })
        .collect();
    for (number, unit) in units(schema, &whole).iter().enumerate() {
        let order = Permutation::new(samples.len() as u64, seed.child("shuffle").at(number as u64));
        shuffle(&whole, unit, order, &mut prepared.batch);
        let without = measure(&mut prepared)?;
        put_back(&whole, unit, &mut prepared.batch);
        for ((found, base), without) in found.iter_mut().zip(&base).zip(&without) {
            let drop = base.as_ref().zip(without.as_ref()).and_then(|(base, without)| base.minus(without));
            if let Some(drop) = drop {
                let interval = drop.interval(CONFIDENCE);
                found.drops.push((unit.name.clone(), estimate(drop.point, interval.as_ref())));
            }
        }
    }
    found.retain(|found| !found.drops.is_empty());
    Ok(found)
}

/// AUC of each task with its replicates; none for tasks that have no AUC.
fn aucs(schema: &Schema, columns: usize, batch: &Batch, scores: &[f32], plan: BootstrapPlan) -> Vec<Option<Bootstrap>> {
    let tasks = schema.tasks.len();
    let judge = |(number, task): (usize, &kitestring_core::schema::Task)| {
        if task.kind != TaskKind::Binary {
            return None;
        }
        let label = |row: &usize| batch.labels[row * tasks + number];
        let rows: Vec<usize> = (0..batch.rows).filter(|row| !label(row).is_nan()).collect();
        let of_task: Vec<f32> = rows.iter().map(|row| scores[row * columns + number]).collect();
        let labels: Vec<f32> = rows.iter().map(label).collect();
        let users: Vec<u64> = rows.iter().filter_map(|row| batch.user.get(*row).copied()).collect();
        auc_replicates(&of_task, &labels, &users, plan)
    };
    schema.tasks.iter().enumerate().map(judge).collect()
}

fn units(schema: &Schema, batch: &Batch) -> Vec<Unit> {
    let mut units: Vec<Unit> = Vec::new();
    for (number, feature) in schema.sparse().enumerate() {
        let ids = &batch.sparse[number];
        let twin = units.iter_mut().find(|unit| {
            let first = unit.sparse.first().map(|first| &batch.sparse[*first]);
            ids.is_ragged() && first.is_some_and(|first| first.offsets == ids.offsets)
        });
        match twin {
            Some(unit) => {
                unit.name.push_str(" + ");
                unit.name.push_str(&feature.name);
                unit.sparse.push(number);
            }
            None => units.push(Unit { name: feature.name.clone(), sparse: vec![number], numeric: Vec::new() }),
        }
    }
    let numeric = schema.numeric().enumerate();
    units.extend(numeric.map(|(number, feature)| Unit {
        name: feature.name.clone(),
        sparse: Vec::new(),
        numeric: vec![number],
    }));
    units
}

/// Gives each sample of `batch` the features of another sample of `whole`.
fn shuffle(whole: &Batch, unit: &Unit, order: Permutation, batch: &mut Batch) {
    for feature in &unit.sparse {
        let (from, to): (&Ids, &mut Ids) = (&whole.sparse[*feature], &mut batch.sparse[*feature]);
        to.clear();
        if from.is_ragged() {
            to.offsets.push(0);
        }
        for row in order.iter() {
            to.ids.extend_from_slice(from.of_row(row as usize));
            if from.is_ragged() {
                to.offsets.push(to.ids.len() as u32);
            }
        }
    }
    let width = whole.numeric.len() / whole.rows.max(1);
    for feature in &unit.numeric {
        for (row, other) in order.iter().enumerate() {
            batch.numeric[row * width + feature] = whole.numeric[other as usize * width + feature];
        }
    }
}

fn put_back(whole: &Batch, unit: &Unit, batch: &mut Batch) {
    unit.sparse.iter().for_each(|feature| batch.sparse[*feature].clone_from(&whole.sparse[*feature]));
    if !unit.numeric.is_empty() {
        batch.numeric.clone_from(&whole.numeric);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fixture::Fixture;

    #[test]
    fn a_shuffle_moves_one_feature_and_keeps_its_values() {
        let fixture = Fixture::new();
        let mut whole = Batch::default();
        let samples: Vec<u64> = (0..40).collect();
        fixture.dataset.split("train").unwrap().read(&samples, Seed(0), &mut whole).unwrap();
        let schema = fixture.dataset.schema();
        let mut batch = whole.clone();
        for (number, unit) in units(schema, &whole).iter().enumerate() {
            let order = Permutation::new(40, Seed(number as u64));
            shuffle(&whole, unit, order, &mut batch);
            for feature in 0..whole.sparse.len() {
                let is_moved = unit.sparse.contains(&feature);
                let lists =
                    |batch: &Batch| (0..40).map(|row| batch.sparse[feature].of_row(row).to_vec()).collect::<Vec<_>>();
                let (mut before, mut after) = (lists(&whole), lists(&batch));
                assert_eq!(before != after, is_moved, "{} {feature}", unit.name);
                before.sort();
                after.sort();
                assert_eq!(before, after);
            }
            assert_eq!(whole.numeric != batch.numeric, !unit.numeric.is_empty());
            let mut rest = batch.clone();
            (rest.sparse, rest.numeric) = (whole.sparse.clone(), whole.numeric.clone());
            assert_eq!(rest, whole);
            put_back(&whole, unit, &mut batch);
            assert_eq!(batch, whole);
        }
    }
}
