//! Text files: lines of separated fields become columns of text.

use super::bad_rows::BadRows;
use super::lines::{Length, Lines};
use super::record::{Quoted, Syntax};
use super::{CHUNK_BYTES, CHUNK_ROWS, slots, unknown};
use crate::chunk::{self, Chunk};
use crate::config::Source;
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, StringArray};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use kitestring_core::error::{Error, Result, shown};
use std::path::Path;
use std::sync::Arc;

/// The longest record in quotes: a quote that is never closed must not swallow the file.
const LONGEST_QUOTED: usize = 4 << 20;

/// The rows of one text file.
pub(super) struct TextReader {
    lines: Lines,
    syntax: Syntax,
    /// All columns of the file.
    names: Vec<String>,
    /// Which of the wanted columns a field is.
    slots: Vec<Option<usize>>,
    columns: Vec<Column>,
    schema: SchemaRef,
    /// For each wanted column the texts that mean "no value".
    missing: Vec<Vec<String>>,
    /// For each wanted column whether its numbers have a comma for a point.
    comma: Vec<bool>,
    /// Whether lines may end before the last columns.
    short_rows: bool,
    /// Whether the last column repeats.
    repeat: bool,
    /// The line of such a file that the last chunk took a part of.
    begun: Option<Begun>,
    bad: BadRows,
}

/// A line of many values of which some were taken.
#[derive(Clone, Copy)]
struct Begun {
    length: Length,
    /// Where the next value starts.
    at: usize,
}

/// One column under construction.
#[derive(Default)]
struct Column {
    values: Vec<u8>,
    offsets: Vec<i32>,
}

impl Column {
    fn with_capacity(bytes: usize) -> Self {
        let mut offsets = Vec::with_capacity(CHUNK_ROWS + 1);
        offsets.push(0);
        Self { values: Vec::with_capacity(bytes), offsets }
    }

    #[inline]
    fn push(&mut self, bytes: &[u8]) {
        self.values.extend_from_slice(bytes);
        // A chunk is far smaller than 2 GiB: see `CHUNK_BYTES` and the longest line.
        self.offsets.push(self.values.len() as i32);
    }

    /// Forgets all but the first rows.
    fn truncate(&mut self, rows: usize) {
        self.offsets.truncate(rows + 1);
        let end = self.offsets.last().copied().unwrap_or(0);
        self.values.truncate(end as usize);
    }

    fn value(&self, row: usize) -> &[u8] {
        &self.values[self.offsets[row] as usize..self.offsets[row + 1] as usize]
    }
}

/// The columns of a text file and its lines after the header.
fn start(path: &Path, source: &Source) -> Result<(Lines, Syntax, Vec<String>)> {
    let mut lines = Lines::open(path)?;
    let said = lines.excel_separator()?;
    let syntax = Syntax::new(source, path, said.as_deref())?;
    let has_header = source.header.unwrap_or(source.columns.is_none());
    let found = if has_header { Some(header(&mut lines, &syntax)?) } else { None };
    let names = match (&source.columns, found) {
        (None, found) => found.ok_or_else(|| {
            Error::config("a file without a header needs `columns`").in_file(&*lines.file).in_field("columns")
        })?,
        (Some(given), Some(found)) if given.len() != found.len() => {
            let what = format!("the header has {} columns, `columns` names {}", found.len(), given.len());
            return Err(Error::data(what).in_file(&*lines.file).at_line(1));
        }
        (Some(given), _) => given.clone(),
    };
    Ok((lines, syntax, names))
}

/// The names of the columns.
pub(super) fn columns(path: &Path, source: &Source) -> Result<Vec<String>> {
    Ok(start(path, source)?.2)
}

