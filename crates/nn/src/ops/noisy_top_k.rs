//! The gate of sparse mixtures: the largest of noisy logits, and how likely each is among them (Shazeer et al. 2017).

#[cfg(feature = "train")]
use super::Backward;
use super::softmax::softmax;
#[cfg(feature = "train")]
use super::softmax::softmax_chain;
use super::{Cost, Operation};
use crate::engine::{Context, Inputs};
use crate::graph::{Domain, Graph, Value};
#[cfg(feature = "train")]
use crate::kernels::activation::sigmoid;
use crate::kernels::activation::softplus;
use kitestring_core::Seed;
use serde::{Deserialize, Serialize};

/// From clean logits `c` and logits `r` of the noise, `n` columns each, to `2 n` columns: the weights `G`, then the probabilities `P`.
///
/// `H = c + ε σ`, `σ = softplus(r) + 0.01`, with `ε` standard normal in training and zero in inference. `G` is the softmax of the `k`
/// largest `H`, and exactly zero elsewhere; of equal ones the lower number goes first. `P_i` is the probability that `i` is among the `k`
/// largest if only its own noise were drawn again: `Φ((c_i − t_i) / σ_i)` with `t_i` the k-th largest `H` of the others. It is smooth in
/// the logits, so that a loss over it moves experts nobody chooses. Without noise `P` says which were chosen and has no gradient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoisyTopK {
    /// How many experts, n.
    pub experts: usize,
    /// How many of them are chosen, k.
    pub chosen: usize,
    /// Distinguishes the noise of one graph.
    pub number: u64,
}

impl Graph {
    /// The weights of the `chosen` experts with the largest noisy logits, and each expert's probability of being among them.
    ///
    /// # Panics
    /// If there are fewer experts, or logits of another number: a defect of the calling slot.
    pub fn noisy_top_k(&mut self, clean: Value, noise: Value, chosen: usize) -> [Value; 2] {
        let experts = self.width(clean);
        assert!(experts == self.width(noise) && (1..=experts).contains(&chosen), "{chosen} of {experts} experts");
        let op = NoisyTopK { experts, chosen, number: self.nodes().len() as u64 };
        let both = self.record(super::Op::NoisyTopK(op), &[clean, noise], Domain::Rows, 2 * experts);
        [0, experts].map(|start| self.slice(both, start, experts))
    }
}

/// The smallest deviation of the noise.
const FLOOR: f32 = 1e-2;

/// The density of the standard normal distribution.
#[cfg(feature = "train")]
fn density(x: f32) -> f32 {
    0.398_942_3 * (-0.5 * x * x).exp()
}

/// The standard normal distribution `Φ`, to 1e-7 (Abramowitz and Stegun 1964, 26.2.17).
fn distribution(x: f32) -> f32 {
    let x = f64::from(x);
    let t = 1.0 / (1.0 + 0.231_641_9 * x.abs());
    let polynomial =
        t * (0.319_381_530 + t * (-0.356_563_782 + t * (1.781_477_937 + t * (-1.821_255_978 + t * 1.330_274_429))));
    let tail = 0.398_942_280_401 * (-0.5 * x * x).exp() * polynomial;
    (if x > 0.0 { 1.0 - tail } else { tail }) as f32
}

/// What a row saves: ε, then H, then the number of the expert that is each one's threshold.
const SAVED: usize = 3;

impl NoisyTopK {
    fn noise(&self, cx: &Context<'_>) -> Option<Seed> {
        cx.noise_seed().map(|seed| seed.at(self.number))
    }

