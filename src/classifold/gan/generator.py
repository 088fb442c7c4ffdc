"""The generator: makes images from noise and classes.

Source: report 000, section 3.2, after the 64-pixel network of Nowozin's lecture of 2018: a dense
layer, four transposed convolutions and a convolution, with batch norm between. The lecture's
network is unconditional and has no hyperbolic tangent at the end; the tangent and the first weights
are those of Radford et al. 2016, arXiv:1511.06434.
"""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from classifold.errors import UserError

INITIAL_STD = 0.02


class Generator(nn.Module):
    """A dense layer, transposed convolutions that double the side, and a convolution."""

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
            n_classes: that can be generated; 0 for an unconditional generator.
            image_size: width and height of the images, in pixels.
            noise: dimension of the noise.
            embedding: dimension of the class embedding.
            widths: channels after the dense layer and after each transposed convolution.

        Raises:
            UserError: if the image size is not a multiple of the required power of two.
        """
        super().__init__()
        self.noise = noise
        self.image_size = image_size
        self.side = smallest_side(image_size, len(widths) - 1, setting="train_gan.generator.widths")
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
        self.apply(initialize_weights)

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Noise (N, noise) and classes int64 (N,) -> images (N, 3, H, W) in [-1, 1]."""
        if self.embedding is not None:
            noise = torch.cat([noise, self.embedding(labels)], 1)
        features = self.dense(noise).unflatten(1, (-1, self.side, self.side))
        return torch.tanh(self.last(self.doublings(features)))


def smallest_side(image_size: int, n_halvings: int, *, setting: str) -> int:
    """Compute an image's side after `n_halvings` halvings.

    Raises:
        UserError: if it is not an integer.
    """
    step = 2**n_halvings
    if image_size % step:
        raise UserError(
            f"{setting}: need images whose size is a multiple of {step}, since they halve or "
            f"double it {n_halvings} times, got {image_size} pixels. Use fewer widths, or set "
            "augment.size in params.yaml to such a multiple."
        )
    return image_size // step


def initialize_weights(module: nn.Module) -> None:
    """Initialize a layer's weights from a narrow normal distribution, and its biases with 0."""
    if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, INITIAL_STD)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
        nn.init.normal_(module.weight, 1.0, INITIAL_STD)
