//! Every optimizer against PyTorch's trajectories (`bench/peers/fixtures_nn.py` writes them and describes the file).
#![allow(clippy::unwrap_used)]

use kitestring_core::Seed;
use kitestring_table::{Config, Init, Open, Optimizer, Route, Rule, Space, Step, Table, Touched};
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    format: u32,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    optimizer: String,
    untouched: String,
    learning_rate: f32,
    epsilon: f32,
    beta1: f64,
    beta2: f64,
    l2: f32,
    initial: Matrix,
    steps: Vec<Change>,
}

#[derive(Deserialize)]
struct Matrix {
    shape: [usize; 2],
    data: Vec<f32>,
}

#[derive(Deserialize)]
struct Change {
    ids: Vec<u64>,
    gradient: Matrix,
    rows: Matrix,
}

#[test]
fn trajectories_equal_pytorch() {
    let fixture: Fixture = serde_json::from_str(include_str!("fixtures/optimizers.json")).unwrap();
    assert_eq!(fixture.format, 1);
    assert_eq!(fixture.cases.len(), 12);
    for case in &fixture.cases {
        let rule = match case.optimizer.as_str() {
            "sgd" => Rule::Sgd {},
            "adagrad" => Rule::Adagrad { initial: 0.0, epsilon: case.epsilon, row_wise: false },
            "adam" => Rule::Adam { beta1: case.beta1, beta2: case.beta2, epsilon: case.epsilon, per_row_steps: false },
            other => panic!("optimizer {other}"),
        };
        let rows = match case.untouched.as_str() {
            "skipped" => Touched::Touched,
            "updated" => Touched::All,
            other => panic!("untouched {other}"),
        };
        let [count, dim] = case.initial.shape;
        let optimizer = Optimizer { rule, l2: case.l2, decoupled: false, rows };
        for space in [Space::Direct { rows: count as u64 }, Space::Open(Open::default())] {
            let table = Table::new("golden", Config { dim, space, init: Init::Zero, optimizer }, Seed(1)).unwrap();
            let all: Vec<u64> = (0..count as u64).collect();
            let mut route = Route::new();
            table.route(&all, &mut route).unwrap();
            table.assign(&mut route, &case.initial.data).unwrap();
            for (number, change) in case.steps.iter().enumerate() {
                let step = Step { number: number as u64 + 1, learning_rate: case.learning_rate };
                table.route(&change.ids, &mut route).unwrap();
                table.apply(&mut route, &change.gradient.data, step).unwrap();
                table.sweep(step, 0, 1).unwrap();
                let mut found = vec![0.0; count * dim];
                table.route(&all, &mut route).unwrap();
                table.gather(&mut route, &mut found).unwrap();
                let largest = change.rows.data.iter().fold(0.0f32, |most, x| most.max(x.abs()));
                for (found, expected) in found.iter().zip(&change.rows.data) {
                    let place = format!("{} {space:?} step {}: {found} for {expected}", case.name, step.number);
                    assert!((found - expected).abs() <= 2e-6 * largest + 1e-7, "{place}");
                }
            }
        }
    }
}
