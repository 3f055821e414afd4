//! What the first rows say about a column.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, ListArray};
use arrow_schema::DataType;
use hashbrown::{HashMap, HashSet};
use kitestring_core::Result;

/// Between the values of a list.
pub(super) const BETWEEN: char = '\u{1f}';

/// Texts that stand for "no value" in a column of text, where nearly all others are something else.
const NONE: [&str; 12] = ["NA", "N/A", "n/a", "#N/A", "NaN", "nan", "null", "NULL", "None", "none", "\\N", "-"];

/// Whether a text stands for "no value".
pub(super) fn is_none(text: &str) -> bool {
    NONE.contains(&text.trim())
}

/// What the first rows say about a column.
pub(super) struct Column {
    pub name: String,
    /// The value of each row; empty where missing. The values of a list are joined by [`BETWEEN`].
    pub values: Vec<Box<str>>,
    is_list: bool,
    /// Whether its type is a time.
    is_time: bool,
    /// Why it cannot be read, where it cannot.
    pub unread: Option<&'static str>,
    /// Which of the texts [`NONE`] are in it.
    pub missing: Vec<&'static str>,
}

/// The value of a column of two that means yes.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Yes {
    /// 1 or true in any spelling, which a label is anyway.
    Plain,
    /// 1 beside -1.
    One,
    /// This text.
    Text(String),
}

