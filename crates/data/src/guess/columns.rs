//! What the first rows say about a column.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use hashbrown::HashMap;
use kitestring_core::error::{Error, Result};

/// What the first rows say about a column.
pub(super) struct Column {
    pub name: String,
    /// The value of each row; empty where missing.
    pub values: Vec<Box<str>>,
    /// Whether its type is a list.
    is_list: bool,
}

/// What a column's values are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Values {
    /// Nothing, or the same everywhere.
    Constant,
    /// 0 and 1 alone.
    Binary,
    /// Integers, this many different ones.
    Integers(usize),
    /// Other numbers.
    Numbers,
    /// Lists of values: of texts separated so, or of the file's own type.
    Lists(Option<&'static str>),
    /// Texts, this many different ones.
    Texts(usize),
    /// Texts that hardly come twice, or long ones.
    Prose,
}

impl Column {
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), values: Vec::new(), is_list: false }
    }

    pub fn add(&mut self, array: &ArrayRef) -> Result<()> {
        self.is_list = matches!(
            array.data_type(),
            DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) | DataType::ListView(_)
        );
        if self.is_list {
            let text = |row| if array.is_null(row) { "" } else { "list" };
            self.values.extend((0..array.len()).map(|row| Box::from(text(row))));
            return Ok(());
        }
        // As a boolean is written in a file: 0 and 1.
        let to = if *array.data_type() == DataType::Boolean { DataType::Int8 } else { DataType::Utf8 };
        let cast = arrow_cast::cast(array, &to).and_then(|array| arrow_cast::cast(&array, &DataType::Utf8));
        let texts = cast.map_err(|cause| {
            Error::data(format!("a column of type {} cannot be read", array.data_type()))
                .in_field(self.name.as_str())
                .caused_by(cause)
        })?;
        self.values.extend(texts.as_string::<i32>().iter().map(|text| Box::from(text.unwrap_or(""))));
        Ok(())
    }

    /// The values that are there.
    pub fn present(&self) -> impl Iterator<Item = &str> {
        self.values.iter().map(AsRef::as_ref).filter(|text: &&str| !text.is_empty())
    }

    /// Its numbers, in order; `None` where a value is none.
    pub fn numbers(&self) -> Option<Vec<f64>> {
        let number = |text: &str| text.trim().parse().ok().filter(|number: &f64| number.is_finite());
        let mut numbers = self.present().map(number).collect::<Option<Vec<f64>>>()?;
        numbers.sort_by(f64::total_cmp);
        Some(numbers)
    }

    /// How many different values there are.
    pub fn distinct(&self) -> usize {
        self.present().collect::<hashbrown::HashSet<_>>().len()
    }

    pub fn kind(&self) -> Values {
        if self.is_list {
            return Values::Lists(None);
        }
        let distinct = self.distinct();
        let count = self.present().count();
        if let Some(numbers) = self.numbers() {
            return match () {
                () if distinct <= 1 => Values::Constant,
                () if numbers.iter().all(|number| [0.0, 1.0].contains(number)) => Values::Binary,
                () if numbers.iter().all(|number| number.fract() == 0.0) => Values::Integers(distinct),
                () => Values::Numbers,
            };
        }
        if let Some(separator) = self.list_separator() {
            return Values::Lists(Some(separator));
        }
        let long = self.present().map(str::len).sum::<usize>() > 60 * count;
        match () {
            () if distinct <= 1 => Values::Constant,
            () if long
                || (count >= 50 && 10 * distinct > 9 * count && self.present().any(|text| text.contains(' '))) =>
            {
                Values::Prose
            }
            () => Values::Texts(distinct),
        }
    }

    /// What separates the values of lists: many rows have it, and the parts come again and again.
    fn list_separator(&self) -> Option<&'static str> {
        let count = self.present().count();
        ["|", ",", ";", " "].into_iter().find(|separator| {
            let parted = self.present().filter(|text| text.contains(separator)).count();
            if 5 * parted < count || parted == 0 {
                return false;
            }
            let parts: Vec<&str> = self.present().flat_map(|text| text.split(separator)).collect();
            let short = parts.iter().all(|part| part.len() <= 24);
            // Words of a text are parted by spaces too.
            let ids = *separator != " " || parts.iter().all(|part| part.parse::<u64>().is_ok());
            let different = parts.iter().collect::<hashbrown::HashSet<_>>().len();
            short && ids && (different < parts.len() / 2 || parts.iter().all(|part| part.parse::<u64>().is_ok()))
        })
    }

    /// Whether a value of `of` nearly always comes with one value of this column, and comes often enough to tell.
    pub fn follows(&self, of: &Self) -> bool {
        let mut seen: HashMap<&str, &str> = HashMap::new();
        let (mut again, mut different) = (0, 0);
        for (key, value) in of.values.iter().zip(&self.values).filter(|(key, _)| !key.is_empty()) {
            match seen.insert(key, value) {
                None => {}
                Some(before) => {
                    again += 1;
                    different += usize::from(before != &**value);
                }
            }
        }
        again >= 10 && again * 5 >= seen.len() && different * 200 <= again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(values: &[&str]) -> Column {
        Column { name: "x".into(), values: values.iter().map(|text| Box::from(*text)).collect(), is_list: false }
    }

    #[test]
    fn kinds_of_values() {
        assert_eq!(column(&["", ""]).kind(), Values::Constant);
        assert_eq!(column(&["a", "a"]).kind(), Values::Constant);
        assert_eq!(column(&["0", "1", ""]).kind(), Values::Binary);
        assert_eq!(column(&["0", "7"]).kind(), Values::Integers(2));
        assert_eq!(column(&["0.5", "7"]).kind(), Values::Numbers);
        assert_eq!(column(&["a|b", "a", "b|a", "a|b"]).kind(), Values::Lists(Some("|")));
        assert_eq!(column(&["12,65", "9", "65,9,12", "12"]).kind(), Values::Lists(Some(",")));
        assert_eq!(column(&["a b", "c d"]).kind(), Values::Texts(2));
        let titles: Vec<String> = (0..60).map(|number| format!("Title {number}")).collect();
        assert_eq!(column(&titles.iter().map(String::as_str).collect::<Vec<_>>()).kind(), Values::Prose);
    }

    #[test]
    fn what_follows_what() {
        let users: Vec<String> = (0..60).map(|row| (row % 7).to_string()).collect();
        let ages: Vec<String> = (0..60).map(|row| (20 + row % 7 / 2).to_string()).collect();
        let items: Vec<String> = (0..60).map(|row| (row * 31 % 11).to_string()).collect();
        let of = |values: &[String]| column(&values.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(of(&ages).follows(&of(&users)));
        assert!(!of(&items).follows(&of(&users)));
        assert!(!of(&users).follows(&column(&["a"; 3])));
    }
}
