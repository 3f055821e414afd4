//! The forward pass with recording, and back.

mod passes;
mod plan;
mod rows;

use super::context::BatchInputs;
use super::tiles::{Tiling, share};
use super::workers::{Workers, check_count, each_piece, enough_for};
use crate::graph::{Domain, Graph, Loss, Value};
use crate::kernels::matmul::transpose;
use crate::ops::{Op, Target};
use crate::quantization::rounding::Rounding;
use kitestring_core::{Batch, Error, Result, Seed};
use plan::{crossing, gradient_targets, wanted};
pub(crate) use rows::PlaceGradients;
use rows::RowGradients;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

/// Differentiates over batches a graph's losses, a loss of some of its values that somebody else computes, or both.
#[derive(Debug)]
pub struct Trainer {
    graph: Arc<Graph>,
    /// The values whose gradients come from outside.
    outside: Vec<Value>,
    /// What the losses of tasks are multiplied by beside those of the others; none where the graph's losses are not minimized.
    of_tasks: Option<f32>,
    /// The nodes that the losses and the values need.
    needed: Vec<bool>,
    /// The nodes whose gradients are worked out: those that learn, and those between them and what is minimized.
    differentiated: Vec<bool>,
    /// For each node what happens to the gradient of each input.
    targets: Vec<Vec<Target>>,
    /// The nodes whose statistics are the running ones, which stay as they are.
    frozen: Vec<usize>,
    /// The nodes that wait for statistics of the whole batch.
    barriers: Arc<[usize]>,
    /// The values whose gradients a tile keeps while other tiles work: made after a barrier, read before it.
    crossing: Vec<usize>,
    tiling: Tiling,
    statistics: Vec<f32>,
    /// All weights, each matrix transposed: what the gradients of a product's left factor are made with. Not those of experts, which
    /// transpose what samples chose.
    transposed: Vec<f32>,
    /// Which weights those are.
    to_transpose: Vec<bool>,
    /// Memory that a step takes and puts back.
    kept: Kept,
    /// The sample of the last step whose loss was not finite.
    not_finite: Option<usize>,
    /// Steps done, for what changes with them.
    steps: u64,
    rounding: Option<Arc<Rounding>>,
    rows: RowGradients,
    workers: Vec<RwLock<Worker>>,
}

/// What a trainer works out gradients of.
#[derive(Clone, Copy)]
enum Learned<'a> {
    /// All weights and rows.
    All,
    /// The weights of some names.
    Weights(&'a dyn Fn(&str) -> bool),
}

/// What a step needs and the next one needs again.
#[derive(Debug, Default)]
struct Kept {
    scales: Vec<f32>,
    tiles: Vec<Range<usize>>,
    partials: Vec<f64>,
}

/// What one worker holds: its share of the gradients, and the values of the tiles it works on.
#[derive(Debug, Default)]
struct Worker {
    slabs: Vec<Slab>,
    weight_grads: Vec<f32>,
    /// The gradients of the values of the tile at work. One set for all tiles, so that it stays in cache.
    grads: Vec<Vec<f32>>,
    losses: Vec<f64>,
    not_finite: Option<usize>,
    scratch: Vec<f32>,
    partials: Vec<f64>,
}

/// The values of one tile.
#[derive(Debug, Default)]
struct Slab {
    values: Vec<Vec<f32>>,
    /// The gradients of the values in [`Trainer::crossing`], between two turns of the tile.
    grads: Vec<Vec<f32>>,
    saved: Vec<Vec<f32>>,
}

/// What a step found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StepReport {
    /// The mean of each loss over its sample space, in the order of [`Graph::losses`]; unweighted.
    pub losses: Vec<f64>,
    /// How much sample weight each mean is over: the number of samples in its space where no sample has a weight.
    pub labelled: Vec<f64>,
}

/// The gradients of a step.
#[derive(Debug)]
pub struct Gradients<'a> {
    /// Of all weights, as they lie in the flat vector.
    pub network: &'a mut [f32],
    /// For each table, of its unique rows.
    pub rows: &'a mut [Vec<f32>],
}

/// What all tiles of a step share.
struct Step<'a> {
    weights: &'a [f32],
    state: &'a [f32],
    inputs: &'a BatchInputs<'a>,
    dropout: Option<Seed>,
    /// Steps done before this one.
    number: u64,
    /// The factor of each loss: its weight at this step over its samples.
    scales: &'a [f32],
    tiles: &'a [Range<usize>],
}

