//! One config file: `[data]`, `[schema]`, `[model]`, `[train]`, `[evaluate]`, `[simulator]`.

use crate::config_error::explain;
use crate::evaluate;
use crate::rates::WeightRate;
use kitestring_core::error::did_you_mean;
use kitestring_core::schema::FeatureKind;
use kitestring_core::{Error, Result, Schema};
use kitestring_data::config::DataConfig;
use kitestring_nn::optimizer::Rule;
use kitestring_nn::ranker::ModelConfig;
use kitestring_table::Init;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Everything that decides a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// The run's name in reports; the config file's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The seed that decides everything.
    #[serde(default)]
    pub seed: u64,
    /// Where the rows are, and how they become splits.
    #[serde(default)]
    pub data: DataConfig,
    /// The meaning of the columns.
    pub schema: Schema,
    /// Row dimensions and the five slots.
    #[serde(default)]
    pub model: ModelConfig,
    /// How the model is trained.
    #[serde(default)]
    pub train: TrainConfig,
    /// How it is judged.
    #[serde(default)]
    pub evaluate: EvaluateConfig,
    /// The retriever that finds candidates, where there is one: the section of the crate above that makes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retrieve: Option<toml::Table>,
    /// The marketplace whose logs are the data where none are given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub simulator: Option<kitestring_data::simulator::Config>,
}

/// Whether a number is left out of a written config, because 0 stands for nothing.
fn is_zero(number: &f32) -> bool {
    *number == 0.0
}

/// How a model is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Samples a step; from the number of training samples when absent ([`Self::length`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<usize>,
    /// Passes over the training split, at most; from the number of training samples when absent ([`Self::length`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<u32>,
    /// Which epoch's model is kept.
    pub keep: KeptEpoch,
    /// Length of a step.
    pub learning_rate: f32,
    /// How it changes over the run.
    pub schedule: Schedule,
    /// How the network's gradients become steps.
    pub optimizer: Rule,
    /// L2 on the network's matrices, added to the gradient.
    pub l2: f32,
    /// How rows are updated.
    pub rows: kitestring_table::Optimizer,
    /// How rows start.
    pub row_init: Init,
    /// What the learning rate is multiplied by for some weights of the network, or for the rows of some tables.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rates: Vec<WeightRate>,
    /// λ of DIN's mini-batch aware regularization (Zhou et al. 2018): at each step `λ / n` times the row is added to the gradient of the rows of
    /// the batch's ids alone, with `n` how often the id occurs in the training split. 0 for none.
    #[serde(skip_serializing_if = "is_zero")]
    pub occurrence_l2: f32,
    /// The largest Euclidean norm of all gradients together; longer ones are scaled down to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// Threads that share each batch; 0 for one a core. With the same number a run is the same to the bit.
    pub workers: usize,
    /// Whether each worker takes batches of its own and pushes without waiting for the others. Nobody waits, but a step is computed on
    /// weights that others have changed meanwhile, and no two runs are the same to the bit.
    pub asynchronous: bool,
    /// When to stop before the last epoch.
    pub early_stopping: Option<EarlyStopping>,
    /// Steps between checkpoints within an epoch; 0 for one at the end of each epoch only.
    pub checkpoint_steps: u64,
    /// Admission and eviction of tables whose vocabulary is open.
    pub open: kitestring_table::Open,
    /// Steps between evictions from open tables, which read every row's use; 0 for none.
    pub evict_steps: u64,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            batch_size: None,
            epochs: None,
            keep: KeptEpoch::default(),
            learning_rate: 1e-3,
            schedule: Schedule::default(),
            optimizer: Rule::default(),
            l2: 0.0,
            rows: kitestring_table::Optimizer::default(),
            row_init: Init::default(),
            rates: Vec::new(),
            occurrence_l2: 0.0,
            clip_norm: None,
            workers: 0,
            asynchronous: false,
            early_stopping: None,
            checkpoint_steps: 0,
            open: kitestring_table::Open::default(),
            evict_steps: 1000,
        }
    }
}

