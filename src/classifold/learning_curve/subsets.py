"""Select nested subsets of the training images."""

from collections.abc import Mapping, Sequence

import numpy as np

from classifold.data.pack import Pack
from classifold.training.folds import assign_parts, fold_of_rows

PARTS_SETTING = "measure_curve.parts"


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
    parts = assign_parts(train.originals(), n_parts=n_parts, seed=seed, setting=PARTS_SETTING)
    part_of_row = fold_of_rows(train, parts)
    return {size: train.subset(np.flatnonzero(part_of_row < size)) for size in sizes}
