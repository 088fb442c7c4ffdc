"""Batches of one epoch."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from classifold.augmentation.online import augment_batch
from classifold.pack import Pack
from classifold.preprocessing import to_input
from classifold.seeding import generator


class Batch(NamedTuple):
    """What one step trains on."""

    inputs: Tensor  # float32 (N, 3, image_size, image_size)
    labels: Tensor  # int64 (N,)


def count_batches(n_images: int, batch_size: int) -> int:
    """How many steps an epoch takes."""
    return -(-n_images // batch_size)


def epoch_batches(
    pack: Pack,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    online: str,
    image_size: int,
    normalize: str,
    device: torch.device,
) -> Iterator[Batch]:
    """Go once through all images in an order drawn from `seed` and `epoch`.

    Every image comes exactly once. Batches differ by at most one image, so that no batch of
    one is left over for batch norm to fail on.

    Args:
        pack: the training images.
        batch_size: the most images in a batch.
        seed: of the order and of online augmentation.
        epoch: counted over all phases.
        online: the online augmentation policy.
        image_size: of the network.
        normalize: of the network.
        device: where tensors go.
    """
    n_images = len(pack.labels)
    order = generator(seed, "order", epoch).permutation(n_images)
    for rows in np.array_split(order, count_batches(n_images, batch_size)):
        images = augment_batch(pack.images[rows], policy=online, rows=rows, seed=seed, epoch=epoch)
        yield Batch(
            to_input(images, image_size=image_size, normalize=normalize, device=device),
            torch.from_numpy(pack.labels[rows]).to(device),
        )
