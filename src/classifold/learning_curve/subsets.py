"""Select nested subsets of the training images."""

from collections.abc import Mapping, Sequence

import numpy as np

from classifold.data.pack import Pack
from classifold.errors import UserError
from classifold.learning_curve.power_law import MIN_SIZES
from classifold.splitting.stratified import stratify_folds
from classifold.training.folds import fold_of_rows
from classifold.training.losses import one_hot


def assign_parts(images: Pack, *, n_parts: int, seed: int) -> np.ndarray:
    """Assign images to parts of the same size and class proportions; groups stay in one part.

    Args:
        images: without augmented variants.
        n_parts: number of parts.
        seed: seed of the assignment.

    Returns:
        int array (N,), in [0, n_parts).
    """
    positive = one_hot(images.labels, len(images.classes)).astype(bool)
    labels = [[images.classes[i] for i in np.flatnonzero(row)] for row in positive]
    groups = images.groups or images.ids
    return stratify_folds(labels, groups, n_folds=n_parts, seed=seed, setting="measure_curve.parts")


def nested_subsets(
    train: Pack, *, n_parts: int, sizes: Sequence[int], seed: int
) -> Mapping[int, Pack]:
    """Select subsets, each of which contains the smaller ones.

    Args:
        train: training images, with all their augmented variants.
        n_parts: number of parts that they are divided into.
        sizes: numbers of parts, increasing; the last one is `n_parts`.
        seed: seed of the division.

    Returns:
        Number of parts -> images, with all their variants.

    Raises:
        UserError: if the sizes are not at least four increasing numbers, or if there are too few
            images.
    """
    n_small = sum(size <= n_parts / 2 for size in sizes)
    is_increasing = list(sizes) == sorted(set(sizes)) and sizes[0] >= 1 and sizes[-1] == n_parts
    if len(sizes) < MIN_SIZES or n_small < 2 or not is_increasing:
        raise UserError(
            f"measure_curve.sizes: must be at least {MIN_SIZES} increasing numbers from 1 to "
            f"{n_parts}, two of them at most {n_parts // 2}, got {list(sizes)}. Correct them in "
            "studies/learning_curve/params.yaml."
        )
    part_of_row = fold_of_rows(train, assign_parts(train.originals(), n_parts=n_parts, seed=seed))
    return {size: train.subset(np.flatnonzero(part_of_row < size)) for size in sizes}
