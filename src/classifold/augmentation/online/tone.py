"""Change the tones of images, which is not linear or depends on neighboring pixels.

Source: AutoAugment (Cubuk et al. 2018, arXiv:1805.09501) and its followers, by Pillow's
operations on the CPU and torchvision's on other devices.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

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


def retone_tensors(images: Tensor, tones: Tones) -> Tensor:
    """Change the tones of each image, float (N, 3, H, W) in [0, 255], as `retone_arrays` does."""
    changed = np.flatnonzero(tones.kinds)
    if len(changed) == 0:
        return images
    levels = images.round().to(torch.uint8)
    result = images.clone()
    # Images with the same change and amount, such as all equalized ones, in one call.
    keys = np.stack([tones.kinds[changed], tones.amounts[changed]], axis=1)
    for kind, amount in np.unique(keys, axis=0):
        rows = torch.from_numpy(changed[(keys == [kind, amount]).all(axis=1)]).to(images.device)
        changed_images = _on_tensor(NAMES[int(kind)], levels[rows], float(amount))
        result[rows] = changed_images.to(images.dtype)
    return result


def _on_tensor(name: str, images: Tensor, amount: float) -> Tensor:
    # Not at the top: the import takes 1.5 seconds, and only changes of tensors need it.
    from torchvision.transforms.v2 import functional as v2  # noqa: PLC0415

    changes: dict[str, Callable[[], Tensor]] = {
        "posterize": lambda: v2.posterize(images, round(amount)),
        "solarize": lambda: v2.solarize(images, round(amount)),
        "sharpness": lambda: v2.adjust_sharpness(images, amount),
        "autocontrast": lambda: v2.autocontrast(images),
        "equalize": lambda: v2.equalize(images),
    }
    return changes[name]()
