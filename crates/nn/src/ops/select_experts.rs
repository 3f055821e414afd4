//! Selection of experts by their divergence to one-hot and to uniform: the select layer of AESM² (Zou et al. 2022, section 3.2).

#[cfg(feature = "train")]
use super::Backward;
use super::{Cost, Operation};
use crate::engine::{Context, Inputs};
use crate::graph::{Domain, Graph, Value};
use crate::kernels::{
    activation::{exp, ln},
    kernel,
    matmul::transpose,
};
use kitestring_core::Seed;
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

/// Samples that are worked on at a time, side by side: a sample may have few experts, and then loops over them are too short to vectorize.
const LANES: usize = 16;

/// A number of each sample.
type Lane = [f32; LANES];

/// What is known of the samples side by side: for each condition and expert, or for each expert.
struct Lanes<'a> {
    /// For each condition 1 where it is there, else 0.
    heard: &'a [Lane],
    /// How many are there.
    counts: &'a Lane,
    /// `G̃`, then `e^g` with `g` a column of `G̃` less its largest.
    powers: &'a mut [Lane],
    /// `Σ_j e^g`.
    sums: &'a mut [Lane],
    /// `KL(one-hot_active ‖ h_k)`; infinite once the expert is selected.
    to_one_hot: &'a mut [Lane],
    /// `KL(uniform ‖ h_k)`, likewise.
    to_uniform: &'a mut [Lane],
}

kernel! {
    /// The divergences from `G̃`. With `z = ln Σ_j e^g` they are `z − g[active]` and `z − mean_j g − ln m`: one logarithm an expert.
    fn diverge['a](lanes: Lanes<'a>, active: Lane) {
        let Lanes { heard, counts, powers, sums, to_one_hot, to_uniform } = lanes;
        let n = sums.len();
        for k in 0..n {
            let mut highest = [f32::NEG_INFINITY; LANES];
            for (g, heard) in powers[k..].iter().step_by(n).zip(heard) {
                for lane in 0..LANES {
                    let there = if heard[lane] != 0.0 { g[lane] } else { f32::NEG_INFINITY };
                    highest[lane] = highest[lane].max(there);
                }
            }
            let (mut total, mut own) = ([0.0; LANES], [0.0; LANES]);
            for (j, (g, heard)) in powers[k..].iter_mut().step_by(n).zip(heard).enumerate() {
                for lane in 0..LANES {
                    g[lane] = if heard[lane] != 0.0 { g[lane] - highest[lane] } else { 0.0 };
                }
                for lane in 0..LANES {
                    total[lane] += g[lane];
                }
                for lane in 0..LANES {
                    own[lane] = if active[lane] == j as f32 { g[lane] } else { own[lane] };
                }
            }
            (to_one_hot[k], to_uniform[k]) = (own, total);
        }
        // One loop each over all of them: those vectorize.
        powers.as_flattened_mut().iter_mut().for_each(|g| *g = exp(*g));
        for (k, sum) in sums.iter_mut().enumerate() {
            let mut total = [0.0; LANES];
            for (power, heard) in powers[k..].iter_mut().step_by(n).zip(heard) {
                for lane in 0..LANES {
                    power[lane] *= heard[lane];
                    total[lane] += power[lane];
                }
            }
            *sum = total;
        }
        let mut logarithms = [0.0; LANES];
        for lane in 0..LANES {
            logarithms[lane] = ln(counts[lane]);
        }
        for ((own, total), sum) in to_one_hot.iter_mut().zip(to_uniform).zip(&*sums) {
            for lane in 0..LANES {
                let z = ln(sum[lane]);
                own[lane] = z - own[lane];
                total[lane] = z - total[lane] / counts[lane] - logarithms[lane];
            }
        }
    }

    /// The number of the expert with the smallest divergence, the first among equal ones, and that divergence, which becomes infinite.
    fn pick['a](divergences: &'a mut [Lane]) -> [Lane; 2] {
        // Nothing is least where all is NaN: then any will do, so that it goes on to the loss.
        let (mut best, mut least) = ([0.0; LANES], [f32::INFINITY; LANES]);
        for divergence in &*divergences {
            for lane in 0..LANES {
                least[lane] = if divergence[lane] < least[lane] { divergence[lane] } else { least[lane] };
            }
        }
        for (k, divergence) in divergences.iter().enumerate().rev() {
            for lane in 0..LANES {
                best[lane] = if divergence[lane] == least[lane] { k as f32 } else { best[lane] };
            }
        }
        for lane in 0..LANES {
            divergences[best[lane] as usize][lane] = f32::INFINITY;
        }
        [best, least]
    }

    /// Adds noise to every relevance of a sample.
    fn add_noise['a](relevance: &'a mut [f32], scale: f32, seed: Seed) {
        relevance.iter_mut().enumerate().for_each(|(at, relevance)| *relevance += scale * noise(seed.bits_at(at as u64)));
    }
}