impl Trainer {
    /// Plans the passes of a graph for a number of workers, to minimize its losses by [`Self::step`].
    pub fn new(graph: Arc<Graph>, workers: usize) -> Self {
        Self::plan(graph, Learned::All, Vec::new(), Some(1.0), workers)
    }

    /// Plans the passes of a graph for a number of workers, to minimize its losses, those of tasks times `of_tasks`, and with them a loss
    /// of some of its values with one row a sample, which may couple samples: [`Self::forward`], and then [`Self::backward`] with the
    /// gradient of these values.
    ///
    /// # Errors
    /// If there is no such value, or one has not one row a sample.
    pub fn guided(graph: Arc<Graph>, values: &[Value], of_tasks: f32, workers: usize) -> Result<Self> {
        if values.is_empty() || values.iter().any(|value| graph.domain(*value) != Domain::Rows) {
            return Err(Error::internal("a gradient from outside is that of values with one row a sample"));
        }
        Ok(Self::plan(graph, Learned::All, values.to_vec(), Some(of_tasks), workers))
    }

    /// Plans the passes of a graph for a number of workers, to minimize a loss of its only result that couples samples, or several graphs:
    /// [`Self::forward`], and then [`Self::backward`] with the result's gradient.
    ///
    /// # Errors
    /// If the graph has not one result.
    pub fn of_result(graph: Arc<Graph>, workers: usize) -> Result<Self> {
        match graph.outputs() {
            [(_, result)] => {
                let result = *result;
                Ok(Self::plan(graph, Learned::All, vec![result], None, workers))
            }
            outputs => Err(Error::internal(format!("a graph with {} results has not one", outputs.len()))),
        }
    }

    /// Plans the passes of a graph for a number of workers, to minimize its losses, by [`Self::step`], by some of its weights alone: by their
    /// names. Gradients go no deeper than the operations that have these; those of other weights are zero or meaningless. Statistics are the
    /// running ones and stay as they are, as a few samples tell nothing of them, so losses that are of statistics are constant.
    pub fn of_weights(graph: Arc<Graph>, learned: &dyn Fn(&str) -> bool, workers: usize) -> Self {
        Self::plan(graph, Learned::Weights(learned), Vec::new(), Some(1.0), workers)
    }

    fn plan(
        graph: Arc<Graph>,
        learned: Learned<'_>,
        outside: Vec<Value>,
        of_tasks: Option<f32>,
        workers: usize,
    ) -> Self {
        let losses = graph.losses().iter().map(|loss| loss.value).filter(|_| of_tasks.is_some());
        let roots: Vec<Value> = losses.chain(outside.iter().copied()).collect();
        let needed = graph.needed_for(roots.iter().copied());
        let wanted = match learned {
            Learned::All => wanted(&graph, true, &|_| true),
            Learned::Weights(learned) => wanted(&graph, false, learned),
        };
        let targets = gradient_targets(&graph, &needed, &wanted, &roots);
        let of_batch = (0..needed.len())
            .filter(|node| needed[*node] && graph.nodes()[*node].op.operation().statistics().is_some());
        let (barriers, frozen): (Arc<[usize]>, Vec<usize>) = match learned {
            Learned::All => (of_batch.collect(), Vec::new()),
            Learned::Weights(_) => (Arc::default(), of_batch.collect()),
        };
        let differentiated = graph.nodes().iter().zip(&needed);
        let differentiated = differentiated.map(|(node, needed)| *needed && wanted[node.output.index()]);
        let differentiated: Vec<bool> = differentiated.collect();
        let rows = RowGradients::new(&graph, &differentiated);
        let crossing = crossing(&graph, &needed, &barriers, &roots);
        let tiling = Tiling::new(&graph, (0..needed.len()).filter(|node| needed[*node]), 2);
        let statistics = vec![0.0; graph.statistics_count()];
        let workers = (0..workers.max(1)).map(|_| RwLock::new(Worker::default())).collect();
        let kept = Kept::default();
        let experts = graph.nodes().iter().filter_map(|node| match &node.op {
            Op::Experts(experts) => Some(experts.experts.iter().flatten().map(|(weight, _)| weight.offset)),
            _ => None,
        });
        let experts: HashSet<usize> = experts.flatten().collect();
        let to_transpose =
            graph.weights().iter().map(|info| info.shape[0] > 1 && !experts.contains(&info.offset)).collect();
        let transposed = vec![0.0; graph.weight_count()];
        Self {
            graph,
            outside,
            of_tasks,
            needed,
            differentiated,
            targets,
            frozen,
            barriers,
            crossing,
            tiling,
            statistics,
            transposed,
            to_transpose,
            kept,
            not_finite: None,
            steps: 0,
            rounding: None,
            rows,
            workers,
        }
    }

