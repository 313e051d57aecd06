"""Figures of scikit-learn and numpy to which the tests of `cloister-nn`'s metrics compare.

Ties, constant scores, one class only, rows of weight 0, classes that never occur, perfect and reversed orders, saturated
probabilities. Inputs are drawn from a fixed seed and written beside the answers, so that the test needs neither.

    python3 -m venv VENV && VENV/bin/pip install scikit-learn
    VENV/bin/python benches/peers/metrics.py > crates/nn/tests/metrics_cases.json
"""

import json
import sys
import warnings

import numpy
import sklearn
from sklearn import metrics
from sklearn.calibration import calibration_curve

warnings.simplefilter("ignore")
rng = numpy.random.default_rng(20240607)


def numbers(array):
    """A list for JSON; what is not finite as null."""
    return [float(x) if numpy.isfinite(x) else None for x in numpy.asarray(array, dtype=float)]


def ranking(name, scores, labels, weights=None):
    scores, labels = numpy.asarray(scores, dtype=float), numpy.asarray(labels, dtype=int)
    both = len(set(labels)) == 2
    case = {"name": name, "scores": numbers(scores), "labels": labels.tolist(),
            "weights": None if weights is None else numbers(weights)}
    if both:
        fpr, tpr, thresholds = metrics.roc_curve(labels, scores, sample_weight=weights, drop_intermediate=False)
        case["roc"] = {"thresholds": numbers(thresholds), "fpr": numbers(fpr), "tpr": numbers(tpr)}
        case["auroc"] = float(metrics.roc_auc_score(labels, scores, sample_weight=weights))
        youden = tpr - fpr
        case["youden"] = numbers([youden.max()])[0]
        case["sensitivity_at_90"] = float(tpr[1 - fpr >= 0.9].max())
    else:
        case["roc"] = case["auroc"] = case["youden"] = case["sensitivity_at_90"] = None
    if labels.any():
        precision, recall, thresholds = metrics.precision_recall_curve(labels, scores, sample_weight=weights)
        case["pr"] = {"thresholds": numbers(thresholds), "precision": numbers(precision), "recall": numbers(recall)}
        case["average_precision"] = float(metrics.average_precision_score(labels, scores, sample_weight=weights))
        f1 = [metrics.f1_score(labels, scores >= t, sample_weight=weights, zero_division=0) for t in thresholds]
        case["f1"] = float(max(f1)) if both else None
    else:
        case["pr"] = case["average_precision"] = case["f1"] = None
    return case


def expected_error(scores, hits, bins=10):
    """Bins (lower, upper], the first with 0: those of calibration_curve."""
    places = numpy.clip(numpy.searchsorted(numpy.linspace(0, 1, bins + 1)[1:-1], scores, side="left"), 0, bins - 1)
    gaps = [abs(scores[places == b].mean() - hits[places == b].mean()) * (places == b).sum()
            for b in range(bins) if (places == b).any()]
    return float(sum(gaps) / len(scores))


def calibration(name, scores, labels):
    scores, labels = numpy.asarray(scores, dtype=float), numpy.asarray(labels, dtype=int)
    share, mean = calibration_curve(labels, scores, n_bins=10, strategy="uniform")
    return {"name": name, "scores": numbers(scores), "labels": labels.tolist(), "share": numbers(share), "mean": numbers(mean),
            "brier": float(metrics.brier_score_loss(labels, scores, pos_label=1, labels=[0, 1])), "expected_error": expected_error(scores, labels)}


def several(name, classes, logits, labels):
    """Logits are those of f32, and do not tie: whether probabilities that are equal on paper tie is a matter of rounding."""
    logits, labels = numpy.asarray(logits, dtype=numpy.float32).astype(float), numpy.asarray(labels, dtype=int)
    shifted = logits - logits.max(axis=1, keepdims=True)
    p = numpy.exp(shifted) / numpy.exp(shifted).sum(axis=1, keepdims=True)
    predictions = logits.argmax(axis=1)
    each = metrics.precision_recall_fscore_support(labels, predictions, labels=range(classes), zero_division=0)
    case = {"name": name, "classes": classes, "logits": numbers(logits.ravel()), "labels": labels.tolist(),
            "precision": numbers(each[0]), "recall": numbers(each[1]), "f1": numbers(each[2]), "rows": each[3].tolist()}
    for mean in ["macro", "weighted", "micro"]:
        case[mean] = numbers(metrics.precision_recall_fscore_support(labels, predictions, average=mean, zero_division=0)[:3])
    hot = numpy.eye(classes, dtype=int)[labels]
    present = [0 < hot[:, c].sum() < len(labels) for c in range(classes)]
    case["class_auroc"] = [float(metrics.roc_auc_score(hot[:, c], p[:, c])) if present[c] else None for c in range(classes)]
    case["class_average_precision"] = [
        float(metrics.average_precision_score(hot[:, c], p[:, c])) if hot[:, c].any() else None for c in range(classes)]
    case["auroc"] = float(metrics.roc_auc_score(labels, p, multi_class="ovr")) if all(present) and classes > 2 else None
    case["log_loss"] = float(metrics.log_loss(labels, p, labels=range(classes)))
    case["brier"] = float(metrics.brier_score_loss(labels, p, labels=range(classes)))
    top = p[:, 1] if classes == 2 else p.max(axis=1)
    case["expected_error"] = expected_error(top, labels == 1 if classes == 2 else labels == predictions)
    return case


