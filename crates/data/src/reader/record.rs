//! From a line to its fields: separators, quotes, white space.

use crate::config::{Encoding, Source};
use kitestring_core::error::{Error, Result};
use std::borrow::Cow;
use std::path::Path;

/// How the lines of a text file are written.
#[derive(Debug, Clone)]
pub(crate) struct Syntax {
    separator: Vec<u8>,
    pub quote: Option<u8>,
    escape: Option<u8>,
    trim: bool,
    comment: Vec<u8>,
    pub encoding: Encoding,
}

/// What a quoted record ends in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Quoted {
    /// It ends after this many bytes and line ends.
    Complete { bytes: usize, lines: u64 },
    /// The bytes end within quotes, or where a line end could still come.
    Unfinished,
    /// Something follows the closing quote of this field, counted from zero.
    Misquoted(usize),
}

impl Syntax {
    /// How a source is written; `said` is the separator that the file itself names, which counts where the source names none.
    ///
    /// # Errors
    /// A config error for an empty separator, a quote that is not one ASCII letter, or a column that cannot repeat.
    pub fn new(source: &Source, path: &Path, said: Option<&str>) -> Result<Self> {
        let separator = match (&source.separator, said) {
            (None, Some(said)) => said,
            _ => super::files::separator(source, path),
        };
        if separator.is_empty() || separator.contains('\n') {
            return Err(Error::config("a separator is at least one letter and no line end").in_field("separator"));
        }
        let default = if [",", ";"].contains(&separator) { "\"" } else { "" };
        let quote = match source.quote.as_deref().unwrap_or(default).as_bytes() {
            [] => None,
            [quote] if quote.is_ascii() && separator.as_bytes() != [*quote] => Some(*quote),
            _ => return Err(Error::config("a quote is one ASCII letter other than the separator").in_field("quote")),
        };
        let escape = match source.escape.as_deref().unwrap_or_default().as_bytes() {
            [] => None,
            [escape] if escape.is_ascii() && separator.as_bytes() != [*escape] && Some(*escape) != quote => {
                Some(*escape)
            }
            _ => {
                let what = "an escape is one ASCII letter other than the quote and the separator";
                return Err(Error::config(what).in_field("escape"));
            }
        };
        if source.repeat && source.columns.as_ref().is_none_or(|columns| columns.len() < 2) {
            let what = "only the last of at least two `columns` can repeat";
            return Err(Error::config(what)
                .in_field("repeat")
                .mend("name them, such as columns = [\"user\", \"item\"]"));
        }
        if source.repeat && quote.is_some() {
            let error = Error::config("a column that repeats cannot be in quotes").in_field("repeat");
            return Err(error.mend("set quote = \"\""));
        }
        Ok(Self {
            separator: source.encoding.bytes(separator)?,
            quote,
            escape,
            trim: source.trim,
            comment: source.encoding.bytes(source.comment.as_deref().unwrap_or(""))?,
            encoding: source.encoding,
        })
    }

    /// Whether a line holds no record.
    #[inline]
    pub fn skips(&self, line: &[u8]) -> bool {
        line.is_empty() || (!self.comment.is_empty() && line.starts_with(&self.comment))
    }

    /// Gives each field of a line without quotes, and their number.
    #[inline]
    pub fn plain<'a>(&self, line: &'a [u8], mut field: impl FnMut(usize, &'a [u8])) -> usize {
        let mut number = 0;
        let mut next = Some(0);
        while let Some(start) = next {
            let (text, after) = self.field(line, start);
            field(number, text);
            number += 1;
            next = after;
        }
        number
    }

