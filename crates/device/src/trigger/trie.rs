//! The trie: triggers brought to positions in a layout, with common beginnings shared.

use super::{Condition, Trigger};
use crate::behaviour::Layout;
use kitestring_core::{Error, Result};

/// Nodes that all triggers may have together.
const MOST_NODES: usize = 1 << 16;

/// Actions by position, in order; `None`: all.
pub(super) type Actions = Option<Box<[u16]>>;

/// Whether an action is among some.
pub(super) fn admits(actions: &Actions, action: u16) -> bool {
    actions.as_ref().is_none_or(|actions| actions.binary_search(&action).is_ok())
}

/// A condition in a layout's positions.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Test {
    actions: Actions,
    equals: Option<(usize, Box<str>)>,
}

impl Test {
    /// Whether an event is what is asked for. `text` gives the text of a column.
    pub fn holds<'a>(&self, action: u16, text: &dyn Fn(usize) -> &'a str) -> bool {
        admits(&self.actions, action) && self.equals.as_ref().is_none_or(|(column, wanted)| text(*column) == &**wanted)
    }
}

/// A condition after all those above it.
#[derive(Debug)]
pub(super) struct Node {
    pub test: Test,
    pub children: Vec<u32>,
    /// The triggers that end here.
    pub ends: Vec<u32>,
}

/// The root of the triggers that see the same events.
#[derive(Debug)]
pub(super) struct Root {
    pub among: Actions,
    pub children: Vec<u32>,
    /// Nodes below it that have children, which is how many can be pending.
    pub inner: usize,
}

/// All triggers, in the positions of a layout.
#[derive(Debug, Default)]
pub(super) struct Trie {
    pub nodes: Vec<Node>,
    pub roots: Vec<Root>,
}

impl Trie {
    /// # Errors
    /// If a trigger names what is not declared, asks for nothing, or for what cannot be.
    pub fn new(layout: &Layout, triggers: &[Trigger]) -> Result<Self> {
        let mut trie = Self::default();
        for (number, trigger) in triggers.iter().enumerate() {
            if triggers.iter().take(number).any(|earlier| earlier.name == trigger.name) {
                return Err(Error::config("two triggers have this name").in_field(&trigger.name));
            }
            trie.add(layout, number as u32, trigger).map_err(|error| match error.place().field.clone() {
                Some(field) => error.in_field(format!("{}.{field}", trigger.name)),
                None => error.in_field(&trigger.name),
            })?;
        }
        for root in 0..trie.roots.len() {
            let inner = trie.inner(&trie.roots[root].children);
            trie.roots[root].inner = inner;
        }
        Ok(trie)
    }

    fn add(&mut self, layout: &Layout, number: u32, trigger: &Trigger) -> Result<()> {
        if trigger.sequence.is_empty() {
            return Err(Error::config("a trigger without a condition").mend("give its sequence at least one"));
        }
        if self.nodes.len() + trigger.sequence.len() > MOST_NODES {
            return Err(Error::config(format!("more than {MOST_NODES} conditions in all triggers")));
        }
        let among = actions(layout, &trigger.among)?;
        let root = self.roots.iter().position(|root| root.among == among).unwrap_or(self.roots.len());
        let mut at = None;
        for condition in &trigger.sequence {
            let test = test(layout, condition)?;
            let seen = |action: &u16| admits(&among, *action);
            if test.actions.as_ref().is_some_and(|actions| !actions.iter().any(seen)) {
                let what = format!("{} is never seen", condition.actions.join(", "));
                return Err(Error::config(what).in_field("among").mend("name one of them there too"));
            }
            if root == self.roots.len() {
                self.roots.push(Root { among: among.clone(), children: Vec::new(), inner: 0 });
            }
            at = Some(self.child(root, at, test));
        }
        if let Some(node) = at {
            self.nodes[node].ends.push(number);
        }
        Ok(())
    }

    /// The child of a node, or of a root, with a test; made where there is none.
    fn child(&mut self, root: usize, parent: Option<usize>, test: Test) -> usize {
        let children = parent.map_or(&self.roots[root].children, |node| &self.nodes[node].children);
        if let Some(&child) = children.iter().find(|&&child| self.nodes[child as usize].test == test) {
            return child as usize;
        }
        let child = self.nodes.len();
        self.nodes.push(Node { test, children: Vec::new(), ends: Vec::new() });
        match parent {
            Some(node) => self.nodes[node].children.push(child as u32),
            None => self.roots[root].children.push(child as u32),
        }
        child
    }

    /// Nodes with children, from these nodes down.
    fn inner(&self, children: &[u32]) -> usize {
        // Without recursion, for a sequence may be longer than a stack is deep.
        let mut left = children.to_vec();
        let mut count = 0;
        while let Some(node) = left.pop() {
            let below = &self.nodes[node as usize].children;
            count += usize::from(!below.is_empty());
            left.extend_from_slice(below);
        }
        count
    }
}

fn actions(layout: &Layout, names: &[String]) -> Result<Actions> {
    if names.is_empty() {
        return Ok(None);
    }
    let mut actions = names.iter().map(|name| layout.action(name)).collect::<Result<Vec<_>>>()?;
    actions.sort_unstable();
    actions.dedup();
    Ok(Some(actions.into()))
}

fn test(layout: &Layout, condition: &Condition) -> Result<Test> {
    let equals = condition.equals.as_ref();
    let equals = equals.map(|equals| Ok((layout.column(&equals.column)?, equals.text.as_str().into()))).transpose()?;
    Ok(Test { actions: actions(layout, &condition.actions)?, equals })
}
