"""Metrics that several stages compute, and the task that labels belong to."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

Task = Literal["single", "multi"]

# With fewer seeds no standard deviation is claimed.
MIN_SEEDS = 3

# The metric by which models are compared.
MAIN_METRIC = {"single": "accuracy", "multi": "micro_f1"}


def task_of(labels: np.ndarray) -> Task:
    """Return `single` for labels (N,), `multi` for 0 and 1 in (N, n_classes)."""
    return "single" if labels.ndim == 1 else "multi"


def f1(
    true_positives: np.ndarray | float, predicted: np.ndarray | float, actual: np.ndarray | float
) -> np.ndarray:
    """Compute F1 from counts, element by element; 0 where nothing is predicted or actual."""
    return np.asarray(2 * true_positives / np.maximum(predicted + actual, 1))


def micro_f1(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Compute F1 over all pairs of image and class: bool (N, n_classes) against 0 and 1.

    Returns:
        0 if it is undefined: no predicted and no actual positives.
    """
    true_positives = (predictions & (labels > 0)).sum()
    return float(f1(true_positives, predictions.sum(), labels.sum()))


def spread(scores: Mapping[int, float]) -> dict[str, Any]:
    """Describe the scores of a model that was trained from several seeds.

    Args:
        scores: seed -> score; at least one.

    Returns:
        `n`, `mean`, `sd` (the sample standard deviation; None for fewer than `MIN_SEEDS` seeds),
        `min`, `max`, and `scores`.
    """
    values = np.array(list(scores.values()))
    return {
        "n": len(values),
        "mean": float(values.mean()),
        "sd": float(values.std(ddof=1)) if len(values) >= MIN_SEEDS else None,
        "min": float(values.min()),
        "max": float(values.max()),
        "scores": {str(seed): float(score) for seed, score in scores.items()},
    }
