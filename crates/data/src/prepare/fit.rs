//! What is learnt from training rows alone: counts of values, and the transforms of numbers.

use kitestring_core::fitted::{Fitted, logarithm};
use kitestring_core::schema::{Feature, Transform};
use kitestring_core::{Error, Result, Seed};

/// Values kept at most for quantiles. Up to this many rows the borders are exact; beyond, they are those of a uniform
/// sample, whose error in rank is below half a percent.
const SAMPLE: usize = 1 << 17;

/// Fits the transform of one numeric feature in one pass.
pub(crate) struct Fit {
    feature: String,
    transform: Transform,
    missing: u64,
    count: u64,
    mean: f64,
    squares: f64,
    sample: Vec<(u64, f64)>,
    /// Rows whose draw is above this are not in the sample.
    limit: u64,
    seed: Seed,
}

impl Fit {
    pub(crate) fn new(feature: &Feature, seed: Seed) -> Self {
        Self {
            feature: feature.name.clone(),
            transform: feature.transform,
            missing: 0,
            count: 0,
            mean: 0.0,
            squares: 0.0,
            sample: Vec::new(),
            limit: u64::MAX,
            seed: seed.child("quantiles"),
        }
    }

    /// Takes in the value of a row, NaN where missing. `key` tells its row from others.
    pub(crate) fn add(&mut self, value: f64, train: bool, key: u64) {
        if value.is_nan() {
            self.missing += 1;
            return;
        }
        if !train {
            return;
        }
        if let Transform::Bucketize(_) = self.transform {
            // The rows with the smallest draws are a uniform sample, whatever the order in which rows come.
            let draw = self.seed.bits_at(key);
            if draw <= self.limit {
                self.sample.push((draw, value));
                if self.sample.len() >= 2 * SAMPLE {
                    self.sample.select_nth_unstable_by_key(SAMPLE - 1, |(draw, _)| *draw);
                    self.sample.truncate(SAMPLE);
                    self.limit = self.sample[SAMPLE - 1].0;
                }
            }
        }
        let value = if self.transform == Transform::Log { logarithm(value) } else { value };
        // Welford's update: a sum of squares would lose the variance of large numbers.
        self.count += 1;
        let before = value - self.mean;
        self.mean += before / self.count as f64;
        self.squares += before * (value - self.mean);
    }

    pub(crate) fn finish(mut self) -> Result<Fitted> {
        if self.count == 0 {
            return Err(Error::data("no training row has a value for this feature")
                .in_field(self.feature)
                .mend("leave the feature out"));
        }
        let variance = self.squares / self.count as f64;
        let deviation = if variance > 0.0 { variance.sqrt() } else { 1.0 };
        let mut borders = Vec::new();
        if let Transform::Bucketize(buckets) = self.transform {
            let mut values: Vec<f64> = self.sample.drain(..).map(|(_, value)| value).collect();
            values.sort_unstable_by(f64::total_cmp);
            let at = |bucket: u32| values[(values.len() * bucket as usize / buckets as usize).min(values.len() - 1)];
            borders.extend((1..buckets).map(at));
            borders.dedup();
        }
        Ok(Fitted {
            feature: self.feature,
            transform: self.transform,
            missing: self.missing,
            mean: self.mean,
            deviation,
            borders,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use kitestring_core::schema::FeatureKind;

    fn fit(transform: Transform, values: impl Iterator<Item = f64>) -> Fitted {
        let mut feature = Feature::new("x", FeatureKind::Numeric);
        feature.transform = transform;
        let mut fit = Fit::new(&feature, Seed(1));
        values.enumerate().for_each(|(row, value)| fit.add(value, true, row as u64));
        fit.add(1e9, false, 0);
        fit.finish().unwrap()
    }

    #[test]
    fn standardizes_by_training_rows() {
        let fitted = fit(Transform::Standardize, [1e9 + 1.0, 1e9 + 3.0, f64::NAN].into_iter());
        assert_eq!((fitted.mean, fitted.deviation, fitted.missing), (1e9 + 2.0, 1.0, 1));
        assert_eq!(fitted.number(1e9 + 3.0), 1.0);
        assert_eq!(fitted.number(f64::NAN), 0.0);
        let constant = fit(Transform::Standardize, [4.0; 3].into_iter());
        assert_eq!(constant.number(5.0), 1.0);
    }

    #[test]
    fn logarithms_keep_the_sign() {
        let fitted = fit(Transform::Log, [f64::exp_m1(1.0), -f64::exp_m1(1.0)].into_iter());
        assert!((fitted.mean).abs() < 1e-12 && (fitted.deviation - 1.0).abs() < 1e-12);
        assert!((fitted.number(f64::exp_m1(2.0)) - 2.0).abs() < 1e-6);
    }

    #[test]
    fn buckets_are_quantiles() {
        let fitted = fit(Transform::Bucketize(4), (0..100).map(f64::from));
        assert_eq!(fitted.borders, [25.0, 50.0, 75.0]);
        assert_eq!([f64::NAN, -5.0, 24.9, 25.0, 99.0].map(|x| fitted.bucket(x)), [0, 1, 1, 2, 4]);
        // Beyond the sample the borders are close.
        let many = fit(Transform::Bucketize(10), (0..1_000_000u64).map(|i| (i * 7919 % 1_000_000) as f64));
        for (border, decile) in many.borders.iter().zip(1..) {
            assert!((border / 1e6 - f64::from(decile) / 10.0).abs() < 5e-3, "{border}");
        }
        assert_eq!(fit(Transform::Bucketize(4), [1.0; 9].into_iter()).borders, [1.0]);
    }

    #[test]
    fn nothing_to_fit_is_an_error() {
        let fit = Fit::new(&Feature::new("x", FeatureKind::Numeric), Seed(1));
        assert!(fit.finish().unwrap_err().to_string().contains("no training row"));
    }
}
