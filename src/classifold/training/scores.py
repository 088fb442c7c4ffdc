"""How well a network performs on one split: the scores by which epochs are compared."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from classifold.data.metrics import f1, task_of
from classifold.training.losses import Loss, make_loss, one_hot

# The selection metric where `stop.metric` is not set. With several labels per image, thresholds
# are fitted after the training run, so a score at 0.5 would choose the wrong epoch.
SELECTION_METRIC = {"single": "accuracy", "multi": "loss"}


class Score(NamedTuple):
    """Loss and metrics of logits against labels."""

    loss: float  # mean over images, of the training loss without smoothing and class weights
    accuracy: float  # fraction of images predicted correctly; with several labels, all of them
    micro_f1: float | None = None  # with several labels per image, at a threshold of 0.5

    def columns(self, split: str) -> dict[str, float]:
        """Return the numbers as columns `<split>_<name>`, rounded for files."""
        known = ((name, value) for name, value in self._asdict().items() if value is not None)
        return {f"{split}_{name}": round(value, 6) for name, value in known}

    @classmethod
    def from_columns(cls, row: Mapping[str, Any], split: str) -> "Score":
        """Read the columns that `columns` made, from a row of a file."""
        return cls(**{n: float(row[f"{split}_{n}"]) for n in cls._fields if f"{split}_{n}" in row})

    def describe(self, split: str) -> str:
        """Format the metrics, such as "validation accuracy 0.9500"."""
        return ", ".join(
            f"{split} {name.replace('_', ' ')} {value:.4f}"
            for name, value in self._asdict().items()
            if value is not None and name != "loss"
        )


def count(logits: Tensor, labels: Tensor) -> Tensor:
    """Count what a score is computed from, on the device.

    Args:
        logits: (N, n_classes).
        labels: int64 (N,), or 0 and 1 in (N, n_classes).

    Returns:
        float32 (4,): images predicted correctly, true positives, predicted positives, actual
        positives (the last three are 0 for one label per image).
    """
    if labels.ndim == 1:
        correct = (logits.argmax(1) == labels).sum()
        return torch.stack([correct, *correct.new_zeros(3)]).float()
    predicted, positive = logits > 0, labels > 0  # a sigmoid of 0.5
    correct = (predicted == positive).all(1).sum()
    true_positives = (predicted & positive).sum()
    return torch.stack([correct, true_positives, predicted.sum(), positive.sum()]).float()


def to_score(loss: float, counts: np.ndarray, *, n_images: int, task: str) -> Score:
    """Compute a score from a mean loss and the sums of `count`."""
    # Python's floats: a division in float32 would change the last digits.
    correct, true_positives, predicted, positive = counts.tolist()
    if task == "single":
        return Score(loss, correct / n_images)
    return Score(loss, correct / n_images, float(f1(true_positives, predicted, positive)))


def score_logits(logits: np.ndarray, labels: np.ndarray, *, loss: Mapping[str, Any]) -> Score:
    """Score the logits (N, n_classes) of one split.

    Args:
        logits: logits of a network.
        labels: int64 (N,), or 0 and 1 in (N, n_classes).
        loss: `loss` of the model in params; its label smoothing is not applied.
    """
    task = task_of(labels)
    settings = {name: value for name, value in loss.items() if name != "label_smoothing"}
    criterion: Loss = make_loss(task=task, **settings)
    predictions = torch.from_numpy(logits)
    targets = torch.from_numpy(one_hot(labels, logits.shape[1]))
    counts = count(predictions, torch.from_numpy(labels)).numpy()
    mean = criterion(predictions, targets).double().mean().item()
    return to_score(mean, counts, n_images=len(labels), task=task)


def rank(score: Score, metric: str) -> list[float]:
    """Return what epochs are compared by: the metric (higher is better), then the lower loss."""
    value = -score.loss if metric == "loss" else getattr(score, metric)
    return [round(value, 6), -round(score.loss, 6)]
