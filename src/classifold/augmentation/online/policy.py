"""The augmentation plan of a batch, sampled from a policy before any pixel is processed.

A policy is a list of steps with ranges. Steps of one kind are combined: geometry into one affine
matrix per image, colors into one color matrix. The order of kinds is fixed: geometry, colors,
tones, JPEG, erasing, mixing.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from classifold.augmentation.online.plan import Plan
from classifold.augmentation.online.steps import GEOMETRIC, STEPS


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
        STEPS[name][1](plan, uniforms[:, column : column + n_draws], settings)
        column += n_draws
    return plan


def count_draws(steps: Sequence[Mapping[str, Any]]) -> int:
    """Count the random numbers that a policy needs per image."""
    return sum(_n_draws(name, settings) for step in steps for name, settings in step.items())


def moves_pixels(steps: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a policy has geometric steps, whose warp also resizes."""
    return any(name in GEOMETRIC for step in steps for name in step)


def _n_draws(name: str, settings: Any) -> int:
    return STEPS[name][0] * (settings["n"] if name == "rand_augment" else 1)
