"""Change the tones of images, which is not linear or depends on neighboring pixels.

Source: AutoAugment (Cubuk et al. 2018, arXiv:1805.09501) and its followers, by Pillow's
operations on the CPU and torchvision's on other devices.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

# Their amounts: number of bits kept, level from which tones are inverted, factor; the last two
# have none.
NAMES = ("none", "posterize", "solarize", "sharpness", "autocontrast", "equalize")

_ON_PICTURES: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "posterize": lambda image, bits: ImageOps.posterize(image, round(bits)),
    "solarize": lambda image, level: ImageOps.solarize(image, round(level)),
    "sharpness": lambda image, factor: ImageEnhance.Sharpness(image).enhance(factor),
    "autocontrast": lambda image, _: ImageOps.autocontrast(image),
    "equalize": lambda image, _: ImageOps.equalize(image),
}


class Tones(NamedTuple):
    """One change of tones per image."""

    kinds: np.ndarray  # int (N,): indices of `NAMES`
    amounts: np.ndarray  # float (N,)


def no_tones(n_images: int) -> Tones:
    """Make changes of N images that change nothing."""
    return Tones(np.zeros(n_images, int), np.zeros(n_images))


def retone_arrays(images: np.ndarray, tones: Tones) -> np.ndarray:
    """Change the tones of each image, uint8 (N, H, W, 3), in place."""
    for i in np.flatnonzero(tones.kinds):
        change = _ON_PICTURES[NAMES[tones.kinds[i]]]
        images[i] = np.asarray(change(Image.fromarray(images[i]), float(tones.amounts[i])))
    return images
