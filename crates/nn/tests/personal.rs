//! What a device learns for its user: nothing where nothing was learned, something where there is something, and never at a user's cost.
#![allow(clippy::unwrap_used)]

mod common;

use common::trained::{Trained, batch, each_variant, keyed};
use kitestring_core::artifact::Digest;
use kitestring_core::hash::stable_hash;
use kitestring_core::{Batch, Seed};
use kitestring_nn::engine::{BatchInputs, OneWorker, Scorer};
use kitestring_nn::package::learning::Learning;
use kitestring_nn::package::{Learns, Personal, RowCodes, Runtime};
use serde_json::json;
use std::sync::Arc;

/// A file as the format's description has it.
fn file(version: &str, learns: &Learns, numbers: &[f32]) -> Vec<u8> {
    let header = serde_json::to_vec(&json!({ "version": version, "learns": learns })).unwrap();
    let mut bytes = b"KITEOWN\x01".to_vec();
    bytes.extend((header.len() as u32).to_le_bytes());
    bytes.extend(header);
    bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    let digest = Digest::of(&bytes);
    bytes.extend(digest.0);
    bytes
}

fn scored(device: &mut Runtime, batch: &Batch) -> Vec<f32> {
    let mut scores = Vec::new();
    device.score(&keyed(batch), &mut scores).unwrap();
    scores
}

#[test]
fn numbers_of_zero_change_no_bit_and_others_say_what_the_patched_graph_says() {
    each_variant(|name, trained| {
        for coded in [false, true] {
            let mut device = Runtime::open(trained.artifact(coded, RowCodes::F32)).unwrap();
            let batch = batch(40, Seed(1), true);
            let before = scored(&mut device, &batch);
            let learns = Learns::Patch { numbers: 5, rank: 3 };
            let zero = Personal::from_bytes(&file("v", &learns, &[0.0; 5])).unwrap();
            device.personalize(Some(zero)).unwrap();
            assert_eq!(scored(&mut device, &batch), before, "{name}");

            let numbers = [0.3, -0.4, 0.2, 0.5, -0.1];
            let some = Personal::from_bytes(&file("v", &learns, &numbers)).unwrap();
            device.personalize(Some(some.clone())).unwrap();
            let found = scored(&mut device, &batch);
            assert_ne!(found, before, "{name}");
            assert_eq!(device.personal(), Some(&some));
            if !coded {
                let graph = trained.ranker.graph.patched(3, 5);
                let mut weights = trained.network.weights.clone();
                weights.extend_from_slice(&graph.initial_weights(Seed(stable_hash("v")))[weights.len()..]);
                let info = graph.weights().iter().find(|info| info.name == "patch.numbers").unwrap();
                weights[info.offset..info.offset + 5].copy_from_slice(&numbers);
                let mut all = 0;
                graph
                    .weights()
                    .iter()
                    .filter(|info| info.name.ends_with(".basis"))
                    .for_each(|info| all += info.shape[1]);
                assert!(5 < all / 10, "{name}: patches have {all} numbers");
                let samples = trained.samples(&batch, RowCodes::F32);
                let inputs = BatchInputs {
                    batch: &samples.batch,
                    lookups: &samples.lookups,
                    rows: &samples.tables,
                    occurrences: &[],
                };
                let (mut expected, mut scorer) = (Vec::new(), Scorer::new(Arc::new(graph), 1));
                scorer.score(&weights, &trained.network.state, &inputs, &OneWorker, &mut expected).unwrap();
                for (found, expected) in found.iter().zip(&expected) {
                    assert!((found - expected).abs() <= 1e-5 * expected.abs().max(1.0), "{name}: {found} {expected}");
                }
            }
            device.personalize(None).unwrap();
            assert_eq!(scored(&mut device, &batch), before, "{name}");
        }
    });
}

/// A ranker with batch norm, so that frozen statistics are in play, and its own users' examples.
fn ranker() -> Trained {
    let config = json!({ "dimension": 8, "encoder": { "type": "din", "attention": [8] },
        "body": { "type": "shared_bottom", "bottom": { "units": [24], "batch_norm": true }, "towers": { "units": [12] } } });
    Trained::new(serde_json::from_value(config).unwrap()).unwrap()
}

/// A user who clicks as everybody does.
const LIKE_ALL: fn(f64) -> f64 = |logit| logit;
/// One who clicks more, and rather on what others leave.
const UNLIKE: fn(f64) -> f64 = |logit| 1.5 - logit;

