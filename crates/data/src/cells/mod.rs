//! A column of a chunk, read as text, as a number, as a time or as a list, whatever its Arrow type.

pub(crate) mod time;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, Int32Type, Int64Type, UInt64Type};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Float32Array, Float64Array, Int32Array, Int64Array, StringArray, UInt64Array,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{DataType, TimeUnit};
use kitestring_core::value::canonical;
use kitestring_core::{Error, Result};
use std::borrow::Cow;
use std::fmt::Write;
use time::{Moments, Time, TimeKind, Unit};

/// The cells of a column. Types with the same meaning are cast to one, so that an integer column and the text of the
/// same integers are the same values. Decimals are their digits: text holds all of them.
pub(crate) enum Cells {
    Text(StringArray),
    Moments(Moments),
    /// Of 32 bits or 16. As a number it is what its shortest text says, as it would be had it been written to a text file.
    Short(Float32Array),
    Int(Int64Array),
    Unsigned(UInt64Array),
    Float(Float64Array),
    Bool(BooleanArray),
    Dictionary {
        keys: Int32Array,
        values: Box<Cells>,
        source: ArrayRef,
    },
    List {
        offsets: OffsetBuffer<i32>,
        nulls: Option<NullBuffer>,
        values: Box<Cells>,
    },
}

/// A cell read as a number.
pub(crate) enum Number {
    Missing,
    Value(f64),
    /// Not a finite number: what was found instead.
    Wrong(String),
}

