//! Recurrent states that are kept from event to event, so that a new one costs one step however long the history.

use super::context::{BatchInputs, Context, Inputs};
use crate::graph::{Domain, Graph, Value};
use crate::ops::Op;
use crate::ops::gru::Gru;
use kitestring_core::{Error, Result};
use std::sync::Arc;

/// The states of a graph's recurrent units, for one user.
#[derive(Debug)]
pub struct Recurrent {
    graph: Arc<Graph>,
    units: Vec<Unit>,
    /// The nodes that make what the units read of an event.
    nodes: Vec<usize>,
    buffers: Vec<Vec<f32>>,
    scratch: Vec<f32>,
}

#[derive(Debug)]
struct Unit {
    gru: Gru,
    input: Value,
    output: Value,
    state: Vec<f32>,
}

impl Recurrent {
    /// The recurrent units of a graph, their states zero; none where a graph has none whose last state alone is read.
    pub fn new(graph: &Arc<Graph>) -> Option<Self> {
        let needed = graph.needed_for(graph.outputs().iter().map(|(_, value)| *value));
        let nodes = graph.nodes().iter().zip(&needed).filter(|(_, needed)| **needed);
        let units = nodes.filter_map(|(node, _)| match (&node.op, node.inputs.as_slice()) {
            (Op::Gru(gru), [input]) if !gru.every_state => {
                Some(Unit { gru: *gru, input: *input, output: node.output, state: vec![0.0; gru.units] })
            }
            _ => None,
        });
        let units: Vec<Unit> = units.collect();
        if units.is_empty() {
            return None;
        }
        let needed = graph.needed_for(units.iter().map(|unit| unit.input));
        let nodes = (0..needed.len()).filter(|node| needed[*node]).collect();
        let buffers = vec![Vec::new(); graph.values.len()];
        Some(Self { graph: Arc::clone(graph), units, nodes, buffers, scratch: Vec::new() })
    }

    /// The values that the states stand for.
    pub(crate) fn values(&self) -> Vec<Value> {
        self.units.iter().map(|unit| unit.output).collect()
    }

    /// The states, a unit each.
    pub fn states(&self) -> impl Iterator<Item = &[f32]> {
        self.units.iter().map(|unit| unit.state.as_slice())
    }

    /// The numbers of the sparse features whose lists the units read.
    pub fn features(&self) -> impl Iterator<Item = usize> + '_ {
        let read = self.graph.nodes().iter().filter_map(|node| match &node.op {
            Op::Embed(embed) => Some(embed),
            _ => None,
        });
        let of_units = |domain: Domain| self.units.iter().any(|unit| domain == Domain::Positions(unit.gru.feature));
        read.filter(move |embed| of_units(embed.domain)).flat_map(|embed| embed.lookups.iter().map(|of| of.feature))
    }

    /// Forgets all events.
    pub fn reset(&mut self) {
        self.units.iter_mut().for_each(|unit| unit.state.fill(0.0));
    }

    /// Reads events: a batch of one sample, whose lists have those that came since the last call, oldest first.
    ///
    /// # Errors
    /// A batch that does not fit the graph: the states are as they were.
    pub fn advance(&mut self, weights: &[f32], state: &[f32], inputs: &BatchInputs<'_>) -> Result<()> {
        if inputs.batch.rows != 1 {
            return Err(Error::internal("events are read for one user"));
        }
        inputs.check(&self.graph)?;
        let cx = Context { weights, state, rows: 0..1, inputs, dropout: None, recording: None, codes: None };
        for index in &self.nodes {
            let node = &self.graph.nodes()[*index];
            let mut out = std::mem::take(&mut self.buffers[node.output.index()]);
            out.resize(cx.len(self.graph.domain(node.output)) * self.graph.width(node.output), 0.0);
            let inputs = Inputs { buffers: &self.buffers, buffer_of: None, values: &node.inputs };
            node.op.operation().forward(&cx, inputs, &mut out, &mut self.scratch);
            self.buffers[node.output.index()] = out;
        }
        for unit in &mut self.units {
            let events = cx.len(Domain::Positions(unit.gru.feature));
            let x = &self.buffers[unit.input.index()][..events * unit.gru.width];
            for event in x.chunks_exact(unit.gru.width) {
                unit.gru.step(weights, &mut unit.state, event, &mut self.scratch)?;
            }
        }
        Ok(())
    }
}
