//! Histories in time: a GRU step by step, and what a latent cross must be.
#![allow(clippy::unwrap_used)]

mod common;

use common::model::{SCENARIOS, config, network, ranker, samples, schema};
use common::{Samples, Stepped, assert_same, normal, scores, set_weight, weight_of};
use kitestring_core::Seed;
use kitestring_nn::engine::{OneWorker, Trainer};
use kitestring_nn::graph::{Graph, Value};
use kitestring_nn::kernels::activation::Activation;
use kitestring_nn::network::Network;
use kitestring_nn::ops::Op;
use kitestring_nn::ops::arithmetic::Binary;
use kitestring_nn::ops::gru::Gru;
use kitestring_nn::ops::loss::LossKind;
use kitestring_nn::ops::pool::Pooling;
use kitestring_nn::optimizer::{Optimizer, Rule};
use kitestring_nn::ranker::Ranker;
use kitestring_nn::slots::encoder::latent_cross::latent_cross;
use serde_json::json;
use std::sync::Arc;

/// Offsets of lists of 0 to 8 elements.
fn offsets(seed: Seed, lists: u64) -> Vec<u32> {
    let mut end = 0;
    let ends = (0..lists).map(|list| {
        end += (seed.bits_at(list) % 9) as u32;
        end
    });
    std::iter::once(0).chain(ends).collect()
}

fn gru_of(graph: &Graph) -> Gru {
    let mut all = graph.nodes().iter().filter_map(|node| match &node.op {
        Op::Gru(gru) => Some(*gru),
        _ => None,
    });
    all.next().unwrap()
}

/// What a device does: it keeps the state and feeds it each event as it comes.
#[test]
fn events_one_by_one_are_the_full_run() {
    for (width, units) in [(3, 5), (16, 32), (1, 1)] {
        let offsets = offsets(Seed(1), 400);
        let elements = normal(Seed(2), *offsets.last().unwrap() as usize * width, 1.0);
        let (mut graph, mut samples) = (Graph::new(), Samples::new(400, 1));
        let x = samples.leaf(&mut graph, &elements, width, Some(&offsets));
        let last = graph.gru(x, units);
        graph.output("state", last);
        let (network, gru, mut scratch) = (network(&graph, Seed(3)), gru_of(&graph), Vec::new());
        let full = scores(&graph, &network, &samples);
        for (list, expected) in offsets.windows(2).zip(full.chunks_exact(units)) {
            let mut state = vec![0.0; units];
            for event in elements[list[0] as usize * width..list[1] as usize * width].chunks_exact(width) {
                gru.step(&network.weights, &mut state, event, &mut scratch).unwrap();
            }
            assert_same("the last state", &state, expected, 1e-5);
        }
        // Several lists side by side, and what does not fit.
        let (mut both, events) = (normal(Seed(4), 2 * units, 0.5), normal(Seed(5), 2 * width, 1.0));
        let mut each = both.clone();
        for (state, event) in each.chunks_exact_mut(units).zip(events.chunks_exact(width)) {
            gru.step(&network.weights, state, event, &mut scratch).unwrap();
        }
        gru.step(&network.weights, &mut both, &events, &mut scratch).unwrap();
        assert_same("side by side", &both, &each, 1e-6);
        let before = both.clone();
        assert!(gru.step(&network.weights, &mut both, &events[..width], &mut scratch).is_err());
        assert!(gru.step(&network.weights[1..], &mut both, &events, &mut scratch).is_err());
        assert_eq!(both, before);
    }
}

