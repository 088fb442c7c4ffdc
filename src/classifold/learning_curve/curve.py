"""Describe a learning curve: its scores, a fitted power law, and what more images would bring."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from classifold.data.seeding import generator
from classifold.learning_curve.power_law import (
    EXPONENTS,
    MIN_SIZES,
    PowerLaw,
    fit_power_law,
)
from classifold.learning_curve.scores import Terms

LEVELS = (0.025, 0.975)
N_RESAMPLES = 2000
N_ADDED = 4  # groups of mean size, half of them correct
MAX_COUNTS_IN_MEMORY = 4_000_000


class Curve(NamedTuple):
    """Errors for each number of training images, of the actual images and of resamples."""

    n_images: np.ndarray  # int (K,): number of training images of each size
    by_seed: list[list[float]]  # of each size, the error of each seed
    errors: np.ndarray  # float (K,): mean over seeds
    resampled: np.ndarray  # float (n_resamples, K)
    n_half: int  # number of sizes of at most half of the images

    def half(self) -> "Curve":
        """Select the sizes of at most half of the images."""
        return Curve(
            self.n_images[: self.n_half],
            self.by_seed[: self.n_half],
            self.errors[: self.n_half],
            self.resampled[:, : self.n_half],
            n_half=0,
        )

    def fit(self) -> tuple[PowerLaw, PowerLaw]:
        """Fit the law of the errors, and those of all resamples."""
        sizes = self.n_images.astype(float)
        return fit_power_law(sizes, self.errors), fit_power_law(sizes, self.resampled)


def measure_curve(
    terms: Mapping[int, Sequence[Terms]], groups: Sequence[str], *, n_half: int, seed: int
) -> Curve:
    """Compute errors, and those of a bootstrap over groups of validation images and over seeds.

    As in the interval of Agresti and Coull, two groups that are always correct and two that never
    are belong to those that are resampled, so that no interval of a score is a point.

    All sizes have the same resampled images, and all sizes the same resampled seeds, since subsets
    of one seed are nested.

    Args:
        terms: number of training images -> terms of each seed; one where all seeds are the same.
        groups: the group of each validation image; images of a group are resampled together.
        n_half: number of sizes of at most half of the images, at least one.
        seed: seed of the bootstrap.
    """
    random = generator(seed, "learning curve")
    n_seeds = max(map(len, terms.values()))
    seeds = random.multinomial(n_seeds, [1 / n_seeds] * n_seeds, size=N_RESAMPLES) / n_seeds
    runs = [run for of_size in terms.values() for run in of_size]
    of_runs = _resample_images(runs, groups, random=random)
    by_seed, resampled, start = [], [], 0
    for of_size in terms.values():
        errors = of_runs[:, start : start + len(of_size)]  # (n_resamples, n_seeds or 1)
        start += len(of_size)
        resampled.append((errors * seeds).sum(1) if len(of_size) == n_seeds else errors[:, 0])
        by_seed.append([float(1 - run.parts.sum() / run.wholes.sum()) for run in of_size])
    if len(by_seed[n_half - 1]) > 1:
        # There is one set of all images. Others would differ about as subsets of half of it do:
        # larger ones have more images in common.
        spread = np.std(by_seed[n_half - 1], ddof=1)
        resampled[-1] = np.clip(resampled[-1] + random.normal(0, spread, N_RESAMPLES), 0, 1)
    means = np.array([np.mean(errors) for errors in by_seed])
    return Curve(np.array(list(terms)), by_seed, means, np.stack(resampled, axis=1), n_half)


def _resample_images(
    runs: Sequence[Terms], groups: Sequence[str], *, random: np.random.Generator
) -> np.ndarray:
    """Compute the errors of runs for resampled images: float (n_resamples, n_runs)."""
    parts, wholes = (np.stack(columns) for columns in zip(*runs, strict=True))  # (n_runs, N)
    _, group_of_image = np.unique(np.array(groups), return_inverse=True)
    n_given = int(group_of_image.max()) + 1
    added = np.repeat(wholes.sum(axis=1, keepdims=True) / n_given, N_ADDED, axis=1)
    parts = np.hstack([parts, added * (np.arange(N_ADDED) % 2)])
    wholes = np.hstack([wholes, added])
    group_of_image = np.append(group_of_image, n_given + np.arange(N_ADDED))
    n_groups = n_given + N_ADDED
    n_at_once = max(1, MAX_COUNTS_IN_MEMORY // len(group_of_image))
    errors = []
    for start in range(0, N_RESAMPLES, n_at_once):
        n_resamples = min(n_at_once, N_RESAMPLES - start)
        counts = random.multinomial(n_groups, [1 / n_groups] * n_groups, size=n_resamples)
        weights = counts[:, group_of_image].astype(float)
        total = weights @ wholes.T
        # Micro F1 is 0 where no label is present and none predicted, as in scikit-learn.
        scores = np.divide(weights @ parts.T, total, out=np.zeros_like(total), where=total > 0)
        errors.append(1 - scores)
    return np.concatenate(errors)


def describe_curve(curve: Curve) -> dict[str, Any]:
    """Describe scores, the fitted law, the gain of twice as many images, and a test of the law.

    Returns:
        `sizes`, `fit`, `twice` and `held_back`, see docs/LEARNING_CURVE.md.
    """
    law, laws = curve.fit()
    n_largest = int(curve.n_images[-1])
    return {
        "sizes": [
            {
                "n_images": int(n_images),
                "score": 1 - float(error),
                "score_ci95": _interval(1 - resampled),
                "score_by_seed": [1 - each for each in by_seed],
            }
            for n_images, error, resampled, by_seed in zip(
                curve.n_images, curve.errors, curve.resampled.T, curve.by_seed, strict=True
            )
        ],
        "fit": {
            **{name: float(getattr(law, name)) for name in ("a", "b", "c")},
            **{f"{name}_ci95": _interval(getattr(laws, name)) for name in ("a", "b", "c")},
            "not_identified": find_not_identified(curve, laws),
        },
        "twice": {
            "n_images": 2 * n_largest,
            "score": 1 - float(law.error(2 * n_largest)),
            "gain": float(law.gain(2)),
            "gain_ci95": _interval(laws.gain(2)),
        },
        "held_back": predict_held_back(curve),
    }


def predict_held_back(curve: Curve) -> dict[str, Any]:
    """Predict the score of all images from sizes of at most half of them, and compare."""
    half = curve.half()
    law, laws = half.fit()
    n_images = float(curve.n_images[-1])
    difference = float(law.error(n_images) - curve.errors[-1])
    return {
        "n_fitted_images": int(half.n_images[-1]),
        "score_of_fitted": 1 - float(half.errors[-1]),
        "predicted": 1 - float(law.error(n_images)),
        "measured": 1 - float(curve.errors[-1]),
        "difference": difference,
        "difference_ci95": _interval(laws.error(n_images) - curve.resampled[:, -1]),
        "not_identified": find_not_identified(half, laws),
    }


def find_not_identified(curve: Curve, laws: PowerLaw) -> list[str]:
    """State which parts of a fit the scores do not determine; none if they determine all."""
    found = []
    if not curve.errors[-1]:
        found.append(f"with {curve.n_images[-1]:,} images no validation image is wrong")
    if len(curve.n_images) < MIN_SIZES:
        found.append(f"{len(curve.n_images)} sizes are too few for three parameters")
    if _interval(curve.resampled[:, 0] - curve.resampled[:, -1])[0] <= 0:
        found.append("the score does not rise measurably")
    (low, high), highest_error = _interval(laws.c), _interval(laws.a)[1]
    if low <= EXPONENTS[0] or high >= EXPONENTS[-1]:
        found.append(f"the exponent may be any from {low:.2f} to {high:.2f}")
    if _interval(laws.a)[0] <= 0:
        found.append(f"the error of infinitely many images may be any up to {highest_error:.3f}")
    return found


def _interval(values: np.ndarray) -> list[float]:
    low, high = np.quantile(values, LEVELS)
    return [float(low), float(high)]