/// Reads the header line.
fn header(lines: &mut Lines, syntax: &Syntax) -> Result<Vec<String>> {
    loop {
        let Some(length) = lines.length()? else {
            return Err(Error::data("the file is empty; a header line was expected").in_file(&*lines.file));
        };
        let line = &lines.rest()[..length.text];
        if syntax.skips(line) {
            lines.consume(length.all, 1);
            continue;
        }
        let mut names: Vec<Vec<u8>> = Vec::new();
        match syntax.quote.filter(|quote| memchr::memchr(*quote, line).is_some()) {
            None => {
                syntax.plain(line, |_, field| names.push(field.to_vec()));
            }
            Some(quote) => {
                let line = [line, b"\n"].concat();
                let (_, end) = syntax.quoted(&line, quote, |_, field| names.push(field.to_vec()));
                if !matches!(end, Quoted::Complete { .. }) {
                    let error = Error::data("the header's quotes are not closed").in_file(&*lines.file);
                    return Err(error.at_line(lines.number).mend("set quote = \"\" if quotes are letters here"));
                }
            }
        }
        let names = names.iter().map(|name| String::from_utf8(syntax.encoding.utf8(name).into_owned()));
        let names = names.collect::<Result<_, _>>().map_err(|_| {
            Error::data("the header is not UTF-8")
                .in_file(&*lines.file)
                .at_line(lines.number)
                .mend("set encoding = \"latin-1\" if it is that")
        })?;
        lines.consume(length.all, 1);
        return Ok(names);
    }
}

impl TextReader {
    /// Opens a file for its wanted columns.
    pub fn open(path: &Path, source: &Source, wanted: &[String], bad: &BadRows) -> Result<Self> {
        let (lines, syntax, names) = start(path, source)?;
        let mut places = vec![None; names.len()];
        for (place, column) in slots(&names, wanted, &lines.file)?.into_iter().enumerate() {
            places[column] = Some(place);
        }
        let fields: Vec<Field> = wanted.iter().map(|name| Field::new(name, DataType::Utf8, true)).collect();
        let columns = wanted.iter().map(|_| Column::with_capacity(0)).collect();
        let schema = Arc::new(Schema::new(fields));
        let texts = |name: &str| source.missing.get(name).into_iter().flatten().cloned();
        let missing = wanted.iter().map(|name| texts(name).chain(texts("*")).collect()).collect();
        if let Some(name) = source.decimal_comma.iter().find(|name| !names.contains(name)) {
            return Err(unknown(name, &names, &lines.file));
        }
        let comma = wanted.iter().map(|name| source.decimal_comma.contains(name)).collect();
        let (repeat, short_rows, bad) = (source.repeat, source.short_rows, bad.clone());
        let begun = None;
        Ok(Self {
            lines,
            syntax,
            names,
            slots: places,
            columns,
            schema,
            missing,
            comma,
            short_rows,
            repeat,
            begun,
            bad,
        })
    }

    /// The next rows; `None` at the end of the file.
    pub fn next_chunk(&mut self) -> Result<Option<Chunk>> {
        let mut numbers = Numbers::default();
        let mut bytes = 0;
        while numbers.count < CHUNK_ROWS && bytes < CHUNK_BYTES {
            if let Some(begun) = self.begun.take() {
                bytes += self.repeated(begun, &mut numbers, CHUNK_BYTES - bytes)?;
                continue;
            }
            let Some(length) = self.lines.length()? else { break };
            let line = &self.lines.rest()[..length.text];
            if self.syntax.skips(line) {
                self.lines.consume(length.all, 1);
                continue;
            }
            if self.repeat {
                self.begin(length, &numbers)?;
                continue;
            }
            let has_quote = |quote: &u8| memchr::memchr(*quote, line).is_some();
            if let Some(quote) = self.syntax.quote.filter(has_quote) {
                bytes += self.quoted(quote, &mut numbers)?;
                continue;
            }
            let found = self.syntax.plain(line, store(&self.slots, &mut self.columns, &self.syntax));
            if found == self.names.len() || self.fills(found) {
                self.fill(numbers.count + 1);
                numbers.push(self.lines.number);
            } else {
                let error = self.wrong_count(found, line, &self.names.len().to_string());
                self.drop_row(error, &numbers)?;
            }
            bytes += length.all;
            self.lines.consume(length.all, 1);
        }
        if numbers.count == 0 { Ok(None) } else { self.finish(numbers).map(Some) }
    }

