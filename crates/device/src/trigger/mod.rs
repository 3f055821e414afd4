//! Triggers: what to start when the user has done certain things in a row.
//!
//! A [`Trigger`] is a name and a sequence of [`Condition`]s. [`Triggers`] keeps all of them in a trie, so that sequences
//! with a common beginning share its nodes, and matches them while events come in, as Walle's trigger management does (Lv et
//! al., OSDI 2022, arXiv 2205.14833). The triggers of EdgeRec (Gong et al., CIKM 2020) are written so:
//!
//! ```
//! use kitestring_device::behaviour::{Event, Layout};
//! use kitestring_device::trigger::{Condition, Trigger, Triggers};
//! # fn main() -> kitestring_core::Result<()> {
//! let layout = Layout::new(&["exposure", "click", "delete", "long_press"], &["item"], &[])?;
//! let mut triggers = Triggers::new(&layout, &[
//!     Trigger::new("click", vec![Condition::action("click")]),
//!     Trigger::new("dislike", vec![Condition::any_of(&["delete", "long_press"])]),
//!     // Three exposures without a click in between; other actions do not count.
//!     Trigger::new("pass", Condition::action("exposure").times(3)).among(&["exposure", "click"]),
//! ])?;
//! let mut fired = |action: &str| -> kitestring_core::Result<Vec<String>> {
//!     let event = Event { time: 0, action: layout.action(action)?, texts: &["item-7"], numbers: &[], id: None };
//!     let fired = triggers.feed(&event).to_vec();
//!     Ok(fired.into_iter().map(|at| triggers.name(at).to_owned()).collect())
//! };
//! assert!(fired("exposure")?.is_empty());
//! assert!(fired("exposure")?.is_empty());
//! assert_eq!(fired("delete")?, ["dislike"]);
//! assert_eq!(fired("exposure")?, ["pass"]);
//! # Ok(())
//! # }
//! ```
//!
//! # Rules
//!
//! - *Consecutive.* A sequence matches events that follow one another: one that fits no continuation ends a match. With
//!   [`Trigger::among`] only events of the named actions are seen, and others pass by as if they had not been.
//! - *From every event.* A match may begin at every event, beside those under way.
//! - *All fire.* An event that completes several triggers fires all of them, in the order in which they were declared; each
//!   once.
//! - *Counting anew.* After it has fired, a trigger begins with the next event: its matches do not overlap, and "three
//!   exposures" fires at the third, the sixth, the ninth. With [`Rearm::Slide`] it fires at each event that ends a match:
//!   at the third, the fourth, the fifth.
//! - *Arrival.* Triggers see events in the order in which they come, not by their times: they are about what to do now. An
//!   app feeds each event once, so not the [duplicates](crate::behaviour::Outcome::Duplicate).
//! - *Pending matches* live in memory. After a restart nothing is pending, unless the app feeds its last events again
//!   ([`Triggers::replay`]).
//!
//! # Cost
//!
//! A match under way is the node of the trie that it has reached: what led there does not matter for what follows, so two
//! matches at a node are one. A node has one parent and is therefore reached at most once an event; so the pending nodes of
//! depth d are at most the trie's nodes of depth d, which are at most its branching to the power of d, and at most the number
//! of triggers. An event is held against the children of the pending nodes and of the root. As no node is the child of two,
//! that is at most once each node, and at most Σ lengths of the triggers in all. Where conditions of one parent exclude each
//! other, as single actions do, one node a depth is pending, and the cost is depth × branching.
//!
//! Lists have room for all nodes from the beginning, so an event allocates nothing.

mod matcher;
mod trie;

#[cfg(test)]
mod tests;

pub use matcher::Triggers;

use serde::Serialize;

/// What an event must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// The actions it may have; none named: any.
    pub actions: Vec<String>,
    /// The text that a column must have.
    pub equals: Option<Equals>,
}

kitestring_core::fields!(Condition { ; actions, equals } else Self::any());

/// A column of text and what it must hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Equals {
    /// The name of a column of text.
    pub column: String,
    /// The whole text.
    pub text: String,
}

kitestring_core::fields!(Equals { column, text; } else Self { column: String::new(), text: String::new() });

impl Condition {
    /// An event of any action.
    pub fn any() -> Self {
        Self { actions: Vec::new(), equals: None }
    }

    /// An event of an action.
    pub fn action(name: &str) -> Self {
        Self::any_of(&[name])
    }

    /// An event of one of these actions.
    pub fn any_of(names: &[&str]) -> Self {
        Self { actions: names.iter().map(|&name| name.to_owned()).collect(), equals: None }
    }

    /// Asks as well that a column of text holds exactly this.
    #[must_use]
    pub fn with(self, column: &str, text: &str) -> Self {
        Self { equals: Some(Equals { column: column.to_owned(), text: text.to_owned() }), ..self }
    }

    /// The condition so many times in a row.
    pub fn times(self, count: usize) -> Vec<Self> {
        vec![self; count]
    }
}

/// What a trigger counts after it has fired.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rearm {
    /// It begins with the next event: matches do not overlap.
    #[default]
    Anew,
    /// It fires at every event that ends a match.
    Slide,
}

kitestring_core::choices!(Rearm { Anew, Slide });

/// A name and what must happen in a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trigger {
    /// Its name, the only one of its kind.
    pub name: String,
    /// What events must be, one after the other.
    pub sequence: Vec<Condition>,
    /// The actions whose events it sees; none named: all.
    pub among: Vec<String>,
    /// What it counts after it has fired.
    pub rearm: Rearm,
}

kitestring_core::fields!(Trigger { name, sequence; among, rearm } else Self::new("", Vec::new()));

impl Trigger {
    /// A trigger that sees all events and counts anew after it has fired.
    pub fn new(name: &str, sequence: Vec<Condition>) -> Self {
        Self { name: name.to_owned(), sequence, among: Vec::new(), rearm: Rearm::Anew }
    }

    /// Sees only events of these actions.
    #[must_use]
    pub fn among(self, actions: &[&str]) -> Self {
        Self { among: actions.iter().map(|&name| name.to_owned()).collect(), ..self }
    }

    /// Fires at every event that ends a match.
    #[must_use]
    pub fn sliding(self) -> Self {
        Self { rearm: Rearm::Slide, ..self }
    }
}
