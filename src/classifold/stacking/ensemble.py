"""Fit, save, load and apply an ensemble of trained members."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import DTypeLike
from pydantic import BaseModel, ConfigDict, Field
from safetensors.numpy import load_file, save_file

from classifold.data.format_version import KEY, WRITTEN, check_format
from classifold.data.json_file import read_json, write_json
from classifold.data.metrics import Task, task_of
from classifold.errors import UserError
from classifold.models.decisions import MAX_TEMPERATURE, MIN_TEMPERATURE, fit_temperature
from classifold.params.schema.section import ModelName
from classifold.params.validation import validation_errors
from classifold.runtime.faults import REMEDY, explain_damage, first_line
from classifold.stacking.logistic import apply_logistic, fit_logistic
from classifold.stacking.member_weights import fit_weights, select_greedily
from classifold.stacking.members import (
    average,
    equal_weights,
    join,
    mean_logits,
    probability_of_truth,
)

if TYPE_CHECKING:
    from classifold.stacking.dense import DenseStack


class Ensemble(NamedTuple):
    """A method that combines the members' logits, and its fitted weights."""

    method: str  # dense, logistic, weighted, greedy or mean
    task: Task
    members: list[str]  # in the order of their logits
    n_classes: int
    settings: dict[str, Any]  # settings of the dense layers
    weights: dict[str, np.ndarray]  # of members, of a regression, or of dense layers


CALIBRATED = {"weighted", "greedy"}  # methods that divide the members' logits by temperatures
MAX_CLASSES = 1_000_000
Units = Annotated[int, Field(ge=1, le=1_000_000)]


