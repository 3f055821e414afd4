//! `x = [e₁ … e_F ; h ; numbers]`, `h` the last state of a gated recurrent unit that reads a history from the oldest event to the newest
//! (GRU4Rec, Hidasi et al. 2016).
//!
//! An event is made of its histories side by side (the items, their categories …). Other lists are pooled. The state does not depend on
//! the target: one serves all candidates of a request, and a new event updates it by one step
//! ([`ops::gru::Gru::step`](crate::ops::gru::Gru::step)), however long the history.

use super::{Encoded, History, histories, with_histories};
use crate::graph::{Graph, Value};
use crate::ops::pool::Pooling;
use crate::slots::ModelInputs;
use kitestring_core::{Error, Result};
use serde::Serialize;

/// A history read in the order of time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Gru {
    /// The width of the state.
    pub units: usize,
    /// How other lists become one row.
    pub pooling: Pooling,
}

kitestring_core::fields!(Gru { units, pooling });

impl Default for Gru {
    fn default() -> Self {
        Self { units: 32, pooling: Pooling::Mean }
    }
}

impl Gru {
    pub(super) fn forward(&self, graph: &mut Graph, inputs: &ModelInputs) -> Result<Encoded> {
        let histories = histories(inputs, "a GRU")?;
        self.encode(graph, inputs, &histories, |graph, history| history.embed(graph), |_, state| state)
    }

    /// The encoder with `events` as what the GRU reads of a history, and `after` applied to its state.
    pub(super) fn encode(
        &self,
        graph: &mut Graph,
        inputs: &ModelInputs,
        histories: &[History<'_>],
        events: impl Fn(&mut Graph, &History<'_>) -> Value,
        after: impl Fn(&mut Graph, Value) -> Value,
    ) -> Result<Encoded> {
        if self.units == 0 {
            return Err(Error::config("a GRU needs at least one unit").in_field("model.encoder.units"));
        }
        with_histories(graph, inputs, self.pooling, histories, |graph, history| {
            let events = events(graph, history);
            let state = graph.scope("gru", |graph| graph.gru(events, self.units));
            after(graph, state)
        })
    }
}
