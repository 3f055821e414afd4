//! Raw values in, rankings out: candidates are kept, histories change, and what is remembered is what was read.
#![allow(clippy::unwrap_used)]

mod common;

use common::{FEATURES, candidates, file, file_of, schema, session, trusted};
use kitestring_core::artifact::{Aligned, Artifact, delta};
use kitestring_core::hash::stable_hash;
use kitestring_device::agent::{Agent, Meaning};
use kitestring_device::app::{App, Done};
use kitestring_device::behaviour::{Config, Event, Layout, Memory, Store};
use kitestring_device::encode::Value;
use kitestring_device::session::Session;
use kitestring_device::shelf::Shelf;
use kitestring_device::trigger::{Condition, Trigger, Triggers};
use serde_json::json;

#[test]
fn values_become_what_training_read() {
    let mut session = session(json!({ "type": "din", "attention": [5] }));
    session.set("user", Value::Text("user7")).unwrap();
    session.set("age", Value::Number(20.0)).unwrap();
    session.set_scenarios(&["search", "all"]);
    candidates(&mut session);
    for event in 0..6 {
        let (item, category) = (format!("item{event}"), format!("category{event}"));
        session.append(&[("items", &item), ("categorys", &category)]).unwrap();
    }
    let batch = session.batch().clone();
    assert_eq!((batch.rows, batch.sparse[0].of_row(2)), (3, &[stable_hash("user7")][..]));
    assert_eq!(batch.sparse[1].ids, ["item1", "item2", "unheard of"].map(stable_hash));
    assert_eq!(batch.sparse[2].ids, [stable_hash("category1"), stable_hash("category0"), 0]);
    // The last four of six events, in their order, one list for all.
    assert_eq!(batch.sparse[3].of_row(1), ["item2", "item3", "item4", "item5"].map(stable_hash));
    assert_eq!(batch.sparse[5].of_row(0), ["a", "b"].map(|tag| stable_hash(tag) % 8), "the first two of three");
    assert!(batch.sparse[5].of_row(1).is_empty());
    assert_eq!(batch.sparse[6].of_row(0), [2], "20 is in the second bucket");
    assert_eq!(batch.numeric, [1.0, 0.0, -0.75]);
    assert_eq!(batch.scenarios, [2, 2, 2, 2, 2, 2]);
    session.set_scenarios(&["search", "new"]);
    assert_eq!(session.batch().scenarios[..2], [2, 0], "a tab of one page is not that of another");

    let ranking = session.rank().unwrap();
    assert_eq!((ranking.scores.len(), ranking.columns), (6, 2));
    let order = ranking.order(1);
    assert!(order.windows(2).all(|pair| ranking.scores[pair[0] * 2 + 1] >= ranking.scores[pair[1] * 2 + 1]));
    let before = ranking.scores.to_vec();
    assert_eq!(session.rank().unwrap().scores, before, "nothing changed");
    session.append(&[("items", "item9"), ("categorys", "category9")]).unwrap();
    assert_ne!(session.rank().unwrap().scores, before);
}

#[test]
fn what_does_not_fit_changes_nothing() {
    let mut session = session(json!({ "type": "pool" }));
    candidates(&mut session);
    let before = session.rank().unwrap().scores.to_vec();
    let said = |error: kitestring_core::Error| error.to_string();
    assert!(said(session.set("usr", Value::Missing).unwrap_err()).contains("did you mean `user`?"));
    assert!(said(session.set("item", Value::Text("x")).unwrap_err()).contains("of the user or the moment"));
    assert!(said(session.set("user", Value::List(&["x"])).unwrap_err()).contains("expected a text"));
    assert!(said(session.append(&[("user", "x")]).unwrap_err()).contains("only a list"));
    let one = [Value::Text("item1")];
    assert!(said(session.set_candidates(&["item"], &[&one]).unwrap_err()).contains("`category`"));
    let all = [Value::Missing, Value::Missing, Value::Missing, Value::Text("dear")];
    assert!(said(session.set_candidates(&FEATURES, &[&all]).unwrap_err()).contains("expected a finite number"));
    assert!(said(session.set_candidates(&FEATURES, &[&one]).unwrap_err()).contains("candidate 0"));
    assert_eq!(session.rank().unwrap().scores, before);
    session.set_candidates(&FEATURES, &[]).unwrap();
    assert!(session.rank().unwrap().scores.is_empty());
}

/// An event that is in some histories alone tells the states of the others nothing.
#[test]
fn states_of_histories_apart_go_on_apart() {
    let mut both = schema();
    let mut liked = both.features[3].clone();
    liked.name = "liked".into();
    liked.history.as_mut().unwrap().when = Some("like".into());
    both.features.push(liked);
    let session = || {
        let file = file_of(both.clone(), json!({ "type": "gru", "units": 7 }), 1);
        Session::new(Artifact::open(Box::new(Aligned::from(file.as_slice())), &trusted()).unwrap()).unwrap()
    };
    let (mut kept, mut read) = (session(), session());
    candidates(&mut kept);
    candidates(&mut read);
    kept.remember_all().unwrap();
    for event in [&[("items", "item1"), ("categorys", "category1")][..], &[("liked", "item3")], &[("liked", "item4")]] {
        for session in [&mut kept, &mut read] {
            session.append(event).unwrap();
        }
        let scores = read.rank().unwrap().scores.to_vec();
        for (a, b) in kept.rank().unwrap().scores.iter().zip(scores) {
            assert!((a - b).abs() < 1e-6, "{event:?}: {a} {b}");
        }
    }
}

