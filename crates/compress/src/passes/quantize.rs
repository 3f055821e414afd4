//! Numbers in a byte or half of one: weights by column, activations by a range seen in training, rows each by itself.
//!
//! Post-training, nothing is learned again; [`Aware`] has the network learn to live with codes. Weights of layers, of attentions, of experts and
//! gates are in codes; products of layers and of DIN's attention are done in codes, too, the others on the numbers that codes stand for.

use super::aware::Aware;
use crate::candidate::Candidate;
use crate::pipeline::Setting;
use kitestring_core::{Batch, Error, Result, Seed};
use kitestring_nn::engine::Scorer;
use kitestring_nn::package::{Activations, RowCodes};
use kitestring_nn::quantization::calibrate::{Calibration, Observer};
use kitestring_train::inputs::{Distinct, Pulled, Readers};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Numbers in fewer bits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quantize {
    /// Whether weights are in codes of eight bits.
    pub weights: bool,
    /// How the ranges of activations are chosen, so that products are done in codes; `false` for products in `f32`. Only with `weights`.
    #[serde(with = "or_false")]
    pub activations: Option<Calibration>,
    /// How rows are stored.
    pub rows: RowCodes,
    /// How rows of single tables are stored, by name.
    pub tables: BTreeMap<String, RowCodes>,
    /// Training samples that ranges are chosen from.
    pub samples: usize,
    /// Has the network learn to say in codes what it says in 32 bits; nothing is learned where absent. Only with `weights`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aware: Option<Aware>,
}

/// `false` for none, as a key that is left out has its default.
mod or_false {
    use kitestring_nn::quantization::calibrate::Calibration;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(chosen: &Option<Calibration>, serializer: S) -> Result<S::Ok, S::Error> {
        match chosen {
            Some(calibration) => calibration.serialize(serializer),
            None => serializer.serialize_bool(false),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Calibration>, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        if value == serde_json::Value::Bool(false) {
            return Ok(None);
        }
        Calibration::deserialize(value).map(Some).map_err(D::Error::custom)
    }
}

impl Default for Quantize {
    fn default() -> Self {
        Self {
            weights: true,
            activations: Some(Calibration::Percentile { share: 0.9999 }),
            rows: RowCodes::Int8,
            tables: BTreeMap::new(),
            samples: 16_384,
            aware: None,
        }
    }
}

impl Quantize {
    pub(super) fn check(&self) -> Result<()> {
        if self.activations.is_some() && !self.weights {
            return Err(
                Error::config("products of codes need weights in codes: set weights = true").in_field("activations")
            );
        }
        if self.activations.is_some() && self.samples == 0 {
            return Err(Error::config("ranges are chosen from at least one sample").in_field("samples"));
        }
        if self.aware.is_some() && !self.weights {
            let error = Error::config("there is nothing to learn where weights are in 32 bits: set weights = true");
            return Err(error.in_field("aware"));
        }
        self.aware.as_ref().map_or(Ok(()), Aware::check)
    }

    pub(super) fn apply(&self, mut candidate: Candidate, setting: &mut Setting<'_>) -> Result<(Candidate, String)> {
        let names = super::tables(&candidate, self.tables.keys())?;
        candidate.rows = names.iter().map(|name| self.tables.get(name).copied().unwrap_or(self.rows)).collect();
        let mut said = Vec::new();
        if self.weights {
            let graph = Arc::clone(&candidate.model.graph);
            graph.fold(&mut candidate.model.network.weights);
            let matrices = graph.weights().iter().filter(|info| info.shape[0] > 1);
            candidate.coded = matrices.map(|info| info.name.clone()).collect();
            said.push(format!("{} matrices in 8 bits", candidate.coded.len()));
        }
        if let Some(calibration) = self.activations {
            candidate.activations = self.calibrate(&candidate, calibration, setting.seed())?;
        }
        if let Some(aware) = &self.aware {
            candidate = aware.train(candidate, setting)?;
            said.push(format!(
                "{} of learning",
                if aware.epochs == 1 { "an epoch".into() } else { format!("{} epochs", aware.epochs) }
            ));
        }
        if self.activations.is_some() {
            said.push(format!("{} products in 8 bits", candidate.activations.len()));
        }
        said.push(format!("rows in {}", said_of(&candidate.rows)));
        Ok((candidate, said.join(", ")))
    }

    /// The codes of what enters each product, from samples of training.
    fn calibrate(&self, candidate: &Candidate, calibration: Calibration, seed: Seed) -> Result<Vec<Activations>> {
        let (model, split) = (&candidate.model, candidate.dataset.split("train")?);
        let readers = Readers::new(&model.schema);
        let (mut distinct, mut pulled) = (Distinct::default(), Pulled::default());
        let mut scorer = Scorer::new(Arc::clone(&model.graph), 1);
        let mut seen: BTreeMap<(String, usize), Observer> = BTreeMap::new();
        let order: Vec<u64> = split.order(seed.child("calibrate"), 0).iter().take(self.samples).collect();
        let mut batch = Batch::default();
        for indices in order.chunks(1024) {
            split.read(indices, seed, &mut batch)?;
            distinct.index(&[(&readers, &batch)]);
            pulled.pull(&model.tables, &distinct, &kitestring_nn::engine::OneWorker)?;
            let mut failed = Ok(());
            let network = &model.network;
            scorer.observe(&network.weights, &network.state, &pulled.inputs(&distinct, 0, &batch), |weight, x| {
                if let (Some((name, row)), Ok(())) = (model.graph.name_of(weight), &failed) {
                    failed =
                        seen.entry((name.to_owned(), row)).or_default().see(x).map_err(|error| error.in_field(name));
                }
            })?;
            failed?;
        }
        let codes = |((weight, row), seen): ((String, usize), Observer)| {
            Ok(Activations { weight, row, codes: seen.codes(calibration)? })
        };
        seen.into_iter().map(codes).collect()
    }
}

fn said_of(rows: &[RowCodes]) -> String {
    let said = |codes: &RowCodes| match codes {
        RowCodes::F32 => "32",
        RowCodes::Int8 => "8",
        RowCodes::Int4 => "4",
    };
    let mut all: Vec<&str> = rows.iter().map(said).collect();
    all.sort_unstable();
    all.dedup();
    format!("{} bits", all.join(" and "))
}
