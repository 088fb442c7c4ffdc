"""The list of images of one part, as those read it who train and measure."""

from pathlib import Path

from classifold.csv_file import read_rows
from classifold.errors import UserError
from classifold.table import LABEL_SEPARATOR


def read_part(path: Path) -> dict[str, str]:
    """Read the labels of one part: id -> class.

    Raises:
        UserError: if an image does not bear exactly one label.
    """
    labels = {row["id"]: row["label"] for row in read_rows(path)}
    for image_id, label in labels.items():
        if not label or LABEL_SEPARATOR in label:
            raise UserError(
                f"{path}: {image_id!r} bears {'several labels' if label else 'no label'} "
                "(dataset.task is multi), and networks learn exactly one an image as yet; "
                "'dvc repro split' is as far as such data go"
            )
    return labels
