//! A model in the making: tensors, nodes and what is made once and read often.

use super::protobuf::Message;
use super::{Axis, Input, Metadata, Model, Output, Quantized, Source};
use crate::graph::{Domain, Graph, Value, Weight};
use crate::network::Network;
use crate::ops::embed::Lookup;
use kitestring_core::schema::{Feature, FeatureKind};
use kitestring_core::{Error, Result, Schema};
use std::collections::{BTreeMap, BTreeSet};

/// The operator set, of 2022: every operation here exists in it in the form used.
const OPSET: i64 = 17;
/// The version of the file format that came with it.
const IR_VERSION: i64 = 8;
/// Models with raw data in them are one message, and a message has less than this.
const MOST_BYTES: usize = i32::MAX as usize;

/// Numbers of `TensorProto.DataType`.
pub(super) const FLOAT: i64 = 1;
pub(super) const UINT8: i64 = 2;
pub(super) const INT32: i64 = 6;
pub(super) const INT64: i64 = 7;

/// A tensor of the model. A handle of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tensor(usize);

/// An attribute of a node.
#[derive(Debug, Clone, Copy)]
pub(super) enum Attribute<'a> {
    Int(i64),
    Ints(&'a [i64]),
}

/// What is made once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    /// A weight, by its offset.
    Weight(usize),
    /// A running statistic, by its offset.
    State(usize),
    /// A number, by its bits.
    Float(u32),
    /// Whole numbers.
    Ints(Vec<i64>),
    /// Two numbers.
    ZeroAndOne,
    /// Which places of a feature's padded lists are elements, `N × L × 1`.
    Elements(usize),
    /// The row of each sample's scenario of a level, in tables of so many seen scenarios behind the unseen one.
    Scenario(usize, usize),
    /// The number of samples, of one axis.
    Samples,
}

