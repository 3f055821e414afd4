//! Who does the work. Threads are handed in, so that a phone, a page and a simulation bring their own.

use kitestring_core::{Error, Result};

/// Runs numbered tasks at the same time.
pub trait Workers: Sync {
    /// How many run at once.
    fn count(&self) -> usize;

    /// Calls `task` once for each worker's number, and returns when all have returned.
    fn run(&self, task: &(dyn Fn(usize) + Sync));
}

/// Fails if there are not as many workers as were planned for: some tiles would be nobody's.
pub(super) fn check_count(workers: &dyn Workers, planned: usize) -> Result<()> {
    match workers.count() {
        count if count == planned => Ok(()),
        count => Err(Error::internal(format!("planned for {planned} workers, called with {count}"))),
    }
}

/// The calling thread alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct OneWorker;

impl Workers for OneWorker {
    fn count(&self) -> usize {
        1
    }

    fn run(&self, task: &(dyn Fn(usize) + Sync)) {
        task(0);
    }
}
