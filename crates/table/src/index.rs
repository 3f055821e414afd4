//! Which ids of an open space have a row, and who waits for one. Collisionless: ids are compared in full.

use hashbrown::HashTable;
use kitestring_core::seed::mix;

/// Ids, by slot and by hash.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// By slot. A free slot has never been seen.
    pub(crate) entries: Vec<Entry>,
    by_id: HashTable<u32>,
    free: Vec<u32>,
    pub(crate) waiting: HashTable<Waiting>,
    /// The last step before which it was looked whether too many wait.
    looked: u32,
}

/// An id with a row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) id: u64,
    /// The step of the last sighting.
    pub(crate) last: u32,
    /// Sightings; 0 for a free slot.
    pub(crate) sightings: u32,
}

/// An id without a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Waiting {
    pub(crate) id: u64,
    pub(crate) last: u32,
    pub(crate) sightings: u32,
}

/// What a sighting of an id means.
pub(crate) enum Sighting {
    /// It has a row.
    Has(u32),
    /// It waits for more sightings.
    Waits,
    /// Its time has come with this many sightings; it has no slot yet.
    Admitted { sightings: u32 },
}

impl Index {
    #[inline(always)]
    pub(crate) fn find(&self, id: u64) -> Option<u32> {
        self.by_id.find(mix(id), |slot| self.entries[*slot as usize].id == id).copied()
    }

    /// Counts a sighting. `hint` is the slot the id had when its row was read.
    #[inline(always)]
    pub(crate) fn see(&mut self, id: u64, hint: u32, admit_after: u32, step: u32) -> Sighting {
        let hinted = self.entries.get(hint as usize).is_some_and(|entry| entry.id == id && entry.sightings > 0);
        if let Some(slot) = if hinted { Some(hint) } else { self.find(id) } {
            let sightings = self.entries[slot as usize].sightings.saturating_add(1);
            self.mark(slot, step, sightings);
            return Sighting::Has(slot);
        }
        // An id seen for the first time does not wait if the first sighting admits it.
        let mut sightings = 1;
        if !self.waiting.is_empty()
            && let Ok(mut found) = self.waiting.find_entry(mix(id), |waiting| waiting.id == id)
        {
            let waiting = found.get_mut();
            waiting.sightings = waiting.sightings.saturating_add(1);
            waiting.last = waiting.last.max(step);
            sightings = waiting.sightings;
            if sightings < admit_after {
                return Sighting::Waits;
            }
            found.remove();
        }
        if sightings < admit_after {
            self.wait(Waiting { id, last: step, sightings });
            return Sighting::Waits;
        }
        Sighting::Admitted { sightings }
    }

    /// Enters an id that waits.
    pub(crate) fn wait(&mut self, waiting: Waiting) {
        self.waiting.insert_unique(mix(waiting.id), waiting, |waiting| mix(waiting.id));
    }

    /// Forgets more than half of the ids that wait, where they are more than `most`: those seen least, among them those not seen for longest. It
    /// looks once a step, before the step's first sighting, so that what it forgets does not depend on the order of a step's sightings.
    pub(crate) fn forget(&mut self, most: usize, step: u32) {
        if step <= self.looked {
            return;
        }
        self.looked = step;
        if self.waiting.len() <= most {
            return;
        }
        let worth = |waiting: &Waiting| (waiting.sightings, waiting.last, waiting.id);
        let mut all: Vec<_> = self.waiting.iter().map(worth).collect();
        let last = all.len() - most / 2 - 1;
        let (_, &mut threshold, _) = all.select_nth_unstable(last);
        self.waiting.retain(|waiting| worth(waiting) > threshold);
    }

    /// Slots once one more id is entered.
    pub(crate) fn slots_after_next(&self) -> usize {
        self.entries.len() + usize::from(self.free.is_empty())
    }

    /// Slots, free ones included.
    pub(crate) fn slots(&self) -> usize {
        self.entries.len()
    }

    /// Ids with a row.
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Gives an id that has none a slot; it counts as free until it is marked as seen.
    pub(crate) fn insert(&mut self, id: u64) -> u32 {
        let entry = Entry { id, last: 0, sightings: 0 };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.entries[slot as usize] = entry;
                slot
            }
            None => {
                if self.entries.len() == self.entries.capacity() {
                    // By an eighth instead of twice as many: the columns shall not outweigh the rows they serve.
                    self.entries.reserve_exact(64 + self.entries.len() / 8);
                }
                self.entries.push(entry);
                self.entries.len() as u32 - 1
            }
        };
        let entries = &self.entries;
        self.by_id.insert_unique(mix(id), slot, |slot| mix(entries[*slot as usize].id));
        slot
    }

    /// Sets when and how often the id of a slot was seen.
    #[inline(always)]
    pub(crate) fn mark(&mut self, slot: u32, last: u32, sightings: u32) {
        let entry = &mut self.entries[slot as usize];
        entry.last = entry.last.max(last);
        entry.sightings = sightings;
    }

    /// Frees the slots that `gone` says; how many.
    pub(crate) fn evict(&mut self, gone: impl Fn(&Entry) -> bool) -> usize {
        let Self { entries, by_id, free, .. } = self;
        let before = free.len();
        for (slot, entry) in entries.iter_mut().enumerate() {
            if entry.sightings == 0 || !gone(entry) {
                continue;
            }
            if let Ok(found) = by_id.find_entry(mix(entry.id), |other| *other == slot as u32) {
                found.remove();
                entry.sightings = 0;
                free.push(slot as u32);
            }
        }
        free.len() - before
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
            + self.by_id.allocation_size()
            + self.free.capacity() * size_of::<u32>()
            + self.waiting.allocation_size()
    }
}
