//! Learning rates of groups of weights.

use crate::model::Model;
use kitestring_core::error::did_you_mean;
use kitestring_core::{Error, Result};
use kitestring_nn::optimizer::Optimizer;
use serde::{Deserialize, Serialize};

/// What stands before the name of a table, and for all tables.
const ROWS: &str = "rows";

/// What the learning rate of some weights is multiplied by. Where several entries name a weight, it has the product of their factors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightRate {
    /// A weight of the network by its name (`body.0.weight`), all in a scope (`body.0`; `encoder`, `body`, `head`, … are slots), `rows` for the
    /// rows of all tables, or `rows.TABLE` for those of one.
    pub weights: String,
    /// At least 0; with 0 they stay as they are.
    pub factor: f32,
}

/// Scales the rates of a model's network in its optimizer, and returns the factor of each table.
///
/// # Errors
/// A config error for weights that the model does not have, with what it has.
pub(crate) fn apply(rates: &[WeightRate], model: &Model, optimizer: &mut Optimizer) -> Result<Vec<f32>> {
    let mut factors = vec![1.0; model.tables.len()];
    for (number, rate) in rates.iter().enumerate() {
        if !(rate.factor >= 0.0 && rate.factor.is_finite()) {
            return Err(Error::config(format!(
                "the factor of a rate must be a number of at least 0, not {}",
                rate.factor
            ))
            .in_field(format!("train.rates[{number}].factor")));
        }
        let mut found = optimizer.scale_rate(&model.graph, &rate.weights, rate.factor);
        for (table, factor) in model.tables.iter().zip(&mut factors) {
            let named = match rate.weights.strip_prefix(ROWS) {
                Some("") => true,
                Some(rest) => rest.strip_prefix('.') == Some(table.name()),
                None => false,
            };
            if named {
                *factor *= rate.factor;
                found += 1;
            }
        }
        if found == 0 {
            return Err(unknown(&rate.weights, model).in_field(format!("train.rates[{number}].weights")));
        }
    }
    Ok(factors)
}

fn unknown(name: &str, model: &Model) -> Error {
    let weights = model.graph.weights().iter().map(|info| info.name.clone());
    let scopes = model.graph.weights().iter().filter_map(|info| info.name.split('.').next().map(str::to_owned));
    let tables = model.tables.iter().map(|table| format!("{ROWS}.{}", table.name()));
    let mut groups: Vec<String> = scopes.chain([ROWS.to_owned()]).chain(tables).collect();
    groups.dedup();
    let known: Vec<String> = groups.iter().cloned().chain(weights).collect();
    let near = did_you_mean(name, known.iter().map(String::as_str));
    let near = near.map_or(String::new(), |near| format!("did you mean `{near}`? "));
    Error::config(format!("the model has no weights `{name}`"))
        .mend(format!("{near}it has {}, and what stands below these", groups.join(", ")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fixture::Fixture;
    use crate::inputs::{Prepared, Readers};
    use crate::learner::Learner;
    use crate::workers::Threads;
    use kitestring_core::Seed;

    /// What has no rate stays, and what has another one moves by that much more: plain gradient descent shows it exactly.
    #[test]
    fn weights_and_tables_have_rates_of_their_own() {
        let fixture = Fixture::new();
        let step = |rates: &str| -> Result<(Model, Model)> {
            let mut config = fixture.config.clone();
            config.train.optimizer = serde_json::from_str(r#"{"type": "sgd"}"#).unwrap();
            config.train.rows = kitestring_table::Optimizer::sgd();
            config.train.rates = serde_json::from_str(rates).unwrap();
            let (size, scenarios) =
                (|table: &str| fixture.dataset.table_size(table), fixture.dataset.scenario_counts());
            let schema = fixture.dataset.schema();
            let new = || Model::new(schema, &config.model, &config.train, size, &scenarios, Seed(1)).unwrap();
            let (before, mut after) = (new(), new());
            let mut learner = Learner::new(&after, &config.train, 1, Seed(1))?;
            let mut prepared = Prepared::default();
            fixture.dataset.split("train").unwrap().read(&[0, 1, 2, 3], Seed(3), &mut prepared.batch).unwrap();
            prepared.index_to_learn(&Readers::new(schema));
            learner.step(&mut after, &prepared, 0.5, &Threads::new(1).unwrap()).unwrap();
            Ok((before, after))
        };
        let moved = |rates: &str| {
            let (before, after) = step(rates).unwrap();
            let network = before.graph.weights().iter().map(|info| {
                let range = info.offset..info.offset + info.shape[0] * info.shape[1];
                let pairs = after.network.weights[range.clone()].iter().zip(&before.network.weights[range]);
                (info.name.clone(), pairs.map(|(a, b)| f64::from((a - b).abs())).sum::<f64>())
            });
            let ids: Vec<u64> = (0..4).collect();
            let tables = before.tables.iter().zip(&after.tables).map(|(before, after)| {
                let read = |table: &kitestring_table::Table| {
                    let (mut route, mut rows) = (kitestring_table::Route::new(), vec![0.0; ids.len() * table.dim()]);
                    let known: Vec<u64> = ids.clone();
                    table.route(&known, &mut route).unwrap();
                    table.gather(&mut route, &mut rows).unwrap();
                    rows
                };
                let pairs = read(before).into_iter().zip(read(after));
                (format!("rows.{}", before.name()), pairs.map(|(a, b)| f64::from((a - b).abs())).sum::<f64>())
            });
            network.chain(tables).collect::<Vec<(String, f64)>>()
        };
        let all = moved("[]");
        let some = moved(
            r#"[{"weights": "body", "factor": 0.5}, {"weights": "encoder", "factor": 0}, {"weights": "rows.brand", "factor": 2},
                {"weights": "rows", "factor": 0.25}]"#,
        );
        for ((name, all), (_, some)) in all.iter().zip(&some) {
            let factor = match name.as_str() {
                "rows.brand" => 0.5,
                name if name.starts_with("rows.") => 0.25,
                name if name.starts_with("body.") => 0.5,
                name if name.starts_with("encoder.") => 0.0,
                _ => 1.0,
            };
            assert!((some - factor * all).abs() <= 2e-3 * all + 1e-7, "{name}: {some} of {all}");
        }
        assert!(all.iter().filter(|(_, moved)| *moved > 0.0).count() > 4, "{all:?}");
        let error = step(r#"[{"weights": "encodr", "factor": 1}]"#).unwrap_err().to_string();
        assert!(error.contains("encodr") && error.contains("encoder") && error.contains("train.rates[0]"), "{error}");
        assert!(step(r#"[{"weights": "body", "factor": -1}]"#).is_err());
    }
}
