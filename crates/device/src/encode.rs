//! Raw values as what a ranker reads: keys of rows, transformed numbers, scenarios.

use kitestring_core::artifact::Manifest;
use kitestring_core::fitted::Fitted;
use kitestring_core::hash::stable_hash;
use kitestring_core::schema::{Feature, FeatureKind, Of, Vocabulary};
use kitestring_core::value::{canonical, fits_f32};
use kitestring_core::{Error, Result};

/// A raw value, as an app has it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Value<'a> {
    /// There is none.
    #[default]
    Missing,
    /// A text: the id of an item, a category, a city.
    Text(&'a str),
    /// A number.
    Number(f64),
    /// Several texts: tags, or a history the app keeps by itself, oldest first.
    List(&'a [&'a str]),
}

/// How a feature's raw values become what a ranker reads.
#[derive(Debug, Clone)]
pub struct Encoder {
    /// The feature.
    pub feature: Feature,
    keys: Keys,
}

#[derive(Debug, Clone)]
enum Keys {
    Hash,
    Buckets(u64),
    /// The number of a bucket of numbers.
    Fitted(Fitted),
    Number(Fitted),
}

impl Encoder {
    /// The encoder of each feature of a manifest, in the schema's order.
    ///
    /// # Errors
    /// A numeric feature to which nothing was fitted.
    pub fn all(manifest: &Manifest) -> Result<Vec<Self>> {
        let schema = &manifest.schema;
        let encoder = |feature: &Feature| {
            let fitted = || {
                let found = manifest.fitted.iter().find(|fitted| fitted.feature == feature.name).cloned();
                found.ok_or_else(|| Error::format("nothing was fitted to the feature").in_field(&feature.name))
            };
            let keys = match (feature.kind, schema.vocabulary(feature.table())) {
                (FeatureKind::Numeric, _) if feature.is_sparse() => Keys::Fitted(fitted()?),
                (FeatureKind::Numeric, _) => Keys::Number(fitted()?),
                (_, Vocabulary::Hashed { buckets }) => Keys::Buckets(buckets.max(1)),
                _ => Keys::Hash,
            };
            Ok(Self { feature: feature.clone(), keys })
        };
        schema.features.iter().map(encoder).collect()
    }

    /// The key of a text's row; 0 of none. Texts of one value have one key, as in preparation: see [`canonical`].
    pub fn key(&self, text: &str) -> u64 {
        match (&self.keys, canonical(text)) {
            (_, None) => 0,
            (Keys::Buckets(buckets), Some(text)) => stable_hash(&text) % buckets,
            (Keys::Hash, Some(text)) => stable_hash(&text),
            (Keys::Fitted(fitted) | Keys::Number(fitted), _) => {
                u64::from(fitted.bucket(text.trim().parse().unwrap_or(f64::NAN)))
            }
        }
    }

    /// Appends the keys of a value: one of a categorical feature, any number of others.
    ///
    /// # Errors
    /// A value of another kind.
    pub fn keys(&self, value: Value<'_>, into: &mut Vec<u64>) -> Result<()> {
        match (value, self.feature.is_ragged(), &self.keys) {
            (Value::Number(number), false, Keys::Fitted(fitted)) => into.push(fitted.bucket(number).into()),
            (Value::Missing, false, _) => into.push(0),
            (Value::Number(number), false, _) if number.is_nan() => into.push(0),
            (Value::Text(text), false, _) => into.push(self.key(text)),
            // A whole number is the text it is written as. What writes floats is nine kilobytes, and nothing else of a runtime needs it.
            (Value::Number(number), false, Keys::Hash | Keys::Buckets(_)) if is_whole(number) => {
                into.push(self.key(&(number as i64).to_string()));
            }
            (Value::Missing, true, _) => {}
            (Value::Text(text), true, _) => match self.feature.separator.as_deref() {
                Some(separator) => self.several(text.split(separator).map(str::trim), into),
                None => self.several(std::iter::once(text), into),
            },
            (Value::List(list), true, _) => self.several(list.iter().copied(), into),
            _ => return Err(self.wrong(value)),
        }
        Ok(())
    }

