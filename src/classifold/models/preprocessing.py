"""Convert stored images to a network's input, in the same way for training and prediction."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

# Mean and standard deviation per channel, of values in [0, 1].
NORMALIZATIONS = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}


def to_input(
    images: np.ndarray, *, image_size: int, normalize: str, device: torch.device
) -> Tensor:
    """Convert stored images to a network's input.

    Args:
        images: uint8 array (N, H, W, 3).
        image_size: width and height of the result; other sizes are interpolated (bilinear,
            with antialiasing when shrinking).
        normalize: a key of `NORMALIZATIONS`.
        device: of the result.

    Returns:
        float32 tensor (N, 3, image_size, image_size), in channels_last memory order.
    """
    # Copied to the device as uint8, a fourth of the floats; the permuted view is channels_last.
    writable = np.require(images, requirements=["C", "W"])  # torch requires writable arrays
    batch = torch.from_numpy(writable).to(device).permute(0, 3, 1, 2).to(torch.float32)
    return normalized(batch, image_size=image_size, normalize=normalize)


def normalized(batch: Tensor, *, image_size: int, normalize: str) -> Tensor:
    """Convert a float32 batch (N, 3, H, W) in [0, 255] to a network's input, as `to_input` does.

    The batch may be changed in place.
    """
    if batch.shape[-2:] != (image_size, image_size):
        batch = F.interpolate(batch, (image_size, image_size), mode="bilinear", antialias=True)
    # Whole images of means: broadcasting three numbers over channels_last is seven times slower.
    mean, std = (
        torch.tensor(values, device=batch.device)
        .mul(255)
        .view(1, 3, 1, 1)
        .expand(1, *batch.shape[1:])
        .contiguous(memory_format=torch.channels_last)
        for values in NORMALIZATIONS[normalize]
    )
    return batch.sub_(mean).div_(std).contiguous(memory_format=torch.channels_last)
