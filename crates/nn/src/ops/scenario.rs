//! A learned row for each scenario of a level.

#[cfg(feature = "train")]
use super::Backward;
use super::{Cost, Operation};
use crate::engine::{Context, Inputs};
use crate::graph::{Domain, Graph, Initializer, Value, Weight};
use crate::grow::{Of, Parts};
use serde::{Deserialize, Serialize};

/// The row of a sample's scenario. A scenario that was not seen in training (number 0) has zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScenarioEmbed {
    /// The level.
    pub level: usize,
    /// A row for each scenario but number 0.
    pub weight: Weight,
}

impl Graph {
    /// A learned row of `width` numbers for each of a level's `count` scenarios (with the unseen one): one row a sample.
    pub fn scenario(&mut self, level: usize, count: usize, width: usize) -> Value {
        let seen = count.saturating_sub(1).max(1);
        let weight = self.rows_of(Parts::new(Of::Scenario(level), seen), |graph| {
            graph.weight("weight", [seen, width], Initializer::Normal(0.05))
        });
        self.record(super::Op::Scenario(ScenarioEmbed { level, weight }), &[], Domain::Rows, width)
    }
}

impl Operation for ScenarioEmbed {
    fn forward(&self, cx: &Context<'_>, _: Inputs<'_>, out: &mut [f32], _: &mut Vec<f32>) {
        let (width, weight) = (self.weight.columns, self.weight.of(cx.weights));
        for (out, scenario) in out.chunks_exact_mut(width).zip(cx.scenarios(self.level)) {
            match scenario.checked_sub(1).and_then(|row| weight.get(row * width..(row + 1) * width)) {
                Some(row) => out.copy_from_slice(row),
                None => out.fill(0.0),
            }
        }
    }

    #[cfg(feature = "train")]
    fn backward(&self, cx: &Context<'_>, pass: Backward<'_>) {
        let width = self.weight.columns;
        let into = self.weight.of_mut(pass.weight_grads);
        for (grad, scenario) in pass.out_grad.chunks_exact(width).zip(cx.scenarios(self.level)) {
            if let Some(row) = scenario.checked_sub(1).and_then(|row| into.get_mut(row * width..(row + 1) * width)) {
                row.iter_mut().zip(grad).for_each(|(row, grad)| *row += grad);
            }
        }
    }

    #[cfg(feature = "train")]
    fn weights(&self) -> Vec<Weight> {
        vec![self.weight]
    }

    fn cost(&self, _: usize, _: usize, out_rows: usize) -> Cost {
        Cost { flops: 0, bytes: (4 * out_rows * self.weight.columns) as u64 }
    }
}
