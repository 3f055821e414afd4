//! A trained network for more scenarios or tasks than it was trained with.
//!
//! Weights are matched by name. What belongs to a scenario or task that is new is a copy of what belongs to the nearest one; everything
//! else stays. Whose a weight is, or a part of it, is told where it is made: [`Graph::scope_of`] for a whole one (the tower of a task),
//! [`Graph::rows_of`] and [`Graph::columns_of`] for equal parts (a row a scenario, the columns of a task's gate).
//!
//! *Unchanged to the bit.* What the network says for the scenarios and tasks it had must not change, so nothing of theirs may hear the new
//! ones. Most bodies never let one hear another. Four do, and have a matrix of who hears whom, a row a listener and a column a
//! [speaker](Parts::speaking): cross-stitch its learned mixtures, where a weight of zero is silence; HMoE (whom a scenario listens to),
//! AESM² (the conditions that experts are divided among), the shared path of PLE (whose experts it reads) and partitioned normalization
//! (whose moments stand in for an unseen scenario) a statistic that is one where who speaks is heard, and never trained. A new row is a
//! copy of the nearest's in which the new one has taken the nearest's place; in older rows a new column is silent.
//!
//! So the new one scores as the nearest one does (to the bit, but for the order of some sums in these four), learns from its first sample
//! on, and moves the old ones through what all share. In cross-stitch the old ones learn to hear it as they are trained on. In HMoE, AESM²
//! and PLE they never do, and it does not hear the one it was copied from: in a softmax whatever weighs nothing also learns nothing, so
//! that being silent at first and joining in later cannot both be had. Train a new model where that matters.

use crate::graph::Graph;
use crate::network::Network;
use kitestring_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// What a part of a network may belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Of {
    /// A scenario of this level.
    Scenario(usize),
    /// A task.
    Task,
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// What it is.
    pub of: Of,
    /// Its number, from 0 on: a scenario's among those seen in training.
    pub number: usize,
}

impl Owner {
    /// A task.
    pub fn task(number: usize) -> Self {
        Self { of: Of::Task, number }
    }

    /// A scenario of a level, its number among those seen in training.
    pub fn scenario(level: usize, number: usize) -> Self {
        Self { of: Of::Scenario(level), number }
    }
}

/// The rows or columns of a matrix in equal parts, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parts {
    /// What a part belongs to.
    pub of: Of,
    /// How many parts.
    pub count: usize,
    /// How many rows or columns stand behind the parts and are nobody's.
    pub rest: usize,
    /// Whether the parts are what others hear of a scenario or task: a new one is silent, but to itself.
    pub speaking: bool,
}

impl Parts {
    /// A part a task or seen scenario.
    pub fn new(of: Of, count: usize) -> Self {
        Self { of, count, rest: 0, speaking: false }
    }

    /// Some of nobody behind them.
    #[must_use]
    pub fn and(self, rest: usize) -> Self {
        Self { rest, ..self }
    }

    /// A part for what others hear of each.
    #[must_use]
    pub fn speaking(self) -> Self {
        Self { speaking: true, ..self }
    }

    /// The length of a part of so many rows or columns.
    fn size(&self, len: usize) -> Option<usize> {
        let len = len.checked_sub(self.rest)?;
        len.is_multiple_of(self.count).then(|| len / self.count)
    }
}

/// Whose a matrix is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whose {
    /// Its name with `*` in place of its owners'.
    pub pattern: String,
    /// The scenario or task it belongs to as a whole, or both.
    pub owners: Vec<Owner>,
    /// Whose its rows are, and its columns.
    pub parts: [Option<Parts>; 2],
}

/// Where a scenario or task of the new network comes from: its number in the old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It was there.
    Kept(usize),
    /// It is new, and starts as this one.
    Copied(usize),
}

impl Origin {
    fn number(self) -> usize {
        match self {
            Self::Kept(number) | Self::Copied(number) => number,
        }
    }

    fn is_new(self) -> bool {
        matches!(self, Self::Copied(_))
    }
}

/// Where everything of the new network comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins {
    /// Each task.
    pub tasks: Vec<Origin>,
    /// Each scenario of each level, without the unseen one.
    pub scenarios: Vec<Vec<Origin>>,
}

impl Origins {
    fn all(&self, of: Of) -> &[Origin] {
        match of {
            Of::Task => &self.tasks,
            Of::Scenario(level) => self.scenarios.get(level).map_or(&[], Vec::as_slice),
        }
    }

    fn of(&self, owner: Owner) -> Option<Owner> {
        Some(Owner { of: owner.of, number: self.all(owner.of).get(owner.number)?.number() })
    }
}

impl Graph {
    /// Kept numbers that say who of `count` hears whom, one at first: a row a listener and one for a sample of nobody, a column a speaker.
    /// The result is where they start.
    pub(crate) fn hearing(&mut self, of: Of, count: usize) -> usize {
        let parts = Parts::new(of, count);
        self.rows_of(parts.and(1), |graph| {
            graph.columns_of(parts.speaking(), |graph| graph.state("hears", [count + 1, count], 1.0))
        })
    }
}

/// A weight or statistic of either graph.
struct Matrix<'a> {
    name: &'a str,
    shape: [usize; 2],
    whose: &'a Whose,
    values: &'a [f32],
}

