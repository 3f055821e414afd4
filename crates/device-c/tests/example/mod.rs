//! A ranker small enough for examples, as an artifact: a DIN with everything in general position, not trained.
//!
//! The tests of all bindings make it, run their example on it, and hold what it printed against [`native`].
#![allow(dead_code, clippy::unwrap_used)]

use kitestring_core::artifact::{Aligned, Artifact, Contents, PublicKey, SecretKey, TableContents, delta};
use kitestring_core::fitted::Fitted;
use kitestring_core::hash::stable_hash;
use kitestring_core::schema::{Feature, FeatureKind, History, Level, Of, Task, Transform};
use kitestring_core::{Schema, Seed};
use kitestring_device::app::{App, Done};
use kitestring_device::behaviour::Memory;
use kitestring_device::encode::Value;
use kitestring_device::session::Session;
use kitestring_nn::network::Network;
use kitestring_nn::package::{Description, RowCodes};
use kitestring_nn::ranker::{ModelConfig, Ranker};
use serde_json::json;
use std::path::Path;

/// Everything the examples set, in the order of the features of candidates: item, genres, price.
pub const CANDIDATES: [(&str, &[&str], f64); 4] = [
    ("arrival", &["drama", "science fiction"], 9.5),
    ("brazil", &["comedy"], 4.0),
    ("contact", &["science fiction"], 7.25),
    ("dune", &["adventure", "science fiction"], 12.0),
];

/// What the examples declare of events.
pub const DECLARATION: &str = r#"{"actions": ["exposure", "click"], "columns": ["item"], "triggers": [
  {"name": "click", "sequence": [{"actions": ["click"]}]},
  {"name": "two clicks", "sequence": [{"actions": ["click"]}, {"actions": ["click"]}]}]}"#;

/// What the app provides.
pub const PROVIDED: [&str; 6] = ["city", "age", "clicked", "item", "genres", "price"];

fn schema() -> Schema {
    let feature = |name: &str, kind, of| Feature { of, ..Feature::new(name, kind) };
    let history = History { of: "item".into(), when: Some("click".into()), which: Default::default() };
    let clicked = Feature {
        table: Some("item".into()),
        history: Some(history),
        length: 20,
        ..feature("clicked", FeatureKind::Sequence, Of::User)
    };
    let number = |name, of| Feature { transform: Transform::Standardize, ..feature(name, FeatureKind::Numeric, of) };
    Schema {
        user: Some("user".into()),
        item: Some("item".into()),
        features: vec![
            feature("city", FeatureKind::Categorical, Of::User),
            number("age", Of::User),
            clicked,
            feature("item", FeatureKind::Categorical, Of::Item),
            feature("genres", FeatureKind::Multi, Of::Item),
            number("price", Of::Item),
        ],
        scenarios: vec![Level { name: "page".into(), column: None }],
        tasks: vec![Task::binary("click"), Task::binary("like")],
        ..Schema::default()
    }
}

fn secret() -> SecretKey {
    SecretKey::from_bytes(&[7; 32].into())
}

/// The key that the example is signed with.
pub fn publisher() -> PublicKey {
    secret().public()
}

/// The file of the example's artifact; releases differ in their rows.
pub fn artifact(release: u64) -> Vec<u8> {
    let config: ModelConfig = serde_json::from_value(json!({
        "dimension": 8, "scenario_dimension": 4,
        "encoder": { "type": "din", "attention": [12] },
        "body": { "type": "mmoe", "experts": 3 },
    }))
    .unwrap();
    let ranker = Ranker::new(&schema(), &config, &[3]).unwrap();
    let mut network = Network::new(&ranker.graph, Seed(3));
    network.weights.iter_mut().enumerate().for_each(|(at, weight)| *weight += 0.1 * Seed(4).normal_at(at as u64));
    let texts: [&[&str]; 3] = [
        &["riga", "porto"],
        &["arrival", "brazil", "contact", "dune"],
        &["drama", "comedy", "science fiction", "adventure"],
    ];
    let tables = ranker.tables.iter().zip(texts).map(|(table, texts)| {
        let mut keys: Vec<u64> = texts.iter().map(|text| stable_hash(text)).collect();
        keys.sort_unstable();
        let seed = Seed(5 + release).child(&table.name);
        let row = |number: usize| {
            let numbers: Vec<f32> =
                (0..table.width).map(|at| seed.normal_at((number * table.width + at) as u64)).collect();
            let mut bytes = Vec::new();
            RowCodes::F32.encode(&numbers, &mut bytes).unwrap();
            bytes
        };
        let rows = (0..keys.len()).flat_map(|number| row(number + 1)).collect();
        TableContents { name: table.name.clone(), default: row(0), keys, rows }
    });
    let description = Description {
        ranker: config,
        scenarios: vec![3],
        rows: vec![RowCodes::F32; ranker.tables.len()],
        coded: Default::default(),
        activations: Vec::new(),
    };
    let fitted = |feature: &str, mean, deviation| Fitted {
        feature: feature.into(),
        transform: Transform::Standardize,
        mean,
        deviation,
        ..Fitted::default()
    };
    let contents = Contents {
        version: "example-1".into(),
        vocabulary_hash: String::new(),
        release,
        schema: schema(),
        fitted: vec![fitted("age", 40.0, 12.0), fitted("price", 8.0, 3.0)],
        scenarios: vec![vec![String::new(), "home".into(), "search".into()]],
        model: serde_json::to_value(&description).unwrap(),
        pages: description.pages(&ranker.graph, &network).unwrap(),
        tables: tables.collect(),
    };
    contents.seal(&secret()).unwrap()
}

