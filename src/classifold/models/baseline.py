"""The majority baseline: the best constant prediction."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from classifold.data.metrics import micro_f1


def majority_baseline(labels: np.ndarray, proportions: Mapping[str, float]) -> dict[str, Any]:
    """Score the best constant prediction, chosen by the class proportions of training images.

    For one label per image that is the most frequent class; for several labels, the number of most
    frequent classes with the highest micro F1.

    Args:
        labels: labels of the validation images.
        proportions: class -> fraction of the training images that have it.
    """
    classes = list(proportions)
    ranked = sorted(classes, key=lambda name: -proportions[name])
    if labels.ndim == 1:
        return {
            "train_accuracy": proportions[ranked[0]],
            "validation_accuracy": float((labels == classes.index(ranked[0])).mean()),
            "predicted_class": ranked[0],
            "n_parameters": 0,
        }
    # Of the first k classes, per image.
    true_positives = np.cumsum([proportions[name] for name in ranked])
    scores = 2 * true_positives / (np.arange(1, len(ranked) + 1) + true_positives[-1])
    predicted = ranked[: int(scores.argmax()) + 1]
    predictions = np.tile(np.isin(classes, predicted), (len(labels), 1))
    return {
        "train_micro_f1": float(scores.max()),
        "validation_micro_f1": micro_f1(predictions, labels),
        "validation_accuracy": float((predictions == labels).all(1).mean()),
        "predicted_classes": predicted,
        "n_parameters": 0,
    }
