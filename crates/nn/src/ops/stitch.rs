//! Mixtures of the values of several towers: the unit of cross-stitch networks (Misra et al. 2016).

#[cfg(feature = "train")]
use super::Backward;
use super::{Cost, Operation};
use crate::engine::{Context, Inputs};
use crate::graph::{Graph, Initializer, Value, Weight};
use crate::grow::{Of, Parts};
use crate::kernels::kernel;
use crate::kernels::reduce::axpy;
#[cfg(feature = "train")]
use crate::kernels::reduce::dot;
use serde::{Deserialize, Serialize};

/// `x̃_i = Σ_j α_ij x_j` for `T` values of one width: the results side by side, `x̃_1 … x̃_T`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stitch {
    /// `α`, `T × T`, or `T × (T · width)` where each column has its own.
    pub weight: Weight,
    /// The width of each value.
    pub width: usize,
}

impl Graph {
    /// Mixtures of values of one shape, a value a task, side by side: `rows × width` each to `rows × (T · width)`. At first each is `own` of
    /// itself, and the others share the rest. `per_channel` learns a mixture for each column.
    ///
    /// # Panics
    /// If the shapes differ: a defect of the calling slot.
    pub fn stitch(&mut self, values: &[Value], per_channel: bool, own: f32) -> Value {
        let (domain, width, count) = (self.domain(values[0]), self.width(values[0]), values.len());
        let same = |value: &Value| (self.domain(*value), self.width(*value)) == (domain, width);
        assert!(values.iter().all(same), "only values of one shape are stitched");
        let other = (1.0 - own) / count.saturating_sub(1).max(1) as f32;
        let columns = if per_channel { count * width } else { count };
        let parts = Parts::new(Of::Task, count);
        let weight = self.rows_of(parts, |graph| {
            graph.columns_of(parts.speaking(), |graph| {
                graph.weight("weight", [count, columns], Initializer::Diagonal(own, other))
            })
        });
        self.record(super::Op::Stitch(Stitch { weight, width }), values, domain, count * width)
    }
}

/// Where one value of a mixture stands: the mixture's first column, the number of columns of all mixtures, the value's.
#[derive(Debug, Clone, Copy)]
struct Place {
    column: usize,
    stride: usize,
    width: usize,
}

kernel! {
    /// Adds a value times its factors, one or one a column, to a mixture.
    fn add_scaled['a](out: &'a mut [f32], x: &'a [f32], factors: &'a [f32], place: Place) {
        for (out, x) in out.chunks_exact_mut(place.stride).zip(x.chunks_exact(place.width)) {
            let out = &mut out[place.column..place.column + place.width];
            match factors {
                [factor] => axpy(out, *factor, x),
                _ => out.iter_mut().zip(factors.iter().zip(x)).for_each(|(out, (factor, x))| *out += factor * x),
            }
        }
    }
}

#[cfg(feature = "train")]
kernel! {
    /// Adds the gradient of a mixture times the factors to that of a value.
    fn add_scaled_back['a](grad: &'a mut [f32], out_grad: &'a [f32], factors: &'a [f32], place: Place) {
        for (grad, g) in grad.chunks_exact_mut(place.width).zip(out_grad.chunks_exact(place.stride)) {
            let g = &g[place.column..place.column + place.width];
            match factors {
                [factor] => axpy(grad, *factor, g),
                _ => grad.iter_mut().zip(factors.iter().zip(g)).for_each(|(grad, (factor, g))| *grad += factor * g),
            }
        }
    }

    /// Adds the gradients of the factors.
    fn add_products['a](into: &'a mut [f32], x: &'a [f32], out_grad: &'a [f32], place: Place) {
        for (x, g) in x.chunks_exact(place.width).zip(out_grad.chunks_exact(place.stride)) {
            let g = &g[place.column..place.column + place.width];
            match into {
                [into] => *into += dot(g, x),
                _ => into.iter_mut().zip(g.iter().zip(x)).for_each(|(into, (g, x))| *into += g * x),
            }
        }
    }
}

impl Stitch {
    fn place(&self, mixture: usize) -> Place {
        Place { column: mixture * self.width, stride: self.weight.rows * self.width, width: self.width }
    }

    /// Where the factors of a value in a mixture lie within the weight.
    fn factors(&self, mixture: usize, value: usize) -> std::ops::Range<usize> {
        let block = self.weight.columns / self.weight.rows;
        let start = mixture * self.weight.columns + value * block;
        start..start + block
    }
}

impl Operation for Stitch {
    fn forward(&self, cx: &Context<'_>, inputs: Inputs<'_>, out: &mut [f32], _: &mut Vec<f32>) {
        let weight = self.weight.of(cx.weights);
        out.fill(0.0);
        for mixture in 0..self.weight.rows {
            for value in 0..self.weight.rows {
                add_scaled(out, inputs.get(value), &weight[self.factors(mixture, value)], self.place(mixture));
            }
        }
    }

    #[cfg(feature = "train")]
    fn backward(&self, cx: &Context<'_>, mut pass: Backward<'_>) {
        let weight = self.weight.of(cx.weights);
        let out_grad = std::mem::take(&mut pass.out_grad);
        for value in 0..self.weight.rows {
            let x = pass.inputs.get(value);
            let into = self.weight.of_mut(pass.weight_grads);
            for mixture in 0..self.weight.rows {
                add_products(&mut into[self.factors(mixture, value)], x, out_grad, self.place(mixture));
            }
            if let Some(grad) = pass.input_grad_to_add(value) {
                for mixture in 0..self.weight.rows {
                    add_scaled_back(grad, out_grad, &weight[self.factors(mixture, value)], self.place(mixture));
                }
            }
        }
    }

    #[cfg(feature = "train")]
    fn weights(&self) -> Vec<Weight> {
        vec![self.weight]
    }

    fn cost(&self, _: usize, _: usize, out_rows: usize) -> Cost {
        let count = self.weight.rows;
        let bytes = 4 * (count * self.weight.columns) as u64;
        Cost { flops: (2 * out_rows * count * count * self.width) as u64, bytes }
    }
}