impl Cells {
    pub(crate) fn new(array: &ArrayRef) -> Result<Self> {
        let cast = |to: &DataType| {
            arrow_cast::cast(array, to).map_err(|cause| {
                Error::data(format!("cannot read a column of type {}", array.data_type())).caused_by(cause)
            })
        };
        Ok(match array.data_type() {
            DataType::Utf8 => Self::Text(array.as_string::<i32>().clone()),
            DataType::Null | DataType::LargeUtf8 | DataType::Utf8View => {
                Self::Text(cast(&DataType::Utf8)?.as_string::<i32>().clone())
            }
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
                let texts = cast(&DataType::Utf8)?;
                // What is no text would be missing without a word.
                if texts.null_count() > array.null_count() {
                    return Err(Error::data("a column of bytes holds some that are not UTF-8")
                        .mend("write the column as text, such as the bytes' hexadecimal digits"));
                }
                Self::Text(texts.as_string::<i32>().clone())
            }
            DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..) => {
                Self::Text(cast(&DataType::Utf8)?.as_string::<i32>().clone())
            }
            DataType::UInt64 => Self::Unsigned(array.as_primitive::<UInt64Type>().clone()),
            DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => {
                let unit = match array.data_type() {
                    DataType::Date32 => Unit::Day,
                    DataType::Date64 => Unit::DayInMilliseconds,
                    DataType::Timestamp(TimeUnit::Second, _) => Unit::Second,
                    DataType::Timestamp(TimeUnit::Microsecond, _) => Unit::Microsecond,
                    DataType::Timestamp(TimeUnit::Nanosecond, _) => Unit::Nanosecond,
                    _ => Unit::Millisecond,
                };
                let whole = if unit == Unit::Day { &cast(&DataType::Int32)? } else { array };
                let values = arrow_cast::cast(whole, &DataType::Int64)
                    .map_err(|cause| Error::internal("a time is no integer").caused_by(cause))?;
                Self::Moments(Moments { values: values.as_primitive::<Int64Type>().clone(), unit })
            }
            kind if kind.is_integer() || kind.is_temporal() => {
                Self::Int(cast(&DataType::Int64)?.as_primitive::<Int64Type>().clone())
            }
            DataType::Float64 => Self::Float(array.as_primitive::<Float64Type>().clone()),
            DataType::Float32 | DataType::Float16 => {
                Self::Short(cast(&DataType::Float32)?.as_primitive::<Float32Type>().clone())
            }
            DataType::Boolean => Self::Bool(array.as_boolean().clone()),
            DataType::Dictionary(..) => {
                let dictionary = array.as_any_dictionary();
                let keys = arrow_cast::cast(dictionary.keys(), &DataType::Int32)
                    .map_err(|cause| Error::data("a dictionary has more than 2^31 values").caused_by(cause))?;
                Self::Dictionary {
                    keys: keys.as_primitive::<Int32Type>().clone(),
                    values: Box::new(Self::new(dictionary.values())?),
                    source: dictionary.values().clone(),
                }
            }
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                Self::List {
                    offsets: list.offsets().clone(),
                    nulls: list.nulls().cloned(),
                    values: Box::new(Self::new(list.values())?),
                }
            }
            DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
                return Self::new(&cast(&DataType::List(field.clone()))?);
            }
            other => return Err(Error::data(format!("cannot read a column of type {other}"))),
        })
    }

    /// The [canonical] text of a cell, the same for a value whatever type its column has. `None` is a missing value: null,
    /// empty or not a number.
    #[inline]
    pub(crate) fn text<'a>(&'a self, row: usize, scratch: &'a mut String) -> Option<&'a str> {
        match self {
            Self::Text(array) => match canonical(raw(array, row))? {
                Cow::Borrowed(text) => Some(text),
                Cow::Owned(text) => {
                    *scratch = text;
                    Some(scratch)
                }
            },
            Self::Dictionary { keys, values, .. } => {
                keys.is_valid(row).then(|| values.text(keys.value(row) as usize, scratch)).flatten()
            }
            Self::List { .. } => None,
            _ if !self.is_valid(row) => None,
            Self::Int(array) => Some(integer_text(array.value(row), scratch)),
            Self::Unsigned(array) => Some(formatted(scratch, format_args!("{}", array.value(row)))),
            Self::Float(array) => match array.value(row) {
                value if value.is_nan() => None,
                value if value.fract() == 0.0 && value.abs() < 9e15 => Some(integer_text(value as i64, scratch)),
                value => Some(formatted(scratch, format_args!("{value}"))),
            },
            Self::Short(array) => match array.value(row) {
                value if value.is_nan() => None,
                value if is_exact(value) => Some(integer_text(value as i64, scratch)),
                value => Some(formatted(scratch, format_args!("{value}"))),
            },
            Self::Moments(moments) => {
                scratch.clear();
                moments.write(row, scratch);
                Some(scratch)
            }
            Self::Bool(array) => Some(if array.value(row) { "true" } else { "false" }),
        }
    }

    /// The text of a cell as it is written, where it is one that holds several values; the [canonical] text elsewhere.
    pub(crate) fn raw<'a>(&'a self, row: usize, scratch: &'a mut String) -> Option<&'a str> {
        match self {
            Self::Text(array) => Some(raw(array, row)).filter(|text| !text.is_empty()),
            Self::Dictionary { keys, values, .. } => {
                keys.is_valid(row).then(|| values.raw(keys.value(row) as usize, scratch)).flatten()
            }
            _ => self.text(row, scratch),
        }
    }

    /// Whether a cell is this text of a config. A bit is also the digit that others write for it.
    pub(crate) fn is(&self, row: usize, expected: &str, scratch: &mut String) -> Option<bool> {
        let is_bit = match self {
            Self::Bool(_) => true,
            Self::Dictionary { values, .. } => matches!(**values, Self::Bool(_)),
            _ => false,
        };
        let text = self.text(row, scratch)?;
        let expected = canonical(expected);
        Some(match expected.as_deref() {
            Some("1") if is_bit => text == "true",
            Some("0") if is_bit => text == "false",
            expected => expected == Some(text),
        })
    }

    /// The cell as a finite number.
    #[inline]
    pub(crate) fn number(&self, row: usize) -> Number {
        match self {
            Self::Text(array) => parse(raw(array, row)),
            Self::Dictionary { keys, values, .. } if keys.is_valid(row) => values.number(keys.value(row) as usize),
            Self::Short(array) if array.is_valid(row) => match array.value(row) {
                value if is_exact(value) || !value.is_finite() => finite(f64::from(value)),
                value => parse(&value.to_string()),
            },
            Self::Moments(moments) if moments.values.is_valid(row) => Number::Value(moments.number(row)),
            Self::Int(array) if array.is_valid(row) => Number::Value(array.value(row) as f64),
            Self::Unsigned(array) if array.is_valid(row) => Number::Value(array.value(row) as f64),
            Self::Float(array) if array.is_valid(row) => finite(array.value(row)),
            Self::Bool(array) if array.is_valid(row) => Number::Value(f64::from(u8::from(array.value(row)))),
            Self::List { .. } => Number::Wrong("a list".into()),
            _ => Number::Missing,
        }
    }

    /// The cell as a time. `Err` says what was expected and what was found.
    #[inline]
    pub(crate) fn time(&self, row: usize) -> Result<(TimeKind, Time), String> {
        let mut scratch = String::new();
        match self {
            Self::Int(array) if array.is_valid(row) => {
                Ok((TimeKind::Number, Time { whole: array.value(row), rest: 0 }))
            }
            Self::Moments(moments) if moments.values.is_valid(row) => Ok((TimeKind::Moment, moments.time(row)?)),
            Self::Text(array) => time::parse(raw(array, row)),
            Self::Dictionary { keys, values, .. } if keys.is_valid(row) => values.time(keys.value(row) as usize),
            Self::Bool(_) | Self::List { .. } => {
                Err("expected a number or a time, found a truth value or a list".into())
            }
            // A float is the time that its text is.
            _ => time::parse(self.text(row, &mut scratch).unwrap_or_default()),
        }
    }

    fn is_valid(&self, row: usize) -> bool {
        match self {
            Self::Text(array) => array.is_valid(row),
            Self::Int(array) => array.is_valid(row),
            Self::Unsigned(array) => array.is_valid(row),
            Self::Float(array) => array.is_valid(row),
            Self::Short(array) => array.is_valid(row),
            Self::Moments(moments) => moments.values.is_valid(row),
            Self::Bool(array) => array.is_valid(row),
            Self::Dictionary { keys, .. } => keys.is_valid(row),
            Self::List { nulls, .. } => nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)),
        }
    }

    /// The elements of a list cell, as a range of the inner cells; `None` where the column is no list.
    pub(crate) fn list(&self, row: usize) -> Option<(&Cells, std::ops::Range<usize>)> {
        match self {
            Self::List { offsets, values, .. } => {
                let range = if self.is_valid(row) { offsets[row] as usize..offsets[row + 1] as usize } else { 0..0 };
                Some((values, range))
            }
            Self::Dictionary { keys, values, .. } if keys.is_valid(row) => values.list(keys.value(row) as usize),
            Self::Dictionary { values, .. } if values.holds_lists() => Some((values, 0..0)),
            _ => None,
        }
    }

    /// Whether a cell of a column of decimal numbers is not whole.
    #[inline]
    pub(crate) fn is_fraction(&self, row: usize) -> bool {
        match self {
            Self::Float(array) => array.is_valid(row) && array.value(row).fract().abs() > 0.0,
            Self::Short(array) => array.is_valid(row) && array.value(row).fract().abs() > 0.0,
            Self::Dictionary { keys, values, .. } => keys.is_valid(row) && values.is_fraction(keys.value(row) as usize),
            _ => false,
        }
    }

    /// Whether a cell is a list.
    pub(crate) fn holds_lists(&self) -> bool {
        match self {
            Self::List { .. } => true,
            Self::Dictionary { values, .. } => values.holds_lists(),
            _ => false,
        }
    }
}

