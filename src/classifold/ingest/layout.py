"""Images of a source with their labels, splits, groups and boxes, in whichever layout."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from classifold.data.image_table import LABEL_SEPARATOR, TEST, UNLABELED
from classifold.errors import UserError
from classifold.ingest.entries import NotRead
from classifold.ingest.formats import EXTENSIONS, UNREAD_EXTENSIONS

# Common names of folders of official splits, in lower case.
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": TEST,
    "testing": TEST,
}

MAX_CHARACTERS_PER_LABEL = 255  # as of a folder; names of classes and groups are in every file

Box = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels, upper left corner first


class SourceImage(NamedTuple):
    """One image file before it is read."""

    id: str  # POSIX path inside the source
    labels: tuple[str, ...]
    split: str | None = None  # official split, or "unlabelled"
    group: str | None = None  # patient, burst …
    boxes: tuple[Box, ...] | None = None


class Source(NamedTuple):
    """The images that a layout has."""

    layout: str
    images: list[SourceImage]
    missing: list[NotRead]  # listed in a list or a table, but missing
    remarks: list[str]  # for the log, one line each


def image_names(names: Iterable[str]) -> list[str]:
    """Select the files with an extension of images, readable here or not.

    Hidden files and those of operating systems (`.DS_Store`, `__MACOSX/`) are excluded.
    """
    known = EXTENSIONS | UNREAD_EXTENSIONS
    return [name for name in names if _extension(name) in known and not _is_hidden(name.split("/"))]


def visible(names: Iterable[str], *extensions: str) -> list[str]:
    """Select the files with some extensions, without hidden files."""
    return [
        name for name in names if _extension(name) in extensions and not _is_hidden(name.split("/"))
    ]


def wrapping_folders(images: Sequence[Sequence[str]], *, inner: int) -> int:
    """Count the levels of single folders that only wrap the data (`fruit/` in `fruit.zip`).

    Args:
        images: paths, as names of folders and of the file.
        inner: number of levels that must remain below: 2 for a class folder and a file.
    """
    depth = 0
    while (
        len({path[depth] for path in images}) == 1
        and min(len(path) for path in images) > depth + inner
    ):
        depth += 1
    return depth


def settle_splits(images: list[SourceImage], remarks: list[str]) -> list[SourceImage]:
    """Interpret official splits: a labeled held-out split is the test split.

    Without a labeled test split, an official validation split becomes the test split. Without
    either, an official train split is split like data without official splits.
    """
    labeled = Counter(image.split for image in images if image.split != UNLABELED)
    if labeled[TEST]:
        return images
    if labeled["validation"]:
        remarks.append(
            f"the official validation split of {labeled['validation']:,} labeled images is used "
            "as the test split, since there is no labeled test split"
        )
        renamed: dict[str | None, str | None] = {"validation": TEST}
    elif labeled["train"]:
        renamed = {"train": None}
    else:
        return images
    return [
        image._replace(split=renamed[image.split]) if image.split in renamed else image
        for image in images
    ]


def check_labels(images: Sequence[SourceImage], *, task: str, where: str) -> None:
    """Check that a classifier can be trained on the labels.

    Raises:
        UserError: if images have several labels in a `single` task, there are too few classes,
            a held-out split has classes that training images lack, or a class name contains the
            label separator or is too long.
    """
    several = [image for image in images if len(image.labels) > 1]
    if several and task == "single":
        raise UserError(
            f"dataset.task: {len(several):,} images of {where} have several labels, such as "
            f"{several[0].id!r} ({', '.join(several[0].labels)}), got single. Set dataset.task to "
            "multi."
        )
    per_class = Counter(label for image in images for label in image.labels)
    min_classes = 2 if task == "single" else 1
    if len(per_class) < min_classes:
        raise UserError(
            f"dataset.path: {where} must have at least {min_classes} classes, got "
            f"{len(per_class)} ({', '.join(per_class) or 'none'}). In the layout folder, each "
            "class is a folder."
        )
    joined = [label for label in per_class if LABEL_SEPARATOR in label]
    if joined:
        raise UserError(
            f"dataset.path: a class name must not contain {LABEL_SEPARATOR!r}, which separates the "
            f"labels of an image, got {joined[0]!r} in {where}. Rename the class."
        )
    longest = max((*per_class, *(image.group or "" for image in images)), key=len, default="")
    if len(longest) > MAX_CHARACTERS_PER_LABEL:
        raise UserError(
            f"dataset.path: the name of a class or group of {where} must have at most "
            f"{MAX_CHARACTERS_PER_LABEL} characters, got {len(longest):,}: {longest[:40]!r}…. "
            "Shorten it."
        )
    held_out = {"validation", TEST}
    learned = {label for image in images if image.split not in held_out for label in image.labels}
    if unknown := sorted(set(per_class) - learned):
        raise UserError(
            f"dataset.path: {where} has no training image of class "
            f"{', '.join(map(repr, unknown))}, which a held-out split has. Add images or remove "
            "the class."
        )


def _extension(name: str) -> str:
    dot = name.rfind(".")
    return name[dot:].lower() if dot > name.rfind("/") else ""


def _is_hidden(path: Sequence[str]) -> bool:
    return any(name.startswith(".") or name == "__MACOSX" for name in path)
