//! Mixtures of experts in one operation: an expert is computed for the samples that chose it, and for no other.

#[cfg(feature = "train")]
use super::Backward;
use super::dropout::drop_rows;
use super::{Cost, Operation};
use crate::engine::{Context, Inputs};
use crate::graph::{Domain, Graph, Initializer, Value, Weight};
use crate::kernels::{
    activation::Activation,
    kernel,
    matmul::{Matrix, Start, fetch, matmul},
    reduce::axpy,
};
#[cfg(feature = "train")]
use crate::kernels::{
    matmul::transpose,
    reduce::{add, add_column_sums, dot},
};
use serde::{Deserialize, Serialize};

/// `y_t = Σ_k g[t, k] E_k(x)` for one or more mixtures `t` of the same experts, `E_k` a stack of `dropout(activation(x W + b))`.
///
/// A sample whose weights of an expert are all exactly zero does not pass through that expert, forward or back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Experts {
    /// The columns of `x`.
    pub width: usize,
    /// How many mixtures.
    pub mixtures: usize,
    /// The layers of each expert: weight and bias.
    pub experts: Vec<Vec<(Weight, Weight)>>,
    /// What follows each layer.
    pub activation: Activation,
    /// The probability of dropping an output of a layer in training.
    pub dropout: f32,
    /// Distinguishes the dropouts of one graph.
    pub number: u64,
    /// At most how many experts a sample chooses.
    pub chosen: usize,
}

/// What an expert is made of.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExpertLayers {
    /// Outputs of each layer.
    pub units: Vec<usize>,
    /// What follows each layer.
    pub activation: Activation,
    /// The probability of dropping an output of a layer in training.
    pub dropout: f32,
}

kitestring_core::fields!(ExpertLayers { units, activation, dropout });

impl Default for ExpertLayers {
    fn default() -> Self {
        Self { units: vec![64], activation: Activation::Relu, dropout: 0.0 }
    }
}

impl Graph {
    /// Mixtures of `count` experts over `x`, `rows × any`. `gates` has `mixtures × count` columns; a weight of zero means that the expert
    /// is not needed. The result has the mixtures side by side. `chosen` is the most experts a sample needs, for the cost.
    ///
    /// # Panics
    /// If there is no layer, or the gates are no multiple of the experts: a defect of the calling slot.
    pub fn experts(&mut self, x: Value, gates: Value, count: usize, layers: &ExpertLayers, chosen: usize) -> Value {
        let mixtures = self.width(gates) / count.max(1);
        assert_eq!(self.width(gates), mixtures * count, "one gate a mixture and expert");
        assert!(!layers.units.is_empty(), "an expert has a layer");
        let (width, number) = (self.width(x), self.nodes().len() as u64);
        let experts = (0..count).map(|expert| {
            self.scope(format!("expert.{expert}"), |graph| {
                let mut inputs = width;
                let layers = layers.units.iter().enumerate().map(|(layer, units)| {
                    graph.scope(layer.to_string(), |graph| {
                        let weight = graph.weight("weight", [inputs, *units], Initializer::XavierNormal);
                        let bias = graph.weight("bias", [1, *units], Initializer::Constant(0.0));
                        inputs = *units;
                        (weight, bias)
                    })
                });
                layers.collect::<Vec<_>>()
            })
        });
        let experts = experts.collect();
        let ExpertLayers { units, activation, dropout } = layers;
        let out = units.last().map_or(0, |units| mixtures * units);
        let chosen = chosen.min(count);
        let (activation, dropout) = (*activation, *dropout);
        let op = Experts { width, mixtures, experts, activation, dropout, number, chosen };
        self.record(super::Op::Experts(op), &[x, gates], Domain::Rows, out)
    }
}

/// What is saved: where each expert's samples start, and where the last one's end; which they are, expert by expert; memory for the
/// inputs of one expert's samples; then the results of its layers for every expert, or for one at a time where nothing is recorded.
#[derive(Debug, Clone, Copy)]
struct Layout {
    rows: usize,
    x: usize,
    results: usize,
    /// Floats of the results of one sample.
    units: usize,
}