/// About normal with variance one: the sum of four uniform draws. Noise that steers a choice needs no tails, and is drawn for every
/// condition and expert of every sample.
#[inline(always)]
fn noise(bits: u64) -> f32 {
    let part = |shift: u32| (bits >> shift) as u32 & 0xffff;
    let sum = part(0) + part(16) + part(32) + part(48);
    // Each has the variance (2^32 − 1) / 12 around (2^16 − 1) / 2.
    (sum as i32 as f32 - 131_070.0) * (1.732_050_8 / 65_536.0)
}

impl SelectExperts {
    fn noise_at(&self, cx: &Context<'_>) -> Option<(f32, Seed)> {
        let seed = cx.noise_seed().filter(|_| self.noise > 0.0)?;
        Some((self.noise_scale(cx.step()), seed.at(self.number)))
    }

    /// The deviation of the noise after a number of steps: `ν n`, halved every so many.
    fn noise_scale(&self, step: u64) -> f32 {
        let halvings = if self.noise_half_life > 0.0 { step as f32 / self.noise_half_life } else { 0.0 };
        self.noise * self.experts as f32 * (-halvings).exp2()
    }

    fn condition(&self, cx: &Context<'_>, row: usize) -> Option<usize> {
        match self.active {
            Active::Always(condition) => Some(condition),
            Active::Scenario(level) => cx.seen_scenario(level, row, self.conditions),
        }
    }

    /// Floats of a place in what is saved of a sample: the number of the expert that was selected, −1 for none, and its `h`. The first
    /// places are those of specific experts, the others those of shared ones.
    fn place(&self) -> usize {
        1 + self.conditions
    }

    /// Floats of what is saved of a sample.
    fn of_sample(&self) -> usize {
        self.place() * self.places().iter().sum::<usize>()
    }

    /// How many places there are for specific experts, and for shared ones.
    pub(crate) fn places(&self) -> [usize; 2] {
        match self.conditions {
            1 => [0, (self.specific + self.shared).min(self.experts)],
            _ => [self.specific.min(self.experts), self.shared.min(self.experts)],
        }
    }

