"""Compute the predictions of every model, the stack and the baseline for given images.

Source of the untrained networks: report 001, section 6 (the validation set is passed through the
untrained network, to check that training improved it).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from classifold.data.json_file import read_json
from classifold.data.pixels import load_pixels
from classifold.data.predictions import STACK
from classifold.errors import UserError
from classifold.models.decisions import predict_labels, probabilities, read_decision
from classifold.models.inference import BATCH_SIZE, aligned_rows, predict_logits
from classifold.models.model_file import Model, load_model, untrained
from classifold.runtime.progress import log
from classifold.stacking.ensemble import Ensemble, ensemble_logits, load_ensemble


class Predictions(NamedTuple):
    """The predictions of one model for N images; row i belongs to image i."""

    probabilities: np.ndarray  # float64 (N, n_classes), temperature-scaled
    uncalibrated: np.ndarray  # float64 (N, n_classes), without temperature scaling
    predicted: np.ndarray  # int64 (N,); with several labels per image bool (N, n_classes)
    decision: Mapping[str, Any]  # what was applied: temperature, threshold, thresholds


def predict_all(
    pixels: np.ndarray,
    *,
    models: Path,
    ensemble: Path,
    decisions: Mapping[str, Any],
    device: torch.device,
    test_time: Mapping[str, Any],
) -> dict[str, Predictions]:
    """Run every listed model and the ensemble on images.

    Decisions (temperatures, thresholds) are applied, never fitted.

    Args:
        pixels: uint8 array (N, size, size, 3), as `read_pixels` returns them.
        models: folder of trained models.
        ensemble: folder of the ensemble.
        decisions: what `compare` fitted.
        device: where networks compute.
        test_time: `flips` and `shift` of `predict_logits`.

    Returns:
        Model -> its predictions; `stack` is the last.

    Raises:
        UserError: if a model cannot be read, or has other classes.
    """
    task, shape = decisions["task"], (len(pixels), len(decisions["classes"]))
    logits: dict[str, np.ndarray] = {}
    for name in decisions["models"]:
        model = load_listed(name, folder=models / name, classes=decisions["classes"])
        log(f"  running {name} on {len(pixels):,} images")
        logits[name] = model_logits(model, pixels, device=device, **test_time).reshape(shape)
    predictions = {
        name: decide(logits[name], decision, task=task)
        for name, decision in decisions["models"].items()
    }
    stacked = stacked_logits(load_ensemble(ensemble), logits)
    predictions[STACK] = decide(stacked, read_decision(ensemble / "decision.json"), task=task)
    return predictions


def load_listed(name: str, *, folder: Path, classes: Sequence[str]) -> Model:
    """Load a model whose decisions were fitted.

    Args:
        name: name of the model.
        folder: its folder, or that of another seed.
        classes: classes of the decisions.

    Raises:
        UserError: if it cannot be read, or was trained again with other classes since.
    """
    model = load_model(folder)
    if model.classes != list(classes):
        raise UserError(
            f"model '{name}': its classes are not those of data/compared/decisions.json. "
            f"Run 'dvc repro -f train@{name}'."
        )
    return model


def decide(logits: np.ndarray, decision: Mapping[str, Any], *, task: str) -> Predictions:
    """Turn logits (N, n_classes) into predictions by what was fitted on validation images."""
    scaled = probabilities(logits, temperature=decision["temperature"], task=task)
    predicted = predict_labels(scaled, decision, task=task)
    uncalibrated = probabilities(logits, temperature=1, task=task)
    return Predictions(scaled, uncalibrated, predicted, decision)


def constant_predictions(
    n_images: int, *, decisions: Mapping[str, Any], baseline: Mapping[str, Any]
) -> Predictions:
    """Make the predictions of the majority baseline, which are the same for every image.

    Args:
        n_images: number of images.
        decisions: what `compare` fitted, among it the class proportions of training images,
            which become the probabilities.
        baseline: the entry of the majority baseline in `metrics/models.json`, which names the
            predicted classes.
    """
    classes = decisions["classes"]
    proportions = np.array([decisions["class_proportions"][name] for name in classes])
    if decisions["task"] == "single":
        proportions /= proportions.sum()  # files keep six places, so the sum may not be exactly 1
        predicted = np.full(n_images, classes.index(baseline["predicted_class"]))
    else:
        positive = np.isin(classes, baseline["predicted_classes"])
        predicted = np.broadcast_to(positive, (n_images, len(classes)))
    proportions = np.broadcast_to(proportions, (n_images, len(classes)))  # one row in memory
    return Predictions(proportions, proportions, predicted, {})


def untrained_logits(
    pixels: np.ndarray, *, models: Path, seeds: Mapping[str, int], device: torch.device
) -> dict[str, np.ndarray]:
    """Compute the logits of networks with their initial, random weights (no published ones).

    Args:
        pixels: uint8 array (N, size, size, 3), as for the trained models.
        models: folder of trained models.
        seeds: model -> seed of its initial weights.
        device: where networks compute.

    Returns:
        Model -> float32 array (N, n_classes).
    """
    return {
        name: model_logits(
            untrained(load_model(models / name), seed=seed),
            pixels,
            device=device,
            flips="none",
            shift=0,
        )
        for name, seed in seeds.items()
    }


def read_pixels(ids: Sequence[str], *, ingested: Path, model: Path) -> np.ndarray:
    """Read images as the pack held them that a model, and so every model, was trained on.

    Args:
        ids: ids of N images in the image table.
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
    model.use_threads()
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
    """Combine members' logits in batches of one fixed size, the last one padded.

    Networks run on the same batches. The logits of an image then have the same bits, whichever
    other images are passed along with it.

    Args:
        ensemble: a fitted one.
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
