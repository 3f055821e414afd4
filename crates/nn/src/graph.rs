//! The description of a forward pass: values, the operations that make them, and the weights they use.
//!
//! A slot writes its forward pass once, by calling the methods of [`Graph`] ([`crate::ops`] has one file an operation).
//! What is recorded is plain data without a batch size. Walking it forward scores, walking it forward and back
//! trains, and adding up [`Graph::cost`] prices it.

use crate::grow::{Owner, Parts, Whose};
use crate::ops::{Cost, Op};
use kitestring_core::Seed;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A matrix that an operation makes. A handle: the numbers live in the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Value(pub(crate) u32);

impl Value {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// What the rows of a value stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Domain {
    /// One row a sample.
    Rows,
    /// One row an element of a ragged feature: the number is that of the feature whose lists count.
    Positions(usize),
}

/// What is known of a value before any batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValueInfo {
    /// What its rows stand for.
    pub domain: Domain,
    /// Its number of columns.
    pub width: usize,
}

/// An operation, what it reads and what it makes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// The operation.
    pub op: Op,
    /// What it reads.
    pub inputs: Vec<Value>,
    /// What it makes.
    pub output: Value,
}

/// How a weight starts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Initializer {
    /// All the same.
    Constant(f32),
    /// Normal with standard deviation `√(2 / (inputs + outputs))` (Glorot and Bengio 2010).
    XavierNormal,
    /// Normal with standard deviation `√(2 / inputs)` (He et al. 2015).
    HeNormal,
    /// Normal with this standard deviation.
    Normal(f32),
    /// As many blocks of columns as rows: the first number in a row's own block, the second elsewhere.
    Diagonal(f32, f32),
}

/// A trainable matrix: its name, its shape, and where it lies in the flat vector of all weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WeightInfo {
    /// Its name, unique: the scopes it was made in, joined by dots.
    pub name: String,
    /// Rows and columns. A vector has one row.
    pub shape: [usize; 2],
    /// Where it starts.
    pub offset: usize,
    /// How it starts.
    pub initializer: Initializer,
    /// Whether L2 applies to it: to matrices that are drawn, not to biases and scales, which start at what they mean.
    pub decays: bool,
    /// Which scenario or task it belongs to, and its rows and columns.
    pub whose: Whose,
}

/// A handle of a trainable matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weight {
    pub(crate) offset: usize,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

impl Weight {
    /// Its numbers within the flat vector of all weights (or of all gradients).
    pub fn of(self, all: &[f32]) -> &[f32] {
        &all[self.offset..self.offset + self.rows * self.columns]
    }

    /// Some of its rows, `count` from `first`.
    pub(crate) fn part(self, first: usize, count: usize) -> Self {
        Self { offset: self.offset + first * self.columns, rows: count, columns: self.columns }
    }

    /// Rows and columns.
    pub fn shape(self) -> [usize; 2] {
        [self.rows, self.columns]
    }

    /// Its numbers, to change.
    pub fn of_mut(self, all: &mut [f32]) -> &mut [f32] {
        &mut all[self.offset..self.offset + self.rows * self.columns]
    }
}

/// Numbers that training keeps but does not differentiate: running means and variances.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StateInfo {
    /// Its name, unique.
    pub name: String,
    /// How many numbers.
    pub len: usize,
    /// Where they start in the flat vector of all states.
    pub offset: usize,
    /// What they are at first.
    pub initial: f32,
    /// Rows and columns.
    pub shape: [usize; 2],
    /// Which scenario or task they belong to, and their rows and columns.
    pub whose: Whose,
}

/// A loss to minimize: the mean of a value over its sample space, times a weight. The space is the samples that have its task's label, or
/// those of them that another task lets in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Loss {
    /// What it is called in curves: the task's name, or what an auxiliary loss is for.
    pub name: String,
    /// One number a sample.
    pub value: Value,
    /// The task whose label it compares with. None for an auxiliary loss, which every sample has.
    pub task: Option<usize>,
    /// Its factor in the sum of all losses, at the first step.
    pub weight: f32,
    /// The task whose label must be there and above zero for a sample to count. None where all count.
    pub space: Option<usize>,
    /// What the factor is multiplied by at each step: 1 for nothing.
    pub decay: f64,
}

