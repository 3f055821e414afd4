//! How sure a metric is: percentile bootstrap (Efron 1979) over rows, or over users, made wider for few of them.
//!
//! A replicate draws as many units as there are, with replacement. Rows of one user are not independent of one another,
//! so intervals over users ([`bootstrap_auc_by_group`], [`bootstrap_gauc`]) are the honest ones where users have many rows.

use super::auc::Area;
use super::groups::for_each_group;
use super::order::{Ascending, is_positive, same_rows};
use super::student::{NORMAL, student_t, tail};
use crate::Seed;

/// Users, or rows, below which a bootstrap has no interval: it draws from too few to know how they vary.
pub const FEWEST_UNITS: usize = 20;

/// Replicates below which the ends of a 95 % interval are a few draws each.
pub const FEWEST_REPLICATES: usize = 200;

/// How many replicates, and from which seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootstrapPlan {
    /// Number of replicates; at least [`FEWEST_REPLICATES`] for an interval.
    pub replicates: usize,
    /// Decides every draw.
    pub seed: Seed,
}

/// A metric with a confidence interval.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Interval {
    /// The metric on the data itself.
    pub point: f64,
    /// Lower end of the interval.
    pub lower: f64,
    /// Upper end of the interval.
    pub upper: f64,
    /// Standard deviation of the replicates.
    pub standard_error: f64,
}

/// A metric on the data and on its replicates.
#[derive(Debug, Clone, PartialEq)]
pub struct Bootstrap {
    /// The metric on the data itself.
    pub point: f64,
    /// The metric on each replicate; NaN where it has no value, as when a replicate has a single class.
    pub replicates: Vec<f64>,
    /// How many users, or rows, a replicate draws.
    pub units: usize,
}

impl Bootstrap {
    /// The percentile interval that holds the truth with this confidence, such as 0.95, half of the rest on each side.
    ///
    /// Of `n` units it is the *expanded* percentile interval (Hesterberg 2015): a mean's replicates spread too little by `√((n − 1) / n)`, and
    /// the spread of few units is itself not well known, so that the shares cut off are those of `√(n / (n − 1))` times Student's `t` of
    /// `n − 1` degrees of freedom under the normal distribution: 1.6 % for 2.5 % of 20 units, 2.4 % of 200.
    ///
    /// `None` of fewer than [`FEWEST_UNITS`], if fewer than half of the replicates have a value, or `confidence` is not between 0 and 1.
    pub fn interval(&self, confidence: f64) -> Option<Interval> {
        let mut values: Vec<f64> = self.replicates.iter().copied().filter(|value| !value.is_nan()).collect();
        let too_few = self.units < FEWEST_UNITS || values.len() < 2 || 2 * values.len() < self.replicates.len();
        if too_few || !(confidence > 0.0 && confidence < 1.0) {
            return None;
        }
        let cut_off = expanded((1.0 - confidence) / 2.0, self.units);
        values.sort_unstable_by(f64::total_cmp);
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Some(Interval {
            point: self.point,
            lower: quantile(&values, cut_off),
            upper: quantile(&values, 1.0 - cut_off),
            standard_error: (squares / (values.len() - 1) as f64).sqrt(),
        })
    }

    /// The paired difference `self − other` of two models measured on the same units in the same order under the same
    /// plan: replicates then drew the same units, and what is common to both cancels.
    ///
    /// `None` if the numbers of replicates differ.
    pub fn minus(&self, other: &Self) -> Option<Self> {
        (self.replicates.len() == other.replicates.len()).then(|| Self {
            point: self.point - other.point,
            replicates: self.replicates.iter().zip(&other.replicates).map(|(a, b)| a - b).collect(),
            units: self.units.min(other.units),
        })
    }
}

/// The share of replicates to cut off at an end, for that share of the truths.
fn expanded(share: f64, units: usize) -> f64 {
    if units > NORMAL {
        return share;
    }
    let count = units as f64;
    tail((count / (count - 1.0)).sqrt() * student_t(share, units - 1), NORMAL)
}

/// Quantile of sorted values: the value expected at a share of the whole distribution, of which these are draws, with linear interpolation
/// between neighbours (`share · (n + 1)` counted from one, definition 6 of Hyndman and Fan 1996).
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len() - 1;
    let at = (share * (sorted.len() + 1) as f64 - 1.0).clamp(0.0, last as f64);
    let (below, above) = (at.floor() as usize, at.ceil() as usize);
    sorted[below] + (at - at.floor()) * (sorted[above] - sorted[below])
}

