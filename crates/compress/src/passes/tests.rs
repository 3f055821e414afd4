//! A network that learns to live with codes.
#![allow(clippy::unwrap_used)]

use super::Pass;
use crate::candidate::Candidate;
use crate::fixture::Fixture;
use crate::pipeline::{Progress, Setting};
use kitestring_core::{Result, Seed};
use kitestring_data::dataset::Vocabularies;
use kitestring_nn::engine::{OneWorker, Scorer};
use kitestring_train::Model;
use kitestring_train::fit::MODEL;
use kitestring_train::inputs::{Distinct, Pulled, Readers};
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
    let mut batch = kitestring_core::Batch::default();
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

#[test]
fn explore() {
    let fixture = Fixture::new();
    let vocabularies = fixture.dataset.vocabularies().unwrap();
    let full = teacher(&fixture);
    for share in [1.0, 0.99, 0.9, 0.7, 0.5] {
        for aware in [
            "",
            "aware = { epochs = 10, rate = 0.1 }",
            "aware = { epochs = 30, rate = 0.3 }",
            "aware = { epochs = 60, rate = 0.3 }",
        ] {
            let scratch = tempfile::tempdir().unwrap();
            let pass = format!("rows = \"int4\"\nactivations = {{ type = \"percentile\", share = {share} }}\n{aware}");
            let made = quantized((&fixture, &vocabularies), &pass, (scratch.path(), false), &mut |_| {}).unwrap();
            for split in ["train", "valid", "test"] {
                let (a, b) = (said(&full, split), said(&made, split));
                let far = |task: usize| {
                    let pairs = a.iter().zip(&b).skip(task).step_by(3);
                    (pairs.map(|(a, b)| (a - b).powi(2)).sum::<f32>() / (a.len() / 3) as f32).sqrt()
                };
                println!("{share} {aware} {split}: {:.5} {:.5} {:.5}", far(0), far(1), far(2));
            }
        }
    }
}
