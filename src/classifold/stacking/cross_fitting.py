"""Fit an ensemble, and compute its out-of-fold logits by cross-fitting."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from classifold.errors import UserError
from classifold.stacking.ensemble import Ensemble, ensemble_logits, fit_ensemble


class CrossFitted(NamedTuple):
    """An ensemble that was fitted on all images, and out-of-fold logits for these images."""

    ensemble: Ensemble
    logits: np.ndarray  # float64 (N, n_classes)


def cross_fit(
    logits: Mapping[str, np.ndarray],
    labels: np.ndarray,
    *,
    folds: np.ndarray,
    method: str,
    settings: Mapping[str, Any],
    seed: int,
) -> CrossFitted:
    """Fit an ensemble on all images, and one per fold to compute out-of-fold logits.

    The ensemble of a fold is fitted on the other folds. For dense layers the number of epochs on
    all images is the median over the folds. With one fold there are no other images to measure an
    ensemble on, so nothing is fitted: the method is the mean.

    Args:
        logits: member -> float array (N, n_classes), for images that no member was trained on.
        labels: int array (N,), or 0 and 1 in (N, n_classes).
        folds: int array (N,): the fold of each image.
        method: as of `fit_ensemble`.
        settings: as of `fit_ensemble`.
        seed: seed of weights.

    Raises:
        UserError: if a member's logits are not all finite.
    """
    for name, values in logits.items():
        if not np.isfinite(values).all():
            raise UserError(
                f"model '{name}': its logits contain NaN or infinity. Train it with a lower "
                "learning rate, or remove it from stack.members."
            )
    if len(np.unique(folds)) == 1:
        mean = fit_ensemble(logits, labels, method="mean", settings=settings, seed=seed).ensemble
        return CrossFitted(mean, ensemble_logits(mean, logits))
    out_of_fold = np.empty(next(iter(logits.values())).shape)
    epochs: list[int] = []
    for fold in np.unique(folds):
        held_out = folds == fold
        others = {name: values[~held_out] for name, values in logits.items()}
        fitted = fit_ensemble(
            others, labels[~held_out], method=method, settings=settings, seed=seed
        )
        of_fold = {name: values[held_out] for name, values in logits.items()}
        out_of_fold[held_out] = ensemble_logits(fitted.ensemble, of_fold)
        epochs.append(fitted.n_epochs)
    if method == "dense" and len(logits) > 1:
        n_epochs = round(float(np.median(epochs)))
        dense = settings["dense"] | {"epochs": n_epochs, "patience": None}
        settings = {**settings, "dense": dense}
    final = fit_ensemble(logits, labels, method=method, settings=settings, seed=seed)
    return CrossFitted(final.ensemble, out_of_fold)