    /// One row. `saved` comes in with ε, or with zeros where there is no noise.
    fn gate(&self, clean: &[f32], noise: &[f32], has_noise: bool, saved: &mut [f32], out: &mut [f32]) {
        let (n, k) = (self.experts, self.chosen);
        let (draws, rest) = saved.split_at_mut(n);
        let (noisy, thresholds) = rest.split_at_mut(n);
        for i in 0..n {
            noisy[i] = if has_noise { clean[i] + draws[i] * (softplus(noise[i]) + FLOOR) } else { clean[i] };
        }
        let (gates, probabilities) = out.split_at_mut(n);
        // A few experts of not many: as many passes as are chosen, and one for the first that is not.
        probabilities.fill(0.0);
        let mut last = [0; 2];
        for _ in 0..(k + 1).min(n) {
            let free = (0..n).filter(|i| probabilities[*i] == 0.0);
            let Some(best) = free.reduce(|a, b| if noisy[b] > noisy[a] { b } else { a }) else { break };
            probabilities[best] = 1.0;
            last = [last[1], best];
        }
        if k < n {
            probabilities[last[1]] = 0.0;
        }
        for i in 0..n {
            gates[i] = if probabilities[i] == 0.0 { f32::NEG_INFINITY } else { noisy[i] };
        }
        softmax(gates);
        for i in 0..n {
            // The exponential of −∞ is tiny, and a weight that is not zero would have its expert computed.
            gates[i] *= probabilities[i];
            thresholds[i] = if probabilities[i] == 0.0 { last[0] } else { last[1] } as f32;
        }
        if has_noise && k < n {
            for i in 0..n {
                let threshold = noisy[thresholds[i] as usize];
                probabilities[i] = distribution((clean[i] - threshold) / (softplus(noise[i]) + FLOOR));
            }
        }
    }

    /// Adds one row's gradients of both logits, of which `out_grad` is overwritten.
    #[cfg(feature = "train")]
    fn back(&self, row: Row<'_>, out_grad: &mut [f32], clean_grad: &mut [f32], noise_grad: &mut [f32]) {
        let Row { clean, noise, has_noise, saved, out } = row;
        let n = self.experts;
        let (draws, noisy, thresholds) = (&saved[..n], &saved[n..2 * n], &saved[2 * n..]);
        let (gates, probabilities) = out_grad.split_at_mut(n);
        // To the noisy logits: from the weights, and from the thresholds.
        softmax_chain(gates, &out[..n]);
        if has_noise && self.chosen < n {
            for i in 0..n {
                let (deviation, threshold) = (softplus(noise[i]) + FLOOR, thresholds[i] as usize);
                let x = (clean[i] - noisy[threshold]) / deviation;
                let slope = probabilities[i] * density(x) / deviation;
                clean_grad[i] += slope;
                gates[threshold] -= slope;
                noise_grad[i] -= slope * x * sigmoid(noise[i]);
            }
        }
        for i in 0..n {
            clean_grad[i] += gates[i];
            if has_noise {
                noise_grad[i] += gates[i] * draws[i] * sigmoid(noise[i]);
            }
        }
    }
}

/// What a row's backward pass reads.
#[cfg(feature = "train")]
struct Row<'a> {
    clean: &'a [f32],
    noise: &'a [f32],
    has_noise: bool,
    saved: &'a [f32],
    out: &'a [f32],
}

impl Operation for NoisyTopK {
    fn forward(&self, cx: &Context<'_>, inputs: Inputs<'_>, out: &mut [f32], saved: &mut Vec<f32>) {
        let n = self.experts;
        let (clean, noise) = (inputs.get(0).chunks_exact(n), inputs.get(1).chunks_exact(n));
        let seed = self.noise(cx);
        saved.resize(if cx.records() { SAVED * clean.len() * n } else { SAVED * n }, 0.0);
        for (row, ((clean, noise), out)) in clean.zip(noise).zip(out.chunks_exact_mut(2 * n)).enumerate() {
            let start = if cx.records() { SAVED * row * n } else { 0 };
            let saved = &mut saved[start..start + SAVED * n];
            if let Some(seed) = seed {
                let seed = seed.at((cx.rows.start + row) as u64);
                saved[..n].iter_mut().enumerate().for_each(|(i, draw)| *draw = seed.normal_at(i as u64));
            }
            self.gate(clean, noise, seed.is_some(), saved, out);
        }
    }

