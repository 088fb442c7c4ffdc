"""What every model, the stack and the baseline answer about given images."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from classifold.data.json_file import read_json
from classifold.data.pixels import load_pixels
from classifold.errors import UserError
from classifold.models.decisions import probabilities
from classifold.models.device import set_threads
from classifold.models.inference import BATCH_SIZE, aligned_rows, predict_logits
from classifold.models.model_file import Model, load_model
from classifold.runtime.progress import log
from classifold.stacking.ensemble import Ensemble, ensemble_logits, load_ensemble

STACK = "stack"


class Answer(NamedTuple):
    """What one model says of N images; row i is image i."""

    probabilities: np.ndarray  # float64 (N, n_classes): after the temperature
    untempered: np.ndarray  # float64 (N, n_classes): before it
    predicted: np.ndarray  # int64 (N,); with several labels an image bool (N, n_classes)
    decision: Mapping[str, Any]  # what was applied: temperature, threshold, thresholds


def answer(
    pixels: np.ndarray,
    *,
    models: Path,
    ensemble: Path,
    decisions: Mapping[str, Any],
    device: torch.device,
    test_time: Mapping[str, Any],
) -> dict[str, Answer]:
    """Ask every listed model and the ensemble.

    Decisions (temperatures, thresholds) are applied, never fitted.

    Args:
        pixels: uint8 array (N, size, size, 3), as `read_pixels` gives them.
        models: folder of trained models.
        ensemble: folder of the ensemble.
        decisions: what `compare` fitted.
        device: where networks compute.
        test_time: `flips` and `shift` of `predict_logits`.

    Returns:
        Model -> its answer; `stack` is the last.

    Raises:
        UserError: if a model cannot be read, or knows other classes.
    """
    task, shape = decisions["task"], (len(pixels), len(decisions["classes"]))
    logits: dict[str, np.ndarray] = {}
    for name in decisions["models"]:
        model = load_listed(name, models=models, classes=decisions["classes"])
        log(f"  asking {name} about {len(pixels):,} images")
        logits[name] = model_logits(model, pixels, device=device, **test_time).reshape(shape)
    answers = {
        name: decide(logits[name], decision, task=task)
        for name, decision in decisions["models"].items()
    }
    stacked = stacked_logits(load_ensemble(ensemble), logits)
    answers[STACK] = decide(stacked, read_json(ensemble / "decision.json"), task=task)
    return answers


def load_listed(name: str, *, models: Path, classes: Sequence[str]) -> Model:
    """Load a model whose decisions were fitted.

    Args:
        name: of the model.
        models: folder of trained models.
        classes: which the decisions know.

    Raises:
        UserError: if it cannot be read, or was trained on other classes since.
    """
    model = load_model(models / name)
    if model.classes != list(classes):
        raise UserError(f"model '{name}' knows other classes; run 'dvc repro -f train@{name}'")
    return model


def decide(logits: np.ndarray, decision: Mapping[str, Any], *, task: str) -> Answer:
    """Turn logits (N, n_classes) into an answer by what was fitted on validation images."""
    shares = probabilities(logits, temperature=decision["temperature"], task=task)
    predicted = shares.argmax(axis=1) if task == "single" else shares > decision["threshold"]
    return Answer(shares, probabilities(logits, temperature=1, task=task), predicted, decision)


def constant_answer(
    n_images: int, *, decisions: Mapping[str, Any], baseline: Mapping[str, Any]
) -> Answer:
    """Answer what is best for whoever sees no image.

    Args:
        n_images: how many answers to give.
        decisions: what `compare` fitted, the classes' shares of training images among it.
        baseline: the entry of the majority baseline in `metrics/models.json`, which names the
            answer.
    """
    classes = decisions["classes"]
    shares = np.array([decisions["class_proportions"][name] for name in classes])
    if decisions["task"] == "single":
        shares /= shares.sum()  # files keep six places, so the shares may miss 1 by a little
        predicted = np.full(n_images, classes.index(baseline["predicted_class"]))
    else:
        answered = np.isin(classes, baseline["predicted_classes"])
        predicted = np.broadcast_to(answered, (n_images, len(classes)))
    shares = np.broadcast_to(shares, (n_images, len(classes)))  # one row in memory
    return Answer(shares, shares, predicted, {})


def read_pixels(ids: Sequence[str], *, ingested: Path, model: Path) -> np.ndarray:
    """Read images as the pack had them that a model, and so all of them, was trained on.

    Args:
        ids: of N images in the image table.
        ingested: folder of the image table.
        model: folder of a trained model.

    Returns:
        uint8 array (N, size, size, 3).
    """
    settings = read_json(model / "model.json")["preprocessing"]
    return load_pixels(ingested, ids, size=settings["pack_size"], resize=settings["resize"])


def model_logits(
    model: Model, pixels: np.ndarray, *, device: torch.device, flips: str, shift: int
) -> np.ndarray:
    """Compute a model's logits, with as many threads as it was trained with."""
    set_threads(model.description["threads"])
    settings = model.preprocessing
    return predict_logits(
        model.network.to(device),
        pixels,
        image_size=settings["image_size"],
        normalize=settings["normalize"],
        device=device,
        flips=flips,
        shift=shift,
    )


def stacked_logits(ensemble: Ensemble, logits: Mapping[str, np.ndarray]) -> np.ndarray:
    """Combine members' logits as networks see images: in batches of one size, the last padded.

    So an image's answer has the same bits, whichever others are asked about with it.

    Args:
        ensemble: as it was fitted.
        logits: member -> float array (N, n_classes).

    Returns:
        float64 array (N, n_classes).
    """
    batches = []
    n_images = len(logits[ensemble.members[0]])
    with aligned_rows():
        for start in range(0, n_images, BATCH_SIZE):
            batch = {name: values[start : start + BATCH_SIZE] for name, values in logits.items()}
            n_rows = min(BATCH_SIZE, n_images - start)
            padding = ((0, BATCH_SIZE - n_rows), (0, 0))
            padded = {name: np.pad(values, padding, mode="edge") for name, values in batch.items()}
            batches.append(ensemble_logits(ensemble, padded)[:n_rows])
    return np.concatenate(batches) if batches else np.empty((0, ensemble.n_classes))
