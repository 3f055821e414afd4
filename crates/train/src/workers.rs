//! A pool of threads for the engine.

use kitestring_core::{Error, Result};
use kitestring_nn::engine::Workers;

/// A pool of threads, one a worker.
#[derive(Debug)]
pub struct Threads {
    pool: rayon::ThreadPool,
}

impl Threads {
    /// A pool of `count` threads; 0 for one a core.
    ///
    /// # Errors
    /// If the system gives no threads.
    pub fn new(count: usize) -> Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(count).build();
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
