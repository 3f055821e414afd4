//! An artifact's ranker in eight bits says in onnxruntime what it says on a device.
#![allow(clippy::unwrap_used)]

mod common;

use common::model::schema;
use common::onnx::{Case, feed, metadata, operations, outputs, python, run};
use common::trained::{Trained, batch, each_variant, keyed};
use kitestring_core::Seed;
use kitestring_nn::onnx::{Quantized, to_onnx};
use kitestring_nn::package::{Packaged, RowCodes, Runtime};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// How many samples are scored.
const ROWS: usize = 300;

/// An artifact's export beside the scores of its runtime.
fn case(what: &str, trained: &Trained, change: impl FnOnce(&mut BTreeMap<String, Quantized>)) -> Case {
    let codes = RowCodes::Int8;
    let artifact = trained.artifact(true, codes);
    let packaged = Packaged::open(&artifact).unwrap();
    let mut quantized = packaged.quantized(&artifact).unwrap();
    assert_eq!(quantized.len(), packaged.graph.products().len(), "{what}: every product is in codes");
    change(&mut quantized);
    let model = to_onnx(&packaged.graph, &packaged.network, &schema(), &quantized, &metadata()).unwrap();
    let batch = batch(ROWS, Seed(8), false);
    let mut expected = Vec::new();
    Runtime::open(artifact).unwrap().score(&keyed(&batch), &mut expected).unwrap();
    Case {
        what: what.into(),
        feeds: vec![feed(&model, &schema(), &trained.samples(&batch, codes))],
        expected: vec![expected],
        operations: operations(&packaged.graph),
        model,
        is_rough: true,
    }
}

/// How far apart the scores of samples are, each sample's worst, relative to the score where that is above one.
fn apart(case: &Case, result: &Value) -> Vec<f32> {
    let found = outputs(case, &result["feeds"][0], ROWS);
    let width = found.len() / ROWS;
    let worst = |(found, expected): (&[f32], &[f32])| {
        let off =
            found.iter().zip(expected).map(|(found, expected)| (found - expected).abs() / expected.abs().max(1.0));
        // What is no number is far from any.
        off.fold(0.0, |worst: f32, off| if off <= worst { worst } else { off })
    };
    found.chunks(width).zip(case.expected[0].chunks(width)).map(worst).collect()
}

/// The share of samples whose scores are not those of the same codes.
fn share(apart: &[f32]) -> f32 {
    apart.iter().filter(|off| **off > SAME).count() as f32 / apart.len() as f32
}

/// What the numbers between products may differ by, for they are summed in other orders.
const SAME: f32 = 1e-5;

/// The most samples, as a share, with a number so near to the middle of two codes that one side takes the one and the other side the other:
/// a number's odds are some in a million, and a sample has hundreds to thousands of them.
const HALFWAY: f32 = 0.02;

/// What a step of a code or two may do to such a sample's score.
const STEPS: f32 = 0.02;

#[test]
fn every_variant_says_in_onnxruntime_what_its_artifact_says() {
    let mut cases = Vec::new();
    each_variant(|what, trained| cases.push(case(what, &trained, |_| ())));
    let Some(python) = python("artifacts in onnxruntime") else { return };
    for (case, result) in cases.iter().zip(&run(&python, &cases)) {
        let apart = apart(case, result);
        assert!(share(&apart) <= HALFWAY, "{}: {} of samples are apart: {apart:?}", case.what, share(&apart));
        assert!(apart.iter().all(|off| *off <= STEPS), "{}: {apart:?}", case.what);
    }
}

/// Each product's scales, zero and codes count: where one of them is a little off, the scores are not the same.
#[test]
fn another_scale_zero_or_code_would_be_noticed() {
    let config = json!({ "dimension": 8, "encoder": { "type": "din", "attention": [12, 20, 8] },
        "body": { "type": "mlp", "units": [20, 9] } });
    let trained = Trained::new(serde_json::from_value(config).unwrap()).unwrap();
    let mut names = Vec::new();
    let mut cases = vec![case("as it is", &trained, |quantized| names.extend(quantized.keys().cloned()))];
    let part = names.iter().filter(|name| name.contains("attention.") && name.ends_with(']')).count();
    assert!(part >= 2 && names.len() >= 7, "the attention's parts, its hidden layers and the body: {names:?}");
    type Change = fn(&mut Quantized);
    let changes: [(&str, Change); 4] = [
        ("scale of activations", |quantized| quantized.input.scale *= 1.05),
        // One step off would only move all codes; this cuts off the highest or the lowest.
        ("zero of activations", |quantized| quantized.input.zero ^= 0x7f),
        ("scale of weights", |quantized| quantized.weights.scales.iter_mut().for_each(|scale| *scale *= 1.05)),
        ("codes of weights", |quantized| quantized.weights.codes.iter_mut().for_each(|code| *code ^= 1)),
    ];
    for name in &names {
        for (what, change) in changes {
            let what = format!("{what} of {name}");
            cases.push(case(&what, &trained, |quantized| change(quantized.get_mut(name).unwrap())));
        }
    }
    let Some(python) = python("artifacts in onnxruntime with something off") else { return };
    for (case, result) in cases.iter().zip(&run(&python, &cases)) {
        let (share, is_right) = (share(&apart(case, result)), case.what == "as it is");
        assert!(if is_right { share <= HALFWAY } else { share > 4.0 * HALFWAY }, "{}: {share} of samples", case.what);
    }
}