impl TrainConfig {
    /// Checks what serde does not.
    ///
    /// # Errors
    /// A config error that names the key.
    pub fn check(&self) -> Result<()> {
        let wrong = |field: &str, what: &str| Err(Error::config(what).in_field(field));
        if self.batch_size == Some(0) {
            return wrong("train.batch_size", "a batch needs at least one sample");
        }
        if !(self.learning_rate > 0.0 && self.learning_rate.is_finite()) {
            return wrong("train.learning_rate", "the learning rate must be a positive number");
        }
        if self.clip_norm.is_some_and(|norm| norm <= 0.0 || !norm.is_finite()) {
            return wrong("train.clip_norm", "the norm must be a positive number");
        }
        if !(self.occurrence_l2 >= 0.0 && self.occurrence_l2.is_finite()) {
            return wrong("train.occurrence_l2", "the coefficient must be a number of at least 0");
        }
        if self.asynchronous && self.rows.sweeps() {
            return wrong(
                "train.asynchronous",
                "an optimizer that moves every row at every step needs synchronous updates",
            );
        }
        if let Schedule::Plateau { factor } = self.schedule
            && !(factor > 0.0 && factor <= 1.0)
        {
            return wrong("train.schedule.factor", "the factor must be in (0, 1]");
        }
        Ok(())
    }
}

/// Which epoch's model is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeptEpoch {
    /// The one with the best validation metric, which is that of early stopping; the last one where no split `valid` tells.
    #[default]
    Best,
    /// The last one.
    Last,
}

/// How long training takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrainingLength {
    /// Samples a step.
    pub batch_size: usize,
    /// Passes over the training split, at most.
    pub epochs: u32,
}

/// Steps of an epoch that are enough to take smaller batches no further.
const STEPS_OF_AN_EPOCH: u64 = 100;
/// The batch sizes that follow from the number of samples.
const BATCH_SIZES: [u64; 2] = [32, 2048];
/// Steps that a run should come to.
const STEPS_OF_A_RUN: u64 = 1000;
/// The epochs that follow from the number of steps.
const EPOCHS: [u64; 2] = [2, 20];

impl TrainConfig {
    /// How long training on so many samples takes. What the config does not say follows from them: the batch size is the greatest power of
    /// two, from 32 to 2048, that leaves an epoch 100 steps; the epochs, from 2 to 20, are as many as make 1000 steps.
    pub fn length(&self, samples: u64) -> TrainingLength {
        let batch_size = self.batch_size.unwrap_or_else(|| {
            let most = (samples / STEPS_OF_AN_EPOCH).clamp(BATCH_SIZES[0], BATCH_SIZES[1]);
            1 << most.ilog2()
        });
        let epochs = self.epochs.unwrap_or_else(|| {
            let steps = samples.div_ceil(batch_size.max(1) as u64).max(1);
            STEPS_OF_A_RUN.div_ceil(steps).clamp(EPOCHS[0], EPOCHS[1]) as u32
        });
        TrainingLength { batch_size, epochs }
    }

    /// The same with the length for so many samples written out.
    #[must_use]
    pub fn resolved(&self, samples: u64) -> Self {
        let TrainingLength { batch_size, epochs } = self.length(samples);
        Self { batch_size: Some(batch_size), epochs: Some(epochs), ..self.clone() }
    }
}

/// How the learning rate changes over a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// It does not.
    #[default]
    Constant,
    /// From zero up over some steps, then constant.
    Warmup {
        /// How many steps up.
        steps: u64,
    },
    /// From zero up over some steps, then down to zero at the last step along a cosine.
    Cosine {
        /// How many steps up.
        #[serde(default)]
        warmup: u64,
    },
    /// Times `factor` after each epoch whose validation metric is no better than the best.
    Plateau {
        /// The factor.
        factor: f32,
    },
}

