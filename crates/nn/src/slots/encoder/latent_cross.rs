//! `h ← (1 + Σ_c w_c) ∘ h`: a hidden value scaled by what contexts say (Beutel et al. 2018).

use crate::graph::{Graph, Initializer, Value};
use crate::ops::arithmetic::Binary;

/// `(1 + Σ_c w_c) ∘ h`, where `w_c` is a context's row mapped to the width of `h` without a bias, so that a context that is not known
/// (a row of zeros) changes nothing. Contexts are summed and not multiplied: a product of many factors is harder to learn.
///
/// The maps start with mean zero and the variance that keeps a row's scale, so that the factor starts as near to 1 as rows start to 0.
/// Their weights are named after the contexts. Without contexts the result is `h` itself.
///
/// # Panics
/// If a context has other rows than `h`: a defect of the calling slot.
pub fn latent_cross(graph: &mut Graph, h: Value, contexts: &[(&str, Value)]) -> Value {
    let width = graph.width(h);
    let mut sum = None;
    for (name, row) in contexts {
        let initializer = Initializer::Normal(1.0 / (graph.width(*row) as f32).sqrt());
        let w = graph.scope(*name, |graph| graph.linear_without_bias_from(*row, width, initializer));
        sum = Some(sum.map_or(w, |sum| graph.add(sum, w)));
    }
    let Some(sum) = sum else { return h };
    let product = graph.binary(Binary::Multiply, sum, h);
    graph.add(h, product)
}
