//! A network that has learned more scenarios and tasks says of the old ones what it said, to the bit, of a new one what its nearest would
//! get, and goes on learning.
#![allow(clippy::unwrap_used)]

mod common;

use common::model::{SCENARIOS, config, network, samples, schema};
use common::{Samples, Stepped, assert_same, scores, weight_of};
use kitestring_core::schema::{Task, TaskKind};
use kitestring_core::{Schema, Seed};
use kitestring_nn::graph::Graph;
use kitestring_nn::grow::{Of, Origin, Origins};
use kitestring_nn::network::Network;
use kitestring_nn::ranker::{ModelConfig, Ranker};
use kitestring_nn::slots::catalogue;
use serde_json::{Value, json};

const ROWS: usize = 150;

/// Every body with its defaults, and with what else decides which weights there are.
fn bodies() -> Vec<Value> {
    let defaults = catalogue().into_iter().filter(|variant| variant.slot == "body").map(|variant| variant.defaults);
    let mut all: Vec<Value> = defaults.collect();
    assert!(all.len() >= 10);
    let expert = json!({"units": [5, 4]});
    let layers = |experts: usize, specific: usize, shared: usize, layers: usize| json!({"layers": layers, "experts": experts, "specific": specific, "shared": shared, "expert": expert});
    all.extend([
        json!({"type": "mlp", "units": [7], "activation": "dice", "batch_norm": true}),
        json!({"type": "mlp", "units": []}),
        json!({"type": "cross_stitch", "per_channel": false, "towers": {"units": [6, 5], "activation": "prelu", "batch_norm": true}}),
        json!({"type": "ple", "levels": 1, "shared_experts": 0, "task_experts": 2, "expert": expert}),
        json!({"type": "ple", "levels": 3, "shared_experts": 2, "task_experts": 0, "expert": expert}),
        json!({"type": "ple", "levels": 3, "shared_experts": 0, "task_experts": 1, "expert": expert}),
        json!({"type": "star", "partitioned_norm": false, "layers": {"units": []}, "auxiliary": {"units": []}}),
        json!({"type": "star", "layers": {"units": [6], "batch_norm": true, "activation": "prelu"}}),
        json!({"type": "hmoe", "experts": 2, "expert": expert, "weights": {"units": [5]}, "towers": {"units": [4]}}),
        json!({"type": "sparse_moe", "experts": 6, "groups": 3, "chosen": 1, "expert": expert}),
        json!({"type": "aesm2", "gate_batch_norm": false, "scenarios": layers(4, 1, 2, 1), "tasks": layers(3, 2, 1, 3)}),
        json!({"type": "aesm2", "scenarios": layers(4, 2, 0, 2), "tasks": layers(4, 0, 2, 1), "towers": {"units": [3]}}),
    ]);
    all
}

/// Bodies in which one hears another, so that a new one's sums are its nearest's in another order.
fn mixes(body: &Value) -> bool {
    ["cross_stitch", "ple", "hmoe", "aesm2"].iter().any(|name| body["type"] == *name)
}

/// A config of small rows.
fn model(body: &Value, more: Value) -> ModelConfig {
    let mut all = json!({"dimension": 4, "scenario_dimension": 3, "body": body});
    all.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    config(all)
}

/// A trained ranker and the one it grows into.
struct Grown {
    old: Ranker,
    new: Ranker,
    before: Network,
    after: Network,
    tasks: Vec<Origin>,
    names: [Vec<String>; 2],
    /// The new scenarios, numbered as in a batch, with the nearest of each.
    scenarios: Vec<(usize, u32, u32)>,
}

