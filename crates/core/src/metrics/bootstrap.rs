//! How sure a metric is: percentile bootstrap (Efron 1979) over rows, or over users.
//!
//! A replicate draws as many units as there are, with replacement. Rows of one user are not independent of one another,
//! so intervals over users ([`bootstrap_auc_by_group`], [`bootstrap_gauc`]) are the honest ones where users have many rows.

use super::auc::Area;
use super::groups::for_each_group;
use super::order::{Ascending, is_positive, same_rows};
use crate::Seed;

/// How many replicates, and from which seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootstrapPlan {
    /// Number of replicates; 200 give a standard error, 1000 a 95 % interval.
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
}

impl Bootstrap {
    /// The percentile interval that holds this share of the replicates, such as 0.95, half of the rest on each side.
    ///
    /// `None` if fewer than two replicates have a value or `confidence` is not between 0 and 1.
    pub fn interval(&self, confidence: f64) -> Option<Interval> {
        let mut values: Vec<f64> = self.replicates.iter().copied().filter(|value| !value.is_nan()).collect();
        if values.len() < 2 || !(confidence > 0.0 && confidence < 1.0) {
            return None;
        }
        values.sort_unstable_by(f64::total_cmp);
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Some(Interval {
            point: self.point,
            lower: quantile(&values, (1.0 - confidence) / 2.0),
            upper: quantile(&values, (1.0 + confidence) / 2.0),
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
        })
    }
}

/// The mean of a metric over runs that differ in their seed alone, resampled over the runs and over what each was measured on.
///
/// All runs have their replicates from one plan, so that replicate r drew the same units for each. A replicate of the mean takes one of
/// these and draws as many runs as there are, with replacement. Drawing from n runs makes the spread between them too small by
/// √((n − 1) / n), which is made good. With one run only what it was measured on varies; where the runs have no replicates, only the
/// runs vary. Two configurations with the same seeds are compared by [`Bootstrap::minus`]: the draws are the same for both.
///
/// `None` without runs, or if they have different numbers of replicates.
pub fn bootstrap_over_runs(runs: &[Bootstrap], plan: BootstrapPlan) -> Option<Bootstrap> {
    let count = runs.len();
    let units = runs.first()?.replicates.len();
    if runs.iter().any(|run| run.replicates.len() != units) {
        return None;
    }
    let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / count as f64;
    let point = mean(&mut runs.iter().map(|run| run.point));
    let value = |run: usize, unit: usize| runs[run].replicates.get(unit).copied().unwrap_or(runs[run].point);
    let replicates = (0..if count == 1 { units } else { plan.replicates.max(units) }).map(|replicate| {
        let unit = replicate % units.max(1);
        let all = mean(&mut (0..count).map(|run| value(run, unit)));
        if count == 1 {
            return all;
        }
        let drawn = mean(&mut draws(plan, replicate, count).map(|run| value(run, unit)));
        all + (drawn - all) * (count as f64 / (count - 1) as f64).sqrt()
    });
    Some(Bootstrap { point, replicates: replicates.collect() })
}

/// Quantile of sorted values with linear interpolation between neighbours.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len() - 1) as f64;
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
        Some(Bootstrap { point, replicates })
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
    Some(Bootstrap { point, replicates })
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

    /// Runs whose values spread by 2 around 5, each measured with an error of 1 that all share: the interval of the mean of n runs knows
    /// both, in about 90 % of 300 trials.
    #[test]
    fn coverage_over_runs() {
        let plan = BootstrapPlan { replicates: 400, seed: Seed(1) };
        let covered = |runs: u64| {
            let trials = (0..300u64).filter(|trial| {
                let seed = Seed(17).at(*trial);
                let shared = f64::from(seed.normal_at(0));
                let runs: Vec<Bootstrap> = (0..runs)
                    .map(|run| {
                        let point = 5.0 + shared + 2.0 * f64::from(seed.child("run").normal_at(run));
                        let noise = |r| f64::from(seed.child("unit").normal_at(r));
                        Bootstrap { point, replicates: (0..100).map(|r| point + noise(r)).collect() }
                    })
                    .collect();
                let interval = bootstrap_over_runs(&runs, plan).unwrap().interval(0.9).unwrap();
                (interval.lower..interval.upper).contains(&5.0)
            });
            trials.count()
        };
        // Five runs are few for a percentile interval: it holds a little less than it says.
        assert!((235..=285).contains(&covered(5)), "{}", covered(5));
        assert!((248..=288).contains(&covered(20)), "{}", covered(20));
    }

    #[test]
    fn runs_are_paired() {
        let plan = BootstrapPlan { replicates: 200, seed: Seed(4) };
        let run = |run: u64, lead: f64| {
            let point = f64::from(Seed(2).normal_at(run)) + lead;
            Bootstrap { point, replicates: (0..50).map(|r| point + f64::from(Seed(3).normal_at(r))).collect() }
        };
        let runs = |lead: f64| bootstrap_over_runs(&(0..5).map(|n| run(n, lead)).collect::<Vec<_>>(), plan).unwrap();
        let interval = runs(0.25).minus(&runs(0.0)).unwrap().interval(0.95).unwrap();
        assert!((interval.lower - 0.25).abs() < 1e-12 && (interval.upper - 0.25).abs() < 1e-12, "{interval:?}");
        let one = run(0, 0.0);
        assert_eq!(bootstrap_over_runs(std::slice::from_ref(&one), plan), Some(one));
        assert_eq!(bootstrap_over_runs(&[], plan), None);
        let bare = |point| Bootstrap { point, replicates: Vec::new() };
        assert_eq!(bootstrap_over_runs(&[run(0, 0.0), bare(1.0)], plan), None);
        let seeds = bootstrap_over_runs(&[bare(1.0), bare(3.0)], plan).unwrap().interval(0.95).unwrap();
        assert_eq!((seeds.point, seeds.lower < 1.0, seeds.upper > 3.0), (2.0, true, true));
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
        assert_eq!(two.interval(0.95).map(|interval| (interval.lower, interval.upper)), Some((1.0, 1.0)));
        assert_eq!(two.interval(1.5), None);
        assert_eq!(two.minus(&Bootstrap { point: 0.0, replicates: vec![] }), None);
    }
}
