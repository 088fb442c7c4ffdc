"""A trained ensemble, or one of its models, answers for new images."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from classifold.data.json_file import read_json
from classifold.errors import UserError
from classifold.evaluation.inference import (
    STACK,
    Predictions,
    decide,
    load_listed,
    model_logits,
    stacked_logits,
)
from classifold.models.baseline import MAJORITY
from classifold.models.device import choose_device
from classifold.models.inference import BATCH_SIZE
from classifold.models.model_file import Model
from classifold.params.reader import PARAMS_FILE
from classifold.params.validation import check_params
from classifold.runtime.parallel import ordered_map
from classifold.serving.new_images import NewImages, open_images
from classifold.stacking.ensemble import Ensemble, load_ensemble

# Of whole batches: what is in memory at once, beside what is being decoded.
IMAGES_AT_ONCE = 4 * BATCH_SIZE


class Answer(NamedTuple):
    """What is said of one image."""

    image: str  # its name
    labels: list[str]  # one; of a `multi` task those above the threshold, in the classes' order
    probabilities: dict[str, float]  # of every class, the most probable first
    reason: str | None  # why there is no answer, and the others are empty; None: there is one


class Classifier(NamedTuple):
    """A trained stack, or one model, with all that its answers need."""

    name: str  # of the model, or "stack"
    members: dict[str, Model]  # the networks that are asked, and no others
    ensemble: Ensemble | None  # None: one model answers
    decision: dict[str, Any]  # temperature; threshold of a `multi` task
    task: str
    classes: list[str]  # in the order of `probabilities`
    pack_size: int  # pixels that every image is resized to once
    resize: str  # the filter
    background: list[int]  # red, green, blue behind transparent pixels
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
                refit` made. What is fitted on validation images remains that of `models`.

        Raises:
            UserError: if it is not there, or no longer fits what was fitted on its answers.
        """
        params = check_params(root / PARAMS_FILE)
        decisions = _read_decisions(root / "data/compared/decisions.json")
        ensemble, names = None, [model]
        if model == STACK:
            ensemble = _read_ensemble(root / "ensemble", listed=list(decisions["models"]))
            names = ensemble.members
            decision = read_json(root / "ensemble/decision.json")
        elif model in decisions["models"]:
            decision = decisions["models"][model]
        else:
            known = ", ".join([STACK, *decisions["models"]])
            hint = ", which looks at no image" if model == MAJORITY else ""
            raise UserError(f"no trained model is called {model}{hint}; there are {known}")
        if missing := [name for name in names if not (root / models / name).is_dir()]:
            raise UserError(
                f"{models} has no model {', '.join(missing)}; make it with 'dvc repro', or with "
                f"'classifold refit {' '.join(missing)}' for the folder of refits"
            )
        members = {
            name: load_listed(name, models=root / models, classes=decisions["classes"])
            for name in names
        }
        sizes = {
            (m.preprocessing["pack_size"], m.preprocessing["resize"]) for m in members.values()
        }
        if len(sizes) > 1:
            raise UserError(
                f"the models {', '.join(names)} were trained on packs of different sizes or "
                "filters; bring them up to date with 'dvc repro'"
            )
        pack_size, resize = sizes.pop()
        return cls(
            name=model,
            members=members,
            ensemble=ensemble,
            decision=decision,
            task=decisions["task"],
            classes=decisions["classes"],
            pack_size=pack_size,
            resize=resize,
            background=params["ingest"]["background"],
            test_time=params["evaluate"]["test_time"],
            ingested=root / "data/ingested",
            device=choose_device(params["train"]["device"]),
        )

    def predict(self, images: Iterable[str | Path]) -> Iterator[Answer]:
        """Answer for images, in their order and in bounded memory.

        Args:
            images: files, folders, zip or tar archives, or `unlabelled`, as `open_images` has
                them.

        Raises:
            UserError: if something is not there, is empty, is named twice or is a damaged
                archive. An image that cannot be decoded is an answer with a reason.
        """
        with open_images(images, ingested=self.ingested) as opened:
            yield from self.answers(opened)

    def answers(self, images: NewImages) -> Iterator[Answer]:
        """Answer for images that are open."""
        pixels = images.pixels(size=self.pack_size, resize=self.resize, background=self.background)
        named = zip(images.names, pixels, strict=True)
        chunks = iter(lambda: list(islice(named, IMAGES_AT_ONCE)), [])
        if self.device.type == "cpu":
            answered = ordered_map(
                self._answer_all,
                chunks,
                n_items=len(images.names),
                chunk_size=1,
                local="serial",  # torch uses all cores
                n_cores=max(model.description["threads"] for model in self.members.values()),
            )
        else:
            answered = map(self._answer_all, chunks)
        yield from chain.from_iterable(answered)

    def _answer_all(self, named: Sequence[tuple[str, np.ndarray | str]]) -> list[Answer]:
        """Answer for images by their names: each is pixels, or the reason why there are none."""
        decoded = [outcome for _, outcome in named if not isinstance(outcome, str)]
        rows: Iterator[tuple[np.ndarray, np.ndarray]] = iter(())
        if decoded:
            decided = self._decide(np.stack(decoded))
            rows = zip(decided.probabilities, decided.predicted, strict=True)
        return [
            Answer(name, [], {}, reason=outcome)
            if isinstance(outcome, str)
            else self._answer(name, *next(rows))
            for name, outcome in named
        ]

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """Compute probabilities; those of an image have the same bits among any others.

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
        combined = stacked_logits(self.ensemble, logits) if self.ensemble else logits[self.name]
        return decide(combined, self.decision, task=self.task)

    def _answer(self, image: str, shares: np.ndarray, predicted: np.ndarray) -> Answer:
        ranked = np.argsort(-shares, kind="stable")
        chosen = np.flatnonzero(predicted) if self.task == "multi" else [predicted]
        return Answer(
            image,
            [self.classes[i] for i in chosen],
            {self.classes[i]: float(shares[i]) for i in ranked},
            reason=None,
        )


def _read_decisions(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(
            f"there is no trained model here ({path} is missing); train with 'dvc repro', or "
            "fetch what was trained with 'dvc pull'"
        )
    return read_json(path)


def _read_ensemble(folder: Path, *, listed: list[str]) -> Ensemble:
    if not (folder / "ensemble.json").is_file():
        raise UserError(
            f"there is no stack in {folder}; make it with 'dvc repro stack', or ask one model "
            f"with --model ({', '.join(listed)})"
        )
    ensemble = load_ensemble(folder)
    if strange := set(ensemble.members) - set(listed):
        raise UserError(
            f"the stack in {folder} asks {', '.join(sorted(strange))}, which params.yaml no "
            "longer lists; bring it up to date with 'dvc repro stack'"
        )
    return ensemble
