//! One error type for the whole workspace: what failed, where, and how to mend it.
//!
//! The [`Kind`] says who must act and decides the exit code; the [`Place`] is structured, so that a caller can
//! point at a line of a file without parsing a sentence.

use std::fmt;

/// A result whose error says what failed, where, and how to mend it.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Who must act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The command line or a config is wrong. Exit code 2.
    Config,
    /// A row, a column or a file of the user's data is wrong.
    Data,
    /// A stored file is damaged or has another format number.
    Format,
    /// The machine refused: a missing file, a full disk, no permission.
    Io,
    /// Training diverged: a loss or a gradient is not finite.
    Numeric,
    /// A defect of Kitestring itself.
    Internal,
}

/// Where something failed. Every part is optional; what is known is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// A file, or another source with a name.
    pub file: Option<String>,
    /// Line within the file, counted from one.
    pub line: Option<u64>,
    /// Column name, config key or field.
    pub field: Option<String>,
}

#[derive(Debug)]
struct Inner {
    kind: Kind,
    what: String,
    place: Place,
    mend: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What failed, where, and how to mend it. One pointer wide.
#[derive(Debug)]
pub struct Error(Box<Inner>);

impl Error {
    /// An error of a kind. `what` is a clause without a final stop: "label is never positive".
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, what: what.into(), place: Place::default(), mend: None, source: None }))
    }

    /// Wrong usage or config.
    pub fn config(what: impl Into<String>) -> Self {
        Self::new(Kind::Config, what)
    }

    /// Wrong data.
    pub fn data(what: impl Into<String>) -> Self {
        Self::new(Kind::Data, what)
    }

    /// A damaged file, or one of another format.
    pub fn format(what: impl Into<String>) -> Self {
        Self::new(Kind::Format, what)
    }

    /// Training diverged.
    pub fn numeric(what: impl Into<String>) -> Self {
        Self::new(Kind::Numeric, what)
    }

    /// A defect of ours: an invariant that the code itself must keep did not hold.
    pub fn internal(what: impl Into<String>) -> Self {
        Self::new(Kind::Internal, what)
    }

    /// The machine refused an operation on a path.
    pub fn io(source: std::io::Error, doing: impl Into<String>, path: impl AsRef<std::path::Path>) -> Self {
        let mend = match source.kind() {
            std::io::ErrorKind::NotFound => Some("check the path"),
            std::io::ErrorKind::PermissionDenied => Some("check the permissions"),
            std::io::ErrorKind::StorageFull => Some("free some space; what was there before is untouched"),
            _ => None,
        };
        let mut error = Self::new(Kind::Io, doing).in_file(path.as_ref().display().to_string()).caused_by(source);
        error.0.mend = mend.map(Into::into);
        error
    }

    /// Adds the file.
    #[must_use]
    pub fn in_file(mut self, file: impl Into<String>) -> Self {
        self.0.place.file = Some(file.into());
        self
    }

    /// Adds the line, counted from one.
    #[must_use]
    pub fn at_line(mut self, line: u64) -> Self {
        self.0.place.line = Some(line);
        self
    }

    /// Adds the column, key or field.
    #[must_use]
    pub fn in_field(mut self, field: impl Into<String>) -> Self {
        self.0.place.field = Some(field.into());
        self
    }

    /// Says how to mend it: a clause in the imperative.
    #[must_use]
    pub fn mend(mut self, mend: impl Into<String>) -> Self {
        self.0.mend = Some(mend.into());
        self
    }

    /// Keeps the cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Who must act.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// How to mend it, where it says so.
    pub fn hint(&self) -> Option<&str> {
        self.0.mend.as_deref()
    }

    /// Where it failed.
    pub fn place(&self) -> &Place {
        &self.0.place
    }

    /// The process's exit code: 2 for wrong usage or config, else 1.
    pub fn exit_code(&self) -> u8 {
        if self.0.kind == Kind::Config { 2 } else { 1 }
    }
}

/// The longest name and the longest text of a message, in letters: what comes from a file may be of any length.
const LONGEST_NAME: usize = 100;
const LONGEST: usize = 1200;