/// Impressions, one a batch, of a user whose logit of a click is made of what the ranker says.
fn examples(device: &mut Runtime, count: u64, taste: fn(f64) -> f64, seed: Seed) -> Vec<Batch> {
    let examples = (0..count).map(|at| {
        let mut example = batch(1, seed.at(at), false);
        let p = f64::from(scored(device, &example)[0]).clamp(1e-4, 1.0 - 1e-4);
        let logit = taste((p / (1.0 - p)).ln());
        let click = f64::from(seed.child("click").unit_at(at)) < 1.0 / (1.0 + (-logit).exp());
        example.labels = vec![f32::from(click), f32::NAN, f32::NAN, f32::NAN];
        keyed(&example)
    });
    examples.collect()
}

fn loss(device: &mut Runtime, examples: &[Batch]) -> f64 {
    let of = |example: &Batch| {
        let mut scores = Vec::new();
        device.score(example, &mut scores).unwrap();
        let p = f64::from(scores[0]).clamp(1e-7, 1.0 - 1e-7);
        if example.labels[0] > 0.0 { -p.ln() } else { -(1.0 - p).ln() }
    };
    examples.iter().map(of).sum::<f64>() / examples.len() as f64
}

/// The last layers.
fn layers() -> Learns {
    Learns::Layers { names: vec!["head".into(), "body.tower.click".into()] }
}

#[test]
fn a_taste_of_its_own_is_learned() {
    let trained = ranker();
    for coded in [false, true] {
        for learns in [Learns::default(), layers()] {
            let mut device = Runtime::open(trained.artifact(coded, RowCodes::Int8)).unwrap();
            let had = examples(&mut device, 300, UNLIKE, Seed(1));
            let fresh = examples(&mut device, 300, UNLIKE, Seed(2));
            let before = loss(&mut device, &fresh);
            let learning = Learning { learns: learns.clone(), ..Learning::default() };
            let had: Vec<&Batch> = had.iter().collect();
            let lesson = device.learn(&had, &learning).unwrap();
            let after = loss(&mut device, &fresh);
            assert_eq!((lesson.examples, lesson.judged, lesson.taken), (300, 240, true), "{lesson:?}");
            assert!(after < 0.85 * before, "{learns:?}: {before} {after}");
            assert!(lesson.learned < lesson.artifact);

            // The same again to the bit, and through a file.
            let mut again = Runtime::open(trained.artifact(coded, RowCodes::Int8)).unwrap();
            again.learn(&had, &learning).unwrap();
            let bytes = device.personal().unwrap().to_bytes().unwrap();
            assert_eq!(again.personal().unwrap().to_bytes().unwrap(), bytes);
            let mut opened = Runtime::open(trained.artifact(coded, RowCodes::Int8)).unwrap();
            opened.personalize(Some(Personal::from_bytes(&bytes).unwrap())).unwrap();
            assert_eq!(loss(&mut opened, &fresh), after);
        }
    }
}

/// Where the ranker is right already, what noise teaches is seldom taken; and whatever is not taken leaves every bit as it was.
#[test]
fn a_user_like_all_others_keeps_the_ranker() {
    let trained = ranker();
    let probe = batch(20, Seed(9), true);
    let mut taken = 0;
    for seed in 0..20 {
        let mut device = Runtime::open(trained.artifact(true, RowCodes::F32)).unwrap();
        let before = scored(&mut device, &probe);
        let had = examples(&mut device, 40, LIKE_ALL, Seed(20 + seed));
        let lesson = device.learn(&had.iter().collect::<Vec<_>>(), &Learning::default()).unwrap();
        if lesson.taken {
            taken += 1;
        } else {
            assert_eq!((scored(&mut device, &probe), device.personal()), (before, None));
        }
    }
    assert!(taken <= 2, "{taken} of 20");
}

#[test]
fn what_no_longer_helps_is_given_up() {
    let trained = ranker();
    let mut device = Runtime::open(trained.artifact(false, RowCodes::F32)).unwrap();
    let probe = batch(20, Seed(9), true);
    let before = scored(&mut device, &probe);
    let plain = examples(&mut device, 200, LIKE_ALL, Seed(4));
    let odd = examples(&mut device, 200, UNLIKE, Seed(3));
    let learning = Learning::default();
    assert!(device.learn(&odd.iter().collect::<Vec<_>>(), &learning).unwrap().taken);
    assert_ne!(scored(&mut device, &probe), before);
    let lesson = device.learn(&plain.iter().collect::<Vec<_>>(), &learning).unwrap();
    assert!(!lesson.taken, "{lesson:?}");
    assert_eq!((scored(&mut device, &probe), device.personal()), (before, None));
}

