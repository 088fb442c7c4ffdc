"""How much test scores vary with the seed of training, and which models differ by more."""

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch

from classifold.data.metrics import MIN_SEEDS, spread
from classifold.data.model_settings import seed_folder
from classifold.evaluation.inference import decide, load_listed, model_logits
from classifold.evaluation.intervals import seeds_gain_interval
from classifold.evaluation.scores import main_score
from classifold.runtime.progress import log

# Model -> seed -> predictions: int array (N,), or bool (N, n_classes).
PredictedBySeed = Mapping[str, Mapping[int, np.ndarray]]


def predict_seeds(
    pixels: np.ndarray,
    *,
    models: Path,
    decisions: Mapping[str, Any],
    device: torch.device,
    test_time: Mapping[str, Any],
) -> dict[str, dict[int, np.ndarray]]:
    """Predict the labels of images by models that were trained from other seeds, too.

    Args:
        pixels: uint8 array (N, size, size, 3), as `read_pixels` returns them.
        models: folder of trained models.
        decisions: what `compare` fitted, also for other seeds.
        device: where networks compute.
        test_time: `flips` and `shift` of `predict_logits`.

    Returns:
        Model -> seed -> predictions, of the other seeds alone; without models of one seed.

    Raises:
        UserError: if a model cannot be read, or has other classes.
    """
    task, shape = decisions["task"], (len(pixels), len(decisions["classes"]))
    predicted: dict[str, dict[int, np.ndarray]] = {}
    for name, decision in decisions["models"].items():
        for seed, of_seed in decision.get("seeds", {}).items():
            folder = seed_folder(models / name, seed)
            model = load_listed(name, folder=folder, classes=decisions["classes"])
            log(f"  running {name}, seed {seed}, on {len(pixels):,} images")
            logits = model_logits(model, pixels, device=device, **test_time).reshape(shape)
            found = decide(logits, of_seed, task=task).predicted
            predicted.setdefault(name, {})[int(seed)] = found
    return predicted


def score_seeds(predicted: PredictedBySeed, labels: np.ndarray) -> dict[str, dict[str, Any]]:
    """Measure how much the scores of models vary with their seeds.

    Args:
        predicted: of models with at least two seeds, for at least one image.
        labels: int array (N,), or 0 and 1 in (N, n_classes).

    Returns:
        Model -> `seeds` as in `metrics/test.json`: `spread` of `MAIN_METRIC`, and `versus`, the
        comparison with each earlier model, if both have at least `MIN_SEEDS` seeds.
    """
    found = {
        name: spread({seed: main_score(one, labels)[0] for seed, one in seeds.items()})
        for name, seeds in predicted.items()
    }
    several = [name for name in found if found[name]["n"] >= MIN_SEEDS]
    for earlier, later in combinations(several, 2):
        model, other = (list(predicted[name].values()) for name in (later, earlier))
        scores, others = (list(found[name]["scores"].values()) for name in (later, earlier))
        low, high = seeds_gain_interval(
            model, other, labels, scores=scores, reference_scores=others
        )
        found[later].setdefault("versus", {})[earlier] = {
            "difference": found[later]["mean"] - found[earlier]["mean"],
            "difference_ci95": [low, high],
            "larger_than_both": low > 0 or high < 0,
        }
    return found
