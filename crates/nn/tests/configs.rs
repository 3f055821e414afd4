//! Configs and graphs as plain data: they travel, they refuse what they do not know, they say what they cost.
#![allow(clippy::unwrap_used)]

mod common;

use common::model::{SCENARIOS, config, network, ranker, samples, schema};
use common::{Samples, scores};
use kitestring_core::Seed;
use kitestring_core::schema::Which;
use kitestring_nn::graph::Graph;
use kitestring_nn::kernels::activation::Activation;
use kitestring_nn::optimizer::Rule;
use kitestring_nn::ranker::{ModelConfig, Ranker};
use kitestring_nn::slots::catalogue;
use serde_json::{Map, Value, json};

/// A `[model]` with one slot as given.
fn with(slot: &str, value: &Value) -> Value {
    json!({ slot: value })
}

fn refusal(model: Value) -> String {
    serde_json::from_value::<ModelConfig>(model).unwrap_err().to_string()
}

#[test]
fn every_variant_travels_with_its_defaults() {
    for variant in catalogue() {
        let what = format!("{} {}", variant.slot, variant.name);
        let Value::Object(defaults) = &variant.defaults else { panic!("{what}: no table") };
        assert_eq!(defaults["type"], variant.name, "{what}");
        // The name alone means the defaults, and these name every key there is.
        let short: ModelConfig = config(with(variant.slot, &json!({"type": variant.name})));
        let long: ModelConfig = config(with(variant.slot, &variant.defaults));
        assert_eq!(short, long, "{what}");
        let json = serde_json::to_value(&long).unwrap();
        assert_eq!(json[variant.slot], variant.defaults, "{what}");
        assert_eq!(config(json), long, "{what}");
        let text = toml::to_string(&long).unwrap();
        assert_eq!(toml::from_str::<ModelConfig>(&text).unwrap(), long, "{what}: {text}");
        assert!(!variant.summary.is_empty(), "{what}");
    }
}

/// Every key of every variant, with a value that is not its default, comes back.
#[test]
fn every_key_travels() {
    let model = json!({
        "dimension": 8,
        "dimensions": {"item": 12},
        "scenario_dimension": 3,
        "encoder": {"type": "din", "attention": [7], "activation": "tanh", "softmax": true, "pooling": "max"},
        "body": {"type": "mlp", "units": [9], "activation": "dice", "dropout": 0.5, "batch_norm": true},
        "head": {"type": "esmm"},
        "bias": {"type": "none"},
        "loss": {"type": "fixed", "weights": {"click": 2.5}, "spaces": {"like": "click"}, "decay": {"click": 0.875}},
    });
    let encoders = [
        json!({"type": "pool", "pooling": "sum"}),
        json!({"type": "fm", "pooling": "sum"}),
        json!({"type": "cross", "layers": 5, "structure": "stacked", "pooling": "sum"}),
        json!({"type": "gru", "units": 9, "pooling": "sum"}),
        json!({"type": "gru_latent_cross", "units": 9, "pooling": "sum", "event_contexts": ["a"], "contexts": ["b", "c"]}),
        model["encoder"].clone(),
    ];
    for encoder in encoders {
        let mut model = model.clone();
        model["encoder"] = encoder;
        assert_eq!(serde_json::to_value(config(model.clone())).unwrap(), model);
        let typed = config(model);
        assert_eq!(toml::from_str::<ModelConfig>(&toml::to_string(&typed).unwrap()).unwrap(), typed);
    }
}

#[test]
fn unknown_keys_are_refused_everywhere() {
    for variant in catalogue() {
        let Value::Object(defaults) = &variant.defaults else { panic!() };
        let mut wrong: Map<String, Value> = defaults.clone();
        wrong.insert("unitz".into(), json!(1));
        let error = refusal(with(variant.slot, &Value::Object(wrong.clone())));
        assert!(error.contains("unitz"), "{} {}: {error}", variant.slot, variant.name);
        let text = toml::to_string(&json!({ variant.slot: wrong })).unwrap();
        let error = toml::from_str::<ModelConfig>(&text).unwrap_err().to_string();
        assert!(error.contains("unitz"), "{} {}: {error}", variant.slot, variant.name);
        // A key of the right name with a value of the wrong kind.
        for key in defaults.keys().filter(|key| *key != "type") {
            let mut wrong = defaults.clone();
            wrong.insert(key.clone(), json!("nonsense"));
            refusal(with(variant.slot, &Value::Object(wrong)));
        }
        assert!(refusal(with(variant.slot, &json!({"type": "nonsense"}))).contains("nonsense"));
        assert!(refusal(with(variant.slot, &json!({}))).contains("type"));
    }
    assert!(refusal(json!({"encodr": {"type": "pool"}})).contains("encodr"));
}

