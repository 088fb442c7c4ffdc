"""Read the training images, and augment them."""

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from classifold.augmentation.online.batches import augment_rows
from classifold.augmentation.online.plan import Plan
from classifold.augmentation.online.policy import draw_plan, moves_pixels
from classifold.augmentation.online.tensors import augment_tensors, mix_tensors
from classifold.data.pack import Pack
from classifold.models.preprocessing import Normalize, normalized, to_input

# Of a device's free memory, for the training images; the network needs the rest.
MAX_FRACTION_OF_MEMORY = 0.4

# Copied to a device at once.
IMAGES_PER_TRANSFER = 1024


class Read(NamedTuple):
    """A batch before the part of the work that is done on the device."""

    rows: np.ndarray
    images: np.ndarray | None  # None: they are stored on the device
    partners: np.ndarray | None  # images to mix with on the device
    plan: Plan
    plan_of_partners: Plan | None


class TrainingImages:
    """The training images, and how they are read and augmented.

    On the CPU images stay in the memory-mapped file, and OpenCV augments them, one by one,
    outside of torch's threads. On another device all images are stored in its memory, if they
    fit, and are augmented there in batches; if they do not fit, they are read ahead while the
    device computes. From the file only the requested images are read.
    """

    def __init__(
        self, pack: Pack, *, policy: Mapping[str, Any], image_size: int, device: torch.device
    ) -> None:
        """Load the images onto the device, if they fit.

        Args:
            pack: the training images.
            policy: `steps`, and how borders are filled.
            image_size: largest width and height of training images, in pixels.
            device: device of the network.
        """
        self.pack = pack
        self.steps, self.fill = policy["steps"], policy["fill"]
        self.policy = policy
        self.device = device
        # Enlarging is part of the warp; shrinking needs an antialiasing filter, so it comes later.
        self.size = max(image_size, pack.size) if moves_pixels(self.steps) else pack.size
        self.on_device = device.type != "cpu" and not any("jpeg" in step for step in self.steps)
        self.stored: Tensor | None = None
        if self.on_device and fits(pack.images.nbytes, device):
            self.stored = torch.empty(pack.images.shape, dtype=torch.uint8, device=device)
            for start in range(0, len(pack.images), IMAGES_PER_TRANSFER):
                chunk = slice(start, start + IMAGES_PER_TRANSFER)
                self.stored[chunk] = torch.from_numpy(np.array(pack.images[chunk]))
        self.reads_ahead = device.type != "cpu" and self.stored is None

    def read(self, rows: np.ndarray, slots: np.ndarray, draws: np.ndarray) -> Read:
        """Read the images of `rows`, and augment those that are not augmented on the device.

        Args:
            rows: rows of the pack.
            slots: the row of `draws` for each image: its own, unless it is sampled twice.
            draws: random numbers of the epoch, one row per image of the pack.
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

    def inputs(self, read: Read, *, image_size: int, normalize: Normalize) -> Tensor:
        """Make the network's input: augmented on the device, mixed with partners, normalized.

        Args:
            read: by `read`.
            image_size: width and height of training images, in pixels.
            normalize: normalization that the network expects.
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


def fits(n_bytes: int, device: torch.device) -> bool:
    """Return whether a GPU can hold all training images, of `n_bytes`; False for other devices."""
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return n_bytes <= MAX_FRACTION_OF_MEMORY * free
