"""Fit, save, load and apply an ensemble of trained members."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from classifold.data.json_file import read_json, write_json
from classifold.errors import UserError
from classifold.runtime.faults import REMEDY, explain_damage, first_line
from classifold.stacking.dense import DenseStack, fit_dense
from classifold.stacking.logistic import apply_logistic, fit_logistic
from classifold.stacking.member_weights import fit_weights, select_greedily
from classifold.stacking.members import (
    Task,
    average,
    equal_weights,
    join,
    probability_of_truth,
    task_of,
)


class Ensemble(NamedTuple):
    """A method that combines the members' logits, and its fitted weights."""

    method: str  # dense, logistic, weighted, greedy or mean
    task: Task
    members: list[str]  # in the order of their logits
    n_classes: int
    settings: dict[str, Any]  # settings of the dense layers
    weights: dict[str, np.ndarray]


class Fitted(NamedTuple):
    """An ensemble, and the number of epochs for which its dense layers were fitted."""

    ensemble: Ensemble
    n_epochs: int


def fit_ensemble(
    logits: Mapping[str, np.ndarray],
    labels: np.ndarray,
    *,
    method: str,
    settings: Mapping[str, Any],
    seed: int,
) -> Fitted:
    """Fit one ensemble.

    Args:
        logits: member -> float array (N, n_classes), for images that no member was trained on.
        labels: int array (N,), or 0 and 1 in (N, n_classes).
        method: dense, logistic, weighted, greedy or mean.
        settings: method -> its settings, for methods that have some: arguments of `fit_dense`,
            `fit_logistic` and `select_greedily`.
        seed: seed of the dense layers.
    """
    task = task_of(labels)
    members = join(list(logits.values()), task=task)
    unfitted = Ensemble(method, task, list(logits), members.shape[2], settings={}, weights={})
    match method:
        case "mean":
            weights = {"member_weights": equal_weights(len(logits))}
        case "weighted":
            weights = {"member_weights": fit_weights(probability_of_truth(members, labels))}
        case "greedy":
            truth = probability_of_truth(members, labels)
            weights = {"member_weights": select_greedily(truth, **settings["greedy"])}
        case "logistic":
            weights = fit_logistic(members, labels, **settings["logistic"])
        case "dense":
            stack, n_epochs = fit_dense(members, labels, seed=seed, **settings["dense"])
            weights = {name: value.numpy() for name, value in stack.state_dict().items()}
            hidden = {"hidden": list(settings["dense"]["hidden"])}
            return Fitted(unfitted._replace(settings=hidden, weights=weights), n_epochs)
        case _:
            raise ValueError(f"unknown method {method!r}")
    return Fitted(unfitted._replace(weights=weights), 0)


def ensemble_logits(ensemble: Ensemble, logits: Mapping[str, np.ndarray]) -> np.ndarray:
    """Combine the logits of members, member -> (N, n_classes), to float64 (N, n_classes)."""
    members = join([logits[name] for name in ensemble.members], task=ensemble.task)
    weights = ensemble.weights
    match ensemble.method:
        case "mean" | "weighted" | "greedy":
            return average(members, weights["member_weights"], task=ensemble.task)
        case "logistic":
            return apply_logistic(weights, members)
        case "dense":
            with torch.inference_mode():
                inputs = torch.from_numpy(members.astype(np.float32))
                return dense_layers(ensemble)(inputs).double().numpy()
    raise ValueError(f"unknown method {ensemble.method!r}")


def dense_layers(ensemble: Ensemble) -> DenseStack:
    """Build the layers of the method dense, in evaluation mode."""
    members = len(ensemble.members)
    stack = DenseStack(members, ensemble.n_classes, dropout=0, **ensemble.settings)
    weights = {name: torch.from_numpy(values) for name, values in ensemble.weights.items()}
    stack.load_state_dict(weights)
    return stack.eval()


def save_ensemble(folder: Path, ensemble: Ensemble) -> None:
    """Write `weights.safetensors` and `ensemble.json` into `folder`."""
    # safetensors writes memory in its order; scikit-learn stores coefficients column by column.
    weights = {name: np.ascontiguousarray(values) for name, values in ensemble.weights.items()}
    save_file(weights, folder / "weights.safetensors")
    description = ensemble._asdict()
    del description["weights"]
    write_json(folder / "ensemble.json", description)


def load_ensemble(folder: Path) -> Ensemble:
    """Read what `save_ensemble` wrote, and apply it once as a check.

    Raises:
        UserError: if a file is damaged, or the weights belong to another stack.
    """
    path = folder / "weights.safetensors"
    with explain_damage(path, kind="a safetensors file"):
        weights = load_file(path)
    description = read_json(folder / "ensemble.json")
    try:
        ensemble = Ensemble(**description, weights=weights)
        zeros = np.zeros((1, ensemble.n_classes))
        ensemble_logits(ensemble, dict.fromkeys(ensemble.members, zeros))
    except Exception as error:  # wrong weights may cause any error, also of memory
        raise UserError(
            f"{folder}/ensemble.json must describe the weights beside it ({first_line(error)}); "
            f"{REMEDY}"
        ) from None
    return ensemble
