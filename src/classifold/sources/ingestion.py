"""Read the images of a source into the image table."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from classifold.csv_file import write_rows
from classifold.errors import UserError
from classifold.images import Decoded, UnreadableImageError, decode
from classifold.metrics_file import write_json
from classifold.parallel import ordered_map
from classifold.progress import track
from classifold.sources.folder import SourceImage
from classifold.sources.tree import Tree
from classifold.table import write_table

CONVERSIONS = ("grayscale", "palette", "alpha", "cmyk", "deep", "other")


class _Read(NamedTuple):
    """The bytes of one file, or why they could not be had."""

    content: bytes
    failure: str | None


def ingest(tree: Tree, images: Sequence[SourceImage], folder: Path) -> dict[str, Any]:
    """Decode every image once, and write the image table, the classes and the failures.

    Leaves `images-*.parquet`, `classes.json` (names in their order) and `unreadable.csv`
    (id, reason) in `folder`.

    Args:
        tree: where the files are.
        images: what to read, in the order of the table.
        folder: an existing folder to write into.

    Returns:
        The counts of `metrics/ingest.json`, but for `n_files`.

    Raises:
        UserError: if not a single image can be read.
    """
    unreadable: list[dict[str, str]] = []
    converted: Counter[str] = Counter()
    per_class: Counter[str] = Counter()
    n_turned = 0

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal n_turned
        reads = (_read(tree, image.id) for image in images)
        outcomes = ordered_map(_decode, reads, n_items=len(images))
        outcomes = track(outcomes, task="read", total=len(images), unit="images")
        for image, outcome in zip(images, outcomes, strict=True):
            if isinstance(outcome, str):
                unreadable.append({"id": image.id, "reason": outcome})
                continue
            n_turned += outcome.turned
            per_class.update(image.labels)
            if outcome.conversion:
                converted[outcome.conversion] += 1
            yield _row(image, outcome)

    n_images = write_table(folder, rows())
    if n_images == 0:
        raise UserError(
            f"none of the {len(images)} image files could be read; the first is "
            f"{unreadable[0]['id']!r}: {unreadable[0]['reason']}"
        )
    classes = sorted({label for image in images for label in image.labels})
    write_json(folder / "classes.json", classes)
    write_rows(folder / "unreadable.csv", unreadable, columns=["id", "reason"])
    return {
        "n_images": n_images,
        "n_unreadable": len(unreadable),
        "n_converted_to_rgb": sum(converted.values()),
        "converted": {name: converted[name] for name in CONVERSIONS},
        "n_turned_upright": n_turned,
        "n_classes": len(classes),
        "images_per_class": {name: per_class[name] for name in classes},
    }


def _read(tree: Tree, name: str) -> _Read:
    try:
        return _Read(tree.read(name), failure=None)
    except OSError as error:
        return _Read(b"", failure=str(error))


def _decode(read: _Read) -> Decoded | str:
    """Runs in other processes: the decoded image, or the reason why there is none."""
    if read.failure is not None:
        return read.failure
    try:
        return decode(read.content)
    except UnreadableImageError as error:
        return str(error)


def _row(image: SourceImage, decoded: Decoded) -> dict[str, Any]:
    return {
        "id": image.id,
        "image": {"bytes": decoded.encoded, "path": image.id},
        "labels": image.labels,
        "part": image.part,
        "group": None,
        "boxes": None,
        "width": decoded.width,
        "height": decoded.height,
        "mode": decoded.mode,
        "sha256": decoded.pixels_sha256,
        "perceptual_hash": decoded.perceptual_hash,
    }
