"""The discriminator: scores whether an image is real, given its class.

Source: report 000, section 3.2, after Nowozin's lecture of 2018: four convolutions and two dense
layers with batch norm between. It is conditional by projection: Miyato and Koyama 2018,
arXiv:1802.05637, equation 3.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from classifold.gan.generator import initialize_weights, smallest_side


class Discriminator(nn.Module):
    """Convolutions that halve the side, a dense layer, and a score."""

    def __init__(
        self, n_classes: int, *, image_size: int, widths: Sequence[int], dense: int
    ) -> None:
        """Build the network with its first weights.

        Args:
            n_classes: number of classes of the images; 0 for an unconditional discriminator.
            image_size: width and height of the images, in pixels.
            widths: channels after each convolution.
            dense: units of the dense layer.

        Raises:
            UserError: if the image size is not a multiple of the required power of two.
        """
        super().__init__()
        side = smallest_side(image_size, len(widths), setting="train_gan.discriminator.widths")
        halvings: list[nn.Module] = []
        channels = 3
        for width in widths:
            halvings += [
                nn.Conv2d(channels, width, 4, stride=2, padding=1),
                nn.BatchNorm2d(width),
                nn.ELU(inplace=True),
            ]
            channels = width
        self.halvings = nn.Sequential(*halvings)
        self.dense = nn.Sequential(
            nn.Flatten(), nn.Linear(channels * side**2, dense), nn.BatchNorm1d(dense), nn.ELU()
        )
        self.score = nn.Linear(dense, 1)
        self.projection = nn.Embedding(n_classes, dense) if n_classes else None
        self.apply(initialize_weights)
        if self.projection is not None:
            nn.init.zeros_(self.projection.weight)  # at first, scores do not depend on the class

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Images (N, 3, H, W) and classes int64 (N,) -> scores (N,), high for real ones."""
        features = self.dense(self.halvings(images))  # (N, dense)
        scores = self.score(features).squeeze(1)
        if self.projection is not None:
            scores = scores + (self.projection(labels) * features).sum(1)
        return scores