    /// Rounds what enters products from now on. The weights that a step is given are those that are [rounded](Rounding::round) already, and
    /// its gradients are for those that are not.
    #[must_use]
    pub fn with_rounding(mut self, rounding: Arc<Rounding>) -> Self {
        self.rounding = Some(rounding);
        self
    }

    /// Says how many steps were done before the next one: noise and weights of losses that decay go by it.
    pub fn at_step(&mut self, steps: u64) {
        self.steps = steps;
    }

    /// The graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Computes the losses of a batch and their gradients, and updates the running statistics. With `dropout` the seed of this
    /// step's dropout; without, nothing drops out.
    ///
    /// The number of workers changes the result by rounding only; with one number it is the same to the bit from run to run. Given the same
    /// weights, the gradients of rows are the same to the bit for any number, but where statistics of the whole batch are rounded.
    ///
    /// # Errors
    /// If the batch does not fit the graph, or a loss is not finite: then nothing was updated and the error names the sample.
    pub fn step(
        &mut self,
        weights: &[f32],
        state: &mut [f32],
        inputs: &BatchInputs<'_>,
        dropout: Option<Seed>,
        workers: &dyn Workers,
    ) -> Result<StepReport> {
        if !self.outside.is_empty() {
            return Err(Error::internal("this trainer waits for a gradient from outside"));
        }
        inputs.check_training(&self.graph)?;
        let mut kept = self.begin(weights, state, inputs, workers)?;
        let labelled = self.weigh_losses(inputs, &mut kept.scales);
        let number = self.steps;
        let step = Step { weights, state, inputs, dropout, number, scales: &kept.scales, tiles: &kept.tiles };

        if self.barriers.is_empty() {
            self.each_tile(workers, &step, &|trainer, worker, slab, cx| {
                trainer.forward_last(worker, slab, cx);
                trainer.add_losses(worker, slab, cx, &step);
                trainer.backward_nodes(worker, slab, cx, 0..trainer.needed.len());
            });
        } else {
            self.forward_to_last_barrier(workers, &step, &mut kept.partials);
            self.backward_through_barriers(workers, &step, &mut kept.partials, &|trainer, worker, slab, cx| {
                trainer.forward_last(worker, slab, cx);
                trainer.add_losses(worker, slab, cx, &step);
            });
        }
        let report = self.finish(labelled, &step, workers);
        if report.is_ok() {
            self.merge_statistics(state);
        }
        self.kept = kept;
        report
    }

    /// The values whose gradients come from outside, of a batch, side by side, `samples × Σ widths`, row-major, with recording:
    /// [`Self::backward`] comes next, on the same inputs. With `dropout` the seed of this step's dropout.
    ///
    /// # Errors
    /// If the batch does not fit the graph.
    pub fn forward(
        &mut self,
        weights: &[f32],
        state: &[f32],
        inputs: &BatchInputs<'_>,
        dropout: Option<Seed>,
        workers: &dyn Workers,
        result: &mut Vec<f32>,
    ) -> Result<()> {
        if self.outside.is_empty() {
            return Err(Error::internal("this trainer minimizes the graph's losses alone"));
        }
        if self.of_tasks.is_some() {
            inputs.check_training(&self.graph)?;
        }
        let mut kept = self.begin(weights, state, inputs, workers)?;
        let number = self.steps;
        let step = Step { weights, state, inputs, dropout, number, scales: &[], tiles: &kept.tiles };
        self.forward_to_last_barrier(workers, &step, &mut kept.partials);
        self.each_tile(workers, &step, &Self::forward_last);
        result.clear();
        for (number, worker) in self.workers.iter_mut().enumerate() {
            let tiles = share(kept.tiles.len(), number, workers.count());
            let worker = worker.get_mut().unwrap_or_else(PoisonError::into_inner);
            for (slab, tile) in worker.slabs[..tiles.len()].iter().zip(&kept.tiles[tiles]) {
                for row in 0..tile.len() {
                    for value in &self.outside {
                        let width = self.graph.width(*value);
                        result.extend_from_slice(&slab.values[value.index()][row * width..(row + 1) * width]);
                    }
                }
            }
        }
        self.kept = kept;
        Ok(())
    }

