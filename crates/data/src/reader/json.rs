//! JSON files: an object a line, or objects one after the other, in an array or not. Objects become rows of columns of text and of
//! lists of texts; members of objects within them are columns with dots in their names.

use super::bad_rows::BadRows;
use super::lines::Lines;
use super::{CHUNK_BYTES, CHUNK_ROWS, slots};
use crate::chunk::{self, Chunk};
use crate::config::{Encoding, Source};
use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use hashbrown::{HashMap, HashSet};
use kitestring_core::error::{Error, Result, shown};
use serde::de::{self, Deserialize, Deserializer, MapAccess};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// The first rows, whose members are the columns.
const LOOKED_AT: usize = 10_000;

/// The most columns, and the deepest objects: past them a file is no table.
const MOST_COLUMNS: usize = 10_000;
const DEEPEST: usize = 32;

/// How to make rows of what is none.
const REMEDY: &str =
    "write an object a line: in pandas `to_json(orient=\"records\", lines=True)`, with jq `jq -c '.[]'`";

/// A column of the first rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub name: String,
    pub holds: Holds,
}

/// What the values of a column are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holds {
    Scalars,
    Lists,
    /// Lists of objects or of lists, which cannot be columns.
    Nested,
}

/// The members of an object in their order, with the text of each value.
struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        #[derive(serde::Deserialize)]
        struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Object<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
                    members.push((name, value));
                }
                Ok(Object(members))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

/// A value of a row.
enum Value<'a> {
    Missing,
    Text(Cow<'a, str>),
    List(Vec<Option<Cow<'a, str>>>),
    /// A list of objects or lists.
    Nested,
}

/// Gives each member of an object, and of the objects within it, by its name; `within` says of which objects they are wanted.
fn members<'a>(
    object: Object<'a>,
    (prefix, depth): (&str, usize),
    within: &dyn Fn(&str) -> bool,
    give: &mut dyn FnMut(Cow<'_, str>, &'a RawValue) -> Result<()>,
) -> Result<()> {
    for (name, value) in object.0 {
        let name = if prefix.is_empty() { name } else { Cow::Owned(format!("{prefix}.{name}")) };
        if !value.get().starts_with('{') {
            give(name, value)?;
        } else if within(&name) {
            if depth == DEEPEST {
                return Err(Error::data(format!("objects lie deeper than {DEEPEST} within each other")));
            }
            members(parse(value.get())?, (&name, depth + 1), within, give)?;
        }
    }
    Ok(())
}

fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T> {
    serde_json::from_str(text).map_err(|cause| {
        let begin = shown(text.trim(), 40).into_owned();
        let what = match cause.is_data() {
            true => format!("expected an object, found `{begin}`"),
            false => format!("this is not JSON: `{begin}`"),
        };
        Error::data(what).caused_by(cause)
    })
}

/// A value by its text. Numbers keep their digits, for they may be ids.
fn value(raw: &RawValue) -> Result<Value<'_>> {
    let text = raw.get();
    Ok(match text.as_bytes().first() {
        Some(b'n') | None => Value::Missing,
        Some(b'"') => Value::Text(parse::<Borrowed<'_>>(text)?.0),
        Some(b'[') => {
            let mut list = Vec::new();
            for element in parse::<Vec<&RawValue>>(text)? {
                match value(element)? {
                    Value::Missing => list.push(None),
                    Value::Text(text) => list.push(Some(text)),
                    Value::List(_) | Value::Nested => return Ok(Value::Nested),
                }
            }
            Value::List(list)
        }
        Some(b'{') => Value::Nested,
        Some(b't' | b'f') => Value::Text(Cow::Borrowed(text)),
        Some(_) => Value::Text(number(text)),
    })
}

#[derive(serde::Deserialize)]
struct Borrowed<'a>(#[serde(borrow)] Cow<'a, str>);

/// The text of a number, as that of the same number in a column of type: `5.0` and `5e0` are `5`.
fn number(text: &str) -> Cow<'_, str> {
    if !text.contains(['.', 'e', 'E']) {
        return Cow::Borrowed(text);
    }
    match text.parse::<f64>() {
        Ok(value) if value.fract() == 0.0 && value.abs() < 9e15 => Cow::Owned((value as i64).to_string()),
        _ => Cow::Borrowed(text),
    }
}

/// The objects of a file, one after the other.
struct Objects {
    lines: Lines,
    encoding: Encoding,
    /// Whether each object is a line; else they follow each other, perhaps in an array.
    by_line: bool,
    /// Whether an array was opened, and not yet closed.
    in_array: bool,
}

