//! Exported models against onnxruntime: every variant of every slot, with empty lists, unseen scenarios and padding that must not be read.
#![allow(clippy::unwrap_used)]

mod common;

use common::model::{SCENARIOS, config, network, samples, schema};
use common::onnx::{Case, exported, feed, metadata, operations, outputs, python, run};
use common::{Samples, normal, scores, set_state};
use kitestring_core::schema::{Feature, FeatureKind, Level, Of};
use kitestring_core::{Schema, Seed};
use kitestring_nn::graph::{Graph, Value as Node};
use kitestring_nn::kernels::activation::Activation;
use kitestring_nn::network::Network;
use kitestring_nn::onnx::{Quantized, to_onnx};
use kitestring_nn::ops::arithmetic::{Binary, Unary};
use kitestring_nn::ops::pool::Pooling;
use kitestring_nn::quantization::affine::{Affine, Weights};
use kitestring_nn::ranker::Ranker;
use kitestring_nn::retriever::Retriever;
use kitestring_nn::slots::catalogue;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Fails unless onnxruntime finds what the engine does. Returns the largest difference, relative to what is expected where that is above one.
fn check(case: &Case, result: &Value) -> f32 {
    let widths: usize = case.model.outputs.iter().map(|output| output.width).sum();
    let (mut largest, mut sum, mut count) = (0.0_f32, 0.0, 0.0);
    for (number, (expected, result)) in case.expected.iter().zip(result["feeds"].as_array().unwrap()).enumerate() {
        let found = outputs(case, result, expected.len() / widths);
        assert_eq!(found.len(), expected.len(), "{}", case.what);
        for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
            assert!(expected.is_finite(), "{}: the engine's {at}-th score is {expected}", case.what);
            let off = (found - expected).abs() / expected.abs().max(1.0);
            let what = &case.what;
            assert!(case.is_rough || off <= 1e-5, "{what}, feed {number}, number {at}: {found}, expected {expected}");
            (largest, sum, count) = (largest.max(off), sum + off, count + 1.0);
        }
    }
    assert!(sum / count < 0.1, "{}: {} on average", case.what, sum / count);
    largest
}

/// Many samples, among them such with empty lists and unseen scenarios; one; and one with nothing in its lists.
fn batches(ranker: &Ranker) -> Vec<Samples> {
    let (many, one) = (samples(ranker, 37, Seed(2)), samples(ranker, 1, Seed(9)));
    assert!(
        many.batch.sparse.iter().filter(|ids| ids.is_ragged()).all(|ids| (0..37).any(|row| ids.of_row(row).is_empty()))
    );
    assert!(one.batch.sparse.iter().filter(|ids| ids.is_ragged()).all(|ids| !ids.ids.is_empty()));
    assert!((0..2).all(|level| (0..37).any(|row| many.batch.scenarios[2 * row + level] == 0)));
    let mut none = one.clone();
    for (ids, lookups) in none.batch.sparse.iter_mut().zip(&mut none.lookups).filter(|(ids, _)| ids.is_ragged()) {
        (ids.ids, ids.offsets) = (Vec::new(), vec![0, 0]);
        lookups.clear();
    }
    none.batch.scenarios.fill(0);
    vec![many, one, none]
}

/// Lets some listeners not hear some speakers, and each first one only itself.
fn silence(graph: &Graph, network: &mut Network) -> bool {
    let hears: Vec<_> = graph.states().iter().filter(|info| info.name.ends_with("hears")).collect();
    for info in &hears {
        let [rows, columns] = info.shape;
        let mut heard = vec![1.0; rows * columns];
        for row in 0..rows {
            let own = row.min(columns - 1);
            for column in (0..columns).filter(|column| *column != own) {
                let silent = (row == 0 && rows > 1) || column == (own + 1) % columns;
                heard[row * columns + column] = f32::from(u8::from(!silent));
            }
        }
        set_state(graph, &mut network.state, &info.name, &heard);
    }
    !hears.is_empty()
}