/// The units that a replicate draws.
fn draws(plan: BootstrapPlan, replicate: usize, units: usize) -> impl Iterator<Item = usize> {
    let seed = plan.seed.child("bootstrap").at(replicate as u64);
    (0..units as u64).map(move |draw| ((u128::from(seed.bits_at(draw)) * units as u128) >> 64) as usize)
}

/// AUC, resampled by row.
///
/// Scores are sorted once; a replicate is a count for each unit and one pass over the sorted rows, so it takes O(n).
///
/// `None` where [`super::auc`] is.
pub fn bootstrap_auc(scores: &[f32], labels: &[f32], plan: BootstrapPlan) -> Option<Bootstrap> {
    // Units are numbered by row and not by rank, so that two models' replicates draw the same rows.
    SortedRows::new(scores, labels, |row| row as u32)?.bootstrap(scores.len(), plan)
}

/// AUC over all rows, resampled by group: a user is drawn with all of its rows.
///
/// `None` where [`super::auc`] is.
pub fn bootstrap_auc_by_group<G: Copy + Ord>(
    scores: &[f32],
    labels: &[f32],
    groups: &[G],
    plan: BootstrapPlan,
) -> Option<Bootstrap> {
    if !same_rows(scores, groups) {
        return None;
    }
    u32::try_from(groups.len()).ok()?;
    let mut rows: Vec<(G, u32)> = groups.iter().copied().zip(0..).collect();
    rows.sort_unstable();
    let mut unit_of_row = vec![0u32; groups.len()];
    let mut units = 0;
    for group in rows.chunk_by(|a, b| a.0 == b.0) {
        group.iter().for_each(|(_, row)| unit_of_row[*row as usize] = units);
        units += 1;
    }
    SortedRows::new(scores, labels, |row| unit_of_row[row])?.bootstrap(units as usize, plan)
}

/// Rows in ascending order of score, each as its unit, whether it is positive, and whether a new score starts.
struct SortedRows(Vec<(u32, bool, bool)>);

impl SortedRows {
    fn new(scores: &[f32], labels: &[f32], unit_of_row: impl Fn(usize) -> u32) -> Option<Self> {
        if !same_rows(scores, labels) {
            return None;
        }
        let mut rows = Vec::with_capacity(scores.len());
        for block in Ascending::new(scores)?.blocks() {
            for (i, row) in block.rows().enumerate() {
                rows.push((unit_of_row(row), is_positive(labels[row])?, i == 0));
            }
        }
        Some(Self(rows))
    }

    /// AUC with each row as often as its unit was drawn.
    fn auc(&self, drawn: &[u32]) -> Option<f64> {
        let mut area = Area::default();
        let mut of_class = [0u64; 2];
        for (unit, positive, starts) in &self.0 {
            if *starts {
                area.add(of_class[1] as f64, of_class[0] as f64);
                of_class = [0; 2];
            }
            of_class[usize::from(*positive)] += u64::from(drawn[*unit as usize]);
        }
        area.add(of_class[1] as f64, of_class[0] as f64);
        area.auc()
    }

    fn bootstrap(&self, units: usize, plan: BootstrapPlan) -> Option<Bootstrap> {
        let mut drawn = vec![1u32; units];
        let point = self.auc(&drawn)?;
        let replicates = (0..plan.replicates)
            .map(|replicate| {
                drawn.fill(0);
                draws(plan, replicate, units).for_each(|unit| drawn[unit] += 1);
                self.auc(&drawn).unwrap_or(f64::NAN)
            })
            .collect();
        Some(Bootstrap { point, replicates, units })
    }
}

/// A ratio of sums over units, `Σ numerators / Σ denominators`, resampled by unit. With a unit's summed loss and its
/// number of rows it is a mean over rows resampled by user.
///
/// `None` with no units, a value that is not finite, a negative denominator or all of them 0.
pub fn bootstrap_ratio(numerators: &[f64], denominators: &[f64], plan: BootstrapPlan) -> Option<Bootstrap> {
    if !same_rows(numerators, denominators)
        || !numerators.iter().all(|value| value.is_finite())
        || !denominators.iter().all(|value| value.is_finite() && *value >= 0.0)
    {
        return None;
    }
    let ratio = |units: &mut dyn Iterator<Item = usize>| {
        let (mut numerator, mut denominator) = (0.0, 0.0);
        for unit in units {
            numerator += numerators[unit];
            denominator += denominators[unit];
        }
        (denominator > 0.0).then(|| numerator / denominator)
    };
    let units = numerators.len();
    let point = ratio(&mut (0..units))?;
    let replicates =
        (0..plan.replicates).map(|replicate| ratio(&mut draws(plan, replicate, units)).unwrap_or(f64::NAN)).collect();
    Some(Bootstrap { point, replicates, units })
}

