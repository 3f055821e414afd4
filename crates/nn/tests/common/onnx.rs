//! Models in onnxruntime: what is fed to them, and what comes out.

use super::{Samples, scores};
use kitestring_core::Schema;
use kitestring_nn::graph::Graph;
use kitestring_nn::network::Network;
use kitestring_nn::onnx::{Axis, Metadata, Model, Source, to_onnx};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// A model with what is fed to it and what must come out.
pub struct Case {
    pub what: String,
    pub model: Model,
    pub operations: BTreeSet<String>,
    pub feeds: Vec<Value>,
    pub expected: Vec<Vec<f32>>,
    /// Whether what comes out is only near to what is expected, and so on the whole.
    pub is_rough: bool,
    /// How far onnxruntime optimizes the model.
    pub level: &'static str,
}

/// As far as onnxruntime goes unless it is told otherwise.
pub const ALL: &str = "ENABLE_ALL";

pub fn metadata() -> Metadata {
    Metadata { name: "ranker".into(), version: "2026-11-22.1".into(), description: "A ranker of tests".into() }
}

pub fn exported(graph: &Graph, network: &Network, schema: &Schema) -> Model {
    to_onnx(graph, network, schema, &BTreeMap::new(), &metadata()).unwrap()
}

impl Case {
    pub fn new(
        what: impl Into<String>,
        graph: &Graph,
        network: &Network,
        schema: &Schema,
        batches: &[Samples],
    ) -> Self {
        let model = exported(graph, network, schema);
        Self {
            what: what.into(),
            feeds: batches.iter().map(|samples| feed(&model, schema, samples)).collect(),
            expected: batches.iter().map(|samples| scores(graph, network, samples)).collect(),
            model,
            operations: operations(graph),
            is_rough: false,
            level: ALL,
        }
    }
}

/// What a model's inputs hold for some samples. What pads a list is no number.
pub fn feed(model: &Model, schema: &Schema, samples: &Samples) -> Value {
    let rows = samples.batch.rows;
    let lists = |feature: usize| {
        let offsets = &samples.batch.sparse[feature].offsets;
        offsets.windows(2).map(|pair| pair[0] as usize..pair[1] as usize).collect::<Vec<_>>()
    };
    let mut tensors = Map::new();
    for input in &model.inputs {
        let mut longest = 1;
        let shape: Vec<usize> = input
            .shape
            .iter()
            .map(|axis| match axis {
                Axis::Samples => rows,
                Axis::Fixed(size) => *size,
                Axis::Elements { feature } => {
                    longest = lists(*feature).iter().map(|list| list.len()).max().unwrap().max(1);
                    longest
                }
            })
            .collect();
        let data: Vec<Value> = match input.source {
            Source::Rows { feature } => {
                let width = *shape.last().unwrap();
                let name = schema.sparse().nth(feature).unwrap().table();
                let table = schema.table_names().iter().position(|table| *table == name).unwrap();
                let row = |at: usize| {
                    let row = samples.lookups[feature][at] as usize;
                    samples.tables[table][row * width..(row + 1) * width].iter().map(|x| json!(x)).collect::<Vec<_>>()
                };
                if shape.len() == 2 {
                    (0..rows).flat_map(row).collect()
                } else {
                    let padded = |list: std::ops::Range<usize>| {
                        let padding = vec![Value::Null; (longest - list.len()) * width];
                        list.flat_map(row).chain(padding).collect::<Vec<_>>()
                    };
                    lists(feature).into_iter().flat_map(padded).collect()
                }
            }
            Source::Lengths { feature } => lists(feature).iter().map(|list| json!(list.len())).collect(),
            Source::Numbers => samples.batch.numeric.iter().map(|x| json!(x)).collect(),
            Source::Scenarios => samples.batch.scenarios.iter().map(|x| json!(x)).collect(),
        };
        let kind = if input.source.is_integer() { "int64" } else { "float32" };
        tensors.insert(input.name.clone(), json!({"type": kind, "shape": shape, "data": data}));
    }
    Value::Object(tensors)
}

/// A Python that has what the tests need, or nothing after saying so.
pub fn python(test: &str) -> Option<String> {
    let python = std::env::var("KITESTRING_PYTHON").ok().filter(|name| !name.is_empty()).unwrap_or("python3".into());
    let output = Command::new(&python).args(["-c", "import numpy, onnx, onnxruntime"]).output();
    if output.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{python} has no onnxruntime");
    println!("skipped: {test}: {python} has no onnxruntime, onnx and numpy; name one that has in KITESTRING_PYTHON");
    None
}

/// Runs all models in one process and returns what it found.
pub fn run(python: &str, cases: &[Case]) -> Vec<Value> {
    run_by(&mut Command::new(python), cases, &[])
}

/// Runs all models in one process, of a command that ends with a Python, and returns what it found.
pub fn run_by(python: &mut Command, cases: &[Case], arguments: &[&str]) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let described = cases.iter().enumerate().map(|(number, case)| {
        let model = format!("{number}.onnx");
        std::fs::write(folder.path().join(&model), &case.model.bytes).unwrap();
        json!({"model": model, "level": case.level, "feeds": case.feeds})
    });
    let described: Vec<Value> = described.collect();
    std::fs::write(folder.path().join("cases.json"), serde_json::to_vec(&described).unwrap()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/run_onnx.py");
    let output = python.arg(script).arg(folder.path()).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let results: Vec<Value> =
        serde_json::from_slice(&std::fs::read(folder.path().join("results.json")).unwrap()).unwrap();
    assert_eq!(results.len(), cases.len());
    results
}

/// What came out of one feed, with the outputs side by side as a scorer has them.
pub fn outputs(case: &Case, result: &Value, rows: usize) -> Vec<f32> {
    let columns: Vec<(usize, Vec<f32>)> = case
        .model
        .outputs
        .iter()
        .map(|output| {
            let found = &result[&output.name];
            assert_eq!(found["shape"], json!([rows, output.width]), "{}: shape of {}", case.what, output.name);
            let data = found["data"].as_array().unwrap().iter().map(|x| x.as_f64().map_or(f32::NAN, |x| x as f32));
            (output.width, data.collect())
        })
        .collect();
    let row = |row: usize| columns.iter().flat_map(move |(width, data)| &data[row * width..(row + 1) * width]);
    (0..rows).flat_map(row).copied().collect()
}

/// The operations of a graph.
pub fn operations(graph: &Graph) -> BTreeSet<String> {
    let name = |op: &kitestring_nn::ops::Op| match serde_json::to_value(op).unwrap() {
        Value::Object(map) => map.keys().next().unwrap().clone(),
        other => panic!("{other}"),
    };
    graph.nodes().iter().map(|node| name(&node.op)).collect()
}