/// A text for a terminal: without control characters, and cut at a length.
pub fn shown(text: &str, longest: usize) -> std::borrow::Cow<'_, str> {
    let end = if text.len() > longest { text.char_indices().nth(longest).map(|(end, _)| end) } else { None };
    if end.is_none() && !text.contains(char::is_control) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len().min(4 * longest));
    for letter in text.chars().take(longest) {
        match letter.is_control() {
            true => shown.extend(letter.escape_default()),
            false => shown.push(letter),
        }
    }
    if end.is_some() {
        shown.push('…');
    }
    shown.into()
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { what, place, mend, source, .. } = &*self.0;
        if let Some(file) = &place.file {
            write!(f, "{}", shown(file, usize::MAX))?;
            if let Some(line) = place.line {
                write!(f, ":{line}")?;
            }
            write!(f, ": ")?;
        } else if let Some(line) = place.line {
            write!(f, "line {line}: ")?;
        }
        if let Some(field) = &place.field {
            write!(f, "`{}`: ", shown(field, LONGEST_NAME))?;
        }
        write!(f, "{}", shown(what, LONGEST))?;
        if let Some(source) = source {
            write!(f, " ({source})")?;
        }
        if let Some(mend) = mend {
            write!(f, "; {}", shown(mend, LONGEST))?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// Names that a mend lists before it breaks off.
const LISTED: usize = 20;

impl Error {
    /// With the mend of a name that is not known: the nearest of those that are, else what they are.
    pub fn suggest<'a>(self, name: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        let known: Vec<&str> = known.into_iter().collect();
        match did_you_mean(name, known.iter().copied()) {
            Some(near) => self.mend(format!("did you mean `{near}`?")),
            None if known.is_empty() => self.mend("there is none"),
            None if known.len() > LISTED => self.mend(format!("there is {} …", known[..LISTED].join(", "))),
            None => self.mend(format!("there is {}", known.join(", "))),
        }
    }
}

/// The candidate closest to a misspelt name, for "did you mean": one that differs in case, spaces and signs alone before all others.
/// `None` when nothing is near.
pub fn did_you_mean<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // ASCII alone: the tables of other letters are more than a device's runtime should carry for a hint.
    let letters = |name: &str| -> String {
        name.chars()
            .filter(|letter| !letter.is_ascii() || letter.is_ascii_alphanumeric())
            .map(|letter| letter.to_ascii_lowercase())
            .collect()
    };
    let candidates: Vec<&str> = candidates.into_iter().collect();
    let plain = letters(name);
    if let Some(same) = candidates.iter().find(|candidate| !plain.is_empty() && letters(candidate) == plain) {
        return Some(same);
    }
    let lower = name.to_ascii_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_ascii_lowercase()), candidate))
        // One letter in three may be wrong: of two letters, one that differs makes another word.
        .filter(|(distance, candidate)| 3 * distance <= candidate.len().max(name.len()))
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_place_cause_and_mend() {
        let error = Error::data("expected a number, found `x`")
            .in_file("a.csv")
            .at_line(7)
            .in_field("rating")
            .mend("mend the row or allow it with --max-bad-rows");
        assert_eq!(
            error.to_string(),
            "a.csv:7: `rating`: expected a number, found `x`; mend the row or allow it with --max-bad-rows"
        );
        assert_eq!(error.exit_code(), 1);
        assert_eq!(Error::config("x").exit_code(), 2);
    }

    #[test]
    fn what_is_shown_has_no_control_characters_and_an_end() {
        let error = Error::data(format!("found `a\rb\u{1b}[2J{}`", "x".repeat(5000))).in_field("c\nd").to_string();
        assert!(error.starts_with("`c\\nd`: found `a\\rb\\u{1b}[2Jxxx"), "{error}");
        assert!(error.ends_with('…') && error.chars().count() < 1300, "{error}");
        assert_eq!(shown("caf\u{e9}", 3), "caf…");
        assert_eq!(shown("caf\u{e9}", 4), "caf\u{e9}");
    }

    #[test]
    fn suggests_names_that_differ_in_case_and_spaces() {
        assert_eq!(did_you_mean("user_id", ["item_id", " User ID"]), Some(" User ID"));
        assert_eq!(did_you_mean("userId", ["user_ids", "USER_ID"]), Some("USER_ID"));
        assert_eq!(did_you_mean("_", ["-"]), None);
    }

    #[test]
    fn suggests_near_names_only() {
        assert_eq!(did_you_mean("encodr", ["body", "encoder"]), Some("encoder"));
        assert_eq!(did_you_mean("zebra", ["body", "encoder"]), None);
        assert_eq!(did_you_mean("DIN", ["fm", "din"]), Some("din"));
        assert_eq!(did_you_mean("lr", ["l2", "rows"]), None);
    }
}