/// When to stop before the last epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EarlyStopping {
    /// The validation metric: `auc`, `log_loss` or `gauc`, of one task as `TASK.auc`, else the mean over tasks; likewise `rmse` and `mae`.
    /// `auc` when absent, or `rmse` where no task is binary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// Epochs without a better value before stopping.
    pub patience: u32,
}

impl Default for EarlyStopping {
    fn default() -> Self {
        Self { metric: None, patience: 2 }
    }
}

impl EarlyStopping {
    /// Checks that the metric is one of those that validation gives. `section` is the one with `early_stopping`, for messages.
    ///
    /// # Errors
    /// A config error that names the key and the metrics there are.
    pub fn check_metric(&self, known: &[String], section: &str) -> Result<()> {
        let Some(metric) = self.metric.as_ref().filter(|metric| !known.contains(metric)) else { return Ok(()) };
        let error = Error::config(format!("validation gives no metric `{metric}`"));
        let error = error.in_field(format!("{section}.early_stopping.metric"));
        Err(match did_you_mean(metric, known.iter().map(String::as_str)) {
            Some(near) => error.mend(format!("did you mean `{near}`? there are {}", known.join(", "))),
            None => error.mend(format!("choose one of {}", known.join(", "))),
        })
    }
}

/// How a model is judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluateConfig {
    /// The splits judged after training; those that exist of `valid` and `test` when empty.
    pub splits: Vec<String>,
    /// Cutoffs K of Recall, HR, NDCG and MRR.
    pub cutoffs: Vec<usize>,
    /// Rank each positive against its given candidates, against all items, or not at all.
    pub ranking: Ranking,
    /// The most positives ranked, drawn once for all seeds; 0 for all.
    pub ranking_queries: usize,
    /// Replicates of the bootstrap for intervals, 200 at least; 0 for no intervals.
    pub bootstrap: usize,
    /// Groups of users by history length, for heterogeneity and the head–tail gap.
    pub history_groups: usize,
    /// Samples a batch when scoring.
    pub batch_size: usize,
    /// What candidates are ranked by: the product of the tasks' predictions, each to the power that stands here (Zhao et al. 2019). The
    /// first binary task's prediction alone when empty.
    pub score: BTreeMap<String, f32>,
    /// The value that stands for a categorical feature which serving does not know, by the feature's name: a model that reads the position
    /// of logged impressions is judged as it would serve with `serve_as = { position = "1" }`.
    pub serve_as: BTreeMap<String, String>,
    /// Passes with dropout on, by which `predict` (and nothing else) tells the noise of the data from what the network does not know; 0
    /// for none.
    pub draws: u32,
}

impl Default for EvaluateConfig {
    fn default() -> Self {
        Self {
            splits: Vec::new(),
            cutoffs: vec![5, 10],
            ranking: Ranking::Auto,
            ranking_queries: 0,
            bootstrap: 200,
            history_groups: 5,
            batch_size: 8192,
            score: BTreeMap::new(),
            serve_as: BTreeMap::new(),
            draws: 0,
        }
    }
}

/// What each positive is ranked against.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ranking {
    /// Given candidates where the data has some, else nothing.
    #[default]
    Auto,
    /// The candidates given for it.
    Candidates,
    /// All items but those the user had in training.
    Full,
    /// Nothing.
    None,
}

impl RunConfig {
    /// Reads a config file and applies overrides of the form `key.of.key=value`, where the value is TOML or, if it is not, a text.
    ///
    /// # Errors
    /// A config error that names the file, line and key, with the nearest known key for an unknown one.
    pub fn read(path: &Path, overrides: &[String]) -> Result<Self> {
        Self::read_as_written(path)?.overridden(overrides)
    }