/// Every state, where samples share lists and where each has its own copy, over several tiles.
#[test]
fn states_of_shared_lists_are_those_of_copies() {
    const ROWS: usize = 1300;
    let (width, units) = (6, 40);
    let lists = offsets(Seed(10), 90);
    let list_of_row: Vec<u32> = (0..ROWS).map(|row| (row * 90 / ROWS) as u32).collect();
    let count = *lists.last().unwrap() as usize;
    let (mut graph, mut shared) = (Graph::new(), Samples::new(ROWS, 1));
    let x = shared.leaf(&mut graph, &normal(Seed(11), count * width, 1.0), width, Some(&lists));
    let factors = shared.leaf(&mut graph, &normal(Seed(12), count * units, 1.0), units, Some(&lists));
    let states = graph.gru_states(x, units);
    let product = graph.binary(Binary::Multiply, states, factors);
    let sum = graph.pool(product, Pooling::Sum);
    let sum = graph.row_sum(sum);
    graph.output("sum", sum);
    graph.minimize("loss", sum, Some(0), 1.0);
    let mut copies = shared.clone();
    for feature in 0..2 {
        shared.batch.sparse[feature].list_of_row.clone_from(&list_of_row);
        let (ids, lookups) = (&mut copies.batch.sparse[feature], &mut copies.lookups[feature]);
        (ids.offsets, ids.ids) = (vec![0], Vec::new());
        lookups.clear();
        for list in &list_of_row {
            let range = lists[*list as usize]..lists[*list as usize + 1];
            ids.ids.extend(range.clone().map(u64::from));
            lookups.extend(range);
            ids.offsets.push(ids.ids.len() as u32);
        }
    }
    let network = network(&graph, Seed(13));
    assert_same("scores", &scores(&graph, &network, &shared), &scores(&graph, &network, &copies), 1e-5);
    let (a, b) = (Stepped::of(&graph, &network, &shared, None, 2), Stepped::of(&graph, &network, &copies, None, 1));
    assert_same("weights", &a.network, &b.network, 1e-5);
    a.rows.iter().zip(&b.rows).for_each(|(a, b)| assert_same("rows", a, b, 1e-5));
}

/// The state after an event depends on the events up to it and on no later one.
#[test]
fn a_state_does_not_see_later_events() {
    let (mut graph, mut samples) = (Graph::new(), Samples::new(1, 1));
    let offsets = [0, 6];
    let x = samples.leaf(&mut graph, &normal(Seed(15), 6 * 3, 1.0), 3, Some(&offsets));
    let third: Vec<f32> = (0..6 * 4).map(|at| f32::from(at / 4 == 2)).collect();
    let third = samples.leaf(&mut graph, &third, 4, Some(&offsets));
    let states = graph.gru_states(x, 4);
    let product = graph.binary(Binary::Multiply, states, third);
    let state = graph.pool(product, Pooling::Sum);
    let sum = graph.row_sum(state);
    graph.minimize("loss", sum, Some(0), 1.0);
    let step = Stepped::of(&graph, &network(&graph, Seed(16)), &samples, None, 1);
    let (seen, later) = step.rows[0].split_at(9);
    assert!(seen.iter().all(|g| *g != 0.0) && later.iter().all(|g| *g == 0.0), "{:?}", step.rows[0]);
}

/// The numbers of each of a graph's weights that another graph has, zero for those of contexts.
fn without_contexts(graph: &Graph, plain: &Graph, plain_weights: &[f32]) -> Vec<f32> {
    let mut weights = vec![f32::NAN; graph.weight_count()];
    for info in graph.weights() {
        let range = info.offset..info.offset + info.shape[0] * info.shape[1];
        if info.name.contains("event_cross") || info.name.contains("latent_cross") {
            weights[range].fill(0.0);
        } else {
            weights[range].copy_from_slice(weight_of(plain, plain_weights, &info.name));
        }
    }
    weights
}

