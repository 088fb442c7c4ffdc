"""Find the training images that are nearest to an image in the space of a model's features."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from classifold.analysis.features.nearest import DECIMALS, N_NEIGHBORS, Nearest
from classifold.analysis.features.training_images import TrainingImages
from classifold.data.labels import LABEL_SEPARATOR
from classifold.data.pixels import load_pixels

COLUMNS = ("id", "label", "predicted", "rank", "neighbor", "neighbor_label", "similarity")


class Neighbor(NamedTuple):
    """A training image that is near to a test image."""

    id: str
    label: str  # several are joined by `|`
    similarity: float  # cosine, in [-1, 1]
    pixels: np.ndarray  # uint8 (size, size, 3)


def find_neighbors(
    nearest: Nearest, train: TrainingImages, *, ingested: Path, size: int, resize: str
) -> list[list[Neighbor]]:
    """Read the training images that are nearest to each image.

    Args:
        nearest: of N images.
        train: the training images.
        ingested: folder of the image table.
        size: width and height of the pixels to return.
        resize: the filter, a key of `FILTERS`.
    """
    ids = [train.ids[row] for row in np.unique(nearest.rows)]
    pixels = dict(zip(ids, load_pixels(ingested, ids, size=size, resize=resize), strict=True))
    return [
        [
            Neighbor(train.ids[row], train.labels[row], float(similarity), pixels[train.ids[row]])
            for row, similarity in zip(rows, similarities, strict=True)
        ]
        for rows, similarities in zip(nearest.rows, nearest.similarities, strict=True)
    ]


def label_overlap(first: str, second: str) -> float:
    """Measure the agreement of two texts with labels: the labels in common, of those in either.

    With one label per image it is 1 if both are equal, else 0. Two images without labels agree.
    """
    # "" is split to {""}, so that no union is empty.
    labels, others = (set(text.split(LABEL_SEPARATOR)) for text in (first, second))
    return len(labels & others) / len(labels | others)


def neighbor_rows(
    predictions: Sequence[Mapping[str, Any]], neighbors: Sequence[Sequence[Neighbor]]
) -> list[dict[str, Any]]:
    """Describe the neighbors of each predicted image: rows with `COLUMNS`, the nearest first."""
    return [
        {
            **{key: row[key] for key in ("id", "label", "predicted")},
            "rank": rank,
            "neighbor": one.id,
            "neighbor_label": one.label,
            "similarity": round(one.similarity, DECIMALS),
        }
        for row, nearest in zip(predictions, neighbors, strict=True)
        for rank, one in enumerate(nearest, start=1)
    ]


def neighbor_metrics(rows: Sequence[Mapping[str, Any]], train: TrainingImages) -> dict[str, Any]:
    """Collect the key `neighbors` of `metrics/explain.json`.

    The agreement is the mean `label_overlap` of neighbors with what was predicted, and with the
    actual labels; both are equal for correct predictions. None where there are no predictions.

    Args:
        rows: see `neighbor_rows`.
        train: the training images.
    """
    correct = [row for row in rows if row["predicted"] == row["label"]]
    incorrect = [row for row in rows if row["predicted"] != row["label"]]
    return {
        "neighbors": {
            "n_train_images": train.n_train,
            "n_compared": len(train.ids),
            "n_per_image": min(N_NEIGHBORS, len(train.ids)),
            "correct": {"agreement": _agreement(correct, "label")},
            "incorrect": {
                "agreement_with_predicted": _agreement(incorrect, "predicted"),
                "agreement_with_actual": _agreement(incorrect, "label"),
            },
        }
    }


def _agreement(rows: Sequence[Mapping[str, Any]], key: str) -> float | None:
    overlaps = [label_overlap(row["neighbor_label"], row[key]) for row in rows]
    return float(np.mean(overlaps)) if overlaps else None
