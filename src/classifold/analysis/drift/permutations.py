"""Permute which of two sets each image belongs to, for the tests of drift.

If both sets are from one source, which image belongs to which set is random. So each test computes
its statistic for the actual sets and for random ones, and its p-value is exact for any number of
images (Phipson and Smyth 2010, doi:10.2202/1544-6115.1585).
"""

import numpy as np

from classifold.data.seeding import generator

N_FOLDS = 5
N_PERMUTATIONS = 999


def assign_folds(is_new: np.ndarray, *, seed: int) -> np.ndarray:
    """Assign images to folds at random, both sets in equal proportions.

    Args:
        is_new: bool array (N,), whether an image is of the new set.
        seed: seed of the assignment.

    Returns:
        int array (N,), in [0, `N_FOLDS`).
    """
    folds = np.empty(len(is_new), int)
    for of_set in (~is_new, is_new):
        n_images = int(of_set.sum())
        folds[of_set] = generator(seed, "folds", n_images).permutation(n_images) % N_FOLDS
    return folds


def permute_sets(
    is_new: np.ndarray, folds: np.ndarray, *, seed: int, n: int = N_PERMUTATIONS
) -> np.ndarray:
    """Permute the sets of images within each fold.

    Args:
        is_new: bool array (N,), whether an image is of the new set.
        folds: int array (N,).
        seed: seed of the permutations.
        n: number of permutations.

    Returns:
        bool array (n + 1, N): first the actual sets, then permuted ones.
    """
    random = generator(seed, "permutations")
    sets = np.tile(is_new, (n + 1, 1))
    for fold in np.unique(folds):
        (rows,) = np.nonzero(folds == fold)
        sets[1:, rows] = random.permuted(sets[1:, rows], axis=1)
    return sets


def p_values(statistics: np.ndarray, actual: np.ndarray) -> np.ndarray:
    """Compute the fraction of labelings whose statistic is at least as large as the actual one.

    Args:
        statistics: float array (n + 1,): of each labeling the statistic, or of several statistics
            the largest one, which corrects for their number (Westfall and Young 1993).
        actual: float array (K,): the statistics of the actual labeling.

    Returns:
        float array (K,), in [1 / (n + 1), 1].
    """
    return (statistics[:, None] >= actual[None]).mean(axis=0)