    #[cfg(feature = "train")]
    fn backward(&self, cx: &Context<'_>, mut pass: Backward<'_>) {
        let n = self.experts;
        let (clean, noise, out) = (pass.inputs.get(0), pass.inputs.get(1), pass.out);
        let (out_grad, saved) = (std::mem::take(&mut pass.out_grad), std::mem::take(&mut pass.saved));
        let has_noise = self.noise(cx).is_some();
        let mut scratch = std::mem::take(pass.scratch);
        scratch.clear();
        scratch.resize(clean.len() + noise.len(), 0.0);
        let (clean_grad, noise_grad) = scratch.split_at_mut(clean.len());
        for (row, out_grad) in out_grad.chunks_exact_mut(2 * n).enumerate() {
            let at = row * n..(row + 1) * n;
            let of = Row {
                clean: &clean[at.clone()],
                noise: &noise[at.clone()],
                has_noise,
                saved: &saved[SAVED * at.start..SAVED * at.end],
                out: &out[2 * at.start..2 * at.end],
            };
            self.back(of, out_grad, &mut clean_grad[at.clone()], &mut noise_grad[at]);
        }
        for (input, from) in [clean_grad, noise_grad].into_iter().enumerate() {
            if let Some((grad, add)) = pass.input_grad(input) {
                if add {
                    crate::kernels::reduce::add(grad, from);
                } else {
                    grad.copy_from_slice(from);
                }
            }
        }
        *pass.scratch = scratch;
    }

