"""Batches of one epoch."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from classifold.augmentation.online import (
    augment_rows,
    augment_tensors,
    epoch_draws,
    mix_tensors,
)
from classifold.augmentation.policy import Plan, draw_plan, moves_pixels
from classifold.pack import Pack
from classifold.preprocessing import normalized, to_input
from classifold.seeding import generator

# Of a device's free memory, for the training images; the rest is the network's.
LARGEST_SHARE_OF_MEMORY = 0.4


class Batch(NamedTuple):
    """What one step trains on."""

    inputs: Tensor  # float32 (N, 3, image_size, image_size)
    labels: Tensor  # int64 (N,)
    targets: Tensor  # the labels; or, where images are mixed, float32 (N, n_classes)


class TrainingImages:
    """The training pack, where batches are made of it.

    On the CPU images stay in the memory-mapped file, and OpenCV augments them, one by one,
    outside of torch's threads. On another device they lie whole, if they fit, and are augmented
    there, a batch at a time.
    """

    def __init__(
        self, pack: Pack, *, policy: Mapping[str, Any], image_size: int, device: torch.device
    ) -> None:
        """Take the images to where they are needed.

        Args:
            pack: the training images.
            policy: `steps`, and how borders are filled.
            image_size: of the network.
            device: of the network.
        """
        self.pack = pack
        self.steps, self.fill = policy["steps"], policy["fill"]
        self.policy = policy
        self.device = device
        # Enlarging is part of a warp that is done anyhow; shrinking needs a filter: it comes after.
        self.size = max(image_size, pack.size) if moves_pixels(self.steps) else pack.size
        self.on_device = device.type != "cpu" and not any("jpeg" in step for step in self.steps)
        self.stored: Tensor | None = None
        if self.on_device and _fits(pack.images.nbytes, device):
            self.stored = torch.from_numpy(np.array(pack.images)).to(device)

    def inputs(
        self, rows: np.ndarray, draws: np.ndarray, *, image_size: int, normalize: str
    ) -> tuple[Tensor, Plan]:
        """Augment the images of `rows`, mixed with their partners if the policy says so.

        Args:
            rows: of the pack.
            draws: of the epoch, a row an image of the pack.
            image_size: of the network.
            normalize: of the network.
        """
        if not self.on_device:
            images, plan = augment_rows(
                self.pack.images, rows, draws, policy=self.policy, size=self.size
            )
            batch = to_input(images, image_size=image_size, normalize=normalize, device=self.device)
            return batch, plan
        plan = self._plan(draws[rows])
        batch = augment_tensors(self._tensors(rows), plan, fill=self.fill)
        if plan.mix is not None:
            partners = plan.mix.partners
            others = self._plan(draws[partners])
            batch = mix_tensors(
                batch, augment_tensors(self._tensors(partners), others, fill=self.fill), plan.mix
            )
        return normalized(batch, image_size=image_size, normalize=normalize), plan

    def _plan(self, draws: np.ndarray) -> Plan:
        return draw_plan(self.steps, draws, size=self.size, n_in_pack=len(self.pack.labels))

    def _tensors(self, rows: np.ndarray) -> Tensor:
        if self.stored is not None:
            images = self.stored[torch.from_numpy(rows).to(self.device)]
        else:
            images = torch.from_numpy(self.pack.images[rows]).to(self.device)
        return images.permute(0, 3, 1, 2).to(torch.float32)


def count_batches(n_images: int, batch_size: int) -> int:
    """How many steps an epoch takes."""
    return -(-n_images // batch_size)


def epoch_batches(
    images: TrainingImages,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    image_size: int,
    normalize: str,
) -> Iterator[Batch]:
    """Go once through all images in an order drawn from `seed` and `epoch`.

    Every image comes exactly once. Batches differ by at most one image, so that no batch of
    one is left over for batch norm to fail on.

    Args:
        images: the training images.
        batch_size: the most images in a batch.
        seed: of the order and of online augmentation.
        epoch: counted over all phases.
        image_size: of the network.
        normalize: of the network.
    """
    pack, device = images.pack, images.device
    n_images = len(pack.labels)
    order = generator(seed, "order", epoch).permutation(n_images)
    draws = epoch_draws(images.policy, n_images=n_images, seed=seed, epoch=epoch)
    for rows in np.array_split(order, count_batches(n_images, batch_size)):
        inputs, plan = images.inputs(rows, draws, image_size=image_size, normalize=normalize)
        labels = torch.from_numpy(pack.labels[rows]).to(device)
        targets = labels
        if plan.mix is not None:
            partners = torch.from_numpy(pack.labels[plan.mix.partners]).to(device)
            shares = torch.from_numpy(plan.mix.shares).to(device, torch.float32)[:, None]
            one_hot = (F.one_hot(of, len(pack.classes)).float() for of in (labels, partners))
            own, other = one_hot
            targets = shares * own + (1 - shares) * other
        yield Batch(inputs, labels, targets)


def _fits(n_bytes: int, device: torch.device) -> bool:
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return n_bytes <= LARGEST_SHARE_OF_MEMORY * free