#[test]
fn without_weights_of_contexts_it_is_the_plain_gru() {
    let body = json!({"type": "mlp", "units": [6, 5]});
    let model = |encoder: serde_json::Value| config(json!({"dimension": 4, "encoder": encoder, "body": body}));
    // Contexts of events are no keys: the plain encoder reads a schema without them.
    let mut fewer = schema();
    fewer.features.retain(|feature| feature.name != "category_history");
    for event_contexts in [vec![], vec!["category_history"]] {
        let crossed = ranker(&model(json!({"type": "gru_latent_cross", "units": 7, "event_contexts": event_contexts,
            "contexts": ["user", "category"]})));
        let plain_schema = if event_contexts.is_empty() { schema() } else { fewer.clone() };
        let plain = Ranker::new(&plain_schema, &model(json!({"type": "gru", "units": 7})), &SCENARIOS).unwrap();
        let given = samples(&crossed, 300, Seed(20));
        let mut less = given.clone();
        if !event_contexts.is_empty() {
            less.batch.sparse.remove(4);
            less.lookups.remove(4);
        }
        let plain_network = network(&plain.graph, Seed(21));
        let weights = without_contexts(&crossed.graph, &plain.graph, &plain_network.weights);
        let zero = Network { weights, state: Vec::new() };
        assert!(zero.weights.iter().all(|weight| weight.is_finite()));
        assert_eq!(scores(&crossed.graph, &zero, &given), scores(&plain.graph, &plain_network, &less));
        // And with them it is another.
        let some = network(&crossed.graph, Seed(21));
        let mut other = zero.clone();
        for info in crossed.graph.weights().iter().filter(|info| info.name.contains("cross.")) {
            let values = weight_of(&crossed.graph, &some.weights, &info.name).to_vec();
            set_weight(&crossed.graph, &mut other.weights, &info.name, &values);
        }
        assert_ne!(scores(&crossed.graph, &other, &given), scores(&crossed.graph, &zero, &given));
    }
}

/// With the identity as its map a context's row is `w`: its gradient is `h ∘ ∂L/∂h`, that of `h` is `(1 + w) ∘ ∂L/∂h`.
#[test]
fn gradients_of_a_latent_cross_are_products() {
    const ROWS: usize = 40;
    let (mut graph, mut samples) = (Graph::new(), Samples::new(ROWS, 1));
    let drawn = [30, 31, 32, 33].map(|seed| normal(Seed(seed), ROWS * 4, 1.0));
    let [h, a, b, upstream] = drawn.each_ref().map(|values| samples.leaf(&mut graph, values, 4, None));
    let y = latent_cross(&mut graph, h, &[("a", a), ("b", b)]);
    let product = graph.binary(Binary::Multiply, y, upstream);
    let sum = graph.row_sum(product);
    graph.minimize("loss", sum, Some(0), ROWS as f32);
    let mut network = Network::new(&graph, Seed(1));
    let identity: Vec<f32> = (0..16).map(|at| f32::from(at % 5 == 0)).collect();
    for name in ["a.weight", "b.weight"] {
        set_weight(&graph, &mut network.weights, name, &identity);
    }
    let step = Stepped::of(&graph, &network, &samples, None, 1);
    let [h, a, b, g] = &drawn;
    let of_w: Vec<f32> = h.iter().zip(g).map(|(h, g)| h * g).collect();
    let of_h: Vec<f32> = a.iter().zip(b).zip(g).map(|((a, b), g)| (1.0 + a + b) * g).collect();
    assert_same("h", &step.rows[0], &of_h, 1e-6);
    assert_same("a", &step.rows[1], &of_w, 1e-6);
    assert_same("b", &step.rows[2], &of_w, 1e-6);
}

/// Contexts are summed: which stands first does not matter, in a config and in the operation.
#[test]
fn the_order_of_contexts_does_not_matter() {
    let with = |contexts: [&str; 2]| {
        ranker(&config(json!({"dimension": 4, "encoder": {"type": "gru_latent_cross", "contexts": contexts}})))
    };
    assert_eq!(with(["user", "category"]), with(["category", "user"]));
    assert_ne!(with(["user", "category"]), with(["user", "item"]));

    let run = |swapped: bool| {
        let (mut graph, mut samples) = (Graph::new(), Samples::new(50, 1));
        let [h, a, b] = [40, 41, 42].map(|seed| samples.leaf(&mut graph, &normal(Seed(seed), 50 * 4, 1.0), 4, None));
        let contexts = if swapped { [("b", b), ("a", a)] } else { [("a", a), ("b", b)] };
        let y = latent_cross(&mut graph, h, &contexts);
        graph.output("y", y);
        // Weights start by their names.
        scores(&graph, &Network::new(&graph, Seed(2)), &samples)
    };
    assert_eq!(run(false), run(true));
}

const FACTORS: usize = 8;

