"""What is done to each image in an epoch, drawn before any pixel is touched.

A policy is a list of steps with ranges. Steps of one kind are folded into one: geometry into one
affine matrix an image, colors into one color matrix. Whatever their order in the list, kinds
follow one another as geometry, colors, tones, JPEG, erasing, mixing.
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
    """The partner of each image, and how much of it shows."""

    partners: np.ndarray  # int (N,): rows of the training pack
    shares: np.ndarray  # float (N,) of the image's own label; the rest is its partner's
    cut: np.ndarray  # bool (N,): the partner covers a box; else both are blended
    boxes: np.ndarray  # int (N, 4): x0, y0, x1, y1 of the box


class Plan:
    """What is done to N images of one size; each part stays None as long as nothing is.

    Attributes:
        geometry: float (N, 3, 3), see `warp`.
        colors: float (N, 3, 4), see `color`.
        tones: changes of tones, one after another.
        jpeg: int (N,), qualities of a compression.
        erased: int (N, 4), x0, y0, x1, y1 of what is painted gray; empty for none.
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
        """Add geometry to some images."""
        if self.geometry is None:
            self.geometry = identity(self.n_images)
        self.geometry[rows] = self.geometry[rows] @ matrices

    def recolour(self, matrices: np.ndarray, rows: np.ndarray | slice = slice(None)) -> None:
        """Add a change of colors to some images."""
        if self.colors is None:
            self.colors = identity_colors(self.n_images)
        self.colors[rows] = then(self.colors[rows], matrices)


# Uniform numbers in [0, 1), a column each; what the policy says of the step.
Step = Callable[[Plan, np.ndarray, Any], None]


def draw_plan(
    steps: Sequence[Mapping[str, Any]], uniforms: np.ndarray, *, size: int, n_in_pack: int
) -> Plan:
    """Turn uniform numbers into what is done to images.

    Args:
        steps: of the policy, one name and its settings each.
        uniforms: float array (N, `count_draws(steps)`) in [0, 1).
        size: width and height of the result, in pixels.
        n_in_pack: how many images the training pack has, to mix with.
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
    """How many random numbers a policy takes an image."""
    return sum(_n_draws(name, settings) for step in steps for name, settings in step.items())


def moves_pixels(steps: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a policy has geometry, into which resizing is folded."""
    return any(name in GEOMETRIC for step in steps for name in step)


def _n_draws(name: str, settings: Any) -> int:
    return _STEPS[name][0] * (settings["n"] if name == "rand_augment" else 1)


def _between(uniform: np.ndarray, limits: Sequence[float]) -> np.ndarray:
    low, high = limits
    return low + uniform * (high - low)


def _either_way(uniform: np.ndarray, most: float) -> np.ndarray:
    return (2 * uniform - 1) * most


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
    """As Keras: the share of width and of height that is seen, above 1 more than all."""
    x, y = _between(draws[:, 0], limits), _between(draws[:, 1], limits)
    plan.warp(scalings(1 / x, 1 / y))


def _shift(plan: Plan, draws: np.ndarray, shares: Sequence[float]) -> None:
    x, y = (_either_way(draws[:, i], share * plan.size) for i, share in enumerate(shares))
    plan.warp(shifts(x, y))


def _pad_crop(plan: Plan, draws: np.ndarray, share: float) -> None:
    """As in the CIFAR recipes (He et al. 2015, arXiv:1512.03385): shifts by whole pixels."""
    most = max(1, round(share * plan.size))
    pixels = np.floor(draws * (2 * most + 1)) - most
    plan.warp(shifts(pixels[:, 0], pixels[:, 1]))


def _random_crop(plan: Plan, draws: np.ndarray, settings: Mapping[str, Any]) -> None:
    """As Szegedy et al. 2014, arXiv:1409.4842; a side longer than the image is cut."""
    area = _between(draws[:, 0], settings["area"])
    aspect = np.exp(_between(draws[:, 1], np.log(settings["aspect"])))
    width = np.minimum(np.sqrt(area * aspect), 1)
    height = np.minimum(np.sqrt(area / aspect), 1)
    x, y = ((draws[:, i] - 0.5) * (1 - side) for i, side in ((2, width), (3, height)))
    plan.warp(shifts(-x * plan.size, -y * plan.size) @ scalings(1 / width, 1 / height))


def _channel_shift(plan: Plan, draws: np.ndarray, levels: float) -> None:
    """As Keras: all channels by one number of gray levels."""
    plan.recolour(shifted(np.repeat(_either_way(draws[:, :1], levels), 3, axis=1)))


def _channel_shuffle(plan: Plan, draws: np.ndarray, share: float) -> None:
    orders = np.floor(draws[:, 1] * len(ORDERS)).astype(int)
    plan.recolour(shuffled(np.where(draws[:, 0] < share, orders, 0)))


def _brightness(plan: Plan, draws: np.ndarray, limits: Sequence[float]) -> None:
    plan.recolour(brightened(_between(draws[:, 0], limits)))


def _contrast(plan: Plan, draws: np.ndarray, limits: Sequence[float]) -> None:
    plan.recolour(contrasted(_between(draws[:, 0], limits)))


def _saturation(plan: Plan, draws: np.ndarray, limits: Sequence[float]) -> None:
    plan.recolour(saturated(_between(draws[:, 0], limits)))


