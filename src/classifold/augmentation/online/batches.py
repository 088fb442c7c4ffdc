"""On-the-fly augmentation: different in every epoch."""

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from classifold.augmentation.online.color import MIDDLE_GRAY, recolor_arrays
from classifold.augmentation.online.plan import Mix, Plan
from classifold.augmentation.online.policy import count_draws, draw_plan
from classifold.augmentation.online.tone import retone_arrays
from classifold.augmentation.online.warp import identity, warp_arrays
from classifold.data.pack import encode_jpeg
from classifold.data.seeding import generator

ERASED = int(MIDDLE_GRAY)  # value of erased pixels


def epoch_draws(policy: Mapping[str, Any], *, n_images: int, seed: int, epoch: int) -> np.ndarray:
    """Draw the random numbers of an epoch: one row per image of the training pack.

    A row depends only on `seed`, `epoch` and the image's position in the pack. So the
    augmentation of an image does not depend on the order of batches, the number of processes, or
    an interruption.

    Returns:
        float32 array (n_images, n_draws) in [0, 1).
    """
    shape = (n_images, count_draws(policy["steps"]))
    return generator(seed, "online", epoch).random(shape, dtype=np.float32)


def augment_rows(
    stored: np.ndarray,
    rows: np.ndarray,
    slots: np.ndarray,
    draws: np.ndarray,
    *,
    policy: Mapping[str, Any],
    size: int,
) -> tuple[np.ndarray, Plan]:
    """Augment some images of a pack, mixed with their partners if the policy mixes images.

    Args:
        stored: uint8 array (n_images, H, W, 3), of the whole pack.
        rows: rows of the pack.
        slots: the row of `draws` for each image: its own, unless it is sampled twice.
        draws: random numbers of the epoch, one row per image of the pack.
        policy: `steps`, and how borders are filled.
        size: width and height of the result.

    Returns:
        uint8 array (N, size, size, 3), and the plan of its augmentation.
    """
    steps, fill = policy["steps"], policy["fill"]
    plan = draw_plan(steps, draws[slots], size=size, n_in_pack=len(stored))
    images = augment_arrays(stored[rows], plan, fill=fill)
    if plan.mix is None:
        return images, plan
    partners = plan.mix.partners
    others = draw_plan(steps, draws[partners], size=size, n_in_pack=len(stored))
    return mix_arrays(images, augment_arrays(stored[partners], others, fill=fill), plan.mix), plan


def augment_arrays(images: np.ndarray, plan: Plan, *, fill: str) -> np.ndarray:
    """Apply a plan, except mixing, to images on the CPU.

    Args:
        images: uint8 array (N, H, W, 3).
        plan: for N images; images of another size than `plan.size` are resized.
        fill: fill of the border, see `warp`.

    Returns:
        uint8 array (N, plan.size, plan.size, 3); `images` itself if nothing changes.
    """
    result = images
    geometry = geometry_of(plan, size=images.shape[1])
    if geometry is not None:
        result = warp_arrays(images, geometry, size=plan.size, fill=fill)
    if result is images and (plan.colors is not None or plan.tones or _has_spots(plan)):
        result = images.copy()
    if plan.colors is not None:
        recolor_arrays(result, plan.colors)
    for tones in plan.tones:
        retone_arrays(result, tones)
    if plan.jpeg is not None:
        for i, quality in enumerate(plan.jpeg.tolist()):
            encoded = np.frombuffer(encode_jpeg(result[i], quality=quality), np.uint8)
            result[i] = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB))
    if plan.erased is not None:
        for image, (x0, y0, x1, y1) in zip(result, plan.erased.tolist(), strict=True):
            image[y0:y1, x0:x1] = ERASED
    return result


def mix_arrays(images: np.ndarray, partners: np.ndarray, mix: Mix) -> np.ndarray:
    """Mix each image, uint8 (N, H, W, 3), with its partner."""
    mixed = np.empty_like(images)
    boxes, lams = mix.boxes.tolist(), mix.lam.tolist()
    for i, ((x0, y0, x1, y1), lam) in enumerate(zip(boxes, lams, strict=True)):
        if mix.cut[i]:
            mixed[i] = images[i]
            mixed[i, y0:y1, x0:x1] = partners[i, y0:y1, x0:x1]
        else:
            cv2.addWeighted(images[i], lam, partners[i], 1 - lam, 0, dst=mixed[i])
    return mixed


def _has_spots(plan: Plan) -> bool:
    return plan.jpeg is not None or plan.erased is not None


def geometry_of(plan: Plan, *, size: int) -> np.ndarray | None:
    """The plan's geometry, or the identity, which resizes images of another size."""
    if plan.geometry is None and size != plan.size:
        return identity(plan.n_images)
    return plan.geometry
