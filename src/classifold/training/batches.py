"""The batches of one epoch."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from classifold.augmentation.online.batches import epoch_draws
from classifold.data.image_arrays import prefetch
from classifold.data.pack import Pack
from classifold.data.seeding import generator
from classifold.errors import SettingError
from classifold.models.preprocessing import Normalize
from classifold.runtime.parallel import threaded_map
from classifold.training.images import Read
from classifold.training.losses import one_hot


class Batch(NamedTuple):
    """The images that are computed at once: all of a step, or a micro-batch of it."""

    inputs: Tensor  # float32 (N, 3, image_size, image_size)
    labels: Tensor  # int64 (N,), or 0 and 1 in (N, n_classes)
    targets: Tensor  # float32 (N, n_classes): probabilities, mixed where images are mixed
    n_in_step: int  # images of the whole step, over all micro-batches and processes
    ends_step: bool  # whether this is its last micro-batch


class Source(Protocol):
    """What `epoch_batches` reads: training images, or their features."""

    pack: Pack
    policy: Mapping[str, Any]
    device: torch.device
    stored: Tensor | None
    reads_ahead: bool

    def read(self, rows: np.ndarray, slots: np.ndarray, draws: np.ndarray) -> Read:
        """Read `rows`, see `TrainingImages.read`."""

    def inputs(self, read: Read, *, image_size: int, normalize: Normalize) -> Tensor:
        """Make the input of what is trained."""


def count_batches(n_images: int, batch_size: int) -> int:
    """Count the steps of an epoch."""
    return -(-n_images // batch_size)


def micro_batches_per_process(micro_batches: int, *, n_processes: int) -> int:
    """Count the micro-batches of a step per process, for at least `micro_batches` in total.

    So a micro-batch is never larger than with one process, and four processes split a step into
    the same micro-batches as one process with `micro_batches` of 4: batch norms see the same
    images.
    """
    return -(-micro_batches // n_processes)


def epoch_batches(
    images: Source,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    image_size: int,
    normalize: Normalize,
    sampler: str = "shuffle",
    micro_batches: int = 1,
    process: int = 0,
    n_processes: int = 1,
) -> Iterator[Batch]:
    """Iterate once over the images, in a random order that depends on `seed` and `epoch`.

    The sizes of steps differ by at most one image: a last step of one image would make batch norm
    fail. The images of a step do not depend on micro-batches and processes.

    Args:
        images: the training images.
        batch_size: maximum number of images in a step.
        seed: seed of the order and of online augmentation.
        epoch: counted over all phases.
        image_size: width and height of training images, in pixels.
        normalize: normalization that the network expects.
        sampler: see `draw_rows`.
        micro_batches: minimum number per step, to save memory; they are split between processes.
        process: number of this process; each gets equally many micro-batches of every step.
        n_processes: number of processes that train together.

    Raises:
        UserError: if a step has fewer images than micro-batches.
    """
    pack, device = images.pack, images.device
    n_images, n_classes = len(pack.labels), len(pack.classes)
    n_steps = count_batches(n_images, batch_size)
    n_own = micro_batches_per_process(micro_batches, n_processes=n_processes)
    if n_images // n_steps < n_own * n_processes:
        raise SettingError(
            f"batch_size: steps of {n_images // n_steps} images are too small for {n_processes} "
            f"processes with gradient_accumulation_steps: {micro_batches}, got {batch_size}. "
            "Increase batch_size, or lower gradient_accumulation_steps or the number of processes "
            "(train.launcher)."
        )
    order = draw_rows(pack.labels, n_classes=n_classes, seed=seed, epoch=epoch, sampler=sampler)
    # An image that is sampled twice is augmented differently: by its position in the epoch.
    slots = order if sampler == "shuffle" else np.arange(n_images)
    draws = epoch_draws(images.policy, n_images=n_images, seed=seed, epoch=epoch)
    own = [
        (positions, len(step), number == n_own)
        for step in np.array_split(np.arange(n_images), n_steps)
        for number, positions in enumerate(
            np.array_split(step, n_own * n_processes)[process * n_own :][:n_own], start=1
        )
    ]

    def read(positions: np.ndarray) -> Read:
        return images.read(order[positions], slots[positions], draws)

    def prefetched() -> Iterator[np.ndarray]:
        """Each micro-batch; the operating system then reads the next one ahead."""
        for number, (positions, _, _) in enumerate(own):
            for coming, _, _ in own[number + bool(number) : number + 2]:  # the first one, too
                prefetch(pack.images, order[coming])
            yield positions

    to_read = prefetched() if images.stored is None else (positions for positions, _, _ in own)
    batches: Iterator[Read] = map(read, to_read)
    if images.reads_ahead:
        batches = threaded_map(read, to_read, n_threads=torch.get_num_threads())
    for (_, n_in_step, ends_step), batch in zip(own, batches, strict=True):
        targets = one_hot(pack.labels[batch.rows], n_classes)
        mix = batch.plan.mix
        if mix is not None:
            lam = mix.lam.astype(np.float32)[:, None]
            partners = one_hot(pack.labels[mix.partners], n_classes)
            targets = lam * targets + (1 - lam) * partners
        yield Batch(
            images.inputs(batch, image_size=image_size, normalize=normalize),
            torch.from_numpy(pack.labels[batch.rows]).to(device),
            torch.from_numpy(targets).to(device),
            n_in_step,
            ends_step,
        )


def draw_rows(
    labels: np.ndarray, *, n_classes: int, seed: int, epoch: int, sampler: str
) -> np.ndarray:
    """Sample the rows of the pack for an epoch, in their order: int64 (N,).

    Args:
        labels: int (N,), or 0 and 1 in (N, n_classes).
        n_classes: number of classes.
        seed: seed of the order.
        epoch: counted over all phases.
        sampler: `shuffle` takes every image exactly once. `balanced` samples N with replacement,
            so that all classes are about equally frequent; an image with several labels counts
            for the rarest of them, an image without labels as a class of its own.
    """
    random = generator(seed, "order", epoch)
    n_images = len(labels)
    if sampler == "shuffle":
        return random.permutation(n_images)
    positive = one_hot(labels, n_classes).astype(bool)
    positive = np.column_stack([positive, ~positive.any(1)])
    rarity = 1 / np.maximum(positive.sum(0), 1)
    weights = (positive * rarity).max(1)
    return random.choice(n_images, n_images, p=weights / weights.sum())
