//! Records between the passes: in memory while they are few, else in a temporary file.

use kitestring_core::{Error, Result};
use std::borrow::Cow;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Number of parts that users are dealt to. A part is held in memory as a whole, so this divides what the second and
/// third passes need.
const PARTS: usize = 128;

/// Rows of a part where there are no users to bring together.
const SEQUENTIAL_ROWS: usize = 1 << 18;

/// Bytes held in memory before all parts are written out.
const BUDGET: usize = 96 << 20;

/// The records of a part and the lists they point to.
#[derive(Default)]
pub(crate) struct Part {
    pub(crate) records: Vec<u8>,
    pub(crate) lists: Vec<u8>,
}

/// A stretch of the temporary file.
#[derive(Clone, Copy)]
struct Stretch {
    at: u64,
    bytes: usize,
}

#[derive(Default)]
struct Stored {
    memory: Part,
    records: Vec<Stretch>,
    lists: Vec<Stretch>,
    /// Bytes of lists written out: where the lists in memory start.
    lists_at: u64,
}

/// Records dealt to parts.
pub(crate) struct Parts {
    stored: Vec<Stored>,
    by_user: bool,
    stride: usize,
    in_memory: usize,
    budget: usize,
    file: Option<File>,
    directory: PathBuf,
    end: u64,
}

impl Parts {
    /// Parts of records of `stride` bytes. What does not fit in memory goes to a file in `directory`.
    pub(crate) fn new(directory: &Path, stride: usize, by_user: bool) -> Self {
        let stored = if by_user { PARTS } else { 1 };
        Self {
            stored: (0..stored).map(|_| Stored::default()).collect(),
            by_user,
            stride,
            in_memory: 0,
            budget: BUDGET,
            file: None,
            directory: directory.to_owned(),
            end: 0,
        }
    }

    /// Adds a record. Its lists are copied and its pointers to them, at the given places, moved.
    #[inline]
    pub(crate) fn push(&mut self, user: u32, record: &[u8], lists: &[u8], pointers: &[(usize, usize)]) -> Result<()> {
        if !self.by_user && self.stored.last().is_none_or(|part| part.rows(self.stride) >= SEQUENTIAL_ROWS) {
            self.stored.push(Stored::default());
        }
        let index = if self.by_user { user as usize % PARTS } else { self.stored.len() - 1 };
        let stored = &mut self.stored[index];
        let at = stored.memory.records.len();
        stored.memory.records.extend_from_slice(record);
        self.in_memory += record.len();
        let record = &mut stored.memory.records[at..];
        self.in_memory += move_lists(record, lists, pointers, &mut stored.memory.lists, stored.lists_at);
        if self.in_memory > self.budget { self.write_out() } else { Ok(()) }
    }

    fn failed(&self, cause: std::io::Error) -> Error {
        Error::io(cause, "cannot keep rows in a temporary file in", &self.directory)
    }

    fn write_out(&mut self) -> Result<()> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => tempfile::tempfile_in(&self.directory).map_err(|cause| self.failed(cause))?,
        };
        let written = (|| -> std::io::Result<()> {
            file.seek(SeekFrom::Start(self.end))?;
            for stored in &mut self.stored {
                let Part { records, lists } = &mut stored.memory;
                for (bytes, stretches) in [(records, &mut stored.records), (lists, &mut stored.lists)] {
                    if bytes.is_empty() {
                        continue;
                    }
                    file.write_all(bytes)?;
                    stretches.push(Stretch { at: self.end, bytes: bytes.len() });
                    self.end += bytes.len() as u64;
                    bytes.clear();
                }
                stored.lists_at = stored.lists.iter().map(|stretch| stretch.bytes as u64).sum();
            }
            Ok(())
        })();
        written.map_err(|cause| self.failed(cause))?;
        self.file = Some(file);
        self.in_memory = 0;
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.stored.len()
    }

    /// The number of records in all parts.
    pub(crate) fn rows(&self) -> u64 {
        self.stored.iter().map(|stored| stored.rows(self.stride) as u64).sum()
    }

    /// The records of a part.
    pub(crate) fn records(&mut self, index: usize) -> Result<Cow<'_, [u8]>> {
        if self.stored[index].records.is_empty() {
            return Ok(Cow::Borrowed(&self.stored[index].memory.records));
        }
        self.read(index, false).map(Cow::Owned)
    }

    /// Takes a part. Where it lay in memory it is gone, until it is put back.
    pub(crate) fn take(&mut self, index: usize) -> Result<Part> {
        let stored = &mut self.stored[index];
        if stored.records.is_empty() {
            return Ok(std::mem::take(&mut stored.memory));
        }
        Ok(Part { records: self.read(index, false)?, lists: self.read(index, true)? })
    }

    /// The records or the lists of a part of which some were written out.
    fn read(&mut self, index: usize, lists: bool) -> Result<Vec<u8>> {
        let stored = &self.stored[index];
        let (stretches, rest) = match lists {
            true => (&stored.lists, &stored.memory.lists),
            false => (&stored.records, &stored.memory.records),
        };
        let mut file = self.file.as_ref().ok_or_else(|| Error::internal("a part was written to no file"))?;
        let mut bytes = Vec::with_capacity(stretches.iter().map(|stretch| stretch.bytes).sum::<usize>() + rest.len());
        for stretch in stretches {
            let from = bytes.len();
            bytes.resize(from + stretch.bytes, 0);
            let read = file.seek(SeekFrom::Start(stretch.at)).and_then(|_| file.read_exact(&mut bytes[from..]));
            read.map_err(|cause| self.failed(cause))?;
        }
        bytes.extend_from_slice(rest);
        Ok(bytes)
    }

    /// Puts back a part that was taken, with its records in another order.
    pub(crate) fn put(&mut self, index: usize, part: Part) -> Result<()> {
        let stored = &mut self.stored[index];
        if stored.records.is_empty() {
            stored.memory = part;
            return Ok(());
        }
        let stretches = stored.records.clone();
        let file = self.file.as_mut().ok_or_else(|| Error::internal("a part was written to no file"))?;
        let written = (|| -> std::io::Result<usize> {
            let mut at = 0;
            for stretch in stretches {
                file.seek(SeekFrom::Start(stretch.at))?;
                file.write_all(&part.records[at..at + stretch.bytes])?;
                at += stretch.bytes;
            }
            Ok(at)
        })();
        let at = written.map_err(|cause| self.failed(cause))?;
        self.stored[index].memory.records.clear();
        self.stored[index].memory.records.extend_from_slice(&part.records[at..]);
        Ok(())
    }
}