/// [`super::root_mean_squared_error`], resampled by group where `groups` has one a row, else by row.
///
/// `None` without rows, or with a value that is not finite.
pub fn bootstrap_rmse<G: Copy + Ord>(
    predictions: &[f32],
    labels: &[f32],
    groups: &[G],
    plan: BootstrapPlan,
) -> Option<Bootstrap> {
    if !same_rows(predictions, labels) || !(groups.is_empty() || groups.len() == labels.len()) {
        return None;
    }
    let square = |row: usize| (f64::from(predictions[row]) - f64::from(labels[row])).powi(2);
    let (squares, counts): (Vec<f64>, Vec<f64>) = if groups.is_empty() {
        (0..labels.len()).map(|row| (square(row), 1.0)).unzip()
    } else {
        let mut rows: Vec<(G, usize)> = groups.iter().copied().zip(0..).collect();
        rows.sort_unstable();
        let sum = |rows: &[(G, usize)]| (rows.iter().map(|(_, row)| square(*row)).sum::<f64>(), rows.len() as f64);
        rows.chunk_by(|a, b| a.0 == b.0).map(sum).unzip()
    };
    let mut mean = bootstrap_ratio(&squares, &counts, plan)?;
    mean.point = mean.point.sqrt();
    mean.replicates.iter_mut().for_each(|value| *value = value.sqrt());
    Some(mean)
}

/// A mean of one value a unit, such as a user's NDCG, resampled by unit.
///
/// `None` with no values or one that is not finite.
pub fn bootstrap_mean(values: &[f64], plan: BootstrapPlan) -> Option<Bootstrap> {
    bootstrap_ratio(values, &vec![1.0; values.len()], plan)
}