def _hue(plan: Plan, draws: np.ndarray, degrees: float) -> None:
    plan.recolour(hued(_either_way(draws[:, 0], degrees)))


def _grayscale(plan: Plan, draws: np.ndarray, share: float) -> None:
    plan.recolour(saturated(np.where(draws[:, 0] < share, 0.0, 1.0)))


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

    Where both are named, each image is mixed in one of both ways. Partners come from the whole
    pack, so they do not depend on the batch.
    """
    ways = [way for way in ("mixup", "cutmix") if settings.get(way)]
    cut = np.array([way == "cutmix" for way in ways])[np.floor(draws[:, 0] * len(ways)).astype(int)]
    alphas = np.where(cut, settings.get("cutmix") or 1.0, settings.get("mixup") or 1.0)
    shares = betaincinv(alphas, alphas, draws[:, 1])  # quantiles of Beta(alpha, alpha)
    side = np.sqrt(1 - shares)
    boxes = _boxes(side, side, draws[:, 3:5], plan.size)
    covered = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) / plan.size**2
    plan.mix = Mix(
        partners=np.floor(draws[:, 2] * plan.n_in_pack).astype(int),
        shares=np.where(cut, 1 - covered, shares),
        cut=cut,
        boxes=boxes,
    )


def _boxes(width: np.ndarray, height: np.ndarray, places: np.ndarray, size: int) -> np.ndarray:
    """Boxes of some shares of the side, wholly inside the image: int (N, 4)."""
    sides = np.clip(np.rint(np.stack([width, height], axis=1) * size), 0, size)
    corners = np.floor(places * (size - sides + 1))
    return np.concatenate([corners, corners + sides], axis=1).astype(int)


class _Magnitudes(NamedTuple):
    """The largest changes of an automatic policy."""

    slant: float  # pixels a pixel
    shift: float  # share of the side
    degrees: float
    factor: float  # of brightness, color, contrast and sharpness, either way from 1
    bits: int  # of 8 that posterizing takes away


# Müller and Hutter 2021, arXiv:2103.10158, table of the wide space: shifts by 32 pixels of 224.
TRIVIAL = _Magnitudes(slant=0.99, shift=32 / 224, degrees=135, factor=0.99, bits=6)
# Cubuk et al. 2019, arXiv:1909.13719, as torchvision has it: shifts by 150 pixels of 331.
RAND = _Magnitudes(slant=0.3, shift=150 / 331, degrees=30, factor=0.9, bits=4)

_AUTOMATIC = (
    *("identity", "slant_x", "slant_y", "shift_x", "shift_y", "rotate", "brightness"),
    *("saturation", "contrast", "sharpness", "posterize", "solarize", "autocontrast", "equalize"),
)


def _trivial_augment(plan: Plan, draws: np.ndarray, _: Any) -> None:
    """One operation an image, of any strength: Müller and Hutter 2021, arXiv:2103.10158."""
    _automatic(plan, draws[:, 0], strength=draws[:, 1], sign=draws[:, 2], most=TRIVIAL)


def _rand_augment(plan: Plan, draws: np.ndarray, settings: Mapping[str, Any]) -> None:
    """Several operations of one strength in [0, 1]: Cubuk et al. 2019, arXiv:1909.13719."""
    strength = np.full(len(draws), float(settings["strength"]))
    for i in range(settings["n"]):
        _automatic(plan, draws[:, 3 * i], strength=strength, sign=draws[:, 3 * i + 2], most=RAND)


def _automatic(
    plan: Plan, choice: np.ndarray, *, strength: np.ndarray, sign: np.ndarray, most: _Magnitudes
) -> None:
    chosen = np.floor(choice * len(_AUTOMATIC)).astype(int)
    tones = no_tones(plan.n_images)
    for number, name in enumerate(_AUTOMATIC):
        rows = np.flatnonzero(chosen == number)
        if len(rows) == 0:
            continue
        amount = strength[rows]
        signed = amount * np.where(sign[rows] < 0.5, -1, 1)
        nothing = np.zeros(len(rows))
        match name:
            case "slant_x":
                plan.warp(slants(signed * most.slant, nothing), rows)
            case "slant_y":
                plan.warp(slants(nothing, signed * most.slant), rows)
            case "shift_x":
                plan.warp(shifts(signed * most.shift * plan.size, nothing), rows)
            case "shift_y":
                plan.warp(shifts(nothing, signed * most.shift * plan.size), rows)
            case "rotate":
                plan.warp(rotations(signed * most.degrees), rows)
            case "brightness":
                plan.recolour(brightened(1 + signed * most.factor), rows)
            case "saturation":
                plan.recolour(saturated(1 + signed * most.factor), rows)
            case "contrast":
                plan.recolour(contrasted(1 + signed * most.factor), rows)
            case "sharpness":
                tones.amounts[rows] = 1 + signed * most.factor
            case "posterize":
                tones.amounts[rows] = 8 - np.rint(amount * most.bits)
            case "solarize":
                tones.amounts[rows] = 255 * (1 - amount)
        if name in NAMES:
            tones.kinds[rows] = NAMES.index(name)
    if tones.kinds.any():
        plan.tones.append(tones)


# Name -> random numbers an image, what it does.
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