/// What a column's values are.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Values {
    /// Nothing, or the same everywhere.
    Constant,
    /// Yes and no alone.
    Binary(Yes),
    /// Integers, this many different ones.
    Integers(usize),
    /// Other numbers; with a comma for a point where `true`.
    Numbers(bool),
    /// Dates or times of day and date.
    Times,
    /// Lists of values: of texts separated so, or of the file's own type.
    Lists(Option<&'static str>),
    /// Texts, this many different ones.
    Texts(usize),
    /// What is no feature as it is, and why.
    Unusable(&'static str),
}

impl Column {
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            values: Vec::new(),
            is_list: false,
            is_time: false,
            unread: None,
            missing: Vec::new(),
        }
    }

    /// A column that cannot be read, and why.
    pub fn unread(name: &str, why: &'static str) -> Self {
        Self { unread: Some(why), ..Self::new(name) }
    }

    pub fn add(&mut self, array: &ArrayRef) -> Result<()> {
        let kind = array.data_type();
        self.is_time = matches!(kind, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64);
        if let DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) = kind {
            self.is_list = true;
            let list = arrow_cast::cast(array, &DataType::List(field.clone()));
            match list.as_ref().ok().and_then(|list| list.as_list_opt::<i32>()).and_then(lists) {
                Some(lists) => self.values.extend(lists),
                None => self.unread = Some("holds lists of objects or of lists"),
            }
            return Ok(());
        }
        // As a boolean is written in a file: 0 and 1.
        let to = if *kind == DataType::Boolean { DataType::Int8 } else { DataType::Utf8 };
        let cast = arrow_cast::cast(array, &to).and_then(|array| arrow_cast::cast(&array, &DataType::Utf8));
        match cast {
            Ok(texts) if texts.null_count() == array.logical_null_count() => {
                self.values.extend(texts.as_string::<i32>().iter().map(|text| Box::from(text.unwrap_or(""))));
            }
            _ if kind.is_nested() => self.unread = Some("holds objects"),
            _ => self.unread = Some("has a type that is not read"),
        }
        Ok(())
    }

    /// Looks for the texts that stand for "no value", and forgets them.
    pub fn finish(&mut self) {
        if self.is_list {
            return;
        }
        let found: HashSet<&str> = self.present().filter(|text| is_none(text)).map(str::trim).collect();
        if found.is_empty() {
            return;
        }
        let mut others: HashMap<&str, usize> = HashMap::new();
        let kept = self.present().filter(|text| !is_none(text));
        kept.for_each(|text| *others.entry(text).or_default() += 1);
        let numbers = others.keys().all(|text| number(text).is_some());
        // `NA` among codes of two letters is Namibia, or North America.
        let codes = others.keys().all(|text| text.len() <= 3 && text.chars().all(char::is_uppercase));
        let means_nothing = |text: &&'static str| {
            found.contains(text) && (numbers || !codes || text.len() > 2 || !text.chars().all(char::is_alphabetic))
        };
        if others.is_empty() {
            return;
        }
        let missing: Vec<&'static str> = NONE.iter().copied().filter(|text| means_nothing(text)).collect();
        drop((found, others));
        self.missing = missing;
        for value in &mut self.values {
            if self.missing.contains(&value.trim()) {
                *value = Box::from("");
            }
        }
    }

    /// The values that are there.
    pub fn present(&self) -> impl Iterator<Item = &str> {
        self.values.iter().map(AsRef::as_ref).filter(|text: &&str| !text.is_empty())
    }

    /// The values of all lists that are there.
    pub fn elements(&self) -> impl Iterator<Item = &str> {
        self.present().flat_map(|text| text.split(BETWEEN))
    }

    /// Its numbers, in order; `None` where a value is none.
    pub fn numbers(&self) -> Option<Vec<f64>> {
        let mut numbers = self.present().map(number).collect::<Option<Vec<f64>>>()?;
        numbers.sort_by(f64::total_cmp);
        Some(numbers)
    }

    /// How many different values there are.
    pub fn distinct(&self) -> usize {
        self.present().collect::<HashSet<_>>().len()
    }

    /// Whether all values are integers that count the rows, perhaps in each file anew.
    pub fn counts_rows(&self) -> bool {
        let whole = |text: &str| text.trim().parse::<i64>().ok();
        let numbers: Option<Vec<i64>> = self.values.iter().map(|text| whole(text)).collect();
        numbers.is_some_and(|numbers| {
            let steps = numbers.windows(2).filter(|pair| pair[0].checked_add(1) == Some(pair[1])).count();
            numbers.len() >= 20 && 20 * steps >= 19 * (numbers.len() - 1)
        })
    }

    /// What its values are; `comma` says that fields are not separated by commas.
    pub fn kind(&self, comma: bool) -> Values {
        let count = self.present().count();
        if let Some(why) = self.unread {
            return Values::Unusable(why);
        }
        if 100 * count < self.values.len() {
            return Values::Unusable("is missing in nearly every row");
        }
        if self.is_list {
            let fractions = self.elements().any(|text| number(text).is_some_and(|number| number.fract() != 0.0));
            let numbers = fractions && self.elements().all(|text| number(text).is_some());
            return match numbers {
                true => Values::Unusable("holds vectors of numbers, which no feature reads"),
                false => Values::Lists(None),
            };
        }
        let distinct = self.distinct();
        if distinct <= 1 {
            return Values::Constant;
        }
        if self.is_time || self.present().all(is_moment) {
            return Values::Times;
        }
        if let Some(yes) = self.yes() {
            return Values::Binary(yes);
        }
        if let Some(numbers) = self.numbers() {
            let whole = numbers.iter().all(|number| number.fract() == 0.0);
            return if whole { Values::Integers(distinct) } else { Values::Numbers(false) };
        }
        if comma && self.present().all(|text| with_comma(text).is_some()) {
            return Values::Numbers(true);
        }
        if self.present().all(|text| text.starts_with(['{', '[']) && text.ends_with(['}', ']'])) {
            return Values::Unusable(
                "holds JSON or lists in brackets, which are not taken apart: write their values as columns, or separated by |",
            );
        }
        if self.present().all(is_other_date) {
            return Values::Unusable("holds dates that are not read: write them as 2024-01-31 or 2024-01-31T12:00:00Z");
        }
        if self.is_dirty() {
            return Values::Unusable("holds numbers with signs or separators of thousands: write them plain");
        }
        if let Some(separator) = self.list_separator() {
            return Values::Lists(Some(separator));
        }
        let letters = self.present().map(str::len).sum::<usize>();
        let spaces = self.present().filter(|text| text.contains(' ')).count();
        let unique = count >= 50 && 10 * distinct > 9 * count;
        if letters > 60 * count || (unique && 2 * spaces > count) {
            return Values::Unusable("is a text that hardly ever comes twice");
        }
        Values::Texts(distinct)
    }

    /// Whether all values are numbers but for signs and separators of thousands, and are no lists of numbers.
    fn is_dirty(&self) -> bool {
        let signs = |text: &str| {
            text.contains(|letter| "$€£¥₹%'\u{a0}\u{202f}".contains(letter))
                || (text.contains(',') && text.contains('.'))
        };
        self.present().all(is_dirty_number) && (self.present().any(signs) || self.present().all(has_thousands))
    }

    /// The value that means yes, where there are a yes and a no alone.
    fn yes(&self) -> Option<Yes> {
        let mut texts: Vec<&str> = self.present().map(str::trim).collect::<HashSet<_>>().into_iter().collect();
        texts.sort_unstable();
        let lower: Vec<String> = texts.iter().map(|text| text.to_lowercase()).collect();
        if self.numbers().is_some_and(|numbers| numbers.iter().all(|number| [0.0, 1.0].contains(number)))
            || lower.iter().all(|text| text == "true" || text == "false")
        {
            return Some(Yes::Plain);
        }
        if self.numbers().is_some_and(|numbers| numbers.iter().all(|number| [-1.0, 1.0].contains(number))) {
            return Some(Yes::One);
        }
        let [first, second] = texts.as_slice() else { return None };
        let pair = [("f", "t"), ("no", "yes"), ("n", "y"), ("off", "on")];
        let is = |(no, yes): &(&str, &str)| lower == [*no, *yes];
        // Upper case comes before lower case, so the order of two spellings tells nothing.
        let swapped = |(no, yes): &(&str, &str)| lower == [*yes, *no];
        match () {
            () if pair.iter().any(is) => Some(Yes::Text((*second).to_owned())),
            () if pair.iter().any(swapped) => Some(Yes::Text((*first).to_owned())),
            () => None,
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
            let different = parts.iter().collect::<HashSet<_>>().len();
            short && ids && (different < parts.len() / 2 || parts.iter().all(|part| part.parse::<u64>().is_ok()))
        })
    }
}

