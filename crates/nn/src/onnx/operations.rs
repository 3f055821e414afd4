//! The ONNX form of each operation: one arm for each, so that a new operation cannot be forgotten.

use super::builder::{Attribute, Builder, Key, Tensor};
use crate::graph::{Node, Value, Weight};
use crate::kernels::activation::Activation;
use crate::ops::arithmetic::{Binary, Unary};
use crate::ops::batch_norm::BatchNorm;
use crate::ops::{Op, unit_length};
use kitestring_core::{Error, Result};

/// A value of the graph in the model.
#[derive(Debug, Clone, Copy)]
pub(super) struct Made {
    /// `N × columns`, or `N × L × columns` for the elements of lists.
    pub tensor: Tensor,
    /// How many columns it has: the value's first ones, where training alone reads the others.
    pub columns: usize,
}

/// The result of a node, from the tensors of its inputs. `first_only` says that nobody reads more than its first column.
pub(super) fn emit(b: &mut Builder<'_>, node: &Node, inputs: &[Made], first_only: bool) -> Result<Made> {
    let width = b.graph.width(node.output);
    let get = |at: usize| {
        let found = inputs.get(at).map(|made| made.tensor);
        found.ok_or_else(|| Error::internal("an operation lacks an input"))
    };
    let made = |tensor: Tensor| Made { tensor, columns: width };
    let of_training =
        |what: &str| Err(Error::internal(format!("a result depends on {what}, which training alone has")));
    let is_whole = |(made, value): (&Made, &Value)| made.columns == b.graph.width(*value);
    let takes_parts = matches!(node.op, Op::Slice(_) | Op::PositionBias(_));
    if !takes_parts && !inputs.iter().zip(&node.inputs).all(is_whole) {
        return of_training("columns of a selection");
    }
    Ok(made(match &node.op {
        Op::Embed(op) => {
            let rows = op.lookups.iter().map(|lookup| b.rows(*lookup, op.domain)).collect::<Result<Vec<_>>>()?;
            b.beside(&rows)
        }
        Op::Numeric(op) => b.numbers(op.width),
        Op::Linear(op) if first_only && width > 1 && b.quantized(op.weight)?.is_none() => {
            let weight = b.first_column(op.weight)?;
            let mut y = b.op("MatMul", &[get(0)?, weight]);
            if let Some(bias) = op.bias {
                let bias = b.first_column(bias)?;
                y = b.op("Add", &[y, bias]);
            }
            return Ok(Made { tensor: b.activation(op.activation, y), columns: 1 });
        }
        Op::Linear(op) => b.linear(get(0)?, op.weight, op.bias, op.activation)?,
        Op::BatchNorm(op) => batch_norm(b, op, get(0)?)?,
        Op::Prelu(op) => {
            let slope = b.weight(op.slope)?;
            b.op("PRelu", &[get(0)?, slope])
        }
        Op::Dice(op) => {
            let (slope, one) = (b.weight(op.slope)?, b.float(1.0));
            let share = b.op("Sigmoid", &[get(1)?]);
            let rest = b.op("Sub", &[one, slope]);
            let rest = b.op("Mul", &[rest, share]);
            let factor = b.op("Add", &[slope, rest]);
            b.op("Mul", &[get(0)?, factor])
        }
        // Nothing drops out of a score.
        Op::Dropout(_) | Op::GateDropout(_) => get(0)?,
        Op::Concat(op) => {
            let parts = (0..op.widths.len()).map(get).collect::<Result<Vec<_>>>()?;
            b.beside(&parts)
        }
        Op::Slice(op) => {
            let x = get(0)?;
            let columns = inputs.first().map_or(0, |made| made.columns);
            if op.start + op.width > columns {
                return of_training("columns of a selection");
            }
            if op.width == columns { x } else { b.columns(x, op.start, op.width) }
        }
        Op::Unary(op) => unary(b, *op, get(0)?),
        Op::Binary(op) => {
            let name = match op {
                Binary::Add => "Add",
                Binary::Subtract => "Sub",
                Binary::Multiply => "Mul",
            };
            b.op(name, &[get(0)?, get(1)?])
        }
        Op::RowSum(_) => b.reduce_sum(get(0)?, -1, true),
        Op::Softmax(op) => b.softmax(op, get(0)?)?,
        Op::Pool(op) => b.pool(op, get(0)?)?,
        Op::AttentionPool(op) => b.attention_pool(op, get(0)?, get(1)?)?,
        Op::Gru(op) => b.gru(op, get(0)?)?,
        Op::FactorizationMachine(op) => {
            let half = b.float(0.5);
            let fields = b.reshape(get(0)?, &[0, -1, op.dimension as i64]);
            let sum = b.reduce_sum(fields, 1, false);
            let of_sum = b.op("Mul", &[sum, sum]);
            let of_sum = b.reduce_sum(of_sum, -1, true);
            let of_each = b.op("Mul", &[get(0)?, get(0)?]);
            let of_each = b.reduce_sum(of_each, -1, true);
            let twice = b.op("Sub", &[of_sum, of_each]);
            b.op("Mul", &[twice, half])
        }
        Op::Cross(op) => {
            let y = b.linear(get(1)?, op.weight, Some(op.bias), Activation::None)?;
            let y = b.op("Mul", &[get(0)?, y]);
            b.op("Add", &[y, get(1)?])
        }
        Op::Scenario(op) => {
            let table = b.weight(op.weight)?;
            b.of_scenario(table, op.weight, 0.0, op.level)?
        }
        Op::PartitionedNorm(op) => b.partitioned_norm(op, get(0)?)?,
        Op::StarLinear(op) => b.star_linear(op, get(0)?)?,
        Op::Experts(op) => b.experts(op, get(0)?, get(1)?)?,
        // Both also tell their losses how they chose, in the columns behind the weights.
        Op::SelectExperts(op) => return Ok(Made { tensor: b.select_experts(op, get(0)?)?, columns: op.experts }),
        Op::NoisyTopK(op) => return Ok(Made { tensor: b.top_k_softmax(op, get(0)?), columns: op.experts }),
        Op::ScenarioMix(op) => {
            // One row of weights times a row a scenario, for each sample.
            let weights = b.reshape(get(0)?, &[0, 1, op.scenarios as i64]);
            let z = b.reshape(get(1)?, &[0, op.scenarios as i64, op.tasks as i64]);
            let mixed = b.op("MatMul", &[weights, z]);
            b.reshape(mixed, &[0, op.tasks as i64])
        }
        Op::Stitch(op) => {
            let towers = (0..op.weight.rows).map(get).collect::<Result<Vec<_>>>()?;
            b.stitch(op, &towers, b.graph.domain(node.output))?
        }
        Op::PositionBias(op) => {
            // A score knows no position: it has what the missing one adds.
            let bias = b.first_column(op.by_position)?;
            match inputs.first() {
                Some(crossed) => {
                    let missing = if crossed.columns == 1 { crossed.tensor } else { b.columns(crossed.tensor, 0, 1) };
                    b.op("Add", &[missing, bias])
                }
                None => {
                    let (samples, one) = (b.samples()?, b.ints(&[1]));
                    let shape = b.op_with("Concat", &[samples, one], &[("axis", Attribute::Int(0))]);
                    b.op("Expand", &[bias, shape])
                }
            }
        }
        Op::UnitLength(_) => {
            let (x, least) = (get(0)?, b.float(unit_length::EPSILON));
            let squares = b.op("Mul", &[x, x]);
            let squares = b.reduce_sum(squares, -1, true);
            let squares = b.op("Add", &[squares, least]);
            let length = b.op("Sqrt", &[squares]);
            b.op("Div", &[x, length])
        }
        #[cfg(feature = "train")]
        Op::Patch(op) => patch(b, op, get(0)?)?,
        Op::Loss(_) => return of_training("a loss"),
        Op::TaskWeight(_) => return of_training("the weight of a task's loss"),
        Op::SpreadLoss(_) => return of_training("the loss of a prediction with its spread"),
        Op::Balance(_) => return of_training("a balancing loss"),
    }))
}

