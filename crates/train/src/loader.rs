//! Batches of an epoch, read and indexed on a thread of their own while the step before them is computed.

use crate::inputs::{Prepared, Readers};
use kitestring_core::{Error, Result, Seed};
use kitestring_data::dataset::{Permutation, Split};
use std::sync::mpsc;

/// Batches in flight: one being learned, one ready, one being read.
const IN_FLIGHT: usize = 3;

/// What an epoch reads.
pub(crate) struct Epoch<'a> {
    /// The split.
    pub split: &'a Split,
    /// Which features read which table.
    pub readers: &'a Readers,
    /// The order of its samples.
    pub order: Permutation,
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

    /// Calls `body` with each batch in order, until it fails or says to stop by `false`.
    ///
    /// # Errors
    /// What reading or the body says.
    pub fn each(&self, mut body: impl FnMut(&Prepared) -> Result<bool>) -> Result<()> {
        let (ready, batches) = mpsc::sync_channel::<Result<Prepared>>(IN_FLIGHT);
        let (give_back, empty) = mpsc::channel();
        for _ in 0..IN_FLIGHT {
            // The receiver is alive: it is a few lines away.
            let _ = give_back.send(Prepared::default());
        }
        std::thread::scope(|scope| {
            scope.spawn(move || self.read_all(&empty, &ready));
            // Dropping both ends on any way out ends the thread: it finds nobody to send to, or nothing to fill.
            let (batches, give_back) = (batches, give_back);
            while let Ok(prepared) = batches.recv() {
                let prepared = prepared?;
                if !body(&prepared)? {
                    break;
                }
                let _ = give_back.send(prepared);
            }
            Ok(())
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
                prepared.index(self.readers);
                prepared
            });
            let failed = result.is_err();
            if ready.send(result).is_err() || failed {
                return;
            }
        }
    }
}

/// Names the row a sample came from in an error about it.
pub(crate) fn blame(error: Error, split: &Split, sample: u64) -> Error {
    match split.source(sample) {
        Ok((file, line)) => error.in_file(file).at_line(line),
        Err(_) => error,
    }
}
