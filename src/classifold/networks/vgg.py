"""VGG's convolutions under dense blocks with batch norm and dropout.

Source: report 004, section 3.2 and figure 4, after Simonyan and Zisserman 2015, arXiv:1409.1556:
on 64 x 64 pixels with 200 labels 16.1 million parameters, of which the 1.4 million of `dense` and
`head` are trained while the convolutions, with ImageNet's weights, are frozen.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from classifold.models.filling import fill_network
from classifold.models.publishers import Torchvision
from classifold.models.weights import find_weights

WIDTHS = (64, 128, 256, 512, 512)
DEPTHS = (2, 2, 3, 3, 3)

# Depths -> torchvision's classifier with published weights of the same convolutions.
PUBLISHED: dict[tuple[int, ...], str] = {
    (1, 1, 2, 2, 2): "vgg11",
    (2, 2, 2, 2, 2): "vgg13",
    (2, 2, 3, 3, 3): "vgg16",
    (2, 2, 4, 4, 4): "vgg19",
}


def build(
    n_classes: int,
    *,
    image_size: int,
    widths: Sequence[int] = WIDTHS,
    depths: Sequence[int] = DEPTHS,
    dense: Sequence[int] = (512, 512),
    dropout: float = 0.4,
    weights: str | Mapping[str, str] | None = None,
) -> nn.Module:
    """Build the network for square images of `image_size` pixels.

    Args:
        n_classes: number of logits.
        image_size: width and height of images in pixels; each block halves it.
        widths: channels of each block of convolutions.
        depths: convolutions of each block.
        dense: units of each dense block.
        dropout: probability, after every dense block.
        weights: weights of the convolutions (see `models/weights.py`): published ones are
            torchvision's of the VGG with these depths; None starts from random weights.

    Raises:
        UserError: if there are no such weights, they cannot be downloaded or read, or are of
            another network.
    """
    network = Vgg(
        n_classes,
        image_size=image_size,
        widths=widths,
        depths=depths,
        dense=dense,
        dropout=dropout,
    )
    if weights is not None:
        found = find_weights(weights, publisher=publisher(widths=widths, depths=depths))
        fill_network(
            network,
            found.tensors,
            source=found.source,
            new=["dense", "head"],
            unused=["classifier", "pre_logits"],  # dense layers in torchvision's files and timm's
        )
        network.weights = found.record
    return network


def publisher(
    *, widths: Sequence[int] = WIDTHS, depths: Sequence[int] = DEPTHS, **_: Any
) -> Torchvision | None:
    """Return who publishes weights of the convolutions; None if nobody does."""
    classifier = PUBLISHED.get(tuple(depths)) if tuple(widths) == WIDTHS else None
    return Torchvision(classifier) if classifier else None


class Vgg(nn.Module):
    """Blocks of convolutions with ReLU and max pooling, dense blocks, a linear head."""

    weights: dict[str, Any] | None = None

    def __init__(
        self,
        n_classes: int,
        *,
        image_size: int,
        widths: Sequence[int],
        depths: Sequence[int],
        dense: Sequence[int],
        dropout: float,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width, depth in zip(widths, depths, strict=True):
            for _ in range(depth):
                layers += [_convolution(channels, width), nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)  # the same names as in published files

        blocks: list[nn.Module] = [nn.Flatten()]
        width = channels * (image_size // 2 ** len(widths)) ** 2
        for n_units in dense:
            blocks += [
                nn.Linear(width, n_units),
                nn.ReLU(),
                nn.BatchNorm1d(n_units),
                nn.Dropout(dropout),
            ]
            width = n_units
        self.dense = nn.Sequential(*blocks)
        self.head = nn.Linear(width, n_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) -> logits (N, n_classes)."""
        return self.head(self.dense(self.features(images)))


def _convolution(channels: int, width: int) -> nn.Conv2d:
    convolution = nn.Conv2d(channels, width, 3, padding=1)
    # torch's default initialization would shrink the signal in each layer without norms.
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
    return convolution
