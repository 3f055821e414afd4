//! `logit = Σ_i w_i + Σ_{i<j} ⟨v_i, v_j⟩`, and `x = [v₁ … v_F ; numbers]` for the body: DeepFM (Guo et al. 2017).
//!
//! Each row has one column more than its embedding: the first-order weight `w_i`. A list counts as one field, the mean of its rows.

use super::Encoded;
use crate::graph::{Domain, Graph};
use crate::ops::pool::Pooling;
use crate::slots::ModelInputs;
use kitestring_core::{Error, Result};
use serde::Serialize;

/// First-order terms and all pairwise products added to the logit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Fm {
    /// How a list becomes one field.
    pub pooling: Pooling,
}

kitestring_core::fields!(Fm { pooling });

impl Fm {
    pub(super) fn forward(&self, graph: &mut Graph, inputs: &ModelInputs) -> Result<Encoded> {
        let Some(width) = inputs.sparse.first().map(|input| input.lookup.width) else {
            return Err(Error::config("a factorization machine needs features with ids").in_field("model.encoder.type"));
        };
        if let Some(other) = inputs.sparse.iter().find(|input| input.lookup.width != width) {
            return Err(Error::config(format!("`{}` is not as wide as the other features", other.name))
                .in_field("model.dimensions")
                .mend("a factorization machine needs one dimension for all tables"));
        }
        let dimension = width - 1;
        let (mut fields, mut first_order) = (Vec::new(), Vec::new());
        for input in &inputs.sparse {
            let rows = graph.embed(vec![input.lookup], input.domain);
            let field = if input.domain == Domain::Rows { rows } else { graph.pool(rows, self.pooling) };
            fields.push(graph.slice(field, 0, dimension));
            first_order.push(graph.slice(field, dimension, 1));
        }
        let fields = graph.concat(&fields);
        let second = graph.factorization_machine(fields, dimension);
        let first = graph.concat(&first_order);
        let first = graph.row_sum(first);
        let logit = graph.add(first, second);
        let parts: Vec<_> = [fields].into_iter().chain(inputs.numbers(graph)).collect();
        Ok(Encoded { x: graph.concat(&parts), beside: None, logit: Some(logit) })
    }
}
