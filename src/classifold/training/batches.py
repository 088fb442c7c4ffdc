"""Batches of one epoch."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from classifold.augmentation.online.batches import (
    augment_rows,
    augment_tensors,
    epoch_draws,
    mix_tensors,
)
from classifold.augmentation.online.policy import Plan, draw_plan, moves_pixels
from classifold.data.image_arrays import ask_for
from classifold.data.pack import Pack
from classifold.data.seeding import generator
from classifold.errors import UserError
from classifold.models.preprocessing import normalized, to_input
from classifold.runtime.parallel import threaded_map
from classifold.training.losses import one_hot

# Of a device's free memory, for the training images; the rest is the network's.
LARGEST_SHARE_OF_MEMORY = 0.4

# That go to a device at a time.
IMAGES_A_COPY = 1024


class Batch(NamedTuple):
    """What is computed at once: the images of a step, or a piece of them."""

    inputs: Tensor  # float32 (N, 3, image_size, image_size)
    labels: Tensor  # int64 (N,), or 0 and 1 in (N, n_classes)
    targets: Tensor  # float32 (N, n_classes): the labels as shares, mixed where images are
    n_in_step: int  # images of the whole step, over all pieces and processes
    ends_step: bool  # whether this is its last piece


class Read(NamedTuple):
    """What is done for a batch outside of the device."""

    rows: np.ndarray
    images: np.ndarray | None  # None: they lie on the device
    partners: np.ndarray | None  # that they are mixed with there
    plan: Plan
    plan_of_partners: Plan | None


class TrainingImages:
    """The training pack, where batches are made of it.

    On the CPU images stay in the memory-mapped file, and OpenCV augments them, one by one,
    outside of torch's threads. On another device they lie whole, if they fit, and are augmented
    there, a batch at a time; if they do not fit, they are read ahead while the device computes.
    Of images that stay in the file nobody touches others than those that are asked for.
    """

    def __init__(
        self, pack: Pack, *, policy: Mapping[str, Any], image_size: int, device: torch.device
    ) -> None:
        """Take the images to where they are needed.

        Args:
            pack: the training images.
            policy: `steps`, and how borders are filled.
            image_size: of the images as they are trained on.
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
            self.stored = torch.empty(pack.images.shape, dtype=torch.uint8, device=device)
            for start in range(0, len(pack.images), IMAGES_A_COPY):
                some = slice(start, start + IMAGES_A_COPY)
                self.stored[some] = torch.from_numpy(np.array(pack.images[some]))
        self.reads_ahead = device.type != "cpu" and self.stored is None

    def read(self, rows: np.ndarray, slots: np.ndarray, draws: np.ndarray) -> Read:
        """Read the images of `rows`, and do to them what is not done on the device.

        Args:
            rows: of the pack.
            slots: whose of the draws each image takes: its own, unless it is shown twice.
            draws: of the epoch, a row an image of the pack.
        """
        stored = self.pack.images
        if not self.on_device:
            images, plan = augment_rows(
                stored, rows, slots, draws, policy=self.policy, size=self.size
            )
            return Read(rows, images, None, plan, None)
        plan = self._plan(draws[slots])
        partners = None if plan.mix is None else plan.mix.partners
        return Read(
            rows,
            stored[rows] if self.stored is None else None,
            stored[partners] if self.stored is None and partners is not None else None,
            plan,
            None if partners is None else self._plan(draws[partners]),
        )

    def inputs(self, read: Read, *, image_size: int, normalize: str) -> Tensor:
        """Make a network's input of what was read, mixed with partners if the policy says so.

        Args:
            read: by `read`.
            image_size: of the images as they are trained on.
            normalize: of the network.
        """
        plan = read.plan
        if not self.on_device and read.images is not None:
            return to_input(
                read.images, image_size=image_size, normalize=normalize, device=self.device
            )
        batch = augment_tensors(self._tensors(read.images, read.rows), plan, fill=self.fill)
        if plan.mix is not None and read.plan_of_partners is not None:
            partners = self._tensors(read.partners, plan.mix.partners)
            others = augment_tensors(partners, read.plan_of_partners, fill=self.fill)
            batch = mix_tensors(batch, others, plan.mix)
        return normalized(batch, image_size=image_size, normalize=normalize)

    def _plan(self, draws: np.ndarray) -> Plan:
        return draw_plan(self.steps, draws, size=self.size, n_in_pack=len(self.pack.labels))

    def _tensors(self, read: np.ndarray | None, rows: np.ndarray) -> Tensor:
        if read is not None:
            images = torch.from_numpy(read).to(self.device)
        else:
            images = cast(Tensor, self.stored)[torch.from_numpy(rows).to(self.device)]
        return images.permute(0, 3, 1, 2).to(torch.float32)


