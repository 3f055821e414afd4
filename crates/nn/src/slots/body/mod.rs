//! Body: what tasks and scenarios share, from one row a sample to one row a sample and task.

pub mod aesm2;
pub mod cross_stitch;
pub mod hmoe;
pub mod mlp;
pub mod mmoe;
pub mod omoe;
pub mod ple;
pub mod shared_bottom;
pub mod sparse_moe;
pub mod star;

use super::encoder::Encoded;
use super::head::Head;
use super::{Layers, ModelInputs};
use crate::graph::{Graph, Value};
use crate::grow::Owner;
use crate::kernels::activation::Activation;
use crate::ops::experts::ExpertLayers;
use kitestring_core::{Error, Result};

super::slot! {
    /// What tasks and scenarios share.
    Body "body" default Mlp {
        Mlp(mlp::Mlp) = "mlp", "One stack of layers for all tasks", "Rumelhart, Hinton and Williams 1986";
        SharedBottom(shared_bottom::SharedBottom) = "shared_bottom", "One bottom, a tower a task", "Caruana 1997";
        SparseMoe(sparse_moe::SparseMoe) = "sparse_moe", "Each sample chooses few of many experts, a tower a task", "Shazeer et al. 2017";
        Mmoe(mmoe::Mmoe) = "mmoe", "Shared experts, a gate and a tower a task", "Ma et al. 2018";
        CrossStitch(cross_stitch::CrossStitch) = "cross_stitch", "A tower a task, mixed with the others behind every layer", "Misra et al. 2016";
        Omoe(omoe::Omoe) = "omoe", "Shared experts, one gate, a tower a task", "Ma et al. 2018";
        Ple(ple::Ple) = "ple", "Experts of each task beside shared ones, several levels deep", "Tang et al. 2020";
        Star(star::Star) = "star", "Shared weights times those of the sample's scenario, layer by layer", "Sheng et al. 2021";
        Hmoe(hmoe::Hmoe) = "hmoe", "Shared experts, a gate and towers a scenario, each listening to the others", "Li et al. 2020";
        Aesm2(aesm2::Aesm2) = "aesm2", "Selects specific and shared experts for each scenario, then each task", "Zou et al. 2022";
    }
}

/// What a body reads.
#[derive(Debug, Clone, Copy)]
pub struct BodyInput<'a> {
    /// The encoder's result with the rows of the scenarios behind it, `samples × any width`.
    pub x: Value,
    /// The row of the sample's scenario at each level, the outermost first.
    pub scenarios: &'a [Value],
    /// The schema's tasks and scenarios.
    pub inputs: &'a ModelInputs,
}

impl Body {
    /// Records the forward pass.
    ///
    /// # Errors
    /// If the config is not sound.
    pub fn forward(&self, graph: &mut Graph, input: &BodyInput<'_>) -> Result<Shared> {
        let tasks = graph.scope("body", |graph| match self {
            Self::Mlp(variant) => variant.forward(graph, input),
            Self::SharedBottom(variant) => variant.forward(graph, input),
            Self::SparseMoe(variant) => variant.forward(graph, input),
            Self::Mmoe(variant) => variant.forward(graph, input, false),
            Self::CrossStitch(variant) => variant.forward(graph, input),
            Self::Omoe(variant) => variant.forward(graph, input),
            Self::Ple(variant) => variant.forward(graph, input),
            Self::Star(variant) => variant.forward(graph, input),
            Self::Hmoe(variant) => variant.forward(graph, input),
            Self::Aesm2(variant) => variant.forward(graph, input),
        })?;
        Ok(Shared { tasks, logits: matches!(self, Self::Star(_) | Self::Hmoe(_)) })
    }
}

/// What a body hands on.
#[derive(Debug, Clone, PartialEq)]
pub struct Shared {
    /// One value a task, `samples × any width`.
    pub tasks: Vec<Value>,
    /// Whether these are logits already, `samples × 1`: then no linear map stands before the head.
    pub logits: bool,
}

