"""Thirteen 3x3 convolutions in five blocks and three linear layers.

Source: report 001, section 7 ("Simple ConvNet"): 11,098,110 parameters on 128 x 128 pixels with
14 labels. Max pooling halves the sides after each block but the last, as its table shows.
"""

from collections.abc import Sequence

from torch import Tensor, nn


def build(
    n_classes: int,
    *,
    image_size: int,
    widths: Sequence[int] = (32, 64, 128, 256, 512),
    depths: Sequence[int] = (2, 2, 3, 3, 3),
    hidden: Sequence[int] = (100, 100),
    dropout: float = 0.5,
) -> nn.Module:
    """Build the network for square images of `image_size` pixels."""
    return SimpleConvnet(
        n_classes,
        image_size=image_size,
        widths=widths,
        depths=depths,
        hidden=hidden,
        dropout=dropout,
    )


class SimpleConvnet(nn.Module):
    """Blocks of convolutions with ReLU, hidden layers with dropout, a linear head."""

    def __init__(
        self,
        n_classes: int,
        *,
        image_size: int,
        widths: Sequence[int],
        depths: Sequence[int],
        hidden: Sequence[int],
        dropout: float,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for block, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            if block > 0:
                layers.append(nn.MaxPool2d(2))
            for _ in range(depth):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
        self.blocks = nn.Sequential(*layers)

        dense: list[nn.Module] = [nn.Flatten()]
        width = channels * (image_size // 2 ** (len(widths) - 1)) ** 2
        for n_units in hidden:
            dense += [nn.Linear(width, n_units), nn.ReLU(), nn.Dropout(dropout)]
            width = n_units
        self.dense = nn.Sequential(*dense)
        self.head = nn.Linear(width, n_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) -> logits (N, n_classes)."""
        return self.head(self.dense(self.blocks(images)))
