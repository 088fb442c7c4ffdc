"""Pixels of images in the table, as arrays of one size."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from classifold.images import rgb_pixels
from classifold.table import iter_images


def load_pixels(folder: Path, ids: Sequence[str], *, size: int, resize: str) -> np.ndarray:
    """Decode and resize the images of `ids`, in their order.

    Returns:
        uint8 array (N, size, size, 3).
    """
    position = {image_id: i for i, image_id in enumerate(ids)}
    pixels = np.empty((len(ids), size, size, 3), np.uint8)
    for image_id, encoded in iter_images(folder, ids):
        pixels[position[image_id]] = rgb_pixels(encoded, size=size, resize=resize)
    return pixels
