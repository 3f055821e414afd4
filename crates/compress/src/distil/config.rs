//! What is distilled into what, and how.

use kitestring_core::{Error, Result};
use kitestring_nn::ranker::ModelConfig;
use kitestring_train::RunConfig;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::mem::discriminant;

/// A student and how it is taught. Keys of `model` and `train` that are given replace those of the teacher's run, all others stay:
///
/// ```toml
/// alpha = 0.9
/// without = ["occupation"]
/// model = { dimension = 8, body = { units = [32, 16] } }
/// train = { epochs = 3 }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Distil {
    /// What the student's `[model]` has instead of the teacher's. Another `type` of a slot drops the keys of the one before it.
    pub model: toml::Table,
    /// What the student's `[train]` has instead of the teacher's.
    pub train: toml::Table,
    /// Names of features that the student does not read: those a device lacks. The teacher keeps them.
    pub without: Vec<String>,
    /// The share α of the teacher's predictions in what a task is learned from, in [0, 1]; the labels have the rest.
    pub alpha: f64,
    /// The temperature T that softens the probabilities of binary tasks, above 0. At 1 the student learns from labels mixed with the teacher's
    /// probabilities, at a high one it matches logits.
    pub temperature: f64,
    /// The weight γ of the mean squared error between the teacher's representation and a linear map of the student's; 0 for none.
    pub representation: f64,
    /// Learns the teacher's order of each user's samples too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank: Option<Rank>,
}

impl Default for Distil {
    fn default() -> Self {
        Self {
            model: toml::Table::new(),
            train: toml::Table::new(),
            without: Vec::new(),
            alpha: 0.9,
            temperature: 3.0,
            representation: 0.0,
            rank: None,
        }
    }
}

/// RankDistil (Reddi et al. 2021): the likelihood, by the student's scores, of orders drawn from the teacher's. A list is what a batch has of
/// one user's samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rank {
    /// The weight of the loss, above 0. It is a sum over a list's places, so a weight of 1 makes it larger than a task's loss by about the
    /// length of the lists.
    pub weight: f64,
    /// The task whose logits are the scores; the first one where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Orders drawn of each list at every step, at least 1.
    pub samples: usize,
    /// What the teacher's scores are divided by before the noise is added, above 0: the higher, the more the orders differ.
    pub temperature: f64,
    /// The places from the first one on that count; all where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top: Option<usize>,
    /// The samples stored side by side that a batch keeps together, at least 2: about the longest list. A user with fewer samples shares
    /// them with the next one. What is stored side by side is alike, and steps on batches of it are worse ones: long blocks cost accuracy
    /// that the order does not bring back, so keep it short.
    pub list: u64,
}

impl Default for Rank {
    fn default() -> Self {
        Self { weight: 1e-3, task: None, samples: 8, temperature: 1.0, top: None, list: 8 }
    }
}

impl Distil {
    /// The config of the student's run, given that of the teacher's: without the features it lacks, with its own model and training.
    ///
    /// # Errors
    /// A config error that names the key, with the nearest known one for an unknown one.
    pub fn student(&self, teacher: &RunConfig) -> Result<RunConfig> {
        let mut student = teacher.clone();
        student.schema = teacher.schema.without(&self.without).map_err(|error| {
            let field = error.place().field.clone().unwrap_or_default();
            error.in_field(format!("distil.{field}"))
        })?;
        // The retriever is another model, and what is said of features that are gone is nobody's.
        student.retrieve = None;
        let tables: Vec<String> = student.schema.table_names().into_iter().map(str::to_owned).collect();
        student.model.dimensions.retain(|table, _| tables.contains(table));
        student.evaluate.serve_as.retain(|feature, _| !self.without.contains(feature));
        let overlays = [("model", "distil.model", &self.model), ("train", "distil.train", &self.train)];
        for (section, place, overlay) in overlays {
            let mut settings = BTreeMap::new();
            flatten(section, overlay, &mut settings);
            student = student.configured(&settings, place)?;
        }
        self.check(&teacher.model, &student)?;
        Ok(student)
    }

    fn check(&self, teacher: &ModelConfig, student: &RunConfig) -> Result<()> {
        let wrong = |key: &str, what: &str| Err(Error::config(what).in_field(format!("distil.{key}")));
        let positive = |value: f64| value > 0.0 && value.is_finite();
        if !(0.0..=1.0).contains(&self.alpha) {
            return wrong("alpha", "the teacher's share must be in [0, 1]");
        }
        if !positive(self.temperature) {
            return wrong("temperature", "a temperature must be a positive number");
        }
        if !(self.representation >= 0.0 && self.representation.is_finite()) {
            return wrong("representation", "a weight must not be negative");
        }
        if discriminant(&teacher.head) != discriminant(&student.model.head) {
            return Err(Error::config("the logits of another head mean something else than the teacher's")
                .in_field("distil.model.head.type")
                .mend("leave the head as the teacher's"));
        }
        let spreads = student.schema.tasks.iter().any(|task| student.model.head.spreads(task.kind));
        if self.alpha == 1.0 && spreads {
            return wrong("alpha", "the spread of predictions is learned from labels, which have no share left");
        }
        let Some(rank) = &self.rank else { return Ok(()) };
        if !positive(rank.weight) {
            return wrong("rank.weight", "a weight must be a positive number");
        }
        if !positive(rank.temperature) {
            return wrong("rank.temperature", "a temperature must be a positive number");
        }
        if rank.samples == 0 {
            return wrong("rank.samples", "at least one order must be drawn");
        }
        if rank.top == Some(0) {
            return wrong("rank.top", "at least one place must count");
        }
        if rank.list < 2 {
            return wrong("rank.list", "a list has an order from 2 samples on");
        }
        if student.schema.user.is_none() {
            return Err(Error::config("a list is a user's samples, and the schema has no user")
                .in_field("distil.rank")
                .mend("name the user's column as `schema.user`, or leave `rank` out"));
        }
        if let Some(task) = &rank.task
            && student.schema.task(task).is_none()
        {
            let error = Error::config(format!("there is no task `{task}`")).in_field("distil.rank.task");
            return Err(error.suggest(task, student.schema.tasks.iter().map(|task| task.name.as_str())));
        }
        Ok(())
    }
}

/// Every value of a table by its whole key.
fn flatten(key: &str, table: &toml::Table, settings: &mut BTreeMap<String, toml::Value>) {
    for (part, value) in table {
        let key = format!("{key}.{part}");
        match value {
            toml::Value::Table(table) => flatten(&key, table, settings),
            value => drop(settings.insert(key, value.clone())),
        }
    }
}
