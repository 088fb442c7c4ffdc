"""Stratify images with the `IterativeStratification` of scikit-multilearn, groups kept whole."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
from scipy.sparse import csr_array

from classifold.errors import UserError
from classifold.splitting.stratified import wanted_fractions


def stratify_with_scikit_multilearn(
    labels: Sequence[Collection[str]],
    groups: Sequence[str],
    *,
    fractions: Mapping[str, float],
    seed: int,
) -> list[str]:
    """Assign each image to a split by the iterative stratification of scikit-multilearn.

    The library knows no groups: each group is one of its samples, and a group's number of images
    of a label becomes binary labels ("has one", "has two", ...), so that the images of a label
    are stratified. Where every image is its own group, the result is the library's own for the
    images in a random order. It promises neither exact fractions nor each label in each split.

    Args:
        labels: the labels of each image; may be none.
        groups: the name of each image's group; images of one group go to one split.
        fractions: split -> fraction, 0 or more; they sum to 1.
        seed: seed of the order of the groups, and of the library's random choices.

    Returns:
        The split of each image.

    Raises:
        UserError: if a label has fewer groups than there are splits, or a split would be empty.

    Source: Sechidis, Tsoumakas, Vlahavas 2011, "On the Stratification of Multi-Label Data".
    """
    wanted = wanted_fractions(labels, groups, fractions)
    names, has_labels = _group_labels(labels, groups)
    split_of: dict[str, str] = {}
    with _numpy_seed(seed):
        order = np.random.permutation(len(names))
        for split, rows in zip(wanted, _folds(has_labels[order], wanted), strict=True):
            split_of.update((names[row], split) for row in order[rows].tolist())
    empty = set(wanted) - set(split_of.values())
    if empty:
        raise UserError(
            f"split.method: scikit-multilearn leaves {' and '.join(sorted(empty))} empty, got "
            f"{len(names)} groups of images. Set split.method to grouped or add images."
        )
    return [split_of[group] for group in groups]


def _group_labels(
    labels: Sequence[Collection[str]], groups: Sequence[str]
) -> tuple[list[str], csr_array]:
    """Describe the labels of each group by ones and zeros.

    Returns:
        The names of the groups, sorted, and a matrix (n_groups, n_columns): the column (-n, label)
        is 1 where a group has at least n images of the label.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for of_image, group in zip(labels, groups, strict=True):
        counts[group].update(of_image)
    names = sorted(counts)
    cells = [
        (row, (-n, label))
        for row, name in enumerate(names)
        for label, n_images in counts[name].items()
        for n in range(1, n_images + 1)
    ]
    column = {key: i for i, key in enumerate(sorted({key for _, key in cells}))}
    places = [row for row, _ in cells], [column[key] for _, key in cells]
    return names, csr_array((np.ones(len(cells)), places), shape=(len(names), len(column)))


def _folds(has_labels: csr_array, fractions: Mapping[str, float]) -> list[np.ndarray]:
    """Run the library: the rows of each split, in the order of `fractions`."""
    n_groups, n_splits = has_labels.shape[0], len(fractions)
    if n_splits == 1:  # the library refuses this, and more splits than samples
        return [np.arange(n_groups)]
    if n_groups < n_splits:
        return [np.arange(0)] * n_splits
    # Slow to import, and the other method does without it.
    from skmultilearn.model_selection import IterativeStratification  # noqa: PLC0415

    library = IterativeStratification(
        n_splits, order=1, sample_distribution_per_fold=list(fractions.values())
    )
    return [rows for _, rows in library.split(np.zeros((n_groups, 1)), has_labels)]


@contextmanager
def _numpy_seed(seed: int) -> Iterator[None]:
    """Seed NumPy's global state, which the library draws from, and restore it afterwards."""
    before = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(before)
