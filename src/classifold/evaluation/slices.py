"""Group test images into slices, on which a classifier may be better or worse than on all."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from classifold.data.csv_file import read_rows
from classifold.data.image_table import TEST, iter_columns
from classifold.filtering.metrics import ids_with_duplicates
from classifold.filtering.selection import REASONS, UNTOUCHED
from classifold.filtering.size import describe_outlier

THIRDS = ("dark", "middle", "bright")

DUPLICATES = "duplicates"
DUPLICATE, NO_DUPLICATE = "duplicate of a training image", "no duplicate"

# kind of slice -> value -> bool array (N,): the test images it holds
Slices = Mapping[str, Mapping[str, np.ndarray]]


def find_slices(
    ids: Sequence[str],
    luma: np.ndarray,
    *,
    ingested: Path,
    duplicates: Path,
    modal_size: Sequence[int],
    settings: Mapping[str, Any],
) -> Slices:
    """Find which test images are in which slice of each kind.

    `brightness` is by thirds of the test images' mean luma; `mode` is Pillow's mode of the
    original file (L: grayscale, P: palette). Two kinds exist only for an official test split,
    which the filter does not change: `filter` is the result that the filter would have given for
    training images (`kept`, `size`, `conflicting_labels` or `duplicate`, the last two by equal
    pixels), and `duplicates` is whether an exact or near duplicate was kept for training or
    validation.

    Args:
        ids: ids of N test images.
        luma: float array (N,): mean luma of each image.
        ingested: folder of the image table.
        duplicates: `duplicates.csv` of the filter.
        modal_size: the most frequent (width, height) of training images.
        settings: settings of the filter.
    """
    rows = {row["id"]: row for row in _read_rows(ingested)}
    images = [rows[image_id] for image_id in ids]
    slices = {
        "brightness": _by_value(brightness(luma), THIRDS),
        "mode": _by_value([str(row["mode"]) for row in images]),
    }
    if not any(row["split"] == TEST for row in images):
        return slices
    training_labels = defaultdict(set)
    for row in rows.values():
        if row["split"] not in UNTOUCHED:
            training_labels[row["sha256"]].add(frozenset(row["labels"]))
    modal = (modal_size[0], modal_size[1])
    outcomes = [_outcome(row, training_labels, modal=modal, settings=settings) for row in images]
    duplicate_ids = ids_with_duplicates(
        (row["id"], row["group"], row["split"], row["kept"] == "true")
        for row in read_rows(duplicates)
    )
    return slices | {
        "filter": _by_value(outcomes, ("kept", *REASONS)),
        DUPLICATES: _by_value(
            [DUPLICATE if row["id"] in duplicate_ids else NO_DUPLICATE for row in images],
            (DUPLICATE, NO_DUPLICATE),
        ),
    }


def brightness(luma: np.ndarray) -> list[str]:
    """Group images into thirds by mean luma (N,); equal values are in the same third."""
    if len(luma) == 0:
        return []
    limits = np.quantile(luma, [1 / 3, 2 / 3])
    return [THIRDS[third] for third in np.searchsorted(limits, luma)]


def _by_value(values: Sequence[str], order: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """Value -> which elements have it, for values that occur; sorted by `order` or by name."""
    array = np.array(values, object)
    present = sorted(set(values))
    return {value: array == value for value in (order or present) if value in present}


def _read_rows(ingested: Path) -> list[dict[str, Any]]:
    columns = ("id", "labels", "split", "width", "height", "mode", "sha256")
    return list(iter_columns(ingested, columns))


def _outcome(
    row: Mapping[str, Any],
    training_labels: Mapping[str, set[frozenset[str]]],
    *,
    modal: tuple[int, int],
    settings: Mapping[str, Any],
) -> str:
    """The result of the filter if the image were a training image: first size, then duplicates."""
    if describe_outlier((row["width"], row["height"]), modal=modal, settings=settings["size"]):
        return "size"
    others = training_labels.get(row["sha256"], set())
    duplicates = settings["duplicates"]
    if others - {frozenset(row["labels"])}:
        return "conflicting_labels" if duplicates["conflicting"] == "drop" else "kept"
    return "duplicate" if others and duplicates["exact"] == "drop" else "kept"