/// The text of an object: its length in bytes, and in lines.
#[derive(Clone, Copy)]
struct Extent {
    bytes: usize,
    lines: u64,
}

impl Objects {
    fn open(path: &Path, source: &Source) -> Result<Self> {
        let mut lines = Lines::open(path)?;
        let mut in_array = false;
        // What the first line is tells how the file is written.
        let by_line = loop {
            let Some(length) = lines.length()? else { break true };
            let line = lines.rest().get(..length.text).unwrap_or_default().trim_ascii();
            if line.is_empty() {
                lines.consume(length.all, 1);
                continue;
            }
            in_array = line.starts_with(b"[");
            if !in_array && !line.starts_with(b"{") {
                let begin = shown(&String::from_utf8_lossy(line.get(..200).unwrap_or(line)), 40).into_owned();
                return Err(Error::data(format!("expected JSON objects, found `{begin}`"))
                    .in_file(&*lines.file)
                    .at_line(lines.number)
                    .mend(REMEDY));
            }
            let begun = serde_json::from_slice::<de::IgnoredAny>(line).err().is_some_and(|cause| cause.is_eof());
            break !in_array && !begun;
        };
        let mut objects = Self { lines, encoding: source.encoding, by_line, in_array };
        if objects.in_array {
            let start = objects.lines.rest().iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            objects.lines.consume(start + 1, 0);
        }
        Ok(objects)
    }

    /// The extent of the next object, at the start of what is left to read; `None` at the end of the file.
    fn next(&mut self) -> Result<Option<Extent>> {
        if self.by_line {
            while let Some(length) = self.lines.length()? {
                let line = self.lines.rest().get(..length.text).unwrap_or_default();
                if !line.trim_ascii().is_empty() {
                    return Ok(Some(Extent { bytes: length.all, lines: 1 }));
                }
                self.lines.consume(length.all, 1);
            }
            return Ok(None);
        }
        loop {
            match self.lines.rest().first().copied() {
                None if self.lines.more()? => {}
                None if self.in_array => return Err(self.wrong("the array is not closed", "fetch the file again")),
                None => return Ok(None),
                Some(b'\n') => self.lines.consume(1, 1),
                Some(b'{') => return self.extent().map(Some),
                Some(b']') if self.in_array => {
                    self.in_array = false;
                    self.lines.consume(1, 0);
                }
                Some(byte) if byte.is_ascii_whitespace() || (byte == b',' && self.in_array) => self.lines.consume(1, 0),
                Some(_) => return Err(self.wrong("expected an object", REMEDY)),
            }
        }
    }

    /// Where the object ends that starts here: at the brace that closes its first one, outside of texts.
    fn extent(&mut self) -> Result<Extent> {
        let (mut at, mut depth, mut in_text, mut lines) = (0, 0usize, false, 0);
        loop {
            while let Some(byte) = self.lines.rest().get(at) {
                at += 1;
                match byte {
                    b'\n' => lines += 1,
                    b'\\' if in_text => at += 1,
                    b'"' => in_text = !in_text,
                    b'{' if !in_text => depth += 1,
                    b'}' if !in_text => depth -= 1,
                    _ => {}
                }
                if depth == 0 {
                    return Ok(Extent { bytes: at, lines });
                }
            }
            if !self.lines.more()? {
                return Err(self.wrong("the last object is not closed", "fetch the file again"));
            }
        }
    }

    fn wrong(&self, what: &str, remedy: &str) -> Error {
        Error::format(what).in_file(&*self.lines.file).at_line(self.lines.number).mend(remedy)
    }

    fn text(&self, extent: Extent) -> Result<Cow<'_, str>> {
        let bytes = self.lines.rest().get(..extent.bytes).unwrap_or_default();
        let text = match self.encoding.utf8(bytes) {
            Cow::Borrowed(bytes) => std::str::from_utf8(bytes).map(Cow::Borrowed).ok(),
            Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).ok(),
        };
        text.ok_or_else(|| {
            let begin = shown(&String::from_utf8_lossy(bytes.get(..200).unwrap_or(bytes)), 40).into_owned();
            Error::data(format!("`{begin}` is not UTF-8")).mend("set encoding = \"latin-1\" if it is that")
        })
    }
}

