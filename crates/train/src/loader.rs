//! Batches of an epoch, read and indexed on a thread of their own while the step before them is computed.

use crate::inputs::{Prepared, Readers};
use kitestring_core::{Error, Result, Seed};
use kitestring_data::dataset::{Order, Split};
use std::sync::mpsc;

/// What an epoch reads.
pub(crate) struct Epoch<'a> {
    /// The split.
    pub split: &'a Split,
    /// Which features read which table.
    pub readers: &'a Readers,
    /// The order of its samples.
    pub order: Order,
    /// Decides the drawn negatives.
    pub draws: Seed,
    /// Samples a batch; the last one may have fewer.
    pub batch_size: usize,
    /// The first batch, for an epoch that goes on.
    pub first_batch: u64,
}

impl Epoch<'_> {
    /// The number of batches of a whole epoch.
    pub fn batches(&self) -> u64 {
        self.split.rows().div_ceil(self.batch_size as u64)
    }

    /// Calls `body` with the epoch's batches, which are read ahead for `learners` that hold one each.
    ///
    /// # Errors
    /// What the body says.
    pub fn read<T>(&self, learners: usize, body: impl FnOnce(&mut Batches) -> Result<T>) -> Result<T> {
        // Beside those being learned from, one ready and one being read.
        let in_flight = learners + 2;
        let (ready, batches) = mpsc::sync_channel(in_flight);
        let (used, empty) = mpsc::channel();
        for _ in 0..in_flight {
            // The receiver is alive: it is a line above.
            let _ = used.send(Prepared::default());
        }
        std::thread::scope(|scope| {
            scope.spawn(move || self.read_all(&empty, &ready));
            // Dropping both ends on any way out ends the thread: it finds nobody to send to, or nothing to fill.
            body(&mut Batches { ready: batches, used })
        })
    }

    fn read_all(&self, empty: &mpsc::Receiver<Prepared>, ready: &mpsc::SyncSender<Result<Prepared>>) {
        let mut indices = Vec::with_capacity(self.batch_size);
        for number in self.first_batch..self.batches() {
            let Ok(mut prepared) = empty.recv() else { return };
            let first = number * self.batch_size as u64;
            let last = (first + self.batch_size as u64).min(self.split.rows());
            indices.clear();
            indices.extend((first..last).map(|position| self.order.at(position)));
            let read = self.split.read(&indices, self.draws, &mut prepared.batch);
            let result = read.map(|()| {
                prepared.index_to_learn(self.readers);
                prepared
            });
            let failed = result.is_err();
            if ready.send(result).is_err() || failed {
                return;
            }
        }
    }
}

/// The batches of an epoch, in order.
pub(crate) struct Batches {
    ready: mpsc::Receiver<Result<Prepared>>,
    used: mpsc::Sender<Prepared>,
}

impl Batches {
    /// The next batch, or why it could not be read; none at the end.
    pub fn next(&mut self) -> Option<Result<Prepared>> {
        self.ready.recv().ok()
    }

    /// Where batches go that were learned from, to be filled again.
    pub fn used(&self) -> mpsc::Sender<Prepared> {
        self.used.clone()
    }
}

/// Names the row a sample came from in an error about it.
pub(crate) fn blame(error: Error, split: &Split, sample: u64) -> Error {
    match split.source(sample) {
        Ok((file, line)) => error.in_file(file).at_line(line),
        Err(_) => error,
    }
}
