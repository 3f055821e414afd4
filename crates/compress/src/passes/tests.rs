//! A network that learns to live with codes.
#![allow(clippy::unwrap_used)]

use super::Pass;
use super::aware::Aware;
use crate::candidate::{Candidate, Recipient, Sealing, rows_of};
use crate::fixture::Fixture;
use crate::pipeline::{Progress, Setting};
use crate::usage::Usage;
use kitestring_core::artifact::{Aligned, Artifact, SecretKey};
use kitestring_core::{Batch, Result, Seed};
use kitestring_data::dataset::Vocabularies;
use kitestring_nn::engine::{OneWorker, Scorer};
use kitestring_nn::package::Packaged;
use kitestring_train::Model;
use kitestring_train::fit::{Event, MODEL};
use kitestring_train::inputs::{Distinct, Pulled, Readers};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

fn teacher(fixture: &Fixture) -> Candidate {
    let model = Model::read(&fixture.place("teacher").join(MODEL)).unwrap();
    Candidate::new(model, fixture.config.clone(), fixture.dataset.without(&[]).unwrap())
}

fn quantized(
    (fixture, vocabularies): (&Fixture, &Vocabularies),
    pass: &str,
    scratch: (&Path, bool),
    observe: &mut dyn FnMut(Progress<'_>),
) -> Result<Candidate> {
    let pass: Pass = toml::from_str(&format!("type = \"quantize\"\n{pass}")).unwrap();
    pass.check()?;
    let mut setting = Setting::new((&fixture.dataset, vocabularies), &fixture.config, scratch, observe);
    Ok(pass.apply(teacher(fixture), &mut setting)?.0)
}

/// What a candidate says of the samples of a split, in codes where it has some.
fn said(candidate: &Candidate, split: &str) -> Vec<f32> {
    let split = candidate.dataset.split(split).unwrap();
    let mut batch = Batch::default();
    split.read(&(0..split.rows()).collect::<Vec<_>>(), Seed(0), &mut batch).unwrap();
    let (model, readers) = (&candidate.model, Readers::new(&candidate.model.schema));
    let (mut distinct, mut pulled) = (Distinct::default(), Pulled::default());
    distinct.index(&[(&readers, &batch)]);
    pulled.pull(&model.tables, &distinct, &OneWorker).unwrap();
    let rounding = candidate.description().rounding(&model.graph).unwrap();
    let (mut weights, mut scores) = (Vec::new(), Vec::new());
    rounding.round(&model.network.weights, &mut weights).unwrap();
    let codes = Arc::new(rounding.codes(&model.network.weights).unwrap());
    let mut scorer = Scorer::new(Arc::clone(&model.graph), 1).with_codes(codes);
    let inputs = pulled.inputs(&distinct, 0, &batch);
    scorer.score(&weights, &model.network.state, &inputs, &OneWorker, &mut scores).unwrap();
    scores
}

/// The mean of squared differences of what two say of each task.
fn apart(of: &[f32], other: &[f32]) -> [f32; 3] {
    let mut sums = [0.0; 3];
    for (at, (a, b)) in of.iter().zip(other).enumerate() {
        sums[at % 3] += (a - b).powi(2) * 3.0 / of.len() as f32;
    }
    sums
}

/// Ranges that leave a hundredth of all activations out cost much, and most of it is learned back: of samples that were learned from and of
/// others. Only the network learns, and rows are those that are shipped.
#[test]
fn what_narrow_ranges_cost_is_learned_back() {
    let fixture = Fixture::new();
    let vocabularies = fixture.dataset.vocabularies().unwrap();
    let full = teacher(&fixture);
    let narrow = "samples = 10000\nactivations = { type = \"percentile\", share = 0.99 }";
    let made = |pass: &str| {
        let scratch = tempfile::tempdir().unwrap();
        quantized((&fixture, &vocabularies), pass, (scratch.path(), false), &mut |_| {}).unwrap()
    };
    let post = made(narrow);
    let learned = made(&format!("{narrow}\naware = {{ epochs = 30, rate = 0.3 }}"));
    for split in ["train", "test"] {
        let truth = said(&full, split);
        let [post, learned] = [&post, &learned].map(|candidate| apart(&truth, &said(candidate, split)));
        let ratios: Vec<f32> = learned.iter().zip(&post).map(|(learned, post)| learned / post).collect();
        assert!(ratios[0] < 0.9 && ratios[1] < 0.4 && ratios[2] < 0.4, "{split}: {post:?} to {learned:?}");
    }
    assert_eq!(learned.activations, post.activations, "ranges stay");
    for (number, (table, before)) in learned.model.tables.iter().zip(&full.model.tables).enumerate() {
        let ids: Vec<u64> = (0..fixture.dataset.table_size(table.name()).unwrap().unwrap()).collect();
        let (rows, before) = (rows_of(table, &ids).unwrap(), rows_of(before, &ids).unwrap());
        assert_ne!(rows, before);
        let mut bytes = Vec::new();
        for (row, before) in rows.chunks_exact(table.dim()).zip(before.chunks_exact(table.dim())) {
            bytes.clear();
            learned.rows[number].encode(before, &mut bytes).unwrap();
            let mut shipped = vec![0.0; table.dim()];
            learned.rows[number].decode(&bytes, &mut shipped).unwrap();
            assert_eq!(row, shipped);
        }
    }
}

/// How far off a candidate is on the second task of the split `valid`.
fn rmse_of(candidate: &Candidate) -> f64 {
    let (split, mut batch) = (candidate.dataset.split("valid").unwrap(), Batch::default());
    split.read(&(0..split.rows()).collect::<Vec<_>>(), Seed(0), &mut batch).unwrap();
    let scores = said(candidate, "valid");
    let pairs = scores.iter().zip(&batch.labels).skip(1).step_by(3).filter(|(_, label)| !label.is_nan());
    let squares: Vec<f64> = pairs.map(|(score, label)| f64::from(score - label).powi(2)).collect();
    (squares.iter().sum::<f64>() / squares.len() as f64).sqrt()
}

/// The codes that learning and its validation saw are those that the artifact has.
#[test]
fn what_learned_is_what_is_sealed() {
    let mut fixture = Fixture::new();
    // Serving knows what training knew.
    fixture.config.evaluate.serve_as.clear();
    let vocabularies = fixture.dataset.vocabularies().unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let pass = "activations = { type = \"percentile\", share = 0.99 }\naware = { epochs = 2 }";
    let mut validated = f64::NAN;
    let made = quantized((&fixture, &vocabularies), pass, (scratch.path(), false), &mut |event| {
        if let Progress::Training(Event::Epoch { epoch, .. }) = event {
            validated = epoch.metrics["seconds.rmse"];
        }
    });
    let made = made.unwrap();
    assert!((rmse_of(&made) - validated).abs() < 1e-5 * validated, "{validated}");
    let usage = Usage::of(&fixture.dataset, Seed(0)).unwrap();
    let key = SecretKey::from_bytes(&[3; 32].into());
    let sealing = Sealing { vocabularies: &vocabularies, usage: &usage, release: 1, key: &key };
    let file = made.seal(Recipient::Everybody, &sealing).unwrap();
    let artifact = Artifact::open(Box::new(Aligned::from(file.as_slice())), &[key.public()]).unwrap();
    let packaged = Packaged::open(&artifact).unwrap();
    let rounding = made.description().rounding(&made.model.graph).unwrap();
    let (weights, mut rounded) = (&made.model.network.weights, Vec::new());
    rounding.round(weights, &mut rounded).unwrap();
    assert_eq!(packaged.network.weights, rounded);
    assert_eq!(*packaged.codes, rounding.codes(weights).unwrap());
    assert_ne!(*weights, rounded);
    let unrounded = Candidate { coded: Default::default(), activations: Vec::new(), ..made };
    assert!((rmse_of(&unrounded) - validated).abs() > 1e-3 * validated);
}

/// A run that was killed goes on to what it would have come to, and not from another one's checkpoint.
#[test]
fn learning_goes_on_where_it_was_killed() {
    let mut fixture = Fixture::new();
    fixture.config.train.checkpoint_steps = 4;
    let vocabularies = fixture.dataset.vocabularies().unwrap();
    let (whole, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let pass = "aware = { epochs = 3 }";
    let data = (&fixture, &vocabularies);
    let expected = quantized(data, pass, (whole.path(), false), &mut |_| {}).unwrap();
    let mut steps = 0;
    let dead = catch_unwind(AssertUnwindSafe(|| {
        quantized(data, pass, (killed.path(), false), &mut |event| {
            steps += u32::from(matches!(event, Progress::Training(Event::Step { .. })));
            assert!(steps < 10, "killed");
        })
    }));
    assert!(dead.is_err());
    let other = quantized(data, "aware = { epochs = 3, alpha = 0.5 }", (killed.path(), true), &mut |_| {});
    assert!(other.err().unwrap().to_string().contains("resume"));
    let mut from = 0;
    let found = quantized(data, pass, (killed.path(), true), &mut |event| {
        if let Progress::Training(Event::Resumed { steps }) = event {
            from = steps;
        }
    });
    assert_eq!(from, 8);
    assert!(killed.path().read_dir().unwrap().next().is_none(), "what was scratched stays");
    assert_eq!(found.unwrap().model.network, expected.model.network);
}

/// A pass without codes of activations is read back as it was written.
#[test]
fn products_may_stay_in_32_bits() {
    let pass: Pass = toml::from_str("type = \"quantize\"\nweights = false\nactivations = false").unwrap();
    pass.check().unwrap();
    assert_eq!(toml::from_str::<Pass>(&toml::to_string(&pass).unwrap()).unwrap(), pass);
    let usual: Pass = toml::from_str("type = \"quantize\"").unwrap();
    assert_eq!(toml::from_str::<Pass>(&toml::to_string(&usual).unwrap()).unwrap(), usual);
    let fixture = Fixture::new();
    let vocabularies = fixture.dataset.vocabularies().unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let pass = "weights = false\nactivations = false";
    let found = quantized((&fixture, &vocabularies), pass, (scratch.path(), false), &mut |_| {}).unwrap();
    assert!(found.coded.is_empty() && found.activations.is_empty());
    let error = toml::from_str::<Pass>("type = \"quantize\"\nactivations = { type = \"guess\" }").unwrap_err();
    assert!(error.to_string().contains("guess"), "{error}");
}

#[test]
fn what_cannot_be_learned_is_refused() {
    let fixture = Fixture::new();
    let vocabularies = fixture.dataset.vocabularies().unwrap();
    let refused = |pass: &str| {
        let scratch = tempfile::tempdir().unwrap();
        let found = quantized((&fixture, &vocabularies), pass, (scratch.path(), false), &mut |_| {});
        found.err().unwrap().to_string()
    };
    assert!(refused("aware = { epochs = 0 }").contains("aware.epochs"));
    assert!(refused("aware = { rate = 0.0 }").contains("aware.rate"));
    assert!(refused("aware = { alpha = 1.5 }").contains("aware.alpha"));
    assert!(refused("weights = false\naware = {}").contains("weights = true"));
    let mut spreading = teacher(&fixture);
    spreading.model.config.head = serde_json::from_value(serde_json::json!({"type": "heteroscedastic"})).unwrap();
    let (scratch, mut observe) = (tempfile::tempdir().unwrap(), |_: Progress<'_>| {});
    let data = (&fixture.dataset, &vocabularies);
    let mut setting = Setting::new(data, &fixture.config, (scratch.path(), false), &mut observe);
    let error = Aware::default().train(spreading, &mut setting).err().unwrap().to_string();
    assert!(error.contains("aware.alpha"), "{error}");
}
