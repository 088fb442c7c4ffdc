"""What a network's convolutions look for, and what they find in an image.

Source: report 004, whose figures show the filters of a layer and the activations of the first and
third convolution.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from classifold.pictures.tiles import draw_tiles

FILTERS_A_ROW = 12
MOST_FILTERS = 60
MAPS_SHOWN = 12


class Convolution(NamedTuple):
    """A convolution, and what it made of one image."""

    layer: nn.Conv2d
    maps: Tensor  # float (channels, H, W)


def convolutions(network: nn.Module, inputs: Tensor) -> list[Convolution]:
    """Find the convolutions whose output is still a map of several places, in the image's order.

    Args:
        network: in evaluation mode.
        inputs: float tensor (1, 3, H, W), preprocessed.
    """
    found: list[Convolution] = []

    def note(layer: nn.Module, _: object, output: Tensor) -> None:
        if isinstance(layer, nn.Conv2d) and output.shape[-1] > 1:
            found.append(Convolution(layer, output[0].detach()))

    hooks = [layer.register_forward_hook(note) for layer in network.modules()]
    try:
        with torch.no_grad():
            network(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def draw_filters(path: Path, layer: nn.Conv2d) -> None:
    """Draw a convolution's filters about mid-gray, each by its largest weight.

    Those on three channels are drawn in color; of others the mean over their channels.
    """
    weights = layer.weight.detach().float().cpu().numpy()[:MOST_FILTERS]  # (N, channels, h, w)
    pictures = weights.transpose(0, 2, 3, 1) if weights.shape[1] == 3 else weights.mean(axis=1)
    tiles = [0.5 + one / (2 * max(np.abs(one).max(), 1e-12)) for one in pictures]
    draw_tiles(path, [tiles[i : i + FILTERS_A_ROW] for i in range(0, len(tiles), FILTERS_A_ROW)])


def draw_activations(
    path: Path, images: Sequence[np.ndarray], found: Sequence[Sequence[Convolution]]
) -> None:
    """Draw a row for each image and convolution: the image, then the maps of the first filters.

    Args:
        path: of the PNG.
        images: uint8 arrays (size, size, 3).
        found: of each image, the convolutions to show.
    """
    rows = []
    for image, layers in zip(images, found, strict=True):
        for one in layers:
            maps = one.maps[:MAPS_SHOWN].float().cpu().numpy()
            lowest, highest = float(maps.min()), float(maps.max())
            rows.append([image / 255, *((maps - lowest) / max(highest - lowest, 1e-12))])
    draw_tiles(path, rows)
