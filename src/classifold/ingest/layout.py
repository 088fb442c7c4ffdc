"""Images of a source with their labels, splits, groups and boxes, in whichever layout."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from classifold.data.image_table import TEST, UNLABELED
from classifold.data.labels import LABEL_SEPARATOR
from classifold.errors import UserError
from classifold.ingest.entries import NotRead

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
    missing: list[NotRead]  # labels without an image, of a list or a table
    remarks: list[str]  # for the log, one line each
    used: Sequence[str] = ()  # files that labels are from
    ignored: Sequence[NotRead] = ()  # files that are not read
    n_unlisted: int = 0  # images in no row of a table, which are unlabeled


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


def check_labels(
    images: Sequence[SourceImage], *, task: str, where: str, remarks: Sequence[str] = ()
) -> None:
    """Check that a classifier can be trained on the labels.

    Args:
        images: images of the source.
        task: `single` or `multi`.
        where: name of the source in messages.
        remarks: on the source, which may explain why there are too few classes.

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
        described = f" Remarks: {'; '.join(remarks)}." if remarks else ""
        raise UserError(
            f"dataset.path: {where} must have at least {min_classes} classes, got "
            f"{len(per_class)} ({', '.join(per_class) or 'none'}). Add images of another class. In "
            f"the layout folder, each class is a folder, as in {where}/cherry/1.jpg and "
            f"{where}/tomato/1.jpg.{described}"
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
