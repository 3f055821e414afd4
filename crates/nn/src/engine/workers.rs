//! Who does the work. Threads are handed in, so that a phone, a page and a simulation bring their own.

use kitestring_core::{Error, Result};
#[cfg(feature = "train")]
use std::sync::{Mutex, PoisonError};

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

/// Hands pieces of work, so many floats in all, out to workers, one after another as they come for more. What a body does to its piece
/// must not depend on who does it.
#[cfg(feature = "train")]
pub(crate) fn each_piece<P: Iterator<Item: Send> + Send>(
    workers: &dyn Workers,
    floats: usize,
    pieces: P,
    body: impl Fn(P::Item) + Sync,
) {
    let pieces = Mutex::new(pieces);
    // Waking the others would take longer.
    let workers = if floats <= PIECE { &OneWorker } else { workers };
    let next = || pieces.lock().unwrap_or_else(PoisonError::into_inner).next();
    workers.run(&|_| {
        while let Some(piece) = next() {
            body(piece);
        }
    });
}

/// Floats of a piece: enough for handing it out to cost nothing.
#[cfg(feature = "train")]
pub(crate) const PIECE: usize = 32 * 1024;

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
