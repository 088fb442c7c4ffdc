"""The lists of images that say who goes where."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from classifold.csv_file import read_rows, write_rows
from classifold.table import UNLABELLED

PARTS = ("train", "validation", "test")


class Listed(NamedTuple):
    """An image on a list."""

    id: str
    label: str
    group: str  # images of one group stay together; its own id where it has no copies


def read_kept(filtered: Path) -> list[Listed]:
    """Read the kept images that bear a label."""
    rows = read_rows(filtered / "kept.csv")
    return [
        Listed(row["id"], row["label"], row["group"] or row["id"])
        for row in rows
        if row["part"] != UNLABELLED
    ]


def write_parts(folder: Path, images: Sequence[Listed], parts: Sequence[str]) -> None:
    """Write `train.csv`, `validation.csv` and `test.csv`: id, label, group."""
    for name in PARTS:
        chosen = (image for image, part in zip(images, parts, strict=True) if part == name)
        rows = (image._asdict() for image in chosen)
        write_rows(folder / f"{name}.csv", rows, columns=Listed._fields)


def read_part(path: Path) -> dict[str, str]:
    """Read the labels of one part: id -> class."""
    return {row["id"]: row["label"] for row in read_rows(path)}
