//! What an app declares: the names of its actions, of its columns of text and of its columns of numbers.

use kitestring_core::{Error, Result};

/// Names of a kind that a layout may have.
pub(super) const MOST_NAMES: usize = 1000;
/// Bytes of a name.
const LONGEST_NAME: usize = 255;

/// The names of actions, columns and numbers. An event names them by their positions here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    actions: Vec<String>,
    columns: Vec<String>,
    numbers: Vec<String>,
}

impl Layout {
    /// A layout of actions (what a user can do), columns of text (item id, category …) and columns of numbers (seconds
    /// of dwell …).
    ///
    /// # Errors
    /// If there is no action, or a name is empty, longer than 255 bytes or twice among its like, or there are more
    /// than 1000 of a kind.
    pub fn new(actions: &[&str], columns: &[&str], numbers: &[&str]) -> Result<Self> {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Self::checked(Self { actions: owned(actions), columns: owned(columns), numbers: owned(numbers) })
    }

    fn checked(self) -> Result<Self> {
        for (kind, names) in self.kinds() {
            if names.len() > MOST_NAMES {
                return Err(
                    Error::config(format!("{} names, and at most {MOST_NAMES} can be", names.len())).in_field(kind)
                );
            }
            for (at, name) in names.iter().enumerate() {
                if name.is_empty() || name.len() > LONGEST_NAME {
                    let what = format!("a name has 1 to {LONGEST_NAME} bytes, and number {at} has {}", name.len());
                    return Err(Error::config(what).in_field(kind));
                }
                if names.iter().take(at).any(|earlier| earlier == name) {
                    return Err(Error::config(format!("`{name}` stands there twice")).in_field(kind));
                }
            }
        }
        if self.actions.is_empty() {
            return Err(Error::config("no action").in_field("actions").mend("name at least one"));
        }
        Ok(self)
    }

    fn kinds(&self) -> [(&'static str, &[String]); 3] {
        [("actions", &self.actions), ("columns", &self.columns), ("numbers", &self.numbers)]
    }

    /// The names of the actions.
    pub fn actions(&self) -> &[String] {
        &self.actions
    }

    /// The names of the columns of text.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The names of the columns of numbers.
    pub fn numbers(&self) -> &[String] {
        &self.numbers
    }

    /// The position of an action.
    ///
    /// # Errors
    /// If no action has this name.
    pub fn action(&self, name: &str) -> Result<u16> {
        position("actions", &self.actions, name).map(|at| at as u16)
    }

    /// The position of a column of text.
    ///
    /// # Errors
    /// If no column of text has this name.
    pub fn column(&self, name: &str) -> Result<usize> {
        position("columns", &self.columns, name)
    }

    /// The position of a column of numbers.
    ///
    /// # Errors
    /// If no column of numbers has this name.
    pub fn number(&self, name: &str) -> Result<usize> {
        position("numbers", &self.numbers, name)
    }

    /// Writes the layout: for each kind a count (u16) and its names (u8 of length, UTF-8).
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        for (_, names) in self.kinds() {
            out.extend_from_slice(&(names.len() as u16).to_le_bytes());
            for name in names {
                out.push(name.len() as u8);
                out.extend_from_slice(name.as_bytes());
            }
        }
    }

    /// Reads what [`Self::write`] wrote; `None` unless the bytes are exactly a layout.
    pub(super) fn read(mut bytes: &[u8]) -> Option<Self> {
        let mut names = || {
            let (count, rest) = bytes.split_first_chunk()?;
            bytes = rest;
            let mut names = Vec::new();
            for _ in 0..u16::from_le_bytes(*count) {
                let (&length, rest) = bytes.split_first()?;
                let (name, rest) = rest.split_at_checked(usize::from(length))?;
                names.push(std::str::from_utf8(name).ok()?.to_owned());
                bytes = rest;
            }
            Some(names)
        };
        let layout = Self { actions: names()?, columns: names()?, numbers: names()? };
        if bytes.is_empty() { layout.checked().ok() } else { None }
    }
}

fn position(kind: &'static str, names: &[String], name: &str) -> Result<usize> {
    names.iter().position(|known| known == name).ok_or_else(|| {
        Error::config(format!("`{name}` is not declared"))
            .in_field(kind)
            .suggest(name, names.iter().map(String::as_str))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn is_read_as_it_was_written() {
        let layout = Layout::new(&["exposure", "click"], &["item", "Kategorie ä"], &["seconds"]).unwrap();
        let mut bytes = Vec::new();
        layout.write(&mut bytes);
        assert_eq!(Layout::read(&bytes), Some(layout));
        for end in 0..bytes.len() {
            assert_eq!(Layout::read(&bytes[..end]), None, "{end}");
        }
        bytes.push(0);
        assert_eq!(Layout::read(&bytes), None);
    }

    #[test]
    fn refuses_names_it_cannot_tell_apart() {
        let wrong = |actions: &[&str], columns: &[&str]| Layout::new(actions, columns, &[]).unwrap_err().to_string();
        assert_eq!(wrong(&[], &[]), "`actions`: no action; name at least one");
        assert_eq!(wrong(&["a", "b", "a"], &[]), "`actions`: `a` stands there twice");
        assert!(wrong(&["a"], &[""]).starts_with("`columns`: a name has 1 to 255 bytes"));
        let many: Vec<String> = (0..1001).map(|i| i.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(wrong(&many, &[]).contains("1001 names"));
    }

    #[test]
    fn names_have_positions() {
        let layout = Layout::new(&["exposure", "click"], &["item"], &["seconds"]).unwrap();
        assert_eq!((layout.action("click").unwrap(), layout.column("item").unwrap()), (1, 0));
        assert_eq!(layout.number("seconds").unwrap(), 0);
        let error = layout.action("clik").unwrap_err().to_string();
        assert_eq!(error, "`actions`: `clik` is not declared; did you mean `click`?");
    }
}