    /// The experts in some places, each once.
    fn selected<'a>(&self, places: &'a [f32]) -> impl Iterator<Item = usize> + Clone + 'a {
        let place = self.place();
        let at = move |number: usize| places[number * place];
        let first = move |number: &usize| at(*number) >= 0.0 && (0..*number).all(|other| at(other) != at(*number));
        (0..places.len() / place).filter(first).map(move |number| at(number) as usize)
    }

    /// Floats of memory that selecting takes.
    fn memory(&self) -> usize {
        ((2 * self.conditions + 3) * self.experts + self.conditions) * LANES
    }

    /// Which conditions are there for the active one.
    fn heard<'a>(&self, state: &'a [f32], active: Option<usize>) -> &'a [f32] {
        &state[self.heard + active.unwrap_or(self.conditions) * self.conditions..][..self.conditions]
    }

    /// Selects for up to [`LANES`] samples. `relevance` is `G`, `noisy` turns a sample's into `G̃`, `active` are their conditions, −1 for
    /// none, and `heard` which conditions are there for each. The result is in `places`, and the weights and losses in `out`.
    fn select<'a>(
        &self,
        relevance: &[f32],
        noisy: impl Fn(usize, &mut [f32]),
        (active, heard): (Lane, impl Fn(usize) -> &'a [f32]),
        memory: &mut [f32],
        places: &mut [f32],
        out: &mut [f32],
    ) {
        let (m, n) = (self.conditions, self.experts);
        let (width, place) = (m * n, self.place());
        let (rows, memory) = memory.split_at_mut(width * LANES);
        rows[..relevance.len()].copy_from_slice(relevance);
        rows[relevance.len()..].fill(0.0);
        rows.chunks_exact_mut(width).take(relevance.len() / width).enumerate().for_each(|(row, g)| noisy(row, g));
        transpose(&mut memory[..width * LANES], rows, LANES, width);
        let (powers, rest) = memory.as_chunks_mut().0.split_at_mut(width);
        let (sums, rest) = rest.split_at_mut(n);
        let (to_one_hot, rest) = rest.split_at_mut(n);
        let (to_uniform, rest) = rest.split_at_mut(n);
        let there = &mut rest[..m];
        let mut counts = [0.0; LANES];
        for lane in 0..LANES {
            // Places without a sample do as the first one does.
            let heard = heard(if lane * width < relevance.len() { lane } else { 0 });
            for (there, heard) in there.iter_mut().zip(heard) {
                there[lane] = f32::from(u8::from(*heard != 0.0));
                counts[lane] += there[lane];
            }
        }
        diverge(Lanes { heard: there, counts: &counts, powers, sums, to_one_hot, to_uniform }, active);
        for (row, relevance) in relevance.chunks_exact(width).enumerate().filter(|(row, _)| counts[*row] == 1.0) {
            // Every divergence is zero: the most relevant ones are selected.
            let only = there.iter().position(|there| there[row] != 0.0).unwrap_or(0);
            for (k, relevance) in relevance[only * n..][..n].iter().enumerate() {
                (to_one_hot[k][row], to_uniform[k][row]) = (-relevance, -relevance);
            }
        }
        let (of_sample, kinds) = (self.of_sample(), self.places());
        let mut number = 0;
        for kind in 0..kinds.len() {
            let mut sum = [0.0; LANES];
            for _ in 0..kinds[kind] {
                let [best, least] = pick(if kind == 0 { &mut *to_one_hot } else { &mut *to_uniform });
                for (row, places) in places.chunks_exact_mut(of_sample).enumerate() {
                    if counts[row] == 1.0 {
                        to_uniform[best[row] as usize][row] = f32::INFINITY;
                    }
                    let known = kind == 1 || active[row] >= 0.0 || counts[row] == 1.0;
                    places[number * place] = if known { best[row] } else { -1.0 };
                    sum[row] += if known { least[row] } else { 0.0 };
                }
                number += 1;
            }
            for (row, out) in out.chunks_exact_mut(n + 2).enumerate() {
                out[n + kind] = if counts[row] == 1.0 { 0.0 } else { sum[row].max(0.0) / kinds[kind].max(1) as f32 };
            }
        }
        let samples =
            relevance.chunks_exact(width).zip(places.chunks_exact_mut(of_sample)).zip(out.chunks_exact_mut(n + 2));
        for (row, ((relevance, places), out)) in samples.enumerate() {
            for place in places.chunks_exact_mut(place).filter(|place| place[0] >= 0.0) {
                let k = place[0] as usize;
                (0..m).for_each(|j| place[1 + j] = powers[j * n + k][row] / sums[k][row]);
            }
            self.weigh(relevance, (active[row], heard(row)), places, &mut out[..n]);
        }
    }

    /// The softmax of a sample's relevance over the selected experts.
    fn weigh(&self, relevance: &[f32], (active, heard): (f32, &[f32]), places: &[f32], weights: &mut [f32]) {
        let n = self.experts;
        let there = || (0..heard.len()).filter(|j| heard[*j] != 0.0);
        let m = there().count() as f32;
        let logit = |k: usize| match active {
            0.0.. => relevance[active as usize * n + k],
            _ => there().map(|j| relevance[j * n + k]).sum::<f32>() / m,
        };
        weights.fill(0.0);
        let selected = self.selected(places);
        let highest = selected.clone().map(logit).fold(f32::NEG_INFINITY, f32::max);
        let mut sum = 0.0;
        for k in selected.clone() {
            weights[k] = exp(logit(k) - highest);
            sum += weights[k];
        }
        selected.for_each(|k| weights[k] /= sum);
    }

    /// Adds the gradient of `G` of one sample.
    #[cfg(feature = "train")]
    fn back(
        &self,
        grad: &mut [f32],
        out_grad: &[f32],
        (active, heard): (Option<usize>, &[f32]),
        places: &[f32],
        out: &[f32],
    ) {
        let n = self.experts;
        let there = || (0..heard.len()).filter(|j| heard[*j] != 0.0);
        let m = there().count();
        let (weights, losses) = out_grad.split_at(n);
        // That of the softmax.
        let mean: f32 = self.selected(places).map(|k| weights[k] * out[k]).sum();
        for k in self.selected(places) {
            let weight = out[k] * (weights[k] - mean);
            match active {
                Some(j) => grad[j * n + k] += weight,
                None => there().for_each(|j| grad[j * n + k] += weight / m as f32),
            }
        }
        if m == 1 {
            return;
        }
        let counts = self.places();
        for (number, place) in places.chunks_exact(self.place()).enumerate().filter(|(_, place)| place[0] >= 0.0) {
            let (k, is_specific) = (place[0] as usize, number < counts[0]);
            let loss = losses[usize::from(!is_specific)] / counts[usize::from(!is_specific)] as f32;
            for i in there() {
                let share = place[1 + i];
                let target = if is_specific { f32::from(active == Some(i)) } else { 1.0 / m as f32 };
                grad[i * n + k] += loss * (share - target);
            }
        }
    }
}

