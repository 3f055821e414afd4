//! Runs side by side, as many as the memory holds.

use crate::config::RunConfig;
use kitestring_core::{Error, Result};
use kitestring_data::dataset::Dataset;
use kitestring_nn::ranker::Ranker;
use std::sync::{Condvar, Mutex, PoisonError};

/// What a run takes beyond its model: buffers of the loader, a tile's values, the program itself.
const BESIDES: u64 = 64 << 20;
/// Bytes that scoring keeps for each sample of the largest judged split: scores, labels, users, and a copy while replicates are drawn.
const SCORED: u64 = 96;

/// About how many bytes a run takes: its rows with what their optimizer remembers, its network with gradients and copies for each worker,
/// and what judging keeps a sample. An open table is taken to get a row for every training sample at most.
///
/// # Errors
/// A config that is no ranker.
pub fn memory(config: &RunConfig, dataset: &Dataset) -> Result<u64> {
    let ranker = Ranker::new(dataset.schema(), &config.model, &dataset.scenario_counts())?;
    let samples = dataset.split("train")?.rows();
    let mut bytes = BESIDES;
    for table in &ranker.tables {
        let rows = dataset.table_size(&table.name)?.unwrap_or(samples);
        bytes += 4 * rows * (table.width + config.train.rows.state(table.width)) as u64;
    }
    // Weights, two moments, transposed weights; a worker's gradients, and a checkpoint's copy.
    bytes += 4 * ranker.graph.weight_count() as u64 * (5 + config.train.workers.max(1) as u64);
    let judged = dataset.splits().iter().filter(|split| split.name() != "train").map(|split| split.rows());
    Ok(bytes + SCORED * judged.max().unwrap_or(0))
}

/// The bytes of memory that this machine could give now; none where the system does not tell.
pub fn available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemAvailable:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib << 10)
}

/// What decides how many runs go side by side.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// At most so many at once.
    pub jobs: usize,
    /// Together they take at most so many bytes. One that takes more by itself runs alone.
    pub memory: u64,
}

struct Queue<T> {
    waiting: Vec<(u64, T)>,
    running: usize,
    taken: u64,
}

/// Does all jobs, each with the bytes it takes, in their order where the limits allow it: a small one may go before a large one that does
/// not fit yet. A job that panics is reported as one that failed.
///
/// # Errors
/// If the system gives no threads.
pub fn run<T: Send + Copy, R: Send>(
    jobs: &[(u64, T)],
    limits: Limits,
    work: impl Fn(T) -> Result<R> + Sync,
    mut done: impl FnMut(T, Result<R>) + Send,
) -> Result<()> {
    let queue = Mutex::new(Queue { waiting: jobs.to_vec(), running: 0, taken: 0 });
    let changed = Condvar::new();
    let done = Mutex::new(&mut done);
    let worker = || {
        loop {
            let mut held = queue.lock().unwrap_or_else(PoisonError::into_inner);
            let (bytes, job) = loop {
                if held.waiting.is_empty() {
                    return;
                }
                let fits =
                    |(bytes, _): &(u64, T)| held.running == 0 || held.taken.saturating_add(*bytes) <= limits.memory;
                if let Some(next) = held.waiting.iter().position(fits) {
                    break held.waiting.remove(next);
                }
                held = changed.wait(held).unwrap_or_else(PoisonError::into_inner);
            };
            held.running += 1;
            held.taken += bytes;
            drop(held);
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(job)));
            let result = result.unwrap_or_else(|_| Err(Error::internal("the run panicked")));
            (*done.lock().unwrap_or_else(PoisonError::into_inner))(job, result);
            let mut held = queue.lock().unwrap_or_else(PoisonError::into_inner);
            held.running -= 1;
            held.taken -= bytes;
            changed.notify_all();
        }
    };
    std::thread::scope(|scope| {
        for number in 1..limits.jobs.min(jobs.len()) {
            let thread = std::thread::Builder::new().name(format!("run-{number}"));
            let started = thread.spawn_scoped(scope, worker);
            started.map_err(|error| Error::internal("could not start a thread").caused_by(error))?;
        }
        worker();
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::BTreeSet;
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

    /// Every job is done once, never more at a time than the limits say, and the one that is too large runs alone.
    #[test]
    fn limits_hold() {
        let sizes = [3, 9, 1, 4, 30, 2, 5, 1, 1, 6];
        let jobs: Vec<(u64, usize)> = sizes.iter().copied().zip(0..).collect();
        for (count, memory) in [(1, 10), (3, 10), (8, 10), (4, 1000)] {
            let (taken, running) = (AtomicU64::new(0), AtomicU64::new(0));
            let mut finished = Vec::new();
            let work = |job: usize| {
                let now = taken.fetch_add(sizes[job], SeqCst) + sizes[job];
                let beside = running.fetch_add(1, SeqCst);
                assert!(beside < count as u64 && (now <= memory || beside == 0), "{now} {beside}");
                std::thread::sleep(std::time::Duration::from_millis(2));
                running.fetch_sub(1, SeqCst);
                taken.fetch_sub(sizes[job], SeqCst);
                if job == 6 { Err(Error::data("no")) } else { Ok(job) }
            };
            run(&jobs, Limits { jobs: count, memory }, work, |job, result| finished.push((job, result.is_ok())))
                .unwrap();
            let all: BTreeSet<usize> = finished.iter().map(|(job, _)| *job).collect();
            assert_eq!((all.len(), finished.len()), (10, 10));
            assert_eq!(finished.iter().filter(|(_, ok)| !ok).map(|(job, _)| *job).collect::<Vec<_>>(), [6]);
        }
    }

    #[test]
    fn a_panic_is_a_failure_of_one_run() {
        let mut failed = Vec::new();
        let work = |job: usize| if job == 1 { panic!("on purpose") } else { Ok(job) };
        let jobs = [(1, 0), (1, 1), (1, 2)];
        run(&jobs, Limits { jobs: 2, memory: 10 }, work, |job, result| failed.extend(result.err().map(|_| job)))
            .unwrap();
        assert_eq!(failed, [1]);
    }
}
