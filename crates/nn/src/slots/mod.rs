//! The five slots of a ranker: `encoder → body → head (+ bias) → loss`.
//!
//! Each slot is a tagged enum of its variants' configs, read from one table of the config file (`type = "din"`); each variant is one
//! file with its formula, its config with defaults, and its forward pass. The published systems are points of this grid.
//!
//! To add a variant: one file, one line in its slot's enum. [`catalogue`] lists them all, for documentation and `--help`.

pub mod bias;
pub mod body;
pub mod encoder;
pub mod head;
pub mod loss;

use crate::graph::{Domain, Graph, Value};
use crate::kernels::activation::Activation;
use crate::ops::embed::Lookup;
use kitestring_core::json::{self, Value as Json};
use kitestring_core::schema::{FeatureKind, Of, TaskKind};
use kitestring_core::{Error, Result, Schema};
use serde::{Deserialize, Serialize};

/// What follows a hidden layer, with learned slopes among the choices.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HiddenActivation {
    /// `max(x, 0)`.
    #[default]
    Relu,
    /// `1 / (1 + e^−x)`.
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
    /// A learned slope below zero.
    Prelu,
    /// A learned slope, gated by the batch's distribution (Zhou et al. 2018).
    Dice,
}

kitestring_core::choices!(HiddenActivation { Relu, Sigmoid, Tanh, Prelu, Dice });

/// One feature as the slots see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SparseInput {
    /// Its name.
    pub name: String,
    /// How its values are read.
    pub kind: FeatureKind,
    /// Whose property it is.
    pub of: Of,
    /// Where its rows come from, and how wide they are.
    pub lookup: Lookup,
    /// What its rows stand for.
    pub domain: Domain,
    /// For a sequence: the name of the feature whose earlier values it lists, where there is one.
    pub history_of: Option<String>,
}

/// What the slots read: the schema's features with the widths of their rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelInputs {
    /// The features with ids.
    pub sparse: Vec<SparseInput>,
    /// Whose property each number is.
    pub numeric: Vec<Of>,
    /// Whose features are read; a tower of a retriever reads some.
    pub read: Vec<Of>,
    /// The kind of each task, and the number of the task that must come before it.
    pub tasks: Vec<(TaskKind, Option<usize>)>,
    /// The name of each task.
    pub task_names: Vec<String>,
    /// The scenario levels, the outermost first.
    pub scenarios: Vec<ScenarioLevel>,
    /// Whether a sample has a display position.
    pub position: bool,
}

/// A scenario level as the slots see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScenarioLevel {
    /// Its name.
    pub name: String,
    /// How many scenarios it has, with the one that stands for all that were not seen in training: it is number 0.
    pub count: usize,
}

impl ModelInputs {
    /// The inputs a schema declares; `width` gives the width of a table's rows, `scenarios` how many scenarios each level has, with
    /// the unseen one.
    ///
    /// # Errors
    /// If the schema is not sound, or has another number of levels.
    pub fn new(schema: &Schema, width: impl Fn(&str) -> usize, scenarios: &[usize]) -> Result<Self> {
        schema.check()?;
        if scenarios.len() != schema.scenarios.len() {
            let (given, declared) = (scenarios.len(), schema.scenarios.len());
            return Err(Error::internal(format!("{given} scenario levels given, {declared} declared")));
        }
        let tables = schema.table_names();
        let table = |name: &str| tables.iter().position(|table| *table == name).unwrap_or_default();
        // Histories of the same events have the same length, so their rows can stand side by side.
        let features: Vec<_> = schema.sparse().collect();
        let group = |index: usize| {
            let of = features[index];
            let same = |other: &&kitestring_core::schema::Feature| {
                other.kind == of.kind
                    && other.length == of.length
                    && matches!((&of.history, &other.history), (Some(a), Some(b)) if a.when == b.when)
            };
            features.iter().position(same).unwrap_or(index)
        };
        // A sequence read from a column lists the feature it shares its table with.
        let listed = |feature: &kitestring_core::schema::Feature| match &feature.history {
            Some(history) => features.iter().find(|other| other.name == history.of),
            None if feature.kind == FeatureKind::Sequence => {
                features.iter().find(|other| other.kind == FeatureKind::Categorical && other.table() == feature.table())
            }
            None => None,
        };
        let sparse = features.iter().enumerate().map(|(index, feature)| SparseInput {
            name: feature.name.clone(),
            kind: feature.kind,
            of: feature.of,
            lookup: Lookup { feature: index, table: table(feature.table()), width: width(feature.table()) },
            domain: if feature.is_ragged() { Domain::Positions(group(index)) } else { Domain::Rows },
            history_of: listed(feature).map(|other| other.name.clone()),
        });
        Ok(Self {
            sparse: sparse.collect(),
            numeric: schema.numeric().map(|feature| feature.of).collect(),
            read: vec![Of::User, Of::Item, Of::Context],
            tasks: schema
                .tasks
                .iter()
                .map(|task| (task.kind, task.after.as_deref().and_then(|after| schema.task(after))))
                .collect(),
            task_names: schema.tasks.iter().map(|task| task.name.clone()).collect(),
            scenarios: std::iter::zip(&schema.scenarios, scenarios)
                .map(|(level, count)| ScenarioLevel { name: level.name.clone(), count: *count })
                .collect(),
            position: schema.position.is_some(),
        })
    }

