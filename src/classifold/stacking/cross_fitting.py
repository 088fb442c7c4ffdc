"""An ensemble, and its answers on images that it was not fitted on."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from classifold.errors import UserError
from classifold.stacking.ensemble import Ensemble, ensemble_logits, fit_ensemble


class CrossFitted(NamedTuple):
    """An ensemble and what it says of images it was not fitted on."""

    ensemble: Ensemble
    logits: np.ndarray  # float64 (N, n_classes): out of fold, for every image


def cross_fit(
    logits: Mapping[str, np.ndarray],
    labels: np.ndarray,
    *,
    folds: np.ndarray,
    method: str,
    settings: Mapping[str, Any],
    seed: int,
) -> CrossFitted:
    """Fit an ensemble on all images, and measure it out of fold.

    For each fold an ensemble is fitted on the others. The ensemble that is kept is fitted on
    all images; dense layers for as many epochs as the folds' median.

    Args:
        logits: member -> float array (N, n_classes), on images no member was trained on.
        labels: int array (N,), or 0 and 1 in (N, n_classes).
        folds: int array (N,): the fold of each image.
        method: as of `fit_ensemble`.
        settings: as of `fit_ensemble`.
        seed: of weights.

    Raises:
        UserError: if a member's logits are not all numbers.
    """
    for name, values in logits.items():
        if not np.isfinite(values).all():
            raise UserError(
                f"model '{name}' answers with logits that are no numbers; train it with a lower "
                "learning rate, or leave it out of stack.members"
            )
    out_of_fold = np.empty(next(iter(logits.values())).shape)
    epochs: list[int] = []
    for fold in np.unique(folds):
        held_out = folds == fold
        others = {name: values[~held_out] for name, values in logits.items()}
        fitted = fit_ensemble(
            others, labels[~held_out], method=method, settings=settings, seed=seed
        )
        left = {name: values[held_out] for name, values in logits.items()}
        out_of_fold[held_out] = ensemble_logits(fitted.ensemble, left)
        epochs.append(fitted.n_epochs)
    if method == "dense":
        n_epochs = round(float(np.median(epochs)))
        dense = settings["dense"] | {"epochs": n_epochs, "patience": None}
        settings = {**settings, "dense": dense}
    whole = fit_ensemble(logits, labels, method=method, settings=settings, seed=seed)
    return CrossFitted(whole.ensemble, out_of_fold)
