"""Which labels are probably wrong, by confident learning: looked for, and never changed.

A class counts as confident for an image if its probability reaches what is usual among images
that bear the class's label. An image whose most probable confident class is not its label is
probably mislabelled.

Source: Northcutt, Jiang, Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset
Labels", arXiv:1911.00068, sections 3.1 and 3.2.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from classifold.data.csv_file import write_rows

COLUMNS = ["rank", "id", "label", "suggested", "label_probability", "suggested_probability"]

# A mean of equal numbers may miss them by its rounding.
ROUNDING = 1e-6

UNSURE = -1  # no class is confident


def label_errors(
    shares: np.ndarray,
    labels: np.ndarray,
    *,
    ids: Sequence[str],
    classes: Sequence[str],
    most: int,
) -> list[dict[str, Any]]:
    """List labels that are probably wrong, the surest first.

    These are the images off the diagonal of the confident joint, but for those whose label is the
    most probable of all classes, which cleanlab leaves out too. They are ranked by the normalized
    margin, the probability of the label less the largest of the others; of equals the first image
    comes first. With several labels an image each class is judged by itself, as borne or not.

    Args:
        shares: probabilities, float array (N, n_classes), of images that the model was not
            trained on; of each class by itself where images bear several labels.
        labels: int array (N,), or 0 and 1 in (N, n_classes).
        ids: of the images.
        classes: names, in the order of columns.
        most: the largest number of rows.

    Returns:
        Rows with `COLUMNS`. With several labels `label` is empty where the class is not borne and
        probably should be, and `suggested` is empty where it is borne and probably should not.
    """
    found: list[tuple[float, dict[str, Any]]] = []  # margin, row
    if labels.ndim == 1:
        found += _found(shares, labels, ids, classes)
    else:
        for name, of_class, borne in zip(classes, shares.T, labels.T, strict=True):
            pair = np.column_stack([1 - of_class, of_class])
            found += _found(pair, borne.astype(np.int64), ids, ["", name])
    found.sort(key=lambda item: item[0])
    return [{"rank": rank} | row for rank, (_, row) in enumerate(found[:most], start=1)]


def confident_thresholds(shares: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """For each class, the mean probability that images with its label give it.

    Args:
        shares: probabilities, float array (N, n_classes).
        labels: int array (N,).

    Returns:
        float64 (n_classes,); infinite for a class that no image bears.
    """
    n_classes = shares.shape[1]
    of_label = shares[np.arange(len(labels)), labels].astype(np.float64)
    sums = np.bincount(labels, of_label, minlength=n_classes)
    n_images = np.bincount(labels, minlength=n_classes)
    return np.where(n_images > 0, sums / np.maximum(n_images, 1), np.inf)


def confident_joint(shares: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Count images by their label (row) and their most probable confident class (column).

    Args:
        shares: probabilities, float array (N, n_classes).
        labels: int array (N,).

    Returns:
        int64 (n_classes, n_classes); images without a confident class are not counted.
    """
    confident = _confident_classes(shares, labels)
    sure = confident != UNSURE
    joint = np.zeros((shares.shape[1],) * 2, np.int64)
    np.add.at(joint, (labels[sure], confident[sure]), 1)
    return joint


def write_label_errors(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write `label_errors.csv`, probabilities to six places."""
    write_rows(
        path,
        (
            {
                name: round(value, 6) if isinstance(value, float) else value
                for name, value in row.items()
            }
            for row in rows
        ),
        columns=COLUMNS,
    )


def _confident_classes(shares: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The most probable confident class of each image, or `UNSURE`."""
    confident = shares >= confident_thresholds(shares, labels) - ROUNDING
    best = np.where(confident, shares, -1).argmax(axis=1)
    return np.where(confident.any(axis=1), best, UNSURE)


def _found(
    shares: np.ndarray, labels: np.ndarray, ids: Sequence[str], names: Sequence[str]
) -> list[tuple[float, dict[str, Any]]]:
    suggested = _confident_classes(shares, labels)
    rows = np.arange(len(labels))
    of_label = shares[rows, labels]
    others = shares.copy()
    others[rows, labels] = -np.inf
    margins = of_label - others.max(axis=1, initial=-np.inf)
    chosen = np.flatnonzero((suggested != UNSURE) & (suggested != labels) & (margins < 0))
    return [
        (
            float(margins[row]),
            {
                "id": str(ids[row]),
                "label": names[int(labels[row])],
                "suggested": names[int(suggested[row])],
                "label_probability": float(of_label[row]),
                "suggested_probability": float(shares[row, suggested[row]]),
            },
        )
        for row in chosen.tolist()
    ]
