//! The forward pass with recording, and back.

use super::context::{BatchInputs, Context, Inputs, Recording, cut};
use super::workers::{PIECE, Workers, check_count, each_piece};
use crate::graph::{Domain, Graph, Loss};
use crate::kernels::{matmul::transpose, reduce::add};
use crate::ops::{Backward, Op, Target};
use kitestring_core::{Error, Result, Seed};
use std::collections::HashSet;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

/// Differentiates a graph's losses over batches.
#[derive(Debug)]
pub struct Trainer {
    graph: Arc<Graph>,
    /// The nodes the losses need.
    needed: Vec<bool>,
    /// For each node what happens to the gradient of each input.
    targets: Vec<Vec<Target>>,
    /// The nodes that wait for statistics of the whole batch.
    barriers: Arc<[usize]>,
    /// The values whose gradients a tile keeps while other tiles work: made after a barrier, read before it.
    crossing: Vec<usize>,
    floats: [usize; 2],
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
    workers: Vec<RwLock<Worker>>,
}

/// What a step needs and the next one needs again.
#[derive(Debug, Default)]
struct Kept {
    scales: Vec<f32>,
    tiles: Vec<Range<usize>>,
    state: Vec<f32>,
    partials: Vec<f64>,
}

/// What one worker holds: its share of the gradients, and the values of the tiles it works on.
#[derive(Debug, Default)]
struct Worker {
    slabs: Vec<Slab>,
    weight_grads: Vec<f32>,
    row_grads: Vec<Vec<f32>>,
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
    /// Plans the passes of a graph for a number of workers.
    pub fn new(graph: Arc<Graph>, workers: usize) -> Self {
        let needed = graph.needed_for(graph.losses().iter().map(|loss| loss.value));
        let targets = gradient_targets(&graph, &needed);
        let barriers: Arc<[usize]> = (0..needed.len())
            .filter(|node| needed[*node] && graph.nodes()[*node].op.operation().statistics().is_some())
            .collect();
        let crossing = crossing(&graph, &needed, &barriers);
        let mut floats = [0; 2];
        for (node, needed) in graph.nodes().iter().zip(&needed) {
            if *needed {
                let ragged = matches!(graph.domain(node.output), Domain::Positions(_));
                floats[usize::from(ragged)] += 2 * graph.width(node.output);
                floats[1] += 2 * node.op.operation().saved_of_position();
            }
        }
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
            needed,
            targets,
            barriers,
            crossing,
            floats,
            statistics,
            transposed,
            to_transpose,
            kept,
            not_finite: None,
            steps: 0,
            workers,
        }
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
    /// The number of workers changes the result by rounding only; with one number it is the same to the bit from run to run.
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
        inputs.check(&self.graph)?;
        inputs.check_training(&self.graph)?;
        check_count(workers, self.workers.len())?;
        let labelled = self.labelled(inputs);
        let mut kept = std::mem::take(&mut self.kept);
        kept.scales.clear();
        let steps = self.steps;
        let scale = |(loss, labelled): (&Loss, &f64)| {
            if *labelled > 0.0 { loss.weight_at(steps) as f32 / *labelled as f32 } else { 0.0 }
        };
        kept.scales.extend(self.graph.losses().iter().zip(&labelled).map(scale));
        self.cut_into(inputs, &mut kept.tiles);
        kept.state.clear();
        kept.state.extend_from_slice(state);
        let number = self.steps;
        let step = Step { weights, state, inputs, dropout, number, scales: &kept.scales, tiles: &kept.tiles };
        self.make_room(inputs, if self.barriers.is_empty() { 1 } else { step.tiles.len() });
        self.reset(inputs, workers);
        self.transpose(weights, workers);

