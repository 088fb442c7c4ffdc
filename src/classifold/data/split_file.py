"""Read the list of images of one split."""

from pathlib import Path

from classifold.data.csv_file import read_rows
from classifold.data.labels import split_labels


def read_split(path: Path) -> dict[str, tuple[str, ...]]:
    """Read the labels of one split: id -> classes, none or several where the task is `multi`."""
    return {row["id"]: tuple(split_labels(row["label"])) for row in read_rows(path)}


def read_groups(path: Path) -> dict[str, str]:
    """Read the groups of the images of one split: id -> group."""
    return {row["id"]: row["group"] for row in read_rows(path)}
