"""Folds for cross-fitting: each image is left out once, copies of it with it."""

import warnings
from collections.abc import Sequence

import numpy as np
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

from classifold.errors import UserError


def share_out_folds(
    labels: np.ndarray, groups: Sequence[str], *, n_folds: int, seed: int
) -> np.ndarray:
    """Give each image one of the folds; a group stays whole.

    With one label an image the folds hold about the same share of each class; with several,
    groups are shared out at random.

    Args:
        labels: int array (N,), or 0 and 1 in (N, n_classes).
        groups: of each image: equal for copies, and for what belongs together.
        n_folds: how many; fewer where no class has so many images, or where there are fewer groups.
        seed: of the order.

    Returns:
        int array (N,): 0 to the number of folds less one, each of them present.

    Raises:
        UserError: if all images are of one group.
    """
    n_groups = len(set(groups))
    if n_groups < 2:
        raise UserError(
            f"{len(labels)} images of one group cannot be shared out to folds; raise split.shares "
            "for validation in params.yaml, or add images"
        )
    most = n_groups if labels.ndim > 1 else min(n_groups, int(np.bincount(labels).max()))
    n_folds = max(2, min(n_folds, most))
    if labels.ndim > 1:
        splitter = GroupKFold(n_folds, shuffle=True, random_state=seed)
    else:
        splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    folds = np.empty(len(labels), np.int64)
    with warnings.catch_warnings():
        # A class with fewer images than folds is missing from some, which is no harm here.
        warnings.filterwarnings("ignore", message="The least populated class")
        for fold, (_, held_out) in enumerate(splitter.split(labels, labels, groups)):
            folds[held_out] = fold
    return folds
