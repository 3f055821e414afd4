//! Encoder: from features, history and context to one row a sample.

pub mod cross;
pub mod din;
pub mod fm;
pub mod pool;

use super::ModelInputs;
use crate::graph::{Graph, Value};
use crate::ops::pool::Pooling;
use kitestring_core::Result;

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
        })
    }
}

/// The features with one id side by side, then every list in `lists` pooled, then the numbers: one row a sample.
pub(crate) fn side_by_side(
    graph: &mut Graph,
    inputs: &ModelInputs,
    pooling: Pooling,
    mut list: impl FnMut(&mut Graph, &super::SparseInput, Pooling) -> Result<Option<Value>>,
) -> Result<Vec<Value>> {
    let mut parts = Vec::new();
    let single = inputs.single();
    if !single.is_empty() {
        parts.push(graph.embed(single, crate::graph::Domain::Rows));
    }
    for input in inputs.ragged() {
        parts.extend(list(graph, input, pooling)?);
    }
    if inputs.numeric > 0 {
        parts.push(graph.numeric(inputs.numeric));
    }
    Ok(parts)
}

/// A list's rows pooled.
pub(crate) fn pooled(graph: &mut Graph, input: &super::SparseInput, pooling: Pooling) -> Result<Option<Value>> {
    let rows = graph.embed(vec![input.lookup], input.domain);
    Ok(Some(graph.pool(rows, pooling)))
}
