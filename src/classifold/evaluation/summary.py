"""Collect `metrics/test.json`: the scores of every model on test images."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from classifold.data.metrics import MAIN_METRIC, task_of
from classifold.data.predictions import MAJORITY, STACK
from classifold.evaluation.inference import Predictions
from classifold.evaluation.risk_coverage import score_abstention
from classifold.evaluation.scores import compare, main_score, score
from classifold.evaluation.seeds import PredictedBySeed, score_seeds
from classifold.evaluation.set_scores import score_sets
from classifold.evaluation.slices import DUPLICATE, DUPLICATES, Slices


def summarize(
    all_predictions: Mapping[str, Predictions],
    labels: np.ndarray,
    *,
    classes: Sequence[str],
    before: Mapping[str, Mapping[str, Any]],
    untrained: Mapping[str, np.ndarray],
    seeds: PredictedBySeed,
    slices: Slices,
    calibration_bins: int,
    bootstrap: Mapping[str, int],
) -> dict[str, dict[str, Any]]:
    """Measure all models.

    Args:
        all_predictions: model -> its predictions for N images, also of `stack` and
            `majority_baseline`.
        labels: int array (N,), or 0 and 1 in (N, n_classes).
        classes: names in the order of columns.
        before: model -> its scores on training and validation images.
        untrained: network that was trained -> predictions of its initial weights.
        seeds: predictions of models that were trained from several seeds.
        slices: what `find_slices` found.
        calibration_bins: bins of equal width for the calibration error.
        bootstrap: `resamples` and `seed` of the intervals of macro F1.

    Returns:
        Model -> its scores; with no images, `n_images` alone.
    """
    if len(labels) == 0:
        return {name: {"n_images": 0} for name in all_predictions}
    metric = MAIN_METRIC[task_of(labels)]
    summary, of_seeds = {}, score_seeds(seeds, labels)
    for name, predictions in all_predictions.items():
        entry = score(predictions, labels, calibration_bins=calibration_bins, bootstrap=bootstrap)
        entry |= _gaps(entry, before[name], metric=metric, fitted=name in (STACK, MAJORITY))
        if name in untrained:
            entry[f"untrained_{metric}"] = main_score(untrained[name], labels)[0]
        if name != STACK:
            entry["versus_stack"] = compare(predictions, all_predictions[STACK], labels)
        entry |= _without_duplicates(predictions, labels, slices)
        entry |= score_sets(predictions, labels, classes=classes if name == STACK else None)
        entry |= score_abstention(predictions, labels)
        if name in of_seeds:
            entry["seeds"] = of_seeds[name]
        summary[name] = entry
    rows = slice_rows(all_predictions[STACK], labels, slices)
    summary[STACK]["slices"] = _comparable_slices(rows, metric=metric)
    return summary


def slice_rows(
    predictions: Predictions, labels: np.ndarray, slices: Slices
) -> list[dict[str, Any]]:
    """Measure a model on each slice that holds images.

    Returns:
        Rows of slice, value, n_images, `MAIN_METRIC`, low, high (of its 95 % interval).
    """
    metric = MAIN_METRIC[task_of(labels)]
    rows = []
    for kind, values in slices.items():
        for value, chosen in values.items():
            value_score, (low, high) = main_score(predictions.predicted[chosen], labels[chosen])
            rows.append(
                {
                    "slice": kind,
                    "value": value,
                    "n_images": int(chosen.sum()),
                    metric: value_score,
                    "low": low,
                    "high": high,
                }
            )
    return rows


def _gaps(
    entry: Mapping[str, Any], before: Mapping[str, Any], *, metric: str, fitted: bool
) -> dict[str, float | None]:
    """Subtract the test score from the scores on training and validation images.

    Args:
        entry: its scores on test images.
        before: its scores on training and validation images.
        metric: by which models are compared.
        fitted: whether the earlier scores with several labels were measured at fitted thresholds.
            Training measures at 0.5; then the test score at 0.5 is subtracted.
    """
    tested = entry[metric if fitted or metric == "accuracy" else f"{metric}_at_half"]
    train, validation = before.get(f"train_{metric}"), before.get(f"validation_{metric}")
    return {
        f"train_{metric}": train,
        f"validation_{metric}": validation,
        "train_test_gap": _gap(train, tested),
        "validation_test_gap": _gap(validation, tested),
    }


def _gap(before: float | None, tested: float) -> float | None:
    """A difference to six places, the precision of the earlier score in its file."""
    return None if before is None else round(before - tested, 6)


def _without_duplicates(
    predictions: Predictions, labels: np.ndarray, slices: Slices
) -> dict[str, Any]:
    """Score the images without a duplicate among training images, and count the others."""
    metric = MAIN_METRIC[task_of(labels)]
    duplicates = slices.get(DUPLICATES, {}).get(DUPLICATE, np.zeros(len(labels), bool))
    others = ~duplicates
    score = None
    if others.any():
        score, _ = main_score(predictions.predicted[others], labels[others])
    return {f"{metric}_without_duplicates": score, "n_duplicates_of_train": int(duplicates.sum())}


def _comparable_slices(
    rows: Iterable[Mapping[str, Any]], *, metric: str
) -> dict[str, dict[str, dict[str, float]]]:
    """Slices of the kinds with at least two values: kind -> value -> score."""
    kinds: dict[str, dict[str, dict[str, float]]] = defaultdict(dict)
    for row in rows:
        kinds[row["slice"]][row["value"]] = {key: row[key] for key in (metric, "n_images")}
    return {kind: values for kind, values in kinds.items() if len(values) > 1}
