//! Bodies that mix towers or domains: what each must be at first, what reaches whose weights, and the mistakes they are known for.
#![allow(clippy::unwrap_used)]

mod common;

use common::model::{config, network, ranker, samples, schema};
use common::{Samples, Stepped, assert_same, normal, scores, set_state, set_weight, state_of, weight_of};
use kitestring_core::Seed;
use kitestring_nn::graph::{Graph, Value as Node};
use kitestring_nn::kernels::activation::Activation;
use kitestring_nn::network::Network;
use kitestring_nn::ops::arithmetic::Binary;
use kitestring_nn::ranker::Ranker;
use serde_json::{Value, json};

fn with_body(body: Value) -> Ranker {
    ranker(&config(json!({"dimension": 4, "body": body})))
}

/// The largest gradient of the weights whose names begin with a prefix. They must exist.
fn largest(ranker: &Ranker, gradients: &[f32], prefix: &str) -> f32 {
    let named: Vec<_> = ranker.graph.weights().iter().filter(|info| info.name.starts_with(prefix)).collect();
    assert!(!named.is_empty(), "no weight `{prefix}…` in {:?}", ranker.graph.weights());
    let all = named.iter().flat_map(|info| weight_of(&ranker.graph, gradients, &info.name));
    all.fold(0.0, |largest, g| largest.max(g.abs()))
}

/// Samples with one labelled task.
fn only_task(samples: &Samples, task: usize) -> Samples {
    let mut samples = samples.clone();
    let labels = samples.batch.labels.iter_mut().enumerate();
    labels.filter(|(at, _)| at % 4 != task).for_each(|(_, label)| *label = f32::NAN);
    samples
}

#[test]
fn stitches_start_as_the_paper_says() {
    for per_channel in [false, true] {
        let body = json!({"type": "cross_stitch", "per_channel": per_channel, "towers": {"units": [6, 5]}});
        let ranker = with_body(body);
        let network = Network::new(&ranker.graph, Seed(1));
        for (name, units) in [("body.stitch.0.weight", 6), ("body.stitch.1.weight", 5)] {
            let block = if per_channel { units } else { 1 };
            let alpha = weight_of(&ranker.graph, &network.weights, name);
            assert_eq!(alpha.len(), 4 * 4 * block);
            for (at, alpha) in alpha.iter().enumerate() {
                let own = at / (4 * block) == at / block % 4;
                let expected = if own { 0.9 } else { 0.1 / 3.0 };
                assert!((alpha - expected).abs() < 1e-6, "{name} {at}: {alpha}");
            }
            let info = ranker.graph.weights().iter().find(|info| info.name == name).unwrap();
            assert!(!info.decays, "a mixture that decays listens to nobody");
        }
    }
}

/// `x̃_i = Σ_j α_ij x_j`, where α is not symmetric, for one factor a pair and for one a column.
#[test]
fn a_stitch_is_its_formula() {
    let (rows, width, count) = (7, 3, 2);
    for per_channel in [false, true] {
        let (mut graph, mut samples) = (Graph::new(), Samples::new(rows, 1));
        let x = [1, 2].map(|seed| normal(Seed(seed), rows * width, 1.0));
        let leaves: Vec<Node> = x.iter().map(|x| samples.leaf(&mut graph, x, width, None)).collect();
        let y = graph.stitch(&leaves, per_channel, 0.9);
        graph.output("y", y);
        let network = network(&graph, Seed(3));
        let block = if per_channel { width } else { 1 };
        let found = scores(&graph, &network, &samples);
        for (at, found) in found.iter().enumerate() {
            let (row, i, c) = (at / (count * width), at / width % count, at % width);
            let alpha = |j: usize| network.weights[(i * count + j) * block + c % block];
            let expected: f32 = (0..count).map(|j| alpha(j) * x[j][row * width + c]).sum();
            assert!((found - expected).abs() < 1e-6, "{row} {i} {c}: {found} {expected}");
        }
    }
}