    /// The field of a line without quotes that starts at a byte, and where the next one starts, if there is one.
    #[inline]
    pub fn field<'a>(&self, line: &'a [u8], start: usize) -> (&'a [u8], Option<usize>) {
        match self.find(line, start) {
            Some(end) => (self.trimmed(&line[start..end]), Some(end + self.separator.len())),
            None => (self.trimmed(&line[start..]), None),
        }
    }

    /// Where the next separator starts.
    #[inline]
    fn find(&self, line: &[u8], from: usize) -> Option<usize> {
        let (first, others) = self.separator.split_first()?;
        let mut at = from;
        // Fields are a few letters long, where stepping byte by byte is as quick as anything.
        while at < line.len() {
            if line[at] == *first && (others.is_empty() || line[at + 1..].starts_with(others)) {
                return Some(at);
            }
            at += 1;
        }
        None
    }

    #[inline]
    fn trimmed<'a>(&self, field: &'a [u8]) -> &'a [u8] {
        if self.trim { field.trim_ascii() } else { field }
    }

    /// Gives each field of the record that `rest` starts with, some of them in quotes, and their number.
    pub fn quoted(&self, rest: &[u8], quote: u8, mut field: impl FnMut(usize, &[u8])) -> (usize, Quoted) {
        let (mut at, mut number, mut lines) = (0, 0, 0);
        let mut text = Vec::new();
        loop {
            let start = at + rest[at..].iter().take_while(|byte| self.trim && b" \t".contains(byte)).count();
            if rest.get(start) == Some(&quote) {
                text.clear();
                at = start + 1;
                loop {
                    let Some(found) = memchr::memchr2(quote, self.escape.unwrap_or(quote), &rest[at..]) else {
                        return (number, Quoted::Unfinished);
                    };
                    text.extend_from_slice(&rest[at..at + found]);
                    at += found + 1;
                    if self.escape == Some(rest[at - 1]) {
                        match rest.get(at) {
                            None => return (number, Quoted::Unfinished),
                            Some(letter) if *letter == quote || self.escape == Some(*letter) => {
                                text.push(*letter);
                                at += 1;
                            }
                            // Before any other letter it is one itself.
                            Some(_) => text.push(rest[at - 1]),
                        }
                        continue;
                    }
                    if rest.get(at) != Some(&quote) {
                        break;
                    }
                    text.push(quote);
                    at += 1;
                }
                lines += memchr::memchr_iter(b'\n', &text).count() as u64;
                field(number, &text);
                at += rest[at..].iter().take_while(|byte| self.trim && b" \t".contains(byte)).count();
            } else {
                let line = memchr::memchr(b'\n', &rest[at..]).map_or(rest.len(), |found| at + found);
                let line = &rest[..line];
                let end = self.find(line, at).unwrap_or(line.len() - usize::from(line[at..].ends_with(b"\r")));
                field(number, self.trimmed(&rest[at..end]));
                at = end;
            }
            number += 1;
            match &rest[at..] {
                // The caller reads on and asks again, or takes the end of the file for the end of the line.
                [] | [b'\r'] => return (number, Quoted::Unfinished),
                [b'\n', ..] => return (number, Quoted::Complete { bytes: at + 1, lines: lines + 1 }),
                [b'\r', b'\n', ..] => return (number, Quoted::Complete { bytes: at + 2, lines: lines + 1 }),
                more if more.starts_with(&self.separator) => at += self.separator.len(),
                more if self.separator.starts_with(more) => return (number, Quoted::Unfinished),
                _ => return (number, Quoted::Misquoted(number - 1)),
            }
        }
    }
}

impl Encoding {
    /// A text in this encoding.
    fn bytes(self, text: &str) -> Result<Vec<u8>> {
        match self {
            Self::Utf8 => Ok(text.as_bytes().to_vec()),
            Self::Latin1 => text
                .chars()
                .map(|letter| u8::try_from(u32::from(letter)))
                .collect::<Result<_, _>>()
                .map_err(|_| Error::config(format!("`{text}` cannot be written in latin-1")).in_field("encoding")),
        }
    }

    /// Bytes of this encoding in UTF-8. What claims to be UTF-8 is taken at its word, and checked later.
    #[inline]
    pub(crate) fn utf8(self, bytes: &[u8]) -> Cow<'_, [u8]> {
        if self == Self::Utf8 || bytes.is_ascii() {
            return Cow::Borrowed(bytes);
        }
        Cow::Owned(bytes.iter().map(|byte| char::from(*byte)).collect::<String>().into_bytes())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn syntax(separator: &str, trim: bool) -> Syntax {
        let source = Source { separator: Some(separator.into()), trim, comment: Some("#".into()), ..Source::default() };
        Syntax::new(&source, Path::new("x"), None).unwrap()
    }

    fn plain(syntax: &Syntax, line: &str) -> Vec<String> {
        let mut fields = Vec::new();
        let count = syntax.plain(line.as_bytes(), |_, field| fields.push(String::from_utf8_lossy(field).into_owned()));
        assert_eq!(count, fields.len());
        fields
    }

    fn quoted(syntax: &Syntax, rest: &str) -> (Vec<String>, Quoted) {
        let mut fields = Vec::new();
        let (_, end) =
            syntax.quoted(rest.as_bytes(), b'"', |_, field| fields.push(String::from_utf8_lossy(field).into_owned()));
        (fields, end)
    }