    /// Begins a line whose last column repeats.
    fn begin(&mut self, length: Length, numbers: &Numbers) -> Result<()> {
        let line = &self.lines.rest()[..length.text];
        let before = self.names.len() - 1;
        let (mut found, mut next) = (0, Some(0));
        while let Some(start) = next.filter(|_| found < before) {
            next = self.syntax.field(line, start).1;
            found += 1;
        }
        if found < before {
            let error = self.wrong_count(found, line, &format!("at least {before}"));
            self.drop_row(error, numbers)?;
        }
        match next {
            Some(at) if found == before => self.begun = Some(Begun { length, at }),
            // There are no values.
            _ => self.lines.consume(length.all, 1),
        }
        Ok(())
    }

    /// Takes a row for each value of a line from a place in it, until the chunk is full. Gives their bytes: a row's are
    /// counted with what it shares with the others of its line, for so it is stored.
    fn repeated(&mut self, Begun { length, at }: Begun, numbers: &mut Numbers, most: usize) -> Result<usize> {
        let Self { lines, syntax, slots, columns, .. } = self;
        let line = &lines.rest()[..length.text];
        let mut shared = Vec::with_capacity(slots.len());
        let mut next = Some(0);
        while let Some(start) = next.filter(|_| shared.len() + 1 < slots.len()) {
            let (field, after) = syntax.field(line, start);
            shared.push(syntax.encoding.utf8(field));
            next = after;
        }
        let shared_bytes: usize = shared.iter().map(|field| field.len()).sum();
        let mut bytes = 0;
        let mut next = Some(at);
        while let Some(start) = next {
            if numbers.count == CHUNK_ROWS || bytes >= most {
                self.begun = Some(Begun { length, at: start });
                return Ok(bytes);
            }
            let (value, after) = syntax.field(line, start);
            next = after;
            if value.is_empty() {
                continue;
            }
            let value = syntax.encoding.utf8(value);
            for (field, slot) in shared.iter().chain([&value]).zip(slots.iter()) {
                if let Some(slot) = slot {
                    columns[*slot].push(field);
                }
            }
            numbers.push(lines.number);
            bytes += shared_bytes + value.len();
        }
        self.lines.consume(length.all, 1);
        Ok(bytes)
    }

    /// Reads a record with quotes. Gives its length in bytes.
    #[cold]
    fn quoted(&mut self, quote: u8, numbers: &mut Numbers) -> Result<usize> {
        loop {
            let rest = self.lines.rest();
            let (found, end) = self.syntax.quoted(rest, quote, store(&self.slots, &mut self.columns, &self.syntax));
            match end {
                Quoted::Complete { bytes, lines } => {
                    if found == self.names.len() || self.fills(found) {
                        self.fill(numbers.count + 1);
                        numbers.push(self.lines.number);
                    } else {
                        let error = self.wrong_count(found, &rest[..bytes.min(200)], &self.names.len().to_string());
                        self.drop_row(error, numbers)?;
                    }
                    self.lines.consume(bytes, lines);
                    return Ok(bytes);
                }
                Quoted::Unfinished if rest.len() <= LONGEST_QUOTED => {
                    self.columns.iter_mut().for_each(|column| column.truncate(numbers.count));
                    // At the end of the file a line end is all that may be missing.
                    if !self.lines.more()? && !self.lines.end_line() {
                        return self.skip_line(Error::data("a quote is opened and never closed"), numbers);
                    }
                }
                Quoted::Unfinished => {
                    let what = format!("a quote is not closed within {} MiB", LONGEST_QUOTED >> 20);
                    return self.skip_line(Error::data(what), numbers);
                }
                Quoted::Misquoted(field) => {
                    let mut error = Error::data("a quoted field goes on after its closing quote");
                    if memchr::memmem::find(rest.get(..200.min(rest.len())).unwrap_or_default(), &[b'\\', quote])
                        .is_some()
                    {
                        error = error.mend("set escape = \"\\\\\" if a backslash makes a quote a letter");
                    }
                    let name = self.names.get(field).map_or("beyond the last column", String::as_str).to_owned();
                    return self.skip_line(error.in_field(name), numbers);
                }
            }
        }
    }

