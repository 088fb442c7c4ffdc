"""Measure abstention: the error rate of the most confident predictions.

Source: Geifman, Uziel, El-Yaniv 2019, arXiv:1805.08206, section 2 (risk-coverage curve, its area
and excess area).
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from classifold.evaluation.inference import Predictions
from classifold.evaluation.intervals import accuracy_interval
from classifold.models.abstention import all_correct, confidences

COLUMNS = ("model", "predicted_fraction", "threshold", "accuracy")

# Per curve; a chart shows no more.
MAX_POINTS = 200


class Curve(NamedTuple):
    """The k most confident predictions, for k of 1 to N."""

    confidence: np.ndarray  # float (N,): the lowest among them
    error_rate: np.ndarray  # float (N,)

    @property
    def area(self) -> float:
        """The mean error rate."""
        return float(self.error_rate.mean())

    @property
    def excess_area(self) -> float:
        """The area minus that of the same predictions with all errors at the lowest confidence."""
        n_images = len(self.error_rate)
        k = np.arange(1, n_images + 1)
        n_correct = n_images - round(self.error_rate[-1] * n_images)
        return self.area - float((np.maximum(k - n_correct, 0) / k).mean())


def risk_coverage_curve(confidence: np.ndarray, correct: np.ndarray) -> Curve:
    """Compute the curve; equally confident predictions count as if in a random order.

    Args:
        confidence: float array (N,), N at least 1.
        correct: bool array (N,).
    """
    order = np.argsort(-confidence, kind="stable")
    ranked, wrong = confidence[order], ~correct[order]
    _, ties, counts = np.unique(ranked, return_inverse=True, return_counts=True)
    expected = (np.bincount(ties, weights=wrong) / counts)[ties]
    return Curve(ranked, expected.cumsum() / np.arange(1, len(ranked) + 1))


def score_abstention(predictions: Predictions, labels: np.ndarray) -> dict[str, Any]:
    """Measure the risk-coverage curve of a model, and each of its thresholds.

    Args:
        predictions: for at least one image; their decision has the thresholds.
        labels: int array (N,), or 0 and 1 in (N, n_classes).

    Returns:
        `risk_coverage` as in `metrics/test.json`; empty for a model without thresholds.
    """
    if not predictions.decision.get("abstention"):
        return {}
    confidence = confidences(predictions.probabilities, predictions.predicted)
    correct = all_correct(predictions.predicted, labels)
    curve = risk_coverage_curve(confidence, correct)
    thresholds = predictions.decision["abstention"]
    return {
        "risk_coverage": {
            "area": curve.area,
            "excess_area": curve.excess_area,
            "accuracies": {
                wanted: _at_threshold(confidence, correct, threshold)
                for wanted, threshold in thresholds.items()
            },
        }
    }


def curve_rows(predictions: Predictions, labels: np.ndarray) -> Iterator[dict[str, Any]]:
    """Yield points of the risk-coverage curve, without the column model; at most `MAX_POINTS`.

    Args:
        predictions: for N images.
        labels: int array (N,), or 0 and 1 in (N, n_classes).
    """
    if len(labels) == 0 or not predictions.decision.get("abstention"):
        return
    curve = risk_coverage_curve(
        confidences(predictions.probabilities, predictions.predicted),
        all_correct(predictions.predicted, labels),
    )
    n_images = len(labels)
    for i in np.unique(np.linspace(0, n_images - 1, MAX_POINTS).round().astype(int)):
        yield {
            "predicted_fraction": round((int(i) + 1) / n_images, 6),
            "threshold": round(float(curve.confidence[i]), 6),
            "accuracy": round(1 - float(curve.error_rate[i]), 6),
        }


def _at_threshold(
    confidence: np.ndarray, correct: np.ndarray, threshold: float | None
) -> dict[str, Any]:
    """Measure the predictions that are left after abstention."""
    left = np.zeros(len(confidence), bool) if threshold is None else confidence >= threshold
    n_left, n_correct = int(left.sum()), int(correct[left].sum())
    return {
        "threshold": threshold,
        "n_predicted": n_left,
        "predicted_fraction": n_left / len(left),
        "accuracy": n_correct / n_left if n_left else None,
        "accuracy_ci95": accuracy_interval(n_correct, n_left) if n_left else None,
    }
