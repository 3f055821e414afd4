//! An artifact's ranker in eight bits says in onnxruntime what it says on a device.
#![allow(clippy::unwrap_used)]

mod common;

use common::model::schema;
use common::onnx::{ALL, Case, feed, metadata, operations, outputs, python, run, run_by};
use common::trained::{Trained, batch, each_variant, keyed};
use kitestring_core::Seed;
use kitestring_nn::onnx::{Quantized, to_onnx};
use kitestring_nn::package::{Packaged, RowCodes, Runtime};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::Command;

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
        level: ALL,
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

fn assert_same(case: &Case, result: &Value) {
    let apart = apart(case, result);
    assert!(share(&apart) <= HALFWAY, "{}: {} of samples are apart: {apart:?}", case.what, share(&apart));
    assert!(apart.iter().all(|off| *off <= STEPS), "{}: {apart:?}", case.what);
}

#[test]
fn every_variant_says_in_onnxruntime_what_its_artifact_says() {
    let mut cases = Vec::new();
    each_variant(|what, trained| cases.push(case(what, &trained, |_| ())));
    let Some(python) = python("artifacts in onnxruntime") else { return };
    for (case, result) in cases.iter().zip(&run(&python, &cases)) {
        assert_same(case, result);
        // All that was a product in codes is one of integers there: nothing is left to be made a real number again.
        let operations = &result["operations"];
        assert!(operations["MatMulIntegerToFloat"].as_u64() > Some(0), "{}: {operations}", case.what);
        assert!(operations["DequantizeLinear"].is_null(), "{}: {operations}", case.what);
    }
}

/// Attention and layers with codes at both ends of their range, products of whose pairs are beyond 16 bits.
fn din() -> Trained {
    let config = json!({ "dimension": 8, "encoder": { "type": "din", "attention": [12, 20, 8] },
        "body": { "type": "mlp", "units": [20, 9] } });
    Trained::new(serde_json::from_value(config).unwrap()).unwrap()
}

#[test]
fn every_level_of_optimization_says_the_same() {
    let trained = din();
    let levels = ["DISABLE_ALL", "ENABLE_BASIC", "ENABLE_EXTENDED", ALL];
    let cases = levels.map(|level| Case { level, ..case(level, &trained, |_| ()) });
    let Some(python) = python("optimizations of artifacts in onnxruntime") else { return };
    for (case, result) in cases.iter().zip(&run(&python, &cases)) {
        assert_same(case, result);
    }
}

/// What a processor with AVX2 but without VNNI says: there, onnxruntime's products of unsigned by signed bytes saturate.
#[test]
fn a_processor_without_vnni_says_the_same() {
    let (name, emulator) = ("artifacts in onnxruntime without VNNI", "qemu-x86_64");
    let cases = [case(name, &din(), |_| ())];
    let Some(python) = python(name) else { return };
    let is_there = Command::new(emulator).arg("--version").output().is_ok_and(|output| output.status.success());
    if !cfg!(target_arch = "x86_64") || !is_there {
        assert!(
            std::env::var("CI").as_deref() != Ok("true") || !cfg!(target_arch = "x86_64"),
            "there is no {emulator}"
        );
        println!("skipped: {name}: there is no {emulator}, or the processor is none that it emulates");
        return;
    }
    // A name may be that of a script that finds the program.
    let program = Command::new(&python).args(["-c", "import sys; print(sys.executable)"]).output().unwrap();
    let program = String::from_utf8(program.stdout).unwrap();
    let mut emulated = Command::new(emulator);
    assert_same(&cases[0], &run_by(emulated.args(["-cpu", "Haswell", program.trim()]), &cases, &["scores"])[0]);
}

/// The types are part of what makes it exact: signed weights are not, on every processor.
#[test]
fn codes_are_unsigned_on_both_sides() {
    let case = case("types", &din(), |_| ());
    let mut types = BTreeMap::new();
    for (_, graph) in fields(&case.model.bytes).filter(|(field, _)| *field == GRAPH) {
        for (_, tensor) in fields(graph).filter(|(field, _)| *field == INITIALIZER) {
            let (mut name, mut kind) = (String::new(), 0);
            for (field, bytes) in fields(tensor) {
                match field {
                    DATA_TYPE => kind = bytes[0],
                    NAME => name = String::from_utf8(bytes.to_vec()).unwrap(),
                    _ => {}
                }
            }
            types.insert(name, kind);
        }
    }
    assert!(types.values().all(|kind| *kind != INT8), "{types:?}");
    let products = types.keys().filter_map(|name| name.strip_suffix(".scales"));
    let names = products.flat_map(|name| [name.into(), format!("{name}.zeros"), format!("{name}.input_zero")]);
    let names: Vec<String> = names.collect();
    assert!(names.len() >= 3 * 7, "{names:?}");
    names.iter().for_each(|name| assert_eq!(types.get(name), Some(&UINT8), "{name}: {types:?}"));
}

/// Numbers of `ModelProto.graph`, of the fields of `GraphProto` and `TensorProto`, and of `TensorProto.DataType`.
const GRAPH: u64 = 7;
const INITIALIZER: u64 = 5;
const DATA_TYPE: u64 = 2;
const NAME: u64 = 8;
const UINT8: u8 = 2;
const INT8: u8 = 3;

/// The fields of a message of Protocol Buffers: their numbers and bytes, those of a whole number as they stand there.
fn fields(message: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    fn varint(rest: &mut &[u8]) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let (byte, behind) = rest.split_first().unwrap();
            *rest = behind;
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return value;
            }
        }
    }
    let mut rest = message;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let tag = varint(&mut rest);
        let start = rest;
        let len = match (tag & 7, varint(&mut rest)) {
            (0, _) => start.len() - rest.len(),
            (2, len) => len as usize,
            (other, _) => panic!("no field of wire type {other} is written"),
        };
        let start = if tag & 7 == 0 { start } else { rest };
        rest = &start[len..];
        Some((tag >> 3, &start[..len]))
    })
}

/// Each product's scales, zero and codes count: where one of them is a little off, the scores are not the same.
#[test]
fn another_scale_zero_or_code_would_be_noticed() {
    let trained = din();
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