    /// The lookups of the features with one id a sample.
    pub fn single(&self) -> Vec<Lookup> {
        self.read().filter(|input| input.domain == Domain::Rows).map(|input| input.lookup).collect()
    }

    /// The ragged features.
    pub fn ragged(&self) -> impl Iterator<Item = &SparseInput> {
        self.read().filter(|input| input.domain != Domain::Rows)
    }

    fn read(&self) -> impl Iterator<Item = &SparseInput> {
        self.sparse.iter().filter(|input| self.read.contains(&input.of))
    }

    /// Whether any number is read.
    pub(crate) fn has_numbers(&self) -> bool {
        self.numeric.iter().any(|of| self.read.contains(of))
    }

    /// The numbers that are read, side by side; none where there are none.
    pub fn numbers(&self, graph: &mut Graph) -> Option<Value> {
        let read: Vec<usize> = (0..self.numeric.len()).filter(|at| self.read.contains(&self.numeric[*at])).collect();
        if read.is_empty() {
            return None;
        }
        let all = graph.numeric(self.numeric.len());
        if read.len() == self.numeric.len() {
            return Some(all);
        }
        let columns: Vec<Value> = read.iter().map(|column| graph.slice(all, *column, 1)).collect();
        Some(graph.concat(&columns))
    }
}

/// A stack of linear layers with what stands between them: the shared part of bodies, towers and experts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Layers {
    /// Outputs of each layer.
    pub units: Vec<usize>,
    /// What follows each layer.
    pub activation: HiddenActivation,
    /// The probability of dropping an output of a layer in training.
    pub dropout: f32,
    /// Normalize over the batch between a layer and its activation.
    pub batch_norm: bool,
}

kitestring_core::fields!(Layers { units, activation, dropout, batch_norm });

impl Default for Layers {
    fn default() -> Self {
        Self { units: vec![200, 80], activation: HiddenActivation::Relu, dropout: 0.0, batch_norm: false }
    }
}

impl Layers {
    /// Checks the sizes.
    ///
    /// # Errors
    /// A config error that names the key.
    pub fn check(&self, field: &str) -> Result<()> {
        if self.units.contains(&0) {
            return Err(Error::config("a layer needs at least one unit").in_field(format!("{field}.units")));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(Error::config("`dropout` must be in [0, 1)").in_field(format!("{field}.dropout")));
        }
        Ok(())
    }

    /// The layers over a value: linear, batch norm, activation, dropout, in this order.
    pub fn forward(&self, graph: &mut Graph, x: Value) -> Value {
        (0..self.units.len()).fold(x, |x, number| self.layer(graph, x, number, Graph::linear))
    }

    /// One layer over a value. `linear` records what may stand in place of [`Graph::linear`].
    pub(crate) fn layer(
        &self,
        graph: &mut Graph,
        x: Value,
        number: usize,
        linear: impl Fn(&mut Graph, Value, usize, Activation) -> Value,
    ) -> Value {
        graph.scope(number.to_string(), |graph| {
            let y = self.activated(graph, x, self.units[number], linear);
            graph.dropout(y, self.dropout)
        })
    }