/// [`super::gauc`], resampled by group among those with both classes.
///
/// `None` where GAUC is.
pub fn bootstrap_gauc<G: Copy + Ord>(
    scores: &[f32],
    labels: &[f32],
    groups: &[G],
    plan: BootstrapPlan,
) -> Option<Bootstrap> {
    let (mut weighted, mut counts) = (Vec::new(), Vec::new());
    for_each_group(scores, labels, groups, |_, group| {
        if let Some(auc) = group.auc {
            weighted.push(auc * group.count as f64);
            counts.push(group.count as f64);
        }
    })?;
    bootstrap_ratio(&weighted, &counts, plan)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::metrics::{auc, gauc};

    const PLAN: BootstrapPlan = BootstrapPlan { replicates: 300, seed: Seed(11) };

    /// Scores of positives are one standard deviation higher; every fourth score is rounded, so that there are ties.
    fn rows(seed: Seed, count: u64) -> (Vec<f32>, Vec<f32>) {
        (0..count)
            .map(|i| {
                let label = f32::from(u8::from(seed.child("label").unit_at(i) < 0.4));
                let score = seed.child("score").normal_at(i) + label;
                (if i % 4 == 0 { score.round() } else { score }, label)
            })
            .unzip()
    }

    #[test]
    fn a_replicate_is_auc_of_the_drawn_rows() {
        let (scores, labels) = rows(Seed(1), 60);
        let users: Vec<u64> = (0..60).map(|i| i % 7 * 1000).collect();
        let bootstrap = bootstrap_auc_by_group(&scores, &labels, &users, PLAN).unwrap();
        assert_eq!(bootstrap.point, auc(&scores, &labels).unwrap());
        for (replicate, value) in bootstrap.replicates.iter().enumerate() {
            let (drawn_scores, drawn_labels): (Vec<f32>, Vec<f32>) = draws(PLAN, replicate, 7)
                .flat_map(|user| (0..60).filter(move |row| row % 7 == user))
                .map(|row| (scores[row], labels[row]))
                .unzip();
            assert_eq!(auc(&drawn_scores, &drawn_labels).unwrap_or(f64::NAN), *value);
        }
        for (replicate, value) in bootstrap_auc(&scores, &labels, PLAN).unwrap().replicates.iter().enumerate() {
            let (drawn_scores, drawn_labels): (Vec<f32>, Vec<f32>) =
                draws(PLAN, replicate, 60).map(|row| (scores[row], labels[row])).unzip();
            assert_eq!(auc(&drawn_scores, &drawn_labels).unwrap(), *value);
        }
    }

    #[test]
    fn intervals_hold_the_point_and_repeat() {
        let (scores, labels) = rows(Seed(2), 400);
        let users: Vec<usize> = (0..400).map(|i| i / 8).collect();
        let values: Vec<f64> = scores.iter().map(|score| f64::from(*score)).collect();
        let all = |plan| {
            [
                bootstrap_auc(&scores, &labels, plan).unwrap(),
                bootstrap_auc_by_group(&scores, &labels, &users, plan).unwrap(),
                bootstrap_gauc(&scores, &labels, &users, plan).unwrap(),
                bootstrap_mean(&values, plan).unwrap(),
            ]
        };
        for bootstrap in all(PLAN) {
            let interval = bootstrap.interval(0.95).unwrap();
            assert!(interval.lower < interval.point && interval.point < interval.upper, "{interval:?}");
            let narrower = bootstrap.interval(0.5).unwrap();
            assert!(interval.lower < narrower.lower && narrower.upper < interval.upper);
        }
        assert_eq!(all(PLAN), all(PLAN));
        assert_ne!(all(PLAN), all(BootstrapPlan { seed: Seed(12), ..PLAN }));
        assert_eq!(all(PLAN)[2].point, gauc(&scores, &labels, &users).unwrap());
    }

    /// A 90 % interval for a known AUC, Φ(1/√2) = .7602 for normals one standard deviation apart, holds it in about 90 %
    /// of 200 data sets: within four standard errors of a proportion.
    #[test]
    fn coverage() {
        let truth = 0.760_249_938_906_523_6;
        let covered = (0..200)
            .filter(|data_set| {
                let seed = Seed(5).at(*data_set);
                let (scores, labels): (Vec<f32>, Vec<f32>) = (0..200u64)
                    .map(|i| {
                        let label = f32::from(u8::from(i % 2 == 0));
                        (seed.normal_at(i) + label, label)
                    })
                    .unzip();
                let interval =
                    bootstrap_auc(&scores, &labels, BootstrapPlan { seed, ..PLAN }).unwrap().interval(0.9).unwrap();
                (interval.lower..interval.upper).contains(&truth)
            })
            .count();
        assert!((164..=196).contains(&covered), "{covered}");
    }

    #[test]
    fn standard_error_of_a_mean() {
        let values: Vec<f64> = (0..500).map(|i| f64::from(Seed(8).normal_at(i))).collect();
        let interval =
            bootstrap_mean(&values, BootstrapPlan { replicates: 2000, ..PLAN }).unwrap().interval(0.95).unwrap();
        let expected = 1.0 / 500f64.sqrt();
        assert!((interval.standard_error / expected - 1.0).abs() < 0.1, "{interval:?}");
        assert!(((interval.upper - interval.lower) / (2.0 * 1.96 * expected) - 1.0).abs() < 0.1, "{interval:?}");
    }

    #[test]
    fn a_paired_difference_is_narrower() {
        let (scores, labels) = rows(Seed(3), 600);
        let nudged: Vec<f32> = scores.iter().zip(&labels).map(|(score, label)| score + 0.1 * label).collect();
        let (a, b) = (bootstrap_auc(&nudged, &labels, PLAN).unwrap(), bootstrap_auc(&scores, &labels, PLAN).unwrap());
        let paired = a.minus(&b).unwrap();
        assert_eq!(paired.point, a.point - b.point);
        let unpaired = b.interval(0.95).unwrap();
        let paired = paired.interval(0.95).unwrap();
        assert!(paired.upper - paired.lower < 0.5 * (unpaired.upper - unpaired.lower), "{paired:?} {unpaired:?}");
    }

    /// 95 % intervals over users hold the truth in about 95 % of trials, also over few users. Each trial has other users, with levels of
    /// their own and some rows each. The plain percentiles of 20 users hold it in 90 %.
    #[test]
    fn coverage_over_users() {
        let covered = |users: u64, trials: u64| {
            let covered = (0..trials).filter(|trial| {
                let seed = Seed(23).at(*trial);
                let (sums, counts): (Vec<f64>, Vec<f64>) = (0..users)
                    .map(|user| {
                        let count = 1.0 + (4.0 * seed.child("rows").unit_at(user)).floor();
                        let level = 0.3 + f64::from(seed.child("level").normal_at(user));
                        (f64::from(count) * level, f64::from(count))
                    })
                    .unzip();
                let plan = BootstrapPlan { replicates: FEWEST_REPLICATES, seed };
                let interval = bootstrap_ratio(&sums, &counts, plan).unwrap().interval(0.95).unwrap();
                (interval.lower..interval.upper).contains(&f64::from(0.3_f32))
            });
            covered.count() as f64 / trials as f64
        };
        for (users, trials, bounds) in
            [(20, 2000, 0.932..=0.968), (30, 2000, 0.932..=0.968), (200, 1000, 0.925..=0.975)]
        {
            let share = covered(users, trials);
            assert!(bounds.contains(&share), "{users} users: {share}");
        }
    }

    /// AUC over users whose rows share a level: what is drawn are users, so that 95 % means 95 %, and what is compared on the same users is
    /// paired.
    #[test]
    fn coverage_of_auc_over_users() {
        let truth = 0.760_249_938_906_523_6;
        let trials = 400;
        let covered = (0..trials).filter(|trial| {
            let seed = Seed(31).at(*trial);
            // Scores are a user's level and noise, with variances of a half: those of positives are one standard deviation higher.
            let rows = (0..240u64).map(|row| {
                let (user, label) = (row / 8, (row % 2) as f32);
                let noise = seed.child("level").normal_at(user) + seed.child("noise").normal_at(row);
                (noise * std::f32::consts::FRAC_1_SQRT_2 + label, label, user)
            });
            let (mut scores, mut labels, mut users) = (Vec::new(), Vec::new(), Vec::new());
            rows.for_each(|(score, label, user)| {
                scores.push(score);
                labels.push(label);
                users.push(user);
            });
            let plan = BootstrapPlan { replicates: FEWEST_REPLICATES, seed };
            let interval = bootstrap_auc_by_group(&scores, &labels, &users, plan).unwrap().interval(0.95).unwrap();
            (interval.lower..interval.upper).contains(&truth)
        });
        let share = covered.count() as f64 / trials as f64;
        assert!((0.91..=0.98).contains(&share), "{share}");
    }

    /// Too few users have no interval, whatever was drawn; neither has what most draws have no value of.
    #[test]
    fn few_units_have_no_interval() {
        let values: Vec<f64> = (0..20).map(|i| f64::from(Seed(8).normal_at(i))).collect();
        assert!(bootstrap_mean(&values, PLAN).unwrap().interval(0.95).is_some());
        assert_eq!(bootstrap_mean(&values[1..], PLAN).unwrap().interval(0.95), None);
        let mostly_none = Bootstrap { point: 1.0, replicates: vec![f64::NAN, f64::NAN, 1.0, f64::NAN, 1.5], units: 90 };
        assert_eq!(mostly_none.interval(0.5), None);
        // Of 20 units 1.6 % are cut off for 2.5 %, and of very many 2.5 %.
        assert!((expanded(0.025, 20) - 0.0159).abs() < 2e-4, "{}", expanded(0.025, 20));
        assert!((expanded(0.025, 1000) - 0.025).abs() < 2e-4 && expanded(0.025, 100_000) == 0.025);
    }

    #[test]
    fn no_value() {
        assert_eq!(bootstrap_auc(&[0.1, f32::NAN], &[1.0, 0.0], PLAN), None);
        assert_eq!(bootstrap_auc(&[0.1, 0.2], &[1.0, 1.0], PLAN), None);
        assert_eq!(bootstrap_gauc(&[0.1, 0.2], &[1.0, 0.0], &[1, 2], PLAN), None);
        assert_eq!(bootstrap_auc_by_group(&[0.1, 0.2], &[1.0, 0.0], &[1], PLAN), None);
        assert_eq!(bootstrap_mean(&[], PLAN), None);
        assert_eq!(bootstrap_mean(&[f64::NAN], PLAN), None);
        assert_eq!(bootstrap_ratio(&[1.0], &[0.0], PLAN), None);
        let two = bootstrap_auc(&[0.1, 0.2], &[0.0, 1.0], PLAN).unwrap();
        // A draw of the same row twice has a single class, and is not counted.
        assert!(two.replicates.iter().any(|value| value.is_nan()));
        assert_eq!(two.interval(0.95), None, "of two rows");
        let two = Bootstrap { units: 20, replicates: vec![f64::NAN, 1.0, 1.0], ..two };
        assert_eq!(two.interval(0.95).map(|interval| (interval.lower, interval.upper)), Some((1.0, 1.0)));
        assert_eq!(two.interval(1.5), None);
        assert_eq!(two.minus(&Bootstrap { point: 0.0, replicates: vec![], units: 20 }), None);
    }
}
