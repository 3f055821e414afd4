//! Columns computed from others.

use super::value::{Texts, meets};
use crate::cells::{Cells, Number};
use crate::config::Rule;
use crate::reader::partitions::percent_decoded;
use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, ArrayRef, DictionaryArray, Int64Array, StringArray};
use arrow_schema::DataType;
use hashbrown::HashMap;
use kitestring_core::error::{Error, Result};
use std::sync::Arc;

/// A rule at work: it remembers what it has seen of a file.
pub(super) struct Deriver {
    rule: Rule,
    /// The number of each value seen.
    appeared: HashMap<Box<str>, i64>,
    /// A joined column's values and what they became, for they are the same in every chunk.
    cached: Option<(ArrayRef, ArrayRef)>,
}

impl Deriver {
    pub fn new(rule: Rule) -> Self {
        Self { rule, appeared: HashMap::new(), cached: None }
    }

    /// The new column of some rows; `wrong` is told of rows that have no value though they should.
    pub fn column(
        &mut self,
        from: Option<&ArrayRef>,
        rows: usize,
        mut wrong: impl FnMut(usize, Error) -> Result<()>,
    ) -> Result<ArrayRef> {
        let Some(from) = from else {
            let Rule::Constant(text) = &self.rule else {
                return Err(Error::internal("a derived column without `from`"));
            };
            return Ok(Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, rows))));
        };
        Ok(match &self.rule {
            Rule::Constant(text) => Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, rows))),
            Rule::Part { separator, index } => {
                let (separator, index) = (separator.clone(), *index);
                return self.part(from, &separator, index);
            }
            Rule::When(condition) => {
                let met = meets(condition, from, wrong)?;
                Arc::new(met.into_iter().map(|met| Some(i64::from(met))).collect::<Int64Array>())
            }
            Rule::Cut(borders) => {
                let cells = Cells::new(from)?;
                let names = ranges(borders);
                let mut found = Vec::with_capacity(rows);
                for row in 0..rows {
                    let number = match cells.number(row) {
                        Number::Value(number) => Some(number),
                        Number::Missing => None,
                        Number::Wrong(other) => {
                            wrong(row, Error::data(format!("expected a number to find its range, found {other}")))?;
                            None
                        }
                    };
                    let name = |number: f64| names[borders.partition_point(|border| *border <= number)].as_str();
                    found.push(number.map(name));
                }
                Arc::new(found.into_iter().collect::<StringArray>())
            }
            Rule::PercentDecoded => {
                let texts = Texts::raw(from)?;
                let mut decoded = Vec::with_capacity(rows);
                for row in 0..rows {
                    let bytes = texts.get(row).map(percent_decoded);
                    let text = bytes.map(String::from_utf8).transpose().map_err(|_| {
                        let found = texts.get(row).unwrap_or_default();
                        Error::data(format!("`{found}` is not UTF-8 once its percent signs are decoded"))
                    });
                    decoded.push(match text {
                        Ok(text) => text,
                        Err(error) => {
                            wrong(row, error)?;
                            None
                        }
                    });
                }
                Arc::new(decoded.into_iter().collect::<StringArray>())
            }
            Rule::Offset(offset) => {
                let texts = Texts::new(from)?;
                let mut sums = Vec::with_capacity(rows);
                for row in 0..rows {
                    let Some(text) = texts.get(row) else {
                        sums.push(None);
                        continue;
                    };
                    let sum = text.trim().parse().ok().and_then(|number: i64| number.checked_add(*offset));
                    if sum.is_none() {
                        wrong(row, Error::data(format!("expected an integer to add {offset} to, found `{text}`")))?;
                    }
                    sums.push(sum);
                }
                Arc::new(Int64Array::from(sums))
            }
            Rule::FirstAppearance(first) => {
                let texts = Texts::new(from)?;
                let appeared = &mut self.appeared;
                let number = |text: &str| match appeared.get(text) {
                    Some(number) => *number,
                    None => {
                        let number = first + appeared.len() as i64;
                        appeared.insert(text.into(), number);
                        number
                    }
                };
                let mut number = number;
                Arc::new(texts.iter().map(|text| text.map(&mut number)).collect::<Int64Array>())
            }
        })
    }

    /// One part of each text.
    fn part(&mut self, from: &ArrayRef, separator: &str, index: usize) -> Result<ArrayRef> {
        if !matches!(from.data_type(), DataType::Dictionary(key, _) if **key == DataType::Int32) {
            let texts = Texts::raw(from)?;
            let part = |text: &'_ str| text.split(separator).nth(index).map(str::to_owned);
            return Ok(Arc::new(texts.iter().map(|text| text.and_then(part)).collect::<StringArray>()));
        }
        let dictionary = from.as_dictionary::<Int32Type>();
        let values = dictionary.values();
        let parts = match &self.cached {
            Some((seen, parts)) if Arc::ptr_eq(seen, values) => parts.clone(),
            _ => {
                let parts = self.part(values, separator, index)?;
                self.cached = Some((values.clone(), parts.clone()));
                parts
            }
        };
        let column = DictionaryArray::try_new(dictionary.keys().clone(), parts);
        Ok(Arc::new(column.map_err(|cause| Error::internal("a dictionary lost values").caused_by(cause))?))
    }
}

