"""Measure how much a classifier gains from generated training images."""

from pathlib import Path
from typing import Any

import numpy as np

from classifold.data.csv_file import write_rows
from classifold.data.pack import Pack
from classifold.evaluation.intervals import accuracy_interval, paired_gain
from classifold.gan.added_images import REFERENCE, HeldOutPredictions


def compare(predictions: HeldOutPredictions, labels: np.ndarray) -> dict[str, Any]:
    """Compute the accuracy with each kind of added images, and the gain over `repeated`.

    Intervals describe the variation over images, not over seeds.

    Args:
        predictions: for N images.
        labels: int64 (N,).

    Returns:
        `n_images`, and for each kind accuracy, accuracy_ci95, accuracy_by_fold; except for the
        reference also gain, gain_ci95, gain_p_value.
    """
    compared: dict[str, Any] = {"n_images": len(labels)}
    for kind, predicted in predictions.predicted.items():
        is_correct = predicted == labels
        by_fold = [
            is_correct[predictions.folds == fold].mean() for fold in np.unique(predictions.folds)
        ]
        compared[kind] = {
            "accuracy": is_correct.mean(),
            "accuracy_ci95": accuracy_interval(int(is_correct.sum()), len(is_correct)),
            "accuracy_by_fold": by_fold,
        }
        if kind != REFERENCE:
            gain = paired_gain(predicted, predictions.predicted[REFERENCE], labels)
            compared[kind] |= {
                "gain": gain.difference,
                "gain_ci95": gain.ci95,
                "gain_p_value": gain.p_value,
            }
    return compared


def write_predictions(path: Path, predictions: HeldOutPredictions, originals: Pack) -> None:
    """Write one row per image: id, class, fold, and the prediction with each kind of images."""
    rows = [
        {
            "id": image_id,
            "label": originals.classes[originals.labels[row]],
            "fold": int(predictions.folds[row]),
            **{
                kind: originals.classes[predicted[row]]
                for kind, predicted in predictions.predicted.items()
            },
        }
        for row, image_id in enumerate(originals.ids)
    ]
    write_rows(path, rows, columns=list(rows[0]))
