"""A residual network for images of 32-224 pixels: stem of 3x3 convolutions, no max pooling.

Source: He et al. 2016, arXiv:1603.05027 (pre-activation blocks); the stem is that of the CIFAR
networks of He et al. 2015, arXiv:1512.03385, section 4.2, and for large images two convolutions
as in He et al. 2019, arXiv:1812.01187, section 4.2.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STEM_STRIDES = (1, 2, 4)


def build(
    n_classes: int,
    *,
    image_size: int,
    widths: Sequence[int] = (32, 64, 128),
    depth: int = 2,
    stem_stride: int = 1,
    dropout: float = 0.0,
) -> nn.Module:
    """Build the network; it accepts images of any size.

    Args:
        n_classes: number of logits.
        image_size: unused, since global average pooling accepts any size.
        widths: channels of each stage; each stage from the second on halves height and width.
        depth: residual blocks per stage.
        stem_stride: 1; or 2 or 4 for larger images, with one convolution of stride 2 per halving.
        dropout: probability, before the head.

    Raises:
        ValueError: if `stem_stride` is another number.
    """
    if stem_stride not in STEM_STRIDES:
        raise ValueError(f"stem_stride must be 1, 2 or 4, got {stem_stride}")
    return SmallResnet(
        n_classes, widths=widths, depth=depth, stem_stride=stem_stride, dropout=dropout
    )


class SmallResnet(nn.Module):
    """Stem, stages of residual blocks, average, linear head."""

    def __init__(
        self,
        n_classes: int,
        *,
        widths: Sequence[int],
        depth: int,
        stem_stride: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.stem = _stem(widths[0], stride=stem_stride)
        blocks: list[nn.Module] = []
        channels = widths[0]
        for stage, width in enumerate(widths):
            for block in range(depth):
                stride = 2 if stage > 0 and block == 0 else 1
                blocks.append(ResidualBlock(channels, width, stride=stride))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.BatchNorm2d(channels)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels, n_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) -> logits (N, n_classes)."""
        features = F.relu(self.norm(self.blocks(self.stem(images))))
        features = F.adaptive_avg_pool2d(features, 1).flatten(1)  # (N, channels)
        return self.head(self.dropout(features))


def _stem(width: int, *, stride: int) -> nn.Module:
    """Images (N, 3, H, W) -> features (N, width, H / stride, W / stride)."""
    first = nn.Conv2d(3, width, 3, stride=min(stride, 2), padding=1, bias=False)
    if stride < 4:
        return first
    second = nn.Conv2d(width, width, 3, stride=2, padding=1, bias=False)
    return nn.Sequential(first, nn.BatchNorm2d(width), nn.ReLU(), second)


class ResidualBlock(nn.Module):
    """Norm, ReLU, convolution, twice; the input is added, projected if shapes differ."""

    def __init__(self, channels: int, width: int, *, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.shortcut = (
            nn.Identity()
            if channels == width and stride == 1
            else nn.Conv2d(channels, width, 1, bias=False)
        )
        self.stride = stride

    def forward(self, features: Tensor) -> Tensor:
        """Features (N, channels, H, W) -> (N, width, H / stride, W / stride)."""
        normed = F.relu(self.norm1(features))
        # The projection sees normed features, the identity the raw ones (as in the paper).
        if isinstance(self.shortcut, nn.Identity):
            shortcut = features
        else:
            # The same as a strided 1x1 convolution, which oneDNN gets wrong, beyond its memory,
            # for few channels in channels_last order (oneDNN issue 6035).
            kept = normed[:, :, :: self.stride, :: self.stride]
            shortcut = self.shortcut(kept.contiguous(memory_format=torch.channels_last))
        residual = self.conv2(F.relu(self.norm2(self.conv1(normed))))
        return residual + shortcut
