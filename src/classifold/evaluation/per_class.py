"""Measure each class by itself, as tables."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from sklearn.metrics import (
    average_precision_score,
    precision_recall_curve,
)

from classifold.evaluation.inference import Predictions
from classifold.evaluation.outcomes import Outcomes, count_outcomes

COLUMNS = {
    "single": ("class", "precision", "recall", "f1", "support"),
    "multi": (
        *("class", "precision", "recall", "f1", "support"),
        *("average_precision", "threshold", "class_threshold"),
        *("true_positives", "false_positives", "false_negatives", "true_negatives"),
    ),
}

# Per precision-recall curve; a chart shows no more.
MAX_POINTS = 200


def per_class_table(
    predictions: Predictions, labels: np.ndarray, classes: Sequence[str]
) -> list[dict[str, Any]]:
    """Measure precision, recall, F1 and support of each class; an undefined ratio is 0.

    With several labels per image also average precision (None for a class without images),
    `threshold` (which was applied), `class_threshold` (fitted for this class alone), and the
    numbers of true and false positives and negatives. Without images there are no rows.

    Args:
        predictions: for N images.
        labels: int array (N,), or 0 and 1 in (N, n_classes).
        classes: names in the order of columns.
    """
    if len(labels) == 0:
        return []
    outcomes = count_outcomes(predictions.predicted, labels, n_classes=len(classes))
    columns = (outcomes.precision, outcomes.recall, outcomes.f1, outcomes.actual)
    rows = [
        {
            "class": name,
            "precision": round(float(precision), 6),
            "recall": round(float(recall), 6),
            "f1": round(float(f1), 6),
            "support": int(support),
        }
        for name, precision, recall, f1, support in zip(classes, *columns, strict=True)
    ]
    if labels.ndim == 1:
        return rows
    return [
        row | _multi_label_columns(predictions, labels[:, i], outcomes, position=i)
        for i, row in enumerate(rows)
    ]


def precision_recall_rows(
    predictions: Predictions, labels: np.ndarray, classes: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Compute precision-recall curves, with several labels per image.

    Args:
        predictions: for N images.
        labels: 0 and 1 in (N, n_classes).
        classes: names in the order of columns.

    Yields:
        Rows of curve (`micro`: over all pairs of image and class, or `class`), class (empty for
        micro), threshold, precision, recall; at most `MAX_POINTS` per curve. A class without
        images has no curve.
    """
    probabilities = predictions.probabilities
    curves = [("micro", "", labels.ravel(), probabilities.ravel())]
    curves += [("class", name, labels[:, i], probabilities[:, i]) for i, name in enumerate(classes)]
    for curve, name, actual, scores in curves:
        if not actual.any():
            continue
        precision, recall, thresholds = precision_recall_curve(actual, scores)
        # The last point, precision 1 at recall 0, has no threshold.
        kept = np.linspace(0, len(thresholds) - 1, MAX_POINTS).round().astype(int)
        for i in np.unique(kept):
            yield {
                "curve": curve,
                "class": name,
                "threshold": round(float(thresholds[i]), 6),
                "precision": round(float(precision[i]), 6),
                "recall": round(float(recall[i]), 6),
            }


def _multi_label_columns(
    predictions: Predictions, actual: np.ndarray, outcomes: Outcomes, *, position: int
) -> dict[str, Any]:
    """The further columns of one class, where images have several labels."""
    scores = predictions.probabilities[:, position]
    average = float(average_precision_score(actual, scores)) if actual.any() else None
    decision = predictions.decision  # empty for the majority baseline
    true_positives, n_predicted, n_actual = (int(counts[position]) for counts in outcomes[:3])
    false_positives, false_negatives = n_predicted - true_positives, n_actual - true_positives
    return {
        "average_precision": None if average is None else round(average, 6),
        "threshold": decision.get("threshold"),
        "class_threshold": decision["thresholds"][position] if decision else None,
        "true_positives": true_positives,
        "false_positives": false_positives,
        "false_negatives": false_negatives,
        "true_negatives": outcomes.n_images - n_predicted - false_negatives,
    }
