"""Descriptors of the patches of an image on regular grids of several sizes."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CELLS = 4  # a patch has CELLS x CELLS cells
ORIENTATIONS = 8

LUMA = (0.299, 0.587, 0.114)  # of ITU-R BT.601

# Of an orientation's response, the cosine of the angle between it and the gradient: so it falls to
# a half at 25 degrees.
SHARPNESS = 7

# Added to the sum of the histograms of a patch, of gradients of values in [0, 1], so that the noise
# of uniform patches is not enlarged.
LEAST_CONTRAST = 0.05
# So that gradients are finite at 0. ONNX's optimizer takes numbers below 1e-8 for 0.
EPSILON = 1e-6
LEAST_SQUARE = 1e-7  # of the length of a gradient


class LocalDescriptors(nn.Module):
    """Base class: one descriptor per patch, computed from maps that are averaged over cells."""

    n_maps: int

    @property
    def n_features(self) -> int:
        """Numbers per descriptor."""
        return self.n_maps * CELLS**2

    def maps(self, images: Tensor, window: "Window") -> Tensor:
        """Images (N, 3, H, W) -> maps (N, n_maps, h, w), averaged over cells."""
        raise NotImplementedError

    def normalized(self, descriptors: Tensor) -> Tensor:
        """Normalize descriptors (N, n_patches, n_features)."""
        return descriptors

    def forward(self, images: Tensor, window: "Window") -> Tensor:
        """Images (N, 3, H, W) -> descriptors (N, n_patches, n_features)."""
        patches = F.unfold(self.maps(images, window), CELLS)
        return self.normalized(patches.transpose(1, 2))


class Window(nn.Module):
    """A triangular window, as wide as two cells, that averages maps over each cell of a grid."""

    weight: Tensor

    def __init__(self, cell: int) -> None:
        """Set the width of a cell, which is also the distance between neighboring patches."""
        super().__init__()
        width = 2 * cell - cell % 2  # so that it is in the middle of the cell
        ramp = 1 - (torch.arange(width) - (width - 1) / 2).abs() / cell
        self.cell = cell
        self.register_buffer("weight", (ramp / ramp.sum()).view(1, 1, 1, -1), persistent=False)

    def extra_repr(self) -> str:
        """State what files of features depend on."""
        return f"cell={self.cell}"

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (N, C, H, W) -> averages (N, C, H // cell, W // cell)."""
        n_maps = maps.shape[1]
        padded = F.pad(maps, [self.cell // 2] * 4, mode="replicate")
        weight = self.weight.expand(n_maps, 1, 1, -1)
        rows = F.conv2d(padded, weight, stride=(1, self.cell), groups=n_maps)
        return F.conv2d(rows, weight.transpose(2, 3), stride=(self.cell, 1), groups=n_maps)


class GradientHistograms(LocalDescriptors):
    """Histograms of the directions of gradients in each cell (SIFT, Lowe 2004, section 6).

    The square roots of their proportions are taken (Arandjelović and Zisserman 2012).
    """

    n_maps = ORIENTATIONS
    cosines: Tensor
    sines: Tensor
    luma: Tensor

    def __init__(self) -> None:
        super().__init__()
        angles = torch.arange(ORIENTATIONS) * (2 * math.pi / ORIENTATIONS)
        buffers = {"cosines": angles.cos(), "sines": angles.sin(), "luma": torch.tensor(LUMA)}
        for name, values in buffers.items():
            self.register_buffer(name, values.view(1, -1, 1, 1), persistent=False)

    def maps(self, images: Tensor, window: Window) -> Tensor:  # noqa: D102 - as in the base class
        # Sums instead of convolutions, which GPUs compute in TF32.
        gray = (images * self.luma).sum(1, keepdim=True)
        gray = F.pad(gray, [1] * 4, mode="replicate")
        right = gray[:, :, 1:-1, 2:] - gray[:, :, 1:-1, :-2]
        down = gray[:, :, 2:, 1:-1] - gray[:, :, :-2, 1:-1]
        length = (right.square() + down.square() + LEAST_SQUARE).sqrt()
        similarity = (right / length * self.cosines + down / length * self.sines).clamp(min=0)
        return window(length * similarity**SHARPNESS)

    def normalized(self, descriptors: Tensor) -> Tensor:  # noqa: D102 - as in the base class
        proportions = descriptors / (descriptors.sum(2, keepdim=True) + LEAST_CONTRAST)
        return (proportions + EPSILON).sqrt()


class ColorStatistics(LocalDescriptors):
    """Mean and standard deviation of each color channel in each cell (Clinchant et al. 2007)."""

    n_maps = 6

    def maps(self, images: Tensor, window: Window) -> Tensor:  # noqa: D102 - as in the base class
        means, squares = window(torch.cat([images, images.square()], dim=1)).chunk(2, dim=1)
        variances = (squares - means.square()).clamp(min=0)
        return torch.cat([means, (variances + EPSILON).sqrt()], dim=1)