    /// From the gradient of what [`Self::forward`] gave, and of the graph's losses where they are minimized too, to those of weights and
    /// rows ([`Self::gradients`]). Updates the running statistics. Reports the graph's losses where they are minimized.
    ///
    /// # Errors
    /// If the gradient is not that of the last forward pass, or a loss is not finite, as [`Self::step`].
    pub fn backward(
        &mut self,
        weights: &[f32],
        state: &mut [f32],
        inputs: &BatchInputs<'_>,
        dropout: Option<Seed>,
        gradient: &[f32],
        workers: &dyn Workers,
    ) -> Result<StepReport> {
        let width: usize = self.outside.iter().map(|value| self.graph.width(*value)).sum();
        let mut kept = std::mem::take(&mut self.kept);
        let rows = kept.tiles.last().map_or(0, |tile| tile.end);
        if self.outside.is_empty() || rows != inputs.batch.rows || gradient.len() != rows * width {
            return Err(Error::internal("the gradient is not that of the last forward pass"));
        }
        let labelled = self.weigh_losses(inputs, &mut kept.scales);
        let number = self.steps;
        let step = Step { weights, state, inputs, dropout, number, scales: &kept.scales, tiles: &kept.tiles };
        self.backward_through_barriers(workers, &step, &mut kept.partials, &|trainer, worker, slab, cx| {
            if trainer.of_tasks.is_some() {
                trainer.add_losses(worker, slab, cx, &step);
            }
            trainer.begin_outside(worker, cx, gradient, width);
        });
        let report = self.finish(labelled, &step, workers);
        if report.is_ok() {
            self.merge_statistics(state);
        }
        self.kept = kept;
        report
    }

    /// Bytes of the values of tiles and their gradients, as their buffers have grown so far: what [`Self::planned_memory`] plans.
    pub fn tile_memory(&self) -> usize {
        let floats = |buffers: &[Vec<f32>]| buffers.iter().map(Vec::capacity).sum::<usize>();
        let of = |worker: &Worker| {
            let slabs =
                worker.slabs.iter().map(|slab| floats(&slab.values) + floats(&slab.grads) + floats(&slab.saved));
            floats(&worker.grads) + slabs.sum::<usize>()
        };
        let workers = self.workers.iter();
        4 * workers.map(|worker| of(&worker.read().unwrap_or_else(PoisonError::into_inner))).sum::<usize>()
    }

    /// Moves running statistics, which others may have moved since the last step began, towards those of its batch: a convex combination.
    /// [`Self::step`] and [`Self::backward`] have done so with the state that they were given.
    pub fn merge_statistics(&self, state: &mut [f32]) {
        for node in self.barriers.iter() {
            if let Some(statistics) = self.graph.nodes()[*node].op.operation().statistics() {
                statistics.merge(&self.statistics[statistics.finished()], state);
            }
        }
    }

    /// Cuts a batch into tiles and makes ready what the passes over them write.
    fn begin(
        &mut self,
        weights: &[f32],
        state: &[f32],
        inputs: &BatchInputs<'_>,
        workers: &dyn Workers,
    ) -> Result<Kept> {
        inputs.check(&self.graph)?;
        check_count(workers, self.workers.len())?;
        let mut kept = std::mem::take(&mut self.kept);
        self.tiling.cut(inputs.batch, self.workers.len(), true, &mut kept.tiles);
        self.make_room(if self.keeps_tiles() { kept.tiles.len() } else { 1 });
        self.rows.begin(inputs)?;
        self.reset(kept.tiles.len(), workers);
        self.transpose(weights, workers);
        for node in &self.frozen {
            if let Some(statistics) = self.graph.nodes()[*node].op.operation().statistics() {
                statistics.take_running(state, &mut self.statistics[statistics.finished()]);
            }
        }
        Ok(kept)
    }

    /// Whether the values of all tiles stay until the way back.
    fn keeps_tiles(&self) -> bool {
        !self.outside.is_empty() || !self.barriers.is_empty()
    }

