//! A small correction between layers, made of a few numbers: MetaPatch of DCCL (Yao et al. 2021).

use super::{Backward, Cost, Op, Operation};
use crate::engine::{Context, Inputs};
use crate::graph::{Domain, Graph, Initializer, Value, Weight};
use crate::kernels::activation::Activation;
use crate::kernels::matmul::{Matrix, Start, matmul, transpose};
use crate::kernels::reduce::{add, add_column_sums, dot};
use serde::{Deserialize, Serialize};

/// `x + tanh(x A) B + b`, where `B` and `b` are generated: `(B, b) = c Θ` of the few numbers `c` that all patches of a network share.
///
/// With `c = 0` it is `x` to the bit. `A` is not generated: were it, too, a gradient at `c = 0` would be a product of two zeros and `c` could
/// never leave it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Patch {
    /// `A`, `width × rank`.
    pub down: Weight,
    /// `Θ`, a row a number of `c`, of `B` row by row and then `b`: `numbers × (rank + 1) · width`.
    pub basis: Weight,
    /// `c`.
    pub numbers: Weight,
}

impl Patch {
    /// Room for `tanh(x A)`, and for what is generated behind it.
    fn split<'a>(&self, rows: usize, saved: &'a mut [f32]) -> (&'a mut [f32], &'a mut [f32]) {
        let narrow = rows * self.down.columns;
        saved[..narrow + self.basis.columns].split_at_mut(narrow)
    }

    /// `(B, b) = c Θ`.
    pub(crate) fn generate(&self, numbers: &[f32], weights: &[f32], into: &mut [f32]) {
        let (left, columns) = (Matrix::new(numbers, 1, numbers.len()), into.len());
        matmul(into, left, self.basis.of(weights), columns, Start::Zero);
    }
}

impl Graph {
    /// The same graph with a patch before its layers: on every value with one row a sample that a layer the outputs need reads. `numbers` are
    /// what all patches are made of, `rank` is the width they go through. Weights keep their places; those of patches come behind them.
    #[must_use]
    pub fn patched(&self, rank: usize, numbers: usize) -> Self {
        let mut read = vec![false; self.values.len()];
        for (node, needed) in self.nodes.iter().zip(self.needed_for(self.outputs.iter().map(|(_, value)| *value))) {
            if needed && matches!(node.op, Op::Linear(_)) {
                node.inputs.iter().for_each(|value| read[value.index()] = self.domain(*value) == Domain::Rows);
            }
        }
        let mut graph = Self::new();
        (graph.weights, graph.states) = (self.weights.clone(), self.states.clone());
        let numbers = graph.scope("patch", |graph| graph.weight("numbers", [1, numbers], Initializer::Constant(0.0)));
        // What stands for each value of this graph.
        let mut stands: Vec<Value> = Vec::with_capacity(self.values.len());
        let of = |stands: &[Value], value: &Value| stands[value.index()];
        for node in &self.nodes {
            let inputs: Vec<Value> = node.inputs.iter().map(|value| of(&stands, value)).collect();
            let info = self.values[node.output.index()];
            let mut value = graph.record(node.op.clone(), &inputs, info.domain, info.width);
            if read[node.output.index()] {
                value =
                    graph.scope(format!("patch.{}", node.output.index()), |graph| graph.patch(value, rank, numbers));
            }
            stands.push(value);
        }
        graph.outputs = self.outputs.iter().map(|(name, value)| (name.clone(), of(&stands, value))).collect();
        graph.gates = self.gates.iter().map(|(name, value)| (name.clone(), of(&stands, value))).collect();
        let losses = self.losses.iter().cloned();
        graph.losses = losses.map(|loss| crate::graph::Loss { value: of(&stands, &loss.value), ..loss }).collect();
        graph
    }

    /// The patches of a graph.
    pub(crate) fn patches(&self) -> impl Iterator<Item = &Patch> {
        self.nodes.iter().filter_map(|node| match &node.op {
            Op::Patch(patch) => Some(patch),
            _ => None,
        })
    }

