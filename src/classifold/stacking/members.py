"""Convert members' logits to a common form, and average them.

The common form is log-probabilities of the classes with one label per image, and log-odds of each
class by itself with several.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike
from scipy.special import log_expit, log_softmax, logsumexp

from classifold.data.metrics import Task
from classifold.data.row_blocks import row_blocks


def join(
    logits: Sequence[np.ndarray],
    *,
    task: Task,
    dtype: DTypeLike = np.float64,
    temperatures: np.ndarray | None = None,
) -> np.ndarray:
    """Convert logits, each (N, n_classes), to the form: (N, n_members, n_classes).

    It is computed in float64, in blocks, and rounded to `dtype`. The logits of each member are
    first divided by its temperature, if `temperatures` (n_members,) are given.
    """
    (n_images, n_classes), n_members = logits[0].shape, len(logits)
    joined = np.empty((n_images, n_members, n_classes), dtype)
    for rows in row_blocks(n_images, n_members * n_classes):
        block = np.stack([values[rows] for values in logits], axis=1).astype(np.float64)
        if temperatures is not None:
            block /= temperatures[:, None]
        joined[rows] = log_softmax(block, axis=2) if task == "single" else block
    return joined


def average(members: np.ndarray, weights: np.ndarray, *, task: Task) -> np.ndarray:
    """Average probabilities.

    Args:
        members: as `join` returns them.
        weights: float array (n_members,) of sum 1.
        task: task of the members.

    Returns:
        float64 array (N, n_classes) of log-probabilities, or of log-odds.
    """
    weights = weights[:, None]
    if task == "single":
        return logsumexp(members, axis=1, b=weights)
    positive, negative = (
        logsumexp(log_expit(odds), axis=1, b=weights) for odds in (members, -members)
    )
    return positive - negative


def mean_logits(logits: Sequence[np.ndarray], *, task: Task) -> np.ndarray:
    """Average probabilities with equal weights: logits, each (N, n_classes), to one such array.

    The mean of one member is its logits, without rounding.
    """
    if len(logits) == 1:
        return logits[0].astype(np.float64)
    return average(join(logits, task=task), equal_weights(len(logits)), task=task)


def equal_weights(n_members: int) -> np.ndarray:
    """Return equal weights of sum 1."""
    return np.full(n_members, 1 / n_members)


def probability_of_truth(members: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Select the probability that each member gives to the true class of each image.

    Args:
        members: as `join` returns them.
        labels: int array (N,), or 0 and 1 in (N, n_classes).

    Returns:
        float64 array (N, n_members); with several labels (N * n_classes, n_members), one row per
        image and class: the probability of its presence or absence, whichever is true.
    """
    if labels.ndim == 1:
        return np.exp(members[np.arange(len(labels)), :, labels])
    odds = np.where(labels[:, None, :] > 0, members, -members)
    return np.exp(log_expit(odds)).transpose(0, 2, 1).reshape(-1, members.shape[1])
