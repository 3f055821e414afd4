//! Reading values of JSON, in little code: a device's runtime has to carry what reads an artifact's manifest.
//!
//! `serde_json` can read each type in several ways: out of text or out of a value, a struct out of a map or out of a list, a field's name out of
//! a text, bytes or a number. What is never used of these is compiled for each type all the same, and was a quarter of the runtime. Here text becomes
//! a value first, which is one type, and of a value each kind is read in one way.

use serde::de::value::StrDeserializer;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error as _, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};
use serde_json::{Error, Value};

type Result<T> = std::result::Result<T, Error>;

/// Reads a type out of text.
///
/// # Errors
/// Text that is no JSON, or not of the type.
pub fn from_slice<T: for<'a> Deserialize<'a>>(text: &[u8]) -> Result<T> {
    from_value(&serde_json::from_slice(text)?)
}

/// Reads a type out of a value.
///
/// # Errors
/// A value that is not of the type.
pub fn from_value<'a, T: Deserialize<'a>>(value: &'a Value) -> Result<T> {
    T::deserialize(Reader(value))
}

/// A value to be read.
#[derive(Clone, Copy)]
struct Reader<'a>(&'a Value);

impl Reader<'_> {
    fn wrong<'a, V: Visitor<'a>>(self, visitor: &V) -> Error {
        let found = match self.0 {
            Value::Null => Unexpected::Unit,
            Value::Bool(bool) => Unexpected::Bool(*bool),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(number), ..) => Unexpected::Unsigned(number),
                (_, Some(number), _) => Unexpected::Signed(number),
                (.., number) => Unexpected::Float(number.unwrap_or(f64::NAN)),
            },
            Value::String(text) => Unexpected::Str(text),
            Value::Array(_) => Unexpected::Seq,
            Value::Object(_) => Unexpected::Map,
        };
        Error::invalid_type(found, visitor)
    }
}

macro_rules! numbers {
    ($($method:ident)+) => {
        $(fn $method<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value> {
            let Value::Number(number) = self.0 else { return Err(self.wrong(&visitor)) };
            match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(number), ..) => visitor.visit_u64(number),
                (_, Some(number), _) => visitor.visit_i64(number),
                (.., Some(number)) => visitor.visit_f64(number),
                _ => Err(self.wrong(&visitor)),
            }
        })+
    };
}

macro_rules! as_other {
    ($($method:ident($($name:ident: $kind:ty),*) = $other:ident)+) => {
        $(fn $method<V: Visitor<'a>>(self, $($name: $kind,)* visitor: V) -> Result<V::Value> {
            $(let _ = $name;)*
            self.$other(visitor)
        })+
    };
}

impl<'a> Deserializer<'a> for Reader<'a> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(bool) => visitor.visit_bool(*bool),
            Value::Number(_) => self.deserialize_u64(visitor),
            Value::String(text) => visitor.visit_str(text),
            Value::Array(_) => self.deserialize_seq(visitor),
            Value::Object(_) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value> {
        if let Value::Bool(bool) = self.0 { visitor.visit_bool(*bool) } else { Err(self.wrong(&visitor)) }
    }

    numbers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
        deserialize_f32 deserialize_f64
    }

    fn deserialize_str<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value> {
        if let Value::String(text) = self.0 { visitor.visit_str(text) } else { Err(self.wrong(&visitor)) }
    }

    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_unit<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value> {
        if self.0.is_null() { visitor.visit_unit() } else { Err(self.wrong(&visitor)) }
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(self, _: &'static str, visitor: V) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value> {
        let Value::Array(values) = self.0 else { return Err(self.wrong(&visitor)) };
        let mut list = List(values.iter());
        let read = visitor.visit_seq(&mut list)?;
        match list.0.len() {
            0 => Ok(read),
            _ => Err(Error::invalid_length(values.len(), &"fewer values")),
        }
    }

    fn deserialize_map<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value> {
        let Value::Object(fields) = self.0 else { return Err(self.wrong(&visitor)) };
        visitor.visit_map(Fields { left: fields.iter(), value: &Value::Null })
    }

    fn deserialize_enum<V: Visitor<'a>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        match self.0 {
            Value::String(name) => visitor.visit_enum(Variant { name, value: &Value::Null }),
            Value::Object(fields) if fields.len() == 1 => match fields.iter().next() {
                Some((name, value)) => visitor.visit_enum(Variant { name, value }),
                None => Err(self.wrong(&visitor)),
            },
            _ => Err(self.wrong(&visitor)),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_unit()
    }

    as_other! {
        deserialize_char() = deserialize_str
        deserialize_string() = deserialize_str
        deserialize_identifier() = deserialize_str
        deserialize_bytes() = deserialize_str
        deserialize_byte_buf() = deserialize_str
        deserialize_unit_struct(name: &'static str) = deserialize_unit
        deserialize_tuple(length: usize) = deserialize_seq
        deserialize_tuple_struct(name: &'static str, length: usize) = deserialize_seq
        deserialize_struct(name: &'static str, fields: &'static [&'static str]) = deserialize_map
    }
}

/// What is left of a list.
struct List<'a>(std::slice::Iter<'a, Value>);

impl<'a> SeqAccess<'a> for &mut List<'a> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'a>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        self.0.next().map(|value| seed.deserialize(Reader(value))).transpose()
    }
}