/// The columns of a file: the members of its first rows, and those that its source names.
pub(crate) fn columns(path: &Path, source: &Source) -> Result<Vec<Member>> {
    let mut objects = Objects::open(path, source)?;
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut found: Vec<Member> = Vec::new();
    let mut rows = 0;
    let mut wrong = None;
    while rows < LOOKED_AT
        && let Some(extent) = objects.next()?
    {
        // Rows that are malformed are reported when they are read.
        let looked = objects.text(extent).and_then(|text| {
            members(parse(&text)?, ("", 0), &|_| true, &mut |name, raw| {
                let holds = match value(raw)? {
                    Value::Missing | Value::Text(_) => Holds::Scalars,
                    Value::List(_) => Holds::Lists,
                    Value::Nested => Holds::Nested,
                };
                match places.get(&*name) {
                    None => {
                        places.insert(name.to_string(), found.len());
                        found.push(Member { name: name.into_owned(), holds });
                    }
                    Some(place) => match (&mut found[*place].holds, holds) {
                        (known @ Holds::Scalars, new) => *known = new,
                        (known, Holds::Nested) => *known = Holds::Nested,
                        _ => {}
                    },
                }
                Ok(())
            })
        });
        if let Err(error) = looked {
            wrong.get_or_insert(error.in_file(&*objects.lines.file).at_line(objects.lines.number));
        }
        rows += 1;
        if found.len() > MOST_COLUMNS {
            let what = format!("the objects have more than {MOST_COLUMNS} different members, so they are no rows");
            return Err(Error::data(what).in_file(&*objects.lines.file).mend(REMEDY));
        }
        objects.lines.consume(extent.bytes, extent.lines);
    }
    // `{"user": {"0": 1, "1": 2}, …}` is a table by columns, which pandas writes where it is not told otherwise.
    let numbered = |member: &Member| member.name.rsplit_once('.').is_some_and(|(_, row)| row.parse::<u32>().is_ok());
    if rows == 1 && found.len() >= 2 && found.iter().all(numbered) {
        let what = "the file is one object of columns, not an object a row";
        return Err(Error::data(what).in_file(&*objects.lines.file).mend(REMEDY));
    }
    if let Some(error) = wrong.filter(|_| found.is_empty()) {
        return Err(error);
    }
    if rows == 0 {
        return Err(Error::data("the file is empty; JSON objects were expected").in_file(&*objects.lines.file));
    }
    let named = source.columns.iter().flatten().filter(|name| !places.contains_key(*name));
    let named: Vec<Member> = named.map(|name| Member { name: name.clone(), holds: Holds::Scalars }).collect();
    found.extend(named);
    Ok(found)
}

/// A wanted column.
struct Wanted {
    name: String,
    holds: Holds,
    missing: Vec<String>,
}

enum Column {
    Texts(StringBuilder),
    Lists(ListBuilder<StringBuilder>),
}

/// The rows of one JSON file.
pub(super) struct JsonReader {
    objects: Objects,
    wanted: Vec<Wanted>,
    places: HashMap<String, usize>,
    /// The objects of which members are wanted.
    within: HashSet<String>,
    schema: SchemaRef,
    bad: BadRows,
}

impl JsonReader {
    /// Opens a file for its wanted columns; those that hold lists in the `first` file do in this one.
    pub fn open(path: &Path, source: &Source, wanted: &[String], first: &[Member], bad: &BadRows) -> Result<Self> {
        let mut found = columns(path, source)?;
        for member in first {
            match found.iter_mut().find(|other| other.name == member.name) {
                Some(other) if other.holds == Holds::Scalars => other.holds = member.holds,
                Some(_) => {}
                // A member that no row has is missing in all.
                None => found.push(member.clone()),
            }
        }
        let file = path.display().to_string();
        let names: Vec<String> = found.iter().map(|member| member.name.clone()).collect();
        let mut columns = Vec::with_capacity(wanted.len());
        for (name, slot) in wanted.iter().zip(slots(&names, wanted, &file)?) {
            let holds = found[slot].holds;
            if holds == Holds::Nested {
                return Err(Error::data("the column holds lists of objects or of lists")
                    .in_file(file)
                    .in_field(name)
                    .mend("write the rows with lists of plain values"));
            }
            let texts = |name: &str| source.missing.get(name).into_iter().flatten().cloned();
            columns.push(Wanted { name: name.clone(), holds, missing: texts(name).chain(texts("*")).collect() });
        }
        let field = |column: &Wanted| match column.holds {
            Holds::Lists => {
                let inner = Arc::new(Field::new("item", DataType::Utf8, true));
                Field::new(&column.name, DataType::List(inner), true)
            }
            _ => Field::new(&column.name, DataType::Utf8, true),
        };
        let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
        let places = columns.iter().enumerate().map(|(place, column)| (column.name.clone(), place)).collect();
        let dots = columns.iter().flat_map(|column| column.name.match_indices('.').map(|(at, _)| &column.name[..at]));
        let within = dots.map(str::to_owned).collect();
        let objects = Objects::open(path, source)?;
        Ok(Self { objects, wanted: columns, places, within, schema, bad: bad.clone() })
    }

