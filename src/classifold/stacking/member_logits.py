"""Read members' logits for images that no member was trained on, to fit an ensemble on them."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from classifold.data.logits_file import load_logits
from classifold.errors import UserError
from classifold.splitting.stratified import stratify_folds


class MemberLogits(NamedTuple):
    """The logits of all members for N images; row i of each array belongs to image i."""

    ids: list[str]
    labels: np.ndarray  # int64 (N,), or 0 and 1 in (N, n_classes)
    logits: dict[str, np.ndarray]  # member -> float32 (N, n_classes)


def read_member_logits(files: Mapping[str, Path]) -> MemberLogits:
    """Read the logits of members for the same images.

    Args:
        files: member -> what `save_logits` wrote.

    Raises:
        UserError: if the files are of different images.
    """
    loaded = {name: load_logits(path) for name, path in files.items()}
    first = next(iter(loaded))
    for name, member in loaded.items():
        if not np.array_equal(member.ids, loaded[first].ids):
            raise UserError(
                f"{files[name]}: its images are not those of {files[first]}. "
                "Run 'dvc repro' to bring both up to date."
            )
    logits = {name: member.logits for name, member in loaded.items()}
    return MemberLogits(loaded[first].ids.tolist(), loaded[first].labels, logits)


def assign_folds(
    images: MemberLogits, groups: Mapping[str, str], *, n_folds: int, seed: int
) -> np.ndarray:
    """Assign each image to one of the folds in which the ensemble is cross-fitted.

    Args:
        images: the images and their labels.
        groups: id -> group; images of one group, such as duplicates, are in one fold.
        n_folds: number of folds.
        seed: seed of the order.

    Returns:
        int64 array (N,) in [0, n_folds).

    Raises:
        UserError: if there are too few groups.
    """
    single = images.labels.ndim == 1
    labels = [
        [str(label)] if single else np.flatnonzero(label).astype(str).tolist()
        for label in images.labels
    ]
    return stratify_folds(
        labels,
        [groups[image_id] for image_id in images.ids],
        n_folds=n_folds,
        seed=seed,
        setting="stack.inner_folds",
    )