/// The lists of a column as joined texts; `None` where they hold lists or objects.
fn lists(list: &ListArray) -> Option<Vec<Box<str>>> {
    if list.values().data_type().is_nested() {
        return None;
    }
    let values = arrow_cast::cast(list.values(), &DataType::Utf8).ok()?;
    let texts = values.as_string::<i32>();
    let mut joined = Vec::with_capacity(list.len());
    for (row, ends) in list.offsets().windows(2).enumerate() {
        let mut text = String::new();
        if list.is_valid(row) {
            for at in ends[0]..ends[1] {
                if at > ends[0] {
                    text.push(BETWEEN);
                }
                let at = at as usize;
                text.push_str(if texts.is_valid(at) { texts.value(at) } else { "" });
            }
        }
        joined.push(text.into_boxed_str());
    }
    Some(joined)
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|number: &f64| number.is_finite())
}

/// A number with a comma for a point, `3,14`, or without any.
fn with_comma(text: &str) -> Option<f64> {
    let text = text.trim();
    let (whole, fraction) = text.split_once(',').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let whole_digits = whole.trim_start_matches(['-', '+']);
    // A point separates thousands.
    let grouped = whole_digits.split('.').enumerate().all(|(at, part)| digits(part) && (at == 0 || part.len() == 3));
    if !grouped || !digits(fraction) {
        return None;
    }
    format!("{}.{fraction}", whole.replace('.', "")).parse().ok()
}

/// Whether a text is a number but for signs of money or percent and separators of thousands.
fn is_dirty_number(text: &str) -> bool {
    text.chars().any(|letter| letter.is_ascii_digit())
        && text.chars().all(|letter| letter.is_ascii_digit() || " ,.'+-%$€£¥₹\u{a0}\u{202f}".contains(letter))
}

/// Whether all commas of a text stand before three digits.
fn has_thousands(text: &str) -> bool {
    let whole = text.trim().split('.').next().unwrap_or_default();
    let mut groups = whole.trim_start_matches(['-', '+']).split(',');
    let digits = |group: &str| !group.is_empty() && group.bytes().all(|byte| byte.is_ascii_digit());
    groups.next().is_some_and(|first| digits(first) && first.len() <= 3)
        && groups.all(|group| digits(group) && group.len() == 3)
}

/// Whether a text is a date, or a date and a time, as ISO 8601 and RFC 3339 write it.
pub(super) fn is_moment(text: &str) -> bool {
    let bytes = text.trim().as_bytes();
    let digits = |from: usize, to: usize| bytes.get(from..to).is_some_and(|part| part.iter().all(u8::is_ascii_digit));
    let date =
        digits(0, 4) && digits(5, 7) && digits(8, 10) && bytes.get(4) == Some(&b'-') && bytes.get(7) == Some(&b'-');
    date && (bytes.len() == 10
        || (bytes.len() >= 16 && b"Tt ".contains(&bytes[10]) && digits(11, 13) && bytes[13] == b':' && digits(14, 16)))
}

