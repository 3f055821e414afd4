//! The rows of one id space, shared by workers.

use crate::config::{Config, Space};
use crate::index::Entry;
use crate::route::Route;
use crate::rule::{AnyUpdate, Step};
use crate::shrink::Shrinkage;
use crate::stripe::{Common, Keep, Share, Stripe};
use kitestring_core::{Error, Result, Seed, seed::mix};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};

/// The rows of one id space.
///
/// All methods take `&self`, so that workers share a table. The rows are dealt out to stripes, each behind its own lock; a
/// call visits each of its stripes once and comes back to one that is busy. Rows do not depend on each other, so
/// workers that divide the distinct ids of a batch between them in any way leave the same rows behind.
///
/// A worker's step: [`Table::route`], [`Table::gather`], then, with the gradients, [`Table::apply`]; and, once all workers
/// have applied, [`Table::sweep`] for its part of the table, which does nothing unless the optimizer asks for it.
#[derive(Debug)]
pub struct Table {
    pub(crate) name: String,
    pub(crate) common: Common,
    pub(crate) layout: Layout,
    pub(crate) stripes: Vec<RwLock<Stripe>>,
    pub(crate) shrinkage: RwLock<Shrinkage>,
    /// The highest step applied.
    pub(crate) step: AtomicU64,
}

/// What an eviction removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Evicted {
    /// Rows not seen for too long.
    pub by_age: usize,
    /// Rows seen least, above the greatest number of rows.
    pub by_use: usize,
    /// Ids that waited for admission and were not seen for too long.
    pub waiting: usize,
}

/// Neighbouring ids of a direct space stay together in blocks of this many, as binary logarithm.
const BLOCK: u32 = 6;
/// Binary logarithm of the stripes of an open space.
pub(crate) const OPEN_STRIPES: u32 = 6;

/// Which stripe and slot an id has.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Layout {
    /// Blocks of ids are dealt out in turn, so that the frequent ids, which vocabularies number side by side, do not all
    /// wait for one lock.
    Direct {
        rows: u64,
        stripes: u32,
    },
    Open {
        stripes: u32,
    },
}

impl Layout {
    fn new(space: Space) -> Self {
        match space {
            Space::Direct { rows } => {
                // A stripe of some thousand rows: its lock costs nothing beside them, and visiting the rows stripe
                // by stripe keeps their addresses within the reach of the translation buffers.
                let stripes = (rows / 8192).next_power_of_two().clamp(1, 256);
                Self::Direct { rows, stripes: stripes.trailing_zeros() }
            }
            Space::Open(_) => Self::Open { stripes: OPEN_STRIPES },
        }
    }

    pub(crate) fn stripes(self) -> usize {
        let (Self::Direct { stripes, .. } | Self::Open { stripes }) = self;
        1 << stripes
    }

    /// The stripe of an id, and its slot in a direct space.
    #[inline(always)]
    pub(crate) fn place(self, id: u64) -> (usize, u32) {
        match self {
            Self::Direct { stripes, .. } => {
                let block = id >> BLOCK;
                let stripe = block & ((1 << stripes) - 1);
                (stripe as usize, ((block >> stripes) << BLOCK | (id & ((1 << BLOCK) - 1))) as u32)
            }
            // The hash table within the stripe uses the lowest and the highest bits.
            Self::Open { stripes } => ((mix(id) >> 32) as usize & ((1 << stripes) - 1), u32::MAX),
        }
    }

    fn id(self, stripe: usize, slot: u32) -> u64 {
        let Self::Direct { stripes, .. } = self else { return 0 };
        let block = u64::from(slot >> BLOCK) << stripes | stripe as u64;
        block << BLOCK | u64::from(slot & ((1 << BLOCK) - 1))
    }

    /// Slots of a stripe of a direct space.
    fn slots(self, stripe: usize) -> usize {
        let Self::Direct { rows, stripes } = self else { return 0 };
        let (blocks, rest) = (rows >> BLOCK, rows & ((1 << BLOCK) - 1));
        let whole = (blocks >> stripes) + u64::from((stripe as u64) < blocks & ((1 << stripes) - 1));
        let last = if blocks & ((1 << stripes) - 1) == stripe as u64 { rest } else { 0 };
        ((whole << BLOCK) + last) as usize
    }
}

impl Table {
    /// A table with its rows as they start. Every number is derived from the seed, the name and the id.
    ///
    /// # Errors
    /// A config error that names the key; too little memory.
    pub fn new(name: impl Into<String>, config: Config, seed: Seed) -> Result<Self> {
        Self::new_by(1, name, config, seed)
    }

