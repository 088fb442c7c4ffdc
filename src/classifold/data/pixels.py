"""Decode images of the table to arrays of one size."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from classifold.data.image_table import iter_images
from classifold.data.orientation import turn_upright

# Weights of red, green and blue by Rec. 601, as in grayscale conversions of Pillow and torchvision.
LUMA = np.array([0.299, 0.587, 0.114])

FILTERS = {
    "lanczos": Image.Resampling.LANCZOS,
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "box": Image.Resampling.BOX,
    "nearest": Image.Resampling.NEAREST,
}


def rgb_pixels(encoded: bytes, *, size: int | None = None, resize: str = "lanczos") -> np.ndarray:
    """Decode an image of the table, resized to a square if `size` is given.

    It is turned upright, as its EXIF orientation requires. Nothing is cropped: an image that is not
    square is stretched.

    Args:
        encoded: an 8-bit RGB image file.
        size: width and height of the result, in pixels.
        resize: the filter, a key of `FILTERS`.

    Returns:
        uint8 array (height, width, 3).
    """
    image = turn_upright(Image.open(io.BytesIO(encoded)))
    return to_pixels(image, size=size, resize=resize)


def to_pixels(image: Image.Image, *, size: int | None, resize: str) -> np.ndarray:
    """Convert an upright 8-bit RGB image to an array, resized as by `rgb_pixels`."""
    if size is not None and image.size != (size, size):
        image = image.resize((size, size), FILTERS[resize])
    return np.asarray(image.convert("RGB"))


def mean_luma(pixels: np.ndarray) -> np.ndarray:
    """Average the luma of each image: uint8 (N, height, width, 3) -> float64 (N,) in [0, 255]."""
    # The last bits of a product of matrices depend on the number of images.
    return (pixels.mean(axis=(1, 2)) * LUMA).sum(axis=1)


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
