"""Export a classifier as a folder for the Hugging Face Hub.

A network of timm with a linear head is stored in timm's format, so that timm alone loads it. Other
classifiers are stored as the files of a project that `Classifier.load` reads.
"""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import timm
import torch
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from PIL import Image
from torch import Tensor, nn

from classifold.data.json_file import read_json, write_json
from classifold.errors import UserError
from classifold.models.decisions import probabilities
from classifold.models.model_file import Model
from classifold.models.preprocessing import to_input
from classifold.params.reader import PARAMS_FILE
from classifold.params.validation import check_params
from classifold.reporting.formats import count
from classifold.reporting.hub_card import HubModel, write_hub_card
from classifold.runtime.atomic_files import new_folder
from classifold.serving.export import MAX_DIFFERENCE
from classifold.serving.predict import Classifier
from classifold.serving.timm_folder import NotTimmError, write_timm_folder

DECISIONS = Path("data/compared/decisions.json")
ENSEMBLE = Path("ensemble")

IMAGES_AT_ONCE = 16

# `flips` of `evaluate.test_time` -> the dimensions of (N, 3, H, W) in which each view is mirrored.
MIRRORED: dict[str, list[tuple[int, ...]]] = {
    "none": [()],
    "horizontal": [(), (3,)],
    "both": [(), (3,), (2,), (2, 3)],
}


class HubExport(NamedTuple):
    """What was written, and how far its predictions are from those of the project."""

    library: str  # that loads the folder: timm or classifold
    not_timm: str | None  # why timm does not load it
    n_images: int
    max_difference: float  # largest difference of probabilities
    n_changed: int  # number of images with another prediction

    def describe(self) -> str:
        """Describe how far predictions are from those of the project, in a sentence."""
        return (
            f"On {self.n_images} validation images, preprocessed as in the model card, "
            "probabilities differ from those of 'classifold predict' by at most "
            f"{self.max_difference:.1g}, which changes {count(self.n_changed, 'prediction')}."
        )


def check_repository(repository: str) -> None:
    """Check the name of a repository on the Hub by the rules of huggingface_hub.

    Raises:
        UserError: if it is not valid.
    """
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        reason = str(error).rstrip(".")
    else:
        if repository.count("/") == 1:
            return
        reason = "it has no name of a user or an organization"
    raise UserError(
        f"--repo: must be the name of a repository on the Hub as <user>/<name>, got '{repository}' "
        f"({reason}). Choose another one."
    )


