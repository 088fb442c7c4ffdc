"""Measure what the stack gains over its members, on images that it was not fitted on."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from classifold.data.metrics import MAIN_METRIC, micro_f1, task_of
from classifold.evaluation.intervals import model_gain_interval
from classifold.models.decisions import fit_threshold, probabilities
from classifold.runtime.progress import log
from classifold.stacking.ensemble import Ensemble
from classifold.stacking.members import mean_logits


def describe_ensemble(ensemble: Ensemble, *, method: str, n_folds: int) -> dict[str, Any]:
    """Describe a stack: its method and members, and their weights where it averages them.

    Args:
        ensemble: a fitted one.
        method: that was to be fitted. If it was not, `reason` states why.
        n_folds: number of folds of the training images if it was fitted on members' out-of-fold
            logits; 0 if it was fitted on validation images.
    """
    description: dict[str, Any] = {
        "method": ensemble.method,
        "fitted_on": "train" if n_folds else "validation",
        "members": ensemble.members,
        "n_members": len(ensemble.members),
    }
    if ensemble.method != method:
        (first, *others) = ensemble.members
        description["reason"] = (
            f"there are too few images to fit and measure the method {method}"
            if others
            else f"the stack of one member is that member, {first}, and nothing is fitted"
        )
    if "member_weights" in ensemble.weights:
        description["weights"] = dict(
            zip(ensemble.members, ensemble.weights["member_weights"].tolist(), strict=True)
        )
    return description


def log_scores(metrics: Mapping[str, Any]) -> None:
    """Log the score of the stack, of its best member and of the plain mean."""
    metric = "accuracy" if "mean_accuracy" in metrics else "micro_f1"
    low, high = metrics["gain_ci95"]
    log(
        f"  {metrics['method']} over {metrics['n_members']}: validation {metric.replace('_', ' ')} "
        f"{metrics[f'validation_{metric}']:.4f}; best member {metrics['best_member']} "
        f"{metrics[f'best_member_{metric}']:.4f}, gain {metrics['gain']:+.4f} ({low:+.4f} to "
        f"{high:+.4f}); plain mean {metrics[f'mean_{metric}']:.4f}"
    )
    if "reason" in metrics:
        log(f"  {metrics['reason']}")


def stack_metrics(
    logits: Mapping[str, np.ndarray],
    stacked: np.ndarray,
    labels: np.ndarray,
    *,
    folds: np.ndarray,
) -> dict[str, Any]:
    """Compare the stack with its best member and with the plain mean, all on the same images.

    The metric is accuracy with one label per image, and micro F1 with several. For micro F1 each
    of them has a threshold that is fitted on the images of the other folds, or 0.5 if there is one
    fold.

    Args:
        logits: member -> float array (N, n_classes).
        stacked: float array (N, n_classes): out-of-fold logits of the stack.
        labels: int array (N,), or 0 and 1 in (N, n_classes).
        folds: int array (N,): the fold of each image.

    Returns:
        Scores, and gains with intervals as of `model_gain_interval`.
    """
    task = task_of(labels)
    metric = MAIN_METRIC[task]
    mean = mean_logits(list(logits.values()), task=task)
    # Whether each class is predicted, and actual: (N, n_classes). With one predicted and one
    # actual class per image, micro F1 is accuracy.
    predicted = {name: _predicted(values, labels, folds) for name, values in logits.items()}
    by_stack, by_mean = (_predicted(values, labels, folds) for values in (stacked, mean))
    actual = labels > 0 if task == "multi" else np.eye(stacked.shape[1], dtype=bool)[labels]
    scores = {name: micro_f1(values, actual) for name, values in predicted.items()}
    best = max(scores, key=lambda name: scores[name])  # the first listed in case of a tie

    def gain_interval(values: np.ndarray, outputs: np.ndarray) -> list[float]:
        return model_gain_interval(
            values, predicted[best], actual, outputs=outputs, reference_outputs=logits[best]
        )

    return {
        f"validation_{metric}": micro_f1(by_stack, actual),
        "best_member": best,
        f"best_member_{metric}": scores[best],
        f"mean_{metric}": micro_f1(by_mean, actual),
        "gain": micro_f1(by_stack, actual) - scores[best],
        "gain_ci95": gain_interval(by_stack, stacked),
        "gain_of_mean": micro_f1(by_mean, actual) - scores[best],
        "gain_of_mean_ci95": gain_interval(by_mean, mean),
        "n_images": len(labels),
    }


def _predicted(logits: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Which classes are predicted: the highest, or those above the threshold of other folds."""
    predicted = np.zeros(logits.shape, bool)
    if task_of(labels) == "single":
        predicted[np.arange(len(logits)), logits.argmax(axis=1)] = True
        return predicted
    values = probabilities(logits, temperature=1.0, task="multi")
    for fold in np.unique(folds):
        held_out = folds == fold
        predicted[held_out] = values[held_out] > fit_threshold(values[~held_out], labels[~held_out])
    return predicted
