//! `z_t = z_t(x) + b_t(position, device)` in training, `z_t(x) + b_t(missing, device)` when serving: the shallow tower of Zhao et al. 2019.
//!
//! People click what stands first. A model that does not know where a sample stood takes this for relevance; one that reads the position
//! beside other features finds none when serving. Here the position adds a number of its own to the logit, which a score leaves out.

use crate::graph::{Domain, Graph, Value};
use crate::grow::Owner;
use crate::ops::Op;
use crate::slots::ModelInputs;
use kitestring_core::schema::TaskKind;
use kitestring_core::{Error, Result};
use serde::Serialize;

/// A number for each position, and for each position and value of some features.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Position {
    /// The tasks whose logits it is added to, by name. Empty for the binary tasks that come after no other: what people do on seeing an
    /// impression depends on its place, what they do afterwards does not.
    pub tasks: Vec<String>,
    /// How many positions are told apart: later ones count as the last.
    pub positions: usize,
    /// Categorical features that are crossed with the position (the device: the third place of a phone is another than that of a desk).
    /// Their ids are open-ended, so a pair has no number of its own: a linear map takes the row of an id, the one the model has anyway,
    /// to a number for each position.
    pub crossed: Vec<String>,
    /// The probability that a position is taken for missing in training, so that the missing one, which serving uses, is learned.
    pub dropout: f32,
}

kitestring_core::fields!(Position { tasks, positions, crossed, dropout });

impl Default for Position {
    fn default() -> Self {
        Self { tasks: Vec::new(), positions: 50, crossed: Vec::new(), dropout: 0.1 }
    }
}

impl Position {
    pub(super) fn forward(&self, graph: &mut Graph, inputs: &ModelInputs) -> Result<Vec<Option<Value>>> {
        if !inputs.position {
            return Err(Error::config("there is no position to learn from")
                .in_field("model.bias.type")
                .mend("name the column of the display position as `schema.position`, or use type = \"none\""));
        }
        if self.positions == 0 {
            return Err(Error::config("there must be at least one position").in_field("model.bias.positions"));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(Error::config("`dropout` must be in [0, 1)").in_field("model.bias.dropout"));
        }
        for name in &self.tasks {
            let Some(task) = inputs.task_names.iter().position(|task| task == name) else {
                let names = inputs.task_names.iter().map(String::as_str);
                return Err(unknown("task", name, names).in_field("model.bias.tasks"));
            };
            if inputs.tasks[task].0 != TaskKind::Binary {
                return Err(Error::config(format!("`{name}` is no binary task")).in_field("model.bias.tasks"));
            }
        }
        let categorical = || inputs.sparse.iter().filter(|input| input.domain == Domain::Rows);
        let mut lookups = Vec::with_capacity(self.crossed.len());
        for name in &self.crossed {
            let Some(input) = categorical().find(|input| input.name == *name) else {
                let names = categorical().map(|input| input.name.as_str());
                return Err(unknown("categorical feature", name, names).in_field("model.bias.crossed"));
            };
            lookups.push(input.lookup);
        }
        let named = |(kind, after): &(TaskKind, Option<usize>), name: &String| {
            if self.tasks.is_empty() { *kind == TaskKind::Binary && after.is_none() } else { self.tasks.contains(name) }
        };
        let rows = (!lookups.is_empty()).then(|| graph.embed(lookups, Domain::Rows));
        let of_task = inputs.tasks.iter().zip(&inputs.task_names).enumerate().map(|(number, (task, name))| {
            named(task, name).then(|| {
                graph.scope_of(Owner::task(number), name, |graph| {
                    let crossed = rows.map(|rows| {
                        graph.scope("crossed", |graph| graph.linear_without_bias(rows, self.positions + 1))
                    });
                    graph.position_bias(self.positions, crossed, self.dropout)
                })
            })
        });
        Ok(of_task.collect())
    }
}

fn unknown<'a>(what: &str, name: &str, names: impl Iterator<Item = &'a str>) -> Error {
    Error::config(format!("there is no {what} `{name}`")).suggest(name, names)
}

/// What the crossed features add to a task's logit at each position, missing first, where they have this row: the embeddings of all crossed
/// features side by side, longer rows being cut. `None` where nothing is crossed.
pub fn crossed_bias(graph: &Graph, weights: &[f32], task: &str, row: &[f32]) -> Option<Vec<f32>> {
    let name = format!("bias.{task}.crossed.weight");
    let info = graph.weights().iter().find(|info| info.name == name)?;
    let [rows, columns] = info.shape;
    let weight = weights.get(info.offset..info.offset + rows * columns)?;
    let mut sums = vec![0.0; columns];
    for (x, row) in row.iter().take(rows).zip(weight.chunks_exact(columns)) {
        sums.iter_mut().zip(row).for_each(|(sum, weight)| *sum += x * weight);
    }
    Some(sums)
}

/// What each position adds to a task's logit, for a report: first the missing one, then 1, 2 …, the last with all later ones. Only
/// differences mean something. What crossed features add is not in it. `None` where nothing is added.
pub fn bias_of_positions<'a>(graph: &Graph, weights: &'a [f32], task: &str) -> Option<&'a [f32]> {
    let name = format!("bias.{task}.by_position");
    let info = graph.weights().iter().find(|info| info.name == name)?;
    graph.nodes().iter().find_map(|node| match &node.op {
        Op::PositionBias(bias) if bias.by_position.offset == info.offset => Some(bias.by_position.of(weights)),
        _ => None,
    })
}
