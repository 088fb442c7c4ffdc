"""Compare the accuracies of study arms on validation and on clean images."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from classifold.data.pack import Pack
from classifold.evaluation.intervals import (
    independent_gain_interval,
    ratio_gain_interval,
    ratio_interval,
)
from classifold.leakage.arms import NONE, Arm


class Counts(NamedTuple):
    """Correct predictions per source image, summed over seeds and over variants."""

    n_correct: np.ndarray  # float64 (n_sources,)
    n_predictions: np.ndarray  # float64 (n_sources,)

    @classmethod
    def of(cls, ids: Sequence[str], correct: np.ndarray) -> "Counts":
        """Sum predictions (n_seeds, n_images) by the id of the source image."""
        sources, source_of = np.unique(np.array(ids), return_inverse=True)
        n_seeds, n_sources = len(correct), len(sources)
        return cls(
            np.bincount(source_of, correct.sum(0), n_sources),
            np.bincount(source_of, np.full(len(ids), float(n_seeds)), n_sources),
        )

    @property
    def accuracy(self) -> float:
        """The fraction of correct predictions."""
        return float(self.n_correct.sum() / self.n_predictions.sum())

    def interval(self) -> list[float]:
        """The 95 % interval of the accuracy, over source images."""
        return ratio_interval(self.n_correct, self.n_predictions)


def compare_arms(
    correct: Mapping[str, tuple[np.ndarray, np.ndarray]], arms: Mapping[str, Arm], clean: Pack
) -> dict[str, Any]:
    """Compare the accuracies of arms on validation and clean images, and their difference.

    Intervals are 95 % intervals over source images, with the same seeds: variants of an image vary
    together. Gains over `none` are paired by clean image.

    Args:
        correct: the result of `train_arm` for each arm.
        arms: the arms.
        clean: the clean images.

    Returns:
        For each arm the numbers of images, accuracies, `optimistic_bias` (validation minus clean
        accuracy) and `gain_over_none` (of clean accuracy), with intervals.
    """
    compared: dict[str, Any] = {}
    reference = Counts.of(clean.ids, correct[NONE][1])
    for name, (on_validation, on_clean) in correct.items():
        validation = Counts.of(arms[name].validation.ids, on_validation)
        measured = Counts.of(clean.ids, on_clean)
        accuracies = (validation.accuracy, measured.accuracy)
        intervals = (validation.interval(), measured.interval())
        compared[name] = {
            "n_train_images": len(arms[name].train.labels),
            "n_validation_images": len(arms[name].validation.labels),
            "validation_accuracy": accuracies[0],
            "validation_accuracy_ci95": intervals[0],
            "validation_accuracy_by_seed": on_validation.mean(1).tolist(),
            "clean_accuracy": accuracies[1],
            "clean_accuracy_ci95": intervals[1],
            "clean_accuracy_by_seed": on_clean.mean(1).tolist(),
            "optimistic_bias": accuracies[0] - accuracies[1],
            "optimistic_bias_ci95": independent_gain_interval(
                accuracies[0], intervals[0], accuracies[1], intervals[1]
            ),
            "gain_over_none": measured.accuracy - reference.accuracy,
            "gain_over_none_ci95": ratio_gain_interval(*measured, *reference),
        }
    return compared
