//! The values of a column as texts and numbers, whatever its type, and conditions on them.

use crate::config::Condition;
use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::{Array, ArrayRef, Float64Array, StringArray};
use arrow_schema::DataType;
use kitestring_core::error::{Error, Result};

/// A column as texts.
pub(super) struct Texts(StringArray);

impl Texts {
    pub fn new(column: &ArrayRef) -> Result<Self> {
        Ok(Self(match column.data_type() {
            DataType::Utf8 => column.as_string::<i32>().clone(),
            _ => cast(column, &DataType::Utf8)?.as_string::<i32>().clone(),
        }))
    }

    /// The value of a row; `None` where it is missing, that is null or empty.
    #[inline]
    pub fn get(&self, row: usize) -> Option<&str> {
        if self.0.is_null(row) {
            return None;
        }
        Some(self.0.value(row)).filter(|text| !text.is_empty())
    }

    pub fn iter(&self) -> impl Iterator<Item = Option<&str>> {
        (0..self.0.len()).map(|row| self.get(row))
    }
}

/// A column as numbers.
enum Numbers {
    Typed(Float64Array),
    Texts(Texts),
}

impl Numbers {
    fn new(column: &ArrayRef) -> Result<Self> {
        let kind = column.data_type();
        if kind.is_numeric() || kind.is_temporal() || *kind == DataType::Boolean {
            let column = if kind.is_temporal() { &cast(column, &DataType::Int64)? } else { column };
            return Ok(Self::Typed(cast(column, &DataType::Float64)?.as_primitive::<Float64Type>().clone()));
        }
        Texts::new(column).map(Self::Texts)
    }

    fn get(&self, row: usize) -> Result<Option<f64>> {
        match self {
            Self::Typed(numbers) => Ok((!numbers.is_null(row)).then(|| numbers.value(row))),
            Self::Texts(texts) => texts.get(row).map(number).transpose(),
        }
    }
}

fn number(text: &str) -> Result<f64> {
    match text.trim().parse() {
        Ok(number) if f64::is_finite(number) => Ok(number),
        _ => Err(Error::data(format!("expected a number, found `{text}`"))),
    }
}

fn cast(column: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    arrow_cast::cast(column, to).map_err(|cause| {
        Error::data(format!("a column of type {} cannot be read as {to}", column.data_type())).caused_by(cause)
    })
}

/// Whether each row meets a condition; `wrong` is told of rows of which that cannot be said, which then do not.
pub(super) fn meets(
    condition: &Condition,
    column: &ArrayRef,
    mut wrong: impl FnMut(usize, Error) -> Result<()>,
) -> Result<Vec<bool>> {
    let mut compare = |test: &dyn Fn(f64) -> bool| {
        let numbers = Numbers::new(column)?;
        let mut met = Vec::with_capacity(column.len());
        for row in 0..column.len() {
            met.push(match numbers.get(row) {
                Ok(number) => number.is_some_and(test),
                Err(error) => {
                    wrong(row, error)?;
                    false
                }
            });
        }
        Ok(met)
    };
    let texts = |test: &dyn Fn(Option<&str>) -> bool| Ok(Texts::new(column)?.iter().map(test).collect());
    match condition {
        Condition::AtLeast(least) => compare(&|number| number >= *least),
        Condition::AtMost(most) => compare(&|number| number <= *most),
        Condition::Equals(text) => texts(&|value| value == Some(text)),
        Condition::OneOf(list) => texts(&|value| value.is_some_and(|value| list.iter().any(|text| text == value))),
        Condition::Present(present) if matches!(column.data_type(), DataType::List(_) | DataType::LargeList(_)) => {
            Ok((0..column.len()).map(|row| column.is_valid(row) == *present).collect())
        }
        Condition::Present(present) => texts(&|value| value.is_some() == *present),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use arrow_array::{BooleanArray, Int32Array};
    use std::sync::Arc;

    fn check(condition: &Condition, column: ArrayRef) -> (Vec<bool>, Vec<String>) {
        let mut errors = Vec::new();
        let met = meets(condition, &column, |row, error| {
            errors.push(format!("{row}: {error}"));
            Ok(())
        });
        (met.unwrap(), errors)
    }

    fn texts(values: &[Option<&str>]) -> ArrayRef {
        Arc::new(StringArray::from(values.to_vec()))
    }

    #[test]
    fn numbers_of_any_type() {
        let (met, errors) = check(
            &Condition::AtLeast(3.0),
            texts(&[Some("3"), Some("-1"), Some(" 4.5 "), Some(""), None, Some("x"), Some("nan")]),
        );
        assert_eq!(met, [true, false, true, false, false, false, false]);
        assert_eq!(errors, ["5: expected a number, found `x`", "6: expected a number, found `nan`"]);
        let numbers: ArrayRef = Arc::new(Int32Array::from(vec![Some(3), None, Some(4)]));
        assert_eq!(check(&Condition::AtMost(3.0), numbers).0, [true, false, false]);
        let flags: ArrayRef = Arc::new(BooleanArray::from(vec![true, false]));
        assert_eq!(check(&Condition::AtLeast(1.0), flags).0, [true, false]);
    }

    #[test]
    fn texts_and_presence() {
        let column = || texts(&[Some("a"), Some("b"), Some(""), None]);
        assert_eq!(check(&Condition::Equals("a".into()), column()).0, [true, false, false, false]);
        assert_eq!(check(&Condition::Equals(String::new()), column()).0, [false; 4]);
        assert_eq!(check(&Condition::OneOf(vec!["b".into(), "c".into()]), column()).0, [false, true, false, false]);
        assert_eq!(check(&Condition::Present(true), column()).0, [true, true, false, false]);
        assert_eq!(check(&Condition::Present(false), column()).0, [false, false, true, true]);
        let numbers: ArrayRef = Arc::new(Int32Array::from(vec![Some(3), None]));
        assert_eq!(check(&Condition::Equals("3".into()), numbers).0, [true, false]);
    }
}
