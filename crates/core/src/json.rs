//! Reading types out of JSON, in little code: a device's runtime has to carry what reads an artifact's manifest.
//!
//! What serde derives for a struct is a kilobyte a struct and more, a quarter of the runtime for all of them. Here text becomes a [`Value`] first,
//! and of a value there is one loop that reads the fields of every struct: it is given their names and where they are. [`fields`](crate::fields)
//! says which they are, [`choices`](crate::choices) the same of an enum. What users write, in TOML, is read by serde, which knows lines.

pub use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What could not be read, and at which key.
#[derive(Debug)]
pub struct Error {
    what: String,
    at: String,
}

type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error, by a clause.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), at: String::new() }
    }

    /// A name that is not among those there are, of which there is one at least.
    pub fn unknown<'a>(what: &str, name: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        let known: Vec<String> = known.into_iter().map(|known| format!("`{known}`")).collect();
        let expected = match known.as_slice() {
            [] => "there is none".to_owned(),
            [one] => format!("expected {one}"),
            _ => format!("expected one of {}", known.join(", ")),
        };
        Self::new(format!("unknown {what} `{name}`, {expected}"))
    }

    /// A value that is something else than expected.
    fn other(expected: &str, found: &Value) -> Self {
        let found = match found {
            Value::Null => "nothing",
            Value::Bool(_) => "a truth value",
            Value::Number(_) => "another number",
            Value::String(text) => return Self::new(format!("expected {expected}, found `{text}`")),
            Value::Array(_) => "a list",
            Value::Object(_) => "a table",
        };
        Self::new(format!("expected {expected}, found {found}"))
    }

    /// The same, at a key of what holds the value.
    fn within(mut self, key: &str) -> Self {
        let dot = if self.at.is_empty() { "" } else { "." };
        self.at = format!("{key}{dot}{}", self.at);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, at } = self;
        if at.is_empty() { f.write_str(what) } else { write!(f, "{what}, at {at}") }
    }
}

impl std::error::Error for Error {}

/// A type that is read out of values.
pub trait Read {
    /// What it is before it is read.
    fn blank() -> Self
    where
        Self: Sized;

    /// Becomes what a value says. After an error it is anything.
    ///
    /// # Errors
    /// A value that is none of the type.
    fn read(&mut self, value: &Value) -> Result<()>;
}

/// Reads a type out of text.
///
/// # Errors
/// Text that is no JSON, or not of the type.
pub fn from_slice<T: Read>(text: &[u8]) -> Result<T> {
    let value: Value = serde_json::from_slice(text).map_err(|error| Error::new(error.to_string()))?;
    from_value(&value)
}

/// Reads a type out of a value.
///
/// # Errors
/// A value that is not of the type.
pub fn from_value<T: Read>(value: &Value) -> Result<T> {
    let mut read = T::blank();
    read.read(value)?;
    Ok(read)
}

/// Reads the fields of a struct, whose names are divided by spaces. So many of the first ones must be given.
///
/// # Errors
/// A value that is no table, has another field, or lacks one.
pub fn read_fields(value: &Value, required: usize, names: &str, fields: &mut [&mut dyn Read]) -> Result<()> {
    let given = object(value)?;
    for (name, value) in given {
        let at = names.split_ascii_whitespace().position(|known| known == name);
        let field = at.and_then(|at| fields.get_mut(at));
        let field = field.ok_or_else(|| Error::unknown("field", name, names.split_ascii_whitespace()))?;
        field.read(value).map_err(|error| error.within(name))?;
    }
    match names.split_ascii_whitespace().take(required).find(|name| !given.contains_key(*name)) {
        Some(name) => Err(Error::new(format!("missing field `{name}`"))),
        None => Ok(()),
    }
}

/// The number of the variant that a value names, of those whose names in Rust are divided by spaces.
///
/// # Errors
/// A value that is no text, or names none.
pub fn choose(value: &Value, variants: &str) -> Result<usize> {
    let Value::String(name) = value else { return Err(Error::other("a name", value)) };
    let known: Vec<String> = variants.split_ascii_whitespace().map(snake_case).collect();
    let found = known.iter().position(|known| known == name);
    found.ok_or_else(|| Error::unknown("variant", name, known.iter().map(String::as_str)))
}

/// As a name in Rust is written in JSON: `LogScale` as `log_scale`.
fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

/// The fields of a table.
///
/// # Errors
/// Another value.
pub fn object(value: &Value) -> Result<&serde_json::Map<String, Value>> {
    value.as_object().ok_or_else(|| Error::other("a table", value))
}

/// The name of a variant, and what belongs to it: `"name"` or `{"name": …}`.
///
/// # Errors
/// Another value.
pub fn variant(value: &Value) -> Result<(&str, Option<&Value>)> {
    match value {
        Value::String(name) => Ok((name, None)),
        Value::Object(fields) if fields.len() == 1 => fields
            .iter()
            .next()
            .map(|(name, value)| (name.as_str(), Some(value)))
            .ok_or_else(|| Error::other("a variant", value)),
        _ => Err(Error::other("a variant", value)),
    }
}