/// With `α` the identity there are four towers that know nothing of each other, in score and in gradient.
#[test]
fn towers_that_are_not_mixed_are_separate() {
    let towers = json!({"units": [6, 5]});
    let separate = with_body(json!({"type": "shared_bottom", "bottom": {"units": []}, "towers": towers}));
    for per_channel in [false, true] {
        let alone = json!({"type": "cross_stitch", "towers": towers, "own": 1.0, "per_channel": per_channel});
        let (alone, mixed) = (
            with_body(alone),
            with_body(json!({"type": "cross_stitch", "towers": towers, "per_channel": per_channel})),
        );
        let samples = samples(&alone, 60, Seed(1));
        let from = Network::new(&separate.graph, Seed(2));
        let mut into = Network::new(&alone.graph, Seed(2));
        for info in separate.graph.weights() {
            let weight = weight_of(&separate.graph, &from.weights, &info.name).to_vec();
            set_weight(&alone.graph, &mut into.weights, &info.name, &weight);
        }
        let expected = scores(&separate.graph, &from, &samples);
        assert_same("scores", &scores(&alone.graph, &into, &samples), &expected, 1e-6);
        // A task's loss reaches another's tower through the mixture only.
        let click = only_task(&samples, 0);
        let reached = |ranker: &Ranker, tower: &str| {
            let network = Network::new(&ranker.graph, Seed(2));
            let step = Stepped::of(&ranker.graph, &network, &click, None, 1);
            largest(ranker, &step.network, &format!("body.tower.{tower}"))
        };
        assert!(reached(&alone, "click") > 0.0 && reached(&mixed, "click") > 0.0);
        assert_eq!(reached(&alone, "rating"), 0.0);
        assert!(reached(&mixed, "rating") > 0.0);
    }
}

#[test]
fn one_task_has_nobody_to_listen_to() {
    let mut schema = schema();
    schema.tasks.truncate(1);
    let config = config(json!({"dimension": 4, "body": {"type": "cross_stitch"}}));
    let ranker = Ranker::new(&schema, &config, &common::model::SCENARIOS).unwrap();
    assert!(ranker.graph.weights().iter().all(|info| !info.name.contains("stitch")));
}

/// Samples all of which, or in turn, are of some scenarios of the innermost level.
fn of_scenarios(samples: &Samples, scenarios: &[u32]) -> Samples {
    let mut samples = samples.clone();
    let innermost = samples.batch.scenarios.iter_mut().skip(1).step_by(2);
    innermost.enumerate().for_each(|(row, scenario)| *scenario = scenarios[row % scenarios.len()]);
    samples
}

fn star(partitioned_norm: bool) -> Ranker {
    with_body(json!({"type": "star", "partitioned_norm": partitioned_norm, "auxiliary": {"units": [4]},
        "layers": {"units": [6, 5], "activation": "tanh"}}))
}

fn hmoe() -> Ranker {
    with_body(
        json!({"type": "hmoe", "experts": 3, "expert": {"units": [6]}, "towers": {"units": [4], "activation": "tanh"},
        "weights": {"units": [4], "activation": "tanh"}}),
    )
}

/// Without what is learned for scenarios every domain has the same network at first, and an unseen scenario too.
#[test]
fn a_star_starts_as_its_shared_network() {
    let ranker = star(false);
    let mut network = Network::new(&ranker.graph, Seed(1));
    for info in ranker.graph.weights().iter().filter(|info| info.name.starts_with("scenario.")) {
        network.weights[info.offset..info.offset + info.shape[0] * info.shape[1]].fill(0.0);
    }
    let samples = samples(&ranker, 50, Seed(2));
    let expected = scores(&ranker.graph, &network, &of_scenarios(&samples, &[0]));
    assert_same("seen", &scores(&ranker.graph, &network, &of_scenarios(&samples, &[1, 2, 4])), &expected, 1e-6);
    let own = ranker.graph.weights().iter().filter(|info| info.name.contains("domain."));
    assert!(
        own.clone().count() > 0 && own.clone().all(|info| !info.decays),
        "factors that decay forget the shared weights"
    );
    // And each domain has its own to change.
    let info = own.clone().find(|info| info.name == "body.0.domain.weight").unwrap();
    let size = info.shape[0] * info.shape[1] / 4;
    network.weights[info.offset + 2 * size..info.offset + 3 * size].fill(1.5);
    let changed = scores(&ranker.graph, &network, &of_scenarios(&samples, &[0, 1, 2, 3, 4]));
    for row in 0..50 {
        let same = changed[4 * row..4 * row + 4]
            .iter()
            .zip(&expected[4 * row..4 * row + 4])
            .all(|(a, b)| (a - b).abs() < 1e-5);
        assert_eq!(same, row % 5 != 3, "row {row}");
    }
}

