//! Opening: a new log, one of before, one that was damaged, one of an older layout.

use super::config::Config;
use super::event::{Event, Stored};
use super::format::{self, Clock, Header};
use super::layout::Layout;
use super::storage::Storage;
use super::store::{Ids, Mend, Slot, Store};
use kitestring_core::{Error, Result};
use std::collections::VecDeque;
use std::io::ErrorKind;

/// What opening a log found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Opened {
    /// Bytes at the end that were no whole record, as a kill leaves them; they were cut off.
    pub torn_bytes: usize,
    /// Bytes before and between records that could not be read.
    pub lost_bytes: usize,
    /// Stretches of those bytes.
    pub gaps: usize,
    /// The header could not be read and so nothing could: the log begins anew.
    pub header_lost: bool,
    /// The app's layout was another one and the events were brought to the present one.
    pub relaid: bool,
    /// Actions that are declared no more, with the number of events that were dropped with each.
    pub dropped_actions: Vec<(String, usize)>,
}

impl Store {
    /// Opens a log, or begins one where there is none. `now` is the clock of the moment, in milliseconds since 1970.
    ///
    /// A full disk does not keep a log from being opened: what there was to write is written before the next event.
    ///
    /// # Errors
    /// If the config or the layout cannot be, the bytes are no log or one of a newer format (the file is left as it is),
    /// or the storage refuses for another reason than a full disk.
    pub fn open(
        mut storage: Box<dyn Storage + Send>,
        layout: Layout,
        config: Config,
        now: i64,
    ) -> Result<(Self, Opened)> {
        config.check()?;
        let bytes = storage
            .read()
            .map_err(|error| Error::io(error, "could not read the behaviour log", storage.name()))?;
        let header = format::read_header(&bytes).map_err(|error| error.in_file(storage.name()))?;
        let mut store = Self {
            storage,
            config,
            layout,
            image: Vec::new(),
            spare: Vec::new(),
            records: 0,
            slots: VecDeque::new(),
            ids: Ids::default(),
            kept: 0,
            clock: Clock::START,
            unsynced: 0,
            mend: Mend::Nothing,
            retry_at: 0,
        };
        let report = match header {
            Some(header) => store.take(bytes, header, now)?,
            None => {
                let mut empty = Vec::new();
                format::write_header(&mut empty, &store.layout, Clock::START);
                store.reset(empty);
                store.mend = Mend::Rewrite;
                Opened { lost_bytes: bytes.len(), header_lost: !bytes.is_empty(), ..Opened::default() }
            }
        };
        let written = match store.mend {
            Mend::Rewrite => store.mend(),
            // What cannot be read would be found again each time.
            _ if report.gaps > 0 || store.is_long() => store.compact(now),
            _ => Ok(()),
        };
        match written {
            Err(error) if !is_full(&error) => Err(error),
            _ => Ok((store, report)),
        }
    }

    /// Takes the bytes of a log with a readable header.
    fn take(&mut self, bytes: Vec<u8>, header: Header, now: i64) -> Result<Opened> {
        if u32::try_from(bytes.len()).is_err() {
            return Err(Error::format("longer than any behaviour log").in_file(self.storage.name()));
        }
        let mut report = Opened { relaid: header.layout != self.layout, ..Opened::default() };
        self.image = bytes;
        self.records = header.end;
        self.clock = header.clock;
        let mut slots = Vec::new();
        let image = std::mem::take(&mut self.image);
        let damage = format::scan(&image, header.end, &header.layout, |offset| {
            let stamp = Stored::new(format::payload_at(&image, offset), header.layout.numbers().len()).stamp();
            self.clock = self.clock.after(stamp.clock);
            slots.push(Slot { epoch: stamp.clock.epoch, offset: offset as u32, time: stamp.time });
        });
        self.image = image;
        (report.torn_bytes, report.lost_bytes, report.gaps) = (damage.torn, damage.lost, damage.gaps);
        self.image.truncate(self.image.len() - damage.torn);
        if report.relaid {
            report.dropped_actions = self.relay(&header.layout, &mut slots);
            self.mend = Mend::Rewrite;
        } else if damage.torn > 0 && self.storage.truncate(self.image.len()).is_err() {
            self.mend = Mend::Truncate;
        }
        let expiry = self.config.expiry(now);
        slots.retain(|slot| slot.time >= expiry);
        // Stable: what has the same time stays in the order in which it came.
        slots.sort_by_key(Slot::key);
        self.kept = slots.iter().map(|slot| self.size(slot.offset as usize)).sum();
        self.slots = slots.into();
        self.evict();
        let mut ids = Ids::default();
        let mut twice = 0;
        self.slots.retain(|slot| {
            let payload = format::payload_at(&self.image, slot.offset as usize);
            let fresh = Stored::new(payload, self.layout.numbers().len()).id().is_none_or(|id| ids.insert(id));
            twice += if fresh { 0 } else { format::FRAME + payload.len() };
            fresh
        });
        self.ids = ids;
        self.kept -= twice;
        Ok(report)
    }

    /// Brings the records at these slots from an older layout to the present one, by names. What it drops, by action.
    fn relay(&mut self, old: &Layout, slots: &mut Vec<Slot>) -> Vec<(String, usize)> {
        fn places(now: &[String], before: &[String]) -> Vec<Option<usize>> {
            now.iter().map(|name| before.iter().position(|old| old == name)).collect()
        }
        let actions = places(old.actions(), self.layout.actions());
        let columns = places(self.layout.columns(), old.columns());
        let numbers = places(self.layout.numbers(), old.numbers());
        let mut dropped = vec![0; actions.len()];
        let mut image = Vec::with_capacity(self.image.len());
        format::write_header(&mut image, &self.layout, self.clock);
        self.records = image.len();
        slots.retain_mut(|slot| {
            let event = Stored::new(format::payload_at(&self.image, slot.offset as usize), old.numbers().len());
            let Some(&Some(action)) = actions.get(usize::from(event.action())) else {
                if let Some(count) = dropped.get_mut(usize::from(event.action())) {
                    *count += 1;
                }
                return false;
            };
            slot.offset = image.len() as u32;
            let before: Vec<&str> = event.texts().collect();
            let text = |at: &Option<usize>| at.and_then(|at| before.get(at).copied()).unwrap_or_default();
            let texts: Vec<&str> = columns.iter().map(text).collect();
            let number = |at: &Option<usize>| at.and_then(|at| event.number(at)).unwrap_or(f32::NAN);
            let numbers: Vec<f32> = numbers.iter().map(number).collect();
            let stamp = event.stamp();
            let event =
                Event { time: stamp.time, action: action as u16, texts: &texts, numbers: &numbers, id: event.id() };
            format::write_record(&mut image, &event, stamp);
            true
        });
        self.image = image;
        let dropped = old.actions().iter().cloned().zip(dropped);
        dropped.filter(|(_, count)| *count > 0).collect()
    }
}

/// Whether room was missing, which time or the user may mend.
fn is_full(error: &Error) -> bool {
    std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<std::io::Error>())
        .is_some_and(|source| matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded))
}