    /// The next rows; `None` at the end of the file.
    pub fn next_chunk(&mut self) -> Result<Option<Chunk>> {
        let mut columns: Vec<Column> = self.wanted.iter().map(|column| Column::new(column.holds)).collect();
        let mut numbers = Vec::new();
        let mut bytes = 0;
        while numbers.len() < CHUNK_ROWS
            && bytes < CHUNK_BYTES
            && let Some(extent) = self.objects.next()?
        {
            let number = self.objects.lines.number;
            let text = self.objects.text(extent);
            match text.and_then(|text| self.row(&text, &mut columns)) {
                Ok(()) => numbers.push(number),
                Err(error) => self.bad.tolerate(error.in_file(&*self.objects.lines.file).at_line(number))?,
            }
            bytes += extent.bytes;
            self.objects.lines.consume(extent.bytes, extent.lines);
        }
        // Rows that were all dropped are no end of the file.
        if bytes == 0 {
            return Ok(None);
        }
        let arrays = columns.into_iter().map(Column::finish).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(numbers.len()));
        let rows = RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options);
        let rows = rows.map_err(|cause| Error::internal("the columns differ in length").caused_by(cause))?;
        let lines = chunk::Lines::Each(numbers.into());
        Ok(Some(Chunk { rows, file: self.objects.lines.file.clone(), lines }))
    }

    /// Appends a row to the columns, all or nothing.
    fn row(&self, text: &str, columns: &mut [Column]) -> Result<()> {
        let mut row: Vec<Option<Value<'_>>> = self.wanted.iter().map(|_| None).collect();
        members(parse(text)?, ("", 0), &|name| self.within.contains(name), &mut |name, raw| {
            let Some(place) = self.places.get(&*name) else { return Ok(()) };
            if row[*place].is_some() {
                return Err(Error::data("the member is there twice").in_field(name));
            }
            let value = value(raw).map_err(|error| error.in_field(&*name))?;
            row[*place] = Some(self.wanted[*place].take(value)?);
            Ok(())
        })?;
        for (column, value) in columns.iter_mut().zip(row) {
            column.push(value.unwrap_or(Value::Missing));
        }
        Ok(())
    }
}

impl Wanted {
    /// A value as the column holds it.
    fn take<'a>(&self, value: Value<'a>) -> Result<Value<'a>> {
        match (value, self.holds) {
            (Value::Text(text), _) if self.missing.iter().any(|missing| *missing == text) => Ok(Value::Missing),
            (Value::Text(text), Holds::Lists) => Ok(Value::List(vec![Some(text)])),
            (Value::List(list), Holds::Scalars) if list.is_empty() => Ok(Value::Missing),
            (Value::List(_), Holds::Scalars) => {
                let what = format!("expected one value as in the first {LOOKED_AT} rows, found a list");
                Err(Error::data(what).in_field(&self.name))
            }
            (Value::Nested, _) => Err(Error::data("expected a value, found a list of objects").in_field(&self.name)),
            (value, _) => Ok(value),
        }
    }
}

impl Column {
    fn new(holds: Holds) -> Self {
        match holds {
            Holds::Lists => Self::Lists(ListBuilder::new(StringBuilder::new())),
            _ => Self::Texts(StringBuilder::new()),
        }
    }

    fn push(&mut self, value: Value<'_>) {
        match (self, value) {
            (Self::Texts(texts), Value::Text(text)) => texts.append_value(text),
            (Self::Texts(texts), _) => texts.append_null(),
            (Self::Lists(lists), Value::List(list)) => {
                list.iter().for_each(|text| lists.values().append_option(text.as_deref()));
                lists.append(true);
            }
            (Self::Lists(lists), _) => lists.append(false),
        }
    }

    fn finish(self) -> ArrayRef {
        match self {
            Self::Texts(mut texts) => Arc::new(texts.finish()),
            Self::Lists(mut lists) => Arc::new(lists.finish()),
        }
    }
}

#[cfg(test)]
mod tests;
