"""Run all models on the test images, in blocks, so that memory does not grow with their number."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from classifold.data.json_file import read_json
from classifold.data.pixels import mean_luma
from classifold.data.predictions import MAJORITY
from classifold.data.row_blocks import FilledArray, row_blocks
from classifold.evaluation.inference import (
    Predictions,
    constant_predictions,
    predict_all,
    read_pixels,
    untrained_logits,
)
from classifold.evaluation.seeds import PredictedBySeed, predict_seeds
from classifold.models.inference import BATCH_SIZE

MAX_BYTES = 2**28  # of a block


class OnTestImages(NamedTuple):
    """What models predict for N test images, and how bright these are."""

    predictions: dict[str, Predictions]  # of each model, the stack, and last the baseline
    untrained: dict[str, np.ndarray]  # of initial weights: int (N,), or bool (N, n_classes)
    seeds: PredictedBySeed  # of other seeds than the first
    luma: np.ndarray  # float64 (N,): the mean of each image


def predict_test_images(
    ids: Sequence[str],
    *,
    ingested: Path,
    scratch: Path,
    ensemble: Path,
    baseline: Mapping[str, Any],
    seeds: Mapping[str, int],
    **common: Any,
) -> OnTestImages:
    """Run every listed model, trained and untrained, the ensemble and the majority baseline.

    Args:
        ids: ids of N images in the image table.
        ingested: folder of the image table.
        scratch: folder of temporary files: 16 bytes per image, class and model, if that is much.
        ensemble: folder of the ensemble.
        baseline: see `constant_predictions`.
        seeds: network that was trained -> seed of its initial weights.
        common: `models`, `decisions`, `device` and `test_time` of `predict_all`.

    Raises:
        UserError: see `predict_all`.
    """
    decisions, models = common["decisions"], common["models"]
    single, first_model = decisions["task"] == "single", models / next(iter(decisions["models"]))
    # Without images there are no logits whose largest one could be found.
    initial = {name: seeds[name] for name in decisions["models"] if name in seeds and len(ids)}
    new = partial(FilledArray, len(ids), folder=scratch)
    luma = new()
    predictions: dict[str, list[FilledArray]] = defaultdict(lambda: [new(), new(), new()])
    untrained: dict[str, FilledArray] = defaultdict(new)
    of_seeds: dict[str, dict[int, FilledArray]] = defaultdict(lambda: defaultdict(new))
    applied: dict[str, Mapping[str, Any]] = {}
    for rows in _blocks(len(ids), model=first_model, decisions=decisions):
        pixels = read_pixels(ids[rows], ingested=ingested, model=first_model)
        luma.put(rows, mean_luma(pixels))
        for name, given in predict_all(pixels, ensemble=ensemble, **common).items():
            applied[name] = given.decision
            for whole, values in zip(predictions[name], given[:3], strict=True):
                whole.put(rows, values)
        for name, logits in untrained_logits(
            pixels, models=models, seeds=initial, device=common["device"]
        ).items():
            # Several labels are predicted at 0.5, as nothing was fitted.
            untrained[name].put(rows, logits.argmax(axis=1) if single else logits > 0)
        for name, by_seed in predict_seeds(pixels, **common).items():
            for seed, predicted in by_seed.items():
                of_seeds[name][seed].put(rows, predicted)
    found = {}
    for name, decision in applied.items():
        probabilities, uncalibrated, predicted = (whole.array for whole in predictions[name])
        found[name] = Predictions(probabilities, uncalibrated, predicted, decision)
    found[MAJORITY] = constant_predictions(len(ids), decisions=decisions, baseline=baseline)
    return OnTestImages(
        found,
        {name: whole.array for name, whole in untrained.items()},
        {
            name: {seed: whole.array for seed, whole in by_seed.items()}
            for name, by_seed in of_seeds.items()
        },
        luma.array,
    )


def _blocks(n_images: int, *, model: Path, decisions: Mapping[str, Any]) -> Iterator[slice]:
    """Yield blocks of whole batches, in which logits have the same bits as in one block."""
    size = read_json(model / "model.json")["preprocessing"]["pack_size"]
    # The pixels, and of each model and the stack logits and two kinds of probabilities in float64.
    n_bytes = 3 * size**2 + 24 * len(decisions["classes"]) * (len(decisions["models"]) + 1)
    return row_blocks(n_images, n_bytes, max_values=MAX_BYTES, multiple=BATCH_SIZE)
