"""Predict corrupted and attacked test images, by every model and the stack."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from classifold.analysis.robustness.adversarial import (
    PixelModule,
    StackedModule,
    change_adversarially,
    step_counts,
)
from classifold.analysis.robustness.conditions import CLEAN, Condition, Corrupted, Predicted
from classifold.analysis.robustness.corruptions import corrupt
from classifold.data.predictions import STACK
from classifold.evaluation.inference import (
    Predictions,
    decide,
    load_listed,
    model_logits,
    stacked_logits,
)
from classifold.evaluation.labels import LabeledImages
from classifold.models.decisions import read_decision
from classifold.runtime.progress import log
from classifold.stacking.ensemble import load_ensemble

MAX_BYTES = 2**28  # of corrupted images in memory


def predict_corrupted(
    images: LabeledImages,
    pixels: np.ndarray,
    *,
    corruptions: Sequence[str],
    severities: Sequence[int],
    seed: int,
    predict: Callable[[np.ndarray], Mapping[str, Predictions]],
) -> Corrupted:
    """Run all models on the clean images, and under each corruption.

    Args:
        images: ids of N images.
        pixels: uint8 array (N, size, size, 3).
        corruptions: names of the corruptions.
        severities: of each corruption.
        seed: seed of the corruptions.
        predict: computes the predictions of all models and the stack for some images.

    Returns:
        The predictions of all models; nothing without images.
    """
    conditions = [CLEAN, *product(corruptions, severities)]
    n_at_once = max(1, MAX_BYTES // (len(conditions) * max(pixels[:1].nbytes, 1)))
    found: dict[str, dict[Condition, list[np.ndarray]]] = defaultdict(lambda: defaultdict(list))
    differing = {STACK}
    for start in range(0, len(pixels), n_at_once):
        rows = slice(start, start + n_at_once)
        pairs = list(zip(pixels[rows], images.ids[rows], strict=True))
        changed = [
            _change(image, condition, seed=seed, image_id=image_id)
            for condition in conditions
            for image, image_id in pairs
        ]
        predicted = predict(np.stack(changed))
        for name, predictions in predicted.items():
            if not _are_equal(predictions, predicted[STACK]):
                differing.add(name)
            parts = np.split(predictions.predicted, len(conditions))
            for condition, part in zip(conditions, parts, strict=True):
                found[name][condition].append(part)
    joined = {
        name: {condition: np.concatenate(parts) for condition, parts in of_model.items()}
        for name, of_model in found.items()
    }
    return Corrupted(joined, set(joined) - differing)


def predict_attacked(
    images: LabeledImages,
    pixels: np.ndarray,
    *,
    settings: Mapping[str, Any],
    models: Path,
    ensemble: Path,
    decisions: Mapping[str, Any],
    device: torch.device,
    test_time: Mapping[str, Any],
) -> dict[str, Predicted]:
    """Attack each model and the stack with its own gradients, and run it on the result.

    Args:
        images: labels of N images.
        pixels: uint8 array (N, size, size, 3).
        settings: `images` (the first of these are attacked), `epsilons` and `steps`.
        models: see `predict_all`, as for the other arguments.
        ensemble: see there.
        decisions: see there.
        device: see there.
        test_time: see there; the attacks are on the image alone.

    Returns:
        Model -> its predictions for each attack and perturbation bound; nothing without images.
    """
    pixels, labels = (each[: settings["images"]] for each in (pixels, images.labels))
    if not len(pixels):
        return {}
    stack = load_ensemble(ensemble)
    listed = {
        name: load_listed(name, folder=models / name, classes=decisions["classes"])
        for name in decisions["models"]
    }

    def logits_of(name: str, attacked: np.ndarray) -> np.ndarray:
        if name != STACK:
            return model_logits(listed[name], attacked, device=device, **test_time)
        members = {member: logits_of(member, attacked) for member in stack.members}
        return stacked_logits(stack, members)

    modules = {name: PixelModule(model) for name, model in listed.items()}
    fitted = decisions["models"] | {STACK: read_decision(ensemble / "decision.json")}
    found: dict[str, Predicted] = {}
    for name, decision in fitted.items():
        log(f"  attacking {name} on {len(pixels):,} images")
        module = modules.get(name) or StackedModule(stack, modules)
        found[name] = {}
        for attack, n_steps in step_counts(settings["steps"]).items():
            for epsilon in sorted(settings["epsilons"]):
                attacked = change_adversarially(
                    module.to(device),
                    pixels,
                    labels,
                    epsilon=epsilon,
                    n_steps=n_steps,
                    device=device,
                )
                decided = decide(logits_of(name, attacked), decision, task=decisions["task"])
                found[name][attack, epsilon] = decided.predicted
    return found


def _are_equal(one: Predictions, other: Predictions) -> bool:
    pairs = ((one.probabilities, other.probabilities), (one.predicted, other.predicted))
    return all(np.array_equal(*pair) for pair in pairs)


def _change(image: np.ndarray, condition: Condition, *, seed: int, image_id: str) -> np.ndarray:
    if condition == CLEAN:
        return image
    return corrupt(image, *condition, seed=seed, image_id=image_id)
