//! Where the rows of some ids are: the ids in the order in which their stripes are visited.

/// The ids of one call, sorted by stripe. A workspace of one worker: made by [`crate::Table::route`], used by
/// [`crate::Table::gather`] and [`crate::Table::apply`]; a warm call allocates nothing.
#[derive(Debug, Default)]
pub struct Route {
    /// Ids, by stripe.
    pub(crate) ids: Vec<u64>,
    /// The slot of each within its stripe; in an open space a hint until checked.
    pub(crate) slots: Vec<u32>,
    /// Where each stood in the order of the caller.
    pub(crate) positions: Vec<u32>,
    /// Where each stripe's ids start, and one past the end of the last.
    pub(crate) starts: Vec<u32>,
    /// Stripes found busy, to come back to.
    pub(crate) busy: Vec<u32>,
}

impl Route {
    /// An empty workspace.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of ids.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Counting sort by stripe; `place` gives the stripe and the slot of an id.
    #[inline(always)]
    pub(crate) fn sort(&mut self, ids: &[u64], stripes: usize, place: impl Fn(u64) -> (usize, u32)) {
        self.ids.resize(ids.len(), 0);
        self.slots.resize(ids.len(), 0);
        self.positions.resize(ids.len(), 0);
        // Counts are kept two places further, so that after the second pass each start is in its own place.
        self.starts.clear();
        self.starts.resize(stripes + 2, 0);
        for &id in ids {
            self.starts[place(id).0 + 2] += 1;
        }
        for stripe in 2..stripes + 2 {
            self.starts[stripe] += self.starts[stripe - 1];
        }
        for (position, &id) in ids.iter().enumerate() {
            let (stripe, slot) = place(id);
            let next = &mut self.starts[stripe + 1];
            let at = *next as usize;
            *next += 1;
            self.ids[at] = id;
            self.slots[at] = slot;
            self.positions[at] = position as u32;
        }
        self.starts.pop();
    }
}
