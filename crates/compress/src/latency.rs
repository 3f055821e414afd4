//! How long a device takes, from what the operations of a graph cost and how fast a core of it is.

use crate::config::Speed;
use kitestring_nn::graph::{Domain, Graph};
use kitestring_nn::ops::{Cost, Op};
use kitestring_nn::package::Activations;
use std::collections::BTreeSet;

/// What a request costs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// Operations on `f32`.
    pub flops: u64,
    /// Operations on codes of eight bits.
    pub int8: u64,
    /// Bytes read and written.
    pub bytes: u64,
}

impl Work {
    /// The work of a request for some candidates that share lists of so many elements.
    pub fn of(graph: &Graph, activations: &[Activations], candidates: usize, elements: usize) -> Self {
        let pairs = candidates * elements;
        let Cost { flops, bytes } = graph.cost(candidates, pairs);
        let coded: BTreeSet<(&str, usize)> = activations.iter().map(|of| (of.weight.as_str(), of.row)).collect();
        let mut int8 = 0;
        for weight in graph.products() {
            if !graph.name_of(weight).is_some_and(|name| coded.contains(&name)) {
                continue;
            }
            let reads = |op: &Op| match op {
                Op::Linear(linear) => linear.weight == weight,
                Op::AttentionPool(attention) => attention
                    .layers
                    .iter()
                    .any(|(layer, _)| graph.name_of(*layer).map(|of| of.0) == graph.name_of(weight).map(|of| of.0)),
                _ => false,
            };
            let node = graph.nodes().iter().find(|node| reads(&node.op));
            let rows = match node.map(|node| (&node.op, graph.domain(node.output))) {
                Some((Op::AttentionPool(_), _) | (_, Domain::Positions(_))) => pairs,
                _ => candidates,
            };
            let [inputs, outputs] = weight.shape();
            int8 += 2 * (rows * inputs * outputs) as u64;
        }
        Self { flops: flops.saturating_sub(int8), int8, bytes }
    }

    /// Seconds on a core of some speed.
    pub fn seconds(self, speed: &Speed) -> f64 {
        self.flops as f64 / speed.flops + self.int8 as f64 / speed.int8 + self.bytes as f64 / speed.bytes
    }
}
