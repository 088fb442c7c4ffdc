"""Test whether new images differ from reference images: in features, classes or properties."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from classifold.analysis.drift.features import FeatureTest, compare_features
from classifold.analysis.drift.images import COLUMNS, DescribedImages
from classifold.analysis.drift.permutations import N_PERMUTATIONS, assign_folds, permute_sets
from classifold.analysis.drift.shifts import compare_classes, compare_properties

MIN_IMAGES = 20  # of each set: four per fold
MAX_IMAGES = 2000  # of each set; of more, a random sample is compared
N_TESTS = 3  # of features, predicted classes and properties


class Drift(NamedTuple):
    """The result of all tests; p-values are corrected for the number of tests (Bonferroni)."""

    alpha: float
    features: FeatureTest
    classes: dict[str, dict[str, Any]]  # see `compare_classes`
    properties: dict[str, dict[str, Any]]  # see `compare_properties`
    scores: np.ndarray  # float (n_new,): how well the classifier recognizes each new image

    def shifted(self, compared: dict[str, dict[str, Any]]) -> list[str]:
        """Find the classes or properties that differ."""
        return [name for name, row in compared.items() if row["p_value"] <= self.alpha]

    @property
    def found(self) -> bool:
        """Whether any test finds a difference; by chance with a probability of at most alpha."""
        return self.features.p_value <= self.alpha or any(
            self.shifted(compared) for compared in (self.classes, self.properties)
        )


def compare_images(
    reference: DescribedImages,
    new: DescribedImages,
    *,
    classes: Sequence[str],
    alpha: float,
    seed: int,
    n_permutations: int = N_PERMUTATIONS,
) -> Drift:
    """Test whether two sets of distinct images are from one source.

    Args:
        reference: at least `MIN_IMAGES` images, on which no network was trained.
        new: at least `MIN_IMAGES` images.
        classes: names of the classes.
        alpha: significance level of all tests together; at least `N_TESTS` / `n_permutations`.
        seed: seed of folds and permutations.
        n_permutations: number of permutations.
    """
    is_new = np.repeat([False, True], [len(reference.names), len(new.names)])
    folds = assign_folds(is_new, seed=seed)
    sets = permute_sets(is_new, folds, seed=seed, n=n_permutations)
    features, predicted, properties = (
        np.concatenate([getattr(reference, name), getattr(new, name)])
        for name in ("features", "predicted", "properties")
    )
    of_features = compare_features(features, sets, folds, alpha=alpha / N_TESTS)
    return Drift(
        alpha,
        of_features._replace(p_value=_corrected(of_features.p_value)),
        _correct(compare_classes(predicted, sets, classes)),
        _correct(compare_properties(properties, sets, COLUMNS)),
        of_features.scores[is_new],
    )


def _correct(compared: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: {**row, "p_value": _corrected(row["p_value"])} for name, row in compared.items()}


def _corrected(p_value: float) -> float:
    return min(N_TESTS * p_value, 1.0)