impl Experts {
    fn outputs(&self) -> usize {
        self.experts.first().and_then(|layers| layers.last()).map_or(0, |(weight, _)| weight.columns)
    }

    /// Floats of all weights.
    pub(crate) fn size(&self) -> usize {
        self.experts.iter().flatten().map(|(weight, _)| weight.rows * weight.columns).sum()
    }

    /// Writes which samples chose each expert.
    fn choose(&self, gates: &[f32], saved: &mut Vec<f32>) {
        let count = self.experts.len();
        // What is there of an earlier pass is overwritten, not cleared: that would cost as much as a layer.
        saved.resize(saved.len().max(count + 1), 0.0);
        saved[..=count].fill(0.0);
        for gates in gates.chunks_exact(self.mixtures * count) {
            for expert in 0..count {
                // Few enough samples are in a tile for their numbers to be exact.
                saved[expert + 1] += f32::from(self.chooses(gates, expert));
            }
        }
        for expert in 0..count {
            saved[expert + 1] += saved[expert];
        }
        let total = saved[count] as usize;
        saved.resize(saved.len().max(count + 1 + total), 0.0);
        let (starts, rows) = saved.split_at_mut(count + 1);
        for (row, gates) in gates.chunks_exact(self.mixtures * count).enumerate() {
            for expert in (0..count).filter(|expert| self.chooses(gates, *expert)) {
                rows[starts[expert] as usize] = row as f32;
                starts[expert] += 1.0;
            }
        }
        // Each start has become the next one.
        starts.copy_within(..count, 1);
        starts[0] = 0.0;
    }

    /// Whether any mixture of a sample, whose gates these are, needs an expert.
    #[inline(always)]
    fn chooses(&self, gates: &[f32], expert: usize) -> bool {
        gates[expert..].iter().step_by(self.experts.len()).any(|gate| *gate != 0.0)
    }

    fn layout(&self, saved: &[f32], samples: usize) -> Layout {
        let starts = &saved[..=self.experts.len()];
        let rows = starts.len();
        let x = rows + starts[starts.len() - 1] as usize;
        let units = self.experts.first().map_or(0, |layers| layers.iter().map(|(weight, _)| weight.columns).sum());
        // An expert may be everybody's. What is not needed is not touched.
        Layout { rows, x, results: x + samples * self.width, units }
    }

    fn drop(&self, cx: &Context<'_>, layer: [usize; 2], rows: &[f32], values: &mut [f32], width: usize) {
        let Some(seed) = cx.dropout_seed().filter(|_| self.dropout > 0.0) else { return };
        let seed = seed.at(self.number).at((layer[0] * 64 + layer[1]) as u64);
        let row = |row: usize| (cx.rows.start + rows.get(row).map_or(row, |row| *row as usize)) as u64;
        drop_rows(values, width, self.dropout, seed, row);
    }
}

/// The rows of `x` that an expert reads: all of it, or those named, gathered into `memory`.
fn gather<'a>(memory: &'a mut [f32], x: &'a [f32], rows: &[f32], width: usize) -> &'a [f32] {
    if rows.is_empty() {
        return x;
    }
    let memory = &mut memory[..rows.len() * width];
    for (into, row) in memory.chunks_exact_mut(width).zip(rows) {
        into.copy_from_slice(&x[*row as usize * width..][..width]);
    }
    memory
}

/// Where an expert's results go.
#[derive(Debug, Clone, Copy)]
struct Shape {
    width: usize,
    mixtures: usize,
    count: usize,
    expert: usize,
}

kernel! {
    /// Adds an expert's results to every mixture. `rows` says whose they are, in order; nothing if they are everybody's.
    fn mix['a](out: &'a mut [f32], y: &'a [f32], rows: &'a [f32], gates: &'a [f32], shape: Shape) {
        let Shape { width, mixtures, count, expert } = shape;
        for (at, y) in y.chunks_exact(width).enumerate() {
            let row = rows.get(at).map_or(at, |row| *row as usize);
            let out = &mut out[row * mixtures * width..(row + 1) * mixtures * width];
            for (mixture, out) in out.chunks_exact_mut(width).enumerate() {
                let gate = gates[(row * mixtures + mixture) * count + expert];
                if gate != 0.0 {
                    axpy(out, gate, y);
                }
            }
        }
    }
}

