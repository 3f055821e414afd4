//! The passes over the tiles of a step, and what they find summed over workers.

use super::{Slab, Step, StepReport, Trainer, Worker};
use crate::engine::context::{Context, Inputs, Recording};
use crate::engine::tiles::share;
use crate::engine::workers::{PIECE, Workers, each_piece, enough_for};
use crate::kernels::reduce::add;
use crate::ops::{Backward, Target};
use kitestring_core::{Error, Result};
use std::ops::Range;
use std::sync::{Arc, PoisonError};

impl Trainer {
    /// Runs a body over all tiles, each worker its share. A worker keeps one slab, or one a tile when the pass is cut.
    pub(super) fn each_tile(
        &self,
        workers: &dyn Workers,
        step: &Step<'_>,
        body: &(dyn Fn(&Self, &mut Worker, &mut Slab, &Context<'_>) + Sync),
    ) {
        workers.run(&|number| {
            let Some(mut worker) = self.worker(number) else { return };
            let mut slabs = std::mem::take(&mut worker.slabs);
            worker.partials.clear();
            let tiles = share(step.tiles.len(), number, self.workers.len());
            for (index, tile) in tiles.enumerate() {
                let (statistics, transposed) = (&self.statistics, &self.transposed);
                let rounding = self.rounding.as_deref();
                let recording = Recording { statistics, transposed, step: step.number, rounding };
                let cx = Context {
                    weights: step.weights,
                    state: step.state,
                    rows: step.tiles[tile].clone(),
                    inputs: step.inputs,
                    dropout: step.dropout,
                    recording: Some(recording),
                    codes: None,
                };
                let slab = &mut slabs[if self.keeps_tiles() { index } else { 0 }];
                self.swap_crossing(&mut worker, slab);
                body(self, &mut worker, slab, &cx);
                self.swap_crossing(&mut worker, slab);
            }
            worker.slabs = slabs;
        });
    }

    pub(super) fn swap_crossing(&self, worker: &mut Worker, slab: &mut Slab) {
        for (kept, value) in slab.grads.iter_mut().zip(&self.crossing) {
            std::mem::swap(kept, &mut worker.grads[*value]);
        }
    }

    /// Forward, with every tile stopping where an operation needs statistics of the whole batch, up to the last such place.
    pub(super) fn forward_to_last_barrier(&mut self, workers: &dyn Workers, step: &Step<'_>, partials: &mut Vec<f64>) {
        let cuts = Arc::clone(&self.barriers);
        for (segment, end) in cuts.iter().copied().enumerate() {
            let start = if segment == 0 { 0 } else { cuts[segment - 1] };
            self.each_tile(workers, step, &|trainer, worker, slab, cx| {
                trainer.forward_nodes(worker, slab, cx, start..end);
                let node = &trainer.graph.nodes()[end];
                let inputs = Inputs { buffers: &slab.values, buffer_of: None, values: &node.inputs };
                if let Some(statistics) = node.op.operation().statistics() {
                    let from = worker.partials.len();
                    worker.partials.resize(from + statistics.partial_len(), 0.0);
                    statistics.forward_partial(cx, inputs, &mut worker.partials[from..]);
                }
            });
            self.finish_statistics(end, partials, Some(step.state));
        }
    }

    /// Forward from the last such place to the end.
    pub(super) fn forward_last(&self, worker: &mut Worker, slab: &mut Slab, cx: &Context<'_>) {
        self.forward_nodes(worker, slab, cx, self.barriers.last().copied().unwrap_or(0)..self.needed.len());
    }

    /// Back, with every tile stopping at the same places. `begin` starts the gradients of each.
    pub(super) fn backward_through_barriers(
        &mut self,
        workers: &dyn Workers,
        step: &Step<'_>,
        partials: &mut Vec<f64>,
        begin: &(dyn Fn(&Self, &mut Worker, &mut Slab, &Context<'_>) + Sync),
    ) {
        let cuts = Arc::clone(&self.barriers);
        let (last, nodes) = (cuts.len(), self.needed.len());
        for segment in (0..=last).rev() {
            // A barrier's own backward pass needs the sums made behind it.
            let end = cuts.get(segment).map_or(nodes, |cut| cut + 1);
            let start = if segment == 0 { 0 } else { cuts[segment - 1] + 1 };
            self.each_tile(workers, step, &|trainer, worker, slab, cx| {
                if segment == last {
                    begin(trainer, worker, slab, cx);
                }
                trainer.backward_nodes(worker, slab, cx, start..end);
                if segment > 0 {
                    trainer.backward_partial(worker, slab, cx, start - 1);
                }
            });
            if segment > 0 {
                self.finish_statistics(start - 1, partials, None);
            }
        }
    }

    /// Sums the tiles' statistics of a node in the order of tiles: forward with the running state, backward without.
    pub(super) fn finish_statistics(&mut self, node: usize, partials: &mut Vec<f64>, state: Option<&[f32]>) {
        partials.clear();
        for worker in &mut self.workers {
            partials.extend_from_slice(&worker.get_mut().unwrap_or_else(PoisonError::into_inner).partials);
        }
        let graph = Arc::clone(&self.graph);
        if let Some(statistics) = graph.nodes()[node].op.operation().statistics() {
            let finished = &mut self.statistics[statistics.finished()];
            match state {
                Some(state) => statistics.forward_finish(partials, state, finished),
                None => statistics.backward_finish(partials, finished),
            }
        }
    }

    pub(super) fn forward_nodes(&self, _: &mut Worker, slab: &mut Slab, cx: &Context<'_>, nodes: Range<usize>) {
        for index in nodes.filter(|node| self.needed[*node]) {
            let node = &self.graph.nodes()[index];
            let output = node.output.index();
            let mut out = std::mem::take(&mut slab.values[output]);
            let info = self.graph.values[output];
            out.resize(cx.len(info.domain) * info.width, 0.0);
            let inputs = Inputs { buffers: &slab.values, buffer_of: None, values: &node.inputs };
            node.op.operation().forward(cx, inputs, &mut out, &mut slab.saved[index]);
            slab.values[output] = out;
        }
    }

    /// Adds a tile's losses, and starts the gradients of each.
    pub(super) fn add_losses(&self, worker: &mut Worker, slab: &mut Slab, cx: &Context<'_>, step: &Step<'_>) {
        let batch = cx.batch();
        let tasks = batch.labels.len() / batch.rows.max(1);
        let losses = self.graph.losses();
        for (number, ((loss, sum), scale)) in losses.iter().zip(&mut worker.losses).zip(step.scales).enumerate() {
            let index = loss.value.index();
            let weight = |row: usize| {
                let row = cx.rows.start + row;
                let labels = batch.labels.get(row * tasks..(row + 1) * tasks).unwrap_or_default();
                // A missing label has no loss already: only who is let in must be asked.
                let counts = loss.space.is_none() || loss.counts(labels);
                if counts { batch.weight.get(row).copied().unwrap_or(1.0) } else { 0.0 }
            };
            for (row, value) in slab.values[index].iter().enumerate() {
                if !value.is_finite() && worker.not_finite.is_none() {
                    worker.not_finite = Some(cx.rows.start + row);
                }
                *sum += f64::from(*value) * f64::from(weight(row));
            }
            let grad = &mut worker.grads[index];
            if losses[..number].iter().all(|other| other.value != loss.value) {
                grad.clear();
                grad.resize(cx.rows.len(), 0.0);
            }
            grad.iter_mut().enumerate().for_each(|(row, grad)| *grad += scale * weight(row));
        }
    }

    /// Starts a tile's gradients that come from outside: `gradient` is that of the values side by side, `width` in all. A value may be
    /// there twice.
    pub(super) fn begin_outside(&self, worker: &mut Worker, cx: &Context<'_>, gradient: &[f32], width: usize) {
        let gradient = &gradient[cx.rows.start * width..cx.rows.end * width];
        let mut first = 0;
        for (number, value) in self.outside.iter().enumerate() {
            let columns = first..first + self.graph.width(*value);
            first = columns.end;
            let grad = &mut worker.grads[value.index()];
            if !self.outside[..number].contains(value) {
                grad.clear();
                grad.resize(cx.rows.len() * columns.len(), 0.0);
            }
            for (grad, row) in grad.chunks_exact_mut(columns.len()).zip(gradient.chunks_exact(width)) {
                add(grad, &row[columns.clone()]);
            }
        }
    }

    pub(super) fn backward_nodes(&self, worker: &mut Worker, slab: &mut Slab, cx: &Context<'_>, nodes: Range<usize>) {
        for index in nodes.rev().filter(|node| self.differentiated[*node]) {
            if self.frozen.contains(&index) {
                self.backward_partial(worker, slab, cx, index);
            }
            self.backward_node(worker, slab, cx, index, |node, pass| node.op.operation().backward(cx, pass));
        }
    }

    pub(super) fn backward_partial(&self, worker: &mut Worker, slab: &mut Slab, cx: &Context<'_>, index: usize) {
        let mut partials = std::mem::take(&mut worker.partials);
        self.backward_node(worker, slab, cx, index, |node, pass| {
            if let Some(statistics) = node.op.operation().statistics() {
                let from = partials.len();
                partials.resize(from + statistics.partial_len(), 0.0);
                statistics.backward_partial(cx, pass, &mut partials[from..]);
            }
        });
        worker.partials = partials;
    }

    pub(super) fn backward_node(
        &self,
        worker: &mut Worker,
        slab: &mut Slab,
        cx: &Context<'_>,
        index: usize,
        body: impl FnOnce(&crate::graph::Node, Backward<'_>),
    ) {
        let node = &self.graph.nodes()[index];
        let output = node.output.index();
        let mut out_grad = std::mem::take(&mut worker.grads[output]);
        for (input, target) in node.inputs.iter().zip(&self.targets[index]) {
            if *target == Target::Write {
                let info = self.graph.values[input.index()];
                worker.grads[input.index()].resize(cx.len(info.domain) * info.width, 0.0);
            }
        }
        let pass = Backward {
            inputs: Inputs { buffers: &slab.values, buffer_of: None, values: &node.inputs },
            out: &slab.values[output],
            out_grad: &mut out_grad,
            saved: &mut slab.saved[index],
            weight_grads: &mut worker.weight_grads,
            rows: self.rows.of_node(index),
            scratch: &mut worker.scratch,
            grads: &mut worker.grads,
            targets: &self.targets[index],
        };
        body(node, pass);
        worker.grads[output] = out_grad;
    }

    /// Sums what the workers found, in the order of their numbers.
    pub(super) fn finish(&mut self, labelled: Vec<f64>, step: &Step<'_>, workers: &dyn Workers) -> Result<StepReport> {
        self.sum_gradients(step.tiles.len(), workers);
        self.rows.sum(step.inputs, workers);
        let Some((first, others)) = self.workers.split_first_mut() else { return Err(Error::internal("no worker")) };
        let first = first.get_mut().unwrap_or_else(PoisonError::into_inner);
        for other in others {
            let other = other.get_mut().unwrap_or_else(PoisonError::into_inner);
            first.losses.iter_mut().zip(&other.losses).for_each(|(first, other)| *first += other);
            first.not_finite = first.not_finite.or(other.not_finite);
        }
        self.not_finite = first.not_finite;
        if let Some(row) = first.not_finite {
            let index = step.inputs.batch.index.get(row).map_or(row as u64, |index| *index);
            return Err(Error::numeric(format!("the loss of sample {index} is not a finite number"))
                .mend("lower the learning rate, clip gradients, or look at that sample's numeric features"));
        }
        let means = first.losses.iter().zip(&labelled);
        let losses = means.map(|(sum, labelled)| if *labelled > 0.0 { sum / labelled } else { 0.0 }).collect();
        Ok(StepReport { losses, labelled })
    }

    /// Sums the gradients of the network that workers with tiles found, in the order of their numbers, into the first one's.
    fn sum_gradients(&mut self, tiles: usize, workers: &dyn Workers) {
        let active = self.workers.len().min(tiles.max(1));
        let Some((first, others)) = self.workers[..active].split_first_mut() else { return };
        let first = first.get_mut().unwrap_or_else(PoisonError::into_inner);
        let others = &*others;
        if others.is_empty() {
            return;
        }
        let count = first.weight_grads.len();
        let pieces = first.weight_grads.chunks_mut(PIECE).enumerate();
        each_piece(
            enough_for(workers, count),
            pieces,
            || (),
            |(), (number, piece)| {
                let start = number * PIECE;
                for other in others {
                    let other = other.read().unwrap_or_else(PoisonError::into_inner);
                    add(piece, &other.weight_grads[start..start + piece.len()]);
                }
            },
        );
    }
}
