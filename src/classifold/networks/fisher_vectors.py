"""Fisher vectors of gradients and colors, and a head that scikit-learn fits on them.

Nothing is pretrained, and nothing is trained by epochs: PCA and mixtures of Gaussians are fitted on
patches of the training images, without labels. On few images this may be better than a network from
random weights.

Source: Perronnin, Sánchez and Mensink 2010, "Improving the Fisher kernel for large-scale image
classification"; descriptors as in Sánchez et al. 2013, "Image classification with the Fisher
vector: theory and practice", section 3.1.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from classifold.data.seeding import generator
from classifold.errors import SettingError
from classifold.models.fisher_encoder import FisherEncoder, Sums
from classifold.models.fitted_head import FittedBody
from classifold.models.local_descriptors import (
    CELLS,
    ColorStatistics,
    GradientHistograms,
    LocalDescriptors,
    Window,
)

PATCHES_PER_IMAGE = 100  # of the images that PCA and mixtures are fitted on


def build(
    n_classes: int,
    *,
    image_size: int,
    components: int = 64,
    dimensions: int = 64,
    cells: Sequence[int] = (4, 6, 8),
    octaves: int = 3,
    mirrored: bool = True,
    neighbors: int = 0,
    examples: int = 0,
    task: str = "single",
) -> nn.Module:
    """Build the network; it accepts images of any size from that of the largest patch.

    Args:
        n_classes: number of logits.
        image_size: width and height of images in pixels.
        components: number of Gaussians per mixture; the time and the number of features, which is
            4 * components * (dimensions + 2), grow in proportion.
        dimensions: numbers per patch after PCA, at most 96.
        cells: widths in pixels of the cells of patches. A patch has 4 x 4 cells, and the next patch
            begins one cell further.
        octaves: how often patches of all widths are computed; each time after the first the image
            is half as large.
        mirrored: whether the patches of the mirror image are added.
        neighbors: see `classifold.networks.probe.build`, as for the other arguments.
        examples: as above.
        task: as above.

    Raises:
        ValueError: if an argument is too small or too large, also for the images.
    """
    most = ColorStatistics().n_features
    if octaves < 1 or components < 1 or not 1 <= dimensions <= most or min(cells, default=0) < 1:
        raise ValueError(
            "cells, octaves, components and dimensions must be at least 1, and dimensions at most "
            f"{most}"
        )
    largest = CELLS * max(*cells, min(cells) * 2 ** (octaves - 1))
    if image_size < largest:
        raise ValueError(
            f"the largest patches of these cells and octaves have {largest} pixels, more than the "
            "images"
        )
    return FisherVectors(
        n_classes,
        components=components,
        dimensions=dimensions,
        cells=cells,
        octaves=octaves,
        mirrored=mirrored,
        head={"neighbors": neighbors, "examples": examples, "task": task},
    )


def _without_autocast(device: str) -> AbstractContextManager[object]:
    """Compute in fp32; torch's meta device has no autocast."""
    available = torch.amp.is_autocast_available(device)
    return torch.autocast(device, enabled=False) if available else nullcontext()


class _Patches(NamedTuple):
    """The patches of one size."""

    descriptors: list[Tensor]  # of each kind, (N, n_patches, n_inputs)
    positions: Tensor  # (n_patches, 2): see `FisherEncoder.sums`


class FisherVectors(FittedBody):
    """Descriptors of patches of images, their encoders, and a head."""

    windows: Sequence[Window]
    kinds: Sequence[LocalDescriptors]
    encoders: Sequence[FisherEncoder]

    def __init__(
        self,
        n_classes: int,
        *,
        components: int,
        dimensions: int,
        cells: Sequence[int],
        octaves: int,
        mirrored: bool,
        head: Mapping[str, Any],
    ) -> None:
        super().__init__()
        kinds: list[LocalDescriptors] = [GradientHistograms(), ColorStatistics()]
        encoders = [
            FisherEncoder(kind.n_features, dimensions=dimensions, components=components)
            for kind in kinds
        ]
        self.octaves, self.mirrored = octaves, mirrored
        self.windows = cast(Any, nn.ModuleList(map(Window, cells)))
        self.kinds = cast(Any, nn.ModuleList(kinds))
        self.encoders = cast(Any, nn.ModuleList(encoders))
        self.set_head(sum(encoder.n_features for encoder in encoders), n_classes, **head)

    def extra_repr(self) -> str:
        """State what files of features depend on beside the modules."""
        return f"octaves={self.octaves}, mirrored={self.mirrored}"

    def features(self, images: Tensor) -> Tensor:  # noqa: D102 - as in the base class
        # Sums of many numbers, which bf16 would round to two digits.
        with _without_autocast(images.device.type):
            sums: list[list[Sums]] = [[] for _ in self.encoders]
            images = images.float()
            for view in [images, images.flip(3)] if self.mirrored else [images]:
                for patches in self._patches(view):
                    for encoder, of_kind, descriptors in zip(
                        self.encoders, sums, patches.descriptors, strict=True
                    ):
                        of_kind.append(encoder.sums(descriptors, patches.positions))
            encoded = [encode(of_kind) for encode, of_kind in zip(self.encoders, sums, strict=True)]
            return torch.cat(encoded, dim=1)

    def _patches(self, images: Tensor) -> Iterator[_Patches]:
        """Compute the patches of each size that fit into images (N, 3, H, W)."""
        for octave in range(self.octaves):
            if octave:
                images = F.avg_pool2d(images, 2)
            for window in self.windows:
                height, width = (side // window.cell - CELLS + 1 for side in images.shape[2:])
                if height < 1 or width < 1:
                    continue
                places = [
                    ((torch.arange(n, device=images.device) + 0.5) / n - 0.5) * math.sqrt(12)
                    for n in (height, width)
                ]
                positions = torch.cartesian_prod(*places)
                yield _Patches([kind(images, window) for kind in self.kinds], positions)

    def fit_body(self, batches: Iterable[Tensor], *, seed: int) -> None:
        """Fit the encoders on random patches of images (N, 3, H, W).

        Raises:
            UserError: if there are too few patches.
        """
        random = generator(seed, "patches")
        positions: list[Tensor] = []
        descriptors: list[list[Tensor]] = [[] for _ in self.kinds]
        with torch.inference_mode():
            for images in batches:
                parts = list(self._patches(images.float()))
                all_positions = torch.cat([part.positions for part in parts])
                drawn = [random.permutation(len(all_positions))[:PATCHES_PER_IMAGE] for _ in images]
                rows = torch.from_numpy(np.stack(drawn)).to(images.device)
                positions.append(all_positions[rows].flatten(0, 1))
                for number, chosen in enumerate(descriptors):
                    found = torch.cat([part.descriptors[number] for part in parts], dim=1)
                    chosen.append(found.take_along_dim(rows.unsqueeze(2), 1).flatten(0, 1))
        n_patches = sum(map(len, positions))
        for encoder, chosen in zip(self.encoders, descriptors, strict=True):
            needed = max(2, len(encoder.weights), encoder.projection.shape[1])
            if n_patches < needed:
                raise SettingError(
                    f"arguments: the training images must have {needed:,} patches, got "
                    f"{n_patches:,}. Lower components and dimensions, or add images."
                )
            of_kind, places = (torch.cat(parts).cpu().numpy() for parts in (chosen, positions))
            encoder.fit(of_kind, places, seed=seed)
