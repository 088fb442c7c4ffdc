"""Compare the accuracies of study arms on validation and on clean images."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from classifold.data.pack import Pack
from classifold.evaluation.intervals import percentile_interval, resample
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

    def resampled(self, *, resamples: int, seed: int) -> np.ndarray:
        """Bootstrap the accuracy over source images: float64 (resamples,)."""
        each = np.ones(len(self.n_correct), np.int64)
        return np.concatenate(
            [
                (samples @ self.n_correct) / (samples @ self.n_predictions)
                for samples in resample(each, resamples=resamples, seed=seed)
            ]
        )


def compare_arms(
    correct: Mapping[str, tuple[np.ndarray, np.ndarray]],
    arms: Mapping[str, Arm],
    clean: Pack,
    *,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Compare the accuracies of arms on validation and clean images, and their difference.

    Intervals are 95 % bootstrap intervals over source images, with the same seeds; variants of an
    image are resampled together. Gains over `none` are paired by clean image.

    Args:
        correct: the result of `train_arm` for each arm.
        arms: the arms.
        clean: the clean images.
        resamples: number of bootstrap samples.
        seed: seed of the bootstrap.

    Returns:
        For each arm the numbers of images, accuracies, `optimistic_bias` (validation minus clean
        accuracy) and `gain_over_none` (of clean accuracy), with intervals.
    """
    compared: dict[str, Any] = {}
    reference = correct[NONE][1].mean(0)
    for name, (on_validation, on_clean) in correct.items():
        validation = Counts.of(arms[name].validation.ids, on_validation)
        measured = Counts.of(clean.ids, on_clean)
        resampled = validation.resampled(resamples=resamples, seed=seed)
        resampled_clean = measured.resampled(resamples=resamples, seed=seed + 1)
        gain = Counts(on_clean.mean(0) - reference, np.ones(len(reference)))
        resampled_gain = gain.resampled(resamples=resamples, seed=seed)
        compared[name] = {
            "n_train_images": len(arms[name].train.labels),
            "n_validation_images": len(arms[name].validation.labels),
            "validation_accuracy": validation.accuracy,
            "validation_accuracy_ci95": percentile_interval(resampled),
            "validation_accuracy_by_seed": on_validation.mean(1).tolist(),
            "clean_accuracy": measured.accuracy,
            "clean_accuracy_ci95": percentile_interval(resampled_clean),
            "clean_accuracy_by_seed": on_clean.mean(1).tolist(),
            "optimistic_bias": validation.accuracy - measured.accuracy,
            "optimistic_bias_ci95": percentile_interval(resampled - resampled_clean),
            "gain_over_none": gain.accuracy,
            "gain_over_none_ci95": percentile_interval(resampled_gain),
        }
    return compared
