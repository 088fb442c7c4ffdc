"""Members' logits on images that none of them was trained on: what an ensemble is fitted to."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from classifold.data.logits_file import load_logits
from classifold.errors import UserError
from classifold.splitting.stratified import stratify_folds


class Unseen(NamedTuple):
    """Row i of each is image i."""

    ids: list[str]
    labels: np.ndarray  # int64 (N,), or 0 and 1 in (N, n_classes)
    logits: dict[str, np.ndarray]  # member -> float32 (N, n_classes)


def read_unseen(files: Mapping[str, Path]) -> Unseen:
    """Read the logits of members on the same images.

    Args:
        files: member -> what `save_logits` wrote.

    Raises:
        UserError: if the members were asked about different images.
    """
    parts = {name: load_logits(path) for name, path in files.items()}
    first = next(iter(parts))
    for name, part in parts.items():
        if not np.array_equal(part.ids, parts[first].ids):
            raise UserError(
                f"{files[name]} is of other images than {files[first]}; run 'dvc repro' to make "
                "both anew"
            )
    logits = {name: part.logits for name, part in parts.items()}
    return Unseen(parts[first].ids.tolist(), parts[first].labels, logits)


def share_out(unseen: Unseen, groups: Mapping[str, str], *, n_folds: int, seed: int) -> np.ndarray:
    """Give each image one of the folds in which the ensemble is cross-fitted.

    Args:
        unseen: the images.
        groups: id -> group; copies and what belongs together stay in one fold.
        n_folds: how many.
        seed: of the order.

    Returns:
        int64 array (N,) in [0, n_folds).

    Raises:
        UserError: if there are too few groups.
    """
    single = unseen.labels.ndim == 1
    labels = [
        [str(label)] if single else np.flatnonzero(label).astype(str).tolist()
        for label in unseen.labels
    ]
    return stratify_folds(
        labels,
        [groups[image_id] for image_id in unseen.ids],
        n_folds=n_folds,
        seed=seed,
        setting="stack.inner_folds",
    )
