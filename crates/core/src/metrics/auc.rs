//! Area under the ROC curve and average precision.

use super::order::{Ascending, is_positive, same_rows};

/// The area under the ROC curve, gathered one block of tied scores at a time from the lowest score up.
///
/// AUC is the share of (positive, negative) pairs that are in the right order, a tied pair counting half (Mann and
/// Whitney 1947; Hanley and McNeil 1982). With unit weights every sum is exact up to 2⁵³.
#[derive(Default)]
pub(super) struct Area {
    pairs: f64,
    pub(super) positive: f64,
    pub(super) negative: f64,
}

impl Area {
    /// Adds the total weights of positives and negatives that share the next higher score.
    #[inline]
    pub(super) fn add(&mut self, positive: f64, negative: f64) {
        self.pairs += positive * (self.negative + 0.5 * negative);
        self.positive += positive;
        self.negative += negative;
    }

    /// `None` where a class has no weight.
    pub(super) fn auc(&self) -> Option<f64> {
        let all = self.positive * self.negative;
        (all > 0.0).then(|| self.pairs / all)
    }
}

fn area(scores: &[f32], labels: &[f32], weight: impl Fn(usize) -> f64) -> Option<f64> {
    if !same_rows(scores, labels) {
        return None;
    }
    let mut area = Area::default();
    for block in Ascending::new(scores)?.blocks() {
        let (mut positive, mut negative) = (0.0, 0.0);
        for row in block.rows() {
            if is_positive(labels[row])? {
                positive += weight(row);
            } else {
                negative += weight(row);
            }
        }
        area.add(positive, negative);
    }
    area.auc()
}

/// Area under the ROC curve: the probability that a random positive scores above a random negative, ties counting half.
///
/// `None` with a single class or a NaN; 0.5 when all scores are equal.
pub fn auc(scores: &[f32], labels: &[f32]) -> Option<f64> {
    area(scores, labels, |_| 1.0)
}

/// [`auc`] in which a pair counts as much as the product of its rows' weights.
///
/// `None` also if a weight is negative or not finite, or a class has no weight.
pub fn weighted_auc(scores: &[f32], labels: &[f32], weights: &[f32]) -> Option<f64> {
    if !same_rows(scores, weights) || !weights.iter().all(|weight| weight.is_finite() && *weight >= 0.0) {
        return None;
    }
    area(scores, labels, |row| f64::from(weights[row]))
}

/// Average precision: the precision at each distinct score, weighted by the recall gained there. Rows with equal scores
/// are retrieved together, so the order of ties does not matter. No interpolation (scikit-learn's definition).
///
/// `None` without a positive or with a NaN.
pub fn average_precision(scores: &[f32], labels: &[f32]) -> Option<f64> {
    if !same_rows(scores, labels) {
        return None;
    }
    let (mut sum, mut hits, mut seen) = (0.0, 0.0, 0.0);
    for block in Ascending::new(scores)?.blocks().rev() {
        let mut positive = 0.0;
        for row in block.rows() {
            if is_positive(labels[row])? {
                positive += 1.0;
            }
        }
        hits += positive;
        seen += block.len() as f64;
        sum += positive * hits / seen;
    }
    (hits > 0.0).then(|| sum / hits)
}

