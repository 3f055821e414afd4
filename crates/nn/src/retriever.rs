//! A retriever: two towers whose vectors' inner product says how well an item answers a query.
//!
//! Both towers are made of the rankers' encoders and layers, over the same tables. The query tower reads what is the user's or the
//! moment's, the item tower what is the item's: an item's vector depends on nothing else, so it can wait in an index.

use crate::graph::Graph;
use crate::ranker::RankerTable;
use crate::slots::encoder::Encoder;
use crate::slots::{Layers, ModelInputs};
use kitestring_core::schema::Of;
use kitestring_core::{Error, Result, Schema};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Row dimensions and the two towers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetrieverConfig {
    /// The dimension of a row's embedding.
    pub dimension: usize,
    /// The dimensions of single tables, by name.
    pub dimensions: BTreeMap<String, usize>,
    /// The dimension of the vectors that both towers end in.
    pub vector: usize,
    /// Whether vectors have length 1, so that scores are cosines.
    pub unit_length: bool,
    /// From what is the user's and the moment's to a vector.
    pub query: Tower,
    /// From what is the item's to a vector.
    pub item: Tower,
}

impl Default for RetrieverConfig {
    fn default() -> Self {
        Self {
            dimension: 32,
            dimensions: BTreeMap::new(),
            vector: 64,
            unit_length: false,
            query: Tower::default(),
            item: Tower::default(),
        }
    }
}

/// A tower: an encoder, layers, and a linear map to the vector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tower {
    /// From features to one row a sample. A tower cannot attend to its target: not DIN; nor add to a logit it does not have: not FM.
    pub encoder: Encoder,
    /// What stands between the encoder and the vector.
    pub layers: Layers,
    /// Whether the vector is a learned linear map of what comes before it. Without, that must be as wide as a vector: a tower of one id
    /// and no layers is the id's row, as in matrix factorization.
    pub projection: bool,
}

impl Default for Tower {
    fn default() -> Self {
        let layers = Layers { units: vec![128], ..Layers::default() };
        Self { encoder: Encoder::default(), layers, projection: true }
    }
}

/// The graphs of a retriever's towers, with what they read.
#[derive(Debug, Clone, PartialEq)]
pub struct Retriever {
    /// From a sample to a query's vector: one result, `samples × vector`.
    pub query: Graph,
    /// From an item to its vector: one result, `items × vector`.
    pub item: Graph,
    /// The tables, in the order of [`Schema::table_names`].
    pub tables: Vec<RankerTable>,
}

impl Retriever {
    /// Makes the graphs of a retriever.
    ///
    /// # Errors
    /// A config error that names the key, if a tower does not fit the schema.
    pub fn new(schema: &Schema, config: &RetrieverConfig) -> Result<Self> {
        let names = schema.table_names();
        for name in config.dimensions.keys() {
            if !names.contains(&name.as_str()) {
                let error = Error::config(format!("there is no table `{name}`")).in_field("retrieve.model.dimensions");
                return Err(error.suggest(name, names.iter().copied()));
            }
        }
        for (key, dimension) in [("dimension", config.dimension), ("vector", config.vector)]
            .into_iter()
            .chain(config.dimensions.values().map(|dimension| ("dimensions", *dimension)))
        {
            if dimension == 0 {
                return Err(Error::config("a dimension must be at least 1").in_field(format!("retrieve.model.{key}")));
            }
        }
        let dimension = |table: &str| config.dimensions.get(table).copied().unwrap_or(config.dimension);
        // Scenario levels belong to bodies, which towers have none of; a level that matters is a feature too.
        let inputs = ModelInputs::new(schema, dimension, &vec![1; schema.scenarios.len()])?;
        let query = ModelInputs { read: vec![Of::User, Of::Context], ..inputs.clone() };
        let item = ModelInputs { read: vec![Of::Item], ..inputs };
        let tables = names.iter().map(|name| RankerTable { name: (*name).into(), width: dimension(name) });
        Ok(Self {
            query: config.query.graph("query", &query, config)?,
            item: config.item.graph("item", &item, config)?,
            tables: tables.collect(),
        })
    }
}

impl Tower {
    fn graph(&self, name: &str, inputs: &ModelInputs, config: &RetrieverConfig) -> Result<Graph> {
        let field = |key: &str| format!("retrieve.model.{name}{key}");
        if matches!(self.encoder, Encoder::Din(_) | Encoder::Fm(_)) {
            let what = "a tower cannot read the other one: DIN attends to the item, FM adds to a logit";
            return Err(Error::config(what).in_field(field(".encoder.type")).mend("use pool, gru or gru_latent_cross"));
        }
        if inputs.single().is_empty() && inputs.ragged().next().is_none() && !inputs.has_numbers() {
            let of = inputs.read.iter().map(|of| format!("of = \"{of:?}\"").to_lowercase()).collect::<Vec<_>>();
            return Err(Error::config("the tower has no feature to read")
                .in_field(field(""))
                .mend(format!("declare one with {} in schema.features", of.join(" or "))));
        }
        self.layers.check(&field(".layers"))?;
        let mut graph = Graph::new();
        let encoded = self.encoder.forward(&mut graph, inputs).map_err(|error| {
            // Encoders know the ranker's place for their config.
            let place = error.place().field.clone().unwrap_or_default();
            let place = place.strip_prefix("model.").map(|rest| format!("retrieve.model.{name}.{rest}"));
            match place {
                Some(place) => error.in_field(place),
                None => error,
            }
        })?;
        if encoded.beside.is_some() {
            return Err(Error::config("a tower has nothing beside it: the crosses must be below its layers")
                .in_field(field(".encoder.structure"))
                .mend("use structure = \"stacked\""));
        }
        let mut vector = graph.scope("layers", |graph| self.layers.forward(graph, encoded.x));
        if self.projection {
            vector = graph.scope("vector", |graph| graph.linear_without_bias(vector, config.vector));
        } else if graph.width(vector) != config.vector {
            let found = graph.width(vector);
            return Err(Error::config(format!(
                "without a projection the tower ends {found} wide, and vectors are {} wide",
                config.vector
            ))
            .in_field(field(".projection"))
            .mend("set projection = true, or make both widths the same"));
        }
        if config.unit_length {
            vector = graph.unit_length(vector);
        }
        graph.output("vector", vector);
        Ok(graph)
    }
}
