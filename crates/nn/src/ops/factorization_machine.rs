//! The second-order term of a factorization machine.

#[cfg(feature = "train")]
use super::Backward;
use super::{Cost, Operation};
use crate::engine::{Context, Inputs};
use crate::graph::{Domain, Graph, Value};
use crate::kernels::kernel;
use serde::{Deserialize, Serialize};

/// `Σ_{i<j} ⟨v_i, v_j⟩ = ½ Σ_d ((Σ_i v_id)² − Σ_i v_id²)` over the fields `v_i` of a row (Rendle 2010, lemma 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FactorizationMachine {
    /// The width of one field.
    pub dimension: usize,
    /// The width of a row: fields × dimension.
    pub width: usize,
}

impl Graph {
    /// The second-order term of fields of one width side by side: `rows × (fields · dimension)` to `rows × 1`.
    ///
    /// # Panics
    /// If the row is not made of whole fields: a defect of the calling slot.
    pub fn factorization_machine(&mut self, fields: Value, dimension: usize) -> Value {
        let width = self.width(fields);
        assert_eq!(width % dimension, 0, "fields of one width");
        let op = FactorizationMachine { dimension, width };
        self.record(super::Op::FactorizationMachine(op), &[fields], Domain::Rows, 1)
    }
}

kernel! {
    /// The term of one row; the fields' sum is left in `sum`.
    fn second_order['a](x: &'a [f32], sum: &'a mut [f32]) -> f32 {
        sum.fill(0.0);
        let mut squares = 0.0;
        for field in x.chunks_exact(sum.len()) {
            for (sum, x) in sum.iter_mut().zip(field) {
                *sum += x;
                squares += x * x;
            }
        }
        0.5 * (sum.iter().map(|sum| sum * sum).sum::<f32>() - squares)
    }
}

#[cfg(feature = "train")]
kernel! {
    fn second_order_grad['a](grad: &'a mut [f32], x: &'a [f32], sum: &'a [f32], g: f32, add: bool) {
        for (grad, x) in grad.chunks_exact_mut(sum.len()).zip(x.chunks_exact(sum.len())) {
            for ((grad, x), sum) in grad.iter_mut().zip(x).zip(sum) {
                let value = g * (sum - x);
                *grad = if add { *grad + value } else { value };
            }
        }
    }
}

impl Operation for FactorizationMachine {
    fn forward(&self, cx: &Context<'_>, inputs: Inputs<'_>, out: &mut [f32], saved: &mut Vec<f32>) {
        let d = self.dimension;
        saved.clear();
        saved.resize(if cx.records() { out.len() * d } else { d }, 0.0);
        let step = if cx.records() { d } else { 0 };
        for (row, (out, x)) in out.iter_mut().zip(inputs.get(0).chunks_exact(self.width)).enumerate() {
            *out = second_order(x, &mut saved[row * step..row * step + d]);
        }
    }

    #[cfg(feature = "train")]
    fn backward(&self, _: &Context<'_>, mut pass: Backward<'_>) {
        let (d, x) = (self.dimension, pass.inputs.get(0));
        let (out_grad, saved) = (std::mem::take(&mut pass.out_grad), std::mem::take(&mut pass.saved));
        let Some((grad, add)) = pass.input_grad(0) else { return };
        let rows = grad.chunks_exact_mut(self.width).zip(x.chunks_exact(self.width));
        for ((grad, x), (g, sum)) in rows.zip(out_grad.iter().zip(saved.chunks_exact(d))) {
            second_order_grad(grad, x, sum, *g, add);
        }
    }

    fn cost(&self, rows: usize, _: usize, _: usize) -> Cost {
        Cost { flops: (rows * (3 * self.width + 2 * self.dimension)) as u64, bytes: 0 }
    }
}
