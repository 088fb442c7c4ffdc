"""Image files as arrays of one size."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from classifold.data.pixels import rgb_pixels
from classifold.errors import UserError
from classifold.ingest.images import UnreadableImageError, decode


def read_images(paths: Sequence[Path], *, size: int) -> np.ndarray:
    """Read image files of any kind as uint8 array (N, size, size, 3).

    Raises:
        UserError: if one cannot be decoded.
    """
    pixels = []
    for path in paths:
        try:
            pixels.append(rgb_pixels(decode(path.read_bytes()).encoded, size=size))
        except UnreadableImageError as error:
            raise UserError(f"{path} cannot be read: {error}") from None
    return np.stack(pixels)
