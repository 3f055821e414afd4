//! What triggers fire on, and what they refuse.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::behaviour::{Config, Event, Layout, Memory, Store};

fn layout() -> Layout {
    Layout::new(&["exposure", "click", "delete", "long_press", "scroll"], &["item", "category"], &[]).unwrap()
}

/// The names of what fires at each event: `action`, or `action item`.
fn fired(triggers: &mut Triggers, events: &[&str]) -> Vec<Vec<String>> {
    let layout = layout();
    let feed = |event: &&str| {
        let (action, item) = event.split_once(' ').unwrap_or((event, ""));
        let action = layout.action(action).unwrap();
        let fired = triggers.feed(&Event { time: 0, action, texts: &[item, ""], numbers: &[], id: None }).to_vec();
        fired.into_iter().map(|at| triggers.name(at).to_owned()).collect()
    };
    events.iter().map(feed).collect()
}

/// The positions of the events at which a lone trigger fires.
fn at(trigger: Trigger, events: &[&str]) -> Vec<usize> {
    let mut triggers = Triggers::new(&layout(), &[trigger]).unwrap();
    let fired = fired(&mut triggers, events);
    fired.iter().enumerate().filter(|(_, names)| !names.is_empty()).map(|(at, _)| at).collect()
}

/// EdgeRec's: a click; a delete or a long press; so many exposures without a click.
#[test]
fn the_triggers_of_edgerec() {
    let mut triggers = Triggers::new(
        &layout(),
        &[
            Trigger::new("click", vec![Condition::action("click")]),
            Trigger::new("dislike", vec![Condition::any_of(&["delete", "long_press"])]),
            Trigger::new("pass", Condition::action("exposure").times(3)).among(&["exposure", "click"]),
        ],
    )
    .unwrap();
    let events = [
        "exposure",
        "exposure",
        "click",
        "exposure",
        "scroll",
        "exposure",
        "delete",
        "exposure",
        "exposure",
        "long_press",
    ];
    let expected: [&[&str]; 10] = [&[], &[], &["click"], &[], &[], &[], &["dislike"], &["pass"], &[], &["dislike"]];
    assert_eq!(fired(&mut triggers, &events), expected);
}

#[test]
fn a_sequence_needs_consecutive_events_of_those_it_sees() {
    let sequence = || vec![Condition::action("exposure"), Condition::action("click")];
    let events = ["exposure", "scroll", "click", "exposure", "click", "click"];
    assert_eq!(at(Trigger::new("t", sequence()), &events), [4]);
    assert_eq!(at(Trigger::new("t", sequence()).among(&["exposure", "click"]), &events), [2, 4]);
}

#[test]
fn counts_anew_or_slides() {
    let events = ["exposure"; 7];
    let pages = || Trigger::new("t", Condition::action("exposure").times(3));
    assert_eq!(at(pages(), &events), [2, 5]);
    assert_eq!(at(pages().sliding(), &events), [2, 3, 4, 5, 6]);
}

#[test]
fn matches_begin_at_every_event() {
    let twice = |last: &str| {
        let mut sequence = Condition::action("exposure").times(2);
        sequence.push(Condition::action(last));
        Trigger::new(last, sequence)
    };
    // The first exposure belongs to no match; the two before the click do.
    assert_eq!(at(twice("click"), &["exposure", "exposure", "exposure", "click"]), [3]);
}

#[test]
fn all_that_are_completed_fire_in_the_order_of_their_declaration() {
    let mut triggers = Triggers::new(
        &layout(),
        &[
            Trigger::new("second", vec![Condition::any(), Condition::action("click")]),
            Trigger::new("bought", vec![Condition::action("click").with("item", "shoe")]),
            Trigger::new("seen", vec![Condition::action("click")]).among(&["click"]),
            Trigger::new("again", vec![Condition::action("click")]),
        ],
    )
    .unwrap();
    let names = fired(&mut triggers, &["click shoe", "click hat", "click shoe"]);
    // "second" counts anew after its second event: the third begins a match.
    let expected: [&[&str]; 3] =
        [&["bought", "seen", "again"], &["second", "seen", "again"], &["bought", "seen", "again"]];
    assert_eq!(names, expected);
}

#[test]
fn beginnings_are_shared_and_cost_is_bounded_by_the_nodes() {
    let exposures = |count| Condition::action("exposure").times(count);
    let triggers = [
        Trigger::new("three", exposures(3)),
        Trigger::new("five", exposures(5)),
        Trigger::new("then", [exposures(2), vec![Condition::action("click")]].concat()),
    ];
    let mut triggers = Triggers::new(&layout(), &triggers).unwrap();
    assert_eq!(triggers.nodes(), 6);
    fired(&mut triggers, &["exposure"; 20]);
    // All but the two last nodes are pending, and each node is looked at once.
    assert_eq!((triggers.pending(), triggers.tests()), (4, 6));
    fired(&mut triggers, &["scroll"]);
    assert_eq!(triggers.pending(), 0);
}

#[test]
fn a_reset_forgets_and_a_replay_remembers() {
    let pair = [Trigger::new("pair", vec![Condition::action("exposure"), Condition::action("click")])];
    let mut triggers = Triggers::new(&layout(), &pair).unwrap();
    fired(&mut triggers, &["exposure"]);
    triggers.reset();
    assert_eq!(fired(&mut triggers, &["click"]), [[""; 0]]);
    let (mut store, _) = Store::open(Box::new(Memory::default()), layout(), Config::default(), 0).unwrap();
    store.push(&Event { time: 0, action: 0, texts: &["", ""], numbers: &[], id: None }, 0).unwrap();
    let mut triggers = Triggers::new(&layout(), &pair).unwrap();
    for event in store.events(0) {
        triggers.replay(&event);
    }
    assert_eq!(fired(&mut triggers, &["click"]), [["pair"]]);
}

#[test]
fn says_what_is_wrong_and_where() {
    let wrong = |triggers: &[Trigger]| Triggers::new(&layout(), triggers).unwrap_err().to_string();
    let click = || vec![Condition::action("click")];
    assert_eq!(
        wrong(&[Trigger::new("t", vec![Condition::action("clik")])]),
        "`t.actions`: `clik` is not declared; did you mean `click`?"
    );
    assert!(wrong(&[Trigger::new("t", vec![Condition::any().with("shop", "x")])]).starts_with("`t.columns`: `shop`"));
    assert!(wrong(&[Trigger::new("t", click()).among(&["clicks"])]).starts_with("`t.actions`: `clicks`"));
    assert_eq!(
        wrong(&[Trigger::new("t", vec![])]),
        "`t`: a trigger without a condition; give its sequence at least one"
    );
    assert_eq!(wrong(&[Trigger::new("t", click()), Trigger::new("t", click())]), "`t`: two triggers have this name");
    assert_eq!(
        wrong(&[Trigger::new("t", click()).among(&["exposure"])]),
        "`t.among`: click is never seen; name one of them there too"
    );
    assert!(wrong(&[Trigger::new("t", Condition::any().times(70_000))]).contains("more than 65536 conditions"));
}
