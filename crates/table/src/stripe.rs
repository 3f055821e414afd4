//! One stripe of a table: the rows behind one lock.

use crate::config::{Config, Open, Rule, Unadmitted};
use crate::index::{Index, Sighting};
use crate::init::Init;
use crate::rows::{Rows, ViewMut};
use crate::rule::{AnyUpdate, Update};
use crate::shrink::Shrinkage;
use kitestring_core::{Result, Seed};
use pulp::{Simd, WithSimd};

/// The slot of an id without a row.
pub(crate) const NO_SLOT: u32 = u32::MAX;

/// The rows behind one lock.
#[derive(Debug)]
pub(crate) struct Stripe {
    pub(crate) rows: Rows,
    /// By slot, where the optimizer needs it: the step up to which the row is current.
    pub(crate) stamps: Vec<u32>,
    /// By slot, where the optimizer needs it: how often the row was updated.
    pub(crate) updates: Vec<u32>,
    /// Which id has which slot; in a direct space that follows from the id.
    pub(crate) index: Option<Index>,
}

/// What the stripes of a table have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Common {
    pub(crate) config: Config,
    pub(crate) seed: Seed,
}

/// The ids of a call that fall into one stripe.
pub(crate) struct Share<'a> {
    pub(crate) ids: &'a [u64],
    pub(crate) slots: &'a mut [u32],
    pub(crate) positions: &'a [u32],
}

/// By how much L2 shrinks a row before its update.
#[derive(Clone, Copy)]
pub(crate) enum Keep<'a> {
    /// By this factor.
    Factor(f32),
    /// By what it has missed since it was last current.
    Since(&'a Shrinkage),
}

impl Common {
    /// Numbers of one row and its state, and what is left free so that rows begin where cache lines do: as far as that
    /// costs at most an eighth.
    pub(crate) fn stride(&self) -> usize {
        let needed = self.config.dim + self.config.optimizer.state(self.config.dim);
        let padded = [16, 8, 4].map(|numbers| needed.next_multiple_of(numbers));
        padded.into_iter().find(|padded| padded * 8 <= needed * 9).unwrap_or(needed)
    }

    /// Writes the row and the state that an id starts from.
    #[inline(always)]
    pub(crate) fn start(&self, id: u64, row: &mut [f32]) {
        let (numbers, state) = row.split_at_mut(self.config.dim);
        self.config.init.fill(self.seed, id, numbers);
        let initial = if let Rule::Adagrad { initial, .. } = self.config.optimizer.rule { initial } else { 0.0 };
        state.fill(initial);
    }

    #[inline(always)]
    fn read_missing(&self, id: u64, out: &mut [f32]) {
        match self.config.space {
            crate::Space::Open(Open { unadmitted: Unadmitted::Zero, .. }) => Init::Zero.fill(self.seed, id, out),
            _ => self.config.init.fill(self.seed, id, out),
        }
    }
}

impl Stripe {
    /// A stripe of a direct space, of zeros.
    pub(crate) fn direct(common: &Common, slots: usize) -> Result<Self> {
        let mut rows = Rows::new(common.stride(), 1 << 31);
        rows.push_chunk(slots)?;
        let mut stripe = Self { rows, stamps: Vec::new(), updates: Vec::new(), index: None };
        stripe.grow_columns(common, slots);
        Ok(stripe)
    }

    /// Writes what slots with these ids start from.
    pub(crate) fn start(&mut self, common: &Common, slots: usize, id_of: impl Fn(u32) -> u64) {
        pulp::Arch::new().dispatch(Start { common, rows: &mut self.rows, slots: slots as u32, id_of });
    }

    /// A stripe of an open space, without rows.
    pub(crate) fn open(common: &Common) -> Self {
        // Large enough for few mappings, small enough that the free parts of the stripes' last chunks weigh little.
        let chunk_rows = ((128 << 10) / (common.stride() * size_of::<f32>())).max(1);
        let rows = Rows::new(common.stride(), chunk_rows);
        Self { rows, stamps: Vec::new(), updates: Vec::new(), index: Some(Index::default()) }
    }

    /// Makes room for slots in the columns beside the rows.
    pub(crate) fn grow_columns(&mut self, common: &Common, slots: usize) {
        let grow = |column: &mut Vec<u32>| {
            if column.len() < slots {
                column.reserve_exact(slots - column.len() + column.len() / 8);
                column.resize(slots, 0);
            }
        };
        if common.config.optimizer.shrinks_lazily() || common.config.optimizer.sweeps() {
            grow(&mut self.stamps);
        }
        if common.config.optimizer.counts_updates() {
            grow(&mut self.updates);
        }
    }