#[cfg(feature = "train")]
kernel! {
    /// From the gradients of the mixtures to those of an expert's results, and adds those of its gates unless nobody needs them.
    fn mix_back['a](
        grad: &'a mut [f32],
        gate_grads: Option<&'a mut [f32]>,
        out_grad: &'a [f32],
        y: &'a [f32],
        rows: &'a [f32],
        gates: &'a [f32],
        shape: Shape,
    ) {
        let Shape { width, mixtures, count, expert } = shape;
        let mut gate_grads = gate_grads;
        for (at, (grad, y)) in grad.chunks_exact_mut(width).zip(y.chunks_exact(width)).enumerate() {
            let row = rows.get(at).map_or(at, |row| *row as usize);
            let out_grad = &out_grad[row * mixtures * width..(row + 1) * mixtures * width];
            grad.fill(0.0);
            for (mixture, out_grad) in out_grad.chunks_exact(width).enumerate() {
                let gate = (row * mixtures + mixture) * count + expert;
                if let Some(gate_grads) = &mut gate_grads {
                    gate_grads[gate] += dot(out_grad, y);
                }
                axpy(grad, gates[gate], out_grad);
            }
        }
    }

    fn scatter['a](into: &'a mut [f32], grad: &'a [f32], rows: &'a [f32], width: usize) {
        for (row, grad) in rows.iter().zip(grad.chunks_exact(width)) {
            axpy(&mut into[*row as usize * width..][..width], 1.0, grad);
        }
    }
}

impl Operation for Experts {
    fn forward(&self, cx: &Context<'_>, inputs: Inputs<'_>, out: &mut [f32], saved: &mut Vec<f32>) {
        let (x, gates) = (inputs.get(0), inputs.get(1));
        let (count, width, samples) = (self.experts.len(), self.outputs(), x.len() / self.width);
        out.fill(0.0);
        self.choose(gates, saved);
        let Layout { rows: first_row, x: memory, results, units } = self.layout(saved, samples);
        let kept = if cx.records() { memory - first_row } else { samples };
        saved.resize(results + kept * units, 0.0);
        let (head, results) = saved.split_at_mut(results);
        let (head, memory) = head.split_at_mut(memory);
        let (starts, all_rows) = head.split_at(first_row);
        for (expert, layers) in self.experts.iter().enumerate() {
            let (start, end) = (starts[expert] as usize, starts[expert + 1] as usize);
            let chosen = end - start;
            if chosen == 0 {
                continue;
            }
            let rows = if chosen == samples { &[] } else { &all_rows[start..end] };
            let mut input = gather(memory, x, rows, self.width);
            let mut rest = if cx.records() { &mut results[start * units..] } else { &mut *results };
            for (number, (weight, bias)) in layers.iter().enumerate() {
                let (k, n) = (weight.rows, weight.columns);
                let (y, after) = rest.split_at_mut(chosen * n);
                fetch(weight.of(cx.weights));
                matmul(y, Matrix::new(input, chosen, k), weight.of(cx.weights), n, Start::Zero);
                self.activation.apply_with_bias(y, bias.of(cx.weights));
                self.drop(cx, [expert, number], rows, y, n);
                (input, rest) = (y, after);
            }
            mix(out, input, rows, gates, Shape { width, mixtures: self.mixtures, count, expert });
        }
    }

