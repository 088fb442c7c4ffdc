"""A multi-layer perceptron on the flattened image.

Source: report 002, section 4.1 ("Baseline MLP"): one hidden layer of 255 on 3 x 300 x 300
inputs, 68,851,023 parameters with 3 classes. Report 002 names no activation; this one uses ReLU.
"""

from collections.abc import Sequence

from torch import Tensor, nn


def build(
    n_classes: int, *, image_size: int, hidden: Sequence[int] = (255,), dropout: float = 0.0
) -> nn.Module:
    """Build the network for square images of `image_size` pixels."""
    return Mlp(n_classes, image_size=image_size, hidden=hidden, dropout=dropout)


class Mlp(nn.Module):
    """Hidden layers with ReLU, then a linear head."""

    def __init__(
        self, n_classes: int, *, image_size: int, hidden: Sequence[int], dropout: float
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        width = 3 * image_size**2
        for n_units in hidden:
            layers += [nn.Linear(width, n_units), nn.ReLU(), nn.Dropout(dropout)]
            width = n_units
        self.hidden = nn.Sequential(*layers)
        self.head = nn.Linear(width, n_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) -> logits (N, n_classes)."""
        return self.head(self.hidden(images))