/// What is generated is a constant of a model.
#[cfg(feature = "train")]
fn patch(b: &mut Builder<'_>, op: &crate::ops::patch::Patch, x: Tensor) -> Result<Tensor> {
    let ([width, rank], weights) = (op.down.shape(), &b.network.weights);
    let mut generated = vec![0.0; op.basis.shape()[1]];
    op.generate(op.numbers.of(weights), weights, &mut generated);
    let (up, bias) = generated.split_at(rank * width);
    let down = b.weight(op.down)?;
    let up = b.floats("patch_up", &[rank as i64, width as i64], up);
    let bias = b.floats("patch_bias", &[1, width as i64], bias);
    let narrow = b.op("MatMul", &[x, down]);
    let narrow = b.op("Tanh", &[narrow]);
    let y = b.op("MatMul", &[narrow, up]);
    let y = b.op("Add", &[y, bias]);
    Ok(b.op("Add", &[x, y]))
}

fn unary(b: &mut Builder<'_>, function: Unary, x: Tensor) -> Tensor {
    match function {
        Unary::Sigmoid => b.op("Sigmoid", &[x]),
        Unary::Tanh => b.op("Tanh", &[x]),
        Unary::Relu => b.op("Relu", &[x]),
        Unary::Exp => {
            // As ours, it stays finite.
            let most = b.float(88.376_26);
            let x = b.op("Min", &[x, most]);
            b.op("Exp", &[x])
        }
        Unary::Softplus => b.op("Softplus", &[x]),
        Unary::LogSigmoid => {
            let x = b.op("Neg", &[x]);
            let x = b.op("Softplus", &[x]);
            b.op("Neg", &[x])
        }
        Unary::Scale(factor) => {
            let factor = b.float(factor);
            b.op("Mul", &[x, factor])
        }
        Unary::Shift(term) => {
            let term = b.float(term);
            b.op("Add", &[x, term])
        }
        Unary::Clamp([low, high]) => {
            let (low, high) = (b.float(low), b.float(high));
            b.op("Clip", &[x, low, high])
        }
    }
}