/// Every variant by itself, and the choices within variants that lead to other operations.
fn models() -> Vec<(String, Value)> {
    let towers = json!({"units": [6]});
    let mut all: Vec<(String, Value)> = catalogue()
        .into_iter()
        .map(|variant| {
            (format!("{} {}", variant.slot, variant.name), json!({"dimension": 4, variant.slot: variant.defaults}))
        })
        .collect();
    let layers = |activation: &str, batch_norm: bool| json!({"type": "mlp", "units": [9, 5], "activation": activation, "batch_norm": batch_norm, "dropout": 0.2});
    for activation in ["relu", "sigmoid", "tanh", "prelu", "dice"] {
        for batch_norm in [false, true] {
            all.push((
                format!("layers {activation} {batch_norm}"),
                json!({"dimension": 3, "body": layers(activation, batch_norm)}),
            ));
        }
    }
    let encoders = [
        json!({"type": "pool", "pooling": "max"}),
        json!({"type": "pool", "pooling": "sum"}),
        json!({"type": "din", "softmax": true, "activation": "relu", "attention": [7]}),
        json!({"type": "cross", "structure": "stacked"}),
        json!({"type": "gru_latent_cross", "units": 5, "event_contexts": ["category_history"], "contexts": ["user", "category"]}),
    ];
    let experts = json!({"units": [7, 5], "activation": "tanh", "dropout": 0.1});
    let bodies = [
        json!({"type": "cross_stitch", "per_channel": true, "towers": towers}),
        json!({"type": "sparse_moe", "experts": 6, "groups": 3, "chosen": 1, "chosen_groups": 2, "expert": experts, "towers": towers}),
        json!({"type": "sparse_moe", "experts": 3, "chosen": 3, "expert": experts}),
        json!({"type": "mmoe", "experts": 3, "expert": experts}),
        json!({"type": "hmoe", "gate_dropout": 0.3}),
        json!({"type": "aesm2", "scenarios": {"layers": 2, "experts": 6, "specific": 2, "shared": 0}, "tasks": {"layers": 1, "experts": 4, "specific": 0, "shared": 2}}),
    ];
    let biases = [
        json!({"type": "position", "positions": 6, "crossed": ["user", "item"]}),
        json!({"type": "position", "positions": 6, "tasks": ["click", "conversion"]}),
    ];
    for (slot, variants) in [("encoder", &encoders[..]), ("body", &bodies[..]), ("bias", &biases[..])] {
        all.extend(
            variants.iter().map(|variant| (format!("{slot} {variant}"), json!({"dimension": 4, slot: variant}))),
        );
    }
    all.push(("no scenarios".into(), json!({"dimension": 4, "scenario_dimension": 0})));
    all.push(("widths".into(), json!({"dimension": 3, "dimensions": {"item": 5, "tags": 2}})));
    all
}

/// The operations that a score may need: all but losses and what weighs them.
const OPERATIONS: [&str; 30] = [
    "attention_pool",
    "batch_norm",
    "binary",
    "concat",
    "cross",
    "dice",
    "dropout",
    "embed",
    "experts",
    "factorization_machine",
    "gate_dropout",
    "gru",
    "linear",
    "noisy_top_k",
    "numeric",
    "partitioned_norm",
    "patch",
    "pool",
    "position_bias",
    "prelu",
    "row_sum",
    "scenario",
    "scenario_mix",
    "select_experts",
    "slice",
    "softmax",
    "star_linear",
    "stitch",
    "unary",
    "unit_length",
];

/// A schema for leaves that stand for themselves: a table each, lists where told.
fn schema_of(ragged: &[bool], levels: usize) -> Schema {
    let feature = |(number, ragged): (usize, &bool)| {
        Feature::new(format!("leaf{number}"), if *ragged { FeatureKind::Multi } else { FeatureKind::Categorical })
    };
    let level = |number: usize| Level { name: format!("level{number}"), column: None };
    let features = ragged.iter().enumerate().map(feature).collect();
    Schema { features, scenarios: (0..levels).map(level).collect(), ..Schema::default() }
}

