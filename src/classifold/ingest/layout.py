"""What every layout finds: images with their labels, parts, groups and boxes."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from classifold.data.image_table import LABEL_SEPARATOR, TEST, UNLABELLED
from classifold.errors import UserError
from classifold.ingest.entries import NotRead
from classifold.ingest.images import EXTENSIONS, UNREAD_EXTENSIONS

# What people call the folders of official parts, in lower case.
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
    split: str | None = None  # official part, or "unlabelled"
    group: str | None = None  # patient, burst …
    boxes: tuple[Box, ...] | None = None


class Source(NamedTuple):
    """What a layout found."""

    layout: str
    images: list[SourceImage]
    missing: list[NotRead]  # what a list or a table names, and is not there
    remarks: list[str]  # what was found and decided, a line each


def image_names(names: Iterable[str]) -> list[str]:
    """Choose the files that are images by their extension, readable here or not.

    What systems leave behind (`.DS_Store`, `__MACOSX/`, anything hidden) is none.
    """
    known = EXTENSIONS | UNREAD_EXTENSIONS
    return [name for name in names if _extension(name) in known and not _is_hidden(name.split("/"))]


def visible(names: Iterable[str], *extensions: str) -> list[str]:
    """Choose the files of some extensions that no system left behind."""
    return [
        name for name in names if _extension(name) in extensions and not _is_hidden(name.split("/"))
    ]


def wrapping_folders(images: Sequence[Sequence[str]], *, inner: int) -> int:
    """Count the levels of single folders that merely wrap the data (`fruit/` in `fruit.zip`).

    Args:
        images: paths, as the names of their folders and their own.
        inner: how many levels must stay below: 2 for a class folder and a file.
    """
    depth = 0
    while (
        len({path[depth] for path in images}) == 1
        and min(len(path) for path in images) > depth + inner
    ):
        depth += 1
    return depth


def settle_splits(images: list[SourceImage], remarks: list[str]) -> list[SourceImage]:
    """Settle what official parts mean: a labelled held-out part is our test.

    Without a labelled test part, an official validation part takes its place; without either,
    an official train part is no more than the data themselves.
    """
    labelled = Counter(image.split for image in images if image.split != UNLABELLED)
    if labelled[TEST]:
        return images
    if labelled["validation"]:
        remarks.append(
            f"{labelled['validation']:,} labelled images are officially held out for "
            "validation, and none for test: they are kept as the test part"
        )
        renamed: dict[str | None, str | None] = {"validation": TEST}
    elif labelled["train"]:
        renamed = {"train": None}
    else:
        return images
    return [
        image._replace(split=renamed[image.split]) if image.split in renamed else image
        for image in images
    ]


def check_labels(images: Sequence[SourceImage], *, task: str, where: str) -> None:
    """Refuse what no classifier can be trained on.

    Raises:
        UserError: if images bear several labels in a `single` task, there are too few classes,
            a held-out part has classes that training images lack, or a name would be
            mistaken for several labels, or is too long.
    """
    several = [image for image in images if len(image.labels) > 1]
    if several and task == "single":
        raise UserError(
            f"dataset.task is single, but {len(several):,} images of {where} bear several "
            f"labels, such as {several[0].id!r} ({', '.join(several[0].labels)}); set "
            "dataset.task to multi"
        )
    per_class = Counter(label for image in images for label in image.labels)
    fewest = 2 if task == "single" else 1
    if len(per_class) < fewest:
        raise UserError(
            f"dataset.path: {where} has images of {len(per_class)} "
            f"class{'es' * (len(per_class) != 1)} ({', '.join(per_class) or 'none'}); a "
            f"classifier needs at least {fewest}; in the layout folder, each is a folder"
        )
    joined = [label for label in per_class if LABEL_SEPARATOR in label]
    if joined:
        raise UserError(
            f"dataset.path: the class {joined[0]!r} of {where} has {LABEL_SEPARATOR!r} in its "
            "name, which separates the labels of an image; rename it"
        )
    longest = max((*per_class, *(image.group or "" for image in images)), key=len, default="")
    if len(longest) > MAX_CHARACTERS_PER_LABEL:
        raise UserError(
            f"dataset.path: a class or group of {where} has a name of {len(longest):,} letters, "
            f"more than {MAX_CHARACTERS_PER_LABEL}: {longest[:40]!r}…; give it a shorter one"
        )
    held_out = {"validation", TEST}
    learned = {label for image in images if image.split not in held_out for label in image.labels}
    if strange := sorted(set(per_class) - learned):
        raise UserError(
            f"dataset.path: {where} holds out images of {', '.join(map(repr, strange))}, "
            "of which there is no training image; add some, or take the class out"
        )


def _extension(name: str) -> str:
    dot = name.rfind(".")
    return name[dot:].lower() if dot > name.rfind("/") else ""


def _is_hidden(splits: Sequence[str]) -> bool:
    return any(split.startswith(".") or split == "__MACOSX" for split in splits)
