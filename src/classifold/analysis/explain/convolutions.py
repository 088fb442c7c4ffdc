"""Find the convolutions of a network, and their feature maps for an image.

Source: report 004, whose figures show the filters of a layer and the activations of the first and
third convolution.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Convolution(NamedTuple):
    """A convolution, and its feature maps for one image."""

    layer: nn.Conv2d
    maps: Tensor  # float (channels, H, W)


def find_convolutions(network: nn.Module, inputs: Tensor) -> list[Convolution]:
    """Find the convolutions whose output has several positions, in the order of execution.

    Args:
        network: in evaluation mode.
        inputs: float tensor (1, 3, H, W), preprocessed.
    """
    found: list[Convolution] = []

    def record(layer: nn.Module, _: object, output: Tensor) -> None:
        if isinstance(layer, nn.Conv2d) and output.shape[-1] > 1:
            found.append(Convolution(layer, output[0].detach()))

    hooks = [layer.register_forward_hook(record) for layer in network.modules()]
    try:
        with torch.no_grad():
            network(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return found
