//! The behaviour store: what one user did, bounded, in order, and safe from a kill at any moment.
//!
//! An app declares a [`Layout`] (names of actions, of columns of text, of columns of numbers), opens a [`Store`] over a
//! [`Storage`], and pushes [`Event`]s. Texts are raw, never a model's numbers, so that a model with another vocabulary
//! reads what was kept before it. No clock is read here: `now` is handed in.
//!
//! ```
//! use kitestring_device::behaviour::{Config, Event, Layout, Memory, Outcome, Store};
//! # fn main() -> kitestring_core::Result<()> {
//! let layout = Layout::new(&["exposure", "click"], &["item"], &["seconds"])?;
//! let click = layout.action("click")?;
//! let now = 1_700_000_000_000;
//! let (mut store, _) = Store::open(Box::new(Memory::default()), layout, Config::default(), now)?;
//! let event = Event { time: now, action: click, texts: &["item-7"], numbers: &[2.5], id: Some(1) };
//! assert_eq!(store.push(&event, now)?.outcome, Outcome::Appended);
//! assert_eq!(store.push(&event, now)?.outcome, Outcome::Duplicate);
//! let newest = store.last(1, &[click], now).next().unwrap();
//! assert_eq!((newest.text(0), newest.number(0)), ("item-7", Some(2.5)));
//! # Ok(())
//! # }
//! ```
//!
//! # Order
//!
//! Events are in the order of their epoch, then of their time, then of their arrival. With *W* the reorder window of the
//! [`Config`] (five minutes unless told otherwise) and *clock* the highest `now` of the epoch so far, a push goes by
//! these rules, in this order:
//!
//! 1. An event has its id: it is a duplicate, and ignored.
//! 2. `now` < clock − W: the clock has jumped back. An epoch begins; nothing that comes later is placed before it. A jump
//!    ahead needs no epoch, and neither does a step back within the window.
//! 3. The event's time > `now` + W: it is given the time `now`.
//! 4. The event's time < that of the epoch's newest event − W: it is given that time, so that no event is placed further
//!    back than W. One that is late by no more keeps its time and is placed by it. Being older than `now` is no lateness:
//!    what an app held back and delivers in order is appended.
//! 5. It has expired, or the store is full of newer events: it is ignored.
//!
//! [`Pushed`] says which it was. A recurrent state takes an event in one step only if it was [`Outcome::Appended`]; behind
//! one that was inserted it must run again.
//!
//! # Bounds
//!
//! `capacity` events and `max_bytes` of records are kept, the oldest go first. An event whose time is more than `keep_days`
//! before `now` is never returned; it leaves memory and file at the next compaction or opening. Its own time counts,
//! whatever its epoch: a clock that was once set to 1970 takes no event with it but those of that hour. A clock set far
//! ahead does, if a compaction falls into that time.
//!
//! # The file, format 1
//!
//! Numbers are little-endian. A *frame* is a checksum, a length and as many bytes:
//!
//! | bytes | what |
//! |---|---|
//! | 4 | CRC-32 (that of gzip) of all that follows in the frame, length included |
//! | 4 | u32: length of the rest |
//! | length | the rest |
//!
//! The file begins with its header:
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 8 | `kitelog` and a line feed |
//! | 8 | 4 | u32: format number, 1 |
//! | 12 | 8 | checksum and length of the frame that follows |
//! | 20 | 4 | u32: epoch when the file was written |
//! | 24 | 8 | i64: clock of that epoch, in milliseconds; −2⁶³ before any event |
//! | 32 | | actions, columns, numbers: for each a u16, how many, and so many names: u8, length; UTF-8 |
//!
//! Then there is a frame for each event, in the order in which they came, or, where the file was written anew, first those
//! kept, in their order:
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 2 | u16: action, a position in the header's names |
//! | 2 | 4 | u32: epoch |
//! | 6 | 8 | i64: time it was given, in milliseconds since 1970 |
//! | 14 | 8 | i64: the epoch's clock when it came |
//! | 22 | 1 | 1 if it has an id, else 0 |
//! | 23 | 8 | u64: id, or 0 |
//! | 31 | 4 a column | f32: numbers; not a number where there is none |
//! | | 2 + n a column | texts: u16, length; UTF-8 |
//!
//! A payload is at most 2¹⁵ bytes when pushed and 2¹⁶ when read. A record says everything of its place, so the order is
//! found by a stable sort, whatever was lost between.
//!
//! # Failures
//!
//! - *Kill, loss of power.* An event is one append; a torn one at the end is cut off when the log is opened. Everything
//!   else that is written is written beside, synced and renamed. With [`Durability::Sync`] every event whose push returned
//!   `Ok` is there afterwards; with the others, those before the last sync, and a beginning of the rest.
//! - *Full disk.* A push returns an error that says so, and nothing changes; what was half-written is cut off at once, or,
//!   where that fails, before the next record. A store that cannot be written anew goes on appending to its file up to four
//!   times `max_bytes`.
//! - *A sync that fails.* Systems drop what they could not write and call the next sync a success, so the whole file is
//!   written anew before the next record. An app that ends before that opens what the system shows then.
//! - *Damage.* Records that are whole are found behind bytes that are not; [`Opened`] counts what is lost, and the file is
//!   written anew. Without its header a log cannot be read: it begins anew, and that is reported too.
//! - *A file that is no log, or of a newer format*: refused, and left as it is.
//! - *Another layout* (an update of the app): events are brought over by names and the file is written anew. Actions that
//!   are gone take their events with them, which is reported; new columns are empty in old events.
//!
//! [`Store::clear`] forgets: the file that held the events is gone when it returns. What a file system or flash memory keeps
//! of freed blocks is out of an app's reach.

mod config;
mod crc32;
mod event;
mod format;
mod layout;
mod open;
mod storage;
mod store;

#[cfg(test)]
mod tests;

pub use config::{Config, Durability};
pub use event::{Event, Stored};
pub use layout::Layout;
pub use open::Opened;
pub use storage::{Files, Memory, Storage};
pub use store::{Outcome, Pushed, Store};
