"""Expected values of metrics from scikit-learn and SciPy, for crates/core/tests/metrics_golden.rs.

    pip install -r bench/peers/requirements-fixtures.txt
    python bench/peers/fixtures_metrics.py

Writes crates/core/tests/fixtures/metrics.json. Scores are exact float32 values; everything is computed in float64. A
metric that has no value (a single class) is null.
"""

import json
import warnings
from pathlib import Path

import numpy as np
import scipy
import sklearn
from scipy.stats import spearmanr
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    log_loss,
    mean_absolute_error,
    ndcg_score,
    roc_auc_score,
    roc_curve,
    root_mean_squared_error,
)

OUT = Path(__file__).parents[2] / "crates/core/tests/fixtures/metrics.json"
WIDTH_BINS = 10
CUTOFFS = [1, 3, 5, 10, 1000]


def float32(values):
    return np.asarray(values, dtype=np.float32).astype(np.float64)


def equal_width_calibration(labels, scores):
    """The points of scikit-learn's curve, and the calibration error with each bin weighted by its rows."""
    observed, predicted = calibration_curve(labels, scores, n_bins=WIDTH_BINS, strategy="uniform")
    edges = np.linspace(0.0, 1.0, WIDTH_BINS + 1)
    rows = np.bincount(np.searchsorted(edges[1:-1], scores), minlength=WIDTH_BINS)
    rows = rows[rows > 0]
    return {
        "predicted": predicted.tolist(),
        "observed": observed.tolist(),
        "rows": rows.tolist(),
        "error": float(np.sum(rows * np.abs(observed - predicted)) / len(scores)),
    }


def binary_case(name, labels, scores, weights=None):
    labels, scores = float32(labels), float32(scores)
    both = len(set(labels.tolist())) == 2
    case = {"name": name, "labels": labels.astype(int).tolist(), "scores": scores.tolist()}
    if weights is not None:
        weights = float32(weights)
        case["weights"] = weights.tolist()
        case["weighted_auc"] = roc_auc_score(labels, scores, sample_weight=weights)
    case["auc"] = roc_auc_score(labels, scores) if both else None
    case["average_precision"] = average_precision_score(labels, scores) if labels.any() else None
    case["spearman"] = float(spearmanr(scores, labels).statistic) if both and np.ptp(scores) > 0 else None
    if both:
        false_positive, true_positive, _ = roc_curve(labels, scores, drop_intermediate=False)
        case["roc"] = {"false_positive": false_positive.tolist(), "true_positive": true_positive.tolist()}
    if scores.min() >= 0 and scores.max() <= 1:
        case["log_loss"] = log_loss(labels, scores, labels=[0, 1])
        case["brier"] = brier_score_loss(labels, scores, pos_label=1, labels=[0, 1])
        case["calibration"] = equal_width_calibration(labels, scores)
    case["root_mean_squared_error"] = root_mean_squared_error(labels, scores)
    case["mean_absolute_error"] = mean_absolute_error(labels, scores)
    return case


def ranking_case(name, labels, scores):
    """NDCG with tied scores averaged over their orders, which is scikit-learn's default."""
    labels, scores = float32(labels), float32(scores)
    return {
        "name": name,
        "labels": labels.astype(int).tolist(),
        "scores": scores.tolist(),
        "ndcg": {str(k): ndcg_score([labels], [scores], k=k) for k in CUTOFFS},
    }


def main():
    rng = np.random.default_rng(20240501)

    def noisy(n, rate=0.3, shift=1.0):
        labels = (rng.random(n) < rate).astype(float)
        return labels, 1 / (1 + np.exp(-(rng.normal(size=n) + shift * labels - 1)))

    labels, scores = noisy(400)
    binary = [binary_case("random", labels, scores)]
    labels, scores = noisy(300)
    binary.append(binary_case("heavy ties", labels, np.round(scores * 8) / 8))
    binary.append(binary_case("ties in part", labels, np.where(rng.random(300) < 0.4, 0.25, scores)))
    binary.append(binary_case("constant", [0, 1, 1, 0, 0, 1, 0], [0.375] * 7))
    binary.append(binary_case("all negative", [0] * 5, [0.1, 0.5, 0.5, 0.9, 0.2]))
    binary.append(binary_case("all positive", [1] * 5, [0.1, 0.5, 0.5, 0.9, 0.2]))
    binary.append(binary_case("certain and wrong", [0, 1, 1, 0, 1], [1.0, 0.0, 1.0, 0.0, 0.5]))
    binary.append(binary_case("perfect", [0, 0, 1, 1, 0], [0.1, 0.2, 0.8, 0.9, 0.3]))
    labels, scores = noisy(250, rate=0.02)
    labels[0], labels[1] = 1, 0
    binary.append(binary_case("rare positives, tiny probabilities", labels, scores * 1e-4))
    labels, scores = noisy(200)
    binary.append(binary_case("weights", labels, scores, rng.exponential(size=200)))
    weights = rng.integers(0, 4, size=200).astype(float)
    binary.append(binary_case("weights with zeros and ties", labels, np.round(scores * 6) / 6, weights))
    labels, scores = noisy(150)
    binary.append(binary_case("logits", labels, np.round(np.log(scores / (1 - scores)) * 4) / 4))
    binary.append(binary_case("zeros of both signs", [1, 0, 1, 0, 1], [0.0, -0.0, -1.0, -2.0, 1.0]))

    ranking = [ranking_case("one positive of 100", np.eye(1, 100, 37)[0], rng.normal(size=100))]
    ranking.append(ranking_case("several positives", rng.random(60) < 0.2, rng.normal(size=60)))
    ranking.append(ranking_case("several positives, ties", rng.random(80) < 0.2, rng.integers(0, 6, size=80)))
    ranking.append(ranking_case("constant", [0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0], [1.0] * 12))
    ranking.append(ranking_case("fewer candidates than the cut", [1, 0, 1], [0.1, 0.5, 0.5]))

    document = {
        "made_by": f"numpy {np.__version__}, scikit-learn {sklearn.__version__}, scipy {scipy.__version__}",
        "binary": binary,
        "ranking": ranking,
    }
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(document, separators=(",", ":"), allow_nan=False) + "\n")
    print(f"{OUT}: {OUT.stat().st_size} bytes")


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        main()
