"""Eightfold augmentation before training: each flip, and warped copies of each flip.

Source: report 002, section 3.1: the original and its horizontal, vertical and double flip, each
also once at a random scale and rotation. Only training images are augmented, after the split.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from classifold.augmentation.warp import flip, warp
from classifold.pack import new_pack
from classifold.parallel import ordered_map
from classifold.pixels import rgb_pixels
from classifold.progress import track
from classifold.seeding import generator


class AugmentedCopy(NamedTuple):
    """One copy of an image, the untouched original among them."""

    pixels: np.ndarray  # uint8 (size, size, 3)
    transformation: str  # such as "flip horizontal, rotate -3.2, scale 0.91"; "none"


def n_copies(*, flips: Sequence[str], warped: int) -> int:
    """How many images become of one."""
    return len(flips) * (1 + warped)


def make_copies(
    pixels: np.ndarray,
    *,
    image_id: str,
    flips: Sequence[str],
    warped: int,
    rotate: float,
    scale: Sequence[float],
    fill: str,
    seed: int,
) -> list[AugmentedCopy]:
    """Make all copies of an image: the original first.

    What is drawn depends on `seed`, the image and the copy alone.

    Args:
        pixels: uint8 array (size, size, 3).
        image_id: of the image.
        flips: names of flips, `none` first.
        warped: rotated and scaled copies of each flip.
        rotate: largest angle in degrees, to either side.
        scale: smallest and largest factor.
        fill: how the border is filled.
        seed: of the draws.
    """
    copies = []
    for name in flips:
        flipped = flip(pixels, name)
        words = [] if name == "none" else [f"flip {name}"]
        copies.append(AugmentedCopy(flipped, ", ".join(words) or "none"))
        for i in range(warped):
            draw = generator(seed, image_id, name, i)
            degrees, factor = draw.uniform(-rotate, rotate), draw.uniform(scale[0], scale[1])
            copies.append(
                AugmentedCopy(
                    warp(flipped, degrees=degrees, scale=factor, fill=fill),
                    ", ".join([*words, f"rotate {degrees:.2f}", f"scale {factor:.3f}"]),
                )
            )
    return copies


def write_packs(
    images: Mapping[str, Iterable[tuple[str, bytes]]],
    labels: Mapping[str, Mapping[str, str]],
    folder: Path,
    *,
    size: int,
    resize: str,
    seed: int,
    **augmentation: object,
) -> None:
    """Write the packs `train` (with all copies) and `validation` (untouched but resized).

    Args:
        images: part -> (id, encoded image), in the order of the pack.
        labels: part -> id -> class.
        folder: where the packs go, a folder each.
        size: width and height of the images in the packs.
        resize: the filter for it.
        seed: of the draws.
        augmentation: `flips`, `warped`, `rotate`, `scale` and `fill` of `make_copies`.
    """
    classes = sorted({label for part in labels.values() for label in part.values()})
    untouched = augmentation | {"flips": ["none"], "warped": 0}
    for part, settings in (("train", augmentation), ("validation", untouched)):
        copies = n_copies(flips=settings["flips"], warped=settings["warped"])  # type: ignore[arg-type]
        make = partial(_augment, size=size, resize=resize, seed=seed, settings=settings)
        n_sources = len(labels[part])
        augmented: Iterator[tuple[str, list[AugmentedCopy]]] = ordered_map(
            make, images[part], n_items=n_sources
        )
        augmented = track(augmented, task=f"augment {part}", total=n_sources, unit="images")
        with new_pack(
            folder / part, n_images=n_sources * copies, size=size, resize=resize, classes=classes
        ) as pack:
            for image_id, versions in augmented:
                for number, version in enumerate(versions):
                    pack.add(
                        version.pixels,
                        image_id=image_id,
                        copy=number,
                        transformation=version.transformation,
                        label=labels[part][image_id],
                    )


def _augment(
    image: tuple[str, bytes], *, size: int, resize: str, seed: int, settings: Mapping[str, object]
) -> tuple[str, list[AugmentedCopy]]:
    """Runs in other processes."""
    cv2.setNumThreads(1)  # one process a core already
    image_id, encoded = image
    pixels = rgb_pixels(encoded, size=size, resize=resize)
    return image_id, make_copies(pixels, image_id=image_id, seed=seed, **settings)  # type: ignore[arg-type]
