//! A ranker: a schema and the configs of the five slots, made into a graph.

use crate::graph::{Graph, Value};
use crate::slots::ModelInputs;
use crate::slots::bias::Bias;
use crate::slots::body::{Body, BodyInput, OfTask};
use crate::slots::encoder::Encoder;
use crate::slots::head::Head;
use crate::slots::loss::TaskLoss;
use kitestring_core::schema::{Feature, Which};
use kitestring_core::{Error, Result, Schema};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The `[model]` section of a config: row dimensions and the five slots.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// The dimension of a row's embedding.
    pub dimension: usize,
    /// The dimensions of single tables, by name.
    pub dimensions: BTreeMap<String, usize>,
    /// The dimension of what is learned for each scenario of each level and stands beside the encoder's result; 0 for none.
    pub scenario_dimension: usize,
    /// From features to one row a sample.
    pub encoder: Encoder,
    /// What tasks share.
    pub body: Body,
    /// From the body's results to predictions.
    pub head: Head,
    /// What the place of an impression adds.
    pub bias: Bias,
    /// How the tasks' losses become one.
    pub loss: TaskLoss,
}

kitestring_core::fields!(ModelConfig { dimension, dimensions, scenario_dimension, encoder, body, head, bias, loss });

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            dimension: 16,
            dimensions: BTreeMap::new(),
            scenario_dimension: 8,
            encoder: Encoder::default(),
            body: Body::default(),
            head: Head::default(),
            bias: Bias::default(),
            loss: TaskLoss::default(),
        }
    }
}

/// A table a ranker reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RankerTable {
    /// Its name.
    pub name: String,
    /// The width of its rows: the embedding and what the encoder keeps beside it.
    pub width: usize,
}

/// A ranker's graph with what it reads.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranker {
    /// The forward pass.
    pub graph: Graph,
    /// The tables, in the order of [`Schema::table_names`].
    pub tables: Vec<RankerTable>,
    /// What stands before the head for each task.
    pub tasks: Vec<OfTask>,
}

impl Ranker {
    /// Makes the graph of a ranker. `scenarios` says how many scenarios each level of the schema has, with the unseen one.
    ///
    /// # Errors
    /// A config error that names the key, if a slot does not fit the schema.
    pub fn new(schema: &Schema, config: &ModelConfig, scenarios: &[usize]) -> Result<Self> {
        let names = schema.table_names();
        for name in config.dimensions.keys() {
            if !names.contains(&name.as_str()) {
                let error = Error::config(format!("there is no table `{name}`")).in_field("model.dimensions");
                return Err(error.suggest(name, names.iter().copied()));
            }
        }
        if config.dimension == 0 || config.dimensions.values().any(|dimension| *dimension == 0) {
            return Err(Error::config("a dimension must be at least 1").in_field("model.dimension"));
        }
        if schema.tasks.is_empty() {
            return Err(Error::config("there is no task to learn")
                .in_field("schema.tasks")
                .mend("declare at least one"));
        }
        let sees_its_label = |feature: &&Feature| feature.history.as_ref().is_some_and(|of| of.which == Which::All);
        if let Some(feature) = schema.features.iter().find(sees_its_label) {
            return Err(Error::config("a ranker would find its own label in a history of all events")
                .in_field(format!("schema.features.{}", feature.name))
                .mend("take `which = \"all\"` out, or train a retriever only"));
        }
        let dimension = |table: &str| config.dimensions.get(table).copied().unwrap_or(config.dimension);
        let extra = config.encoder.extra_columns();
        let inputs = ModelInputs::new(schema, |table| dimension(table) + extra, scenarios)?;

        config.loss.check(&inputs)?;
        let mut graph = Graph::new();
        let encoded = config.encoder.forward(&mut graph, &inputs)?;
        let levels = inputs.scenarios.iter().enumerate().filter(|_| config.scenario_dimension > 0);
        let scenarios: Vec<Value> = levels
            .map(|(number, level)| {
                let scope = format!("scenario.{}", level.name);
                graph.scope(scope, |graph| graph.scenario(number, level.count, config.scenario_dimension))
            })
            .collect();
        let parts: Vec<Value> = std::iter::once(encoded.x).chain(scenarios.iter().copied()).collect();
        let x = graph.concat(&parts);
        let shared = config.body.forward(&mut graph, &BodyInput { x, scenarios: &scenarios, inputs: &inputs })?;
        let biases = config.bias.forward(&mut graph, &inputs)?;
        let tasks = shared.logits(&mut graph, &inputs, &encoded, &biases, &config.head);
        config.head.forward(&mut graph, &tasks, &inputs, &config.loss)?;
        let tables = names.iter().map(|name| RankerTable { name: (*name).into(), width: dimension(name) + extra });
        Ok(Self { graph, tables: tables.collect(), tasks })
    }

    /// The graph with other values, which have one row a sample, as its results.
    pub fn showing(&self, values: &[Value]) -> Graph {
        let mut graph = self.graph.clone();
        graph.outputs = values.iter().enumerate().map(|(number, value)| (number.to_string(), *value)).collect();
        graph
    }
}