    /// [`Self::new`] by several threads, whose number changes nothing but the time.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn new_by(workers: usize, name: impl Into<String>, config: Config, seed: Seed) -> Result<Self> {
        let name = name.into();
        config.check().map_err(|error| error.mend(format!("correct the config of table `{name}`")))?;
        let common = Common { config, seed: seed.child(&name) };
        let table = Self::blank(name, common)?;
        if let Layout::Direct { .. } = table.layout {
            let start = |part: usize| {
                for stripe in (part..table.stripes.len()).step_by(workers.max(1)) {
                    let id_of = |slot| table.layout.id(stripe, slot);
                    table.write(stripe).start(&common, table.layout.slots(stripe), id_of);
                }
            };
            std::thread::scope(|scope| {
                (1..workers).for_each(|part| drop(scope.spawn(move || start(part))));
                start(0);
            });
        }
        Ok(table)
    }

    /// A table whose rows are zeros.
    pub(crate) fn blank(name: String, common: Common) -> Result<Self> {
        let layout = Layout::new(common.config.space);
        let stripes = (0..layout.stripes()).map(|stripe| match layout {
            Layout::Direct { .. } => Stripe::direct(&common, layout.slots(stripe)).map(RwLock::new),
            Layout::Open { .. } => Ok(RwLock::new(Stripe::open(&common))),
        });
        let stripes = stripes.collect::<Result<Vec<_>>>()?;
        let shrinkage = RwLock::new(Shrinkage::default());
        Ok(Self { name, common, layout, stripes, shrinkage, step: AtomicU64::new(0) })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is.
    pub fn config(&self) -> &Config {
        &self.common.config
    }

    /// Numbers a row.
    pub fn dim(&self) -> usize {
        self.common.config.dim
    }

    /// Number of rows.
    pub fn len(&self) -> u64 {
        match self.layout {
            Layout::Direct { rows, .. } => rows,
            Layout::Open { .. } => (0..self.stripes.len())
                .map(|stripe| self.read(stripe).index.as_ref().map_or(0, |index| index.len() as u64))
                .sum(),
        }
    }

    /// Number of ids that wait for admission.
    pub fn waiting(&self) -> u64 {
        let of = |stripe: usize| self.read(stripe).index.as_ref().map_or(0, |index| index.waiting.len() as u64);
        (0..self.stripes.len()).map(of).sum()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The highest step applied.
    pub fn step(&self) -> u64 {
        self.step.load(Ordering::Relaxed)
    }

    /// Bytes held: rows, state, index and counters, at their capacity.
    pub fn bytes(&self) -> usize {
        let column = |column: &Vec<u32>| column.capacity() * size_of::<u32>();
        (0..self.stripes.len())
            .map(|stripe| {
                let stripe = self.read(stripe);
                let index = stripe.index.as_ref().map_or(0, crate::index::Index::bytes);
                size_of::<RwLock<Stripe>>()
                    + stripe.rows.bytes()
                    + column(&stripe.stamps)
                    + column(&stripe.updates)
                    + index
            })
            .sum()
    }

    /// Finds where the rows of some ids are. Ids given twice are two rows with the same numbers to [`Self::gather`] and
    /// two updates, one after the other, to [`Self::apply`]; a batch's are made distinct by [`crate::Unique`].
    ///
    /// # Errors
    /// An id outside a direct space.
    pub fn route(&self, ids: &[u64], route: &mut Route) -> Result<()> {
        let layout = self.layout;
        if let Layout::Direct { rows, .. } = layout
            && let Some(&largest) = ids.iter().max()
            && largest >= rows
        {
            return Err(Error::data(format!("id {largest} is outside the table of {rows} rows"))
                .in_field(&self.name)
                .mend("prepare the data with the vocabulary that the table was made for"));
        }
        match layout {
            Layout::Direct { .. } => route.sort(ids, layout.stripes(), |id| layout.place(id)),
            Layout::Open { .. } => route.sort(ids, layout.stripes(), |id| layout.place(id)),
        }
        Ok(())
    }

    /// Reads rows: `out` is `ids × dim`, in the order of the ids given to [`Self::route`]. Reading changes nothing.
    ///
    /// # Errors
    /// A length that does not fit the route, a route made by another table.
    pub fn gather(&self, route: &mut Route, out: &mut [f32]) -> Result<()> {
        self.check(route, out.len())?;
        let shrinkage = self.shrinkage.read().unwrap_or_else(PoisonError::into_inner);
        self.visit(route, RwLock::try_read, RwLock::read, |stripe, share| {
            stripe.gather(&self.common, share, &shrinkage, out);
            Ok(())
        })
    }

    /// Updates rows: `gradients` is `ids × dim`, in the order of the ids given to [`Self::route`], each id's summed over its
    /// occurrences. Steps are counted from 1; a step may be applied in several calls, by any workers.
    ///
    /// # Errors
    /// As [`Self::gather`]; a step of number 0; a learning rate that is not finite or, with the L2 coefficient, shrinks
    /// rows past zero; too little memory for admitted rows. A length or a step that is wrong leaves the table as it was.
    pub fn apply(&self, route: &mut Route, gradients: &[f32], step: Step) -> Result<()> {
        self.check(route, gradients.len())?;
        let number = self.enter(step)?;
        let update = AnyUpdate::new(&self.common.config.optimizer, step);
        let shrinkage = self.shrinkage.read().unwrap_or_else(PoisonError::into_inner);
        let keep = self.keep(step, &shrinkage);
        self.visit(route, RwLock::try_write, RwLock::write, |mut stripe, share| {
            stripe.apply(&self.common, share, gradients, update, keep, number)
        })
    }

    /// Overwrites rows: `rows` is `ids × dim`, in the order of the ids given to [`Self::route`]. Optimizer state stays as it
    /// is; in an open space ids without a row are admitted. For rows learned elsewhere.
    ///
    /// # Errors
    /// As [`Self::gather`]; too little memory for admitted rows.
    pub fn assign(&self, route: &mut Route, rows: &[f32]) -> Result<()> {
        self.check(route, rows.len())?;
        let step = u32::try_from(self.step()).unwrap_or(u32::MAX);
        self.visit(route, RwLock::try_write, RwLock::write, |mut stripe, share| {
            stripe.assign(&self.common, share, rows, step)
        })
    }

    /// Updates the rows that [`Self::apply`] did not touch in this step, where [`crate::Optimizer::sweeps`]; otherwise
    /// nothing is left to do. The stripes are divided into `parts` for as many workers, who all start when the last has
    /// applied.
    ///
    /// # Errors
    /// As [`Self::apply`]; a part that does not exist.
    pub fn sweep(&self, step: Step, part: usize, parts: usize) -> Result<()> {
        if part >= parts {
            return Err(Error::internal(format!("there is no part {part} of {parts}")).in_field(&self.name));
        }
        if !self.common.config.optimizer.sweeps() {
            return Ok(());
        }
        let number = self.enter(step)?;
        let update = AnyUpdate::new(&self.common.config.optimizer, step);
        let shrinkage = self.shrinkage.read().unwrap_or_else(PoisonError::into_inner);
        let keep = self.keep(step, &shrinkage);
        let zeros = vec![0.0; self.dim()];
        for stripe in (part..self.stripes.len()).step_by(parts) {
            self.write(stripe).sweep(update, keep, number, &zeros);
        }
        Ok(())
    }

    /// Removes rows of an open space by age, then by use; a direct space has nothing to evict. Costs a pass over the ids,
    /// so it belongs between epochs or every some thousand steps. The memory is kept for new rows.
    pub fn evict(&self, step: u64) -> Evicted {
        let mut evicted = Evicted::default();
        let Space::Open(open) = self.common.config.space else { return evicted };
        if let Some(max_age) = open.max_age {
            let old = |last: u32| u64::from(last) + max_age < step;
            for stripe in 0..self.stripes.len() {
                if let Some(index) = &mut self.write(stripe).index {
                    evicted.by_age += index.evict(|entry| old(entry.last));
                    let waiting = index.waiting.len();
                    index.waiting.retain(|waiting| !old(waiting.last));
                    evicted.waiting += waiting - index.waiting.len();
                }
            }
        }
        let excess = open.max_rows.map_or(0, |most| self.len().saturating_sub(most)) as usize;
        if excess > 0 {
            // Every row's worth is different, so that the threshold removes exactly the excess.
            let worth = |entry: &Entry| (entry.sightings, entry.last, entry.id);
            let mut all = Vec::with_capacity(self.len() as usize);
            for stripe in 0..self.stripes.len() {
                if let Some(index) = &self.read(stripe).index {
                    all.extend(index.entries.iter().filter(|entry| entry.sightings > 0).map(worth));
                }
            }
            if all.len() < excess {
                return evicted;
            }
            let (_, &mut threshold, _) = all.select_nth_unstable(excess - 1);
            for stripe in 0..self.stripes.len() {
                if let Some(index) = &mut self.write(stripe).index {
                    evicted.by_use += index.evict(|entry| worth(entry) <= threshold);
                }
            }
        }
        evicted
    }

    /// Whether an id has a row.
    pub fn contains(&self, id: u64) -> bool {
        match self.layout {
            Layout::Direct { rows, .. } => id < rows,
            Layout::Open { .. } => {
                self.read(self.layout.place(id).0).index.as_ref().is_some_and(|index| index.find(id).is_some())
            }
        }
    }

    pub(crate) fn read(&self, stripe: usize) -> RwLockReadGuard<'_, Stripe> {
        self.stripes[stripe].read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self, stripe: usize) -> RwLockWriteGuard<'_, Stripe> {
        self.stripes[stripe].write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a step into the table's clock.
    fn enter(&self, step: Step) -> Result<u32> {
        let fault = |what: String| Error::internal(what).in_field(&self.name);
        let number = u32::try_from(step.number).ok().filter(|number| *number > 0 && *number < u32::MAX);
        let number =
            number.ok_or_else(|| fault(format!("steps are counted from 1 to 2^32 - 2, not {}", step.number)))?;
        if !step.learning_rate.is_finite() {
            return Err(fault(format!("the learning rate of step {number} is {}", step.learning_rate)));
        }
        let optimizer = &self.common.config.optimizer;
        let amount = step.learning_rate * optimizer.l2;
        if amount >= 1.0 && (optimizer.decoupled || optimizer.shrinks_lazily()) {
            return Err(Error::config(format!(
                "learning rate × l2 is {amount}: every step would shrink rows past zero"
            ))
            .in_field(format!("{}.optimizer.l2", self.name))
            .mend("lower one of them"));
        }
        self.step.fetch_max(step.number, Ordering::Relaxed);
        if optimizer.shrinks_lazily() {
            let known = self.shrinkage.read().unwrap_or_else(PoisonError::into_inner).sums.len() > number as usize;
            if !known {
                let mut shrinkage = self.shrinkage.write().unwrap_or_else(PoisonError::into_inner);
                shrinkage.enter(number as usize, amount);
            }
        }
        Ok(number)
    }

    fn keep<'a>(&self, step: Step, shrinkage: &'a Shrinkage) -> Keep<'a> {
        let optimizer = &self.common.config.optimizer;
        if optimizer.shrinks_lazily() {
            Keep::Since(shrinkage)
        } else if optimizer.decoupled {
            Keep::Factor(1.0 - step.learning_rate * optimizer.l2)
        } else {
            Keep::Factor(1.0)
        }
    }

    fn check(&self, route: &Route, numbers: usize) -> Result<()> {
        if route.starts.len() != self.stripes.len() + 1 {
            return Err(Error::internal("the route was made by another table").in_field(&self.name));
        }
        if numbers != route.len() * self.dim() {
            let expected = format!("expected {} rows × {} numbers, found {numbers}", route.len(), self.dim());
            return Err(Error::internal(expected).in_field(&self.name));
        }
        Ok(())
    }

    /// Visits the stripes of a route, each once: first those that are free, then those that were busy.
    fn visit<'a, G: std::ops::Deref<Target = Stripe>>(
        &'a self,
        route: &mut Route,
        try_lock: impl Fn(&'a RwLock<Stripe>) -> Result<G, TryLockError<G>>,
        lock: impl Fn(&'a RwLock<Stripe>) -> Result<G, PoisonError<G>>,
        mut work: impl FnMut(G, Share<'_>) -> Result<()>,
    ) -> Result<()> {
        let Route { ids, slots, positions, starts, busy } = route;
        busy.clear();
        let mut share_of = |stripe: usize, guard: G| {
            let range = starts[stripe] as usize..starts[stripe + 1] as usize;
            let (ids, positions) = (&ids[range.clone()], &positions[range.clone()]);
            work(guard, Share { ids, slots: &mut slots[range], positions })
        };
        for stripe in 0..self.stripes.len() {
            if starts[stripe] == starts[stripe + 1] {
                continue;
            }
            match try_lock(&self.stripes[stripe]) {
                Ok(guard) => share_of(stripe, guard)?,
                Err(TryLockError::Poisoned(poisoned)) => share_of(stripe, poisoned.into_inner())?,
                Err(TryLockError::WouldBlock) => busy.push(stripe as u32),
            }
        }
        for &stripe in &*busy {
            let stripe = stripe as usize;
            share_of(stripe, lock(&self.stripes[stripe]).unwrap_or_else(PoisonError::into_inner))?;
        }
        Ok(())
    }
}
