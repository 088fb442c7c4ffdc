"""Convert stored images to a network's input, in the same way for training and prediction."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

# Mean and standard deviation per channel, of values in [0, 1]. Tuples are hashable.
NAMED = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}

# A name of `NAMED`, or mean, std and interpolation, as `model.json` records those of published
# weights.
Normalize = str | Mapping[str, Any]


class Normalization(NamedTuple):
    """What is subtracted from and divided by, per channel, and how sizes are changed."""

    mean: Sequence[float]  # mean of values in [0, 1]
    std: Sequence[float]
    interpolation: str = "bilinear"  # or `bicubic`

    @classmethod
    def of(cls, normalize: Normalize) -> "Normalization":
        """Resolve a name; a mapping has all values."""
        return cls(*NAMED[normalize]) if isinstance(normalize, str) else cls(**normalize)


def interpolated(batch: Tensor, size: tuple[int, int], *, interpolation: str) -> Tensor:
    """Resize a float32 batch (N, C, H, W), with antialiasing when shrinking.

    Bicubic interpolation may leave the range of the values.
    """
    return F.interpolate(batch, size, mode=interpolation, antialias=True)


def to_input(
    images: np.ndarray, *, image_size: int, normalize: Normalize, device: torch.device
) -> Tensor:
    """Convert stored images to a network's input.

    Args:
        images: uint8 array (N, H, W, 3).
        image_size: width and height of the result; other sizes are interpolated, with antialiasing
            when shrinking.
        normalize: see `Normalize`; names interpolate bilinearly.
        device: device of the result.

    Returns:
        float32 tensor (N, 3, image_size, image_size), in channels_last memory order.
    """
    # Copied to the device as uint8, a fourth of the floats; the permuted view is channels_last.
    writable = np.require(images, requirements=["C", "W"])  # torch requires writable arrays
    batch = torch.from_numpy(writable).to(device).permute(0, 3, 1, 2).to(torch.float32)
    return normalized(batch, image_size=image_size, normalize=normalize)


def normalized(batch: Tensor, *, image_size: int, normalize: Normalize) -> Tensor:
    """Convert a float32 batch (N, 3, H, W) in [0, 255] to a network's input, as `to_input` does.

    The batch may be changed in place.
    """
    mean, std, interpolation = Normalization.of(normalize)
    if batch.shape[-2:] != (image_size, image_size):
        # Channel by channel, which takes half of the time of channels_last.
        size = (image_size, image_size)
        batch = interpolated(batch.contiguous(), size, interpolation=interpolation)
    # Whole images of means: broadcasting three numbers over channels_last is seven times slower.
    means, stds = (
        torch.empty_like(batch[:1]).copy_(255 * torch.tensor(values).view(1, 3, 1, 1))
        for values in (mean, std)
    )
    return batch.sub_(means).div_(stds).contiguous(memory_format=torch.channels_last)
