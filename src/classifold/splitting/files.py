"""Read the kept images, write the list of images of each split."""

from collections.abc import Sequence
from pathlib import Path

from classifold.data.csv_file import read_rows, write_rows
from classifold.data.image_table import UNLABELED
from classifold.data.labels import join_labels, split_labels
from classifold.splitting.splits import CALIBRATION, SPLITS, Image, class_proportions


def read_kept(filtered: Path) -> list[Image]:
    """Read the images that `filter` kept, without the unlabeled ones."""
    rows = read_rows(filtered / "kept.csv")
    return [
        Image(
            id=row["id"],
            labels=tuple(split_labels(row["label"])),
            group=row["group"] or row["id"],
            split=row["split"] or None,
        )
        for row in rows
        if row["split"] != UNLABELED
    ]


def write_splits(folder: Path, images: Sequence[Image], splits: Sequence[str]) -> None:
    """Write the lists of images of the splits, and the class proportions for the plot.

    `train.csv`, `validation.csv`, `test.csv` and `calibration.csv`, which may be empty, have the
    columns id, label (several are joined by `|`) and group; `class_proportions.csv` has class,
    split and proportion.
    """
    for name in (*SPLITS, CALIBRATION):
        chosen = (image for image, split in zip(images, splits, strict=True) if split == name)
        rows = (
            {
                "id": image.id,
                "label": join_labels(image.labels),
                "group": image.group,
            }
            for image in chosen
        )
        write_rows(folder / f"{name}.csv", rows, columns=["id", "label", "group"])
    write_rows(
        folder / "class_proportions.csv",
        (
            {"class": name, "split": split, "proportion": f"{proportion:.6f}"}
            for split, of_class in class_proportions(images, splits).items()
            for name, proportion in of_class.items()
        ),
        columns=["class", "split", "proportion"],
        plotted=True,
    )
