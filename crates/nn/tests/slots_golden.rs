//! Whole small rankers against PyTorch in double precision: logits, loss, and the gradient of every weight and row.
//!
//! `fixtures/slots.json` is written by `bench/peers/fixtures_nn.py`, whose docstring defines it.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Matrix, Samples, Stepped, assert_close, scores, set_state, set_weight, state_of, weight_of};
use kitestring_core::batch::Ids;
use kitestring_core::schema::{Feature, FeatureKind, History, Task};
use kitestring_core::{Schema, Seed};
use kitestring_nn::graph::Graph;
use kitestring_nn::network::Network;
use kitestring_nn::ranker::{ModelConfig, Ranker};
use kitestring_nn::slots::body::{Body, mlp::Mlp};
use kitestring_nn::slots::encoder::cross::{Cross, Structure};
use kitestring_nn::slots::encoder::din::Din;
use kitestring_nn::slots::encoder::gru::Gru;
use kitestring_nn::slots::encoder::gru_latent_cross::GruLatentCross;
use kitestring_nn::slots::encoder::{Encoder, fm::Fm, pool::Pool};
use kitestring_nn::slots::head::{Head, esmm::Esmm, logit::Logit};
use kitestring_nn::slots::{HiddenActivation, Layers};
use serde::Deserialize;
use std::collections::BTreeMap;

type Matrices = BTreeMap<String, Matrix>;