def fit(name, predictions, targets):
    predictions, targets = (numpy.asarray(x, dtype=numpy.float32).astype(float) for x in (predictions, targets))
    constant = len(set(targets.tolist())) < 2
    return {"name": name, "predictions": numbers(predictions), "targets": numbers(targets),
            "mse": float(metrics.mean_squared_error(targets, predictions)),
            "rmse": float(metrics.root_mean_squared_error(targets, predictions)),
            "mae": float(metrics.mean_absolute_error(targets, predictions)),
            "r2": None if constant else float(metrics.r2_score(targets, predictions))}


def main():
    some = rng.integers(0, 2, 120)
    tied = numpy.round(rng.normal(some * 0.8, 1.0) * 2) / 2
    rare = (rng.random(400) < 0.03).astype(int)
    weights = numpy.round(rng.random(120) * 8) / 4
    rankings = [
        ranking("ties", tied, some),
        ranking("no ties", rng.normal(some * 0.8, 1.0), some),
        ranking("constant scores", numpy.full(30, 0.25), some[:30]),
        ranking("perfect", numpy.concatenate([numpy.linspace(0, 0.4, 20), numpy.linspace(0.6, 1, 10)]), [0] * 20 + [1] * 10),
        ranking("reversed", numpy.concatenate([numpy.linspace(0.6, 1, 20), numpy.linspace(0, 0.4, 10)]), [0] * 20 + [1] * 10),
        ranking("positives only", rng.normal(size=9), numpy.ones(9)),
        ranking("negatives only", rng.normal(size=9), numpy.zeros(9)),
        ranking("two rows", [0.5, 0.5], [0, 1]),
        ranking("one positive in four hundred", numpy.round(rng.normal(rare * 1.5, 1.0) * 8) / 8, rare),
        ranking("weights, some 0", tied, some, weights),
        ranking("weights without ties", rng.normal(some * 0.5, 1.0), some, weights),
        ranking("zero below zero", [-0.0, 0.0, 1.0, -1.0], [0, 1, 1, 0]),
    ]
    p = rng.random(300)
    calibrations = [
        calibration("drawn by their probability", p, rng.random(300) < p),
        calibration("too sure", p, rng.random(300) < 0.25 + p / 2),
        calibration("on the edges", numpy.round(p * 10) / 10, rng.random(300) < p),
        calibration("constant", numpy.full(40, 0.3), rng.random(40) < 0.5),
        calibration("saturated", [0.0, 0.0, 1.0, 1.0, 1.0], [0, 1, 1, 1, 0]),
        calibration("one class", p[:20], numpy.ones(20)),
    ]
    labels = rng.integers(0, 4, 150)
    absent = numpy.where(labels == 2, 1, labels)
    two = rng.integers(0, 2, 90)
    cases = [
        several("four classes", 4, rng.normal(size=(150, 4)) + 1.2 * numpy.eye(4)[labels], labels),
        several("class 2 never occurs", 4, rng.normal(size=(150, 4)) + numpy.eye(4)[absent], absent),
        several("class 2 neither occurs nor is predicted", 4,
                rng.normal(size=(150, 4)) - [0, 0, 50, 0], absent),
        several("ten classes, imbalanced", 10, rng.normal(size=(300, 10)) * 2, numpy.minimum(rng.geometric(0.3, 300) - 1, 9)),
        several("two outputs", 2, rng.normal(size=(90, 2)) + numpy.eye(2)[two], two),
        several("one class only", 3, rng.normal(size=(12, 3)), numpy.full(12, 1)),
        several("constant logits", 3, numpy.zeros((30, 3)), rng.integers(0, 3, 30)),
    ]
    y = rng.normal(size=60) * 3 + 5
    fits = [
        fit("noisy", y + rng.normal(size=60), y),
        fit("perfect", y, y),
        fit("worse than the mean", -y, y),
        fit("constant target", rng.normal(size=10), numpy.full(10, 0.1)),
        fit("one row", [1.0], [2.5]),
    ]
    values = numpy.sort(rng.normal(size=37))
    shares = [0.0, 0.025, 0.1, 0.5, 0.75, 0.975, 1.0]
    out = {"scikit-learn": sklearn.__version__, "numpy": numpy.__version__, "rankings": rankings, "calibrations": calibrations,
           "several": cases, "fits": fits,
           "quantiles": {"values": numbers(values), "shares": shares, "expected": numbers(numpy.quantile(values, shares))}}
    json.dump(out, sys.stdout, separators=(",", ":"))
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