    fn activated(
        &self,
        graph: &mut Graph,
        x: Value,
        units: usize,
        linear: impl Fn(&mut Graph, Value, usize, Activation) -> Value,
    ) -> Value {
        let plain = match self.activation {
            HiddenActivation::Relu => Some(Activation::Relu),
            HiddenActivation::Sigmoid => Some(Activation::Sigmoid),
            HiddenActivation::Tanh => Some(Activation::Tanh),
            HiddenActivation::Prelu | HiddenActivation::Dice => None,
        };
        let after_linear = if self.batch_norm { Activation::None } else { plain.unwrap_or_default() };
        let mut y = linear(graph, x, units, after_linear);
        if self.batch_norm {
            y = graph.batch_norm(y, true, plain.unwrap_or_default(), 1e-5);
        }
        match self.activation {
            HiddenActivation::Prelu => graph.prelu(y),
            HiddenActivation::Dice => graph.dice(y),
            _ => y,
        }
    }
}

/// A variant of a slot, for documentation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VariantInfo {
    /// The slot.
    pub slot: &'static str,
    /// The variant's name in a config.
    pub name: &'static str,
    /// What it computes, in one line.
    pub summary: &'static str,
    /// Where it was published.
    pub source: &'static str,
    /// Its config with every default written out.
    pub defaults: serde_json::Value,
}

/// All variants of all slots.
pub fn catalogue() -> Vec<VariantInfo> {
    let mut all = encoder::Encoder::catalogue();
    all.extend(body::Body::catalogue());
    all.extend(head::Head::catalogue());
    all.extend(bias::Bias::catalogue());
    all.extend(loss::TaskLoss::catalogue());
    all
}

/// The name of a variant and its config, which stand side by side.
fn tagged(value: &Json) -> Result<(String, Json), json::Error> {
    let mut config = json::object(value)?.clone();
    match config.remove("type") {
        Some(Json::String(name)) => Ok((name, Json::Object(config))),
        Some(_) => Err(json::Error::new("`type` is no text")),
        None => Err(json::Error::new("missing field `type`")),
    }
}

/// Declares a slot: a tagged enum of its variants' configs, with its catalogue.
macro_rules! slot {
    ($(#[$doc:meta])* $slot:ident $name:literal default $default:ident {
        $($variant:ident($config:ty) = $tag:literal, $summary:literal, $source:literal;)+
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize)]
        #[serde(tag = "type", rename_all = "snake_case")]
        pub enum $slot {
            $(#[doc = $summary] #[serde(rename = $tag)] $variant($config),)+
        }

        impl kitestring_core::json::Read for $slot {
            fn blank() -> Self {
                Self::default()
            }

            fn read(&mut self, value: &serde_json::Value) -> Result<(), kitestring_core::json::Error> {
                let (tag, config) = $crate::slots::tagged(value)?;
                *self = match tag.as_str() {
                    $($tag => Self::$variant(Default::default()),)+
                    _ => return Err(kitestring_core::json::Error::unknown("variant", &tag, [$($tag),+])),
                };
                match self {
                    $(Self::$variant(variant) => variant.read(&config),)+
                }
            }
        }

        impl<'de> serde::Deserialize<'de> for $slot {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let value = serde_json::Value::deserialize(deserializer)?;
                kitestring_core::json::from_value(&value).map_err(serde::de::Error::custom)
            }
        }

        impl Default for $slot {
            fn default() -> Self {
                Self::$default(Default::default())
            }
        }

        impl $slot {
            /// The variants with their defaults.
            pub fn catalogue() -> Vec<$crate::slots::VariantInfo> {
                vec![$($crate::slots::VariantInfo {
                    slot: $name,
                    name: $tag,
                    summary: $summary,
                    source: $source,
                    defaults: serde_json::to_value(Self::$variant(Default::default())).unwrap_or_default(),
                }),+]
            }
        }
    };
}
pub(crate) use slot;
