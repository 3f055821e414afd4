//! The `[retrieve]` section of a config.

use crate::index::IndexConfig;
use crate::objective::config::Objective;
use kitestring_core::{Error, Result};
use kitestring_nn::retriever::RetrieverConfig;
use kitestring_train::RunConfig;
use kitestring_train::config::{TrainConfig, assignment};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A retriever: what it is made of, what makes it good, how it is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetrieveConfig {
    /// The task whose positives are pairs; the schema's first one when absent. A task that counts or measures gives labels to fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Row dimensions and the two towers.
    pub model: RetrieverConfig,
    /// What makes the towers good.
    pub objective: Objective,
    /// How often training does as if it did not know an item's id, so that an item never seen has a vector from its features that means
    /// something.
    pub unknown_items: f32,
    /// How the towers are trained.
    pub train: TrainConfig,
    /// How items are found.
    pub index: IndexConfig,
    /// Cutoffs K of the metrics.
    pub cutoffs: Vec<usize>,
    /// Numbers of candidates with which a run's ranker is held against ranking everything; none where empty.
    pub candidates: Vec<usize>,
    /// The most users for which that is done, drawn with the seed; 0 for all. Ranking everything takes most of the time.
    pub ranked_users: usize,
}

impl Default for RetrieveConfig {
    fn default() -> Self {
        Self {
            task: None,
            model: RetrieverConfig::default(),
            objective: Objective::default(),
            unknown_items: 0.0,
            train: TrainConfig::default(),
            index: IndexConfig::default(),
            cutoffs: vec![20, 100],
            candidates: vec![100, 500],
            ranked_users: 500,
        }
    }
}

impl RetrieveConfig {
    /// The section of a config; none where it has none.
    ///
    /// # Errors
    /// A config error that names the key.
    pub fn of(config: &RunConfig) -> Result<Option<Self>> {
        let Some(section) = config.section::<Self>("retrieve")? else { return Ok(None) };
        section.check()?;
        Ok(Some(section))
    }

    /// The metric that chooses an epoch among those measured: that of early stopping, else recall at the first cutoff, which is the hit rate
    /// where every user has one item to find.
    pub fn validation_metric(&self, measured: &BTreeMap<String, f64>) -> String {
        let chosen = self.train.early_stopping.as_ref().and_then(|stopping| stopping.metric.clone());
        let [recall, hits] = ["recall", "hr"].map(|name| format!("{name}@{}", self.cutoffs.first().unwrap_or(&0)));
        chosen.unwrap_or(if measured.contains_key(&recall) { recall } else { hits })
    }

    /// A config whose training sections say how long they take for so many training samples.
    ///
    /// # Errors
    /// As [`Self::resolve`].
    pub fn with_length(config: &RunConfig, samples: u64) -> Result<RunConfig> {
        let mut resolved = config.clone();
        resolved.train = config.train.resolved(samples);
        if let Some(mut section) = config.section::<Self>("retrieve")? {
            section.train = section.train.resolved(samples);
            let table = toml::Table::try_from(&section);
            resolved.retrieve = Some(table.map_err(|error| Error::internal("the section as TOML").caused_by(error))?);
        }
        Ok(resolved)
    }

    /// A config whose section has every default written out, so that an override can name a key that the file does not.
    ///
    /// # Errors
    /// A config error that names the section and what is unknown there.
    pub fn resolve(mut config: RunConfig) -> Result<RunConfig> {
        if let Some(section) = config.section::<Self>("retrieve")? {
            let table = toml::Table::try_from(&section);
            config.retrieve = Some(table.map_err(|error| Error::internal("the section as TOML").caused_by(error))?);
        }
        Ok(config)
    }

    /// A config with overrides of the form `key.of.key=value`, checked. What one of them chooses (a variant) has its defaults written out
    /// before the next is read, which may name a key of it.
    ///
    /// # Errors
    /// As [`RunConfig::overridden`] and [`Self::resolve`].
    pub fn overridden(config: RunConfig, overrides: &[String]) -> Result<RunConfig> {
        let mut config = Self::resolve(config)?;
        // Those that do not make a config yet: a variant whose keys must be given wait for them.
        let mut waiting = Vec::new();
        let mut refused = Ok(());
        for text in overrides {
            waiting.push(assignment(text)?);
            refused = match config.with(&waiting, "--set").and_then(Self::resolve) {
                Ok(next) => {
                    waiting.clear();
                    config = next;
                    Ok(())
                }
                Err(error) => Err(error),
            };
        }
        refused?;
        config.check()?;
        Ok(config)
    }

    /// Checks what serde does not.
    ///
    /// # Errors
    /// A config error that names the key.
    pub fn check(&self) -> Result<()> {
        let wrong = |field: &str, what: &str| Err(Error::config(what).in_field(format!("retrieve.{field}")));
        self.objective.check()?;
        self.index.check()?;
        self.train.check().map_err(|error| {
            let field = error.place().field.clone().unwrap_or_default();
            error.in_field(format!("retrieve.{field}"))
        })?;
        if let Some(stopping) = &self.train.early_stopping {
            let names = ["recall", "hr", "ndcg", "mrr"];
            let at = self.cutoffs.iter().flat_map(|k| names.map(|name| format!("{name}@{k}")));
            stopping.check_metric(&at.collect::<Vec<_>>(), "retrieve.train")?;
        }
        if matches!(self.objective, Objective::Contrastive(_)) && !self.model.unit_length {
            return wrong("model.unit_length", "cosine contrast needs vectors of length 1: set unit_length = true");
        }
        if !(0.0..1.0).contains(&self.unknown_items) {
            return wrong("unknown_items", "this must be in [0, 1)");
        }
        if self.train.asynchronous {
            return wrong(
                "train.asynchronous",
                "a step of a retriever couples its samples: its updates are synchronous",
            );
        }
        if !self.train.rates.is_empty() {
            return wrong("train.rates", "the towers of a retriever learn at one rate");
        }
        if self.train.occurrence_l2 > 0.0 {
            return wrong("train.occurrence_l2", "a retriever has no regularization by occurrence: use train.rows.l2");
        }
        if self.cutoffs.is_empty() || self.cutoffs.contains(&0) {
            return wrong("cutoffs", "give at least one cutoff, each at least 1");
        }
        if self.candidates.contains(&0) {
            return wrong("candidates", "a list of candidates has at least one");
        }
        Ok(())
    }
}
