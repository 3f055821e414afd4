//! A gated recurrent unit over each sample's list (Cho et al. 2014, in the form PyTorch computes).

#[cfg(feature = "train")]
mod backward;

#[cfg(feature = "train")]
use super::Backward;
use super::{Cost, Operation};
use crate::engine::{Context, Inputs};
use crate::graph::{Domain, Graph, Initializer, Value, Weight};
use crate::kernels::{
    activation::{sigmoid, tanh},
    kernel,
    matmul::{Matrix, Start, matmul},
};
use kitestring_core::{Error, Result};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;

/// A list read from its first to its last element, starting from the state `h = 0`:
///
/// `r = σ(x W_r + b_r + h U_r + c_r)`, `z = σ(x W_z + b_z + h U_z + c_z)`, `n = tanh(x W_n + b_n + r ⊙ (h U_n + c_n))`,
/// `h ← (1 − z) ⊙ n + z ⊙ h`.
///
/// An empty list keeps the state zero. The elements of a tile are ordered by time, within one time the longest lists first: then the
/// products with `W` are one product for all of them, and those with `U` one for each time, over the lists that are that long. Nothing
/// is padded. A list that several samples share is read once.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Gru {
    /// The feature whose lists count.
    pub feature: usize,
    /// The width of an element.
    pub width: usize,
    /// The width of the state.
    pub units: usize,
    /// `W` (`width × 3 units`) and `b`: reset gate, update gate and candidate side by side.
    pub input: (Weight, Weight),
    /// `U` (`units × 3 units`) and `c`, likewise.
    pub recurrent: (Weight, Weight),
    /// Whether the result has the state after every element, else only the last one of each sample.
    pub every_state: bool,
}

impl Graph {
    /// The last state of each sample's list: `positions × width` to `samples × units`.
    ///
    /// # Panics
    /// If the value is no list, or there are no units: a defect of the calling slot.
    pub fn gru(&mut self, x: Value, units: usize) -> Value {
        self.gru_with(x, units, false)
    }

    /// The state after every element: `positions × width` to `positions × units`.
    ///
    /// # Panics
    /// As [`Self::gru`].
    pub fn gru_states(&mut self, x: Value, units: usize) -> Value {
        self.gru_with(x, units, true)
    }

    fn gru_with(&mut self, x: Value, units: usize, every_state: bool) -> Value {
        let (width, domain) = (self.width(x), self.domain(x));
        let Domain::Positions(feature) = domain else { panic!("a GRU reads lists") };
        assert!(units > 0, "a GRU has at least one unit");
        // The variance of PyTorch's uniform distribution over ±1/√units.
        let initializer = Initializer::Normal(1.0 / (3.0 * units as f32).sqrt());
        let mut affine = |name: &str, inputs: usize| {
            self.scope(name, |graph| {
                let weight = graph.weight("weight", [inputs, 3 * units], initializer);
                (weight, graph.weight("bias", [1, 3 * units], Initializer::Constant(0.0)))
            })
        };
        let (input, recurrent) = (affine("input", width), affine("recurrent", units));
        let op = Gru { feature, width, units, input, recurrent, every_state };
        self.record(super::Op::Gru(op), &[x], if every_state { domain } else { Domain::Rows }, units)
    }
}

/// The lists of a tile: where each starts among the batch's elements, and where the last one ends.
#[derive(Clone, Copy)]
struct Lists<'a> {
    offsets: &'a [u32],
}

impl<'a> Lists<'a> {
    fn new(cx: &Context<'a>, feature: usize) -> Self {
        Self { offsets: cx.lists(feature) }
    }

    fn count(self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    fn len(self, list: usize) -> usize {
        (self.offsets[list + 1] - self.offsets[list]) as usize
    }

    /// The first element of a list, within the tile's elements.
    fn start(self, list: usize) -> usize {
        (self.offsets[list] - self.offsets[0]) as usize
    }

    fn positions(self) -> usize {
        self.offsets.last().map_or(0, |end| (end - self.offsets[0]) as usize)
    }

    fn longest(self) -> usize {
        (0..self.count()).map(|list| self.len(list)).max().unwrap_or(0)
    }
}

/// What a forward pass keeps. An element at time `t` of the list of rank `k` has row `starts[t] + k`.
struct Saved<'a> {
    /// The list of each rank, the longest first.
    order: &'a mut [u32],
    /// The first row of each time, and the number of rows.
    starts: &'a mut [u32],
    /// The elements, `rows × width`.
    x: &'a mut [f32],
    /// First `x W + b`, then `r`, `z` and `n`: `rows × 3 units`.
    gates: &'a mut [f32],
    /// `h U_n + c_n`, `rows × units`.
    recurrent: &'a mut [f32],
    /// The states: zeros for each list, then that after each element.
    states: &'a mut [f32],
    /// The last state of each list.
    last: &'a mut [f32],
    /// `h U + c` of one time, `lists × 3 units`.
    product: &'a mut [f32],
}

