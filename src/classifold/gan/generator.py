"""The generator: noise, and the class that is asked for, become an image.

Source: report 000, section 3.2, after the 64-pixel network of Nowozin's lecture of 2018 that it
names: a dense layer, four transposed convolutions, a convolution; batch norm between. The
lecture's knows no classes and ends without a hyperbolic tangent, which is that of Radford et al.
2016, arXiv:1511.06434, as are the first weights.
"""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from classifold.errors import UserError

FIRST_DEVIATION = 0.02


class Generator(nn.Module):
    """Dense layer, transposed convolutions that double the sides, a convolution."""

    def __init__(
        self,
        n_classes: int,
        *,
        image_size: int,
        noise: int,
        embedding: int,
        widths: Sequence[int],
    ) -> None:
        """Build the network with its first weights.

        Args:
            n_classes: that may be asked for; 0 makes a generator that is not asked.
            image_size: of the images, in pixels.
            noise: numbers that an image is made of.
            embedding: numbers that stand for a class beside them.
            widths: channels after the dense layer and after each transposed convolution.

        Raises:
            UserError: if the size cannot be halved so many times.
        """
        super().__init__()
        self.noise = noise
        self.image_size = image_size
        self.side = first_side(image_size, len(widths) - 1, setting="generator.widths")
        self.embedding = nn.Embedding(n_classes, embedding) if n_classes else None
        n_inputs = noise + (embedding if n_classes else 0)
        n_units = widths[0] * self.side**2
        self.dense = nn.Sequential(
            nn.Linear(n_inputs, n_units), nn.BatchNorm1d(n_units), nn.ReLU(inplace=True)
        )
        doublings: list[nn.Module] = []
        for channels, width in itertools.pairwise(widths):
            doublings += [
                nn.ConvTranspose2d(channels, width, 4, stride=2, padding=1),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            ]
        self.doublings = nn.Sequential(*doublings)
        self.last = nn.Conv2d(widths[-1], 3, 3, padding=1)
        self.apply(set_first_weights)

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Noise (N, noise) and classes int64 (N,) -> images (N, 3, H, W) in [-1, 1]."""
        if self.embedding is not None:
            noise = torch.cat([noise, self.embedding(labels)], 1)
        features = self.dense(noise).unflatten(1, (-1, self.side, self.side))
        return torch.tanh(self.last(self.doublings(features)))


def first_side(image_size: int, n_halvings: int, *, setting: str) -> int:
    """What is left of an image's side after so many halvings.

    Raises:
        UserError: if that is no whole number.
    """
    step = 2**n_halvings
    if image_size % step:
        raise UserError(
            f"{setting} halve or double images {n_halvings} times, for which their size must be "
            f"a multiple of {step}, got {image_size} pixels; give it other widths, or set "
            "augment.size in params.yaml to such a multiple"
        )
    return image_size // step


def set_first_weights(module: nn.Module) -> None:
    """Draw a layer's first weights from a narrow normal distribution; biases are 0."""
    if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, FIRST_DEVIATION)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
        nn.init.normal_(module.weight, 1.0, FIRST_DEVIATION)
