//! What preparation fitted to a numeric feature: a data set applies it, and so does a device.

use crate::schema::Transform;
use serde::{Deserialize, Serialize};

/// What was fitted to a numeric feature on training rows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Fitted {
    /// The feature.
    pub feature: String,
    /// What is done to a number.
    pub transform: Transform,
    /// Rows of any split without a value.
    pub missing: u64,
    /// Mean, after the logarithm where there is one.
    pub mean: f64,
    /// Standard deviation, likewise; 1 for a constant.
    pub deviation: f64,
    /// Borders between the buckets, ascending: a value `x` is in bucket `1 + |{b : b ≤ x}|`; 0 is missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub borders: Vec<f64>,
}

crate::fields!(Fitted { feature, transform, missing, mean, deviation; borders } else Self::default());

impl Fitted {
    /// The number a model reads; NaN is a missing value and becomes the mean.
    #[inline]
    pub fn number(&self, value: f64) -> f32 {
        match self.transform {
            Transform::None | Transform::Bucketize(_) if value.is_nan() => self.mean as f32,
            Transform::None | Transform::Bucketize(_) => value as f32,
            Transform::Standardize | Transform::Log if value.is_nan() => 0.0,
            Transform::Standardize => ((value - self.mean) / self.deviation) as f32,
            Transform::Log => ((logarithm(value) - self.mean) / self.deviation) as f32,
        }
    }

    /// The bucket of a bucketized feature; NaN is a missing value and has bucket 0.
    #[inline]
    pub fn bucket(&self, value: f64) -> u32 {
        if value.is_nan() { 0 } else { 1 + self.borders.partition_point(|border| *border <= value) as u32 }
    }
}

/// `sign(x) · ln(1 + |x|)`.
pub fn logarithm(value: f64) -> f64 {
    value.abs().ln_1p().copysign(value)
}
