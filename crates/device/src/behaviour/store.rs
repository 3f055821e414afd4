//! The store: the log's bytes in memory as they are on disk, and the order of the events that are kept.

use super::config::{Config, Durability};
use super::event::{Event, Stored};
use super::format::{self, Clock, FRAME, Stamp};
use super::layout::Layout;
use super::storage::Storage;
use kitestring_core::{Error, Result, seed};
use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

/// Bytes that a file may be longer than twice what it keeps, so that a small one is not written anew all the time.
const SLACK: usize = 4096;

/// What became of a pushed event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is the newest: a recurrent state takes it in one step.
    Appended,
    /// It was late and so many events come after it: a recurrent state must run again from there.
    Inserted {
        /// Events after it.
        followers: usize,
    },
    /// An event with its id is there; nothing was changed.
    Duplicate,
    /// It has expired, or the store is full of newer ones; nothing was changed.
    TooOld,
}

/// What a push did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pushed {
    /// What became of the event.
    pub outcome: Outcome,
    /// The time it was given: its own, unless that lay too far ahead or behind.
    pub time: i64,
    /// Whether the clock was found to have jumped back, so that an epoch began with this event.
    pub epoch_began: bool,
}

/// An event's place in the order and in the log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    pub epoch: u32,
    pub offset: u32,
    pub time: i64,
}

impl Slot {
    pub fn key(&self) -> (u32, i64) {
        (self.epoch, self.time)
    }
}

/// What must be done to the file before it takes another record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mend {
    Nothing,
    /// The end of an append that failed must go.
    Truncate,
    /// What the disk has is not known, or is not this log yet.
    Rewrite,
}

/// The ids that are there. Ids come from the app itself, so mixing their bits is hash enough.
pub(super) type Ids = HashSet<u64, BuildHasherDefault<Mixed>>;

#[derive(Debug, Default)]
pub(super) struct Mixed(u64);

impl Hasher for Mixed {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = seed::mix(self.0 ^ value);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The behaviour of one user, bounded, in order and safe on disk. See the [module](super) for the rules.
pub struct Store {
    pub(super) storage: Box<dyn Storage + Send>,
    pub(super) config: Config,
    pub(super) layout: Layout,
    /// What the file holds, or will once it is mended.
    pub(super) image: Vec<u8>,
    /// The image before the last compaction, for its room.
    pub(super) spare: Vec<u8>,
    /// Where the image's records begin.
    pub(super) records: usize,
    /// What is kept, oldest first.
    pub(super) slots: VecDeque<Slot>,
    pub(super) ids: Ids,
    /// Bytes of the records of `slots`.
    pub(super) kept: usize,
    pub(super) clock: Clock,
    /// Events that no sync has followed.
    pub(super) unsynced: u32,
    pub(super) mend: Mend,
    /// The image's length from which a compaction that failed is tried again.
    pub(super) retry_at: usize,
}

impl Store {
    /// Takes an event. `now` is the clock of the moment, in milliseconds since 1970.
    ///
    /// Takes O(1) for an event that is the newest, amortised over compactions, and O(events after it) for a late one; once
    /// warm it allocates nothing.
    ///
    /// # Errors
    /// If the event does not fit the layout, or its record could not be written. Then the store is as before, and usable.
    pub fn push(&mut self, event: &Event<'_>, now: i64) -> Result<Pushed> {
        self.check(event)?;
        let (stamp, epoch_began) = self.stamp(event.time, now);
        let pushed = |outcome| Pushed { outcome, time: stamp.time, epoch_began };
        // Ids before everything: an event that was pushed once must not move the clock again.
        if event.id.is_some_and(|id| self.ids.contains(&id)) {
            return Ok(Pushed { epoch_began: false, ..pushed(Outcome::Duplicate) });
        }
        self.make_ready(now)?;
        let start = self.image.len();
        format::write_record(&mut self.image, event, stamp);
        let size = self.image.len() - start;
        let key = (stamp.clock.epoch, stamp.time);
        let (followers, bytes) = self.followers(key);
        let full = followers >= self.config.capacity || bytes + size > self.config.max_bytes;
        if full || stamp.time < self.config.expiry(now) {
            self.image.truncate(start);
            return Ok(Pushed { epoch_began: false, ..pushed(Outcome::TooOld) });
        }
        self.write(start)?;
        self.insert(Slot { epoch: key.0, offset: start as u32, time: key.1 }, followers, event.id);
        self.clock = stamp.clock;
        if self.is_long() && self.image.len() >= self.retry_at {
            // The event is safe already. Without room for a new file this one goes on growing for a while.
            let _ = self.compact(now);
        }
        Ok(pushed(if followers == 0 { Outcome::Appended } else { Outcome::Inserted { followers } }))
    }

    /// What is kept and has not expired, oldest first; from the back, newest first.
    pub fn events(&self, now: i64) -> impl DoubleEndedIterator<Item = Stored<'_>> + Clone {
        let expiry = self.config.expiry(now);
        let slots = self.slots.iter().filter(move |slot| slot.time >= expiry);
        slots.map(|slot| self.stored(slot.offset as usize))
    }

