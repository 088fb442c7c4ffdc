"""The fifteen common corruptions of images (Hendrycks and Dietterich 2019, arXiv:1903.12261).

Each function takes an image, float64 (size, size, 3) in [0, 1], a generator of random numbers, and
the constants of a severity. It returns an image that may leave the range.

No library is used for them: those on PyPI need a second OpenCV, scikit-image and Numba, draw from
NumPy's global random state, and have constants for 224 pixels only. `benchmarks/corruptions.py`
compares the images with those of `imagecorruptions-imaug`. The photos of frost are replaced by
textures, see `frost`.
"""

import io
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from classifold.analysis.robustness.severities import arguments_of
from classifold.analysis.robustness.weather import fog, frost, motion_blur, snow, zoomed
from classifold.data.seeding import generator

Random = np.random.Generator


def corrupt(
    image: np.ndarray, corruption: str, severity: int, *, seed: int, image_id: str
) -> np.ndarray:
    """Corrupt one image.

    The random numbers depend only on the arguments, so neither the order of images nor the number
    of processes matters.

    Args:
        image: uint8 array (size, size, 3).
        corruption: a key of `CORRUPTIONS`.
        severity: from 1 to 5.
        seed: seed of the random numbers.
        image_id: id of the image.

    Returns:
        uint8 array (size, size, 3).
    """
    random = generator(seed, image_id, corruption, severity)
    constants = arguments_of(corruption, severity, image_size=len(image))
    corrupted = CORRUPTIONS[corruption](image / 255, random, *constants)
    return np.rint(255 * np.clip(corrupted, 0, 1)).astype(np.uint8)


def gaussian_noise(image: np.ndarray, random: Random, scale: float) -> np.ndarray:
    """Add normal noise."""
    return image + random.normal(size=image.shape, scale=scale)


def shot_noise(image: np.ndarray, random: Random, photons: float) -> np.ndarray:
    """Replace each value by a Poisson count, of which white has `photons` in the mean."""
    return random.poisson(image * photons) / photons


def impulse_noise(image: np.ndarray, random: Random, fraction: float) -> np.ndarray:
    """Replace a fraction of the values by 0 or 1."""
    replaced = random.random(image.shape) <= fraction
    return np.where(replaced, random.random(image.shape) <= 0.5, image)


def defocus_blur(image: np.ndarray, random: Random, radius: float, sigma: float) -> np.ndarray:
    """Average over a disk, whose edge is smoothed."""
    side = np.arange(-max(8, int(radius)), max(8, int(radius)) + 1)
    disk = (side[:, None] ** 2 + side**2 <= radius**2).astype(np.float32)
    width = 3 if radius <= 8 else 5
    kernel = cv2.GaussianBlur(disk / disk.sum(), (width, width), sigmaX=sigma)
    return cv2.filter2D(image, -1, kernel)


def glass_blur(
    image: np.ndarray, random: Random, sigma: float, distance: int, rounds: int
) -> np.ndarray:
    """Replace each pixel by a near one, between two Gaussian blurs.

    The authors' script swaps two views of one array, so that in effect it copies; so does this.
    """
    size = len(image)
    sources = list(range(size**2))
    inner = range(size - distance, distance, -1)
    offsets = random.integers(-distance, distance, (rounds, len(inner) ** 2, 2)).tolist()
    places = [(row, column) for row in inner for column in inner]
    for of_round in offsets:
        for (row, column), (right, down) in zip(places, of_round, strict=True):
            sources[row * size + column] = sources[(row + down) * size + column + right]
    blurred = _gaussian_blur(image, sigma).reshape(-1, 3)
    return _gaussian_blur(blurred[sources].reshape(image.shape), sigma)


def zoom_blur(image: np.ndarray, random: Random, stop: float, step: float) -> np.ndarray:
    """Average the image and enlarged images, by factors from 1 to below `stop`."""
    factors = np.arange(1, stop, step)
    return (image + sum(zoomed(image, factor) for factor in factors)) / (len(factors) + 1)


def brightness(image: np.ndarray, random: Random, added: float) -> np.ndarray:
    """Add to the value of hue, saturation and value, which is the largest of the channels."""
    value = image.max(axis=2, keepdims=True)
    brighter = np.clip(value + added, 0, 1)
    return np.where(value > 0, image * brighter / np.maximum(value, 1e-9), brighter)


def contrast(image: np.ndarray, random: Random, factor: float) -> np.ndarray:
    """Move all values towards the mean of their channel."""
    means = image.mean(axis=(0, 1), keepdims=True)
    return (image - means) * factor + means


def elastic_transform(
    image: np.ndarray, random: Random, strength: float, sigma: float, affine: float
) -> np.ndarray:
    """Apply a random affine map, then move pixels by smooth random offsets.

    Args:
        image: see the top of this file, as for `random`.
        random: see there.
        strength: of the offsets; this and the next two are fractions of the image's size.
        sigma: standard deviation of the Gaussian filter that smooths the offsets.
        affine: how far three points are moved at most.
    """
    size = len(image)
    center, side = size // 2, size // 3
    corners = np.array([(1, 1), (1, -1), (-1, -1)]) * side + center
    moved = corners + random.uniform(-affine * size, affine * size, size=corners.shape)
    matrix = cv2.getAffineTransform(corners.astype(np.float32), moved.astype(np.float32))
    warped = cv2.warpAffine(image, matrix, (size, size), borderMode=cv2.BORDER_REFLECT_101)
    offsets = [
        strength
        * size
        * gaussian_filter(random.uniform(-1, 1, (size, size)), sigma * size, truncate=3)
        for _ in range(2)
    ]
    columns, rows = np.meshgrid(np.arange(size), np.arange(size))
    x, y = (
        (places + offset).astype(np.float32)
        for places, offset in zip((columns, rows), offsets, strict=True)
    )
    return cv2.remap(warped, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def pixelate(image: np.ndarray, random: Random, factor: float) -> np.ndarray:
    """Reduce the image by a factor, and enlarge it again."""
    small = max(1, int(len(image) * factor))
    picture = _to_picture(image).resize((small, small), Image.Resampling.BOX)
    return np.asarray(picture.resize((len(image), len(image)), Image.Resampling.BOX)) / 255


def jpeg_compression(image: np.ndarray, random: Random, quality: int) -> np.ndarray:
    """Store the image as JPEG, and decode it."""
    file = io.BytesIO()
    _to_picture(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file)) / 255


def _gaussian_blur(image: np.ndarray, sigma: float) -> np.ndarray:
    return gaussian_filter(image, (sigma, sigma, 0), mode="nearest")


def _to_picture(image: np.ndarray) -> Image.Image:
    return Image.fromarray(np.rint(255 * image).astype(np.uint8))


# In the order of the paper: noise, blur, weather, digital.
CORRUPTIONS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        *(gaussian_noise, shot_noise, impulse_noise),
        *(defocus_blur, glass_blur, motion_blur, zoom_blur),
        *(snow, frost, fog, brightness),
        *(contrast, elastic_transform, pixelate, jpeg_compression),
    )
}


def list_corruptions(names: str | Sequence[str]) -> list[str]:
    """Resolve `all`, and sort names as in `CORRUPTIONS`."""
    return [name for name in CORRUPTIONS if names == "all" or name in names]
