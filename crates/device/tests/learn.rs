//! What was shown, what the user made of it, and what the device learns from both.
#![allow(clippy::unwrap_used)]

mod common;

use common::{FEATURES, candidates, file, session, trusted};
use kitestring_core::Seed;
use kitestring_core::artifact::{Aligned, Artifact};
use kitestring_device::encode::Value;
use kitestring_device::learn::{Learner, Settings};
use kitestring_device::session::Session;
use kitestring_nn::package::Personal;
use serde_json::json;

/// Three candidates of a round.
fn show(session: &mut Session, round: u64) -> [(String, String); 3] {
    let drawn = [0, 1, 2].map(|at| {
        let bits = Seed(4).at(round).bits_at(at);
        (format!("item{}", bits % 20), format!("category{}", bits / 32 % 5))
    });
    let rows = drawn.each_ref().map(|(item, category)| {
        let price = 8.0 + (round % 5) as f64;
        [Value::Text(item), Value::Text(category), Value::Missing, Value::Number(price)]
    });
    session.set_candidates(&FEATURES, &rows.each_ref().map(|row| &row[..])).unwrap();
    drawn
}

/// A user who clicks seldom, and rather on what others leave, for some rounds. Gives the mean loss of what the session said of clicks, and of the truth.
fn live(session: &mut Session, mut learner: Option<&mut Learner>, rounds: std::ops::Range<u64>) -> [f64; 2] {
    let (mut losses, count) = ([0.0; 2], 3 * (rounds.end - rounds.start));
    let mut everybody = self::session(json!({ "type": "gru", "units": 7 }));
    for round in rounds {
        let drawn = show(session, round);
        show(&mut everybody, round);
        let usual = everybody.rank().unwrap().scores.to_vec();
        let said = session.rank().unwrap().scores.to_vec();
        for (at, (item, category)) in drawn.iter().enumerate() {
            let p = f64::from(usual[2 * at]);
            let truth = 1.0 / (1.0 + (1.0 + (p / (1.0 - p)).ln()).exp());
            let click = f64::from(Seed(5).at(round).unit_at(at as u64)) < truth;
            for (loss, q) in losses.iter_mut().zip([f64::from(said[2 * at]), truth]) {
                *loss -= if click { q.ln() } else { (1.0 - q).ln() } / count as f64;
            }
            if let Some(learner) = &mut learner {
                let number = learner.show(session, at, at as u32 + 1).unwrap();
                assert!(learner.label(session, number, "click", f32::from(click)).unwrap());
            }
            if click && at == 2 {
                for session in [&mut *session, &mut everybody] {
                    session.append(&[("items", item), ("categorys", category)]).unwrap();
                }
            }
        }
    }
    losses
}

#[test]
fn a_device_learns_its_user() {
    let gru = || session(json!({ "type": "gru", "units": 7 }));
    let mut device = gru();
    device.remember_all().unwrap();
    let mut learner = Learner::new(Settings::default());
    live(&mut device, Some(&mut learner), 0..100);
    assert_eq!(learner.len(), 300);
    let lesson = learner.learn(&mut device).unwrap();
    assert_eq!((lesson.examples, lesson.judged, lesson.taken), (300, 240, true), "{lesson:?}");

    // What it learned goes through a file, and helps with what comes, whether a state stands for the histories or not.
    let bytes = device.runtime().personal().unwrap().to_bytes().unwrap();
    let mut restarted = gru();
    restarted.personalize(Some(Personal::from_bytes(&bytes).unwrap())).unwrap();
    let [with, _] = live(&mut restarted, None, 200..280);
    let [without, truth] = live(&mut gru(), None, 200..280);
    assert!(without - with > 0.3 * (without - truth), "{without} to {with}, and {truth} at best");
    for of in [&mut device, &mut restarted] {
        for list in ["items", "categorys"] {
            of.set(list, Value::List(&["item1", "item2"])).unwrap();
        }
    }
    device.remember_all().unwrap();
    candidates(&mut device);
    candidates(&mut restarted);
    let scores = restarted.rank().unwrap().scores.to_vec();
    device.rank().unwrap().scores.iter().zip(scores).for_each(|(a, b)| assert!((a - b).abs() < 1e-6));
}

/// An example is the candidate as it was shown: what the user does then changes the histories, and not the example.
#[test]
fn an_example_is_what_was_shown() {
    let mut device = session(json!({ "type": "gru", "units": 7 }));
    for (name, value) in [("user", Value::Text("user7")), ("age", Value::Number(20.0))] {
        device.set(name, value).unwrap();
    }
    device.set_scenarios(&["search", "all"]);
    device.append(&[("items", "item4"), ("categorys", "category1")]).unwrap();
    candidates(&mut device);
    let batch = device.batch().clone();
    for remembers in [false, true] {
        if remembers {
            device.remember_all().unwrap();
            assert!(device.batch().sparse[3].ids.is_empty());
        }
        for row in 0..3 {
            let example = device.example(row, 9).unwrap();
            for (ids, all) in example.sparse.iter().zip(&batch.sparse) {
                assert_eq!((ids.of_row(0), ids.is_ragged()), (all.of_row(row), all.is_ragged()));
            }
            assert_eq!(example.numeric, batch.numeric[row..=row]);
            assert_eq!((example.position, example.scenarios), (vec![9], batch.scenarios[..2].to_vec()));
            assert!(example.labels.iter().all(|label| label.is_nan()) && example.labels.len() == 2);
        }
    }
    assert!(device.example(3, 0).unwrap_err().to_string().contains("no candidate 3"));
}

#[test]
fn examples_are_few_and_of_one_version() {
    let pool = json!({ "type": "pool" });
    let mut device = session(pool.clone());
    candidates(&mut device);
    let mut learner = Learner::new(Settings::parse(r#"{"most": 2, "learning": {"epochs": 3}}"#).unwrap());
    let numbers = [0, 1, 2].map(|at| learner.show(&device, at, 0).unwrap());
    assert_eq!((numbers, learner.len()), ([0, 1, 2], 2));
    assert!(!learner.label(&device, 0, "click", 1.0).unwrap(), "the oldest went");
    assert!(learner.label(&device, 2, "like", 1.0).unwrap() && !learner.label(&device, 3, "like", 1.0).unwrap());
    let said = |error: kitestring_core::Error| error.to_string();
    assert!(said(learner.label(&device, 2, "klick", 1.0).unwrap_err()).contains("did you mean `click`?"));
    assert!(said(learner.label(&device, 2, "click", 0.5).unwrap_err()).contains("0.5 is no label"));
    assert!(said(learner.label(&device, 2, "click", f32::NAN).unwrap_err()).contains("NaN is no label"));
    assert!(said(Settings::parse(r#"{"learning": {"rate": -1}}"#).unwrap_err()).contains("rate"));
    assert!(said(Settings::parse(r#"{"mots": 1}"#).unwrap_err()).contains("mots"));
    // One example with a label is fewer than blocks.
    assert!(!learner.learn(&mut device).unwrap().taken);

    // Another version reads them in another way, perhaps.
    let other = Artifact::open(Box::new(Aligned::from(file(pool, 1).as_slice())), &trusted()).unwrap();
    let other = Session::new(other).unwrap();
    assert_eq!(learner.show(&other, 0, 0).unwrap_err().to_string(), other.example(0, 0).unwrap_err().to_string());
    assert_eq!(learner.len(), 2, "what failed changed nothing");
    learner.forget();
    assert!(learner.is_empty() && learner.show(&device, 0, 0).unwrap() == 3);
}