    /// Reads a config file as it stands there; nothing is checked beyond what the types say.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_as_written(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            let missing = error.kind() == std::io::ErrorKind::NotFound;
            let error = Error::io(error, "could not read the config", path);
            if missing {
                Error::config("there is no such config file").in_file(path.display().to_string())
            } else {
                error
            }
        })?;
        let mut config = Self::parse_as_written(&text, &path.display().to_string())?;
        if config.name.is_none() {
            config.name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        }
        Ok(config)
    }

    /// Parses a config; `file` is for messages.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn parse(text: &str, file: &str, overrides: &[String]) -> Result<Self> {
        Self::parse_as_written(text, file)?.overridden(overrides)
    }

    /// [`Self::read_as_written`] of a text; `file` is for messages.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn parse_as_written(text: &str, file: &str) -> Result<Self> {
        // The text itself is parsed before any override, so that a mistake in the file is shown with its line.
        toml::from_str(text).map_err(|error| explain(&error, text).in_file(file))
    }

    /// The same with overrides of the form `key.of.key=value`, checked.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn overridden(self, overrides: &[String]) -> Result<Self> {
        let mut config = self;
        if !overrides.is_empty() {
            let assignments = overrides.iter().map(|text| assignment(text)).collect::<Result<Vec<_>>>()?;
            config = config.with(&assignments, "--set")?;
        }
        config.check()?;
        Ok(config)
    }

    /// The same with other values of some keys, given as `key.of.key`. Every default is written out before, so that a key of a variant that
    /// the file does not name can be given too. Nothing is checked beyond what the types say. `place` is for messages.
    ///
    /// # Errors
    /// A config error that names the place and what is unknown there.
    pub fn with(&self, assignments: &[(String, toml::Value)], place: &str) -> Result<Self> {
        let mut table =
            toml::Table::try_from(self).map_err(|error| Error::internal("the config as TOML").caused_by(error))?;
        for (key, value) in assignments {
            set(&mut table, key, value.clone()).map_err(|error| error.in_field(place))?;
        }
        toml::Value::Table(table).try_into().map_err(|error| {
            let error = explain(&error, "");
            let key = error.place().field.clone();
            match (place, key) {
                ("--set", _) => error.in_file(place),
                (place, Some(key)) if place.contains(' ') => error.in_field(format!("{key} {place}")),
                (place, Some(key)) => error.in_field(format!("{place}.{key}")),
                (place, None) => error.in_field(place),
            }
        })
    }

    /// The same with other values of some keys, checked. A variant is chosen before its keys are set.
    ///
    /// # Errors
    /// As [`Self::with`] and [`Self::check`].
    pub fn configured(&self, settings: &BTreeMap<String, toml::Value>, place: &str) -> Result<Self> {
        let mut assignments: Vec<_> = settings.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        assignments.sort_by_key(|(key, _)| (!key.ends_with(".type"), key.matches('.').count()));
        let config = self.with(&assignments, place)?;
        config.check()?;
        Ok(config)
    }

    /// Checks what serde does not.
    ///
    /// # Errors
    /// A config error that names the key.
    pub fn check(&self) -> Result<()> {
        self.schema.check()?;
        if let Some(simulator) = &self.simulator {
            simulator.check().map_err(|error| {
                let field = error.place().field.clone().unwrap_or_default();
                error.in_field(format!("simulator.{field}"))
            })?;
        }
        let wrong = |field: &str, what: &str| Err(Error::config(what).in_field(field));
        self.train.check()?;
        if let Some(stopping) = &self.train.early_stopping {
            stopping.check_metric(&evaluate::validation_metrics(&self.schema), "train")?;
        }
        if matches!(self.evaluate.ranking, Ranking::Full | Ranking::Candidates) {
            evaluate::ranked_task(&self.schema)?;
            if self.schema.user.is_none() || self.schema.item.is_none() {
                return Err(Error::config("a ranking needs to know users and items")
                    .in_field("evaluate.ranking")
                    .mend("name their columns as `schema.user` and `schema.item`, or set it to none"));
            }
        }
        if self.evaluate.batch_size == 0 {
            return wrong("evaluate.batch_size", "a batch needs at least one sample");
        }
        for (task, power) in &self.evaluate.score {
            if self.schema.task(task).is_none() {
                let error = Error::config(format!("there is no task `{task}`")).in_field("evaluate.score");
                return Err(error.suggest(task, self.schema.tasks.iter().map(|task| task.name.as_str())));
            }
            if !power.is_finite() {
                return wrong("evaluate.score", "a power must be a finite number");
            }
        }
        for name in self.evaluate.serve_as.keys() {
            let categorical = || self.schema.features.iter().filter(|feature| feature.kind == FeatureKind::Categorical);
            if !categorical().any(|feature| feature.name == *name) {
                let error = Error::config(format!("there is no categorical feature `{name}`"));
                let known = categorical().map(|feature| feature.name.as_str());
                return Err(error.in_field("evaluate.serve_as").suggest(name, known));
            }
        }
        if self.evaluate.cutoffs.contains(&0) {
            return wrong("evaluate.cutoffs", "a cutoff is at least 1");
        }
        Ok(())
    }

    /// A section that a crate above this one reads; none where the config has none.
    ///
    /// # Errors
    /// A config error that names the section and what is unknown there.
    pub fn section<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let section = match name {
            "retrieve" => self.retrieve.clone(),
            _ => None,
        };
        let parsed = section.map(|section| toml::Value::Table(section).try_into());
        parsed.transpose().map_err(|error: toml::de::Error| {
            let error = explain(&error, "");
            let field =
                error.place().field.as_deref().map_or_else(|| name.to_owned(), |field| format!("{name}.{field}"));
            error.in_field(field)
        })
    }

    /// The config as TOML, every default written out.
    ///
    /// # Errors
    /// Never for a config that was parsed.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string_pretty(self).map_err(|error| Error::internal("the config as TOML").caused_by(error))
    }
}