/// Samples of a target no sum of functions of its parts can give: `y = ⟨u ∘ v, c⟩ / √n`, whose variance is 1.
fn multiplicative(samples: &mut Samples, seed: Seed, shuffled: bool) {
    let rows = samples.batch.rows;
    for (table, name) in samples.tables.iter_mut().zip(["u", "v", "c"]) {
        *table = normal(seed.child(name), rows * FACTORS, 1.0);
    }
    let [u, v, c] = [0, 1, 2].map(|table| samples.tables[table].chunks_exact(FACTORS));
    for (label, (u, (v, c))) in samples.batch.labels.iter_mut().zip(u.zip(v.zip(c))) {
        *label = (0..FACTORS).map(|at| u[at] * v[at] * c[at]).sum::<f32>() / (FACTORS as f32).sqrt();
    }
    if shuffled {
        samples.tables[2].rotate_left(FACTORS);
    }
}

/// The number of weights, and the mean squared error on samples never seen, after training.
fn error_of(model: &dyn Fn(&mut Graph, [Value; 3]) -> Value, rate: f32, shuffled: bool) -> (usize, f64) {
    const ROWS: usize = 256;
    let (mut graph, mut samples) = (Graph::new(), Samples::new(ROWS, 1));
    let leaves = [(); 3].map(|()| samples.leaf(&mut graph, &[0.0; ROWS * FACTORS], FACTORS, None));
    let y = model(&mut graph, leaves);
    let y = graph.scope("last", |graph| graph.linear(y, 1, Activation::None));
    let loss = graph.loss(LossKind::Squared, y, 0);
    graph.minimize("loss", loss, Some(0), 1.0);
    graph.output("y", y);
    let mut network = Network::new(&graph, Seed(50));
    let mut trainer = Trainer::new(Arc::new(graph.clone()), 1);
    let mut optimizer = Optimizer::new(Rule::default(), 0.0, &graph).unwrap();
    const STEPS: u64 = 2000;
    for step in 0..STEPS {
        multiplicative(&mut samples, Seed(51).at(step), shuffled);
        trainer.step(&network.weights, &mut [], &samples.inputs(), None, &OneWorker).unwrap();
        let rate = rate * (1.0 - step as f32 / STEPS as f32);
        optimizer.apply(&mut network.weights, trainer.gradients().network, rate);
    }
    let (mut sum, rounds) = (0.0, 8);
    for round in 0..rounds {
        multiplicative(&mut samples, Seed(52).at(round), shuffled);
        let found = scores(&graph, &network, &samples);
        sum += found.iter().zip(&samples.batch.labels).map(|(y, label)| f64::from(y - label).powi(2)).sum::<f64>();
    }
    (graph.weight_count(), sum / (rounds * ROWS as u64) as f64)
}

/// Layers that add have to approximate a product; a latent cross is one. Without its context it has nothing.
#[test]
fn a_latent_cross_needs_fewer_weights_for_a_product() {
    let crossed = |graph: &mut Graph, [u, v, c]: [Value; 3]| {
        let h = graph.scope("first", |graph| graph.linear(u, 4 * FACTORS, Activation::None));
        // One before the other, as before and after a GRU: summed contexts give no product of both.
        let h = graph.scope("before", |graph| latent_cross(graph, h, &[("v", v)]));
        graph.scope("after", |graph| latent_cross(graph, h, &[("c", c)]))
    };
    let beside = |graph: &mut Graph, all: [Value; 3]| {
        let h = graph.concat(&all);
        let h = graph.scope("0", |graph| graph.linear(h, 48, Activation::Relu));
        graph.scope("1", |graph| graph.linear(h, 48, Activation::Relu))
    };
    let given = 0.1;
    let (weights, error) = error_of(&crossed, 0.01, false);
    assert!(error < given, "latent cross: {error}");
    for rate in [0.003, 0.01] {
        let (others, of_mlp) = error_of(&beside, rate, false);
        assert!(2 * weights <= others && of_mlp > given, "{weights}: {error}, {others} at {rate}: {of_mlp}");
    }
    let (_, shuffled) = error_of(&crossed, 0.01, true);
    assert!(shuffled > 0.9, "{shuffled}");
}