/// The known mistake: weights of domains in a plain list, of which an optimizer sees the last or none.
#[test]
fn every_domain_of_a_batch_learns_and_no_other() {
    for partitioned_norm in [false, true] {
        let ranker = star(partitioned_norm);
        let samples = samples(&ranker, 60, Seed(2));
        let network = network(&ranker.graph, Seed(3));
        for present in [&[1, 3][..], &[4], &[0, 2], &[1, 2, 3, 4], &[0]] {
            let step = Stepped::of(&ranker.graph, &network, &of_scenarios(&samples, present), None, 1);
            let mut checked = 0;
            for info in ranker.graph.weights().iter().filter(|info| info.name.contains("domain.")) {
                let all = weight_of(&ranker.graph, &step.network, &info.name);
                for (domain, block) in all.chunks_exact(all.len() / 4).enumerate() {
                    let learns = block.iter().any(|g| *g != 0.0);
                    assert_eq!(learns, present.contains(&(domain as u32 + 1)), "{} {domain} {present:?}", info.name);
                    checked += 1;
                }
            }
            // Two layers and the logit, a weight and a bias; γ and β.
            assert_eq!(checked, 4 * (3 * 2 + if partitioned_norm { 2 } else { 0 }));
            for shared in ["body.0.weight", "body.1.weight", "body.logit.weight", "body.logit.bias", "body.auxiliary"] {
                assert!(largest(&ranker, &step.network, shared) > 0.0, "{shared} {present:?}");
            }
        }
    }
}

/// The domain of a sample: unseen, then three that were seen, the last of which has one sample in all.
fn domain_of(row: usize) -> usize {
    match row {
        17 => 3,
        _ => [1, 2, 0, 1, 1][row % 5],
    }
}

const ROWS: usize = 1300;

/// `Σ upstream ⊙ f(x)` over samples of domains 0 to 3, some of them alone if `of` is given.
fn weighted_sum(x: &[f32], of: Option<usize>, record: impl Fn(&mut Graph, Node) -> Node) -> (Graph, Samples) {
    let width = x.len() / ROWS;
    let rows: Vec<usize> = (0..ROWS).filter(|row| of.is_none_or(|of| domain_of(*row) == of)).collect();
    let pick = |all: &[f32], width: usize| -> Vec<f32> {
        rows.iter().flat_map(|row| all[row * width..(row + 1) * width].to_vec()).collect()
    };
    let (mut graph, mut samples) = (Graph::new(), Samples::new(rows.len(), 1));
    samples.batch.scenarios = rows.iter().map(|row| domain_of(*row) as u32).collect();
    let leaf = samples.leaf(&mut graph, &pick(x, width), width, None);
    let y = record(&mut graph, leaf);
    graph.output("y", y);
    let outputs = graph.width(y);
    let upstream = normal(Seed(21), ROWS * outputs, 1.0);
    let weights = samples.leaf(&mut graph, &pick(&upstream, outputs), outputs, None);
    let product = graph.binary(Binary::Multiply, y, weights);
    let sum = graph.row_sum(product);
    graph.minimize("loss", sum, Some(0), rows.len() as f32);
    (graph, samples)
}

