"""Heads that are fitted, not trained by epochs: a linear layer, or nearest neighbors."""

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Of the weight exp(similarity / TEMPERATURE) of a neighbor (Caron et al. 2021, arXiv:2104.14294).
TEMPERATURE = 0.07


class FittedHead(nn.Module):
    """Base class of networks whose head is fitted on the features of a body.

    A subclass has the method `features`.
    """

    head: nn.Module

    def set_head(
        self, n_features: int, n_classes: int, *, neighbors: int, examples: int, task: str
    ) -> None:
        """Set the head that a fit fills.

        Args:
            n_features: numbers per image.
            n_classes: number of logits.
            neighbors: number of nearest neighbors; 0 is a linear head.
            examples: number of training images, for nearest neighbors.
            task: `single` or `multi`.
        """
        self.head = nn.Linear(n_features, n_classes)
        if neighbors:
            features, labels = (torch.zeros(examples, n) for n in (n_features, n_classes))
            self.head = NearestNeighbors(features, labels, neighbors=neighbors, task=task)

    def features(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) -> features (N, n_features)."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) -> logits (N, n_classes)."""
        return self.head(self.features(images))

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of `build` that the training sets."""
        if not isinstance(self.head, NearestNeighbors):
            return {}
        return {
            "neighbors": self.head.neighbors,
            "examples": len(self.head.examples),
            "task": self.head.task,
        }


class FittedBody(FittedHead):
    """Base class of networks whose body is fitted, too: on images without labels."""

    def fit_body(self, batches: Iterable[Tensor], *, seed: int) -> None:
        """Fit the body.

        Args:
            batches: training images (N, 3, H, W).
            seed: of random choices.

        Raises:
            UserError: if there are too few images.
        """
        raise NotImplementedError


class NearestNeighbors(nn.Module):
    """The labels of the training images with the highest cosine similarity.

    A neighbor has the weight exp(similarity / TEMPERATURE). So that no probability is 0, the weight
    of the last one counts once more, equally for all classes.
    """

    examples: Tensor
    labels: Tensor

    def __init__(self, features: Tensor, labels: Tensor, *, neighbors: int, task: str) -> None:
        super().__init__()
        self.register_buffer("examples", F.normalize(features.float()))
        self.register_buffer("labels", labels.to(torch.uint8))
        self.neighbors, self.task = neighbors, task

    def forward(self, features: Tensor) -> Tensor:
        """Features (N, n_features) -> logits (N, n_classes)."""
        similarities = F.normalize(features.float()) @ self.examples.T
        nearest, rows = similarities.topk(self.neighbors)
        weights = ((nearest - 1) / TEMPERATURE).exp()  # (N, neighbors)
        votes = (weights.unsqueeze(2) * self.labels[rows]).sum(1)  # (N, n_classes)
        other = weights[:, -1:]
        if self.task == "single":
            return (votes + other / votes.shape[1]).log()
        against = (weights.sum(1, keepdim=True) - votes).clamp(min=0)
        return (votes + other / 2).log() - (against + other / 2).log()
