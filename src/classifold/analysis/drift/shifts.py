"""Test which predicted classes and which properties of images differ between two sets of images.

Several classes or properties are tested at once; the p-values are corrected for their number
(Westfall and Young 1993, "Resampling-Based Multiple Testing", section 2.3: single-step maxT).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import norm

from classifold.analysis.drift.permutations import p_values
from classifold.evaluation.intervals import LEVEL, accuracy_interval, independent_gain_interval


def compare_classes(
    predicted: np.ndarray, sets: np.ndarray, classes: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Compare the fraction of images that are predicted as each class.

    The intervals of the differences hold for all classes at once (Bonferroni; Newcombe 1998).

    Args:
        predicted: bool array (N, n_classes).
        sets: bool array (n + 1, N): whether an image is of the new set, see `permute_sets`.
        classes: their names.

    Returns:
        Class -> `reference_fraction`, `new_fraction`, `difference`, `difference_ci95`, `p_value`.
    """
    n_new = int(sets[0].sum())
    n_reference = len(predicted) - n_new
    in_new = sets.astype(float) @ predicted  # (n + 1, n_classes)
    in_all = predicted.sum(axis=0)
    fraction = in_all / len(predicted)
    spread = np.sqrt(fraction * (1 - fraction) * (1 / n_new + 1 / n_reference))
    gaps = in_new / n_new - (in_all - in_new) / n_reference
    statistics = np.abs(gaps) / np.where(spread > 0, spread, 1)
    p_value = p_values(_rounded(statistics.max(axis=1)), _rounded(statistics[0]))
    level = _level_of_each(len(classes))
    compared = {}
    for i, name in enumerate(classes):
        counts = (int(in_new[0, i]), n_new), (int(in_all[i] - in_new[0, i]), n_reference)
        new, reference = (n / n_images for n, n_images in counts)
        of_new, of_reference = (accuracy_interval(*each, level=level) for each in counts)
        compared[name] = {
            "reference_fraction": reference,
            "new_fraction": new,
            "difference": new - reference,
            "difference_ci95": independent_gain_interval(new, of_new, reference, of_reference),
            "p_value": float(p_value[i]),
        }
    return compared


def compare_properties(
    properties: np.ndarray, sets: np.ndarray, names: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Compare the distributions of properties of images, by the statistic of Kolmogorov-Smirnov.

    The intervals of the differences hold for all properties at once (Bonferroni; Welch).

    Args:
        properties: float array (N, n_properties).
        sets: bool array (n + 1, N): whether an image is of the new set, see `permute_sets`.
        names: names of the properties.

    Returns:
        Name -> `reference_mean`, `new_mean`, `difference`, `difference_ci95`,
        `ks_statistic` (the largest difference of the two cumulative distributions, in [0, 1]),
        `p_value`.
    """
    statistics = np.stack([ks_statistics(values, sets) for values in properties.T], axis=1)
    p_value = p_values(_rounded(statistics.max(axis=1)), _rounded(statistics[0]))
    z = norm.ppf((1 + _level_of_each(len(names))) / 2)
    compared = {}
    for i, name in enumerate(names):
        new, reference = properties[sets[0], i], properties[~sets[0], i]
        difference = float(new.mean() - reference.mean())
        half = z * np.sqrt(new.var(ddof=1) / len(new) + reference.var(ddof=1) / len(reference))
        compared[name] = {
            "reference_mean": float(reference.mean()),
            "new_mean": float(new.mean()),
            "difference": difference,
            "difference_ci95": [float(difference - half), float(difference + half)],
            "ks_statistic": float(statistics[0, i]),
            "p_value": float(p_value[i]),
        }
    return compared


def ks_statistics(values: np.ndarray, sets: np.ndarray) -> np.ndarray:
    """Compute the statistic of Kolmogorov-Smirnov for several labelings of the same values.

    Args:
        values: float array (N,).
        sets: bool array (n, N), with as many new values in each row.

    Returns:
        float array (n,).
    """
    order = np.argsort(values, kind="stable")
    ordered = sets[:, order]
    n_new = int(ordered[0].sum())
    steps = np.where(ordered, 1 / n_new, -1 / (len(values) - n_new))
    last_of_equal = np.append(np.diff(values[order]) > 0, True)
    return np.abs(steps.cumsum(axis=1)[:, last_of_equal]).max(axis=1)


def _rounded(statistics: np.ndarray) -> np.ndarray:
    """Equal statistics of different labelings must not differ by rounding errors."""
    return statistics.round(9)


def _level_of_each(n_intervals: int) -> float:
    return 1 - (1 - LEVEL) / n_intervals