class _Settings(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    hidden: Annotated[list[Units], Field(max_length=100)] = []


class _Description(BaseModel):
    """The content of `ensemble.json`, which may be of unknown origin."""

    model_config = ConfigDict(strict=True, extra="forbid")

    method: Literal["dense", "logistic", "weighted", "greedy", "mean"]
    task: Task
    members: Annotated[list[ModelName], Field(min_length=1, max_length=1000)]
    n_classes: Annotated[int, Field(ge=1, le=MAX_CLASSES)]
    settings: _Settings


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
    """Fit one ensemble; with one member there is nothing to fit, and it is that member.

    The methods weighted and greedy average members whose temperatures are fitted before.

    Args:
        logits: member -> float array (N, n_classes), for images that no member was trained on.
        labels: int array (N,), or 0 and 1 in (N, n_classes).
        method: dense, logistic, weighted, greedy or mean.
        settings: method -> its settings, for methods that have some: arguments of `fit_dense`,
            `fit_logistic` and `select_greedily`.
        seed: seed of the dense layers.
    """
    task = task_of(labels)
    method = "mean" if len(logits) == 1 else method
    of_members = list(logits.values())
    weights: dict[str, np.ndarray] = {}
    if method in CALIBRATED:
        # Otherwise an underconfident member, such as after label smoothing, gets too low a weight.
        weights["temperatures"] = np.array([fit_temperature(v, labels) for v in of_members])
    temperatures = weights.get("temperatures")
    members = join(of_members, task=task, dtype=_float_type(method), temperatures=temperatures)
    unfitted = Ensemble(method, task, list(logits), members.shape[2], settings={}, weights={})
    match method:
        case "mean":
            weights["member_weights"] = equal_weights(len(logits))
        case "weighted":
            weights["member_weights"] = fit_weights(probability_of_truth(members, labels))
        case "greedy":
            truth = probability_of_truth(members, labels)
            weights["member_weights"] = select_greedily(truth, **settings["greedy"])
        case "logistic":
            weights = fit_logistic(members, labels, **settings["logistic"])
        case "dense":
            # Not at the top: torch takes seconds to import, and the other methods do without it.
            from classifold.stacking.dense import fit_dense  # noqa: PLC0415

            stack, n_epochs = fit_dense(members, labels, seed=seed, **settings["dense"])
            weights = {name: value.numpy() for name, value in stack.state_dict().items()}
            hidden = {"hidden": list(settings["dense"]["hidden"])}
            return Fitted(unfitted._replace(settings=hidden, weights=weights), n_epochs)
        case _:
            raise ValueError(f"unknown method {method!r}")
    return Fitted(unfitted._replace(weights=weights), 0)


def ensemble_logits(ensemble: Ensemble, logits: Mapping[str, np.ndarray]) -> np.ndarray:
    """Combine the logits of members, member -> (N, n_classes), to float64 (N, n_classes)."""
    of_members = [logits[name] for name in ensemble.members]
    if ensemble.method == "mean":
        return mean_logits(of_members, task=ensemble.task)
    weights = ensemble.weights
    members = join(
        of_members,
        task=ensemble.task,
        dtype=_float_type(ensemble.method),
        temperatures=weights.get("temperatures"),
    )
    match ensemble.method:
        case "weighted" | "greedy":
            return average(members, weights["member_weights"], task=ensemble.task)
        case "logistic":
            return apply_logistic(weights, members)
        case "dense":
            from classifold.stacking.dense import apply_dense  # noqa: PLC0415 - as above

            return apply_dense(dense_layers(ensemble), members)
    raise ValueError(f"unknown method {ensemble.method!r}")


def _check_temperatures(ensemble: Ensemble) -> None:
    """Check temperatures of unknown origin, which stacks of older code do not have."""
    temperatures = ensemble.weights.get("temperatures")
    if temperatures is None:
        return
    if ensemble.method not in CALIBRATED or temperatures.shape != (len(ensemble.members),):
        raise ValueError(f"temperatures {temperatures.shape} of the method {ensemble.method}")
    if not ((temperatures >= MIN_TEMPERATURE) & (temperatures <= MAX_TEMPERATURE)).all():
        raise ValueError(f"temperatures must be in [{MIN_TEMPERATURE}, {MAX_TEMPERATURE}]")


def _float_type(method: str) -> DTypeLike:
    return np.float32 if method == "dense" else np.float64


def dense_layers(ensemble: Ensemble) -> "DenseStack":
    """Build the layers of the method dense, in evaluation mode."""
    from classifold.stacking.dense import with_weights  # noqa: PLC0415 - as above

    sizes = len(ensemble.members), ensemble.n_classes
    return with_weights(ensemble.weights, *sizes, **ensemble.settings)


def save_ensemble(folder: Path, ensemble: Ensemble) -> None:
    """Write `weights.safetensors` and `ensemble.json` into `folder`."""
    # safetensors writes memory in its order; scikit-learn stores coefficients column by column.
    weights = {name: np.ascontiguousarray(values) for name, values in ensemble.weights.items()}
    save_file(weights, folder / "weights.safetensors")
    description = WRITTEN | ensemble._asdict()
    del description["weights"]
    write_json(folder / "ensemble.json", description)


def load_ensemble(folder: Path) -> Ensemble:
    """Read what `save_ensemble` wrote, and apply it once as a check.

    Raises:
        UserError: if a file is damaged or of another format, or the weights are of another stack.
    """
    path = folder / "weights.safetensors"
    with explain_damage(path, kind="a safetensors file"):
        weights = load_file(path)
    description = read_json(folder / "ensemble.json")
    if isinstance(description, dict):
        check_format(folder / "ensemble.json", description)
        description.pop(KEY, None)
    if errors := validation_errors(_Description, description):
        raise UserError(
            f"{folder}/ensemble.json must describe the weights beside it ({errors[0]}); {REMEDY}"
        )
    if broken := [name for name, values in weights.items() if not np.isfinite(values).all()]:
        raise UserError(
            f"{path}: must hold finite numbers, got NaN or infinity in {broken[0]}; {REMEDY}"
        )
    try:
        ensemble = Ensemble(**description, weights=weights)
        _check_temperatures(ensemble)
        zeros = np.zeros((1, ensemble.n_classes))
        ensemble_logits(ensemble, dict.fromkeys(ensemble.members, zeros))
    except Exception as error:  # wrong weights may cause any error, also of memory
        raise UserError(
            f"{folder}/ensemble.json must describe the weights beside it ({first_line(error)}); "
            f"{REMEDY}"
        ) from None
    return ensemble