/// Operations on elements of lists and elementwise functions that no slot puts where they are here.
fn by_hand() -> Vec<Case> {
    let (mut graph, mut samples) = (Graph::new(), Samples::new(5, 1));
    let offsets = [0, 3, 3, 4, 9, 9];
    let x = samples.leaf(&mut graph, &normal(Seed(1), 9 * 4, 1.0), 4, Some(&offsets));
    let other = samples.leaf(&mut graph, &normal(Seed(2), 9 * 4, 1.0), 4, Some(&offsets));
    let row = samples.leaf(&mut graph, &normal(Seed(3), 5 * 4, 3.0), 4, None);
    let on_lists: Vec<(&str, Node)> = vec![
        ("states", graph.scope("states", |graph| graph.gru_states(x, 3))),
        ("stitch", graph.scope("stitch", |graph| graph.stitch(&[x, other], false, 0.7))),
        ("channels", graph.scope("channels", |graph| graph.stitch(&[x, other], true, 0.7))),
        ("softmax", graph.softmax(x)),
        ("prelu", graph.scope("prelu", |graph| graph.prelu(x))),
        ("dice", graph.scope("dice", |graph| graph.dice(x))),
        ("norm", graph.scope("norm", |graph| graph.batch_norm(x, true, Activation::Relu, 1e-5))),
        ("linear", graph.scope("linear", |graph| graph.linear(x, 3, Activation::Sigmoid))),
        ("sum", graph.row_sum(x)),
        ("slice", graph.slice(x, 1, 2)),
        ("difference", graph.binary(Binary::Subtract, x, other)),
        ("unit", graph.unit_length(x)),
    ];
    for (number, (name, value)) in on_lists.into_iter().enumerate() {
        let pooling = [Pooling::Sum, Pooling::Mean, Pooling::Max][number % 3];
        let pooled = graph.pool(value, pooling);
        graph.output(name, pooled);
    }
    let functions = [
        Unary::Sigmoid,
        Unary::Tanh,
        Unary::Relu,
        Unary::Exp,
        Unary::Softplus,
        Unary::LogSigmoid,
        Unary::Scale(-1.5),
        Unary::Shift(0.75),
        Unary::Clamp([-0.5, 1.25]),
    ];
    for function in functions {
        let y = graph.unary(function, row);
        graph.output(format!("{function:?}"), y);
    }
    // What enters goes out as it is, and is asked for by a name that an output would have liked.
    graph.output("leaf2", row);
    let bias = graph.scope("bias", |graph| graph.position_bias(3, None, 0.1));
    graph.output("bias", bias);
    samples.batch.position = vec![3, 0, 1, 2, 3];
    let network = network(&graph, Seed(4));
    let schema = schema_of(&[true, true, false], 0);
    let mut cases = vec![Case::new("by hand", &graph, &network, &schema, &[samples])];
    assert!(cases[0].model.outputs.iter().any(|output| output.name == "leaf2_"));

    // Far from zero nothing overflows.
    let (mut graph, mut samples) = (Graph::new(), Samples::new(6, 1));
    let x = samples.leaf(&mut graph, &[-300.0, -90.0, -40.0, 40.0, 88.0, 300.0], 1, None);
    for function in [Unary::Sigmoid, Unary::Tanh, Unary::Exp, Unary::Softplus, Unary::LogSigmoid] {
        let y = graph.unary(function, x);
        graph.output(format!("{function:?}"), y);
    }
    let network = Network::new(&graph, Seed(1));
    cases.push(Case::new("far out", &graph, &network, &schema_of(&[false], 0), &[samples]));
    cases
}

/// Both towers of a retriever: what they read is told apart, and one sees some of the numbers only.
fn towers() -> Vec<Case> {
    let mut schema = schema();
    for feature in &mut schema.features {
        feature.of = match feature.name.as_str() {
            "item" | "category" | "price" => Of::Item,
            "tags" => Of::Context,
            _ => Of::User,
        };
    }
    let tower = json!({"layers": {"units": [6]}});
    let config = json!({"dimension": 4, "vector": 5, "unit_length": true, "item": tower,
        "query": {"encoder": {"type": "gru", "units": 5}, "layers": {"units": [6], "batch_norm": true, "dropout": 0.3}}});
    let Retriever { query, item, tables } = Retriever::new(&schema, &serde_json::from_value(config).unwrap()).unwrap();
    let cases = [("query", query), ("item", item)].map(|(name, graph)| {
        let ranker = Ranker { graph, tables: tables.clone(), tasks: Vec::new() };
        let network = network(&ranker.graph, Seed(5));
        Case::new(format!("tower {name}"), &ranker.graph, &network, &schema, &batches(&ranker))
    });
    let names = |case: &Case| case.model.inputs.iter().map(|input| input.name.clone()).collect::<Vec<_>>();
    assert_eq!(
        names(&cases[0]),
        ["user", "item_history", "category_history", "tags", "item_history.lengths", "tags.lengths", "numeric"]
    );
    assert_eq!(names(&cases[1]), ["item", "category", "numeric"]);
    cases.into()
}

