"""Any network of timm by its name, with a new linear head."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from classifold.models.publishers import Timm
from classifold.models.timm_body import OnTimmBody, TimmBody, build_body, timm_publisher


def build(
    n_classes: int,
    *,
    image_size: int,
    name: str,
    weights: str | Mapping[str, str] | None = None,
    layers: Sequence[str] = (),
    dropout: float = 0.0,
    drop_path: float = 0.0,
) -> nn.Module:
    """Build timm's network `name` without its head, and a head on its pooled features.

    Args:
        n_classes: number of logits.
        image_size: width and height of images in pixels.
        name: see `build_body`.
        weights: see `build_body`. The head is always new.
        layers: see `build_body`.
        dropout: probability, before the head.
        drop_path: see `build_body`.

    Raises:
        UserError: see `build_body`.
    """
    body = build_body(
        name, image_size=image_size, weights=weights, layers=layers, drop_path=drop_path
    )
    return TimmClassifier(body, n_classes=n_classes, dropout=dropout)


def publisher(*, name: str, **_: Any) -> Timm:
    """Return the publisher of the network's weights.

    Raises:
        UserError: if there is no such network.
    """
    return timm_publisher(name)


class TimmClassifier(OnTimmBody):
    """A network of timm that computes features, and a linear head."""

    def __init__(self, body: TimmBody, *, n_classes: int, dropout: float) -> None:
        super().__init__(body)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(body.n_features, n_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) -> logits (N, n_classes)."""
        return self.head(self.dropout(self.features(images)))