    /// `x + tanh(x A) B + b`, with what is generated of `numbers`.
    fn patch(&mut self, x: Value, rank: usize, numbers: Weight) -> Value {
        let (domain, width) = (self.domain(x), self.width(x));
        let down = self.weight("down", [width, rank], Initializer::XavierNormal);
        // Numbers of length one give `B` the length that a layer's matrix starts with.
        let deviation = (2.0 / (rank + width) as f32).sqrt();
        let basis = [numbers.columns, (rank + 1) * width];
        let basis = self.weight("basis", basis, Initializer::Normal(deviation));
        self.record(Op::Patch(Patch { down, basis, numbers }), &[x], domain, width)
    }
}

impl Operation for Patch {
    fn forward(&self, cx: &Context<'_>, inputs: Inputs<'_>, out: &mut [f32], saved: &mut Vec<f32>) {
        let (x, [width, rank]) = (inputs.get(0), self.down.shape());
        let rows = x.len() / width;
        saved.resize(saved.len().max(rows * rank + self.basis.columns), 0.0);
        let (narrow, generated) = self.split(rows, saved);
        self.generate(self.numbers.of(cx.weights), cx.weights, generated);
        let (up, bias) = generated.split_at(rank * width);
        matmul(narrow, Matrix::new(x, rows, width), self.down.of(cx.weights), rank, Start::Zero);
        Activation::Tanh.apply(narrow);
        matmul(out, Matrix::new(narrow, rows, rank), up, width, Start::Row(bias));
        add(out, x);
    }

    fn backward(&self, cx: &Context<'_>, mut pass: Backward<'_>) {
        let (x, [width, rank]) = (pass.inputs.get(0), self.down.shape());
        let rows = x.len() / width;
        let out_grad = std::mem::take(&mut pass.out_grad);
        let (narrow, generated) = self.split(rows, std::mem::take(&mut pass.saved));
        let mut scratch = std::mem::take(pass.scratch);
        scratch.resize(scratch.len().max(generated.len() + rank * (width + rows)), 0.0);
        let (generated_grad, rest) = scratch.split_at_mut(generated.len());
        let (up_transposed, rest) = rest.split_at_mut(rank * width);
        let narrow_grad = &mut rest[..rows * rank];

        generated_grad.fill(0.0);
        let (up_grad, bias_grad) = generated_grad.split_at_mut(rank * width);
        matmul(up_grad, Matrix::new(narrow, rows, rank).transposed(), out_grad, width, Start::Zero);
        add_column_sums(bias_grad, out_grad);
        let numbers = self.numbers.of(cx.weights);
        for (k, row) in self.basis.of(cx.weights).chunks_exact(generated_grad.len()).enumerate() {
            self.numbers.of_mut(pass.weight_grads)[k] += dot(row, generated_grad);
        }
        let (left, columns) = (Matrix::new(numbers, numbers.len(), 1), generated_grad.len());
        matmul(self.basis.of_mut(pass.weight_grads), left, generated_grad, columns, Start::Existing);

        transpose(up_transposed, &generated[..rank * width], rank, width);
        matmul(narrow_grad, Matrix::new(out_grad, rows, width), up_transposed, rank, Start::Zero);
        Activation::Tanh.chain(narrow_grad, narrow);
        let of_x = Matrix::new(x, rows, width).transposed();
        matmul(self.down.of_mut(pass.weight_grads), of_x, narrow_grad, rank, Start::Existing);
        if let Some((grad, add_to)) = pass.input_grad(0) {
            if add_to {
                add(grad, out_grad);
            } else {
                grad.copy_from_slice(out_grad);
            }
            matmul(grad, Matrix::new(narrow_grad, rows, rank), cx.transposed(self.down), width, Start::Existing);
        }
        *pass.scratch = scratch;
    }

    fn weights(&self) -> Vec<Weight> {
        vec![self.down, self.basis, self.numbers]
    }

    fn cost(&self, _: usize, _: usize, out_rows: usize) -> Cost {
        let (size, generated) = (self.down.rows * self.down.columns, self.basis.rows * self.basis.columns);
        Cost { flops: (4 * out_rows * size + 2 * generated) as u64, bytes: 4 * (size + generated) as u64 }
    }
}