impl Shared {
    /// What the head reads of each task: its logit, with what the encoder leaves beside the body and what the bias adds; and behind it,
    /// for a head that asks for one, the second column it spreads by.
    pub fn logits(
        self,
        graph: &mut Graph,
        inputs: &ModelInputs,
        encoded: &Encoded,
        biases: &[Option<Value>],
        head: &Head,
    ) -> Vec<OfTask> {
        let named = self.tasks.into_iter().zip(&inputs.task_names).zip(&inputs.tasks).enumerate();
        let logits = named.map(|(task, ((value, name), (kind, _)))| {
            let of_task = |graph: &mut Graph, body: &dyn Fn(&mut Graph) -> Value| {
                graph.scope("head", |graph| graph.scope_of(Owner::task(task), name, body))
            };
            let linear = |graph: &mut Graph, x: Value| of_task(graph, &|graph| graph.linear(x, 1, Activation::None));
            let both = encoded.beside.map_or(value, |beside| graph.concat(&[value, beside]));
            let mut logit = match (self.logits, encoded.beside) {
                (false, _) => linear(graph, both),
                (true, None) => value,
                (true, Some(beside)) => {
                    let own = linear(graph, beside);
                    graph.add(value, own)
                }
            };
            if let Some(part) = encoded.logit {
                logit = graph.add(logit, part);
            }
            let unbiased = logit;
            if let Some(bias) = biases.get(task).copied().flatten() {
                logit = graph.add(logit, bias);
            }
            let mut read = logit;
            if head.spreads(*kind) {
                let spread = |graph: &mut Graph| graph.linear(both, 1, Activation::None);
                let spread = of_task(graph, &|graph| graph.scope("spread", spread));
                read = graph.concat(&[logit, spread]);
            }
            OfTask { read, logit, unbiased, representation: both }
        });
        logits.collect()
    }
}

/// What stands before the head for one task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OfTask {
    /// What the head reads: the logit, and in a second column what it spreads by where [`Head::spreads`].
    pub read: Value,
    /// The logit, `samples × 1`: a log-rate of a count, the prediction of a regression. A score knows no place of an impression, so there it
    /// is the logit as served.
    pub logit: Value,
    /// The logit without what the place adds.
    pub unbiased: Value,
    /// What the logit is made of: the body's result, with what the encoder leaves beside it. Tasks may share one.
    pub representation: Value,
}

/// The number of the innermost scenario level, and how many of its scenarios were seen in training.
fn innermost_scenarios(input: &BodyInput<'_>, body: &str) -> Result<(usize, usize)> {
    match input.inputs.scenarios.iter().enumerate().next_back() {
        Some((number, level)) => Ok((number, level.count.saturating_sub(1).max(1))),
        None => Err(Error::config(format!("`{body}` tells scenarios apart, and the schema has none"))
            .in_field("model.body.type")
            .mend("choose another body, or declare schema.scenarios")),
    }
}

/// The towers of bodies that have one a task, where the config does not say.
fn default_towers() -> Layers {
    Layers { units: vec![64], ..Layers::default() }
}

/// A stack of layers for each task.
fn towers(graph: &mut Graph, layers: &Layers, values: Vec<Value>, input: &BodyInput<'_>) -> Result<Vec<Value>> {
    layers.check("model.body.towers")?;
    let named = input.inputs.task_names.iter().zip(values).enumerate();
    let tower = |(task, (name, h)): (usize, (&String, Value))| {
        graph.scope("tower", |graph| graph.scope_of(Owner::task(task), name, |graph| layers.forward(graph, h)))
    };
    Ok(named.map(tower).collect())
}

/// Checks the sizes of experts.
fn check_experts(count: usize, layers: &ExpertLayers, field: &str) -> Result<()> {
    let wrong = |key: &str, what: &str| Err(Error::config(what).in_field(format!("{field}.{key}")));
    if count == 0 {
        return wrong("experts", "there must be at least one expert");
    }
    if layers.units.is_empty() || layers.units.contains(&0) {
        return wrong("expert.units", "an expert needs at least one layer, and each layer at least one unit");
    }
    if !(0.0..1.0).contains(&layers.dropout) {
        return wrong("expert.dropout", "`dropout` must be in [0, 1)");
    }
    Ok(())
}
