"""Read the images of a source into the image table."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from classifold.data.csv_file import write_rows
from classifold.data.image_table import UNLABELLED, write_table
from classifold.data.json_file import write_json
from classifold.errors import UserError
from classifold.ingest.entries import NotRead
from classifold.ingest.images import CONVERSION_NAMES, Decoded, UnreadableImageError, decode
from classifold.ingest.layout import Source, SourceImage
from classifold.ingest.tree import Tree
from classifold.runtime.parallel import ordered_map
from classifold.runtime.progress import track

REASONS_SHOWN = 5

CRASHED = "it ended the process that decoded it (a fault of the decoder?)"


class Read(NamedTuple):
    """The bytes of one file, or why they could not be had."""

    content: bytes
    failure: str | None


def ingest(
    tree: Tree,
    source: Source,
    folder: Path,
    *,
    background: Sequence[int],
    max_unreadable: float,
) -> dict[str, Any]:
    """Decode every image once, and write the image table, the classes and the failures.

    Leaves `images-*.parquet`, `classes.json` (names in their order), `unreadable.csv` (id,
    reason) and `conversions.csv` (kind, n_images; for the plot) in `folder`.

    Args:
        tree: where the files are.
        source: what to read, in the order of the table.
        folder: an existing folder to write into.
        background: red, green, blue in [0, 255], of what shows through transparent pixels.
        max_unreadable: the largest share in [0, 1] of what could not be read.

    Returns:
        The counts of `metrics/ingest.json`.

    Raises:
        UserError: if no image, or none of a class, or too few can be read.
    """
    images = source.images
    unreadable = [*tree.refused, *source.missing]
    counts = _Counts()

    def rows() -> Iterator[dict[str, Any]]:
        reads = (read_image(tree.read, image.id) for image in images)
        outcomes = ordered_map(
            partial(decode_read, background=tuple(background)),
            reads,
            n_items=len(images),
            n_bytes=lambda read: len(read.content),
            crashed=lambda _: CRASHED,
        )
        outcomes = track(outcomes, task="read", total=len(images), unit="images")
        for image, outcome in zip(images, outcomes, strict=True):
            if isinstance(outcome, str):
                unreadable.append(NotRead(image.id, sys.intern(outcome)))
                continue
            counts.add(image, outcome)
            yield _row(image, outcome)

    n_images = write_table(folder, rows())
    _check_readable(unreadable, n_images, most=max_unreadable)
    classes = sorted({label for image in images for label in image.labels})
    if lost := [name for name in classes if not counts.per_class[name]]:
        raise UserError(
            f"not one image of class {', '.join(map(repr, lost))} can be read; mend its files, "
            f"or take it out: {_quoted(unreadable)}"
        )
    write_json(folder / "classes.json", classes)
    write_rows(
        folder / "unreadable.csv",
        (item._asdict() for item in sorted(unreadable)),
        columns=NotRead._fields,
    )
    write_rows(
        folder / "conversions.csv",
        ({"kind": kind, "n_images": count} for kind, count in counts.kinds(n_images)),
        columns=["kind", "n_images"],
    )
    return {
        "n_files": len(tree.names()) + len(tree.refused),
        "n_images": n_images,
        "n_unreadable": len(unreadable),
        "n_unlabelled": counts.per_split[UNLABELLED],
        "n_converted_to_rgb": counts.converted.total(),
        "converted": {name: counts.converted[name] for name in CONVERSION_NAMES},
        "n_turned_upright": counts.n_turned,
        "n_animated": counts.n_animated,
        "n_classes": len(classes),
        "images_per_class": {name: counts.per_class[name] for name in classes},
        "images_per_split": {str(split): counts.per_split[split] for split in counts.splits()},
    }


class _Counts:
    """What was counted while the images went by."""

    def __init__(self) -> None:
        self.converted: Counter[str] = Counter()
        self.per_class: Counter[str] = Counter()
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
        """What was done to how many images, for the plot; an image may be in two rows."""
        untouched = n_images - self.converted.total()
        done: list[tuple[str, int]] = [(name, self.converted[name]) for name in CONVERSION_NAMES]
        done += [("turned upright", self.n_turned), ("animated", self.n_animated)]
        return [("8-bit RGB", untouched), *((name, count) for name, count in done if count)]


def _check_readable(unreadable: Sequence[NotRead], n_images: int, *, most: float) -> None:
    n_bad = len(unreadable)
    if n_images == 0:
        raise UserError(f"not one image can be read: {_quoted(unreadable)}")
    if n_bad > most * (n_images + n_bad):
        raise UserError(
            f"{n_bad:,} of {n_images + n_bad:,} files cannot be read, more than the share of "
            f"{most:g} that ingest.max_unreadable allows: {_quoted(unreadable)}; mend the "
            "files, or raise the share"
        )


def _quoted(unreadable: Sequence[NotRead]) -> str:
    """The most frequent reasons, each with its number and an example."""
    examples = {item.reason: item.id for item in reversed(unreadable)}
    reasons = Counter(item.reason for item in unreadable).most_common(REASONS_SHOWN)
    text = "; ".join(
        f"{count:,} times {reason!r}, such as {examples[reason]!r}" for reason, count in reasons
    )
    return text + ("; …" if len(examples) > REASONS_SHOWN else "")


def read_image(read: Callable[[str], bytes], name: str) -> Read:
    """Read one file by a function that may raise an OSError, such as a tree's `read`."""
    try:
        return Read(read(name), failure=None)
    except OSError as error:
        return Read(b"", failure=str(error))


def decode_read(read: Read, *, background: Sequence[int]) -> Decoded | str:
    """Runs in other processes: the decoded image, or the reason why there is none."""
    if read.failure is not None:
        return read.failure
    try:
        return decode(read.content, background=background)
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
