//! The forward pass without recording: inference.

use super::context::{BatchInputs, Context, Inputs};
use super::tiles::{Tiling, share};
use super::workers::{Workers, check_count};
use crate::graph::{Graph, Value, Weight};
use crate::ops::Op;
use crate::quantization::product::Codes;
use kitestring_core::{Batch, Result, Seed};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// Scores batches with a graph. Memory is planned once: values that are never alive together share a buffer, and a warm call
/// allocates nothing.
#[derive(Debug)]
pub struct Scorer {
    graph: Arc<Graph>,
    /// The nodes the outputs need.
    nodes: Vec<usize>,
    /// The buffer of each value.
    buffer_of: Vec<u32>,
    tiling: Tiling,
    tiles: Vec<Range<usize>>,
    workers: Vec<Mutex<Worker>>,
    codes: Option<Arc<Codes>>,
    /// Values of one row that all samples share and that no node makes.
    given: Vec<(Value, Vec<f32>)>,
}

#[derive(Debug, Default)]
struct Worker {
    buffers: Vec<Vec<f32>>,
    saved: Vec<f32>,
    results: Vec<f32>,
}

/// What one attention operation attended to, for a tile of samples.
#[derive(Debug)]
pub struct Attention<'a> {
    /// The feature whose lists were pooled.
    pub feature: usize,
    /// The samples.
    pub rows: Range<usize>,
    /// A weight for each element of each sample's list, one sample after another.
    pub weights: &'a [f32],
}

/// What one gate gave the experts of a layer, for a tile of samples.
#[derive(Debug)]
pub struct Gates<'a> {
    /// The gate's name: the scope it was made in.
    pub name: &'a str,
    /// The samples.
    pub rows: Range<usize>,
    /// A weight for each sample and expert, row-major.
    pub weights: &'a [f32],
}