def count_batches(n_images: int, batch_size: int) -> int:
    """How many steps an epoch takes."""
    return -(-n_images // batch_size)


def pieces_of_each(pieces: int, *, n_processes: int) -> int:
    """How many pieces of a step each process computes, if it is cut into `pieces` at least.

    So a piece is no larger than where one process computes all of them, and a step that four
    processes share is cut as one process cuts it with `pieces` of 4: norms see the same images.
    """
    return -(-pieces // n_processes)


def epoch_batches(
    images: TrainingImages,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    image_size: int,
    normalize: str,
    sampler: str = "shuffle",
    pieces: int = 1,
    process: int = 0,
    n_processes: int = 1,
) -> Iterator[Batch]:
    """Go once through the images, in an order drawn from `seed` and `epoch`.

    Steps differ by at most one image, so that no step of one is left over for batch norm to
    fail on. What a step shows does not depend on pieces and processes.

    Args:
        images: the training images.
        batch_size: the most images in a step.
        seed: of the order and of online augmentation.
        epoch: counted over all phases.
        image_size: of the images as they are trained on.
        normalize: of the network.
        sampler: see `draw_rows`.
        pieces: into how many a step is cut at least, where memory is small; processes share them.
        process: which of the processes asks; each gets as many pieces of every step.
        n_processes: how many train together.

    Raises:
        UserError: if a step has fewer images than there are pieces and processes.
    """
    pack, device = images.pack, images.device
    n_images, n_classes = len(pack.labels), len(pack.classes)
    n_steps = count_batches(n_images, batch_size)
    n_own = pieces_of_each(pieces, n_processes=n_processes)
    if n_images // n_steps < n_own * n_processes:
        raise UserError(
            f"batch_size {batch_size} gives steps of {n_images // n_steps} images, too few for "
            f"{n_processes} processes with gradient_accumulation_steps: {pieces}; raise "
            "batch_size, or lower gradient_accumulation_steps or the number of processes "
            "(train.launcher)"
        )
    order = draw_rows(pack.labels, n_classes=n_classes, seed=seed, epoch=epoch, sampler=sampler)
    # Shown again, an image is augmented anew: by the draws of its place in the epoch.
    places = order if sampler == "shuffle" else np.arange(n_images)
    draws = epoch_draws(images.policy, n_images=n_images, seed=seed, epoch=epoch)
    own = [
        (piece, len(step), number == n_own)
        for step in np.array_split(np.arange(n_images), n_steps)
        for number, piece in enumerate(
            np.array_split(step, n_own * n_processes)[process * n_own :][:n_own], start=1
        )
    ]

    def read_piece(piece: np.ndarray) -> Read:
        return images.read(order[piece], places[piece], draws)

    def asked_for() -> Iterator[np.ndarray]:
        """Each piece, once the one after it has been asked for."""
        for number, (piece, _, _) in enumerate(own):
            for coming, _, _ in own[number + bool(number) : number + 2]:  # the first one, too
                ask_for(pack.images, order[coming])
            yield piece

    pieces_to_read = asked_for() if images.stored is None else (piece for piece, _, _ in own)
    found: Iterator[Read] = map(read_piece, pieces_to_read)
    if images.reads_ahead:
        found = threaded_map(read_piece, pieces_to_read, n_threads=torch.get_num_threads())
    for (_, n_in_step, ends_step), read in zip(own, found, strict=True):
        targets = one_hot(pack.labels[read.rows], n_classes)
        mix = read.plan.mix
        if mix is not None:
            shares = mix.shares.astype(np.float32)[:, None]
            partners = one_hot(pack.labels[mix.partners], n_classes)
            targets = shares * targets + (1 - shares) * partners
        yield Batch(
            images.inputs(read, image_size=image_size, normalize=normalize),
            torch.from_numpy(pack.labels[read.rows]).to(device),
            torch.from_numpy(targets).to(device),
            n_in_step,
            ends_step,
        )


def draw_rows(
    labels: np.ndarray, *, n_classes: int, seed: int, epoch: int, sampler: str
) -> np.ndarray:
    """Draw the order of an epoch: int64 (N,), rows of the pack.

    Args:
        labels: int (N,), or 0 and 1 in (N, n_classes).
        n_classes: how many there are.
        seed: of the order.
        epoch: counted over all phases.
        sampler: `shuffle` shows every image exactly once. `balanced` draws N with replacement, so
            that each class is shown about as often as any other; an image of several labels by
            the rarest of them, one without labels as a class of its own.
    """
    random = generator(seed, "order", epoch)
    n_images = len(labels)
    if sampler == "shuffle":
        return random.permutation(n_images)
    bears = one_hot(labels, n_classes).astype(bool)
    bears = np.column_stack([bears, ~bears.any(1)])
    rarity = 1 / np.maximum(bears.sum(0), 1)
    weights = (bears * rarity).max(1)
    return random.choice(n_images, n_images, p=weights / weights.sum())


def _fits(n_bytes: int, device: torch.device) -> bool:
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return n_bytes <= LARGEST_SHARE_OF_MEMORY * free
