//! Arbitrary bytes as an artifact, as what a publisher signed, and as a delta. Called by the fuzzer and by the tests of the device crate.

use kitestring_core::artifact::{Aligned, Artifact, Contents, SecretKey, TableContents, delta};
use kitestring_core::schema::{Feature, FeatureKind, Schema, Task};
use kitestring_core::{Batch, Ids, Seed};
use kitestring_nn::network::Network;
use kitestring_nn::package::{Description, RowCodes, Runtime};
use kitestring_nn::ranker::{ModelConfig, Ranker};
use std::sync::OnceLock;

/// The first byte says whether the rest is a file as it is; edits of the manifest of a sound file, which is signed anew, so that what lies
/// behind the signature is reached; or edits of a sound delta.
pub fn artifact(data: &[u8]) {
    let Some((&kind, rest)) = data.split_first() else { return };
    let World { key, old, new, change } = world();
    let trusted = [key.public()];
    match kind % 3 {
        0 => {
            let _ = Artifact::open(Box::new(Aligned::from(rest)), &trusted);
            let _ = delta::apply(old, rest, &trusted);
        }
        1 => {
            let mut file = old.bytes().to_vec();
            let text = u32::from_le_bytes([file[12], file[13], file[14], file[15]]) as usize;
            edit(&mut file[112..112 + text], rest);
            // The head and the manifest are signed; the pages are hashed.
            let mut message = file[..48].to_vec();
            message.extend_from_slice(&file[112..112 + text]);
            file[48..112].copy_from_slice(&key.sign(&message));
            let Ok(artifact) = Artifact::open(Box::new(Aligned::from(file.as_slice())), &trusted) else { return };
            let Ok(mut runtime) = Runtime::open(artifact) else { return };
            let batch = Batch {
                rows: 2,
                sparse: vec![Ids { ids: vec![3, u64::MAX], ..Ids::default() }],
                numeric: vec![0.5; 2 * runtime.artifact().manifest().schema.numeric().count()],
                ..Batch::default()
            };
            let mut scores = Vec::new();
            if runtime.score(&batch, &mut scores).is_ok() {
                assert_eq!(scores.len(), 2 * runtime.width());
            }
        }
        _ => {
            let mut edited = change.clone();
            edit(&mut edited, rest);
            if let Ok(made) = delta::apply(old, &edited, &trusted) {
                assert_eq!(made.bytes(), new.bytes(), "what is made is what was signed");
            }
        }
    }
}

/// Puts bytes in the place of others: three of the data say where, one what.
fn edit(bytes: &mut [u8], data: &[u8]) {
    for [low, middle, high, byte] in data.as_chunks::<4>().0 {
        let at = usize::from(*low) | usize::from(*middle) << 8 | usize::from(*high) << 16;
        let length = bytes.len().max(1);
        if let Some(into) = bytes.get_mut(at % length) {
            *into = *byte;
        }
    }
}

struct World {
    key: SecretKey,
    old: Artifact,
    new: Artifact,
    change: Vec<u8>,
}

/// Two releases of a small ranker.
fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let key = SecretKey::from_bytes(&[1; 32].into());
        let schema = Schema {
            features: vec![Feature::new("item", FeatureKind::Categorical)],
            tasks: vec![Task::binary("click")],
            ..Schema::default()
        };
        let config = r#"{"dimension": 3, "body": {"type": "mlp", "units": [4]}}"#;
        let config: ModelConfig = kitestring_core::json::from_slice(config.as_bytes()).expect("a config");
        let ranker = Ranker::new(&schema, &config, &[]).expect("a ranker");
        let description = Description {
            ranker: config,
            scenarios: Vec::new(),
            rows: vec![RowCodes::Int8],
            coded: ["body.0.weight".to_owned()].into(),
            activations: Vec::new(),
        };
        let file = |release: u64| {
            let network = Network::new(&ranker.graph, Seed(release));
            let keys: Vec<u64> = (release..40).step_by(3).collect();
            let contents = Contents {
                vocabulary_hash: String::new(),
                version: "v".into(),
                release,
                schema: schema.clone(),
                fitted: Vec::new(),
                scenarios: Vec::new(),
                model: description.to_value().expect("a description"),
                pages: description.pages(&ranker.graph, &network).expect("pages"),
                tables: vec![TableContents {
                    name: "item".into(),
                    default: vec![0; 11],
                    rows: keys
                        .iter()
                        .flat_map(|key| [0, 0, 128, 63, 0, 0, 0, 0, *key as u8, 2, release as u8])
                        .collect(),
                    keys,
                }],
            };
            let file = contents.seal(&key).expect("a file");
            Artifact::open(Box::new(Aligned::from(file.as_slice())), &[key.public()]).expect("an artifact")
        };
        let (old, new) = (file(1), file(2));
        let (change, _) = delta::make(&old, &new).expect("a delta");
        World { key, old, new, change }
    })
}
