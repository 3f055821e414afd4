//! An artifact of a small ranker, and a session with it.
#![allow(dead_code)] // Each test file uses its part.
#![allow(clippy::unwrap_used)]

use kitestring_core::Seed;
use kitestring_core::artifact::{Aligned, Artifact, Contents, PublicKey, SecretKey, TableContents};
use kitestring_core::fitted::Fitted;
use kitestring_core::hash::stable_hash;
use kitestring_core::schema::{
    Feature, FeatureKind, History, Level, Of, Schema, TableRule, Task, Transform, Vocabulary,
};
use kitestring_device::encode::Value;
use kitestring_device::session::Session;
use kitestring_nn::network::Network;
use kitestring_nn::package::{Description, RowCodes};
use kitestring_nn::ranker::{ModelConfig, Ranker};
use serde_json::json;

pub fn schema() -> Schema {
    let feature = |name: &str, kind: FeatureKind, of: Of| Feature { of, ..Feature::new(name, kind) };
    let listed = |of: &str| Feature {
        table: Some(of.into()),
        length: 4,
        history: Some(History { of: of.into(), when: Some("click".into()), which: Default::default() }),
        ..feature(&format!("{of}s"), FeatureKind::Sequence, Of::User)
    };
    Schema {
        user: Some("user".into()),
        features: vec![
            feature("user", FeatureKind::Categorical, Of::User),
            feature("item", FeatureKind::Categorical, Of::Item),
            feature("category", FeatureKind::Categorical, Of::Item),
            listed("item"),
            listed("category"),
            Feature { length: 2, ..feature("tags", FeatureKind::Multi, Of::Item) },
            Feature { transform: Transform::Standardize, ..feature("price", FeatureKind::Numeric, Of::Item) },
            Feature { transform: Transform::Bucketize(3), ..feature("age", FeatureKind::Numeric, Of::User) },
        ],
        tables: vec![TableRule { name: "tags".into(), vocabulary: Vocabulary::Hashed { buckets: 8 } }],
        scenarios: ["page", "tab"].map(|name| Level { name: name.into(), column: None }).into(),
        tasks: vec![Task::binary("click"), Task::binary("like")],
        ..Schema::default()
    }
}

pub fn secret() -> SecretKey {
    SecretKey::from_bytes(&[5; 32].into())
}

pub fn trusted() -> [PublicKey; 1] {
    [secret().public()]
}

pub fn file(encoder: serde_json::Value, release: u64) -> Vec<u8> {
    file_of(schema(), encoder, release)
}

/// The file of an artifact whose rows are those of a few values.
pub fn file_of(schema: Schema, encoder: serde_json::Value, release: u64) -> Vec<u8> {
    let config = json!({ "dimension": 6, "scenario_dimension": 3, "encoder": encoder,
        "body": { "type": "mlp", "units": [10] } });
    let config: ModelConfig = serde_json::from_value(config).unwrap();
    let scenarios = [3, 3];
    let ranker = Ranker::new(&schema, &config, &scenarios).unwrap();
    let mut network = Network::new(&ranker.graph, Seed(1));
    network.weights.iter_mut().enumerate().for_each(|(at, weight)| *weight += 0.1 * Seed(2).normal_at(at as u64));
    let description = Description {
        ranker: config,
        scenarios: scenarios.to_vec(),
        rows: vec![RowCodes::F32; ranker.tables.len()],
        coded: Default::default(),
        activations: Vec::new(),
    };
    let tables = ranker.tables.iter().map(|table| {
        let mut keys: Vec<u64> = match table.name.as_str() {
            "tags" => (0..8).collect(),
            "age" => (0..4).collect(),
            name => (0..20).map(|at| stable_hash(&format!("{name}{at}"))).chain([0]).collect(),
        };
        keys.sort_unstable();
        let row = |key: u64| {
            let seed = Seed(3).child(&table.name).at(key);
            (0..table.width as u64).flat_map(move |at| seed.normal_at(at).to_le_bytes())
        };
        TableContents {
            name: table.name.clone(),
            default: row(u64::MAX).collect(),
            rows: keys.iter().flat_map(|key| row(*key)).collect(),
            keys,
        }
    });
    let fitted = |feature: &str, transform: Transform, borders: &[f64]| Fitted {
        feature: feature.into(),
        transform,
        missing: 0,
        mean: 10.0,
        deviation: 2.0,
        borders: borders.to_vec(),
    };
    let contents = Contents {
        version: "v".into(),
        vocabulary_hash: String::new(),
        release,
        schema,
        fitted: vec![
            fitted("price", Transform::Standardize, &[]),
            fitted("age", Transform::Bucketize(3), &[20.0, 40.0]),
        ],
        scenarios: vec![
            vec!["".into(), "home".into(), "search".into()],
            vec!["".into(), "home\u{1f}new".into(), "search\u{1f}all".into()],
        ],
        model: serde_json::to_value(&description).unwrap(),
        pages: description.pages(&ranker.graph, &network).unwrap(),
        tables: tables.collect(),
    };
    contents.seal(&secret()).unwrap()
}

pub fn session(encoder: serde_json::Value) -> Session {
    let artifact = Artifact::open(Box::new(Aligned::from(file(encoder, 1).as_slice())), &trusted()).unwrap();
    Session::new(artifact).unwrap()
}

pub const FEATURES: [&str; 4] = ["item", "category", "tags", "price"];

pub fn candidates(session: &mut Session) {
    let rows: Vec<Vec<Value<'_>>> = vec![
        vec![Value::Text("item1"), Value::Text("category1"), Value::List(&["a", "b", "c"]), Value::Number(12.0)],
        vec![Value::Text("item2"), Value::Text("category0"), Value::Missing, Value::Missing],
        vec![Value::Text("unheard of"), Value::Missing, Value::List(&["a"]), Value::Text(" 8.5 ")],
    ];
    let rows: Vec<&[Value<'_>]> = rows.iter().map(Vec::as_slice).collect();
    session.set_candidates(&FEATURES, &rows).unwrap();
}
