"""Read the images of a source into the image table."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from classifold.data.csv_file import write_rows
from classifold.data.deep_ranges import ANY, RANGES_FILE, Ranges
from classifold.data.image_table import UNLABELED, write_table
from classifold.data.json_file import write_json
from classifold.ingest.deep_fit import set_by_hand
from classifold.ingest.deep_image import Measure
from classifold.ingest.deep_summary import DeepSummary
from classifold.ingest.entries import NotRead
from classifold.ingest.images import (
    CONVERSION_NAMES,
    Decoded,
    Rgb,
    decode,
    decode_or_measure,
    decode_rgb,
)
from classifold.ingest.layout import Source, SourceImage
from classifold.ingest.limits import UnreadableImageError
from classifold.ingest.tree import Tree
from classifold.ingest.unreadable import check_readable, write_list
from classifold.runtime.parallel import ordered_map
from classifold.runtime.progress import track, warn

Outcome = TypeVar("Outcome")

CRASHED = "it ended the process that decoded it (a bug in the decoder?)"


class Read(NamedTuple):
    """The bytes of one file, or the reason why it could not be read."""

    content: bytes
    failure: str | None


def ingest(
    tree: Tree,
    source: Source,
    folder: Path,
    *,
    background: Sequence[int],
    max_unreadable: Mapping[str, Any],
    range: Literal["auto"] | Sequence[float] = "auto",
) -> dict[str, Any]:
    """Decode the images; write the image table, the classes, and what could not be read.

    Writes into `folder`: `images-*.parquet`; `classes.json` (names in their order);
    `unreadable.csv`, `ignored.csv` (files that are no images) and `labels_without_image.csv`, each
    with id and reason; `conversions.csv` (kind, n_images; for the plot); and `ranges.json` (of deep
    images). Deep images (more than 8 bits per channel) are read twice, first to find the
    range of their values, and come last in the table.

    Args:
        tree: where the files are.
        source: what to read, in the order of the table.
        folder: an existing folder to write into.
        background: red, green, blue in [0, 255], behind transparent pixels.
        max_unreadable: `fraction` and `count` of files that cannot be read; the larger of the
            two is tolerated.
        range: the values of deep images that become black and white; `auto`: as `fit_ranges` finds.

    Returns:
        The counts of `metrics/ingest.json`.

    Raises:
        UserError: if no image, no image of a class, or too few images can be read; see
            `check_readable`.
    """
    images = source.images
    unreadable = [*tree.refused]
    counts = _Counts()
    deep = DeepSummary({} if range == "auto" else {ANY: set_by_hand(*range)})
    measured: list[tuple[SourceImage, Measure]] = []

    def decoded(
        images: Sequence[SourceImage], function: Callable[[Read], Decoded | Measure | str]
    ) -> Iterator[tuple[SourceImage, Decoded]]:
        outcomes = ordered_map(
            function,
            (read_image(tree.read, image.id) for image in images),
            n_items=len(images),
            n_bytes=lambda read: len(read.content),
            on_crash=lambda _: CRASHED,
        )
        outcomes = track(outcomes, task="read", total=len(images), unit="images")
        for image, outcome in zip(images, outcomes, strict=True):
            if isinstance(outcome, str):
                unreadable.append(NotRead(image.id, sys.intern(outcome)))
                counts.unreadable_per_class.update(image.labels)
            elif isinstance(outcome, Measure):
                measured.append((image, outcome))
            else:
                yield image, outcome

    def passes() -> Iterator[tuple[SourceImage, Decoded]]:
        over = tuple(background)
        if deep.fitted:
            yield from decoded(images, partial(decode_read, background=over, ranges=deep.ranges()))
            return
        yield from decoded(images, partial(decode_or_measure_read, background=over))
        if measured:
            deep.fit((image.split, measure) for image, measure in measured)
            second = partial(decode_read, background=over, ranges=deep.ranges())
            yield from decoded([image for image, _ in measured], second)

    def rows() -> Iterator[dict[str, Any]]:
        for image, outcome in passes():
            counts.add(image, outcome)
            deep.add(image.id, outcome.deep)
            yield _row(image, outcome)

    n_images = write_table(folder, rows())
    classes = sorted({label for image in images for label in image.labels})
    check_readable(
        unreadable,
        images_per_class={name: counts.per_class[name] for name in classes},
        n_images=n_images,
        max_unreadable=max_unreadable,
    )
    write_json(folder / "classes.json", classes)
    write_list(folder / "unreadable.csv", unreadable)
    write_list(folder / "ignored.csv", source.ignored)
    write_list(folder / "labels_without_image.csv", source.missing)
    write_rows(
        folder / "conversions.csv",
        ({"kind": kind, "n_images": count} for kind, count in counts.kinds(n_images)),
        columns=["kind", "n_images"],
        plotted=True,
    )
    write_json(folder / RANGES_FILE, deep.describe())
    for warning in deep.warnings():
        warn([warning])
    return {
        "n_files": len(tree.names()) + len(tree.refused),
        "n_images": n_images,
        "n_unreadable": len(unreadable),
        "n_ignored": len(source.ignored),
        "n_labels_without_image": len(source.missing),
        "n_unlabelled": counts.per_split[UNLABELED],
        "n_converted_to_rgb": counts.converted.total(),
        "converted": {name: counts.converted[name] for name in CONVERSION_NAMES},
        "n_turned_upright": counts.n_turned,
        "n_animated": counts.n_animated,
        "n_classes": len(classes),
        "images_per_class": {name: counts.per_class[name] for name in classes},
        "unreadable_per_class": {name: counts.unreadable_per_class[name] for name in classes},
        "images_per_split": {str(split): counts.per_split[split] for split in counts.splits()},
    }


class _Counts:
    """Counts of decoded images, and of unreadable ones per class."""

    def __init__(self) -> None:
        self.converted: Counter[str] = Counter()
        self.per_class: Counter[str] = Counter()
        self.unreadable_per_class: Counter[str] = Counter()
        self.per_split: Counter[str | None] = Counter()
        self.n_turned = 0
        self.n_animated = 0

    def add(self, image: SourceImage, decoded: Decoded) -> None:
        self.n_turned += decoded.turned
        self.n_animated += decoded.animated
        self.per_class.update(image.labels)
        self.per_split[image.split] += 1
        if decoded.conversion:
            self.converted[decoded.conversion] += 1

    def splits(self) -> list[str]:
        return sorted(split for split in self.per_split if split is not None)

    def kinds(self, n_images: int) -> list[tuple[str, int]]:
        """Count the images per conversion, for the plot; an image may be in two rows."""
        untouched = n_images - self.converted.total()
        done: list[tuple[str, int]] = [(name, self.converted[name]) for name in CONVERSION_NAMES]
        done += [("turned upright", self.n_turned), ("animated", self.n_animated)]
        return [("8-bit RGB", untouched), *((name, count) for name, count in done if count)]


def read_image(read: Callable[[str], bytes], name: str) -> Read:
    """Read one file with a function that may raise an OSError, such as a tree's `read`."""
    try:
        return Read(read(name), failure=None)
    except OSError as error:
        return Read(b"", failure=str(error))