/// A look into a forward pass.
#[derive(Debug)]
pub enum Shown<'a> {
    /// What an attention attended to.
    Attention(Attention<'a>),
    /// Which experts a gate chose.
    Gates(Gates<'a>),
    /// What enters a product with a matrix of weights, rows of activations.
    Product(Weight, &'a [f32]),
}

impl Scorer {
    /// Plans the memory of a graph's forward pass for a number of workers.
    pub fn new(graph: Arc<Graph>, workers: usize) -> Self {
        Self::planned(graph, workers, Vec::new())
    }

    /// The same where some values come from outside, one row that all samples share: [`Self::give`] says what they are.
    pub(crate) fn with_given(graph: Arc<Graph>, values: &[Value]) -> Self {
        let zeros = |value: &Value| (*value, vec![0.0; graph.width(*value)]);
        let given = values.iter().map(zeros).collect();
        Self::planned(Arc::clone(&graph), 1, given)
    }

    fn planned(graph: Arc<Graph>, workers: usize, given: Vec<(Value, Vec<f32>)>) -> Self {
        let stops: Vec<Value> = given.iter().map(|(value, _)| *value).collect();
        let needed = graph.needed_for_with(graph.outputs().iter().map(|(_, value)| *value), &stops);
        let nodes: Vec<usize> = (0..needed.len()).filter(|node| needed[*node]).collect();
        let (buffer_of, buffers) = plan(&graph, &nodes, &stops);
        let (tiling, tiles) = (Tiling::new(&graph, nodes.iter().copied(), 1), Vec::new());
        let worker = || Mutex::new(Worker { buffers: vec![Vec::new(); buffers], ..Worker::default() });
        let workers = (0..workers.max(1)).map(|_| worker()).collect();
        Self { graph, nodes, buffer_of, tiling, tiles, workers, codes: None, given }
    }

    /// Does some products in codes from now on. Their weights are not read; [`Self::explain`] and [`Self::observe`] go on in `f32`.
    #[must_use]
    pub fn with_codes(mut self, codes: Arc<Codes>) -> Self {
        self.codes = Some(codes).filter(|codes| !codes.is_empty());
        self
    }

    /// Says what a given value is.
    pub(crate) fn give(&mut self, number: usize, row: &[f32]) {
        if let Some((_, given)) = self.given.get_mut(number) {
            given.copy_from_slice(row);
        }
    }

    /// The outputs of all samples side by side, `samples × Σ widths`, row-major, in the order of [`Graph::outputs`].
    ///
    /// # Errors
    /// If the batch does not fit the graph.
    pub fn score(
        &mut self,
        weights: &[f32],
        state: &[f32],
        inputs: &BatchInputs<'_>,
        workers: &dyn Workers,
        scores: &mut Vec<f32>,
    ) -> Result<()> {
        self.score_drawn(weights, state, inputs, None, workers, scores)
    }

    /// [`Self::score`] of a network that `seed` draws: what drops out in training does here, and nothing else of training happens.
    /// Several passes with different seeds show what the network does not know ([`crate::uncertainty`]). A pass repeats to the bit,
    /// whatever the number of workers.
    ///
    /// # Errors
    /// If the batch does not fit the graph.
    #[cfg(feature = "train")]
    pub fn score_with_dropout(
        &mut self,
        weights: &[f32],
        state: &[f32],
        inputs: &BatchInputs<'_>,
        seed: Seed,
        workers: &dyn Workers,
        scores: &mut Vec<f32>,
    ) -> Result<()> {
        self.score_drawn(weights, state, inputs, Some(seed), workers, scores)
    }

    fn score_drawn(
        &mut self,
        weights: &[f32],
        state: &[f32],
        inputs: &BatchInputs<'_>,
        dropout: Option<Seed>,
        workers: &dyn Workers,
        scores: &mut Vec<f32>,
    ) -> Result<()> {
        inputs.check(&self.graph)?;
        check_count(workers, self.workers.len())?;
        self.tiling.cut(inputs.batch, self.workers.len(), false, &mut self.tiles);
        workers.run(&|number| {
            let Some(worker) = self.workers.get(number) else { return };
            let mut worker = worker.lock().unwrap_or_else(PoisonError::into_inner);
            worker.results.clear();
            for rows in &self.tiles[share(self.tiles.len(), number, self.workers.len())] {
                let rows = rows.clone();
                let codes = self.codes.as_deref();
                let cx = Context { weights, state, rows, inputs, dropout, recording: None, codes };
                self.run_tile(&cx, &mut worker, None);
            }
        });
        scores.clear();
        for worker in &mut self.workers {
            scores.extend_from_slice(&worker.get_mut().unwrap_or_else(PoisonError::into_inner).results);
        }
        Ok(())
    }

    /// Scores on one thread and shows what each attention attended to and which experts each gate chose.
    ///
    /// # Errors
    /// If the batch does not fit the graph.
    pub fn explain(
        &mut self,
        weights: &[f32],
        state: &[f32],
        inputs: &BatchInputs<'_>,
        mut each: impl FnMut(Shown<'_>),
    ) -> Result<Vec<f32>> {
        inputs.check(&self.graph)?;
        self.tiling.cut(inputs.batch, 1, false, &mut self.tiles);
        let mut worker = self.workers[0].lock().unwrap_or_else(PoisonError::into_inner);
        worker.results.clear();
        for rows in &self.tiles {
            let rows = rows.clone();
            let cx = Context { weights, state, rows, inputs, dropout: None, recording: None, codes: None };
            self.run_tile(&cx, &mut worker, Some(&mut each));
        }
        Ok(worker.results.clone())
    }

    /// Scores on one thread and shows what enters each of [`Graph::products`].
    ///
    /// # Errors
    /// If the batch does not fit the graph.
    pub fn observe(
        &mut self,
        weights: &[f32],
        state: &[f32],
        inputs: &BatchInputs<'_>,
        mut each: impl FnMut(Weight, &[f32]),
    ) -> Result<()> {
        let show = |shown: Shown<'_>| {
            if let Shown::Product(weight, activations) = shown {
                each(weight, activations);
            }
        };
        self.explain(weights, state, inputs, show).map(|_| ())
    }

    /// Bytes of the buffers, as they have grown so far.
    pub fn memory(&self) -> usize {
        let floats = |worker: &Worker| {
            let buffers: usize = worker.buffers.iter().map(Vec::capacity).sum();
            buffers + worker.saved.capacity() + worker.results.capacity()
        };
        let workers = self.workers.iter();
        workers.map(|worker| 4 * floats(&worker.lock().unwrap_or_else(PoisonError::into_inner))).sum()
    }

    /// Bytes of values that a batch's largest tile makes, as its tiles are planned: what a worker holds of it at most. Values that are never
    /// alive together share [`Self::memory`].
    pub fn planned_memory(&self, batch: &Batch) -> usize {
        let mut tiles = Vec::new();
        self.tiling.cut(batch, self.workers.len(), false, &mut tiles);
        4 * self.tiling.largest(batch, &tiles)
    }

    fn run_tile(&self, cx: &Context<'_>, worker: &mut Worker, mut each: Option<&mut dyn FnMut(Shown<'_>)>) {
        for (value, row) in &self.given {
            let buffer = &mut worker.buffers[self.buffer_of[value.index()] as usize];
            buffer.clear();
            (0..cx.rows.len()).for_each(|_| buffer.extend_from_slice(row));
        }
        for index in &self.nodes {
            let node = &self.graph.nodes()[*index];
            let into = self.buffer_of[node.output.index()] as usize;
            let mut out = std::mem::take(&mut worker.buffers[into]);
            out.resize(cx.len(self.graph.domain(node.output)) * self.graph.width(node.output), 0.0);
            let inputs = Inputs { buffers: &worker.buffers, buffer_of: Some(&self.buffer_of), values: &node.inputs };
            node.op.operation().forward(cx, inputs, &mut out, &mut worker.saved);
            if let Some(each) = &mut each {
                node.op
                    .operation()
                    .observe(cx, inputs, &worker.saved, &mut |weight, x| each(Shown::Product(weight, x)));
                if let Op::AttentionPool(attention) = &node.op {
                    each(Shown::Attention(Attention {
                        feature: attention.feature,
                        rows: cx.rows.clone(),
                        weights: attention.weights_of(&worker.saved, cx.rows.len(), attention.pairs(cx)),
                    }));
                }
                for (name, _) in self.graph.gates().iter().filter(|(_, value)| *value == node.output) {
                    each(Shown::Gates(Gates { name, rows: cx.rows.clone(), weights: &out }));
                }
            }
            worker.buffers[into] = out;
        }
        let outputs = self.graph.outputs();
        for row in 0..cx.rows.len() {
            for (_, value) in outputs {
                let width = self.graph.width(*value);
                let buffer = &worker.buffers[self.buffer_of[value.index()] as usize];
                worker.results.extend_from_slice(&buffer[row * width..(row + 1) * width]);
            }
        }
    }
}

/// Gives each value a buffer; one is free again after its value's last reader. The second result is the number of buffers.
fn plan(graph: &Graph, nodes: &[usize], given: &[Value]) -> (Vec<u32>, usize) {
    let mut last_use = vec![0; graph.values.len()];
    for index in nodes {
        let node = &graph.nodes()[*index];
        last_use[node.output.index()] = *index;
        node.inputs.iter().for_each(|value| last_use[value.index()] = *index);
    }
    graph.outputs().iter().for_each(|(_, value)| last_use[value.index()] = usize::MAX);
    let (mut buffer_of, mut free, mut count) = (vec![0_u32; graph.values.len()], Vec::new(), 0);
    for value in given {
        buffer_of[value.index()] = count;
        count += 1;
    }
    for index in nodes {
        let node = &graph.nodes()[*index];
        buffer_of[node.output.index()] = free.pop().unwrap_or_else(|| {
            count += 1;
            count - 1
        });
        let mut done: Vec<Value> = node.inputs.iter().copied().chain([node.output]).collect();
        done.sort_unstable_by_key(|value| value.index());
        done.dedup();
        done.retain(|value| last_use[value.index()] == *index);
        free.extend(done.iter().map(|value| buffer_of[value.index()]));
    }
    (buffer_of, count as usize)
}