impl Operation for SelectExperts {
    fn forward(&self, cx: &Context<'_>, inputs: Inputs<'_>, out: &mut [f32], saved: &mut Vec<f32>) {
        let (width, n, of_sample) = (self.conditions * self.experts, self.experts, self.of_sample());
        let relevance = inputs.get(0);
        let kept = if cx.records() { relevance.len() / width } else { LANES };
        saved.resize(kept * of_sample + self.memory(), 0.0);
        let (kept, memory) = saved.split_at_mut(kept * of_sample);
        let noise = self.noise_at(cx);
        let blocks = relevance.chunks(LANES * width).zip(out.chunks_mut(LANES * (n + 2)));
        for (block, (relevance, out)) in blocks.enumerate() {
            let (first, samples) = (block * LANES, relevance.len() / width);
            let noisy = |row: usize, relevance: &mut [f32]| {
                if let Some((scale, seed)) = noise {
                    add_noise(relevance, scale, seed.at((cx.rows.start + first + row) as u64));
                }
            };
            let mut active = [-1.0; LANES];
            for (row, active) in active[..samples].iter_mut().enumerate() {
                *active = self.condition(cx, first + row).map_or(-1.0, |condition| condition as f32);
            }
            let start = if cx.records() { first * of_sample } else { 0 };
            let places = &mut kept[start..start + samples * of_sample];
            let heard = |row: usize| self.heard(cx.state, self.condition(cx, first + row));
            self.select(relevance, noisy, (active, heard), memory, places, out);
        }
    }

    #[cfg(feature = "train")]
    fn backward(&self, cx: &Context<'_>, mut pass: Backward<'_>) {
        let (width, n) = (self.conditions * self.experts, self.experts);
        let of_sample = self.of_sample();
        let (out_grad, out) = (std::mem::take(&mut pass.out_grad), pass.out);
        let saved = std::mem::take(&mut pass.saved);
        let Some(grad) = pass.input_grad_to_add(0) else { return };
        let rows = grad.chunks_exact_mut(width).zip(out_grad.chunks_exact(n + 2)).zip(out.chunks_exact(n + 2));
        for (row, ((grad, out_grad), out)) in rows.enumerate() {
            let places = &saved[row * of_sample..(row + 1) * of_sample];
            let active = self.condition(cx, row);
            self.back(grad, out_grad, (active, self.heard(cx.state, active)), places, out);
        }
    }

