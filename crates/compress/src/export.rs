//! A ranker in the formats of others: ONNX, safetensors, Parquet.
//!
//! | file | holds |
//! |---|---|
//! | `ranker.onnx` | the network, with the looked-up rows as inputs ([`kitestring_nn::onnx`]) |
//! | `ranker.json` | what the model must be fed, what it gives, and how raw numbers become its inputs |
//! | `network.safetensors` | the network's weights and running statistics by name |
//! | `rows-TABLE.parquet` | the rows of a table: `id` (of an artifact: `key`), `value` where there is a vocabulary, `row` |

use crate::candidate::rows_of;
use crate::usage::Usage;
use arrow_array::builder::StringBuilder;
use arrow_array::{ArrayRef, FixedSizeListArray, Float32Array, RecordBatch, UInt64Array};
use arrow_schema::{DataType, Field};
use kitestring_core::artifact::Artifact;
use kitestring_core::fitted::Fitted;
use kitestring_core::{Error, Result, Schema};
use kitestring_data::dataset::Vocabularies;
use kitestring_nn::graph::Graph;
use kitestring_nn::network::Network;
use kitestring_nn::onnx::{Input, Metadata, Model as Onnx, Output, Quantized, to_onnx};
use kitestring_nn::package::Packaged;
use kitestring_train::Model;
use parquet::arrow::ArrowWriter;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Rows written at once.
const ROWS: usize = 65_536;

/// What stands beside a model, for whoever feeds it.
#[derive(Serialize)]
struct Beside<'a> {
    version: &'a str,
    inputs: &'a [Input],
    outputs: &'a [Output],
    fitted: &'a [Fitted],
    schema: &'a Schema,
}

/// Writes a run's ranker into a folder. Gives the files. In a table with a vocabulary id 0 is the row of a missing value and id 1 that of a
/// value that training did not have: neither has a value.
///
/// # Errors
/// What the file system says; a model that ONNX cannot hold.
pub fn run(
    model: &Model,
    (vocabularies, usage): (&Vocabularies, &Usage),
    metadata: &Metadata,
    folder: &Path,
) -> Result<Vec<PathBuf>> {
    let fitted = &vocabularies.manifest().fitted;
    let network = (&*model.graph, &model.network, &model.schema);
    let mut files = network_files(network, &BTreeMap::new(), (metadata, fitted), folder)?;
    for table in &model.tables {
        let name = table.name();
        let info = vocabularies.manifest().tables.iter().find(|info| info.name == name);
        let named = info.is_some_and(|info| info.vocabulary.is_some());
        let ids: Vec<u64> = match info.and_then(|info| info.rows) {
            Some(rows) => (0..rows).collect(),
            None => usage.ranked(name).into_iter().map(|(id, _)| id).filter(|id| table.contains(*id)).collect(),
        };
        let path = folder.join(file_of(name));
        let value = |id: u64| vocabularies.value(name, id).map(str::to_owned);
        let value: Option<&dyn Fn(u64) -> Option<String>> = if named { Some(&value) } else { None };
        write_rows(&path, ("id", &ids), value, table.dim(), |ids| rows_of(table, ids))?;
        files.push(path);
    }
    Ok(files)
}

/// Writes the ranker of an artifact into a folder, with its products in eight bits. Gives the files.
///
/// # Errors
/// What the file system says; an artifact of another version of the engine.
pub fn artifact(artifact: &Artifact, folder: &Path) -> Result<Vec<PathBuf>> {
    let packaged = Packaged::open(artifact)?;
    let manifest = artifact.manifest();
    let metadata = Metadata {
        name: "ranker".into(),
        version: manifest.version.clone(),
        description: format!("release {}", manifest.release),
    };
    let network = (&*packaged.graph, &packaged.network, &manifest.schema);
    let mut files = network_files(network, &packaged.quantized(artifact)?, (&metadata, &manifest.fitted), folder)?;
    for (number, (table, codes)) in packaged.tables.iter().zip(&packaged.description.rows).enumerate() {
        let rows = artifact.rows(number)?;
        let path = folder.join(file_of(&table.name));
        write_rows(&path, ("key", rows.keys), None, table.width, |keys| {
            let mut numbers = vec![0.0; keys.len() * table.width];
            for (key, into) in keys.iter().zip(numbers.chunks_exact_mut(table.width)) {
                codes.decode(rows.find(*key).map_or(rows.default, |at| rows.row(at)), into)?;
            }
            Ok(numbers)
        })?;
        files.push(path);
    }
    Ok(files)
}

fn network_files(
    (graph, network, schema): (&Graph, &Network, &Schema),
    quantized: &BTreeMap<String, Quantized>,
    (metadata, fitted): (&Metadata, &[Fitted]),
    folder: &Path,
) -> Result<Vec<PathBuf>> {
    let Onnx { bytes, inputs, outputs } = to_onnx(graph, network, schema, quantized, metadata)?;
    let beside = Beside { version: &metadata.version, inputs: &inputs, outputs: &outputs, fitted, schema };
    let text = serde_json::to_vec_pretty(&beside);
    let text = text.map_err(|error| Error::internal("a model's inputs as JSON").caused_by(error))?;
    let mut files = Vec::new();
    for (name, bytes) in
        [("ranker.onnx", bytes), ("ranker.json", text), ("network.safetensors", network.to_safetensors(graph)?)]
    {
        let path = folder.join(name);
        std::fs::write(&path, bytes).map_err(|error| Error::io(error, "could not write the file", &path))?;
        files.push(path);
    }
    Ok(files)
}

/// The file of a table's rows: its name with nothing in it that a file system minds.
fn file_of(table: &str) -> String {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() || letter == '_' { letter } else { '-' };
    format!("rows-{}.parquet", table.chars().map(plain).collect::<String>())
}

fn write_rows(
    path: &Path,
    (name, keys): (&str, &[u64]),
    value: Option<&dyn Fn(u64) -> Option<String>>,
    width: usize,
    rows: impl Fn(&[u64]) -> Result<Vec<f32>>,
) -> Result<()> {
    let damaged = |error: Box<dyn std::error::Error + Send + Sync>| {
        Error::internal("rows as Parquet").caused_by(error).in_file(path.display().to_string())
    };
    let batch = |keys: &[u64]| -> Result<RecordBatch> {
        let item = Arc::new(Field::new_list_field(DataType::Float32, false));
        let numbers = Arc::new(Float32Array::from(rows(keys)?));
        let list = FixedSizeListArray::try_new(item, width as i32, numbers, None);
        let list = list.map_err(|error| damaged(error.into()))?;
        let mut columns: Vec<(&str, ArrayRef, bool)> = vec![(name, Arc::new(UInt64Array::from(keys.to_vec())), false)];
        if let Some(value) = value {
            let mut texts = StringBuilder::new();
            keys.iter().for_each(|key| texts.append_option(value(*key)));
            columns.push(("value", Arc::new(texts.finish()), true));
        }
        columns.push(("row", Arc::new(list), false));
        RecordBatch::try_from_iter_with_nullable(columns).map_err(|error| damaged(error.into()))
    };
    let file = File::create(path).map_err(|error| Error::io(error, "could not write the rows", path))?;
    let mut writer = ArrowWriter::try_new(file, batch(&[])?.schema(), None).map_err(|error| damaged(error.into()))?;
    for part in keys.chunks(ROWS) {
        writer.write(&batch(part)?).map_err(|error| damaged(error.into()))?;
    }
    writer.close().map_err(|error| damaged(error.into()))?;
    Ok(())
}
