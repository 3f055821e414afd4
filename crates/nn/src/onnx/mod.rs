//! A graph as an ONNX model, by following it: every operation has its ONNX form, so every variant of every slot exports.
//!
//! *What is in it.* The operations that the graph's outputs need, in the standard operator set 17, and their weights, under their names.
//! Tables are not: the rows of a batch's ids are inputs, one for each feature, called as the feature is, so a model is as small as its
//! network. What training alone reads (labels, losses, dropout, noise, display positions) is not there either.
//!
//! *What enters.* With `N` samples, and lists padded at the end to a common length `L ≥ 1` for those that share their lengths:
//!
//! | input | shape | |
//! |---|---|---|
//! | a categorical feature | `N × width` | its row |
//! | a feature with lists | `N × L × width` | its rows, oldest first; what stands behind the last one is not read |
//! | `NAME.lengths` | `N`, int64 | how many elements those lists have that go by the first of them, `NAME` |
//! | `numeric` | `N × numbers` | the numbers, transformed |
//! | `scenarios` | `N × levels`, int64 | the number of each level's scenario, 0 for one not seen in training |
//!
//! Only what the outputs depend on is asked for. A name that is taken gets `_` behind it; [`Model::inputs`] says what they are.
//!
//! *What each operation becomes.* One value a sample is `N × columns`, one an element `N × L × columns`; whatever pools elements masks
//! the places behind the last one.
//!
//! | operation | ONNX |
//! |---|---|
//! | embed, numeric | inputs, `Concat` |
//! | linear, cross | `MatMul`, `Add`, the activation; `Mul`, `Add` |
//! | batch norm | `Sub`, `Mul`, `Add` with the running statistics |
//! | PReLU, Dice | `PRelu`; `Sigmoid`, `Mul` |
//! | dropout, gate dropout | nothing |
//! | concat, slice, elementwise functions, row sum | `Concat`, `Slice`, the function, `ReduceSum` |
//! | softmax | `Softmax`, between two `Where` if some columns are not heard |
//! | pool | `Where`, `ReduceSum` or `ReduceMax` |
//! | attention | the layers on `[k, t, t − k, t ⊙ k]`, a masked `Softmax`, a masked sum |
//! | GRU | `GRU` with `linear_before_reset` and the lengths |
//! | factorization machine, unit length | `ReduceSum`, `Mul`, `Sub`, `Sqrt`, `Div` |
//! | scenario | `Gather` from its rows, behind one of zeros |
//! | partitioned norm, star linear | `Gather` of each sample's statistics, factors and matrix |
//! | experts, scenario mix, stitch | a batched `MatMul` with the weights; every expert is computed |
//! | top k, selection of experts | `TopK`, `OneHot`, a masked `Softmax` |
//! | position bias | what the missing position adds |
//! | losses and what weighs them | an error: no output depends on them |
//!
//! *Eight bits.* A product whose weight has codes ([`Quantized`]) becomes one between pairs of `QuantizeLinear` and `DequantizeLinear`, of
//! unsigned bytes on both sides: the one pair of types that onnxruntime multiplies exactly on every processor.

mod builder;
mod lists;
mod mixtures;
mod operations;
mod protobuf;
mod quantized;
mod scenarios;

use crate::graph::{Graph, Node, Value};
use crate::network::Network;
use crate::ops::Op;
use crate::quantization::affine::{Affine, Weights};
use builder::Builder;
use kitestring_core::{Error, Result, Schema};
use operations::{Made, emit};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What a model says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    /// The graph's name.
    pub name: String,
    /// The version of the trained model, in the metadata under `model_version`.
    pub version: String,
    /// Anything worth telling.
    pub description: String,
}

/// What stands in for the weight of a product in eight bits.
#[derive(Debug, Clone, PartialEq)]
pub struct Quantized {
    /// The codes of what is multiplied with it.
    pub input: Affine,
    /// The weight's codes.
    pub weights: Weights,
}

/// What an input holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The looked-up rows of a sparse feature, of this number.
    Rows {
        /// Its number among the sparse ones.
        feature: usize,
    },
    /// How long the lists are that go by those of a sparse feature.
    Lengths {
        /// Its number among the sparse ones.
        feature: usize,
    },
    /// All numeric features.
    Numbers,
    /// The scenarios, a column a level.
    Scenarios,
}

