"""Classify new images with the trained stack, or with one of its models."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from classifold.analysis.features.nearest import N_NEIGHBORS
from classifold.data.labels import split_labels
from classifold.data.predictions import MAJORITY, STACK
from classifold.errors import UserError, describe_choices
from classifold.evaluation.inference import (
    Predictions,
    decide,
    load_listed,
    model_logits,
    stacked_logits,
)
from classifold.models.abstention import confidences
from classifold.models.decisions import read_decision, read_decisions
from classifold.models.device import choose_device
from classifold.models.inference import BATCH_SIZE, batch_size_of
from classifold.models.model_file import Model
from classifold.models.prediction_sets import prediction_sets
from classifold.params.reader import PARAMS_FILE
from classifold.params.validation import check_params
from classifold.pictures.thumbnails import fit_into
from classifold.pictures.thumbnails import open_images as open_table_images
from classifold.reporting.full_sets import explain_full_sets
from classifold.runtime.parallel import ordered_map
from classifold.serving.comparison import MISSING, Comparison
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
    sets: Mapping[str, list[str]] = {}  # level -> classes of the set, the most probable first
    abstained: str | None = None  # None, or why its confidence is too low; no labels then
    novelty: float | None = None  # distance to the training images; None if they are not known
    is_novel: bool = False  # whether it is unlike the training images; the remark then says so


class NearestImage(NamedTuple):
    """A training image that is near to a new one."""

    id: str  # in the image table
    labels: list[str]
    similarity: float  # cosine of the features, in [-1, 1]


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
    abstain: str | None  # the target accuracy, a key of `abstention` of the decision
    ingested: Path  # folder of the image table
    device: torch.device
    comparison: Comparison | None  # with training images; None if the stage novelty has not run

    @classmethod
    def load(
        cls,
        root: Path = Path(),
        *,
        model: str = STACK,
        models: Path = Path("models"),
        abstain: float | None = None,
    ) -> "Classifier":
        """Load what `dvc repro` trained.

        Args:
            root: the project's folder, with `params.yaml`, `models/` and the others.
            model: `stack`, or a model's name.
            models: folder of the networks inside `root`; `refit` for those that `classifold
                refit` made. Temperatures, thresholds and the stack, which are fitted on
                validation images, are always those of the pipeline.
            abstain: the accuracy that predictions should have, one of
                `evaluate.abstention.accuracies`; images of lower confidence than its threshold
                get no prediction. None: all images get one.

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
            choices = describe_choices(model, [STACK, *decisions["models"]])
            hint = " (it is the same for all images)" if model == MAJORITY else ""
            raise UserError(f"--model: there is no trained model {model}{hint}. {choices}")
        accuracy = None if abstain is None else _fitted_accuracy(abstain, decision)
        if missing := [name for name in names if not (root / models / name).is_dir()]:
            raise UserError(
                f"{models}: there is no model {', '.join(missing)}. Make it with 'dvc repro', or "
                f"in the folder of refits with 'classifold refit {' '.join(missing)}'."
            )
        members = {
            name: load_listed(name, folder=root / models / name, classes=decisions["classes"])
            for name in names
        }
        device = choose_device(params["train"]["device"])
        comparison = Comparison.load(root / "data", device=device)
        preprocessing = [_of_pack(model) for model in members.values()]
        if comparison:
            preprocessing.append(_of_pack(comparison.model))
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
            abstain=accuracy,
            ingested=root / "data/ingested",
            device=device,
            comparison=comparison,
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
        pixels = images.pixels(**self.preparation)
        named = zip(images.names, pixels, strict=True)
        chunks = iter(lambda: list(islice(named, N_IMAGES_AT_ONCE)), [])
        if self.device.type == "cpu":
            predictions = ordered_map(
                self.predict_decoded,
                chunks,
                n_items=len(images.names),
                chunk_size=1,
                local="serial",  # PyTorch uses all cores
                n_cores=max(model.description["threads"] for model in self.members.values()),
            )
        else:
            predictions = map(self.predict_decoded, chunks)
        yield from chain.from_iterable(predictions)

    @property
    def preparation(self) -> dict[str, Any]:
        """The arguments of `decode_pixels` that make this classifier's pixels of a file."""
        return {
            "size": self.pack_size,
            "resize": self.resize,
            "background": self.background,
            "ranges": self.ranges,
        }

    @property
    def batch_size(self) -> int:
        """The number of images that the networks compute at once, padded if there are fewer."""
        sizes = (model.preprocessing["image_size"] for model in self.members.values())
        return max(batch_size_of(size, self.device) for size in sizes)

    @property
    def levels(self) -> list[str]:
        """The levels of prediction sets."""
        return list(self.decision.get("prediction_sets", {}))

    def explain_full_sets(self, levels: Collection[str]) -> list[str]:
        """Explain why the prediction sets of some levels have all classes, and what to do.

        Args:
            levels: of `levels`.

        Returns:
            Sentences; none if no set of these levels must have all classes.
        """
        thresholds = self.decision.get("prediction_sets", {})
        return explain_full_sets(
            {level: thresholds[level] for level in levels},
            n_images=self.decision.get("n_calibration_images", 0),
            split=self.decision.get("calibrated_on", "validation"),
            task=self.task,
        )

    def predict_decoded(self, named: Sequence[tuple[str, NewPixels]]) -> list[Prediction]:
        """Classify pairs of a name and pixels; no prediction depends on the other pairs."""
        decoded = [image.pixels for _, image in named if image.pixels is not None]
        predictions = iter(self._predictions(np.stack(decoded)) if decoded else ())
        return [
            Prediction(name, [], {}, reason=image.reason)
            if image.pixels is None
            else _with_name(next(predictions), name, image)
            for name, image in named
        ]

    def nearest(self, pixels: np.ndarray, *, k: int = N_NEIGHBORS) -> list[list[NearestImage]]:
        """Find the training images with the most similar features, the nearest first.

        Args:
            pixels: uint8 array (N, pack_size, pack_size, 3).
            k: number of training images per image.

        Raises:
            UserError: if the stage `novelty` has not run.
        """
        if self.comparison is None:
            raise UserError(MISSING)
        found, train = self.comparison.nearest(pixels, k=k), self.comparison.train
        return [
            [
                NearestImage(train.ids[row], split_labels(train.labels[row]), float(similarity))
                for row, similarity in zip(rows, similarities, strict=True)
            ]
            for rows, similarities in zip(found.rows, found.similarities, strict=True)
        ]

    def thumbnails(self, ids: Collection[str], *, side: int) -> dict[str, Image.Image]:
        """Read images of the image table, fitted into a square of `side` pixels: id -> image.

        Raises:
            UserError: if there is no table, or one is not in the table.
        """
        opened = open_table_images(self.ingested, ids, side=side)
        try:
            return {image_id: fit_into(image, side=side) for image_id, image in opened}
        except KeyError as error:
            raise UserError(
                f"{error.args[0]}. Update it with 'dvc repro', or 'dvc pull'."
            ) from None

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """Compute probabilities; those of an image do not depend on the other images, bit for bit.

        Args:
            pixels: uint8 array (N, pack_size, pack_size, 3).

        Returns:
            float64 array (N, n_classes); rows sum to 1 where the task is `single`.
        """
        return self._decide(pixels).probabilities

    def predicted(self, pixels: np.ndarray) -> np.ndarray:
        """Predict the classes of images (N, pack_size, pack_size, 3): bool (N, n_classes)."""
        predicted = self._decide(pixels).predicted
        if self.task == "multi":
            return predicted
        return predicted[:, None] == np.arange(len(self.classes))

    def _decide(self, pixels: np.ndarray) -> Predictions:
        logits = {
            name: model_logits(model, pixels, device=self.device, **self.test_time)
            for name, model in self.members.items()
        }
        _refuse_infinite(logits)
        combined = logits[self.name] if not self.ensemble else stacked_logits(self.ensemble, logits)
        _refuse_infinite({self.name: combined})
        return decide(combined, self.decision, task=self.task)

    def _predictions(self, pixels: np.ndarray) -> Iterator[Prediction]:
        """Classify images, whose names and remarks on their files are added later."""
        probabilities, _, predicted, decision = self._decide(pixels)
        confidence = confidences(probabilities, predicted)
        ranked = np.argsort(-probabilities, axis=1, kind="stable")
        sets = {
            level: prediction_sets(probabilities, threshold, task=self.task)
            for level, threshold in decision.get("prediction_sets", {}).items()
        }
        compared = self._compare(pixels)
        for (i, order), (novelty, remark) in zip(enumerate(ranked), compared, strict=True):
            abstained = self._reason_to_abstain(float(confidence[i]))
            chosen = np.flatnonzero(predicted[i]) if self.task == "multi" else [predicted[i]]
            yield Prediction(
                image="",
                labels=[] if abstained else [self.classes[j] for j in chosen],
                probabilities={self.classes[j]: float(probabilities[i, j]) for j in order},
                reason=None,
                sets={
                    level: [self.classes[j] for j in order if of_level[i, j]]
                    for level, of_level in sets.items()
                },
                abstained=abstained,
                remark=remark,
                novelty=novelty,
                is_novel=remark is not None,
            )

    def _compare(self, pixels: np.ndarray) -> list[tuple[float | None, str | None]]:
        """Compute the novelty of each image, and the remark on a novel one."""
        if self.comparison is None:
            return [(None, None)] * len(pixels)
        nearest = self.comparison.nearest(pixels, k=1)
        return list(zip(nearest.novelty.tolist(), self.comparison.remarks(nearest), strict=True))

    def _reason_to_abstain(self, confidence: float) -> str | None:
        threshold = self.decision["abstention"][self.abstain] if self.abstain else 0.0
        if confidence >= threshold:
            return None
        return (
            f"abstained: the confidence {confidence:.3f} is below {threshold:.3f}, the threshold "
            f"for an accuracy of {self.abstain}"
        )


