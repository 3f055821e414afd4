//! Borders in time.

use crate::cells::time::{Moments, Unit, parse_moment};
use serde::de::{Deserializer, Error, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

/// A border in time: a number, or a date with or without a time, such as `"2023-11-14"` or `"2023-11-14 22:13:20"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeBorder {
    /// In the unit of a time column of numbers; in milliseconds since 1970 where the column has dates or timestamps.
    Number(i64),
    /// In microseconds since 1970.
    Moment(i64),
}

impl Serialize for TimeBorder {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(number) => serializer.serialize_i64(*number),
            Self::Moment(micros) => {
                let mut text = String::new();
                Moments { values: vec![*micros].into(), unit: Unit::Microsecond }.write(0, &mut text);
                serializer.serialize_str(&text)
            }
        }
    }
}

impl<'de> Deserialize<'de> for TimeBorder {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Border;
        impl Visitor<'_> for Border {
            type Value = TimeBorder;

            fn expecting(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                to.write_str("a whole number, or a time in quotes such as \"2023-11-14 22:13:20\"")
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<TimeBorder, E> {
                Ok(TimeBorder::Number(number))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<TimeBorder, E> {
                i64::try_from(number).map(TimeBorder::Number).map_err(|_| E::custom("the time does not fit in 64 bits"))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<TimeBorder, E> {
                parse_moment(text.trim()).map(|time| TimeBorder::Moment(time.whole)).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Border)
    }
}
