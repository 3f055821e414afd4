//! Selection of experts by their divergence to one-hot and to uniform: the select layer of AESM² (Zou et al. 2022, section 3.2).

#[cfg(feature = "train")]
use super::Backward;
use super::softmax::softmax;
#[cfg(feature = "train")]
use super::softmax::softmax_chain;
use super::{Cost, Operation};
use crate::engine::{Context, Inputs};
use crate::graph::{Domain, Graph, Value};
use crate::kernels::{activation::exp, kernel};
use serde::{Deserialize, Serialize};

/// From the relevance `G[j, k]` of `n` experts `k` for `m` conditions `j` (scenarios of a level, or tasks) to the weights of the experts
/// that the active condition selects.
///
/// In training noise is added for the selection: `G̃ = G + ν n ε`. With `h_k = softmax_j G̃[·, k]` the specific experts are those with the
/// smallest `KL(one-hot_j ‖ h_k) = −ln h_k[j]`, the shared ones those with the smallest `KL(uniform ‖ h_k)`; ties go to the lower number.
/// The weights are the softmax of `G[j, ·]`, without noise, over the selected experts and exactly zero elsewhere. (The reference
/// multiplies by a mask instead, by which a negative logit that was not selected wins.)
///
/// A sample whose condition was not seen in training takes the shared experts, by the mean of `G` over conditions. With one condition every
/// divergence is zero: the experts with the largest `G` are selected.
///
/// Conditions that were [added](crate::grow) to a trained network are not there for the older ones, nor is for them the one they were
/// copied from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SelectExperts {
    /// How many conditions, m.
    pub conditions: usize,
    /// How many experts, n.
    pub experts: usize,
    /// How many specific experts.
    pub specific: usize,
    /// How many shared experts.
    pub shared: usize,
    /// ν.
    pub noise: f32,
    /// ν halves every so many steps; 0 for never.
    pub noise_half_life: f32,
    /// Which condition is active.
    pub active: Active,
    /// Where the rows start among the states, one a condition and one for samples of no condition, that are not zero for the conditions
    /// that are told apart.
    pub heard: usize,
    /// Distinguishes the noise of one graph.
    pub number: u64,
}

/// Which condition is active for a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Active {
    /// The sample's scenario at a level.
    Scenario(usize),
    /// Always this one: a task.
    Always(usize),
}

impl Graph {
    /// The weights of the selected experts, then the two auxiliary losses of the selection: `n + 2` columns. `gates` has the columns
    /// `G[0, ·], G[1, ·] …`.
    pub(crate) fn select_experts(&mut self, gates: Value, mut select: SelectExperts) -> (Value, [Value; 2]) {
        select.number = self.nodes().len() as u64;
        let experts = select.experts;
        let all = self.record(super::Op::SelectExperts(select), &[gates], Domain::Rows, experts + 2);
        (self.slice(all, 0, experts), [experts, experts + 1].map(|column| self.slice(all, column, 1)))
    }
}

/// Marks in what is saved.
const SPECIFIC: u8 = 1;
const SHARED: u8 = 2;

/// One sample's selection.
pub(crate) struct Selection<'a> {
    /// Comes in as G̃, `m × n`, and becomes `h`: how the conditions share each expert.
    pub shares: &'a mut [f32],
    /// For each expert what it was selected as.
    pub marks: &'a mut [f32],
    /// For each expert its divergence from one-hot, then for each that from uniform; overwritten.
    pub divergences: &'a mut [f32],
    /// For each condition whether it is there: not zero.
    pub heard: &'a [f32],
    /// The weights, then the two losses.
    pub out: &'a mut [f32],
}