    #[cfg(feature = "train")]
    fn backward(&self, cx: &Context<'_>, mut pass: Backward<'_>) {
        let (x, gates) = (pass.inputs.get(0), pass.inputs.get(1));
        let (count, width, samples) = (self.experts.len(), self.outputs(), x.len() / self.width);
        let Layout { rows: first_row, x: memory, results, units } = self.layout(pass.saved, samples);
        let weights = || self.experts.iter().flatten().map(|(weight, _)| weight);
        let widest = weights().map(|weight| weight.rows.max(weight.columns)).max().unwrap_or(0);
        let largest = weights().map(|weight| weight.rows * weight.columns).max().unwrap_or(0);
        let (out_grad, mut scratch) = (std::mem::take(&mut pass.out_grad), std::mem::take(pass.scratch));
        scratch.resize(2 * samples * widest + largest, 0.0);
        let (mut grad, next) = scratch.split_at_mut(samples * widest);
        let (mut next, transposed) = next.split_at_mut(samples * widest);
        let x_grad = pass.input_grad_to_add(0).is_some();
        let gates_grad = pass.input_grad_to_add(1).is_some();
        let [into_x, into_gates] = [0, 1].map(|input| pass.inputs.value(input).index());
        let (head, results) = pass.saved.split_at_mut(results);
        let (head, memory) = head.split_at_mut(memory);
        let (starts, all_rows) = head.split_at(first_row);
        for (expert, layers) in self.experts.iter().enumerate() {
            let (start, end) = (starts[expert] as usize, starts[expert + 1] as usize);
            let chosen = end - start;
            if chosen == 0 {
                continue;
            }
            let rows = if chosen == samples { &[] } else { &all_rows[start..end] };
            let gathered = gather(memory, x, rows, self.width);
            let results = &mut results[start * units..end * units];
            // From the mixtures to the expert's result and to the gates.
            let y = &results[results.len() - chosen * width..];
            let shape = Shape { width, mixtures: self.mixtures, count, expert };
            let gate_grads = gates_grad.then(|| pass.grads[into_gates].as_mut_slice());
            mix_back(&mut grad[..chosen * width], gate_grads, out_grad, y, rows, gates, shape);
            let mut end = results.len();
            for (number, (weight, bias)) in layers.iter().enumerate().rev() {
                let (k, n) = (weight.rows, weight.columns);
                let (before, y) = results[..end].split_at_mut(end - chosen * n);
                end = before.len();
                let own = &mut grad[..chosen * n];
                self.drop(cx, [expert, number], rows, own, n);
                if self.dropout > 0.0 && cx.dropout_seed().is_some() {
                    // What was kept was scaled up behind the activation, whose derivative is taken from its result.
                    y.iter_mut().for_each(|y| *y *= 1.0 - self.dropout);
                }
                self.activation.chain(own, y);
                let input = if number == 0 { gathered } else { &before[end - chosen * k..] };
                let left = Matrix::new(input, chosen, k).transposed();
                fetch(weight.of(pass.weight_grads));
                matmul(weight.of_mut(pass.weight_grads), left, own, n, Start::Existing);
                add_column_sums(bias.of_mut(pass.weight_grads), own);
                if number == 0 && !x_grad {
                    continue;
                }
                let right = &mut transposed[..k * n];
                fetch(weight.of(cx.weights));
                transpose(right, weight.of(cx.weights), k, n);
                matmul(&mut next[..chosen * k], Matrix::new(own, chosen, n), right, k, Start::Zero);
                std::mem::swap(&mut grad, &mut next);
            }
            // A product first and then its sum, also where all samples chose the expert: whether they did depends on the tile, and no bit shall.
            if x_grad {
                let grad = &grad[..chosen * self.width];
                match rows {
                    [] => add(&mut pass.grads[into_x], grad),
                    _ => scatter(&mut pass.grads[into_x], grad, rows, self.width),
                }
            }
        }
        *pass.scratch = scratch;
    }

    #[cfg(feature = "train")]
    fn weights(&self) -> Vec<Weight> {
        self.experts.iter().flatten().flat_map(|(weight, bias)| [*weight, *bias]).collect()
    }

    fn cost(&self, _: usize, _: usize, out_rows: usize) -> Cost {
        let size = |layers: &Vec<(Weight, Weight)>| {
            layers.iter().map(|(weight, _)| weight.rows * weight.columns).sum::<usize>()
        };
        let each = self.experts.first().map_or(0, size) + self.mixtures * self.outputs();
        Cost { flops: (2 * out_rows * self.chosen * each) as u64, bytes: 4 * self.size() as u64 }
    }
}