/// What a state remembers of events one by one is what the whole history says.
#[test]
fn a_state_remembers_events() {
    let gru = json!({ "type": "gru", "units": 7 });
    let (mut kept, mut read) = (session(gru.clone()), session(gru));
    for session in [&mut kept, &mut read] {
        session.set("user", Value::Text("user3")).unwrap();
        candidates(session);
    }
    kept.remember_all().unwrap();
    for event in 0..4 {
        let (item, category) = (format!("item{event}"), format!("category{}", event % 2));
        for session in [&mut kept, &mut read] {
            session.append(&[("items", &item), ("categorys", &category)]).unwrap();
        }
        assert!(kept.batch().sparse[3].ids.is_empty() && !read.batch().sparse[3].ids.is_empty());
        let scores = read.rank().unwrap().scores.to_vec();
        for (a, b) in kept.rank().unwrap().scores.iter().zip(scores) {
            assert!((a - b).abs() < 1e-6, "event {event}: {a} {b}");
        }
    }
    // Past the history's length the state goes on, until it is told to start from what is left.
    for session in [&mut kept, &mut read] {
        session.append(&[("items", "item9"), ("categorys", "category1")]).unwrap();
    }
    let scores = read.rank().unwrap().scores.to_vec();
    assert_ne!(kept.rank().unwrap().scores, scores);
    kept.remember_all().unwrap();
    kept.rank().unwrap().scores.iter().zip(scores).for_each(|(a, b)| assert!((a - b).abs() < 1e-6));
}

