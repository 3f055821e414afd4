//! Alternating least squares against its definition in double precision.
#![allow(clippy::unwrap_used, missing_docs)]

use kitestring_core::{Result, Seed};
use kitestring_nn::engine::{OneWorker, Workers};
use kitestring_retrieve::als::{Config, Factors, FoldIn, Interactions, Pair, Solver, Zeros, fit, objective};
use kitestring_train::workers::Threads;

const CG: fn(u32) -> Solver = |steps| Solver::ConjugateGradient { steps };

/// Drawn pairs, popular items more often; the last user and the last item have none.
fn drawn(users: u32, items: u32, each: u32, seed: u64) -> Vec<Pair> {
    let seed = Seed(seed);
    let pair = |at: u32| {
        let draw = |name, most: u32, power: f32| (seed.child(name).unit_at(at.into()).powf(power) * most as f32) as u32;
        let weight = 0.5 + 2.0 * seed.child("weight").unit_at(at.into());
        Pair { user: draw("user", users - 1, 1.0), item: draw("item", items - 1, 2.0), weight }
    };
    (0..users * each).map(pair).collect()
}

fn interactions(users: u32, items: u32, pairs: &[Pair]) -> Interactions {
    Interactions::new(users as usize, items as usize, pairs.iter().copied()).unwrap()
}

fn configs() -> Vec<Config> {
    let base = Config { unobserved_weight: 0.3, regularization: 0.05, solver: Solver::Cholesky, ..Config::default() };
    vec![
        Config { regularization_exponent: 1.0, ..base.clone() },
        Config { regularization_exponent: 0.5, ..base.clone() },
        Config { zeros: Zeros::Unobserved, regularization_exponent: 0.0, regularization: 0.2, ..base },
    ]
}

fn run(interactions: &Interactions, config: &Config, dimension: usize) -> Result<Factors> {
    fit(interactions, config, dimension, Seed(3), &OneWorker, &mut |_| {})
}

/// The objective by its definition, over every pair of a user and an item.
fn dense_objective(data: &Interactions, config: &Config, users: &[f64], items: &[f64], k: usize) -> f64 {
    let (alpha, lambda) = (f64::from(config.unobserved_weight), f64::from(config.regularization));
    let ridge = |n: usize, others: usize| {
        lambda * (n as f64 + alpha * others as f64).powf(f64::from(config.regularization_exponent))
    };
    let squares = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>();
    let mut of_item = vec![0; data.items()];
    let mut sum = 0.0;
    for user in 0..data.users() {
        let p = &users[user * k..][..k];
        let (columns, weights) = data.of_user(user as u32).unwrap();
        columns.iter().for_each(|item| of_item[*item as usize] += 1);
        for item in 0..data.items() {
            let score: f64 = p.iter().zip(&items[item * k..]).map(|(p, q)| p * q).sum();
            let observed = columns.iter().position(|column| *column as usize == item);
            if let Some(at) = observed {
                sum += f64::from(weights[at]) * (1.0 - score) * (1.0 - score);
            }
            if observed.is_none() || config.zeros == Zeros::AllPairs {
                sum += alpha * score * score;
            }
        }
        sum += ridge(columns.len(), data.items()) * squares(p);
    }
    sum + (0..data.items()).map(|i| ridge(of_item[i], data.users()) * squares(&items[i * k..][..k])).sum::<f64>()
}

/// `A x = b` by Gaussian elimination with pivoting.
fn eliminate(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Vec<f64> {
    let k = b.len();
    for pivot in 0..k {
        let best = (pivot..k).max_by(|x, y| a[*x][pivot].abs().total_cmp(&a[*y][pivot].abs())).unwrap();
        a.swap(pivot, best);
        b.swap(pivot, best);
        for row in pivot + 1..k {
            let factor = a[row][pivot] / a[pivot][pivot];
            let from = a[pivot].clone();
            a[row].iter_mut().zip(&from).for_each(|(x, from)| *x -= factor * from);
            b[row] -= factor * b[pivot];
        }
    }
    for row in (0..k).rev() {
        let solved: f64 = (row + 1..k).map(|at| a[row][at] * b[at]).sum();
        b[row] = (b[row] - solved) / a[row][row];
    }
    b
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|x| f64::from(*x)).collect()
}

