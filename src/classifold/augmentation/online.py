"""Augmentation drawn anew for every image in every epoch."""

from collections.abc import Sequence

import numpy as np

from classifold.seeding import generator

# Of the side, as in the CIFAR recipes (4 of 32 pixels): He et al. 2015, arXiv:1512.03385.
PADDING_SHARE = 0.125

POLICIES = ("none", "crop", "crop_flip")


def augment_batch(
    images: np.ndarray, *, policy: str, rows: Sequence[int] | np.ndarray, seed: int, epoch: int
) -> np.ndarray:
    """Shift (`crop`: pad by reflection, then crop at random) and flip (`crop_flip`) images.

    What is drawn for an image depends on `seed`, `epoch` and its row alone, so neither the
    order of batches nor a resumed run changes it.

    Args:
        images: uint8 array (N, size, size, 3).
        policy: one of `POLICIES`.
        rows: row of each image in the training pack.
        seed: of the model.
        epoch: counted over all phases.

    Returns:
        uint8 array of the same shape.
    """
    if policy == "none":
        return images
    size = images.shape[1]
    padding = max(1, round(size * PADDING_SHARE))
    padded = np.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)), "reflect")
    result = np.empty_like(images)
    for i, row in enumerate(rows):
        draw = generator(seed, "online", epoch, int(row))
        top, left = draw.integers(0, 2 * padding, size=2, endpoint=True)
        crop = padded[i, top : top + size, left : left + size]
        mirrored = policy == "crop_flip" and draw.random() < 0.5
        result[i] = crop[:, ::-1] if mirrored else crop
    return result