impl Grown {
    fn new(config: &ModelConfig, schemas: [&Schema; 2], nearest: &[(&str, &str)], scenarios: [&[usize]; 2]) -> Self {
        let [old, new] = [0, 1].map(|at| Ranker::new(schemas[at], config, scenarios[at]).unwrap());
        let before = network(&old.graph, Seed(3));
        let names = schemas.map(|schema| schema.tasks.iter().map(|task| task.name.clone()).collect::<Vec<_>>());
        let number = |name: &str| names[0].iter().position(|known| known == name);
        let tasks = names[1].iter().map(|name| match number(name) {
            Some(number) => Origin::Kept(number),
            None => Origin::Copied(number(nearest.iter().find(|(new, _)| new == name).unwrap().1).unwrap()),
        });
        let tasks: Vec<Origin> = tasks.collect();
        let mut added = Vec::new();
        let mut of_levels = Vec::new();
        for (level, (old, new)) in scenarios[0].iter().zip(scenarios[1]).enumerate() {
            let mut origins: Vec<Origin> = (0..old - 1).map(Origin::Kept).collect();
            for number in *old..*new {
                let nearest = number * 5 % (old - 1);
                origins.push(Origin::Copied(nearest));
                added.push((level, number as u32, nearest as u32 + 1));
            }
            of_levels.push(origins);
        }
        let origins = Origins { tasks: tasks.clone(), scenarios: of_levels };
        let after = before.grown(&old.graph, &new.graph, &origins).unwrap();
        Self { old, new, before, after, tasks, names, scenarios: added }
    }

    fn samples(&self, tasks: usize, seed: u64) -> Samples {
        let mut samples = samples(&self.old, ROWS, Seed(seed));
        let seed = Seed(seed).child("labels");
        samples.batch.labels = (0..ROWS * tasks).map(|at| f32::from(seed.unit_at(at as u64) < 0.4)).collect();
        samples
    }

    /// The predictions of one output.
    fn column(graph: &Graph, scores: &[f32], name: &str) -> Vec<f32> {
        let column = graph.outputs().iter().position(|(output, _)| output == name).unwrap();
        scores.iter().skip(column).step_by(graph.outputs().len()).copied().collect()
    }

    fn check(&self, what: &str, mixes: bool) {
        let samples = self.samples(self.names[0].len(), 5);
        let before = scores(&self.old.graph, &self.before, &samples);
        let samples = self.samples(self.names[1].len(), 5);
        let after = scores(&self.new.graph, &self.after, &samples);
        assert!(after.iter().all(|score| score.is_finite()), "{what}");
        // Samples of unseen scenarios (number 0) are among them.
        for (name, _) in self.old.graph.outputs() {
            let [before, after] = [(&self.old, &before), (&self.new, &after)]
                .map(|(ranker, scores)| Self::column(&ranker.graph, scores, name));
            let same = before.iter().zip(&after).all(|(before, after)| before.to_bits() == after.to_bits());
            assert!(same, "{what}: `{name}` is another: {:?} {:?}", &before[..3], &after[..3]);
        }
        let close = |what: &str, found: &[f32], expected: &[f32]| {
            if mixes {
                assert_same(what, found, expected, 3e-6);
            } else {
                assert_eq!(found, expected, "{what}");
            }
        };
        for (level, new, nearest) in &self.scenarios {
            let moved = |number: u32| {
                let mut samples = samples.clone();
                let levels = samples.batch.scenarios.len() / ROWS;
                samples.batch.scenarios.iter_mut().skip(*level).step_by(levels).for_each(|id| *id = number);
                samples
            };
            let [new, nearest] = [*new, *nearest].map(|number| scores(&self.new.graph, &self.after, &moved(number)));
            close(&format!("{what}: a new scenario"), &new, &nearest);
        }
        for (task, origin) in self.tasks.iter().enumerate() {
            if let Origin::Copied(nearest) = origin {
                let [new, nearest] = [&self.names[1][task], &self.names[0][*nearest]]
                    .map(|name| Self::column(&self.new.graph, &after, name));
                close(&format!("{what}: a new task"), &new, &nearest);
            }
        }
        self.learns(what);
    }