/// The text of a row; empty where there is none.
#[inline]
pub(crate) fn raw(array: &StringArray, row: usize) -> &str {
    if array.is_valid(row) { array.value(row) } else { "" }
}

/// Whether a float of 32 bits is an integer that is its own shortest text: above 2^24 zeros stand for digits that are not known.
fn is_exact(value: f32) -> bool {
    value.fract() == 0.0 && value.abs() <= 16_777_216.0
}

fn formatted<'a>(scratch: &'a mut String, value: std::fmt::Arguments<'_>) -> &'a str {
    scratch.clear();
    // Writing to a String cannot fail.
    let _ = scratch.write_fmt(value);
    scratch
}

/// The decimal text of an integer. Written by hand because it is the inner loop of typed columns.
fn integer_text(value: i64, scratch: &mut String) -> &str {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut rest = value.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    scratch.clear();
    if value < 0 {
        scratch.push('-');
    }
    scratch.extend(digits[at..].iter().map(|digit| char::from(*digit)));
    scratch
}

/// A float as a number; one that is none is missing, as its text is.
fn finite(value: f64) -> Number {
    match value {
        value if value.is_nan() => Number::Missing,
        value if value.is_infinite() => Number::Wrong(value.to_string()),
        value => Number::Value(value),
    }
}

