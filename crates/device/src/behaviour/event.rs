//! An event as an app tells it, and as the store keeps it.

use super::format::FIXED;
use super::format::{Clock, Stamp};
use super::layout::Layout;

/// What a user did, as an app tells it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Event<'a> {
    /// When, in milliseconds since 1970.
    pub time: i64,
    /// What: a position in [`Layout::actions`].
    pub action: u16,
    /// For each of [`Layout::columns`] its raw text; an empty one means that there is none.
    pub texts: &'a [&'a str],
    /// For each of [`Layout::numbers`] its value; one that is not a number means that there is none.
    pub numbers: &'a [f32],
    /// A number by which a second delivery of the same event is known.
    pub id: Option<u64>,
}

/// An event of the store, where it lies in the log's bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Stored<'a> {
    payload: &'a [u8],
    numbers: usize,
}

impl<'a> Stored<'a> {
    /// A record's payload, in a layout with so many columns of numbers.
    pub(super) fn new(payload: &'a [u8], numbers: usize) -> Self {
        Self { payload, numbers }
    }

    fn chunk<const N: usize>(&self, at: usize) -> [u8; N] {
        self.payload.get(at..).and_then(|bytes| bytes.first_chunk()).copied().unwrap_or([0; N])
    }

    /// What: a position in [`Layout::actions`].
    pub fn action(&self) -> u16 {
        u16::from_le_bytes(self.chunk(0))
    }

    /// When, in milliseconds since 1970, as the store placed it.
    pub fn time(&self) -> i64 {
        i64::from_le_bytes(self.chunk(6))
    }

    /// How often the clock had jumped back before it arrived. Times compare within an epoch only.
    pub fn epoch(&self) -> u32 {
        u32::from_le_bytes(self.chunk(2))
    }

    /// The number by which a second delivery is known.
    pub fn id(&self) -> Option<u64> {
        let [flags] = self.chunk(22);
        (flags == 1).then(|| u64::from_le_bytes(self.chunk(23)))
    }

    /// The value of a column of numbers, by its position in [`Layout::numbers`]; `None` where the event has none.
    pub fn number(&self, column: usize) -> Option<f32> {
        let number = f32::from_le_bytes(self.chunk(FIXED + 4 * column));
        (column < self.numbers && !number.is_nan()).then_some(number)
    }

    /// The raw texts, in the order of [`Layout::columns`].
    pub fn texts(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        texts(self.payload.get(FIXED + 4 * self.numbers..).unwrap_or_default())
            .map(|text| std::str::from_utf8(text).unwrap_or_default())
    }

    /// The raw text of a column, by its position in [`Layout::columns`]; empty where the event has none.
    pub fn text(&self, column: usize) -> &'a str {
        self.texts().nth(column).unwrap_or_default()
    }

    pub(super) fn stamp(&self) -> Stamp {
        let clock = Clock { epoch: self.epoch(), now: i64::from_le_bytes(self.chunk(14)) };
        Stamp { time: self.time(), clock }
    }

    /// Whether the payload is exactly an event of a layout.
    pub(super) fn fits(&self, layout: &Layout) -> bool {
        let [flags] = self.chunk(22);
        let start = FIXED + 4 * self.numbers;
        let Some(rest) = self.payload.get(start..) else { return false };
        let (mut count, mut length) = (0, 0);
        for text in texts(rest) {
            if std::str::from_utf8(text).is_err() {
                return false;
            }
            count += 1;
            length += 2 + text.len();
        }
        flags <= 1
            && usize::from(self.action()) < layout.actions().len()
            && count == layout.columns().len()
            && length == rest.len()
    }
}

impl std::fmt::Debug for Stored<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stored")
            .field("epoch", &self.epoch())
            .field("time", &self.time())
            .field("action", &self.action())
            .field("id", &self.id())
            .field("texts", &self.texts().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// Texts with their lengths before them; those that are whole.
fn texts(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = bytes.split_first_chunk()?;
        let (text, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
        bytes = rest;
        Some(text)
    })
}
