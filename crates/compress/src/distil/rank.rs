//! The teacher's order of each list (RankDistil, Reddi et al. 2021).
//!
//! Orders π of a list are drawn from the Plackett–Luce distribution of the teacher's scores: Gumbel noise is added to the scores divided by
//! the temperature, and the list is sorted. The student loses `−Σ_{i ≤ k} (s_π(i) − ln Σ_{j ≥ i} e^{s_π(j)})`, the negative logarithm of the
//! likelihood of the first `k` places, on average over the orders of a list and then over lists.
//!
//! TensorFlow Ranking, whose `CoupledRankDistilLoss` this is, takes the teacher's scores for labels, and lists whose labels sum to no more than
//! 0 do not count. Our scores are logits of any sign, so there the samples' own labels decide: a list without a positive one has no order
//! that a ranking metric would see.

use super::config::Rank;
use kitestring_core::Seed;

/// The order of descending scores with Gumbel noise, or without where there is no seed. The first of equals comes first.
pub fn draw_order(scores: &[f64], temperature: f64, noise: Option<Seed>, order: &mut Vec<(f64, u32)>) {
    order.clear();
    order.extend(scores.iter().enumerate().map(|(at, score)| {
        let gumbel = noise.map_or(0.0, |seed| gumbel_at(seed, at as u64));
        (score / temperature + gumbel, at as u32)
    }));
    order.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
}