#[track_caller]
fn assert_near(a: &[f32], b: &[f64], tolerance: f64) {
    assert_eq!(a.len(), b.len());
    let most = b.iter().fold(1e-3_f64, |most, x| most.max(x.abs()));
    for (at, (a, b)) in a.iter().zip(b).enumerate() {
        assert!((f64::from(*a) - b).abs() <= tolerance * most, "{at}: {a} for {b}, of at most {most}");
    }
}

#[test]
fn objective_is_the_definition() {
    let data = interactions(9, 7, &drawn(9, 7, 3, 1));
    for config in configs() {
        let factors = run(&data, &Config { iterations: 2, ..config.clone() }, 5).unwrap();
        let found = objective(&data, &config, &factors.users, &factors.items, 5, &OneWorker).unwrap();
        let expected = dense_objective(&data, &config, &wide(&factors.users), &wide(&factors.items), 5);
        assert!((found - expected).abs() < 1e-5 * expected, "{found} for {expected}");
    }
    assert!(objective(&data, &Config::default(), &[0.0; 3], &[0.0; 3], 5, &OneWorker).is_err());
}

/// iALS's equations, and those of the library `implicit` with its own names, each written out over all pairs.
#[test]
fn cholesky_is_a_dense_reference_in_both_parametrizations() {
    let (users, items, k) = (11, 8, 4);
    let data = interactions(users, items, &drawn(users, items, 3, 2));
    let (alpha, regularization) = (6.0_f64, 0.7_f64);
    let implicit = Config {
        unobserved_weight: (1.0 / alpha) as f32,
        zeros: Zeros::Unobserved,
        regularization: (regularization / alpha) as f32,
        regularization_exponent: 0.0,
        solver: Solver::Cholesky,
        ..Config::default()
    };
    for (config, is_implicit) in [(configs()[0].clone(), false), (implicit, true)] {
        let factors = run(&data, &Config { iterations: 3, ..config.clone() }, k).unwrap();
        let q = wide(&factors.items);
        let fold_in = FoldIn::new(&factors.items, k, &config, &OneWorker).unwrap();
        for user in 0..users - 1 {
            let (columns, weights) = data.of_user(user).unwrap();
            let (mut a, mut b) = (vec![vec![0.0; k]; k], vec![0.0; k]);
            for item in 0..items as usize {
                let r = columns.iter().position(|column| *column as usize == item).map(|at| f64::from(weights[at]));
                let (square, linear) = if is_implicit {
                    r.map_or((1.0, 0.0), |r| (alpha * r, alpha * r))
                } else {
                    (r.unwrap_or(0.0) + f64::from(config.unobserved_weight), r.unwrap_or(0.0))
                };
                for i in 0..k {
                    (0..k).for_each(|j| a[i][j] += square * q[item * k + i] * q[item * k + j]);
                    b[i] += linear * q[item * k + i];
                }
            }
            let known = columns.len() as f64 + f64::from(config.unobserved_weight) * f64::from(items);
            let ridge = if is_implicit { regularization } else { f64::from(config.regularization) * known };
            (0..k).for_each(|i| a[i][i] += ridge);
            let folded = fold_in.user(columns.iter().copied().zip(weights.iter().copied())).unwrap();
            assert_near(&folded, &eliminate(a, b), 1e-4);
        }
    }
}

#[test]
fn the_gradient_of_what_was_solved_last_is_zero() {
    let data = interactions(10, 6, &drawn(10, 6, 3, 4));
    let k = 3;
    for config in configs() {
        let factors = run(&data, &Config { iterations: 4, ..config.clone() }, k).unwrap();
        let (users, mut items) = (wide(&factors.users), wide(&factors.items));
        let mut slope = |at: usize, shift: f64| {
            let mut value = |step: f64| {
                let old = items[at];
                items[at] = old + shift + step;
                let value = dense_objective(&data, &config, &users, &items, k);
                items[at] = old;
                value
            };
            (value(1e-4) - value(-1e-4)) / 2e-4
        };
        for at in 0..factors.items.len() {
            // The curvature is known from the slope elsewhere: a solution off by 1e-4 would be seen.
            let (here, aside) = (slope(at, 0.0), slope(at, 0.01));
            assert!(aside > 0.0 && here.abs() < 1e-2 * aside, "{at}: {here}, and {aside} beside it");
        }
    }
}