/// One operation over all domains is a layer with the product of the weights over each domain's samples, whatever the tiles.
#[test]
fn a_star_layer_is_a_layer_a_domain() {
    let (k, n) = (5, 4);
    let x = normal(Seed(20), ROWS * k, 1.0);
    let (graph, samples) = weighted_sum(&x, None, |graph, x| graph.star_linear(x, n, Activation::Tanh, 0, 3));
    let from = network(&graph, Seed(1));
    let of = |name: &str| weight_of(&graph, &from.weights, name).to_vec();
    let (weight, bias) = (of("weight"), of("bias"));
    for workers in [1, 3] {
        let step = Stepped::of(&graph, &from, &samples, None, workers);
        let found = scores(&graph, &from, &samples);
        let (mut shared, mut shared_bias) = (vec![0.0_f32; k * n], vec![0.0_f32; n]);
        for domain in 0..4 {
            let own = if domain == 0 {
                vec![1.0; k * n]
            } else {
                of("domain.weight")[(domain - 1) * k * n..][..k * n].to_vec()
            };
            let own_bias = if domain == 0 { vec![0.0; n] } else { of("domain.bias")[(domain - 1) * n..][..n].to_vec() };
            let (plain, some) = weighted_sum(&x, Some(domain), |graph, x| graph.linear(x, n, Activation::Tanh));
            let mut layer = Network::new(&plain, Seed(1));
            let product: Vec<f32> = weight.iter().zip(&own).map(|(a, b)| a * b).collect();
            let sum: Vec<f32> = bias.iter().zip(&own_bias).map(|(a, b)| a + b).collect();
            set_weight(&plain, &mut layer.weights, "weight", &product);
            set_weight(&plain, &mut layer.weights, "bias", &sum);
            let expected = Stepped::of(&plain, &layer, &some, None, 1);
            let rows = (0..ROWS).filter(|row| domain_of(*row) == domain);
            let pick = |all: &[f32], width: usize| {
                rows.clone().flat_map(|row| all[row * width..][..width].to_vec()).collect::<Vec<_>>()
            };
            assert_same("scores", &pick(&found, n), &scores(&plain, &layer, &some), 1e-5);
            assert_same("x", &pick(&step.rows[0], k), &expected.rows[0], 1e-5);
            let grad = expected.of_weight(&plain, "weight");
            shared.iter_mut().zip(grad.iter().zip(&own)).for_each(|(sum, (g, own))| *sum += g * own);
            shared_bias.iter_mut().zip(expected.of_weight(&plain, "bias")).for_each(|(sum, g)| *sum += g);
            if domain > 0 {
                let own: Vec<f32> = grad.iter().zip(&weight).map(|(g, weight)| g * weight).collect();
                let at = (domain - 1) * k * n;
                assert_same("own", &step.of_weight(&graph, "domain.weight")[at..at + k * n], &own, 1e-4);
                let at = (domain - 1) * n;
                let found = &step.of_weight(&graph, "domain.bias")[at..at + n];
                assert_same("own bias", found, expected.of_weight(&plain, "bias"), 1e-4);
            }
        }
        assert_same("shared", step.of_weight(&graph, "weight"), &shared, 1e-4);
        assert_same("shared bias", step.of_weight(&graph, "bias"), &shared_bias, 1e-4);
    }
}

