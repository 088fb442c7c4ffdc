"""AlphaNet: plain convolutions with batch norm, leaky ReLU, dropout and max pooling.

Source: report 000, section 4, inspired by AlexNet (Krizhevsky et al. 2012). Its figure
of the layers is lost; these settings are from its text: dropout of 0.2 in all layers from version 2
on (0.4 and 0.5 in the first), dense layers of 1024 from version 3 on (2048 before).
"""

from collections.abc import Sequence

from torch import Tensor, nn

SLOPE = 0.1  # negative slope of the leaky ReLU


def build(
    n_classes: int,
    *,
    image_size: int,
    dropout: float,
    widths: Sequence[int] = (64, 128, 256),
    dense: Sequence[int] = (1024, 1024),
    dense_dropout: float | None = None,
) -> nn.Module:
    """Build the network for square images of `image_size` pixels.

    Args:
        n_classes: number of logits.
        image_size: width and height of images in pixels; each block halves it.
        dropout: probability, after every block and dense layer.
        widths: channels of each block of two convolutions.
        dense: units of each dense layer.
        dense_dropout: probability after dense layers; None for `dropout`.
    """
    return AlphaNet(
        n_classes,
        image_size=image_size,
        dropout=dropout,
        widths=widths,
        dense=dense,
        dense_dropout=dropout if dense_dropout is None else dense_dropout,
    )


class AlphaNet(nn.Module):
    """Blocks, dense layers, a linear head."""

    def __init__(
        self,
        n_classes: int,
        *,
        image_size: int,
        dropout: float,
        widths: Sequence[int],
        dense: Sequence[int],
        dense_dropout: float,
    ) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        channels = 3
        for width in widths:
            blocks += [
                *_convolution(channels, width),
                *_convolution(width, width),
                nn.MaxPool2d(2),
                nn.Dropout(dropout),
            ]
            channels = width
        self.blocks = nn.Sequential(*blocks)

        layers: list[nn.Module] = [nn.Flatten()]
        width = channels * (image_size // 2 ** len(widths)) ** 2
        for n_units in dense:
            layers += [
                nn.Linear(width, n_units, bias=False),
                nn.BatchNorm1d(n_units),
                nn.LeakyReLU(SLOPE, inplace=True),
                nn.Dropout(dense_dropout),
            ]
            width = n_units
        self.dense = nn.Sequential(*layers)
        self.head = nn.Linear(width, n_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) -> logits (N, n_classes)."""
        return self.head(self.dense(self.blocks(images)))


def _convolution(channels: int, width: int) -> list[nn.Module]:
    return [
        nn.Conv2d(channels, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.LeakyReLU(SLOPE, inplace=True),
    ]