#[test]
fn optimizer_rules_travel_and_refuse() {
    for name in ["sgd", "adagrad", "adam"] {
        let rule: Rule = serde_json::from_value(json!({"type": name})).unwrap();
        let json = serde_json::to_value(rule).unwrap();
        assert_eq!(serde_json::from_value::<Rule>(json.clone()).unwrap(), rule);
        assert_eq!(toml::from_str::<Rule>(&toml::to_string(&rule).unwrap()).unwrap(), rule);
        let mut wrong = json;
        wrong["beta3"] = json!(0.5);
        assert!(serde_json::from_value::<Rule>(wrong).unwrap_err().to_string().contains("beta3"));
    }
    assert_eq!(serde_json::from_value::<Rule>(json!({"type": "adam"})).unwrap(), Rule::default());
}

/// Configs that read well but make no sense for the schema: an error that names the key, never a panic.
#[test]
fn unsound_configs_are_errors() {
    let error = |model: Value| Ranker::new(&schema(), &config(model), &SCENARIOS).unwrap_err();
    let latent = |key: &str, names: Value| json!({"encoder": {"type": "gru_latent_cross", key: names}});
    let spaces = |kind: &str, spaces: Value| json!({"loss": {"type": kind, "spaces": spaces}});
    let decay = |factor: f64| json!({"loss": {"type": "fixed", "decay": {"click": factor}}});
    let cases = [
        (json!({"dimension": 0}), "model.dimension"),
        (json!({"dimensions": {"itm": 4}}), "item"),
        (json!({"dimensions": {"item": 0}}), "model.dimension"),
        (json!({"body": {"type": "mlp", "units": [8, 0]}}), "model.body.units"),
        (json!({"body": {"type": "mlp", "dropout": 1.0}}), "model.body.dropout"),
        (json!({"body": {"type": "mlp", "dropout": -0.1}}), "model.body.dropout"),
        (json!({"body": {"type": "star", "layers": {"units": [0]}}}), "model.body.layers.units"),
        (json!({"body": {"type": "star", "auxiliary": {"dropout": 1.0}}}), "model.body.auxiliary.dropout"),
        (json!({"body": {"type": "star"}, "scenario_dimension": 0}), "model.scenario_dimension"),
        (json!({"body": {"type": "hmoe", "experts": 0}}), "model.body.experts"),
        (json!({"body": {"type": "hmoe", "gate_dropout": 1.0}}), "model.body.gate_dropout"),
        (json!({"body": {"type": "hmoe", "weights": {"units": [0]}}}), "model.body.weights.units"),
        (json!({"body": {"type": "cross_stitch", "own": 1.5}}), "model.body.own"),
        (json!({"body": {"type": "cross_stitch", "towers": {"units": [0]}}}), "model.body.towers.units"),
        (json!({"body": {"type": "sparse_moe", "experts": 3, "chosen": 4}}), "model.body.chosen"),
        (json!({"body": {"type": "sparse_moe", "experts": 6, "groups": 4}}), "model.body.groups"),
        (json!({"body": {"type": "sparse_moe", "experts": 6, "groups": 3, "chosen": 3}}), "model.body.chosen"),
        (
            json!({"body": {"type": "sparse_moe", "experts": 6, "groups": 3, "chosen_groups": 4}}),
            "model.body.chosen_groups",
        ),
        (json!({"body": {"type": "sparse_moe", "chosen": 0}}), "model.body.chosen"),
        (json!({"body": {"type": "sparse_moe", "load_weight": -1.0}}), "model.body"),
        (json!({"head": {"type": "heteroscedastic", "draws": 0}}), "model.head.draws"),
        (json!({"encoder": {"type": "cross", "layers": 0}}), "model.encoder.layers"),
        (json!({"encoder": {"type": "din", "attention": []}}), "model.encoder.attention"),
        (json!({"encoder": {"type": "din", "attention": [4, 0]}}), "model.encoder.attention"),
        (json!({"encoder": {"type": "fm"}, "dimensions": {"item": 4}}), "model.dimensions"),
        (json!({"encoder": {"type": "gru", "units": 0}}), "model.encoder.units"),
        (json!({"encoder": {"type": "gru_latent_cross", "units": 0}}), "model.encoder.units"),
        (latent("contexts", json!(["catgory"])), "did you mean `category`?"),
        (latent("contexts", json!(["price"])), "there is no categorical feature `price`"),
        (latent("contexts", json!(["user", "user"])), "named twice"),
        (latent("event_contexts", json!(["categry_history"])), "did you mean `category_history`?"),
        (latent("event_contexts", json!(["tags"])), "model.encoder.event_contexts"),
        (latent("event_contexts", json!(["item_history", "category_history"])), "beside its contexts"),
        (json!({"loss": {"type": "fixed", "weights": {"nothing": 1.0}}}), "model.loss.weights"),
        (json!({"loss": {"type": "fixed", "weights": {"clicks": 1.0}}}), "did you mean `click`?"),
        (spaces("fixed", json!({"conversions": "click"})), "did you mean `conversion`?"),
        (spaces("fixed", json!({"conversion": "clik"})), "did you mean `click`?"),
        (spaces("uncertainty", json!({"conversion": "nothing"})), "model.loss.spaces"),
        (spaces("uncertainty", json!({"click": "click"})), "model.loss.spaces.click"),
        (json!({"loss": {"type": "fixed", "decay": {"ratings": 0.5}}}), "did you mean `rating`?"),
        (decay(0.0), "model.loss.decay.click"),
        (decay(1.0001), "model.loss.decay.click"),
        (decay(-0.5), "model.loss.decay.click"),
        (
            json!({"head": {"type": "esmm"}, "loss": {"type": "fixed", "spaces": {"conversion": "click"}}}),
            "model.loss.spaces.conversion",
        ),
        (json!({"bias": {"type": "position", "positions": 0}}), "model.bias.positions"),
        (json!({"bias": {"type": "position", "dropout": 1.0}}), "model.bias.dropout"),
        (json!({"bias": {"type": "position", "tasks": ["clik"]}}), "did you mean `click`?"),
        (json!({"bias": {"type": "position", "tasks": ["plays"]}}), "model.bias.tasks"),
        (json!({"bias": {"type": "position", "crossed": ["tags"]}}), "model.bias.crossed"),
    ];
    for (model, part) in cases {
        let text = error(model.clone()).to_string();
        assert!(text.contains(part), "{model}: {text}");
    }
    let fine = json!({"head": {"type": "esmm"}, "loss": {"type": "fixed", "spaces": {"rating": "click"}, "decay": {"click": 1.0}}});
    assert!(Ranker::new(&schema(), &config(fine), &SCENARIOS).is_ok());
    let mut plain = schema();
    plain.features.retain(|feature| feature.history.is_none());
    plain.tasks.iter_mut().for_each(|task| task.after = None);
    let error = |model: Value| Ranker::new(&plain, &config(model), &SCENARIOS).unwrap_err().to_string();
    for encoder in ["din", "gru", "gru_latent_cross"] {
        assert!(error(json!({"encoder": {"type": encoder}})).contains("model.encoder.type"), "{encoder}");
    }
    assert!(error(json!({"head": {"type": "esmm"}})).contains("model.head.type"));
    plain.position = None;
    let error = |model: Value| Ranker::new(&plain, &config(model), &SCENARIOS).unwrap_err().to_string();
    assert!(error(json!({"bias": {"type": "position"}})).contains("schema.position"));
    let mut numbers = plain.clone();
    numbers.features.retain(|feature| !feature.is_sparse());
    let error = Ranker::new(&numbers, &config(json!({"encoder": {"type": "fm"}})), &SCENARIOS).unwrap_err().to_string();
    assert!(error.contains("model.encoder.type"), "{error}");
    // Numbers alone are fine for the others.
    assert!(Ranker::new(&numbers, &ModelConfig::default(), &SCENARIOS).is_ok());
    numbers.tasks.clear();
    assert!(
        Ranker::new(&numbers, &ModelConfig::default(), &SCENARIOS).unwrap_err().to_string().contains("schema.tasks")
    );
}

