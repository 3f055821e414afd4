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
        while let Some((step, prepared)) = self.next() {
            let done = match prepared {
                Err(error) => Done { rows: 0, report: Err(error), not_finite: None },
                Ok(prepared) => {
                    let found = self.step(pass, &mut pulled, &prepared, step);
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

    /// One step. `pulled` gets the network as it is now.
    fn step(&self, pass: &mut Pass, pulled: &mut Network, prepared: &Prepared, step: u64) -> Result<StepReport> {
        let dropout = {
            let shared = self.shared.read().unwrap_or_else(PoisonError::into_inner);
            pulled.weights.clone_from(&shared.network.weights);
            pulled.state.clone_from(&shared.network.state);
            shared.learner.dropout(step)
        };
        let Network { weights, state } = pulled;
        let found = pass.compute(self.tables, weights, state, prepared, (step, dropout), &OneWorker)?;
        let step = {
            let mut shared = self.shared.write().unwrap_or_else(PoisonError::into_inner);
            let Shared { network, learner } = &mut *shared;
            // Into the running statistics as they are now. By how much those that this step read were moved says nothing of these: added
            // here, it would take a variance below zero once there are as many workers as a running statistic has batches.
            pass.merge_statistics(&mut network.state);
            learner.push_network(network, pass.network_gradients(), (self.learning_rate)(step))
        };
        pass.push(self.tables, step, &OneWorker)?;
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fixture::Fixture;
    use crate::inputs::Readers;
    use crate::loader::Epoch;
    use kitestring_core::Seed;

    /// Many workers, each of whose batches is begun on statistics that all others have moved since: what is merged is the batch's own, so
    /// that a variance never leaves the range of those that were seen, and the run learns what one worker's does.
    #[test]
    fn running_statistics_hold_for_any_number_of_workers() {
        let fixture = Fixture::new();
        let mut config = fixture.config.clone();
        config.train.batch_size = Some(16);
        let layers = r#"{"type": "mlp", "units": [8], "batch_norm": true, "activation": "dice"}"#;
        config.model.body = serde_json::from_str(layers).unwrap();
        let split = fixture.dataset.split("train").unwrap();
        let size = |table: &str| fixture.dataset.table_size(table);
        let run = |workers: usize| {
            let scenarios = fixture.dataset.scenario_counts();
            let schema = fixture.dataset.schema();
            let mut model = Model::new(schema, &config.model, &config.train, size, &scenarios, Seed(1)).unwrap();
            let mut learner = Learner::new(&model, &config.train, 1, Seed(1)).unwrap();
            let mut passes: Vec<Pass> = (0..workers).map(|_| Pass::new(&model, &config.train, 1)).collect();
            let readers = Readers::new(schema);
            let variances: Vec<std::ops::Range<usize>> = model
                .graph
                .states()
                .iter()
                .filter(|state| state.name.ends_with("running_variance"))
                .map(|state| state.offset..state.offset + state.len)
                .collect();
            assert!(!variances.is_empty());
            let (mut loss, mut count) = (0.0, 0.0);
            for epoch in 0..30 {
                let order = split.order_of_blocks(1, Seed(2), epoch);
                let (batch_size, draws) = (16, Seed(3));
                let epoch = Epoch { split, readers: &readers, order, draws, batch_size, first_batch: 0 };
                (loss, count) = (0.0, 0.0);
                let learned = epoch.read(workers, |batches| {
                    learn(&mut passes, (&mut model, &mut learner), batches, epoch.batches(), &|_| 0.003, &mut |done| {
                        loss += done.report?.losses[0];
                        count += 1.0;
                        Ok(())
                    })
                });
                learned.unwrap();
                let state = &model.network.state;
                assert!(state.iter().all(|number| number.is_finite()));
                for variance in variances.iter().flat_map(|range| &state[range.clone()]) {
                    assert!(*variance > 0.0, "{workers} workers: a variance of {variance}");
                }
            }
            loss / count
        };
        let (one, many) = (run(1), run(32));
        assert!((one - many).abs() < 0.15 * one, "{one} with one worker, {many} with many");
    }
}