    /// Drops the rest of a line whose quotes are wrong, if that is allowed.
    fn skip_line(&mut self, error: Error, numbers: &Numbers) -> Result<usize> {
        let mut error = error.in_file(&*self.lines.file).at_line(self.lines.number);
        if error.hint().is_none() {
            error = error.mend("set quote = \"\" if quotes are letters here");
        }
        self.drop_row(error, numbers)?;
        let length = self.lines.length()?.map_or(0, |length| length.all);
        self.lines.consume(length, 1);
        Ok(length)
    }

    /// Whether a line of this many fields may end before the last columns.
    fn fills(&self, found: usize) -> bool {
        self.short_rows && found < self.names.len()
    }

    /// Gives the columns of which the last line had no field an empty one.
    #[inline]
    fn fill(&mut self, rows: usize) {
        if self.short_rows {
            self.columns.iter_mut().filter(|column| column.offsets.len() <= rows).for_each(|column| column.push(b""));
        }
    }

    fn wrong_count(&self, found: usize, line: &[u8], expected: &str) -> Error {
        let line = String::from_utf8_lossy(&line[..line.len().min(600)]);
        Error::data(format!("found {found} fields, expected {expected}: `{}`", shown(&line, 60)))
            .in_file(&*self.lines.file)
            .at_line(self.lines.number)
    }

    /// Forgets the row being read.
    fn drop_row(&mut self, error: Error, numbers: &Numbers) -> Result<()> {
        self.columns.iter_mut().for_each(|column| column.truncate(numbers.count));
        self.bad.tolerate(error)
    }

    /// Makes arrays of the columns.
    fn finish(&mut self, numbers: Numbers) -> Result<Chunk> {
        let columns: Vec<Column> = self
            .columns
            .iter_mut()
            .map(|column| std::mem::replace(column, Column::with_capacity(column.values.len() * 9 / 8)))
            .collect();
        let mut bad = Vec::new();
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(columns.len());
        let about = self.schema.fields().iter().zip(&self.missing).zip(&self.comma);
        for (mut column, ((field, missing), comma)) in columns.into_iter().zip(about) {
            if *comma {
                let mut pointed = Column::with_capacity(column.values.len());
                for row in 0..numbers.count {
                    let text = column.value(row);
                    match with_point(text).filter(|_| !missing.iter().any(|missing| missing.as_bytes() == text)) {
                        Some(text) => pointed.push(&text),
                        None => pointed.push(text),
                    }
                }
                column = pointed;
            }
            if is_utf8(&column) {
                arrays.push(array(column, missing)?);
                continue;
            }
            // Rare: find the rows, make them valid so that the column can be, and drop them below.
            let mut mended = Column::with_capacity(column.values.len());
            for row in 0..numbers.count {
                let valid = std::str::from_utf8(column.value(row)).is_ok();
                mended.push(if valid { column.value(row) } else { b"" });
                if !valid && !bad.contains(&row) {
                    self.bad.tolerate(
                        Error::data(format!(
                            "`{}` is not UTF-8",
                            shown(&String::from_utf8_lossy(column.value(row)), 60)
                        ))
                        .in_file(&*self.lines.file)
                        .at_line(numbers.of(row))
                        .in_field(field.name())
                        .mend("set encoding = \"latin-1\" if it is that"),
                    )?;
                    bad.push(row);
                }
            }
            arrays.push(array(mended, missing)?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(numbers.count));
        let rows = RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options);
        let rows = rows.map_err(|cause| Error::internal("the columns differ in length").caused_by(cause))?;
        let chunk = Chunk { rows, file: self.lines.file.clone(), lines: numbers.into() };
        if bad.is_empty() {
            return Ok(chunk);
        }
        chunk.keep((0..chunk.rows.num_rows()).map(|row| !bad.contains(&row)).collect())
    }
}

