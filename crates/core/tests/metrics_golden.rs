//! Metrics against scikit-learn and SciPy (`bench/peers/fixtures_metrics.py`), ties included.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use kitestring_core::metrics::{
    Bins, Placement, Ties, auc, average_precision, brier, expected_calibration_error, gauc, log_loss,
    mean_absolute_error, reliability, roc_curve, root_mean_squared_error, spearman, weighted_auc,
};
use serde::Deserialize;

const TOLERANCE: f64 = 1e-9;

#[derive(Deserialize)]
struct Fixtures {
    binary: Vec<Binary>,
    ranking: Vec<Ranking>,
}

#[derive(Deserialize)]
struct Binary {
    name: String,
    labels: Vec<f32>,
    scores: Vec<f32>,
    weights: Option<Vec<f32>>,
    weighted_auc: Option<f64>,
    auc: Option<f64>,
    average_precision: Option<f64>,
    spearman: Option<f64>,
    roc: Option<Roc>,
    log_loss: Option<f64>,
    brier: Option<f64>,
    calibration: Option<Calibration>,
    root_mean_squared_error: f64,
    mean_absolute_error: f64,
}

#[derive(Deserialize)]
struct Roc {
    false_positive: Vec<f64>,
    true_positive: Vec<f64>,
}

#[derive(Deserialize)]
struct Calibration {
    predicted: Vec<f64>,
    observed: Vec<f64>,
    rows: Vec<u64>,
    error: f64,
}

#[derive(Deserialize)]
struct Ranking {
    name: String,
    labels: Vec<f32>,
    scores: Vec<f32>,
    ndcg: BTreeMap<usize, f64>,
}

fn fixtures() -> Fixtures {
    serde_json::from_str(include_str!("fixtures/metrics.json")).unwrap()
}

#[track_caller]
fn close(case: &str, metric: &str, ours: Option<f64>, theirs: Option<f64>) {
    match (ours, theirs) {
        (Some(a), Some(b)) => assert!((a - b).abs() <= TOLERANCE, "{case}: {metric} is {a}, scikit-learn's {b}"),
        (a, b) => assert_eq!(a, b, "{case}: {metric}"),
    }
}

#[test]
fn binary() {
    let cases = fixtures().binary;
    assert!(cases.len() >= 12);
    for case in &cases {
        let Binary { name, labels, scores, weights, .. } = case;
        close(name, "AUC", auc(scores, labels), case.auc);
        close(name, "GAUC of one group", gauc(scores, labels, &vec![0u8; labels.len()]), case.auc);
        close(name, "average precision", average_precision(scores, labels), case.average_precision);
        close(name, "Spearman", spearman(scores, labels), case.spearman);
        if let Some(weights) = weights {
            close(name, "weighted AUC", weighted_auc(scores, labels, weights), case.weighted_auc);
        }
        // Both are null in the fixture where scores are no probabilities.
        // The fixture was made of 64 bits, where a probability of 0 or 1 is clipped closer to its end: 36 nats where it is wrong, not 15.9.
        if scores.iter().any(|score| *score == 0.0 || *score == 1.0) {
            let clipped = |p: f32| f64::from(p).clamp(f64::from(f32::EPSILON), 1.0 - f64::from(f32::EPSILON));
            let loss = |(p, y): (&f32, &f32)| if *y > 0.5 { -clipped(*p).ln() } else { -(1.0 - clipped(*p)).ln() };
            let mean = scores.iter().zip(labels).map(loss).sum::<f64>() / labels.len() as f64;
            close(name, "log-loss", log_loss(scores, labels), case.log_loss.map(|_| mean));
        } else {
            close(name, "log-loss", log_loss(scores, labels), case.log_loss);
        }
        close(name, "Brier", brier(scores, labels), case.brier);
        let squared = root_mean_squared_error(scores, labels);
        close(name, "root mean squared error", squared, Some(case.root_mean_squared_error));
        close(name, "mean absolute error", mean_absolute_error(scores, labels), Some(case.mean_absolute_error));
    }
}

#[test]
fn calibration() {
    let cases = fixtures().binary;
    for case in &cases {
        let bins = Bins::EqualWidth(10);
        let Some(expected) = &case.calibration else {
            assert_eq!(reliability(&case.scores, &case.labels, bins), None, "{}", case.name);
            continue;
        };
        let curve = reliability(&case.scores, &case.labels, bins).unwrap();
        assert_eq!(curve.iter().map(|bin| bin.count).collect::<Vec<_>>(), expected.rows, "{}", case.name);
        for (i, bin) in curve.iter().enumerate() {
            close(&case.name, "mean prediction", Some(bin.mean_prediction), Some(expected.predicted[i]));
            close(&case.name, "mean label", Some(bin.mean_label), Some(expected.observed[i]));
        }
        let error = expected_calibration_error(&case.scores, &case.labels, bins);
        close(&case.name, "expected calibration error", error, Some(expected.error));
    }
}

/// Our curve holds corners only: each is a point of scikit-learn's, and each of its points lies on ours.
#[test]
fn roc() {
    for case in fixtures().binary {
        let curve = roc_curve(&case.scores, &case.labels, usize::MAX);
        let Some(expected) = case.roc else {
            assert_eq!(curve, None, "{}", case.name);
            continue;
        };
        let ours: Vec<(f64, f64)> =
            curve.unwrap().iter().map(|point| (point.false_positive_rate, point.true_positive_rate)).collect();
        let theirs: Vec<(f64, f64)> = expected.false_positive.into_iter().zip(expected.true_positive).collect();
        for (x, y) in &ours {
            assert!(
                theirs.iter().any(|(a, b)| (a - x).abs() <= TOLERANCE && (b - y).abs() <= TOLERANCE),
                "{}: ({x}, {y}) is not on scikit-learn's curve",
                case.name
            );
        }
        for (x, y) in &theirs {
            let on_segment = |from: (f64, f64), to: (f64, f64)| {
                let cross = (to.0 - from.0) * (y - from.1) - (to.1 - from.1) * (x - from.0);
                let inside = |from: f64, at: f64, to: f64| from - TOLERANCE <= at && at <= to + TOLERANCE;
                cross.abs() <= TOLERANCE && inside(from.0, *x, to.0) && inside(from.1, *y, to.1)
            };
            assert!(
                ours.windows(2).any(|pair| on_segment(pair[0], pair[1])),
                "{}: ({x}, {y}) is not on our curve",
                case.name
            );
        }
    }
}

#[test]
fn ndcg() {
    let cases = fixtures().ranking;
    assert!(cases.len() >= 5);
    for case in cases {
        let placement = Placement::from_labels(&case.scores, &case.labels, Ties::Expected).unwrap();
        assert!(case.ndcg.len() >= 5);
        for (k, expected) in case.ndcg {
            let name = format!("{} at {k}", case.name);
            close(&name, "NDCG", placement.at(k).map(|at| at.ndcg), Some(expected));
        }
    }
}
