"""Write the tables of the evaluation."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from classifold.data.csv_file import rounded, write_rows
from classifold.data.metrics import MAIN_METRIC, task_of
from classifold.data.predictions import STACK, write_predictions
from classifold.evaluation.calibration import calibration_table
from classifold.evaluation.inference import Predictions
from classifold.evaluation.labels import LabeledImages
from classifold.evaluation.mistakes import COLUMNS as MISTAKES
from classifold.evaluation.mistakes import worst_mistakes
from classifold.evaluation.per_class import COLUMNS as PER_CLASS
from classifold.evaluation.per_class import per_class_table, precision_recall_rows
from classifold.evaluation.risk_coverage import COLUMNS as CURVES
from classifold.evaluation.risk_coverage import curve_rows
from classifold.evaluation.set_scores import COLUMNS as SETS
from classifold.evaluation.set_scores import set_rows
from classifold.evaluation.slices import Slices
from classifold.evaluation.summary import slice_rows


def write_evaluation(
    folder: Path,
    all_predictions: Mapping[str, Predictions],
    images: LabeledImages,
    *,
    classes: Sequence[str],
    slices: Slices,
    calibration_bins: int,
) -> None:
    """Write the tables of all models into `folder`.

    For each model: `predictions.parquet` (one row per image), `per_class.csv`, `calibration.csv`,
    `slices.csv`, `prediction_sets.csv`, `risk_coverage.csv`. For the stack: `confusion.csv` (one
    row per image: actual, predicted; without rows where images have several labels, as
    `per_class.csv` has the counts), `mistakes.csv`, and with several labels `precision_recall.csv`.

    Args:
        folder: an existing folder.
        all_predictions: model -> its predictions for N images.
        images: their ids and labels.
        classes: names in the order of columns.
        slices: what `find_slices` found.
        calibration_bins: number of bins of the calibration table.
    """
    ids, labels = images
    task = task_of(labels)
    stack = all_predictions[STACK]
    write_predictions(
        folder / "predictions.parquet",
        {name: predictions.probabilities for name, predictions in all_predictions.items()},
        {name: predictions.predicted for name, predictions in all_predictions.items()},
        ids=ids,
        labels=labels,
        classes=classes,
    )
    pairs = zip(labels, stack.predicted, strict=True) if task == "single" else ()
    write_rows(
        folder / "confusion.csv",
        (
            {"actual": classes[actual], "predicted": classes[predicted]}
            for actual, predicted in pairs
        ),
        columns=["actual", "predicted"],
        plotted=True,
    )
    write_rows(
        folder / "per_class.csv",
        (
            {"model": name, **row}
            for name, predictions in all_predictions.items()
            for row in per_class_table(predictions, labels, classes)
        ),
        columns=["model", *PER_CLASS[task]],
    )
    write_rows(
        folder / "calibration.csv",
        (
            {"model": name, **rounded(row)}
            for name, predictions in all_predictions.items()
            for row in calibration_table(predictions.probabilities, labels, n_bins=calibration_bins)
        ),
        columns=["model", "low", "high", "n_images", "confidence", "accuracy"],
    )
    write_rows(
        folder / "slices.csv",
        (
            {"model": name, **rounded(row)}
            for name, predictions in all_predictions.items()
            for row in slice_rows(predictions, labels, slices)
        ),
        columns=["model", "slice", "value", "n_images", MAIN_METRIC[task], "low", "high"],
    )
    write_rows(
        folder / "prediction_sets.csv",
        (
            {"model": name, **row}
            for name, predictions in all_predictions.items()
            for row in set_rows(predictions, labels, classes)
        ),
        columns=SETS,
    )
    write_rows(
        folder / "risk_coverage.csv",
        (
            {"model": name, **row}
            for name, predictions in all_predictions.items()
            for row in curve_rows(predictions, labels)
        ),
        columns=CURVES,
        plotted=True,
    )
    write_rows(
        folder / "mistakes.csv",
        worst_mistakes(stack, labels, ids=ids, classes=classes),
        columns=MISTAKES[task],
    )
    if task == "multi":
        write_rows(
            folder / "precision_recall.csv",
            precision_recall_rows(stack, labels, classes),
            columns=["curve", "class", "threshold", "precision", "recall"],
        )