/// Normalization by domain is batch norm over each domain's samples: moments over the whole batch, whatever the tiles and workers.
#[test]
fn partitioned_norm_is_a_batch_norm_a_domain() {
    let width = 3;
    // A mean far from zero, and another for each domain.
    let x: Vec<f32> = normal(Seed(20), ROWS * width, 1.0);
    let x: Vec<f32> = x.iter().enumerate().map(|(at, x)| x + 10.0 * (1 + domain_of(at / width)) as f32).collect();
    let (graph, samples) = weighted_sum(&x, None, |graph, x| graph.partitioned_norm(x, 0, 3));
    let mut from = network(&graph, Seed(1));
    from.state = graph.initial_state();
    let of = |name: &str| weight_of(&graph, &from.weights, name).to_vec();
    for workers in [1, 3] {
        let step = Stepped::of(&graph, &from, &samples, None, workers);
        let (mut gamma, mut beta, mut loss) = (vec![0.0; width], vec![0.0; width], 0.0);
        for domain in 0..4 {
            let own = |name: &str, neutral: f32| match domain {
                0 => vec![neutral; width],
                _ => of(name)[(domain - 1) * width..][..width].to_vec(),
            };
            let (own_gamma, own_beta) = (own("domain.gamma", 1.0), own("domain.beta", 0.0));
            let (plain, some) =
                weighted_sum(&x, Some(domain), |graph, x| graph.batch_norm(x, true, Activation::None, 1e-5));
            let mut norm = Network::new(&plain, Seed(1));
            let both: Vec<f32> = of("gamma").iter().zip(&own_gamma).map(|(a, b)| a * b).collect();
            set_weight(&plain, &mut norm.weights, "gamma", &both);
            let both: Vec<f32> = of("beta").iter().zip(&own_beta).map(|(a, b)| a + b).collect();
            set_weight(&plain, &mut norm.weights, "beta", &both);
            let expected = Stepped::of(&plain, &norm, &some, None, 1);
            let (rows, sum) = (some.batch.rows, expected.report.losses[0]);
            loss += sum * rows as f64;
            let found: Vec<f32> = (0..ROWS)
                .filter(|row| domain_of(*row) == domain)
                .flat_map(|row| step.rows[0][row * width..][..width].to_vec())
                .collect();
            common::assert_close(
                "x",
                &found,
                &expected.rows[0].iter().map(|g| f64::from(*g)).collect::<Vec<_>>(),
                1e-4,
                1e-6,
            );
            for c in 0..width {
                let (g, b) = (expected.of_weight(&plain, "gamma")[c], expected.of_weight(&plain, "beta")[c]);
                gamma[c] += g * own_gamma[c];
                beta[c] += b;
                if domain > 0 {
                    let at = (domain - 1) * width + c;
                    let own = g * of("gamma")[c];
                    assert_same("own γ", &[step.of_weight(&graph, "domain.gamma")[at]], &[own], 1e-3);
                    assert_same("own β", &[step.of_weight(&graph, "domain.beta")[at]], &[b], 1e-3);
                    let mean = state_of(&graph, &step.state, "running_mean")[at];
                    assert_same("running mean", &[mean], &[state_of(&plain, &expected.state, "running_mean")[c]], 1e-5);
                    let variance = state_of(&graph, &step.state, "running_variance")[at];
                    // One sample has no variance: its squared distance from the running mean, which is zero at first.
                    let alone = 0.9 + 0.1 * x[17 * width + c].powi(2);
                    let usual = state_of(&plain, &expected.state, "running_variance")[c];
                    assert_same("running variance", &[variance], &[if domain == 3 { alone } else { usual }], 1e-4);
                }
            }
        }
        assert_same("γ", step.of_weight(&graph, "gamma"), &gamma, 1e-3);
        assert_same("β", step.of_weight(&graph, "beta"), &beta, 1e-3);
        let found = step.report.losses[0] * ROWS as f64;
        assert!((found - loss).abs() < 1e-3 * loss.abs().max(1.0), "{found} {loss}");
    }
}