/// Reads one `key.of.key=value`, where the value is TOML or, if it is not, a text.
///
/// # Errors
/// A config error, if there is no `=`.
pub fn assignment(text: &str) -> Result<(String, toml::Value)> {
    let Some((key, value)) = text.split_once('=') else {
        return Err(Error::config(format!("`{text}` has no `=`"))
            .in_field("--set")
            .mend("write it as --set train.epochs=3"));
    };
    let value = value.trim();
    let parsed: Result<toml::Table, _> = toml::from_str(&format!("value = {value}"));
    let value = parsed.ok().and_then(|mut table| table.remove("value")).unwrap_or_else(|| value.into());
    Ok((key.trim().to_owned(), value))
}

/// Puts a value at a `key.of.key`.
fn set(table: &mut toml::Table, key: &str, value: toml::Value) -> Result<()> {
    let mut at = table;
    let mut parts = key.split('.').peekable();
    while let Some(part) = parts.next() {
        if part.is_empty() {
            return Err(Error::config(format!("`{key}` is no key")).mend("write it as `train.epochs`"));
        }
        if parts.peek().is_none() {
            // Another variant of a slot or an optimizer does not keep the settings of the one before it.
            if part == "type" && at.get("type").is_some_and(|before| *before != value) {
                at.clear();
            }
            at.insert(part.to_owned(), value);
            return Ok(());
        }
        let next = at.entry(part).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        let Some(next) = next.as_table_mut() else {
            return Err(Error::config(format!("`{part}` in `{key}` is a value, not a section")));
        };
        at = next;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const MINIMAL: &str = r#"
[schema]
features = [{ name = "item", kind = "categorical" }]
tasks = [{ name = "click" }]
"#;

    #[test]
    fn defaults_and_round_trip() {
        let config = RunConfig::parse(MINIMAL, "x.toml", &[]).unwrap();
        assert_eq!((config.train.batch_size, config.train.epochs), (None, None));
        let again = RunConfig::parse(&config.to_toml().unwrap(), "y.toml", &[]).unwrap();
        assert_eq!(config, again);
    }

    #[test]
    fn unknown_keys_name_the_nearest() {
        let text = format!("{MINIMAL}\n[train]\nepochz = 3\n");
        let error = RunConfig::parse(&text, "x.toml", &[]).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("x.toml:7") && message.contains("did you mean `train.epochs`?"), "{message}");
        assert_eq!(error.exit_code(), 2);
        let text = format!("{MINIMAL}\n[model.encoder]\ntype = \"dine\"\n");
        let message = RunConfig::parse(&text, "x.toml", &[]).unwrap_err().to_string();
        assert!(message.contains("did you mean `din`?"), "{message}");
    }

    #[test]
    fn overrides() {
        let set = |text: &str| RunConfig::parse(MINIMAL, "x.toml", &[text.to_owned()]);
        assert_eq!(set("train.epochs=7").unwrap().train.epochs, Some(7));
        assert_eq!(set("name=hello there").unwrap().name.as_deref(), Some("hello there"));
        assert!(matches!(
            set("model.encoder.type=\"cross\"").unwrap().model.encoder,
            kitestring_nn::slots::encoder::Encoder::Cross(_)
        ));
        assert!(matches!(
            set("model.encoder.type=cross").unwrap().model.encoder,
            kitestring_nn::slots::encoder::Encoder::Cross(_)
        ));
        let kitestring_nn::slots::body::Body::Mlp(mlp) = set("model.body.dropout=0.5").unwrap().model.body else {
            panic!()
        };
        assert_eq!(mlp.0.dropout, 0.5);
        assert!(set("train.epochs").is_err());
        assert!(set("train.batch_size=0").unwrap_err().to_string().contains("batch_size"));
        assert!(set("trian.epochs=1").unwrap_err().to_string().contains("did you mean `train`?"));
    }

    /// A small log gets smaller batches and more epochs, so that it makes enough steps; what the config says stays.
    #[test]
    fn the_length_follows_from_the_samples() {
        let length = |train: &TrainConfig, samples| {
            let TrainingLength { batch_size, epochs } = train.length(samples);
            (batch_size, epochs)
        };
        let free = TrainConfig::default();
        assert_eq!(
            [0, 1, 3_500, 40_000].map(|samples| length(&free, samples)),
            [(32, 20), (32, 20), (32, 10), (256, 7)]
        );
        assert_eq!([400_000, 100_000_000].map(|samples| length(&free, samples)), [(2048, 6), (2048, 2)]);
        let given = TrainConfig { batch_size: Some(1000), ..free.clone() };
        assert_eq!(length(&given, 3_500), (1000, 20));
        let given = TrainConfig { epochs: Some(0), ..free.clone() };
        assert_eq!(length(&given, 3_500), (32, 0));
        let resolved = free.resolved(3_500);
        assert_eq!((resolved.batch_size, resolved.epochs), (Some(32), Some(10)));
        assert_eq!(resolved.resolved(9), resolved);
    }

    /// A metric that validation does not give is refused before anything is read, with the ones it gives.
    #[test]
    fn metrics_to_stop_by_are_checked() {
        let stop =
            |metric: &str| RunConfig::parse(MINIMAL, "x.toml", &[format!("train.early_stopping.metric={metric}")]);
        for metric in ["auc", "log_loss", "click.auc"] {
            assert_eq!(stop(metric).unwrap().train.early_stopping.unwrap().metric.as_deref(), Some(metric));
        }
        for (metric, hint) in
            [("ndcg@10", "auc, log_loss"), ("click.auk", "did you mean `click.auc`?"), ("gauc", "auc")]
        {
            let error = stop(metric).unwrap_err().to_string();
            assert!(error.contains("train.early_stopping.metric") && error.contains(hint), "{error}");
        }
        let ranked =
            RunConfig::parse(MINIMAL, "x.toml", &["evaluate.ranking=full".to_owned()]).unwrap_err().to_string();
        assert!(ranked.contains("evaluate.ranking") && ranked.contains("schema.item"), "{ranked}");
    }
}