/// The array of a column's texts, null where they are among those that mean "no value".
fn array(column: Column, missing: &[String]) -> Result<ArrayRef> {
    let offsets = OffsetBuffer::new(ScalarBuffer::from(column.offsets));
    let array = StringArray::try_new(offsets, Buffer::from_vec(column.values), None)
        .map_err(|cause| Error::internal("a column of text is not valid").caused_by(cause))?;
    if missing.is_empty() {
        return Ok(Arc::new(array));
    }
    let present = |value: Option<&str>| value.is_some_and(|value| !missing.iter().any(|text| text == value));
    let nulls = NullBuffer::new(array.iter().map(present).collect::<BooleanBuffer>());
    let (offsets, values, _) = array.into_parts();
    Ok(Arc::new(StringArray::new(offsets, values, Some(nulls))))
}

/// Whether every value of a column is UTF-8: the whole is, and each value starts at a letter.
fn is_utf8(column: &Column) -> bool {
    let Ok(text) = std::str::from_utf8(&column.values) else { return false };
    text.is_ascii() || column.offsets.iter().all(|offset| text.is_char_boundary(*offset as usize))
}

/// A number that has a comma for a point, and perhaps points between its thousands, as it is read elsewhere; `None` for what is no such
/// number. One with a point for a point becomes none: `3.14` would be 314 to its writer's eyes.
fn with_point(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.trim_ascii();
    let (sign, digits) = match text {
        [sign @ (b'-' | b'+'), digits @ ..] => (&text[..usize::from(*sign == b'-')], digits),
        digits => (&text[..0], digits),
    };
    let comma = memchr::memchr(b',', digits);
    let (whole, fraction) = comma.map_or((digits, &b""[..]), |at| (&digits[..at], &digits[at + 1..]));
    let is_number = |digits: &[u8]| !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let mut groups = whole.split(|byte| *byte == b'.');
    let first = groups.next().unwrap_or_default();
    let grouped = is_number(first) && groups.all(|group| group.len() == 3 && is_number(group));
    if comma.is_some() && !is_number(fraction) {
        return None;
    }
    if !grouped {
        // What is a number elsewhere is none here, and is refused as what it is.
        let elsewhere = is_number(first) && memchr::memchr(b'.', whole).is_some();
        return elsewhere.then(|| [b"`", text, b"` without a comma for its point"].concat());
    }
    let mut number = [sign, &whole.iter().copied().filter(|byte| *byte != b'.').collect::<Vec<_>>()].concat();
    if comma.is_some() {
        number.push(b'.');
        number.extend_from_slice(fraction);
    }
    Some(number)
}

/// Puts fields into the columns that want them.
#[inline]
fn store<'a>(
    slots: &'a [Option<usize>],
    columns: &'a mut [Column],
    syntax: &'a Syntax,
) -> impl FnMut(usize, &[u8]) + 'a {
    move |field, bytes| {
        if let Some(Some(slot)) = slots.get(field) {
            columns[*slot].push(&syntax.encoding.utf8(bytes));
        }
    }
}

/// The line numbers of the rows of a chunk, kept one by one only where they are not consecutive.
#[derive(Default)]
struct Numbers {
    first: u64,
    count: usize,
    each: Option<Vec<u64>>,
}

impl Numbers {
    #[inline]
    fn push(&mut self, number: u64) {
        if self.count == 0 {
            self.first = number;
        }
        if let Some(each) = &mut self.each {
            each.push(number);
        } else if number != self.first + self.count as u64 {
            self.each = Some((self.first..self.first + self.count as u64).chain([number]).collect());
        }
        self.count += 1;
    }

    fn of(&self, row: usize) -> u64 {
        self.each.as_ref().and_then(|each| each.get(row).copied()).unwrap_or(self.first + row as u64)
    }
}

impl From<Numbers> for chunk::Lines {
    fn from(numbers: Numbers) -> Self {
        numbers.each.map_or(Self::From(numbers.first), |each| Self::Each(each.into()))
    }
}