#[test]
fn the_objective_falls_every_iteration() {
    let data = interactions(200, 90, &drawn(200, 90, 8, 5));
    for config in configs() {
        for solver in [Solver::Cholesky, CG(1), CG(3), Solver::Subspace { width: 5 }] {
            let config = Config { solver, iterations: 12, ..config.clone() };
            let mut values = Vec::new();
            fit(&data, &config, 17, Seed(1), &OneWorker, &mut |iteration| {
                let Factors { users, items } = iteration.factors;
                assert_eq!(iteration.number as usize, values.len() + 1);
                values.push(objective(&data, &config, users, items, 17, &OneWorker).unwrap());
            })
            .unwrap();
            assert_eq!(values.len(), 12);
            let falls = values.windows(2).all(|pair| pair[1] < pair[0] * (1.0 + 1e-6));
            assert!(falls && values[11] < 0.99 * values[0], "{solver:?}: {values:?}");
        }
    }
}

/// The widths take every path of the kernels: whole vectors of each count that is held in registers, more, and a rest.
#[test]
fn many_steps_of_conjugate_gradients_are_exact() {
    let data = interactions(60, 45, &drawn(60, 45, 9, 6));
    for config in configs() {
        for k in [1, 3, 8, 16, 17, 32, 64, 70, 128, 130] {
            let exact = run(&data, &Config { iterations: 2, ..config.clone() }, k).unwrap();
            let steps = run(&data, &Config { iterations: 2, solver: CG(60), ..config.clone() }, k).unwrap();
            assert_near(&steps.users, &wide(&exact.users), 2e-3);
            assert_near(&steps.items, &wide(&exact.items), 2e-3);
        }
    }
}

/// With all numbers at once a step of the subspace solver is the exact solution; with fewer it is the same fixed point.
#[test]
fn the_subspace_solver_ends_where_the_exact_one_does() {
    let data = interactions(60, 45, &drawn(60, 45, 9, 11));
    for config in configs() {
        for (k, width, iterations, tolerance) in
            [(16, 16, 2, 2e-3), (17, 40, 2, 2e-3), (6, 1, 400, 1e-2), (7, 4, 400, 1e-2)]
        {
            let exact = run(&data, &Config { iterations, ..config.clone() }, k).unwrap();
            let subspace = Config { iterations, solver: Solver::Subspace { width }, ..config.clone() };
            let found = run(&data, &subspace, k).unwrap();
            // Vectors are alike only up to a rotation once the ways there differ.
            if width >= k {
                assert_near(&found.users, &wide(&exact.users), tolerance);
                assert_near(&found.items, &wide(&exact.items), tolerance);
            }
            let value =
                |factors: &Factors| objective(&data, &config, &factors.users, &factors.items, k, &OneWorker).unwrap();
            let (found, exact) = (value(&found), value(&exact));
            assert!((found - exact).abs() < tolerance * exact, "{found} for {exact}, {width} of {k}");
        }
    }
}

#[test]
fn any_number_of_workers_gives_the_same_bits() {
    let data = interactions(700, 300, &drawn(700, 300, 12, 7));
    for solver in [Solver::Cholesky, CG(3), Solver::Subspace { width: 8 }] {
        let config = Config { solver, iterations: 3, ..Config::default() };
        let with = |workers: &dyn Workers| {
            let factors = fit(&data, &config, 24, Seed(9), workers, &mut |_| {}).unwrap();
            let value = objective(&data, &config, &factors.users, &factors.items, 24, workers).unwrap();
            (factors, value.to_bits())
        };
        let one = with(&OneWorker);
        assert_eq!(one, with(&Threads::new(2).unwrap()));
        assert_eq!(one, with(&Threads::new(3).unwrap()));
        let other = fit(&data, &config, 24, Seed(10), &OneWorker, &mut |_| {}).unwrap();
        assert_ne!(one.0, other, "the seed decides nothing");
    }
}

