//! The bytes of a log: its header, its records, and the search for records that are whole.

use super::crc32::crc32;
use super::event::{Event, Stored};
use super::layout::Layout;
use kitestring_core::{Error, Result};

pub(super) const MAGIC: [u8; 8] = *b"kitelog\n";
pub(super) const FORMAT: u32 = 1;
/// Magic, format number, checksum, length.
const HEAD: usize = 20;
/// Checksum and length before a payload.
pub(super) const FRAME: usize = 8;
/// Action, epoch, time, clock, flags, id.
pub(super) const FIXED: usize = 31;
/// Bytes of a payload that [`push`](super::Store::push) takes.
pub(super) const LONGEST_PUSHED: usize = 1 << 15;
/// Bytes of a payload that is read: an app's later layouts may have added a thousand columns of each kind.
const LONGEST_READ: usize = 1 << 16;

/// The last clock of the last epoch: what the order of the next event hangs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Clock {
    pub epoch: u32,
    /// The highest `now` of the epoch, in milliseconds.
    pub now: i64,
}

impl Clock {
    /// Before any event.
    pub(super) const START: Self = Self { epoch: 0, now: i64::MIN };

    /// What is known after another event.
    pub(super) fn after(self, other: Self) -> Self {
        match other.epoch.cmp(&self.epoch) {
            std::cmp::Ordering::Greater => other,
            std::cmp::Ordering::Equal => Self { epoch: self.epoch, now: self.now.max(other.now) },
            std::cmp::Ordering::Less => self,
        }
    }
}

/// What an event was given when it was placed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stamp {
    pub time: i64,
    pub clock: Clock,
}

/// Writes a header.
pub(super) fn write_header(out: &mut Vec<u8>, layout: &Layout, clock: Clock) {
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&FORMAT.to_le_bytes());
    write_framed(out, |out| {
        out.extend_from_slice(&clock.epoch.to_le_bytes());
        out.extend_from_slice(&clock.now.to_le_bytes());
        layout.write(out);
    });
}

/// Writes checksum and length, then what `write` writes.
fn write_framed(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME]);
    write(out);
    let length = (out.len() - start - FRAME) as u32;
    if let Some(bytes) = out.get_mut(start + 4..start + FRAME) {
        bytes.copy_from_slice(&length.to_le_bytes());
    }
    let sum = crc32(out.get(start + 4..).unwrap_or_default());
    if let Some(bytes) = out.get_mut(start..start + 4) {
        bytes.copy_from_slice(&sum.to_le_bytes());
    }
}

/// Writes a record. The event has a text for each column and a number for each column of numbers.
pub(super) fn write_record(out: &mut Vec<u8>, event: &Event<'_>, stamp: Stamp) {
    write_framed(out, |out| {
        out.extend_from_slice(&event.action.to_le_bytes());
        out.extend_from_slice(&stamp.clock.epoch.to_le_bytes());
        out.extend_from_slice(&stamp.time.to_le_bytes());
        out.extend_from_slice(&stamp.clock.now.to_le_bytes());
        out.push(u8::from(event.id.is_some()));
        out.extend_from_slice(&event.id.unwrap_or_default().to_le_bytes());
        for number in event.numbers {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for text in event.texts {
            out.extend_from_slice(&(text.len() as u16).to_le_bytes());
            out.extend_from_slice(text.as_bytes());
        }
    });
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

/// What a log begins with.
pub(super) struct Header {
    pub layout: Layout,
    pub clock: Clock,
    /// Where the records begin.
    pub end: usize,
}

/// Reads the header; `None` if it is damaged.
///
/// # Errors
/// If the bytes are no log, or of a format that is not known.
pub(super) fn read_header(bytes: &[u8]) -> Result<Option<Header>> {
    if !bytes.starts_with(&MAGIC) && !MAGIC.starts_with(bytes) {
        return Err(Error::format("this is no behaviour log").mend("give it another path"));
    }
    let Some(format) = u32_at(bytes, MAGIC.len()) else { return Ok(None) };
    if format != FORMAT {
        let error = Error::format(format!("format {format} of the behaviour log, and this version knows {FORMAT}"));
        return Err(error.in_field("format").mend("update the app; the file is as it was"));
    }
    Ok(read_known(bytes))
}

fn read_known(bytes: &[u8]) -> Option<Header> {
    let sum = u32_at(bytes, HEAD - 8)?;
    let end = HEAD.checked_add(u32_at(bytes, HEAD - 4)? as usize)?;
    if crc32(bytes.get(HEAD - 4..end)?) != sum {
        return None;
    }
    let (epoch, rest) = bytes.get(HEAD..end)?.split_first_chunk()?;
    let (now, rest) = rest.split_first_chunk()?;
    let clock = Clock { epoch: u32::from_le_bytes(*epoch), now: i64::from_le_bytes(*now) };
    Some(Header { layout: Layout::read(rest)?, clock, end })
}

/// The payload of the record at a place of a checked log.
pub(super) fn payload_at(bytes: &[u8], at: usize) -> &[u8] {
    let length = u32_at(bytes, at + 4).unwrap_or_default() as usize;
    bytes.get(at + FRAME..at + FRAME + length).unwrap_or_default()
}

/// Bytes that could not be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Damage {
    /// Those after the last record.
    pub torn: usize,
    /// Those before or between records.
    pub lost: usize,
    /// How many stretches those are.
    pub gaps: usize,
}

/// Visits the places of all records that are whole and fit the layout.
///
/// Where there is none the search goes on at the next byte. Checksums are taken of at most eight times the log's length,
/// so that bytes made to look like the beginnings of long records cannot hold up the app: what comes then is lost.
pub(super) fn scan(bytes: &[u8], start: usize, layout: &Layout, mut visit: impl FnMut(usize)) -> Damage {
    let mut budget = bytes.len().saturating_mul(8);
    let (mut at, mut end) = (start, start);
    let mut damage = Damage::default();
    while at + FRAME + FIXED <= bytes.len() {
        let length = u32_at(bytes, at + 4).unwrap_or_default() as usize;
        let next = at + FRAME + length;
        at = match bytes.get(at + 4..next) {
            Some(checked) if (FIXED..=LONGEST_READ).contains(&length) => {
                let Some(rest) = budget.checked_sub(length) else { break };
                budget = rest;
                let whole = u32_at(bytes, at) == Some(crc32(checked))
                    && Stored::new(payload_at(bytes, at), layout.numbers().len()).fits(layout);
                if whole {
                    if at > end {
                        damage.lost += at - end;
                        damage.gaps += 1;
                    }
                    visit(at);
                    end = next;
                    next
                } else {
                    at + 1
                }
            }
            _ => at + 1,
        };
    }
    damage.torn = bytes.len() - end;
    damage
}
