//! JSON has no NaN: `serde_json` writes `null` for a number that is not finite. Here `null` is read back as NaN.

use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;

/// Reads a number, or numbers, in which `null` stands for NaN.
pub(crate) fn nan<'de, D: Deserializer<'de>, T: Nullable>(deserializer: D) -> Result<T, D::Error> {
    T::Raw::deserialize(deserializer).map(T::fill)
}

/// What [`nan`] can read.
pub(crate) trait Nullable {
    /// The same with an option in each number's place.
    type Raw: for<'de> Deserialize<'de>;
    /// Puts NaN where nothing is.
    fn fill(raw: Self::Raw) -> Self;
}

impl Nullable for f64 {
    type Raw = Option<f64>;
    fn fill(raw: Self::Raw) -> Self {
        raw.unwrap_or(f64::NAN)
    }
}

impl Nullable for f32 {
    type Raw = Option<f32>;
    fn fill(raw: Self::Raw) -> Self {
        raw.unwrap_or(f32::NAN)
    }
}

impl Nullable for [f64; 2] {
    type Raw = [Option<f64>; 2];
    fn fill(raw: Self::Raw) -> Self {
        raw.map(f64::fill)
    }
}

impl<T: Nullable> Nullable for Vec<T> {
    type Raw = Vec<T::Raw>;
    fn fill(raw: Self::Raw) -> Self {
        raw.into_iter().map(T::fill).collect()
    }
}

impl<T: Nullable> Nullable for BTreeMap<String, T> {
    type Raw = BTreeMap<String, T::Raw>;
    fn fill(raw: Self::Raw) -> Self {
        raw.into_iter().map(|(key, value)| (key, T::fill(value))).collect()
    }
}

/// An absent value stays absent: only the numbers inside become NaN.
impl Nullable for Option<[f64; 2]> {
    type Raw = Option<<[f64; 2] as Nullable>::Raw>;
    fn fill(raw: Self::Raw) -> Self {
        raw.map(<[f64; 2]>::fill)
    }
}