impl Source {
    /// Whether the input's elements are int64; else they are float32.
    pub fn is_integer(self) -> bool {
        matches!(self, Self::Lengths { .. } | Self::Scenarios)
    }
}

/// One axis of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Axis {
    /// The samples.
    Samples,
    /// The elements of lists, padded to the longest one and to one at least.
    Elements {
        /// The sparse feature whose lists count.
        feature: usize,
    },
    /// Always so many.
    Fixed(usize),
}

/// What a model asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub source: Source,
    /// Its shape.
    pub shape: Vec<Axis>,
}

/// What a model gives, float32 of `samples × width`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Its name.
    pub name: String,
    /// Its number of columns.
    pub width: usize,
}

/// An ONNX model with what enters and leaves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// The file.
    pub bytes: Vec<u8>,
    /// What must be fed.
    pub inputs: Vec<Input>,
    /// What comes out, in the order of [`Graph::outputs`].
    pub outputs: Vec<Output>,
}

/// Makes an ONNX model of what a graph's outputs need. `schema` is the one that the graph was made for; `quantized` has the products in
/// eight bits by the names of their weights, a part of a weight by `NAME[ROW]` with its first row ([`Packaged::quantized`]); what no score
/// reads may be among them.
///
/// [`Packaged::quantized`]: crate::package::Packaged::quantized
///
/// # Errors
/// If the network or the schema is not the graph's, if codes are given for what is no product's weight or do not fit it, or if the model is
/// larger than an ONNX file may be.
pub fn to_onnx(
    graph: &Graph,
    network: &Network,
    schema: &Schema,
    quantized: &BTreeMap<String, Quantized>,
    metadata: &Metadata,
) -> Result<Model> {
    network.check(graph)?;
    if graph.outputs().is_empty() {
        return Err(Error::internal("a graph without a result has no model"));
    }
    let names = || graph.weights().iter().map(|info| info.name.as_str());
    if let Some(name) = quantized.keys().find(|name| names().all(|known| known != whole(name))) {
        return Err(Error::config(format!("there is no weight `{name}` to quantize")).suggest(name, names()));
    }
    let nodes = nodes_of_scores(graph);
    let mut builder = Builder::new(graph, network, schema, quantized);
    let mut made: BTreeMap<Value, Made> = BTreeMap::new();
    for node in &nodes {
        let inputs = read_by(node).iter().map(|value| made.get(value).copied());
        let inputs: Option<Vec<Made>> = inputs.collect();
        let inputs = inputs.ok_or_else(|| Error::internal("an operation reads a value that was not made before it"))?;
        // Of what a position adds, only what the missing one adds is read.
        let value = node.output;
        let mut readers = nodes.iter().filter(|reader| reader.inputs.contains(&value));
        let first_only = graph.outputs().iter().all(|(_, output)| *output != value)
            && readers.all(|reader| matches!(reader.op, Op::PositionBias(_)));
        made.insert(value, emit(&mut builder, node, &inputs, first_only)?);
    }
    let tensor = |value: Value| {
        let found = made.get(&value).filter(|made| made.columns == graph.width(value)).map(|made| made.tensor);
        found.ok_or_else(|| Error::internal("a result has columns that training alone reads"))
    };
    builder.finish(tensor, metadata)
}

/// The name of the weight that a part is of.
fn whole(name: &str) -> &str {
    name.strip_suffix(']').and_then(|name| name.rsplit_once('[')).map_or(name, |(name, _)| name)
}

/// What an operation reads when it scores: a gate of sparse mixtures has no use for the logits of its noise.
fn read_by(node: &Node) -> &[Value] {
    match node.op {
        Op::NoisyTopK(_) => node.inputs.get(..1).unwrap_or_default(),
        _ => &node.inputs,
    }
}

/// The operations that scores need, in the order of the graph.
fn nodes_of_scores(graph: &Graph) -> Vec<&Node> {
    let mut wanted: BTreeSet<Value> = graph.outputs().iter().map(|(_, value)| *value).collect();
    let mut nodes = Vec::new();
    for node in graph.nodes().iter().rev() {
        if wanted.contains(&node.output) {
            wanted.extend(read_by(node));
            nodes.push(node);
        }
    }
    nodes.reverse();
    nodes
}