/// In inference a domain has its running moments, and an unseen scenario those of one sample of every domain.
#[test]
fn an_unseen_scenario_has_the_moments_of_all_domains() {
    let x: Vec<f32> = normal(Seed(20), ROWS, 1.0);
    let (graph, samples) = weighted_sum(&x, None, |graph, x| graph.partitioned_norm(x, 0, 3));
    let mut from = network(&graph, Seed(1));
    let (means, variances) = ([1.0, -2.0, 4.0], [1.0, 0.25, 4.0]);
    set_state(&graph, &mut from.state, "running_mean", &means);
    set_state(&graph, &mut from.state, "running_variance", &variances);
    let of = |name: &str| weight_of(&graph, &from.weights, name).to_vec();
    // Mean 1; variance: 5.25 / 3 of the domains, (0 + 9 + 9) / 3 of their means.
    let pooled = (1.0, 5.25 / 3.0 + 6.0);
    for (row, found) in scores(&graph, &from, &samples).into_iter().enumerate() {
        let (mean, variance, gamma, beta) = match domain_of(row) {
            0 => (pooled.0, pooled.1, 1.0, 0.0),
            seen => (means[seen - 1], variances[seen - 1], of("domain.gamma")[seen - 1], of("domain.beta")[seen - 1]),
        };
        let expected = (x[row] - mean) / (variance + 1e-5_f32).sqrt() * of("gamma")[0] * gamma + of("beta")[0] + beta;
        assert!((found - expected).abs() < 1e-5 * expected.abs().max(1.0), "row {row}: {found} {expected}");
    }
}

#[test]
fn unseen_scenarios_have_finite_scores() {
    for ranker in [star(false), star(true), hmoe()] {
        let samples = samples(&ranker, 30, Seed(3));
        let network = network(&ranker.graph, Seed(4));
        // Also a scenario past those the ranker knows, as a newer batch may have.
        for unseen in [0, 5, 77] {
            let found = scores(&ranker.graph, &network, &of_scenarios(&samples, &[unseen]));
            assert!(found.len() == 120 && found.iter().all(|score| score.is_finite()));
        }
        let step = Stepped::of(&ranker.graph, &network, &of_scenarios(&samples, &[0]), Some(Seed(1)), 2);
        assert!(step.network.iter().all(|g| g.is_finite()));
    }
}

#[test]
fn bodies_of_scenarios_need_scenarios() {
    let mut schema = schema();
    schema.scenarios.clear();
    for body in ["star", "hmoe"] {
        let config = config(json!({"body": {"type": body}}));
        let error = Ranker::new(&schema, &config, &[]).unwrap_err().to_string();
        assert!(["model.body.type", body, "schema.scenarios"].iter().all(|part| error.contains(part)), "{error}");
    }
}

/// A mixture of logits: the value, and the gradient that stops at the towers of other scenarios.
#[test]
fn others_are_heard_and_not_taught() {
    let (rows, scenarios, tasks) = (40, 3, 2);
    let (mut graph, mut samples) = (Graph::new(), Samples::new(rows, 1));
    let (a, z) = (normal(Seed(1), rows * scenarios, 1.0), normal(Seed(2), rows * scenarios * tasks, 1.0));
    let upstream = normal(Seed(3), rows * tasks, 1.0);
    samples.batch.scenarios = (0..rows as u32).map(|row| row % 5).collect();
    let weights = samples.leaf(&mut graph, &a, scenarios, None);
    let towers = samples.leaf(&mut graph, &z, scenarios * tasks, None);
    let y = graph.scenario_mix(weights, towers, 0);
    graph.output("y", y);
    let upstream_leaf = samples.leaf(&mut graph, &upstream, tasks, None);
    let product = graph.binary(Binary::Multiply, y, upstream_leaf);
    let sum = graph.row_sum(product);
    graph.minimize("loss", sum, Some(0), rows as f32);
    let network = Network::new(&graph, Seed(1));
    let (found, step) = (scores(&graph, &network, &samples), Stepped::of(&graph, &network, &samples, None, 1));
    for row in 0..rows {
        let g = &upstream[row * tasks..][..tasks];
        // Scenario 4 is past those there are: as unseen as number 0.
        let active = [None, Some(0), Some(1), Some(2), None][row % 5];
        for task in 0..tasks {
            let expected: f32 =
                (0..scenarios).map(|j| a[row * scenarios + j] * z[(row * scenarios + j) * tasks + task]).sum();
            assert!((found[row * tasks + task] - expected).abs() < 1e-5);
        }
        for j in 0..scenarios {
            let of_weight: f32 = (0..tasks).map(|task| g[task] * z[(row * scenarios + j) * tasks + task]).sum();
            assert!((step.rows[0][row * scenarios + j] - of_weight).abs() < 1e-5);
            for (task, g) in g.iter().enumerate() {
                let taught = active.is_none_or(|active| active == j);
                let expected = if taught { a[row * scenarios + j] * g } else { 0.0 };
                let found = step.rows[1][(row * scenarios + j) * tasks + task];
                assert!((found - expected).abs() < 1e-6 && (taught || found == 0.0), "{row} {j} {task}");
            }
        }
    }
}

