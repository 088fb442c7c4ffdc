"""The majority baseline: the best constant prediction."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from classifold.models.decisions import micro_f1

MAJORITY = "majority_baseline"


def majority_baseline(labels: np.ndarray, shares: Mapping[str, float]) -> dict[str, Any]:
    """Score the best constant answer, chosen by the classes' shares of training images.

    For one label an image that is the most frequent class; for several, the most frequent ones,
    as many as give the highest micro F1.

    Args:
        labels: of the validation images.
        shares: class -> share of the training images that bear it.
    """
    classes = list(shares)
    ranked = sorted(classes, key=lambda name: -shares[name])
    if labels.ndim == 1:
        return {
            "train_accuracy": shares[ranked[0]],
            "validation_accuracy": float((labels == classes.index(ranked[0])).mean()),
            "predicted_class": ranked[0],
            "n_parameters": 0,
        }
    found = np.cumsum([shares[name] for name in ranked])
    scores = 2 * found / (np.arange(1, len(ranked) + 1) + found[-1])
    answered = ranked[: int(scores.argmax()) + 1]
    answers = np.tile(np.isin(classes, answered), (len(labels), 1))
    return {
        "train_micro_f1": float(scores.max()),
        "validation_micro_f1": micro_f1(answers, labels),
        "validation_accuracy": float((answers == labels).all(1).mean()),
        "predicted_classes": answered,
        "n_parameters": 0,
    }
