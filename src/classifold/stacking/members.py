"""Members' logits in one form, and averages of what they answer.

With one label an image the form is the log-probabilities of its classes; with several it is
the log-odds of each class by itself.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy.special import log_expit, log_softmax, logsumexp

Task = Literal["single", "multi"]


def task_of(labels: np.ndarray) -> Task:
    """`single` for positions (N,), `multi` for 0 and 1 in (N, n_classes)."""
    return "single" if labels.ndim == 1 else "multi"


def join(logits: Sequence[np.ndarray], *, task: Task) -> np.ndarray:
    """Bring logits, each (N, n_classes), into one form: float64 (N, n_members, n_classes)."""
    joined = np.stack(logits, axis=1).astype(np.float64)
    return log_softmax(joined, axis=2) if task == "single" else joined


def average(members: np.ndarray, shares: np.ndarray, *, task: Task) -> np.ndarray:
    """Average probabilities.

    Args:
        members: what `join` gives.
        shares: float array (n_members,) of sum 1.
        task: of the members.

    Returns:
        float64 array (N, n_classes) of log-probabilities, or of log-odds.
    """
    shares = shares[:, None]
    if task == "single":
        return logsumexp(members, axis=1, b=shares)
    borne, absent = (logsumexp(log_expit(odds), axis=1, b=shares) for odds in (members, -members))
    return borne - absent


def mean_logits(logits: Sequence[np.ndarray], *, task: Task) -> np.ndarray:
    """Average probabilities, every member counting alike: logits, each (N, n_classes), to one."""
    return average(join(logits, task=task), equal_weights(len(logits)), task=task)


def equal_weights(n_members: int) -> np.ndarray:
    """Shares with which every member counts alike."""
    return np.full(n_members, 1 / n_members)


def probability_of_truth(members: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """What each member gave to what was the case.

    Args:
        members: what `join` gives.
        labels: int array (N,), or 0 and 1 in (N, n_classes).

    Returns:
        float64 array (N, n_members); with several labels (N * n_classes, n_members), a row for
        each answer of yes or no.
    """
    if labels.ndim == 1:
        return np.exp(members[np.arange(len(labels)), :, labels])
    odds = np.where(labels[:, None, :] > 0, members, -members)
    return np.exp(log_expit(odds)).transpose(0, 2, 1).reshape(-1, members.shape[1])