#[test]
fn permuted_users_have_permuted_factors() {
    let (users, items, k) = (150, 60, 16);
    let pairs = drawn(users, items, 6, 8);
    let permuted: Vec<Pair> = pairs.iter().map(|pair| Pair { user: (pair.user * 7 + 3) % users, ..*pair }).collect();
    for solver in [Solver::Cholesky, CG(3)] {
        let config = Config { iterations: 3, solver, ..Config::default() };
        let here = run(&interactions(users, items, &pairs), &config, k).unwrap();
        let there = run(&interactions(users, items, &permuted), &config, k).unwrap();
        assert_near(&there.items, &wide(&here.items), 1e-3);
        for user in 0..users as usize {
            let to = (user * 7 + 3) % users as usize;
            assert_near(&there.users[to * k..][..k], &wide(&here.users[user * k..][..k]), 2e-3);
        }
    }
}

#[test]
fn rows_without_interactions_are_zero_and_the_others_are_not() {
    let (users, items, k) = (40, 30, 8);
    let pairs = drawn(users, items, 4, 9);
    let data = interactions(users, items, &pairs);
    for solver in [Solver::Cholesky, CG(3), Solver::Subspace { width: 3 }] {
        let factors = run(&data, &Config { iterations: 2, solver, ..Config::default() }, k).unwrap();
        let sides = [
            (&factors.users, pairs.iter().map(|pair| pair.user).collect::<Vec<_>>()),
            (&factors.items, pairs.iter().map(|pair| pair.item).collect()),
        ];
        for (vectors, seen) in sides {
            for (row, vector) in vectors.chunks(k).enumerate() {
                assert_eq!(vector.iter().all(|x| *x == 0.0), !seen.contains(&(row as u32)), "row {row}");
            }
        }
        let fold_in = FoldIn::new(&factors.items, k, &Config::default(), &OneWorker).map(|f| f.user([]).unwrap());
        assert_eq!(fold_in.unwrap(), [0.0; 8]);
    }
}

#[test]
fn a_pair_that_comes_several_times_has_the_sum() {
    let pair = |user, item, weight| Pair { user, item, weight };
    let several = [pair(1, 2, 0.5), pair(0, 1, 1.0), pair(1, 0, 3.0), pair(1, 2, 0.25)];
    let once = [pair(0, 1, 1.0), pair(1, 0, 3.0), pair(1, 2, 0.75)];
    let data = interactions(2, 4, &several);
    assert_eq!(data, interactions(2, 4, &once));
    assert_eq!(data.of_user(1), Some((&[0, 2][..], &[3.0, 0.75][..])));
    assert_eq!((data.users(), data.items(), data.pairs(), data.of_user(2)), (2, 4, 3, None));
    let items: Vec<f32> = (0..8).map(|x| x as f32 * 0.1 + 0.1).collect();
    let config = Config::default();
    let fold_in = FoldIn::new(&items, 2, &config, &OneWorker).unwrap();
    assert_eq!(fold_in.user([(2, 0.5), (0, 3.0), (2, 0.25)]).unwrap(), fold_in.user([(0, 3.0), (2, 0.75)]).unwrap());
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T>, parts: &[&str]) {
    let message = result.unwrap_err().to_string();
    assert!(parts.iter().all(|part| message.contains(part)), "{message}");
}

#[test]
fn refuses_wrong_interactions() {
    refused(Interactions::new(2, 2, Vec::<(u32, u32)>::new()), &["no interaction"]);
    refused(Interactions::new(2, 2, [(0, 0), (2, 1)]), &["interaction 1 is of user 2, and there are 2"]);
    refused(Interactions::new(2, 2, [(0, 2)]), &["item 2"]);
    for weight in [-1.0, 0.0, f32::NAN, f32::INFINITY] {
        refused(Interactions::new(2, 2, [Pair { user: 0, item: 0, weight }]), &["weight of interaction 0", "positive"]);
    }
    let large = Pair { user: 0, item: 0, weight: f32::MAX };
    refused(Interactions::new(1, 1, [large, large]), &["infinity"]);
}

