//! Mixtures of experts in one operation: an expert is computed for the samples that chose it, and for no other.

#[cfg(feature = "train")]
use super::Backward;
use super::dropout::drop_rows;
use super::{Cost, Operation};
use crate::engine::{Context, Inputs};
use crate::graph::{Domain, Graph, Initializer, Value, Weight};
#[cfg(feature = "train")]
use crate::kernels::reduce::{add as add_to, add_column_sums, dot};
use crate::kernels::{
    activation::Activation,
    kernel,
    matmul::{Matrix, Start, matmul},
    reduce::axpy,
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExpertLayers {
    /// Outputs of each layer.
    pub units: Vec<usize>,
    /// What follows each layer.
    pub activation: Activation,
    /// The probability of dropping an output of a layer in training.
    pub dropout: f32,
}

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

/// Where a pass of an expert lies in what is saved: the number of its samples, which they are and their inputs (unless they are all),
/// then the results of its layers.
struct Pass {
    rows: usize,
    x: usize,
    layers: usize,
    end: usize,
}

impl Experts {
    fn outputs(&self) -> usize {
        self.experts.first().and_then(|layers| layers.last()).map_or(0, |(weight, _)| weight.columns)
    }

    fn pass(&self, expert: usize, start: usize, count: usize, all: bool) -> Pass {
        let rows = start + 1;
        let x = rows + if all { 0 } else { count };
        let layers = x + if all { 0 } else { count * self.width };
        let units: usize = self.experts[expert].iter().map(|(weight, _)| weight.columns).sum();
        Pass { rows, x, layers, end: layers + count * units }
    }

    fn drop(&self, cx: &Context<'_>, layer: [usize; 2], rows: &[f32], values: &mut [f32], width: usize) {
        let Some(seed) = cx.dropout_seed().filter(|_| self.dropout > 0.0) else { return };
        let seed = seed.at(self.number).at((layer[0] * 64 + layer[1]) as u64);
        let row = |row: usize| (cx.rows.start + rows.get(row).map_or(row, |row| *row as usize)) as u64;
        drop_rows(values, width, self.dropout, seed, row);
    }
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
    /// From the gradients of the mixtures to those of an expert's results, and of its gates.
    fn mix_back['a](
        grad: &'a mut [f32],
        gate_grads: &'a mut [f32],
        out_grad: &'a [f32],
        y: &'a [f32],
        rows: &'a [f32],
        gates: &'a [f32],
        shape: Shape,
    ) {
        let Shape { width, mixtures, count, expert } = shape;
        for (at, (grad, y)) in grad.chunks_exact_mut(width).zip(y.chunks_exact(width)).enumerate() {
            let row = rows.get(at).map_or(at, |row| *row as usize);
            let out_grad = &out_grad[row * mixtures * width..(row + 1) * mixtures * width];
            for (mixture, out_grad) in out_grad.chunks_exact(width).enumerate() {
                let gate = (row * mixtures + mixture) * count + expert;
                gate_grads[gate] = dot(out_grad, y);
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
        let (count, width) = (self.experts.len(), self.outputs());
        let (columns, samples) = (self.mixtures * count, x.len() / self.width);
        out.fill(0.0);
        saved.clear();
        for (expert, layers) in self.experts.iter().enumerate() {
            if !cx.records() {
                saved.clear();
            }
            let start = saved.len();
            saved.push(0.0);
            let of = |row: usize| gates[row * columns + expert..(row + 1) * columns].iter().step_by(count);
            // The place of a sample in its tile is small enough to be exact.
            saved.extend((0..samples).filter(|row| of(*row).any(|gate| *gate != 0.0)).map(|row| row as f32));
            let chosen = saved.len() - start - 1;
            saved[start] = chosen as f32;
            let all = chosen == samples;
            let pass = self.pass(expert, start, chosen, all);
            saved.resize(pass.end, 0.0);
            if chosen == 0 {
                continue;
            }
            if !all {
                for at in 0..chosen {
                    let (row, to) = (saved[pass.rows + at] as usize, pass.x + at * self.width);
                    saved[to..to + self.width].copy_from_slice(&x[row * self.width..(row + 1) * self.width]);
                }
            }
            let (head, mut rest) = saved[start..].split_at_mut(pass.layers - start);
            let rows = &head[1..][..if all { 0 } else { chosen }];
            let mut input = if all { x } else { &head[pass.x - start..] };
            for (number, (weight, bias)) in layers.iter().enumerate() {
                let (k, n) = (weight.rows, weight.columns);
                let (y, after) = rest.split_at_mut(chosen * n);
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
        let (count, width) = (self.experts.len(), self.outputs());
        let samples = x.len() / self.width;
        let widest =
            self.experts.iter().flatten().map(|(weight, _)| weight.rows.max(weight.columns)).max().unwrap_or(0);
        let (out_grad, mut scratch) = (std::mem::take(&mut pass.out_grad), std::mem::take(pass.scratch));
        scratch.clear();
        scratch.resize(gates.len() + 2 * samples * widest, 0.0);
        let (gate_grads, buffers) = scratch.split_at_mut(gates.len());
        let (mut grad, mut next) = buffers.split_at_mut(samples * widest);
        let x_grad = pass.input_grad_to_add(0).is_some();
        let mut start = 0;
        for (expert, layers) in self.experts.iter().enumerate() {
            let chosen = pass.saved[start] as usize;
            let all = chosen == samples;
            let place = self.pass(expert, start, chosen, all);
            start = place.end;
            if chosen == 0 {
                continue;
            }
            let saved = &mut pass.saved[..place.end];
            let (head, results) = saved.split_at_mut(place.layers);
            let rows = &head[place.rows..][..if all { 0 } else { chosen }];
            let gathered = if all { x } else { &head[place.x..place.layers] };
            // From the mixtures to the expert's result and to the gates.
            let y = &results[results.len() - chosen * width..];
            grad[..chosen * width].fill(0.0);
            let shape = Shape { width, mixtures: self.mixtures, count, expert };
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
                matmul(weight.of_mut(pass.weight_grads), left, own, n, Start::Existing);
                add_column_sums(bias.of_mut(pass.weight_grads), own);
                let right = cx.transposed(*weight);
                if number > 0 || (x_grad && !all) {
                    matmul(&mut next[..chosen * k], Matrix::new(own, chosen, n), right, k, Start::Zero);
                    std::mem::swap(&mut grad, &mut next);
                } else if x_grad {
                    let into = &mut pass.grads[pass.inputs.value(0).index()];
                    matmul(into, Matrix::new(own, chosen, n), right, k, Start::Existing);
                }
            }
            if x_grad && !all {
                let into = &mut pass.grads[pass.inputs.value(0).index()];
                scatter(into, &grad[..chosen * self.width], rows, self.width);
            }
        }
        if let Some((into, add)) = pass.input_grad(1) {
            if add {
                add_to(into, gate_grads);
            } else {
                into.copy_from_slice(gate_grads);
            }
        }
        *pass.scratch = scratch;
    }

    fn cost(&self, _: usize, _: usize, out_rows: usize) -> Cost {
        let size = |layers: &Vec<(Weight, Weight)>| {
            layers.iter().map(|(weight, _)| weight.rows * weight.columns).sum::<usize>()
        };
        let each = self.experts.first().map_or(0, size) + self.mixtures * self.outputs();
        let all: usize = self.experts.iter().map(size).sum();
        Cost { flops: (2 * out_rows * self.chosen * each) as u64, bytes: 4 * all as u64 }
    }
}
