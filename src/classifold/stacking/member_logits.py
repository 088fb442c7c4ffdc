"""Read members' logits for images that no member was trained on, to fit an ensemble on them."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from classifold.data.logits_file import load_logits
from classifold.errors import UserError
from classifold.runtime.progress import log
from classifold.splitting.stratified import stratify_few


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

    With few images there are fewer folds; with one image, or one group of images, there is one.

    Args:
        images: the images and their labels.
        groups: id -> group; images of one group, such as duplicates, are in one fold.
        n_folds: number of folds.
        seed: seed of the order.

    Returns:
        int64 array (N,) in [0, n_folds).
    """
    single = images.labels.ndim == 1
    labels = [
        [str(label)] if single else np.flatnonzero(label).astype(str).tolist()
        for label in images.labels
    ]
    of_images = [groups[image_id] for image_id in images.ids]
    folds = stratify_few(labels, of_images, max_folds=n_folds, seed=seed)
    if (n_filled := len(np.unique(folds))) < n_folds:
        log(
            f"  {len(labels):,} images in {len(set(of_images)):,} groups fill only {n_filled} of "
            f"{n_folds} folds (stack.inner_folds)"
        )
    return folds