    /// Appends the keys of the values that are there, of more than the feature's length the last ones of a sequence or the first ones.
    fn several<'t>(&self, texts: impl Iterator<Item = &'t str> + Clone, into: &mut Vec<u64>) {
        let texts = texts.filter(|text| canonical(text).is_some());
        let limit = self.feature.length;
        let skipped = match self.feature.kind {
            FeatureKind::Sequence => texts.clone().count().saturating_sub(limit),
            _ => 0,
        };
        into.extend(texts.skip(skipped).take(limit).map(|text| self.key(text)));
    }

    /// The number a ranker reads of a numeric feature's value.
    ///
    /// # Errors
    /// A value that is no number, an infinite one.
    pub fn number(&self, value: Value<'_>) -> Result<f32> {
        let Keys::Number(fitted) = &self.keys else { return Err(self.wrong(value)) };
        let number = match value {
            Value::Missing => f64::NAN,
            Value::Number(number) => number,
            Value::Text("") => f64::NAN,
            Value::Text(text) => text.trim().parse().map_err(|_| self.wrong(value))?,
            Value::List(_) => return Err(self.wrong(value)),
        };
        let read = fitted.number(number);
        // What preparation refuses is refused here: a number that 32 bits cannot hold.
        if read.is_finite() && (number.is_nan() || fits_f32(number)) { Ok(read) } else { Err(self.wrong(value)) }
    }

    /// Whether it is one of a candidate, not of the user or the moment.
    pub fn is_of_the_item(&self) -> bool {
        self.feature.of == Of::Item
    }

    fn wrong(&self, value: Value<'_>) -> Error {
        let kind = match self.feature.kind {
            FeatureKind::Categorical => "a text",
            FeatureKind::Numeric => "a finite number",
            FeatureKind::Multi | FeatureKind::Sequence => "a list of texts",
        };
        let found = match value {
            Value::Missing => "nothing",
            Value::Number(number) if number.is_finite() => "a number",
            Value::Number(_) => "an infinite number or none",
            Value::List(_) => "a list of texts",
            Value::Text(text) => {
                return Error::data(format!("expected {kind}, found `{text}`")).in_field(&self.feature.name);
            }
        };
        Error::data(format!("expected {kind}, found {found}")).in_field(&self.feature.name)
    }
}

/// Whether a number is a whole one whose digits are all known: a float of 64 bits has no others from 2^53 on.
fn is_whole(number: f64) -> bool {
    number.fract() == 0.0 && number.abs() < 9e15
}

/// The number of a scenario at each level, from the raw values of the levels, the outermost first: 0 where training saw none of this path.
pub fn scenarios(manifest: &Manifest, values: &[&str], into: &mut Vec<u32>) {
    let mut path = String::new();
    for (level, names) in manifest.scenarios.iter().enumerate() {
        if level > 0 {
            path.push('\u{1f}');
        }
        path.push_str(&values.get(level).and_then(|value| canonical(value)).unwrap_or_default());
        let number = names.iter().skip(1).position(|name| *name == path).map_or(0, |at| at + 1);
        into.push(number as u32);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn keys(feature: Feature, value: Value<'_>) -> Vec<u64> {
        let mut keys = Vec::new();
        Encoder { feature, keys: Keys::Hash }.keys(value, &mut keys).unwrap();
        keys
    }

    /// As preparation: one key for a value however it is written, none for what is missing.
    #[test]
    fn texts_of_one_value_have_one_key() {
        let one = || Feature::new("x", FeatureKind::Categorical);
        let key = |value: Value<'_>| keys(one(), value)[0];
        for (value, text) in [
            (Value::Text("12.0"), "12"),
            (Value::Number(12.0), "12"),
            (Value::Number(-0.0), "0"),
            (Value::Text("True"), "true"),
            (Value::Text("1e-05"), "0.00001"),
            (Value::Text("1.10"), "1.10"),
            (Value::Text("007"), "007"),
        ] {
            assert_eq!(key(value), stable_hash(text), "{value:?}");
        }
        for missing in [Value::Missing, Value::Text(""), Value::Text("NaN"), Value::Number(f64::NAN)] {
            assert_eq!(key(missing), 0, "{missing:?}");
        }
        // A float has no digits beyond 2^53.
        let encoder = Encoder { feature: one(), keys: Keys::Hash };
        assert!(encoder.keys(Value::Number(9.1e15), &mut Vec::new()).is_err());
    }

    #[test]
    fn lists_leave_out_what_is_missing_before_they_are_cut() {
        let several = |kind| Feature { length: 2, separator: Some("|".into()), ..Feature::new("x", kind) };
        let hashes = |texts: [&str; 2]| texts.map(stable_hash).to_vec();
        for value in [Value::List(&["", "1.0", "2", "nan", "3"]), Value::Text("|1.0| 2|nan|3")] {
            assert_eq!(keys(several(FeatureKind::Multi), value), hashes(["1", "2"]), "{value:?}");
            assert_eq!(keys(several(FeatureKind::Sequence), value), hashes(["2", "3"]), "{value:?}");
        }
    }

    #[test]
    fn numbers_that_32_bits_do_not_hold_are_refused() {
        let fitted = Fitted { deviation: 1e38, ..Fitted::default() };
        let feature = Feature::new("x", FeatureKind::Numeric);
        let encoder = Encoder {
            feature,
            keys: Keys::Number(Fitted { transform: kitestring_core::schema::Transform::Standardize, ..fitted }),
        };
        assert!(encoder.number(Value::Number(1e39)).is_err() && encoder.number(Value::Text("1e39")).is_err());
        assert_eq!(encoder.number(Value::Number(1e38)).unwrap(), 1.0);
        assert_eq!(encoder.number(Value::Missing).unwrap(), 0.0);
    }
}