/// RelaImpr: how much larger the lead of an AUC over chance is than the baseline's, `(auc − ½) / (baseline − ½) − 1`
/// (Yan et al. 2014, as used by DIN). 0.1 is ten per cent.
///
/// `None` if the baseline is no better than chance, where the ratio says nothing.
pub fn relative_improvement(auc: f64, baseline: f64) -> Option<f64> {
    (baseline > 0.5 && auc.is_finite()).then(|| (auc - 0.5) / (baseline - 0.5) - 1.0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    #[test]
    fn by_hand() {
        // Positive–negative pairs: .8 beats .4 and .4; .4 ties .4 twice and beats nothing else; so (2 + 2·½) / 4.
        assert_eq!(auc(&[0.4, 0.4, 0.8, 0.4], &[0.0, 1.0, 1.0, 0.0]), Some(0.75));
        assert_eq!(auc(&[1.0; 5], &[1.0, 0.0, 0.0, 1.0, 0.0]), Some(0.5));
        assert_eq!(auc(&[f32::NEG_INFINITY, f32::INFINITY], &[0.0, 1.0]), Some(1.0));
        assert_eq!(weighted_auc(&[0.1, 0.5, 0.3], &[0.0, 0.0, 1.0], &[3.0, 1.0, 9.0]), Some(0.75));
        assert!((relative_improvement(0.76, 0.75).unwrap() - 0.04).abs() < 1e-12);
    }

    #[test]
    fn no_value() {
        assert_eq!(auc(&[], &[]), None);
        assert_eq!(auc(&[0.1, 0.2], &[1.0, 1.0]), None);
        assert_eq!(auc(&[0.1, 0.2], &[1.0]), None);
        assert_eq!(auc(&[0.1, f32::NAN], &[1.0, 0.0]), None);
        assert_eq!(auc(&[0.1, 0.2], &[f32::NAN, 0.0]), None);
        assert_eq!(weighted_auc(&[0.1, 0.2], &[1.0, 0.0], &[1.0, -1.0]), None);
        assert_eq!(weighted_auc(&[0.1, 0.2], &[1.0, 0.0], &[1.0, 0.0]), None);
        assert_eq!(average_precision(&[0.1, 0.2], &[0.0, 0.0]), None);
        assert_eq!(relative_improvement(0.6, 0.5), None);
    }

    /// Few distinct scores, so that ties are common.
    fn rows() -> impl Strategy<Value = (Vec<f32>, Vec<f32>)> {
        prop::collection::vec((-6i8..6, any::<bool>()), 1..80)
            .prop_map(|rows| rows.into_iter().map(|(s, l)| (f32::from(s) / 4.0, f32::from(u8::from(l)))).unzip())
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn auc_is_the_share_of_pairs((scores, labels) in rows()) {
            let (mut won, mut pairs) = (0.0, 0.0);
            for (i, j) in (0..scores.len()).flat_map(|i| (0..scores.len()).map(move |j| (i, j))) {
                if labels[i] == 1.0 && labels[j] == 0.0 {
                    pairs += 1.0;
                    won += if scores[i] > scores[j] { 1.0 } else if scores[i] == scores[j] { 0.5 } else { 0.0 };
                }
            }
            prop_assert_eq!(auc(&scores, &labels), (pairs > 0.0).then(|| won / pairs));
        }

        #[test]
        fn auc_ignores_monotone_transforms((scores, labels) in rows()) {
            let transformed: Vec<f32> = scores.iter().map(|s| (s * 0.5).exp() * 3.0 - 7.0).collect();
            prop_assert_eq!(auc(&scores, &labels), auc(&transformed, &labels));
            prop_assert_eq!(average_precision(&scores, &labels), average_precision(&transformed, &labels));
        }

        #[test]
        fn auc_of_negated_scores_is_the_complement((scores, labels) in rows()) {
            let negated: Vec<f32> = scores.iter().map(|s| -s).collect();
            match (auc(&scores, &labels), auc(&negated, &labels)) {
                (Some(a), Some(b)) => prop_assert!((a + b - 1.0).abs() < 1e-12),
                (a, b) => prop_assert_eq!(a, b),
            }
        }

        #[test]
        fn integer_weights_are_repetitions((scores, labels) in rows(), seed in any::<u64>()) {
            let weights: Vec<f32> = (0..scores.len()).map(|i| ((seed >> (i % 60)) & 3) as f32).collect();
            let repeat = |values: &[f32]| -> Vec<f32> {
                values.iter().zip(&weights).flat_map(|(v, w)| std::iter::repeat_n(*v, *w as usize)).collect()
            };
            prop_assert_eq!(weighted_auc(&scores, &labels, &weights), auc(&repeat(&scores), &repeat(&labels)));
        }
    }
}