#[test]
fn refuses_wrong_configs_by_key() {
    let data = interactions(2, 2, &[(0, 0).into(), (1, 1).into()]);
    let base = Config::default();
    for (config, key) in [
        (Config { iterations: 0, ..base.clone() }, "iterations"),
        (Config { unobserved_weight: -0.1, ..base.clone() }, "unobserved_weight"),
        (Config { regularization: -1.0, ..base.clone() }, "regularization"),
        (Config { regularization: f32::NAN, ..base.clone() }, "regularization"),
        (Config { regularization_exponent: 1.5, ..base.clone() }, "regularization_exponent"),
        (Config { start_length: 0.0, ..base.clone() }, "start_length"),
        (Config { solver: CG(0), ..base.clone() }, "solver.steps"),
        (Config { solver: Solver::Subspace { width: 0 }, ..base.clone() }, "solver.width"),
    ] {
        refused(run(&data, &config, 2), &[&format!("`{key}`")]);
        refused(FoldIn::new(&[1.0, 2.0], 2, &config, &OneWorker), &[&format!("`{key}`")]);
    }
    for dimension in [0, usize::MAX / 2] {
        refused(run(&data, &base, dimension), &["`dimension`"]);
    }
    refused(FoldIn::new(&[1.0; 3], 2, &base, &OneWorker), &["`dimension`"]);
    refused(FoldIn::new(&[], 0, &base, &OneWorker), &["`dimension`"]);
    let config: Config = serde_json::from_str(r#"{"solver": {"type": "conjugate_gradient"}}"#).unwrap();
    assert_eq!(config, base);
    assert!(serde_json::from_str::<Config>(r#"{"alpha": 1}"#).is_err());
}

/// More unknowns than interactions and nothing that chooses among the solutions.
#[test]
fn singular_systems_are_errors_and_never_nan() {
    let data = interactions(3, 2, &[(0, 0).into(), (1, 1).into(), (2, 0).into()]);
    for zeros in [Zeros::AllPairs, Zeros::Unobserved] {
        let config = Config { regularization: 0.0, zeros, solver: Solver::Cholesky, ..Config::default() };
        refused(run(&data, &config, 6), &["equations of user", "`regularization` above zero"]);
        // Conjugate gradients find one of the solutions.
        let factors = run(&data, &Config { solver: CG(3), ..config }, 6).unwrap();
        assert!(factors.users.iter().chain(&factors.items).all(|x| x.is_finite()));
    }
    for solver in [Solver::Cholesky, CG(3)] {
        let pairs = [Pair { user: 0, item: 0, weight: 1e38 }, Pair { user: 0, item: 1, weight: 3e38 }];
        let config = Config { solver, start_length: 1e3, ..Config::default() };
        refused(run(&interactions(3, 2, &pairs), &config, 4), &["equations of user 0", "raise `regularization`"]);
    }
}

#[test]
fn refuses_wrong_users_to_fold_in() {
    let config = Config::default();
    let fold_in = FoldIn::new(&[1.0, 0.5, 0.5, 1.0], 2, &config, &OneWorker).unwrap();
    refused(fold_in.user([(2, 1.0)]), &["no item 2"]);
    refused(fold_in.user([(1, -1.0)]), &["weight of item 1"]);
    let config = Config { regularization: 0.0, unobserved_weight: 0.0, ..config };
    let fold_in = FoldIn::new(&[1.0, 0.5, 0.5, 1.0], 2, &config, &OneWorker).unwrap();
    refused(fold_in.user([(1, 1.0)]), &["`regularization` above zero"]);
}

/// A user who was there at fitting and whose items were solved last folds in to nearly what another iteration would give.
#[test]
fn folding_in_is_the_next_iteration() {
    let data = interactions(80, 40, &drawn(80, 40, 6, 10));
    let config = Config { iterations: 2, solver: Solver::Cholesky, ..Config::default() };
    let before = run(&data, &config, 12).unwrap();
    let after = run(&data, &Config { iterations: 3, ..config.clone() }, 12).unwrap();
    let fold_in = FoldIn::new(&before.items, 12, &config, &OneWorker).unwrap();
    for user in 0..80 {
        let (items, weights) = data.of_user(user).unwrap();
        let folded = fold_in.user(items.iter().copied().zip(weights.iter().copied())).unwrap();
        assert_eq!(folded, after.users[user as usize * 12..][..12], "user {user}");
    }
}
