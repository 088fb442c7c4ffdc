"""Check prediction sets: how often they contain the labels of images, and how large they are."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from classifold.data.metrics import Task, task_of
from classifold.data.row_blocks import row_blocks
from classifold.evaluation.inference import Predictions
from classifold.evaluation.intervals import accuracy_interval, ratio_interval
from classifold.models.prediction_sets import label_weights, prediction_sets

COLUMNS = ("model", "level", "class", "n_images", "coverage", "low", "high", "mean_size")


class SetOutcomes(NamedTuple):
    """How prediction sets compare with the labels of N images."""

    task: Task
    covered: np.ndarray  # float (N,): fraction of the labels of each image in its set
    labeled: np.ndarray  # bool (N,): whether an image has a label
    sizes: np.ndarray  # int (N,): number of classes in each set
    # int (3, n_classes): images of each class, those whose set has it, classes in their sets
    of_classes: np.ndarray


class Coverage(NamedTuple):
    """The sets of some images."""

    n_images: int  # images with a label
    coverage: float | None  # None without such images, like its interval
    interval: list[float] | None  # 95 %
    mean_size: float | None  # number of classes in a set; None without images

    def row(self) -> dict[str, Any]:
        """The columns of `prediction_sets.csv`; undefined ones are empty."""
        low, high = self.interval or (None, None)
        numbers = {"coverage": self.coverage, "low": low, "high": high, "mean_size": self.mean_size}
        return {
            "n_images": self.n_images,
            **{name: None if x is None else round(x, 6) for name, x in numbers.items()},
        }


def score_sets(
    predictions: Predictions, labels: np.ndarray, *, classes: Sequence[str] | None
) -> dict[str, Any]:
    """Measure the prediction sets of a model at each of its levels.

    Args:
        predictions: for at least one image; their decision has the thresholds.
        labels: int array (N,), or 0 and 1 in (N, n_classes).
        classes: names in the order of columns, to measure each class too; None to omit them.

    Returns:
        `conformal` as in `metrics/test.json`; empty for a model without thresholds.
    """
    if not predictions.decision.get("prediction_sets"):
        return {}
    levels: dict[str, dict[str, Any]] = {}
    for level, outcomes in _levels(predictions, labels):
        whole = measure_coverage(outcomes)
        levels[level] = {
            "threshold": predictions.decision["prediction_sets"][level],
            "coverage": whole.coverage,
            "coverage_ci95": whole.interval,
            "mean_size": whole.mean_size,
            "one_class_fraction": float((outcomes.sizes == 1).mean()),
            "n_images": whole.n_images,
        }
        if classes is not None:
            levels[level]["coverage_per_class"] = {
                name: of_class.coverage
                for name, of_class in zip(classes, class_coverages(outcomes), strict=True)
            }
    calibration = {k: predictions.decision[k] for k in ("calibrated_on", "n_calibration_images")}
    return {"conformal": calibration | {"levels": levels}}


def set_rows(
    predictions: Predictions, labels: np.ndarray, classes: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Yield the rows of `prediction_sets.csv` of one model, without the column model.

    Args:
        predictions: for N images.
        labels: int array (N,), or 0 and 1 in (N, n_classes).
        classes: names in the order of columns.
    """
    if len(labels) == 0:
        return
    for level, outcomes in _levels(predictions, labels):
        yield {"level": level, "class": "", **measure_coverage(outcomes).row()}
        for name, of_class in zip(classes, class_coverages(outcomes), strict=True):
            yield {"level": level, "class": name, **of_class.row()}


def measure_sets(probabilities: np.ndarray, labels: np.ndarray, threshold: float) -> SetOutcomes:
    """Compare prediction sets with labels, in blocks of images.

    Args:
        probabilities: float array (N, n_classes).
        labels: int array (N,), or 0 and 1 in (N, n_classes).
        threshold: of `prediction_sets`.
    """
    n_classes, task = probabilities.shape[1], task_of(labels)
    n_images = len(labels)
    covered, labeled = np.empty(n_images), np.empty(n_images, bool)
    sizes = np.empty(n_images, np.int64)
    counts = np.zeros((3, n_classes), np.int64)
    for rows in row_blocks(*probabilities.shape):
        sets = prediction_sets(probabilities[rows], threshold, task=task)
        weights = label_weights(labels[rows], n_classes=n_classes)
        positive = weights > 0
        sizes[rows] = sets.sum(axis=1)
        covered[rows] = (weights * sets).sum(axis=1)
        labeled[rows] = positive.any(axis=1)
        counts[0] += positive.sum(axis=0)
        counts[1] += (positive & sets).sum(axis=0)
        counts[2] += sizes[rows] @ positive
    return SetOutcomes(task, covered, labeled, sizes, counts)


def measure_coverage(outcomes: SetOutcomes) -> Coverage:
    """Measure how often sets contain the labels, for at least one image.

    With several labels the coverage is the mean over images with a label of the fraction of their
    labels in the set.
    """
    covered, mean_size = outcomes.covered[outcomes.labeled], float(outcomes.sizes.mean())
    n_images = len(covered)
    if not n_images:
        return Coverage(0, None, None, mean_size)
    if outcomes.task == "single":
        interval = accuracy_interval(round(covered.sum()), n_images)
    else:
        interval = ratio_interval(covered, np.ones(n_images))
    return Coverage(n_images, float(covered.mean()), interval, mean_size)


def class_coverages(outcomes: SetOutcomes) -> list[Coverage]:
    """Measure how often the sets of the images of each class contain this class."""
    return [
        Coverage(
            n_images,
            n_covered / n_images,
            accuracy_interval(n_covered, n_images),
            total_size / n_images,
        )
        if n_images
        else Coverage(0, None, None, None)
        for n_images, n_covered, total_size in outcomes.of_classes.T.tolist()
    ]


def _levels(predictions: Predictions, labels: np.ndarray) -> Iterator[tuple[str, SetOutcomes]]:
    """Level -> how its sets compare with the labels."""
    for level, threshold in predictions.decision.get("prediction_sets", {}).items():
        yield level, measure_sets(predictions.probabilities, labels, threshold)
