//! Opening: a new log, one of before, one that was damaged, one of an older layout.

use super::config::Config;
use super::event::Event;
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
        let bytes =
            storage.read().map_err(|error| Error::io(error, "could not read the behaviour log", storage.name()))?;
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
                store.reset_to_empty();
                store.mend = Mend::Rewrite;
                Opened { lost_bytes: bytes.len(), header_lost: !bytes.is_empty(), ..Opened::default() }
            }
        };
        let written = match store.mend {
            Mend::Rewrite => store.mend(),
            // What cannot be read would be found again each time.
            // Nor should what has expired stay on disk for want of pushes.
            _ if report.gaps > 0 || store.is_long() || store.has_expired(now) => store.compact(now),
            _ => Ok(()),
        };
        match written {
            Err(error) if !is_full(&error) => Err(error),
            _ => Ok((store, report)),
        }
    }

    /// Takes the bytes of a log with a readable header.
    fn take(&mut self, mut bytes: Vec<u8>, header: Header, now: i64) -> Result<Opened> {
        if u32::try_from(bytes.len()).is_err() {
            return Err(Error::format("longer than any behaviour log").in_file(self.storage.name()));
        }
        let mut offsets = Vec::new();
        let damage = format::scan(&bytes, header.end, &header.layout, |offset| offsets.push(offset));
        bytes.truncate(bytes.len() - damage.torn);
        let declared = std::mem::replace(&mut self.layout, header.layout);
        self.image = bytes;
        self.records = header.end;
        self.clock = header.clock;
        self.replay(&offsets);
        let mut report = Opened {
            torn_bytes: damage.torn,
            lost_bytes: damage.lost,
            gaps: damage.gaps,
            relaid: declared != self.layout,
            ..Opened::default()
        };
        if report.relaid {
            report.dropped_actions = self.relay(declared, now);
            self.mend = Mend::Rewrite;
        } else if damage.torn > 0 && self.storage.truncate(self.image.len()).is_err() {
            self.mend = Mend::Truncate;
        }
        Ok(report)
    }

    /// Places records as they were placed when they were pushed: in the order of the file, with the same bounds. So what is
    /// kept is what was kept before, whatever else the file still holds.
    fn replay(&mut self, offsets: &[usize]) {
        for &offset in offsets {
            let stored = self.stored(offset);
            let (stamp, id) = (stored.stamp(), stored.id());
            if id.is_some_and(|id| self.ids.contains(&id)) {
                continue;
            }
            let slot = Slot { epoch: stamp.clock.epoch, offset: offset as u32, time: stamp.time };
            let (followers, _) = self.followers(slot.key());
            self.insert(slot, followers, id);
            self.clock = self.clock.after(stamp.clock);
        }
    }

    /// Brings what is kept to another layout, by names. What that drops, by action.
    fn relay(&mut self, layout: Layout, now: i64) -> Vec<(String, usize)> {
        fn places(of: &[String], among: &[String]) -> Vec<Option<usize>> {
            of.iter().map(|name| among.iter().position(|other| other == name)).collect()
        }
        let old = &self.layout;
        let actions = places(old.actions(), layout.actions());
        let columns = places(layout.columns(), old.columns());
        let numbers = places(layout.numbers(), old.numbers());
        let mut dropped = vec![0; actions.len()];
        let mut image = Vec::with_capacity(self.image.len());
        format::write_header(&mut image, &layout, self.clock);
        let records = image.len();
        let mut offsets = Vec::with_capacity(self.slots.len());
        for event in self.events(now) {
            let from = usize::from(event.action());
            let Some(&Some(action)) = actions.get(from) else {
                dropped.iter_mut().skip(from).take(1).for_each(|count| *count += 1);
                continue;
            };
            let before: Vec<&str> = event.texts().collect();
            let text = |at: &Option<usize>| at.and_then(|at| before.get(at).copied()).unwrap_or_default();
            let texts: Vec<&str> = columns.iter().map(text).collect();
            let number = |at: &Option<usize>| at.and_then(|at| event.number(at)).unwrap_or(f32::NAN);
            let numbers: Vec<f32> = numbers.iter().map(number).collect();
            let stamp = event.stamp();
            offsets.push(image.len());
            let event =
                Event { time: stamp.time, action: action as u16, texts: &texts, numbers: &numbers, id: event.id() };
            format::write_record(&mut image, &event, stamp);
        }
        let dropped = old.actions().iter().cloned().zip(dropped).filter(|(_, count)| *count > 0).collect();
        let clock = self.clock;
        self.layout = layout;
        self.reset(image, records, clock);
        self.replay(&offsets);
        dropped
    }
}

/// Whether room was missing, which time or the user may mend.
fn is_full(error: &Error) -> bool {
    std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<std::io::Error>())
        .is_some_and(|source| matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded))
}