    /// The row of the last step's batch whose loss was not finite, where that is why it failed.
    pub fn not_finite(&self) -> Option<usize> {
        self.not_finite
    }

    /// The gradients of the last step.
    pub fn gradients(&mut self) -> Gradients<'_> {
        let worker = self.workers[0].get_mut().unwrap_or_else(PoisonError::into_inner);
        Gradients { network: &mut worker.weight_grads, rows: self.rows.sums() }
    }

    fn worker(&self, number: usize) -> Option<RwLockWriteGuard<'_, Worker>> {
        Some(self.workers.get(number)?.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Bytes of values and their gradients that the tiles of a batch have at once, as they are planned: a worker's largest tile, or all tiles
    /// where statistics of the whole batch or a gradient from outside have them wait for each other.
    pub fn planned_memory(&self, batch: &Batch) -> usize {
        let mut tiles = Vec::new();
        self.tiling.cut(batch, self.workers.len(), true, &mut tiles);
        let at_once = if self.keeps_tiles() { tiles.len() } else { self.workers.len().min(tiles.len()) };
        4 * at_once * self.tiling.largest(batch, &tiles)
    }

    /// The weight of the samples in each loss's space, and from it the factor of each loss; none where they are not minimized.
    fn weigh_losses(&self, inputs: &BatchInputs<'_>, scales: &mut Vec<f32>) -> Vec<f64> {
        scales.clear();
        let Some(of_tasks) = self.of_tasks else { return Vec::new() };
        let batch = inputs.batch;
        let tasks = batch.labels.len() / batch.rows.max(1);
        let weight = |row: usize| batch.weight.get(row).map_or(1.0, |weight| f64::from(*weight));
        let labels = |row: usize| batch.labels.get(row * tasks..(row + 1) * tasks).unwrap_or_default();
        let of = |loss: &Loss| (0..batch.rows).filter(|row| loss.counts(labels(*row))).map(weight).sum();
        let labelled: Vec<f64> = self.graph.losses().iter().map(of).collect();
        let scale = |(loss, labelled): (&Loss, &f64)| {
            let factor = if loss.task.is_some() { of_tasks } else { 1.0 };
            if *labelled > 0.0 { factor * (loss.weight_at(self.steps) as f32 / *labelled as f32) } else { 0.0 }
        };
        scales.extend(self.graph.losses().iter().zip(&labelled).map(scale));
        labelled
    }

    fn make_room(&mut self, tiles: usize) {
        let (graph, count) = (&self.graph, self.workers.len());
        for worker in &mut self.workers {
            let worker = worker.get_mut().unwrap_or_else(PoisonError::into_inner);
            let slabs = tiles.div_ceil(count).max(1);
            while worker.slabs.len() < slabs {
                worker.slabs.push(Slab {
                    values: vec![Vec::new(); graph.values.len()],
                    grads: vec![Vec::new(); self.crossing.len()],
                    saved: vec![Vec::new(); graph.nodes().len()],
                });
            }
            worker.grads.resize_with(graph.values.len(), Vec::new);
            worker.losses.clear();
            worker.losses.resize(graph.losses().len(), 0.0);
            worker.not_finite = None;
        }
    }

    /// Sets the network's gradients to zero, those of the workers that have tiles.
    fn reset(&mut self, tiles: usize, workers: &dyn Workers) {
        let count = self.graph.weight_count();
        each_piece(
            enough_for(workers, count),
            self.workers.iter_mut().take(tiles.max(1)),
            || (),
            |(), worker| {
                let worker = worker.get_mut().unwrap_or_else(PoisonError::into_inner);
                worker.weight_grads.clear();
                worker.weight_grads.resize(count, 0.0);
            },
        );
    }

    fn transpose(&mut self, weights: &[f32], workers: &dyn Workers) {
        let mut rest = self.transposed.as_mut_slice();
        let each = self.graph.weights().iter().zip(&self.to_transpose).filter_map(|(info, wanted)| {
            let into = rest.split_off_mut(..info.shape[0] * info.shape[1])?;
            wanted.then_some((info, into))
        });
        each_piece(
            enough_for(workers, weights.len()),
            each,
            || (),
            |(), (info, into)| {
                let [rows, columns] = info.shape;
                transpose(into, &weights[info.offset..info.offset + into.len()], rows, columns);
            },
        );
    }
}
