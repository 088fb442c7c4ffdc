"""Look at the images of a new project: layout, labels, sizes, formats, duplicates."""

import tempfile
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from classifold.data.image_table import UNLABELED
from classifold.errors import UserError
from classifold.filtering.duplicates import equal_groups, near_groups
from classifold.ingest.detection import open_source
from classifold.ingest.entries import NotRead
from classifold.ingest.folder_pattern import AUTO
from classifold.ingest.images import WHITE, Conversion, Hashes, hash_pixels
from classifold.ingest.ingestion import CRASHED, Read, decode_rgb_read, read_image
from classifold.ingest.layout import Source
from classifold.ingest.tree import Tree
from classifold.ingest.unreadable import Failure, find_failure, format_reasons
from classifold.params.reader import PARAMS_FILE, read_mapping
from classifold.project.repository import REPOSITORY
from classifold.runtime.parallel import ordered_map
from classifold.runtime.progress import track

SAMPLE = 1000  # images that are decoded
NEAR = 4  # bits in which the perceptual hashes of near duplicates differ, at most
SEED = 1


class Sample(NamedTuple):
    """What decoding a sample of the images showed."""

    n_images: int  # of the sample
    unreadable: list[NotRead]
    sizes: Counter[tuple[int, int]]  # width and height, upright
    conversions: Counter[str]  # how images became 8-bit RGB: grayscale, alpha, deep …
    n_turned: int  # turned or mirrored, as EXIF requires
    n_exact: int  # images in groups of exact duplicates
    n_near: int  # images in groups of exact or near duplicates
    largest_group: int  # images in the largest group of near duplicates

    @property
    def median_side(self) -> int:
        """The median of the shorter side, in pixels."""
        sides = sorted(min(size) for size in self.sizes.elements())
        return sides[len(sides) // 2]

    @property
    def modal_size(self) -> tuple[tuple[int, int], float]:
        """The most frequent size, and the fraction of images that have it."""
        ((size, count),) = self.sizes.most_common(1)
        return size, count / self.sizes.total()


class _Look(NamedTuple):
    """What is counted of a decoded image."""

    size: tuple[int, int]  # width and height, upright
    conversion: Conversion | None
    turned: bool
    hashes: Hashes


class Findings(NamedTuple):
    """What is known about the images before any stage runs."""

    layout: str
    folders: str
    task: str  # single or multi
    images_per_class: dict[str, int]  # by name
    labels_per_image: Counter[int]  # of labeled images
    images_per_split: Counter[str | None]  # official splits; None: to be split
    n_unlabeled: int
    remarks: list[str]
    sample: Sample
    failure: Failure | None  # why `ingest` would stop: too few images can be read

    @property
    def n_labeled(self) -> int:
        """The number of labeled images."""
        return self.labels_per_image.total()


def find(path: Path, *, folders: str = AUTO) -> Findings:
    """Look at the images at a path: all names and labels, and the pixels of a sample.

    The task is `multi` if an image has several labels, and otherwise `single`.

    Args:
        path: a folder or an archive.
        folders: what the folders of each level are, as `dataset.folders`.

    Raises:
        UserError: if there are no images, the layout is not certain, or no image can be read.
    """
    with tempfile.TemporaryDirectory() as scratch:
        opened = partial(
            open_source, str(path), layout=AUTO, folders=folders, scratch=Path(scratch)
        )
        with opened(task="multi") as (tree, source):
            if any(len(image.labels) > 1 for image in source.images):
                return _find(tree, source, folders=folders, task="multi")
        with opened(task="single") as (tree, source):
            return _find(tree, source, folders=folders, task="single")


def describe(findings: Findings) -> Iterator[str]:
    """Describe what was found, a line per subject."""
    sample = findings.sample
    yield f"layout {findings.layout}, {findings.images_per_split.total():,} images"
    yield from findings.remarks
    labels = ", ".join(
        f"{n} labels {count:,}" if n != 1 else f"1 label {count:,}"
        for n, count in sorted(findings.labels_per_image.items())
    )
    yield f"labels per image: {labels}; {findings.n_unlabeled:,} images are unlabeled"
    is_part = sample.n_images < findings.images_per_split.total()
    yield (
        f"{sample.n_images:,} images were decoded, a sample:"
        if is_part
        else "all images were decoded:"
    )
    sizes = [
        f"{width} x {height} ({count:,})" for (width, height), count in sample.sizes.most_common(3)
    ]
    more = len(sample.sizes) - len(sizes)
    yield f"  sizes: {', '.join(sizes)}" + (f" and {more:,} other sizes" if more > 0 else "")
    converted = [f"{name} {count:,}" for name, count in sample.conversions.most_common()]
    yield f"  not 8-bit RGB, to be converted: {', '.join(converted) or 'none'}"
    if sample.n_turned:
        yield f"  turned upright, as EXIF requires: {sample.n_turned:,}"
    yield f"  unreadable: {len(sample.unreadable):,}" + (
        f", such as {sample.unreadable[0].id!r} ({sample.unreadable[0].reason})"
        if sample.unreadable
        else ""
    )
    yield (
        f"  exact duplicates: {sample.n_exact:,} images; with near duplicates: {sample.n_near:,} "
        "images" + ("; in all images there may be more" if is_part else "")
    )


def _find(tree: Tree, source: Source, *, folders: str, task: str) -> Findings:
    labeled = [
        image
        for image in source.images
        if image.labels or (task == "multi" and image.split != UNLABELED)
    ]
    per_class = Counter(label for image in source.images for label in image.labels)
    decoded, unreadable = _decode_sample(tree, source)
    labels = {image.id: image.labels for image in source.images}
    lost = Counter(label for item in unreadable for label in labels[item.id])
    # Of a sample, these are the most images that can be readable.
    failure = find_failure(
        [*tree.refused, *unreadable],
        images_per_class={name: count - lost[name] for name, count in per_class.items()},
        n_images=len(source.images) - len(unreadable),
        max_unreadable=read_mapping(REPOSITORY / PARAMS_FILE)["ingest"]["max_unreadable"],
    )
    if not decoded:
        raise UserError(
            f"dataset.path: no image can be read: {format_reasons(unreadable)}. Fix the files."
        )
    return Findings(
        layout=source.layout,
        folders=folders,
        task=task,
        images_per_class=dict(sorted(per_class.items())),
        labels_per_image=Counter(len(image.labels) for image in labeled),
        images_per_split=Counter(image.split for image in source.images),
        n_unlabeled=len(source.images) - len(labeled),
        remarks=source.remarks,
        sample=_summarize(decoded, unreadable),
        failure=failure,
    )


def _decode_sample(tree: Tree, source: Source) -> tuple[list[_Look], list[NotRead]]:
    """Decode pairs of images whose names follow one another: duplicates often do."""
    names = [image.id for image in source.images]
    if len(names) > SAMPLE:
        first = np.random.default_rng(SEED).choice(len(names) // 2, SAMPLE // 2, replace=False)
        names = [names[2 * pair + i] for pair in sorted(first) for i in (0, 1)]
    outcomes = ordered_map(
        _decode,
        (read_image(tree.read, name) for name in names),
        n_items=len(names),
        n_bytes=lambda read: len(read.content),
        on_crash=lambda _: CRASHED,
    )
    outcomes = track(outcomes, task="look at images", total=len(names), unit="images")
    decoded: list[_Look] = []
    unreadable = []
    for name, outcome in zip(names, outcomes, strict=True):
        if isinstance(outcome, str):
            unreadable.append(NotRead(name, outcome))
        else:
            decoded.append(outcome)
    return decoded, unreadable


def _summarize(decoded: list[_Look], unreadable: list[NotRead]) -> Sample:
    exact = equal_groups([image.hashes.pixels_sha256 for image in decoded])
    near = near_groups([image.hashes.perceptual_hash for image in decoded], distance=NEAR)
    return Sample(
        n_images=len(decoded) + len(unreadable),
        unreadable=unreadable,
        sizes=Counter(image.size for image in decoded),
        conversions=Counter(image.conversion for image in decoded if image.conversion),
        n_turned=sum(image.turned for image in decoded),
        n_exact=sum(map(len, exact)),
        n_near=sum(map(len, near)),
        largest_group=max(map(len, near), default=0),
    )


def _decode(read: Read) -> _Look | str:
    """Decode in a worker process: what is counted of the image, or why it is unreadable."""
    rgb = decode_rgb_read(read, background=WHITE, ranges=None)
    if isinstance(rgb, str):
        return rgb
    return _Look(rgb.image.size, rgb.conversion, rgb.turned, hash_pixels(rgb.image))