    #[test]
    fn separators_of_any_length() {
        assert_eq!(plain(&syntax(",", false), "a,,b,"), ["a", "", "b", ""]);
        assert_eq!(plain(&syntax("::", false), "1::Toy: Story::x:y"), ["1", "Toy: Story", "x:y"]);
        assert_eq!(plain(&syntax("::", false), "a:::b"), ["a", ":b"]);
        assert_eq!(plain(&syntax("|", true), " a | b c|\td"), ["a", "b c", "d"]);
        assert_eq!(plain(&syntax(",", false), " a"), [" a"]);
    }

    #[test]
    fn quotes_hold_separators_line_ends_and_quotes() {
        let (fields, end) = quoted(&syntax(",", false), "a,\"b,\n\"\"c\"\"\",\"\"\r\nnext");
        assert_eq!(fields, ["a", "b,\n\"c\"", ""]);
        assert_eq!(end, Quoted::Complete { bytes: 17, lines: 2 });
        // A quote within a field is a letter.
        assert_eq!(quoted(&syntax(",", false), "5\" disk,\"x\"\n").0, ["5\" disk", "x"]);
        assert_eq!(quoted(&syntax(",", true), "a , \"b,c\" , d\r\n").0, ["a", "b,c", "d"]);
        assert_eq!(quoted(&syntax("::", false), "\"a::b\"::c\n").0, ["a::b", "c"]);
    }

    #[test]
    fn quotes_that_are_escaped() {
        let source = Source { separator: Some(",".into()), escape: Some("\\".into()), ..Source::default() };
        let syntax = Syntax::new(&source, Path::new("x"), None).unwrap();
        let (fields, end) = quoted(&syntax, "\"a \\\"b\\\", c\",\"d\\\\\",\"e\\n\"\"f\"\n");
        assert_eq!(fields, ["a \"b\", c", "d\\", "e\\n\"f"]);
        assert!(matches!(end, Quoted::Complete { lines: 1, .. }));
        assert_eq!(quoted(&syntax, "\"a\\").1, Quoted::Unfinished);
        let refused = Source { escape: Some("\"".into()), ..source };
        assert!(Syntax::new(&refused, Path::new("x"), None).unwrap_err().to_string().contains("escape"));
    }

    #[test]
    fn unfinished_and_wrong_quotes() {
        for text in ["a,\"b\nc", "\"a\"", "\"a\"\r", "a,\"\"\"", ""] {
            assert_eq!(quoted(&syntax(",", false), text).1, Quoted::Unfinished, "{text}");
        }
        assert_eq!(quoted(&syntax("::", false), "\"a\":").1, Quoted::Unfinished);
        assert_eq!(quoted(&syntax(",", false), "a,\"b\"c\n").1, Quoted::Misquoted(1));
        assert_eq!(quoted(&syntax(",", false), "\"b\" ,c\n").1, Quoted::Misquoted(0));
    }

    #[test]
    fn comments_and_empty_lines_hold_no_record() {
        let syntax = syntax(",", false);
        assert!(syntax.skips(b"") && syntax.skips(b"# a") && !syntax.skips(b"a#"));
    }

    #[test]
    fn wrong_settings_are_refused() {
        let refuse = |source: Source| Syntax::new(&source, Path::new("x"), None).unwrap_err().to_string();
        assert!(refuse(Source { separator: Some(String::new()), ..Source::default() }).contains("separator"));
        assert!(refuse(Source { quote: Some("''".into()), ..Source::default() }).contains("quote"));
        assert!(refuse(Source { quote: Some("\t".into()), ..Source::default() }).contains("quote"));
        let source = Source { separator: Some("→".into()), encoding: Encoding::Latin1, ..Source::default() };
        assert!(refuse(source).contains("latin-1"));
        let columns = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
        let repeat = Source { repeat: true, ..Source::default() };
        assert!(refuse(repeat.clone()).contains("`repeat`: only the last of at least two `columns` can repeat"));
        assert!(refuse(Source { columns: columns(&["items"]), ..repeat.clone() }).contains("at least two"));
        let quoted = Source { columns: columns(&["a", "b"]), separator: Some(",".into()), ..repeat };
        assert!(refuse(quoted.clone()).contains("cannot be in quotes; set quote = \"\""));
        assert!(Syntax::new(&Source { quote: Some(String::new()), ..quoted }, Path::new("x"), None).is_ok());
    }

    #[test]
    fn latin_1_becomes_utf_8() {
        assert_eq!(Encoding::Latin1.utf8(b"caf\xe9").as_ref(), "café".as_bytes());
        assert_eq!(Encoding::Latin1.utf8(b"cafe").as_ref(), b"cafe");
        assert_eq!(Encoding::Latin1.bytes("é").unwrap(), [0xe9]);
    }
}
