"""Test whether features of two sets of images differ, by a classifier of the sets.

The classifier is a ridge regression of the sets, cross-validated: its score of an image does not
depend on the set of that image. If the area under the ROC curve (AUROC) of held-out images is
above 0.5, the sets differ. Its p-value is that of a permutation test, since the folds are not
independent: each image trains the classifiers of the other folds.

Sources: Lopez-Paz and Oquab 2017, "Revisiting Classifier Two-Sample Tests", arXiv:1610.06545;
LeDell, Petersen, van der Laan 2015, doi:10.1214/15-EJS1035 (the interval).
"""

from typing import Any, NamedTuple

import numpy as np
from scipy.stats import norm, rankdata
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from classifold.analysis.drift.permutations import p_values
from classifold.evaluation.intervals import Z

POWER = 0.8  # of the AUROC that would be found

# Of the squared norm of coefficients, per image: features are standardized, and as regularized as
# their mean variance. With more or less the power differs little (docs/DRIFT.md).
PENALTY = 1.0


class FeatureTest(NamedTuple):
    """How well a classifier distinguishes two sets of images."""

    auroc: float  # of held-out images, mean over folds; 0.5: no better than chance
    auroc_ci95: list[float]
    p_value: float
    detectable_auroc: float  # AUROC that would be found with a probability of `POWER`
    scores: np.ndarray  # float (N,): in [0, 1], of the fold's other set the fraction that is lower

    def summary(self) -> dict[str, Any]:
        """Return what does not describe single images."""
        return {name: value for name, value in self._asdict().items() if name != "scores"}


def compare_features(
    features: np.ndarray, sets: np.ndarray, folds: np.ndarray, *, alpha: float
) -> FeatureTest:
    """Test whether the features of two sets of images differ.

    Args:
        features: float array (N, n_features).
        sets: bool array (n + 1, N): whether an image is of the new set, see `permute_sets`.
        folds: int array (N,).
        alpha: significance level, for the AUROC that would be found.
    """
    by_fold, placements = [], np.empty(features.shape[0])
    for fold in np.unique(folds):
        held_out = folds == fold
        scores = _fit_predict(features, sets, held_out)
        by_fold.append(aurocs(scores, sets[:, held_out]))
        placements[held_out] = place(scores[0], sets[0, held_out])
    mean = np.mean(by_fold, axis=0)
    auroc, spread = float(mean[0]), float(mean[1:].std())
    return FeatureTest(
        auroc,
        _interval(auroc, max(spread, _standard_error(placements, sets[0], folds))),
        float(p_values(mean, mean[:1])[0]),
        float(min(0.5 + (norm.ppf(1 - alpha) + norm.ppf(POWER)) * spread, 1)),
        placements,
    )


def aurocs(scores: np.ndarray, sets: np.ndarray) -> np.ndarray:
    """Compute the area under the ROC curve for several labelings of the same images.

    Args:
        scores: float array (n, N): higher for images of the new set.
        sets: bool array (n, N), with as many new images in each row.

    Returns:
        float array (n,).
    """
    n_new = sets.sum(axis=1)
    above = (rankdata(scores, axis=1) * sets).sum(axis=1) - n_new * (n_new + 1) / 2
    return above / (n_new * (sets.shape[1] - n_new))


def place(scores: np.ndarray, is_new: np.ndarray) -> np.ndarray:
    """Compute for each image the fraction of images of the other set with a lower score."""
    ranks, places = rankdata(scores), np.empty(len(scores))
    for of_set in (is_new, ~is_new):
        below = ranks[of_set] - rankdata(scores[of_set])  # number of the others below; ties: 1/2
        places[of_set] = below / (~of_set).sum()
    return places


def _fit_predict(features: np.ndarray, sets: np.ndarray, held_out: np.ndarray) -> np.ndarray:
    """Scores of held-out images, by one regression for each labeling: float (n + 1, n_held_out)."""
    scaler = StandardScaler().fit(features[~held_out])
    train, test = (scaler.transform(features[rows]) for rows in (~held_out, held_out))
    ridge = Ridge(alpha=PENALTY * len(train)).fit(train, sets[:, ~held_out].T.astype(train.dtype))
    return ridge.predict(test).T


def _standard_error(placements: np.ndarray, is_new: np.ndarray, folds: np.ndarray) -> float:
    """The standard error of the mean AUROC over new images of both sources."""
    variance = 0.0
    for of_set in (is_new, ~is_new):
        deviations = placements[of_set].copy()
        for fold in np.unique(folds):
            deviations[folds[of_set] == fold] -= deviations[folds[of_set] == fold].mean()
        variance += (deviations**2).sum() / len(deviations) ** 2
    return float(np.sqrt(variance))


def _interval(auroc: float, standard_error: float) -> list[float]:
    half = Z * standard_error
    return [float(max(auroc - half, 0)), float(min(auroc + half, 1))]