    /// The last `count` events whose action is among those given, newest first.
    pub fn last<'a, 'n>(
        &'a self,
        count: usize,
        actions: &'n [u16],
        now: i64,
    ) -> impl Iterator<Item = Stored<'a>> + Clone + use<'a, 'n> {
        self.events(now).rev().filter(|event| actions.contains(&event.action())).take(count)
    }

    /// How many events are kept, those included that have expired and wait to be dropped.
    pub fn kept(&self) -> usize {
        self.slots.len()
    }

    /// What the app declared.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The log's bytes, for a page that keeps them itself.
    pub fn image(&self) -> &[u8] {
        &self.image
    }

    /// Makes everything pushed safe from a loss of power.
    ///
    /// # Errors
    /// If the storage refuses.
    pub fn flush(&mut self) -> Result<()> {
        self.mend()?;
        if self.unsynced > 0 {
            self.sync()?;
        }
        Ok(())
    }

    /// Writes the file anew with what is kept and has not expired. The store does so itself when the file is more than
    /// twice as long as what it keeps; an app may when it has nothing else to do.
    ///
    /// # Errors
    /// If the storage refuses. Then the store is as before.
    pub fn compact(&mut self, now: i64) -> Result<()> {
        let expiry = self.config.expiry(now);
        self.spare.clear();
        format::write_header(&mut self.spare, &self.layout, self.clock);
        let records = self.spare.len();
        for slot in self.slots.iter().filter(|slot| slot.time >= expiry) {
            let offset = slot.offset as usize;
            let record = self.image.get(offset..offset + self.size(offset));
            self.spare.extend_from_slice(record.unwrap_or_default());
        }
        if let Err(error) = self.storage.replace(&self.spare) {
            self.retry_at = self.image.len() + (self.image.len() / 8).max(SLACK);
            return Err(self.refused(error, "write the behaviour log anew"));
        }
        std::mem::swap(&mut self.image, &mut self.spare);
        self.records = records;
        self.kept = self.image.len() - records;
        self.mend = Mend::Nothing;
        self.retry_at = 0;
        let mut at = records;
        for slot in &mut self.slots {
            if slot.time >= expiry {
                slot.offset = at as u32;
                at += FRAME + format::payload_at(&self.image, at).len();
            } else {
                let payload = format::payload_at(&self.spare, slot.offset as usize);
                if let Some(id) = Stored::new(payload, self.layout.numbers().len()).id() {
                    self.ids.remove(&id);
                }
            }
        }
        self.slots.retain(|slot| slot.time >= expiry);
        self.sync()
    }

    /// Forgets everything: the file is replaced by an empty one, or emptied where there is no room for another, before this
    /// returns.
    ///
    /// # Errors
    /// If the storage refuses both, and nothing is forgotten; or if it is forgotten here and what the disk has is not known.
    /// Either way: clear again.
    pub fn clear(&mut self) -> Result<()> {
        let mut empty = Vec::new();
        format::write_header(&mut empty, &self.layout, Clock::START);
        let Err(error) = self.storage.replace(&empty) else {
            self.reset_to_empty();
            self.mend = Mend::Nothing;
            return self.sync();
        };
        let error = self.refused(error, "empty the behaviour log");
        if self.storage.truncate(0).is_err() {
            return Err(error);
        }
        // After a sync that failed the next one proves nothing of a file that was not written anew.
        let uncertain = self.mend == Mend::Rewrite;
        self.reset_to_empty();
        self.mend = Mend::Rewrite;
        self.sync()?;
        if uncertain { Err(error) } else { Ok(()) }
    }

    /// Holds nothing, as a log does that begins.
    pub(super) fn reset_to_empty(&mut self) {
        let mut header = Vec::new();
        format::write_header(&mut header, &self.layout, Clock::START);
        let records = header.len();
        self.reset(header, records, Clock::START);
    }

    /// Holds an image whose records begin at a place, and none of them yet.
    pub(super) fn reset(&mut self, image: Vec<u8>, records: usize, clock: Clock) {
        self.image = image;
        self.records = records;
        self.clock = clock;
        self.spare = Vec::new();
        self.slots.clear();
        self.ids.clear();
        self.kept = 0;
        self.retry_at = 0;
    }

    pub(super) fn has_expired(&self, now: i64) -> bool {
        let expiry = self.config.expiry(now);
        self.slots.iter().any(|slot| slot.time < expiry)
    }

    fn check(&self, event: &Event<'_>) -> Result<()> {
        let counts = [
            ("texts", event.texts.len(), self.layout.columns().len()),
            ("numbers", event.numbers.len(), self.layout.numbers().len()),
        ];
        for (field, given, declared) in counts {
            if given != declared {
                return Err(Error::data(format!("the event has {given}, and {declared} are declared")).in_field(field));
            }
        }
        if usize::from(event.action) >= self.layout.actions().len() {
            let what = format!("action {} of an event, and {} are declared", event.action, self.layout.actions().len());
            return Err(Error::data(what).in_field("action"));
        }
        let texts: usize = event.texts.iter().map(|text| 2 + text.len()).sum();
        if format::FIXED + 4 * event.numbers.len() + texts > format::LONGEST_PUSHED {
            let longest = event.texts.iter().zip(self.layout.columns()).max_by_key(|(text, _)| text.len());
            let field = longest.map(|(_, name)| name.clone()).unwrap_or_default();
            let what = format!("the event's texts have {texts} bytes, and {} are the most", format::LONGEST_PUSHED);
            return Err(Error::data(what).in_field(field));
        }
        Ok(())
    }

    /// The time and epoch of an event that comes now, and whether it begins the epoch.
    fn stamp(&self, time: i64, now: i64) -> (Stamp, bool) {
        let window = i64::from(self.config.reorder_window_ms);
        let jumped = now < self.clock.now.saturating_sub(window);
        let clock = if jumped {
            Clock { epoch: self.clock.epoch.saturating_add(1), now }
        } else {
            Clock { epoch: self.clock.epoch, now: self.clock.now.max(now) }
        };
        let time = if time > now.saturating_add(window) { now } else { time };
        let newest = self.slots.back().filter(|newest| newest.epoch == clock.epoch);
        let time = newest.map_or(time, |newest| time.max(newest.time.saturating_sub(window)));
        (Stamp { time, clock }, jumped)
    }

    /// Whether so much of the file is of no use that it is to be written anew.
    pub(super) fn is_long(&self) -> bool {
        self.image.len() - self.records > 2 * self.kept + SLACK
    }

    fn make_ready(&mut self, now: i64) -> Result<()> {
        self.mend()?;
        if self.image.len() > 4 * self.config.max_bytes + SLACK { self.compact(now) } else { Ok(()) }
    }

    /// Brings the file to what the image says, where an earlier operation failed.
    pub(super) fn mend(&mut self) -> Result<()> {
        match self.mend {
            Mend::Nothing => return Ok(()),
            Mend::Truncate => self
                .storage
                .truncate(self.image.len())
                .map_err(|error| self.refused(error, "cut a half-written event off the behaviour log"))?,
            Mend::Rewrite => {
                self.storage
                    .replace(&self.image)
                    .map_err(|error| self.refused(error, "write the behaviour log anew"))?;
                self.sync()?;
            }
        }
        self.mend = Mend::Nothing;
        Ok(())
    }

    /// Writes the image from `start` on to the storage, or takes it back.
    fn write(&mut self, start: usize) -> Result<()> {
        if let Err(error) = self.storage.append(self.image.get(start..).unwrap_or_default()) {
            self.image.truncate(start);
            if self.storage.truncate(start).is_err() {
                self.mend = Mend::Truncate;
            }
            return Err(self.refused(error, "write an event to the behaviour log"));
        }
        self.unsynced += 1;
        let due = match self.config.durability {
            Durability::Sync => true,
            Durability::Every(events) => self.unsynced >= events,
            Durability::Flush => false,
        };
        if due {
            self.sync().inspect_err(|_| self.image.truncate(start))?;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        if let Err(error) = self.storage.sync() {
            // Systems forget what they could not write, and the next sync would say that all is well.
            self.mend = Mend::Rewrite;
            return Err(self.refused(error, "bring the behaviour log to disk"));
        }
        self.unsynced = 0;
        Ok(())
    }

    /// How many events are after a place in the order, and the bytes of their records.
    pub(super) fn followers(&self, key: (u32, i64)) -> (usize, usize) {
        let after = self.slots.iter().rev().take_while(|slot| slot.key() > key);
        after.fold((0, 0), |(count, bytes), slot| (count + 1, bytes + self.size(slot.offset as usize)))
    }

    /// Puts a record of the image into the order, then drops the oldest events until the bounds hold.
    pub(super) fn insert(&mut self, slot: Slot, followers: usize, id: Option<u64>) {
        self.kept += self.size(slot.offset as usize);
        self.slots.insert(self.slots.len() - followers, slot);
        self.ids.extend(id);
        while self.slots.len() > self.config.capacity || self.kept > self.config.max_bytes {
            let Some(oldest) = self.slots.pop_front() else { return };
            self.kept -= self.size(oldest.offset as usize);
            if let Some(id) = self.stored(oldest.offset as usize).id() {
                self.ids.remove(&id);
            }
        }
    }

    /// Bytes of the record at a place.
    pub(super) fn size(&self, offset: usize) -> usize {
        FRAME + format::payload_at(&self.image, offset).len()
    }

    pub(super) fn stored(&self, offset: usize) -> Stored<'_> {
        Stored::new(format::payload_at(&self.image, offset), self.layout.numbers().len())
    }

    pub(super) fn refused(&self, error: std::io::Error, doing: &str) -> Error {
        Error::io(error, format!("could not {doing}"), self.storage.name())
    }
}
