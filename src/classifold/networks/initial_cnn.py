"""Two convolutions and three linear layers.

Source: report 002, section 4.2 ("Initial CNN"), after PyTorch's CIFAR-10 tutorial: 9,966,691
parameters on 300 x 300 pixels with 3 classes.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

KERNEL = 5


def build(
    n_classes: int,
    *,
    image_size: int,
    channels: Sequence[int] = (6, 16),
    hidden: Sequence[int] = (120, 84),
    dropout: float = 0.5,
) -> nn.Module:
    """Build the network for square images of `image_size` pixels, 16 at least."""
    return InitialCnn(
        n_classes, image_size=image_size, channels=channels, hidden=hidden, dropout=dropout
    )


class InitialCnn(nn.Module):
    """Convolution and max pooling twice, dropout, two hidden layers, dropout, linear head."""

    def __init__(
        self,
        n_classes: int,
        *,
        image_size: int,
        channels: Sequence[int],
        hidden: Sequence[int],
        dropout: float,
    ) -> None:
        super().__init__()
        first, second = channels
        self.conv1 = nn.Conv2d(3, first, KERNEL)
        self.conv2 = nn.Conv2d(first, second, KERNEL)
        side = ((image_size - KERNEL + 1) // 2 - KERNEL + 1) // 2
        self.dropout = nn.Dropout(dropout)
        self.fc1 = nn.Linear(second * side**2, hidden[0])
        self.fc2 = nn.Linear(hidden[0], hidden[1])
        self.head = nn.Linear(hidden[1], n_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) -> logits (N, n_classes)."""
        features = F.max_pool2d(F.relu(self.conv1(images)), 2)
        features = F.max_pool2d(F.relu(self.conv2(features)), 2)
        features = F.relu(self.fc1(self.dropout(features).flatten(1)))
        return self.head(self.dropout(F.relu(self.fc2(features))))
