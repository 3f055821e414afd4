//! A model: a ranker's graph, its network and its tables, and their directory.

use crate::config::TrainConfig;
use kitestring_core::schema::Vocabulary;
use kitestring_core::{Error, Result, Schema, Seed, VocabularyHash};
use kitestring_nn::graph::Graph;
use kitestring_nn::network::Network;
use kitestring_nn::ranker::{ModelConfig, Ranker, RankerTable};
use kitestring_table::{Config, Space, Table};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;

/// The format number of model directories.
const FORMAT: u32 = 3;
const MANIFEST: &str = "manifest.json";
const NETWORK: &str = "network.safetensors";

/// A ranker with everything it learned.
#[derive(Debug)]
pub struct Model {
    /// The meaning of the columns.
    pub schema: Schema,
    /// Row dimensions and the five slots.
    pub config: ModelConfig,
    /// The number of scenarios at each level, with the unseen one.
    pub scenarios: Vec<usize>,
    /// The forward pass.
    pub graph: Arc<Graph>,
    /// Weights and running statistics.
    pub network: Network,
    /// Rows, in the order of [`Schema::table_names`].
    pub tables: Vec<Table>,
    /// What tells the ids that it was trained with from others; none before it is trained, and in models of older versions.
    pub vocabulary_hash: Option<VocabularyHash>,
}

/// What a model directory says of itself: with the files it names, all there is to a model.
#[derive(Debug, Serialize, Deserialize)]
struct Description {
    format: u32,
    schema: Schema,
    model: ModelConfig,
    scenarios: Vec<usize>,
    tables: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    vocabulary_hash: Option<VocabularyHash>,
}

impl Model {
    /// A model as it starts. `size` gives the number of rows of each table, none for an open one; `scenarios` the number of scenarios
    /// at each level, with the unseen one.
    ///
    /// # Errors
    /// A config error that names the key; too little memory.
    pub fn new(
        schema: &Schema,
        config: &ModelConfig,
        train: &TrainConfig,
        size: impl Fn(&str) -> Result<Option<u64>>,
        scenarios: &[usize],
        seed: Seed,
    ) -> Result<Self> {
        let ranker = Ranker::new(schema, config, scenarios)?;
        let tables = new_tables(&ranker.tables, schema, train, size, seed)?;
        let network = Network::new(&ranker.graph, seed.child("network"));
        let (schema, config, scenarios) = (schema.clone(), config.clone(), scenarios.to_vec());
        let graph = Arc::new(ranker.graph);
        Ok(Self { schema, config, scenarios, graph, network, tables, vocabulary_hash: None })
    }

    /// Writes the model into a directory that exists: a manifest, `network.safetensors`, and a file a table.
    /// With `state`, tables keep what their optimizers remember.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&self, directory: &Path, state: bool) -> Result<()> {
        let description = Description {
            format: FORMAT,
            schema: self.schema.clone(),
            model: self.config.clone(),
            scenarios: self.scenarios.clone(),
            tables: self.tables.iter().map(|table| table.name().to_owned()).collect(),
            vocabulary_hash: self.vocabulary_hash.clone(),
        };
        write_tables(directory, &self.tables, state)?;
        write_network(&self.graph, &self.network, &directory.join(NETWORK))?;
        write_manifest(directory, &description)
    }

    /// Reads a model.
    ///
    /// # Errors
    /// A missing or damaged file, another format number, a table that does not fit.
    pub fn read(directory: &Path) -> Result<Self> {
        let description: Description = read_manifest(directory, FORMAT)?;
        let scenarios = description.scenarios;
        let ranker = Ranker::new(&description.schema, &description.model, &scenarios)?;
        let network = read_network(&ranker.graph, &directory.join(NETWORK))?;
        let tables = read_tables(directory, &ranker.tables)?;
        let (schema, config, vocabulary_hash) = (description.schema, description.model, description.vocabulary_hash);
        Ok(Self { schema, config, scenarios, graph: Arc::new(ranker.graph), network, tables, vocabulary_hash })
    }

    /// The number of trained numbers: the network's weights, and the rows'.
    pub fn parameters(&self) -> (u64, u64) {
        let rows = self.tables.iter().map(|table| table.len() * table.dim() as u64).sum();
        (self.graph.weight_count() as u64, rows)
    }
}