fn array(value: &Value) -> Result<&[Value]> {
    value.as_array().map(Vec::as_slice).ok_or_else(|| Error::other("a list", value))
}

/// Makes a struct one that is [read](crate::json::Read): `fields!(Name { one, two })`, all of its fields by name. Fields that are not given
/// are as `Default` has them. Where some must be given they come first: `fields!(Name { required; one, two } else BLANK)`, with a value that
/// is there before they are read. `fields!(Name(pub Other))` is read like the other.
#[macro_export]
macro_rules! fields {
    ($type:ident { $($field:ident),* $(,)? }) => {
        $crate::fields!($type { ; $($field),* } else Default::default());
    };
    ($type:ident(pub $only:ty)) => {
        impl $crate::json::Read for $type {
            fn blank() -> Self {
                Self($crate::json::Read::blank())
            }

            fn read(&mut self, value: &$crate::json::Value) -> Result<(), $crate::json::Error> {
                self.0.read(value)
            }
        }
    };
    ($type:ident { $($required:ident),*; $($field:ident),* $(,)? } else $blank:expr) => {
        impl $crate::json::Read for $type {
            fn blank() -> Self {
                $blank
            }

            fn read(&mut self, value: &$crate::json::Value) -> Result<(), $crate::json::Error> {
                const REQUIRED: &[&str] = &[$(stringify!($required)),*];
                *self = Self::blank();
                let Self { $($required,)* $($field,)* } = self;
                let names = concat!($(stringify!($required), " ",)* $(stringify!($field), " ",)*);
                $crate::json::read_fields(value, REQUIRED.len(), names, &mut [$($required,)* $($field,)*])
            }
        }
    };
}

/// Makes an enum whose variants have no fields one that is [read](crate::json::Read), by its variants' names in snake case:
/// `choices!(Name { One, Two })`, all of them.
#[macro_export]
macro_rules! choices {
    ($type:ident { $first:ident $(, $variant:ident)* $(,)? }) => {
        impl $crate::json::Read for $type {
            fn blank() -> Self {
                Self::$first
            }

            fn read(&mut self, value: &$crate::json::Value) -> Result<(), $crate::json::Error> {
                // The match is there to be refused where a variant is not listed.
                let all = [Self::$first $(, Self::$variant)*].map(|it| match it {
                    Self::$first $(| Self::$variant)* => it,
                });
                let number = $crate::json::choose(value, concat!(stringify!($first) $(, " ", stringify!($variant))*))?;
                *self = all.into_iter().nth(number).unwrap_or(Self::$first);
                Ok(())
            }
        }
    };
}

fn whole(value: &Value) -> Option<i128> {
    value.as_u64().map(i128::from).or_else(|| value.as_i64().map(i128::from))
}

macro_rules! numbers {
    ($($type:ident)+; $($float:ident)+) => {
        $(impl Read for $type {
            fn blank() -> Self {
                0
            }

            fn read(&mut self, value: &Value) -> Result<()> {
                let number = whole(value).and_then(|number| number.try_into().ok());
                *self = number.ok_or_else(|| Error::other(concat!("a whole number that fits ", stringify!($type)), value))?;
                Ok(())
            }
        })+
        $(impl Read for $float {
            fn blank() -> Self {
                0.0
            }

            fn read(&mut self, value: &Value) -> Result<()> {
                *self = value.as_f64().ok_or_else(|| Error::other("a number", value))? as $float;
                Ok(())
            }
        })+
    };
}

numbers! { i8 u32 u64 usize; f32 f64 }

impl Read for bool {
    fn blank() -> Self {
        false
    }

    fn read(&mut self, value: &Value) -> Result<()> {
        *self = value.as_bool().ok_or_else(|| Error::other("true or false", value))?;
        Ok(())
    }
}

impl Read for String {
    fn blank() -> Self {
        Self::new()
    }

    fn read(&mut self, value: &Value) -> Result<()> {
        let text = value.as_str().ok_or_else(|| Error::other("a text", value))?;
        *self = text.to_owned();
        Ok(())
    }
}

impl Read for Value {
    fn blank() -> Self {
        Self::Null
    }

    fn read(&mut self, value: &Value) -> Result<()> {
        self.clone_from(value);
        Ok(())
    }
}

impl<T: Read> Read for Option<T> {
    fn blank() -> Self {
        None
    }

    fn read(&mut self, value: &Value) -> Result<()> {
        *self = if value.is_null() { None } else { Some(from_value(value)?) };
        Ok(())
    }
}

impl<T: Read> Read for Vec<T> {
    fn blank() -> Self {
        Self::new()
    }

    fn read(&mut self, value: &Value) -> Result<()> {
        self.clear();
        for (number, value) in array(value)?.iter().enumerate() {
            let mut one = T::blank();
            one.read(value).map_err(|error| error.within(&number.to_string()))?;
            self.push(one);
        }
        Ok(())
    }
}

impl Read for BTreeSet<String> {
    fn blank() -> Self {
        Self::new()
    }

