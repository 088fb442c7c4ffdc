"""Eightfold augmentation before training: each flip, and warped copies of each flip.

Source: report 002, section 3.1: the original and its horizontal, vertical and double flip, each
also once at a random scale and rotation. Only training images are augmented, after the split.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from classifold.augmentation.online.warp import (
    flip,
    rotations,
    scalings,
    shears,
    shifts,
    warp_arrays,
)
from classifold.data.pack import encode_jpeg, new_pack
from classifold.data.pixels import rgb_pixels
from classifold.data.seeding import generator
from classifold.runtime.parallel import ordered_map
from classifold.runtime.progress import track


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
    shear: float,
    shift: Sequence[float],
    fill: str,
    seed: int,
) -> list[AugmentedCopy]:
    """Make all copies of an image: the original first.

    What is drawn depends on `seed` and the image alone.

    Args:
        pixels: uint8 array (size, size, 3).
        image_id: of the image.
        flips: names of flips, `none` first.
        warped: warped copies of each flip.
        rotate: largest angle in degrees, to either side.
        scale: smallest and largest factor.
        shear: largest slant in degrees, to either side.
        shift: largest shift to the side and up or down, as shares of the size.
        fill: how the border is filled.
        seed: of the draws.
    """
    size = len(pixels)
    flipped = [flip(pixels, name) for name in flips]
    # One row a warped copy: degrees, factor, slant, shares to the right and down.
    draws = generator(seed, image_id).uniform(
        (-rotate, scale[0], -shear, -shift[0], -shift[1]),
        (rotate, scale[1], shear, shift[0], shift[1]),
        (len(flips) * warped, 5),
    )
    degrees, factor, slant, right, down = draws.T
    # Backwards: the picture is slanted, scaled and turned about its centre, then moved.
    matrices = (
        shifts(right * size, down * size)
        @ rotations(degrees)
        @ scalings(factor, factor)
        @ shears(slant)
    )
    sources = [picture for picture in flipped for _ in range(warped)]
    pictures = iter(warp_arrays(sources, matrices, size=size, fill=fill))
    numbers = iter(draws.tolist())
    copies = []
    for name, picture in zip(flips, flipped, strict=True):
        words = [] if name == "none" else [f"flip {name}"]
        copies.append(AugmentedCopy(picture, ", ".join(words) or "none"))
        for _ in range(warped):
            degrees, factor, slant, *shares = next(numbers)
            told = [*words, f"rotate {degrees:.2f}", f"scale {factor:.3f}"]
            if shear:
                told.append(f"shear {slant:.2f}")
            if any(shift):
                told.append("shift {:.3f} {:.3f}".format(*shares))
            copies.append(AugmentedCopy(next(pictures), ", ".join(told)))
    return copies


def write_packs(
    images: Mapping[str, Iterable[tuple[str, bytes]]],
    labels: Mapping[str, Mapping[str, Sequence[str]]],
    folder: Path,
    *,
    task: str,
    size: int,
    resize: str,
    storage: str,
    seed: int,
    **augmentation: object,
) -> None:
    """Write the packs `train` (with all copies) and `validation` (untouched but resized).

    Args:
        images: part -> (id, encoded image), in the order of the pack.
        labels: part -> id -> its classes.
        folder: where the packs go, a folder each.
        task: `single` or `multi`.
        size: width and height of the images in the packs.
        resize: the filter for it.
        storage: of the training pack, `raw` or `jpeg`; validation images are stored raw, since
            JPEG would change them.
        seed: of the draws.
        augmentation: the other arguments of `make_copies`.
    """
    bears = (names for split in labels.values() for names in split.values())
    classes = sorted({name for names in bears for name in names})
    untouched = augmentation | {"flips": ["none"], "warped": 0}
    for split, kept_as, settings in (
        ("train", storage, augmentation),
        ("validation", "raw", untouched),
    ):
        copies = n_copies(flips=settings["flips"], warped=settings["warped"])  # type: ignore[arg-type]
        n_sources = len(labels[split])
        with new_pack(
            folder / split,
            n_images=n_sources * copies,
            size=size,
            resize=resize,
            classes=classes,
            task=task,
            storage=kept_as,
        ) as pack:
            augmented = ordered_map(
                partial(
                    _augment,
                    size=size,
                    resize=resize,
                    storage=kept_as,
                    seed=seed,
                    settings=settings,
                ),
                images[split],
                n_items=n_sources,
                n_bytes=lambda image, copies=copies: len(image[1]) + copies * size**2 * 3,  # type: ignore[misc]
                locally="threads",
            )
            tracked = track(augmented, task=f"augment {split}", total=n_sources, unit="images")
            for row, made in enumerate(tracked):
                pack.put(row * copies, made.pictures)
                for number, transformation in enumerate(made.transformations):
                    pack.describe(
                        image_id=made.image_id,
                        variant=number,
                        transformation=transformation,
                        labels=labels[split][made.image_id],
                    )


class _Augmented(NamedTuple):
    """All copies of an image, as the pack keeps them."""

    image_id: str
    pictures: Sequence[np.ndarray | bytes]
    transformations: list[str]


def _augment(
    image: tuple[str, bytes],
    *,
    size: int,
    resize: str,
    storage: str,
    seed: int,
    settings: Mapping[str, object],
) -> _Augmented:
    """Runs in threads, or elsewhere: all copies of an image."""
    cv2.setNumThreads(1)  # all cores are in use already
    image_id, encoded = image
    pixels = rgb_pixels(encoded, size=size, resize=resize)
    copies = make_copies(pixels, image_id=image_id, seed=seed, **settings)  # type: ignore[arg-type]
    pictures = [copy.pixels for copy in copies]
    return _Augmented(
        image_id,
        [encode_jpeg(picture) for picture in pictures] if storage == "jpeg" else pictures,
        [copy.transformation for copy in copies],
    )
