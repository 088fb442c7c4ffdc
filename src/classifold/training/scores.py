"""How well a network does on one part: what an epoch is judged by."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from classifold.training.losses import Loss, make_loss, one_hot

# By what epochs are judged where params do not say. With several labels an image thresholds are
# fitted when training is over, so that a score at 0.5 would choose the wrong epoch.
METRIC = {"single": "accuracy", "multi": "loss"}


class Score(NamedTuple):
    """What is told of logits against labels."""

    loss: float  # mean over images, of the loss trained with, but for smoothing and weights
    accuracy: float  # share of images whose answer is right; with several labels, all of them
    micro_f1: float | None = None  # with several labels an image, at a threshold of 0.5

    def told(self, part: str) -> dict[str, float]:
        """The numbers as columns `<part>_<name>`, rounded for files."""
        known = ((name, value) for name, value in self._asdict().items() if value is not None)
        return {f"{part}_{name}": round(value, 6) for name, value in known}

    @classmethod
    def of(cls, row: Mapping[str, Any], part: str) -> "Score":
        """Read what `told` gave, from a row of a file."""
        return cls(**{n: float(row[f"{part}_{n}"]) for n in cls._fields if f"{part}_{n}" in row})

    def in_words(self) -> str:
        """Such as "validation accuracy 0.9500"."""
        return ", ".join(
            f"validation {name.replace('_', ' ')} {value:.4f}"
            for name, value in self._asdict().items()
            if value is not None and name != "loss"
        )


def count(logits: Tensor, labels: Tensor) -> Tensor:
    """Count what a score is made of, on the device.

    Args:
        logits: (N, n_classes).
        labels: int64 (N,), or 0 and 1 in (N, n_classes).

    Returns:
        float32 (4,): images answered right, labels found, labels answered, labels borne (the
        last three are 0 for one label an image).
    """
    if labels.ndim == 1:
        right = (logits.argmax(1) == labels).sum()
        return torch.stack([right, *right.new_zeros(3)]).float()
    answers, borne = logits > 0, labels > 0  # a sigmoid of 0.5
    right = (answers == borne).all(1).sum()
    return torch.stack([right, (answers & borne).sum(), answers.sum(), borne.sum()]).float()


def to_score(loss: float, counts: np.ndarray, *, n_images: int, task: str) -> Score:
    """Make a score of a mean loss and the sums of `count`."""
    right, found, answered, borne = counts.tolist()  # else they would be divided in float32
    if task == "single":
        return Score(loss, right / n_images)
    return Score(loss, right / n_images, 2 * found / max(answered + borne, 1))


def score_logits(logits: np.ndarray, labels: np.ndarray, *, loss: Mapping[str, Any]) -> Score:
    """Measure logits (N, n_classes) of one part.

    Args:
        logits: of a network.
        labels: int64 (N,), or 0 and 1 in (N, n_classes).
        loss: of the model's params; its label smoothing does not count.
    """
    task = "single" if labels.ndim == 1 else "multi"
    settings = {name: value for name, value in loss.items() if name != "label_smoothing"}
    criterion: Loss = make_loss(task=task, **settings)
    answers = torch.from_numpy(logits)
    targets = torch.from_numpy(one_hot(labels, logits.shape[1]))
    counts = count(answers, torch.from_numpy(labels)).numpy()
    mean = criterion(answers, targets).double().mean().item()
    return to_score(mean, counts, n_images=len(labels), task=task)


def merit(score: Score, metric: str) -> list[float]:
    """What epochs are ranked by: the metric; of equals the one with the lower loss is better."""
    value = -score.loss if metric == "loss" else getattr(score, metric)
    return [round(value, 6), -round(score.loss, 6)]