    /// A step on samples of the new scenarios reaches what is theirs and what is the new tasks'.
    fn learns(&self, what: &str) {
        let mut samples = self.samples(self.names[1].len(), 6);
        let levels = samples.batch.scenarios.len() / ROWS;
        for (level, new, _) in &self.scenarios {
            let third = samples.batch.scenarios.iter_mut().skip(*level).step_by(levels).skip(*new as usize % 3);
            third.step_by(3).for_each(|id| *id = *new);
        }
        let stepped = Stepped::of(&self.new.graph, &self.after, &samples, Some(Seed(1)), 1);
        let mut moved = self.after.clone();
        moved.state = stepped.state;
        moved.weights.iter_mut().zip(&stepped.network).for_each(|(weight, gradient)| *weight -= 0.05 * gradient);
        for info in self.new.graph.weights() {
            let new_task = |number: usize| matches!(self.tasks[number], Origin::Copied(_));
            let shown = |level: usize, number: u32| {
                samples.batch.scenarios.iter().skip(level).step_by(levels).any(|shown| *shown == number)
            };
            // A scenario learns from its own samples.
            let all_there = info.whose.owners.iter().all(|owner| match owner.of {
                Of::Task => true,
                Of::Scenario(level) => shown(level, owner.number as u32 + 1),
            });
            let theirs = info.whose.owners.iter().any(|owner| match owner.of {
                Of::Task => new_task(owner.number),
                Of::Scenario(level) => {
                    self.scenarios.iter().any(|(of, new, _)| *of == level && *new as usize == owner.number + 1)
                }
            });
            let theirs = theirs && all_there;
            // An expert that nobody chose learns nothing, nor does a gate of one.
            let gate = info.name.contains("gate") && info.shape[1] == 1;
            let weight = info.name.ends_with("weight") && !info.name.contains("expert") && !gate;
            let reached = weight_of(&self.new.graph, &stepped.network, &info.name).iter().any(|g| *g != 0.0);
            assert!(!theirs || !weight || reached, "{what}: nothing reaches {}", info.name);
        }
        let [before, after] = [&self.after, &moved].map(|network| scores(&self.new.graph, network, &samples));
        assert!(
            before.iter().zip(&after).filter(|(before, after)| before != after).count() > before.len() / 2,
            "{what}"
        );
    }
}

/// Two more tasks, one among the old ones and one behind them.
fn more_tasks() -> (Schema, Vec<(&'static str, &'static str)>) {
    let mut schema = schema();
    schema.tasks.insert(1, Task::binary("like"));
    schema.tasks.push(Task { kind: TaskKind::Regression, ..Task::binary("length") });
    (schema, vec![("like", "click"), ("length", "rating")])
}

/// Both levels have more scenarios, the inner one two.
const MORE: [usize; 2] = [5, 7];

#[test]
fn every_body_takes_more_scenarios() {
    for body in bodies() {
        let config = model(&body, json!({}));
        let grown = Grown::new(&config, [&schema(), &schema()], &[], [&SCENARIOS, &MORE]);
        assert_eq!(grown.scenarios.len(), 3);
        grown.check(&format!("{body}, scenarios"), mixes(&body));
    }
}

#[test]
fn every_body_takes_more_tasks() {
    let (more, nearest) = more_tasks();
    for body in bodies() {
        let config = model(&body, json!({}));
        let grown = Grown::new(&config, [&schema(), &more], &nearest, [&SCENARIOS, &SCENARIOS]);
        grown.check(&format!("{body}, tasks"), mixes(&body));
    }
}

