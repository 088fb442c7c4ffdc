"""The augmentation plan of a batch, sampled from a policy before any pixel is processed.

A policy is a list of steps with ranges. Steps of one kind are combined: geometry into one affine
matrix per image, colors into one color matrix. The order of kinds is fixed: geometry, colors,
tones, JPEG, erasing, mixing.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.special import betaincinv

from classifold.augmentation.online.color import (
    ORDERS,
    brightened,
    contrasted,
    hued,
    identity_colors,
    saturated,
    shifted,
    shuffled,
    then,
)
from classifold.augmentation.online.tone import NAMES, Tones, no_tones
from classifold.augmentation.online.warp import (
    identity,
    rotations,
    scalings,
    shears,
    shifts,
    slants,
)


class Mix(NamedTuple):
    """The partner of each image, and how both are mixed."""

    partners: np.ndarray  # int (N,): rows of the training pack
    lam: np.ndarray  # float (N,): weight of the image's own labels; 1 - lam is its partner's
    cut: (
        np.ndarray
    )  # bool (N,): whether the partner covers a box (CutMix), or both are blended (mixup)
    boxes: np.ndarray  # int (N, 4): x0, y0, x1, y1 of the box


class Plan:
    """The augmentation of N images of one size; kinds that do nothing are None.

    Attributes:
        geometry: float (N, 3, 3), see `warp`.
        colors: float (N, 3, 4), see `color`.
        tones: changes of tones, in their order.
        jpeg: int (N,), qualities of the compression.
        erased: int (N, 4), x0, y0, x1, y1 of boxes that are filled with gray; an empty box is
            no change.
        mix: with another image of the training pack.
    """

    def __init__(self, n_images: int, *, size: int, n_in_pack: int) -> None:
        self.n_images = n_images
        self.size = size
        self.n_in_pack = n_in_pack
        self.geometry: np.ndarray | None = None
        self.colors: np.ndarray | None = None
        self.tones: list[Tones] = []
        self.jpeg: np.ndarray | None = None
        self.erased: np.ndarray | None = None
        self.mix: Mix | None = None

    def warp(self, matrices: np.ndarray, rows: np.ndarray | slice = slice(None)) -> None:
        """Add geometry for all images, or for some rows."""
        if self.geometry is None:
            self.geometry = identity(self.n_images)
        self.geometry[rows] = self.geometry[rows] @ matrices

    def recolor(self, matrices: np.ndarray, rows: np.ndarray | slice = slice(None)) -> None:
        """Add a change of colors for all images, or for some rows."""
        if self.colors is None:
            self.colors = identity_colors(self.n_images)
        self.colors[rows] = then(self.colors[rows], matrices)


# Called with uniform numbers in [0, 1), one column per number, and the step's settings.
Step = Callable[[Plan, np.ndarray, Any], None]


def draw_plan(
    steps: Sequence[Mapping[str, Any]], uniforms: np.ndarray, *, size: int, n_in_pack: int
) -> Plan:
    """Make the plan of N images from uniform random numbers.

    Args:
        steps: steps of the policy, each with one name and its settings.
        uniforms: float array (N, `count_draws(steps)`) in [0, 1).
        size: width and height of the result, in pixels.
        n_in_pack: number of images in the training pack, for mixing.
    """
    plan = Plan(len(uniforms), size=size, n_in_pack=n_in_pack)
    column = 0
    for step in steps:
        ((name, settings),) = step.items()
        n_draws = _n_draws(name, settings)
        _STEPS[name][1](plan, uniforms[:, column : column + n_draws], settings)
        column += n_draws
    return plan


def count_draws(steps: Sequence[Mapping[str, Any]]) -> int:
    """Count the random numbers that a policy needs per image."""
    return sum(_n_draws(name, settings) for step in steps for name, settings in step.items())


def moves_pixels(steps: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a policy has geometric steps, whose warp also resizes."""
    return any(name in GEOMETRIC for step in steps for name in step)


def _n_draws(name: str, settings: Any) -> int:
    return _STEPS[name][0] * (settings["n"] if name == "rand_augment" else 1)


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


def _trivial_augment(plan: Plan, draws: np.ndarray, _: Any) -> None:
    """One operation per image, of random strength: Müller and Hutter 2021, arXiv:2103.10158."""
    _automatic(plan, draws[:, 0], strength=draws[:, 1], sign=draws[:, 2], limits=TRIVIAL)


def _rand_augment(plan: Plan, draws: np.ndarray, settings: Mapping[str, Any]) -> None:
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


# Name -> random numbers per image, function.
_STEPS: dict[str, tuple[int, Step]] = {
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
    "trivial_augment": (3, _trivial_augment),
    "rand_augment": (3, _rand_augment),
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