/// A number of the standard Gumbel distribution, `−ln(−ln u)`.
fn gumbel_at(seed: Seed, index: u64) -> f64 {
    // The middle of one of 2^53 equal parts is neither 0 nor 1.
    let unit = ((seed.bits_at(index) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    -(-unit.ln()).ln()
}

/// The loss of a list's scores against an order, over its first `top` places; adds the gradient times `factor`. `sums` is memory for the moment.
pub fn order_loss(
    order: &[(f64, u32)],
    scores: &[f64],
    top: usize,
    (factor, gradient): (f64, &mut [f64]),
    sums: &mut Vec<f64>,
) -> f64 {
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let score = |place: &(f64, u32)| scores[place.1 as usize];
    // The sum from each place on.
    sums.clear();
    let mut sum = 0.0;
    sums.extend(order.iter().rev().map(|place| {
        sum += (score(place) - largest).exp();
        sum
    }));
    sums.reverse();
    let mut loss = 0.0;
    // How often, and against how much, a sample was there to be chosen so far.
    let mut shares = 0.0;
    for (number, (place, sum)) in order.iter().zip(&*sums).enumerate() {
        let counts = number < top;
        if counts {
            loss -= score(place) - largest - sum.ln();
            shares += 1.0 / sum;
        }
        let chosen = f64::from(u8::from(counts));
        gradient[place.1 as usize] += factor * ((score(place) - largest).exp() * shares - chosen);
    }
    loss
}

/// The loss of the lists of a batch. A workspace: a warm one allocates nothing.
#[derive(Debug, Default)]
pub(super) struct Lists {
    /// The rows by user.
    rows: Vec<(u64, u32)>,
    teacher: Vec<f64>,
    student: Vec<f64>,
    gradient: Vec<f64>,
    order: Vec<(f64, u32)>,
    sums: Vec<f64>,
}

impl Lists {
    /// The mean loss over the lists of a batch, where row `i` is user `users[i]`'s and `scores(i)` gives its label and the scores of the
    /// teacher and the student. `add` gets the derivative by each row's score. Missing labels count as 0.
    pub(super) fn loss(
        &mut self,
        rank: &Rank,
        seed: Seed,
        users: &[u64],
        scores: impl Fn(usize) -> (f32, f32, f32),
        mut add: impl FnMut(usize, f64),
    ) -> f64 {
        self.rows.clear();
        self.rows.extend(users.iter().zip(0..).map(|(user, row)| (*user, row)));
        self.rows.sort_unstable();
        let counts = |list: &&[(u64, u32)]| {
            let label = |(_, row): &(u64, u32)| Some(scores(*row as usize).0).filter(|label| !label.is_nan());
            list.len() > 1 && list.iter().filter_map(label).sum::<f32>() > 0.0
        };
        let lists = || self.rows.chunk_by(|a, b| a.0 == b.0).filter(counts);
        let count = lists().count() as f64;
        let mut sum = 0.0;
        for list in lists() {
            self.teacher.clear();
            self.student.clear();
            for (_, row) in list {
                let (_, teacher, student) = scores(*row as usize);
                self.teacher.push(teacher.into());
                self.student.push(student.into());
            }
            self.gradient.clear();
            self.gradient.resize(list.len(), 0.0);
            let (seed, top) = (seed.at(list[0].1.into()), rank.top.unwrap_or(list.len()));
            let factor = 1.0 / (count * rank.samples as f64);
            for sample in 0..rank.samples as u64 {
                draw_order(&self.teacher, rank.temperature, Some(seed.at(sample)), &mut self.order);
                let gradient = (factor, self.gradient.as_mut_slice());
                sum += factor * order_loss(&self.order, &self.student, top, gradient, &mut self.sums);
            }
            list.iter().zip(&self.gradient).for_each(|((_, row), slope)| add(*row as usize, *slope));
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn loss(teacher: &[f64], student: &[f64], top: usize) -> f64 {
        let mut order = Vec::new();
        draw_order(teacher, 1.0, None, &mut order);
        order_loss(&order, student, top, (1.0, &mut vec![0.0; student.len()]), &mut Vec::new())
    }

    #[test]
    fn golden() {
        let (ln2, ln3) = (2.0_f64.ln(), 3.0_f64.ln());
        let first = loss(&[0.0, 2.0, 1.0], &[0.0, ln3, ln2], 2);
        let second = loss(&[1.0, 0.0, 2.0], &[0.0, ln2, ln3], 2);
        assert!((first - ln3).abs() < 1e-12, "{first}");
        assert!((second - 6.0_f64.ln()).abs() < 1e-12, "{second}");
        assert!((0.5 * (first + second) - 1.44519).abs() < 5e-6);
        // The last place has nobody left to be chosen before.
        assert!((loss(&[0.0, 2.0, 1.0], &[0.0, ln3, ln2], 3) - first).abs() < 1e-12);
    }

    #[test]
    fn slopes_are_finite_differences() {
        let (teacher, student) = ([0.3, -1.0, 2.0, 0.4, 0.3], [1.0, 0.5, -0.7, 0.0, 300.0]);
        let mut order = Vec::new();
        draw_order(&teacher, 1.0, Some(Seed(3)), &mut order);
        for top in 1..=5 {
            let mut gradient = vec![0.0; 5];
            order_loss(&order, &student, top, (2.0, &mut gradient), &mut Vec::new());
            for (at, slope) in gradient.iter().enumerate() {
                let of = |by: f64| {
                    let mut moved = student;
                    moved[at] += by;
                    order_loss(&order, &moved, top, (0.0, &mut [0.0; 5]), &mut Vec::new())
                };
                let expected = 2.0 * (of(1e-5) - of(-1e-5)) / 2e-5;
                assert!((slope - expected).abs() < 1e-5, "{top} {at}: {slope} {expected}");
            }
        }
    }

    /// The first place goes to each sample as often as the softmax of the scores says.
    #[test]
    fn orders_are_plackett_luce() {
        let scores = [0.0, 1.0, 2.0];
        for temperature in [1.0, 4.0] {
            let (mut counts, mut order, draws) = ([0.0; 3], Vec::new(), 40_000);
            for draw in 0..draws {
                draw_order(&scores, temperature, Some(Seed(7).at(draw)), &mut order);
                counts[order[0].1 as usize] += 1.0 / draws as f64;
            }
            let sum: f64 = scores.iter().map(|score| (score / temperature).exp()).sum();
            for (count, score) in counts.iter().zip(scores) {
                let expected = (score / temperature).exp() / sum;
                assert!((count - expected).abs() < 0.01, "{count} {expected}");
            }
        }
    }

    #[test]
    fn lists_are_users_with_a_positive_label() {
        // Users 7 and 9 alternate; 8 has no positive label, 5 a single sample.
        let users = [7, 9, 8, 7, 8, 9, 5, 7];
        let labels = [1.0, f32::NAN, 0.0, 0.0, f32::NAN, 1.0, 1.0, 0.0];
        let (teacher, student) =
            ([2.0, 0.0, 1.0, 0.0, 1.0, 3.0, 0.0, -1.0], [0.1_f32, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]);
        // A low temperature: the order is the teacher's.
        let rank = Rank { temperature: 1e-6, samples: 3, ..Rank::default() };
        let mut gradient = [0.0; 8];
        let found = Lists::default().loss(
            &rank,
            Seed(1),
            &users,
            |row| (labels[row], teacher[row], student[row]),
            |row, slope| gradient[row] += slope,
        );
        let student = |rows: &[usize]| rows.iter().map(|row| f64::from(student[*row])).collect::<Vec<_>>();
        let seven = loss(&[2.0, 0.0, -1.0], &student(&[0, 3, 7]), 3);
        let nine = loss(&[0.0, 3.0], &student(&[1, 5]), 2);
        assert!((found - 0.5 * (seven + nine)).abs() < 1e-9, "{found}");
        let moved: Vec<usize> = (0..8).filter(|row| gradient[*row] != 0.0).collect();
        assert_eq!(moved, [0, 1, 3, 5, 7]);
        let none = Lists::default().loss(&rank, Seed(1), &users, |row| (0.0, teacher[row], 0.0), |_, _| panic!());
        assert_eq!(none, 0.0);
    }
}
