"""Measure how many test images are unlike the training images, and how well those are predicted."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from classifold.analysis.features.compute import compute_features
from classifold.analysis.features.nearest import FALSE_POSITIVE_RATE, Nearest
from classifold.analysis.features.training_images import TrainingImages, sample_rows
from classifold.data.pixels import load_pixels
from classifold.models.model_file import Model

NOVELTY_COLUMNS = ("id", "label", "predicted", "novelty", "is_novel", "nearest")


def measure_novelty(
    predictions: Sequence[Mapping[str, Any]],
    model: Model,
    train: TrainingImages,
    *,
    ingested: Path,
    device: torch.device,
    seed: int,
) -> list[dict[str, Any]]:
    """Compare test images, or a random sample of many, with the training images.

    Args:
        predictions: rows of predictions.parquet of the model.
        model: that computed the features of the training images.
        train: the training images.
        ingested: folder of the image table.
        device: where to compute.
        seed: seed of the sample.

    Returns:
        See `novelty_rows`.
    """
    tested = [predictions[row] for row in sample_rows(len(predictions), seed=seed)]
    pixels = load_pixels(
        ingested,
        [row["id"] for row in tested],
        size=model.preprocessing["pack_size"],
        resize=model.preprocessing["resize"],
    )
    features = compute_features(model, pixels, device=device)  # of the same bits as in `predict`
    return novelty_rows(tested, train.nearest(features), train)


def novelty_rows(
    predictions: Sequence[Mapping[str, Any]], nearest: Nearest, train: TrainingImages
) -> list[dict[str, Any]]:
    """Describe the novelty of each predicted image: rows with `NOVELTY_COLUMNS`.

    Args:
        predictions: rows of predictions.parquet.
        nearest: the training images that are nearest to each of these images.
        train: the training images.
    """
    found = zip(predictions, nearest.novelty, train.is_novel(nearest), nearest.rows, strict=True)
    return [
        {
            "id": row["id"],
            "label": row["label"],
            "predicted": row["predicted"],
            "novelty": float(novelty),
            "is_novel": int(is_novel),
            "nearest": train.ids[near[0]],
        }
        for row, novelty, is_novel, near in found
    ]


def summarize_novelty(rows: Sequence[Mapping[str, Any]], train: TrainingImages) -> dict[str, Any]:
    """Collect the key `novelty` of `metrics/explain.json`.

    `novel_fraction` of the test images have a novelty above the threshold; of test images like the
    validation images it is `expected_fraction` or less. `correct` is the fraction of correct
    predictions, of the novel images and of the others. None where there are no such images, and
    where there is no threshold.

    Args:
        rows: see `novelty_rows`.
        train: the training images.
    """
    is_novel = np.array([row["is_novel"] for row in rows], bool)
    correct = np.array([row["predicted"] == row["label"] for row in rows], bool)
    known = train.threshold is not None
    return {
        "novelty": {
            "n_images": len(rows),
            "threshold": train.threshold,
            "expected_fraction": FALSE_POSITIVE_RATE,
            "n_novel": int(is_novel.sum()) if known else None,
            "novel_fraction": _mean(is_novel) if known else None,
            "correct": {
                "novel": _mean(correct[is_novel]),
                "other": _mean(correct[~is_novel]) if known else None,
            },
        }
    }


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None
