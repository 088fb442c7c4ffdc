"""A frozen network of timm, and a head that scikit-learn fits on its features."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from classifold.models.fitted_head import FittedHead
from classifold.models.publishers import Timm
from classifold.models.timm_body import OnTimmBody, TimmBody, build_body, timm_publisher


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


class Probe(OnTimmBody, FittedHead):
    """A network of timm that computes features, and a linear head or nearest neighbors."""

    def __init__(
        self, body: TimmBody, n_classes: int, *, neighbors: int, examples: int, task: str
    ) -> None:
        super().__init__(body)
        self.set_head(body.n_features, n_classes, neighbors=neighbors, examples=examples, task=task)