def _with_name(prediction: Prediction, name: str, image: NewPixels) -> Prediction:
    remarks = [remark for remark in (image.remark, prediction.remark) if remark]
    return prediction._replace(image=name, remark="; ".join(remarks) or None)


def _refuse_infinite(logits: Mapping[str, np.ndarray]) -> None:
    for name, values in logits.items():
        if not np.isfinite(values).all():
            raise UserError(
                f"model {name}: must predict finite numbers, got NaN or infinity, so its weights "
                "are of no use. Train it again."
            )


def _fitted_accuracy(accuracy: float, decision: Mapping[str, Any]) -> str:
    """Find an accuracy among those that thresholds were fitted for.

    Raises:
        UserError: if it is not among them, or if no threshold reaches it.
    """
    fitted = decision.get("abstention", {})
    reached = [key for key, threshold in fitted.items() if threshold is not None]
    key = next((key for key in fitted if float(key) == accuracy), None)
    if key is not None and key in reached:
        return key
    known = ", ".join(reached) or "there are none"
    choose = f"Choose one that has a threshold ({known}), or add" if reached else "Add"
    to = "to evaluate.abstention.accuracies in params.yaml (add the section if it is missing)"
    if key is None:
        raise UserError(
            f"--abstain: must be an accuracy that has a threshold ({known}), got {accuracy:g}. "
            f"{choose} {accuracy:g} {to} and run 'dvc repro'."
        )
    split = decision["calibrated_on"].replace("train", "training")
    raise UserError(
        f"--abstain: no threshold reaches an accuracy of {key} on the "
        f"{decision['n_calibration_images']:,} {split} images. {choose} a lower one {to} and "
        f"run 'dvc repro'. Models with fewer errors and more {split} images raise the accuracy "
        "that is reached."
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