kernel! {
    /// Turns `G̃` into `h = softmax_j G̃[·, k]`, and writes `KL(one-hot_active ‖ h_k)` and `KL(uniform ‖ h_k)`. With `g` the columns less
    /// their largest and `z = ln Σ_j e^g`, they are `z − g[active]` and `z − mean_j g − ln m`: one logarithm an expert.
    fn divergences['a](
        shares: &'a mut [f32], to_one_hot: &'a mut [f32], to_uniform: &'a mut [f32], active: Option<usize>, heard: &'a [f32], m: f32,
    ) {
        let n = to_one_hot.len();
        // `to_uniform` holds the largest of each column, then the mean; `to_one_hot` the active one.
        to_uniform.fill(f32::NEG_INFINITY);
        for (row, _) in shares.chunks_exact(n).zip(heard).filter(|(_, heard)| **heard != 0.0) {
            to_uniform.iter_mut().zip(row).for_each(|(highest, g)| *highest = highest.max(*g));
        }
        for row in shares.chunks_exact_mut(n) {
            row.iter_mut().zip(&*to_uniform).for_each(|(g, highest)| *g -= highest);
        }
        match active {
            Some(active) => to_one_hot.copy_from_slice(&shares[active * n..(active + 1) * n]),
            None => to_one_hot.fill(0.0),
        }
        to_uniform.fill(0.0);
        for (row, _) in shares.chunks_exact(n).zip(heard).filter(|(_, heard)| **heard != 0.0) {
            to_uniform.iter_mut().zip(row).for_each(|(mean, g)| *mean += g / m);
        }
        for k in 0..n {
            let mut sum = 0.0;
            for (j, heard) in heard.iter().enumerate() {
                let share = &mut shares[j * n + k];
                *share = if *heard == 0.0 { 0.0 } else { exp(*share) };
                sum += *share;
            }
            let z = f32::ln(sum);
            to_one_hot[k] = z - to_one_hot[k];
            to_uniform[k] = z - to_uniform[k] - m.ln();
            for j in 0..heard.len() {
                shares[j * n + k] /= sum;
            }
        }
    }
}

/// Marks the `count` experts with the smallest divergence, the first among equal ones. The result is the mean of theirs.
fn mark(marks: &mut [f32], divergences: &[f32], count: usize, mark: u8) -> f32 {
    let mut sum = 0.0;
    for _ in 0..count.min(marks.len()) {
        let mut best: Option<usize> = None;
        for (k, divergence) in divergences.iter().enumerate() {
            if marks[k] as u8 & mark == 0 && best.is_none_or(|best| *divergence < divergences[best]) {
                best = Some(k);
            }
        }
        let Some(best) = best else { break };
        marks[best] += f32::from(mark);
        sum += divergences[best];
    }
    sum / count.min(marks.len()).max(1) as f32
}

/// About normal with variance one: the sum of four uniform draws. Noise that steers a choice needs no tails, and is drawn for every
/// condition and expert of every sample.
fn noise(bits: u64) -> f32 {
    let parts = [bits, bits >> 16, bits >> 32, bits >> 48].map(|part| f32::from(part as u16));
    // Each has the variance (2^32 − 1) / 12 around (2^16 − 1) / 2.
    (parts.iter().sum::<f32>() - 131_070.0) * (1.732_050_8 / 65_536.0)
}

impl SelectExperts {
    fn noise_at(&self, cx: &Context<'_>) -> Option<(f32, kitestring_core::Seed)> {
        let seed = cx.noise_seed().filter(|_| self.noise > 0.0)?;
        let halvings = if self.noise_half_life > 0.0 { cx.step() as f32 / self.noise_half_life } else { 0.0 };
        Some((self.noise * self.experts as f32 * (-halvings).exp2(), seed.at(self.number)))
    }

    fn condition(&self, cx: &Context<'_>, row: usize) -> Option<usize> {
        match self.active {
            Active::Always(condition) => Some(condition),
            Active::Scenario(level) => cx.seen_scenario(level, row, self.conditions),
        }
    }

