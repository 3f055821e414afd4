//! Asynchronous updates: each worker takes batches of its own and pushes when it is done, without waiting for the others.
//!
//! A worker computes on weights that the others may have changed meanwhile, about once each. Nobody waits at the end of a batch, and
//! what comes out depends on who was first: the same run twice gives different bits.

use crate::inputs::Prepared;
use crate::learner::{Learner, Pass};
use crate::loader::Batches;
use crate::model::Model;
use kitestring_core::Result;
use kitestring_nn::engine::{OneWorker, StepReport};
use kitestring_nn::network::Network;
use kitestring_table::Table;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError, RwLock};

/// A batch that was learned from, or failed.
pub(crate) struct Done {
    /// How many samples it had.
    pub rows: usize,
    /// What the step found.
    pub report: Result<StepReport>,
    /// The sample whose loss was not finite, where that is why it failed.
    pub not_finite: Option<u64>,
}

/// What the workers learn together besides rows, which tables lock themselves.
struct Shared<'a> {
    network: &'a mut Network,
    learner: &'a mut Learner,
}

/// Where the workers take batches from.
struct Source<'a> {
    batches: &'a mut Batches,
    /// The number of the next step.
    next: u64,
    /// The number after the last.
    end: u64,
}

/// Learns from the next `count` batches, one worker a pass, and calls `body` with each as it is done.
///
/// # Errors
/// What reading, a step or the body says; steps under way are then finished.
pub(crate) fn learn(
    passes: &mut [Pass],
    (model, learner): (&mut Model, &mut Learner),
    batches: &mut Batches,
    count: u64,
    learning_rate: &(dyn Fn(u64) -> f32 + Sync),
    body: &mut dyn FnMut(Done) -> Result<()>,
) -> Result<()> {
    let (next, used) = (learner.steps(), batches.used());
    let Model { network, tables, .. } = model;
    let team = Team {
        source: Mutex::new(Source { batches, next, end: next + count }),
        shared: RwLock::new(Shared { network, learner }),
        tables,
        learning_rate,
    };
    std::thread::scope(|scope| {
        let (report, done) = channel();
        for pass in passes {
            let (team, report, used) = (&team, report.clone(), used.clone());
            scope.spawn(move || team.work(pass, &report, &used));
        }
        drop(report);
        // Where the body fails, nobody receives any more and the workers end.
        done.into_iter().try_for_each(body)
    })
}

struct Team<'a> {
    source: Mutex<Source<'a>>,
    shared: RwLock<Shared<'a>>,
    tables: &'a [Table],
    learning_rate: &'a (dyn Fn(u64) -> f32 + Sync),
}

impl Team<'_> {
    fn work(&self, pass: &mut Pass, report: &Sender<Done>, used: &Sender<Prepared>) {
        let mut pulled = Network { weights: Vec::new(), state: Vec::new() };
        let mut state = Vec::new();
        while let Some((step, prepared)) = self.next() {
            let done = match prepared {
                Err(error) => Done { rows: 0, report: Err(error), not_finite: None },
                Ok(prepared) => {
                    let found = self.step(pass, (&mut pulled, &mut state), &prepared, step);
                    let row = if found.is_err() { pass.not_finite() } else { None };
                    let not_finite = row.and_then(|row| prepared.batch.index.get(row).copied());
                    let rows = prepared.batch.rows;
                    // The loader is there as long as `batches` is.
                    let _ = used.send(prepared);
                    Done { rows, report: found, not_finite }
                }
            };
            let failed = done.report.is_err();
            if report.send(done).is_err() || failed {
                return;
            }
        }
    }

    /// The next step's number and batch. Who waits here for the loader holds the others: they would wait for it too.
    fn next(&self) -> Option<(u64, Result<Prepared>)> {
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        if source.next == source.end {
            return None;
        }
        source.next += 1;
        Some((source.next - 1, source.batches.next()?))
    }

    /// One step. `pulled` gets the network as it is now, `state` its running statistics with the batch's share.
    fn step(
        &self,
        pass: &mut Pass,
        (pulled, state): (&mut Network, &mut Vec<f32>),
        prepared: &Prepared,
        step: u64,
    ) -> Result<StepReport> {
        let dropout = {
            let shared = self.shared.read().unwrap_or_else(PoisonError::into_inner);
            pulled.weights.clone_from(&shared.network.weights);
            pulled.state.clone_from(&shared.network.state);
            shared.learner.dropout(step)
        };
        state.clone_from(&pulled.state);
        let found = pass.compute(self.tables, &pulled.weights, state, prepared, (step, dropout), &OneWorker)?;
        let step = {
            let mut shared = self.shared.write().unwrap_or_else(PoisonError::into_inner);
            let Shared { network, learner } = &mut *shared;
            for (now, (after, before)) in network.state.iter_mut().zip(state.iter().zip(&pulled.state)) {
                *now += after - before;
            }
            learner.push_network(network, pass.network_gradients(), (self.learning_rate)(step))
        };
        pass.push(self.tables, step, &OneWorker)?;
        Ok(found)
    }
}
