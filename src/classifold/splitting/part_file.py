"""The list of images of one part, as those read it who train and measure."""

from pathlib import Path

from classifold.csv_file import read_rows
from classifold.errors import UserError
from classifold.table import LABEL_SEPARATOR


def read_part(path: Path) -> dict[str, tuple[str, ...]]:
    """Read the labels of one part: id -> classes, none or several where the task is `multi`."""
    return {
        row["id"]: tuple(row["label"].split(LABEL_SEPARATOR)) if row["label"] else ()
        for row in read_rows(path)
    }


def read_groups(path: Path) -> dict[str, str]:
    """Read which images of one part belong together: id -> group."""
    return {row["id"]: row["group"] for row in read_rows(path)}


def read_single(path: Path) -> dict[str, str]:
    """Read the labels of one part: id -> class.

    Raises:
        UserError: if an image does not bear exactly one label.
    """
    labels = {}
    for image_id, classes in read_part(path).items():
        if len(classes) != 1:
            raise UserError(
                f"{path}: {image_id!r} bears {'several labels' if classes else 'no label'} "
                "(dataset.task is multi), and answers are measured for exactly one an image as "
                "yet; 'dvc repro compare' is as far as such data go"
            )
        (labels[image_id],) = classes
    return labels
