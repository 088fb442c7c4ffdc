"""Losses, one number an image, of logits against targets.

Targets are shares: a row of the identity for one label, several ones for several labels, and
in-between where images are mixed. `cross_entropy` takes classes to exclude one another (softmax);
the other losses ask of each class by itself (sigmoid), but for `focal` of a single label.
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
            al. 2017, arXiv:1708.02002: right and sure answers count little).
        task: `single` or `multi`; decides between softmax and sigmoid for `focal`.
        weights: of classes, float (n_classes,), see `class_weights`.
        settings: of the loss.
    """
    match name:
        case "cross_entropy":
            return _cross_entropy(weights, **settings)
        case "binary_cross_entropy":
            return _weighted_binary_cross_entropy(weights)
        case "mean_squared_error":
            return _by_class(_squared_error, weights)
        case "focal" if task == "single":
            return _softmax_focal(weights, **settings)
        case "focal":
            return _by_class(_sigmoid_focal(**settings), weights)
    raise ValueError(f"unknown loss {name!r}")


def class_weights(labels: np.ndarray, *, n_classes: int, loss: str) -> np.ndarray:
    """Weights by which every class counts alike, whatever its number of images.

    Args:
        labels: int (N,), or 0 and 1 in (N, n_classes), of the training images.
        n_classes: how many there are.
        loss: name of the loss they are for.

    Returns:
        float32 (n_classes,). For `cross_entropy` and a single label's `focal`: N / (n_classes x
        images of the class), as scikit-learn's `balanced`; their mean over images is 1. For
        losses by class: images without the class / images with it, the weight of the latter
        (torch's `pos_weight`). A class without images weighs 1.
    """
    bears = one_hot(labels, n_classes)
    n_images, counts = len(bears), bears.sum(0)
    by_class = loss != "cross_entropy" and not (loss == "focal" and labels.ndim == 1)
    wanted = n_images - counts if by_class else np.full(n_classes, n_images / n_classes)
    return np.where(counts > 0, wanted / np.maximum(counts, 1), 1).astype(np.float32)


def one_hot(labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Targets float32 (N, n_classes) of labels (N,), or of 0 and 1 in (N, n_classes)."""
    if labels.ndim == 1:
        return np.eye(n_classes, dtype=np.float32)[labels]
    return labels.astype(np.float32)


def _cross_entropy(weights: Tensor | None, *, label_smoothing: float = 0.0) -> Loss:
    return lambda logits, targets: F.cross_entropy(
        logits, targets, weights, reduction="none", label_smoothing=label_smoothing
    )


def _softmax_focal(weights: Tensor | None, *, gamma: float) -> Loss:
    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        log_shares = logits.log_softmax(1)
        if weights is not None:
            targets = targets * weights
        return -(targets * _to_power(1 - log_shares.exp(), gamma) * log_shares).sum(1)

    return loss


def _weighted_binary_cross_entropy(weights: Tensor | None) -> Loss:
    return lambda logits, targets: F.binary_cross_entropy_with_logits(
        logits, targets, pos_weight=weights, reduction="none"
    ).mean(1)


def _by_class(of_class: Loss, weights: Tensor | None) -> Loss:
    """Average over classes; where a class is borne it counts by its weight."""

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
        shares = torch.sigmoid(logits)
        missed = (shares - targets).abs()  # one minus the share of what is true
        return _to_power(missed, gamma) * _binary_cross_entropy(logits, targets)

    return of_class


def _to_power(missed: Tensor, gamma: float) -> Tensor:
    """`missed`, in [0, 1], to the power of `gamma`, with a slope at 0 for gammas below 1 too."""
    return missed.clamp(min=torch.finfo(missed.dtype).tiny) ** gamma
