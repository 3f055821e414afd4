//! Triggers against a matcher that keeps all events and looks back over them.
#![allow(clippy::unwrap_used)]

use kitestring_device::behaviour::{Event, Layout};
use kitestring_device::trigger::{Condition, Rearm, Trigger, Triggers};
use proptest::prelude::*;

const ACTIONS: [&str; 4] = ["exposure", "click", "delete", "scroll"];
const ITEMS: [&str; 3] = ["hat", "shoe", ""];

fn layout() -> Layout {
    Layout::new(&ACTIONS, &["shop", "item"], &[]).unwrap()
}

fn condition() -> impl Strategy<Value = Condition> {
    let actions = prop_oneof![
        1 => Just(Vec::new()),
        4 => (0..2usize).prop_map(|action| vec![ACTIONS[action]]),
        2 => proptest::sample::subsequence(ACTIONS.to_vec(), 1..=3),
    ];
    (actions, proptest::option::weighted(0.3, 0..3usize)).prop_map(|(actions, item)| {
        let condition = Condition::any_of(&actions);
        match item {
            Some(item) => condition.with("item", ITEMS[item]),
            None => condition,
        }
    })
}

/// Triggers that see what they wait for; few conditions, so that beginnings are shared.
fn triggers() -> impl Strategy<Value = Vec<Trigger>> {
    let sequence = proptest::collection::vec((condition(), 1..4usize), 1..4);
    let among = prop_oneof![Just(vec![]), proptest::sample::subsequence(ACTIONS.to_vec(), 1..=4)];
    proptest::collection::vec((sequence, among, any::<bool>()), 1..12).prop_map(|all| {
        let trigger = |number: usize, sequence: Vec<(Condition, usize)>, mut among: Vec<&str>, slide: bool| {
            let sequence: Vec<_> = sequence.into_iter().flat_map(|(condition, count)| condition.times(count)).collect();
            let seen = |condition: &Condition, among: &[&str]| {
                condition.actions.is_empty() || condition.actions.iter().any(|action| among.contains(&action.as_str()))
            };
            if !sequence.iter().all(|condition| seen(condition, &among)) {
                among.clear();
            }
            let trigger = Trigger::new(&number.to_string(), sequence).among(&among);
            if slide { trigger.sliding() } else { trigger }
        };
        all.into_iter()
            .enumerate()
            .map(|(number, (sequence, among, slide))| trigger(number, sequence, among, slide))
            .collect()
    })
}

/// What fires at the last of these events, by the rules: the numbers of the triggers. `used` is, for each trigger, how many
/// of the events it sees its last match has used up.
fn naive(triggers: &[Trigger], events: &[(usize, usize)], used: &mut [usize]) -> Vec<u32> {
    let mut fired = Vec::new();
    for (number, trigger) in triggers.iter().enumerate() {
        let sees = |action: usize| trigger.among.is_empty() || trigger.among.iter().any(|name| name == ACTIONS[action]);
        let seen: Vec<_> = events.iter().filter(|(action, _)| sees(*action)).collect();
        let Some(start) = seen.len().checked_sub(trigger.sequence.len()) else { continue };
        let fits = |condition: &Condition, (action, item): (usize, usize)| {
            (condition.actions.is_empty() || condition.actions.iter().any(|name| name == ACTIONS[action]))
                && condition.equals.as_ref().is_none_or(|equals| equals.text == ITEMS[item])
        };
        let matches = trigger.sequence.iter().zip(&seen[start..]).all(|(condition, event)| fits(condition, **event));
        let fresh = trigger.rearm == Rearm::Slide || start >= used[number];
        if sees(events.last().unwrap().0) && matches && fresh {
            used[number] = seen.len();
            fired.push(number as u32);
        }
    }
    fired
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(600) })]

    #[test]
    fn the_trie_fires_as_a_look_back_does(
        triggers in triggers(),
        events in proptest::collection::vec((prop_oneof![3 => Just(0usize), 2 => Just(1), 1 => 0..4usize], 0..3usize), 1..60),
    ) {
        let mut trie = Triggers::new(&layout(), &triggers).unwrap();
        let conditions: usize = triggers.iter().map(|trigger| trigger.sequence.len()).sum();
        prop_assert!(trie.nodes() <= conditions);
        for round in 0..2 {
            let mut used = vec![0; triggers.len()];
            for (number, &(action, item)) in events.iter().enumerate() {
                let texts = ["", ITEMS[item]];
                let event = Event { time: 0, action: action as u16, texts: &texts, numbers: &[], id: None };
                let expected = naive(&triggers, &events[..=number], &mut used);
                prop_assert_eq!(trie.feed(&event), &expected[..], "round {}, event {}", round, number);
                prop_assert!(trie.tests() <= trie.nodes() && trie.pending() <= trie.nodes());
            }
            trie.reset();
        }
    }
}
