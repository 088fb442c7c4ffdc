"""List labels that are probably wrong, by confident learning. No label is changed.

A class is confident for an image if its probability is at least the mean probability of the class
among images that have it as their label. An image is probably mislabeled if its most probable
confident class is not its label.

Source: Northcutt, Jiang, Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset
Labels", arXiv:1911.00068, sections 3.1 and 3.2.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from classifold.data.csv_file import rounded, write_rows
from classifold.stacking.held_out_labels import HeldOut

COLUMNS = ["rank", "id", "label", "suggested", "label_probability", "suggested_probability"]

# The mean of equal numbers may differ from them by rounding.
ROUNDING = 1e-6

NO_CLASS = -1  # where no class is confident
MAX_LISTED = 1000


def find_label_errors(path: Path, held_out: HeldOut, classes: Sequence[str]) -> dict[str, Any]:
    """Write the most probable label errors of training images, and count all of them.

    Args:
        path: `label_errors.csv`, which gets at most `MAX_LISTED` rows.
        held_out: probabilities of models that were fitted without the image.
        classes: names, in the order of columns.

    Returns:
        The key `label_errors` of `metrics/stack.json`: `models`, `n_images` and `n_errors`.
    """
    errors = label_errors(
        held_out.probabilities, held_out.labels, ids=held_out.ids, classes=classes
    )
    write_label_errors(path, errors[:MAX_LISTED])
    return {
        "models": held_out.models,
        "n_images": len(held_out.ids),
        "n_errors": len(errors),
    }


def label_errors(
    probabilities: np.ndarray,
    labels: np.ndarray,
    *,
    ids: Sequence[str],
    classes: Sequence[str],
) -> list[dict[str, Any]]:
    """List labels that are probably wrong, the most probable errors first.

    These are the images off the diagonal of the confident joint, except those whose label is the
    most probable of all classes; cleanlab excludes them too. They are ranked by the normalized
    margin, the probability of the label minus the largest of the others; ties are in the order of
    images. With several labels per image each class is a task of its own, present or absent.

    Args:
        probabilities: float array (N, n_classes), for images that the model was not trained on.
        labels: int array (N,), or 0 and 1 in (N, n_classes).
        ids: ids of the images.
        classes: names, in the order of columns.

    Returns:
        Rows with `COLUMNS`. With several labels `label` is empty where the class is absent and
        probably should be present, and `suggested` is empty where it is present and probably
        should be absent.
    """
    errors: list[tuple[float, dict[str, Any]]] = []  # margin, row
    if labels.ndim == 1:
        errors += _errors(probabilities, labels, ids, classes)
    else:
        for name, probability, present in zip(classes, probabilities.T, labels.T, strict=True):
            absent_or_present = np.column_stack([1 - probability, probability])
            errors += _errors(absent_or_present, present.astype(np.int64), ids, ["", name])
    errors.sort(key=lambda error: error[0])
    return [{"rank": rank} | row for rank, (_, row) in enumerate(errors, start=1)]


def confident_thresholds(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Compute for each class its mean probability among images that have it as their label.

    Args:
        probabilities: float array (N, n_classes).
        labels: int array (N,).

    Returns:
        float64 (n_classes,); infinite for a class without images.
    """
    n_classes = probabilities.shape[1]
    label_probabilities = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    sums = np.bincount(labels, label_probabilities, minlength=n_classes)
    n_images = np.bincount(labels, minlength=n_classes)
    return np.where(n_images > 0, sums / np.maximum(n_images, 1), np.inf)


def confident_classes(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Find the most probable confident class of each image, or `NO_CLASS`: int array (N,)."""
    confident = probabilities >= confident_thresholds(probabilities, labels) - ROUNDING
    best = np.where(confident, probabilities, -1).argmax(axis=1)
    return np.where(confident.any(axis=1), best, NO_CLASS)


def write_label_errors(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write `label_errors.csv`, probabilities to six places."""
    write_rows(
        path,
        map(rounded, rows),
        columns=COLUMNS,
    )


def _errors(
    probabilities: np.ndarray, labels: np.ndarray, ids: Sequence[str], names: Sequence[str]
) -> list[tuple[float, dict[str, Any]]]:
    suggested = confident_classes(probabilities, labels)
    rows = np.arange(len(labels))
    label_probabilities = probabilities[rows, labels]
    others = probabilities.copy()
    others[rows, labels] = -np.inf
    margins = label_probabilities - others.max(axis=1, initial=-np.inf)
    chosen = np.flatnonzero((suggested != NO_CLASS) & (suggested != labels) & (margins < 0))
    return [
        (
            float(margins[row]),
            {
                "id": str(ids[row]),
                "label": names[int(labels[row])],
                "suggested": names[int(suggested[row])],
                "label_probability": float(label_probabilities[row]),
                "suggested_probability": float(probabilities[row, suggested[row]]),
            },
        )
        for row in chosen.tolist()
    ]
