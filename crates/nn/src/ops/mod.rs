//! The closed set of differentiable operations on row-major `f32` matrices, one file each.
//!
//! Each file has the operation as plain data, the method of [`Graph`](crate::graph::Graph) that records it, its forward and backward
//! pass over one tile of rows, and its cost.

pub mod arithmetic;
pub mod attention_pool;
pub mod balance;
pub mod batch_norm;
pub mod cross;
pub mod dropout;
pub mod embed;
pub mod experts;
pub mod factorization_machine;
pub mod gate_dropout;
pub mod gru;
pub mod linear;
pub mod loss;
pub mod noisy_top_k;
pub mod parametric;
pub mod partitioned_norm;
#[cfg(feature = "train")]
pub mod patch;
pub mod pool;
pub mod position_bias;
pub mod scenario;
pub mod scenario_mix;
pub mod select_experts;
pub mod shape;
pub mod softmax;
pub mod spread_loss;
pub mod star_linear;
pub mod stitch;
pub mod task_weight;
pub mod unit_length;

use crate::engine::{Context, Inputs};
use serde::{Deserialize, Serialize};

/// An operation as plain data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
#[allow(missing_docs)] // Each variant is documented by its type.
pub enum Op {
    Embed(embed::Embed),
    Numeric(embed::Numeric),
    Linear(linear::Linear),
    BatchNorm(batch_norm::BatchNorm),
    Prelu(parametric::Prelu),
    Dice(parametric::DiceGate),
    Dropout(dropout::Dropout),
    Concat(shape::Concat),
    Slice(shape::Slice),
    Unary(arithmetic::Unary),
    Binary(arithmetic::Binary),
    RowSum(arithmetic::RowSum),
    Softmax(softmax::Softmax),
    Pool(pool::Pool),
    AttentionPool(attention_pool::AttentionPool),
    FactorizationMachine(factorization_machine::FactorizationMachine),
    Cross(cross::Cross),
    Loss(loss::LossOp),
    Scenario(scenario::ScenarioEmbed),
    Experts(experts::Experts),
    GateDropout(gate_dropout::GateDropout),
    SelectExperts(select_experts::SelectExperts),
    Stitch(stitch::Stitch),
    PartitionedNorm(partitioned_norm::PartitionedNorm),
    StarLinear(star_linear::StarLinear),
    ScenarioMix(scenario_mix::ScenarioMix),
    Gru(gru::Gru),
    TaskWeight(task_weight::TaskWeight),
    PositionBias(position_bias::PositionBias),
    NoisyTopK(noisy_top_k::NoisyTopK),
    Balance(balance::Balance),
    SpreadLoss(spread_loss::SpreadLoss),
    UnitLength(unit_length::UnitLength),
    #[cfg(feature = "train")]
    Patch(patch::Patch),
}

impl Op {
    /// Gives what must differ between two operations of one graph a number of its own: a graph's statistics, its draws.
    pub(crate) fn renumber(&mut self, graph: &crate::graph::Graph) {
        let next = graph.nodes().len() as u64;
        match self {
            Self::BatchNorm(op) => op.statistics = graph.statistics_count(),
            Self::PartitionedNorm(op) => op.statistics = graph.statistics_count(),
            Self::Dropout(op) => op.number = next,
            Self::Experts(op) => op.number = next,
            Self::GateDropout(op) => op.number = next,
            Self::SelectExperts(op) => op.number = next,
            Self::PositionBias(op) => op.number = next,
            Self::NoisyTopK(op) => op.number = next,
            Self::SpreadLoss(op) => op.number = next,
            Self::Balance(op) => op.statistics = graph.statistics_count(),
            _ => {}
        }
    }