        if self.barriers.is_empty() {
            self.each_tile(workers, &step, &|trainer, worker, slab, cx| {
                trainer.forward(worker, slab, cx, 0..trainer.needed.len());
                trainer.add_losses(worker, slab, cx, &step);
                trainer.backward(worker, slab, cx, 0..trainer.needed.len());
            });
        } else {
            self.in_segments(workers, &step, &mut kept.state, &mut kept.partials);
        }
        let report = self.finish(labelled, &step, workers);
        if report.is_ok() {
            state.copy_from_slice(&kept.state);
        }
        self.kept = kept;
        report
    }

    /// The row of the last step's batch whose loss was not finite, where that is why it failed.
    pub fn not_finite(&self) -> Option<usize> {
        self.not_finite
    }

    /// The gradients of the last step.
    pub fn gradients(&mut self) -> Gradients<'_> {
        let worker = self.workers[0].get_mut().unwrap_or_else(PoisonError::into_inner);
        Gradients { network: &mut worker.weight_grads, rows: &mut worker.row_grads }
    }

    fn worker(&self, number: usize) -> Option<RwLockWriteGuard<'_, Worker>> {
        Some(self.workers.get(number)?.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn cut_into(&self, inputs: &BatchInputs<'_>, tiles: &mut Vec<Range<usize>>) {
        let rows = inputs.batch.rows;
        let workers = self.workers.len();
        let size = cut(&self.graph, inputs.batch, self.floats, workers);
        // As many tiles for each worker, and no tile much smaller than the others.
        let count = if rows <= size { 1 } else { rows.div_ceil(size).next_multiple_of(workers) };
        tiles.clear();
        tiles.extend((0..count).map(|tile| tile * rows / count..(tile + 1) * rows / count));
    }

    /// The weight of the samples in each loss's space.
    fn labelled(&self, inputs: &BatchInputs<'_>) -> Vec<f64> {
        let batch = inputs.batch;
        let tasks = batch.labels.len() / batch.rows.max(1);
        let weight = |row: usize| batch.weight.get(row).map_or(1.0, |weight| f64::from(*weight));
        let labels = |row: usize| batch.labels.get(row * tasks..(row + 1) * tasks).unwrap_or_default();
        let of = |loss: &Loss| (0..batch.rows).filter(|row| loss.counts(labels(*row))).map(weight).sum();
        self.graph.losses().iter().map(of).collect()
    }

    fn make_room(&mut self, inputs: &BatchInputs<'_>, tiles: usize) {
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
            worker.row_grads.resize_with(inputs.rows.len(), Vec::new);
            worker.losses.clear();
            worker.losses.resize(graph.losses().len(), 0.0);
            worker.not_finite = None;
        }
    }

    /// Sets all gradients to zero.
    fn reset(&mut self, inputs: &BatchInputs<'_>, workers: &dyn Workers) {
        let count = self.graph.weight_count();
        each_piece(workers, count, self.workers.iter_mut(), |worker| {
            let worker = worker.get_mut().unwrap_or_else(PoisonError::into_inner);
            worker.weight_grads.clear();
            worker.weight_grads.resize(count, 0.0);
            for (grads, rows) in worker.row_grads.iter_mut().zip(inputs.rows) {
                grads.clear();
                grads.resize(rows.len(), 0.0);
            }
        });
    }

    fn transpose(&mut self, weights: &[f32], workers: &dyn Workers) {
        let mut rest = self.transposed.as_mut_slice();
        let each = self.graph.weights().iter().zip(&self.to_transpose).filter_map(|(info, wanted)| {
            let into = rest.split_off_mut(..info.shape[0] * info.shape[1])?;
            wanted.then_some((info, into))
        });
        each_piece(workers, weights.len(), each, |(info, into)| {
            let [rows, columns] = info.shape;
            transpose(into, &weights[info.offset..info.offset + into.len()], rows, columns);
        });
    }

    /// Runs a body over all tiles, each worker its share. A worker keeps one slab, or one a tile when the pass is cut.
    fn each_tile(
        &self,
        workers: &dyn Workers,
        step: &Step<'_>,
        body: &(dyn Fn(&Self, &mut Worker, &mut Slab, &Context<'_>) + Sync),
    ) {
        let share = |worker: usize| worker * step.tiles.len() / self.workers.len();
        workers.run(&|number| {
            let Some(mut worker) = self.worker(number) else { return };
            let mut slabs = std::mem::take(&mut worker.slabs);
            worker.partials.clear();
            for (index, tile) in (share(number)..share(number + 1)).enumerate() {
                let (statistics, transposed) = (&self.statistics, &self.transposed);
                let recording = Recording { statistics, transposed, step: step.number };
                let cx = Context {
                    weights: step.weights,
                    state: step.state,
                    rows: step.tiles[tile].clone(),
                    inputs: step.inputs,
                    dropout: step.dropout,
                    recording: Some(recording),
                };
                let slab = &mut slabs[if self.barriers.is_empty() { 0 } else { index }];
                self.swap_crossing(&mut worker, slab);
                body(self, &mut worker, slab, &cx);
                self.swap_crossing(&mut worker, slab);
            }
            worker.slabs = slabs;
        });
    }

    fn swap_crossing(&self, worker: &mut Worker, slab: &mut Slab) {
        for (kept, value) in slab.grads.iter_mut().zip(&self.crossing) {
            std::mem::swap(kept, &mut worker.grads[*value]);
        }
    }

    /// Forward and back, with every tile stopping where an operation needs statistics of the whole batch.
    fn in_segments(&mut self, workers: &dyn Workers, step: &Step<'_>, state: &mut [f32], partials: &mut Vec<f64>) {
        let cuts = Arc::clone(&self.barriers);
        let (last, nodes) = (cuts.len(), self.needed.len());
        let start_of = |segment: usize| if segment == 0 { 0 } else { cuts[segment - 1] };
        for segment in 0..last {
            let end = cuts[segment];
            self.each_tile(workers, step, &|trainer, worker, slab, cx| {
                trainer.forward(worker, slab, cx, start_of(segment)..end);
                let node = &trainer.graph.nodes()[end];
                let inputs = Inputs { buffers: &slab.values, buffer_of: None, values: &node.inputs };
                if let Some(statistics) = node.op.operation().statistics() {
                    let from = worker.partials.len();
                    worker.partials.resize(from + statistics.partial_len(), 0.0);
                    statistics.forward_partial(cx, inputs, &mut worker.partials[from..]);
                }
            });
            self.finish_statistics(end, partials, Some(&mut *state));
        }
        for segment in (0..=last).rev() {
            // A barrier's own backward pass needs the sums made behind it.
            let end = cuts.get(segment).map_or(nodes, |cut| cut + 1);
            let start = if segment == 0 { 0 } else { cuts[segment - 1] + 1 };
            self.each_tile(workers, step, &|trainer, worker, slab, cx| {
                if segment == last {
                    trainer.forward(worker, slab, cx, start_of(last)..nodes);
                    trainer.add_losses(worker, slab, cx, step);
                }
                trainer.backward(worker, slab, cx, start..end);
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
    fn finish_statistics(&mut self, node: usize, partials: &mut Vec<f64>, state: Option<&mut [f32]>) {
        partials.clear();
        for worker in &mut self.workers {
            partials.extend_from_slice(&worker.get_mut().unwrap_or_else(PoisonError::into_inner).partials);
        }
        let graph = Arc::clone(&self.graph);
        if let Some(statistics) = graph.nodes()[node].op.operation().statistics() {
            let finished = &mut self.statistics[statistics.finished()];
            match state {
                Some(state) => statistics.forward_finish(partials, finished, state),
                None => statistics.backward_finish(partials, finished),
            }
        }
    }

    fn forward(&self, _: &mut Worker, slab: &mut Slab, cx: &Context<'_>, nodes: Range<usize>) {
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
    fn add_losses(&self, worker: &mut Worker, slab: &mut Slab, cx: &Context<'_>, step: &Step<'_>) {
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

    fn backward(&self, worker: &mut Worker, slab: &mut Slab, cx: &Context<'_>, nodes: Range<usize>) {
        for index in nodes.rev().filter(|node| self.needed[*node]) {
            self.backward_node(worker, slab, cx, index, |node, pass| node.op.operation().backward(cx, pass));
        }
    }

    fn backward_partial(&self, worker: &mut Worker, slab: &mut Slab, cx: &Context<'_>, index: usize) {
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

    fn backward_node(
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
            row_grads: &mut worker.row_grads,
            scratch: &mut worker.scratch,
            grads: &mut worker.grads,
            targets: &self.targets[index],
        };
        body(node, pass);
        worker.grads[output] = out_grad;
    }

    /// Sums the workers' gradients and losses in the order of their numbers, into the first one's.
    fn finish(&mut self, labelled: Vec<f64>, step: &Step<'_>, workers: &dyn Workers) -> Result<StepReport> {
        let Some((first, others)) = self.workers.split_first_mut() else { return Err(Error::internal("no worker")) };
        let first = first.get_mut().unwrap_or_else(PoisonError::into_inner);
        let others = &*others;
        if !others.is_empty() {
            let network = first.weight_grads.chunks_mut(PIECE).enumerate();
            let network = network.map(|(number, piece)| (None, number * PIECE, piece));
            let tables = first.row_grads.iter_mut().enumerate();
            let tables = tables.map(|(table, grads)| (Some(table), 0, grads.as_mut_slice()));
            each_piece(workers, step.weights.len(), network.chain(tables), |(table, start, piece)| {
                for other in others {
                    let other = other.read().unwrap_or_else(PoisonError::into_inner);
                    let grads = table.map_or(&other.weight_grads, |table| &other.row_grads[table]);
                    add(piece, &grads[start..start + piece.len()]);
                }
            });
        }
        for other in others {
            let other = other.read().unwrap_or_else(PoisonError::into_inner);
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
}

/// The values whose gradient is made and read in different segments of the backward pass.
fn crossing(graph: &Graph, needed: &[bool], barriers: &[usize]) -> Vec<usize> {
    let segment = |node: usize| barriers.iter().filter(|barrier| **barrier < node).count();
    let mut producer = vec![None; graph.values.len()];
    let mut crosses = vec![false; graph.values.len()];
    for (index, node) in graph.nodes().iter().enumerate().filter(|(index, _)| needed[*index]) {
        producer[node.output.index()] = Some(segment(index));
        // Its sums are made in one segment and its input's gradient in the next.
        crosses[node.output.index()] = barriers.contains(&index);
        for input in &node.inputs {
            crosses[input.index()] |= producer[input.index()] != Some(segment(index));
        }
    }
    for loss in graph.losses() {
        crosses[loss.value.index()] |= producer[loss.value.index()] != Some(barriers.len());
    }
    crosses.iter().enumerate().filter(|(_, crosses)| **crosses).map(|(value, _)| value).collect()
}

/// For each node what happens to the gradient of each input: nobody needs it, it is the first part, or there is one already.
fn gradient_targets(graph: &Graph, needed: &[bool]) -> Vec<Vec<Target>> {
    let mut wanted = vec![false; graph.values.len()];
    for node in graph.nodes() {
        let leaf = matches!(node.op, Op::Embed(_));
        let weighted = matches!(
            node.op,
            Op::Linear(_)
                | Op::BatchNorm(_)
                | Op::Prelu(_)
                | Op::Dice(_)
                | Op::AttentionPool(_)
                | Op::Cross(_)
                | Op::Scenario(_)
                | Op::Experts(_)
                | Op::Stitch(_)
                | Op::PartitionedNorm(_)
                | Op::StarLinear(_)
                | Op::Gru(_)
                | Op::TaskWeight(_)
                | Op::PositionBias(_)
        );
        wanted[node.output.index()] = leaf || weighted || node.inputs.iter().any(|value| wanted[value.index()]);
    }
    let mut touched = vec![false; graph.values.len()];
    // A loss has its own gradient before anything that reads it adds to that.
    graph.losses().iter().for_each(|loss| touched[loss.value.index()] = true);
    let mut targets = vec![Vec::new(); graph.nodes().len()];
    for (index, node) in graph.nodes().iter().enumerate().rev().filter(|(index, _)| needed[*index]) {
        targets[index] = node
            .inputs
            .iter()
            .map(|value| match (wanted[value.index()], std::mem::replace(&mut touched[value.index()], true)) {
                (false, _) => Target::Skip,
                (true, false) => Target::Write,
                (true, true) => Target::Add,
            })
            .collect();
    }
    targets
}