impl<'a> Saved<'a> {
    /// The number of floats of each part.
    fn sizes(op: &Gru, lists: Lists<'_>) -> [usize; 8] {
        let (count, positions, times, units) = (lists.count(), lists.positions(), lists.longest(), op.units);
        [
            count,
            times + 1,
            positions * op.width,
            positions * 3 * units,
            positions * units,
            (count + positions) * units,
            count * units,
            count * 3 * units,
        ]
    }

    fn new(op: &Gru, lists: Lists<'_>, mut saved: &'a mut [f32]) -> Self {
        let [order, starts, x, gates, recurrent, states, last, product] = Self::sizes(op, lists).map(|size| {
            let (part, after) = std::mem::take(&mut saved).split_at_mut(size);
            saved = after;
            part
        });
        // Numbers of rows kept as their bits: a float of another kind would be rounded.
        let (order, starts) = (bytemuck::cast_slice_mut(order), bytemuck::cast_slice_mut(starts));
        Self { order, starts, x, gates, recurrent, states, last, product }
    }

    /// Orders the lists, and counts the rows of each time.
    fn arrange(&mut self, lists: Lists<'_>) {
        self.order.iter_mut().enumerate().for_each(|(list, into)| *into = list as u32);
        self.order.sort_unstable_by_key(|list| (Reverse(lists.len(*list as usize)), *list));
        let (mut start, mut active) = (0, self.order.len());
        for (time, into) in self.starts.iter_mut().enumerate() {
            *into = start as u32;
            while active > 0 && lists.len(self.order[active - 1] as usize) <= time {
                active -= 1;
            }
            start += active;
        }
    }

    fn times(&self) -> usize {
        self.starts.len() - 1
    }

    /// The rows of a time.
    fn rows(&self, time: usize) -> std::ops::Range<usize> {
        self.starts[time] as usize..self.starts[time + 1] as usize
    }

    /// The rows, among the states, of the states before a time.
    fn previous(&self, time: usize) -> std::ops::Range<usize> {
        let start = if time == 0 { 0 } else { self.order.len() + self.starts[time - 1] as usize };
        start..start + self.rows(time).len()
    }
}

/// Calls `each` with every row and the element it stands for.
#[inline(always)]
fn for_each_row(lists: Lists<'_>, order: &[u32], starts: &[u32], mut each: impl FnMut(usize, usize)) {
    for (time, pair) in starts.windows(2).enumerate() {
        let rows = pair[0] as usize..pair[1] as usize;
        rows.zip(order).for_each(|(row, list)| each(row, lists.start(*list as usize) + time));
    }
}

kernel! {
    /// One time: from `x W + b` in `gates` and `h U + c` in `product` to the gates and the next states.
    fn advance['a](
        next: &'a mut [f32],
        gates: &'a mut [f32],
        product: &'a [f32],
        previous: &'a [f32],
        units: usize,
    ) {
        let rows = next.chunks_exact_mut(units).zip(gates.chunks_exact_mut(3 * units));
        let given = product.chunks_exact(3 * units).zip(previous.chunks_exact(units));
        for ((next, gates), (product, previous)) in rows.zip(given) {
            let (both, n) = gates.split_at_mut(2 * units);
            let (of_gates, of_candidate) = product.split_at(2 * units);
            both.iter_mut().zip(of_gates).for_each(|(gate, product)| *gate = sigmoid(*gate + product));
            let (r, z) = both.split_at(units);
            n.iter_mut().zip(r.iter().zip(of_candidate)).for_each(|(n, (r, product))| *n += r * product);
            // By itself: in one loop with `r`, which lies in the same row, the exponential is not vectorized.
            n.iter_mut().for_each(|n| *n = tanh(*n));
            for ((next, previous), (n, z)) in next.iter_mut().zip(previous).zip(n.iter().zip(z)) {
                *next = n + z * (previous - n);
            }
        }
    }
}