#[test]
fn the_last_good_artifact_stays() {
    let folder = tempfile::tempdir().unwrap();
    let shelf = Shelf::new(folder.path(), &trusted()).unwrap();
    let names: Vec<String> = schema().features.iter().map(|feature| feature.name.clone()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert!(shelf.current().unwrap().is_none());
    let [first, second] = [1, 2].map(|release| file(json!({ "type": "pool", "pooling": "sum" }), release));
    let release = |shelf: &Shelf| shelf.current().unwrap().unwrap().manifest().release;
    shelf.install(&first, &names).unwrap();
    let opened = |file: &[u8]| Artifact::open(Box::new(Aligned::from(file)), &trusted()).unwrap();
    let (change, _) = delta::make(&opened(&first), &opened(&second)).unwrap();

    let error = shelf.install(&second, &names[1..]).unwrap_err().to_string();
    assert!(error.contains("`user`") && error.contains("does not provide"), "{error}");
    let mut damaged = second.clone();
    damaged[second.len() / 2] ^= 1;
    assert!(shelf.install(&damaged, &names).is_err() && shelf.install(&second[..99], &names).is_err());
    assert!(shelf.update(&change[..change.len() - 1], &names).is_err());
    assert_eq!(release(&shelf), 1);
    shelf.update(&change, &names).unwrap();
    assert_eq!(std::fs::read(folder.path().join("ranker.kite")).unwrap(), second);
    let error = shelf.install(&first, &names).unwrap_err().to_string();
    assert!(error.contains("older"), "{error}");
    assert!(shelf.update(&change, &names).unwrap_err().to_string().contains("does not belong"));

    // A kill while the next one was being written: what is half there goes, what is there serves.
    std::fs::write(folder.path().join("ranker.next"), &first[..1000]).unwrap();
    let shelf = Shelf::new(folder.path(), &trusted()).unwrap();
    assert_eq!(release(&shelf), 2);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    // A bit that flips on disk is refused, and a whole artifact mends it.
    std::fs::write(folder.path().join("ranker.kite"), &damaged).unwrap();
    assert!(shelf.current().unwrap_err().to_string().contains("ranker.kite"));
    shelf.install(&second, &names).unwrap();
    assert_eq!(release(&shelf), 2);
}

/// Events move histories, set off triggers and are read anew by another version; what comes late is put in its place.
#[test]
fn an_agent_ranks_by_what_the_user_does() {
    let gru = json!({ "type": "gru", "units": 7 });
    let layout = || Layout::new(&["exposure", "click"], &["item", "category"], &[]).unwrap();
    let now = 1_700_000_000_000;
    let open = |bytes: Vec<u8>| Store::open(Box::new(Memory::new(bytes)), layout(), Config::default(), now).unwrap().0;
    let triggers = || {
        let (exposure, click) = (Condition::action("exposure"), Condition::action("click"));
        let all = [Trigger::new("click", vec![click]), Trigger::new("three shown", exposure.times(3))];
        Triggers::new(&layout(), &all).unwrap()
    };
    let agent = |store: Store| Agent::new(session(gru.clone()), store, triggers(), Meaning::default(), now).unwrap();
    let mut agent_of_all = agent(open(Vec::new()));
    let push = |agent: &mut Agent, action: u16, item: &str, late: i64| {
        let event = Event { time: now - late, action, texts: &[item, "category1"], numbers: &[], id: None };
        let happened = agent.push(&event, now).unwrap();
        (happened.fired.to_vec(), happened.moved)
    };
    candidates(agent_of_all.session());
    let before = agent_of_all.rank().unwrap().scores.to_vec();
    assert_eq!(push(&mut agent_of_all, 0, "item4", 90), (vec![], false));
    assert_eq!(agent_of_all.rank().unwrap().scores, before);
    assert_eq!(push(&mut agent_of_all, 1, "item4", 80), (vec![0], true));
    assert_ne!(agent_of_all.rank().unwrap().scores, before);
    push(&mut agent_of_all, 1, "item6", 10);
    // A click between the two, told late.
    assert!(push(&mut agent_of_all, 1, "item5", 40).1);
    for number in 0..3 {
        let (fired, moved) = push(&mut agent_of_all, 0, "item7", 5 - number);
        assert_eq!((fired.contains(&1), moved), (number == 2, false));
    }
    let scores = agent_of_all.rank().unwrap().scores.to_vec();

    // The same by a session that is told the history as it was, and by a device that starts again.
    let mut told = session(gru.clone());
    candidates(&mut told);
    told.set("items", Value::List(&["item4", "item5", "item6"])).unwrap();
    told.set("categorys", Value::List(&["category1"; 3])).unwrap();
    let near = |found: &[f32]| found.iter().zip(&scores).all(|(a, b)| (a - b).abs() < 1e-6);
    assert!(near(told.rank().unwrap().scores));
    let image = agent_of_all.store().image().to_vec();
    let mut again = agent(open(image));
    candidates(again.session());
    assert!(near(again.rank().unwrap().scores));

    // Another artifact reads the same events; candidates of another model are refused.
    let next = Artifact::open(Box::new(Aligned::from(file(gru.clone(), 2).as_slice())), &trusted()).unwrap();
    again.renew(next, now).unwrap();
    let one = [Value::Text("item1"), Value::Missing, Value::Missing, Value::Missing];
    let error = again.set_candidates("w", &FEATURES, &[&one]).unwrap_err().to_string();
    assert!(error.contains("model w") && error.contains("the device has v"), "{error}");
    again.set_candidates("v", &FEATURES, &[&one]).unwrap();
    candidates(again.session());
    assert!(near(again.rank().unwrap().scores));
    again.forget(now).unwrap();
    assert_eq!(again.rank().unwrap().scores, before);
    let short = Layout::new(&["click"], &["item"], &[]).unwrap();
    let store = Store::open(Box::new(Memory::default()), short.clone(), Config::default(), now).unwrap().0;
    let none = Triggers::new(&short, &[]).unwrap();
    let error = Agent::new(session(gru), store, none, Meaning::default(), now).err().unwrap().to_string();
    assert!(error.contains("categor"), "{error}");
}

/// An artifact whose histories the device does not keep is refused, and the one before goes on with its candidates; so does what has no events.
#[test]
fn an_artifact_that_lists_what_is_not_kept_leaves_the_one_before() {
    let now = 1_700_000_000_000;
    let pool = json!({ "type": "pool" });
    let open = |file: Vec<u8>| Artifact::open(Box::new(Aligned::from(file.as_slice())), &trusted()).unwrap();
    let mut of_items = schema();
    of_items.features.retain(|feature| feature.name != "categorys");
    let mut app = App::new(Session::new(open(file_of(of_items.clone(), pool.clone(), 1))).unwrap());
    let declaration = r#"{"actions": ["click"], "columns": ["item"]}"#;
    app.observe(declaration, Box::new(Memory::default()), now).unwrap();
    candidates(app.session().unwrap());
    let click = |item| Done { action: "click", texts: item, numbers: &[], time: now, id: None };
    app.push(&click(&["item4"]), now).unwrap();
    let before = app.session().unwrap().rank().unwrap().scores.to_vec();
    let error = app.renew(open(file(pool.clone(), 2)), now).unwrap_err().to_string();
    assert!(error.contains("categorys"), "{error}");
    assert_eq!(app.session().unwrap().rank().unwrap().scores, before);
    app.renew(open(file_of(of_items, pool.clone(), 3)), now).unwrap();
    candidates(app.session().unwrap());
    assert_eq!(app.session().unwrap().runtime().artifact().manifest().release, 3);
    assert_eq!(app.session().unwrap().rank().unwrap().scores, before);
    assert!(app.push(&click(&["item5"]), now).unwrap().moved);

    let mut alone = App::new(session(pool.clone()));
    alone.renew(open(file(pool, 2)), now).unwrap();
    assert_eq!(alone.session().unwrap().runtime().artifact().manifest().release, 2);
}