    pub(crate) fn operation(&self) -> &dyn Operation {
        match self {
            Self::Embed(op) => op,
            Self::Numeric(op) => op,
            Self::Linear(op) => op,
            Self::BatchNorm(op) => op,
            Self::Prelu(op) => op,
            Self::Dice(op) => op,
            Self::Dropout(op) => op,
            Self::Concat(op) => op,
            Self::Slice(op) => op,
            Self::Unary(op) => op,
            Self::Binary(op) => op,
            Self::RowSum(op) => op,
            Self::Softmax(op) => op,
            Self::Pool(op) => op,
            Self::AttentionPool(op) => op,
            Self::FactorizationMachine(op) => op,
            Self::Cross(op) => op,
            Self::Loss(op) => op,
            Self::Scenario(op) => op,
            Self::Experts(op) => op,
            Self::GateDropout(op) => op,
            Self::SelectExperts(op) => op,
            Self::Stitch(op) => op,
            Self::PartitionedNorm(op) => op,
            Self::StarLinear(op) => op,
            Self::ScenarioMix(op) => op,
            Self::Gru(op) => op,
            Self::TaskWeight(op) => op,
            Self::PositionBias(op) => op,
            Self::NoisyTopK(op) => op,
            Self::Balance(op) => op,
            Self::SpreadLoss(op) => op,
            Self::UnitLength(op) => op,
            #[cfg(feature = "train")]
            Self::Patch(op) => op,
        }
    }
}

/// What an operation costs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Floating-point operations; a multiply and an add are two.
    pub flops: u64,
    /// Bytes read and written, weights included, if nothing stayed in cache.
    pub bytes: u64,
}

impl std::ops::AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.flops += other.flops;
        self.bytes += other.bytes;
    }
}

/// The passes of an operation over one tile of rows.
pub(crate) trait Operation {
    /// Writes `out`, which has the rows of the output's domain. What only the backward pass needs goes to `saved`,
    /// when `cx` records.
    fn forward(&self, cx: &Context<'_>, inputs: Inputs<'_>, out: &mut [f32], saved: &mut Vec<f32>);

    /// Takes the gradient of the output and hands on those of inputs, weights and rows.
    #[cfg(feature = "train")]
    fn backward(&self, cx: &Context<'_>, pass: Backward<'_>);

    /// What it costs over `rows` samples and `positions` list elements, where its output has `out_rows` rows. The
    /// bytes are only those of its weights: the values' own are added by the caller.
    fn cost(&self, rows: usize, positions: usize, out_rows: usize) -> Cost;

    /// The weights that it learns; what has none passes gradients on at most.
    #[cfg(feature = "train")]
    fn weights(&self) -> Vec<crate::graph::Weight> {
        Vec::new()
    }

    /// The matrices of weights whose products with activations it can do in codes.
    fn products(&self) -> Vec<crate::graph::Weight> {
        Vec::new()
    }

    /// Shows what enters each of [`Self::products`], after a forward pass in `f32` that saved `saved`.
    fn observe(
        &self,
        _: &Context<'_>,
        _: Inputs<'_>,
        _saved: &[f32],
        _each: &mut dyn FnMut(crate::graph::Weight, &[f32]),
    ) {
    }

    /// How many floats it keeps for each element of the lists that it reads, beside its result: for the size of tiles.
    fn saved_of_element(&self) -> usize {
        0
    }

    /// How many it keeps for each element of each sample's list, also where samples share one.
    fn saved_of_pair(&self) -> usize {
        0
    }

    /// The statistics over the whole batch that it needs before it can run.
    #[cfg(feature = "train")]
    fn statistics(&self) -> Option<&dyn BatchStatistics> {
        None
    }
}

/// What a backward pass over one tile has at hand.
#[cfg(feature = "train")]
pub(crate) struct Backward<'a> {
    /// What the forward pass read.
    pub inputs: Inputs<'a>,
    /// What it wrote.
    pub out: &'a [f32],
    /// The gradient of `out`; may be overwritten.
    pub out_grad: &'a mut [f32],
    /// What it saved; may be overwritten.
    pub saved: &'a mut [f32],
    /// The gradients of all weights, to add to.
    pub weight_grads: &'a mut [f32],
    /// Where the gradients of looked-up rows are left.
    pub rows: crate::engine::PlaceGradients<'a>,
    /// Memory for the moment.
    pub scratch: &'a mut Vec<f32>,
    pub(crate) grads: &'a mut [Vec<f32>],
    pub(crate) targets: &'a [Target],
}

