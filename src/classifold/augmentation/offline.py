"""Offline augmentation: flips and randomly warped variants of each training image.

Source: report 002, section 3.1: the original and its horizontal, vertical and double flip, each
also once at a random scale and rotation. Only training images are augmented, after the split.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
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
from classifold.data.deep_ranges import NO_RANGES, Ranges
from classifold.data.pack import encode_jpeg, new_pack
from classifold.data.pixels import rgb_pixels
from classifold.data.seeding import generator
from classifold.runtime.parallel import ordered_map
from classifold.runtime.progress import track


class Variant(NamedTuple):
    """One variant of an image; the first one is the original."""

    pixels: np.ndarray  # uint8 (size, size, 3)
    transformation: str  # such as "flip horizontal, rotate -3.2, scale 0.91"; "none"


def n_variants(*, flips: Sequence[str], warped: int) -> int:
    """Count the variants of each image, with the original."""
    return len(flips) * (1 + warped)


def make_variants(
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
) -> list[Variant]:
    """Make all variants of an image: the original first.

    Random numbers depend only on `seed` and the image.

    Args:
        pixels: uint8 array (size, size, 3).
        image_id: id of the image.
        flips: names of flips, `none` first.
        warped: number of warped variants of each flip.
        rotate: largest angle in degrees, in both directions.
        scale: smallest and largest factor.
        shear: largest shear in degrees, in both directions.
        shift: largest shift along x and y, as fractions of the size.
        fill: how the border is filled.
        seed: seed of the random numbers.
    """
    size = len(pixels)
    flipped = [flip(pixels, name) for name in flips]
    # One row per warped variant: degrees, factor, shear, fractions to the right and down.
    draws = generator(seed, image_id).uniform(
        (-rotate, scale[0], -shear, -shift[0], -shift[1]),
        (rotate, scale[1], shear, shift[0], shift[1]),
        (len(flips) * warped, 5),
    )
    degrees, factor, slant, right, down = draws.T
    # From result to source: shear, scale and rotation about the center, then the shift.
    matrices = (
        shifts(right * size, down * size)
        @ rotations(degrees)
        @ scalings(factor, factor)
        @ shears(slant)
    )
    sources = [picture for picture in flipped for _ in range(warped)]
    pictures = iter(warp_arrays(sources, matrices, size=size, fill=fill))
    numbers = iter(draws.tolist())
    variants = []
    for name, picture in zip(flips, flipped, strict=True):
        steps = [] if name == "none" else [f"flip {name}"]
        variants.append(Variant(picture, ", ".join(steps) or "none"))
        for _ in range(warped):
            degrees, factor, slant, *fractions = next(numbers)
            warp = [*steps, f"rotate {degrees:.2f}", f"scale {factor:.3f}"]
            if shear:
                warp.append(f"shear {slant:.2f}")
            if any(shift):
                warp.append("shift {:.3f} {:.3f}".format(*fractions))
            variants.append(Variant(next(pictures), ", ".join(warp)))
    return variants


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
    ranges: Ranges = NO_RANGES,
    groups: Mapping[str, str] = MappingProxyType({}),
    **augmentation: object,
) -> None:
    """Write the pack `train` (with all variants) and those of other splits (only resized).

    Args:
        images: split -> (id, encoded image), in the order of the pack.
        labels: split -> id -> its classes.
        folder: receives one folder per pack.
        task: `single` or `multi`.
        size: width and height of the images in the packs.
        resize: the filter for it.
        storage: storage of the training pack, `raw` or `jpeg`; images of other splits are stored
            raw, since JPEG would change them.
        seed: seed of the random numbers.
        ranges: ranges of deep images, as they were converted; the packs store them.
        groups: id -> group; the packs store them.
        augmentation: the other arguments of `make_variants`.
    """
    of_images = (names for split in labels.values() for names in split.values())
    classes = sorted({name for names in of_images for name in names})
    only_resized = augmentation | {"flips": ["none"], "warped": 0}
    for split in labels:
        is_train = split == "train"
        kept_as, settings = (storage, augmentation) if is_train else ("raw", only_resized)
        variants = n_variants(flips=settings["flips"], warped=settings["warped"])  # type: ignore[arg-type]
        n_sources = len(labels[split])
        with new_pack(
            folder / split,
            n_images=n_sources * variants,
            size=size,
            resize=resize,
            classes=classes,
            task=task,
            storage=kept_as,
            ranges=ranges,
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
                n_bytes=lambda image, variants=variants: len(image[1]) + variants * size**2 * 3,  # type: ignore[misc]
                local="threads",
            )
            tracked = track(augmented, task=f"augment {split}", total=n_sources, unit="images")
            for row, made in enumerate(tracked):
                pack.put(row * variants, made.pictures)
                for number, transformation in enumerate(made.transformations):
                    pack.describe(
                        image_id=made.image_id,
                        variant=number,
                        transformation=transformation,
                        labels=labels[split][made.image_id],
                        group=groups.get(made.image_id),
                    )


class _Augmented(NamedTuple):
    """All variants of an image, as the pack stores them."""

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
    """Make all variants of an image, in a thread or on another computer."""
    cv2.setNumThreads(1)  # all cores are in use already
    image_id, encoded = image
    pixels = rgb_pixels(encoded, size=size, resize=resize)
    variants = make_variants(pixels, image_id=image_id, seed=seed, **settings)  # type: ignore[arg-type]
    pictures = [variant.pixels for variant in variants]
    return _Augmented(
        image_id,
        [encode_jpeg(picture) for picture in pictures] if storage == "jpeg" else pictures,
        [variant.transformation for variant in variants],
    )
