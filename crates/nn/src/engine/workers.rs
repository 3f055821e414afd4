//! Who does the work. Threads are handed in, so that a phone, a page and a simulation bring their own.

use kitestring_core::{Error, Result};
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

/// Hands pieces of work out to workers, one after another as they come for more, each worker with scratch of its own. Where results are
/// to be the same for any number of workers, what `body` does to a piece must not depend on who does it.
pub fn each_piece<P: Iterator<Item: Send> + Send, S>(
    workers: &dyn Workers,
    pieces: P,
    scratch: impl Fn() -> S + Sync,
    body: impl Fn(&mut S, P::Item) + Sync,
) {
    let pieces = Mutex::new(pieces);
    let next = || pieces.lock().unwrap_or_else(PoisonError::into_inner).next();
    workers.run(&|_| {
        let mut scratch = scratch();
        while let Some(piece) = next() {
            body(&mut scratch, piece);
        }
    });
}

/// The workers, or the caller alone where there are so few floats that waking the others would take longer.
#[cfg(feature = "train")]
pub(crate) fn enough_for(workers: &dyn Workers, floats: usize) -> &dyn Workers {
    if floats <= PIECE { &OneWorker } else { workers }
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
