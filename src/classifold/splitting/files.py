"""The lists of images that say who goes where."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from classifold.data.csv_file import read_rows, write_rows
from classifold.data.image_table import LABEL_SEPARATOR, UNLABELLED
from classifold.splitting.splits import PARTS, Image, class_proportions


def read_kept(filtered: Path) -> list[Image]:
    """Read the kept images, but for those that wait for a label."""
    rows = read_rows(filtered / "kept.csv")
    return [
        Image(
            id=row["id"],
            labels=tuple(row["label"].split(LABEL_SEPARATOR)) if row["label"] else (),
            group=row["group"] or row["id"],
            split=row["split"] or None,
        )
        for row in rows
        if row["split"] != UNLABELLED
    ]


def write_splits(folder: Path, images: Sequence[Image], splits: Sequence[str]) -> None:
    """Write `train.csv`, `validation.csv` and `test.csv`: id, label, group.

    Several labels are joined by `|`. For the plot, `class_proportions.csv`: class, part, share.
    """
    for name in PARTS:
        chosen = (image for image, split in zip(images, splits, strict=True) if split == name)
        rows = (
            {
                "id": image.id,
                "label": LABEL_SEPARATOR.join(image.labels),
                "group": image.group,
            }
            for image in chosen
        )
        write_rows(folder / f"{name}.csv", rows, columns=["id", "label", "group"])
    proportions: Mapping[str, Mapping[str, float]] = class_proportions(images, splits)
    write_rows(
        folder / "class_proportions.csv",
        (
            {"class": name, "split": split, "proportion": f"{proportion:.6f}"}
            for split, of_class in proportions.items()
            for name, proportion in of_class.items()
        ),
        columns=["class", "split", "proportion"],
    )