    /// Which conditions are there for the active one.
    fn heard<'a>(&self, cx: &Context<'a>, active: Option<usize>) -> &'a [f32] {
        &cx.state[self.heard + active.unwrap_or(self.conditions) * self.conditions..][..self.conditions]
    }

    /// Selects for one sample. `relevance` is `G`.
    pub(crate) fn select(&self, relevance: &[f32], active: Option<usize>, into: Selection<'_>) {
        let Selection { shares, marks, divergences: both, out, heard } = into;
        let n = self.experts;
        let heard_of = || (0..heard.len()).filter(|j| heard[*j] != 0.0);
        let m = heard_of().count();
        let (to_one_hot, to_uniform) = both.split_at_mut(n);
        divergences(shares, to_one_hot, to_uniform, active, heard, m as f32);
        marks.fill(0.0);
        let (weights, losses) = out.split_at_mut(n);
        if m == 1 {
            to_uniform.iter_mut().zip(relevance).for_each(|(least, relevance)| *least = -relevance);
            mark(marks, to_uniform, self.specific + self.shared, SHARED);
            losses.fill(0.0);
        } else {
            losses[0] = if active.is_some() { mark(marks, to_one_hot, self.specific, SPECIFIC) } else { 0.0 };
            losses[1] = mark(marks, to_uniform, self.shared, SHARED).max(0.0);
        }
        let logit = |k: usize| match active {
            Some(j) => relevance[j * n + k],
            None => heard_of().map(|j| relevance[j * n + k]).sum::<f32>() / m as f32,
        };
        for (k, weight) in weights.iter_mut().enumerate() {
            *weight = if marks[k] == 0.0 { f32::NEG_INFINITY } else { logit(k) };
        }
        softmax(weights);
    }

    /// Adds the gradient of `G` of one sample. `out_grad` is overwritten.
    #[cfg(feature = "train")]
    fn back(
        &self,
        grad: &mut [f32],
        out_grad: &mut [f32],
        active: Option<usize>,
        (shares, marks, heard): (&[f32], &[f32], &[f32]),
        out: &[f32],
    ) {
        let n = self.experts;
        let heard_of = || (0..heard.len()).filter(|j| heard[*j] != 0.0);
        let m = heard_of().count();
        let (weights, losses) = out_grad.split_at_mut(n);
        softmax_chain(weights, &out[..n]);
        for (k, weight) in weights.iter().enumerate().filter(|(k, _)| marks[*k] != 0.0) {
            match active {
                Some(j) => grad[j * n + k] += weight,
                None => heard_of().for_each(|j| grad[j * n + k] += weight / m as f32),
            }
        }
        if m == 1 {
            return;
        }
        let specific = losses[0] / self.specific.min(n).max(1) as f32;
        let shared = losses[1] / self.shared.min(n).max(1) as f32;
        for k in 0..n {
            let marked = marks[k] as u8;
            for i in heard_of() {
                let share = shares[i * n + k];
                if marked & SPECIFIC != 0 {
                    grad[i * n + k] += specific * (share - f32::from(active == Some(i)));
                }
                if marked & SHARED != 0 {
                    grad[i * n + k] += shared * (share - 1.0 / m as f32);
                }
            }
        }
    }
}

impl Operation for SelectExperts {
    fn forward(&self, cx: &Context<'_>, inputs: Inputs<'_>, out: &mut [f32], saved: &mut Vec<f32>) {
        let (width, n) = (self.conditions * self.experts, self.experts);
        let relevance = inputs.get(0);
        let kept = if cx.records() { relevance.len() / width } else { 1 };
        saved.resize(kept * (width + n) + 2 * n, 0.0);
        let (kept, divergences) = saved.split_at_mut(kept * (width + n));
        let noisy = self.noise_at(cx);
        for (row, (relevance, out)) in relevance.chunks_exact(width).zip(out.chunks_exact_mut(n + 2)).enumerate() {
            let start = if cx.records() { row * (width + n) } else { 0 };
            let (shares, marks) = kept[start..start + width + n].split_at_mut(width);
            shares.copy_from_slice(relevance);
            if let Some((scale, seed)) = noisy {
                let seed = seed.at((cx.rows.start + row) as u64);
                shares.iter_mut().enumerate().for_each(|(at, share)| *share += scale * noise(seed.bits_at(at as u64)));
            }
            let active = self.condition(cx, row);
            let heard = self.heard(cx, active);
            self.select(relevance, active, Selection { shares, marks, divergences, out, heard });
        }
    }