impl Gru {
    /// The state after one more element, for one list or for several side by side: the update of a state that is kept. `weights` are all
    /// of the graph's, `state` is `lists × units`, `x` `lists × width`, `scratch` memory for the moment.
    ///
    /// # Errors
    /// If the sizes do not fit; then the state is as it was.
    pub fn step(&self, weights: &[f32], state: &mut [f32], x: &[f32], scratch: &mut Vec<f32>) -> Result<()> {
        let (units, lists) = (self.units, state.len() / self.units);
        let end = [self.input.0, self.input.1, self.recurrent.0, self.recurrent.1]
            .map(|weight| weight.offset + weight.rows * weight.columns);
        if state.len() != lists * units || x.len() != lists * self.width || end.iter().any(|end| *end > weights.len()) {
            return Err(Error::internal(format!(
                "a step of a GRU takes states of {units}, as many elements of {}, and the weights of its graph",
                self.width
            )));
        }
        scratch.resize(lists * 7 * units, 0.0);
        let (previous, rest) = scratch.split_at_mut(lists * units);
        let (gates, product) = rest.split_at_mut(lists * 3 * units);
        previous.copy_from_slice(state);
        self.multiply(weights, self.input, x, gates);
        self.multiply(weights, self.recurrent, previous, product);
        advance(state, gates, product, previous, units);
        Ok(())
    }

    /// `x W + b`.
    fn multiply(&self, weights: &[f32], (weight, bias): (Weight, Weight), x: &[f32], out: &mut [f32]) {
        let x = Matrix::new(x, x.len() / weight.rows, weight.rows);
        matmul(out, x, weight.of(weights), weight.columns, Start::Row(bias.of(weights)));
    }
}

impl Operation for Gru {
    fn forward(&self, cx: &Context<'_>, inputs: Inputs<'_>, out: &mut [f32], saved: &mut Vec<f32>) {
        let (x, units, width, lists) = (inputs.get(0), self.units, self.width, Lists::new(cx, self.feature));
        saved.resize(Saved::sizes(self, lists).iter().sum(), 0.0);
        let mut saved = Saved::new(self, lists, saved);
        saved.arrange(lists);
        for_each_row(lists, saved.order, saved.starts, |row, position| {
            let element = &x[position * width..(position + 1) * width];
            saved.x[row * width..(row + 1) * width].copy_from_slice(element);
        });
        self.multiply(cx.weights, self.input, saved.x, saved.gates);
        let zeros = lists.count() * units;
        saved.states[..zeros].fill(0.0);
        saved.last.fill(0.0);
        for time in 0..saved.times() {
            let (rows, previous) = (saved.rows(time), saved.previous(time));
            let going_on = if time + 1 < saved.times() { saved.rows(time + 1).len() } else { 0 };
            let product = &mut saved.product[..rows.len() * 3 * units];
            let (before, after) = saved.states.split_at_mut(zeros + rows.start * units);
            let (previous, next) =
                (&before[previous.start * units..previous.end * units], &mut after[..rows.len() * units]);
            self.multiply(cx.weights, self.recurrent, previous, product);
            let candidates = product.chunks_exact(3 * units).map(|product| &product[2 * units..]);
            let kept = saved.recurrent[rows.start * units..].chunks_exact_mut(units);
            kept.zip(candidates).for_each(|(kept, candidate)| kept.copy_from_slice(candidate));
            advance(next, &mut saved.gates[rows.start * 3 * units..rows.end * 3 * units], product, previous, units);
            // The lists past those of the next time end here.
            for (state, list) in next.chunks_exact(units).zip(&*saved.order).skip(going_on) {
                saved.last[*list as usize * units..][..units].copy_from_slice(state);
            }
        }
        if self.every_state {
            for_each_row(lists, saved.order, saved.starts, |row, position| {
                let state = &saved.states[zeros + row * units..][..units];
                out[position * units..(position + 1) * units].copy_from_slice(state);
            });
        } else {
            for (row, out) in out.chunks_exact_mut(units).enumerate() {
                let list = cx.list_of(self.feature, row);
                out.copy_from_slice(&saved.last[list * units..(list + 1) * units]);
            }
        }
    }

    #[cfg(feature = "train")]
    fn backward(&self, cx: &Context<'_>, pass: Backward<'_>) {
        self.back(cx, pass);
    }

    #[cfg(feature = "train")]
    fn weights(&self) -> Vec<Weight> {
        [self.input, self.recurrent].iter().flat_map(|(weight, bias)| [*weight, *bias]).collect()
    }

    fn cost(&self, _: usize, positions: usize, _: usize) -> Cost {
        let size = 3 * self.units * (self.width + self.units);
        Cost { flops: 2 * (positions * size) as u64, bytes: 4 * size as u64 }
    }

    fn saved_of_element(&self) -> usize {
        self.width + 5 * self.units
    }
}
