//! Dropout of experts: a gate's weight becomes zero and the others of its mixture share it (Zhao et al. 2019).

#[cfg(feature = "train")]
use super::Backward;
use super::{Cost, Operation};
use crate::engine::{Context, Inputs};
use crate::graph::{Graph, Value};
use kitestring_core::Seed;
use serde::{Deserialize, Serialize};

/// In training `g'_i = m_i g_i / Σ_l m_l g_l` with `m_i` 0 at a probability, else 1; `g` itself where all drop out, and in inference.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GateDropout {
    /// The probability of being dropped.
    pub probability: f32,
    /// Number of columns.
    pub width: usize,
    /// Distinguishes the dropouts of one graph.
    pub number: u64,
}

impl Graph {
    /// Drops weights of a mixture and lets the others share theirs. A probability of 0 records nothing.
    pub fn gate_dropout(&mut self, gates: Value, probability: f32) -> Value {
        if probability <= 0.0 {
            return gates;
        }
        let (domain, width, number) = (self.domain(gates), self.width(gates), self.nodes().len() as u64);
        self.record(super::Op::GateDropout(GateDropout { probability, width, number }), &[gates], domain, width)
    }
}

/// What the weights that stay add up to. None if none stays: then nothing is dropped.
fn kept(gates: &[f32], stays: impl Fn(usize) -> bool) -> Option<f32> {
    let sum: f32 = gates.iter().enumerate().filter(|(column, _)| stays(*column)).map(|(_, gate)| gate).sum();
    (sum > 0.0).then_some(sum)
}

impl GateDropout {
    fn stays(&self, seed: Seed, row: usize) -> impl Fn(usize) -> bool + use<> {
        let (seed, probability) = (seed.at(self.number).at(row as u64), self.probability);
        move |column| seed.unit_at(column as u64) >= probability
    }
}

impl Operation for GateDropout {
    fn forward(&self, cx: &Context<'_>, inputs: Inputs<'_>, out: &mut [f32], _: &mut Vec<f32>) {
        let gates = inputs.get(0);
        out.copy_from_slice(gates);
        let Some(seed) = cx.noise_seed() else { return };
        for (row, out) in out.chunks_exact_mut(self.width).enumerate() {
            let stays = self.stays(seed, cx.rows.start + row);
            if let Some(sum) = kept(out, &stays) {
                let share = |(column, gate): (usize, &mut f32)| *gate = if stays(column) { *gate / sum } else { 0.0 };
                out.iter_mut().enumerate().for_each(share);
            }
        }
    }

    #[cfg(feature = "train")]
    fn backward(&self, cx: &Context<'_>, mut pass: Backward<'_>) {
        let gates = pass.inputs.get(0);
        if let Some(seed) = cx.noise_seed() {
            let rows = pass.out_grad.chunks_exact_mut(self.width).zip(gates.chunks_exact(self.width));
            for (row, ((grad, gates), out)) in rows.zip(pass.out.chunks_exact(self.width)).enumerate() {
                let stays = self.stays(seed, cx.rows.start + row);
                if let Some(sum) = kept(gates, &stays) {
                    let mean: f32 = grad.iter().zip(out).map(|(grad, out)| grad * out).sum();
                    for (column, grad) in grad.iter_mut().enumerate() {
                        *grad = if stays(column) { (*grad - mean) / sum } else { 0.0 };
                    }
                }
            }
        }
        pass.pass(0, |grad, _| grad);
    }

    fn cost(&self, _: usize, _: usize, _: usize) -> Cost {
        Cost::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shared specification's case: the first of (.5, .3, .2) drops out.
    #[test]
    fn the_others_share() {
        let gates = [0.5, 0.3, 0.2];
        let sum = kept(&gates, |column| column > 0);
        assert_eq!(sum.map(|sum| [gates[1] / sum, gates[2] / sum]), Some([0.6, 0.4]));
        assert_eq!(kept(&gates, |_| false), None);
    }
}