impl<'a> Matrix<'a> {
    fn weights(graph: &'a Graph, values: &'a [f32]) -> Vec<Self> {
        let matrices = graph.weights().iter().map(|info| {
            let len = info.shape[0] * info.shape[1];
            let values = values.get(info.offset..info.offset + len).unwrap_or_default();
            Self { name: &info.name, shape: info.shape, whose: &info.whose, values }
        });
        matrices.collect()
    }

    fn states(graph: &'a Graph, values: &'a [f32]) -> Vec<Self> {
        let matrices = graph.states().iter().map(|info| {
            let values = values.get(info.offset..info.offset + info.len).unwrap_or_default();
            Self { name: &info.name, shape: info.shape, whose: &info.whose, values }
        });
        matrices.collect()
    }
}

/// A row or column of a new matrix.
#[derive(Clone, Copy)]
struct Line {
    /// Its place in the old matrix.
    old: usize,
    /// Whose it is, and where that comes from.
    part: Option<(Owner, Origin)>,
}

impl Network {
    /// This network, trained as `old`, for the graph `new` of more scenarios or tasks. The module says what of it is new.
    ///
    /// # Errors
    /// A weight that one of the graphs has and the other has no counterpart of: the error names it.
    pub fn grown(&self, old: &Graph, new: &Graph, origins: &Origins) -> Result<Self> {
        let weights = (Matrix::weights(old, &self.weights), Matrix::weights(new, &[]));
        let states = (Matrix::states(old, &self.state), Matrix::states(new, &[]));
        Ok(Self { weights: grown(&weights.0, &weights.1, origins)?, state: grown(&states.0, &states.1, origins)? })
    }
}

fn grown(old: &[Matrix<'_>], new: &[Matrix<'_>], origins: &Origins) -> Result<Vec<f32>> {
    let mut taken = vec![false; old.len()];
    let mut all = Vec::new();
    for matrix in new {
        let owners: Option<Vec<Owner>> = matrix.whose.owners.iter().map(|owner| origins.of(*owner)).collect();
        let same =
            |old: &Matrix<'_>| old.whose.pattern == matrix.whose.pattern && Some(&old.whose.owners) == owners.as_ref();
        let found = old.iter().position(same);
        found.into_iter().for_each(|found| taken[found] = true);
        let found = found.map(|found| &old[found]);
        let values = values(found, matrix, origins).ok_or_else(|| {
            let what = match found {
                None => "the model to start from has no such weight".to_owned(),
                Some(found) => format!("the model to start from has {:?} here, not {:?}", found.shape, matrix.shape),
            };
            Error::config(what)
                .in_field(matrix.name)
                .mend("start from a run with the same [model], or choose another nearest task")
        })?;
        all.extend(values);
    }
    match old.iter().zip(taken).find(|(_, taken)| !taken) {
        None => Ok(all),
        Some((left, _)) => {
            Err(Error::config("the model to start from has this weight, and the new one has no place for it")
                .in_field(left.name)
                .mend("start from a run with the same [model]"))
        }
    }
}

/// The numbers of a new matrix; none where the old one is not its counterpart. Where there is no old one, listeners hear themselves: there
/// was only one.
fn values(old: Option<&Matrix<'_>>, new: &Matrix<'_>, origins: &Origins) -> Option<Vec<f32>> {
    let speaking = new.whose.parts[1].is_some_and(|parts| parts.speaking);
    let among_equals = speaking && new.whose.parts[0].map(|parts| parts.of) == new.whose.parts[1].map(|parts| parts.of);
    if old.is_none() && !among_equals {
        return None;
    }
    let kept = |row: Line, column: Line| match old {
        Some(old) => old.values.get(row.old * old.shape[1] + column.old).copied(),
        None => Some(1.0),
    };
    let columns = lines(1, old, new, origins)?;
    let mut values = Vec::with_capacity(new.shape[0] * new.shape[1]);
    for row in lines(0, old, new, origins)? {
        for column in &columns {
            let silent = match (row.part, column.part) {
                (Some((listener, origin)), Some((speaker, from))) if among_equals => {
                    let its_nearest = origin.is_new() && origin.number() == from.number();
                    listener != speaker && (old.is_none() || from.is_new() || its_nearest)
                }
                (_, Some((_, from))) => speaking && from.is_new(),
                _ => false,
            };
            values.push(if silent { 0.0 } else { kept(row, *column)? });
        }
    }
    Some(values)
}

fn lines(axis: usize, old: Option<&Matrix<'_>>, new: &Matrix<'_>, origins: &Origins) -> Option<Vec<Line>> {
    let (len, before) = (new.shape[axis], old.map(|old| (old.shape[axis], old.whose.parts[axis])));
    let Some(parts) = new.whose.parts[axis] else {
        let same = before.is_none_or(|before| before == (len, None));
        return same.then(|| (0..len).map(|old| Line { old, part: None }).collect());
    };
    let size = parts.size(len)?;
    let mut rest = 0;
    if let Some((old_len, before)) = before {
        let before = before?;
        if (before.of, before.rest, before.size(old_len)?) != (parts.of, parts.rest, size) {
            return None;
        }
        rest = old_len - parts.rest;
    }
    let origins = origins.all(parts.of);
    if origins.len() != parts.count {
        return None;
    }
    let mut lines = Vec::with_capacity(len);
    for (number, origin) in origins.iter().enumerate() {
        let part = Some((Owner { of: parts.of, number }, *origin));
        lines.extend((0..size).map(|at| Line { old: origin.number() * size + at, part }));
    }
    lines.extend((rest..rest + parts.rest).map(|old| Line { old, part: None }));
    Some(lines)
}