#[test]
fn a_sample_teaches_the_towers_of_its_own_scenario() {
    let ranker = hmoe();
    let samples = samples(&ranker, 60, Seed(2));
    let network = network(&ranker.graph, Seed(3));
    for present in [&[1, 3][..], &[4], &[0], &[1, 2, 3, 4]] {
        let step = Stepped::of(&ranker.graph, &network, &of_scenarios(&samples, present), None, 1);
        for scenario in 1..=4 {
            let taught = present.contains(&0) || present.contains(&scenario);
            for part in ["tower", "gate"] {
                let found = largest(&ranker, &step.network, &format!("body.{part}.{scenario}."));
                assert_eq!(found > 0.0, taught, "{part} {scenario} {present:?}");
            }
        }
        assert!(largest(&ranker, &step.network, "body.weights.") > 0.0);
        assert!(largest(&ranker, &step.network, "body.expert.") > 0.0);
    }
}

/// With one scenario there is nobody else to hear: one gate for all tasks, and a tower a task.
#[test]
fn hmoe_of_one_scenario_is_omoe() {
    let rest = json!({"experts": 3, "expert": {"units": [6]}, "towers": {"units": [4]}});
    let make = |body: &str| {
        let mut rest = rest.clone();
        rest["type"] = json!(body);
        let config = config(json!({"dimension": 4, "encoder": {"type": "fm"}, "body": rest}));
        Ranker::new(&schema(), &config, &[4, 2]).unwrap()
    };
    let (hmoe, omoe) = (make("hmoe"), make("omoe"));
    let from = network(&omoe.graph, Seed(1));
    let mut into = network(&hmoe.graph, Seed(2));
    for info in omoe.graph.weights() {
        let tower = info.name.replace("body.tower.", "body.tower.1.").replace("body.gate.", "body.gate.1.");
        let name = match tower.strip_prefix("head.").and_then(|head| head.split_once('.')) {
            Some((task, part)) => format!("body.tower.1.{task}.logit.{part}"),
            None => tower,
        };
        let weight = weight_of(&omoe.graph, &from.weights, &info.name).to_vec();
        set_weight(&hmoe.graph, &mut into.weights, &name, &weight);
    }
    let mut samples = samples(&omoe, 60, Seed(3));
    samples.batch.scenarios.iter_mut().skip(1).step_by(2).for_each(|scenario| *scenario %= 2);
    let expected = scores(&omoe.graph, &from, &samples);
    assert_same("scores", &scores(&hmoe.graph, &into, &samples), &expected, 1e-5);
}

/// A body whose result is a logit has no linear map behind it, but what an encoder leaves beside the body has.
#[test]
fn a_logit_has_no_head_of_its_own() {
    for body in ["star", "hmoe"] {
        let heads = |encoder: Value| {
            let ranker = ranker(&config(json!({"dimension": 4, "encoder": encoder, "body": {"type": body}})));
            ranker
                .graph
                .weights()
                .iter()
                .filter(|info| info.name.starts_with("head."))
                .map(|info| info.shape)
                .collect::<Vec<_>>()
        };
        assert_eq!(heads(json!({"type": "pool"})), [[0; 2]; 0]);
        assert_eq!(heads(json!({"type": "fm"})), [[0; 2]; 0]);
        // Six features of four columns, two numbers: the crosses. The bias comes first.
        assert_eq!(heads(json!({"type": "cross"})), [[1, 1], [26, 1]].repeat(4));
    }
}
