"""Read the labels that predictions are compared with."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from classifold.data.split_file import read_split
from classifold.errors import UserError


class LabeledImages(NamedTuple):
    """The images of one split; row i of `labels` belongs to `ids[i]`."""

    ids: list[str]
    labels: np.ndarray  # positions in classes, int64 (N,); in `multi` 0 and 1, uint8 (N, n_classes)


def read_labeled_images(path: Path, *, decisions: Mapping[str, Any]) -> LabeledImages:
    """Read the images of one split and their labels.

    Args:
        path: such as `data/split/test.csv`.
        decisions: what `compare` wrote: `classes`, in the order of logits, and `task`.

    Raises:
        UserError: if an image has a class without training images.
    """
    split, classes = read_split(path), set(decisions["classes"])
    for image_id, names in split.items():
        for name in names:
            if name not in classes:
                raise UserError(
                    f"{path}: image {image_id!r} has the class '{name}', which no training image "
                    "has, so that no model can predict it. Remove the class from the data, or add "
                    "images of it."
                )
    return LabeledImages(list(split), encode_labels(list(split.values()), decisions=decisions))


def encode_labels(labels: Sequence[Sequence[str]], *, decisions: Mapping[str, Any]) -> np.ndarray:
    """Replace the names of labels by positions, as in `LabeledImages`.

    Args:
        labels: names of the labels of each image.
        decisions: see `read_labeled_images`; it has all names.
    """
    position = {name: i for i, name in enumerate(decisions["classes"])}
    if decisions["task"] == "single":
        return np.array([position[name] for (name,) in labels], int)
    encoded = np.zeros((len(labels), len(position)), np.uint8)
    for row, names in zip(encoded, labels, strict=True):
        row[[position[name] for name in names]] = 1
    return encoded
