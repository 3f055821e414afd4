//! Matching: the pending nodes, and what an event does to them.

use super::trie::{Trie, admits};
use super::{Rearm, Trigger};
use crate::behaviour::{Event, Layout, Stored};
use kitestring_core::Result;

/// What is under way below a root.
#[derive(Debug)]
struct Pending {
    /// The nodes reached by the last event seen, of those that have children.
    nodes: Vec<u32>,
    /// Those reached by the present one.
    next: Vec<u32>,
    /// Events seen.
    seen: u64,
}

/// What is known of a trigger.
#[derive(Debug)]
struct State {
    name: String,
    length: u64,
    rearm: Rearm,
    /// The number of the event at which it last fired, among those its root has seen; 0 before.
    fired_at: u64,
}

/// Triggers, and how far each has come. See the [module](super) for the rules.
#[derive(Debug)]
pub struct Triggers {
    trie: Trie,
    /// One a root.
    pending: Vec<Pending>,
    states: Vec<State>,
    fired: Vec<u32>,
    /// Conditions the last event was held against.
    tests: usize,
}

impl Triggers {
    /// Triggers over the events of a layout.
    ///
    /// # Errors
    /// If two triggers have the same name, one has no condition, names what the layout does not declare or waits for what
    /// it does not see, or all together have more than 65536 conditions.
    pub fn new(layout: &Layout, triggers: &[Trigger]) -> Result<Self> {
        let trie = Trie::new(layout, triggers)?;
        let pending = |inner| Pending { nodes: Vec::with_capacity(inner), next: Vec::with_capacity(inner), seen: 0 };
        let state = |trigger: &Trigger| State {
            name: trigger.name.clone(),
            length: trigger.sequence.len() as u64,
            rearm: trigger.rearm,
            fired_at: 0,
        };
        Ok(Self {
            pending: trie.roots.iter().map(|root| pending(root.inner)).collect(),
            states: triggers.iter().map(state).collect(),
            fired: Vec::with_capacity(triggers.len()),
            tests: 0,
            trie,
        })
    }

    /// Takes the next event of the layout. Gives the triggers that fire, as positions among those declared, in this order.
    pub fn feed(&mut self, event: &Event<'_>) -> &[u32] {
        self.step(event.action, &|column| event.texts.get(column).copied().unwrap_or_default())
    }

    /// [`Self::feed`] for an event of the store: after a restart, to come to where matches were.
    pub fn replay(&mut self, event: &Stored<'_>) -> &[u32] {
        self.step(event.action(), &|column| event.text(column))
    }

    fn step<'a>(&mut self, action: u16, text: &dyn Fn(usize) -> &'a str) -> &[u32] {
        let Self { trie, pending, states, fired, tests, .. } = self;
        fired.clear();
        *tests = 0;
        for (root, pending) in trie.roots.iter().zip(pending) {
            if !admits(&root.among, action) {
                continue;
            }
            pending.seen += 1;
            pending.next.clear();
            let parents = pending.nodes.iter().map(|&node| &trie.nodes[node as usize].children);
            for &child in parents.chain([&root.children]).flatten() {
                let node = &trie.nodes[child as usize];
                *tests += 1;
                if !node.test.holds(action, text) {
                    continue;
                }
                if !node.children.is_empty() {
                    pending.next.push(child);
                }
                for &trigger in &node.ends {
                    let state = &mut states[trigger as usize];
                    // The match began after `seen - length` events: not before the last firing.
                    if state.rearm == Rearm::Slide || pending.seen - state.length >= state.fired_at {
                        state.fired_at = pending.seen;
                        fired.push(trigger);
                    }
                }
            }
            std::mem::swap(&mut pending.nodes, &mut pending.next);
        }
        fired.sort_unstable();
        fired
    }

    /// The name of a trigger, by its position among those declared; empty where there is none.
    pub fn name(&self, trigger: u32) -> &str {
        self.states.get(trigger as usize).map_or("", |state| &state.name)
    }

    /// Nodes that are pending: matches under way, of which those at one node are one.
    pub fn pending(&self) -> usize {
        self.pending.iter().map(|pending| pending.nodes.len()).sum()
    }

    /// Nodes of the trie.
    pub fn nodes(&self) -> usize {
        self.trie.nodes.len()
    }

    /// Conditions that the last event was held against: what it cost.
    pub fn tests(&self) -> usize {
        self.tests
    }

    /// Forgets all matches under way and all firings.
    pub fn reset(&mut self) {
        for pending in &mut self.pending {
            pending.nodes.clear();
            pending.seen = 0;
        }
        for state in &mut self.states {
            state.fired_at = 0;
        }
    }
}