/// Whether a text is a date as people write it in other ways: `31.12.2024`, `12/31/24 8:00`.
fn is_other_date(text: &str) -> bool {
    let date = text.trim().split(' ').next().unwrap_or_default();
    ['.', '/', '-'].iter().any(|sign| {
        let parts: Vec<&str> = date.split(*sign).collect();
        let short = |part: &&str| (1..=4).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        parts.len() == 3 && parts.iter().all(short)
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn column<T: AsRef<str>>(name: &str, values: &[T]) -> Column {
        let values = values.iter().map(|text| Box::from(text.as_ref())).collect();
        let mut column = Column { values, ..Column::new(name) };
        column.finish();
        column
    }

    fn kind(values: &[&str]) -> Values {
        column("x", values).kind(true)
    }

    #[test]
    fn kinds_of_values() {
        assert_eq!(kind(&["a", "a", ""]), Values::Constant);
        assert_eq!(kind(&["", ""]), Values::Unusable("is missing in nearly every row"));
        assert_eq!(kind(&["0", "7"]), Values::Integers(2));
        assert_eq!(kind(&["0.5", "7"]), Values::Numbers(false));
        assert_eq!(kind(&["0.5", "NA", "nan"]), Values::Constant);
        assert_eq!(kind(&["0,5", "1.234,25", "7"]), Values::Numbers(true));
        assert_eq!(kind(&["a|b", "a", "b|a", "a|b"]), Values::Lists(Some("|")));
        assert_eq!(column("x", &["12,65", "9", "65,9,12", "12"]).kind(false), Values::Lists(Some(",")));
        assert_eq!(kind(&["a b", "c d"]), Values::Texts(2));
        assert_eq!(kind(&["2024-01-02", "2024-01-03 10:00:00+00"]), Values::Times);
        for (values, word) in [
            (&["$3.99", "$1,200.00"][..], "thousands"),
            (&["950", "1,200", "1,234,567"], "thousands"),
            (&["{\"a\":1}", "{}"], "JSON"),
            (&["['a', 'b']", "['c']"], "brackets"),
            (&["31.12.2024", "1.2.2024 8:00"], "dates"),
        ] {
            assert!(
                matches!(kind(values), Values::Unusable(why) if why.contains(word)),
                "{values:?}: {:?}",
                kind(values)
            );
        }
        let titles: Vec<String> = (0..60).map(|number| format!("Title {number}")).collect();
        assert!(matches!(column("x", &titles).kind(true), Values::Unusable(why) if why.contains("comes twice")));
    }

    #[test]
    fn yes_and_no() {
        for (values, yes) in [
            (&["0", "1", ""][..], Yes::Plain),
            (&["True", "FALSE", "NA"], Yes::Plain),
            (&["0.0", "1.0"], Yes::Plain),
            (&["-1", "1"], Yes::One),
            (&["t", "f"], Yes::Text("t".into())),
            (&["no", "yes", "null"], Yes::Text("yes".into())),
            (&["N", "Y"], Yes::Text("Y".into())),
        ] {
            assert_eq!(kind(values), Values::Binary(yes), "{values:?}");
        }
        assert_eq!(kind(&["yes", "no", "maybe"]), Values::Texts(3));
    }

    #[test]
    fn texts_that_mean_nothing() {
        assert_eq!(column("x", &["a", "\\N", "NULL", "b"]).missing, ["NULL", "\\N"]);
        assert_eq!(column("x", &["1", "NA"]).missing, ["NA"]);
        assert_eq!(column("country", &["DE", "NA", "FR"]).missing, [""; 0]);
        assert_eq!(column("x", &["NA", "NA"]).missing, [""; 0]);
    }

    #[test]
    fn rows_are_counted() {
        let numbers: Vec<String> = (5..40).map(|number| number.to_string()).collect();
        assert!(column("x", &numbers).counts_rows());
        assert!(!column("x", &["1", "2", "3"]).counts_rows());
        let files: Vec<String> = (0..90).map(|row| (row % 45).to_string()).collect();
        assert!(column("x", &files).counts_rows());
        let ids: Vec<String> = (0..90).map(|row| (row / 2).to_string()).collect();
        assert!(!column("x", &ids).counts_rows());
    }
}