/// What was added once stays as it was when more is added; tasks and scenarios may be added together.
#[test]
fn a_grown_network_grows_again() {
    let (more, nearest) = more_tasks();
    for body in bodies() {
        let config = model(&body, json!({}));
        let first = Grown::new(&config, [&schema(), &more], &nearest, [&SCENARIOS, &MORE]);
        first.check(&format!("{body}, both"), mixes(&body));
        let mut most = more.clone();
        most.tasks.insert(0, Task::binary("share"));
        let mut second = Grown::new(&config, [&more, &most], &[("share", "like")], [&MORE, &[5, 8]]);
        let kept = (1..7).map(|at| Origin::Kept(at - 1));
        let origins = Origins {
            tasks: std::iter::once(Origin::Copied(1)).chain(kept).collect(),
            scenarios: vec![
                (0..4).map(Origin::Kept).collect(),
                (0..6).map(Origin::Kept).chain([Origin::Copied(5)]).collect(),
            ],
        };
        second.scenarios = vec![(1, 7, 6)];
        second.before = first.after;
        second.after = second.before.grown(&second.old.graph, &second.new.graph, &origins).unwrap();
        second.check(&format!("{body}, again"), mixes(&body));
    }
}

/// What else a task has weights of its own for: heads, biases, losses, what stands beside the body.
#[test]
fn the_other_slots_take_more_tasks() {
    let (more, nearest) = more_tasks();
    for slots in [
        json!({"head": {"type": "heteroscedastic", "draws": 3}, "loss": {"type": "uncertainty"}}),
        json!({"head": {"type": "esmm"}, "encoder": {"type": "cross", "layers": 2}}),
        json!({"bias": {"type": "position", "positions": 7, "crossed": ["user"]}, "encoder": {"type": "fm"}}),
        json!({"bias": {"type": "position", "tasks": ["conversion"]}, "encoder": {"type": "din", "attention": [5]}}),
    ] {
        for body in [json!({"type": "mmoe"}), json!({"type": "star"}), json!({"type": "hmoe"})] {
            let config = model(&body, slots.clone());
            let grown = Grown::new(&config, [&schema(), &more], &nearest, [&SCENARIOS, &MORE]);
            grown.check(&format!("{body}, {slots}"), mixes(&body));
        }
    }
}

/// Towers of one task are not stitched; those of two are.
#[test]
fn one_task_becomes_two() {
    let mut one = schema();
    one.tasks.truncate(1);
    let mut two = one.clone();
    two.tasks.insert(0, Task::binary("like"));
    for body in bodies() {
        let config = model(&body, json!({}));
        let grown = Grown::new(&config, [&one, &two], &[("like", "click")], [&SCENARIOS, &SCENARIOS]);
        grown.check(&format!("{body}, one"), mixes(&body));
    }
}

/// Nothing to add is a copy.
#[test]
fn nothing_new_is_the_same_network() {
    for body in bodies() {
        let config = model(&body, json!({}));
        let grown = Grown::new(&config, [&schema(), &schema()], &[], [&SCENARIOS, &SCENARIOS]);
        assert_eq!(grown.before, grown.after);
    }
}

/// A weight without a counterpart is named, on either side.
#[test]
fn strangers_are_named() {
    let ranker = |body: Value| Ranker::new(&schema(), &model(&body, json!({})), &SCENARIOS).unwrap();
    let origins = Origins {
        tasks: (0..4).map(Origin::Kept).collect(),
        scenarios: SCENARIOS.map(|count| (0..count - 1).map(Origin::Kept).collect()).into(),
    };
    let old = ranker(json!({"type": "mlp", "units": [6, 5]}));
    let network = network(&old.graph, Seed(1));
    for (units, name) in [(json!([6, 4]), "body.1."), (json!([6, 5, 4]), "body.2."), (json!([6]), "head.click.weight")]
    {
        let new = ranker(json!({"type": "mlp", "units": units}));
        let error = network.grown(&old.graph, &new.graph, &origins).unwrap_err().to_string();
        assert!(error.contains(name), "{units}: {error}");
    }
    let new = ranker(json!({"type": "mlp", "units": [6, 5], "batch_norm": true}));
    assert!(network.grown(&old.graph, &new.graph, &origins).unwrap_err().to_string().contains("gamma"));
    let error = Network::new(&new.graph, Seed(1)).grown(&new.graph, &old.graph, &origins).unwrap_err().to_string();
    assert!(error.contains("gamma"), "{error}");
}
