"""Probabilities of every model, the stack and the baseline, for given images."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from classifold.compared import MAJORITY
from classifold.decisions import probabilities
from classifold.device import set_threads
from classifold.errors import UserError
from classifold.inference import predict_logits
from classifold.metrics_file import read_json
from classifold.model_file import Model, load_model
from classifold.pixels import load_pixels
from classifold.progress import say
from classifold.stacking.ensemble import ensemble_logits, load_ensemble

STACK = "stack"


def answer(
    ids: Sequence[str],
    *,
    ingested: Path,
    models: Path,
    ensemble: Path,
    decisions: Mapping[str, Any],
    device: torch.device,
) -> dict[str, np.ndarray]:
    """Ask every listed model, the ensemble and the majority baseline.

    Decisions (temperatures) are applied, never fitted.

    Args:
        ids: of images in the image table.
        ingested: folder of the image table.
        models: folder of trained models.
        ensemble: folder of the ensemble.
        decisions: what `compare` fitted.
        device: where networks compute.

    Returns:
        Name -> float64 array (N, n_classes); rows sum to 1.
    """
    logits: dict[str, np.ndarray] = {}
    answers: dict[str, np.ndarray] = {}
    n_classes = len(decisions["classes"])
    pixels: np.ndarray | None = None
    for name, decision in decisions["models"].items():
        model = load_model(models / name)
        if model.classes != decisions["classes"]:
            raise UserError(f"model '{name}' knows other classes; run 'dvc repro -f train@{name}'")
        say(f"  asking {name} about {len(ids):,} images")
        if pixels is None:  # all models read one pack, so one size
            pixels = load_pixels(
                ingested,
                ids,
                size=model.preprocessing["pack_size"],
                resize=model.preprocessing["resize"],
            )
        logits[name] = model_logits(model, pixels, device=device).reshape(len(ids), n_classes)
        answers[name] = probabilities(logits[name], **decision)

    stacked = ensemble_logits(load_ensemble(ensemble), logits)
    answers[STACK] = probabilities(stacked, **read_json(ensemble / "decision.json"))
    shares = np.array([decisions["class_shares"][name] for name in decisions["classes"]])
    # Files keep six places, so the shares may miss 1 by a little.
    answers[MAJORITY] = np.tile(shares / shares.sum(), (len(ids), 1))
    return answers


def model_logits(model: Model, pixels: np.ndarray, *, device: torch.device) -> np.ndarray:
    """Compute a model's logits, with as many threads as it was trained with."""
    set_threads(model.description["threads"])
    settings = model.preprocessing
    return predict_logits(
        model.network.to(device),
        pixels,
        image_size=settings["image_size"],
        normalize=settings["normalize"],
        device=device,
    )