impl Stored {
    fn rows(&self, stride: usize) -> usize {
        (self.memory.records.len() + self.records.iter().map(|stretch| stretch.bytes).sum::<usize>()) / stride
    }
}

/// Copies the lists of a record behind others, moves its pointers there, and returns the bytes copied. A pointer is its
/// place in the record and the bytes of an element.
pub(crate) fn move_lists(
    record: &mut [u8],
    lists: &[u8],
    pointers: &[(usize, usize)],
    into: &mut Vec<u8>,
    base: u64,
) -> usize {
    let mut copied = 0;
    for (place, element) in pointers {
        let (at, count) = list_at(record, *place);
        let bytes = count * element;
        record[*place..place + 8].copy_from_slice(&(base + into.len() as u64).to_le_bytes());
        into.extend_from_slice(&lists[at..at + bytes]);
        copied += bytes;
    }
    copied
}

/// The number of a user among those of its part.
#[inline]
pub(crate) fn local_user(user: u32) -> usize {
    user as usize / PARTS
}

/// The first byte and the number of elements of the list whose pointer is at this place of a record.
#[inline]
pub(crate) fn list_at(record: &[u8], place: usize) -> (usize, usize) {
    (u64_at(record, place) as usize, u32_at(record, place + 8) as usize)
}

#[inline(always)]
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

#[inline(always)]
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

#[inline(always)]
pub(crate) fn f32_at(bytes: &[u8], at: usize) -> f32 {
    f32::from_bits(u32_at(bytes, at))
}

#[inline(always)]
pub(crate) fn f64_at(bytes: &[u8], at: usize) -> f64 {
    f64::from_bits(u64_at(bytes, at))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A record: a pointer to a list of `u32` and the number of the row.
    fn record(list: u64, count: u32, row: u32) -> Vec<u8> {
        [list.to_le_bytes().as_slice(), &count.to_le_bytes(), &row.to_le_bytes()].concat()
    }

    #[test]
    fn what_is_written_out_is_what_is_kept_in_memory() {
        for budget in [usize::MAX, 300, 1] {
            let directory = tempfile::tempdir().unwrap();
            let mut parts = Parts::new(directory.path(), 16, true);
            parts.budget = budget;
            for row in 0..1000u32 {
                let list: Vec<u8> = (0..row % 5).flat_map(|i| (row * 10 + i).to_le_bytes()).collect();
                parts.push(row % 300, &record(0, row % 5, row), &list, &[(0, 4)]).unwrap();
            }
            let mut seen = 0;
            for index in 0..parts.len() {
                let mut part = parts.take(index).unwrap();
                let reversed: Vec<u8> = part.records.chunks(16).rev().flatten().copied().collect();
                part.records = reversed;
                parts.put(index, part).unwrap();
                let part = parts.take(index).unwrap();
                let rows: Vec<u32> = part.records.chunks(16).map(|record| u32_at(record, 12)).collect();
                assert!(rows.is_sorted_by(|a, b| a > b));
                for record in part.records.chunks(16) {
                    let row = u32_at(record, 12);
                    assert_eq!((row % 300) as usize % PARTS, index);
                    let (at, count) = list_at(record, 0);
                    let values: Vec<u32> = (0..count).map(|i| u32_at(&part.lists, at + 4 * i)).collect();
                    assert_eq!(values, (0..row % 5).map(|i| row * 10 + i).collect::<Vec<_>>());
                    seen += 1;
                }
            }
            assert_eq!(seen, 1000);
        }
    }
}