/// A layer in eight bits, against sums of products of codes.
fn in_eight_bits() -> Case {
    let (rows, width, units) = (40, 24, 6);
    let (mut graph, mut samples) = (Graph::new(), Samples::new(rows, 1));
    let values = normal(Seed(21), rows * width, 1.0);
    let input = Affine::of_range(-3.5, 4.5).unwrap();
    // Halfway between two codes runtimes may differ.
    let apart = |x: &f32| if ((x / input.scale).fract().abs() - 0.5).abs() < 0.01 { x + 0.1 * input.scale } else { *x };
    let values: Vec<f32> = values.iter().map(apart).collect();
    let x = samples.leaf(&mut graph, &values, width, None);
    let y = graph.scope("layer", |graph| graph.linear(x, units, Activation::Relu));
    graph.output("y", y);
    let network = network(&graph, Seed(22));
    let (bias, weight) = (&network.weights[..units], &network.weights[units..]);
    let weights = Weights::per_column(weight, units).unwrap();
    let expected = (0..rows * units).map(|at| {
        let (row, column) = (at / units, at % units);
        let sum: i32 = (0..width)
            .map(|k| {
                let code = i32::from(input.encode(values[row * width + k])) - i32::from(input.zero);
                code * i32::from(weights.codes[k * units + column])
            })
            .sum();
        (sum as f32 * (input.scale * weights.scales[column]) + bias[column]).max(0.0)
    });
    let expected: Vec<f32> = expected.collect();
    // It is another result than that of real numbers, and a near one.
    let real = scores(&graph, &network, &samples);
    let off = real.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!((0.01..0.5).contains(&off), "{off}");
    let quantized = BTreeMap::from([("layer.weight".to_owned(), Quantized { input, weights })]);
    let schema = schema_of(&[false], 0);
    let model = to_onnx(&graph, &network, &schema, &quantized, &metadata()).unwrap();
    Case {
        what: "eight bits".into(),
        feeds: vec![feed(&model, &schema, &samples)],
        expected: vec![expected],
        operations: operations(&graph),
        model,
        is_rough: false,
        level: common::onnx::ALL,
    }
}

/// Every product of a whole ranker in eight bits, roughly: attention, crosses, experts, layers and what positions add.
fn ranker_in_eight_bits() -> Case {
    let bias = json!({"type": "position", "positions": 6, "crossed": ["user"]});
    let model = json!({"dimension": 4, "encoder": {"type": "din"}, "body": {"type": "mmoe"}, "bias": bias});
    let ranker = Ranker::new(&schema(), &config(model), &SCENARIOS).unwrap();
    let graph = &ranker.graph;
    let network = network(graph, Seed(1));
    let products =
        graph.weights().iter().filter(|info| info.name.ends_with(".weight") && !info.name.starts_with("scenario"));
    let quantized: BTreeMap<String, Quantized> = products
        .map(|info| {
            let weights = common::weight_of(graph, &network.weights, &info.name);
            let weights = Weights::per_column(weights, info.shape[1]).unwrap();
            (info.name.clone(), Quantized { input: Affine::of_range(-12.0, 12.0).unwrap(), weights })
        })
        .collect();
    assert!(quantized.len() > 20, "{:?}", quantized.keys());
    let batch = samples(&ranker, 37, Seed(2));
    let model = to_onnx(graph, &network, &schema(), &quantized, &metadata()).unwrap();
    let real = exported(graph, &network, &schema());
    // A weight is one byte in place of four; scales and the pairs around each product take some of that.
    let (codes, saved) =
        (quantized.values().map(|q| q.weights.codes.len()).sum::<usize>(), real.bytes.len() - model.bytes.len());
    assert!(saved > 2 * codes, "{saved} bytes saved with {codes} codes");
    Case {
        what: "a ranker in eight bits".into(),
        feeds: vec![feed(&model, &schema(), &batch)],
        expected: vec![scores(graph, &network, &batch)],
        operations: operations(graph),
        model,
        is_rough: true,
        level: common::onnx::ALL,
    }
}

