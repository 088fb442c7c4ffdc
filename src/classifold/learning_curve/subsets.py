"""Select nested subsets of the training images."""

from collections.abc import Mapping, Sequence

import numpy as np

from classifold.data.pack import Pack
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
        UserError: if there are too few images.
    """
    part_of_row = fold_of_rows(train, assign_parts(train.originals(), n_parts=n_parts, seed=seed))
    return {size: train.subset(np.flatnonzero(part_of_row < size)) for size in sizes}
