"""The lists of images that say who goes where."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from classifold.data.csv_file import read_rows, write_rows
from classifold.data.image_table import LABEL_SEPARATOR, UNLABELLED
from classifold.splitting.parts import PARTS, Image, class_shares


def read_kept(filtered: Path) -> list[Image]:
    """Read the kept images, but for those that wait for a label."""
    rows = read_rows(filtered / "kept.csv")
    return [
        Image(
            id=row["id"],
            labels=tuple(row["label"].split(LABEL_SEPARATOR)) if row["label"] else (),
            group=row["group"] or row["id"],
            part=row["part"] or None,
        )
        for row in rows
        if row["part"] != UNLABELLED
    ]


def write_parts(folder: Path, images: Sequence[Image], parts: Sequence[str]) -> None:
    """Write `train.csv`, `validation.csv` and `test.csv`: id, label, group.

    Several labels are joined by `|`. For the plot, `shares.csv`: class, part, share.
    """
    for name in PARTS:
        chosen = (image for image, part in zip(images, parts, strict=True) if part == name)
        rows = (
            {
                "id": image.id,
                "label": LABEL_SEPARATOR.join(image.labels),
                "group": image.group,
            }
            for image in chosen
        )
        write_rows(folder / f"{name}.csv", rows, columns=["id", "label", "group"])
    shares: Mapping[str, Mapping[str, float]] = class_shares(images, parts)
    write_rows(
        folder / "shares.csv",
        (
            {"class": name, "part": part, "share": f"{share:.6f}"}
            for part, of_part in shares.items()
            for name, share in of_part.items()
        ),
        columns=["class", "part", "share"],
    )
