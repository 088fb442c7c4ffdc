"""Automatic policies: TrivialAugment and RandAugment."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from classifold.augmentation.online.color import (
    brightened,
    contrasted,
    saturated,
)
from classifold.augmentation.online.plan import Plan
from classifold.augmentation.online.tone import NAMES, no_tones
from classifold.augmentation.online.warp import (
    rotations,
    shifts,
    slants,
)


class _Magnitudes(NamedTuple):
    """The largest changes of an automatic policy."""

    slant: float  # pixels per pixel
    shift: float  # fraction of the size
    degrees: float
    factor: float  # largest difference to 1 of brightness, color, contrast and sharpness
    bits: int  # number of 8 bits that posterizing removes


# Müller and Hutter 2021, arXiv:2103.10158, table of the wide space: shifts by 32 pixels of 224.
TRIVIAL = _Magnitudes(slant=0.99, shift=32 / 224, degrees=135, factor=0.99, bits=6)


# Cubuk et al. 2019, arXiv:1909.13719, as in torchvision: shifts by 150 pixels of 331.
RAND = _Magnitudes(slant=0.3, shift=150 / 331, degrees=30, factor=0.9, bits=4)


_AUTOMATIC = (
    *("identity", "slant_x", "slant_y", "shift_x", "shift_y", "rotate", "brightness"),
    *("saturation", "contrast", "sharpness", "posterize", "solarize", "autocontrast", "equalize"),
)


def trivial_augment(plan: Plan, draws: np.ndarray, _: Any) -> None:
    """One operation per image, of random strength: Müller and Hutter 2021, arXiv:2103.10158."""
    _automatic(plan, draws[:, 0], strength=draws[:, 1], sign=draws[:, 2], limits=TRIVIAL)


def rand_augment(plan: Plan, draws: np.ndarray, settings: Mapping[str, Any]) -> None:
    """Several operations of one strength in [0, 1]: Cubuk et al. 2019, arXiv:1909.13719."""
    strength = np.full(len(draws), float(settings["strength"]))
    for i in range(settings["n"]):
        _automatic(plan, draws[:, 3 * i], strength=strength, sign=draws[:, 3 * i + 2], limits=RAND)


def _automatic(
    plan: Plan, choice: np.ndarray, *, strength: np.ndarray, sign: np.ndarray, limits: _Magnitudes
) -> None:
    chosen = np.floor(choice * len(_AUTOMATIC)).astype(int)
    tones = no_tones(plan.n_images)
    for number, name in enumerate(_AUTOMATIC):
        rows = np.flatnonzero(chosen == number)
        if len(rows) == 0:
            continue
        amount = strength[rows]
        signed = amount * np.where(sign[rows] < 0.5, -1, 1)
        zeros = np.zeros(len(rows))
        match name:
            case "slant_x":
                plan.warp(slants(signed * limits.slant, zeros), rows)
            case "slant_y":
                plan.warp(slants(zeros, signed * limits.slant), rows)
            case "shift_x":
                plan.warp(shifts(signed * limits.shift * plan.size, zeros), rows)
            case "shift_y":
                plan.warp(shifts(zeros, signed * limits.shift * plan.size), rows)
            case "rotate":
                plan.warp(rotations(signed * limits.degrees), rows)
            case "brightness":
                plan.recolor(brightened(1 + signed * limits.factor), rows)
            case "saturation":
                plan.recolor(saturated(1 + signed * limits.factor), rows)
            case "contrast":
                plan.recolor(contrasted(1 + signed * limits.factor), rows)
            case "sharpness":
                tones.amounts[rows] = 1 + signed * limits.factor
            case "posterize":
                tones.amounts[rows] = 8 - np.rint(amount * limits.bits)
            case "solarize":
                tones.amounts[rows] = 255 * (1 - amount)
        if name in NAMES:
            tones.kinds[rows] = NAMES.index(name)
    if tones.kinds.any():
        plan.tones.append(tones)