def check_license(identifier: str) -> None:
    """Check that a license has the form of an identifier of the Hub, which has the list.

    Raises:
        UserError: if it has not.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]{0,60}", identifier):
        raise UserError(
            f"--license: must be an identifier such as apache-2.0, got '{identifier}'. The list is "
            "on https://huggingface.co/docs/hub/repositories-licenses."
        )


def export_hub(
    folder: Path,
    classifier: Classifier,
    images: np.ndarray,
    *,
    root: Path,
    repository: str,
    license_id: str | None = None,
    models: Path = Path("models"),
) -> HubExport:
    """Write a folder that can be uploaded to the Hub, with a model card.

    Args:
        folder: the folder to write; it appears whole or not at all.
        classifier: the stack or a model of the project in `root`.
        images: uint8 array (N, size, size, 3), N at least 1: real images of the pack's size, on
            which the folder's predictions are compared with those of the classifier.
        root: folder of the project.
        repository: its name on the Hub, such as `alice/fruit`.
        license_id: license of the weights, an identifier of the Hub; None: not stated.
        models: folder of the networks inside `root`.

    Raises:
        UserError: if the predictions differ, or files of the project are missing.
    """
    card = HubModel(
        name=classifier.name,
        library="timm",
        repository=repository,
        license_id=license_id,
        task=classifier.task,
        classes=classifier.classes,
        members={name: model.description for name, model in classifier.members.items()},
        decision=classifier.decision,
        mirrored=MIRRORED[classifier.test_time["flips"]],
        shift=classifier.test_time["shift"],
        params=check_params(root / PARAMS_FILE),
        metrics=root / "metrics",
    )
    try:
        with new_folder(folder) as new:
            exported = _write_timm(new, classifier, images)
            write_hub_card(new / "README.md", card._replace(agreement=exported.describe()))
    except NotTimmError as error:
        with new_folder(folder) as new:
            exported = _write_project(new, classifier, images, root=root, models=models)
            write_hub_card(new / "README.md", card._replace(library="classifold"))
        return exported._replace(not_timm=str(error))
    return exported


def _write_timm(folder: Path, classifier: Classifier, images: np.ndarray) -> HubExport:
    """Write a single model for timm, with its thresholds in `decision.json`."""
    if classifier.ensemble:
        raise NotTimmError("the stack has several networks")
    (model,) = classifier.members.values()
    decision = dict(classifier.decision)
    temperature = decision.pop("temperature")
    network = write_timm_folder(folder, model, temperature=temperature)
    write_json(
        folder / "decision.json",
        {"task": classifier.task, "classes": classifier.classes}
        | decision
        | {"temperature_in_head": temperature},
    )
    _compare_logits(network, model, images, temperature=temperature)
    mirrored = MIRRORED[classifier.test_time["flips"]]
    found = _with_transform(network, images, mirrored=mirrored, task=classifier.task)
    return _compared("timm", found, classifier.probabilities(images), classifier)


def _compare_logits(
    network: nn.Module, model: Model, images: np.ndarray, *, temperature: float
) -> None:
    """Check that both networks have the same logits for the same input."""
    settings: dict[str, Any] = {
        "image_size": model.preprocessing["image_size"],
        "normalize": model.preprocessing["normalize"],
        "device": torch.device("cpu"),
    }
    own = model.network.to("cpu")
    with torch.inference_mode():
        for start in range(0, len(images), IMAGES_AT_ONCE):
            inputs = to_input(images[start : start + IMAGES_AT_ONCE], **settings)
            expected, found = own(inputs) / temperature, network(inputs)
            if not (found - expected).abs().max() <= MAX_DIFFERENCE * max(1, expected.abs().max()):
                raise NotTimmError("timm computes other logits with these weights")


def _with_transform(
    network: nn.Module, images: np.ndarray, *, mirrored: Sequence[tuple[int, ...]], task: str
) -> np.ndarray:
    """Compute probabilities as the model card does, by timm's transformation of images."""
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network))

    def logits(chunk: np.ndarray) -> Tensor:
        inputs = torch.stack([transform(Image.fromarray(image)) for image in chunk])
        views = [network(inputs.flip(dimensions)) for dimensions in mirrored]
        return torch.stack(views).mean(0)

    with torch.inference_mode():
        chunks = [
            logits(images[start : start + IMAGES_AT_ONCE])
            for start in range(0, len(images), IMAGES_AT_ONCE)
        ]
    return probabilities(torch.cat(chunks).numpy(), temperature=1, task=task)


def _write_project(
    folder: Path, classifier: Classifier, images: np.ndarray, *, root: Path, models: Path
) -> HubExport:
    """Write the files of the project that `Classifier.load` reads."""
    shutil.copyfile(root / PARAMS_FILE, folder / PARAMS_FILE)
    for name in classifier.members:
        _copy_files(
            root / models / name, folder / "models" / name, ["model.json", "weights.safetensors"]
        )
    if classifier.ensemble:
        names = ["ensemble.json", "weights.safetensors", "decision.json"]
        _copy_files(root / ENSEMBLE, folder / ENSEMBLE, names)
    decisions = read_json(root / DECISIONS)
    decisions["models"] = {name: decisions["models"][name] for name in classifier.members}
    write_json(folder / DECISIONS, decisions)
    found = Classifier.load(folder, model=classifier.name)
    differences = _compared(
        "classifold", found.probabilities(images), classifier.probabilities(images), classifier
    )
    if differences.max_difference > 0:
        raise UserError(
            f"{folder}: predictions of the exported files must equal those of the project, got a "
            f"difference of {differences.max_difference:.2g}. Run 'dvc repro', and export again."
        )
    return differences


def _copy_files(source: Path, target: Path, names: list[str]) -> None:
    target.mkdir(parents=True)
    for name in names:
        shutil.copyfile(source / name, target / name)


def _compared(
    library: str, found: np.ndarray, expected: np.ndarray, classifier: Classifier
) -> HubExport:
    if classifier.task == "single":
        changed = found.argmax(axis=1) != expected.argmax(axis=1)
    else:
        threshold = classifier.decision["threshold"]
        changed = ((found > threshold) != (expected > threshold)).any(axis=1)
    difference = float(np.abs(found - expected).max())
    return HubExport(library, None, len(found), difference, int(changed.sum()))