#[derive(Deserialize)]
struct Fixtures {
    format: u32,
    models: Vec<Model>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    name: String,
    #[serde(rename = "description")]
    _description: String,
    encoder: String,
    attributes: Attributes,
    activation: String,
    batch_norm: bool,
    head: String,
    features: Vec<FeatureColumn>,
    tables: BTreeMap<String, Table>,
    weights: Matrices,
    constants: Matrices,
    state_after: Matrices,
    labels: Matrices,
    logits: Matrix,
    loss: f64,
    gradients: Matrices,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Attributes {
    softmax: Option<bool>,
    #[serde(rename = "training")]
    _training: Option<bool>,
    momentum: Option<f32>,
    epsilon: Option<f32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FeatureColumn {
    name: String,
    kind: String,
    table: Option<String>,
    ids: Option<Vec<u64>>,
    offsets: Option<Vec<u32>>,
    values: Option<Matrix>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    ids: Vec<u64>,
    rows: Matrix,
    gradient: Matrix,
    first_order: Option<Matrix>,
    first_order_gradient: Option<Matrix>,
}

impl Model {
    fn tasks(&self) -> Vec<&str> {
        if self.head == "esmm" { vec!["click", "conversion"] } else { vec!["label"] }
    }

    fn schema(&self) -> Schema {
        let features = self.features.iter().map(|column| {
            let kind = match column.kind.as_str() {
                "categorical" => FeatureKind::Categorical,
                "mean" => FeatureKind::Multi,
                "sequence" => FeatureKind::Sequence,
                "numeric" => FeatureKind::Numeric,
                other => panic!("no kind `{other}`"),
            };
            let mut feature = Feature::new(&column.name, kind);
            feature.table = column.table.clone();
            // A sequence shares the table of what it is a history of.
            feature.history = (kind == FeatureKind::Sequence).then(|| History {
                of: column.table.clone().unwrap_or_default(),
                when: None,
                which: Default::default(),
            });
            feature
        });
        let mut tasks: Vec<Task> = self.tasks().into_iter().map(Task::binary).collect();
        if self.head == "esmm" {
            tasks[1].after = Some("click".into());
        }
        Schema { user: Some("user".into()), features: features.collect(), tasks, ..Schema::default() }
    }

    fn config(&self) -> ModelConfig {
        let units = |prefix: &str, hidden: usize| -> Vec<usize> {
            (0..hidden).map(|layer| self.weights[&format!("{prefix}.{layer}.weight")].shape[1]).collect()
        };
        let encoder = match self.encoder.as_str() {
            "pool" => Encoder::Pool(Pool::default()),
            "din" => Encoder::Din(Din {
                attention: units("attention", 2),
                softmax: self.attributes.softmax.unwrap(),
                ..Din::default()
            }),
            "deepfm" => Encoder::Fm(Fm::default()),
            "cross_stacked" => Encoder::Cross(Cross { layers: 2, structure: Structure::Stacked, ..Cross::default() }),
            "cross_parallel" => Encoder::Cross(Cross { layers: 2, structure: Structure::Parallel, ..Cross::default() }),
            "gru" => Encoder::Gru(Gru { units: self.weights["gru.recurrent.weight"].shape[0], ..Gru::default() }),
            "gru_latent_cross" => Encoder::GruLatentCross(GruLatentCross {
                units: self.weights["gru.recurrent.weight"].shape[0],
                event_contexts: vec!["gap_history".into()],
                // Not in the schema's order, which must not matter.
                contexts: vec!["context".into(), "user".into()],
                ..GruLatentCross::default()
            }),
            other => panic!("no encoder `{other}`"),
        };
        let activation = match self.activation.as_str() {
            "relu" => HiddenActivation::Relu,
            "dice" => HiddenActivation::Dice,
            other => panic!("no activation `{other}`"),
        };
        let layers = Layers { units: units("body", 2), activation, dropout: 0.0, batch_norm: self.batch_norm };
        ModelConfig {
            dimensions: self.tables.iter().map(|(name, table)| (name.clone(), table.rows.shape[1])).collect(),
            encoder,
            body: Body::Mlp(Mlp(layers)),
            head: if self.head == "esmm" { Head::Esmm(Esmm {}) } else { Head::Logit(Logit {}) },
            ..ModelConfig::default()
        }
    }

    fn samples(&self, ranker: &Ranker) -> Samples {
        let rows = self.logits.shape[0];
        let mut samples = Samples::new(rows, self.tasks().len());
        for table in &ranker.tables {
            samples.tables.push(self.tables[&table.name].flat(|table| (&table.rows, table.first_order.as_ref())));
        }
        let mut numeric = Vec::new();
        for column in &self.features {
            let Some(ids) = &column.ids else {
                numeric.push(column.values.as_ref().unwrap().floats());
                continue;
            };
            let table = &self.tables[column.table.as_ref().unwrap()];
            let at = |id: &u64| table.ids.binary_search(id).unwrap() as u32;
            samples.lookups.push(ids.iter().map(at).collect());
            let offsets = column.offsets.clone().unwrap_or_default();
            samples.batch.sparse.push(Ids { ids: ids.clone(), offsets, list_of_row: Vec::new() });
        }
        samples.batch.numeric = (0..rows).flat_map(|row| numeric.iter().map(move |column| column[row])).collect();
        let labels = |name: &str| self.labels[name].floats();
        samples.batch.labels = match self.head.as_str() {
            "esmm" => {
                // A conversion is one only after a click.
                let pairs = labels("click").into_iter().zip(labels("conversion"));
                pairs.flat_map(|(click, conversion)| [click, click * conversion]).collect()
            }
            _ => labels("label"),
        };
        samples
    }

    /// Calls `each` with our weight, the fixture's, and its column where several of ours are columns of it.
    fn names(&self, mut each: impl FnMut(&str, String, Option<usize>)) {
        for name in self.weights.keys() {
            match name.split_once('.').unwrap() {
                ("head", kind) => {
                    for (column, task) in self.tasks().iter().enumerate() {
                        each(name, format!("head.{task}.{kind}"), Some(column));
                    }
                }
                ("attention" | "gru" | "event_cross" | "latent_cross", _) => {
                    each(name, format!("encoder.history.0.{name}"), None)
                }
                ("cross", _) => each(name, format!("encoder.{name}"), None),
                ("body", _) => each(name, name.replace("alpha", "slope"), None),
                _ => panic!("no weight `{name}`"),
            }
        }
    }

    /// The fixture's numbers of a weight as we lay them out.
    fn arranged(&self, matrices: &Matrices, name: &str, column: Option<usize>) -> Vec<f64> {
        let matrix = &matrices[name];
        let mut values = column.map_or_else(|| matrix.values(), |column| matrix.column(column));
        if self.encoder == "cross_parallel" && name == "head.weight" {
            // Our head reads the body first, then what stands beside it.
            let crosses = self.weights["cross.0.bias"].shape[1];
            values.rotate_left(crosses);
        }
        values
    }

    /// Our name of a running statistic.
    fn state_name(&self, name: &str) -> String {
        if self.batch_norm { name.to_owned() } else { name.replace("running", "dice.running") }
    }

    fn network(&self, graph: &Graph) -> Network {
        // A weight that the fixture does not set would show as NaN.
        let mut network =
            Network { weights: vec![f32::NAN; graph.weight_count()], state: vec![f32::NAN; graph.state_count()] };
        self.names(|name, ours, column| {
            let values: Vec<f32> =
                self.arranged(&self.weights, name, column).into_iter().map(|value| value as f32).collect();
            set_weight(graph, &mut network.weights, &ours, &values);
        });
        for (name, matrix) in &self.constants {
            set_state(graph, &mut network.state, &self.state_name(name), &matrix.floats());
        }
        network
    }

    fn check(&self) {
        if let Some(momentum) = self.attributes.momentum {
            assert_eq!((momentum, self.attributes.epsilon), (0.1, Some(if self.batch_norm { 1e-5 } else { 1e-8 })));
        }
        let ranker = Ranker::new(&self.schema(), &self.config(), &[]).unwrap();
        let graph = &ranker.graph;
        let samples = self.samples(&ranker);
        let network = self.network(graph);
        let stepped = Stepped::of(graph, &network, &samples, None, 1);
        let what = |part: &str| format!("{}: {part}", self.name);

        let loss = stepped.report.losses.iter().sum::<f64>();
        assert_close(&what("loss"), &[loss as f32], &[self.loss], 1e-4, 0.0);
        self.names(|name, ours, column| {
            let expected = self.arranged(&self.gradients, name, column);
            assert_close(&what(&ours), weight_of(graph, &stepped.network, &ours), &expected, 1e-4, 1e-6);
        });
        for (found, table) in stepped.rows.iter().zip(&ranker.tables) {
            let expected = &self.tables[&table.name];
            let expected = expected.flat(|table| (&table.gradient, table.first_order_gradient.as_ref()));
            let expected: Vec<f64> = expected.into_iter().map(f64::from).collect();
            assert_close(&what(&format!("rows of {}", table.name)), found, &expected, 1e-4, 1e-6);
        }
        for (name, expected) in &self.state_after {
            assert_close(
                &what(name),
                state_of(graph, &stepped.state, &self.state_name(name)),
                &expected.values(),
                1e-4,
                1e-6,
            );
        }
        if self.state_after.is_empty() {
            let scored = scores(graph, &network, &samples);
            assert_close(&what("predictions"), &scored, &self.predictions(), 1e-4, 1e-6);
        }
    }

    /// The probabilities that the fixture's logits stand for.
    fn predictions(&self) -> Vec<f64> {
        let sigmoid = |logit: f64| 1.0 / (1.0 + (-logit).exp());
        match self.head.as_str() {
            "esmm" => {
                let pairs = self.logits.column(0).into_iter().zip(self.logits.column(1));
                pairs.flat_map(|(a, b)| [sigmoid(a), sigmoid(a) * sigmoid(b)]).collect()
            }
            _ => self.logits.column(0).into_iter().map(sigmoid).collect(),
        }
    }
}

impl Table {
    /// A factorization machine's row is the embedding and then the first-order weight.
    fn flat<'a>(&'a self, of: impl Fn(&'a Self) -> (&'a Matrix, Option<&'a Matrix>)) -> Vec<f32> {
        let (rows, first_order) = of(self);
        let Some(first_order) = first_order else { return rows.floats() };
        let (rows, width) = (rows.floats(), rows.shape[1]);
        rows.chunks_exact(width).zip(first_order.floats()).flat_map(|(row, w)| [row, &[w]].concat()).collect()
    }
}

#[test]
fn rankers_are_pytorchs() {
    let fixtures: Fixtures = serde_json::from_str(include_str!("fixtures/slots.json")).unwrap();
    assert_eq!((fixtures.format, fixtures.models.len()), (1, 10));
    fixtures.models.iter().for_each(Model::check);
}

/// A prediction without a step: the mean loss of the recording pass is that of the scores.
#[test]
fn recorded_loss_is_the_loss_of_the_scores() {
    let fixtures: Fixtures = serde_json::from_str(include_str!("fixtures/slots.json")).unwrap();
    for model in fixtures.models.iter().filter(|model| model.state_after.is_empty()) {
        let ranker = Ranker::new(&model.schema(), &model.config(), &[]).unwrap();
        let (samples, network) = (model.samples(&ranker), Network::new(&ranker.graph, Seed(3)));
        let stepped = Stepped::of(&ranker.graph, &network, &samples, None, 1);
        let tasks = model.tasks().len();
        let scored = scores(&ranker.graph, &network, &samples);
        for (task, loss) in stepped.report.losses.iter().enumerate() {
            let pairs = scored.iter().zip(&samples.batch.labels).skip(task).step_by(tasks);
            let terms = pairs.map(|(p, y)| -f64::from(if *y > 0.5 { *p } else { 1.0 - p }).ln());
            let expected = terms.sum::<f64>() / samples.batch.rows as f64;
            assert!((loss - expected).abs() < 1e-5, "{}: {loss} {expected}", model.name);
        }
    }
}
