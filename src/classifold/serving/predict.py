"""Classify new images with the trained stack, or with one of its models."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from classifold.data.predictions import MAJORITY, STACK
from classifold.errors import UserError
from classifold.evaluation.inference import (
    Predictions,
    decide,
    load_listed,
    model_logits,
    stacked_logits,
)
from classifold.models.decisions import read_decision, read_decisions
from classifold.models.device import choose_device
from classifold.models.inference import BATCH_SIZE
from classifold.models.model_file import Model
from classifold.params.reader import PARAMS_FILE
from classifold.params.validation import check_params
from classifold.runtime.parallel import ordered_map
from classifold.serving.new_images import NewImages, NewPixels, open_images
from classifold.stacking.ensemble import Ensemble, load_ensemble

# Whole batches; with the images that are being decoded, this bounds memory.
N_IMAGES_AT_ONCE = 4 * BATCH_SIZE


class Prediction(NamedTuple):
    """The prediction for one image, or the reason why there is none."""

    image: str  # its name
    labels: list[str]  # one; of a `multi` task those above the threshold, in the classes' order
    probabilities: dict[str, float]  # probability of every class, the most probable first
    reason: str | None  # None, or why the image cannot be read; the other fields are then empty
    remark: str | None = None  # what its owner should know, such as values that were clipped


class Classifier(NamedTuple):
    """A trained stack, or one model, with everything that its predictions need."""

    name: str  # name of the model, or "stack"
    members: dict[str, Model]  # only the networks that are needed
    ensemble: Ensemble | None  # None: a single model
    decision: dict[str, Any]  # temperature; threshold of a `multi` task
    task: str
    classes: list[str]  # in the order of `probabilities`
    pack_size: int  # pixels that every image is resized to once
    resize: str  # the filter
    background: list[int]  # red, green, blue behind transparent pixels
    ranges: dict[str, list[float]]  # values of deep images that become black and white
    test_time: dict[str, Any]  # views that logits are averaged over: `flips` and `shift`
    ingested: Path  # folder of the image table
    device: torch.device

    @classmethod
    def load(
        cls, root: Path = Path(), *, model: str = STACK, models: Path = Path("models")
    ) -> "Classifier":
        """Load what `dvc repro` trained.

        Args:
            root: the project's folder, with `params.yaml`, `models/` and the others.
            model: `stack`, or a model's name.
            models: folder of the networks inside `root`; `refit` for those that `classifold
                refit` made. Temperatures, thresholds and the stack, which are fitted on
                validation images, are always those of the pipeline.

        Raises:
            UserError: if something is missing or out of date.
        """
        params = check_params(root / PARAMS_FILE)
        decisions = _read_decisions(root / "data/compared/decisions.json")
        ensemble, names = None, [model]
        if model == STACK:
            ensemble = _read_ensemble(root / "ensemble", listed=list(decisions["models"]))
            names = ensemble.members
            decision = read_decision(root / "ensemble/decision.json")
        elif model in decisions["models"]:
            decision = decisions["models"][model]
        else:
            known = ", ".join([STACK, *decisions["models"]])
            hint = " (it is the same for all images)" if model == MAJORITY else ""
            raise UserError(
                f"--model: there is no trained model {model}{hint}. Choose one of {known}."
            )
        if missing := [name for name in names if not (root / models / name).is_dir()]:
            raise UserError(
                f"{models}: there is no model {', '.join(missing)}. Make it with 'dvc repro', or "
                f"in the folder of refits with 'classifold refit {' '.join(missing)}'."
            )
        members = {
            name: load_listed(name, models=root / models, classes=decisions["classes"])
            for name in names
        }
        preprocessing = [_of_pack(model) for model in members.values()]
        pack = preprocessing[0]
        if any(other != pack for other in preprocessing):
            raise UserError(
                f"{models}: {', '.join(names)} were trained on packs of different sizes, filters "
                "or ranges of deep images. Update them with 'dvc repro'."
            )
        return cls(
            name=model,
            members=members,
            ensemble=ensemble,
            decision=decision,
            task=decisions["task"],
            classes=decisions["classes"],
            pack_size=pack["pack_size"],
            resize=pack["resize"],
            background=params["ingest"]["background"],
            ranges=pack["ranges"],
            test_time=params["evaluate"]["test_time"],
            ingested=root / "data/ingested",
            device=choose_device(params["train"]["device"]),
        )

    def predict(self, images: NewImages | Iterable[str | Path]) -> Iterator[Prediction]:
        """Classify images in their order and in bounded memory.

        Args:
            images: files, folders, zip or tar archives, or `unlabelled`, as for `open_images`;
                or what `open_images` returned.

        Yields:
            One prediction per image; with a reason for an image that cannot be decoded.

        Raises:
            UserError: if an argument is missing, empty, given twice or a damaged archive.
        """
        if not isinstance(images, NewImages):
            with open_images(images, ingested=self.ingested) as opened:
                yield from self.predict(opened)
            return
        pixels = images.pixels(
            size=self.pack_size,
            resize=self.resize,
            background=self.background,
            ranges=self.ranges,
        )
        named = zip(images.names, pixels, strict=True)
        chunks = iter(lambda: list(islice(named, N_IMAGES_AT_ONCE)), [])
        if self.device.type == "cpu":
            predictions = ordered_map(
                self._predict_chunk,
                chunks,
                n_items=len(images.names),
                chunk_size=1,
                local="serial",  # PyTorch uses all cores
                n_cores=max(model.description["threads"] for model in self.members.values()),
            )
        else:
            predictions = map(self._predict_chunk, chunks)
        yield from chain.from_iterable(predictions)

    def _predict_chunk(self, named: Sequence[tuple[str, NewPixels]]) -> list[Prediction]:
        """Classify pairs of a name and pixels."""
        decoded = [image.pixels for _, image in named if image.pixels is not None]
        rows: Iterator[tuple[np.ndarray, np.ndarray]] = iter(())
        if decoded:
            predictions = self._decide(np.stack(decoded))
            rows = zip(predictions.probabilities, predictions.predicted, strict=True)
        return [
            Prediction(name, [], {}, reason=image.reason)
            if image.pixels is None
            else self._prediction(name, *next(rows), remark=image.remark)
            for name, image in named
        ]

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """Compute probabilities; those of an image do not depend on the other images, bit for bit.

        Args:
            pixels: uint8 array (N, pack_size, pack_size, 3).

        Returns:
            float64 array (N, n_classes); rows sum to 1 where the task is `single`.
        """
        return self._decide(pixels).probabilities

    def _decide(self, pixels: np.ndarray) -> Predictions:
        logits = {
            name: model_logits(model, pixels, device=self.device, **self.test_time)
            for name, model in self.members.items()
        }
        _refuse_infinite(logits)
        combined = logits[self.name] if not self.ensemble else stacked_logits(self.ensemble, logits)
        _refuse_infinite({self.name: combined})
        return decide(combined, self.decision, task=self.task)

    def _prediction(
        self, image: str, probabilities: np.ndarray, predicted: np.ndarray, *, remark: str | None
    ) -> Prediction:
        ranked = np.argsort(-probabilities, kind="stable")
        chosen = np.flatnonzero(predicted) if self.task == "multi" else [predicted]
        return Prediction(
            image,
            [self.classes[i] for i in chosen],
            {self.classes[i]: float(probabilities[i]) for i in ranked},
            reason=None,
            remark=remark,
        )


def _refuse_infinite(logits: Mapping[str, np.ndarray]) -> None:
    for name, values in logits.items():
        if not np.isfinite(values).all():
            raise UserError(
                f"model {name}: must predict finite numbers, got NaN or infinity, so its weights "
                "are of no use. Train it again."
            )


def _of_pack(model: Model) -> dict[str, Any]:
    """Select how the images of the pack were made that a model was trained on."""
    settings = {"ranges": {}, **model.preprocessing}
    return {name: settings[name] for name in ("pack_size", "resize", "ranges")}


def _read_decisions(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(
            f"{path}: no such file, so no model is trained. Run 'dvc repro', or 'dvc pull' if a "
            "remote has the models."
        )
    return read_decisions(path)


def _read_ensemble(folder: Path, *, listed: list[str]) -> Ensemble:
    if not (folder / "ensemble.json").is_file():
        raise UserError(
            f"{folder}: there is no stack. Make it with 'dvc repro stack', or choose one model "
            f"with --model ({', '.join(listed)})."
        )
    ensemble = load_ensemble(folder)
    if unlisted := set(ensemble.members) - set(listed):
        raise UserError(
            f"{folder}: the stack has members that params.yaml no longer lists, got "
            f"{', '.join(sorted(unlisted))}. Update it with 'dvc repro stack'."
        )
    return ensemble
