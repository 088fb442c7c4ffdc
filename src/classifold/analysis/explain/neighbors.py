"""Find the training images that are nearest to an image in the space of a model's features."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.metrics.pairwise import cosine_similarity

from classifold.data.image_table import LABEL_SEPARATOR
from classifold.data.pack import Pack
from classifold.data.predictions import label_names
from classifold.data.seeding import generator

N_NEIGHBORS = 5  # per image

# The features of one image take about as long as a prediction.
MAX_TRAIN_IMAGES = 10_000

# Of similarities, so that equal training images are in their order despite rounding errors.
DECIMALS = 6

COLUMNS = ("id", "label", "predicted", "rank", "neighbor", "neighbor_label", "similarity")


class Neighbor(NamedTuple):
    """A training image that is near to a test image."""

    id: str
    label: str  # several are joined by `|`
    similarity: float  # cosine, in [-1, 1]
    pixels: np.ndarray  # uint8 (size, size, 3)


def sample_originals(train: Pack, *, seed: int) -> Pack:
    """Select the training images without their augmented variants.

    Args:
        train: the training pack.
        seed: seed of the sample that is used of more than `MAX_TRAIN_IMAGES`.
    """
    originals = train.originals()
    n_images = len(originals.ids)
    if n_images <= MAX_TRAIN_IMAGES:
        return originals
    rows = generator(seed, "neighbors").permutation(n_images)[:MAX_TRAIN_IMAGES]
    return originals.subset(np.sort(rows))


def find_neighbors(
    features: np.ndarray, train: Pack, train_features: np.ndarray
) -> list[list[Neighbor]]:
    """Find the `N_NEIGHBORS` training images with the highest cosine similarity to each image.

    Of equally similar ones the first comes first.

    Args:
        features: float array (N, n_features).
        train: the training images; there may be fewer than `N_NEIGHBORS`.
        train_features: their features, float array (n_train, n_features).
    """
    if not len(features):
        return []
    similarities = cosine_similarity(features, np.asarray(train_features, np.float32))
    similarities = similarities.clip(-1, 1).round(DECIMALS)
    nearest = np.argsort(-similarities, axis=1, kind="stable")[:, :N_NEIGHBORS]
    return [
        [
            Neighbor(train.ids[row], label, float(of_image[row]), train.images[row])
            for row, label in zip(rows, label_names(train.labels[rows], train.classes), strict=True)
        ]
        for rows, of_image in zip(nearest, similarities, strict=True)
    ]


def label_overlap(first: str, second: str) -> float:
    """Measure the agreement of two texts with labels: the labels in common, of those in either.

    With one label per image it is 1 if both are equal, else 0. Two images without labels agree.
    """
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


def neighbor_metrics(
    rows: Sequence[Mapping[str, Any]], *, n_train: int, n_compared: int
) -> dict[str, Any]:
    """Collect the key `neighbors` of `metrics/explain.json`.

    The agreement is the mean `label_overlap` of neighbors with what was predicted, and with the
    actual labels; both are equal for correct predictions. None where there are no predictions.

    Args:
        rows: see `neighbor_rows`.
        n_train: number of training images.
        n_compared: number of those that were compared.
    """
    correct = [row for row in rows if row["predicted"] == row["label"]]
    incorrect = [row for row in rows if row["predicted"] != row["label"]]
    return {
        "neighbors": {
            "n_train_images": n_train,
            "n_compared": n_compared,
            "n_per_image": min(N_NEIGHBORS, n_compared),
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
