"""Losses of logits against targets, one number per image.

Targets are probabilities: one-hot for one label per image, 0 and 1 for several labels, and values
between them for mixed images. `cross_entropy` treats classes as mutually exclusive (softmax); the
other losses treat each class separately (sigmoid), except `focal` for one label per image.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]


def make_loss(*, name: str, task: str, weights: Tensor | None = None, **settings: Any) -> Loss:
    """Make a loss: logits (N, n_classes), targets (N, n_classes) -> (N,).

    Args:
        name: `cross_entropy` (label_smoothing), `binary_cross_entropy` or `mean_squared_error`
            of sigmoids averaged over classes (report 001, section 3), or `focal` (gamma; Lin et
            al. 2017, arXiv:1708.02002: confident correct predictions count little).
        task: `single` or `multi`; decides between softmax and sigmoid for `focal`.
        weights: weights of classes, float (n_classes,), see `class_weights`.
        settings: settings of the loss.
    """
    match name:
        case "cross_entropy":
            return _cross_entropy(weights, **settings)
        case "binary_cross_entropy":
            return _weighted_binary_cross_entropy(weights)
        case "mean_squared_error":
            return _per_class(_squared_error, weights)
        case "focal" if task == "single":
            return _softmax_focal(weights, **settings)
        case "focal":
            return _per_class(_sigmoid_focal(**settings), weights)
    raise ValueError(f"unknown loss {name!r}")


def class_weights(labels: np.ndarray, *, n_classes: int, loss: str) -> np.ndarray:
    """Compute weights by which all classes count equally, whatever their numbers of images.

    Args:
        labels: int (N,), or 0 and 1 in (N, n_classes), of the training images.
        n_classes: number of classes.
        loss: name of the loss that is weighted.

    Returns:
        float32 (n_classes,). For `cross_entropy` and a single label's `focal`: N / (n_classes x
        images of the class), as scikit-learn's `balanced`; their mean over images is 1. For
        losses per class: negative / positive images, the weight of the positive ones (torch's
        `pos_weight`). The weight of a class without images is 1.
    """
    positive = one_hot(labels, n_classes)
    n_images, counts = len(positive), positive.sum(0)
    per_class = loss != "cross_entropy" and not (loss == "focal" and labels.ndim == 1)
    wanted = n_images - counts if per_class else np.full(n_classes, n_images / n_classes)
    return np.where(counts > 0, wanted / np.maximum(counts, 1), 1).astype(np.float32)


def one_hot(labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Make targets, float32 (N, n_classes), of labels (N,), or of 0 and 1 in (N, n_classes)."""
    if labels.ndim == 1:
        return np.eye(n_classes, dtype=np.float32)[labels]
    return labels.astype(np.float32)


def _cross_entropy(weights: Tensor | None, *, label_smoothing: float = 0.0) -> Loss:
    return lambda logits, targets: F.cross_entropy(
        logits, targets, weights, reduction="none", label_smoothing=label_smoothing
    )


def _softmax_focal(weights: Tensor | None, *, gamma: float) -> Loss:
    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        log_probabilities = logits.log_softmax(1)
        if weights is not None:
            targets = targets * weights
        return -(targets * _to_power(1 - log_probabilities.exp(), gamma) * log_probabilities).sum(1)

    return loss


def _weighted_binary_cross_entropy(weights: Tensor | None) -> Loss:
    return lambda logits, targets: F.binary_cross_entropy_with_logits(
        logits, targets, pos_weight=weights, reduction="none"
    ).mean(1)


def _per_class(of_class: Loss, weights: Tensor | None) -> Loss:
    """Average over classes; positive labels count by the weight of their class."""

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        losses = of_class(logits, targets)
        if weights is not None:
            losses = losses * (1 + targets * (weights - 1))
        return losses.mean(1)

    return loss


def _binary_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none")


def _squared_error(logits: Tensor, targets: Tensor) -> Tensor:
    return (torch.sigmoid(logits) - targets) ** 2


def _sigmoid_focal(*, gamma: float) -> Loss:
    def of_class(logits: Tensor, targets: Tensor) -> Tensor:
        error = (torch.sigmoid(logits) - targets).abs()  # 1 - probability of the actual label
        return _to_power(error, gamma) * _binary_cross_entropy(logits, targets)

    return of_class


def _to_power(error: Tensor, gamma: float) -> Tensor:
    """Compute `error ** gamma` for errors in [0, 1], with a finite gradient at 0 for gamma < 1."""
    return error.clamp(min=torch.finfo(error.dtype).tiny) ** gamma