#[test]
fn every_variant_says_in_onnxruntime_what_it_says_here() {
    let mut cases = Vec::new();
    for (what, model) in models() {
        let ranker = Ranker::new(&schema(), &config(model), &SCENARIOS).unwrap();
        let mut network = network(&ranker.graph, Seed(1));
        let batches = batches(&ranker);
        cases.push(Case::new(&what, &ranker.graph, &network, &schema(), &batches));
        if silence(&ranker.graph, &mut network) {
            cases.push(Case::new(format!("{what}, silenced"), &ranker.graph, &network, &schema(), &batches));
        }
    }
    // One scenario a level: there is nothing to tell apart.
    for body in ["aesm2", "hmoe", "star"] {
        let config = config(json!({"dimension": 4, "body": {"type": body}}));
        let ranker = Ranker::new(&schema(), &config, &[2, 2]).unwrap();
        let mut batches = batches(&ranker);
        batches.iter_mut().flat_map(|samples| &mut samples.batch.scenarios).for_each(|scenario| *scenario %= 3);
        let network = network(&ranker.graph, Seed(1));
        cases.push(Case::new(format!("{body} of one scenario"), &ranker.graph, &network, &schema(), &batches));
    }
    // As a device's own user has it.
    let personal = Ranker::new(&schema(), &config(json!({"dimension": 4})), &SCENARIOS).unwrap();
    let patched = personal.graph.patched(2, 3);
    cases.push(Case::new("patched", &patched, &network(&patched, Seed(1)), &schema(), &batches(&personal)));
    cases.extend(by_hand());
    cases.extend(towers());
    cases.push(in_eight_bits());
    cases.push(ranker_in_eight_bits());
    let covered: BTreeSet<&str> = cases.iter().flat_map(|case| &case.operations).map(String::as_str).collect();
    let missing: Vec<&&str> = OPERATIONS.iter().filter(|name| !covered.contains(**name)).collect();
    assert!(missing.is_empty(), "no model has {missing:?}");
    let Some(python) = python("every variant in onnxruntime") else { return };
    let results = run(&python, &cases);
    let mut largest = (0.0, "");
    for (case, result) in cases.iter().zip(&results) {
        let asked: Vec<&str> = case.model.inputs.iter().map(|input| input.name.as_str()).collect();
        let read: Vec<&str> = result["inputs"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(BTreeSet::from_iter(asked), BTreeSet::from_iter(read), "{}", case.what);
        assert_eq!((&result["producer"], &result["name"]), (&json!("kitestring"), &json!("ranker")));
        assert_eq!(result["properties"], json!({"model_version": "2026-11-22.1"}));
        assert_eq!(result["description"], "A ranker of tests");
        let off = check(case, result);
        if !case.is_rough && off > largest.0 {
            largest = (off, &case.what);
        }
    }
    println!("{} models, largest difference {largest:?}", cases.len());
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn raw(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// The inputs of a config's model, the names of the weights that are not in it, and those whose numbers are not.
fn contents(model: Value) -> (Vec<String>, Vec<String>) {
    let ranker = Ranker::new(&schema(), &config(model), &SCENARIOS).unwrap();
    let network = network(&ranker.graph, Seed(1));
    let samples = samples(&ranker, 8, Seed(2));
    let model = exported(&ranker.graph, &network, &schema());
    assert_eq!(model, exported(&ranker.graph, &network, &schema()), "an export repeats to the bit");
    for (info, rows) in ranker.tables.iter().zip(&samples.tables) {
        let found = rows.chunks_exact(info.width).any(|row| contains(&model.bytes, &raw(row)));
        assert!(!found, "a row of the table {} is in the model", info.name);
    }
    let mut absent = Vec::new();
    for info in ranker.graph.weights() {
        let values = common::weight_of(&ranker.graph, &network.weights, &info.name);
        let has_name = contains(&model.bytes, info.name.as_bytes());
        if !has_name || !contains(&model.bytes, &raw(values)) {
            absent.push(format!("{}{}", info.name, if has_name { " in part" } else { "" }));
        }
    }
    (model.inputs.into_iter().map(|input| input.name).collect(), absent)
}

#[test]
fn a_model_has_what_its_results_need_and_nothing_else() {
    let all = [
        "user",
        "item",
        "category",
        "item_history",
        "category_history",
        "tags",
        "item_history.lengths",
        "tags.lengths",
        "numeric",
    ];
    let (inputs, absent) = contents(json!({"dimension": 4, "scenario_dimension": 0}));
    assert_eq!(inputs, all);
    assert!(absent.is_empty(), "{absent:?}");
    // What weighs losses is not read, nor is it there.
    let (inputs, absent) = contents(json!({"dimension": 4, "loss": {"type": "uncertainty"}}));
    assert_eq!(inputs, [&all[..], &["scenarios"]].concat());
    assert!(absent.len() == 4 && absent.iter().all(|name| name.ends_with("log_variance")), "{absent:?}");
    // The logits of the noise.
    let (_, absent) = contents(json!({"dimension": 4, "body": {"type": "sparse_moe"}}));
    assert_eq!(absent, ["body.gate.noise.weight"]);
    // Of what positions add there is only what the missing one does. (A recurrent unit's weights stand in another order.)
    let bias = json!({"type": "position", "tasks": ["click"], "crossed": ["user"]});
    let (_, absent) = contents(json!({"dimension": 4, "bias": bias}));
    assert_eq!(absent, ["bias.click.crossed.weight in part", "bias.click.by_position in part"]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let ranker = Ranker::new(&schema(), &config(json!({"dimension": 4})), &SCENARIOS).unwrap();
    let graph = &ranker.graph;
    let network = network(graph, Seed(1));
    let export = |network: &Network, schema: &Schema, quantized: &BTreeMap<String, Quantized>| {
        to_onnx(graph, network, schema, quantized, &metadata()).unwrap_err().to_string()
    };
    let none = BTreeMap::new();
    let short = Network { weights: network.weights[1..].to_vec(), ..network.clone() };
    assert!(export(&short, &schema(), &none).contains("not the graph's"));
    let mut fewer = schema();
    fewer.features.truncate(2);
    assert!(export(&network, &fewer, &none).contains("no sparse feature 2"));
    let codes = |len: usize| Quantized {
        input: Affine::of_range(-1.0, 1.0).unwrap(),
        weights: Weights::per_column(&vec![1.0; len], 80).unwrap(),
    };
    let misspelt = BTreeMap::from([("body.1.weigt".to_owned(), codes(160))]);
    let error = export(&network, &schema(), &misspelt);
    assert!(error.contains("body.1.weigt") && error.contains("did you mean `body.1.weight`?"), "{error}");
    let bias = BTreeMap::from([("body.1.bias".to_owned(), codes(80))]);
    assert!(export(&network, &schema(), &bias).contains("`body.1.bias` is the weight of no product"));
    let unfit = BTreeMap::from([("body.1.weight".to_owned(), codes(160))]);
    let error = export(&network, &schema(), &unfit);
    assert!(error.contains("160 codes and 80 scales for a weight of 200 × 80"), "{error}");

    // What only training has is no result.
    let (mut graph, mut samples) = (Graph::new(), Samples::new(2, 1));
    let x = samples.leaf(&mut graph, &[0.0; 4], 2, None);
    let one = |network: &Network, graph: &Graph| {
        to_onnx(graph, network, &schema_of(&[false], 0), &BTreeMap::new(), &metadata()).unwrap_err().to_string()
    };
    assert!(one(&Network::new(&graph, Seed(1)), &graph).contains("without a result"));
    let balance = graph.balance(x);
    graph.output("balance", balance);
    assert!(one(&Network::new(&graph, Seed(1)), &graph).contains("a balancing loss"));
    let mut graph = Graph::new();
    let x = graph.embed(
        vec![kitestring_nn::ops::embed::Lookup { feature: 0, table: 0, width: 4 }],
        kitestring_nn::graph::Domain::Rows,
    );
    let [_, probabilities] = graph.noisy_top_k(x, x, 2);
    graph.output("load", probabilities);
    assert!(one(&Network::new(&graph, Seed(1)), &graph).contains("columns of a selection"));
}