/// An integer of up to 15 digits, which most cells are; `None` leaves the rest to the general parser.
#[inline]
fn short_integer(bytes: &[u8]) -> Option<i64> {
    if bytes.is_empty() || bytes.len() > 15 {
        return None;
    }
    let mut value = 0i64;
    for byte in bytes {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    Some(value)
}

#[inline]
pub(crate) fn parse(text: &str) -> Number {
    if let Some(value) = short_integer(text.as_bytes()) {
        return Number::Value(value as f64);
    }
    let text = text.trim();
    match text.parse::<f64>() {
        _ if text.is_empty() || is_none(text) => Number::Missing,
        Ok(value) => finite(value),
        Err(_) if text.eq_ignore_ascii_case("true") => Number::Value(1.0),
        Err(_) if text.eq_ignore_ascii_case("false") => Number::Value(0.0),
        Err(_) => match time::moment_as_number(text) {
            Some(seconds) => Number::Value(seconds),
            None => Number::Wrong(format!("`{}`{}", short(text), advice(text))),
        },
    }
}

/// Whether a text means that there is no number, as programs and people write it.
fn is_none(text: &str) -> bool {
    const TEXTS: [&str; 11] = ["na", "n/a", "#n/a", "nan", "null", "none", "\\n", "-", "--", "?", "."];
    text.len() <= 4 && TEXTS.iter().any(|none| text.eq_ignore_ascii_case(none))
}

/// What to do with a text that is a number to people.
fn advice(text: &str) -> &'static str {
    let is = |letter: char| letter.is_ascii_digit() || " ,.'+-%$€£¥₹\u{a0}\u{202f}".contains(letter);
    let bare = text.trim_start_matches(['-', '+']);
    match text.split_once(',') {
        _ if !text.chars().all(is) || !text.contains(|letter: char| letter.is_ascii_digit()) => "",
        Some((_, fraction)) if bare.chars().all(|c| c.is_ascii_digit() || c == ',') && !fraction.contains(',') => {
            " (if the comma is a point, list the column in `decimal_comma` of its file)"
        }
        _ => " (write numbers without signs and separators of thousands)",
    }
}

/// A text cut for a message.
pub(crate) fn short(text: &str) -> &str {
    text.char_indices().nth(40).map_or(text, |(end, _)| text.get(..end).unwrap_or(text))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use arrow_array::{DictionaryArray, LargeStringArray, UInt16Array};
    use std::sync::Arc;

    fn texts(array: ArrayRef) -> Vec<Option<String>> {
        let cells = Cells::new(&array).unwrap();
        (0..array.len()).map(|row| cells.text(row, &mut String::new()).map(Into::into)).collect()
    }

    #[test]
    fn a_value_has_one_text_whatever_its_type() {
        let expected = vec![Some("7".to_string()), None, Some("-12".into())];
        assert_eq!(texts(Arc::new(StringArray::from(vec!["7", "", "-12"]))), expected);
        assert_eq!(texts(Arc::new(LargeStringArray::from(vec![Some("7"), None, Some("-12")]))), expected);
        assert_eq!(texts(Arc::new(Int64Array::from(vec![Some(7), None, Some(-12)]))), expected);
        assert_eq!(texts(Arc::new(Float64Array::from(vec![Some(7.0), None, Some(-12.0)]))), expected);
        let dictionary: DictionaryArray<Int32Type> = vec![Some("7"), None, Some("-12")].into_iter().collect();
        assert_eq!(texts(Arc::new(dictionary)), expected);
        assert_eq!(texts(Arc::new(UInt16Array::from(vec![0, 65535]))), [Some("0".into()), Some("65535".into())]);
        assert_eq!(texts(Arc::new(Int64Array::from(vec![i64::MIN])))[0].as_deref(), Some("-9223372036854775808"));
        assert_eq!(texts(Arc::new(Float64Array::from(vec![0.5])))[0].as_deref(), Some("0.5"));
    }

    #[test]
    fn numbers_are_finite_or_said_to_be_wrong() {
        let number = |text: &str| match parse(text) {
            Number::Missing => "missing".to_string(),
            Number::Value(value) => value.to_string(),
            Number::Wrong(found) => format!("wrong {found}"),
        };
        assert_eq!(number("12"), "12");
        assert_eq!(number(" -1.5e2 "), "-150");
        assert_eq!(number(""), "missing");
        assert_eq!(number("True"), "1");
        for none in ["nan", "NA", "N/A", "null", "None", "\\N", "-", "#N/A", "?"] {
            assert_eq!(number(none), "missing", "{none}");
        }
        assert!(number("3,14").contains("decimal_comma"));
        assert!(number("$1,234.50").contains("separators of thousands"));
        assert_eq!(number("inf"), "wrong inf");
        assert_eq!(number("x1"), "wrong `x1`");
    }
}