    #[cfg(feature = "train")]
    fn backward(&self, cx: &Context<'_>, mut pass: Backward<'_>) {
        let (width, n) = (self.conditions * self.experts, self.experts);
        let (out_grad, out) = (std::mem::take(&mut pass.out_grad), pass.out);
        let saved = std::mem::take(&mut pass.saved);
        let Some(grad) = pass.input_grad_to_add(0) else { return };
        let rows = grad.chunks_exact_mut(width).zip(out_grad.chunks_exact_mut(n + 2)).zip(out.chunks_exact(n + 2));
        for (row, ((grad, out_grad), out)) in rows.enumerate() {
            let (shares, marks) = saved[row * (width + n)..(row + 1) * (width + n)].split_at(width);
            let active = self.condition(cx, row);
            self.back(grad, out_grad, active, (shares, marks, self.heard(cx, active)), out);
        }
    }

    fn cost(&self, _: usize, _: usize, out_rows: usize) -> Cost {
        Cost { flops: (30 * out_rows * self.conditions * self.experts) as u64, bytes: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More than any case has.
    const EXPERTS: usize = 8;

    fn minus_ln(x: f32) -> f32 {
        -x.ln()
    }

    /// The shared specification's case: m = 3, n = 4, no noise, the first condition active.
    #[test]
    fn golden_selection() {
        let relevance = [2.0, 0.0, -1.0, 0.5, 0.0, 2.0, -1.0, 0.5, 0.0, 0.0, -1.0, 0.5];
        let select = SelectExperts {
            conditions: 3,
            experts: 4,
            specific: 1,
            shared: 1,
            noise: 0.0,
            noise_half_life: 0.0,
            active: Active::Always(0),
            heard: 0,
            number: 0,
        };
        let (mut shares, mut marks, mut out) = (relevance, [0.0; 4], [0.0; 6]);
        select.select(
            &relevance,
            Some(0),
            Selection {
                shares: &mut shares,
                marks: &mut marks,
                divergences: &mut [0.0; 2 * EXPERTS][..2 * select.experts],
                out: &mut out,
                heard: &[1.0; 3],
            },
        );
        let close = |found: &[f32], expected: &[f32]| {
            assert_eq!(found.len(), expected.len());
            found.iter().zip(expected).for_each(|(f, e)| assert!((f - e).abs() < 2e-6, "{found:?} {expected:?}"));
        };
        let third = 1.0 / 3.0;
        close(&shares[..4], &[0.786986, 0.106507, third, third]);
        close(&shares[4..8], &[0.106507, 0.786986, third, third]);
        close(&shares[8..], &[0.106507, 0.106507, third, third]);
        assert_eq!(marks, [f32::from(SPECIFIC), 0.0, f32::from(SHARED), 0.0]);
        close(&out, &[0.952574, 0.0, 0.047426, 0.0, 0.239545, 0.0]);
        // An unseen condition: the shared expert alone.
        let mut shares = relevance;
        select.select(
            &relevance,
            None,
            Selection {
                shares: &mut shares,
                marks: &mut marks,
                divergences: &mut [0.0; 2 * EXPERTS][..2 * select.experts],
                out: &mut out,
                heard: &[1.0; 3],
            },
        );
        assert_eq!(out[..4], [0.0, 0.0, 1.0, 0.0]);
    }

    /// Where no small step changes the selection, the gradient is that of differences.
    #[cfg(feature = "train")]
    #[test]
    fn gradient_of_a_selection() {
        let (m, n) = (3, 5);
        let mut select = SelectExperts {
            conditions: m,
            experts: n,
            specific: 2,
            shared: 1,
            noise: 0.0,
            noise_half_life: 0.0,
            active: Active::Always(1),
            heard: 0,
            number: 0,
        };
        let seed = kitestring_core::Seed(9);
        let upstream: Vec<f32> = (0..n + 2).map(|at| seed.child("upstream").normal_at(at as u64)).collect();
        for (draw, active) in [(0, Some(1)), (1, Some(2)), (2, None), (3, Some(0)), (4, Some(2)), (5, None)] {
            select.conditions = if draw == 3 { 1 } else { m };
            // In the last two the first condition is not there.
            let heard = [f32::from(draw < 4), 1.0, 1.0];
            let width = select.conditions * n;
            let relevance: Vec<f32> = (0..width).map(|at| seed.at(draw).normal_at(at as u64)).collect();
            let run = |relevance: &[f32]| {
                let (mut shares, mut marks, mut out) = (relevance.to_vec(), vec![0.0; n], vec![0.0; n + 2]);
                let into = Selection {
                    shares: &mut shares,
                    marks: &mut marks,
                    divergences: &mut [0.0; 2 * EXPERTS][..2 * select.experts],
                    out: &mut out,
                    heard: &heard[..select.conditions],
                };
                select.select(relevance, active, into);
                let value: f64 = out.iter().zip(&upstream).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                (value, shares, marks, out)
            };
            let (_, shares, marks, out) = run(&relevance);
            let mut grad = vec![0.0; width];
            select.back(&mut grad, &mut upstream.clone(), active, (&shares, &marks, &heard[..select.conditions]), &out);
            for at in 0..width {
                let moved = |step: f32| {
                    let mut relevance = relevance.clone();
                    relevance[at] += step;
                    let (value, _, now, _) = run(&relevance);
                    assert_eq!(now, marks, "the step is too large for this test");
                    value
                };
                let expected = (moved(1e-3) - moved(-1e-3)) / 2e-3;
                assert!((f64::from(grad[at]) - expected).abs() < 2e-3, "{draw} {at}: {} {expected}", grad[at]);
            }
        }
    }

    #[test]
    fn noise_has_mean_zero_and_variance_one() {
        let seed = kitestring_core::Seed(3);
        let drawn: Vec<f64> = (0..200_000).map(|at| f64::from(noise(seed.bits_at(at)))).collect();
        let mean = drawn.iter().sum::<f64>() / drawn.len() as f64;
        let variance = drawn.iter().map(|x| x * x).sum::<f64>() / drawn.len() as f64;
        let fourth = drawn.iter().map(|x| x.powi(4)).sum::<f64>() / drawn.len() as f64;
        assert!(mean.abs() < 0.01 && (variance - 1.0).abs() < 0.01, "{mean} {variance}");
        // Three for a normal; 3 − 6 / (5 · 4) for four uniform ones.
        assert!((fourth - 2.7).abs() < 0.05, "{fourth}");
    }

    /// A column's constant moves the weights and not the selection; a row's constant the selection and not the weights of a fixed set.
    #[test]
    fn invariants() {
        let select = SelectExperts {
            conditions: 3,
            experts: 5,
            specific: 2,
            shared: 2,
            noise: 0.0,
            noise_half_life: 0.0,
            active: Active::Always(1),
            heard: 0,
            number: 0,
        };
        let seed = kitestring_core::Seed(4);
        let run = |relevance: &[f32]| {
            let (mut shares, mut marks, mut out) = (relevance.to_vec(), vec![0.0; 5], vec![0.0; 7]);
            select.select(
                relevance,
                Some(1),
                Selection {
                    shares: &mut shares,
                    marks: &mut marks,
                    divergences: &mut [0.0; 2 * EXPERTS][..2 * select.experts],
                    out: &mut out,
                    heard: &[1.0; 3],
                },
            );
            (shares, marks, out)
        };
        for draw in 0..50 {
            let relevance: Vec<f32> = (0..15).map(|at| seed.at(draw).normal_at(at)).collect();
            let (shares, marks, out) = run(&relevance);
            assert!((out[..5].iter().sum::<f32>() - 1.0).abs() < 1e-6);
            assert!(out[..5].iter().filter(|weight| **weight > 0.0).count() <= 4);
            assert!(out[5] >= 0.0 && out[6] >= 0.0);
            let own: f32 = (0..5).filter(|k| marks[*k] as u8 & SPECIFIC != 0).map(|k| minus_ln(shares[5 + k])).sum();
            assert!((out[5] - own / 2.0).abs() < 1e-6);
            let mut column = relevance.clone();
            (0..3).for_each(|j| column[j * 5 + 2] += 0.7);
            assert_eq!(run(&column).1, marks);
        }
    }
}
