//! What follows from a graph alone: who gets which gradient, and where values wait.

use crate::graph::{Graph, Value, Weight};
use crate::ops::{Op, Target};

/// The values whose gradient is made and read in different segments of the backward pass.
pub(super) fn crossing(graph: &Graph, needed: &[bool], barriers: &[usize], roots: &[Value]) -> Vec<usize> {
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
    for root in roots {
        crosses[root.index()] |= producer[root.index()] != Some(barriers.len());
    }
    crosses.iter().enumerate().filter(|(_, crosses)| **crosses).map(|(value, _)| value).collect()
}

/// The values whose gradients somebody needs: those that lead to what is learned, rows or weights of these names.
pub(super) fn wanted(graph: &Graph, rows: bool, learned: &dyn Fn(&str) -> bool) -> Vec<bool> {
    let named = |weight: Weight| graph.name_of(weight).is_some_and(|(name, _)| learned(name));
    let mut wanted = vec![false; graph.values.len()];
    for node in graph.nodes() {
        let learns = match &node.op {
            Op::Embed(_) => rows,
            op => op.operation().weights().into_iter().any(named),
        };
        wanted[node.output.index()] = learns || node.inputs.iter().any(|value| wanted[value.index()]);
    }
    wanted
}

/// For each node what happens to the gradient of each input: nobody needs it, it is the first part, or there is one already.
pub(super) fn gradient_targets(graph: &Graph, needed: &[bool], wanted: &[bool], roots: &[Value]) -> Vec<Vec<Target>> {
    let mut touched = vec![false; graph.values.len()];
    // What is minimized has its own gradient before anything that reads it adds to that.
    roots.iter().for_each(|root| touched[root.index()] = true);
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