    fn cost(&self, _: usize, _: usize, out_rows: usize) -> Cost {
        Cost { flops: (out_rows * self.experts * (60 + self.chosen)) as u64, bytes: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: &[f32], expected: &[f32]) {
        assert_eq!(found.len(), expected.len());
        found.iter().zip(expected).for_each(|(f, e)| assert!((f - e).abs() < 1e-6, "{found:?} {expected:?}"));
    }

    fn top(experts: usize, chosen: usize) -> NoisyTopK {
        NoisyTopK { experts, chosen, number: 0 }
    }

    /// The logit of a deviation.
    fn noise_logit(deviation: f32) -> f32 {
        (deviation - FLOOR).exp_m1().ln()
    }

    #[test]
    fn golden_gates_without_noise() {
        let (mut saved, mut out) = ([0.0; 12], [0.0; 8]);
        top(4, 2).gate(&[1.0, 0.5, -0.5, 2.0], &[0.0; 4], false, &mut saved, &mut out);
        close(&out[..4], &[0.268941, 0.0, 0.0, 0.731059]);
        // Exactly zero: their experts are not computed. Without noise the load is the choice.
        assert_eq!((out[1], out[2]), (0.0, 0.0));
        assert_eq!(out[4..], [1.0, 0.0, 0.0, 1.0]);
    }

    #[test]
    fn golden_load() {
        let (clean, noisy) = ([1.0, 0.5, -0.5, 2.0_f32], [1.2, 0.4, -0.9, 1.9_f32]);
        let mut saved = [0.0; 12];
        (0..4).for_each(|i| saved[i] = (noisy[i] - clean[i]) / 0.5);
        let mut out = [0.0; 8];
        top(4, 2).gate(&clean, &[noise_logit(0.5); 4], true, &mut saved, &mut out);
        close(&out[4..], &[0.884930, 0.080757, 0.000337, 0.999313]);
        close(&saved[4..8], &noisy);
    }

    #[test]
    fn ties_go_to_the_lower_number_and_all_may_be_chosen() {
        let (mut saved, mut out) = ([0.0; 12], [0.0; 8]);
        top(4, 2).gate(&[0.0; 4], &[0.0; 4], false, &mut saved, &mut out);
        close(&out, &[0.5, 0.5, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
        top(4, 4).gate(&[0.0, 1.0, 2.0, 3.0], &[0.0; 4], true, &mut saved, &mut out);
        close(&out[..4], &[0.032059, 0.087144, 0.236883, 0.643914]);
        assert_eq!(out[4..], [1.0; 4]);
    }

    /// The weights sum to one over k experts, the load sums to k in expectation, and the order of experts does not matter.
    #[test]
    fn invariants() {
        let (n, draws) = (6, 20_000);
        for k in 1..n {
            let clean: Vec<f32> = (0..n as u64).map(|i| Seed(1).normal_at(i)).collect();
            let noise: Vec<f32> = (0..n as u64).map(|i| Seed(2).normal_at(i)).collect();
            let backwards = |row: &[f32]| row.iter().rev().copied().collect::<Vec<_>>();
            let mut load = 0.0;
            for draw in 0..draws {
                let mut saved = vec![0.0; 3 * n];
                (0..n).for_each(|i| saved[i] = Seed(3).at(draw).normal_at(i as u64));
                let mut turned = saved.clone();
                turned[..n].reverse();
                let (mut out, mut out_turned) = (vec![0.0; 2 * n], vec![0.0; 2 * n]);
                top(n, k).gate(&clean, &noise, true, &mut saved, &mut out);
                assert_eq!(out[..n].iter().filter(|gate| **gate > 0.0).count(), k);
                assert!((out[..n].iter().sum::<f32>() - 1.0).abs() < 1e-5);
                load += f64::from(out[n..].iter().sum::<f32>());
                top(n, k).gate(&backwards(&clean), &backwards(&noise), true, &mut turned, &mut out_turned);
                close(&backwards(&out_turned[..n]), &out[..n]);
                close(&backwards(&out_turned[n..]), &out[n..]);
            }
            let mean = load / draws as f64;
            assert!((mean - k as f64).abs() < 0.02, "{k}: {mean}");
        }
    }

    /// Where no small step changes the choice, the gradient is that of differences; also of who was not chosen, by the load.
    #[cfg(feature = "train")]
    #[test]
    fn gradient_of_a_choice() {
        let n = 5;
        let upstream: Vec<f32> = (0..2 * n as u64).map(|at| Seed(7).normal_at(at)).collect();
        for (draw, k, has_noise) in [(0, 2, true), (1, 1, true), (2, 4, true), (3, 5, true), (4, 2, false)] {
            let logits: Vec<f32> = (0..2 * n as u64).map(|at| Seed(8).at(draw).normal_at(at)).collect();
            let run = |logits: &[f32]| {
                let (mut saved, mut out) = (vec![0.0; 3 * n], vec![0.0; 2 * n]);
                (0..n).for_each(|i| saved[i] = Seed(9).at(draw).normal_at(i as u64));
                top(n, k).gate(&logits[..n], &logits[n..], has_noise, &mut saved, &mut out);
                let value: f64 = out.iter().zip(&upstream).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                let chosen: Vec<bool> = out[..n].iter().map(|gate| *gate > 0.0).collect();
                (value, saved, out, chosen)
            };
            let (_, saved, out, chosen) = run(&logits);
            let mut grad = vec![0.0; 2 * n];
            let (clean_grad, noise_grad) = grad.split_at_mut(n);
            let row = Row { clean: &logits[..n], noise: &logits[n..], has_noise, saved: &saved, out: &out };
            top(n, k).back(row, &mut upstream.clone(), clean_grad, noise_grad);
            for at in 0..2 * n {
                let moved = |step: f32| {
                    let mut logits = logits.clone();
                    logits[at] += step;
                    let (value, _, _, now) = run(&logits);
                    assert_eq!(now, chosen, "the step is too large for this test");
                    value
                };
                let expected = (moved(2e-3) - moved(-2e-3)) / 4e-3;
                assert!((f64::from(grad[at]) - expected).abs() < 2e-3, "{draw} {at}: {} {expected}", grad[at]);
            }
        }
    }
}
