//! A retriever with everything it learned, and its directory.

use kitestring_core::{Error, Result, Schema, Seed, VocabularyHash};
use kitestring_nn::graph::Graph;
use kitestring_nn::network::Network;
use kitestring_nn::retriever::{Retriever, RetrieverConfig};
use kitestring_table::Table;
use kitestring_train::config::TrainConfig;
use kitestring_train::model::{
    new_tables, read_manifest, read_network, read_tables, write_manifest, write_network, write_tables,
};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;

/// The format number of retriever directories.
const FORMAT: u32 = 1;

/// The names of the towers' files.
const NETWORKS: [&str; 2] = ["query.safetensors", "item.safetensors"];

/// The dense part of a tower.
#[derive(Debug)]
pub struct TowerModel {
    /// The forward pass.
    pub graph: Arc<Graph>,
    /// Weights and running statistics.
    pub network: Network,
}

/// A retriever with everything it learned.
#[derive(Debug)]
pub struct RetrieverModel {
    /// The meaning of the columns.
    pub schema: Schema,
    /// Row dimensions and the two towers.
    pub config: RetrieverConfig,
    /// The query tower.
    pub query: TowerModel,
    /// The item tower.
    pub item: TowerModel,
    /// Rows, in the order of [`Schema::table_names`].
    pub tables: Vec<Table>,
    /// Which state of which model this is: made anew at every writing that others see, and kept by what is made of the vectors, so that
    /// an index of another state is found out. Empty before.
    pub version: String,
    /// What tells the ids that it was trained with from others; none before it is trained, and in retrievers of older versions.
    pub vocabulary_hash: Option<VocabularyHash>,
}

/// What a retriever's directory says of itself.
#[derive(Debug, Serialize, Deserialize)]
struct Description {
    format: u32,
    version: String,
    schema: Schema,
    model: RetrieverConfig,
    tables: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    vocabulary_hash: Option<VocabularyHash>,
}

impl RetrieverModel {
    /// A retriever as it starts. `size` gives the number of rows of each table, none for an open one.
    ///
    /// # Errors
    /// A config error that names the key; too little memory.
    pub fn new(
        schema: &Schema,
        config: &RetrieverConfig,
        train: &TrainConfig,
        size: impl Fn(&str) -> Result<Option<u64>>,
        seed: Seed,
    ) -> Result<Self> {
        let Retriever { query, item, tables } = Retriever::new(schema, config)?;
        let tower = |graph: Graph, name: &str| {
            let network = Network::new(&graph, seed.child("network").child(name));
            TowerModel { graph: Arc::new(graph), network }
        };
        Ok(Self {
            schema: schema.clone(),
            config: config.clone(),
            query: tower(query, "query"),
            item: tower(item, "item"),
            tables: new_tables(&tables, schema, train, size, seed)?,
            version: String::new(),
            vocabulary_hash: None,
        })
    }

    /// Writes the retriever into a directory that exists. With `state`, tables keep what their optimizers remember.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&self, directory: &Path, state: bool) -> Result<()> {
        write_tables(directory, &self.tables, state)?;
        for (name, tower) in NETWORKS.into_iter().zip([&self.query, &self.item]) {
            write_network(&tower.graph, &tower.network, &directory.join(name))?;
        }
        let description = Description {
            format: FORMAT,
            version: self.version.clone(),
            schema: self.schema.clone(),
            model: self.config.clone(),
            tables: self.tables.iter().map(|table| table.name().to_owned()).collect(),
            vocabulary_hash: self.vocabulary_hash.clone(),
        };
        write_manifest(directory, &description)
    }

    /// Reads a retriever.
    ///
    /// # Errors
    /// A missing or damaged file, another format number, a table that does not fit.
    pub fn read(directory: &Path) -> Result<Self> {
        let Description { version, schema, model, vocabulary_hash, .. } = read_manifest(directory, FORMAT)?;
        let Retriever { query, item, tables } = Retriever::new(&schema, &model)?;
        let mut towers = Vec::with_capacity(2);
        for (name, graph) in NETWORKS.into_iter().zip([query, item]) {
            let network = read_network(&graph, &directory.join(name))?;
            towers.push(TowerModel { graph: Arc::new(graph), network });
        }
        let [query, item] = <[TowerModel; 2]>::try_from(towers).map_err(|_| Error::internal("two towers"))?;
        let tables = read_tables(directory, &tables)?;
        Ok(Self { schema, config: model, query, item, tables, version, vocabulary_hash })
    }

    /// The dimension of the towers' vectors.
    pub fn vector_dimension(&self) -> usize {
        self.config.vector
    }

    /// The number of trained numbers: the networks' weights, and the rows'.
    pub fn parameters(&self) -> (u64, u64) {
        let rows = self.tables.iter().map(|table| table.len() * table.dim() as u64).sum();
        ((self.query.graph.weight_count() + self.item.graph.weight_count()) as u64, rows)
    }
}
