//! Encoder: from features, history and context to one row a sample.

pub mod cross;
pub mod din;
pub mod fm;
pub mod gru;
pub mod gru_latent_cross;
pub mod latent_cross;
pub mod pool;

use super::{ModelInputs, SparseInput};
use crate::graph::{Domain, Graph, Value};
use crate::ops::embed::Lookup;
use crate::ops::pool::Pooling;
use kitestring_core::{Error, Result};

/// What an encoder hands on.
#[derive(Debug, Clone, Copy)]
pub struct Encoded {
    /// What the body reads, `samples × any width`.
    pub x: Value,
    /// What stands beside the body's result before the head, if anything.
    pub beside: Option<Value>,
    /// What is added to every task's logit, `samples × 1`, if anything.
    pub logit: Option<Value>,
}

super::slot! {
    /// From features, history and context to one row a sample.
    Encoder "encoder" default Pool {
        Pool(pool::Pool) = "pool", "Rows side by side, lists pooled", "Covington et al. 2016";
        Din(din::Din) = "din", "History weighted by its match with the target", "Zhou et al. 2018";
        Fm(fm::Fm) = "fm", "Adds first-order terms and all pairwise products to the logit (DeepFM)", "Guo et al. 2017";
        Cross(cross::Cross) = "cross", "Explicit feature crosses beside or below the body (DCNv2)", "Wang et al. 2021";
        Gru(gru::Gru) = "gru", "The last state of a recurrent network over the history", "Hidasi et al. 2016";
        GruLatentCross(gru_latent_cross::GruLatentCross) = "gru_latent_cross",
            "The same, scaled by what the contexts of events and request say", "Beutel et al. 2018";
    }
}

impl Encoder {
    /// How many columns beside the embedding each row has.
    pub fn extra_columns(&self) -> usize {
        match self {
            Self::Fm(_) => 1,
            _ => 0,
        }
    }

    /// Records the forward pass.
    ///
    /// # Errors
    /// If the variant cannot read these inputs.
    pub fn forward(&self, graph: &mut Graph, inputs: &ModelInputs) -> Result<Encoded> {
        graph.scope("encoder", |graph| match self {
            Self::Pool(variant) => variant.forward(graph, inputs),
            Self::Din(variant) => variant.forward(graph, inputs),
            Self::Fm(variant) => variant.forward(graph, inputs),
            Self::Cross(variant) => variant.forward(graph, inputs),
            Self::Gru(variant) => variant.forward(graph, inputs),
            Self::GruLatentCross(variant) => variant.forward(graph, inputs),
        })
    }
}

/// The features with one id side by side, then every list in `lists` pooled, then the numbers: one row a sample.
pub(crate) fn side_by_side(
    graph: &mut Graph,
    inputs: &ModelInputs,
    pooling: Pooling,
    mut list: impl FnMut(&mut Graph, &SparseInput, Pooling) -> Result<Option<Value>>,
) -> Result<Vec<Value>> {
    let mut parts = Vec::new();
    let single = inputs.single();
    if !single.is_empty() {
        parts.push(graph.embed(single, Domain::Rows));
    }
    for input in inputs.ragged() {
        parts.extend(list(graph, input, pooling)?);
    }
    parts.extend(inputs.numbers(graph));
    Ok(parts)
}

/// A list's rows pooled.
pub(crate) fn pooled(graph: &mut Graph, input: &SparseInput, pooling: Pooling) -> Result<Option<Value>> {
    let rows = graph.embed(vec![input.lookup], input.domain);
    Ok(Some(graph.pool(rows, pooling)))
}

/// Histories of the same events: the items, their categories …
pub(crate) struct History<'a> {
    /// Of all of them.
    domain: Domain,
    /// The histories.
    keys: Vec<&'a SparseInput>,
    /// What each of them is a history of.
    targets: Vec<Lookup>,
}

impl History<'_> {
    /// The keys side by side: one row an event.
    fn embed(&self, graph: &mut Graph) -> Value {
        graph.embed(self.keys.iter().map(|key| key.lookup).collect(), self.domain)
    }
}

/// The histories of features with one id a sample, by their events.
///
/// # Errors
/// If there is none; `encoder` says who needs one.
pub(crate) fn histories<'a>(inputs: &'a ModelInputs, encoder: &str) -> Result<Vec<History<'a>>> {
    let mut histories: Vec<History<'a>> = Vec::new();
    for input in inputs.ragged() {
        let Some(of) = &input.history_of else { continue };
        let target = inputs.sparse.iter().find(|other| other.name == *of && other.domain == Domain::Rows);
        let Some(target) = target else { continue };
        match histories.iter_mut().find(|history| history.domain == input.domain) {
            Some(history) => {
                history.keys.push(input);
                history.targets.push(target.lookup);
            }
            None => histories.push(History { domain: input.domain, keys: vec![input], targets: vec![target.lookup] }),
        }
    }
    if histories.is_empty() {
        return Err(Error::config(format!("{encoder} needs a sequence with a `history` of a categorical feature"))
            .in_field("model.encoder.type")
            .mend("declare one in schema.features, or use type = \"pool\""));
    }
    Ok(histories)
}

/// [`side_by_side`], where `encode` makes the histories of the same events one row: after the pooled lists, before the numbers.
pub(crate) fn with_histories(
    graph: &mut Graph,
    inputs: &ModelInputs,
    pooling: Pooling,
    histories: &[History<'_>],
    mut encode: impl FnMut(&mut Graph, &History<'_>) -> Value,
) -> Result<Encoded> {
    let mut parts = side_by_side(graph, inputs, pooling, |graph, input, pooling| {
        if histories.iter().any(|history| history.domain == input.domain) {
            return Ok(None);
        }
        pooled(graph, input, pooling)
    })?;
    let before_numbers = parts.len() - usize::from(inputs.has_numbers());
    for (number, history) in histories.iter().enumerate() {
        let row = graph.scope(format!("history.{number}"), |graph| encode(graph, history));
        parts.insert(before_numbers + number, row);
    }
    Ok(Encoded { x: graph.concat(&parts), beside: None, logit: None })
}