    fn cost(&self, _: usize, _: usize, out_rows: usize) -> Cost {
        Cost { flops: (30 * out_rows * self.conditions * self.experts) as u64, bytes: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The places and what comes out, of one sample.
    fn run(select: &SelectExperts, relevance: &[f32], active: Option<usize>) -> [Vec<f32>; 2] {
        run_with(select, relevance, active, &vec![1.0; select.conditions])
    }

    /// The same where only some conditions are there.
    fn run_with(select: &SelectExperts, relevance: &[f32], active: Option<usize>, heard: &[f32]) -> [Vec<f32>; 2] {
        let (mut places, mut out) = (vec![0.0; select.of_sample()], vec![0.0; select.experts + 2]);
        let active = [active.map_or(-1.0, |active| active as f32); LANES];
        let mut memory = vec![0.0; select.memory()];
        select.select(relevance, |_, _| {}, (active, |_| heard), &mut memory, &mut places, &mut out);
        [places, out]
    }

    /// The experts in all places, −1 for none.
    fn numbers(select: &SelectExperts, places: &[f32]) -> Vec<i32> {
        places.iter().step_by(select.place()).map(|number| *number as i32).collect()
    }

    fn minus_ln(x: f32) -> f32 {
        -x.ln()
    }

    #[test]
    fn noise_is_as_large_as_its_config_says_and_halves() {
        let select = SelectExperts {
            conditions: 2,
            experts: 4,
            specific: 1,
            shared: 1,
            noise: 0.3,
            noise_half_life: 10.0,
            active: Active::Always(0),
            heard: 0,
            number: 0,
        };
        let close = |found: f32, expected: f32| assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        for (step, expected) in [(0, 1.2), (5, 1.2 / 2.0_f32.sqrt()), (10, 0.6), (30, 0.15)] {
            close(select.noise_scale(step), expected);
        }
        close(SelectExperts { noise_half_life: 0.0, ..select }.noise_scale(1000), 1.2);
        close(SelectExperts { experts: 10, ..select }.noise_scale(0), 3.0);
        // It is added with that deviation, around zero.
        let mut relevance = vec![0.0; 40_000];
        add_noise(&mut relevance, 1.2, Seed(3));
        let count = relevance.len() as f64;
        let mean = relevance.iter().map(|x| f64::from(*x)).sum::<f64>() / count;
        let variance = relevance.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / count;
        assert!(mean.abs() < 0.03 && (variance.sqrt() - 1.2).abs() < 0.02, "{mean} {variance}");
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
        let [places, out] = run(&select, &relevance, Some(0));
        let close = |found: &[f32], expected: &[f32]| {
            assert_eq!(found.len(), expected.len());
            found.iter().zip(expected).for_each(|(f, e)| assert!((f - e).abs() < 2e-6, "{found:?} {expected:?}"));
        };
        let third = 1.0 / 3.0;
        assert_eq!(numbers(&select, &places), [0, 2]);
        close(&places, &[0.0, 0.786986, 0.106507, 0.106507, 2.0, third, third, third]);
        close(&out, &[0.952574, 0.0, 0.047426, 0.0, 0.239545, 0.0]);
        // Every expert's `h`, by their divergence from one-hot.
        let all = SelectExperts { specific: 4, shared: 0, ..select };
        let [places, _] = run(&all, &relevance, Some(0));
        assert_eq!(numbers(&all, &places), [0, 2, 3, 1]);
        close(&places[13..], &[0.106507, 0.786986, 0.106507]);
        // An unseen condition: the shared expert alone.
        let [places, out] = run(&select, &relevance, None);
        assert_eq!(out[..4], [0.0, 0.0, 1.0, 0.0]);
        assert_eq!(numbers(&select, &places), [-1, 2]);
    }

    /// An expert that is specific and shared is weighed once. What is not a number goes on to the weights.
    #[test]
    fn an_expert_in_two_places() {
        let mut select = SelectExperts {
            conditions: 2,
            experts: 2,
            specific: 1,
            shared: 2,
            noise: 0.0,
            noise_half_life: 0.0,
            active: Active::Always(0),
            heard: 0,
            number: 0,
        };
        let [places, out] = run(&select, &[0.3, 0.9, 0.3, 0.1], Some(0));
        assert_eq!(numbers(&select, &places), [1, 0, 1]);
        assert!((out[1] / out[0] - 0.6_f32.exp()).abs() < 1e-5 && (out[0] + out[1] - 1.0).abs() < 1e-6);
        for conditions in [1, 2] {
            select.conditions = conditions;
            let [_, out] = run(&select, &vec![f32::NAN; 2 * conditions], Some(0));
            assert!(out[..2].iter().any(|weight| weight.is_nan()), "{out:?}");
        }
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
        let seed = Seed(9);
        let upstream: Vec<f32> = (0..n + 2).map(|at| seed.child("upstream").normal_at(at as u64)).collect();
        for (draw, active) in [(0, Some(1)), (1, Some(2)), (2, None), (3, Some(0)), (4, Some(2)), (5, None)] {
            select.conditions = if draw == 3 { 1 } else { m };
            // In the last two the first condition is not there.
            let heard = &[f32::from(draw < 4), 1.0, 1.0][..select.conditions];
            let width = select.conditions * n;
            let relevance: Vec<f32> = (0..width).map(|at| seed.at(draw).normal_at(at as u64)).collect();
            let value =
                |out: &[f32]| out.iter().zip(&upstream).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
            let [places, out] = run_with(&select, &relevance, active, heard);
            let mut grad = vec![0.0; width];
            select.back(&mut grad, &upstream, (active, heard), &places, &out);
            for at in 0..width {
                let moved = |step: f32| {
                    let mut relevance = relevance.clone();
                    relevance[at] += step;
                    let [now, out] = run_with(&select, &relevance, active, heard);
                    let same = numbers(&select, &now) == numbers(&select, &places);
                    assert!(same, "the step is too large for this test");
                    value(&out)
                };
                let expected = (moved(1e-3) - moved(-1e-3)) / 2e-3;
                assert!((f64::from(grad[at]) - expected).abs() < 2e-3, "{draw} {at}: {} {expected}", grad[at]);
            }
        }
    }

    /// A selection among the conditions that are there is the selection of a smaller layer, to the bit: also where one alone is there.
    #[test]
    fn conditions_that_are_not_there() {
        let small = |conditions: usize| SelectExperts {
            conditions,
            experts: 6,
            specific: 2,
            shared: 2,
            noise: 0.0,
            noise_half_life: 0.0,
            active: Active::Always(0),
            heard: 0,
            number: 0,
        };
        for draw in 0..40 {
            let relevance: Vec<f32> = (0..24).map(|at| Seed(8).at(draw).normal_at(at)).collect();
            for (there, active) in [(1, Some(0)), (1, None), (2, Some(1)), (2, None), (3, Some(2))] {
                let [_, expected] = run(&small(there), &relevance[..6 * there], active);
                let heard: Vec<f32> = (0..4).map(|j| f32::from(u8::from(j < there))).collect();
                let [_, found] = run_with(&small(4), &relevance, active, &heard);
                assert_eq!(found, expected, "{there} {active:?}");
            }
        }
    }

    #[test]
    fn noise_has_mean_zero_and_variance_one() {
        let seed = Seed(3);
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
        let seed = Seed(4);
        for draw in 0..50 {
            let relevance: Vec<f32> = (0..15).map(|at| seed.at(draw).normal_at(at)).collect();
            let [places, out] = run(&select, &relevance, Some(1));
            assert!((out[..5].iter().sum::<f32>() - 1.0).abs() < 1e-6);
            assert!(out[..5].iter().filter(|weight| **weight > 0.0).count() <= 4);
            assert!(out[5] >= 0.0 && out[6] >= 0.0);
            let own: f32 = places.chunks(select.place()).take(2).map(|place| minus_ln(place[2])).sum();
            assert!((out[5] - own / 2.0).abs() < 1e-6);
            let mut column = relevance.clone();
            (0..3).for_each(|j| column[j * 5 + 2] += 0.7);
            let [moved, _] = run(&select, &column, Some(1));
            assert_eq!(numbers(&select, &moved), numbers(&select, &places));
        }
    }
}
