"""The tables that the evaluation leaves."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from classifold.csv_file import write_rows
from classifold.evaluation.answers import STACK
from classifold.evaluation.metrics import calibration_table, per_class_table
from classifold.evaluation.predictions import write_predictions


def write_evaluation(
    folder: Path,
    answers: Mapping[str, np.ndarray],
    labels: Mapping[str, str],
    *,
    classes: Sequence[str],
    n_bins: int,
) -> np.ndarray:
    """Write the tables of all models into `folder`.

    `predictions.parquet` (one row an image and model), `confusion.csv` (actual, predicted: a row
    an image, of the stack), `per_class.csv` and `calibration.csv` (by model).

    Args:
        folder: an existing folder.
        answers: model -> float array (N, n_classes).
        labels: id -> class, of the N images in their order.
        classes: names in the order of columns.
        n_bins: of the calibration table.

    Returns:
        The labels as int64 positions in `classes`.
    """
    position = {name: i for i, name in enumerate(classes)}
    targets = np.array([position[label] for label in labels.values()], np.int64)
    write_predictions(
        folder / "predictions.parquet",
        answers,
        ids=list(labels),
        labels=targets,
        classes=classes,
    )
    stack = answers[STACK].argmax(axis=1)
    write_rows(
        folder / "confusion.csv",
        (
            {"actual": classes[actual], "predicted": classes[predicted]}
            for actual, predicted in zip(targets, stack, strict=True)
        ),
        columns=["actual", "predicted"],
    )
    write_rows(
        folder / "per_class.csv",
        (
            {"model": name, **row}
            for name, values in answers.items()
            for row in per_class_table(values.argmax(axis=1), targets, list(classes))
        ),
        columns=["model", "class", "precision", "recall", "f1", "support"],
    )
    write_rows(
        folder / "calibration.csv",
        (
            {"model": name, **{key: round(value, 6) for key, value in row.items()}}
            for name, values in answers.items()
            for row in calibration_table(values, targets, n_bins=n_bins)
        ),
        columns=["model", "low", "high", "n_images", "confidence", "accuracy"],
    )
    return targets