/// An artifact, opened.
pub fn opened(file: &[u8]) -> Artifact {
    Artifact::open(Box::new(Aligned::from(file)), &[publisher()]).unwrap()
}

/// Makes a folder with `ranker.kite`, `ranker.pub`, and `next.delta`, which makes release 2 of release 1.
pub fn write(folder: &Path) {
    let (first, second) = (artifact(1), artifact(2));
    let (change, _) = delta::make(&opened(&first), &opened(&second)).unwrap();
    std::fs::write(folder.join("ranker.kite"), first).unwrap();
    std::fs::write(folder.join("next.delta"), change).unwrap();
    std::fs::write(folder.join("ranker.pub"), format!("{}\n", publisher())).unwrap();
}

/// A ranking as the examples print it: a line a candidate, the best click first, its scores as the bits of their `f32`.
fn printed(session: &mut Session) -> String {
    let ranking = session.rank().unwrap();
    let line = |candidate: &usize| {
        let scores = &ranking.scores[candidate * ranking.columns..][..ranking.columns];
        let scores: Vec<String> = scores.iter().map(|score| format!("{:08x}", score.to_bits())).collect();
        format!("{} {}\n", CANDIDATES[*candidate].0, scores.join(" "))
    };
    ranking.order(0).iter().map(line).collect()
}

/// What every example prints: release 1 before and after a click, and the same after the update to release 2.
pub fn native() -> String {
    let mut text = String::new();
    for release in [1, 2] {
        let mut app = App::new(Session::new(opened(&artifact(release))).unwrap());
        let session = app.session().unwrap();
        session.set("city", Value::Text("riga")).unwrap();
        session.set("age", Value::Number(31.0)).unwrap();
        session.set_scenarios(&["home"]);
        let rows =
            CANDIDATES.map(|(item, genres, price)| [Value::Text(item), Value::List(genres), Value::Number(price)]);
        let rows: Vec<&[Value<'_>]> = rows.iter().map(<[_; 3]>::as_slice).collect();
        session.set_candidates(&["item", "genres", "price"], &rows).unwrap();
        text += &format!("release {release} of example-1\n{}", printed(session));
        session.append(&[("clicked", "contact")]).unwrap();
        text += &format!("after a click\n{}", printed(session));
        let now = 1_700_000_000_000;
        app.observe(DECLARATION, Box::new(Memory::default()), now).unwrap();
        for item in ["dune", "arrival"] {
            let done = Done { action: "click", texts: &[item], numbers: &[], time: now, id: None };
            let effect = app.push(&done, now).unwrap();
            assert!(effect.kept);
            let fired: String = effect.fired.iter().map(|trigger| format!(" {trigger}")).collect();
            text += &format!("a click on {item} moved {} fired{fired}\n", u8::from(effect.moved));
        }
        text += &printed(app.session().unwrap());
    }
    text
}

/// Holds what another target printed against what is expected: the same candidates in the same order, scores to 1e-5. Says how many are the
/// same to the bit.
pub fn close(found: &str, expected: &str, what: &str) {
    assert_eq!(found.lines().count(), expected.lines().count(), "{what}: {found}");
    let (mut same, mut all) = (0, 0);
    let score = |word: &str| u32::from_str_radix(word, 16).ok().filter(|_| word.len() == 8).map(f32::from_bits);
    for (found, expected) in found.split_whitespace().zip(expected.split_whitespace()) {
        match (score(found), score(expected)) {
            (Some(found), Some(expected)) => {
                assert!((found - expected).abs() <= 1e-5, "{what}: {found}, expected {expected}");
                (same, all) = (same + usize::from(found == expected), all + 1);
            }
            _ => assert_eq!(found, expected, "{what}"),
        }
    }
    assert!(all > 0, "{what}: no score");
    println!("{what}: {same} of {all} scores are the same to the bit");
}

/// Holds a README's first block of code against the example that is tested: each of its lines must be one of the example's.
pub fn shown(readme: &Path, example: &Path) {
    let (readme, text) = (std::fs::read_to_string(readme).unwrap(), std::fs::read_to_string(example).unwrap());
    let block = readme.split("```").nth(1).unwrap();
    let lines: Vec<&str> = block.lines().skip(1).filter(|line| !line.is_empty()).collect();
    assert!(lines.len() > 5, "{block}");
    for line in lines {
        assert!(text.lines().any(|of| of.trim() == line), "{} has no `{line}`", example.display());
    }
}
