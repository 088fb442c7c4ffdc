"""Score a classifier, by itself and in comparison with another."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    hamming_loss,
    log_loss,
)

from classifold.data.metrics import MAIN_METRIC, micro_f1
from classifold.data.predictions import label_ranks, probability_of
from classifold.evaluation.calibration import calibration_error
from classifold.evaluation.inference import Predictions
from classifold.evaluation.intervals import (
    accuracy_interval,
    macro_f1_interval,
    model_gain_interval,
    paired_gain,
    ratio_interval,
    score_terms,
)
from classifold.evaluation.outcomes import Outcomes, count_outcomes, describe_absent_classes


def score(
    predictions: Predictions,
    labels: np.ndarray,
    *,
    calibration_bins: int,
    bootstrap: Mapping[str, int],
) -> dict[str, Any]:
    """Measure one model.

    Args:
        predictions: for at least one image.
        labels: int array (N,), or 0 and 1 in (N, n_classes).
        calibration_bins: bins of equal width for the calibration error.
        bootstrap: `resamples` and `seed` of the interval of macro F1.

    Returns:
        Its scores as in `metrics/test.json`. Macro F1 includes classes without images, whose F1 is
        0; `macro_f1_present` does not. Average precision is not defined for these classes, so they
        are excluded from its mean. Top-k accuracy is the fraction of `label_ranks` up to k.
    """
    measured = _score_single if labels.ndim == 1 else _score_multi
    n_bins = calibration_bins
    return {
        **measured(predictions, labels, bootstrap),
        "calibration_error": calibration_error(predictions.probabilities, labels, n_bins=n_bins),
        "calibration_error_uncalibrated": calibration_error(
            predictions.uncalibrated, labels, n_bins=n_bins
        ),
        "n_images": len(labels),
    }


def main_score(predicted: np.ndarray, labels: np.ndarray) -> tuple[float, list[float]]:
    """Compute the metric by which models are compared, `MAIN_METRIC`, and its 95 % interval.

    Args:
        predicted: int array (N,) for at least one image; or bool (N, n_classes).
        labels: int array (N,), or 0 and 1 in (N, n_classes).
    """
    if labels.ndim == 1:
        n_correct = int((predicted == labels).sum())
        return n_correct / len(labels), accuracy_interval(n_correct, len(labels))
    return micro_f1(predicted, labels), ratio_interval(*score_terms(predicted, labels))


def compare(predictions: Predictions, reference: Predictions, labels: np.ndarray) -> dict[str, Any]:
    """Compare a model with another on the same images.

    Returns:
        `difference` (`MAIN_METRIC` of the model minus that of the reference) and `difference_ci95`;
        with one label per image also `p_value`, of McNemar's exact test.
    """
    predicted, other = predictions.predicted, reference.predicted
    interval = model_gain_interval(
        predicted,
        other,
        labels,
        outputs=predictions.probabilities,
        reference_outputs=reference.probabilities,
    )
    gain = paired_gain(predicted, other, labels)
    compared = {"difference": gain.difference, "difference_ci95": interval}
    return compared if gain.p_value is None else compared | {"p_value": gain.p_value}


def format_test_scores(entry: Mapping[str, Any]) -> str:
    """Format an entry of `metrics/test.json`, such as "test accuracy 0.9963 (0.9792-0.9993)"."""
    if not entry["n_images"]:
        return "no test images (split.fractions.test is 0), so there are no test scores"
    metric = next(metric for metric in MAIN_METRIC.values() if metric in entry)
    low, high = entry[f"{metric}_ci95"]
    text = f"test {metric.replace('_', ' ')} {entry[metric]:.4f} ({low:.4f}-{high:.4f})"
    if (note := describe_absent_classes(entry)) and entry["macro_f1_present"] is not None:
        present = entry["macro_f1_present"]
        text += f"; macro F1 {entry['macro_f1']:.4f}, {present:.4f} over classes present: {note}"
    return text


def _score_single(
    predictions: Predictions, labels: np.ndarray, bootstrap: Mapping[str, int]
) -> dict[str, Any]:
    n_classes = predictions.probabilities.shape[1]
    of_label = probability_of(labels, predictions.probabilities)
    accuracy, interval = main_score(predictions.predicted, labels)
    ranks = label_ranks(predictions.probabilities, labels)
    outcomes = count_outcomes(predictions.predicted, labels, n_classes=n_classes)
    ends = macro_f1_interval(predictions.predicted, labels, n_classes=n_classes, **bootstrap)
    return {
        "accuracy": accuracy,
        "accuracy_ci95": interval,
        **{f"top{k}_accuracy": float((ranks <= k).mean()) for k in (3, 5)},
        **_macro_f1(outcomes),
        # The F1 of classes without images is always 0.
        "macro_f1_ci95": [float(end * (outcomes.actual > 0).mean()) for end in ends],
        "macro_f1_present_ci95": ends,
        "log_loss": float(log_loss(np.ones(len(labels)), of_label, labels=[0, 1])),
    }


def _score_multi(
    predictions: Predictions, labels: np.ndarray, bootstrap: Mapping[str, int]
) -> dict[str, Any]:
    probabilities, predicted = predictions.probabilities, predictions.predicted
    score, interval = main_score(predicted, labels)
    # The majority baseline has no thresholds.
    thresholds = predictions.decision.get("thresholds")
    at_class_thresholds = predicted if thresholds is None else probabilities > thresholds
    return {
        "micro_f1": score,
        "micro_f1_ci95": interval,
        "micro_f1_at_half": micro_f1(probabilities > 0.5, labels),
        "micro_f1_at_class_thresholds": micro_f1(at_class_thresholds, labels),
        **_macro_f1(count_outcomes(predicted, labels)),
        "subset_accuracy": float(accuracy_score(labels, predicted)),
        "mean_average_precision": _mean_average_precision(probabilities, labels),
        "hamming_loss": float(hamming_loss(labels, predicted)),
        # Over pairs: scikit-learn takes two columns for the probabilities of two exclusive classes.
        "log_loss": float(log_loss(labels.ravel(), probabilities.ravel(), labels=[0, 1])),
    }


def _macro_f1(outcomes: Outcomes) -> dict[str, Any]:
    """Average the F1 of all classes, and of those with images."""
    f1, present = outcomes.f1, outcomes.actual > 0
    n_present = int(present.sum())
    return {
        "macro_f1": float(f1.mean()),
        "macro_f1_present": float(f1[present].mean()) if n_present else None,
        "n_classes_present": n_present,
        "n_classes": len(present),
    }


def _mean_average_precision(probabilities: np.ndarray, labels: np.ndarray) -> float | None:
    """Average over the classes with images; None if there are none."""
    used = labels.any(axis=0)
    if not used.any():
        return None
    return float(average_precision_score(labels[:, used], probabilities[:, used], average="macro"))