def decode_read(read: Read, *, background: Sequence[int], ranges: Ranges) -> Decoded | str:
    """Decode in a worker process: the image, or the reason why it is unreadable."""
    return _explain(read, partial(decode, background=background, ranges=ranges))


def decode_rgb_read(read: Read, *, background: Sequence[int], ranges: Ranges | None) -> Rgb | str:
    """Decode in a worker process without storing: the image, or why it is unreadable."""
    return _explain(read, partial(decode_rgb, background=background, ranges=ranges))


def decode_or_measure_read(read: Read, *, background: Sequence[int]) -> Decoded | Measure | str:
    """Decode in a worker process, or measure a deep image, or return the reason for neither."""
    return _explain(read, partial(decode_or_measure, background=background))


def _explain(read: Read, function: Callable[[bytes], Outcome]) -> Outcome | str:
    if read.failure is not None:
        return read.failure
    try:
        return function(read.content)
    except UnreadableImageError as error:
        return str(error)


def _row(image: SourceImage, decoded: Decoded) -> dict[str, Any]:
    return {
        "id": image.id,
        "image": {"bytes": decoded.encoded, "path": image.id},
        "labels": image.labels,
        "split": image.split,
        "group": image.group,
        "boxes": image.boxes and [dict(zip(SIDES, box, strict=True)) for box in image.boxes],
        "width": decoded.width,
        "height": decoded.height,
        "mode": decoded.mode,
        "sha256": decoded.pixels_sha256,
        "perceptual_hash": decoded.perceptual_hash,
    }


SIDES = ("x0", "y0", "x1", "y1")