/// What is left of an object, and the value of the field whose name was read last.
struct Fields<'a> {
    left: serde_json::map::Iter<'a>,
    value: &'a Value,
}

impl<'a> MapAccess<'a> for Fields<'a> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'a>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        let Some((name, value)) = self.left.next() else { return Ok(None) };
        self.value = value;
        seed.deserialize(StrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'a>>(&mut self, seed: T) -> Result<T::Value> {
        seed.deserialize(Reader(self.value))
    }
}

/// A variant by its name, with what belongs to it.
struct Variant<'a> {
    name: &'a str,
    value: &'a Value,
}

impl<'a> EnumAccess<'a> for Variant<'a> {
    type Error = Error;
    type Variant = Reader<'a>;

    fn variant_seed<T: DeserializeSeed<'a>>(self, seed: T) -> Result<(T::Value, Reader<'a>)> {
        Ok((seed.deserialize(StrDeserializer::<Error>::new(self.name))?, Reader(self.value)))
    }
}

impl<'a> VariantAccess<'a> for Reader<'a> {
    type Error = Error;

    fn unit_variant(self) -> Result<()> {
        if self.0.is_null() { Ok(()) } else { Err(Error::custom("a variant that has no fields was given some")) }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'a>>(self, seed: T) -> Result<T::Value> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'a>>(self, _: usize, visitor: V) -> Result<V::Value> {
        self.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'a>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value> {
        self.deserialize_map(visitor)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;
    use std::collections::{BTreeMap, BTreeSet};
    use std::fmt::Debug;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Choice {
        None,
        Many(u32),
        Named { low: i32, high: f32 },
        Pair(u8, bool),
    }

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(transparent)]
    struct Wrapped(u64);

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct All {
        choices: Vec<Choice>,
        #[serde(default)]
        text: Option<String>,
        names: BTreeMap<String, Vec<f64>>,
        set: BTreeSet<String>,
        wrapped: Wrapped,
        any: Value,
        pair: (i64, bool),
    }

    /// It reads what `serde_json` reads, and refuses what that refuses.
    fn same<T: for<'a> Deserialize<'a> + PartialEq + Debug>(value: &Value) {
        let (found, expected) = (from_value::<T>(value), serde_json::from_value::<T>(value.clone()));
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{value}"),
            (Err(found), Err(expected)) => assert!(!found.to_string().is_empty(), "{value}: {found} {expected}"),
            (found, expected) => panic!("{value}: {found:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn reads_what_serde_json_reads() {
        let sound = json!({
            "choices": ["none", { "many": 7 }, { "named": { "low": -3, "high": 0.1 } }, { "pair": [1, true] }],
            "text": null, "names": { "a": [1, -2.5, 1e300] }, "set": ["x", "y"], "wrapped": 18446744073709551615_u64,
            "any": { "deep": [1, "two", null, false, 0.5] }, "pair": [-9, false],
        });
        assert_eq!(from_value::<All>(&sound).unwrap().choices[1], Choice::Many(7));
        same::<All>(&sound);
        assert_eq!(from_slice::<Value>(sound.to_string().as_bytes()).unwrap(), sound);
        // Every part in turn exchanged for something else, or gone.
        let others =
            [json!(null), json!(true), json!(-1), json!(0.5), json!("none"), json!([]), json!([1, 2, 3]), json!({})];
        for field in sound.as_object().unwrap().keys() {
            for other in &others {
                let mut changed = sound.clone();
                changed[field] = other.clone();
                same::<All>(&changed);
            }
            let mut gone = sound.clone();
            gone.as_object_mut().unwrap().remove(field);
            same::<All>(&gone);
        }
        let mut more = sound;
        more["more"] = json!(1);
        assert!(from_value::<All>(&more).unwrap_err().to_string().contains("unknown field `more`"));
        for other in &others {
            same::<Choice>(other);
            for name in ["none", "many", "named", "pair", "other"] {
                same::<Choice>(&json!({ name: other }));
            }
        }
    }

    #[test]
    fn a_struct_is_no_list() {
        assert!(from_value::<Wrapped>(&json!([1])).is_err());
        assert!(from_value::<All>(&json!([[], null, {}, [], 1, 1, [1, true]])).is_err());
        assert!(from_slice::<All>(b"{").is_err());
    }
}