fn batch_norm(b: &mut Builder<'_>, op: &BatchNorm, x: Tensor) -> Result<Tensor> {
    let (mean, variance) = (b.state(op.running)?, b.state(op.running + op.width)?);
    let centred = b.op("Sub", &[x, mean]);
    let y = match op.affine {
        None => {
            let deviation = b.deviation(variance, op.epsilon);
            b.op("Div", &[centred, deviation])
        }
        Some((gamma, beta)) => {
            let (gamma, beta) = (b.weight(gamma)?, b.weight(beta)?);
            let deviation = b.deviation(variance, op.epsilon);
            let scale = b.op("Div", &[gamma, deviation]);
            let y = b.op("Mul", &[centred, scale]);
            b.op("Add", &[y, beta])
        }
    };
    Ok(b.activation(op.activation, y))
}

/// Steps that several operations take.
impl Builder<'_> {
    /// `activation(x W + b)`.
    pub(super) fn linear(
        &mut self,
        x: Tensor,
        weight: Weight,
        bias: Option<Weight>,
        activation: Activation,
    ) -> Result<Tensor> {
        let mut y = self.product(x, weight)?;
        if let Some(bias) = bias {
            let bias = self.weight(bias)?;
            // Of a product and an `Add` onnxruntime makes one operation of real numbers before it looks for products of codes.
            let add = if self.quantized(weight)?.is_some() { "Sum" } else { "Add" };
            y = self.op(add, &[y, bias]);
        }
        Ok(self.activation(activation, y))
    }

    pub(super) fn activation(&mut self, activation: Activation, x: Tensor) -> Tensor {
        match activation {
            Activation::None => x,
            Activation::Relu => self.op("Relu", &[x]),
            Activation::Sigmoid => self.op("Sigmoid", &[x]),
            Activation::Tanh => self.op("Tanh", &[x]),
        }
    }

    /// `√(variance + ε)`.
    pub(super) fn deviation(&mut self, variance: Tensor, epsilon: f32) -> Tensor {
        let epsilon = self.float(epsilon);
        let variance = self.op("Add", &[variance, epsilon]);
        self.op("Sqrt", &[variance])
    }

    /// The columns of some tensors side by side.
    pub(super) fn beside(&mut self, parts: &[Tensor]) -> Tensor {
        match parts {
            [one] => *one,
            _ => self.op_with("Concat", parts, &[("axis", Attribute::Int(-1))]),
        }
    }

    /// Some columns.
    pub(super) fn columns(&mut self, x: Tensor, start: usize, width: usize) -> Tensor {
        let (from, to, axis) = (self.ints(&[start as i64]), self.ints(&[(start + width) as i64]), self.ints(&[-1]));
        self.op("Slice", &[x, from, to, axis])
    }

    /// The first column of a weight: all that a score reads of it.
    fn first_column(&mut self, weight: Weight) -> Result<Tensor> {
        let (name, numbers) = self.weight_numbers(weight)?;
        let first: Vec<f32> = numbers.iter().step_by(weight.columns.max(1)).copied().collect();
        Ok(self.floats(&format!("{name}.first"), &[weight.rows as i64, 1], &first))
    }

    pub(super) fn reshape(&mut self, x: Tensor, shape: &[i64]) -> Tensor {
        let shape = self.ints(shape);
        self.op("Reshape", &[x, shape])
    }

    pub(super) fn reduce_sum(&mut self, x: Tensor, axis: i64, keep: bool) -> Tensor {
        let axes = self.ints(&[axis]);
        self.op_with("ReduceSum", &[x, axes], &[("keepdims", Attribute::Int(i64::from(keep)))])
    }

    pub(super) fn reduce_max(&mut self, x: Tensor, axis: i64, keep: bool) -> Tensor {
        let attributes = [("axes", Attribute::Ints(&[axis])), ("keepdims", Attribute::Int(i64::from(keep)))];
        self.op_with("ReduceMax", &[x], &attributes)
    }

    pub(super) fn unsqueeze(&mut self, x: Tensor, axes: &[i64]) -> Tensor {
        let axes = self.ints(axes);
        self.op("Unsqueeze", &[x, axes])
    }

    pub(super) fn squeeze(&mut self, x: Tensor, axis: i64) -> Tensor {
        let axes = self.ints(&[axis]);
        self.op("Squeeze", &[x, axes])
    }

    pub(super) fn cast(&mut self, x: Tensor, to: i64) -> Tensor {
        self.op_with("Cast", &[x], &[("to", Attribute::Int(to))])
    }

    /// Where a number is above zero.
    pub(super) fn is_positive(&mut self, x: Tensor) -> Tensor {
        let zero = self.float(0.0);
        self.op("Greater", &[x, zero])
    }

    /// The softmax along an axis of what is let in, and zero elsewhere, also where nothing is.
    pub(super) fn masked_softmax(&mut self, x: Tensor, mask: Tensor, axis: i64) -> Tensor {
        let (zero, least) = (self.float(0.0), self.float(f32::NEG_INFINITY));
        let x = self.op("Where", &[mask, x, least]);
        let y = self.op_with("Softmax", &[x], &[("axis", Attribute::Int(axis))]);
        self.op("Where", &[mask, y, zero])
    }

    /// Which of each row's `of` numbers are among the `count` largest or smallest, the first of equal ones: one there and zero elsewhere.
    pub(super) fn extremes(&mut self, x: Tensor, count: usize, of: usize, largest: bool) -> Tensor {
        let count = self.ints(&[count as i64]);
        let outputs = [self.tensor("TopK_values"), self.tensor("TopK_indices")];
        let largest = [("axis", Attribute::Int(-1)), ("largest", Attribute::Int(i64::from(largest)))];
        self.node("TopK", &[Some(x), Some(count)], &largest, &outputs.map(Some));
        let depth = self.ints(&[of as i64]);
        let values = self.once(Key::ZeroAndOne, |b| b.floats("zero_and_one", &[2], &[0.0, 1.0]));
        let each = self.op_with("OneHot", &[outputs[1], depth, values], &[("axis", Attribute::Int(-1))]);
        self.reduce_sum(each, 1, false)
    }

    /// A single whole number.
    pub(super) fn whole(&mut self, value: i64) -> Tensor {
        let one = self.ints(&[value]);
        self.squeeze(one, 0)
    }
}
