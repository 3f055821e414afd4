//! A number for each display position: of the sample's own in training, of the missing one otherwise.

#[cfg(feature = "train")]
use super::Backward;
use super::{Cost, Operation};
use crate::engine::{Context, Inputs};
use crate::graph::{Domain, Graph, Initializer, Value, Weight};
use serde::{Deserialize, Serialize};

/// `b[p]`, or `b[p] + c[p]` with an input `c` of one column a position.
///
/// In training `p` is the sample's position, 0 where it is missing and, with a probability, where it is not. Otherwise `p` is 0: no
/// score depends on a position.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PositionBias {
    /// `b`: one row, the missing position, then 1 and so on. Later positions count as the last.
    pub by_position: Weight,
    /// The probability of taking a position for missing in training.
    pub dropout: f32,
    /// Distinguishes the draws of one graph.
    pub number: u64,
}

impl Graph {
    /// What a sample's position adds, one column. `crossed` has `positions + 1` columns.
    ///
    /// # Panics
    /// If `crossed` has another width: a defect of the calling slot.
    pub fn position_bias(&mut self, positions: usize, crossed: Option<Value>, dropout: f32) -> Value {
        assert!(crossed.is_none_or(|crossed| self.width(crossed) == positions + 1), "one column a position");
        let by_position = self.weight("by_position", [1, positions + 1], Initializer::Constant(0.0));
        let op = PositionBias { by_position, dropout, number: self.nodes().len() as u64 };
        let inputs: Vec<Value> = crossed.into_iter().collect();
        self.record(super::Op::PositionBias(op), &inputs, Domain::Rows, 1)
    }
}

impl PositionBias {
    /// What counts as the position of a sample of the tile.
    fn position(&self, cx: &Context<'_>, row: usize) -> usize {
        let row = cx.rows.start + row;
        let drawn = |seed: kitestring_core::Seed| seed.at(self.number).unit_at(row as u64);
        if !cx.records() || cx.noise_seed().is_some_and(|seed| drawn(seed) < self.dropout) {
            return 0;
        }
        let position = cx.batch().position.get(row).map_or(0, |position| *position as usize);
        position.min(self.by_position.columns - 1)
    }

    fn is_crossed(inputs: Inputs<'_>) -> bool {
        inputs.count() > 0
    }
}

impl Operation for PositionBias {
    fn forward(&self, cx: &Context<'_>, inputs: Inputs<'_>, out: &mut [f32], _: &mut Vec<f32>) {
        let (by_position, columns) = (self.by_position.of(cx.weights), self.by_position.columns);
        for (row, out) in out.iter_mut().enumerate() {
            let position = self.position(cx, row);
            *out = by_position[position];
            if Self::is_crossed(inputs) {
                *out += inputs.get(0)[row * columns + position];
            }
        }
    }

    #[cfg(feature = "train")]
    fn backward(&self, cx: &Context<'_>, mut pass: Backward<'_>) {
        let columns = self.by_position.columns;
        let out_grad = std::mem::take(&mut pass.out_grad);
        let into = self.by_position.of_mut(pass.weight_grads);
        for (row, g) in out_grad.iter().enumerate() {
            into[self.position(cx, row)] += g;
        }
        if !Self::is_crossed(pass.inputs) {
            return;
        }
        let Some(grad) = pass.input_grad_to_add(0) else { return };
        for (row, g) in out_grad.iter().enumerate() {
            grad[row * columns + self.position(cx, row)] += g;
        }
    }

    #[cfg(feature = "train")]
    fn weights(&self) -> Vec<Weight> {
        vec![self.by_position]
    }

    fn cost(&self, _: usize, _: usize, out_rows: usize) -> Cost {
        Cost { flops: 2 * out_rows as u64, bytes: 0 }
    }
}
