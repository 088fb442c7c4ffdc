"""Check prediction sets: how often they contain the labels of images, and how large they are."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from classifold.data.metrics import task_of
from classifold.evaluation.inference import Predictions
from classifold.evaluation.intervals import accuracy_interval, ratio_interval
from classifold.models.prediction_sets import label_weights, prediction_sets

COLUMNS = ("model", "level", "class", "n_images", "coverage", "low", "high", "mean_size")


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
    for level, sets in _sets(predictions, labels):
        whole = measure_coverage(sets, labels)
        levels[level] = {
            "threshold": predictions.decision["prediction_sets"][level],
            "coverage": whole.coverage,
            "coverage_ci95": whole.interval,
            "mean_size": whole.mean_size,
            "one_class_fraction": float((sets.sum(axis=1) == 1).mean()),
            "n_images": whole.n_images,
        }
        if classes is not None:
            levels[level]["coverage_per_class"] = {
                name: of_class.coverage
                for name, of_class in zip(classes, class_coverages(sets, labels), strict=True)
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
    for level, sets in _sets(predictions, labels):
        yield {"level": level, "class": "", **measure_coverage(sets, labels).row()}
        for name, of_class in zip(classes, class_coverages(sets, labels), strict=True):
            yield {"level": level, "class": name, **of_class.row()}


def measure_coverage(sets: np.ndarray, labels: np.ndarray) -> Coverage:
    """Measure how often sets contain the labels.

    Args:
        sets: bool array (N, n_classes), N at least 1.
        labels: int array (N,), or 0 and 1 in (N, n_classes). With several labels the coverage is
            the mean over images with a label of the fraction of their labels in the set.
    """
    weights = label_weights(labels, n_classes=sets.shape[1])
    labeled = (weights > 0).any(axis=1)
    covered, mean_size = (weights * sets).sum(axis=1)[labeled], float(sets.sum(axis=1).mean())
    n_images = len(covered)
    if not n_images:
        return Coverage(0, None, None, mean_size)
    if task_of(labels) == "single":
        interval = accuracy_interval(round(covered.sum()), n_images)
    else:
        interval = ratio_interval(covered, np.ones(n_images))
    return Coverage(n_images, float(covered.mean()), interval, mean_size)


def class_coverages(sets: np.ndarray, labels: np.ndarray) -> list[Coverage]:
    """Measure how often the sets of the images of each class contain this class.

    Args:
        sets: bool array (N, n_classes).
        labels: int array (N,), or 0 and 1 in (N, n_classes).
    """
    positive = label_weights(labels, n_classes=sets.shape[1]) > 0
    coverages = []
    for position, of_class in enumerate(positive.T):
        if not of_class.any():
            coverages.append(Coverage(0, None, None, None))
            continue
        n_images, n_covered = int(of_class.sum()), int(sets[of_class, position].sum())
        interval = accuracy_interval(n_covered, n_images)
        mean_size = float(sets[of_class].sum(axis=1).mean())
        coverages.append(Coverage(n_images, n_covered / n_images, interval, mean_size))
    return coverages


def _sets(predictions: Predictions, labels: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Level -> sets."""
    for level, threshold in predictions.decision.get("prediction_sets", {}).items():
        yield level, prediction_sets(predictions.probabilities, threshold, task=task_of(labels))
