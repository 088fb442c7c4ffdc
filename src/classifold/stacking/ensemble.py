"""An ensemble of trained members: fitting it, storing it, asking it."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from scipy.special import log_softmax, logsumexp
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from classifold.errors import UserError
from classifold.metrics_file import read_json, write_json
from classifold.stacking.dense import DenseStack, fit_dense


class Ensemble(NamedTuple):
    """How the members' logits become one."""

    method: str  # dense, logistic or mean
    members: list[str]  # in the order of their logits
    n_classes: int
    settings: dict[str, Any]  # of the method
    weights: dict[str, np.ndarray]


class CrossFitted(NamedTuple):
    """An ensemble and what it scores on images it was not fitted on."""

    ensemble: Ensemble
    logits: np.ndarray  # float64 (N, n_classes): out-of-fold, for every validation image


def cross_fit(
    logits: Mapping[str, np.ndarray],
    labels: np.ndarray,
    *,
    method: str,
    inner_folds: int,
    dense: Mapping[str, Any],
    seed: int,
) -> CrossFitted:
    """Fit an ensemble on validation logits, and measure it out of fold.

    The validation images are shared out to folds; for each fold an ensemble is fitted on the
    others. The ensemble that is kept is fitted on all of them, for as many epochs as the
    folds' median.

    Args:
        logits: member -> float array (N, n_classes), on images no member was trained on.
        labels: int array (N,).
        method: dense, logistic or mean.
        inner_folds: number of folds; fewer where a class has fewer images.
        dense: settings of `fit_dense`, used by the method dense.
        seed: of folds and weights.

    Raises:
        UserError: if a member's logits are not all numbers.
    """
    for name, values in logits.items():
        if not np.isfinite(values).all():
            raise UserError(
                f"model '{name}' has validation logits that are no numbers; train it with a "
                "lower learning rate, or leave it out of stack.members"
            )
    members = _log_probabilities(list(logits.values()))
    names = list(logits)
    out_of_fold = np.empty(members[:, 0].shape)
    epochs: list[int] = []
    n_folds = max(2, min(inner_folds, int(np.bincount(labels).max())))
    splitter = StratifiedKFold(n_folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # A class with fewer images than folds is missing from some, which is no harm here.
        warnings.filterwarnings("ignore", message="The least populated class")
        folds = list(splitter.split(labels, labels))
    for fitted, held_out in folds:
        ensemble, n_epochs = _fit(
            members[fitted], labels[fitted], method=method, names=names, dense=dense, seed=seed
        )
        out_of_fold[held_out] = _combine(ensemble, members[held_out])
        epochs.append(n_epochs)
    final = dict(dense) | {"epochs": round(float(np.median(epochs))), "patience": None}
    ensemble, _ = _fit(members, labels, method=method, names=names, dense=final, seed=seed)
    return CrossFitted(ensemble, out_of_fold)


def ensemble_logits(ensemble: Ensemble, logits: Mapping[str, np.ndarray]) -> np.ndarray:
    """Combine the members' logits, member -> (N, n_classes), to float64 (N, n_classes)."""
    return _combine(ensemble, _log_probabilities([logits[name] for name in ensemble.members]))


def mean_logits(logits: Sequence[np.ndarray]) -> np.ndarray:
    """Average probabilities: logits, each (N, n_classes), to log-probabilities."""
    return logsumexp(_log_probabilities(logits), axis=1) - np.log(len(logits))


def save_ensemble(folder: Path, ensemble: Ensemble) -> None:
    """Write `weights.safetensors` and `ensemble.json` into `folder`."""
    # safetensors writes memory as it lies; scikit-learn keeps coefficients column by column.
    weights = {name: np.ascontiguousarray(values) for name, values in ensemble.weights.items()}
    save_file(weights, folder / "weights.safetensors")
    description = ensemble._asdict()
    del description["weights"]
    write_json(folder / "ensemble.json", description)


def load_ensemble(folder: Path) -> Ensemble:
    """Read what `save_ensemble` wrote."""
    return Ensemble(
        **read_json(folder / "ensemble.json"), weights=load_file(folder / "weights.safetensors")
    )


def _log_probabilities(logits: Sequence[np.ndarray]) -> np.ndarray:
    """Stack members' logits to log-probabilities (N, n_members, n_classes)."""
    return log_softmax(np.stack(logits, axis=1).astype(np.float64), axis=2)


def _fit(
    members: np.ndarray,
    labels: np.ndarray,
    *,
    method: str,
    names: list[str],
    dense: Mapping[str, Any],
    seed: int,
) -> tuple[Ensemble, int]:
    """Fit one ensemble on (N, n_members, n_classes); also the epochs it took."""
    n_classes = members.shape[2]
    ensemble = Ensemble(method, names, n_classes, settings={}, weights={})
    match method:
        case "mean":
            return ensemble, 0
        case "logistic":
            model = LogisticRegression(max_iter=2000, random_state=seed)
            model.fit(members.reshape(len(members), -1), labels)
            weights = {"classes": model.classes_, "coef": model.coef_, "bias": model.intercept_}
            return ensemble._replace(weights=weights), 0
        case "dense":
            stack, n_epochs = fit_dense(members, labels, seed=seed, **dense)
            weights = {name: value.numpy() for name, value in stack.state_dict().items()}
            settings = {"hidden": list(dense["hidden"])}
            return ensemble._replace(settings=settings, weights=weights), n_epochs
    raise ValueError(f"unknown method {method!r}")


def _combine(ensemble: Ensemble, members: np.ndarray) -> np.ndarray:
    weights = ensemble.weights
    match ensemble.method:
        case "mean":
            return logsumexp(members, axis=1) - np.log(members.shape[1])
        case "logistic":
            scores = members.reshape(len(members), -1) @ weights["coef"].T + weights["bias"]
            if scores.shape[1] == 1:  # two classes: one score, of the second
                scores = np.concatenate([np.zeros_like(scores), scores], axis=1)
            # Classes without a fitting image stay impossible.
            logits = np.full((len(members), ensemble.n_classes), -1e9)
            logits[:, weights["classes"]] = scores
            return logits
        case "dense":
            stack = DenseStack(members.shape[1], members.shape[2], dropout=0, **ensemble.settings)
            stack.load_state_dict({name: torch.from_numpy(w) for name, w in weights.items()})
            with torch.inference_mode():
                inputs = torch.from_numpy(members.astype(np.float32))
                return stack.eval()(inputs).double().numpy()
    raise ValueError(f"unknown method {ensemble.method!r}")
