//! The update of one row, by each rule.

use crate::config::{Optimizer, Rule, Touched};
use pulp::Simd;

/// Which step it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// The number of the step, counted from 1.
    pub number: u64,
    /// The learning rate of this step.
    pub learning_rate: f32,
}

/// The update of one row. `row` is the row's numbers followed by its state; `keep` is the factor by which L2 shrinks the
/// row first, 1 for none; `updates` counts this row's updates including this one, 0 where the optimizer does not count.
///
/// Elementwise and without fused multiplication, so that every instruction set gives the same bits. No closures: what the
/// compiler does not inline would be compiled for the least instruction set.
pub(crate) trait Update: Copy {
    fn update<S: Simd>(&self, simd: S, row: &mut [f32], gradient: &[f32], keep: f32, updates: u32);
}

#[derive(Clone, Copy)]
pub(crate) struct Sgd {
    rate: f32,
    l2: f32,
}

impl Sgd {
    #[inline(always)]
    fn element<S: Simd>(&self, simd: S, w: S::f32s, g: S::f32s, keep: f32) -> S::f32s {
        let w = simd.mul_f32s(w, simd.splat_f32s(keep));
        let g = simd.add_f32s(g, simd.mul_f32s(simd.splat_f32s(self.l2), w));
        simd.sub_f32s(w, simd.mul_f32s(simd.splat_f32s(self.rate), g))
    }
}

