"""Fit the stack on logits for images that no member was trained on."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from classifold.models.decisions import fit_decision, fit_uncertainty
from classifold.stacking.cross_fitting import cross_fit
from classifold.stacking.ensemble import Ensemble, ensemble_logits
from classifold.stacking.member_logits import MemberLogits, assign_folds


class Stack(NamedTuple):
    """A fitted ensemble, its decision, and its logits for images that it was not fitted on."""

    ensemble: Ensemble
    decision: dict[str, Any]  # temperature and thresholds
    logits: np.ndarray  # float64 (N, n_classes), of the validation images
    folds: np.ndarray  # int64 (N,): fold of each validation image
    out_of_fold: np.ndarray  # float64 (n_images, n_classes), of the images that it was fitted on


def fit_stack(
    validation: MemberLogits,
    train: MemberLogits | None,
    calibration: MemberLogits | None = None,
    *,
    groups: Mapping[str, str],
    settings: Mapping[str, Any],
    evaluate: Mapping[str, Any],
) -> Stack:
    """Fit an ensemble, and its decision, by cross-fitting.

    Args:
        validation: members' logits for validation images.
        train: members' out-of-fold logits for training images, on which the ensemble is fitted;
            None to fit it on validation images.
        calibration: members' logits for the calibration split; None if there is none.
        groups: id -> group; images of one group, such as duplicates, are in one fold.
        settings: the section `stack` of params.
        evaluate: the section `evaluate` of params, for `fit_uncertainty`.

    Raises:
        UserError: if a member's logits are not all finite.
    """
    seed, n_folds = settings["seed"], settings["inner_folds"]
    folds = assign_folds(validation, groups, n_folds=n_folds, seed=seed)
    images, of_images = validation, folds
    if train is not None:
        images, of_images = train, assign_folds(train, groups, n_folds=n_folds, seed=seed)
    fitted = cross_fit(
        images.logits,
        images.labels,
        folds=of_images,
        method=settings["method"],
        settings=settings,
        seed=seed,
    )
    logits = fitted.logits
    if train is not None:
        logits = ensemble_logits(fitted.ensemble, validation.logits)
    split, calibrated, labels = "validation", fitted.logits, images.labels
    if calibration is not None:
        split, labels = "calibration", calibration.labels
        calibrated = ensemble_logits(fitted.ensemble, calibration.logits)
    elif train is not None:
        split = "train"
    decision = fit_uncertainty(
        fit_decision(logits, validation.labels),
        calibrated,
        labels,
        settings=evaluate,
        split=split,
    )
    return Stack(fitted.ensemble, decision, logits, folds, fitted.logits)
