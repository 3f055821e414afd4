//! What was trained, and on what.

use super::sample;
use crate::evaluate::Evaluation;
use crate::model::Model;
use crate::report::{DataSummary, Histogram, Positives, Split, TableSize};
use kitestring_core::schema::FeatureKind;
use kitestring_core::{Batch, Error, Result, Seed};
use kitestring_data::dataset::Dataset;
use kitestring_table::Table;
use std::collections::HashSet;

/// Training samples whose histories are measured.
const HISTORIES: u64 = 50_000;

/// The model in a clause.
pub(super) fn model(model: &Model) -> Result<String> {
    let config = serde_json::to_value(&model.config);
    let config = config.map_err(|error| Error::internal("the model's config").caused_by(error))?;
    let slots = ["encoder", "body", "head", "bias"].into_iter().filter_map(|slot| {
        let name = config.get(slot)?.get("type")?.as_str()?;
        let name = match name {
            "none" => return None,
            "din" | "fm" | "mlp" | "esmm" | "gru" | "mmoe" | "omoe" | "ple" | "hmoe" | "star" => name.to_uppercase(),
            other => other.replace('_', " "),
        };
        Some(format!("{name} {slot}"))
    });
    let (network, rows) = model.parameters();
    let slots: Vec<String> = slots.collect();
    Ok(format!("{}; {} numbers in tables, {} in the network", slots.join(", "), grouped(rows), grouped(network)))
}

/// The data in a clause.
pub fn data(dataset: &Dataset) -> String {
    let manifest = dataset.manifest();
    let train = manifest.splits.first();
    let mut text = train.map_or_else(String::new, |train| format!("{} samples", grouped(train.rows)));
    let entries = |vocabulary: Option<usize>| {
        let vocabulary = vocabulary.and_then(|vocabulary| manifest.vocabularies.get(vocabulary));
        vocabulary.map(|vocabulary| grouped(u64::from(vocabulary.entries.saturating_sub(1))))
    };
    let counted = [
        entries(manifest.user).map(|users| format!("{users} users")),
        entries(manifest.item).map(|items| format!("{items} items")),
    ];
    let counted: Vec<String> = counted.into_iter().flatten().collect();
    if !counted.is_empty() {
        text.push_str(&format!(" of {}", counted.join(" and ")));
    }
    text
}

/// A whole number with its thousands set apart.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// What a model with these tables was trained and judged on.
///
/// # Errors
/// A damaged file.
pub fn summary(dataset: &Dataset, tables: &[Table], evaluations: &[Evaluation], seed: Seed) -> Result<DataSummary> {
    let manifest = dataset.manifest();
    let scored = |name: &str| evaluations.iter().find(|known| known.split == name).map(|known| &known.scored);
    let splits = manifest.splits.iter().map(|split| Split {
        name: split.name.clone(),
        rows: split.rows,
        users: scored(&split.name)
            .filter(|scored| !scored.users.is_empty())
            .map(|scored| scored.users.iter().collect::<HashSet<_>>().len() as u64),
        positives: split
            .labels
            .iter()
            .map(|label| Positives { task: label.task.clone(), labelled: label.given, positive: label.positive })
            .collect(),
        ..Split::default()
    });
    let last = evaluations.last().map(|last| &last.scored);
    let tables = manifest.tables.iter().zip(tables).enumerate().map(|(number, (info, table))| {
        let lookups = last.filter(|_| info.vocabulary.is_some()).and_then(|scored| scored.lookups.get(number));
        let features = manifest.schema.sparse().filter(|feature| feature.table() == info.name);
        TableSize {
            name: info.name.clone(),
            features: features.map(|feature| feature.name.clone()).collect(),
            rows: table.len(),
            dimension: table.dim() as u64,
            out_of_vocabulary: lookups.filter(|(all, _)| *all > 0).map(|(all, unknown)| *unknown as f64 / *all as f64),
        }
    });
    Ok(DataSummary {
        splits: splits.collect(),
        tables: tables.collect(),
        history_length: history_length(dataset, seed)?,
        rows_read: None,
        bad_rows: Some(manifest.bad_rows),
    })
}

/// How long the histories of training samples are, in the first sequence; of a part of the samples where they are many.
fn history_length(dataset: &Dataset, seed: Seed) -> Result<Option<Histogram>> {
    let mut sequences = dataset.schema().sparse().enumerate();
    let sequence = sequences.find(|(_, feature)| feature.kind == FeatureKind::Sequence);
    let (Some((number, feature)), Some(train)) = (sequence, dataset.splits().first()) else { return Ok(None) };
    let mut counts = vec![0; feature.length + 1];
    let mut batch = Batch::default();
    for samples in sample(train, HISTORIES, seed).chunks(8_192) {
        train.read(samples, seed, &mut batch)?;
        for row in 0..batch.rows {
            if let Some(count) = counts.get_mut(batch.sparse[number].of_row(row).len()) {
                *count += 1;
            }
        }
    }
    Ok(Some(Histogram { edges: (0..=counts.len()).map(|edge| edge as f64).collect(), counts }))
}

#[cfg(test)]
mod tests {
    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(super::grouped(0), "0");
        assert_eq!(super::grouped(999), "999");
        assert_eq!(super::grouped(1_000), "1,000");
        assert_eq!(super::grouped(12_345_678), "12,345,678");
    }
}
