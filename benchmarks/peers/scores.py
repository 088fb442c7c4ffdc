"""Score the predictions of a peer on the test images, and the best constant prediction."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from classifold.evaluation.scores import main_score
from classifold.models.baseline import majority_baseline


def encode(labels: Sequence[Sequence[str]], classes: Sequence[str], *, task: str) -> np.ndarray:
    """Encode labels: int array (N,), or bool array (N, n_classes) with several labels.

    Raises:
        ValueError: if a prediction is of no class, or is not one label where each image has one.
    """
    unknown = {label for row in labels for label in row} - set(classes)
    if unknown:
        raise ValueError(f"predictions of unknown classes: {', '.join(sorted(unknown))}")
    if task == "multi":
        return np.array([[name in row for name in classes] for row in labels])
    if any(len(row) != 1 for row in labels):
        raise ValueError("predictions: one label is needed for each image")
    return np.array([classes.index(row[0]) for row in labels])


def score(
    predicted: Mapping[str, Sequence[str]],
    actual: Mapping[str, Sequence[str]],
    classes: Sequence[str],
    *,
    task: str,
) -> tuple[float, list[float]]:
    """Compute accuracy, or micro F1, and its 95 % interval; a missing prediction is an error."""
    if predicted.keys() != actual.keys():
        raise ValueError(f"predictions of {len(predicted)} images, expected {len(actual)}")
    rows = encode([predicted[name] for name in actual], classes, task=task)
    return main_score(rows, encode(list(actual.values()), classes, task=task))


def baseline(
    train: Sequence[Sequence[str]],
    actual: Mapping[str, Sequence[str]],
    classes: Sequence[str],
    *,
    task: str,
) -> float:
    """Score the best constant prediction, chosen by training images, on the test images."""
    counts = Counter(label for row in train for label in row)
    proportions = {name: counts[name] / len(train) for name in classes}
    labels = encode(list(actual.values()), classes, task=task)
    best = majority_baseline(labels.astype(int), proportions)
    constant = best["predicted_classes"] if task == "multi" else [best["predicted_class"]]
    return score(dict.fromkeys(actual, constant), actual, classes, task=task)[0]