#[test]
fn a_graph_travels_and_scores_the_same() {
    for variant in catalogue().into_iter().filter(|variant| variant.slot == "encoder") {
        let body = json!({"type": "mlp", "units": [6, 5], "batch_norm": true, "dropout": 0.1, "activation": "dice"});
        let model = json!({"dimension": 4, "encoder": variant.defaults, "body": body, "head": {"type": "esmm"}});
        let ranker = ranker(&config(model));
        let (network, samples) = (network(&ranker.graph, Seed(1)), samples(&ranker, 50, Seed(2)));
        let text = serde_json::to_string(&ranker.graph).unwrap();
        let graph: Graph = serde_json::from_str(&text).unwrap();
        assert_eq!(graph, ranker.graph, "{}", variant.name);
        assert_eq!(scores(&graph, &network, &samples), scores(&ranker.graph, &network, &samples), "{}", variant.name);
    }
}

/// Of an MLP counted by hand: products only, and each weight, input and result once.
#[test]
fn cost_is_what_a_hand_counts() {
    let (mut graph, mut samples) = (Graph::new(), Samples::new(10, 1));
    let x = samples.leaf(&mut graph, &[0.0; 10 * 7], 7, None);
    let h = graph.scope("a", |graph| graph.linear(x, 5, Activation::Relu));
    let y = graph.scope("b", |graph| graph.linear(h, 3, Activation::None));
    graph.output("y", y);
    let trained_only = graph.scope("c", |graph| graph.linear(h, 100, Activation::None));
    let trained_only = graph.row_sum(trained_only);
    graph.minimize("loss", trained_only, Some(0), 1.0);
    let cost = graph.cost(10, 0);
    assert_eq!(cost.flops, 10 * 2 * (7 * 5 + 5 * 3));
    let weights = 7 * 5 + 5 * 3;
    // The rows are read from their table and written side by side; each layer reads its input and writes its result.
    let moved = 10 * (7 + 7) + 10 * (7 + 5) + 10 * (5 + 3);
    assert_eq!(cost.bytes, 4 * (weights + moved) as u64);
}

