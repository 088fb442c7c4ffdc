"""What the stack gains over its members, on images that it was not fitted on."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from classifold.evaluation.intervals import micro_f1_gain_interval
from classifold.models.decisions import fit_threshold, micro_f1, probabilities
from classifold.runtime.progress import log
from classifold.stacking.ensemble import Ensemble
from classifold.stacking.members import mean_logits, task_of

RESAMPLES = 10_000


def describe_ensemble(ensemble: Ensemble, *, n_folds: int) -> dict[str, Any]:
    """Tell of what the stack is made: method and members; their shares where it averages them.

    Args:
        ensemble: that was fitted.
        n_folds: of the training images, on which members were asked out of fold; 0 where it was
            fitted on validation images.
    """
    told: dict[str, Any] = {
        "method": ensemble.method,
        "fitted_on": "train" if n_folds else "validation",
        "members": ensemble.members,
        "n_members": len(ensemble.members),
    }
    if "member_weights" in ensemble.weights:
        told["weights"] = dict(
            zip(ensemble.members, ensemble.weights["member_weights"].tolist(), strict=True)
        )
    return told


def log_scores(metrics: Mapping[str, Any]) -> None:
    """Say what the stack reaches, beside its best member and the plain mean."""
    metric = "accuracy" if "mean_accuracy" in metrics else "micro_f1"
    low, high = metrics["gain_ci95"]
    log(
        f"  {metrics['method']} over {metrics['n_members']}: validation {metric.replace('_', ' ')} "
        f"{metrics[f'validation_{metric}']:.4f}; best member {metrics['best_member']} "
        f"{metrics[f'best_member_{metric}']:.4f}, gain {metrics['gain']:+.4f} ({low:+.4f} to "
        f"{high:+.4f}); plain mean {metrics[f'mean_{metric}']:.4f}"
    )


def stack_metrics(
    logits: Mapping[str, np.ndarray],
    stacked: np.ndarray,
    labels: np.ndarray,
    *,
    folds: np.ndarray,
    seed: int,
) -> dict[str, Any]:
    """Compare the stack with its best member and with the plain mean, all on the same images.

    With one label an image by accuracy; with several by micro F1, at a threshold that is fitted,
    for every one of them, on the images of the other folds.

    Args:
        logits: member -> float array (N, n_classes).
        stacked: float array (N, n_classes): the stack's, out of fold.
        labels: int array (N,), or 0 and 1 in (N, n_classes).
        folds: int array (N,): the fold of each image.
        seed: of the bootstrap.
    """
    task = task_of(labels)
    metric = "accuracy" if task == "single" else "micro_f1"
    mean = mean_logits(list(logits.values()), task=task)
    # Whether each label was answered, and is borne: (N, n_classes). Where each image has one of
    # both, micro F1 is accuracy.
    answers = {name: _answers(values, labels, folds) for name, values in logits.items()}
    stack_answers, mean_answers = (_answers(values, labels, folds) for values in (stacked, mean))
    borne = labels > 0 if task == "multi" else np.eye(stacked.shape[1], dtype=bool)[labels]
    scores = {name: micro_f1(values, borne) for name, values in answers.items()}
    best = max(scores, key=lambda name: scores[name])  # of equals the first listed
    gain = partial(micro_f1_gain_interval, reference=answers[best], labels=borne)
    return {
        f"validation_{metric}": micro_f1(stack_answers, borne),
        "best_member": best,
        f"best_member_{metric}": scores[best],
        f"mean_{metric}": micro_f1(mean_answers, borne),
        "gain": micro_f1(stack_answers, borne) - scores[best],
        "gain_ci95": gain(stack_answers, resamples=RESAMPLES, seed=seed),
        "gain_of_mean": micro_f1(mean_answers, borne) - scores[best],
        "gain_of_mean_ci95": gain(mean_answers, resamples=RESAMPLES, seed=seed),
        "n_images": len(labels),
    }


def _answers(logits: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Which labels are answered: the highest, or those above the other folds' threshold."""
    answers = np.zeros(logits.shape, bool)
    if task_of(labels) == "single":
        answers[np.arange(len(logits)), logits.argmax(axis=1)] = True
        return answers
    values = probabilities(logits, temperature=1.0, task="multi")
    for fold in np.unique(folds):
        held_out = folds == fold
        answers[held_out] = values[held_out] > fit_threshold(values[~held_out], labels[~held_out])
    return answers