    /// Gives an id, seen so often and last at a step, a slot and the row it starts from, current up to a step.
    pub(crate) fn admit(&mut self, common: &Common, id: u64, seen: (u32, u32), current: u32) -> Result<u32> {
        let Some(index) = &mut self.index else {
            return Err(kitestring_core::Error::internal("a direct space admits no ids"));
        };
        self.rows.grow(index.slots_after_next())?;
        let slot = index.insert(id);
        index.mark(slot, seen.1, seen.0);
        let slots = index.slots();
        self.grow_columns(common, slots);
        common.start(id, self.rows.row_mut(slot));
        if let Some(at) = self.stamps.get_mut(slot as usize) {
            *at = current;
        }
        if let Some(at) = self.updates.get_mut(slot as usize) {
            *at = 0;
        }
        Ok(slot)
    }

    /// Copies rows to their places in `out`.
    pub(crate) fn gather(&self, common: &Common, share: Share<'_>, shrinkage: &Shrinkage, out: &mut [f32]) {
        let dim = common.config.dim;
        if let Some(index) = &self.index {
            let mut missing = false;
            for (&id, slot) in share.ids.iter().zip(&mut *share.slots) {
                *slot = index.find(id).unwrap_or(NO_SLOT);
                missing |= *slot == NO_SLOT;
            }
            if missing {
                pulp::Arch::new().dispatch(ReadMissing { common, share: &share, out });
            }
        }
        pulp::Arch::new().dispatch(Gather { rows: &self.rows, share: &share, out, dim });
        if common.config.optimizer.shrinks_lazily() {
            for (slot, position) in share.slots.iter().zip(share.positions) {
                let Some(&stamp) = self.stamps.get(*slot as usize) else { continue };
                let factor = shrinkage.factor(stamp, shrinkage.step());
                out[*position as usize * dim..][..dim].iter_mut().for_each(|value| *value *= factor);
            }
        }
    }

    /// Updates rows with their gradients, admitting ids as their time comes.
    pub(crate) fn apply(
        &mut self,
        common: &Common,
        share: Share<'_>,
        gradients: &[f32],
        update: AnyUpdate,
        keep: Keep<'_>,
        step: u32,
    ) -> Result<()> {
        if let crate::Space::Open(open) = common.config.space {
            self.index.iter_mut().for_each(|index| index.forget(open.waiting_of_stripe(), step));
            for (&id, slot) in share.ids.iter().zip(&mut *share.slots) {
                let Some(index) = &mut self.index else { continue };
                *slot = match index.see(id, *slot, open.admit_after, step) {
                    Sighting::Has(slot) => slot,
                    Sighting::Waits => NO_SLOT,
                    Sighting::Admitted { sightings } => self.admit(common, id, (sightings, step), step - 1)?,
                };
            }
        }
        self.update(Work::Touched { share, gradients, dim: common.config.dim }, update, keep, step);
        Ok(())
    }

    /// Overwrites rows, which are then current up to a step.
    pub(crate) fn assign(&mut self, common: &Common, share: Share<'_>, rows: &[f32], step: u32) -> Result<()> {
        let dim = common.config.dim;
        for ((&id, slot), &position) in share.ids.iter().zip(share.slots).zip(share.positions) {
            if let Some(index) = &mut self.index {
                *slot = match index.see(id, NO_SLOT, 1, step) {
                    Sighting::Has(slot) => slot,
                    _ => self.admit(common, id, (1, step), step)?,
                };
            }
            self.rows.row_mut(*slot)[..dim].copy_from_slice(&rows[position as usize * dim..][..dim]);
            if let Some(stamp) = self.stamps.get_mut(*slot as usize) {
                *stamp = (*stamp).max(step);
            }
        }
        Ok(())
    }

    /// Updates the rows that the step has not touched with a gradient of zero.
    pub(crate) fn sweep(&mut self, update: AnyUpdate, keep: Keep<'_>, step: u32, zeros: &[f32]) {
        self.update(Work::Untouched { zeros }, update, keep, step);
    }

    fn update(&mut self, work: Work<'_>, update: AnyUpdate, keep: Keep<'_>, step: u32) {
        let arch = pulp::Arch::new();
        match update {
            AnyUpdate::Sgd(update) => arch.dispatch(Run { stripe: self, work, update, keep, step }),
            AnyUpdate::Adagrad(update) => arch.dispatch(Run { stripe: self, work, update, keep, step }),
            AnyUpdate::RowWiseAdagrad(update) => arch.dispatch(Run { stripe: self, work, update, keep, step }),
            AnyUpdate::Adam(update) => arch.dispatch(Run { stripe: self, work, update, keep, step }),
        }
    }
}

