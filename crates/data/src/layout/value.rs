//! The values of a column as texts and numbers, whatever its type, and conditions on them.

use crate::cells::{Cells, Number, raw};
use crate::config::Condition;
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, StringArray};
use arrow_schema::DataType;
use kitestring_core::error::{Error, Result};
use kitestring_core::value::canonical;

/// A column as texts.
pub(super) struct Texts(StringArray);

impl Texts {
    /// The [canonical] texts of a column: a value is the same whatever its type.
    pub fn new(column: &ArrayRef) -> Result<Self> {
        if let Some(texts) = column.as_string_opt::<i32>()
            && (0..texts.len()).all(|row| canonical(raw(texts, row)).as_deref().unwrap_or_default() == raw(texts, row))
        {
            return Ok(Self(texts.clone()));
        }
        Self::of(column, |cells, row, scratch| cells.text(row, scratch).map(str::to_owned))
    }

    /// The texts of a column as they are written.
    pub fn raw(column: &ArrayRef) -> Result<Self> {
        match column.as_string_opt::<i32>() {
            Some(texts) => Ok(Self(texts.clone())),
            None => Self::of(column, |cells, row, scratch| cells.raw(row, scratch).map(str::to_owned)),
        }
    }

    fn of(column: &ArrayRef, text: impl Fn(&Cells, usize, &mut String) -> Option<String>) -> Result<Self> {
        let cells = Cells::new(column)?;
        if cells.holds_lists() {
            return Err(Error::data(format!("a column of type {} cannot be read as text", column.data_type())));
        }
        let mut scratch = String::new();
        Ok(Self((0..column.len()).map(|row| text(&cells, row, &mut scratch)).collect()))
    }

    /// The value of a row; `None` where it is missing, that is null or empty.
    #[inline]
    pub fn get(&self, row: usize) -> Option<&str> {
        Some(raw(&self.0, row)).filter(|text| !text.is_empty())
    }

    pub fn iter(&self) -> impl Iterator<Item = Option<&str>> {
        (0..self.0.len()).map(|row| self.get(row))
    }
}

/// Whether each row meets a condition; `wrong` is told of rows of which that cannot be said, which then do not.
pub(super) fn meets(
    condition: &Condition,
    column: &ArrayRef,
    mut wrong: impl FnMut(usize, Error) -> Result<()>,
) -> Result<Vec<bool>> {
    let mut compare = |test: &dyn Fn(f64) -> bool| {
        let cells = Cells::new(column)?;
        let mut met = Vec::with_capacity(column.len());
        for row in 0..column.len() {
            met.push(match cells.number(row) {
                Number::Value(number) => test(number),
                Number::Missing => false,
                Number::Wrong(found) => {
                    wrong(row, Error::data(format!("expected a number, found {found}")))?;
                    false
                }
            });
        }
        Ok(met)
    };
    let texts = |test: &dyn Fn(Option<&str>) -> bool| Ok(Texts::new(column)?.iter().map(test).collect());
    let equal = |expected: &[&str]| {
        let cells = Cells::new(column)?;
        let mut scratch = String::new();
        let mut is = |row: usize| expected.iter().any(|text| cells.is(row, text, &mut scratch).unwrap_or(false));
        Ok((0..column.len()).map(&mut is).collect())
    };
    match condition {
        Condition::AtLeast(least) => compare(&|number| number >= *least),
        Condition::AtMost(most) => compare(&|number| number <= *most),
        Condition::Equals(text) => equal(&[text]),
        Condition::OneOf(list) => equal(&list.iter().map(String::as_str).collect::<Vec<_>>()),
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
        assert_eq!(errors, ["5: expected a number, found `x`"]);
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
        // A value is the same in every type, and in the config.
        let flags: ArrayRef = Arc::new(BooleanArray::from(vec![Some(true), Some(false), None]));
        for yes in ["true", "True", "1"] {
            assert_eq!(check(&Condition::Equals(yes.into()), flags.clone()).0, [true, false, false]);
        }
        let written = texts(&[Some("True"), Some("3.0"), Some("3.10")]);
        assert_eq!(check(&Condition::Equals("true".into()), written.clone()).0, [true, false, false]);
        assert_eq!(check(&Condition::OneOf(vec!["3".into(), "3.1".into()]), written).0, [false, true, false]);
    }
}