/// A model in the making.
pub(super) struct Builder<'a> {
    pub(super) graph: &'a Graph,
    pub(super) network: &'a Network,
    schema: &'a Schema,
    quantized: &'a BTreeMap<String, Quantized>,
    names: Vec<String>,
    taken: BTreeSet<String>,
    nodes: Message,
    initializers: Message,
    known: BTreeMap<Key, Tensor>,
    inputs: BTreeMap<Source, (Tensor, Vec<Axis>)>,
    outputs: Vec<(Tensor, usize)>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(
        graph: &'a Graph,
        network: &'a Network,
        schema: &'a Schema,
        quantized: &'a BTreeMap<String, Quantized>,
    ) -> Self {
        let mut builder = Self {
            graph,
            network,
            schema,
            quantized,
            names: Vec::new(),
            taken: BTreeSet::new(),
            nodes: Message::default(),
            initializers: Message::default(),
            known: BTreeMap::new(),
            inputs: BTreeMap::new(),
            outputs: Vec::new(),
        };
        // What a caller feeds and fetches gets the names it expects, whatever a weight is called.
        builder.taken.extend(schema.sparse().map(|feature| feature.name.clone()));
        for (name, value) in graph.outputs() {
            let output = (builder.tensor(name), graph.width(*value));
            builder.outputs.push(output);
        }
        builder
    }

    /// A new tensor, called as wanted or nearly so.
    pub(super) fn tensor(&mut self, wanted: &str) -> Tensor {
        let mut name = wanted.to_owned();
        while self.taken.contains(&name) {
            name.push('_');
        }
        self.taken.insert(name.clone());
        self.named(name)
    }

    fn named(&mut self, name: String) -> Tensor {
        self.names.push(name);
        Tensor(self.names.len() - 1)
    }

    /// What is made the first time that it is asked for.
    pub(super) fn once(&mut self, key: Key, make: impl FnOnce(&mut Self) -> Tensor) -> Tensor {
        if let Some(tensor) = self.known.get(&key) {
            return *tensor;
        }
        let tensor = make(self);
        self.known.insert(key, tensor);
        tensor
    }

    /// Adds a node. An input or output may be left out.
    pub(super) fn node(
        &mut self,
        op: &str,
        inputs: &[Option<Tensor>],
        attributes: &[(&str, Attribute<'_>)],
        outputs: &[Option<Tensor>],
    ) {
        let name = |tensor: &Option<Tensor>| tensor.map_or("", |tensor| &self.names[tensor.0]);
        let title = outputs.iter().flatten().next().map_or("", |tensor| &self.names[tensor.0]);
        let node = Message::default()
            .each(inputs, |node, input| node.bytes(1, name(input)))
            .each(outputs, |node, output| node.bytes(2, name(output)))
            .bytes(3, title)
            .bytes(4, op)
            .each(attributes, |node, (name, attribute)| {
                let message = Message::default().bytes(1, name);
                node.message(
                    5,
                    match attribute {
                        Attribute::Int(value) => message.int(3, *value).int(20, 2),
                        Attribute::Ints(values) => message.each(*values, |m, value| m.int(8, *value)).int(20, 7),
                    },
                )
            });
        self.nodes.extend(Message::default().message(1, node));
    }

    /// Adds a node of one result.
    pub(super) fn op_with(&mut self, op: &str, inputs: &[Tensor], attributes: &[(&str, Attribute<'_>)]) -> Tensor {
        let output = self.tensor(&format!("{op}_{}", self.names.len()));
        let inputs: Vec<Option<Tensor>> = inputs.iter().copied().map(Some).collect();
        self.node(op, &inputs, attributes, &[Some(output)]);
        output
    }

    /// Adds a node of one result without attributes.
    pub(super) fn op(&mut self, op: &str, inputs: &[Tensor]) -> Tensor {
        self.op_with(op, inputs, &[])
    }

    /// A constant of any type.
    fn initializer(&mut self, name: &str, data_type: i64, dims: &[i64], raw: &[u8]) -> Tensor {
        let tensor = self.tensor(name);
        let message = Message::default().each(dims, |m, dim| m.int(1, *dim)).int(2, data_type);
        let message = message.bytes(8, &self.names[tensor.0]).bytes(9, raw);
        self.initializers.extend(Message::default().message(5, message));
        tensor
    }

    /// A constant.
    pub(super) fn floats(&mut self, name: &str, dims: &[i64], values: &[f32]) -> Tensor {
        let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.initializer(name, FLOAT, dims, &raw)
    }

    /// A constant of unsigned bytes.
    pub(super) fn bytes(&mut self, name: &str, dims: &[i64], values: &[u8]) -> Tensor {
        self.initializer(name, UINT8, dims, values)
    }

    /// A single number.
    pub(super) fn float(&mut self, value: f32) -> Tensor {
        self.once(Key::Float(value.to_bits()), |b| b.floats(&format!("constant_{value}"), &[], &[value]))
    }

    /// Whole numbers, of one axis.
    pub(super) fn ints(&mut self, values: &[i64]) -> Tensor {
        self.once(Key::Ints(values.to_vec()), |b| {
            let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            let text: Vec<String> = values.iter().map(i64::to_string).collect();
            b.initializer(&format!("constant_{}", text.join("_")), INT64, &[values.len() as i64], &raw)
        })
    }

    /// A weight's name; that of a part of one has the part's first row behind it, `NAME[ROW]`.
    fn name_of(&self, weight: Weight) -> Result<String> {
        let unknown = || Error::internal("an operation reads a weight that the graph does not declare");
        let (name, row) = self.graph.name_of(weight).ok_or_else(unknown)?;
        let info = self.graph.weights().iter().find(|info| info.name == name).ok_or_else(unknown)?;
        if info.offset == weight.offset && info.shape == weight.shape() {
            return Ok(name.to_owned());
        }
        Ok(format!("{name}[{row}]"))
    }

    /// A weight's name, and its numbers.
    pub(super) fn weight_numbers(&self, weight: Weight) -> Result<(String, &'a [f32])> {
        let name = self.name_of(weight)?;
        if self.quantized.contains_key(&name) {
            return Err(Error::config(format!("`{name}` is the weight of no product, and cannot be quantized")));
        }
        Ok((name, weight.of(&self.network.weights)))
    }

    /// A weight as it is.
    pub(super) fn weight(&mut self, weight: Weight) -> Result<Tensor> {
        let (name, numbers) = self.weight_numbers(weight)?;
        let dims = [weight.rows as i64, weight.columns as i64];
        Ok(self.once(Key::Weight(weight.offset), |b| b.floats(&name, &dims, numbers)))
    }

    /// The codes that stand in for a weight, and its name.
    pub(super) fn quantized(&self, weight: Weight) -> Result<Option<(String, &'a Quantized)>> {
        let name = self.name_of(weight)?;
        Ok(self.quantized.get(&name).map(|quantized| (name, quantized)))
    }

    /// The running statistic that starts at an offset, `rows × columns`.
    pub(super) fn state(&mut self, offset: usize) -> Result<Tensor> {
        let info = self.graph.states().iter().find(|info| info.offset == offset);
        let info =
            info.ok_or_else(|| Error::internal("an operation reads a statistic that the graph does not have"))?;
        let numbers = self.state_numbers(offset, info.len)?;
        let dims = info.shape.map(|size| size as i64);
        Ok(self.once(Key::State(offset), |b| b.floats(&info.name, &dims, numbers)))
    }

    /// Some running statistics.
    pub(super) fn state_numbers(&self, offset: usize, len: usize) -> Result<&'a [f32]> {
        let numbers = self.network.state.get(offset..offset + len);
        numbers.ok_or_else(|| Error::internal("an operation reads statistics past the network's"))
    }

    /// The looked-up rows of a feature.
    pub(super) fn rows(&mut self, lookup: Lookup, domain: Domain) -> Result<Tensor> {
        let Lookup { feature, width, .. } = lookup;
        let name = self.feature(feature)?.name.clone();
        let mut shape = vec![Axis::Samples, Axis::Fixed(width)];
        if let Domain::Positions(lists) = domain {
            shape.insert(1, Axis::Elements { feature: lists });
        }
        // Its name was kept for it.
        Ok(self.input(Source::Rows { feature }, shape, |b| b.named(name)))
    }

    /// How long the lists are that have the lengths of a feature.
    pub(super) fn lengths(&mut self, lists: usize) -> Result<Tensor> {
        let name = format!("{}.lengths", self.feature(lists)?.name);
        Ok(self.input(Source::Lengths { feature: lists }, vec![Axis::Samples], |b| b.tensor(&name)))
    }

    /// The numbers.
    pub(super) fn numbers(&mut self, width: usize) -> Tensor {
        self.input(Source::Numbers, vec![Axis::Samples, Axis::Fixed(width)], |b| b.tensor("numeric"))
    }

    /// The scenarios, a column a level.
    pub(super) fn scenarios(&mut self) -> Tensor {
        let levels = self.schema.scenarios.len();
        self.input(Source::Scenarios, vec![Axis::Samples, Axis::Fixed(levels)], |b| b.tensor("scenarios"))
    }

    fn input(&mut self, source: Source, shape: Vec<Axis>, name: impl FnOnce(&mut Self) -> Tensor) -> Tensor {
        if let Some((tensor, _)) = self.inputs.get(&source) {
            return *tensor;
        }
        let tensor = name(self);
        self.inputs.insert(source, (tensor, shape));
        tensor
    }

    fn feature(&self, number: usize) -> Result<&'a Feature> {
        let found = self.schema.sparse().nth(number);
        found.ok_or_else(|| Error::internal(format!("the schema has no sparse feature {number}")))
    }

    /// Padded lists that have the lengths of a feature: an input that was read already.
    pub(super) fn padded(&self, lists: usize) -> Result<Tensor> {
        let mut inputs = self.inputs.values();
        let found = inputs
            .find(|(_, shape)| shape.get(1) == Some(&Axis::Elements { feature: lists }))
            .map(|(tensor, _)| *tensor);
        found.ok_or_else(|| Error::internal("lists are pooled that were never read"))
    }

    /// The number of samples, of one axis.
    pub(super) fn samples(&mut self) -> Result<Tensor> {
        let any = self.inputs.values().next().map(|(tensor, _)| *tensor);
        let any = any.ok_or_else(|| Error::internal("a result does not depend on any input"))?;
        let first = [("start", Attribute::Int(0)), ("end", Attribute::Int(1))];
        Ok(self.once(Key::Samples, |b| b.op_with("Shape", &[any], &first)))
    }

    /// Writes the model down. `values` are the tensors of the graph's values.
    pub(super) fn finish(mut self, values: impl Fn(Value) -> Result<Tensor>, metadata: &Metadata) -> Result<Model> {
        for (at, (_, value)) in self.graph.outputs().iter().enumerate() {
            let (from, output) = (values(*value)?, self.outputs[at].0);
            self.node("Identity", &[Some(from)], &[], &[Some(output)]);
        }
        let samples = || Message::default().bytes(2, "samples");
        let fixed = |size: usize| Message::default().int(1, size as i64);
        let described = |name: &str, element: i64, dims: Vec<Message>, what: &str| {
            let shape = Message::default().each(dims, |shape, dim| shape.message(1, dim));
            let tensor = Message::default().int(1, element).message(2, shape);
            Message::default().bytes(1, name).message(2, Message::default().message(1, tensor)).bytes(3, what)
        };
        let mut graph = std::mem::take(&mut self.nodes).bytes(2, &metadata.name);
        graph.extend(std::mem::take(&mut self.initializers));
        let mut inputs = Vec::with_capacity(self.inputs.len());
        for (source, (tensor, shape)) in &self.inputs {
            let mut dims = Vec::with_capacity(shape.len());
            for axis in shape {
                dims.push(match axis {
                    Axis::Samples => samples(),
                    Axis::Elements { feature } => {
                        Message::default().bytes(2, format!("longest {}", self.feature(*feature)?.name))
                    }
                    Axis::Fixed(size) => fixed(*size),
                });
            }
            let (name, element) = (self.names[tensor.0].clone(), if source.is_integer() { INT64 } else { FLOAT });
            graph = graph.message(11, described(&name, element, dims, &self.description(*source)?));
            inputs.push(Input { name, source: *source, shape: shape.clone() });
        }
        let mut outputs = Vec::with_capacity(self.outputs.len());
        for (tensor, width) in &self.outputs {
            let name = self.names[tensor.0].clone();
            graph = graph.message(12, described(&name, FLOAT, vec![samples(), fixed(*width)], ""));
            outputs.push(Output { name, width: *width });
        }
        let property = |(key, value): (&str, &str)| Message::default().bytes(1, key).bytes(2, value);
        let bytes = Message::default()
            .int(1, IR_VERSION)
            .bytes(2, "kitestring")
            .bytes(3, env!("CARGO_PKG_VERSION"))
            .bytes(6, &metadata.description)
            .message(7, graph)
            .message(8, Message::default().bytes(1, "").int(2, OPSET))
            .message(14, property(("model_version", &metadata.version)))
            .into_bytes();
        if bytes.len() > MOST_BYTES {
            return Err(Error::config(format!("the model takes {} bytes, more than an ONNX file holds", bytes.len()))
                .mend("train a smaller network"));
        }
        Ok(Model { bytes, inputs, outputs })
    }

    /// What a caller must feed.
    fn description(&self, source: Source) -> Result<String> {
        Ok(match source {
            Source::Rows { feature } => {
                let feature = self.feature(feature)?;
                let (name, table) = (&feature.name, feature.table());
                match feature.kind {
                    FeatureKind::Categorical | FeatureKind::Numeric => {
                        format!("the row of `{name}` in the table `{table}`, for each sample")
                    }
                    FeatureKind::Multi | FeatureKind::Sequence => format!(
                        "the rows of the elements of `{name}` in the table `{table}`, for each sample; what stands behind \
                         the last element is not read, and there is at least one place"
                    ),
                }
            }
            Source::Lengths { feature } => {
                format!(
                    "how many elements each sample's list of `{}` has; 0 for an empty one",
                    self.feature(feature)?.name
                )
            }
            Source::Numbers => {
                let names: Vec<&str> = self.schema.numeric().map(|feature| feature.name.as_str()).collect();
                format!("the numbers {}, transformed as in preparation", names.join(", "))
            }
            Source::Scenarios => {
                let names: Vec<&str> = self.schema.scenarios.iter().map(|level| level.name.as_str()).collect();
                format!(
                    "the number of each sample's scenario at the levels {}; 0 for one not seen in training",
                    names.join(", ")
                )
            }
        })
    }
}