/// Which rows to update, with which gradients.
enum Work<'a> {
    Touched { share: Share<'a>, gradients: &'a [f32], dim: usize },
    Untouched { zeros: &'a [f32] },
}

/// A loop over rows and gradients, compiled for each instruction set and rule.
struct Run<'a, U> {
    stripe: &'a mut Stripe,
    work: Work<'a>,
    update: U,
    keep: Keep<'a>,
    step: u32,
}

/// [`Run`] inside the loop.
struct Rolling<'a, U> {
    rows: ViewMut<'a>,
    stamps: &'a mut [u32],
    updates: &'a mut [u32],
    update: U,
    keep: Keep<'a>,
    step: u32,
}

impl<U: Update> Rolling<'_, U> {
    #[inline(always)]
    fn row<S: Simd>(&mut self, simd: S, slot: u32, gradient: &[f32]) {
        let mut updates = 0;
        if let Some(count) = self.updates.get_mut(slot as usize) {
            *count = count.saturating_add(1);
            updates = *count;
        }
        let mut factor = if let Keep::Factor(factor) = self.keep { factor } else { 1.0 };
        if let Some(stamp) = self.stamps.get_mut(slot as usize) {
            if let Keep::Since(shrinkage) = self.keep {
                factor = shrinkage.factor(*stamp, self.step);
            }
            *stamp = (*stamp).max(self.step);
        }
        self.update.update(simd, self.rows.row_mut(slot), gradient, factor, updates);
    }
}

// Loops over indices and not chains of iterators: what the compiler does not inline here is compiled for the least
// instruction set.
impl<U: Update> WithSimd for Run<'_, U> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { stripe, work, update, keep, step } = self;
        let Stripe { rows, stamps, updates, .. } = stripe;
        let mut rolling = Rolling { rows: rows.view_mut(), stamps, updates, update, keep, step };
        match work {
            Work::Touched { share: Share { slots, positions, .. }, gradients, dim } => {
                let positions = &positions[..slots.len()];
                for i in 0..slots.len() {
                    if slots[i] != NO_SLOT {
                        let start = positions[i] as usize * dim;
                        rolling.row(simd, slots[i], &gradients[start..start + dim]);
                    }
                }
            }
            Work::Untouched { zeros } => {
                for slot in 0..rolling.stamps.len() {
                    if rolling.stamps[slot] != step {
                        rolling.row(simd, slot as u32, zeros);
                    }
                }
            }
        }
    }
}

/// Copies the rows there are.
struct Gather<'a> {
    rows: &'a Rows,
    share: &'a Share<'a>,
    out: &'a mut [f32],
    dim: usize,
}

impl WithSimd for Gather<'_> {
    type Output = ();

    // A row is shorter than what a call of memcpy costs.
    #[allow(clippy::manual_memcpy)]
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { rows, share, out, dim } = self;
        let (rows, slots) = (rows.view(), &*share.slots);
        let positions = &share.positions[..slots.len()];
        for i in 0..slots.len() {
            if slots[i] == NO_SLOT {
                continue;
            }
            let start = positions[i] as usize * dim;
            let (from, from_rest) = S::as_simd_f32s(&rows.row(slots[i])[..dim]);
            let (to, to_rest) = S::as_mut_simd_f32s(&mut out[start..start + dim]);
            let from = &from[..to.len()];
            for j in 0..to.len() {
                to[j] = from[j];
            }
            if !to_rest.is_empty() {
                simd.partial_store_f32s(to_rest, simd.partial_load_f32s(from_rest));
            }
        }
    }
}

/// Writes what ids without a row read.
struct ReadMissing<'a> {
    common: &'a Common,
    share: &'a Share<'a>,
    out: &'a mut [f32],
}

impl WithSimd for ReadMissing<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { common, share, out } = self;
        let dim = common.config.dim;
        for i in 0..share.ids.len() {
            if share.slots[i] == NO_SLOT {
                let start = share.positions[i] as usize * dim;
                common.read_missing(share.ids[i], &mut out[start..start + dim]);
            }
        }
    }
}

/// Writes the rows and the state that all slots start from.
struct Start<'a, I> {
    common: &'a Common,
    rows: &'a mut Rows,
    slots: u32,
    id_of: I,
}

impl<I: Fn(u32) -> u64> WithSimd for Start<'_, I> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let mut rows = self.rows.view_mut();
        for slot in 0..self.slots {
            self.common.start((self.id_of)(slot), rows.row_mut(slot));
        }
    }
}
