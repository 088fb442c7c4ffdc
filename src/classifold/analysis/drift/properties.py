"""Measure simple properties of images."""

import numpy as np

from classifold.data.pixels import LUMA

PROPERTIES = ("brightness", "contrast", "saturation", "sharpness")


def measure_properties(pixels: np.ndarray) -> np.ndarray:
    """Measure brightness, contrast, saturation and sharpness of each image, in gray levels.

    They are the mean of luma, its standard deviation, the mean difference of the largest and the
    smallest color channel (0 in grayscale), and the standard deviation of the Laplacian of luma.

    Args:
        pixels: uint8 array (N, H, W, 3), H and W at least 3.

    Returns:
        float array (N, 4), in the order of `PROPERTIES`.
    """
    luma = pixels @ LUMA  # (N, H, W)
    middle = luma[:, 1:-1, 1:-1]
    neighbors = luma[:, :-2, 1:-1] + luma[:, 2:, 1:-1] + luma[:, 1:-1, :-2] + luma[:, 1:-1, 2:]
    spans = pixels.max(axis=3) - pixels.min(axis=3)
    return np.stack(
        [
            luma.mean(axis=(1, 2)),
            luma.std(axis=(1, 2)),
            spans.mean(axis=(1, 2)),
            (neighbors - 4 * middle).std(axis=(1, 2)),
        ],
        axis=1,
    )