impl Loss {
    /// Its factor in the sum of all losses after a number of steps.
    pub fn weight_at(&self, steps: u64) -> f64 {
        f64::from(self.weight) * self.decay.powf(steps as f64)
    }

    /// Whether a sample counts, given its labels.
    #[cfg(feature = "train")]
    pub(crate) fn counts(&self, labels: &[f32]) -> bool {
        let label = |task: usize| labels.get(task).copied().unwrap_or(f32::NAN);
        self.task.is_none_or(|task| !label(task).is_nan()) && self.space.is_none_or(|space| label(space) > 0.0)
    }
}

/// A forward pass as data.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Graph {
    pub(crate) values: Vec<ValueInfo>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) weights: Vec<WeightInfo>,
    pub(crate) states: Vec<StateInfo>,
    pub(crate) outputs: Vec<(String, Value)>,
    pub(crate) losses: Vec<Loss>,
    pub(crate) gates: Vec<(String, Value)>,
    #[serde(skip)]
    scope: Vec<(String, Option<Owner>)>,
    /// What the rows and columns of weights made now belong to.
    #[serde(skip)]
    parts: [Option<Parts>; 2],
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    /// Names the weights made inside `body` below `name`.
    pub fn scope<R>(&mut self, name: impl Into<String>, body: impl FnOnce(&mut Self) -> R) -> R {
        self.in_scope((name.into(), None), body)
    }

    /// [`Self::scope`] for weights that belong to one scenario or task alone, whose name this is.
    pub fn scope_of<R>(&mut self, owner: Owner, name: impl Into<String>, body: impl FnOnce(&mut Self) -> R) -> R {
        self.in_scope((name.into(), Some(owner)), body)
    }

    fn in_scope<R>(&mut self, scope: (String, Option<Owner>), body: impl FnOnce(&mut Self) -> R) -> R {
        self.enter(scope);
        let result = body(self);
        self.leave();
        result
    }

    // Not inlined: there are a hundred scopes.
    #[inline(never)]
    fn enter(&mut self, scope: (String, Option<Owner>)) {
        self.scope.push(scope);
    }

    #[inline(never)]
    fn leave(&mut self) {
        self.scope.pop();
    }

    /// Says whose the rows of the weights made inside `body` are.
    pub fn rows_of<R>(&mut self, parts: Parts, body: impl FnOnce(&mut Self) -> R) -> R {
        self.divided(0, parts, body)
    }

    /// Says whose the columns of the weights made inside `body` are.
    pub fn columns_of<R>(&mut self, parts: Parts, body: impl FnOnce(&mut Self) -> R) -> R {
        self.divided(1, parts, body)
    }

    fn divided<R>(&mut self, axis: usize, parts: Parts, body: impl FnOnce(&mut Self) -> R) -> R {
        let before = self.parts[axis].replace(parts);
        let result = body(self);
        self.parts[axis] = before;
        result
    }

    /// The number of columns of a value.
    pub fn width(&self, value: Value) -> usize {
        self.values[value.index()].width
    }

    /// What the rows of a value stand for.
    pub fn domain(&self, value: Value) -> Domain {
        self.values[value.index()].domain
    }

    /// All weights, in the order of the flat vector.
    pub fn weights(&self) -> &[WeightInfo] {
        &self.weights
    }

    /// All states, in the order of the flat vector.
    pub fn states(&self) -> &[StateInfo] {
        &self.states
    }

    /// The number of trainable numbers.
    pub fn weight_count(&self) -> usize {
        self.weights.last().map_or(0, |last| last.offset + last.shape[0] * last.shape[1])
    }

    /// The number of kept, untrained numbers.
    pub fn state_count(&self) -> usize {
        self.states.last().map_or(0, |last| last.offset + last.len)
    }

    /// The operations in the order of the forward pass.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The named results.
    pub fn outputs(&self) -> &[(String, Value)] {
        &self.outputs
    }

    /// Whether anything drops out in training.
    pub fn drops_out(&self) -> bool {
        self.nodes.iter().any(|node| match &node.op {
            Op::Dropout(_) => true,
            Op::Experts(experts) => experts.dropout > 0.0,
            _ => false,
        })
    }

    /// The matrices of weights whose products with activations can be done in [codes](crate::quantization::product), of the nodes that the
    /// outputs need; a part of the rows of a weight stands for itself.
    pub fn products(&self) -> Vec<Weight> {
        let needed = self.needed_for(self.outputs.iter().map(|(_, value)| *value));
        let nodes = self.nodes.iter().zip(needed).filter(|(_, needed)| *needed);
        let mut products: Vec<Weight> = nodes.flat_map(|(node, _)| node.op.operation().products()).collect();
        // A weight may be read by several nodes.
        products.sort_unstable_by_key(|weight| weight.offset);
        products.dedup();
        products
    }

    /// Rewrites weights so that their [products](Self::products) can be done in codes: the network's function stays the same to the bit.
    pub fn fold(&self, weights: &mut [f32]) {
        for node in &self.nodes {
            if let Op::AttentionPool(attention) = &node.op {
                attention.fold(weights);
            }
        }
    }

    /// The name of the weight that a matrix is, or is a part of, and the part's first row.
    pub fn name_of(&self, weight: Weight) -> Option<(&str, usize)> {
        let at = self.weights.partition_point(|info| info.offset <= weight.offset).checked_sub(1)?;
        let info = self.weights.get(at)?;
        Some((&info.name, (weight.offset - info.offset) / info.shape[1].max(1)))
    }

    /// The losses.
    pub fn losses(&self) -> &[Loss] {
        &self.losses
    }

    /// The weights that samples give to experts, by the scope they were made in: what a report shows.
    pub fn gates(&self) -> &[(String, Value)] {
        &self.gates
    }

    /// Notes weights of experts under the name of the scope.
    pub(crate) fn watch_gates(&mut self, weights: Value) {
        self.gates.push((self.full_name(""), weights));
    }

    /// Records once more what leads to a value, with some values replaced by others of the same shape: the same weights on another input.
    pub(crate) fn again(&mut self, value: Value, replaced: &[(Value, Value)]) -> Value {
        let mut replaced: BTreeMap<Value, Value> = replaced.iter().copied().collect();
        for index in 0..self.nodes.len() {
            let node = &self.nodes[index];
            if replaced.contains_key(&node.output) || !node.inputs.iter().any(|input| replaced.contains_key(input)) {
                continue;
            }
            if node.output > value {
                break;
            }
            let inputs: Vec<Value> = node.inputs.iter().map(|input| *replaced.get(input).unwrap_or(input)).collect();
            let (mut op, output) = (node.op.clone(), node.output);
            op.renumber(self);
            let info = self.values[output.index()];
            let made = self.record(op, &inputs, info.domain, info.width);
            replaced.insert(output, made);
        }
        *replaced.get(&value).unwrap_or(&value)
    }

    /// Names a value with one row a sample as a result.
    ///
    /// # Panics
    /// If it has one row a list element: a defect of the calling slot.
    pub fn output(&mut self, name: impl Into<String>, value: Value) {
        assert_eq!(self.domain(value), Domain::Rows, "a result has one row a sample");
        self.outputs.push((name.into(), value));
    }

    /// Adds a loss to minimize: a value of one number a sample, of a task or, without one, of every sample.
    ///
    /// # Panics
    /// If it is anything else: a defect of the calling slot.
    pub fn minimize(&mut self, name: impl Into<String>, value: Value, task: Option<usize>, weight: f32) {
        self.add_loss(Loss { name: name.into(), value, task, weight, space: None, decay: 1.0 });
    }

    /// Adds a loss with all it may have.
    ///
    /// # Panics
    /// If its value is not one number a sample: a defect of the calling slot.
    pub fn add_loss(&mut self, loss: Loss) {
        let shape = (self.domain(loss.value), self.width(loss.value));
        assert_eq!(shape, (Domain::Rows, 1), "a loss is one number a sample");
        self.losses.push(loss);
    }

    /// Declares a trainable matrix.
    pub fn weight(&mut self, name: &str, shape: [usize; 2], initializer: Initializer) -> Weight {
        let offset = self.weight_count();
        let full = self.full_name(name);
        let scale = matches!(initializer, Initializer::Constant(_) | Initializer::Diagonal(..));
        let (decays, whose) = (shape[0] > 1 && !scale, self.whose(name));
        self.weights.push(WeightInfo { name: full, shape, offset, initializer, decays, whose });
        Weight { offset, rows: shape[0], columns: shape[1] }
    }

    /// Declares a matrix of kept, untrained numbers. The result is where they start.
    pub fn state(&mut self, name: &str, shape: [usize; 2], initial: f32) -> usize {
        let (offset, whose) = (self.state_count(), self.whose(name));
        let name = self.full_name(name);
        self.states.push(StateInfo { name, len: shape[0] * shape[1], offset, initial, shape, whose });
        offset
    }

    /// The scopes and a name, joined by dots.
    fn full_name(&self, name: &str) -> String {
        joined(self.scope.iter().map(|(scope, _)| scope.as_str()), name)
    }

    fn whose(&self, name: &str) -> Whose {
        let scopes = self.scope.iter().map(|(scope, owner)| if owner.is_some() { "*" } else { scope.as_str() });
        Whose {
            pattern: joined(scopes, name),
            owners: self.scope.iter().filter_map(|(_, owner)| *owner).collect(),
            parts: self.parts,
        }
    }

    /// Records an operation.
    pub(crate) fn record(&mut self, op: Op, inputs: &[Value], domain: Domain, width: usize) -> Value {
        let output = Value(self.values.len() as u32);
        self.values.push(ValueInfo { domain, width });
        self.nodes.push(Node { op, inputs: inputs.to_vec(), output });
        output
    }

    /// The first weights. They depend on each weight's name only, so that adding a weight moves no other.
    pub fn initial_weights(&self, seed: Seed) -> Vec<f32> {
        let mut all = Vec::with_capacity(self.weight_count());
        for info in &self.weights {
            let [rows, columns] = info.shape;
            let deviation = match info.initializer {
                Initializer::Constant(value) => {
                    all.resize(all.len() + rows * columns, value);
                    continue;
                }
                Initializer::Diagonal(own, other) => {
                    let block = (columns / rows.max(1)).max(1);
                    let number = |at: usize| if at / columns == at % columns / block { own } else { other };
                    all.extend((0..rows * columns).map(number));
                    continue;
                }
                Initializer::XavierNormal => (2.0 / (rows + columns) as f32).sqrt(),
                Initializer::HeNormal => (2.0 / rows as f32).sqrt(),
                Initializer::Normal(deviation) => deviation,
            };
            let seed = seed.child(&info.name);
            all.extend((0..rows * columns).map(|i| deviation * seed.normal_at(i as u64)));
        }
        all
    }

    /// The first states.
    pub fn initial_state(&self) -> Vec<f32> {
        self.states.iter().flat_map(|info| std::iter::repeat_n(info.initial, info.len)).collect()
    }

    /// What one pass of the nodes that lead to the outputs costs, for a number of samples and positions.
    pub fn cost(&self, rows: usize, positions: usize) -> Cost {
        let needed = self.needed_for(self.outputs.iter().map(|(_, value)| *value));
        let mut total = Cost::default();
        for (node, needed) in self.nodes.iter().zip(needed) {
            if needed {
                let count = |value: Value| match self.domain(value) {
                    Domain::Rows => rows,
                    Domain::Positions(_) => positions,
                };
                let mut cost = node.op.operation().cost(rows, positions, count(node.output));
                let moved = node.inputs.iter().chain([&node.output]).map(|value| count(*value) * self.width(*value));
                cost.bytes += 4 * moved.sum::<usize>() as u64;
                total += cost;
            }
        }
        total
    }

    /// Which nodes some values depend on.
    pub(crate) fn needed_for(&self, roots: impl Iterator<Item = Value>) -> Vec<bool> {
        self.needed_for_with(roots, &[])
    }

    /// The same where some values are there already.
    pub(crate) fn needed_for_with(&self, roots: impl Iterator<Item = Value>, given: &[Value]) -> Vec<bool> {
        let mut value_needed = vec![false; self.values.len()];
        roots.for_each(|value| value_needed[value.index()] = true);
        let mut needed = vec![false; self.nodes.len()];
        for (index, node) in self.nodes.iter().enumerate().rev() {
            needed[index] = value_needed[node.output.index()] && !given.contains(&node.output);
            if needed[index] {
                node.inputs.iter().for_each(|value| value_needed[value.index()] = true);
            }
        }
        needed
    }
}

fn joined<'a>(scopes: impl Iterator<Item = &'a str>, name: &'a str) -> String {
    scopes.chain([name]).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".")
}
