//! The GRU encoder with contexts that scale: each event `k ← (1 + Σ_c w_c) ∘ k` by its own contexts before the GRU, the last state
//! `h ← (1 + Σ_c w_c) ∘ h` by those of the request after it (Latent Cross, Beutel et al. 2018).
//!
//! A context beside other inputs has to be multiplied with them by layers that only add; here it is multiplied. What an event's context
//! may be: anything known when the event was over, a bucketed time since the event before, the device. The request's: anything known
//! before the answer, never what only the outcome tells. With `w = 0`, and without contexts, this is the encoder `gru`.

use super::gru::Gru;
use super::latent_cross::latent_cross;
use super::{Encoded, History, histories};
use crate::graph::{Graph, Value};
use crate::ops::pool::Pooling;
use crate::slots::{ModelInputs, SparseInput};
use kitestring_core::schema::FeatureKind;
use kitestring_core::{Error, Result};
use serde::Serialize;

/// A history read in the order of time, scaled by contexts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GruLatentCross {
    /// The width of the state.
    pub units: usize,
    /// How other lists become one row.
    pub pooling: Pooling,
    /// The names of histories that are contexts of the events: they scale the other histories of the same events in place of standing
    /// beside them.
    pub event_contexts: Vec<String>,
    /// The names of categorical features that are contexts of the request. They stand among the features, too.
    pub contexts: Vec<String>,
}

kitestring_core::fields!(GruLatentCross { units, pooling, event_contexts, contexts });

impl Default for GruLatentCross {
    fn default() -> Self {
        let Gru { units, pooling } = Gru::default();
        Self { units, pooling, event_contexts: Vec::new(), contexts: Vec::new() }
    }
}

impl GruLatentCross {
    pub(super) fn forward(&self, graph: &mut Graph, inputs: &ModelInputs) -> Result<Encoded> {
        let mut histories = histories(inputs, "a GRU")?;
        let keys = histories.iter().flat_map(|history| history.keys.iter().copied());
        let of_events = named(&self.event_contexts, keys.collect(), "event_contexts", "sequence with a `history`")?;
        let single = inputs.sparse.iter().filter(|input| input.kind == FeatureKind::Categorical);
        let of_request = named(&self.contexts, single.collect(), "contexts", "categorical feature")?;
        for History { keys, .. } in &mut histories {
            keys.retain(|key| of_events.iter().all(|context| context.name != key.name));
            if keys.is_empty() {
                return Err(Error::config("a history needs something beside its contexts")
                    .in_field("model.encoder.event_contexts")
                    .mend("leave out at least one of the sequences of the same events"));
            }
        }
        let before = |graph: &mut Graph, history: &History<'_>| {
            let events = history.embed(graph);
            let contexts = of_events.iter().filter(|context| context.domain == history.domain);
            crossed(graph, "event_cross", events, contexts)
        };
        let gru = Gru { units: self.units, pooling: self.pooling };
        gru.encode(graph, inputs, &histories, before, |graph, state| {
            crossed(graph, "latent_cross", state, of_request.iter())
        })
    }
}

/// A value scaled by features.
fn crossed<'a>(graph: &mut Graph, scope: &str, h: Value, contexts: impl Iterator<Item = &'a &'a SparseInput>) -> Value {
    let rows = contexts.map(|context| (context.name.as_str(), graph.embed(vec![context.lookup], context.domain)));
    let rows: Vec<(&str, Value)> = rows.collect();
    graph.scope(scope, |graph| latent_cross(graph, h, &rows))
}

/// The features of some names, in the schema's order: the sum of contexts does not depend on the order in the config.
fn named<'a>(names: &[String], known: Vec<&'a SparseInput>, key: &str, what: &str) -> Result<Vec<&'a SparseInput>> {
    let field = format!("model.encoder.{key}");
    for (at, name) in names.iter().enumerate() {
        if !known.iter().any(|input| input.name == *name) {
            let error = Error::config(format!("there is no {what} `{name}`")).in_field(field);
            return Err(error.suggest(name, known.iter().map(|input| input.name.as_str())));
        }
        if names[..at].contains(name) {
            return Err(Error::config(format!("`{name}` is named twice")).in_field(field));
        }
    }
    Ok(known.into_iter().filter(|input| names.contains(&input.name)).collect())
}
