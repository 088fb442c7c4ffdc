"""The steps of policies: each adds to the plan of a batch."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import betaincinv

from classifold.augmentation.online.automatic import rand_augment, trivial_augment
from classifold.augmentation.online.color import (
    ORDERS,
    brightened,
    contrasted,
    hued,
    saturated,
    shifted,
    shuffled,
)
from classifold.augmentation.online.plan import Mix, Plan
from classifold.augmentation.online.warp import (
    rotations,
    scalings,
    shears,
    shifts,
)

# Called with uniform numbers in [0, 1), one column per number, and the step's settings.
Step = Callable[[Plan, np.ndarray, Any], None]


def _between(uniform: np.ndarray, limits: Sequence[float]) -> np.ndarray:
    low, high = limits
    return low + uniform * (high - low)


def _either_way(uniform: np.ndarray, max_: float) -> np.ndarray:
    return (2 * uniform - 1) * max_


def _flip(plan: Plan, draws: np.ndarray, axes: str) -> None:
    x = np.where((draws[:, 0] < 0.5) & (axes in ("horizontal", "both")), -1.0, 1.0)
    y = np.where((draws[:, 1] < 0.5) & (axes in ("vertical", "both")), -1.0, 1.0)
    plan.warp(scalings(x, y))


def _rotate(plan: Plan, draws: np.ndarray, degrees: float) -> None:
    plan.warp(rotations(_either_way(draws[:, 0], degrees)))


def _shear(plan: Plan, draws: np.ndarray, degrees: float) -> None:
    plan.warp(shears(_either_way(draws[:, 0], degrees)))


def _scale(plan: Plan, draws: np.ndarray, limits: Sequence[float]) -> None:
    factors = _between(draws[:, 0], limits)
    plan.warp(scalings(factors, factors))


def _zoom(plan: Plan, draws: np.ndarray, limits: Sequence[float]) -> None:
    """As Keras: the visible fraction of width and of height; above 1 shrinks the image."""
    x, y = _between(draws[:, 0], limits), _between(draws[:, 1], limits)
    plan.warp(scalings(1 / x, 1 / y))


def _shift(plan: Plan, draws: np.ndarray, fractions: Sequence[float]) -> None:
    x, y = (_either_way(draws[:, i], fraction * plan.size) for i, fraction in enumerate(fractions))
    plan.warp(shifts(x, y))


def _pad_crop(plan: Plan, draws: np.ndarray, fraction: float) -> None:
    """As in the CIFAR recipes (He et al. 2015, arXiv:1512.03385): shifts by whole pixels."""
    max_shift = max(1, round(fraction * plan.size))
    pixels = np.floor(draws * (2 * max_shift + 1)) - max_shift
    plan.warp(shifts(pixels[:, 0], pixels[:, 1]))


def _random_crop(plan: Plan, draws: np.ndarray, settings: Mapping[str, Any]) -> None:
    """As Szegedy et al. 2014, arXiv:1409.4842; a side longer than the image is clipped."""
    area = _between(draws[:, 0], settings["area"])
    aspect = np.exp(_between(draws[:, 1], np.log(settings["aspect"])))
    width = np.minimum(np.sqrt(area * aspect), 1)
    height = np.minimum(np.sqrt(area / aspect), 1)
    x, y = ((draws[:, i] - 0.5) * (1 - side) for i, side in ((2, width), (3, height)))
    plan.warp(shifts(-x * plan.size, -y * plan.size) @ scalings(1 / width, 1 / height))


def _channel_shift(plan: Plan, draws: np.ndarray, levels: float) -> None:
    """As Keras: the same number of gray levels for all channels."""
    plan.recolor(shifted(np.repeat(_either_way(draws[:, :1], levels), 3, axis=1)))


def _channel_shuffle(plan: Plan, draws: np.ndarray, probability: float) -> None:
    orders = np.floor(draws[:, 1] * len(ORDERS)).astype(int)
    plan.recolor(shuffled(np.where(draws[:, 0] < probability, orders, 0)))


def _brightness(plan: Plan, draws: np.ndarray, limits: Sequence[float]) -> None:
    plan.recolor(brightened(_between(draws[:, 0], limits)))


def _contrast(plan: Plan, draws: np.ndarray, limits: Sequence[float]) -> None:
    plan.recolor(contrasted(_between(draws[:, 0], limits)))


def _saturation(plan: Plan, draws: np.ndarray, limits: Sequence[float]) -> None:
    plan.recolor(saturated(_between(draws[:, 0], limits)))


def _hue(plan: Plan, draws: np.ndarray, degrees: float) -> None:
    plan.recolor(hued(_either_way(draws[:, 0], degrees)))


def _grayscale(plan: Plan, draws: np.ndarray, probability: float) -> None:
    plan.recolor(saturated(np.where(draws[:, 0] < probability, 0.0, 1.0)))


def _jpeg(plan: Plan, draws: np.ndarray, limits: Sequence[float]) -> None:
    plan.jpeg = np.rint(_between(draws[:, 0], limits)).astype(int)


def _erase(plan: Plan, draws: np.ndarray, settings: Mapping[str, Any]) -> None:
    """Random erasing, Zhong et al. 2017, arXiv:1708.04896, in plain gray."""
    area = _between(draws[:, 1], settings["area"])
    aspect = np.exp(_between(draws[:, 2], np.log(settings["aspect"])))
    boxes = _boxes(np.sqrt(area * aspect), np.sqrt(area / aspect), draws[:, 3:5], plan.size)
    boxes[draws[:, 0] >= settings["probability"]] = 0
    plan.erased = boxes


def _mix(plan: Plan, draws: np.ndarray, settings: Mapping[str, Any]) -> None:
    """Mixup (Zhang et al. 2017, arXiv:1710.09412), CutMix (Yun et al. 2019, arXiv:1905.04899).

    If both are set, each image is mixed by one of them at random. Partners are from the whole pack,
    so they do not depend on the batch.
    """
    methods = [method for method in ("mixup", "cutmix") if settings.get(method)]
    chosen = np.floor(draws[:, 0] * len(methods)).astype(int)
    cut = np.array([method == "cutmix" for method in methods])[chosen]
    alphas = np.where(cut, settings.get("cutmix") or 1.0, settings.get("mixup") or 1.0)
    lam = betaincinv(alphas, alphas, draws[:, 1])  # quantiles of Beta(alpha, alpha)
    side = np.sqrt(1 - lam)
    boxes = _boxes(side, side, draws[:, 3:5], plan.size)
    covered = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) / plan.size**2
    plan.mix = Mix(
        partners=np.floor(draws[:, 2] * plan.n_in_pack).astype(int),
        lam=np.where(cut, 1 - covered, lam),
        cut=cut,
        boxes=boxes,
    )


def _boxes(width: np.ndarray, height: np.ndarray, positions: np.ndarray, size: int) -> np.ndarray:
    """Boxes inside the image: int (N, 4); width and height are fractions of its size."""
    sides = np.clip(np.rint(np.stack([width, height], axis=1) * size), 0, size)
    corners = np.floor(positions * (size - sides + 1))
    return np.concatenate([corners, corners + sides], axis=1).astype(int)


# Name -> random numbers per image, function.
STEPS: dict[str, tuple[int, Step]] = {
    "flip": (2, _flip),
    "rotate": (1, _rotate),
    "shear": (1, _shear),
    "scale": (1, _scale),
    "zoom": (2, _zoom),
    "shift": (2, _shift),
    "pad_crop": (2, _pad_crop),
    "random_crop": (4, _random_crop),
    "channel_shift": (1, _channel_shift),
    "channel_shuffle": (2, _channel_shuffle),
    "brightness": (1, _brightness),
    "contrast": (1, _contrast),
    "saturation": (1, _saturation),
    "hue": (1, _hue),
    "grayscale": (1, _grayscale),
    "trivial_augment": (3, trivial_augment),
    "rand_augment": (3, rand_augment),
    "jpeg": (1, _jpeg),
    "erase": (5, _erase),
    "mix": (5, _mix),
}


GEOMETRIC = frozenset(
    (
        *("flip", "rotate", "shear", "scale", "zoom", "shift", "pad_crop", "random_crop"),
        *("trivial_augment", "rand_augment"),
    )
)