/// The tables of a model as they start. `size` gives the number of rows of each, none for an open one.
///
/// # Errors
/// Too little memory.
pub fn new_tables(
    tables: &[RankerTable],
    schema: &Schema,
    train: &TrainConfig,
    size: impl Fn(&str) -> Result<Option<u64>>,
    seed: Seed,
) -> Result<Vec<Table>> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let tables = tables.iter().map(|table| {
        let space = match (schema.vocabulary(&table.name), size(&table.name)?) {
            (Vocabulary::Open, _) | (_, None) => Space::Open(train.open),
            (_, Some(rows)) => Space::Direct { rows },
        };
        let config = Config { dim: table.width, space, init: train.row_init, optimizer: train.rows };
        Table::new_by(workers, &table.name, config, seed.child("rows"))
    });
    tables.collect()
}

/// Writes the tables of a model into its directory, a file each. With `state`, they keep what their optimizers remember.
///
/// # Errors
/// What the file system says.
pub fn write_tables(directory: &Path, tables: &[Table], state: bool) -> Result<()> {
    for (number, table) in tables.iter().enumerate() {
        let path = directory.join(table_file(number));
        if state { table.save(&path)? } else { table.export(&path)? }
    }
    Ok(())
}

/// Reads the tables of a model.
///
/// # Errors
/// A missing or damaged file; a table that is not the one expected.
pub fn read_tables(directory: &Path, expected: &[RankerTable]) -> Result<Vec<Table>> {
    let mut tables = Vec::with_capacity(expected.len());
    for (number, expected) in expected.iter().enumerate() {
        let path = directory.join(table_file(number));
        let table = Table::load(&path)?;
        if table.name() != expected.name || table.dim() != expected.width {
            return Err(Error::format(format!(
                "expected table `{}` of width {}, found `{}` of width {}",
                expected.name,
                expected.width,
                table.name(),
                table.dim()
            ))
            .in_file(path.display().to_string()));
        }
        tables.push(table);
    }
    Ok(tables)
}

/// Writes a network.
///
/// # Errors
/// What the file system says.
pub fn write_network(graph: &Graph, network: &Network, path: &Path) -> Result<()> {
    write(path, &network.to_safetensors(graph)?)
}

/// Reads a network of a graph.
///
/// # Errors
/// A missing or damaged file, or one of another graph.
pub fn read_network(graph: &Graph, path: &Path) -> Result<Network> {
    let bytes = std::fs::read(path).map_err(|error| Error::io(error, "could not read the network", path))?;
    Network::from_safetensors(graph, &bytes, &path.display().to_string())
}

/// Writes what a model directory says of itself: last, so that where it is, everything is.
///
/// # Errors
/// What the file system says.
pub fn write_manifest(directory: &Path, description: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(description);
    let text = text.map_err(|error| Error::internal("the model's manifest").caused_by(error))?;
    write(&directory.join(MANIFEST), text.as_bytes())
}

/// Reads what a model directory says of itself, where its `format` is the one expected.
///
/// # Errors
/// A missing or damaged file, another format number.
pub fn read_manifest<T: DeserializeOwned>(directory: &Path, format: u32) -> Result<T> {
    let path = directory.join(MANIFEST);
    let text = std::fs::read(&path).map_err(|error| {
        Error::io(error, "could not read the model", &path).mend("give a run that has finished its first epoch")
    })?;
    let damaged = |error: serde_json::Error| {
        Error::format("this is no model manifest").caused_by(error).in_file(path.display().to_string())
    };
    let value: serde_json::Value = serde_json::from_slice(&text).map_err(damaged)?;
    let found = value.get("format").and_then(serde_json::Value::as_u64);
    if found != Some(u64::from(format)) {
        let found = found.map_or_else(|| "none".to_owned(), |found| found.to_string());
        return Err(Error::format(format!("model format {found}, expected {format}"))
            .in_file(path.display().to_string())
            .mend("load it with the version of Kitestring that wrote it"));
    }
    serde_json::from_value(value).map_err(damaged)
}

fn table_file(number: usize) -> String {
    format!("table-{number}.safetensors")
}

pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes).map_err(|error| Error::io(error, "could not write the file", path))
}
