"""What a classifier scores on images, by itself and beside another."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    hamming_loss,
    log_loss,
    top_k_accuracy_score,
)

from classifold.evaluation.calibration import calibration_error
from classifold.evaluation.inference import Predictions
from classifold.evaluation.intervals import (
    accuracy_interval,
    gain_interval,
    macro_f1_interval,
    mcnemar,
    micro_f1_gain_interval,
    micro_f1_interval,
)
from classifold.models.decisions import micro_f1

# By what models are compared.
METRIC = {"single": "accuracy", "multi": "micro_f1"}


def score(
    predictions: Predictions,
    labels: np.ndarray,
    *,
    calibration_bins: int,
    bootstrap: Mapping[str, int],
) -> dict[str, Any]:
    """Measure one model.

    Args:
        predictions: for N images, one at least.
        labels: int array (N,), or 0 and 1 in (N, n_classes).
        calibration_bins: bins of equal width for the calibration error.
        bootstrap: `resamples` and `seed` of intervals.

    Returns:
        Its scores as in `metrics/test.json`. Averages over classes are over all of them, those
        without an image among them, whose F1 is 0; but for average precision, which is not
        defined for them. Top-k of no more than k classes is 1.
    """
    measured = _score_single if labels.ndim == 1 else _score_multi
    n_bins = calibration_bins
    return {
        **measured(predictions, labels, bootstrap),
        "calibration_error": calibration_error(predictions.probabilities, labels, n_bins=n_bins),
        "calibration_error_uncalibrated": calibration_error(
            predictions.uncalibrated, labels, n_bins=n_bins
        ),
        "n_images": len(labels),
    }


def main_score(
    predicted: np.ndarray, labels: np.ndarray, *, bootstrap: Mapping[str, int]
) -> tuple[float, list[float]]:
    """Measure what models are compared by, `METRIC`, and its 95 % interval.

    Args:
        predicted: int array (N,) of N images, one at least; or bool (N, n_classes).
        labels: int array (N,), or 0 and 1 in (N, n_classes).
        bootstrap: `resamples` and `seed` of intervals.
    """
    if labels.ndim == 1:
        n_hits = int((predicted == labels).sum())
        return n_hits / len(labels), accuracy_interval(n_hits, len(labels))
    return micro_f1(predicted, labels), micro_f1_interval(predicted, labels, **bootstrap)


def versus(
    predictions: Predictions,
    reference: Predictions,
    labels: np.ndarray,
    *,
    bootstrap: Mapping[str, int],
) -> dict[str, Any]:
    """Compare a model with another on the same images.

    Returns:
        `difference` (model less reference, of `METRIC`) and `difference_ci95`; with one label an
        image also `p_value`, of McNemar's exact test.
    """
    ours, theirs = predictions.predicted, reference.predicted
    if labels.ndim > 1:
        return {
            "difference": micro_f1(ours, labels) - micro_f1(theirs, labels),
            "difference_ci95": micro_f1_gain_interval(ours, theirs, labels, **bootstrap),
        }
    hits, reference_hits = ours == labels, theirs == labels
    n_only_ours, n_only_theirs = (hits & ~reference_hits).sum(), (reference_hits & ~hits).sum()
    return {
        "difference": float(hits.mean() - reference_hits.mean()),
        "difference_ci95": gain_interval(hits, reference_hits, **bootstrap),
        "p_value": mcnemar(int(n_only_ours), int(n_only_theirs)),
    }


def untrained_score(logits: np.ndarray, labels: np.ndarray) -> float:
    """Measure a network that has learnt nothing; several labels at 0.5, as nothing was fitted."""
    if labels.ndim == 1:
        return float((logits.argmax(axis=1) == labels).mean())
    return micro_f1(logits > 0, labels)


def format_test_scores(entry: Mapping[str, Any]) -> str:
    """Such as "test accuracy 0.9963 (0.9792-0.9993)", of an entry of `metrics/test.json`."""
    if not entry["n_images"]:
        return "no test images (split.fractions.test is 0), so nothing to measure"
    metric = next(metric for metric in METRIC.values() if metric in entry)
    low, high = entry[f"{metric}_ci95"]
    return f"test {metric.replace('_', ' ')} {entry[metric]:.4f} ({low:.4f}-{high:.4f})"


def _score_single(
    predictions: Predictions, labels: np.ndarray, bootstrap: Mapping[str, int]
) -> dict[str, Any]:
    n_classes = predictions.probabilities.shape[1]
    classes = np.arange(n_classes)
    accuracy, interval = main_score(predictions.predicted, labels, bootstrap=bootstrap)
    macro_f1 = f1_score(
        labels, predictions.predicted, labels=classes, average="macro", zero_division=0
    )
    return {
        "accuracy": accuracy,
        "accuracy_ci95": interval,
        **{f"top{k}_accuracy": _top_k(predictions.probabilities, labels, k=k) for k in (3, 5)},
        "macro_f1": float(macro_f1),
        "macro_f1_ci95": macro_f1_interval(
            predictions.predicted, labels, n_classes=n_classes, **bootstrap
        ),
        "log_loss": float(log_loss(labels, predictions.probabilities, labels=classes)),
    }


def _score_multi(
    predictions: Predictions, labels: np.ndarray, bootstrap: Mapping[str, int]
) -> dict[str, Any]:
    shares, predicted = predictions.probabilities, predictions.predicted
    score, interval = main_score(predicted, labels, bootstrap=bootstrap)
    # The majority baseline has no thresholds.
    of_class = shares > predictions.decision["thresholds"] if predictions.decision else predicted
    return {
        "micro_f1": score,
        "micro_f1_ci95": interval,
        "micro_f1_at_half": micro_f1(shares > 0.5, labels),
        "micro_f1_at_class_thresholds": micro_f1(of_class, labels),
        "macro_f1": float(f1_score(labels, predicted, average="macro", zero_division=0)),
        "subset_accuracy": float(accuracy_score(labels, predicted)),
        "mean_average_precision": _mean_average_precision(shares, labels),
        "hamming_loss": float(hamming_loss(labels, predicted)),
        # Over pairs: scikit-learn's own reading of two columns would be classes that exclude
        # one another.
        "log_loss": float(log_loss(labels.ravel(), shares.ravel(), labels=[0, 1])),
    }


def _mean_average_precision(shares: np.ndarray, labels: np.ndarray) -> float | None:
    """Average over the classes that some image bears; None if there are none."""
    borne = labels.any(axis=0)
    if not borne.any():
        return None
    return float(average_precision_score(labels[:, borne], shares[:, borne], average="macro"))


def _top_k(probabilities: np.ndarray, labels: np.ndarray, *, k: int) -> float:
    n_classes = probabilities.shape[1]
    if k >= n_classes:
        return 1.0
    return float(top_k_accuracy_score(labels, probabilities, k=k, labels=np.arange(n_classes)))