/// What happens to the gradient of an input.
#[cfg(feature = "train")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// Nobody needs it.
    Skip,
    /// This is its first part.
    Write,
    /// Something is there already.
    Add,
}

#[cfg(feature = "train")]
impl Backward<'_> {
    /// The gradient of an input, and whether to add to it (else to overwrite all of it). `None` if nobody needs it.
    pub fn input_grad(&mut self, input: usize) -> Option<(&mut [f32], bool)> {
        let target = self.targets[input];
        if target == Target::Skip {
            return None;
        }
        Some((self.grads[self.inputs.value(input).index()].as_mut_slice(), target == Target::Add))
    }

    /// The gradient of an input, zero if nothing was there, for operations that add piece by piece.
    pub fn input_grad_to_add(&mut self, input: usize) -> Option<&mut [f32]> {
        let (grad, add) = self.input_grad(input)?;
        if !add {
            grad.fill(0.0);
        }
        Some(grad)
    }

    /// Hands `grad(out_grad element, index)` on to an input as wide as the output.
    pub fn pass(&mut self, input: usize, grad: impl Fn(f32, usize) -> f32 + Copy) {
        let target = self.targets[input];
        let into = &mut self.grads[self.inputs.value(input).index()];
        match target {
            Target::Skip => {}
            Target::Write => write_each(into, self.out_grad, grad),
            Target::Add => add_each(into, self.out_grad, grad),
        }
    }
}

#[cfg(feature = "train")]
crate::kernels::kernel! {
    fn write_each['a, F: Fn(f32, usize) -> f32](into: &'a mut [f32], out_grad: &'a [f32], grad: F) {
        into.iter_mut().zip(out_grad).enumerate().for_each(|(i, (into, g))| *into = grad(*g, i));
    }

    fn add_each['a, F: Fn(f32, usize) -> f32](into: &'a mut [f32], out_grad: &'a [f32], grad: F) {
        into.iter_mut().zip(out_grad).enumerate().for_each(|(i, (into, g))| *into += grad(*g, i));
    }
}

/// Statistics over the whole batch: a sum a tile, summed in the order of tiles so that workers do not matter.
#[cfg(feature = "train")]
pub(crate) trait BatchStatistics {
    /// How many numbers a tile's sums are, forward and backward alike.
    fn partial_len(&self) -> usize;
    /// How many finished numbers the passes read from [`Context::statistics`], and where they start.
    fn finished(&self) -> std::ops::Range<usize>;
    /// The finished statistics where the batch counts for nothing: the running ones, and no share of a gradient that goes through them.
    fn take_running(&self, state: &[f32], finished: &mut [f32]);
    /// A tile's sums of the forward pass.
    fn forward_partial(&self, cx: &Context<'_>, inputs: Inputs<'_>, partial: &mut [f64]);
    /// Finishes the statistics of the forward pass. `state` has the running ones, for where the batch has too few samples.
    fn forward_finish(&self, partials: &[f64], state: &[f32], finished: &mut [f32]);
    /// Moves the running statistics, as they are now, towards a batch's finished ones, by a convex combination. Does nothing where there
    /// are no running ones.
    fn merge(&self, _finished: &[f32], _state: &mut [f32]) {}
    /// A tile's sums of the backward pass. Also adds the gradients of weights that need nothing else.
    fn backward_partial(&self, cx: &Context<'_>, pass: Backward<'_>, partial: &mut [f64]);
    /// Finishes the statistics of the backward pass.
    fn backward_finish(&self, partials: &[f64], finished: &mut [f32]);
}