/// What the ranges between ascending borders are called.
fn ranges(borders: &[f64]) -> Vec<String> {
    let under = borders.first().map(|first| format!("under {first}"));
    let between = borders.windows(2).map(|pair| format!("{} to {}", pair[0], pair[1]));
    let over = borders.last().map(|last| format!("{last} and over"));
    under.into_iter().chain(between).chain(over).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::Condition;

    fn texts(values: &[&str]) -> ArrayRef {
        Arc::new(StringArray::from(values.to_vec()))
    }

    fn derive(deriver: &mut Deriver, values: &[&str]) -> (Vec<String>, Vec<String>) {
        let mut errors = Vec::new();
        let column = deriver.column(Some(&texts(values)), values.len(), |row, error| {
            errors.push(format!("{row}: {error}"));
            Ok(())
        });
        let texts = Texts::new(&column.unwrap()).unwrap();
        (texts.iter().map(|text| text.unwrap_or("-").to_owned()).collect(), errors)
    }

    #[test]
    fn offsets_of_integers_only() {
        let mut offset = Deriver::new(Rule::Offset(-1));
        let (values, errors) = derive(&mut offset, &["1", " 7", "", "x", "1.5", &i64::MIN.to_string()]);
        assert_eq!(values, ["0", "6", "-", "-", "-", "-"]);
        assert_eq!(errors[0], "3: expected an integer to add -1 to, found `x`");
        assert_eq!(errors.len(), 3);
    }

    #[test]
    fn numbers_lie_in_ranges() {
        let mut cut = Deriver::new(Rule::Cut(vec![-1.5, 25.0, 35.0]));
        let (values, errors) = derive(&mut cut, &["-2", "-1.5", " 24.9", "25", "34", "35", "1e9", "", "old", "nan"]);
        let (low, middle) = ("-1.5 to 25", "25 to 35");
        let over = "35 and over";
        assert_eq!(values, ["under -1.5", low, low, middle, middle, over, over, "-", "-", "-"]);
        assert_eq!(errors, ["8: expected a number to find its range, found `old`"]);
    }

    #[test]
    fn first_appearance_goes_on_from_chunk_to_chunk() {
        let mut number = Deriver::new(Rule::FirstAppearance(10));
        assert_eq!(derive(&mut number, &["b", "a", "b", ""]).0, ["10", "11", "10", "-"]);
        assert_eq!(derive(&mut number, &["c", "a"]).0, ["12", "11"]);
    }

    #[test]
    fn parts_of_texts_and_of_dictionaries() {
        let mut part = Deriver::new(Rule::Part { separator: "|".into(), index: 1 });
        assert_eq!(derive(&mut part, &["a|b|c", "a", "", "x|"]).0, ["b", "-", "-", "-"]);
        let values = texts(&["a|b", "c|d"]);
        let of = |keys: Vec<Option<i32>>| -> ArrayRef {
            Arc::new(DictionaryArray::<Int32Type>::try_new(keys.into(), values.clone()).unwrap())
        };
        let first = part.column(Some(&of(vec![Some(1), None])), 2, |_, error| Err(error)).unwrap();
        let second = part.column(Some(&of(vec![Some(0)])), 1, |_, error| Err(error)).unwrap();
        assert_eq!(Texts::new(&first).unwrap().iter().collect::<Vec<_>>(), [Some("d"), None]);
        let values = |column: &ArrayRef| column.as_dictionary::<Int32Type>().values().clone();
        assert!(Arc::ptr_eq(&values(&first), &values(&second)));
    }

    #[test]
    fn percent_signs_are_decoded() {
        let mut decoded = Deriver::new(Rule::PercentDecoded);
        let (values, errors) = derive(&mut decoded, &["%C3%81ed%c3%a1n_%25", "plain", "", "5%", "%4", "%zz%41", "%ff"]);
        assert_eq!(values, ["Áedán_%", "plain", "-", "5%", "%4", "%zzA", "-"]);
        assert_eq!(errors, ["6: `%ff` is not UTF-8 once its percent signs are decoded"]);
    }

    #[test]
    fn constants_and_conditions() {
        let constant = Deriver::new(Rule::Constant("1".into())).column(None, 2, |_, error| Err(error)).unwrap();
        assert_eq!(Texts::new(&constant).unwrap().iter().collect::<Vec<_>>(), [Some("1"), Some("1")]);
        let mut when = Deriver::new(Rule::When(Condition::AtLeast(4.0)));
        let (values, errors) = derive(&mut when, &["5", "3", "", "x"]);
        assert_eq!(values, ["1", "0", "0", "0"]);
        assert_eq!(errors.len(), 1);
    }
}
