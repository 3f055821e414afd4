//! A pool of threads for the engine.

use kitestring_core::{Error, Result};
use kitestring_nn::engine::Workers;

/// The most threads of a pool on a machine with fewer cores: enough to try what many workers do.
const MOST: usize = 64;

/// The cores of this machine.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// How many threads a pool has of which so many are asked for: one a core for 0, and no more than 64 or one a core.
pub fn bounded(count: usize) -> usize {
    if count == 0 { cores() } else { count.min(MOST.max(cores())) }
}

/// A pool of threads, one a worker.
#[derive(Debug)]
pub struct Threads {
    pool: rayon::ThreadPool,
}

impl Threads {
    /// A pool of `count` threads; 0 for one a core, and never more than [`bounded`] says.
    ///
    /// # Errors
    /// If the system gives no threads.
    pub fn new(count: usize) -> Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(bounded(count)).build();
        Ok(Self { pool: pool.map_err(|error| Error::internal("could not start threads").caused_by(error))? })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.pool.current_num_threads()
    }
}

impl Workers for Threads {
    fn count(&self) -> usize {
        Self::count(self)
    }

    fn run(&self, task: &(dyn Fn(usize) + Sync)) {
        if self.count() == 1 {
            task(0);
        } else {
            self.pool.broadcast(|context| task(context.index()));
        }
    }
}