/// That something never happened in a few examples is no reason to say that it never will.
#[test]
fn what_was_never_seen_is_not_unlearned() {
    let trained = ranker();
    let mut device = Runtime::open(trained.artifact(false, RowCodes::F32)).unwrap();
    let mut had = examples(&mut device, 60, LIKE_ALL, Seed(3));
    had.iter_mut().for_each(|example| example.labels[0] = 0.0);
    let had: Vec<&Batch> = had.iter().collect();
    let lesson = device.learn(&had, &Learning::default()).unwrap();
    assert!(lesson.certainty > 4.0 && !lesson.taken, "{lesson:?}");
    assert!(device.learn(&had, &Learning { least: 0, ..Learning::default() }).unwrap().taken);
}

#[test]
fn too_few_examples_teach_nothing() {
    let trained = ranker();
    let mut device = Runtime::open(trained.artifact(false, RowCodes::F32)).unwrap();
    let mut had = examples(&mut device, 7, UNLIKE, Seed(3));
    // Without labels they are none.
    had[4..].iter_mut().for_each(|example| example.labels.fill(f32::NAN));
    for count in 0..=7 {
        let lesson = device.learn(&had[..count].iter().collect::<Vec<_>>(), &Learning::default()).unwrap();
        assert_eq!((lesson.examples, lesson.judged, lesson.taken), (count.min(4), 0, false));
        assert!(lesson.learned.is_nan() && device.personal().is_none());
    }
}

#[test]
fn what_does_not_fit_is_refused_and_the_ranker_goes_on() {
    let trained = ranker();
    let mut device = Runtime::open(trained.artifact(true, RowCodes::F32)).unwrap();
    let probe = batch(20, Seed(9), true);
    let before = scored(&mut device, &probe);
    let learns = Learns::Patch { numbers: 4, rank: 2 };
    let sound = file("v", &learns, &[0.1; 4]);
    for at in 0..sound.len() {
        assert!(Personal::from_bytes(&sound[..at]).is_err(), "cut at {at}");
        let mut flipped = sound.clone();
        flipped[at] ^= 4;
        assert!(Personal::from_bytes(&flipped).is_err(), "flipped at {at}");
    }
    assert!(Personal::from_bytes(&file("v", &learns, &[0.1, f32::NAN, 0.0, 0.0])).is_err());
    let mut refused = |bytes: &[u8]| {
        let error = device.personalize(Some(Personal::from_bytes(bytes).unwrap())).unwrap_err().to_string();
        assert_eq!((scored(&mut device, &probe), device.personal()), (before.clone(), None));
        error
    };
    assert!(refused(&file("w", &learns, &[0.1; 4])).contains("learned for model w, and has v"));
    assert!(refused(&file("v", &learns, &[0.1; 5])).contains("5 learned numbers, and the ranker has 4"));
    let strange = Learns::Layers { names: vec!["boddy".into()] };
    assert!(refused(&file("v", &strange, &[0.1; 5])).contains("no such layer"));
    let huge = Learns::Patch { numbers: usize::MAX, rank: 3 };
    assert!(refused(&file("v", &huge, &[])).contains("is small"));

    let had = examples(&mut device, 30, UNLIKE, Seed(3));
    let had: Vec<&Batch> = had.iter().collect();
    for (wrong, key) in [
        (Learning { rate: f32::NAN, ..Learning::default() }, "rate"),
        (Learning { batch: 0, ..Learning::default() }, "batch"),
        (Learning { epochs: usize::MAX, ..Learning::default() }, "epochs"),
        (Learning { folds: 0, ..Learning::default() }, "folds"),
        (Learning { pull: -1.0, ..Learning::default() }, "pull"),
        (Learning { certainty: f64::NAN, ..Learning::default() }, "certainty"),
    ] {
        let error = device.learn(&had, &wrong).unwrap_err().to_string();
        assert!(error.contains(key), "{error}");
    }
    let wild = Learning { rate: 1e30, learns: layers(), ..Learning::default() };
    assert!(device.learn(&had, &wild).is_err());
    assert_eq!((scored(&mut device, &probe), device.personal()), (before, None));
}