impl Update for Sgd {
    #[inline(always)]
    fn update<S: Simd>(&self, simd: S, row: &mut [f32], gradient: &[f32], keep: f32, _: u32) {
        let (w, w_rest) = S::as_mut_simd_f32s(&mut row[..gradient.len()]);
        let (g, g_rest) = S::as_simd_f32s(gradient);
        let vectors = w.len();
        let g = &g[..vectors];
        for i in 0..vectors {
            w[i] = self.element(simd, w[i], g[i], keep);
        }
        if !w_rest.is_empty() {
            let (w, g) = (simd.partial_load_f32s(w_rest), simd.partial_load_f32s(g_rest));
            simd.partial_store_f32s(w_rest, self.element(simd, w, g, keep));
        }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Adagrad {
    rate: f32,
    l2: f32,
    epsilon: f32,
}

impl Adagrad {
    #[inline(always)]
    fn element<S: Simd>(&self, simd: S, (w, s): (S::f32s, S::f32s), g: S::f32s, keep: f32) -> (S::f32s, S::f32s) {
        let w = simd.mul_f32s(w, simd.splat_f32s(keep));
        let g = simd.add_f32s(g, simd.mul_f32s(simd.splat_f32s(self.l2), w));
        let s = simd.add_f32s(s, simd.mul_f32s(g, g));
        let divisor = simd.add_f32s(simd.sqrt_f32s(s), simd.splat_f32s(self.epsilon));
        (simd.sub_f32s(w, simd.div_f32s(simd.mul_f32s(simd.splat_f32s(self.rate), g), divisor)), s)
    }
}

impl Update for Adagrad {
    #[inline(always)]
    fn update<S: Simd>(&self, simd: S, row: &mut [f32], gradient: &[f32], keep: f32, _: u32) {
        let (w, state) = row.split_at_mut(gradient.len());
        let (w, w_rest) = S::as_mut_simd_f32s(w);
        let (s, s_rest) = S::as_mut_simd_f32s(&mut state[..gradient.len()]);
        let (g, g_rest) = S::as_simd_f32s(gradient);
        let vectors = w.len();
        let (s, g) = (&mut s[..vectors], &g[..vectors]);
        for i in 0..vectors {
            (w[i], s[i]) = self.element(simd, (w[i], s[i]), g[i], keep);
        }
        if !w_rest.is_empty() {
            let old = (simd.partial_load_f32s(w_rest), simd.partial_load_f32s(s_rest));
            let (w, s) = self.element(simd, old, simd.partial_load_f32s(g_rest), keep);
            simd.partial_store_f32s(w_rest, w);
            simd.partial_store_f32s(s_rest, s);
        }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct RowWiseAdagrad(Adagrad);

impl Update for RowWiseAdagrad {
    #[inline(always)]
    fn update<S: Simd>(&self, simd: S, row: &mut [f32], gradient: &[f32], keep: f32, updates: u32) {
        let Adagrad { rate, l2, epsilon } = self.0;
        let dim = gradient.len();
        let (w, state) = row.split_at_mut(dim);
        // Sums in eight lanes whatever the instruction set, so that all of them round alike.
        let mut squares = [0.0f32; 8];
        let mut start = 0;
        while start < dim {
            for lane in 0..8.min(dim - start) {
                let g = gradient[start + lane] + l2 * (w[start + lane] * keep);
                squares[lane] += g * g;
            }
            start += 8;
        }
        let [a, b, c, d, e, f, g, h] = squares;
        state[0] += (((a + b) + (c + d)) + ((e + f) + (g + h))) / dim as f32;
        Sgd { rate: rate / (state[0].sqrt() + epsilon), l2 }.update(simd, w, gradient, keep, updates);
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Adam {
    rate: f64,
    l2: f32,
    beta1: f64,
    beta2: f64,
    epsilon: f32,
    epsilon_before_correction: bool,
    scale: AdamScale,
}

/// The update is size · m / (√v + epsilon).
#[derive(Clone, Copy)]
struct AdamScale {
    size: f32,
    epsilon: f32,
}

impl Adam {
    /// Step size and ε with the bias corrections of the t-th update.
    fn scale(&self, t: u32) -> AdamScale {
        let t = t.min(i32::MAX as u32) as i32;
        let first = 1.0 - self.beta1.powi(t);
        let second = (1.0 - self.beta2.powi(t)).sqrt();
        let epsilon = f64::from(self.epsilon) * if self.epsilon_before_correction { 1.0 } else { second };
        AdamScale { size: (self.rate * second / first) as f32, epsilon: epsilon as f32 }
    }

    #[inline(always)]
    fn element<S: Simd>(
        &self,
        simd: S,
        scale: AdamScale,
        (w, m, v): (S::f32s, S::f32s, S::f32s),
        g: S::f32s,
        keep: f32,
    ) -> (S::f32s, S::f32s, S::f32s) {
        let [new1, new2] = [simd.splat_f32s((1.0 - self.beta1) as f32), simd.splat_f32s((1.0 - self.beta2) as f32)];
        let w = simd.mul_f32s(w, simd.splat_f32s(keep));
        let g = simd.add_f32s(g, simd.mul_f32s(simd.splat_f32s(self.l2), w));
        let m = simd.add_f32s(m, simd.mul_f32s(simd.sub_f32s(g, m), new1));
        let v = simd.add_f32s(v, simd.mul_f32s(simd.sub_f32s(simd.mul_f32s(g, g), v), new2));
        let divisor = simd.add_f32s(simd.sqrt_f32s(v), simd.splat_f32s(scale.epsilon));
        (simd.sub_f32s(w, simd.div_f32s(simd.mul_f32s(simd.splat_f32s(scale.size), m), divisor)), m, v)
    }
}

impl Update for Adam {
    #[inline(always)]
    fn update<S: Simd>(&self, simd: S, row: &mut [f32], gradient: &[f32], keep: f32, updates: u32) {
        let scale = if updates == 0 { self.scale } else { self.scale(updates) };
        let dim = gradient.len();
        let (w, state) = row.split_at_mut(dim);
        let (m, v) = state.split_at_mut(dim);
        let (w, w_rest) = S::as_mut_simd_f32s(w);
        let (m, m_rest) = S::as_mut_simd_f32s(m);
        let (v, v_rest) = S::as_mut_simd_f32s(&mut v[..dim]);
        let (g, g_rest) = S::as_simd_f32s(gradient);
        let vectors = w.len();
        let (m, v, g) = (&mut m[..vectors], &mut v[..vectors], &g[..vectors]);
        for i in 0..vectors {
            (w[i], m[i], v[i]) = self.element(simd, scale, (w[i], m[i], v[i]), g[i], keep);
        }
        if !w_rest.is_empty() {
            let old = (simd.partial_load_f32s(w_rest), simd.partial_load_f32s(m_rest), simd.partial_load_f32s(v_rest));
            let (w, m, v) = self.element(simd, scale, old, simd.partial_load_f32s(g_rest), keep);
            simd.partial_store_f32s(w_rest, w);
            simd.partial_store_f32s(m_rest, m);
            simd.partial_store_f32s(v_rest, v);
        }
    }
}

/// The update of a step, whatever the rule.
#[derive(Clone, Copy)]
pub(crate) enum AnyUpdate {
    Sgd(Sgd),
    Adagrad(Adagrad),
    RowWiseAdagrad(RowWiseAdagrad),
    Adam(Adam),
}

impl AnyUpdate {
    pub(crate) fn new(optimizer: &Optimizer, step: Step) -> Self {
        let rate = step.learning_rate;
        // Decoupled L2, and L2 that is made up for lazily, come as `keep`.
        let l2 = if optimizer.decoupled || optimizer.shrinks_lazily() { 0.0 } else { optimizer.l2 };
        match optimizer.rule {
            Rule::Sgd {} => Self::Sgd(Sgd { rate, l2 }),
            Rule::Adagrad { epsilon, row_wise, .. } => {
                let adagrad = Adagrad { rate, l2, epsilon };
                if row_wise { Self::RowWiseAdagrad(RowWiseAdagrad(adagrad)) } else { Self::Adagrad(adagrad) }
            }
            Rule::Adam { beta1, beta2, epsilon, .. } => {
                let mut adam = Adam {
                    rate: f64::from(rate),
                    l2,
                    beta1,
                    beta2,
                    epsilon,
                    epsilon_before_correction: optimizer.rows == Touched::Touched,
                    scale: AdamScale { size: 0.0, epsilon },
                };
                adam.scale = adam.scale(u32::try_from(step.number).unwrap_or(u32::MAX));
                Self::Adam(adam)
            }
        }
    }
}
