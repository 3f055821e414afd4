//! A GRU back through time.

use super::{Backward, Gru, Lists, Saved, for_each_row};
use crate::engine::Context;
use crate::kernels::{
    kernel,
    matmul::{Matrix, Start, matmul},
    reduce::{add, add_column_sums},
};

kernel! {
    /// One time back: from the gradient of the states after it in `state` to its part that reaches the states before without `U`; the
    /// gradients of `x W + b` take the place of the gates, those of `h U + c` go to `product`.
    fn retreat['a](
        state: &'a mut [f32],
        gates: &'a mut [f32],
        product: &'a mut [f32],
        recurrent: &'a [f32],
        previous: &'a [f32],
        units: usize,
    ) {
        let rows = state.chunks_exact_mut(units).zip(gates.chunks_exact_mut(3 * units));
        let rows = rows.zip(product.chunks_exact_mut(3 * units));
        let given = recurrent.chunks_exact(units).zip(previous.chunks_exact(units));
        for (((state, gates), product), (recurrent, previous)) in rows.zip(given) {
            let (r, rest) = gates.split_at_mut(units);
            let (z, n) = rest.split_at_mut(units);
            let (r_product, rest) = product.split_at_mut(units);
            let (z_product, n_product) = rest.split_at_mut(units);
            for ((into, g), (z, (previous, n))) in
                z_product.iter_mut().zip(&*state).zip(z.iter().zip(previous.iter().zip(&*n)))
            {
                *into = g * (previous - n) * z * (1.0 - z);
            }
            for (n, (g, z)) in n.iter_mut().zip(state.iter().zip(&*z)) {
                *n = g * (1.0 - z) * (1.0 - *n * *n);
            }
            state.iter_mut().zip(&*z).for_each(|(g, z)| *g *= z);
            for ((into, r), (n, recurrent)) in r_product.iter_mut().zip(&*r).zip(n.iter().zip(recurrent)) {
                *into = n * recurrent * r * (1.0 - r);
            }
            for (into, (n, r)) in n_product.iter_mut().zip(n.iter().zip(&*r)) {
                *into = n * r;
            }
            r.copy_from_slice(r_product);
            z.copy_from_slice(z_product);
        }
    }
}

impl Gru {
    pub(super) fn back(&self, cx: &Context<'_>, mut pass: Backward<'_>) {
        let (units, width, lists) = (self.units, self.width, Lists::new(cx, self.feature));
        let (count, positions) = (lists.count(), lists.positions());
        // The gradient is taken out for the moment because the input's lives in the same arena.
        let out_grad = std::mem::take(&mut pass.out_grad);
        let mut scratch = std::mem::take(pass.scratch);
        let saved = Saved::new(self, lists, std::mem::take(&mut pass.saved));
        scratch.resize(2 * count * units + positions * (4 * units + width), 0.0);
        let (state_grad, rest) = scratch.split_at_mut(count * units);
        let (last_grad, rest) = rest.split_at_mut(count * units);
        let (product_grad, rest) = rest.split_at_mut(positions * 3 * units);
        let (before, x_grad) = rest.split_at_mut(positions * units);

        last_grad.fill(0.0);
        if !self.every_state {
            // Samples that share a list add to the gradient of the same state.
            for (row, g) in out_grad.chunks_exact(units).enumerate() {
                let list = cx.list_of(self.feature, row);
                add(&mut last_grad[list * units..(list + 1) * units], g);
            }
        }
        let mut going_on = 0;
        for time in (0..saved.times()).rev() {
            let (rows, previous) = (saved.rows(time), saved.previous(time));
            let state_grad = &mut state_grad[..rows.len() * units];
            let ranks = state_grad.chunks_exact_mut(units).zip(&*saved.order).enumerate();
            for (rank, (grad, list)) in ranks {
                let list = *list as usize;
                if rank >= going_on {
                    grad.copy_from_slice(&last_grad[list * units..(list + 1) * units]);
                }
                if self.every_state {
                    add(grad, &out_grad[(lists.start(list) + time) * units..][..units]);
                }
            }
            going_on = rows.len();
            let previous = &saved.states[previous.start * units..previous.end * units];
            before[rows.start * units..rows.end * units].copy_from_slice(previous);
            let product_grad = &mut product_grad[rows.start * 3 * units..rows.end * 3 * units];
            let gates = &mut saved.gates[rows.start * 3 * units..rows.end * 3 * units];
            let recurrent = &saved.recurrent[rows.start * units..rows.end * units];
            retreat(state_grad, gates, product_grad, recurrent, previous, units);
            let product_grad = Matrix::new(product_grad, rows.len(), 3 * units);
            matmul(state_grad, product_grad, cx.transposed(self.recurrent.0), units, Start::Existing);
        }

        let gate_grad = &*saved.gates;
        for ((weight, bias), x, grad) in
            [(self.input, &*saved.x, gate_grad), (self.recurrent, &*before, &*product_grad)]
        {
            let x = Matrix::new(x, positions, weight.rows).transposed();
            matmul(weight.of_mut(pass.weight_grads), x, grad, 3 * units, Start::Existing);
            add_column_sums(bias.of_mut(pass.weight_grads), grad);
        }
        if let Some((grad, add_to)) = pass.input_grad(0) {
            let gate_grad = Matrix::new(gate_grad, positions, 3 * units);
            matmul(x_grad, gate_grad, cx.transposed(self.input.0), width, Start::Zero);
            for_each_row(lists, saved.order, saved.starts, |row, position| {
                let (from, into) = (&x_grad[row * width..][..width], &mut grad[position * width..][..width]);
                if add_to { add(into, from) } else { into.copy_from_slice(from) }
            });
        }
        *pass.scratch = scratch;
    }
}