    fn read(&mut self, value: &Value) -> Result<()> {
        *self = from_value::<Vec<String>>(value)?.into_iter().collect();
        Ok(())
    }
}

impl<T: Read> Read for BTreeMap<String, T> {
    fn blank() -> Self {
        Self::new()
    }

    fn read(&mut self, value: &Value) -> Result<()> {
        self.clear();
        for (name, value) in object(value)? {
            let mut one = T::blank();
            one.read(value).map_err(|error| error.within(name))?;
            self.insert(name.clone(), one);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Choice {
        One,
        TwoWords,
    }

    choices!(Choice { One, TwoWords });

    #[derive(Debug, PartialEq)]
    struct Inner {
        count: u32,
        share: f32,
    }

    fields!(Inner { count; share } else Self { count: 0, share: 0.5 });

    #[derive(Debug, PartialEq, Default)]
    struct All {
        choices: Vec<Choice>,
        inner: Option<Inner>,
        names: BTreeMap<String, f64>,
        set: BTreeSet<String>,
        text: String,
        flag: bool,
        small: i8,
        any: Value,
    }

    fields!(All { choices, inner, names, set, text, flag, small, any });

    fn sound() -> Value {
        json!({
            "choices": ["two_words", "one"], "inner": { "count": 4294967295_u32 }, "names": { "a": 0.1, "b": -3 },
            "set": ["x", "y", "x"], "text": "words", "flag": true, "small": -128, "any": { "deep": [1, null] },
        })
    }

    #[test]
    fn reads_every_kind() {
        let all: All = from_slice(sound().to_string().as_bytes()).unwrap();
        let expected = All {
            choices: vec![Choice::TwoWords, Choice::One],
            inner: Some(Inner { count: u32::MAX, share: 0.5 }),
            names: [("a".to_owned(), 0.1), ("b".to_owned(), -3.0)].into(),
            set: ["x".to_owned(), "y".to_owned()].into(),
            text: "words".to_owned(),
            flag: true,
            small: -128,
            any: json!({ "deep": [1, null] }),
        };
        assert_eq!(all, expected);
        assert_eq!(from_value::<All>(&json!({})).unwrap(), All::default());
        assert_eq!(from_value::<All>(&json!({ "inner": null })).unwrap(), All::default());
    }

    #[test]
    fn what_was_there_before_is_gone() {
        let mut all: All = from_value(&sound()).unwrap();
        all.read(&json!({ "flag": true })).unwrap();
        assert_eq!(all, All { flag: true, ..All::default() });
        let mut names = all.names;
        names.read(&json!({ "b": 1 })).unwrap();
        names.read(&json!({ "a": 1 })).unwrap();
        assert_eq!(names.len(), 1);
    }

    #[test]
    fn refuses_what_is_something_else_and_says_where() {
        let others = [json!(null), json!(true), json!(128), json!(0.5), json!("none"), json!([[]]), json!({ "": [] })];
        // How many of these each field takes.
        let takes = [0, 1, 0, 0, 1, 1, 0, 7];
        for (field, takes) in ["choices", "inner", "names", "set", "text", "flag", "small", "any"].iter().zip(takes) {
            let taken = others.iter().filter(|other| {
                let mut changed = sound();
                changed[field] = (*other).clone();
                match from_value::<All>(&changed) {
                    Ok(_) => true,
                    Err(error) => {
                        assert!(error.to_string().contains(&format!(", at {field}")), "{error}");
                        false
                    }
                }
            });
            assert_eq!(taken.count(), takes, "{field}");
        }
        for (value, message) in [
            (json!([]), "expected a table, found a list"),
            (json!({ "flog": 1 }), "unknown field `flog`, expected one of `choices`, `inner`, `names`, `set`"),
            (json!({ "inner": { "cuont": 1 } }), "unknown field `cuont`, expected one of `count`, `share`, at inner"),
            (json!({ "inner": { "share": 1 } }), "missing field `count`, at inner"),
            (
                json!({ "inner": { "count": -1 } }),
                "expected a whole number that fits u32, found another number, at inner.count",
            ),
            (json!({ "inner": { "count": 4294967296_u64 } }), "at inner.count"),
            (
                json!({ "choices": ["one", "two"] }),
                "unknown variant `two`, expected one of `one`, `two_words`, at choices.1",
            ),
            (json!({ "names": { "a": "b" } }), "expected a number, found `b`, at names.a"),
        ] {
            let error = from_value::<All>(&value).unwrap_err().to_string();
            assert!(error.starts_with(message) || error.ends_with(message), "{error}");
        }
        assert!(from_slice::<All>(b"{").is_err());
    }

    #[test]
    fn variants_come_with_a_value_or_without() {
        assert_eq!(variant(&json!("one")).unwrap(), ("one", None));
        assert_eq!(variant(&json!({ "one": 2 })).unwrap(), ("one", Some(&json!(2))));
        for other in [json!(null), json!({}), json!({ "one": 1, "two": 2 }), json!(["one"])] {
            assert!(variant(&other).is_err(), "{other}");
        }
    }
}
