"""A frozen network of timm, and a head that scikit-learn fits on its features."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from classifold.models.publishers import Timm
from classifold.models.timm_body import OnTimmBody, TimmBody, build_body, timm_publisher

# Of the weight exp(similarity / TEMPERATURE) of a neighbor (Caron et al. 2021, arXiv:2104.14294).
TEMPERATURE = 0.07


def build(
    n_classes: int,
    *,
    image_size: int,
    name: str,
    weights: str | Mapping[str, str] | None = None,
    layers: Sequence[str] = (),
    neighbors: int = 0,
    examples: int = 0,
    task: str = "single",
) -> nn.Module:
    """Build timm's network `name` without its head, and the head of a probe.

    Args:
        n_classes: number of logits.
        image_size: width and height of images in pixels.
        name: see `build_body`.
        weights: see `build_body`.
        layers: see `build_body`.
        neighbors: number of nearest neighbors, and with it `examples` and `task`: set by the
            training. 0 is a linear head.
        examples: number of training images.
        task: `single` or `multi`.

    Raises:
        UserError: see `build_body`.
    """
    body = build_body(name, image_size=image_size, weights=weights, layers=layers)
    return Probe(body, n_classes, neighbors=neighbors, examples=examples, task=task)


def publisher(*, name: str, **_: Any) -> Timm:
    """Return the publisher of the network's weights.

    Raises:
        UserError: if there is no such network.
    """
    return timm_publisher(name)


class Probe(OnTimmBody):
    """A network of timm that computes features, and a linear head or nearest neighbors."""

    def __init__(
        self, body: TimmBody, n_classes: int, *, neighbors: int, examples: int, task: str
    ) -> None:
        super().__init__(body)
        self.head: nn.Module = nn.Linear(body.n_features, n_classes)
        if neighbors:
            features, labels = (torch.zeros(examples, n) for n in (body.n_features, n_classes))
            self.head = self.neighbors_head(features, labels, neighbors=neighbors, task=task)

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

    def neighbors_head(
        self, features: Tensor, labels: Tensor, *, neighbors: int, task: str
    ) -> nn.Module:
        """Make a head that classifies by nearest neighbors.

        Args:
            features: features of the training images, float (n_examples, n_features).
            labels: 0 and 1 in (n_examples, n_classes).
            neighbors: number of neighbors, at most n_examples.
            task: `single` or `multi`.
        """
        return NearestNeighbors(features, labels, neighbors=neighbors, task=task)


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
