"""The labels that answers are measured against."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from classifold.data.split_file import read_split
from classifold.errors import UserError


class LabeledImages(NamedTuple):
    """Images of one part; row i of each is image i."""

    ids: list[str]
    labels: np.ndarray  # positions in classes, int64 (N,); in `multi` 0 and 1, uint8 (N, n_classes)


def read_labeled_images(path: Path, *, classes: Sequence[str], task: str) -> LabeledImages:
    """Read the images of one part and their labels.

    Args:
        path: such as `data/split/test.csv`.
        classes: names in the order of logits.
        task: `single` or `multi`.

    Raises:
        UserError: if an image bears a class that no model knows.
    """
    split = read_split(path)
    position = {name: i for i, name in enumerate(classes)}
    for image_id, names in split.items():
        for name in names:
            if name not in position:
                raise UserError(
                    f"{path}: {image_id!r} bears '{name}', which no training image bears, so that "
                    "no model can answer it; take the class out of the data, or add images of it"
                )
    if task == "single":
        return LabeledImages(
            list(split), np.array([position[name] for (name,) in split.values()], int)
        )
    borne = np.zeros((len(split), len(classes)), np.uint8)
    for row, names in zip(borne, split.values(), strict=True):
        row[[position[name] for name in names]] = 1
    return LabeledImages(list(split), borne)
