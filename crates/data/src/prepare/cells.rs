//! A column of a chunk, read as text, as a number or as a list, whatever its Arrow type.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, UInt64Type};
use arrow_array::{Array, ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, StringArray, UInt64Array};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::DataType;
use kitestring_core::{Error, Result};
use std::fmt::Write;

/// The cells of a column. Types with the same meaning are cast to one, so that an integer column and the text of the
/// same integers are the same values.
pub(crate) enum Cells {
    Text(StringArray),
    Int(Int64Array),
    Unsigned(UInt64Array),
    Float(Float64Array),
    Bool(BooleanArray),
    Dictionary { keys: Int32Array, values: Box<Cells>, source: ArrayRef },
    List { offsets: OffsetBuffer<i32>, nulls: Option<NullBuffer>, values: Box<Cells> },
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
            DataType::UInt64 => Self::Unsigned(array.as_primitive::<UInt64Type>().clone()),
            kind if kind.is_integer() || kind.is_temporal() => {
                Self::Int(cast(&DataType::Int64)?.as_primitive::<Int64Type>().clone())
            }
            kind if kind.is_floating() || matches!(kind, DataType::Decimal128(..) | DataType::Decimal256(..)) => {
                Self::Float(cast(&DataType::Float64)?.as_primitive::<Float64Type>().clone())
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

    /// The canonical text of a cell, the same for a value whatever type its column has. `None` is a missing value: null
    /// or empty.
    #[inline]
    pub(crate) fn text<'a>(&'a self, row: usize, scratch: &'a mut String) -> Option<&'a str> {
        match self {
            Self::Text(array) => {
                // An empty text and a null are the same, so the offsets alone tell.
                let text = array.value(row);
                (!text.is_empty() && array.is_valid(row)).then_some(text)
            }
            Self::Dictionary { keys, values, .. } => {
                keys.is_valid(row).then(|| values.text(keys.value(row) as usize, scratch)).flatten()
            }
            Self::List { .. } => None,
            _ if !self.is_valid(row) => None,
            Self::Int(array) => Some(integer_text(array.value(row), scratch)),
            Self::Unsigned(array) => Some(formatted(scratch, format_args!("{}", array.value(row)))),
            Self::Float(array) => {
                let value = array.value(row);
                if value.fract() == 0.0 && value.abs() < 9e15 {
                    Some(integer_text(value as i64, scratch))
                } else {
                    Some(formatted(scratch, format_args!("{value}")))
                }
            }
            Self::Bool(array) => Some(if array.value(row) { "1" } else { "0" }),
        }
    }

    /// The cell as a finite number.
    #[inline]
    pub(crate) fn number(&self, row: usize) -> Number {
        match self {
            Self::Text(array) => parse(if array.is_valid(row) { array.value(row) } else { "" }),
            Self::Dictionary { keys, values, .. } if keys.is_valid(row) => values.number(keys.value(row) as usize),
            Self::Int(array) if array.is_valid(row) => Number::Value(array.value(row) as f64),
            Self::Unsigned(array) if array.is_valid(row) => Number::Value(array.value(row) as f64),
            Self::Float(array) if array.is_valid(row) => finite(array.value(row)),
            Self::Bool(array) if array.is_valid(row) => Number::Value(f64::from(u8::from(array.value(row)))),
            Self::List { .. } => Number::Wrong("a list".into()),
            _ => Number::Missing,
        }
    }

    /// The cell as a time: an integer, or an RFC 3339 time in milliseconds since 1970. `Err` holds what was found.
    #[inline]
    pub(crate) fn time(&self, row: usize) -> Result<i64, String> {
        match self {
            Self::Int(array) if array.is_valid(row) => Ok(array.value(row)),
            Self::Text(array) => parse_time(if array.is_valid(row) { array.value(row) } else { "" }),
            Self::Dictionary { keys, values, .. } if keys.is_valid(row) => values.time(keys.value(row) as usize),
            _ => match self.number(row) {
                Number::Value(value) if value.fract() == 0.0 && value.abs() < 9e15 => Ok(value as i64),
                Number::Value(value) => Err(value.to_string()),
                Number::Missing => Err("nothing".into()),
                Number::Wrong(found) => Err(found),
            },
        }
    }

    fn is_valid(&self, row: usize) -> bool {
        match self {
            Self::Text(array) => array.is_valid(row),
            Self::Int(array) => array.is_valid(row),
            Self::Unsigned(array) => array.is_valid(row),
            Self::Float(array) => array.is_valid(row),
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
            Self::Float(array) => array.is_valid(row) && array.value(row).fract() != 0.0,
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

fn finite(value: f64) -> Number {
    if value.is_finite() { Number::Value(value) } else { Number::Wrong(value.to_string()) }
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
        Err(_) => Number::Wrong(format!("`{}`{}", short(text), advice(text))),
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

fn parse_time(text: &str) -> Result<i64, String> {
    if let Some(value) = short_integer(text.as_bytes()) {
        return Ok(value);
    }
    let text = text.trim();
    if text.is_empty() {
        return Err("nothing".into());
    }
    if let Ok(value) = text.parse::<i64>() {
        return Ok(value);
    }
    match arrow_cast::parse::string_to_timestamp_nanos(text) {
        Ok(nanoseconds) => Ok(nanoseconds.div_euclid(1_000_000)),
        Err(_) => Err(format!("`{}`", short(text))),
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

    #[test]
    fn times_are_integers_or_rfc_3339() {
        assert_eq!(parse_time("978300760"), Ok(978_300_760));
        assert_eq!(parse_time("-5"), Ok(-5));
        assert_eq!(parse_time("1970-01-01T00:00:01.5Z"), Ok(1500));
        assert!(parse_time("yesterday").is_err());
        assert!(parse_time("").is_err());
    }
}