/// The attention's saving, as its documentation states it: the first layer costs a position a quarter of a product with `[k, t, t − k, t ⊙ k]`.
#[test]
fn attention_costs_what_its_formula_says() {
    let (mut graph, mut samples) = (Graph::new(), Samples::new(2, 1));
    let keys = samples.leaf(&mut graph, &[0.0; 6 * 8], 8, Some(&[0, 2, 6]));
    let target = samples.leaf(&mut graph, &[0.0; 2 * 8], 8, None);
    let y = graph.attention_pool(keys, target, &[16, 4], Activation::Relu, false);
    graph.output("y", y);
    let (rows, positions) = (100, 5000);
    let first = positions * 2 * 8 * 16 + rows * (2 * 8 * 16 + 2 * 8 * 16);
    let others = positions * 2 * (16 * 4 + 4);
    let pooling = positions * 2 * 8;
    assert_eq!(graph.cost(rows, positions).flops, (first + others + pooling) as u64);
}

/// A product with `W` and one with `U` for each element, both of three parts.
#[test]
fn a_gru_costs_what_its_formula_says() {
    let (mut graph, mut samples) = (Graph::new(), Samples::new(2, 1));
    let x = samples.leaf(&mut graph, &[0.0; 6 * 8], 8, Some(&[0, 2, 6]));
    let y = graph.gru(x, 5);
    graph.output("y", y);
    assert_eq!(graph.cost(100, 5000).flops, 5000 * 2 * 3 * 5 * (8 + 5));
}

#[test]
fn weights_start_alike_whatever_stands_beside_them() {
    let one = ranker(&config(json!({"encoder": {"type": "pool"}})));
    let two = ranker(&config(json!({"encoder": {"type": "pool"}, "head": {"type": "esmm"}})));
    assert_eq!(one.graph.initial_weights(Seed(5)), two.graph.initial_weights(Seed(5)));
    assert_ne!(one.graph.initial_weights(Seed(5)), one.graph.initial_weights(Seed(6)));
    let cross = ranker(&config(json!({"encoder": {"type": "cross"}})));
    let of = |ranker: &Ranker, name: &str| {
        common::weight_of(&ranker.graph, &ranker.graph.initial_weights(Seed(5)), name).to_vec()
    };
    assert_eq!(of(&one, "body.0.weight"), of(&cross, "body.0.weight"));
}

/// In a history of all events a training sample's own item stands too.
#[test]
fn a_ranker_reads_no_history_that_holds_its_label() {
    let mut schema = schema();
    let history = schema.features.iter_mut().find_map(|feature| feature.history.as_mut()).unwrap();
    history.which = Which::All;
    let error = Ranker::new(&schema, &ModelConfig::default(), &SCENARIOS).unwrap_err().to_string();
    assert!(error.contains("would find its own label"), "{error}");
}
